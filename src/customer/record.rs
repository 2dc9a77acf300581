//! What is remembered of one customer, as plain records: the words that the judge reads and the codec writes.
//!
//! Everything here is data. Names are shared texts; times are UTC milliseconds; whatever identifies somebody outside
//! Forbear (an intent, an event, an address) is kept as a hash wherever the hash will do.

use crate::message::{AttributeValue, Basis, EventKind, Name};
use std::cmp::Ordering;

/// The hash under which an intent id or an event id is remembered. Part of the state format: never changes.
pub fn id_hash(id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id.as_bytes())
}

/// The hash under which an address is remembered. Part of the state format: never changes.
pub fn endpoint_hash(endpoint: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(endpoint.as_bytes(), ENDPOINT_SEED)
}

/// Whether the customer as a whole may be contacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Judged by policy.
    #[default]
    Active,
    /// Keeps the record, stops everything.
    DoNotContact,
    /// Forgotten; only a keyed hash of the id is kept.
    Erased,
}

/// What divisions told about the customer (`profile_set`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Profile {
    pub timezone: Option<Name>,
    pub jurisdiction: Option<Name>,
    pub segments: Vec<Name>,
    /// Sorted by name.
    pub attributes: Vec<(Name, AttributeValue)>,
    pub since_ms: Option<i64>,
}

/// What the customer asked for (`preferences_set`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Preferences {
    pub refused_topics: Vec<Name>,
    pub only_topics: Option<Vec<Name>>,
    pub refused_channels: Vec<Name>,
    pub max_per_week: Option<u32>,
    pub paused_until_ms: Option<i64>,
}

/// One refusal or grant; `None` in a scope means that it covers every value of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsentStatement {
    pub granted: bool,
    pub channel: Option<Name>,
    /// Purpose = the intent's `category`.
    pub purpose: Option<Name>,
    pub division: Option<Name>,
    pub basis: Option<Basis>,
    pub occurred_at_ms: i64,
    pub expires_at_ms: Option<i64>,
}

/// An entry of the suppression list below the level of the whole customer (that is [`Standing`]).
#[derive(Debug, Clone, PartialEq)]
pub enum Suppression {
    /// A complaint: stops marketing on its channel (`None`: on every channel).
    Complaint { channel: Option<Name>, at_ms: i64 },
    /// A hard bounce: stops its endpoint for every class.
    Endpoint {
        channel: Option<Name>,
        endpoint_hash: u64,
        at_ms: i64,
    },
    /// A hard bounce that named no endpoint: stops the channel until an intent names another address.
    Channel {
        channel: Name,
        known_endpoint_hash: Option<u64>,
        at_ms: i64,
    },
}

/// An approved intent (or a contact made elsewhere) in the ledger, with the snapshot as judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Contact {
    /// The decision time (elsewhere: `occurred_at`): the contact counts from here.
    pub at_ms: i64,
    pub state: ContactState,
    /// When the state was last reported; 0: never.
    pub reported_at_ms: i64,
    /// `id_hash` of the intent's id (elsewhere: of the intent or event that reported it).
    pub intent_hash: u64,
    /// The verdict that made it, for the `released` decision record; none for a contact made elsewhere.
    pub decision: Option<DecisionCoordinates>,
    pub channel: Name,
    pub division: Name,
    pub class: Name,
    pub message_type: Name,
    pub campaign: Option<Name>,
    pub category: Option<Name>,
    pub topic: Option<Name>,
    pub offer: Option<Name>,
    pub tags: Vec<Name>,
    pub cost_micros: i64,
    /// Hash of the address used, for a bounce that names none.
    pub endpoint_hash: Option<u64>,
}

/// What is known of a contact since its approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ContactState {
    Reserved = 0,
    Sent = 1,
    Delivered = 2,
    /// Given back: does not count. A later `delivered` makes it count again.
    Released = 3,
    /// Reported as failed or bounced, on a channel whose table does not give it back: counts, is not delivered.
    Failed = 4,
}

/// An engagement event that a rule may ask for later.
#[derive(Debug, Clone, PartialEq)]
pub struct PastEvent {
    pub at_ms: i64,
    pub kind: EventKind,
    pub machine: bool,
    pub intent_hash: Option<u64>,
    pub issue_id: Option<Name>,
    pub channel: Option<Name>,
    pub division: Option<Name>,
    pub campaign: Option<Name>,
    pub category: Option<Name>,
    pub topic: Option<Name>,
    pub offer: Option<Name>,
    pub tags: Vec<Name>,
    pub class: Option<Name>,
    pub message_type: Option<Name>,
}

/// `<source topic>/<partition>/<offset>/<attempt>`: names one decision for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DecisionCoordinates {
    pub topic: Name,
    pub partition: i32,
    pub offset: i64,
    pub attempt: u32,
}

/// An intent in the deferred queue. Its bytes and headers lie under a key of their own ([`WaitingBody`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Of its newest decision record.
    pub decision: DecisionCoordinates,
    pub intent_hash: u64,
    /// When it was first deferred by a rule (`max-defer` runs from here); none while it is only `planned`.
    pub first_deferred_ms: Option<i64>,
    /// Judged again then (jitter included); none: waits for an event (or for its expiry).
    pub wake_at_ms: Option<i64>,
    /// The instant at which the queue must look at it again at the latest: wake, expiry or end of `max-defer`, or "now"
    /// after an event that re-times. `None` only where nothing but an event can end it.
    pub due_at_ms: Option<i64>,
    /// What the last record said, so that a judgement that changes nothing writes nothing.
    pub reason: u8,
    pub rule: Option<Name>,
    /// For the total order and the bound of the queue.
    pub size_bytes: u32,
    pub class_rank: u16,
    pub priority: u16,
    pub score: f64,
    pub expires_at_ms: Option<i64>,
    pub created_at_ms: i64,
    pub intent_id: Name,
}

/// The record of a waiting intent as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingBody {
    pub timestamp_ms: i64,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// An intent id that was already judged (8-byte hash), and the newest decision about it.
#[derive(Debug, Clone, PartialEq)]
pub struct RememberedIntent {
    pub intent_hash: u64,
    pub at_ms: i64,
    pub decision: DecisionCoordinates,
}

impl DecisionCoordinates {
    /// The record that was judged, whichever attempt it was.
    pub fn origin(&self) -> DecisionCoordinates {
        DecisionCoordinates {
            attempt: 0,
            ..self.clone()
        }
    }

    /// Whether both name decisions about one record.
    pub fn same_origin(&self, other: &DecisionCoordinates) -> bool {
        self.offset == other.offset && self.partition == other.partition && self.topic == other.topic
    }
}

impl Waiting {
    /// The total order of competitors: `Less` goes first. Class rank, priority, score (high first), earliest expiry (absent
    /// last), oldest creation, intent id.
    pub fn precedence(&self, other: &Waiting) -> Ordering {
        let expiry = |waiting: &Waiting| waiting.expires_at_ms.unwrap_or(i64::MAX);
        other
            .class_rank
            .cmp(&self.class_rank)
            .then_with(|| other.priority.cmp(&self.priority))
            .then_with(|| other.score.total_cmp(&self.score))
            .then_with(|| expiry(self).cmp(&expiry(other)))
            .then_with(|| self.created_at_ms.cmp(&other.created_at_ms))
            .then_with(|| self.intent_id.cmp(&other.intent_id))
    }
}

/// Keeps the hash of an address apart from the hash of an id with the same text.
const ENDPOINT_SEED: u64 = 0x656e_6470_6f69_6e74;
