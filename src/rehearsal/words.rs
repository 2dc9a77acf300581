//! The fields of intents and events as they are written in YAML, made into the JSON that stands on the topics. What a value may
//! be is the decoder's to say; here numbers, texts, lists and times are told apart by what the field is.

use crate::message::time::{parse_rfc3339, rfc3339};
use crate::policy::file::diagnostic::{nearest, one_of, shortened};
use crate::policy::file::{Diagnostic, Entry, Findings, Node, Value};
use serde_json::{Map, Value as Json};

/// What is written on a topic.
pub type Message = Map<String, Json>;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Texts,
    Number,
    Truth,
    Instant,
    /// Names and scalars.
    Scalars,
    /// Never read.
    Anything,
}

/// A table of fields: name in JSON, and kind.
pub type Table = &'static [(&'static str, Kind)];

/// The fields of an intent.
pub const INTENT: Table = &[
    ("intent_id", Kind::Text),
    ("customer_id", Kind::Text),
    ("channel", Kind::Text),
    ("division", Kind::Text),
    ("class", Kind::Text),
    ("message_type", Kind::Text),
    ("campaign", Kind::Text),
    ("category", Kind::Text),
    ("topic", Kind::Text),
    ("tags", Kind::Texts),
    ("offer", Kind::Text),
    ("endpoint", Kind::Text),
    ("fallback_channels", Kind::Texts),
    ("priority", Kind::Number),
    ("value", Kind::Number),
    ("propensity", Kind::Number),
    ("cost", Kind::Number),
    ("not_before", Kind::Instant),
    ("deliver_at", Kind::Instant),
    ("expires_at", Kind::Instant),
    ("created_at", Kind::Instant),
    ("objective", Kind::Text),
    ("payload", Kind::Anything),
];

/// The fields of an engagement event, whatever its type.
pub const EVENT: Table = &[
    ("type", Kind::Text),
    ("event_id", Kind::Text),
    ("customer_id", Kind::Text),
    ("occurred_at", Kind::Instant),
    ("intent_id", Kind::Text),
    ("channel", Kind::Text),
    ("division", Kind::Text),
    ("endpoint", Kind::Text),
    ("purpose", Kind::Text),
    ("campaign", Kind::Text),
    ("category", Kind::Text),
    ("topic", Kind::Text),
    ("offer", Kind::Text),
    ("tags", Kind::Texts),
    ("class", Kind::Text),
    ("message_type", Kind::Text),
    ("cost", Kind::Number),
    ("issue_id", Kind::Text),
    ("machine", Kind::Truth),
    ("amount", Kind::Number),
    ("basis", Kind::Text),
    ("expires_at", Kind::Instant),
    ("into", Kind::Text),
    ("refused_topics", Kind::Texts),
    ("only_topics", Kind::Texts),
    ("refused_channels", Kind::Texts),
    ("max_per_week", Kind::Number),
    ("paused_until", Kind::Instant),
    ("timezone", Kind::Text),
    ("jurisdiction", Kind::Text),
    ("segments", Kind::Texts),
    ("attributes", Kind::Scalars),
    ("since", Kind::Instant),
];

/// The fields of `profile_set`.
pub const PROFILE: &[&str] = &["timezone", "jurisdiction", "segments", "attributes", "since"];
/// The fields of `preferences_set`.
pub const PREFERENCES: &[&str] = &[
    "refused_topics",
    "only_topics",
    "refused_channels",
    "max_per_week",
    "paused_until",
];

/// A key as the topics spell it: the policy writes `fallback-channels` where the topics write `fallback_channels`.
pub fn snake(key: &str) -> String {
    key.replace('-', "_")
}

/// The message that a map says. `more`: further keys that the caller reads.
pub fn message(node: &Node, what: &str, table: Table, more: &[&str], findings: &mut Findings) -> Option<Message> {
    let Value::Map(entries) = &node.value else {
        let message = format!("{what} is a map, not {}", node.described());
        findings.error("type", node.span, message, "expected `{ field: value, … }`");
        return None;
    };
    let mut message = Message::new();
    let mut complete = true;
    for entry in entries {
        let name = snake(&entry.key);
        if more.contains(&name.as_str()) {
            continue;
        }
        match table.iter().find(|(known, _)| *known == name) {
            None => {
                let known = table.iter().map(|(known, _)| *known).chain(more.iter().copied());
                unknown_key(entry, what, known, findings);
                complete = false;
            }
            Some((known, kind)) => match json(&entry.value, &entry.key, *kind, findings) {
                None => complete = false,
                Some(value) => {
                    if message.insert((*known).to_owned(), value).is_some() {
                        let first = entries.iter().find(|other| snake(&other.key) == *known);
                        let first = first.map_or(entry.key_span, |first| first.key_span);
                        findings.twice("repeated-key", &format!("`{known}`"), first, entry.key_span);
                        complete = false;
                    }
                }
            },
        }
    }
    complete.then_some(message)
}

