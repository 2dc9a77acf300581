//! What is written on the input topics: intents and engagement events, as types, and their JSON decoders. Pure.
//!
//! A decoder turns the bytes of one record into one value or into one [`Malformed`], which says where the record has to
//! go (the dead-letter topic) and why, without repeating anything that the record contains.
//!
//! The order of the checks is the order of the errors: size, reserved headers, JSON as a whole (syntax, nesting),
//! CloudEvents envelope, repeated keys, then field by field. A record whose JSON is broken anywhere is `not_json`,
//! whatever else is wrong with it.

mod envelope;
mod event;
mod field;
mod intent;
mod json;
pub mod limits;
mod owner;
pub mod time;
mod words;

#[cfg(test)]
mod tests;

pub use event::decode_event;
pub use intent::decode_intent;
pub use owner::{murmur2, owner};
pub use words::is_reserved_header;

use std::sync::Arc;

/// A short text that many values share: a channel, a division, a campaign, a topic name. Cheap to clone.
pub type Name = Arc<str>;

/// One record header: name and value; names may repeat.
pub type Header = (String, Option<Vec<u8>>);

/// One message that one division wants to send to one customer on one channel.
///
/// Times are UTC milliseconds. Defaults that need no policy are already applied (`message_type`, `priority`,
/// `created_at_ms`); `class` stays open, because the policy names the default class.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// 1 to 256 bytes; identifies the intent within the customer. CloudEvents: see [`decode_intent`].
    pub intent_id: Name,
    /// 1 to 256 bytes; decides the owning partition.
    pub customer_id: Name,
    pub channel: Name,
    pub division: Name,
    pub class: Option<Name>,
    pub message_type: Name,
    pub campaign: Option<Name>,
    pub category: Option<Name>,
    pub topic: Option<Name>,
    pub tags: Vec<Name>,
    /// Key of redundant offers.
    pub offer: Option<Name>,
    /// The address on the requested channel. Never logged; kept in state only as [`crate::customer::endpoint_hash`].
    pub endpoint: Option<Name>,
    pub fallback_channels: Vec<Name>,
    /// 0 to 1000.
    pub priority: u16,
    /// Money, finite.
    pub value: Option<f64>,
    /// 0 to 1.
    pub propensity: Option<f64>,
    /// Cost of sending in millionths of the company's currency; absent: the channel's.
    pub cost_micros: Option<i64>,
    pub not_before_ms: Option<i64>,
    pub deliver_at_ms: Option<i64>,
    pub expires_at_ms: Option<i64>,
    /// The record's timestamp where the body names none.
    pub created_at_ms: i64,
    pub objective: Option<Name>,
}

/// Anything that the customer did, or that happened to a message after approval.
#[derive(Debug, Clone, PartialEq)]
pub struct EngagementEvent {
    pub event_id: Name,
    pub customer_id: Name,
    pub occurred_at_ms: i64,
    pub kind: EventKind,
    /// The intent (or the message) that the event is about.
    pub intent_id: Option<Name>,
    pub channel: Option<Name>,
    pub division: Option<Name>,
    pub endpoint: Option<Name>,
    pub purpose: Option<Name>,
    pub campaign: Option<Name>,
    pub category: Option<Name>,
    pub topic: Option<Name>,
    pub offer: Option<Name>,
    pub tags: Vec<Name>,
    pub class: Option<Name>,
    pub message_type: Option<Name>,
    pub cost_micros: Option<i64>,
    pub issue_id: Option<Name>,
    /// A machine opened it (a mail gateway, a privacy proxy): never a response.
    pub machine: bool,
    pub basis: Option<Basis>,
    pub expires_at_ms: Option<i64>,
    pub preferences: Option<Box<PreferenceChange>>,
    pub profile: Option<Box<ProfileChange>>,
}

/// The closed set of engagement types. `identity_merged` is recognised and refused by the decoder until it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EventKind {
    Sent = 0,
    Delivered = 1,
    Failed = 2,
    BouncedSoft = 3,
    BouncedHard = 4,
    Opened = 5,
    Clicked = 6,
    Replied = 7,
    Converted = 8,
    Declined = 9,
    Complained = 10,
    Unsubscribed = 11,
    Resubscribed = 12,
    ConsentGranted = 13,
    ConsentWithdrawn = 14,
    PreferencesSet = 15,
    ProfileSet = 16,
    ContactedElsewhere = 17,
    InboundContact = 18,
    IssueOpened = 19,
    IssueClosed = 20,
    IntentCancelled = 21,
    Erased = 22,
    DoNotContact = 23,
}

/// Why a customer may be contacted on an opt-in channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Basis {
    Express = 0,
    Purchase = 1,
    Inquiry = 2,
}

/// `preferences_set`: replaces the preferences that it names. Outer `None`: not named. For the inner options `None` is
/// JSON `null`: the preference is cleared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PreferenceChange {
    pub refused_topics: Option<Vec<Name>>,
    pub only_topics: Option<Option<Vec<Name>>>,
    pub refused_channels: Option<Vec<Name>>,
    pub max_per_week: Option<Option<u32>>,
    pub paused_until_ms: Option<Option<i64>>,
}

/// `profile_set`: replaces the profile fields that it names (outer `None`: not named; inner `None`: cleared).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProfileChange {
    /// IANA zone name, known to the bundled database (an unknown one is a dead letter).
    pub timezone: Option<Option<Name>>,
    pub jurisdiction: Option<Option<Name>>,
    pub segments: Option<Vec<Name>>,
    /// Scalars only; sorted by name.
    pub attributes: Option<Vec<(Name, AttributeValue)>>,
    /// When the customer became one.
    pub since_ms: Option<Option<i64>>,
}

/// One attribute of a profile.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    Text(Name),
    Number(f64),
    Truth(bool),
}

/// The closed set of dead-letter errors (header `forbear-error`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MalformedKind {
    NotJson,
    MissingField,
    BadField,
    TooLarge,
    UnknownType,
    UnknownChannel,
    ReservedHeader,
    RerouteFailed,
}

/// A record that cannot be judged or applied: what goes into the headers of its dead letter. `detail` names the field
/// and what was expected; it never contains a value of the record (promise P9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    pub kind: MalformedKind,
    pub detail: String,
}
