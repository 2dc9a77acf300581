//! P5: what was recorded against what follows from the log again.

use super::{Findings, Group, Promise};
use crate::audit::facts::{Letter, Stored, Terminal};
use crate::audit::reading::{Coordinates, Decision, object, text};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What follows from the log, of one customer; and the recorded decisions as they are.
#[derive(Default)]
pub(super) struct Again {
    decisions: BTreeMap<String, Map<String, Value>>,
    terminals: BTreeMap<String, Terminal>,
    letters: BTreeMap<Coordinates, Letter>,
    recorded: BTreeMap<String, Vec<Recorded>>,
    unresolved: BTreeSet<i64>,
}

impl Again {
    pub fn decision(&mut self, stored: Stored) {
        if let Some(body) = object(stored.value.as_deref())
            && let Some(id) = text(&body, "decision_id")
        {
            self.decisions.insert(id, normal(body));
        }
    }

    pub fn terminal(&mut self, terminal: Terminal) {
        if let Some(id) = terminal.header("forbear-decision-id").map(str::to_owned) {
            self.terminals.insert(id, terminal);
        }
    }

    pub fn letter(&mut self, letter: Letter) {
        if let Some(source) = letter.source.clone() {
            self.letters.insert(source, letter);
        }
    }

    pub fn unresolved(&mut self, at_ms: i64) {
        self.unresolved.insert(at_ms);
    }

    pub fn recorded(&mut self, decision: &Decision, stored: &Stored) {
        if let Some(body) = object(stored.value.as_deref()) {
            let list = self.recorded.entry(decision.id.clone()).or_default();
            list.push((decision.decided_at_ms, normal(body)));
        }
    }
}

/// The time of a recorded decision, and its members.
type Recorded = (i64, Map<String, Value>);

/// A member that is null or empty is the same as one that is left out.
fn normal(body: Map<String, Value>) -> Map<String, Value> {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    body.into_iter()
        .filter(|(_, value)| !is_empty(value))
        .map(|(name, value)| match value {
            Value::Object(members) => (name, Value::Object(normal(members))),
            Value::Array(items) => {
                let items = items.into_iter().map(|item| match item {
                    Value::Object(members) => Value::Object(normal(members)),
                    other => other,
                });
                (name, Value::Array(items.collect()))
            }
            other => (name, other),
        })
        .collect()
}

pub(super) fn check(group: &Group<'_>, again: &Again, findings: &mut Findings) {
    if !findings.wants(Promise::P5) {
        return;
    }
    for (id, list) in &again.recorded {
        for (decided_at_ms, body) in list {
            if group.task.covers(*decided_at_ms) {
                check_decision(group, again, (id, *decided_at_ms, body), findings);
            }
        }
    }
    for id in again.decisions.keys().filter(|id| !again.recorded.contains_key(*id)) {
        if !group.survey.is_cut(&group.request.topics.decisions) {
            findings.violation(
                Promise::P5,
                id,
                "this verdict follows from the log, and its decision record is not there",
            );
        }
    }
    check_terminals(group, again, findings);
    check_letters(group, again, findings);
}

fn check_decision(
    group: &Group<'_>,
    again: &Again,
    (id, decided_at_ms, body): (&str, i64, &Map<String, Value>),
    findings: &mut Findings,
) {
    if let Some(derived) = again.decisions.get(id) {
        findings.checked(Promise::P5, "verdicts derived again, member by member");
        let names: BTreeSet<&String> = derived.keys().chain(body.keys()).collect();
        let differing = names.into_iter().filter(|name| derived.get(*name) != body.get(*name));
        let differing: Vec<&str> = differing.map(String::as_str).collect();
        if !differing.is_empty() {
            findings.violation(
                Promise::P5,
                id,
                format!("it does not follow from the log: other {}", differing.join(", ")),
            );
        }
        return;
    }
    let last_ms = group.task.last.as_ref().map_or(i64::MIN, |last| last.now_ms);
    match &group.task.derivable {
        None => findings.not_checked(Promise::P5, NOT_WHOLE),
        Some(start) if decided_at_ms < start.now_ms => {
            findings.not_checked(
                Promise::P5,
                "verdicts older than the state that verdicts can be derived from",
            );
        }
        // The first and the last millisecond may be shared with a transaction that is not looked at.
        Some(start) if decided_at_ms == start.now_ms || decided_at_ms == last_ms => {
            findings.not_checked(
                Promise::P5,
                "verdicts of the very millisecond in which the audit begins or ends",
            );
        }
        Some(_) if again.unresolved.contains(&decided_at_ms) => findings.not_checked(Promise::P5, UNRESOLVED),
        Some(_) => findings.violation(Promise::P5, id, "no such verdict follows from the log"),
    }
}

