//! Reads stretches of partitions by hand: for `forbear audit`, which looks at topics without being part of the processor. No
//! group is joined and nothing is committed; only committed records are seen, and the end is proven by position, not by
//! silence.

use crate::intake::answers::{CALL_TIMEOUT, bounds_of};
use crate::intake::client::KafkaSettings;
use crate::intake::queue::{NativeClient, Queue};
use crate::intake::rights::{Operation, no_right};
use crate::intake::source::Headers;
use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Records that one poll takes over at most.
const RECORDS_AT_ONCE: usize = 500;

/// One record as it stands in a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    pub offset: i64,
    /// UTC milliseconds.
    pub timestamp_ms: i64,
    /// The time is that of the append, given by the broker, and not the producer's.
    pub has_append_time: bool,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

/// Asks a cluster about its partitions and opens them for reading.
pub struct Partitions {
    settings: KafkaSettings,
    committed: BaseConsumer,
    appended: BaseConsumer,
}

impl Partitions {
    /// Does not connect yet.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn new(settings: KafkaSettings) -> Result<Self, String> {
        let refused = |error| format!("the Kafka client cannot be set up: {error}");
        Ok(Self {
            committed: settings.changelog().create().map_err(refused)?,
            appended: settings.watermarks().create().map_err(refused)?,
            settings,
        })
    }

    /// How many partitions a topic has; none: it does not exist.
    ///
    /// # Errors
    /// No answer in time, or no permission.
    pub fn count(&self, topic: &str) -> Result<Option<i32>, String> {
        let failed = |error: String| format!("cannot ask for the partitions of {topic}: {error}");
        let metadata = self
            .committed
            .fetch_metadata(Some(topic), CALL_TIMEOUT)
            .map_err(|error| failed(error.to_string()))?;
        let Some(found) = metadata.topics().first() else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(no_right(
                &[Operation::Read],
                &format!("the topic {topic} (or it does not exist)"),
            )),
            Some(error) => Err(failed(error.to_string())),
        }
    }

    /// The first offset, and the end: of what is decided (`committed`), or of everything that was appended.
    ///
    /// # Errors
    /// No answer in time.
    pub fn bounds(&self, topic: &str, partition: i32, committed: bool) -> Result<(i64, i64), String> {
        let client = if committed { &self.committed } else { &self.appended };
        bounds_of(client, topic, partition)
            .map_err(|error| format!("cannot ask for the bounds of {topic}/{partition}: {error}"))
    }

    /// Opens the records with `from <= offset < until`.
    ///
    /// # Errors
    /// The client cannot be set up.
    pub fn open(&self, topic: &str, partition: i32, from: i64, until: i64) -> Result<Stretch, String> {
        let failed = |error| format!("cannot read {topic}/{partition}: {error}");
        let mut config = self.settings.changelog();
        if config.get("queued.min.messages").is_none() {
            config.set("queued.min.messages", "5000");
        }
        let consumer: BaseConsumer = config.create().map_err(failed)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(from))
            .map_err(failed)?;
        let client = Arc::new(Client(consumer));
        let queue = Queue::new(client.clone());
        queue.forward(topic, partition);
        client.0.assign(&list).map_err(failed)?;
        Ok(Stretch {
            queue,
            client,
            place: format!("{topic}/{partition}"),
            position: from,
            until,
            waiting: VecDeque::new(),
        })
    }
}

struct Client(BaseConsumer);

impl NativeClient for Client {
    fn native_handle(&self) -> *mut sys::rd_kafka_t {
        self.0.client().native_ptr()
    }
}

/// A stretch of one partition that is being read.
pub struct Stretch {
    /// Dropped before the client (declaration order).
    queue: Queue<Client>,
    client: Arc<Client>,
    place: String,
    position: i64,
    until: i64,
    waiting: VecDeque<StoredRecord>,
}

/// What a look at a stretch brought.
#[derive(Debug, PartialEq)]
pub enum Look {
    Record(StoredRecord),
    /// Nothing yet.
    Nothing,
    /// Everything below its end has been read.
    Over,
}

impl Stretch {
    /// The next record; waits at most `wait` for it.
    ///
    /// # Errors
    /// The position is not in the log any more, or reading is forbidden. (Other errors the client gets over by itself.)
    pub fn look(&mut self, wait: Duration) -> Result<Look, String> {
        if self.waiting.is_empty() && self.position < self.until {
            self.fetch(wait)?;
        }
        match self.waiting.pop_front() {
            Some(record) => Ok(Look::Record(record)),
            None if self.position >= self.until => Ok(Look::Over),
            None => Ok(Look::Nothing),
        }
    }

    fn fetch(&mut self, wait: Duration) -> Result<(), String> {
        // Serves the client's own events.
        let _ = self.client.0.poll(Duration::ZERO);
        let Self {
            queue,
            position,
            until,
            waiting,
            place,
            ..
        } = self;
        let mut failed = None;
        queue.poll(RECORDS_AT_ONCE, wait, |message| match message.error() {
            None if message.offset() < *position => {}
            None => {
                *position = message.offset().saturating_add(1);
                if message.offset() < *until {
                    waiting.push_back(StoredRecord {
                        offset: message.offset(),
                        timestamp_ms: message.timestamp_ms(),
                        has_append_time: message.has_append_time(),
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.value().map(<[u8]>::to_vec),
                        headers: message.headers(),
                    });
                }
            }
            // Everything stable below that offset has been delivered, what ends transactions included.
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF) => *position = (*position).max(message.offset()),
            Some(
                error @ (RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
            ) => {
                failed = Some(match error {
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
                        no_right(&[Operation::Read], &format!("the topic of {place}"))
                    }
                    other => format!("{place}: {}", RDKafkaErrorCode::from(other)),
                });
            }
            Some(_) => {}
        });
        failed.map_or(Ok(()), Err)
    }
}
