//! What is known of one customer: profile, consent, ledger, waiting intents; how each event changes it; its bytes. Pure.

use crate::message::{AttributeValue, Basis, EventKind, Name};

/// Everything that the policy may look at. Loaded from the store by `Customer::load`, changed by `Customer::apply` and by
/// the step functions of `verdict`, written back as the values that `Customer::changes` returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Customer {
    pub id: Name,
    pub standing: Standing,
    pub profile: Profile,
    /// Newest last, in the order in which Kafka held them.
    pub consents: Vec<ConsentStatement>,
    pub suppressions: Vec<Suppression>,
    pub preferences: Preferences,
    /// The ledger: exact contacts, sorted by `at_ms`, newest last.
    pub contacts: Vec<Contact>,
    /// What the customer did, for cool-offs and responses; sorted by `at_ms`, newest last; bounded by age and number.
    pub events: Vec<PastEvent>,
    pub waiting: Vec<Waiting>,
    /// Intents seen within `remember-intents`, oldest first.
    pub remembered: Vec<RememberedIntent>,
    /// Hashes of the last 64 `event_id`s, oldest first.
    pub recent_event_ids: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    #[default]
    Active,
    /// Keeps the record, stops everything.
    DoNotContact,
    /// Forgotten; only a keyed hash of the id is kept.
    Erased,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Profile {
    pub timezone: Option<Name>,
    pub jurisdiction: Option<Name>,
    pub segments: Vec<Name>,
    /// Sorted by name.
    pub attributes: Vec<(Name, AttributeValue)>,
    pub since_ms: Option<i64>,
}

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
    /// When a response to this very contact was seen, by the kind of the first: policies differ in what a response is.
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
