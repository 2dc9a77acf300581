//! What divisions and customers write while a simulated cluster runs: seeded, with repeats, strays and rubbish.

use super::partition::Data;
use crate::auditor::reading::owner;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

const CHANNELS: &[&str] = &["email", "sms", "push"];
const DIVISIONS: &[&str] = &["cards", "loans", "travel"];
const ZONES: &[&str] = &[
    "Europe/Lisbon",
    "America/New_York",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
];
const HOUR_MS: i64 = 3_600_000;

/// How much of what; each seed draws its own.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    pub customers: u32,
    pub stray: f64,
    pub rubbish: f64,
    pub repeat: f64,
    pub refusal: f64,
    pub erasure: f64,
    /// Intents that no channel topic takes.
    pub poison: f64,
}

/// A record on its way.
pub struct Append {
    pub intents: bool,
    pub partition: i32,
    pub data: Data,
}

/// Writes JSON by hand, so that it shares nothing with the decoders.
pub struct Workload {
    random: ChaCha8Rng,
    mix: Mix,
    partition_count: i32,
    next_id: u64,
    /// Customer, intent id and channel of what was asked for.
    asked: Vec<(String, String, &'static str)>,
    /// Earlier records that come again.
    earlier: Vec<(bool, i32, Data)>,
}

impl Workload {
    pub fn new(random: ChaCha8Rng, mix: Mix, partition_count: i32) -> Self {
        Self {
            random,
            mix,
            partition_count,
            next_id: 0,
            asked: Vec::new(),
            earlier: Vec::new(),
        }
    }

    /// The next record.
    pub fn next(&mut self, now_ms: i64, intents: bool) -> Append {
        if self.random.random_bool(self.mix.repeat) {
            // Most repeats come soon.
            let reach = if self.random.random_bool(0.7) { 6 } else { usize::MAX };
            let same: Vec<&(bool, i32, Data)> = self
                .earlier
                .iter()
                .rev()
                .filter(|(kind, ..)| *kind == intents)
                .take(reach)
                .collect();
            if let Some((_, partition, data)) = same.choose(&mut self.random) {
                return Append {
                    intents,
                    partition: *partition,
                    data: data.clone(),
                };
            }
        }
        let customer = format!("customer-{}", self.random.random_range(0..self.mix.customers));
        let body = if intents {
            self.intent(&customer, now_ms)
        } else {
            self.event(&customer, now_ms)
        };
        let home = owner(customer.as_bytes(), self.partition_count);
        let stray = self.random.random_bool(self.mix.stray);
        let partition = if stray {
            self.random.random_range(0..self.partition_count)
        } else {
            home
        };
        let mut headers = Vec::new();
        if self.random.random_bool(0.3) {
            headers.push((
                "traceparent".to_owned(),
                Some(format!("00-{}-01", self.next_id).into_bytes()),
            ));
        }
        if self.random.random_bool(0.05) {
            headers.push(("empty".to_owned(), None));
        }
        let key = (!stray || self.random.random_bool(0.5)).then(|| customer.clone().into_bytes());
        let value = Some(Value::Object(body).to_string().into_bytes());
        let mut data = Data {
            timestamp_ms: now_ms,
            key,
            value,
            headers,
        };
        if self.random.random_bool(self.mix.rubbish) {
            self.spoil(&mut data);
        }
        self.earlier.push((intents, partition, data.clone()));
        if self.earlier.len() > 200 {
            self.earlier.remove(self.random.random_range(0..100));
        }
        Append {
            intents,
            partition,
            data,
        }
    }

