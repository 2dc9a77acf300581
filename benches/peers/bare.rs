//! The bare loop: what Kafka alone costs. It consumes the same records through the same kind of batch queue, and produces
//! for each intent three records of the size that Forbear's have, in transactions of the same interval, with the same
//! allocator. It reads nothing, keeps nothing and decides nothing.

use forbear::intake::queue::{NativeClient, Queue};
use rdkafka::ClientConfig;
use rdkafka::bindings as sys;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(60);
/// As many as Forbear takes.
const RECORDS_AT_MOST: usize = 20_000;

/// What it is told, as text: it runs as a process of its own.
#[derive(Debug, Clone)]
pub struct Arguments {
    pub bootstrap: String,
    pub group: String,
    pub prefix: String,
    pub partitions: i32,
    pub commit_interval_ms: u64,
    pub decision_bytes: usize,
    pub state_bytes: usize,
    pub header_bytes: usize,
    pub headers: usize,
}

impl Arguments {
    pub fn to_texts(&self) -> Vec<String> {
        vec![
            self.bootstrap.clone(),
            self.group.clone(),
            self.prefix.clone(),
            self.partitions.to_string(),
            self.commit_interval_ms.to_string(),
            self.decision_bytes.to_string(),
            self.state_bytes.to_string(),
            self.header_bytes.to_string(),
            self.headers.to_string(),
        ]
    }

    pub fn from_texts(texts: &[String]) -> Option<Self> {
        let number = |index: usize| texts.get(index)?.parse::<usize>().ok();
        Some(Self {
            bootstrap: texts.first()?.clone(),
            group: texts.get(1)?.clone(),
            prefix: texts.get(2)?.clone(),
            partitions: i32::try_from(number(3)?).ok()?,
            commit_interval_ms: u64::try_from(number(4)?).ok()?,
            decision_bytes: number(5)?,
            state_bytes: number(6)?,
            header_bytes: number(7)?,
            headers: number(8)?,
        })
    }
}

struct Client(BaseConsumer);

impl NativeClient for Client {
    fn native_handle(&self) -> *mut sys::rd_kafka_t {
        self.0.client().native_ptr()
    }
}

/// Works until it is killed.
pub fn run(arguments: &Arguments, intents: &str, engagement: &str) -> ! {
    let topics = [intents, engagement];
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", &arguments.bootstrap)
        .set("group.id", &arguments.group)
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "20000")
        .set("queued.max.messages.kbytes", "8192");
    let consumer = Arc::new(Client(BaseConsumer::from_config(&settings).expect("a consumer")));
    let mut queue = Queue::new(consumer.clone());
    let mut assignment = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..arguments.partitions {
            queue.forward(topic, partition);
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("an offset");
        }
    }
    consumer.0.assign(&assignment).expect("an assignment");
    let producer = producer(arguments);
    let group = consumer.0.group_metadata().expect("a group");
    let job = Job::new(arguments);
    loop {
        let started = Instant::now();
        let mut next: BTreeMap<(bool, i32), i64> = BTreeMap::new();
        let mut begun = false;
        let mut taken = 0;
        while taken < RECORDS_AT_MOST && started.elapsed() < Duration::from_millis(arguments.commit_interval_ms) {
            taken += queue.poll(1_000, Duration::from_millis(1), |message| {
                if message.error().is_some() {
                    return;
                }
                if !begun {
                    producer.begin_transaction().expect("a transaction");
                    begun = true;
                }
                let is_intent = message.topic() == intents;
                next.insert((is_intent, message.partition()), message.offset() + 1);
                if is_intent {
                    job.publish(
                        &producer,
                        message.key().unwrap_or_default(),
                        message.value().unwrap_or_default(),
                    );
                }
            });
        }
        if !begun {
            continue;
        }
        let mut offsets = TopicPartitionList::new();
        for ((is_intent, partition), offset) in next {
            let topic = if is_intent { intents } else { engagement };
            offsets
                .add_partition_offset(topic, partition, Offset::Offset(offset))
                .expect("an offset");
        }
        producer
            .send_offsets_to_transaction(&offsets, &group, TIMEOUT)
            .expect("the offsets");
        producer.commit_transaction(TIMEOUT).expect("the commit");
    }
}

fn producer(arguments: &Arguments) -> ThreadedProducer<DefaultProducerContext> {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", &arguments.bootstrap)
        .set("transactional.id", &arguments.group)
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "500000")
        .set("queue.buffering.max.kbytes", "262144");
    let producer: ThreadedProducer<_> = settings.create().expect("a producer");
    producer.init_transactions(TIMEOUT).expect("a transactional producer");
    producer
}

/// The three records.
struct Job {
    approved: String,
    decisions: String,
    state: String,
    headers: OwnedHeaders,
    decision: Vec<u8>,
    value_of_state: Vec<u8>,
}

impl Job {
    fn new(arguments: &Arguments) -> Self {
        let each = arguments.header_bytes / arguments.headers.max(1);
        let name_bytes = each / 2;
        let mut headers = OwnedHeaders::new_with_capacity(arguments.headers);
        for _ in 0..arguments.headers {
            headers = headers.insert(Header {
                key: &"h".repeat(name_bytes),
                value: Some(&"v".repeat(each - name_bytes)),
            });
        }
        Self {
            approved: format!("{}approved.email", arguments.prefix),
            decisions: format!("{}decisions", arguments.prefix),
            state: format!("{}state", arguments.prefix),
            headers,
            decision: vec![b'd'; arguments.decision_bytes],
            value_of_state: vec![b's'; arguments.state_bytes],
        }
    }

    fn publish(&self, producer: &ThreadedProducer<DefaultProducerContext>, key: &[u8], value: &[u8]) {
        let verdict = BaseRecord::to(&self.approved).key(key).payload(value);
        send(producer, verdict.headers(self.headers.clone()));
        send(
            producer,
            BaseRecord::to(&self.decisions)
                .key(key)
                .payload(self.decision.as_slice()),
        );
        send(
            producer,
            BaseRecord::to(&self.state)
                .key(key)
                .payload(self.value_of_state.as_slice()),
        );
    }
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, record: BaseRecord<'_, [u8], [u8]>) {
    let mut record = record;
    while let Err((error, refused)) = producer.send(record) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
        std::thread::sleep(Duration::from_millis(1));
        record = refused;
    }
}
