//! Strays on their way to the partition that owns their customer: how one is written, and how it is read there.
//!
//! On the re-route topic the key is the customer id and value and headers are as received; behind them stand four
//! headers of ours, always and in this order: the source, the record's timestamp, what it is, and its key. They are
//! taken off when the stray is read, so that everything after that sees the record as it was.
//!
//! The timestamp travels in a header, not as the record's own: an old one would be taken by retention before it is read,
//! and one far in the future can be refused by the broker, which would stop the partition that it came from.

use super::dead_letter::SOURCE;
use super::{Received, SourceCoordinates, TopicNames, header, push_integer};
use crate::commit::log::Outgoing;
use crate::message::{Header, Malformed, MalformedKind};

/// The timestamp of the record as it lay first, in UTC milliseconds.
pub const TIMESTAMP: &str = "forbear-timestamp";
/// What the stray is: `intent` or `engagement`.
pub const INPUT: &str = "forbear-input";
/// The key of the record as it lay first; null where it had none.
pub const KEY: &str = "forbear-key";

/// What a stray is. The re-route topic carries both, and the source topic may have left the settings meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayKind {
    Intent,
    Engagement,
}

impl StrayKind {
    /// The word in the header and in the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            StrayKind::Intent => "intent",
            StrayKind::Engagement => "engagement",
        }
    }
}

/// A stray as it was received first.
#[derive(Debug, Clone, PartialEq)]
pub struct Stray<'a> {
    pub kind: StrayKind,
    pub source: SourceCoordinates,
    pub timestamp_ms: i64,
    pub received: Received<'a>,
}

/// The record that carries a stray to its owner's partition.
pub fn reroute(topics: &TopicNames, stray: &Stray, customer_id: &str, owner: i32) -> Outgoing {
    let received = &stray.received;
    let mut timestamp = Vec::with_capacity(13);
    push_integer(&mut timestamp, stray.timestamp_ms);
    let mut headers = Vec::with_capacity(received.headers.len() + 4);
    headers.extend_from_slice(received.headers);
    headers.push(header(SOURCE, stray.source.to_bytes()));
    headers.push(header(TIMESTAMP, timestamp));
    headers.push(header(INPUT, stray.kind.as_str()));
    headers.push((KEY.to_owned(), received.key.map(<[u8]>::to_vec)));
    Outgoing {
        topic: topics.reroute.clone(),
        partition: Some(owner),
        key: Some(customer_id.as_bytes().to_vec()),
        value: received.value.map(<[u8]>::to_vec),
        headers,
        timestamp_ms: None,
    }
}

/// Reads what [`reroute`] wrote. Anything else on the topic is `reroute_failed`.
pub fn read_stray<'a>(value: Option<&'a [u8]>, headers: &'a [Header]) -> Result<Stray<'a>, Malformed> {
    read(value, headers).ok_or_else(|| {
        Malformed::new(
            MalformedKind::RerouteFailed,
            "headers: expected those of a re-routed record at the end",
        )
    })
}

fn read<'a>(value: Option<&'a [u8]>, headers: &'a [Header]) -> Option<Stray<'a>> {
    let (own, [source, timestamp, input, key]) = headers.split_last_chunk::<4>()?;
    if key.0 != KEY {
        return None;
    }
    let timestamp = text_of(timestamp, TIMESTAMP)?;
    Some(Stray {
        kind: match text_of(input, INPUT)? {
            "intent" => StrayKind::Intent,
            "engagement" => StrayKind::Engagement,
            _ => return None,
        },
        source: SourceCoordinates::parse(text_of(source, SOURCE)?)?,
        timestamp_ms: timestamp.parse().ok()?,
        received: Received {
            key: key.1.as_deref(),
            value,
            headers: own,
        },
    })
}

fn text_of<'a>((name, value): &'a Header, expected_name: &str) -> Option<&'a str> {
    (name == expected_name)
        .then_some(value.as_deref()?)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::super::examples::*;
    use super::*;
    use proptest::prelude::*;

    fn stray<'a>(headers: &'a [Header], key: Option<&'a [u8]>) -> Stray<'a> {
        Stray {
            kind: StrayKind::Intent,
            source: source(),
            timestamp_ms: DECIDED_AT_MS,
            received: Received {
                key,
                value: Some(VALUE),
                headers,
            },
        }
    }

    #[test]
    fn a_stray_travels_to_its_owner_with_its_coordinates_time_kind_and_key() {
        let own = [("traceparent".to_owned(), Some(b"00-1".to_vec()))];
        let record = reroute(&topics(), &stray(&own, Some(b"other")), "c-1", 5);
        assert_eq!(&*record.topic, "forbear.reroute");
        assert_eq!(record.partition, Some(5));
        assert_eq!(record.key.as_deref(), Some(&b"c-1"[..]));
        assert_eq!(record.value.as_deref(), Some(VALUE));
        assert_eq!(record.timestamp_ms, None);
        assert_eq!(
            as_text(&record.headers),
            [
                ("traceparent", "00-1"),
                ("forbear-source", "forbear.intents/3/81723"),
                ("forbear-timestamp", "1774729800007"),
                ("forbear-input", "intent"),
                ("forbear-key", "other"),
            ]
        );
    }

    #[test]
    fn a_record_that_is_no_stray_of_ours_is_a_failed_re_route() {
        let good = reroute(&topics(), &stray(&[], None), "c-1", 5).headers;
        assert!(read_stray(Some(VALUE), &good).is_ok());
        for damaged in 0..good.len() {
            let mut renamed = good.clone();
            renamed[damaged].0.push('x');
            let mut missing = good.clone();
            missing.remove(damaged);
            let mut followed = good.clone();
            followed.push(("another".to_owned(), None));
            for headers in [renamed, missing, followed] {
                let malformed = read_stray(Some(VALUE), &headers).unwrap_err();
                assert_eq!(malformed.kind, MalformedKind::RerouteFailed);
            }
        }
        for damaged in 0..3 {
            for value in [None, Some(vec![0xff]), Some(b"1/2".to_vec())] {
                let mut headers = good.clone();
                headers[damaged].1 = value;
                assert!(read_stray(Some(VALUE), &headers).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn a_stray_is_read_as_it_was_received(
            own in prop::collection::vec(("[a-z]{0,5}", prop::option::of(prop::collection::vec(any::<u8>(), 0..5))), 0..4),
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..5)),
            timestamp_ms: i64,
            engagement: bool,
        ) {
            let kind = if engagement { StrayKind::Engagement } else { StrayKind::Intent };
            let stray = Stray { kind, timestamp_ms, ..stray(&own, key.as_deref()) };
            let record = reroute(&topics(), &stray, "c-1", 0);
            prop_assert_eq!(read_stray(record.value.as_deref(), &record.headers), Ok(stray));
        }
    }
}
