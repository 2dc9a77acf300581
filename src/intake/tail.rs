//! Reads topics from their beginning, without a group and without committing: for the demo's senders and its audience.
//! Only what is committed is seen.

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// One record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailRecord {
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A reader of all partitions of some topics.
pub struct Tail {
    consumer: BaseConsumer,
}

impl Tail {
    /// Starts reading at the beginning of every partition (`from_end`: at what is appended from now on).
    pub fn open(
        bootstrap_servers: &str,
        properties: &[(String, String)],
        topics: &[String],
        from_end: bool,
        timeout: Duration,
    ) -> Result<Tail, String> {
        let mut config = ClientConfig::new();
        for (name, value) in properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", bootstrap_servers);
        // A consumer needs the name of a group to be made; this one never joins it.
        config.set("group.id", "forbear-tail");
        config.set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest");
        config.set("fetch.wait.max.ms", "50");
        let consumer: BaseConsumer = config
            .create()
            .map_err(|error| format!("the Kafka client cannot be set up: {error}"))?;
        let mut assignment = TopicPartitionList::new();
        let deadline = Instant::now() + timeout;
        for topic in topics {
            let left = deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(500));
            let metadata = consumer
                .fetch_metadata(Some(topic), left)
                .map_err(|error| format!("cannot ask for the partitions of {topic}: {error}"))?;
            let count = metadata.topics().first().map_or(0, |found| found.partitions().len());
            let start = if from_end { Offset::End } else { Offset::Beginning };
            for partition in 0..count as i32 {
                assignment
                    .add_partition_offset(topic, partition, start)
                    .map_err(|error| format!("cannot read {topic}: {error}"))?;
            }
        }
        consumer
            .assign(&assignment)
            .map_err(|error| format!("cannot read the topics: {error}"))?;
        Ok(Tail { consumer })
    }

    /// The next record; none if there was none within `wait`. An error is passed over: the client tries again by itself.
    pub fn next(&self, wait: Duration) -> Option<TailRecord> {
        let message = self.consumer.poll(wait)?.ok()?;
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect()
        });
        Some(TailRecord {
            topic: message.topic().to_owned(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        })
    }
}
