//! A seeded load: intents of several divisions with repeats, engagement with consent that changes, malformed records of every
//! kind, and strays (records that another partitioner placed). What is drawn depends on the seed alone.

// Two test binaries compile this module, and each uses a part of it.
#![allow(dead_code)]

use crate::harness::{KafkaClient, TopicSet};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const CUSTOMERS: u32 = 60;
const DIVISIONS: &[&str] = &["cards", "loans", "savings"];
const CAMPAIGNS: &[&str] = &["spring", "welcome", "renewal"];
const ZONES: &[&str] = &[
    "America/New_York",
    "Europe/Lisbon",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Los_Angeles",
];
const INTENTS_A_ROUND: usize = 20;
const EVENTS_A_ROUND: usize = 8;

type Sender = ThreadedProducer<DefaultProducerContext>;

/// Writes rounds of records to the inputs.
pub struct Load {
    /// Places records as Java's client does.
    owner: Sender,
    /// Places them as librdkafka does by default: some go astray.
    elsewhere: Sender,
    topics: TopicSet,
    random: ChaCha8Rng,
    prefix: String,
    next: u64,
    sent: Vec<(String, Vec<u8>)>,
    events: Vec<(String, Vec<u8>)>,
    /// How much was written.
    pub intents: usize,
    pub engagement: usize,
}

impl Load {
    /// `prefix` keeps the ids of two loads apart.
    pub fn new(client: &KafkaClient, topics: &TopicSet, prefix: &str, seed: u64) -> Self {
        let sender = |partitioner: &str| -> Sender {
            let mut settings = client.settings();
            settings
                .set("partitioner", partitioner)
                .set("enable.idempotence", "true")
                .set("message.max.bytes", "4000000")
                .set("linger.ms", "2");
            settings.create().expect("a producer")
        };
        Self {
            owner: sender("murmur2_random"),
            elsewhere: sender("consistent_random"),
            topics: topics.clone(),
            random: ChaCha8Rng::seed_from_u64(seed),
            prefix: prefix.to_owned(),
            next: 0,
            sent: Vec::new(),
            events: Vec::new(),
            intents: 0,
            engagement: 0,
        }
    }

    /// Writes so many rounds on a thread of its own, with a pause after each; the join waits until all is delivered.
    pub fn run(mut self, rounds: usize, pause: Duration) -> JoinHandle<Self> {
        std::thread::spawn(move || {
            for _ in 0..rounds {
                self.round();
                std::thread::sleep(pause);
            }
            self.flush();
            self
        })
    }

    /// Writes rounds on a thread of its own for as long as nobody says that it is enough: for faults that last as long as
    /// the machine takes for them.
    pub fn run_until(mut self, enough: Arc<AtomicBool>, pause: Duration) -> JoinHandle<Self> {
        std::thread::spawn(move || {
            while !enough.load(Ordering::Acquire) {
                self.round();
                std::thread::sleep(pause);
            }
            self.flush();
            self
        })
    }

    /// Writes some records of everything.
    pub fn round(&mut self) {
        for _ in 0..EVENTS_A_ROUND {
            self.event();
        }
        for _ in 0..INTENTS_A_ROUND {
            self.intent();
        }
    }

    /// Waits until all that was written is on the broker.
    pub fn flush(&self) {
        for sender in [&self.owner, &self.elsewhere] {
            sender.flush(Duration::from_secs(120)).expect("the load is delivered");
        }
    }

    fn intent(&mut self) {
        self.intents += 1;
        let topic = self.topics.intents.choose(&mut self.random).expect("a topic").clone();
        match self.random.random_range(0..100) {
            0..4 => {
                let bad = self.malformed_intent();
                self.send(&topic, "anybody", &bad, false);
            }
            4..10 if !self.sent.is_empty() => {
                let (customer, value) = self.sent.choose(&mut self.random).expect("one was sent").clone();
                self.send(&topic, &customer, &value, false);
            }
            kind => {
                let customer = self.customer();
                let value = self.good_intent(&customer);
                self.send(&topic, &customer, &value, kind >= 94);
                self.sent.push((customer, value));
            }
        }
    }

    fn event(&mut self) {
        self.engagement += 1;
        let topic = self
            .topics
            .engagement
            .choose(&mut self.random)
            .expect("a topic")
            .clone();
        match self.random.random_range(0..100) {
            0..4 => {
                let bad = self.malformed_event();
                self.send(&topic, "anybody", &bad, false);
            }
            4..10 if !self.events.is_empty() => {
                let (customer, value) = self.events.choose(&mut self.random).expect("one was sent").clone();
                self.send(&topic, &customer, &value, false);
            }
            kind => {
                let (customer, value) = self.good_event();
                self.send(&topic, &customer, &value, kind >= 94);
                self.events.push((customer, value));
            }
        }
    }

