//! Every metric, once: name, labels, help, and what to do when it moves. The registry is built from this list, and the page
//! `deploy/metrics.md`, the alerts and the dashboard are compared with it.
//!
//! Names and labels are public API. This file depends on nothing, so that the test of `deploy/` stays small.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets of seconds.
    Histogram,
}

/// One metric as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// With the prefix `forbear_`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
    /// What to do when it moves.
    pub act: &'static str,
}

/// Intents judged, by outcome. A deferred intent counts at each record about it.
pub const INTENTS_TOTAL: Description = Description {
    name: "forbear_intents_total",
    kind: Kind::Counter,
    labels: &["division", "channel", "verdict", "reason"],
    help: "Intents judged, by outcome. A deferred intent counts at each record about it.",
    act: "Share of `suppressed` or `policy_error` jumps: look at `reason` and at the newest policy. No increase although intents arrive: see `forbear_task_state`.",
};

/// Times that a rule blocked; mode is enforced or shadow.
pub const RULE_HITS_TOTAL: Description = Description {
    name: "forbear_rule_hits_total",
    kind: Kind::Counter,
    labels: &["rule", "mode"],
    help: "Times that a rule blocked; mode is enforced or shadow.",
    act: "Compare a shadow rule with what you expected before you enforce it. A rule that never hits may be shadowed by a stricter one.",
};

/// Engagement events applied, by type.
pub const ENGAGEMENT_TOTAL: Description = Description {
    name: "forbear_engagement_total",
    kind: Kind::Counter,
    labels: &["type"],
    help: "Engagement events applied, by type.",
    act: "No `delivered` any more: a sender stopped reporting, and caps count reservations only.",
};

/// Records sent to the dead-letter topic, by error.
pub const DEAD_LETTERS_TOTAL: Description = Description {
    name: "forbear_dead_letters_total",
    kind: Kind::Counter,
    labels: &["error"],
    help: "Records sent to the dead-letter topic, by error.",
    act: "Read the headers `forbear-error-detail` and `forbear-source` of the newest dead letters; repair the producer, replay.",
};

/// Intents that wait in the deferred queue.
pub const DEFERRED: Description = Description {
    name: "forbear_deferred",
    kind: Kind::Gauge,
    labels: &["partition"],
    help: "Intents that wait in the deferred queue.",
    act: "Grows without end: limits are too tight for the demand, or wakes are late (see lag).",
};

/// Time to judge one intent, without waiting for the log.
pub const DECISION_SECONDS: Description = Description {
    name: "forbear_decision_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "Time to judge one intent, without waiting for the log.",
    act: "Rises: larger ledgers, more rules, or a store that no longer fits its cache.",
};

/// From the append of an intent to the commit of its verdict.
pub const END_TO_END_SECONDS: Description = Description {
    name: "forbear_end_to_end_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "From the append of an intent to the commit of its verdict.",
    act: "Rises with the lag: add workers or instances; rises alone: commits or the consent barrier are slow.",
};

/// Time of one Kafka transaction, begin to end.
pub const COMMIT_SECONDS: Description = Description {
    name: "forbear_commit_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "Time of one Kafka transaction, begin to end.",
    act: "Rises: brokers are slow or many output partitions are written at once.",
};

/// Transactions by outcome: committed, aborted, fenced, unknown.
pub const TRANSACTIONS_TOTAL: Description = Description {
    name: "forbear_transactions_total",
    kind: Kind::Counter,
    labels: &["outcome"],
    help: "Transactions by outcome: committed, aborted, fenced, unknown.",
    act: "`fenced`: two processes share one instance id. `aborted` or `unknown` again and again: see the log for the broker's error.",
};

/// Records of an input that stand there, also in and behind open transactions, and are not processed here.
pub const CONSUMER_LAG_RECORDS: Description = Description {
    name: "forbear_consumer_lag_records",
    kind: Kind::Gauge,
    labels: &["topic", "partition"],
    help: "Records of an input that stand there, also in and behind open transactions, and are not processed here.",
    act: "Grows: a partition is blocked, or more is produced than judged: add instances.",
};

/// Time that a batch waited for engagement that Kafka held before its decision time.
pub const CONSENT_BARRIER_WAIT_SECONDS: Description = Description {
    name: "forbear_consent_barrier_wait_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "Time that a batch waited for engagement that Kafka held before its decision time.",
    act: "Rises: engagement is slower than intents, or a hanging transaction holds its end back.",
};

/// 1 for the state that a partition is in: restoring, running, blocked, closed.
pub const TASK_STATE: Description = Description {
    name: "forbear_task_state",
    kind: Kind::Gauge,
    labels: &["partition", "state"],
    help: "1 for the state that a partition is in: restoring, running, blocked, closed.",
    act: "`blocked`: `/readyz` says why; `forbear repair` is the way out where state cannot be proven.",
};