const NOT_WHOLE: &str = "verdicts of partitions whose state topic or inputs are nowhere whole";
const UNRESOLVED: &str =
    "verdicts of batches that cannot be put together again: an order or a limit in them is not recorded";

fn check_terminals(group: &Group<'_>, again: &Again, findings: &mut Findings) {
    for end in group.terminals.values().flatten() {
        let Some(derived) = again.terminals.get(&end.id) else {
            continue;
        };
        findings.checked(Promise::P5, "verdicts' records derived again, header by header");
        let record = &end.record;
        let is_same = record.approved == derived.approved
            && record.channel == derived.channel
            && record.key == derived.key
            && record.value == derived.value
            && record.received == derived.received
            && record.own == derived.own;
        if !is_same {
            let other: BTreeSet<&str> = record
                .own
                .iter()
                .filter(|header| !derived.own.contains(header))
                .chain(derived.own.iter().filter(|header| !record.own.contains(header)))
                .map(|(name, _)| name.as_str())
                .filter(|name| OWN.contains(name))
                .collect();
            let other: Vec<&str> = other.into_iter().collect();
            findings.violation(
                Promise::P5,
                &record.at,
                match other.is_empty() {
                    true => "another topic, key, value or order of headers follows from the log".to_owned(),
                    false => format!("it does not follow from the log: other {}", other.join(", ")),
                },
            );
        }
    }
    let recorded: BTreeSet<&str> = group.terminals.values().flatten().map(|end| end.id.as_str()).collect();
    for (id, derived) in again.terminals.iter().filter(|(id, _)| !recorded.contains(id.as_str())) {
        let topics = &group.request.topics;
        let topic = match derived.approved {
            true => topics.approved(&derived.channel),
            false => topics.suppressed(&derived.channel),
        };
        if !group.survey.is_cut(&topic) {
            findings.violation(
                Promise::P5,
                id,
                format!("this verdict follows from the log, and its record is not in {topic}"),
            );
        }
    }
}

/// Names of headers that may be told: not what somebody else invents.
const OWN: &[&str] = &[
    "forbear-decided-at",
    "forbear-policy",
    "forbear-channel",
    "forbear-valid-until",
    "forbear-reason",
    "forbear-rule",
    "forbear-next-eligible-at",
    "forbear-duplicate-of",
];

fn check_letters(group: &Group<'_>, again: &Again, findings: &mut Findings) {
    for (source, derived) in &again.letters {
        findings.checked(Promise::P5, "dead letters derived again");
        let letters = group.letters.get(source).map(Vec::as_slice).unwrap_or_default();
        let is_same = |letter: &Letter| letter.error == derived.error && letter.value == derived.value;
        if letters.is_empty() && !group.survey.is_cut(&group.request.topics.dead_letter) {
            findings.violation(
                Promise::P5,
                source,
                "it follows from the log that it is a dead letter, and there is none",
            );
        } else if !letters.is_empty() && !letters.iter().any(is_same) {
            findings.violation(Promise::P5, source, "another dead letter follows from the log");
        }
    }
    let Some(start) = &group.task.derivable else { return };
    for (source, letters) in group
        .letters
        .iter()
        .filter(|(source, _)| !again.letters.contains_key(*source))
    {
        let is_covered = source.partition == group.owner
            && source.offset >= start.position(&source.topic)
            && group.should_know(source)
            && !group
                .decisions
                .iter()
                .any(|decision| decision.source == *source && decision.verdict == "deferred");
        if is_covered && again.unresolved.is_empty() {
            findings.violation(Promise::P5, &letters[0].at, "no such dead letter follows from the log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_null_or_empty_is_the_same_as_none() {
        let read = |text: &str| normal(object(Some(text.as_bytes())).unwrap());
        assert_eq!(
            read(r#"{"a":1,"b":null,"c":[],"d":{},"e":[{"f":null,"g":2}]}"#),
            read(r#"{"a":1,"e":[{"g":2}]}"#)
        );
    }
}
