//! The store's own keys. The first byte of every key is its kind; kinds from [`FIRST_OWN_KIND`] up belong to the store,
//! everything below to `customer::keys`. A change with a key of ours is refused, so the two can never meet.
//!
//! | key | value |
//! |---|---|
//! | `F0`, due (8 bytes, big-endian, sign bit flipped: sorts by time), customer id | empty |
//! | `F1` | the meta: format, changelog position, last applied |
//! | `F2` | the identity, as JSON |

use super::{StoreError, StoreMeta};
use crate::customer::keys::{Key, parse_key};

/// Kinds from here up are the store's.
pub const FIRST_OWN_KIND: u8 = 0xF0;
/// The index of due hints.
pub const KIND_DUE: u8 = 0xF0;
/// Key of the meta.
pub const META: &[u8] = &[0xF1];
/// Key of the identity.
pub const IDENTITY: &[u8] = &[0xF2];

const META_FORMAT: u8 = 1;
const SIGN_BIT: u64 = 1 << 63;

/// Refuses a key that the store could take for its own (and the empty key, which has no kind).
pub fn check_foreign(key: &[u8]) -> Result<(), StoreError> {
    match key.first() {
        None => Err(StoreError::Unavailable("a key without a kind byte".to_string())),
        Some(&kind) if kind >= FIRST_OWN_KIND => Err(StoreError::Unavailable(format!(
            "key kind {kind:#04x} is reserved for the store; was the changelog written by a newer version?"
        ))),
        Some(_) => Ok(()),
    }
}

/// Key of a due hint.
pub fn due_key(due_ms: i64, customer_id: &str) -> Vec<u8> {
    let mut key = due_prefix(due_ms);
    key.extend_from_slice(customer_id.as_bytes());
    key
}

/// Where the hints of one instant begin.
pub fn due_prefix(due_ms: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(41);
    key.push(KIND_DUE);
    key.extend_from_slice(&(due_ms.cast_unsigned() ^ SIGN_BIT).to_be_bytes());
    key
}

/// The end (exclusive) of the due index.
pub fn due_end() -> Vec<u8> {
    vec![KIND_DUE + 1]
}

/// The inverse of [`due_key`].
pub fn parse_due_key(key: &[u8]) -> Result<(i64, String), StoreError> {
    let corrupt = || StoreError::Corrupt("a due hint has a malformed key".to_string());
    let rest = key.strip_prefix(&[KIND_DUE]).ok_or_else(corrupt)?;
    let (instant, id) = rest.split_first_chunk::<8>().ok_or_else(corrupt)?;
    let due_ms = (u64::from_be_bytes(*instant) ^ SIGN_BIT).cast_signed();
    let id = std::str::from_utf8(id).map_err(|_| corrupt())?;
    Ok((due_ms, id.to_string()))
}

/// Whose hints have to go because this key is deleted: a customer without a head is to be looked at no more, and nothing of
/// ours may go on naming it.
pub fn forgotten_by_deleting(key: &[u8]) -> Option<&str> {
    match parse_key(key)? {
        Key::Head { customer_id } => Some(customer_id),
        _ => None,
    }
}

/// Bytes of the meta.
pub fn encode_meta(meta: &StoreMeta) -> [u8; 17] {
    let mut bytes = [META_FORMAT; 17];
    bytes[1..9].copy_from_slice(&meta.changelog_position.to_be_bytes());
    bytes[9..17].copy_from_slice(&meta.last_applied_ms.to_be_bytes());
    bytes
}

/// The inverse of [`encode_meta`].
pub fn decode_meta(bytes: &[u8]) -> Result<StoreMeta, StoreError> {
    let corrupt = || StoreError::Corrupt("the store's meta is unreadable".to_string());
    let (format, rest) = bytes.split_first().ok_or_else(corrupt)?;
    let (position, rest) = rest.split_first_chunk::<8>().ok_or_else(corrupt)?;
    let (applied, rest) = rest.split_first_chunk::<8>().ok_or_else(corrupt)?;
    if *format != META_FORMAT || !rest.is_empty() {
        return Err(corrupt());
    }
    Ok(StoreMeta {
        changelog_position: i64::from_be_bytes(*position),
        last_applied_ms: i64::from_be_bytes(*applied),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn due_keys_sort_by_instant_and_read_back(a: i64, b: i64, id in "\\PC{1,20}") {
            prop_assert_eq!(parse_due_key(&due_key(a, &id)).unwrap(), (a, id.clone()));
            if a != b {
                prop_assert_eq!(due_key(a, &id) < due_key(b, ""), a < b);
            }
        }

        #[test]
        fn the_meta_reads_back(changelog_position: i64, last_applied_ms: i64) {
            let meta = StoreMeta { changelog_position, last_applied_ms };
            prop_assert_eq!(decode_meta(&encode_meta(&meta)).unwrap(), meta);
        }

        #[test]
        fn arbitrary_bytes_are_corrupt_and_never_a_panic(bytes: Vec<u8>) {
            if bytes.len() != 17 || bytes[0] != META_FORMAT {
                prop_assert!(matches!(decode_meta(&bytes), Err(StoreError::Corrupt(_))));
            }
            if bytes.len() < 9 || bytes[0] != KIND_DUE {
                prop_assert!(matches!(parse_due_key(&bytes), Err(StoreError::Corrupt(_))));
            }
        }
    }

    #[test]
    fn the_stores_own_kinds_are_refused_to_others() {
        assert!(check_foreign(&[0x00]).is_ok());
        assert!(check_foreign(&[FIRST_OWN_KIND - 1, 1]).is_ok());
        for key in [META, IDENTITY, &due_key(0, "x")[..], &[0xFF], &[]] {
            assert!(matches!(check_foreign(key), Err(StoreError::Unavailable(_))), "{key:?}");
        }
    }
}
