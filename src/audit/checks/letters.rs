//! P1 for what cannot be judged or applied: dead letters are the records as received, nothing good is among them, and nothing
//! bad is dropped.

use super::{Findings, Group, Promise};
use crate::audit::facts::{Letter, Received};
use crate::audit::reading::{Coordinates, ERRORS};

pub(super) fn check(group: &Group<'_>, findings: &mut Findings) {
    for (source, letters) in &group.letters {
        for letter in letters {
            check_letter(group, source, letter, findings);
        }
    }
    for (source, received) in &group.engagement {
        check_engagement(group, source, received, findings);
    }
}

fn check_letter(group: &Group<'_>, source: &Coordinates, letter: &Letter, findings: &mut Findings) {
    findings.checked(Promise::Contract, "dead letters");
    if letter.error.as_deref().is_none_or(|error| !ERRORS.contains(&error)) {
        findings.violation(Promise::Contract, &letter.at, "it gives no error of the closed set");
    }
    let original = group.sources.get(source).or_else(|| group.engagement.get(source));
    let Some(original) = original else {
        if group.should_know(source) {
            findings.violation(
                Promise::P1,
                &letter.at,
                format!("it speaks of {source}, which does not exist or says something else"),
            );
        } else {
            findings.not_checked(Promise::Contract, "dead letters of records that are not read");
        }
        return;
    };
    // A queue keeps no keys: what waited goes out under its customer's.
    let waited = group
        .decisions
        .iter()
        .any(|decision| decision.source == *source && decision.verdict == "deferred");
    if letter.value != original.value || (letter.key != original.key && !waited) || letter.received != original.headers
    {
        findings.violation(Promise::Contract, &letter.at, "it is not the record as it was received");
    }
    let is_good = match &original.intent {
        Some(intent) => {
            let mut policies = group.policies.all().peekable();
            original.is_plain
                && policies.peek().is_some()
                && policies.all(|policy| policy.channels.contains_key(&intent.channel))
        }
        None => original.is_plain,
    };
    if is_good && !waited {
        findings.violation(Promise::P1, source, "it is a dead letter although it is well formed");
    }
}

/// Nothing is dropped silently: engagement that cannot be read is a dead letter, once.
fn check_engagement(group: &Group<'_>, source: &Coordinates, received: &Received, findings: &mut Findings) {
    let is_applied = group.should_know(source);
    let was_kept = group.task.complete.as_ref().is_some_and(|mark| {
        // What lies before may have had a dead letter that retention took.
        source.offset >= mark.position(&source.topic)
    });
    if source.topic == group.request.topics.reroute || !is_applied || !was_kept {
        return;
    }
    findings.checked(Promise::P1, "engagement records that are applied, or dead letters");
    let letters = group.letters.get(source).map_or(0, Vec::len);
    if letters > 1 {
        findings.violation(Promise::P1, source, format!("it is {letters} dead letters"));
    }
    if letters == 0 && !received.is_object {
        findings.violation(Promise::P1, source, "it is no JSON object and no dead letter");
    }
    let kind = received.as_event().map(|event| event.kind);
    let is_here = source.partition == group.owner;
    if letters == 0 && is_here && kind.is_some_and(|kind| !EVENT_TYPES.contains(&kind.as_str())) {
        findings.violation(Promise::P1, source, "it is of an unknown type and no dead letter");
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
