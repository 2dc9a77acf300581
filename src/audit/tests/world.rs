//! A processor in miniature that writes topics in memory as the real one does: the same batch, and one transaction for each.

use crate::audit::log::{LogRecord, MemoryLogs};
use crate::audit::reading::owner;
use crate::audit::report::{Promise, Report};
use crate::audit::{From, Request, Topics, audit};
use crate::commit::log::Outgoing;
use crate::commit::marker::Marker;
use crate::customer::keys::{due_of, marker_key};
use crate::intake::source::{InputKind, Inputs, Record};
use crate::policy::model::Policy;
use crate::store::memory::{MemoryStore, MemoryStores};
use crate::store::{Store, StoreIdentity, StoreMeta, Stores};
use crate::task::batch::{BatchContext, Work, prepare};
use crate::verdict::TopicNames;
use std::collections::HashSet;
use std::path::PathBuf;

pub const PARTITIONS: i32 = 2;
const LINEAGE: [u8; 16] = [9; 16];
/// A Wednesday, 12:00 in New York.
pub const START_MS: i64 = 1_772_038_800_000 + 2 * 86_400_000;

/// Channels, limits and hours of these tests.
pub const POLICY: &str = r#"forbear: 1
name: small
timezone: America/New_York
defaults: { on-hit: suppress, class: marketing, max-defer: 7d, remember-intents: 35d }
channels:
  email: { consent: opt-out, valid-for: 6h, release-on: [failed] }
  sms: { consent: opt-in }
classes:
  legal: { rank: 3, obeys: [suppression-list], counts: false }
  marketing: { rank: 1, obeys: all, counts: true }
responses: [clicked]
rules:
  - { id: week, cap: { limit: 2, window: 7d }, for: { class: marketing }, on-hit: defer }
  - { id: nights, quiet-hours: { timezone: customer, quiet: [ { days: mon-sun, from: "21:00", to: "08:00" } ] }, for: { channel: sms } }
  - { id: gateway, capacity: { limit: 40, window: 1h }, for: { channel: email } }
"#;

/// Topics, and what judges over them.
pub struct World {
    pub logs: MemoryLogs,
    policy: Policy,
    stores: Vec<MemoryStore>,
    names: TopicNames,
    inputs: Inputs,
    /// By partition: seq, and how far each input is read.
    seqs: Vec<u64>,
    read: Vec<Vec<i64>>,
    pub now_ms: i64,
}

impl World {
    pub fn new() -> Self {
        let topics = topics();
        let mut logs = MemoryLogs::default();
        let outputs = topics.outputs(&["email".to_owned(), "sms".to_owned()]);
        let all = topics.inputs().map(str::to_owned).chain(outputs);
        for topic in all.chain([topics.state.clone(), topics.policies.clone()]) {
            logs.create(&topic, PARTITIONS as usize);
        }
        let kinds = [InputKind::Intents, InputKind::Engagement, InputKind::Reroute];
        let inputs = Inputs {
            topics: topics.inputs().map(Into::into).zip(kinds).collect(),
            partition_count: PARTITIONS,
        };
        let policy = Policy::load(POLICY.as_bytes(), "policy", None).expect("a policy").0;
        let mut stores = MemoryStores::new(due_of);
        let open = |partition| {
            let identity = StoreIdentity {
                cluster_id: "c".into(),
                state_topic: "t".into(),
                partition,
                partition_count: PARTITIONS,
            };
            stores.open(&identity, 0).expect("a store")
        };
        Self {
            stores: (0..PARTITIONS).map(open).collect(),
            names: TopicNames {
                approved_prefix: "approved.".into(),
                suppressed_prefix: "suppressed.".into(),
                decisions: Some("forbear.decisions".into()),
                dead_letter: "forbear.dead-letter".into(),
                reroute: "forbear.reroute".into(),
                state: "forbear.state".into(),
                policies: "forbear.policies".into(),
            },
            logs,
            policy,
            inputs,
            seqs: vec![0; PARTITIONS as usize],
            read: vec![vec![0; 3]; PARTITIONS as usize],
            now_ms: START_MS,
        }
    }

    /// Writes an intent; `more` is appended to its members.
    pub fn intent(&mut self, id: &str, customer: &str, channel: &str, more: &str) {
        let body = format!(
            r#"{{"intent_id":"{id}","customer_id":"{customer}","channel":"{channel}","division":"cards"{more}}}"#
        );
        self.send("forbear.intents", owner(customer, PARTITIONS), customer, &body);
    }

