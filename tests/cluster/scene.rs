//! One test's world: a broker, topics and a group of its own, and the way to its end: at rest, and audited.

// Two test binaries compile this module, and each uses a part of it.
#![allow(dead_code)]

use crate::audit_command;
use crate::auditor::{self, AuditInput, TopicNames, TopicRecord, Violation};
use crate::harness::{Broker, KafkaClient, Launch, TopicSet, unique_name, wait_until};
use crate::load::Load;
use crate::member::Member;
use crate::policies::{CHANNELS, Known};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Partitions of every input.
pub const PARTITIONS: i32 = 4;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How many of these tests run at a time: each has several processes.
const AT_A_TIME: usize = 2;

static FREE: LazyLock<(Mutex<usize>, Condvar)> = LazyLock::new(|| (Mutex::new(AT_A_TIME), Condvar::new()));

/// A place among the tests that run. Freed when dropped.
pub struct Place;

impl Place {
    pub fn take() -> Self {
        let (free, freed) = &*FREE;
        let mut count = free.lock().unwrap_or_else(PoisonError::into_inner);
        while *count == 0 {
            count = freed.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
        *count -= 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (free, freed) = &*FREE;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        freed.notify_one();
    }
}

/// What a test stands in.
pub struct Scene {
    pub name: String,
    pub client: KafkaClient,
    pub topics: TopicSet,
    pub launch: Launch,
    /// Every policy that may have judged.
    pub policies: Vec<Known>,
    _place: Place,
}

/// What was found at rest.
pub struct AtRest {
    pub topics: BTreeMap<String, Vec<TopicRecord>>,
    names: TopicNames,
}

impl Scene {
    /// On the broker that the tests share.
    pub fn new(stem: &str, policy: &Known) -> Self {
        let place = Place::take();
        Self::on(Broker::shared(), place, stem, policy)
    }

    /// On this broker.
    pub fn on(broker: &Broker, place: Place, stem: &str, policy: &Known) -> Self {
        let name = unique_name(stem);
        let client = broker.client();
        let topics = TopicSet::new(&name);
        topics.create(&client, PARTITIONS, CHANNELS);
        let launch = Launch::new(broker.bootstrap(), &name, &topics, &policy.text)
            .set("kafka.client.\"session.timeout.ms\"", "6000")
            .set("kafka.client.\"heartbeat.interval.ms\"", "1000")
            .set("kafka.client.\"reconnect.backoff.max.ms\"", "1000")
            .set("processing.workers", 2);
        Self {
            name,
            client,
            topics,
            launch,
            policies: vec![policy.clone()],
            _place: place,
        }
    }

    /// The launch of the n-th instance.
    pub fn instance(&self, number: usize) -> Launch {
        self.launch.clone().with_own_state(&format!("{}-{number}", self.name))
    }

    pub fn load(&self, prefix: &str, seed: u64) -> Load {
        Load::new(&self.client, &self.topics, prefix, seed)
    }

