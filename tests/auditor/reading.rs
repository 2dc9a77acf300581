//! Records as the contract describes them, read by hand from JSON and headers.

use super::TopicRecord;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The closed set of reasons.
pub const REASONS: &[&str] = &[
    "approved",
    "released",
    "planned",
    "held",
    "duplicate",
    "expired",
    "cancelled",
    "stopped",
    "suppression_list",
    "consent",
    "consent_expired",
    "preference",
    "holdout",
    "cool_off",
    "redundant_offer",
    "sequence",
    "cap",
    "gap",
    "pressure",
    "back_off",
    "mix",
    "spend",
    "quiet_hours",
    "capacity",
    "arbitration",
    "deferral_limit",
    "policy_error",
];

/// Reasons that a rule of the policy gives: the record names the rule.
pub const RULE_REASONS: &[&str] = &[
    "holdout",
    "cool_off",
    "redundant_offer",
    "sequence",
    "cap",
    "gap",
    "pressure",
    "back_off",
    "mix",
    "spend",
    "quiet_hours",
    "capacity",
];

/// The closed set of dead-letter errors.
pub const ERRORS: &[&str] = &[
    "not_json",
    "missing_field",
    "bad_field",
    "too_large",
    "unknown_type",
    "unknown_channel",
    "reserved_header",
    "reroute_failed",
];

/// `<topic>/<partition>/<offset>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coordinates {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl Coordinates {
    pub fn of(topic: &str, record: &TopicRecord) -> Self {
        Self {
            topic: topic.to_owned(),
            partition: record.partition,
            offset: record.offset,
        }
    }

    /// Topic names hold no slash.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let topic = parts.next()?.to_owned();
        let partition = parts.next()?.parse().ok()?;
        let offset = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self {
            topic,
            partition,
            offset,
        })
    }

    /// Splits a decision id into the original record and the attempt.
    pub fn parse_decision_id(text: &str) -> Option<(Self, u32)> {
        let (source, attempt) = text.rsplit_once('/')?;
        Some((Self::parse(source)?, attempt.parse().ok()?))
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// The last header of that name, where it is UTF-8.
pub fn header<'a>(record: &'a TopicRecord, name: &str) -> Option<&'a str> {
    let found = record.headers.iter().rev().find(|(other, _)| other == name)?;
    std::str::from_utf8(found.1.as_deref()?).ok()
}

/// An RFC 3339 instant as UTC milliseconds.
pub fn instant_ms(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
}

/// The partition that owns a customer: murmur2 as the Java client has it, made positive.
pub fn owner(customer_id: &[u8], partition_count: i32) -> i32 {
    (murmur2(customer_id) & 0x7fff_ffff) as i32 % partition_count.max(1)
}

