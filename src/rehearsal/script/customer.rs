//! `customer:`: who it is, what divisions told about them, what they wish and agreed to, and what happened before.

use super::{Act, FROM_THE_BEGINNING, Reader, Step, timeline_of};
use crate::policy::file::{Node, Span, Value};
use crate::rehearsal::words::{self, EVENT, Kind, Message, PREFERENCES, PROFILE, json, snake, unknown_key, wrong};

const KEYS: [&str; 9] = [
    "id",
    "timezone",
    "jurisdiction",
    "segments",
    "attributes",
    "since",
    "preferences",
    "consent",
    "history",
];

/// The steps that make the customer what it is when the timeline begins.
pub fn customer(node: &Node, reader: &mut Reader) -> Option<Vec<Step>> {
    if node.is_empty() {
        return Some(Vec::new());
    }
    let Value::Map(entries) = &node.value else {
        return wrong(
            node,
            "customer",
            "a map such as `{ timezone: Europe/Lisbon }`",
            reader.findings,
        );
    };
    let mut steps = Vec::new();
    let mut profile = Message::new();
    let mut complete = true;
    for entry in entries {
        let value = &entry.value;
        match snake(&entry.key).as_str() {
            "id" | "customer_id" => match value.text() {
                Some(id) => reader.customer_id = id.to_owned(),
                None => complete = wrong(value, "id", "a text", reader.findings).unwrap_or(false),
            },
            // Read below, when it is known whose it is.
            "preferences" | "consent" | "history" => {}
            name if PROFILE.contains(&name) => {
                let kind = EVENT.iter().find(|(known, _)| *known == name);
                let kind = kind.map_or(Kind::Text, |(_, kind)| *kind);
                match json(value, name, kind, reader.findings) {
                    Some(value) => drop(profile.insert(name.to_owned(), value)),
                    None => complete = false,
                }
            }
            _ => {
                unknown_key(entry, "a customer", KEYS, reader.findings);
                complete = false;
            }
        }
    }
    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
    if !profile.is_empty() {
        profile.insert("type".to_owned(), "profile_set".into());
        steps.push(from_the_beginning(node.span, reader.told(profile, node)?));
    }
    if let Some(entry) = of("preferences") {
        steps.extend(preferences(&entry.value, reader)?);
    }
    if let Some(entry) = of("consent") {
        steps.append(&mut consent(&entry.value, reader)?);
    }
    if let Some(entry) = of("history").filter(|entry| !entry.value.is_empty()) {
        for step in timeline_of(&entry.value, reader)? {
            if !matches!(step.act, Act::Contact(_) | Act::Event(_)) || step.expect.is_some() {
                let label = "expected `{ at: …, contact: { … } }` or `{ at: …, event: { … } }`";
                let message = "a history has contacts and events only";
                reader.findings.error("step", step.span, message, label);
                complete = false;
            }
            steps.push(step);
        }
    }
    complete.then_some(steps)
}

fn preferences(node: &Node, reader: &mut Reader) -> Option<Option<Step>> {
    if node.is_empty() {
        return Some(None);
    }
    for entry in node.entries() {
        if !PREFERENCES.contains(&snake(&entry.key).as_str()) {
            unknown_key(entry, "`preferences`", PREFERENCES.iter().copied(), reader.findings);
            return None;
        }
    }
    let mut message = words::message(node, "`preferences`", EVENT, &[], reader.findings)?;
    message.insert("type".to_owned(), "preferences_set".into());
    let bytes = reader.told(message, node)?;
    reader.check_channels(node, &["refused_channels", "refused-channels"]);
    Some(Some(from_the_beginning(node.span, bytes)))
}

/// `{ push: granted, sms: refused }`, or with more to say: `{ sms: { state: granted, basis: purchase, occurred_at: … } }`,
/// or a list of such. `all` is every channel.
fn consent(node: &Node, reader: &mut Reader) -> Option<Vec<Step>> {
    if node.is_empty() {
        return Some(Vec::new());
    }
    let Value::Map(entries) = &node.value else {
        return wrong(
            node,
            "consent",
            "`{ channel: granted }` or `{ channel: refused }`",
            reader.findings,
        );
    };
    let mut steps = Vec::new();
    for entry in entries {
        for item in entry.value.as_list() {
            let mut message = match item.value {
                Value::Map(_) => words::message(item, "a consent", EVENT, &["state"], reader.findings)?,
                _ => Message::new(),
            };
            let state = item.entries().iter().find(|entry| entry.key == "state");
            let state = state.map_or(item, |entry| &entry.value);
            let kind = match state.text() {
                Some("granted") => "consent_granted",
                Some("refused" | "withdrawn") => "consent_withdrawn",
                _ => return wrong(state, &entry.key, "`granted` or `refused`", reader.findings),
            };
            message.insert("type".to_owned(), kind.into());
            if entry.key != "all" {
                message.insert("channel".to_owned(), entry.key.as_str().into());
            }
            steps.push(from_the_beginning(item.span, reader.told(message, item)?));
        }
        if entry.key != "all" && reader.policy.channel(&entry.key).is_none() {
            let known = reader
                .policy
                .channels
                .iter()
                .map(|channel| &*channel.name)
                .chain(["all"]);
            reader.findings.unknown("channel", &entry.key, entry.key_span, known);
        }
    }
    Some(steps)
}

fn from_the_beginning(span: Span, event: Vec<u8>) -> Step {
    Step {
        at_ms: FROM_THE_BEGINNING,
        span,
        act: Act::Event(event),
        expect: None,
    }
}