    pub fn event(&mut self, id: &str, customer: &str, kind: &str, more: &str) {
        let at = jiff::Timestamp::from_millisecond(self.now_ms).expect("an instant");
        let body =
            format!(r#"{{"event_id":"{id}","customer_id":"{customer}","type":"{kind}","occurred_at":"{at}"{more}}}"#);
        self.send("forbear.engagement", owner(customer, PARTITIONS), customer, &body);
    }

    /// Writes any record to an input.
    pub fn send(&mut self, topic: &str, partition: i32, key: &str, body: &str) {
        let record = LogRecord {
            timestamp_ms: self.now_ms,
            has_append_time: true,
            key: Some(key.as_bytes().to_vec()),
            value: Some(body.as_bytes().to_vec()),
            headers: ["traceparent", "tracestate"]
                .map(|name| (name.to_owned(), Some(b"00-4b".to_vec())))
                .to_vec(),
            ..LogRecord::default()
        };
        self.logs
            .append(topic, partition as usize, record)
            .expect("a partition");
    }

    /// One transaction of each partition, some time later.
    pub fn judge(&mut self, after_ms: i64) {
        self.now_ms += after_ms;
        for partition in 0..PARTITIONS {
            self.batch(partition);
        }
    }

    fn batch(&mut self, partition: i32) {
        let index = partition as usize;
        let (mut engagement, mut intents) = (Vec::new(), Vec::new());
        for (topic, (name, kind)) in self.inputs.topics.iter().enumerate() {
            let (_, records) = &self.logs.topics[&**name][index];
            let position = &mut self.read[index][topic];
            for record in records.iter().filter(|record| record.offset >= *position) {
                let read = Record {
                    topic: topic as u16,
                    partition,
                    offset: record.offset,
                    timestamp_ms: record.timestamp_ms,
                    key: record.key.clone(),
                    value: record.value.clone(),
                    headers: record.headers.clone(),
                };
                match kind {
                    InputKind::Intents => intents.push(read),
                    _ => engagement.push(read),
                }
            }
            *position = records.last().map_or(0, |last| last.offset + 1);
        }
        let store = &mut self.stores[index];
        let ahead = self.inputs.topics.iter().zip(&self.read[index]).skip(1);
        let work = Work {
            partition,
            lineage: LINEAGE,
            now_ms: self.now_ms,
            barrier: ahead.map(|((name, _), position)| (name.clone(), *position)).collect(),
            engagement,
            intents,
            due: store.due(self.now_ms, usize::MAX).expect("hints"),
            retime: Vec::new(),
            may_judge: true,
            renews_offsets: false,
            due_at_most: usize::MAX,
            rerouted_at_most: usize::MAX,
        };
        let context = BatchContext {
            policy: &self.policy,
            topics: &self.names,
            inputs: &self.inputs,
            max_intent_bytes: 983_040,
            poisoned: &HashSet::new(),
        };
        let prepared = prepare(&context, store, &work).expect("a batch");
        self.seqs[index] += 1;
        let meta = StoreMeta {
            changelog_position: self.seqs[index] as i64,
            last_applied_ms: 0,
        };
        store.write(&prepared.changes, &meta).expect("a store");
        store.forget_due(&prepared.served).expect("a store");
        let positions = self.inputs.topics.iter().zip(&self.read[index]);
        let marker = Marker {
            seq: self.seqs[index],
            lineage: LINEAGE,
            partition_count: PARTITIONS,
            now_ms: self.now_ms,
            positions: positions.map(|((name, _), at)| (name.to_string(), *at)).collect(),
            repaired: false,
            deferred: 0,
            timed_by: Some(self.policy.sha256),
        };
        let mut changes = prepared.changes;
        changes.push((marker_key(partition), Some(marker.encode())));
        for (key, value) in changes {
            let record = LogRecord {
                key: Some(key),
                value,
                ..LogRecord::default()
            };
            self.logs.append("forbear.state", index, record);
        }
        let hash: String = self.policy.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = LogRecord {
            key: Some(hash.into_bytes()),
            value: Some(self.policy.text.clone()),
            ..LogRecord::default()
        };
        self.logs.append("forbear.policies", 0, text);
        for record in prepared.outgoing {
            self.write(record);
        }
    }

    fn write(&mut self, outgoing: Outgoing) {
        let by_key = || {
            let key = outgoing.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
            owner(key.unwrap_or_default(), PARTITIONS)
        };
        let partition = outgoing.partition.unwrap_or_else(by_key);
        let record = LogRecord {
            timestamp_ms: outgoing.timestamp_ms.unwrap_or(self.now_ms),
            key: outgoing.key,
            value: outgoing.value,
            headers: outgoing.headers,
            ..LogRecord::default()
        };
        self.logs.append(&outgoing.topic, partition as usize, record);
    }

    /// The records of a topic, over its partitions.
    pub fn records(&mut self, topic: &str) -> impl Iterator<Item = (usize, &mut LogRecord)> {
        let partitions = self.logs.topics.get_mut(topic).expect("a topic").iter_mut().enumerate();
        partitions.flat_map(|(partition, (_, records))| records.iter_mut().map(move |record| (partition, record)))
    }

    /// Audits everything.
    pub fn audit(&mut self) -> Report {
        self.audit_with(|_| {})
    }

    pub fn audit_with(&mut self, change: impl FnOnce(&mut Request)) -> Report {
        let mut request = request();
        change(&mut request);
        let mut stores = MemoryStores::new(|_, _| None);
        audit(&mut self.logs, &mut stores, &request, &mut |_| true).expect("an audit")
    }
}

fn topics() -> Topics {
    Topics {
        intents: vec!["forbear.intents".into()],
        engagement: vec!["forbear.engagement".into()],
        approved_prefix: "approved.".into(),
        suppressed_prefix: "suppressed.".into(),
        decisions: "forbear.decisions".into(),
        dead_letter: "forbear.dead-letter".into(),
        reroute: "forbear.reroute".into(),
        state: "forbear.state".into(),
        policies: "forbear.policies".into(),
    }
}

fn request() -> Request {
    Request {
        topics: topics(),
        max_intent_bytes: 983_040,
        partitions: None,
        from: From::Beginning,
        until_ms: None,
        promises: Promise::ALL.into_iter().collect(),
        clock_tolerance_ms: 0,
        memory_bytes: 20_000,
        directory: scratch(),
    }
}

/// A directory that nobody else has.
fn scratch() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("forbear-audit-test-{}-{number}", std::process::id()))
}