    /// Waits until these members hold all partitions between them, each running.
    pub fn wait_until_running(&self, members: &mut [&mut Member]) {
        let start = Instant::now();
        loop {
            members.iter_mut().for_each(|member| member.tend());
            if all_run(members) {
                return;
            }
            let answers: Vec<_> = members.iter().map(|member| member.readiness()).collect();
            assert!(
                start.elapsed() < PATIENCE,
                "not every partition came to run: {answers:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How many records the group has not processed.
    pub fn lag(&self) -> i64 {
        self.client.lag(&self.launch.group_id, &self.topics.inputs())
    }

    /// Waits until all inputs are processed, every partition runs and nothing is deferred any more.
    pub fn wait_until_at_rest(&self, members: &mut [&mut Member]) {
        let start = Instant::now();
        let mut quiet_looks = 0;
        loop {
            self.wait_until_running(members);
            let lag = self.lag();
            let deferred: f64 = members
                .iter()
                .map(|member| member.metric("forbear_deferred", &[]))
                .sum();
            quiet_looks = if lag == 0 && deferred == 0.0 {
                quiet_looks + 1
            } else {
                0
            };
            if quiet_looks == 3 {
                return;
            }
            let answers: Vec<_> = members.iter().map(|member| member.readiness()).collect();
            assert!(
                start.elapsed() < PATIENCE,
                "not at rest: lag {lag}, {deferred} deferred: {answers:?}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The end of every test: at rest, and no promise broken.
    pub fn audit(&self, members: &mut [&mut Member]) -> AtRest {
        self.wait_until_at_rest(members);
        let at_rest = self.read();
        let violations = self.violations(&at_rest);
        println!("{}: {}", self.name, at_rest.summary());
        let shown: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
        if !violations.is_empty() {
            for member in members.iter() {
                eprintln!("{}", member.whole_log());
            }
        }
        assert!(
            violations.is_empty(),
            "{} violations:\n{}",
            violations.len(),
            shown.join("\n")
        );
        // What anybody can run says the same.
        let (code, report) = audit_command::audit(&members[0].process, &[]);
        audit_command::assert_clean(code, &report);
        at_rest
    }

    /// What the auditor of the tests finds.
    pub fn violations(&self, at_rest: &AtRest) -> Vec<Violation> {
        auditor::audit(&AuditInput {
            lost: Default::default(),
            names: at_rest.names.clone(),
            partition_count: PARTITIONS,
            topics: at_rest.topics.clone(),
            policies: self
                .policies
                .iter()
                .map(|known| (known.label.clone(), known.facts.clone()))
                .collect(),
            engagement_has_append_times: false,
            clock_tolerance_ms: 0,
            settled_at_ms: Some(jiff::Timestamp::now().as_millisecond()),
        })
    }

    /// Everything in the topics of this test.
    pub fn read(&self) -> AtRest {
        let set = &self.topics;
        let names = TopicNames {
            intents: set.intents.clone(),
            engagement: set.engagement.clone(),
            approved_prefix: set.approved_prefix.clone(),
            suppressed_prefix: set.suppressed_prefix.clone(),
            decisions: set.decisions.clone(),
            dead_letter: set.dead_letter.clone(),
            reroute: set.reroute.clone(),
            policies: set.policies.clone(),
        };
        let read = |topic: String| {
            let records = self.client.read_topic(&topic).into_iter().map(|record| TopicRecord {
                partition: record.partition,
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key,
                value: record.value,
                headers: record.headers,
            });
            let records = records.collect();
            (topic, records)
        };
        // Reading waits for the broker more than it works: all of them at once.
        let topics = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .topic_names()
                .into_iter()
                .map(|topic| scope.spawn(|| read(topic)))
                .collect();
            let read = threads
                .into_iter()
                .map(|thread| thread.join().expect("a topic is read"));
            read.collect()
        });
        AtRest { topics, names }
    }

    /// Every topic that an auditor reads.
    fn topic_names(&self) -> Vec<String> {
        let set = &self.topics;
        let mut topics: Vec<String> = set.inputs().into_iter().map(str::to_owned).collect();
        topics.extend(
            CHANNELS
                .iter()
                .flat_map(|channel| [set.approved(channel), set.suppressed(channel)]),
        );
        topics.extend([set.decisions.clone(), set.dead_letter.clone(), set.policies.clone()]);
        topics
    }

    /// For many scenes on one cluster.
    pub fn delete_topics(&self) {
        let mut topics = self.topic_names();
        topics.push(self.topics.state.clone());
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.client.delete_topics(&names);
    }

    /// Waits until so many intents have ended.
    pub fn wait_for_verdicts(&self, count: i64) {
        wait_until("intents are judged", PATIENCE, || self.verdicts() >= count);
    }

    /// Offsets in the output topics, control records included: it grows while there is work.
    pub fn verdicts(&self) -> i64 {
        let ends = |topic: String| -> i64 {
            let ends = self.client.ends("read_committed", &topic);
            ends.map_or(0, |ends| ends.iter().sum())
        };
        CHANNELS
            .iter()
            .map(|channel| ends(self.topics.approved(channel)) + ends(self.topics.suppressed(channel)))
            .sum()
    }
}

/// Whether these members hold all partitions between them, each running.
pub fn all_run(members: &[&mut Member]) -> bool {
    let held: Vec<_> = members.iter().flat_map(|member| member.partitions()).collect();
    held.len() == PARTITIONS as usize && held.iter().all(|(_, state)| state == "running")
}

impl AtRest {
    pub fn records(&self, topic: &str) -> &[TopicRecord] {
        self.topics.get(topic).map(Vec::as_slice).unwrap_or_default()
    }

    /// Decision records of one verdict.
    pub fn decisions(&self, verdict: &str) -> usize {
        let wanted = format!("\"verdict\":\"{verdict}\"");
        let says = |record: &&TopicRecord| {
            let text = record.value.as_deref().map(String::from_utf8_lossy);
            text.is_some_and(|text| text.contains(&wanted))
        };
        self.records(&self.names.decisions).iter().filter(says).count()
    }

    /// Writes every topic to a file of its own, a line for each record, for whoever looks for the cause of a violation.
    pub fn write_to(&self, directory: &Path) {
        std::fs::create_dir_all(directory).expect("a folder for topics");
        for (topic, records) in &self.topics {
            let text = |bytes: &Option<Vec<u8>>| {
                bytes
                    .as_deref()
                    .map(String::from_utf8_lossy)
                    .unwrap_or_default()
                    .into_owned()
            };
            let line = |record: &TopicRecord| {
                let headers = record
                    .headers
                    .iter()
                    .map(|(name, value)| format!("{name}={}", text(value)));
                let headers: Vec<String> = headers.collect();
                format!(
                    "{}/{} {} {} {} {}\n",
                    record.partition,
                    record.offset,
                    record.timestamp_ms,
                    text(&record.key),
                    text(&record.value),
                    headers.join(" ")
                )
            };
            let lines: String = records.iter().map(line).collect();
            std::fs::write(directory.join(topic), lines).expect("a topic is written");
        }
    }

    pub fn dead_letters(&self) -> &[TopicRecord] {
        self.records(&self.names.dead_letter)
    }

    pub fn reroutes(&self) -> &[TopicRecord] {
        self.records(&self.names.reroute)
    }

    /// A load that shows something: verdicts of every kind, dead letters and strays.
    pub fn assert_rich(&self) {
        for verdict in ["approved", "suppressed", "deferred"] {
            assert!(self.decisions(verdict) > 0, "nothing was {verdict}");
        }
        assert!(!self.dead_letters().is_empty(), "there is no dead letter");
        assert!(!self.reroutes().is_empty(), "there is no stray");
    }

    pub fn summary(&self) -> String {
        let count = |names: &[String]| names.iter().map(|name| self.records(name).len()).sum::<usize>();
        format!(
            "{} intents, {} engagement events; {} approved, {} suppressed, {} deferrals, {} dead letters, {} re-routed",
            count(&self.names.intents),
            count(&self.names.engagement),
            self.decisions("approved"),
            self.decisions("suppressed"),
            self.decisions("deferred"),
            self.dead_letters().len(),
            self.reroutes().len(),
        )
    }
}
