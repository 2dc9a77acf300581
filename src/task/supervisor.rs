//! The process around the workers: threads, watchdog, the clean end.
//!
//! A worker that cannot go on ends the process: a crash is safe by design, and a half-dead process would only hold its
//! partitions back. What runs here besides the workers is rare and cheap: gauges, the partition counts, stuck calls.

use crate::commit::kafka::{CallClock, KafkaLog};
use crate::customer::keys::due_of;
use crate::intake::admin::Admin;
use crate::intake::client::{KafkaSettings, TRANSACTION_TIMEOUT_MS};
use crate::intake::hanging::HangingProbe;
use crate::intake::membership::MembershipProbe;
use crate::intake::source::Inputs;
use crate::serve::metrics::{Bounds, Metrics};
use crate::serve::status::{HangingTransaction, Status};
use crate::store::rocks::RocksStores;
use crate::store::{StoreError, StoreSettings};
use crate::task::clock::SystemClock;
use crate::task::worker::{PolicyHandle, Turned, Worker, WorkerExit, WorkerSettings};
use crate::verdict::TopicNames;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the processor is told, by whoever read the settings.
#[derive(Clone)]
pub struct EngineSettings {
    pub kafka: KafkaSettings,
    pub admin_properties: Vec<(String, String)>,
    pub inputs: Inputs,
    pub topics: TopicNames,
    pub cluster_id: String,
    pub store: StoreSettings,
    pub workers: usize,
    pub commit_interval: Duration,
    pub max_intent_bytes: usize,
    pub max_batch_records: usize,
    /// How long a store may lie unused and still be trusted: less than the changelog keeps tombstones.
    pub trusted_for_ms: i64,
}

/// How the processor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// It has to be started again (exit code 75).
    Restart(String),
    /// It must not be started again as it is (exit code 1).
    Misconfigured(String),
}

const GAUGES_EVERY: Duration = Duration::from_secs(5);
const PARTITION_COUNTS_EVERY: Duration = Duration::from_secs(10);
const HANGING_EVERY: Duration = Duration::from_secs(10);
const MEMBERSHIP_EVERY: Duration = Duration::from_secs(10);
/// An open transaction is a matter for the operator from this age on: three times what ours may last.
const HANGING_AFTER: Duration = Duration::from_secs(30);
/// Well within the week for which a broker keeps them (see `WorkerSettings`).
const RENEW_OFFSETS_AFTER_MS: i64 = 24 * 3_600_000;
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// A transactional call that takes longer than the broker keeps a transaction, and this on top, is stuck for good.
const STUCK_GRACE: Duration = Duration::from_secs(20);

/// A running processor.
pub struct Running {
    stop: Arc<AtomicBool>,
    leave: Arc<AtomicBool>,
    ended: Mutex<Receiver<Ended>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts the workers and returns. They join the group by themselves.
///
/// # Errors
/// A client property with an impossible value; a state directory that cannot be used; a thread that cannot be started.
pub fn start(
    settings: EngineSettings,
    policy: PolicyHandle,
    bounds: Arc<Bounds>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
) -> Result<Running, String> {
    settings.kafka.check()?;
    let stores = RocksStores::new(settings.store.clone(), due_of).map_err(|error: StoreError| error.to_string())?;
    let set_aside = metrics.clone();
    stores.when_set_aside(move |_, why| set_aside.store_set_aside(why));
    let (sender, receiver) = mpsc::channel();
    let mut running = Running {
        stop: Arc::new(AtomicBool::new(false)),
        leave: Arc::new(AtomicBool::new(false)),
        ended: Mutex::new(receiver),
        threads: Vec::new(),
    };
    let origin = Instant::now();
    let mut call_clocks = Vec::new();
    let mut joins_anew = Vec::new();
    for index in 0..settings.workers {
        let call_clock = Arc::new(CallClock::default());
        call_clocks.push(call_clock.clone());
        let join_anew = Arc::new(AtomicBool::new(false));
        joins_anew.push(join_anew.clone());
        let seat = Seat {
            index,
            settings: settings.clone(),
            stores: stores.clone(),
            policy: policy.clone(),
            bounds: bounds.clone(),
            metrics: metrics.clone(),
            status: status.clone(),
            call_clock,
            origin,
            stop: running.stop.clone(),
            leave: running.leave.clone(),
            join_anew,
        };
        let sender = sender.clone();
        running.spawn(format!("worker-{index}"), move || seat.work(&sender))?;
    }
    let house = Housekeeping {
        settings,
        stores,
        metrics,
        status: status.clone(),
        call_clocks,
        joins_anew,
        origin,
        sender,
    };
    let stop = running.stop.clone();
    let watched = house.sender.clone();
    running.spawn("housekeeping".into(), move || {
        let kept = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| house.keep(&stop)));
        if kept.is_err() {
            // Without it nobody would watch the calls and the partition counts. The receiver may be gone already.
            let _ = watched.send(Ended::Restart("the housekeeping panicked".into()));
        }
    })?;
    Ok(running)
}

