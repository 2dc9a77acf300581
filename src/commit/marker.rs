//! The position marker: the changelog record that names what a transaction covered, and the same in short as the metadata
//! of every offset that the transaction commits. A restore is proven complete when both agree.

use minicbor::{Decode, Encode};

/// Which history a partition's state belongs to: drawn at random with the first transaction of an empty changelog. Also the
/// secret under which erased ids are hashed.
pub type Lineage = [u8; 16];

/// Format of the marker's bytes, and the oldest reader that may read them.
const FORMAT: u8 = 1;

/// The newest transaction of one task, as the changelog tells it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Marker {
    /// Grows by one a transaction of the task.
    #[n(0)]
    pub seq: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub lineage: Lineage,
    #[n(2)]
    pub partition_count: i32,
    /// Decision time of the newest batch; the clock never goes back behind it.
    #[n(3)]
    pub now_ms: i64,
    /// Next unprocessed offset of each input topic, as far as one is known.
    #[n(4)]
    pub positions: Vec<(String, i64)>,
    /// Written by `forbear repair`: its positions hold whatever the committed offsets say.
    #[n(5)]
    pub repaired: bool,
    /// Intents that wait in the partition, for the metric.
    #[n(6)]
    pub deferred: u64,
    /// Hash of the policy under which the whole queue was timed; none: a walk over it never came to its end.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub timed_by: Option<[u8; 32]>,
}

/// Why a marker cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    #[error("the marker is {0}")]
    Damaged(&'static str),
    /// Written by a later version that says so.
    #[error("the marker has format {format}; this version reads up to {reader}: run the newer version")]
    TooNew { format: u8, reader: u8 },
}

impl MarkerError {
    /// Whether a later version wrote it.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::TooNew { .. })
    }
}

impl Marker {
    /// Bytes for the changelog.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT, FORMAT];
        // Writing to a vector cannot fail.
        let _ = minicbor::encode(self, &mut bytes);
        bytes
    }

    /// # Errors
    /// Bytes that no version up to this one writes.
    pub fn decode(bytes: &[u8]) -> Result<Marker, MarkerError> {
        let (head, body) = bytes.split_first_chunk::<2>().ok_or(MarkerError::Damaged("cut off"))?;
        if head[1] > FORMAT {
            return Err(MarkerError::TooNew {
                format: head[0],
                reader: FORMAT,
            });
        }
        minicbor::decode(body).map_err(|_| MarkerError::Damaged("damaged"))
    }

    /// What goes along with each committed offset: `1 <lineage as hex> <seq>`.
    pub fn metadata(&self) -> String {
        let mut text = String::from("1 ");
        for byte in self.lineage {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push(' ');
        text.push_str(&self.seq.to_string());
        text
    }
}

/// Reads lineage and `seq` back from a committed offset's metadata; none: somebody else committed it.
pub fn parse_metadata(metadata: &str) -> Option<(Lineage, u64)> {
    let mut words = metadata.split(' ');
    if words.next() != Some("1") {
        return None;
    }
    let hex = words.next().filter(|hex| hex.len() == 32 && hex.is_ascii())?;
    let mut lineage = Lineage::default();
    for (byte, digits) in lineage.iter_mut().zip(0..) {
        *byte = u8::from_str_radix(&hex[digits * 2..digits * 2 + 2], 16).ok()?;
    }
    let seq = words.next()?.parse().ok()?;
    words.next().is_none().then_some((lineage, seq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn marker() -> Marker {
        Marker {
            seq: 81,
            lineage: [0xab; 16],
            partition_count: 12,
            now_ms: 1_774_729_800_007,
            positions: vec![("forbear.intents".into(), 17), ("forbear.engagement".into(), 0)],
            repaired: false,
            deferred: 3,
            timed_by: Some([7; 32]),
        }
    }

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        assert_eq!(Marker::decode(&marker().encode()), Ok(marker()));
    }

    #[test]
    fn the_metadata_names_lineage_and_seq() {
        let metadata = marker().metadata();
        assert_eq!(metadata, "1 abababababababababababababababab 81");
        assert_eq!(parse_metadata(&metadata), Some(([0xab; 16], 81)));
    }

    #[test]
    fn a_marker_of_a_later_format_is_refused() {
        let mut bytes = marker().encode();
        bytes[0] = 9;
        bytes[1] = 9;
        assert!(Marker::decode(&bytes).is_err_and(|error| error.to_string().contains("newer version")));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_marker_or_an_error(bytes: Vec<u8>, text: String) {
            let _ = Marker::decode(&bytes);
            let _ = parse_metadata(&text);
        }
    }
}
