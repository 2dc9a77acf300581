//! The metrics of the process, on a registry of their own. What each one means stands in [`catalogue`].
//!
//! The hot path does not come here for every record: a worker counts in its own [`WorkerMetrics`] and adds that up once a
//! batch. Label values are closed sets of ours, settings (topics), or bounded by the policy ([`Bounds`]).

use super::catalogue::{self, Description};
use super::kafka_statistics::KafkaMetrics;
use crate::message::Name;
use crate::policy::model::Policy;
use crate::policy::selector::{Field, Pattern, Selector, Term};
use crate::store::StoreFigures;
use prometheus::core::Collector;
use prometheus::local::{LocalHistogram, LocalIntCounterVec};
use prometheus::{
    Counter, CounterVec, Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Label value for what the policy does not know.
pub const OTHER: &str = "other";

/// How a Kafka transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// Cleanly.
    Committed,
    /// Known to be void.
    Aborted,
    /// Refused: somebody else holds the identity.
    Fenced,
    /// Recovery finds out.
    Unknown,
}

/// A stage of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Taking records from the client.
    Consume,
    /// Bytes to intents and events.
    Decode,
    /// Loading customers.
    Lookup,
    /// Applying and judging.
    Judge,
    /// Records and state as bytes.
    Encode,
    /// Handing records to the client.
    Produce,
    /// The transaction.
    Commit,
    /// Writing to RocksDB.
    Store,
}

/// The divisions and channels that the policy knows: everything else is [`OTHER`] as a label.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    divisions: HashSet<Box<str>>,
    channels: HashSet<Box<str>>,
}

/// Every metric. Cheap to share; the fields are used directly where they have no labels.
pub struct Metrics {
    registry: Registry,
    intents: IntCounterVec,
    rule_hits: IntCounterVec,
    engagement: IntCounterVec,
    dead_letters: IntCounterVec,
    deferred: IntGaugeVec,
    /// Time to judge one intent.
    pub decision_seconds: Histogram,
    /// Append to commit.
    pub end_to_end_seconds: Histogram,
    /// One transaction.
    pub commit_seconds: Histogram,
    transactions: IntCounterVec,
    consumer_lag: IntGaugeVec,
    /// Waiting for engagement.
    pub consent_barrier_wait_seconds: Histogram,
    pub(super) task_state: IntGaugeVec,
    /// Replayed changelog records.
    pub restore_records: IntCounter,
    pub(super) restore_remaining: IntGaugeVec,
    strays: IntCounterVec,
    unknown_values: IntCounterVec,
    policy_info: IntGaugeVec,
    policy_reloads: IntCounterVec,
    store_bytes: IntGauge,
    customers: IntGauge,
    stages: [Counter; 8],
    pub(super) hanging_transaction: IntGaugeVec,
    pub(super) unowned_partitions: IntGauge,
    start_time: IntGauge,
    lost_intents: IntCounterVec,
    stores_set_aside: IntCounterVec,
    kafka: KafkaMetrics,
    rocksdb_block_cache: IntGauge,
    /// In the order of [`store_values`].
    rocksdb: [IntGaugeVec; 5],
    /// Partitions with RocksDB series, to remove those of stores that are closed.
    reported_stores: Mutex<HashSet<i32>>,
}

/// One worker's own counters; added to the shared ones by [`WorkerMetrics::flush`], once a batch.
pub struct WorkerMetrics {
    metrics: Arc<Metrics>,
    bounds: Arc<Bounds>,
    intents: LocalIntCounterVec,
    rule_hits: LocalIntCounterVec,
    engagement: LocalIntCounterVec,
    decision_seconds: LocalHistogram,
    end_to_end_seconds: LocalHistogram,
}

