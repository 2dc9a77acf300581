//! `forbear demo`: divisions, customers, senders and the processor in one process, on the broker that comes with the
//! client, and a summary of what Forbear is for. The processor is the one of `forbear run`, unchanged; what is made up is
//! the world around it.

mod render;
mod tally;

pub(super) use render::table;

use super::engine;
use super::generate::now_ms;
use super::interrupt::Interrupt;
use super::senders::{Approved, Senders};
use super::settings::Settings;
use super::topic_rules::{self, Role};
use super::workload::{Feed, Generated, Workload, WorkloadPlan};
use super::{Format, to_standard_error, to_standard_output};
use crate::commit::plain::{Place, PlainProducer};
use crate::intake::embedded::EmbeddedBroker;
use crate::intake::tail::{Tail, TailRecord};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tally::{Decision, Tally};

/// The policy of the demo, with its windows in fast motion.
const POLICY: &str = include_str!("../../../deploy/policies/demo.yaml");
/// The channels of that policy.
const CHANNELS: [&str; 3] = ["email", "push", "sms"];
/// How long a day lasts in that policy.
const DAY_MS: i64 = 4_000;
/// How the ids of the customers of the warm-up begin.
const VISITOR: &str = "visitor-";
const PARTITIONS: i32 = 4;
const CUSTOMERS: u32 = 150;
const INTENTS_PER_SECOND: f64 = 40.0;
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long after the last intent verdicts may still come in.
const AFTERMATH: Duration = Duration::from_secs(3);
/// How long the processor may take for its first verdict: joining a group takes a few seconds.
const WARM_UP: Duration = Duration::from_secs(30);

#[derive(Args)]
pub struct DemoArguments {
    /// Run on this Kafka cluster instead of the embedded broker; topics of its own are created there
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// How long divisions send
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Another seed gives other customers and other messages
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How the summary is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn execute(arguments: &DemoArguments) -> Result<ExitCode, String> {
    let interrupt = Interrupt::listen()?;
    let directory = Scratch::new()?;
    let mut settings = settings_for(arguments, directory.path())?;
    to_standard_error(&introduction(arguments, &settings));
    let broker = provide_broker(arguments, &mut settings)?;
    let mut stage = Stage::open(&settings)?;
    let processor = engine::start(&settings, broker.is_some())?;
    let played = stage.play(arguments, &interrupt);
    let stopped = processor.stop();
    played?;
    let (tally, start_ms) = stage.close();
    // The last of its clients is gone: nobody complains that the broker is.
    drop(broker);
    let summary = tally.summary(start_ms);
    match arguments.format {
        Format::Json => to_standard_output(&serde_json::to_string(&summary).map_err(|error| error.to_string())?),
        Format::Text => {
            let summary = render::summary(&summary, DAY_MS);
            to_standard_output(&format!("\n{summary}\n\n{}", afterword(arguments)));
        }
    }
    stopped?;
    if summary.totals.approved == 0 && !interrupt.asked() {
        return Err("no message was approved in this time; try a longer --seconds".to_owned());
    }
    Ok(ExitCode::SUCCESS)
}

fn introduction(arguments: &DemoArguments, settings: &Settings) -> String {
    let broker = match &arguments.brokers {
        Some(brokers) => format!(
            "on the cluster at {brokers}, in topics that begin with {}",
            prefix_of(settings)
        ),
        None => "on the broker embedded in the Kafka client".to_owned(),
    };
    format!(
        "Six divisions court {CUSTOMERS} customers for {} seconds, {broker}.\n\
         None of them knows what the others send. Forbear stands between: one policy for all of them.\n\
         Time runs fast: a day lasts {} seconds, so \"four a week\" is four in {}. Ctrl-C ends it early, with a summary.\n",
        arguments.seconds,
        DAY_MS / 1000,
        7 * DAY_MS / 1000
    )
}

fn afterword(arguments: &DemoArguments) -> &'static str {
    match arguments.brokers {
        Some(_) => "The topics of this demo are still there; read them with isolation.level=read_committed.",
        None => {
            "What this cannot show: the embedded broker keeps nothing and has no real transactions.\n\
             Exactly once, restarts and several instances need a real cluster: forbear demo --brokers HOST:PORT\n\
             Quiet hours follow the real clock and are left out of this policy."
        }
    }
}