/// Changelog records replayed into stores.
pub const RESTORE_RECORDS_TOTAL: Description = Description {
    name: "forbear_restore_records_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Changelog records replayed into stores.",
    act: "Rises outside of deployments: stores are set aside, or instances move often.",
};

/// Changelog records that a restore still has to replay.
pub const RESTORE_REMAINING_RECORDS: Description = Description {
    name: "forbear_restore_remaining_records",
    kind: Kind::Gauge,
    labels: &["partition"],
    help: "Changelog records that a restore still has to replay.",
    act: "Does not fall: the changelog cannot be read, or a hanging transaction holds its end back.",
};

/// Records that lay on a partition that does not own their customer, by kind: intent or engagement.
pub const STRAYS_TOTAL: Description = Description {
    name: "forbear_strays_total",
    kind: Kind::Counter,
    labels: &["kind"],
    help: "Records that lay on a partition that does not own their customer, by kind: intent or engagement.",
    act: "A producer uses another partitioner (librdkafka's default is CRC32): set `partitioner=murmur2_random` and the customer id as the key.",
};

/// Values that the policy does not know, by field.
pub const UNKNOWN_VALUES_TOTAL: Description = Description {
    name: "forbear_unknown_values_total",
    kind: Kind::Counter,
    labels: &["field"],
    help: "Intents that are judged as the default class: `class`, they name one that the policy does not declare; `class-absent`, they name none.",
    act: "`class`: a division uses a word that the policy does not declare. Agree on the word.",
};

/// 1 for the policy that judges now.
pub const POLICY_INFO: Description = Description {
    name: "forbear_policy_info",
    kind: Kind::Gauge,
    labels: &["version"],
    help: "1 for the policy that judges now.",
    act: "More than one version over all instances for minutes: a rollout is stuck.",
};

/// Reloads of the policy file by outcome: success or error.
pub const POLICY_RELOADS_TOTAL: Description = Description {
    name: "forbear_policy_reloads_total",
    kind: Kind::Counter,
    labels: &["outcome"],
    help: "Reloads of the policy file by outcome: success or error.",
    act: "`error`: the old policy stays; the log has the line and column. Run `forbear policy check`.",
};

/// Bytes on disk of the stores of this process.
pub const STORE_BYTES: Description = Description {
    name: "forbear_store_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "Bytes on disk of the stores of this process.",
    act: "Plan for twice of it: compaction needs room, and a store that was set aside stays for a while.",
};

/// Keys in the stores of this process, estimated: an upper bound of the customers with state.
pub const CUSTOMERS: Description = Description {
    name: "forbear_customers",
    kind: Kind::Gauge,
    labels: &[],
    help: "Keys in the stores of this process, estimated: an upper bound of the customers with state.",
    act: "Falls to near 0: stores were set aside; restores are under way.",
};

/// Time spent by stage of the loop: consume, decode, lookup, judge, encode, produce, commit, store. Decode, lookup and judge
/// are measured together, and divided as every sixteenth record was; the others are measured whole.
pub const STAGE_SECONDS_TOTAL: Description = Description {
    name: "forbear_stage_seconds_total",
    kind: Kind::Counter,
    labels: &["stage"],
    help: "Time spent by stage of the loop: consume, decode, lookup, judge, encode, produce, commit, store.",
    act: "Tells where a slow loop spends its time: tune the largest.",
};

/// Age of the open transaction that holds back the end of a topic's partition.
pub const HANGING_TRANSACTION_SECONDS: Description = Description {
    name: "forbear_hanging_transaction_seconds",
    kind: Kind::Gauge,
    labels: &["topic", "partition"],
    help: "Age of the open transaction that holds back the end of a topic's partition.",
    act: "Find and abort it: `kafka-transactions.sh find-hanging`, then `abort`.",
};

/// When this process was started.
pub const START_TIME_SECONDS: Description = Description {
    name: "forbear_start_time_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "When this process was started, in seconds since 1970 (UTC).",
    act: "Changes again and again: the process ends and is started again; its log says why. `fenced`: two processes use one `instance-id`.",
};

/// Partitions that no member of the group has had for 20 s.
pub const UNOWNED_PARTITIONS: Description = Description {
    name: "forbear_unowned_partitions",
    kind: Kind::Gauge,
    labels: &[],
    help: "Partitions that no member of the group has had for 20 s, as this instance sees the group.",
    act: "An instance joins anew by itself, which hands them out. Stays above 0: restart the instances one after the other with `--leave`.",
};

