//! An outcome as records: reasons, explanation, headers, decision record, dead letter. Pure.
//!
//! Every function here turns values that are already decided into the bytes of [`Outgoing`] records: nothing is judged,
//! nothing is read. The same input always gives the same bytes (promise P5): there is no clock, and no order but that of
//! the contract.

pub mod dead_letter;
pub mod decision;
pub mod headers;
pub mod reroute;
pub mod step;

#[cfg(test)]
mod conformance;

#[cfg(doc)]
use crate::commit::log::Outgoing;
use crate::customer::DecisionCoordinates;
use crate::message::{Header, Name};

/// The output topics, as the settings name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    pub approved_prefix: Name,
    pub suppressed_prefix: Name,
    /// None: turned off.
    pub decisions: Option<Name>,
    pub dead_letter: Name,
    pub reroute: Name,
    pub state: Name,
    pub policies: Name,
}

impl TopicNames {
    /// Where an approved intent goes: by the channel judged.
    pub fn approved(&self, channel: &str) -> Name {
        joined(&self.approved_prefix, channel)
    }

    /// Where a suppressed intent goes: by the channel requested.
    pub fn suppressed(&self, channel: &str) -> Name {
        joined(&self.suppressed_prefix, channel)
    }
}

/// An input record as it was received; for a stray, as it was received first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Received<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header],
}

/// `<topic>/<partition>/<offset>`: where a record lay first, whatever way it took since.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceCoordinates {
    pub topic: Name,
    pub partition: i32,
    pub offset: i64,
}

impl SourceCoordinates {
    /// The name of the n-th decision about this record, counted from 0.
    pub fn decision(&self, attempt: u32) -> DecisionCoordinates {
        DecisionCoordinates {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offset,
            attempt,
        }
    }

    /// As in the headers.
    pub fn to_bytes(&self) -> Vec<u8> {
        source_bytes(&self.topic, self.partition, self.offset)
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn parse(text: &str) -> Option<SourceCoordinates> {
        let (rest, offset) = text.rsplit_once('/')?;
        let (topic, partition) = rest.rsplit_once('/')?;
        let coordinates = SourceCoordinates {
            topic: topic.into(),
            partition: partition.parse().ok().filter(|partition| *partition >= 0)?,
            offset: offset.parse().ok().filter(|offset| *offset >= 0)?,
        };
        // One spelling only: signs, leading zeros and the like name nothing that we wrote.
        (!topic.is_empty() && coordinates.to_bytes() == text.as_bytes()).then_some(coordinates)
    }
}

/// What all verdicts of one batch share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamp<'a> {
    /// The decision time.
    pub decided_at_ms: i64,
    /// `<name>@<first 12 hex of the SHA-256 of the policy>`.
    pub policy: &'a str,
    /// For each engagement topic and the re-route topic the offset up to which (exclusive) it had been applied.
    pub barrier: &'a [(Name, i64)],
}

/// `<source topic>/<partition>/<offset>/<attempt>`.
pub fn decision_id(decision: &DecisionCoordinates) -> Vec<u8> {
    let mut text = source_bytes(&decision.topic, decision.partition, decision.offset);
    text.push(b'/');
    push_integer(&mut text, decision.attempt.into());
    text
}

/// A header of ours.
fn header(name: &str, value: impl Into<Vec<u8>>) -> Header {
    (name.to_owned(), Some(value.into()))
}

fn source_bytes(topic: &str, partition: i32, offset: i64) -> Vec<u8> {
    let mut text = Vec::with_capacity(topic.len() + 28);
    text.extend_from_slice(topic.as_bytes());
    text.push(b'/');
    push_integer(&mut text, partition.into());
    text.push(b'/');
    push_integer(&mut text, offset);
    text
}

/// Appends a number in decimal.
fn push_integer(into: &mut Vec<u8>, number: i64) {
    if number < 0 {
        into.push(b'-');
    }
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    into.extend_from_slice(&digits[start..]);
}

fn joined(prefix: &str, channel: &str) -> Name {
    let mut name = String::with_capacity(prefix.len() + channel.len());
    name.push_str(prefix);
    name.push_str(channel);
    name.into()
}

#[cfg(test)]
pub(crate) mod examples {
    //! What the tests of this room share.

