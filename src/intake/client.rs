//! How the clients of one process are set up: the fixed part of every client's configuration, and why it is so.

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

/// What every client of a process shares.
#[derive(Clone)]
pub struct KafkaSettings {
    pub bootstrap_servers: String,
    pub group_id: String,
    /// Worker n joins as `<instance-id>/<n>` (in the group's alphabet, see [`member_name`]).
    pub instance_id: String,
    /// Settings of the operator for consumers and for producers, handed on as they are.
    pub consumer_properties: Vec<(String, String)>,
    pub producer_properties: Vec<(String, String)>,
    /// librdkafka's embedded broker: no group member identity, no transactions that survive; `forbear demo` alone.
    pub embedded_broker: bool,
}

/// How long a transactional call may take before the broker gives the transaction up. Other time limits rest on it.
pub const TRANSACTION_TIMEOUT_MS: u64 = 10_000;

/// See [`KafkaSettings::producer`].
const RETRY_BACKOFF_MS: u64 = 1_000;

impl KafkaSettings {
    /// The consumer of worker `worker`. Offsets are committed by transactions only, a position outside the log is an
    /// error that the task decides about (never a silent jump), ends of partitions are reported (the consent barrier
    /// needs them), and memory is bounded: with one queue a partition, the default would be 64 MiB for each of them.
    pub fn consumer(&self, worker: usize) -> ClientConfig {
        let mut config = self.base(&self.consumer_properties);
        set_default(&mut config, "statistics.interval.ms", "5000");
        set_default(&mut config, "session.timeout.ms", "15000");
        set_default(&mut config, "heartbeat.interval.ms", "3000");
        set_default(&mut config, "max.poll.interval.ms", "45000");
        set_default(&mut config, "partition.assignment.strategy", "cooperative-sticky");
        set_default(&mut config, "fetch.wait.max.ms", "100");
        set_default(&mut config, "queued.max.messages.kbytes", "8192");
        set_default(&mut config, "queued.min.messages", "20000");
        set_default(&mut config, "fetch.queue.backoff.ms", "5");
        config.set("group.id", &self.group_id);
        if !self.embedded_broker {
            config.set("group.instance.id", self.member_name(worker));
        }
        read_committed(&mut config);
        config
    }

    /// The transactional producer of worker `worker`.
    pub fn producer(&self, worker: usize) -> ClientConfig {
        let mut config = self.base(&self.producer_properties);
        config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string());
        set_default(&mut config, "statistics.interval.ms", "5000");
        // How long a commit may take without a doubt whether the client has asked for it twice (see `commit::kafka`): a broker
        // that writes to many partitions needs 100 ms and more. What is asked again after a lost connection waits as long.
        // (The client wants it no higher than its ceiling, which may be the operator's.)
        let ceiling_ms = config.get("retry.backoff.max.ms").and_then(|value| value.parse().ok());
        let backoff_ms = RETRY_BACKOFF_MS.min(ceiling_ms.unwrap_or(RETRY_BACKOFF_MS));
        set_default(&mut config, "retry.backoff.ms", &backoff_ms.to_string());
        set_default(&mut config, "linger.ms", "5");
        set_default(&mut config, "batch.size", "1000000");
        set_default(&mut config, "batch.num.messages", "10000");
        set_default(&mut config, "queue.buffering.max.messages", "500000");
        set_default(&mut config, "queue.buffering.max.kbytes", "262144");
        // The size of a record is decided by the topic, where `verify` looks; a smaller limit here would hide it.
        set_default(&mut config, "message.max.bytes", "16000000");
        config.set("transactional.id", self.transactional_id(worker));
        // The partition of a record without an explicit one is the one that Java's client would choose.
        config.set("partitioner", "murmur2_random");
        config
    }

    /// Reads changelog partitions by hand: assigned, never in the group.
    pub fn changelog(&self) -> ClientConfig {
        let mut config = self.base(&self.consumer_properties);
        config.remove("partition.assignment.strategy");
        // Nobody reads them here: they would pile up, or land in the log.
        config.set("statistics.interval.ms", "0");
        set_default(&mut config, "fetch.wait.max.ms", "50");
        set_default(&mut config, "queued.max.messages.kbytes", "16384");
        set_default(&mut config, "fetch.queue.backoff.ms", "5");
        // A consumer needs a group to be created, and asks who coordinates it; this one never joins it and never commits. The
        // group's own name, so that no right on another one is needed.
        config.set("group.id", &self.group_id);
        read_committed(&mut config);
        config
    }

    /// Asks for high watermarks: a `read_committed` client would answer the last stable offset, and a restore would stop
    /// below records that are about to become readable.
    pub fn watermarks(&self) -> ClientConfig {
        let mut config = self.changelog();
        config.set("isolation.level", "read_uncommitted");
        config
    }

    /// Makes each kind of client once, so that a property with an impossible value is found before the group is joined.
    /// Nothing has to answer.
    ///
    /// # Errors
    /// Which property is wrong. Its value is not told: it may be a secret.
    pub fn check(&self) -> Result<(), String> {
        let consumer = self.consumer(0).create::<BaseConsumer>().map(drop);
        let producer = self.producer(0).create::<BaseProducer>().map(drop);
        consumer.and(producer).map_err(|error| match error {
            KafkaError::ClientConfig(_, _, property, _) => {
                format!("[kafka.client] {property}: librdkafka does not take this value")
            }
            other => format!("[kafka.client]: {other}"),
        })
    }

    /// The transactional id of a worker.
    pub fn transactional_id(&self, worker: usize) -> String {
        format!("{}/{}/{worker}", self.group_id, self.instance_id)
    }

    /// The member name of a worker: `group.instance.id`.
    pub fn member_name(&self, worker: usize) -> String {
        format!("{}/{worker}", self.instance_id)
    }

    fn base(&self, properties: &[(String, String)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.bootstrap_servers);
        set_default(&mut config, "client.id", &format!("forbear-{}", self.instance_id));
        config
    }
}

fn read_committed(config: &mut ClientConfig) {
    config.set("isolation.level", "read_committed");
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "error");
    config.set("enable.partition.eof", "true");
}

fn set_default(config: &mut ClientConfig, key: &str, value: &str) {
    if config.get(key).is_none() {
        config.set(key, value);
    }
}
