//! Records as the contract describes them, read by hand from JSON and headers: no decoder of the processor is used.

use super::log::{Header, Headers, LogRecord};
use minicbor::{Decode, Encode};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use xxhash_rust::xxh3::xxh3_128;

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

/// Where a record lies: `<topic>/<partition>/<offset>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Coordinates {
    #[n(0)]
    pub topic: String,
    #[n(1)]
    pub partition: i32,
    #[n(2)]
    pub offset: i64,
}

impl Coordinates {
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

/// What stands for bytes that are only ever compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Digest(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes).to_be_bytes())
    }

    /// Of headers, in their order.
    pub fn of_headers(headers: &[Header]) -> Self {
        let mut bytes = Vec::new();
        for (name, value) in headers {
            bytes.extend_from_slice(&(name.len() as u64).to_be_bytes());
            bytes.extend_from_slice(name.as_bytes());
            match value {
                None => bytes.push(0),
                Some(value) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&(value.len() as u64).to_be_bytes());
                    bytes.extend_from_slice(value);
                }
            }
        }
        Self::of(&bytes)
    }
}

/// Headers that Forbear added stand behind the ones that were received: splits them there.
pub fn split_headers(headers: &Headers) -> (&[Header], &[Header]) {
    let own = headers
        .iter()
        .rev()
        .take_while(|(name, _)| name.starts_with("forbear-"))
        .count();
    headers.split_at(headers.len() - own)
}

/// The last header of that name, where it is UTF-8.
pub fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let found = headers.iter().rev().find(|(other, _)| other == name)?;
    std::str::from_utf8(found.1.as_deref()?).ok()
}

/// An RFC 3339 instant as UTC milliseconds.
pub fn instant_ms(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
}

/// The partition that owns a customer: murmur2 as the Java client has it, made positive.
pub fn owner(customer_id: &str, partition_count: i32) -> i32 {
    (murmur2(customer_id.as_bytes()) & 0x7fff_ffff) as i32 % partition_count.max(1)
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

/// The members of an intent that selectors look at.
const INTENT_MEMBERS: &[&str] = &["division", "campaign", "category", "topic", "offer", "message_type"];

/// What the checks need of an intent.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Intent {
    #[n(0)]
    pub customer_id: String,
    /// What tells repeats: the `intent_id`, or source and id of a CloudEvent.
    #[n(1)]
    pub identity: String,
    #[n(2)]
    pub channel: String,
    #[n(3)]
    pub class: Option<String>,
    #[n(4)]
    pub endpoint: Option<String>,
    #[n(5)]
    pub expires_at_ms: Option<i64>,
    #[n(6)]
    pub members: BTreeMap<String, String>,
    /// The later of `not_before` and `deliver_at`.
    #[n(7)]
    pub planned_ms: Option<i64>,
}

impl Intent {
    /// None where the record cannot be an intent at all.
    pub fn read(record: &LogRecord, body: Map<String, Value>) -> Option<Self> {
        let (identity, body) = identified(&record.headers, body, "intent_id")?;
        let members = INTENT_MEMBERS
            .iter()
            .filter_map(|member| Some(((*member).to_owned(), text(&body, member)?)));
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
            members: members.collect(),
        })
    }
}

/// What identifies a record, and its body: of a CloudEvent (structured, or binary by its headers) source and id.
fn identified(headers: &[Header], body: Map<String, Value>, member: &str) -> Option<(String, Map<String, Value>)> {
    if body.contains_key("specversion")
        && let Some(Value::Object(data)) = body.get("data")
    {
        let identity = format!("{}\u{0}{}", text(&body, "source")?, text(&body, "id")?);
        return Some((identity, data.clone()));
    }
    let identity = match header(headers, "ce_id") {
        Some(id) => format!("{}\u{0}{id}", header(headers, "ce_source").unwrap_or("")),
        None => text(&body, member)?,
    };
    Some((identity, body))
}