impl Bounds {
    /// The divisions that the policy names, and its channels.
    pub fn of(policy: &Policy) -> Self {
        let stops = policy.stops.iter().map(|stop| &stop.governs);
        let exceptions = policy.exceptions.iter().map(|exception| &exception.governs);
        let rules = policy.rules.iter().flat_map(|rule| [&rule.governs, &rule.counts]);
        let mut divisions = Vec::new();
        for selector in rules.chain(stops).chain(exceptions) {
            divisions_in(selector, &mut divisions);
        }
        Bounds::new(
            divisions.iter().map(|name| &**name),
            policy.channels.iter().map(|channel| &*channel.name),
        )
    }

    /// Of the names that the policy mentions.
    pub fn new<'a>(divisions: impl IntoIterator<Item = &'a str>, channels: impl IntoIterator<Item = &'a str>) -> Self {
        Bounds {
            divisions: divisions.into_iter().map(Box::from).collect(),
            channels: channels.into_iter().map(Box::from).collect(),
        }
    }

    /// The label value for a division.
    pub fn division<'a>(&self, division: &'a str) -> &'a str {
        if self.divisions.contains(division) {
            division
        } else {
            OTHER
        }
    }

    /// The label value for a channel.
    pub fn channel<'a>(&self, channel: &'a str) -> &'a str {
        if self.channels.contains(channel) {
            channel
        } else {
            OTHER
        }
    }
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Arc<Metrics> {
        let registry = Registry::new();
        let build = Builder { registry: &registry };
        let stages = build.counter_f64(&catalogue::STAGE_SECONDS_TOTAL);
        let metrics = Metrics {
            intents: build.counters(&catalogue::INTENTS_TOTAL),
            rule_hits: build.counters(&catalogue::RULE_HITS_TOTAL),
            engagement: build.counters(&catalogue::ENGAGEMENT_TOTAL),
            dead_letters: build.counters(&catalogue::DEAD_LETTERS_TOTAL),
            deferred: build.gauges(&catalogue::DEFERRED),
            decision_seconds: build.histogram(&catalogue::DECISION_SECONDS, FAST_BUCKETS),
            end_to_end_seconds: build.histogram(&catalogue::END_TO_END_SECONDS, SLOW_BUCKETS),
            commit_seconds: build.histogram(&catalogue::COMMIT_SECONDS, SLOW_BUCKETS),
            transactions: build.counters(&catalogue::TRANSACTIONS_TOTAL),
            consumer_lag: build.gauges(&catalogue::CONSUMER_LAG_RECORDS),
            consent_barrier_wait_seconds: build.histogram(&catalogue::CONSENT_BARRIER_WAIT_SECONDS, SLOW_BUCKETS),
            task_state: build.gauges(&catalogue::TASK_STATE),
            restore_records: build
                .counters(&catalogue::RESTORE_RECORDS_TOTAL)
                .with_label_values::<&str>(&[]),
            restore_remaining: build.gauges(&catalogue::RESTORE_REMAINING_RECORDS),
            strays: build.counters(&catalogue::STRAYS_TOTAL),
            unknown_values: build.counters(&catalogue::UNKNOWN_VALUES_TOTAL),
            policy_info: build.gauges(&catalogue::POLICY_INFO),
            policy_reloads: build.counters(&catalogue::POLICY_RELOADS_TOTAL),
            store_bytes: build.gauges(&catalogue::STORE_BYTES).with_label_values::<&str>(&[]),
            customers: build.gauges(&catalogue::CUSTOMERS).with_label_values::<&str>(&[]),
            stages: STAGES.map(|(_, word)| stages.with_label_values(&[word])),
            hanging_transaction: build.gauges(&catalogue::HANGING_TRANSACTION_SECONDS),
            unowned_partitions: build
                .gauges(&catalogue::UNOWNED_PARTITIONS)
                .with_label_values::<&str>(&[]),
            start_time: build
                .gauges(&catalogue::START_TIME_SECONDS)
                .with_label_values::<&str>(&[]),
            lost_intents: build.counters(&catalogue::LOST_INTENTS_TOTAL),
            stores_set_aside: build.counters(&catalogue::STORES_SET_ASIDE_TOTAL),
            kafka: KafkaMetrics::new(|description| build.gauges_f64(description)),
            rocksdb_block_cache: build
                .gauges(&catalogue::ROCKSDB_BLOCK_CACHE_BYTES)
                .with_label_values::<&str>(&[]),
            rocksdb: STORE_METRICS.map(|description| build.gauges(&description)),
            reported_stores: Mutex::default(),
            registry,
        };
        metrics.start_closed_sets();
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics.start_time.set(signed(started.as_secs()));
        Arc::new(metrics)
    }

    /// Text format of the exposition.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Encoding fails only for a registry that mixes up its own families, or a writer that fails: neither occurs.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Counters for one worker.
    pub fn worker(self: &Arc<Self>, bounds: Arc<Bounds>) -> WorkerMetrics {
        WorkerMetrics {
            bounds,
            intents: self.intents.local(),
            rule_hits: self.rule_hits.local(),
            engagement: self.engagement.local(),
            decision_seconds: self.decision_seconds.local(),
            end_to_end_seconds: self.end_to_end_seconds.local(),
            metrics: self.clone(),
        }
    }

    /// One record to the dead-letter topic; `error` is the value of `forbear-error`.
    pub fn dead_letter(&self, error: &str) {
        self.dead_letters.with_label_values(&[error]).inc();
    }

    /// Length of a partition's deferred queue.
    pub fn set_deferred(&self, partition: i32, count: usize) {
        self.deferred
            .with_label_values(&[number(partition).as_str()])
            .set(signed(count as u64));
    }

    /// One transaction ended.
    pub fn transaction(&self, outcome: TransactionOutcome) {
        self.transactions.with_label_values(&[outcome.word()]).inc();
    }

    /// Committed records of an input that are not processed.
    pub fn set_lag(&self, topic: &str, partition: i32, records: i64) {
        self.consumer_lag
            .with_label_values(&[topic, &number(partition)])
            .set(records.max(0));
    }

    /// One record on a partition that does not own its customer; `kind` is `intent` or `engagement`.
    pub fn stray(&self, kind: &str) {
        self.strays.with_label_values(&[kind]).inc();
    }

    /// A value that the policy does not know; `field` is the name of the intent's field.
    pub fn unknown_value(&self, field: &str) {
        self.unknown_values.with_label_values(&[field]).inc();
    }

    /// The policy that judges from now on, by its label.
    pub fn set_policy(&self, label: &str) {
        self.policy_info.reset();
        self.policy_info.with_label_values(&[label]).set(1);
    }

    /// One reload of the policy file.
    pub fn policy_reload(&self, success: bool) {
        let outcome = if success { "success" } else { "error" };
        self.policy_reloads.with_label_values(&[outcome]).inc();
    }

    /// Time spent in one stage.
    pub fn stage(&self, stage: Stage, spent: Duration) {
        if let Some(index) = STAGES.iter().position(|(known, _)| *known == stage) {
            self.stages[index].inc_by(spent.as_secs_f64());
        }
    }

    /// Intents that retention removed before they were judged.
    pub fn lost_intents(&self, topic: &str, count: u64) {
        self.lost_intents.with_label_values(&[topic]).inc_by(count);
    }

    /// A store was set aside; `why` is one of our own words.
    pub fn store_set_aside(&self, why: &str) {
        self.stores_set_aside.with_label_values(&[why]).inc();
    }

    /// Statistics of one librdkafka client, as JSON. `client` is the client's role and worker, such as `consumer/0`.
    pub fn record_kafka(&self, client: &str, statistics: &str) {
        self.kafka.record(client, statistics);
    }

    /// Figures of all stores that are open now.
    pub fn record_stores(&self, figures: &[StoreFigures], block_cache_bytes: u64) {
        self.store_bytes
            .set(signed(figures.iter().map(|store| store.disk_bytes).sum()));
        self.customers
            .set(signed(figures.iter().map(|store| store.estimated_keys).sum()));
        self.rocksdb_block_cache.set(signed(block_cache_bytes));
        let mut reported = self.reported_stores.lock().unwrap_or_else(PoisonError::into_inner);
        let now: HashSet<i32> = figures.iter().map(|store| store.partition).collect();
        for gone in reported.difference(&now) {
            for gauges in &self.rocksdb {
                // Fails only where the series does not exist.
                let _ = gauges.remove_label_values(&[number(*gone).as_str()]);
            }
        }
        for store in figures {
            for (gauges, value) in self.rocksdb.iter().zip(store_values(store)) {
                gauges
                    .with_label_values(&[number(store.partition).as_str()])
                    .set(signed(value));
            }
        }
        *reported = now;
    }

    /// Removes what was reported of a partition that this process no longer owns.
    pub fn forget_partition(&self, partition: i32, topics: &[&str]) {
        let partition = number(partition);
        // Each fails only where the series does not exist.
        let _ = self.deferred.remove_label_values(&[partition.as_str()]);
        for topic in topics {
            let _ = self.consumer_lag.remove_label_values(&[topic, partition.as_str()]);
            let _ = self
                .hanging_transaction
                .remove_label_values(&[topic, partition.as_str()]);
        }
    }

    /// Series of closed sets exist from the start: an alert on a rate sees the first event.
    fn start_closed_sets(&self) {
        use TransactionOutcome::{Aborted, Committed, Fenced, Unknown};
        for outcome in [Committed, Aborted, Fenced, Unknown] {
            self.transactions.with_label_values(&[outcome.word()]);
        }
        for outcome in ["success", "error"] {
            self.policy_reloads.with_label_values(&[outcome]);
        }
        for kind in ["intent", "engagement"] {
            self.strays.with_label_values(&[kind]);
        }
        for error in DEAD_LETTER_ERRORS {
            self.dead_letters.with_label_values(&[error]);
        }
    }
}

