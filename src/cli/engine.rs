//! The one place where the commands meet the processor: settings and policy in, a running processor out.

use super::policy::files::{Files, read_document};
use super::settings::{LogFormat, Settings};
use super::topic_rules::{self, Cluster};
use super::{Accept, EXIT_RESTART, to_standard_error, to_standard_output, topics};
use crate::intake::client::KafkaSettings;
use crate::intake::source::{InputKind, Inputs};
use crate::message::Name;
use crate::policy::file::{Diagnostics, Document};
use crate::policy::model::Policy;
use crate::serve::metrics::{Bounds, Metrics};
use crate::serve::status::Status;
use crate::serve::{http, logging};
use crate::store::StoreSettings;
use crate::task::repair::{self, Repair};
use crate::task::supervisor::{self, Ended, EngineSettings, Running};
use crate::verdict::TopicNames;
use arc_swap::ArcSwap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long the cluster may take to describe its topics: `run` names what is missing within 15 s.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(12);
/// A clean end takes less; after this the process ends all the same, which is safe. contract.md gives 10 s, of which a busy
/// machine may need some to get to the signal and out of the process.
const STOP_WITHIN: Duration = Duration::from_secs(7);
const POLICY_POLLED_EVERY: Duration = Duration::from_secs(1);
const POLICY_TRIED_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// A processor that runs in this process.
pub trait Processor {
    /// Finishes the batch, commits and ends.
    fn stop(self: Box<Self>) -> Result<(), String>;
}

/// The names of the channels of a policy, in the order of the file.
pub fn channels(policy_file: &Path) -> Result<Vec<String>, String> {
    Ok(channel_names(&load_policy(policy_file).1?))
}

