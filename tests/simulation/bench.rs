//! A small calm cluster that a test drives by hand: a few partitions, workers that are started and stopped one by one, and
//! trouble only where the test makes it.

use super::broker::Broker;
use super::client::{Cluster, Connection};
use super::engine::Starting;
use super::faults::Chances;
use super::fleet::{ProcessClock, Running, STATE_TOPIC, Surroundings, Turned};
use super::group::Group;
use super::partition::Data;
use crate::auditor::TopicNames;
use crate::auditor::reading::owner;
use forbear::customer::keys::due_of;
use forbear::intake::source::{InputKind, Inputs};
use forbear::policy::model::Policy;
use forbear::serve::status::PartitionState;
use forbear::store::memory::MemoryStores;
use forbear::task::worker::WorkerSettings;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

pub const HOUR_MS: i64 = 3_600_000;
const BARRIER_WAIT_MS: u64 = 2_000;
/// A Tuesday, at noon.
const START_MS: i64 = 1_767_700_800_000;

/// E-mails two in 24 hours at most, four hours apart; what does not fit waits.
pub const RELAXED: &str = r#"forbear: 1
name: relaxed
timezone: UTC
defaults: { on-hit: defer, class: marketing, max-defer: 6d, remember-intents: 35d }
channels: { email: { consent: opt-out } }
classes: { marketing: { rank: 1, obeys: all, counts: true } }
rules:
  - { id: spacing, gap: 4h }
"#;

/// As [`RELAXED`], two days apart.
pub const SLOW: &str = r#"forbear: 1
name: slow
timezone: UTC
defaults: { on-hit: defer, class: marketing, max-defer: 6d, remember-intents: 35d }
channels: { email: { consent: opt-out } }
classes: { marketing: { rank: 1, obeys: all, counts: true } }
rules:
  - { id: spacing, gap: 48h }
"#;

/// The cluster.
pub struct Bench {
    pub cluster: Cluster,
    inputs: Inputs,
    next_worker: u64,
}

/// One worker on it, in a process of its own.
pub struct Member {
    pub worker: Starting,
    pub disk: MemoryStores,
    number: u64,
    cluster: Cluster,
}

pub fn policy(text: &str) -> Arc<Policy> {
    match Policy::load(text.as_bytes(), "policy.yaml", None) {
        Ok((policy, _)) => Arc::new(policy),
        Err(diagnostics) => panic!("the policy does not load: {}", diagnostics.to_text(false)),
    }
}

impl Bench {
    pub fn new(partitions: i32) -> Self {
        let names = TopicNames::default();
        let group = Group::new(partitions, 15_000, 45_000);
        let mut broker = Broker::new(ChaCha8Rng::seed_from_u64(1), group, START_MS, 10_000);
        for name in names.intents.iter().chain(&names.engagement).chain([&names.reroute]) {
            broker.create_topic(name, partitions, false, 1_000_000);
        }
        broker.create_topic(STATE_TOPIC, partitions, true, 2_000_000);
        broker.create_topic(&names.policies, 1, true, 2_000_000);
        for name in [&names.decisions, &names.dead_letter] {
            broker.create_topic(name, partitions, false, 2_000_000);
        }
        for prefix in [&names.approved_prefix, &names.suppressed_prefix] {
            broker.create_topic(&format!("{prefix}email"), partitions, false, 2_000_000);
        }
        let kinds = [
            (&names.intents[0], InputKind::Intents),
            (&names.engagement[0], InputKind::Engagement),
            (&names.reroute, InputKind::Reroute),
        ];
        Self {
            cluster: Cluster::new(broker, Chances::CALM),
            inputs: Inputs {
                topics: kinds.map(|(name, kind)| (name.as_str().into(), kind)).to_vec(),
                partition_count: partitions,
            },
            next_worker: 1,
        }
    }

    /// A process with that name, on its own disk.
    pub fn start(&mut self, instance: &str, policy_text: &str) -> Member {
        self.start_on(&MemoryStores::new(due_of), instance, policy_text)
    }

    /// A process that finds what an earlier one left on its disk.
    pub fn start_on(&mut self, disk: &MemoryStores, instance: &str, policy_text: &str) -> Member {
        let number = self.next_worker;
        self.next_worker += 1;
        let connection = Connection::new(self.cluster.clone(), self.inputs.clone(), STATE_TOPIC, instance, number);
        let around = Surroundings {
            connection,
            cluster: self.cluster.clone(),
            clock: ProcessClock::right(),
            barrier_wait_ms: BARRIER_WAIT_MS,
        };
        Member {
            worker: Starting::new(around, disk, policy(policy_text)),
            disk: disk.clone(),
            number,
            cluster: self.cluster.clone(),
        }
    }

    pub fn advance(&self, by_ms: i64) {
        self.cluster.advance(by_ms, &BTreeSet::new());
    }