impl WorkerMetrics {
    /// From now on, the names of this policy are labels.
    pub fn set_bounds(&mut self, bounds: Arc<Bounds>) {
        self.bounds = bounds;
    }

    /// One verdict (with the words of the contract), and the time that it took to find.
    pub fn verdict(&mut self, division: &str, channel: &str, verdict: &str, reason: &str) {
        let labels = [
            self.bounds.division(division),
            self.bounds.channel(channel),
            verdict,
            reason,
        ];
        self.intents.with_label_values(&labels).inc();
    }

    /// One rule that blocked. Rule ids come from the policy.
    pub fn rule_hit(&mut self, rule: &str, shadow: bool) {
        let mode = if shadow { "shadow" } else { "enforced" };
        self.rule_hits.with_label_values(&[rule, mode]).inc();
    }

    /// One event applied; `kind` is one of the known types.
    pub fn engagement(&mut self, kind: &str) {
        self.engagement.with_label_values(&[kind]).inc();
    }

    /// Time to judge one intent.
    pub fn decision(&mut self, spent: Duration) {
        self.decision_seconds.observe(spent.as_secs_f64());
    }

    /// Append to commit of one intent.
    pub fn end_to_end(&mut self, elapsed: Duration) {
        self.end_to_end_seconds.observe(elapsed.as_secs_f64());
    }