/// `forbear run`: until a signal (exit code 0), or until it has to be started again (75).
pub fn run(settings: Settings, leave: bool) -> Result<ExitCode, String> {
    let format = match settings.log.format {
        LogFormat::Text => logging::LogFormat::Text,
        LogFormat::Json => logging::LogFormat::Json,
    };
    logging::start(format, &settings.log.level)?;
    let interrupt = super::interrupt::Interrupt::listen()?;
    let Some(engine) = start_unless_asked_to_end(settings, &interrupt)? else {
        tracing::info!("asked to end before anything was judged");
        return Ok(ExitCode::SUCCESS);
    };
    loop {
        if let Some(ended) = engine.running.ended_within(Duration::from_millis(100)) {
            let code = match ended {
                Ended::Stopped => ExitCode::SUCCESS,
                Ended::Restart(reason) => {
                    to_standard_error(&format!("error: {reason}; start it again"));
                    ExitCode::from(EXIT_RESTART)
                }
                Ended::Misconfigured(problem) => {
                    to_standard_error(&format!("error: {problem}"));
                    ExitCode::FAILURE
                }
            };
            engine.end(false);
            return Ok(code);
        }
        if interrupt.asked() {
            tracing::info!("asked to end: finishing the batch");
            engine.end(leave);
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// A cluster that does not answer keeps a start waiting for seconds: whoever asks for the end meanwhile gets it at once. (What
/// may have been started by then is like any other process that dies: the next start settles it.)
fn start_unless_asked_to_end(
    settings: Settings,
    interrupt: &super::interrupt::Interrupt,
) -> Result<Option<Engine>, String> {
    let (started, outcome) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("start".to_owned())
        .spawn(move || drop(started.send(Engine::start(&settings, false))))
        .map_err(|error| format!("a thread cannot be started: {error}"))?;
    loop {
        match outcome.recv_timeout(Duration::from_millis(50)) {
            Ok(engine) => return engine.map(Some),
            Err(RecvTimeoutError::Disconnected) => return Err("the start panicked".to_owned()),
            Err(RecvTimeoutError::Timeout) if interrupt.asked() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// `forbear repair`.
pub fn repair(settings: Settings, partition: i32, accept: Accept) -> Result<ExitCode, String> {
    let policy = load_policy(&settings.policy.file).1?;
    let cluster = checked(&settings, &channel_names(&policy))?;
    let engine = engine_settings(&settings, &cluster, false)?;
    let accept = match accept {
        Accept::Marker => Repair::AcceptMarker,
        Accept::Offsets => Repair::AcceptOffsets,
    };
    to_standard_output(&repair::run(&engine, partition, accept, now_ms())?);
    Ok(ExitCode::SUCCESS)
}

/// Starts a processor in this process, for the demo. `embedded`: the broker is librdkafka's own.
pub fn start(settings: &Settings, embedded: bool) -> Result<Box<dyn Processor>, String> {
    // The demo prints counters of its own; its log shows errors only. A second start in one process keeps the first log.
    let _ = logging::start(logging::LogFormat::Text, &settings.log.level);
    Ok(Box::new(Engine::start(settings, embedded)?))
}

/// A processor with everything around it.
struct Engine {
    running: Running,
    server: Option<tokio::runtime::Runtime>,
    reloading: Arc<AtomicBool>,
}

impl Engine {
    fn start(settings: &Settings, embedded: bool) -> Result<Self, String> {
        let (files, policy) = load_policy(&settings.policy.file);
        let policy = policy?;
        let channels = channel_names(&policy);
        let cluster = if embedded {
            topics::describe_embedded(settings, &channels, DESCRIBE_TIMEOUT)?
        } else {
            checked(settings, &channels)?
        };
        let engine = engine_settings(settings, &cluster, embedded)?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            policy = &*policy.label,
            partitions = engine.inputs.partition_count,
            workers = engine.workers,
            instance = settings.kafka.instance_id,
            http = %settings.http.listen,
            "forbear starts"
        );
        let metrics = Metrics::new();
        let status = Status::new(metrics.clone());
        tell_policy(&metrics, &status, &policy);
        let server = serve(settings, &metrics, &status)?;
        let bounds = Arc::new(Bounds::of(&policy));
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let running = supervisor::start(engine, policy.clone(), bounds, metrics.clone(), status.clone())?;
        let reloading = Arc::new(AtomicBool::new(true));
        let reload = Reload {
            settings: settings.clone(),
            files,
            policy,
            metrics,
            status,
            embedded,
        };
        let keep_on = reloading.clone();
        // Nothing waits for its end: it holds nothing, and may be waiting for the cluster.
        std::thread::Builder::new()
            .name("policy".to_owned())
            .spawn(move || reload.watch(&keep_on))
            .map_err(|error| format!("a thread cannot be started: {error}"))?;
        Ok(Self {
            running,
            server: Some(server),
            reloading,
        })
    }

    fn end(mut self, leave: bool) {
        self.running.request_stop(leave);
        self.reloading.store(false, Ordering::Release);
        let running = self.running;
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            running.join();
            let _ = done.send(());
        });
        match ended.recv_timeout(STOP_WITHIN) {
            Ok(()) => tracing::info!("ended"),
            Err(_) => tracing::warn!("the end takes too long: leaving it to the next start to settle what is open"),
        }
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

impl Processor for Engine {
    fn stop(self: Box<Self>) -> Result<(), String> {
        let ended = self.running.ended_within(Duration::ZERO);
        self.end(false);
        match ended {
            Some(Ended::Restart(reason) | Ended::Misconfigured(reason)) => Err(reason),
            _ => Ok(()),
        }
    }
}

/// Looks at the policy's files now and then, by content: that works for every way of replacing a file (editors, mounts of
/// configuration maps, network file systems), and a read of a small file a second costs nothing.
struct Reload {
    settings: Settings,
    /// The policy's files, those that it includes as well, as they were when it was loaded.
    files: Files,
    policy: Arc<ArcSwap<Policy>>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    embedded: bool,
}

impl Reload {
    fn watch(self, keep_on: &AtomicBool) {
        let mut seen = self.files.clone();
        let mut again_at: Option<Instant> = None;
        let mut looked = Instant::now();
        let mut missing_for = 0;
        while keep_on.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(100));
            if looked.elapsed() < POLICY_POLLED_EVERY {
                continue;
            }
            looked = Instant::now();
            let files = seen.again();
            let is_due_again = again_at.is_some_and(|at| at <= Instant::now());
            let are_there = files.are_there();
            missing_for = if are_there { 0 } else { missing_for + 1 };
            // Whoever replaces a file may take it away first: that is over at the next look.
            if missing_for == 2 {
                tracing::warn!("a file of the policy is gone: the policy stays, but a start would need the file");
            }
            if !are_there || files == seen && !is_due_again {
                continue;
            }
            again_at = None;
            let (files, loaded) = self.load();
            seen = files;
            match loaded {
                Ok(policy) => {
                    tracing::info!(policy = &*policy.label, "the policy was replaced");
                    let kept = channel_names(&policy);
                    let gone: Vec<String> = channel_names(&self.policy.load())
                        .into_iter()
                        .filter(|channel| !kept.contains(channel))
                        .collect();
                    if !gone.is_empty() {
                        tracing::warn!(
                            ?gone,
                            "channels are no longer in the policy: what waits for them is suppressed with policy_error"
                        );
                    }
                    tell_policy(&self.metrics, &self.status, &policy);
                    self.policy.store(Arc::new(policy));
                    self.metrics.policy_reload(true);
                }
                Err(Refused { problem, is_final }) => {
                    tracing::error!(problem, "the new policy is not taken; the one before stays");
                    self.metrics.policy_reload(false);
                    again_at = (!is_final).then(|| Instant::now() + POLICY_TRIED_AGAIN_AFTER);
                }
            }
        }
    }

    fn load(&self) -> (Files, Result<Policy, Refused>) {
        let (files, policy) = load_policy(&self.settings.policy.file);
        (
            files,
            policy.map_err(Refused::finally).and_then(|policy| self.served(policy)),
        )
    }

    /// The policy, if the cluster has everything for it.
    fn served(&self, policy: Policy) -> Result<Policy, Refused> {
        if !self.embedded {
            // The topics of a new channel may be made any moment, and a cluster that is away comes back.
            let may_pass = |problem| Refused {
                problem,
                is_final: false,
            };
            checked(&self.settings, &channel_names(&policy)).map_err(may_pass)?;
        }
        Ok(policy)
    }
}

/// Why a new policy is not taken. One that is final stays until the file changes.
struct Refused {
    problem: String,
    is_final: bool,
}

impl Refused {
    fn finally(problem: String) -> Self {
        Self {
            problem,
            is_final: true,
        }
    }
}

/// The policy, and the files that it was read from.
fn load_policy(file: &Path) -> (Files, Result<Policy, String>) {
    let (files, document) = read_document(file);
    let document = document.map_err(|error| format!("cannot read the policy {}: {error}", file.display()));
    (files, document.and_then(compiled))
}

fn compiled(document: Result<Document, Box<Diagnostics>>) -> Result<Policy, String> {
    match document.and_then(|document| Policy::compile(&document, Some(now_ms()))) {
        Ok((policy, warnings)) => {
            let text = warnings.to_text(false);
            if !text.is_empty() {
                tracing::warn!("{}", text.trim_end());
            }
            Ok(policy)
        }
        Err(errors) => Err(format!(
            "the policy cannot be used\n{}",
            errors.to_text(false).trim_end()
        )),
    }
}

/// The cluster, if it has everything that judging needs.
fn checked(settings: &Settings, channels: &[String]) -> Result<Cluster, String> {
    let verification = topics::verify(settings, channels, DESCRIBE_TIMEOUT)?;
    let forbidden = topic_rules::forbidden(
        &topic_rules::expected(&settings.topics, channels),
        &verification.cluster,
    );
    let problems: Vec<&str> = verification
        .prevents_run()
        .into_iter()
        .chain(&forbidden)
        .map(|problem| problem.problem.as_str())
        .collect();
    if problems.is_empty() {
        Ok(verification.cluster)
    } else {
        Err(problems.join("\n"))
    }
}

fn engine_settings(settings: &Settings, cluster: &Cluster, embedded: bool) -> Result<EngineSettings, String> {
    let mut topics: Vec<(Name, InputKind)> = Vec::new();
    topics.extend(
        settings
            .topics
            .intents
            .iter()
            .map(|name| (name.as_str().into(), InputKind::Intents)),
    );
    topics.extend(
        settings
            .topics
            .engagement
            .iter()
            .map(|name| (name.as_str().into(), InputKind::Engagement)),
    );
    topics.push((settings.topics.reroute.as_str().into(), InputKind::Reroute));
    let first = &settings.topics.intents[0];
    let partition_count = cluster.topics.get(first).map(|topic| topic.partition_count);
    let partition_count = partition_count.ok_or_else(|| format!("{first}: the cluster does not describe it"))?;
    let mut store = StoreSettings::new(&settings.state.directory);
    store.block_cache_bytes = settings.state.block_cache_mib << 20;
    store.write_buffers_total_bytes = settings.state.write_buffer_mib << 20;
    let retention_ms = topic_rules::state_delete_retention_ms(&settings.topics.state, cluster);
    Ok(EngineSettings {
        kafka: KafkaSettings {
            bootstrap_servers: settings.kafka.bootstrap_servers.clone(),
            group_id: settings.kafka.group_id.clone(),
            instance_id: settings.kafka.instance_id.clone(),
            consumer_properties: settings.kafka.client.consumer(),
            producer_properties: settings.kafka.client.producer(),
            embedded_broker: embedded,
        },
        admin_properties: settings.kafka.client.admin(),
        inputs: Inputs {
            topics,
            partition_count,
        },
        topics: topic_names(settings),
        cluster_id: cluster.cluster_id.clone().unwrap_or_default(),
        store,
        workers: settings
            .processing
            .workers
            .min(usize::try_from(partition_count).unwrap_or(1))
            .max(1),
        commit_interval: Duration::from_millis(settings.processing.commit_interval_ms),
        max_intent_bytes: settings.processing.max_intent_bytes,
        max_batch_records: settings.processing.max_batch_records,
        // A margin for clocks that differ and for segments that are compacted late.
        trusted_for_ms: i64::try_from(retention_ms / 6 * 5).unwrap_or(i64::MAX),
    })
}

fn topic_names(settings: &Settings) -> TopicNames {
    let topics = &settings.topics;
    TopicNames {
        approved_prefix: topics.approved_prefix.as_str().into(),
        suppressed_prefix: topics.suppressed_prefix.as_str().into(),
        decisions: topics.decisions.as_deref().map(Name::from),
        dead_letter: topics.dead_letter.as_str().into(),
        reroute: topics.reroute.as_str().into(),
        state: topics.state.as_str().into(),
        policies: topics.policies.as_str().into(),
    }
}

fn serve(settings: &Settings, metrics: &Arc<Metrics>, status: &Arc<Status>) -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| format!("the HTTP server cannot be started: {error}"))?;
    let listener = runtime
        .block_on(http::bind(settings.http.listen))
        .map_err(|error| error.to_string())?;
    let (metrics, status) = (metrics.clone(), status.clone());
    runtime.spawn(async move {
        if let Err(error) = http::serve_on(listener, metrics, status, std::future::pending()).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    Ok(runtime)
}

fn tell_policy(metrics: &Metrics, status: &Status, policy: &Policy) {
    metrics.set_policy(&policy.label);
    status.set_policy(&policy.label);
}

fn channel_names(policy: &Policy) -> Vec<String> {
    policy.channels.iter().map(|channel| channel.name.to_string()).collect()
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
