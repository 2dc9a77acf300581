//! Keys of the values of one partition, in the store and in the changelog alike.
//!
//! A kind byte comes first, so that no customer id can collide with a key of another kind. Where a customer is meant, the
//! length of the id (two bytes, big-endian) and the id follow, so that one id is never the prefix of another. Numbers
//! are big-endian and sort as they count. [`parse_key`] takes any bytes and answers only for a key that one of the
//! builders could have made.

use crate::customer::record::DecisionCoordinates;
use crate::message::Name;
use sha2::{Digest, Sha256};

/// The secret that erased ids are hashed with: without it nobody can test whether an id was erased.
pub type ErasureSecret = [u8; 16];

/// A key, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key<'a> {
    /// The small value that is rewritten with every change.
    Head { customer_id: &'a str },
    /// Contacts of one UTC month (months since January 1970) that left the head.
    History { customer_id: &'a str, month: i32 },
    /// The record of a waiting intent; `origin.attempt` is 0.
    WaitingBody {
        customer_id: &'a str,
        origin: DecisionCoordinates,
    },
    /// The position marker of a partition.
    Marker { partition: i32 },
    /// An erased customer, by [`erased_hash`].
    Erased { hash: [u8; 16] },
    /// What a partition has used under a capacity rule.
    Capacity { partition: i32, rule: &'a str },
}

/// Key of the head value. Ids longer than 65,535 bytes cannot occur (the decoder bounds them at 256) and are cut.
pub fn head_key(customer_id: &str) -> Vec<u8> {
    customer_key(HEAD, customer_id, 0)
}

/// Key of one month's segment of the ledger.
pub fn history_key(customer_id: &str, month: i32) -> Vec<u8> {
    let mut key = customer_key(HISTORY, customer_id, 4);
    key.extend_from_slice(&sortable(month).to_be_bytes());
    key
}

/// Key of a waiting intent's record: by the coordinates at which it was received, whatever the attempt.
pub fn waiting_body_key(customer_id: &str, coordinates: &DecisionCoordinates) -> Vec<u8> {
    let mut key = customer_key(WAITING_BODY, customer_id, 14 + coordinates.topic.len());
    push_text(&mut key, &coordinates.topic);
    key.extend_from_slice(&coordinates.partition.to_be_bytes());
    key.extend_from_slice(&coordinates.offset.to_be_bytes());
    key
}

/// Key of a partition's position marker.
pub fn marker_key(partition: i32) -> Vec<u8> {
    let mut key = vec![MARKER];
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// Key of the entry that outlives an erased customer.
pub fn erased_key(secret: &ErasureSecret, customer_id: &str) -> Vec<u8> {
    let mut key = vec![ERASED];
    key.extend_from_slice(&erased_hash(secret, customer_id));
    key
}

/// Key of what a partition has used under a capacity rule.
pub fn capacity_key(partition: i32, rule: &str) -> Vec<u8> {
    let mut key = vec![CAPACITY];
    key.extend_from_slice(&partition.to_be_bytes());
    push_text(&mut key, rule);
    key
}

/// The first 16 bytes of HMAC-SHA-256 of the id under the secret.
pub fn erased_hash(secret: &ErasureSecret, customer_id: &str) -> [u8; 16] {
    let mut inner = [0x36_u8; HMAC_BLOCK_BYTES];
    let mut outer = [0x5c_u8; HMAC_BLOCK_BYTES];
    for (index, byte) in secret.iter().enumerate() {
        inner[index] ^= byte;
        outer[index] ^= byte;
    }
    let inside = Sha256::new().chain_update(inner).chain_update(customer_id).finalize();
    let whole = Sha256::new().chain_update(outer).chain_update(inside).finalize();
    let mut hash = [0; 16];
    hash.copy_from_slice(&whole[..16]);
    hash
}

/// Takes a key apart; none: no builder of this file makes such a key.
pub fn parse_key(key: &[u8]) -> Option<Key<'_>> {
    let (&kind, rest) = key.split_first()?;
    match kind {
        HEAD => match take_text(rest)? {
            (customer_id, []) => Some(Key::Head { customer_id }),
            _ => None,
        },
        HISTORY => {
            let (customer_id, rest) = take_text(rest)?;
            let month = from_sortable(u32::from_be_bytes(rest.try_into().ok()?));
            Some(Key::History { customer_id, month })
        }
        WAITING_BODY => {
            let (customer_id, rest) = take_text(rest)?;
            let (topic, rest) = take_text(rest)?;
            let (partition, offset) = rest.split_first_chunk::<4>()?;
            let origin = DecisionCoordinates {
                topic: Name::from(topic),
                partition: i32::from_be_bytes(*partition),
                offset: i64::from_be_bytes(offset.try_into().ok()?),
                attempt: 0,
            };
            Some(Key::WaitingBody { customer_id, origin })
        }
        MARKER => Some(Key::Marker {
            partition: i32::from_be_bytes(rest.try_into().ok()?),
        }),
        ERASED => Some(Key::Erased {
            hash: rest.try_into().ok()?,
        }),
        CAPACITY => {
            let (partition, rest) = rest.split_first_chunk::<4>()?;
            match take_text(rest)? {
                (rule, []) => Some(Key::Capacity {
                    partition: i32::from_be_bytes(*partition),
                    rule,
                }),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The customer's next due instant, where the key is a head's and its value names one. Reads a fixed place of the value
/// and decodes nothing, so that the store can keep its due index while it replays a changelog.
pub fn due_of<'a>(key: &'a [u8], value: &[u8]) -> Option<(i64, &'a str)> {
    match parse_key(key)? {
        Key::Head { customer_id } => super::codec::head_due_ms(value).map(|due_ms| (due_ms, customer_id)),
        _ => None,
    }
}

/// The UTC month of an instant, counted from January 1970.
pub fn month_of(at_ms: i64) -> i32 {
    // Counted in eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
    let days = at_ms.div_euclid(86_400_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_after_march = (5 * day_of_year + 2) / 153;
    let months = (era * 400 + year_of_era) * 12 + months_after_march + 2 - 1970 * 12;
    i32::try_from(months).unwrap_or(if months < 0 { i32::MIN } else { i32::MAX })
}

const HEAD: u8 = 1;
const HISTORY: u8 = 2;
const WAITING_BODY: u8 = 3;
const MARKER: u8 = 4;
const ERASED: u8 = 5;
const CAPACITY: u8 = 6;
const HMAC_BLOCK_BYTES: usize = 64;

fn customer_key(kind: u8, customer_id: &str, room: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(3 + customer_id.len() + room);
    key.push(kind);
    push_text(&mut key, customer_id);
    key
}

fn push_text(key: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // `end` fits: it was cut to the greatest length above.
    key.extend_from_slice(&(end as u16).to_be_bytes());
    key.extend_from_slice(&text.as_bytes()[..end]);
}

fn take_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Flips the sign bit, so that negative months sort before positive ones.
fn sortable(month: i32) -> u32 {
    (month as u32) ^ (1 << 31)
}

fn from_sortable(bits: u32) -> i32 {
    (bits ^ (1 << 31)) as i32
}
