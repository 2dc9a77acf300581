//! What is kept of each record: a few hundred bytes, whatever its size. Bodies and headers are compared by digest.

use super::log::LogRecord;
use super::reading::{Coordinates, Digest, Event, Intent, header, object, split_headers};
use minicbor::{Decode, Encode};

/// One record of any topic, or one that was derived again.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Fact {
    /// A record of an intents topic.
    #[n(0)]
    Source(#[n(0)] Received),
    /// A record of an engagement topic, or of the re-route topic.
    #[n(1)]
    Engagement(#[n(0)] Received),
    /// A record of `approved.*` or `suppressed.*`.
    #[n(2)]
    Terminal(#[n(0)] Terminal),
    /// A record of the decisions topic.
    #[n(3)]
    Decision(#[n(0)] Stored),
    /// A dead letter.
    #[n(4)]
    Letter(#[n(0)] Letter),
    /// A decision record as it follows from the log; it has no coordinates.
    #[n(5)]
    DerivedDecision(#[n(0)] Stored),
    /// The same of a verdict's record.
    #[n(6)]
    DerivedTerminal(#[n(0)] Terminal),
    /// The same of a dead letter.
    #[n(7)]
    DerivedLetter(#[n(0)] Letter),
    /// A stray intent in the re-route topic.
    #[n(8)]
    Rerouted {
        #[n(0)]
        at: Coordinates,
        /// Where it was received first.
        #[n(1)]
        origin: Coordinates,
    },
    /// The customer's part in a batch that could not be put together again: what was decided at that time is not derived.
    #[n(9)]
    Unresolved(#[n(0)] i64),
}

/// A record of an input.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Received {
    #[n(0)]
    pub at: Coordinates,
    #[n(1)]
    pub key: Option<Digest>,
    #[n(2)]
    pub value: Option<Digest>,
    #[n(3)]
    pub headers: Digest,
    #[n(4)]
    pub is_object: bool,
    /// So plain a record that it cannot be malformed.
    #[n(5)]
    pub is_plain: bool,
    #[n(6)]
    pub intent: Option<Intent>,
    /// The members of an event, as JSON.
    #[n(7)]
    pub event: Option<String>,
}

/// A verdict's record.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Terminal {
    #[n(0)]
    pub at: Coordinates,
    #[n(1)]
    pub approved: bool,
    #[n(2)]
    pub channel: String,
    #[n(3)]
    pub key: Option<String>,
    #[n(4)]
    pub value: Option<Digest>,
    /// Of the headers in front of Forbear's own.
    #[n(5)]
    pub received: Digest,
    /// Forbear's own, in order.
    #[n(6)]
    pub own: Vec<(String, String)>,
}

/// A record that is kept as it is.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Stored {
    #[n(0)]
    pub at: Coordinates,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: Option<Vec<u8>>,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub value: Option<Vec<u8>>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Letter {
    #[n(0)]
    pub at: Coordinates,
    #[n(1)]
    pub source: Option<Coordinates>,
    #[n(2)]
    pub error: Option<String>,
    #[n(3)]
    pub key: Option<Digest>,
    #[n(4)]
    pub value: Option<Digest>,
    #[n(5)]
    pub received: Digest,
}

/// Which of the checks' groups a fact belongs to: all facts about one customer are looked at together, and what is of no
/// customer stands by its coordinates. Nothing of it is ever told.
pub type Group = String;

fn no_customer(at: &Coordinates) -> Group {
    format!("\u{0}{at}")
}

impl Received {
    /// A record of an intents topic.
    pub fn intent(at: Coordinates, record: &LogRecord) -> (Group, Self) {
        let body = object(record.value.as_deref());
        let mut fact = Self::bare(at, record, body.is_some());
        fact.intent = body.and_then(|body| Intent::read(record, body));
        fact.is_plain = is_plain(record, INTENT_MEMBERS) && fact.intent.is_some();
        let group = fact.intent.as_ref().map(|intent| intent.customer_id.clone());
        (group.unwrap_or_else(|| no_customer(&fact.at)), fact)
    }

    /// A record of an engagement topic, or of the re-route topic.
    pub fn engagement(at: Coordinates, record: &LogRecord) -> (Group, Self) {
        let body = object(record.value.as_deref());
        let mut fact = Self::bare(at, record, body.is_some());
        let event = body.and_then(|body| Event::read(fact.at.clone(), &record.headers, body));
        fact.is_plain = is_plain(record, EVENT_MEMBERS)
            && event
                .as_ref()
                .is_some_and(|event| PLAIN_KINDS.contains(&event.kind.as_str()));
        let group = event.as_ref().map(|event| event.customer_id.clone());
        fact.event = event.and_then(|event| serde_json::to_string(&event.body).ok());
        (group.unwrap_or_else(|| no_customer(&fact.at)), fact)
    }

    fn bare(at: Coordinates, record: &LogRecord, is_object: bool) -> Self {
        Self {
            at,
            key: record.key.as_deref().map(Digest::of),
            value: record.value.as_deref().map(Digest::of),
            headers: Digest::of_headers(&record.headers),
            is_object,
            is_plain: false,
            intent: None,
            event: None,
        }
    }

    /// The event, where it is one.
    pub fn as_event(&self) -> Option<Event> {
        let body = object(self.event.as_deref().map(str::as_bytes))?;
        Event::read(self.at.clone(), &[], body)
    }
}

impl Terminal {
    /// A record of `approved.<channel>` or `suppressed.<channel>`. It belongs to the customer of its key.
    pub fn read(at: Coordinates, record: &LogRecord, approved: bool, channel: &str) -> (Group, Self) {
        let (received, own) = split_headers(&record.headers);
        let key = record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned());
        let own = own.iter().map(|(name, value)| {
            let value = value.as_deref().unwrap_or_default();
            (name.clone(), String::from_utf8_lossy(value).into_owned())
        });
        let fact = Self {
            approved,
            channel: channel.to_owned(),
            value: record.value.as_deref().map(Digest::of),
            received: Digest::of_headers(received),
            own: own.collect(),
            key,
            at,
        };
        (fact.key.clone().unwrap_or_else(|| no_customer(&fact.at)), fact)
    }

    /// The value of one of Forbear's headers.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.own.iter().rev().find(|(other, _)| other == name)?;
        Some(&found.1)
    }
}

impl Stored {
    /// A decision record. It belongs to the customer of its key.
    pub fn decision(at: Coordinates, record: &LogRecord) -> (Group, Self) {
        let group = record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned());
        let fact = Self {
            key: record.key.clone(),
            value: record.value.clone(),
            at,
        };
        (group.unwrap_or_else(|| no_customer(&fact.at)), fact)
    }
}

impl Letter {
    /// A dead letter. It belongs where the record belongs that it holds; `is_intents` answers whether a topic is one of
    /// intents.
    pub fn read(at: Coordinates, record: &LogRecord, is_intents: impl Fn(&str) -> bool) -> (Group, Self) {
        // Three of Forbear's own stand at the end; what was received may pretend to have some.
        let received = &record.headers[..record.headers.len().saturating_sub(3)];
        let source = header(&record.headers, "forbear-source").and_then(Coordinates::parse);
        let as_received = LogRecord {
            headers: received.to_vec(),
            ..record.clone()
        };
        let place = source.clone().unwrap_or_else(|| at.clone());
        let (group, _) = match is_intents(&place.topic) {
            true => Received::intent(place, &as_received),
            false => Received::engagement(place, &as_received),
        };
        let fact = Self {
            source,
            error: header(&record.headers, "forbear-error").map(str::to_owned),
            key: record.key.as_deref().map(Digest::of),
            value: record.value.as_deref().map(Digest::of),
            received: Digest::of_headers(received),
            at,
        };
        (group, fact)
    }
}

const INTENT_MEMBERS: &[&str] = &[
    "intent_id",
    "customer_id",
    "channel",
    "division",
    "campaign",
    "category",
    "topic",
    "offer",
];
const EVENT_MEMBERS: &[&str] = &[
    "event_id",
    "customer_id",
    "type",
    "occurred_at",
    "channel",
    "purpose",
    "division",
];
const PLAIN_KINDS: &[&str] = &[
    "unsubscribed",
    "resubscribed",
    "consent_withdrawn",
    "consent_granted",
    "complained",
    "erased",
    "do_not_contact",
];

/// Only members whose form is beyond doubt.
fn is_plain(record: &LogRecord, members: &[&str]) -> bool {
    let Some(value) = record.value.as_deref().filter(|value| value.len() < 4096) else {
        return false;
    };
    let Some(body) = object(Some(value)) else {
        return false;
    };
    let reserved = |name: &str| name.starts_with("forbear-") || name.starts_with("ce_");
    // A repeated key is hidden by the parser: each name may stand in the text once.
    let text = String::from_utf8_lossy(value);
    let is_complete = members[..4].iter().all(|member| body.contains_key(*member));
    is_complete
        && !record.headers.iter().any(|(name, _)| reserved(name))
        && body.iter().all(|(name, value)| {
            let short = value.as_str().is_some_and(|text| !text.is_empty() && text.len() <= 64);
            members.contains(&name.as_str()) && short && text.matches(&format!("\"{name}\"")).count() == 1
        })
}