fn murmur2(data: &[u8]) -> u32 {
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut mixed = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// The members of an intent that the checks need.
#[derive(Debug, Clone)]
pub struct Intent {
    pub customer_id: String,
    /// What tells repeats: the `intent_id`, or source and id of a CloudEvent.
    pub identity: String,
    pub channel: String,
    pub class: Option<String>,
    pub endpoint: Option<String>,
    pub expires_at_ms: Option<i64>,
    /// The later of `not_before` and `deliver_at`.
    pub planned_ms: Option<i64>,
    pub body: Map<String, Value>,
}

impl Intent {
    /// None where the record cannot be an intent at all.
    pub fn read(record: &TopicRecord) -> Option<Self> {
        let outer = object(record)?;
        let structured = outer.contains_key("specversion") && outer.get("data").is_some_and(Value::is_object);
        let event_id = if structured {
            Some((text(&outer, "source")?, text(&outer, "id")?))
        } else {
            header(record, "ce_id").map(|id| (header(record, "ce_source").unwrap_or("").to_owned(), id.to_owned()))
        };
        let body = if structured {
            outer.get("data")?.as_object()?.clone()
        } else {
            outer
        };
        let identity = match event_id {
            Some((source, id)) => format!("{source}\u{0}{id}"),
            None => text(&body, "intent_id")?,
        };
        Some(Self {
            customer_id: text(&body, "customer_id")?,
            identity,
            channel: text(&body, "channel")?,
            class: text(&body, "class"),
            endpoint: text(&body, "endpoint"),
            expires_at_ms: text(&body, "expires_at").and_then(|at| instant_ms(&at)),
            planned_ms: ["not_before", "deliver_at"]
                .iter()
                .filter_map(|name| instant_ms(&text(&body, name)?))
                .max(),
            body,
        })
    }
}

/// One engagement event.
#[derive(Debug, Clone)]
pub struct Event {
    pub coordinates: Coordinates,
    pub timestamp_ms: i64,
    pub event_id: String,
    pub customer_id: String,
    pub kind: String,
    pub occurred_at_ms: i64,
    pub body: Map<String, Value>,
}

impl Event {
    /// None where the record is no event (the re-route topic carries intents too).
    pub fn read(topic: &str, record: &TopicRecord) -> Option<Self> {
        let body = object(record)?;
        Some(Self {
            coordinates: Coordinates::of(topic, record),
            timestamp_ms: record.timestamp_ms,
            event_id: text(&body, "event_id")?,
            customer_id: text(&body, "customer_id")?,
            kind: text(&body, "type")?,
            occurred_at_ms: instant_ms(&text(&body, "occurred_at")?)?,
            body,
        })
    }

    pub fn text(&self, member: &str) -> Option<String> {
        text(&self.body, member)
    }
}

/// One decision record.
#[derive(Debug, Clone)]
pub struct Decision {
    pub partition: i32,
    pub offset: i64,
    pub id: String,
    pub source: Coordinates,
    pub attempt: u32,
    pub customer_id: String,
    pub class: String,
    pub requested_channel: String,
    pub channel: String,
    pub verdict: String,
    pub reason: String,
    pub rule: Option<String>,
    pub blocked_by: Vec<Value>,
    pub decided_at_ms: i64,
    pub wake_at_ms: Option<i64>,
    pub next_eligible_at_ms: Option<i64>,
    pub policy: String,
    pub barrier: BTreeMap<String, i64>,
}

impl Decision {
    pub fn read(record: &TopicRecord) -> Result<Self, String> {
        let body = object(record).ok_or("is no JSON object")?;
        let need = |member: &str| text(&body, member).ok_or_else(|| format!("lacks {member}"));
        let time = |member: &str| match text(&body, member) {
            None => Ok(None),
            Some(at) => instant_ms(&at).map(Some).ok_or_else(|| format!("has a bad {member}")),
        };
        let id = need("decision_id")?;
        let (source, attempt) = Coordinates::parse_decision_id(&id).ok_or("has a bad decision_id")?;
        let named = body.get("source").and_then(Value::as_object).ok_or("lacks source")?;
        let same_source = text(named, "topic").as_deref() == Some(source.topic.as_str())
            && named.get("partition").and_then(Value::as_i64) == Some(i64::from(source.partition))
            && named.get("offset").and_then(Value::as_i64) == Some(source.offset);
        if !same_source {
            return Err("names another source than its id".into());
        }
        if body.get("attempt").and_then(Value::as_u64).unwrap_or(0) != u64::from(attempt) {
            return Err("names another attempt than its id".into());
        }
        let customer_id = need("customer_id")?;
        if record.key.as_deref() != Some(customer_id.as_bytes()) {
            return Err("is not keyed by its customer".into());
        }
        let barrier = body.get("barrier").and_then(Value::as_object);
        let offsets = barrier
            .into_iter()
            .flatten()
            .filter_map(|(topic, at)| Some((topic.clone(), at.as_i64()?)));
        Ok(Self {
            partition: record.partition,
            offset: record.offset,
            source,
            attempt,
            customer_id,
            class: need("class")?,
            // A release knows only the channel of the contact.
            requested_channel: text(&body, "requested_channel").map_or_else(|| need("channel"), Ok)?,
            channel: text(&body, "channel").map_or_else(|| need("requested_channel"), Ok)?,
            verdict: need("verdict")?,
            reason: need("reason")?,
            rule: text(&body, "rule"),
            blocked_by: body
                .get("blocked_by")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            decided_at_ms: time("decided_at")?.ok_or("lacks decided_at")?,
            wake_at_ms: time("wake_at")?,
            next_eligible_at_ms: time("next_eligible_at")?,
            policy: need("policy")?,
            barrier: offsets.collect(),
            id,
        })
    }

    /// True where the event had been applied when this was decided.
    pub fn knew(&self, event: &Event) -> bool {
        self.barrier
            .get(&event.coordinates.topic)
            .is_some_and(|end| event.coordinates.offset < *end)
    }
}

pub fn text(body: &Map<String, Value>, member: &str) -> Option<String> {
    body.get(member)?.as_str().map(str::to_owned)
}

fn object(record: &TopicRecord) -> Option<Map<String, Value>> {
    match serde_json::from_slice(record.value.as_deref()?).ok()? {
        Value::Object(body) => Some(body),
        _ => None,
    }
}