/// Intents that retention removed before they were judged.
pub const LOST_INTENTS_TOTAL: Description = Description {
    name: "forbear_lost_intents_total",
    kind: Kind::Counter,
    labels: &["topic"],
    help: "Intents that retention removed before they were judged.",
    act: "They have no verdict. Lengthen the topic's retention, repair the lag, ask the divisions to send again.",
};

/// Stores that were not trusted and are rebuilt from the changelog.
pub const STORES_SET_ASIDE_TOTAL: Description = Description {
    name: "forbear_stores_set_aside_total",
    kind: Kind::Counter,
    labels: &["why"],
    help: "Stores that were not trusted and are rebuilt from the changelog.",
    act: "`corrupt`: look at the disk. `too-old`: an instance came back after a long time.",
};

/// Messages that a Kafka client received since it was started.
pub const KAFKA_RECEIVED_MESSAGES: Description = Description {
    name: "forbear_kafka_received_messages",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Messages that a Kafka client received since it was started.",
    act: "Stands still although there is lag: the client is paused or cannot reach a broker.",
};

/// Bytes that a Kafka client received since it was started.
pub const KAFKA_RECEIVED_BYTES: Description = Description {
    name: "forbear_kafka_received_bytes",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Bytes that a Kafka client received since it was started.",
    act: "For capacity.",
};

/// Messages that a Kafka client sent since it was started.
pub const KAFKA_SENT_MESSAGES: Description = Description {
    name: "forbear_kafka_sent_messages",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Messages that a Kafka client sent since it was started.",
    act: "For capacity.",
};

/// Bytes that a Kafka client sent since it was started.
pub const KAFKA_SENT_BYTES: Description = Description {
    name: "forbear_kafka_sent_bytes",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Bytes that a Kafka client sent since it was started.",
    act: "For capacity.",
};

/// Messages that a producer holds and the broker has not acknowledged.
pub const KAFKA_QUEUED_MESSAGES: Description = Description {
    name: "forbear_kafka_queued_messages",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Messages that a producer holds and the broker has not acknowledged.",
    act: "Grows: brokers are slow; commits wait for it.",
};

/// Bytes that a producer holds and the broker has not acknowledged.
pub const KAFKA_QUEUED_BYTES: Description = Description {
    name: "forbear_kafka_queued_bytes",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Bytes that a producer holds and the broker has not acknowledged.",
    act: "Near the client's limit, producing waits.",
};

/// Messages fetched and not yet taken by the loop.
pub const KAFKA_FETCHED_MESSAGES: Description = Description {
    name: "forbear_kafka_fetched_messages",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Messages fetched and not yet taken by the loop.",
    act: "Full: the loop is the bottleneck. Empty under lag: fetching is.",
};

/// Requests that wait to be sent or answered, over all brokers.
pub const KAFKA_WAITING_REQUESTS: Description = Description {
    name: "forbear_kafka_waiting_requests",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Requests that wait to be sent or answered, over all brokers.",
    act: "Grows: brokers or the network are slow.",
};

/// Transmit and receive errors since the client was started, over all brokers.
pub const KAFKA_REQUEST_ERRORS: Description = Description {
    name: "forbear_kafka_request_errors",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Transmit and receive errors since the client was started, over all brokers.",
    act: "Rises steadily: the network, or a broker that restarts.",
};

/// Requests that timed out since the client was started, over all brokers.
pub const KAFKA_REQUEST_TIMEOUTS: Description = Description {
    name: "forbear_kafka_request_timeouts",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Requests that timed out since the client was started, over all brokers.",
    act: "Rises: an overloaded broker.",
};

/// Slowest broker's round trip, 99th percentile.
pub const KAFKA_ROUND_TRIP_SECONDS: Description = Description {
    name: "forbear_kafka_round_trip_seconds",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Slowest broker's round trip, 99th percentile.",
    act: "Rises: commits and the consent barrier get slower with it.",
};

/// Brokers that the client is connected to.
pub const KAFKA_BROKERS_UP: Description = Description {
    name: "forbear_kafka_brokers_up",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Brokers that the client is connected to.",
    act: "0: the client reaches nobody.",
};

/// Rebalances of the group since the client was started.
pub const KAFKA_REBALANCES: Description = Description {
    name: "forbear_kafka_rebalances",
    kind: Kind::Gauge,
    labels: &["client"],
    help: "Rebalances of the group since the client was started.",
    act: "Rises outside of deployments: members miss their session, see the log.",
};

/// Memory used by the block cache that all stores share.
pub const ROCKSDB_BLOCK_CACHE_BYTES: Description = Description {
    name: "forbear_rocksdb_block_cache_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "Memory used by the block cache that all stores share.",
    act: "For capacity.",
};

