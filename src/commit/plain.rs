//! A producer without transactions, for synthetic load: it plays the divisions and the senders, not Forbear. Idempotent,
//! all replicas, and placed as Java's client would place it, except where a record is meant to go astray.

use crate::intake::rights::{Operation, no_right};
use crate::message::murmur2;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The partition that owns its key.
    Owner,
    /// One of the others; the number chooses which. With a single partition there is no other.
    Elsewhere(u32),
}

/// How far the producer has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    pub records: u64,
    pub failed: u64,
}

/// Sends records of which nobody waits for a single one.
pub struct PlainProducer {
    producer: ThreadedProducer<Counting>,
    counts: Arc<Counts>,
    partition_counts: HashMap<String, i32>,
}

#[derive(Default)]
struct Counts {
    records: AtomicU64,
    failed: AtomicU64,
    /// Why the first one failed.
    why: OnceLock<String>,
}

struct Counting(Arc<Counts>);

impl rdkafka::ClientContext for Counting {}

impl rdkafka::producer::ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, _: ()) {
        let count = match result {
            Ok(_) => &self.0.records,
            Err((error, message)) => {
                self.0.why.get_or_init(|| failure(error, message.topic()));
                &self.0.failed
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl PlainProducer {
    /// Does not connect yet.
    pub fn new(bootstrap_servers: &str, properties: &[(String, String)]) -> Result<PlainProducer, String> {
        let mut config = ClientConfig::new();
        config.set("linger.ms", "5");
        for (name, value) in properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", bootstrap_servers);
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("partitioner", "murmur2_random");
        config.set("allow.auto.create.topics", "false");
        let counts = Arc::new(Counts::default());
        let producer = config
            .create_with_context(Counting(counts.clone()))
            .map_err(|error| format!("the Kafka client cannot be set up: {error}"))?;
        Ok(PlainProducer {
            producer,
            counts,
            partition_counts: HashMap::new(),
        })
    }

    /// Queues a record; waits while the queue is full, at most `patience`.
    pub fn send(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: &[u8],
        place: Place,
        patience: Duration,
    ) -> Result<(), String> {
        let partition = match (place, key) {
            (Place::Elsewhere(choice), Some(key)) => {
                let count = self.partition_count(topic, patience)?;
                (count > 1).then(|| elsewhere(key, choice, count))
            }
            _ => None,
        };
        let deadline = Instant::now() + patience;
        let mut record = BaseRecord::to(topic).payload(value);
        record.key = key;
        record.partition = partition;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                    record = back;
                }
                Err((error, _)) => return Err(failure(&error, topic)),
            }
        }
    }

    /// Waits until everything queued is delivered or has failed.
    pub fn flush(&self, timeout: Duration) -> Result<(), String> {
        self.producer
            .flush(timeout)
            .map_err(|error| format!("records are still on their way: {error}"))
    }

    /// What became of the records so far.
    pub fn delivered(&self) -> Delivered {
        Delivered {
            records: self.counts.records.load(Ordering::Relaxed),
            failed: self.counts.failed.load(Ordering::Relaxed),
        }
    }

    /// Why the first record failed that did.
    pub fn first_failure(&self) -> Option<&str> {
        self.counts.why.get().map(String::as_str)
    }

    fn partition_count(&mut self, topic: &str, timeout: Duration) -> Result<i32, String> {
        if let Some(count) = self.partition_counts.get(topic) {
            return Ok(*count);
        }
        let metadata = self
            .producer
            .client()
            .fetch_metadata(Some(topic), timeout)
            .map_err(|error| format!("cannot ask for the partitions of {topic}: {error}"))?;
        let count = metadata.topics().first().map_or(0, |found| found.partitions().len()) as i32;
        self.partition_counts.insert(topic.to_owned(), count);
        Ok(count)
    }
}

fn failure(error: &KafkaError, topic: &str) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => no_right(
            &[Operation::Write],
            &format!("the topic {topic} (or it does not exist)"),
        ),
        _ => format!("cannot write to {topic}: {error}"),
    }
}

/// A partition that does not own the key.
fn elsewhere(key: &[u8], choice: u32, count: i32) -> i32 {
    let count = count.max(2) as u32;
    let owner = (murmur2(key) & 0x7fff_ffff) as u32 % count;
    ((owner + 1 + choice % (count - 1)) % count) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_is_never_the_owner_and_reaches_every_other_partition() {
        let key = b"customer-7";
        let owner = (murmur2(key) & 0x7fff_ffff) % 4;
        let reached: std::collections::BTreeSet<i32> = (0..30).map(|choice| elsewhere(key, choice, 4)).collect();
        assert!(!reached.contains(&owner));
        assert_eq!(reached.len(), 3);
    }
}