    fn id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}-{}", self.next_id)
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of.choose(&mut self.random).copied().unwrap_or_default()
    }

    fn maybe(&mut self, chance: f64) -> bool {
        self.random.random_bool(chance)
    }

    fn intent(&mut self, customer: &str, now_ms: i64) -> Map<String, Value> {
        let id = self.id("intent");
        let channel = self.one(CHANNELS);
        let division = self.one(DIVISIONS);
        let mut body = object(json!({
            "intent_id": id, "customer_id": customer, "channel": channel, "division": division,
        }));
        if self.maybe(0.2) {
            body.insert(
                "class".into(),
                self.one(&["service", "legal", "marketing", "unheard-of"]).into(),
            );
        }
        if self.maybe(0.4) {
            body.insert("category".into(), self.one(&["promo", "news"]).into());
        }
        if self.maybe(0.3) {
            body.insert("topic".into(), self.one(&["shoes", "cruises"]).into());
        }
        if self.maybe(0.3) {
            body.insert(
                "fallback_channels".into(),
                json!([self.one(CHANNELS), self.one(CHANNELS)]),
            );
        }
        if self.maybe(0.3) {
            let ahead_ms = self.random.random_range(-HOUR_MS..48 * HOUR_MS);
            body.insert("expires_at".into(), time(now_ms + ahead_ms));
        }
        if self.maybe(0.1) {
            let ahead_ms = self.random.random_range(0..12 * HOUR_MS);
            body.insert("not_before".into(), time(now_ms + ahead_ms));
        }
        if self.maybe(0.3) {
            body.insert(
                "endpoint".into(),
                format!("address-{}", self.random.random_range(0..3)).into(),
            );
        }
        if self.maybe(0.3) {
            body.insert("priority".into(), self.random.random_range(0..=1000).into());
        }
        if self.maybe(0.3) {
            body.insert("value".into(), self.random.random_range(0..=100).into());
            body.insert(
                "propensity".into(),
                (f64::from(self.random.random_range(0..=4_u8)) / 4.0).into(),
            );
        }
        if self.maybe(self.mix.poison) {
            body.insert("payload".into(), json!({"poison": true}));
        } else if self.maybe(0.2) {
            let size = self.random.random_range(0..40);
            body.insert(
                "payload".into(),
                json!({"text": "x".repeat(size), "more": [1, null, "é"]}),
            );
        }
        self.asked.push((customer.to_owned(), id, channel));
        body
    }

    fn event(&mut self, customer: &str, now_ms: i64) -> Map<String, Value> {
        let mut body = object(json!({"event_id": self.id("event"), "customer_id": customer}));
        let late_ms = if self.maybe(0.2) {
            self.random.random_range(0..6 * HOUR_MS)
        } else {
            0
        };
        body.insert("occurred_at".into(), time(now_ms - late_ms));
        let kind = if self.maybe(self.mix.erasure) {
            self.one(&["erased", "do_not_contact"])
        } else if self.maybe(self.mix.refusal) {
            self.one(&["unsubscribed", "consent_withdrawn", "complained"])
        } else {
            self.one(&[
                "sent",
                "delivered",
                "failed",
                "bounced_soft",
                "bounced_hard",
                "opened",
                "clicked",
                "resubscribed",
                "consent_granted",
                "preferences_set",
                "profile_set",
                "contacted_elsewhere",
                "issue_opened",
                "issue_closed",
                "intent_cancelled",
            ])
        };
        body.insert("type".into(), kind.into());
        self.fill(kind, customer, now_ms, &mut body);
        body
    }

    fn fill(&mut self, kind: &str, customer: &str, now_ms: i64, body: &mut Map<String, Value>) {
        match kind {
            "preferences_set" => match self.random.random_range(0..3) {
                0 => drop(body.insert("refused_channels".into(), json!([self.one(CHANNELS)]))),
                1 => drop(body.insert("refused_topics".into(), json!([self.one(&["shoes", "cruises"])]))),
                _ => drop(body.insert(
                    "paused_until".into(),
                    time(now_ms + self.random.random_range(0..24) * HOUR_MS),
                )),
            },
            "profile_set" => drop(body.insert("timezone".into(), self.one(ZONES).into())),
            "contacted_elsewhere" => {
                body.insert("channel".into(), self.one(CHANNELS).into());
                body.insert("division".into(), self.one(DIVISIONS).into());
            }
            "unsubscribed" | "consent_withdrawn" | "resubscribed" | "consent_granted" => {
                if self.maybe(0.5) {
                    body.insert("channel".into(), self.one(CHANNELS).into());
                }
                if self.maybe(0.2) {
                    body.insert("division".into(), self.one(DIVISIONS).into());
                }
                if self.maybe(0.2) {
                    body.insert("purpose".into(), self.one(&["promo", "news"]).into());
                }
            }
            "issue_opened" | "issue_closed" => drop(body.insert("issue_id".into(), "issue".into())),
            "erased" | "do_not_contact" => {}
            _ => {
                let own: Vec<_> = self
                    .asked
                    .iter()
                    .rev()
                    .take(40)
                    .filter(|(other, ..)| other == customer)
                    .collect();
                let about = own
                    .choose(&mut self.random)
                    .map(|(_, id, channel)| (id.clone(), *channel));
                let (id, channel) = about.unwrap_or_else(|| ("intent-unknown".into(), "email"));
                body.insert("intent_id".into(), id.into());
                if kind != "intent_cancelled" {
                    body.insert("channel".into(), channel.into());
                }
                if kind.starts_with("bounced") && self.maybe(0.5) {
                    body.insert(
                        "endpoint".into(),
                        format!("address-{}", self.random.random_range(0..3)).into(),
                    );
                }
            }
        }
    }

    /// Each way in which a record can be wrong.
    fn spoil(&mut self, data: &mut Data) {
        let object = data
            .value
            .as_deref()
            .and_then(|value| serde_json::from_slice::<Value>(value).ok());
        let mut body = object.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        match self.random.random_range(0..9) {
            0 => data.value = None,
            1 => data.value = Some(b"{\"customer_id\":".to_vec()),
            2 => data.value = Some(vec![0xff, 0xfe, b'{']),
            3 => data.value = Some(b"[1,2]".to_vec()),
            4 => drop(body.remove("customer_id")),
            5 => drop(body.insert("customer_id".into(), "".into())),
            6 => drop(body.insert("channel".into(), 7.into())),
            7 => data.headers.push(("forbear-channel".into(), Some(b"email".to_vec()))),
            _ => drop(body.insert("type".into(), "sang".into())),
        }
        if data.value.is_some()
            && !body.is_empty()
            && object.is_some_and(|object| object != Value::Object(body.clone()))
        {
            data.value = Some(Value::Object(body).to_string().into_bytes());
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(body) => body,
        _ => Map::new(),
    }
}

fn time(instant_ms: i64) -> Value {
    jiff::Timestamp::from_millisecond(instant_ms).map_or(Value::Null, |instant| instant.to_string().into())
}