impl Running {
    /// Asks the workers to finish their batch and end. `leave`: the others take over at once.
    pub fn request_stop(&self, leave: bool) {
        self.leave.store(leave, Ordering::Release);
        self.stop.store(true, Ordering::Release);
    }

    /// Waits until the processor ended by itself, at most this long.
    pub fn ended_within(&self, wait: Duration) -> Option<Ended> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match ended.recv_timeout(wait) {
            Ok(ended) => Some(ended),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Ended::Stopped),
        }
    }

    /// Waits for all threads. Call [`Running::request_stop`] first.
    pub fn join(mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the processor panicked");
            }
        }
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let thread = std::thread::Builder::new().name(name).spawn(work);
        self.threads
            .push(thread.map_err(|error| format!("a thread cannot be started: {error}"))?);
        Ok(())
    }
}

/// Everything that one worker thread takes along.
struct Seat {
    index: usize,
    settings: EngineSettings,
    stores: RocksStores,
    policy: PolicyHandle,
    bounds: Arc<Bounds>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    call_clock: Arc<CallClock>,
    origin: Instant,
    stop: Arc<AtomicBool>,
    leave: Arc<AtomicBool>,
    /// Set where the group has forgotten a partition, and it is for this worker to make it hand everything out again.
    join_anew: Arc<AtomicBool>,
}

impl Seat {
    fn work(self, ended: &Sender<Ended>) {
        let (stop, leave) = (self.stop.clone(), self.leave.clone());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run(&stop, &leave)));
        let exit = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(exit)) => exit,
            Err(_) => WorkerExit::Fatal("a worker panicked".into()),
        };
        tracing::error!(%exit, "a worker cannot go on: the process ends and has to be started again; nothing is lost");
        // The receiver may be gone: the process is ending already.
        let _ = ended.send(Ended::Restart(exit.to_string()));
    }

    fn run(self, stop: &AtomicBool, leave: &AtomicBool) -> Result<(), WorkerExit> {
        let settings = &self.settings;
        let statistics = self.metrics.clone();
        let index = self.index;
        let log = KafkaLog {
            settings: settings.kafka.clone(),
            worker: self.index,
            inputs: settings.inputs.clone(),
            state_topic: settings.topics.state.to_string(),
            statistics: Some(Arc::new(move |role, text| {
                statistics.record_kafka(&format!("{role}/{index}"), text)
            })),
            call_clock: self.call_clock,
            origin: self.origin,
        };
        let worker_settings = WorkerSettings {
            index: self.index,
            inputs: settings.inputs.clone(),
            topics: settings.topics.clone(),
            cluster_id: settings.cluster_id.clone(),
            max_intent_bytes: settings.max_intent_bytes,
            batch_records: settings.max_batch_records,
            engagement_records: settings.max_batch_records.saturating_mul(2),
            commit_interval: settings.commit_interval,
            idle_wait: Duration::from_millis(10),
            barrier_wait: Duration::from_secs(2),
            renew_offsets_after_ms: RENEW_OFFSETS_AFTER_MS,
            trusted_for_ms: settings.trusted_for_ms,
            fresh_lineage: Box::new(rand::random),
        };
        let metrics = self.metrics.worker(self.bounds);
        let mut worker = Worker::new(
            worker_settings,
            log,
            self.stores,
            SystemClock,
            self.policy,
            metrics,
            self.status,
        )?;
        while !stop.load(Ordering::Acquire) {
            if self.join_anew.swap(false, Ordering::AcqRel) {
                worker.join_anew()?;
            }
            if worker.turn()? == Turned::Idle {
                std::thread::yield_now();
            }
        }
        if leave.load(Ordering::Acquire) || worker.hands_over() {
            worker.leave();
        }
        Ok(())
    }
}

struct Housekeeping {
    settings: EngineSettings,
    stores: RocksStores,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    call_clocks: Vec<Arc<CallClock>>,
    joins_anew: Vec<Arc<AtomicBool>>,
    origin: Instant,
    sender: Sender<Ended>,
}

