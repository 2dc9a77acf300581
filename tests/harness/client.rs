//! Topics, records and offsets of a cluster, as a test wants them: blocking, whole, and in order.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How long a single call may take; a broker that restarts meanwhile is waited for by the client itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long reading a topic to its end, or writing a batch, may take.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(120);

/// A topic to create.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: i32,
    pub settings: Vec<(String, String)>,
}

impl TopicSpec {
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self {
            name: name.into(),
            partitions,
            settings: Vec::new(),
        }
    }

    /// Adds a topic setting.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// How a record without a partition finds its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// As Java's client does it: the owner.
    #[default]
    Murmur2,
    /// librdkafka's default: makes strays.
    Crc32,
}

/// A record to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// None: the partitioner decides.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// None: now.
    pub timestamp_ms: Option<i64>,
}

impl Outgoing {
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            key: Some(key.into()),
            value: Some(value.into()),
            ..Self::default()
        }
    }

    /// Sends it to this partition, whatever its key.
    pub fn on(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRecord {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl ReadRecord {
    /// The last header of a name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(found.1.as_deref()?).ok()
    }
}

/// A group's committed position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub metadata: String,
}

/// One cluster, seen from a test.
#[derive(Debug, Clone)]
pub struct KafkaClient {
    bootstrap: String,
}