    fn send(&self, topic: &str, key: &str, value: &[u8], astray: bool) {
        let sender = if astray { &self.elsewhere } else { &self.owner };
        let headers = OwnedHeaders::new().insert(Header {
            key: "traceparent",
            value: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        });
        let record = BaseRecord::to(topic).key(key).payload(value).headers(headers);
        sender
            .send(record)
            .map_err(|(error, _)| error)
            .expect("the client takes the record");
    }

    /// A few customers get much of everything.
    fn customer(&mut self) -> String {
        let everyone = self.random.random_range(0..CUSTOMERS);
        let number = if self.random.random_bool(0.3) {
            everyone % 6
        } else {
            everyone
        };
        format!("{}-customer-{number}", self.prefix)
    }

    fn id(&mut self, stem: &str) -> String {
        self.next += 1;
        format!("{}-{stem}-{}", self.prefix, self.next)
    }

    fn good_intent(&mut self, customer: &str) -> Vec<u8> {
        let mut body = json!({
            "intent_id": self.id("intent"),
            "customer_id": customer,
            "channel": crate::policies::CHANNELS.choose(&mut self.random).expect("a channel"),
            "division": DIVISIONS.choose(&mut self.random).expect("a division"),
            "campaign": CAMPAIGNS.choose(&mut self.random).expect("a campaign"),
            "payload": { "subject": "Hello", "of": { "no": "interest" } },
        });
        match self.random.random_range(0..10) {
            0 => body["class"] = json!("service"),
            1 => body["class"] = json!("legal"),
            2..6 => body["class"] = json!("marketing"),
            _ => {}
        }
        if self.random.random_bool(0.4) {
            body["fallback_channels"] = json!(["push", "email"]);
        }
        if self.random.random_bool(0.1) {
            let expires = jiff::Timestamp::now() + Duration::from_secs(self.random.random_range(1..20));
            body["expires_at"] = json!(expires.to_string());
        }
        serde_json::to_vec(&body).expect("JSON")
    }

    fn good_event(&mut self) -> (String, Vec<u8>) {
        let about = self.sent.choose(&mut self.random).cloned();
        let intent = about.as_ref().and_then(|(_, value)| {
            let body: Value = serde_json::from_slice(value).ok()?;
            Some((body["intent_id"].clone(), body["channel"].clone()))
        });
        let id = self.id("event");
        let now = jiff::Timestamp::now().to_string();
        let someone = self.customer();
        let channel = *crate::policies::CHANNELS.choose(&mut self.random).expect("a channel");
        let zone = *ZONES.choose(&mut self.random).expect("a zone");
        let kind = self.random.random_range(0..100);
        if let (0..55, Some((customer, _)), Some((intent_id, channel))) = (kind, about, intent) {
            let word = match kind {
                0..20 => "delivered",
                20..28 => "failed",
                28..40 => "clicked",
                40..50 => "opened",
                _ => "intent_cancelled",
            };
            let body = json!({ "event_id": id, "customer_id": customer, "type": word, "occurred_at": now,
                "intent_id": intent_id, "channel": channel });
            return (customer, body.to_string().into_bytes());
        }
        let mut body = json!({ "event_id": id, "customer_id": someone, "occurred_at": now });
        match kind {
            0..68 => {
                body["type"] = json!("consent_granted");
                body["channel"] = json!("sms");
            }
            68..76 => {
                body["type"] = json!("unsubscribed");
                body["channel"] = json!(channel);
            }
            76..82 => {
                body["type"] = json!("resubscribed");
                body["channel"] = json!(channel);
            }
            82..96 => {
                body["type"] = json!("profile_set");
                body["timezone"] = json!(zone);
            }
            _ => {
                body["type"] = json!("complained");
                body["channel"] = json!(channel);
            }
        }
        (someone, body.to_string().into_bytes())
    }

    fn malformed_intent(&mut self) -> Vec<u8> {
        let kinds: &[&[u8]] = &[
            b"{\"intent_id\":",
            b"[1,2]",
            b"\xff\xfe",
            br#"{"intent_id":"x","customer_id":"someone","channel":"email"}"#,
            br#"{"intent_id":"x","intent_id":"y","customer_id":"someone","channel":"email","division":"cards"}"#,
            br#"{"intent_id":"x","customer_id":"someone","channel":"pigeon","division":"cards"}"#,
            br#"{"intent_id":"x","customer_id":"","channel":"email","division":"cards"}"#,
        ];
        kinds.choose(&mut self.random).expect("a kind").to_vec()
    }

    fn malformed_event(&mut self) -> Vec<u8> {
        let kinds: &[&[u8]] = &[
            b"nothing",
            br#"{"event_id":"x","customer_id":"someone","type":"sang","occurred_at":"2026-01-01T00:00:00Z"}"#,
            br#"{"event_id":"x","customer_id":"someone","type":"clicked","occurred_at":"yesterday"}"#,
            br#"{"event_id":"x","type":"clicked","occurred_at":"2026-01-01T00:00:00Z"}"#,
        ];
        kinds.choose(&mut self.random).expect("a kind").to_vec()
    }
}
