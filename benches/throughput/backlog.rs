//! The backlog that every program works through: seeded intents of 400 bytes, and one engagement event for each four.

use crate::harness::{KafkaClient, TopicSpec};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use std::fmt::Write as _;
use std::time::Duration;

pub const INTENTS_TOPIC: &str = "bench.intents";
pub const ENGAGEMENT_TOPIC: &str = "bench.engagement";
/// Bytes of an intent.
pub const INTENT_BYTES: usize = 400;
const INTENTS_FOR_AN_EVENT: u64 = 4;
const DIVISIONS: u64 = 20;

/// How much of it, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    pub intents: u64,
    pub customers: u64,
    pub partitions: i32,
}

impl Backlog {
    pub fn events(&self) -> u64 {
        self.intents / INTENTS_FOR_AN_EVENT
    }

    /// Writes it, by the customer's partition.
    pub fn load(&self, client: &KafkaClient) {
        let roomy = |name: &str| TopicSpec::new(name, self.partitions).with("retention.ms", "-1");
        client.create_topics(&[roomy(INTENTS_TOPIC), roomy(ENGAGEMENT_TOPIC)]);
        let mut settings = client.settings();
        settings
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "500000")
            .set("compression.type", "none");
        let producer: ThreadedProducer<_> = settings.create().expect("a producer");
        let mut random = ChaCha8Rng::seed_from_u64(20_261_125);
        let (mut key, mut value) = (String::new(), String::new());
        for number in 0..self.intents {
            let customer = random.random_range(0..self.customers);
            customer_id(&mut key, customer);
            intent(&mut value, number, &key, random.random_range(0..DIVISIONS));
            send(&producer, INTENTS_TOPIC, &key, &value);
            if number % INTENTS_FOR_AN_EVENT == 0 {
                event(&mut value, number, &key);
                send(&producer, ENGAGEMENT_TOPIC, &key, &value);
            }
        }
        producer
            .flush(Duration::from_secs(600))
            .expect("the backlog is written");
    }
}

fn customer_id(into: &mut String, customer: u64) {
    into.clear();
    write!(into, "customer-{customer:08}").expect("a text");
}

/// The number stands where [`number_of`] finds it.
fn intent(into: &mut String, number: u64, customer_id: &str, division: u64) {
    into.clear();
    write!(
        into,
        r#"{{"intent_id":"intent-{number:010}","customer_id":"{customer_id}","channel":"email","division":"division-{division}","class":"marketing","campaign":"spring","category":"promo","tags":["spring","cards"],"payload":{{"template":"spring-7","text":""#
    )
    .expect("a text");
    while into.len() < INTENT_BYTES - 3 {
        into.push('x');
    }
    into.push_str("\"}}");
}

fn event(into: &mut String, number: u64, customer_id: &str) {
    into.clear();
    write!(
        into,
        r#"{{"event_id":"event-{number:010}","customer_id":"{customer_id}","type":"delivered","intent_id":"intent-{number:010}","channel":"email","occurred_at":"2026-01-01T00:00:00Z"}}"#
    )
    .expect("a text");
}

/// The number of an intent from its bytes.
pub fn number_of(value: &[u8]) -> Option<u64> {
    let start = br#"{"intent_id":"intent-"#.len();
    std::str::from_utf8(value.get(start..start + 10)?).ok()?.parse().ok()
}

fn send(producer: &ThreadedProducer<rdkafka::producer::DefaultProducerContext>, topic: &str, key: &str, value: &str) {
    let mut record = BaseRecord::to(topic).key(key).payload(value);
    while let Err((error, refused)) = producer.send(record) {
        assert_eq!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::QueueFull),
            "the backlog cannot be written: {error}"
        );
        std::thread::sleep(Duration::from_millis(2));
        record = refused;
    }
    producer.poll(Duration::ZERO);
}