    /// Adds everything up: once a batch, after its commit.
    pub fn flush(&mut self) {
        self.intents.flush();
        self.rule_hits.flush();
        self.engagement.flush();
        self.decision_seconds.flush();
        self.end_to_end_seconds.flush();
    }

    /// Forgets what was counted since the last flush: the batch was dropped and will be judged again.
    pub fn discard(&mut self) {
        self.intents = self.metrics.intents.local();
        self.rule_hits = self.metrics.rule_hits.local();
        self.engagement = self.metrics.engagement.local();
        self.decision_seconds.clear();
        self.end_to_end_seconds.clear();
    }

    /// The shared ones.
    pub fn shared(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

impl TransactionOutcome {
    fn word(self) -> &'static str {
        match self {
            TransactionOutcome::Committed => "committed",
            TransactionOutcome::Aborted => "aborted",
            TransactionOutcome::Fenced => "fenced",
            TransactionOutcome::Unknown => "unknown",
        }
    }
}

const STAGES: [(Stage, &str); 8] = [
    (Stage::Consume, "consume"),
    (Stage::Decode, "decode"),
    (Stage::Lookup, "lookup"),
    (Stage::Judge, "judge"),
    (Stage::Encode, "encode"),
    (Stage::Produce, "produce"),
    (Stage::Commit, "commit"),
    (Stage::Store, "store"),
];

const DEAD_LETTER_ERRORS: [&str; 8] = [
    "not_json",
    "missing_field",
    "bad_field",
    "too_large",
    "unknown_type",
    "unknown_channel",
    "reserved_header",
    "reroute_failed",
];

/// Microseconds to tens of milliseconds.
const FAST_BUCKETS: &[f64] = &[2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2e-2, 0.1];
/// Milliseconds to minutes.
const SLOW_BUCKETS: &[f64] = &[
    1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 15.0, 60.0, 300.0,
];

const STORE_METRICS: [Description; 5] = [
    catalogue::ROCKSDB_DISK_BYTES,
    catalogue::ROCKSDB_MEMTABLE_BYTES,
    catalogue::ROCKSDB_ESTIMATED_KEYS,
    catalogue::ROCKSDB_PENDING_COMPACTION_BYTES,
    catalogue::ROCKSDB_BACKGROUND_ERRORS,
];

fn store_values(store: &StoreFigures) -> [u64; 5] {
    [
        store.disk_bytes,
        store.memtable_bytes,
        store.estimated_keys,
        store.pending_compaction_bytes,
        store.background_errors,
    ]
}

/// Makes metrics from their descriptions. The catalogue is ours, so a name that the registry refuses is a programming
/// error that every start of the process (and every test) would find.
struct Builder<'a> {
    registry: &'a Registry,
}

