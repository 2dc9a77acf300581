//! The dead letter: a record that cannot be judged or applied, as received, with the reason in headers of ours.

use super::{Received, SourceCoordinates, TopicNames, header};
use crate::commit::log::Outgoing;
use crate::message::Malformed;

/// The kind of error, of a closed set.
pub const ERROR: &str = "forbear-error";
/// Which field, and what was expected; never a value of the record.
pub const ERROR_DETAIL: &str = "forbear-error-detail";
/// `<topic>/<partition>/<offset>` of the record as it lay first.
pub const SOURCE: &str = "forbear-source";

/// The dead letter of a record.
///
/// Headers of the input stay as they are, also those that claim to be ours: the last three are the true ones. The time is
/// that of the append, since a record's own may lie so far back that retention would take the letter at once, or where
/// the broker refuses it.
pub fn dead_letter(
    topics: &TopicNames,
    received: &Received,
    source: &SourceCoordinates,
    malformed: &Malformed,
) -> Outgoing {
    let mut headers = Vec::with_capacity(received.headers.len() + 3);
    headers.extend_from_slice(received.headers);
    headers.push(header(ERROR, malformed.kind.as_str()));
    headers.push(header(ERROR_DETAIL, malformed.detail.as_str()));
    headers.push(header(SOURCE, source.to_bytes()));
    Outgoing {
        topic: topics.dead_letter.clone(),
        partition: None,
        key: received.key.map(<[u8]>::to_vec),
        value: received.value.map(<[u8]>::to_vec),
        headers,
        timestamp_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::*;
    use super::*;
    use crate::message::MalformedKind;

    #[test]
    fn a_dead_letter_keeps_everything_and_says_why_last() {
        let headers = [("forbear-error".to_owned(), Some(b"forged".to_vec()))];
        let received = Received {
            key: Some(&[0xff]),
            value: Some(&[0xfe]),
            headers: &headers,
        };
        let malformed = Malformed::new(
            MalformedKind::BadField,
            "priority: expected a whole number from 0 to 1000",
        );
        let record = dead_letter(&topics(), &received, &source(), &malformed);
        assert_eq!(&*record.topic, "forbear.dead-letter");
        assert_eq!(record.key, Some(vec![0xff]));
        assert_eq!(record.value, Some(vec![0xfe]));
        assert_eq!(record.partition, None);
        assert_eq!(record.timestamp_ms, None);
        assert_eq!(
            as_text(&record.headers),
            [
                ("forbear-error", "forged"),
                ("forbear-error", "bad_field"),
                (
                    "forbear-error-detail",
                    "priority: expected a whole number from 0 to 1000"
                ),
                ("forbear-source", "forbear.intents/3/81723"),
            ]
        );
    }

    #[test]
    fn a_record_without_key_and_value_stays_without() {
        let received = Received {
            key: None,
            value: None,
            headers: &[],
        };
        let record = dead_letter(&topics(), &received, &source(), &Malformed::unknown_channel());
        assert_eq!((record.key, record.value), (None, None));
    }
}