    /// A customer of that partition.
    pub fn customer(&self, partition: i32, number: usize) -> String {
        let of = |id: &String| owner(id.as_bytes(), self.inputs.partition_count) == partition;
        let mut ids = (0..).map(|n| format!("customer-{n}")).filter(of);
        ids.nth(number).expect("an endless list")
    }

    pub fn intent(&self, partition: i32, customer: &str, intent_id: &str) {
        self.intent_with(partition, customer, intent_id, json!({}));
    }

    pub fn intent_with(&self, partition: i32, customer: &str, intent_id: &str, more: Value) {
        let mut body =
            json!({ "intent_id": intent_id, "customer_id": customer, "channel": "email", "division": "cards" });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.append("forbear.intents", partition, customer, &body);
    }

    pub fn event(&self, partition: i32, customer: &str, event_id: &str, kind: &str) {
        self.append(
            "forbear.engagement",
            partition,
            customer,
            &self.event_body(customer, event_id, kind),
        );
    }

    pub fn event_body(&self, customer: &str, event_id: &str, kind: &str) -> Value {
        let occurred_at = jiff::Timestamp::from_millisecond(self.cluster.now_ms()).expect("an instant");
        json!({ "event_id": event_id, "customer_id": customer, "type": kind, "occurred_at": occurred_at.to_string() })
    }

    pub fn data(&self, customer: &str, body: &Value) -> Data {
        Data {
            timestamp_ms: self.cluster.now_ms(),
            key: Some(customer.as_bytes().to_vec()),
            value: Some(body.to_string().into_bytes()),
            headers: Vec::new(),
        }
    }

    fn append(&self, topic: &str, partition: i32, customer: &str, body: &Value) {
        let data = self.data(customer, body);
        let mut shared = self.cluster.lock();
        shared
            .broker
            .partition(topic, partition)
            .expect("a partition")
            .append(None, data);
    }

    /// What is committed in a topic, partition by partition.
    pub fn values(&self, topic: &str) -> Vec<Value> {
        let shared = self.cluster.lock();
        let partitions = shared.broker.topics.get(topic).map(|topic| &topic.partitions);
        let records = partitions.into_iter().flatten().flat_map(|log| log.history());
        let read = |(_, data): (i64, &Data)| serde_json::from_slice(data.value.as_deref().unwrap_or_default());
        records.map(|record| read(record).unwrap_or(Value::Null)).collect()
    }

    /// The ids of the intents in a topic.
    pub fn intent_ids(&self, topic: &str) -> BTreeSet<String> {
        let values = self.values(topic);
        let ids = values.iter().filter_map(|value| value["intent_id"].as_str());
        ids.map(str::to_owned).collect()
    }

    pub fn approved(&self) -> BTreeSet<String> {
        self.intent_ids("approved.email")
    }

    pub fn suppressed(&self) -> BTreeSet<String> {
        self.intent_ids("suppressed.email")
    }

    /// The newest decision about an intent.
    pub fn decision(&self, intent_id: &str) -> Option<Value> {
        let decisions = self.values("forbear.decisions");
        decisions
            .into_iter()
            .rfind(|decision| decision["intent_id"] == intent_id)
    }

    pub fn set_leader(&self, topic: &str, partition: i32, is_there: bool) {
        let mut shared = self.cluster.lock();
        let place = (topic.to_owned(), partition);
        match is_there {
            true => shared.broker.leaderless.remove(&place),
            false => shared.broker.leaderless.insert(place),
        };
    }
}

impl Member {
    pub fn with(mut self, adjust: fn(&mut WorkerSettings)) -> Self {
        self.worker.adjust = adjust;
        self
    }

    /// One turn. A worker that ends is none that these tests want.
    pub fn turn(&mut self) -> bool {
        match self.worker.turn() {
            Turned::Exit(why) => panic!("the worker ended: {why}"),
            turned => turned == Turned::Busy,
        }
    }

    /// Turns, a tenth of a second each, until that holds.
    pub fn turn_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..1_000 {
            if holds(self) {
                return;
            }
            self.turn();
            self.cluster.advance(100, &BTreeSet::new());
        }
        panic!("in vain until {what}: {}", self.worker.describe());
    }

    /// So many turns, a tenth of a second each.
    pub fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
            self.cluster.advance(100, &BTreeSet::new());
        }
    }

    pub fn state(&self, partition: i32) -> Option<PartitionState> {
        self.worker.status.partition(partition).map(|status| status.state)
    }

    /// What `/readyz` says is the matter with a partition.
    pub fn reason(&self, partition: i32) -> String {
        let status = self.worker.status.partition(partition);
        status.and_then(|status| status.reason).unwrap_or_default()
    }

    pub fn is_running(&self, partition: i32) -> bool {
        self.state(partition) == Some(PartitionState::Running)
    }

    /// kill -9. What it left on its disk.
    pub fn kill(self) -> MemoryStores {
        self.cluster.kill(self.number);
        // Nobody sits in its seat until its session is over.
        self.cluster.advance(20_000, &BTreeSet::new());
        self.disk
    }
}