    use super::*;
    use crate::message::{Intent, decode_intent};
    use crate::policy::judgement::{Block, Judgement, Reason, Verdict};

    pub const DECIDED_AT_MS: i64 = 1_774_729_800_007;
    pub const VALUE: &[u8] =
        br#"{ "intent_id":"i-1","customer_id":"c-1","channel":"email","division":"cards","campaign":"spring" }"#;

    pub fn topics() -> TopicNames {
        TopicNames {
            approved_prefix: "approved.".into(),
            suppressed_prefix: "suppressed.".into(),
            decisions: Some("forbear.decisions".into()),
            dead_letter: "forbear.dead-letter".into(),
            reroute: "forbear.reroute".into(),
            state: "forbear.state".into(),
            policies: "forbear.policies".into(),
        }
    }

    pub fn intent() -> Intent {
        decode_intent(Some(VALUE), &[], 0, 1000, false).unwrap()
    }

    pub fn source() -> SourceCoordinates {
        SourceCoordinates {
            topic: "forbear.intents".into(),
            partition: 3,
            offset: 81_723,
        }
    }

    pub fn stamp(barrier: &[(Name, i64)]) -> Stamp<'_> {
        Stamp {
            decided_at_ms: DECIDED_AT_MS,
            policy: "acme-contact-policy@5f0c12345678",
            barrier,
        }
    }

    pub fn approved() -> Judgement {
        Judgement {
            verdict: Verdict::Approved,
            channel: "email".into(),
            reason: Reason::Approved,
            rule: None,
            blocked_by: Vec::new(),
            next_eligible_at_ms: None,
            wake_at_ms: None,
            valid_until_ms: None,
            cost_micros: 2000,
            class: "marketing".into(),
            class_was_unknown: false,
            groups: Vec::new(),
        }
    }

    pub fn suppressed_by_a_cap() -> Judgement {
        Judgement {
            verdict: Verdict::Suppressed,
            reason: Reason::Cap,
            rule: Some("email-day".into()),
            blocked_by: vec![Block {
                rule: Some("email-day".into()),
                reason: Reason::Cap,
                channel: "email".into(),
                count: Some(1),
                limit: Some(1),
                window_start_ms: Some(DECIDED_AT_MS - 1000),
                window_end_ms: Some(DECIDED_AT_MS + 1000),
                free_at_ms: Some(DECIDED_AT_MS + 1000),
                shadow: false,
            }],
            next_eligible_at_ms: Some(DECIDED_AT_MS + 1000),
            ..approved()
        }
    }

    /// Headers as (name, text), to compare.
    pub fn as_text(headers: &[Header]) -> Vec<(&str, &str)> {
        headers
            .iter()
            .map(|(name, value)| {
                let value = value.as_deref().map(|value| std::str::from_utf8(value).unwrap());
                (name.as_str(), value.unwrap_or("<null>"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_decision_id_is_topic_partition_offset_and_attempt() {
        assert_eq!(
            decision_id(&examples::source().decision(2)),
            b"forbear.intents/3/81723/2"
        );
    }

    #[test]
    fn topics_are_the_prefix_and_the_channel() {
        assert_eq!(&*examples::topics().approved("push"), "approved.push");
        assert_eq!(&*examples::topics().suppressed("email"), "suppressed.email");
    }

    #[test]
    fn a_text_that_we_never_write_names_no_source() {
        for text in [
            "",
            "a/b",
            "/1/2",
            "a/-1/2",
            "a/1/-2",
            "a/01/2",
            "a/+1/2",
            "a/1/9223372036854775808",
            "a/1/2 ",
        ] {
            assert_eq!(SourceCoordinates::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn source_coordinates_are_read_as_they_were_written(
            topic in "[a-z._-]{1,20}", partition in 0..=i32::MAX, offset in 0..=i64::MAX,
        ) {
            let coordinates = SourceCoordinates { topic: topic.into(), partition, offset };
            let text = String::from_utf8(coordinates.to_bytes()).unwrap();
            prop_assert_eq!(SourceCoordinates::parse(&text), Some(coordinates));
        }

        #[test]
        fn an_integer_is_written_as_the_standard_library_does(number: i64) {
            let mut text = Vec::new();
            push_integer(&mut text, number);
            prop_assert_eq!(text, number.to_string().into_bytes());
        }
    }
}