impl Builder<'_> {
    fn register<M: Collector + Clone + 'static>(&self, made: prometheus::Result<M>) -> M {
        let metric = made.expect("the catalogue has valid names");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("the catalogue has each name once");
        metric
    }

    fn counters(&self, description: &Description) -> IntCounterVec {
        self.register(IntCounterVec::new(options(description), description.labels))
    }

    fn counter_f64(&self, description: &Description) -> CounterVec {
        self.register(CounterVec::new(options(description), description.labels))
    }

    fn gauges(&self, description: &Description) -> IntGaugeVec {
        self.register(IntGaugeVec::new(options(description), description.labels))
    }

    fn gauges_f64(&self, description: &Description) -> prometheus::GaugeVec {
        self.register(prometheus::GaugeVec::new(options(description), description.labels))
    }

    fn histogram(&self, description: &Description, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(description.name, description.help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options))
    }
}

fn options(description: &Description) -> Opts {
    Opts::new(description.name, description.help)
}

pub(super) fn number(partition: i32) -> String {
    partition.to_string()
}

pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn divisions_in(selector: &Selector, divisions: &mut Vec<Name>) {
    for term in &selector.terms {
        match term {
            Term::AnyOf {
                field: Field::Division,
                patterns,
            } => {
                divisions.extend(patterns.iter().filter_map(|pattern| match pattern {
                    Pattern::Exact(name) => Some(name.clone()),
                    Pattern::Prefix(_) => None,
                }));
            }
            Term::Not(inner) => divisions_in(inner, divisions),
            _ => {}
        }
    }
}