fn settings_for(arguments: &DemoArguments, directory: &Path) -> Result<Settings, String> {
    let mut settings = Settings::parse("", []).map_err(|error| error.to_string())?;
    let policy_file = directory.join("policy.yaml");
    std::fs::write(&policy_file, POLICY).map_err(|error| format!("cannot write {}: {error}", policy_file.display()))?;
    settings.policy.file = policy_file;
    settings.state.directory = directory.join("state");
    settings.state.block_cache_mib = 32;
    settings.state.write_buffer_mib = 16;
    settings.processing.workers = 1;
    settings.http.listen.set_port(0);
    settings.log.level = "error".to_owned();
    let run = format!("forbear-demo-{}-{}", std::process::id(), now_ms());
    settings.kafka.group_id = run.clone();
    settings.kafka.instance_id = "demo".to_owned();
    if let Some(brokers) = &arguments.brokers {
        settings.kafka.bootstrap_servers = brokers.clone();
        prefix_topics(&mut settings, &run);
    }
    Ok(settings)
}

/// The topics, and the embedded broker unless there is a real one. The embedded one takes a few seconds to make them.
fn provide_broker(arguments: &DemoArguments, settings: &mut Settings) -> Result<Option<EmbeddedBroker>, String> {
    let channels = CHANNELS.map(str::to_owned);
    if arguments.brokers.is_some() {
        super::topics::create(settings, &channels, Some(PARTITIONS), None)?;
        return Ok(None);
    }
    let topics: Vec<(String, i32)> = topic_rules::expected(&settings.topics, &channels)
        .into_iter()
        .map(|topic| (topic.name, if topic.role == Role::Policies { 1 } else { PARTITIONS }))
        .collect();
    let broker = EmbeddedBroker::start(&topics)?;
    settings.kafka.bootstrap_servers = broker.bootstrap_servers();
    Ok(Some(broker))
}

fn prefix_topics(settings: &mut Settings, run: &str) {
    let topics = &mut settings.topics;
    let singles = [
        &mut topics.approved_prefix,
        &mut topics.suppressed_prefix,
        &mut topics.dead_letter,
        &mut topics.reroute,
        &mut topics.state,
        &mut topics.policies,
    ];
    let lists = topics
        .intents
        .iter_mut()
        .chain(topics.engagement.iter_mut())
        .chain(topics.decisions.iter_mut());
    for name in singles.into_iter().chain(lists) {
        *name = format!("{run}.{name}");
    }
}

fn prefix_of(settings: &Settings) -> &str {
    &settings.kafka.group_id
}

/// The world around the processor, in one loop: divisions ask, senders send, customers answer, the audience counts.
struct Stage<'a> {
    settings: &'a Settings,
    producer: PlainProducer,
    tail: Tail,
    senders: Senders,
    tally: Tally,
    start_ms: i64,
    /// Intents that were produced; each ends in a decision or a dead letter.
    intents: u64,
    /// Decisions about the customers of the warm-up, who take no part in what follows.
    visitors_judged: u64,
}