/// Bytes on disk of one store.
pub const ROCKSDB_DISK_BYTES: Description = Description {
    name: "forbear_rocksdb_disk_bytes",
    kind: Kind::Gauge,
    labels: &["partition"],
    help: "Bytes on disk of one store.",
    act: "For capacity.",
};

/// Memory held by writes that are not in a table file yet.
pub const ROCKSDB_MEMTABLE_BYTES: Description = Description {
    name: "forbear_rocksdb_memtable_bytes",
    kind: Kind::Gauge,
    labels: &["partition"],
    help: "Memory held by writes that are not in a table file yet.",
    act: "For capacity.",
};

/// Keys of one store, as RocksDB estimates them.
pub const ROCKSDB_ESTIMATED_KEYS: Description = Description {
    name: "forbear_rocksdb_estimated_keys",
    kind: Kind::Gauge,
    labels: &["partition"],
    help: "Keys of one store, as RocksDB estimates them.",
    act: "For capacity.",
};

/// Bytes that compaction still has to rewrite.
pub const ROCKSDB_PENDING_COMPACTION_BYTES: Description = Description {
    name: "forbear_rocksdb_pending_compaction_bytes",
    kind: Kind::Gauge,
    labels: &["partition"],
    help: "Bytes that compaction still has to rewrite.",
    act: "Grows without end: the disk is too slow for the load.",
};

/// Errors of flushes and compactions since the store was opened.
pub const ROCKSDB_BACKGROUND_ERRORS: Description = Description {
    name: "forbear_rocksdb_background_errors",
    kind: Kind::Gauge,
    labels: &["partition"],
    help: "Errors of flushes and compactions since the store was opened.",
    act: "Above 0: the disk is full or damaged; the log names the store.",
};

/// All of them, in the order of the documentation.
pub const CATALOGUE: &[Description] = &[
    INTENTS_TOTAL,
    RULE_HITS_TOTAL,
    ENGAGEMENT_TOTAL,
    DEAD_LETTERS_TOTAL,
    DEFERRED,
    DECISION_SECONDS,
    END_TO_END_SECONDS,
    COMMIT_SECONDS,
    TRANSACTIONS_TOTAL,
    CONSUMER_LAG_RECORDS,
    CONSENT_BARRIER_WAIT_SECONDS,
    TASK_STATE,
    RESTORE_RECORDS_TOTAL,
    RESTORE_REMAINING_RECORDS,
    STRAYS_TOTAL,
    UNKNOWN_VALUES_TOTAL,
    POLICY_INFO,
    POLICY_RELOADS_TOTAL,
    STORE_BYTES,
    CUSTOMERS,
    STAGE_SECONDS_TOTAL,
    HANGING_TRANSACTION_SECONDS,
    UNOWNED_PARTITIONS,
    START_TIME_SECONDS,
    LOST_INTENTS_TOTAL,
    STORES_SET_ASIDE_TOTAL,
    KAFKA_RECEIVED_MESSAGES,
    KAFKA_RECEIVED_BYTES,
    KAFKA_SENT_MESSAGES,
    KAFKA_SENT_BYTES,
    KAFKA_QUEUED_MESSAGES,
    KAFKA_QUEUED_BYTES,
    KAFKA_FETCHED_MESSAGES,
    KAFKA_WAITING_REQUESTS,
    KAFKA_REQUEST_ERRORS,
    KAFKA_REQUEST_TIMEOUTS,
    KAFKA_ROUND_TRIP_SECONDS,
    KAFKA_BROKERS_UP,
    KAFKA_REBALANCES,
    ROCKSDB_BLOCK_CACHE_BYTES,
    ROCKSDB_DISK_BYTES,
    ROCKSDB_MEMTABLE_BYTES,
    ROCKSDB_ESTIMATED_KEYS,
    ROCKSDB_PENDING_COMPACTION_BYTES,
    ROCKSDB_BACKGROUND_ERRORS,
];

/// The page `deploy/metrics.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\nServed at `/metrics`. Names and labels are public API. No label takes a value from a message, except `division` and\n\
         `channel`, which the policy bounds: others are `other`. This page is made from `src/serve/catalogue.rs`.\n\n\
         | metric | kind, labels | meaning | what to do when it moves |\n|---|---|---|---|\n",
    );
    for metric in CATALOGUE {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: String = metric.labels.iter().map(|label| format!(", `{label}`")).collect();
        page.push_str(&format!(
            "| `{}` | {kind}{labels} | {} | {} |\n",
            metric.name, metric.help, metric.act
        ));
    }
    page
}