impl Housekeeping {
    fn keep(self, stop: &AtomicBool) {
        let admin = Admin::new(&self.settings.kafka.bootstrap_servers, &self.settings.admin_properties);
        let (mut gauges, mut counts, mut sweep) = (Instant::now(), Instant::now(), Instant::now());
        let (mut hanging, mut membership) = (Instant::now(), Instant::now());
        let mut probe =
            HangingProbe::new(&self.settings.kafka, &self.settings.inputs, &self.settings.topics.state).ok();
        // The embedded broker describes no groups.
        let mut group = (!self.settings.kafka.embedded_broker)
            .then(|| MembershipProbe::new(&self.settings.kafka, self.settings.workers, &self.settings.inputs).ok())
            .flatten();
        while !stop.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(100));
            self.watch_calls();
            if gauges.elapsed() > GAUGES_EVERY {
                gauges = Instant::now();
                self.metrics
                    .record_stores(&self.stores.figures(), self.stores.block_cache_bytes());
            }
            if let Some(probe) = probe.as_mut().filter(|_| hanging.elapsed() > HANGING_EVERY) {
                hanging = Instant::now();
                self.look_for_hanging(probe);
            }
            if let Some(group) = group.as_mut().filter(|_| membership.elapsed() > MEMBERSHIP_EVERY) {
                membership = Instant::now();
                self.look_for_unowned(group);
            }
            if sweep.elapsed() > SWEEP_EVERY {
                sweep = Instant::now();
                if let Err(error) = self.stores.sweep() {
                    tracing::warn!(%error, "stores that were set aside could not be removed");
                }
            }
            if counts.elapsed() > PARTITION_COUNTS_EVERY && !self.settings.kafka.embedded_broker {
                counts = Instant::now();
                if let Ok(admin) = &admin
                    && let Some(problem) = self.changed_count(admin)
                {
                    tracing::error!(problem, "judging stops");
                    let _ = self.sender.send(Ended::Misconfigured(problem));
                    return;
                }
            }
        }
    }

    /// `send_offsets_to_transaction` ignores its time-out: a call that hangs would freeze the group in a rebalance.
    fn watch_calls(&self) {
        let longest = Duration::from_millis(TRANSACTION_TIMEOUT_MS) + STUCK_GRACE;
        if let Some(stuck) = self
            .call_clocks
            .iter()
            .map(|clock| clock.stuck_for(self.origin))
            .find(|t| *t > longest)
        {
            let why = format!("a transactional call has not come back for {} s", stuck.as_secs());
            self.status.trip(&why);
            tracing::error!(
                why,
                "the watchdog ends the process; it has to be started again, and nothing is lost"
            );
            std::process::exit(75);
        }
    }

    fn look_for_hanging(&self, probe: &mut HangingProbe) {
        let owned: Vec<i32> = self
            .status
            .readiness()
            .partitions
            .iter()
            .map(|entry| entry.partition)
            .collect();
        if owned.is_empty() || self.settings.kafka.embedded_broker {
            return;
        }
        let held = probe.look(&owned, HANGING_AFTER);
        let held: Vec<_> = held
            .into_iter()
            .map(|held| {
                let age_ms = u64::try_from(held.age.as_millis()).unwrap_or(u64::MAX);
                let topic = held.topic.to_string();
                (
                    held.partition,
                    HangingTransaction {
                        topic,
                        partition: held.partition,
                        age_ms,
                    },
                )
            })
            .collect();
        self.status.set_hanging(&held);
    }

    /// Says which partitions nobody in the group has, and where it is this process's turn, has a worker join anew.
    fn look_for_unowned(&self, group: &mut MembershipProbe) {
        let unowned = group.look();
        let partitions = unowned.as_ref().map(|unowned| unowned.partitions.as_slice());
        self.status.set_unowned(partitions.unwrap_or_default());
        let Some(unowned) = unowned else { return };
        tracing::warn!(partitions = ?unowned.partitions, "the group has left partitions without an owner");
        let join_anew = unowned.turn_of.and_then(|worker| self.joins_anew.get(worker));
        if let (Some(worker), Some(join_anew)) = (unowned.turn_of, join_anew) {
            tracing::warn!(worker, "leaving the group and joining anew, so that it hands them out");
            join_anew.store(true, Ordering::Release);
        }
    }

    fn changed_count(&self, admin: &Admin) -> Option<String> {
        let names: Vec<&str> = self.settings.inputs.topics.iter().map(|(name, _)| &**name).collect();
        let facts = admin.describe(&names, Duration::from_secs(5)).ok()?;
        let expected = self.settings.inputs.partition_count;
        names.iter().find_map(|name| {
            let count = facts.topics.get(*name)?.partition_count;
            (count != expected).then(|| {
                format!("{name} has {count} partitions now, it had {expected}: customers would change their owners")
            })
        })
    }
}