impl<'a> Stage<'a> {
    fn open(settings: &'a Settings) -> Result<Stage<'a>, String> {
        let topics = &settings.topics;
        let mut watched: Vec<String> = CHANNELS.iter().map(|channel| topics.approved(channel)).collect();
        watched.push(topics.dead_letter.clone());
        watched.extend(topics.decisions.clone());
        let servers = &settings.kafka.bootstrap_servers;
        Ok(Stage {
            settings,
            producer: PlainProducer::new(servers, &[])?,
            tail: Tail::open(servers, &[], &watched, false, TIMEOUT)?,
            senders: Senders::new(DAY_MS),
            tally: Tally::default(),
            start_ms: now_ms(),
            intents: 0,
            visitors_judged: 0,
        })
    }

    /// Ends the clients; what was counted stays.
    fn close(self) -> (Tally, i64) {
        (self.tally, self.start_ms)
    }

    fn play(&mut self, arguments: &DemoArguments, interrupt: &Interrupt) -> Result<(), String> {
        let show = Show::new();
        self.warm_up(arguments, interrupt, &show)?;
        self.start_ms = now_ms();
        let start = Instant::now();
        let plan = self.plan(arguments);
        let end = Duration::from_secs(arguments.seconds);
        let mut workload = Workload::new(plan).peekable();
        while start.elapsed() < end && !interrupt.asked() {
            let elapsed_ms = start.elapsed().as_millis() as i64;
            while let Some(record) = workload.next_if(|record| record.after_ms <= elapsed_ms) {
                self.produce(&record)?;
            }
            self.turn()?;
            show.counters(start.elapsed(), &self.tally);
        }
        let settled = Instant::now() + AFTERMATH;
        while Instant::now() < settled && self.judged() < self.intents {
            self.turn()?;
        }
        show.end();
        Ok(())
    }

    /// Waits until the processor holds its partitions, so that the first day of the demo is a whole one.
    fn warm_up(&mut self, arguments: &DemoArguments, interrupt: &Interrupt, show: &Show) -> Result<(), String> {
        show.say("Forbear joins its group; this takes a few seconds …");
        let plan = WorkloadPlan {
            customers: 64,
            malformed: 0.0,
            repeat: 0.0,
            skew: 0.0,
            ..self.plan(arguments)
        };
        let first = Workload::new(plan)
            .filter(|record| record.feed == Feed::Intents)
            .take(16);
        let mut asked = 0;
        for record in first {
            let body = String::from_utf8_lossy(&record.value)
                .replace("customer-", VISITOR)
                .replace("intent-", "visit-");
            let key = String::from_utf8_lossy(&record.key).replace("customer-", VISITOR);
            let topic = &self.settings.topics.intents[0];
            self.producer
                .send(topic, Some(key.as_bytes()), body.as_bytes(), Place::Owner, TIMEOUT)?;
            asked += 1;
        }
        let deadline = Instant::now() + WARM_UP;
        while self.visitors_judged < asked {
            if interrupt.asked() {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("the processor judged nothing within {} s", WARM_UP.as_secs()));
            }
            self.turn()?;
        }
        Ok(())
    }

    fn plan(&self, arguments: &DemoArguments) -> WorkloadPlan {
        WorkloadPlan {
            seed: arguments.seed,
            customers: CUSTOMERS,
            rate: INTENTS_PER_SECOND,
            malformed: 0.004,
            stray: 0.01,
            repeat: 0.01,
            skew: 0.7,
            engagement: 0.0,
            start_ms: self.start_ms,
            channels: CHANNELS.map(str::to_owned).to_vec(),
            day_ms: DAY_MS,
        }
    }

    fn produce(&mut self, record: &Generated) -> Result<(), String> {
        let topic = super::generate::topic_of(self.settings, record, 0);
        let place = record.astray.map_or(Place::Owner, Place::Elsewhere);
        self.producer
            .send(topic, Some(&record.key), &record.value, place, TIMEOUT)?;
        if record.feed == Feed::Intents {
            self.intents += 1;
            self.tally.asked(record.division.unwrap_or("unknown"));
        }
        Ok(())
    }

    /// Reads what came out, and lets customers answer.
    fn turn(&mut self) -> Result<(), String> {
        let mut wait = Duration::from_millis(20);
        while let Some(record) = self.tail.next(wait) {
            wait = Duration::ZERO;
            self.read(&record);
        }
        let now = now_ms();
        while let Some(answer) = self.senders.next_due(now) {
            let topic = &self.settings.topics.engagement[0];
            let key = answer.customer_id.as_bytes();
            self.producer
                .send(topic, Some(key), answer.value.as_bytes(), Place::Owner, TIMEOUT)?;
            self.tally.answered(&answer.customer_id, &answer.kind, answer.due_ms);
        }
        Ok(())
    }

