//! P1 for what cannot be judged or applied: dead letters are the records as received, nothing good is among them, and nothing bad
//! is dropped.

use super::reading::{Coordinates, ERRORS, Event, Intent, header, owner};
use super::{Evidence, Findings, TopicRecord};
use std::collections::HashMap;

pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    check_dead_letters(evidence, findings);
    check_engagement(evidence, findings);
}

/// Dead letters are the records as received; a record that is plainly good is none, one that is plainly bad is one.
fn check_dead_letters(evidence: &Evidence<'_>, findings: &mut Findings) {
    let names = &evidence.input.names;
    let mut inputs: HashMap<Coordinates, &TopicRecord> = HashMap::new();
    for topic in names.intents.iter().chain(&names.engagement).chain([&names.reroute]) {
        inputs.extend(
            evidence
                .records(topic)
                .iter()
                .map(|record| (Coordinates::of(topic, record), record)),
        );
    }
    for record in evidence.records(&names.dead_letter) {
        let at = Coordinates::of(&names.dead_letter, record);
        let Some(source) = header(record, "forbear-source").and_then(Coordinates::parse) else {
            continue;
        };
        if header(record, "forbear-error").is_none_or(|error| !ERRORS.contains(&error)) {
            findings.add("contract", format!("{at} gives no error of the closed set"));
        }
        let Some(original) = inputs.get(&source) else {
            findings.add("P1", format!("{at} speaks of {source}, which does not exist"));
            continue;
        };
        let kept = record.headers.len() >= original.headers.len()
            && record.headers[..original.headers.len()] == original.headers[..];
        // A queue keeps no keys: what waited goes out under its customer's.
        let waited = evidence.decisions.iter().any(|decision| decision.source == source);
        if record.value != original.value || (record.key != original.key && !waited) || !kept {
            findings.add("contract", format!("{at} is not the record as it was received"));
        }
        let good = match names.intents.contains(&source.topic) {
            true => plainly_good_intent(evidence, original),
            false => plainly_good_event(original),
        };
        if good {
            findings.add("P1", format!("{source} is a dead letter although it is well formed"));
        }
    }
    for (source, (record, intent)) in &evidence.sources {
        let lost = evidence.is_lost(source);
        if intent.is_none() && !lost && !is_json_object(record) && !evidence.dead.contains_key(source) {
            findings.add("contract", format!("{source} is no JSON object and no dead letter"));
        }
    }
}

/// Nothing is dropped silently: engagement that cannot be read is a dead letter, once.
fn check_engagement(evidence: &Evidence<'_>, findings: &mut Findings) {
    for topic in &evidence.input.names.engagement {
        for record in evidence.records(topic) {
            let source = Coordinates::of(topic, record);
            let letters = evidence.dead.get(&source).map_or(0, Vec::len);
            if letters > 1 {
                findings.add("P1", format!("{source} is {letters} dead letters"));
            }
            let settled = evidence.input.settled_at_ms.is_some();
            if settled && letters == 0 && !is_json_object(record) {
                findings.add("P1", format!("{source} is no JSON object and no dead letter"));
            }
            let Some(event) = Event::read(topic, record) else {
                continue;
            };
            let here = owner(event.customer_id.as_bytes(), evidence.input.partition_count) == record.partition;
            if settled && here && letters == 0 && !EVENT_TYPES.contains(&event.kind.as_str()) {
                findings.add("P1", format!("{source} is of an unknown type and no dead letter"));
            }
        }
    }
}

const EVENT_TYPES: &[&str] = &[
    "sent",
    "delivered",
    "failed",
    "bounced_soft",
    "bounced_hard",
    "opened",
    "clicked",
    "replied",
    "converted",
    "declined",
    "complained",
    "unsubscribed",
    "resubscribed",
    "consent_granted",
    "consent_withdrawn",
    "preferences_set",
    "profile_set",
    "contacted_elsewhere",
    "inbound_contact",
    "issue_opened",
    "issue_closed",
    "intent_cancelled",
    "identity_merged",
    "erased",
    "do_not_contact",
];

fn is_json_object(record: &TopicRecord) -> bool {
    let parsed = record.value.as_deref().map(serde_json::from_slice::<serde_json::Value>);
    matches!(parsed, Some(Ok(serde_json::Value::Object(_))))
}

/// Only members whose form is beyond doubt.
fn plain(record: &TopicRecord, members: &[&str]) -> bool {
    let Some(value) = record.value.as_deref().filter(|value| value.len() < 4096) else {
        return false;
    };
    let Ok(serde_json::Value::Object(body)) = serde_json::from_slice(value) else {
        return false;
    };
    let reserved = record
        .headers
        .iter()
        .any(|(name, _)| name.starts_with("forbear-") || name.starts_with("ce_"));
    // A repeated key is hidden by the parser: each name may stand in the text once.
    let text = String::from_utf8_lossy(value);
    !reserved
        && body.iter().all(|(name, value)| {
            let short = value.as_str().is_some_and(|text| !text.is_empty() && text.len() <= 64);
            members.contains(&name.as_str()) && short && text.matches(&format!("\"{name}\"")).count() == 1
        })
}

fn plainly_good_event(record: &TopicRecord) -> bool {
    const MEMBERS: &[&str] = &[
        "event_id",
        "customer_id",
        "type",
        "occurred_at",
        "channel",
        "purpose",
        "division",
    ];
    const KINDS: &[&str] = &[
        "unsubscribed",
        "resubscribed",
        "consent_withdrawn",
        "consent_granted",
        "complained",
        "erased",
        "do_not_contact",
    ];
    plain(record, MEMBERS) && Event::read("", record).is_some_and(|event| KINDS.contains(&event.kind.as_str()))
}

fn plainly_good_intent(evidence: &Evidence<'_>, record: &TopicRecord) -> bool {
    const MEMBERS: &[&str] = &[
        "intent_id",
        "customer_id",
        "channel",
        "division",
        "campaign",
        "category",
        "topic",
        "offer",
    ];
    let known = |channel: &str| {
        evidence
            .input
            .policies
            .values()
            .all(|policy| policy.channel(channel).is_some())
    };
    let complete =
        Intent::read(record).is_some_and(|intent| known(&intent.channel) && intent.body.contains_key("division"));
    plain(record, MEMBERS) && complete && !evidence.input.policies.is_empty()
}
