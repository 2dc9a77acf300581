//! Whose state a store holds, and whether it may be trusted: the same decision for every kind of store.

use super::{StoreError, StoreIdentity, StoreMeta};
use serde::{Deserialize, Serialize};

/// The layout of keys and bookkeeping that this version writes.
pub const FORMAT: u32 = 1;
/// The oldest version of this code (by the format that it writes) that may read what this one writes.
pub const OLDEST_READER: u32 = 1;

/// Why a store is not used. The word goes into the name of the directory that is set aside, and into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// The database or its bookkeeping is damaged.
    Corrupt,
    /// It belongs to another cluster, topic, partition or partition count.
    OtherIdentity,
    /// A later version wrote it, in a way that this one must not read.
    NewerFormat,
    /// So old that the changelog may have forgotten what was deleted since.
    TooOld,
}

impl Distrust {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Distrust::Corrupt => "corrupt",
            Distrust::OtherIdentity => "other-identity",
            Distrust::NewerFormat => "newer-format",
            Distrust::TooOld => "too-old",
        }
    }
}

/// The identity as it lies in the store. Fields that a later version adds are ignored, `oldest_reader` decides.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    oldest_reader: u32,
    #[serde(default)]
    cluster_id: String,
    #[serde(default)]
    state_topic: String,
    #[serde(default)]
    partition: i32,
    #[serde(default)]
    partition_count: i32,
}

/// Bytes of an identity.
pub fn encode(identity: &StoreIdentity) -> Result<Vec<u8>, StoreError> {
    let written = Written {
        format: FORMAT,
        oldest_reader: OLDEST_READER,
        cluster_id: identity.cluster_id.clone(),
        state_topic: identity.state_topic.clone(),
        partition: identity.partition,
        partition_count: identity.partition_count,
    };
    serde_json::to_vec(&written).map_err(|error| StoreError::Unavailable(format!("identity: {error}")))
}

/// Whether a store with these bytes for an identity and this meta is the one that is wanted, and young enough.
pub fn examine(
    found: &[u8],
    meta: Option<&StoreMeta>,
    wanted: &StoreIdentity,
    trusted_since_ms: i64,
) -> Result<(), (Distrust, String)> {
    let written: Written =
        serde_json::from_slice(found).map_err(|_| (Distrust::Corrupt, "its identity is unreadable".to_string()))?;
    if written.oldest_reader > FORMAT {
        return Err((
            Distrust::NewerFormat,
            format!(
                "it has format {}, which needs a reader of format {} or later; this is {FORMAT}",
                written.format, written.oldest_reader
            ),
        ));
    }
    let found = StoreIdentity {
        cluster_id: written.cluster_id,
        state_topic: written.state_topic,
        partition: written.partition,
        partition_count: written.partition_count,
    };
    if found != *wanted {
        return Err((
            Distrust::OtherIdentity,
            format!("it belongs to {}, wanted is {}", describe(&found), describe(wanted)),
        ));
    }
    match meta {
        Some(meta) if meta.last_applied_ms < trusted_since_ms => Err((
            Distrust::TooOld,
            format!(
                "it was last written at {} ms, trusted are stores since {trusted_since_ms} ms",
                meta.last_applied_ms
            ),
        )),
        _ => Ok(()),
    }
}

fn describe(identity: &StoreIdentity) -> String {
    format!(
        "cluster {:?}, topic {:?}, partition {} of {}",
        identity.cluster_id, identity.state_topic, identity.partition, identity.partition_count
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> StoreIdentity {
        StoreIdentity {
            cluster_id: "c".to_string(),
            state_topic: "forbear.state".to_string(),
            partition: 3,
            partition_count: 8,
        }
    }

    fn distrust(found: &[u8], meta: Option<&StoreMeta>, since: i64) -> Option<Distrust> {
        examine(found, meta, &wanted(), since).err().map(|(why, _)| why)
    }

    #[test]
    fn the_same_identity_is_trusted() {
        assert_eq!(distrust(&encode(&wanted()).unwrap(), None, 100), None);
    }

    #[test]
    fn any_other_part_is_another_identity() {
        for other in [
            StoreIdentity {
                cluster_id: "d".to_string(),
                ..wanted()
            },
            StoreIdentity {
                state_topic: "other".to_string(),
                ..wanted()
            },
            StoreIdentity {
                partition: 4,
                ..wanted()
            },
            StoreIdentity {
                partition_count: 9,
                ..wanted()
            },
        ] {
            assert_eq!(
                distrust(&encode(&other).unwrap(), None, 0),
                Some(Distrust::OtherIdentity)
            );
        }
    }

    #[test]
    fn a_store_is_too_old_only_before_the_trusted_instant() {
        let identity = encode(&wanted()).unwrap();
        let meta = |last_applied_ms| StoreMeta {
            changelog_position: 1,
            last_applied_ms,
        };
        assert_eq!(distrust(&identity, Some(&meta(100)), 100), None);
        assert_eq!(distrust(&identity, Some(&meta(99)), 100), Some(Distrust::TooOld));
    }

    #[test]
    fn a_newer_format_is_read_if_it_says_that_it_may_be() {
        let text = |oldest_reader: u32| {
            format!(
                r#"{{"format":9,"oldest_reader":{oldest_reader},"cluster_id":"c","state_topic":"forbear.state","partition":3,"partition_count":8,"new":1}}"#
            )
        };
        assert_eq!(distrust(text(FORMAT).as_bytes(), None, 0), None);
        assert_eq!(
            distrust(text(FORMAT + 1).as_bytes(), None, 0),
            Some(Distrust::NewerFormat)
        );
        assert_eq!(
            distrust(br#"{"format":9,"oldest_reader":9}"#, None, 0),
            Some(Distrust::NewerFormat)
        );
    }

    #[test]
    fn an_unreadable_identity_is_corrupt() {
        for bytes in [&b""[..], b"{", b"null", b"\xff\xff", b"{\"format\":-1}"] {
            assert_eq!(distrust(bytes, None, 0), Some(Distrust::Corrupt));
        }
    }
}