    fn read(&mut self, record: &TailRecord) {
        let topics = &self.settings.topics;
        let value = record.value.as_deref().unwrap_or_default();
        if Some(&record.topic) == topics.decisions.as_ref() {
            if let Ok(decision) = serde_json::from_slice::<Decision>(value) {
                match decision.customer_id.starts_with(VISITOR) {
                    true => self.visitors_judged += 1,
                    false => self.tally.decided(decision),
                }
            }
        } else if record.topic == topics.dead_letter {
            self.tally.dead_letter();
        } else if let Some(message) = approved(record, &topics.approved_prefix)
            && !message.customer_id.starts_with(VISITOR)
        {
            self.senders.send(&message, now_ms());
        }
    }

    fn judged(&self) -> u64 {
        let totals = self.tally.totals();
        totals.approved + totals.suppressed + totals.waiting + totals.dead_letters
    }
}

/// A record of an approved topic, as a sender reads it.
fn approved(record: &TailRecord, prefix: &str) -> Option<Approved> {
    let header = |name: &str| {
        let found = record.headers.iter().rev().find(|(header, _)| header == name)?;
        String::from_utf8(found.1.clone()?).ok()
    };
    let body: serde_json::Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    Some(Approved {
        decision_id: header("forbear-decision-id")?,
        customer_id: body["customer_id"].as_str()?.to_owned(),
        intent_id: body["intent_id"].as_str()?.to_owned(),
        channel: record.topic.strip_prefix(prefix)?.to_owned(),
    })
}

/// Counters: one refreshed line on a terminal, a line every few seconds elsewhere; both on standard error.
struct Show {
    line: Option<ProgressBar>,
    shown: std::cell::Cell<u64>,
}

impl Show {
    fn new() -> Show {
        let line = std::io::stderr().is_terminal().then(|| {
            let line = ProgressBar::new_spinner();
            line.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            line.enable_steady_tick(Duration::from_millis(120));
            line
        });
        Show {
            line,
            shown: std::cell::Cell::new(0),
        }
    }

    fn say(&self, text: &str) {
        match &self.line {
            Some(line) => line.set_message(text.to_owned()),
            None => to_standard_error(text),
        }
    }

    fn counters(&self, elapsed: Duration, tally: &Tally) {
        const EVERY_SECONDS: u64 = 5;
        match &self.line {
            Some(line) => line.set_message(render::counters(elapsed.as_secs(), &tally.totals())),
            None if elapsed.as_secs() >= self.shown.get() + EVERY_SECONDS => {
                self.shown.set(elapsed.as_secs());
                to_standard_error(&render::counters(elapsed.as_secs(), &tally.totals()));
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, String> {
        let path = std::env::temp_dir().join(format!("forbear-demo-{}-{}", std::process::id(), now_ms()));
        std::fs::create_dir_all(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Scratch(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the directory for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approved_record_is_read_as_a_sender_reads_it() {
        let record = TailRecord {
            topic: "approved.push".to_owned(),
            key: None,
            value: Some(br#"{"customer_id":"c","intent_id":"i","channel":"email"}"#.to_vec()),
            headers: vec![("forbear-decision-id".to_owned(), Some(b"t/0/1/0".to_vec()))],
        };
        let message = approved(&record, "approved.").expect("a message");
        assert_eq!(
            (message.channel.as_str(), message.decision_id.as_str()),
            ("push", "t/0/1/0")
        );
        assert_eq!(
            approved(
                &TailRecord {
                    headers: vec![],
                    ..record
                },
                "approved."
            ),
            None
        );
    }

    #[test]
    fn every_topic_of_a_demo_on_a_real_cluster_has_a_name_of_its_own() {
        let mut settings = Settings::parse("", []).expect("settings");
        prefix_topics(&mut settings, "demo-7");
        let channels = CHANNELS.map(str::to_owned);
        for topic in topic_rules::expected(&settings.topics, &channels) {
            assert!(topic.name.starts_with("demo-7."), "{}", topic.name);
        }
    }
}
