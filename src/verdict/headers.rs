//! The record of a terminal verdict: the intent's bytes, its own headers, then ours in the order of the contract.

use super::{Received, Stamp, TopicNames, decision_id, header};
use crate::commit::log::Outgoing;
use crate::customer::DecisionCoordinates;
use crate::message::time::rfc3339;
use crate::message::{Header, Intent};
use crate::policy::judgement::{Judgement, Verdict};

/// `<source topic>/<partition>/<offset>/<attempt>`; the key for deduplication.
pub const DECISION_ID: &str = "forbear-decision-id";
/// When it was decided; the contact counts from here.
pub const DECIDED_AT: &str = "forbear-decided-at";
/// Name and hash of the policy.
pub const POLICY: &str = "forbear-policy";
/// The channel judged, after a fallback.
pub const CHANNEL: &str = "forbear-channel";
/// A sender that is later than this drops the message.
pub const VALID_UNTIL: &str = "forbear-valid-until";
/// Why it was suppressed.
pub const REASON: &str = "forbear-reason";
/// The rule that suppressed it.
pub const RULE: &str = "forbear-rule";
/// When it would pass if nothing else were approved meanwhile.
pub const NEXT_ELIGIBLE_AT: &str = "forbear-next-eligible-at";
/// The first record's newest decision.
pub const DUPLICATE_OF: &str = "forbear-duplicate-of";

/// Our headers on one record, at most.
const MOST_HEADERS: usize = 7;

/// The record on `approved.<channel judged>` or `suppressed.<channel requested>`; none for a verdict that is not terminal
/// (deferred) or that has no intent (released).
///
/// `duplicate_of` belongs to the reason `duplicate` alone.
pub fn verdict_record(
    topics: &TopicNames,
    stamp: &Stamp,
    decision: &DecisionCoordinates,
    intent: &Intent,
    received: &Received,
    judgement: &Judgement,
    duplicate_of: Option<&DecisionCoordinates>,
) -> Option<Outgoing> {
    let topic = match judgement.verdict {
        Verdict::Approved => topics.approved(&judgement.channel),
        Verdict::Suppressed => topics.suppressed(&intent.channel),
        Verdict::Deferred | Verdict::Released => return None,
    };
    let mut headers = Vec::with_capacity(received.headers.len() + MOST_HEADERS);
    headers.extend_from_slice(received.headers);
    headers.push(header(DECISION_ID, decision_id(decision)));
    headers.push(header(DECIDED_AT, rfc3339(stamp.decided_at_ms)));
    headers.push(header(POLICY, stamp.policy));
    match judgement.verdict {
        Verdict::Approved => push_approved(&mut headers, intent, judgement),
        _ => push_suppressed(&mut headers, judgement, duplicate_of),
    }
    Some(Outgoing {
        topic,
        partition: None,
        key: Some(intent.customer_id.as_bytes().to_vec()),
        value: received.value.map(<[u8]>::to_vec),
        headers,
        timestamp_ms: None,
    })
}

fn push_approved(headers: &mut Vec<Header>, intent: &Intent, judgement: &Judgement) {
    if judgement.channel != intent.channel {
        headers.push(header(CHANNEL, judgement.channel.as_bytes()));
    }
    if let Some(valid_until_ms) = judgement.valid_until_ms {
        headers.push(header(VALID_UNTIL, rfc3339(valid_until_ms)));
    }
}

fn push_suppressed(headers: &mut Vec<Header>, judgement: &Judgement, duplicate_of: Option<&DecisionCoordinates>) {
    headers.push(header(REASON, judgement.reason.as_str()));
    if let Some(rule) = &judgement.rule {
        headers.push(header(RULE, rule.as_bytes()));
    }
    if let Some(next_eligible_at_ms) = judgement.next_eligible_at_ms {
        headers.push(header(NEXT_ELIGIBLE_AT, rfc3339(next_eligible_at_ms)));
    }
    if let Some(first) = duplicate_of {
        headers.push(header(DUPLICATE_OF, decision_id(first)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::*;
    use super::*;
    use crate::policy::judgement::Reason;

    fn record(
        judgement: &Judgement,
        headers: &[Header],
        duplicate_of: Option<&DecisionCoordinates>,
    ) -> Option<Outgoing> {
        let received = Received {
            key: Some(b"another key"),
            value: Some(VALUE),
            headers,
        };
        let decision = source().decision(1);
        verdict_record(
            &topics(),
            &stamp(&[]),
            &decision,
            &intent(),
            &received,
            judgement,
            duplicate_of,
        )
    }

    #[test]
    fn an_approved_record_keeps_value_and_headers_and_has_the_customer_as_its_key() {
        let own = [
            ("traceparent".to_owned(), Some(b"00-1".to_vec())),
            ("traceparent".to_owned(), None),
        ];
        let record = record(&approved(), &own, None).unwrap();
        assert_eq!(&*record.topic, "approved.email");
        assert_eq!(record.partition, None);
        assert_eq!(record.timestamp_ms, None);
        assert_eq!(record.key.as_deref(), Some(&b"c-1"[..]));
        assert_eq!(record.value.as_deref(), Some(VALUE));
        assert_eq!(
            as_text(&record.headers),
            [
                ("traceparent", "00-1"),
                ("traceparent", "<null>"),
                ("forbear-decision-id", "forbear.intents/3/81723/1"),
                ("forbear-decided-at", "2026-03-28T20:30:00.007Z"),
                ("forbear-policy", "acme-contact-policy@5f0c12345678"),
            ]
        );
    }

    #[test]
    fn an_approved_fallback_names_its_channel_and_how_long_it_is_valid() {
        let judgement = Judgement {
            channel: "push".into(),
            valid_until_ms: Some(DECIDED_AT_MS + 3_600_000),
            ..approved()
        };
        let record = record(&judgement, &[], None).unwrap();
        assert_eq!(&*record.topic, "approved.push");
        assert_eq!(
            as_text(&record.headers)[3..],
            [
                ("forbear-channel", "push"),
                ("forbear-valid-until", "2026-03-28T21:30:00.007Z"),
            ]
        );
    }

    #[test]
    fn a_suppressed_record_says_reason_rule_and_when_it_would_pass() {
        let record = record(&suppressed_by_a_cap(), &[], None).unwrap();
        assert_eq!(&*record.topic, "suppressed.email");
        assert_eq!(
            as_text(&record.headers)[3..],
            [
                ("forbear-reason", "cap"),
                ("forbear-rule", "email-day"),
                ("forbear-next-eligible-at", "2026-03-28T20:30:01.007Z"),
            ]
        );
    }

    #[test]
    fn a_duplicate_names_the_first_decision() {
        let judgement = Judgement {
            verdict: Verdict::Suppressed,
            reason: Reason::Duplicate,
            ..approved()
        };
        let record = record(&judgement, &[], Some(&source().decision(4))).unwrap();
        assert_eq!(
            as_text(&record.headers)[3..],
            [
                ("forbear-reason", "duplicate"),
                ("forbear-duplicate-of", "forbear.intents/3/81723/4"),
            ]
        );
    }

    #[test]
    fn a_suppressed_fallback_goes_to_the_channel_requested() {
        let judgement = Judgement {
            channel: "push".into(),
            ..suppressed_by_a_cap()
        };
        assert_eq!(&*record(&judgement, &[], None).unwrap().topic, "suppressed.email");
    }

    #[test]
    fn a_deferral_is_no_record() {
        let judgement = Judgement {
            verdict: Verdict::Deferred,
            ..suppressed_by_a_cap()
        };
        assert_eq!(record(&judgement, &[], None), None);
    }
}