/// Refuses a key, with the nearest of the known ones.
pub fn unknown_key<'k>(entry: &Entry, what: &str, known: impl IntoIterator<Item = &'k str>, findings: &mut Findings) {
    let known: Vec<&str> = known.into_iter().collect();
    let near = nearest(&entry.key, known.iter().copied());
    let label = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected {}", one_of(&known)),
    };
    let message = format!("unknown key `{}` in {what}", shortened(&entry.key));
    let diagnostic = Diagnostic::error("unknown-key", entry.key_span, message, label);
    findings.push(diagnostic.suggest(near));
}

/// The value of a field; nothing written is JSON `null`.
pub fn json(node: &Node, what: &str, kind: Kind, findings: &mut Findings) -> Option<Json> {
    if node.is_empty() {
        return Some(Json::Null);
    }
    match kind {
        Kind::Text => text(node, what, findings).map(Json::from),
        Kind::Texts => {
            let items = node.as_list().iter();
            let texts: Option<Vec<Json>> = items.map(|item| text(item, what, findings).map(Json::from)).collect();
            texts.map(Json::Array)
        }
        Kind::Number => match scalar(node) {
            Some(number @ Json::Number(_)) => Some(number),
            _ => wrong(node, what, "a number", findings),
        },
        Kind::Truth => match scalar(node) {
            Some(truth @ Json::Bool(_)) => Some(truth),
            _ => wrong(node, what, "`true` or `false`", findings),
        },
        Kind::Instant => instant_ms(node, what, findings).map(|ms| text_of(ms).into()),
        Kind::Scalars => match &node.value {
            Value::Map(entries) => {
                let pairs = entries
                    .iter()
                    .map(|entry| Some((entry.key.clone(), scalar(&entry.value)?)));
                match pairs.collect::<Option<Message>>() {
                    Some(pairs) => Some(Json::Object(pairs)),
                    None => wrong(node, what, "texts, numbers, `true` and `false` by name", findings),
                }
            }
            _ => wrong(node, what, "a map of names and values", findings),
        },
        Kind::Anything => Some(anything(node)),
    }
}

fn text<'n>(node: &'n Node, what: &str, findings: &mut Findings) -> Option<&'n str> {
    match node.text() {
        Some(text) => Some(text),
        None => wrong(node, what, "a text", findings),
    }
}

/// What a scalar means: without quotes a number and a truth value are what they look like.
fn scalar(node: &Node) -> Option<Json> {
    let Value::Scalar { text, plain } = &node.value else {
        return None;
    };
    if !*plain {
        return Some(Json::from(text.as_str()));
    }
    match text.as_str() {
        "" | "~" | "null" => Some(Json::Null),
        "true" => Some(Json::Bool(true)),
        "false" => Some(Json::Bool(false)),
        other => {
            let number = serde_json::from_str::<serde_json::Number>(other);
            Some(number.map_or_else(|_| Json::from(other), Json::Number))
        }
    }
}

fn anything(node: &Node) -> Json {
    match &node.value {
        Value::Scalar { .. } => scalar(node).unwrap_or(Json::Null),
        Value::List(items) => Json::Array(items.iter().map(anything).collect()),
        Value::Map(entries) => {
            let pairs = entries.iter().map(|entry| (entry.key.clone(), anything(&entry.value)));
            Json::Object(pairs.collect())
        }
    }
}

/// An instant: RFC 3339 with any offset, or a wall-clock time with the name of its zone in brackets.
pub fn instant_ms(node: &Node, what: &str, findings: &mut Findings) -> Option<i64> {
    match node.text().and_then(instant_of) {
        Some(instant_ms) => Some(instant_ms),
        None => {
            let expected = "an instant such as `2026-03-28T09:00:00Z` or `2026-03-28T10:00:00+01:00`";
            wrong(node, what, expected, findings)
        }
    }
}

/// The instant that a text names.
pub fn instant_of(text: &str) -> Option<i64> {
    let civil = || {
        let zoned = jiff::fmt::temporal::DateTimeParser::new().parse_zoned_datetime_with(zones(), text);
        zoned.ok().map(|zoned| zoned.timestamp())
    };
    let lenient = || text.parse::<jiff::Timestamp>().ok().or_else(civil);
    let instant_ms = parse_rfc3339(text).or_else(|| lenient().map(jiff::Timestamp::as_millisecond))?;
    (instant_ms >= 0).then_some(instant_ms)
}

fn zones() -> &'static jiff::tz::TimeZoneDatabase {
    static ZONES: std::sync::LazyLock<jiff::tz::TimeZoneDatabase> =
        std::sync::LazyLock::new(jiff::tz::TimeZoneDatabase::bundled);
    &ZONES
}

/// As the topics write it.
pub fn text_of(instant_ms: i64) -> String {
    String::from_utf8_lossy(&rfc3339(instant_ms)).into_owned()
}

/// Refuses a value.
pub fn wrong<T>(node: &Node, what: &str, expected: &str, findings: &mut Findings) -> Option<T> {
    let message = match node.text() {
        Some(text) => format!("`{what}` cannot be `{}`", shortened(text)),
        None => format!("`{what}` cannot be {}", node.described()),
    };
    findings.error("value", node.span, message, format!("expected {expected}"));
    None
}