impl KafkaClient {
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
        }
    }

    /// Settings with the broker's address in them, to build any other client from.
    pub fn settings(&self) -> ClientConfig {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.bootstrap);
        // A broker that restarts is found again at once.
        settings
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500");
        settings
    }

    /// Creates topics, replicated over all nodes (at most three), and waits until clients see them. A topic that is there
    /// already stays as it is.
    pub fn create_topics(&self, topics: &[TopicSpec]) {
        let nodes = self.node_count().expect("the cluster answers").clamp(1, 3);
        let replicas = i32::try_from(nodes).expect("at most three");
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let bare = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(replicas));
                topic
                    .settings
                    .iter()
                    .fold(bare, |new, (key, value)| new.set(key, value))
            })
            .collect();
        for result in self.administer(async |admin, options| admin.create_topics(&new, options).await) {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => panic!("topic {name} could not be created: {code}"),
            }
        }
        for topic in topics {
            super::wait_until(&format!("clients see topic {}", topic.name), CALL_TIMEOUT, || {
                self.partition_count(&topic.name) == Some(topic.partitions)
            });
        }
    }

    /// Deletes topics.
    pub fn delete_topics(&self, names: &[&str]) {
        for result in self.administer(async |admin, options| admin.delete_topics(names, options).await) {
            if let Err((name, code)) = result {
                panic!("topic {name} could not be deleted: {code}");
            }
        }
    }

    /// The number of partitions, if there is such a topic and all of them have leaders.
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        let metadata = self
            .plain_consumer("read_committed")
            .fetch_metadata(Some(topic), CALL_TIMEOUT)
            .ok()?;
        let found = metadata
            .topics()
            .iter()
            .find(|found| found.name() == topic && found.error().is_none())?;
        let complete = found.partitions().iter().all(|partition| partition.leader() >= 0);
        (complete && !found.partitions().is_empty()).then_some(i32::try_from(found.partitions().len()).ok()?)
    }

    /// How many nodes are in the metadata; none when nothing answers.
    pub fn node_count(&self) -> Option<usize> {
        let metadata = self
            .plain_consumer("read_committed")
            .fetch_metadata(None, Duration::from_secs(2))
            .ok()?;
        Some(metadata.brokers().len())
    }

    /// Writes records by murmur2 of their keys; returns where each went, in order.
    pub fn produce(&self, topic: &str, records: &[Outgoing]) -> Vec<(i32, i64)> {
        self.produce_by(Partitioner::Murmur2, topic, records)
    }

    /// Writes records; returns where each went, in order. Panics when one is refused.
    pub fn produce_by(&self, partitioner: Partitioner, topic: &str, records: &[Outgoing]) -> Vec<(i32, i64)> {
        let name = match partitioner {
            Partitioner::Murmur2 => "murmur2_random",
            Partitioner::Crc32 => "consistent_random",
        };
        let mut settings = self.settings();
        settings
            .set("partitioner", name)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5");
        settings.set("message.max.bytes", "10000000");
        let context = Deliveries {
            places: Mutex::new(vec![None; records.len()]),
        };
        let producer: BaseProducer<Deliveries> = settings.create_with_context(context).expect("a producer");
        for (index, record) in records.iter().enumerate() {
            send(&producer, topic, index, record);
        }
        producer
            .flush(TRANSFER_TIMEOUT)
            .unwrap_or_else(|error| panic!("records for {topic} did not arrive: {error}"));
        let places = producer
            .context()
            .places
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        places
            .iter()
            .map(|place| place.unwrap_or_else(|| panic!("no report on a record for {topic}")))
            .collect()
    }

    /// Every committed record of a topic up to its end of now, by partition and offset.
    pub fn read_topic(&self, topic: &str) -> Vec<ReadRecord> {
        self.read_as("read_committed", topic)
    }

    /// Every record of a topic, those of open and aborted transactions too.
    pub fn read_topic_uncommitted(&self, topic: &str) -> Vec<ReadRecord> {
        self.read_as("read_uncommitted", topic)
    }

    /// The ends of all partitions in one call: of `read_committed` the last stable offsets, of `read_uncommitted` the high
    /// watermarks.
    pub fn ends(&self, isolation: &str, topic: &str) -> KafkaResult<Vec<i64>> {
        let partitions = self
            .partition_count(topic)
            .unwrap_or_else(|| panic!("there is no topic {topic}"));
        let asked = (0..partitions)
            .map(|partition| (topic.to_owned(), partition, Offset::End))
            .collect();
        let answer = self.plain_consumer(isolation).offsets_for_times(asked, CALL_TIMEOUT)?;
        let end = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            element.error()?;
            Ok(element.offset().to_raw().unwrap_or(-1))
        };
        let mut elements = answer.elements();
        elements.sort_by_key(|element| element.partition());
        elements.iter().map(end).collect()
    }

    /// A group's committed offsets, one for each partition. Waits for open transactions of the group to settle.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<Committed>> {
        self.try_committed(group, topic)
            .unwrap_or_else(|error| panic!("no committed offsets of {group}: {error}"))
    }

    /// As [`Self::committed`].
    pub fn try_committed(&self, group: &str, topic: &str) -> KafkaResult<Vec<Option<Committed>>> {
        let partitions = self
            .partition_count(topic)
            .unwrap_or_else(|| panic!("there is no topic {topic}"));
        let mut settings = self.settings();
        settings.set("group.id", group).set("isolation.level", "read_committed");
        let consumer: BaseConsumer = settings.create()?;
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, partitions - 1);
        let answer = consumer.committed_offsets(asked, CALL_TIMEOUT)?;
        let mut elements = answer.elements();
        elements.sort_by_key(|element| element.partition());
        let committed = elements.iter().map(|element| {
            element.error()?;
            Ok(match element.offset() {
                Offset::Offset(offset) => Some(Committed {
                    offset,
                    metadata: element.metadata().to_owned(),
                }),
                _ => None,
            })
        });
        committed.collect()
    }

    /// How many offsets a group is behind the ends of these topics; what it never committed counts from the beginning.
    pub fn lag(&self, group: &str, topics: &[&str]) -> i64 {
        let lag_of = |topic: &&str| -> i64 {
            let ends = self
                .ends("read_committed", topic)
                .unwrap_or_else(|error| panic!("no ends of {topic}: {error}"));
            let committed = self.committed(group, topic);
            let consumer = self.plain_consumer("read_committed");
            let first = |partition: usize| {
                let partition = i32::try_from(partition).expect("a partition number");
                consumer
                    .fetch_watermarks(topic, partition, CALL_TIMEOUT)
                    .expect("the bounds of a partition")
                    .0
            };
            let reached = committed
                .iter()
                .enumerate()
                .map(|(partition, committed)| match committed {
                    Some(committed) => committed.offset,
                    None => first(partition),
                });
            ends.iter().zip(reached).map(|(end, reached)| end - reached).sum()
        };
        // Asking waits for the broker more than it works: all of them at once.
        thread::scope(|scope| {
            let threads: Vec<_> = topics.iter().map(|topic| scope.spawn(|| lag_of(topic))).collect();
            let lags = threads
                .into_iter()
                .map(|thread| thread.join().expect("the lag of a topic"));
            lags.sum()
        })
    }

    /// A transactional producer, initialised: it has fenced its predecessors.
    pub fn transactional_producer(
        &self,
        id: &str,
    ) -> KafkaResult<ThreadedProducer<rdkafka::producer::DefaultProducerContext>> {
        let mut settings = self.settings();
        settings
            .set("transactional.id", id)
            .set("transaction.timeout.ms", "60000");
        settings.set("partitioner", "murmur2_random");
        let producer: ThreadedProducer<_> = settings.create()?;
        producer.init_transactions(CALL_TIMEOUT)?;
        Ok(producer)
    }

    /// Goes once through a whole transaction, so that its coordinator has answered every kind of request.
    pub fn open_and_close_transaction(&self, id: &str, topic: &str, timeout: Duration) -> KafkaResult<()> {
        let start = Instant::now();
        loop {
            let result = self.transactional_producer(id).and_then(|producer| {
                producer.begin_transaction()?;
                let sent = producer.send(BaseRecord::<(), ()>::to(topic).payload(&()).partition(0));
                sent.map_err(|(error, _)| error)?;
                producer.commit_transaction(CALL_TIMEOUT)
            });
            match result {
                Err(_) if start.elapsed() < timeout => std::thread::sleep(Duration::from_millis(200)),
                result => return result,
            }
        }
    }

    fn plain_consumer(&self, isolation: &str) -> BaseConsumer {
        let mut settings = self.settings();
        settings
            .set("group.id", "harness-reader")
            .set("isolation.level", isolation);
        settings
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true");
        settings
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "20");
        settings.create().expect("a consumer")
    }

    fn read_as(&self, isolation: &str, topic: &str) -> Vec<ReadRecord> {
        let partitions = self
            .partition_count(topic)
            .unwrap_or_else(|| panic!("there is no topic {topic}"));
        let consumer = self.plain_consumer(isolation);
        let from = (0..partitions)
            .map(|partition| (topic.to_owned(), partition, Offset::Beginning))
            .collect();
        consumer.assign(&from).expect("an assignment");
        let mut open: BTreeSet<i32> = (0..partitions).collect();
        let mut records = Vec::new();
        let start = Instant::now();
        while !open.is_empty() {
            assert!(
                start.elapsed() < TRANSFER_TIMEOUT,
                "{topic} was not read to its end; open partitions: {open:?}"
            );
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => panic!("{topic} cannot be read: {error}"),
                None => {}
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    fn administer<T>(
        &self,
        call: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> KafkaResult<T>,
    ) -> T {
        let admin: AdminClient<DefaultClientContext> = self.settings().create().expect("an admin client");
        let options = AdminOptions::new()
            .operation_timeout(Some(CALL_TIMEOUT))
            .request_timeout(Some(CALL_TIMEOUT));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime
            .block_on(call(&admin, &options))
            .unwrap_or_else(|error| panic!("an admin call failed: {error}"))
    }
}

/// Where each record went, by its index.
struct Deliveries {
    places: Mutex<Vec<Option<(i32, i64)>>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        if let Ok(message) = result {
            let mut places = self.places.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            places[index] = Some((message.partition(), message.offset()));
        }
    }
}

fn send(producer: &BaseProducer<Deliveries>, topic: &str, index: usize, record: &Outgoing) {
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    let headers = record.headers.iter().fold(empty, |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: value.as_deref(),
        })
    });
    let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, index).headers(headers);
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    message.partition = record.partition;
    message.timestamp = record.timestamp_ms;
    let start = Instant::now();
    loop {
        match producer.send(message) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => message = back,
            Err((error, _)) => panic!("a record for {topic} was refused: {error}"),
        }
        assert!(
            start.elapsed() < TRANSFER_TIMEOUT,
            "the queue of records for {topic} did not move"
        );
        producer.poll(Duration::from_millis(10));
    }
}

fn record(message: &BorrowedMessage<'_>) -> ReadRecord {
    let headers = message.headers().map(|headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    ReadRecord {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

/// Errors that the client cures by itself.
fn is_passing(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition
        )
    )
}