/// The members of an event that no check looks at, and that may be large.
const UNREAD: &[&str] = &["payload", "attributes", "segments", "amount"];

/// What the checks need of an engagement event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub at: Coordinates,
    pub event_id: String,
    pub customer_id: String,
    pub kind: String,
    pub occurred_at_ms: i64,
    pub body: Map<String, Value>,
}

impl Event {
    /// None where the record is no event (the re-route topic carries intents too).
    pub fn read(at: Coordinates, headers: &[Header], body: Map<String, Value>) -> Option<Self> {
        let (identity, mut body) = identified(headers, body, "event_id")?;
        body.retain(|member, _| !UNREAD.contains(&member.as_str()));
        body.insert("event_id".into(), Value::String(identity.clone()));
        Some(Self {
            at,
            event_id: identity,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Of the record in the decisions topic.
    pub at: Coordinates,
    pub id: String,
    pub source: Coordinates,
    pub attempt: u32,
    pub customer_id: String,
    pub class: String,
    pub requested_channel: String,
    pub channel: String,
    pub division: Option<String>,
    pub campaign: Option<String>,
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
    /// # Errors
    /// What it lacks, in words that follow "the decision record …".
    pub fn read(at: Coordinates, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, String> {
        let body = object(value).ok_or("is no JSON object")?;
        let need = |member: &str| text(&body, member).ok_or_else(|| format!("lacks {member}"));
        let time = |member: &str| match body.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(at) => at
                .as_str()
                .and_then(instant_ms)
                .map(Some)
                .ok_or_else(|| format!("has a bad {member}")),
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
        if body.get("attempt").and_then(Value::as_u64) != Some(u64::from(attempt)) {
            return Err("names another attempt than its id".into());
        }
        let customer_id = need("customer_id")?;
        if key != Some(customer_id.as_bytes()) {
            return Err("is not keyed by its customer".into());
        }
        let barrier = body.get("barrier").and_then(Value::as_object);
        let offsets = barrier
            .into_iter()
            .flatten()
            .filter_map(|(topic, at)| Some((topic.clone(), at.as_i64()?)));
        Ok(Self {
            at,
            source,
            attempt,
            customer_id,
            class: need("class")?,
            // A release knows only the channel of the contact.
            requested_channel: text(&body, "requested_channel").map_or_else(|| need("channel"), Ok)?,
            channel: text(&body, "channel").map_or_else(|| need("requested_channel"), Ok)?,
            division: text(&body, "division"),
            campaign: text(&body, "campaign"),
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
            .get(&event.at.topic)
            .is_some_and(|end| event.at.offset < *end)
    }
}

/// A member that is a text.
pub fn text(body: &Map<String, Value>, member: &str) -> Option<String> {
    body.get(member)?.as_str().map(str::to_owned)
}

/// A value that is a JSON object.
pub fn object(value: Option<&[u8]>) -> Option<Map<String, Value>> {
    match serde_json::from_slice(value?).ok()? {
        Value::Object(body) => Some(body),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_one_that_kafkas_java_client_chooses() {
        // Taken from the Java client's own tests.
        let known = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
        ];
        for (text, hash) in known {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
        assert_eq!(owner("21", 12), (-973_932_308_i32 & 0x7fff_ffff) % 12);
    }

    #[test]
    fn coordinates_and_decision_ids_are_read_back() {
        let (source, attempt) = Coordinates::parse_decision_id("forbear.intents/3/81723/2").unwrap();
        assert_eq!((source.to_string().as_str(), attempt), ("forbear.intents/3/81723", 2));
        for bad in ["", "a/b/c/d", "a/1/2/3/4", "a/1/2"] {
            assert_eq!(Coordinates::parse_decision_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn own_headers_are_told_from_those_that_were_received() {
        let headers = ["a", "b", "forbear-x", "forbear-y"]
            .map(|name| (name.to_owned(), None))
            .to_vec();
        let (received, own) = split_headers(&headers);
        assert_eq!((received.len(), own.len()), (2, 2));
    }
}
