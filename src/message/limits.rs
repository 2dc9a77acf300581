//! Bounds of what a record may bring into a customer's state. Over one of them the record is a `bad_field` dead letter:
//! no producer can make a customer's record grow without end.

/// Ids (`intent_id`, `event_id`, `customer_id`, `issue_id`): 1 to this many bytes.
pub const ID_BYTES: usize = 256;
/// Names (channel, division, campaign, category, topic, class, tag, segment, …): at most this many bytes.
pub const NAME_BYTES: usize = 256;
/// An endpoint (address): push tokens and web push addresses are long; state keeps only a hash of it.
pub const ENDPOINT_BYTES: usize = 4096;
/// The text of one profile attribute.
pub const ATTRIBUTE_BYTES: usize = 1024;
/// `tags` of one intent or event.
pub const TAGS: usize = 64;
/// `fallback_channels` of one intent.
pub const FALLBACK_CHANNELS: usize = 16;
/// Entries of one list of preferences (`refused_topics`, `only_topics`, `refused_channels`).
pub const PREFERENCE_ENTRIES: usize = 256;
/// `segments` of one profile.
pub const SEGMENTS: usize = 256;
/// `attributes` of one profile.
pub const ATTRIBUTES: usize = 256;
/// Deepest nesting of JSON arrays and objects, the outermost object included.
pub const NESTING: usize = 128;
/// `priority` of an intent: 0 to this.
pub const PRIORITY: u16 = 1000;
/// Most that one message may cost, in whole units of the company's currency.
pub const COST: f64 = 1_000_000_000.0;
