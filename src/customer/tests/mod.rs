//! Tests of the room, by what they are about. Here: the smallest intents, contacts, events and policies.

mod bytes;
mod clocks;
mod consent;
mod erasure;
mod events;
mod ledger;
mod reports;
mod sizes;

use crate::customer::facts::FactPolicy;
use crate::customer::keys::ErasureSecret;
use crate::customer::*;
use crate::message::{EngagementEvent, EventKind};
use std::collections::BTreeMap;

pub const SECRET: ErasureSecret = *b"sixteen bytes ok";
pub const DAY_MS: i64 = 86_400_000;
pub const NOW_MS: i64 = 20_000 * DAY_MS;

/// A store of one partition.
pub type Values = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn name(text: &str) -> Name {
    Name::from(text)
}

pub fn fresh() -> Customer {
    Customer::new(name("c1"))
}

pub fn load(values: &Values) -> Customer {
    try_load(values).expect("loads")
}

pub fn try_load(values: &Values) -> Result<Customer, LoadError<String>> {
    Customer::load(name("c1"), &SECRET, &mut |key| Ok(values.get(key).cloned()))
}

/// Writes what changed; answers the keys written.
pub fn store(customer: &mut Customer, values: &mut Values) -> Vec<Vec<u8>> {
    let changes = customer.changes(&SECRET);
    let keys = changes.iter().map(|(key, _)| key.clone()).collect();
    for (key, value) in changes {
        match value {
            Some(value) => values.insert(key, value),
            None => values.remove(&key),
        };
    }
    keys
}

/// Gives back failed and hard-bounced mail, and unconfirmed push after two days.
pub struct TestPolicy;

impl ApplyPolicy for TestPolicy {
    fn release_on(&self, channel: &str, cause: ReleasedBy) -> bool {
        match channel {
            "email" => matches!(cause, ReleasedBy::Failed | ReleasedBy::BouncedHard),
            "push" => cause == ReleasedBy::Unconfirmed,
            _ => false,
        }
    }
    fn confirm_within_ms(&self, _: &str) -> i64 {
        2 * DAY_MS
    }
    fn remember_intents_ms(&self) -> i64 {
        35 * DAY_MS
    }
}

impl FactPolicy for TestPolicy {
    fn is_response(&self, kind: EventKind) -> bool {
        matches!(kind, EventKind::Clicked | EventKind::Opened)
    }
    fn confirm_within_ms(&self, _: &str) -> i64 {
        2 * DAY_MS
    }
    fn releases_unconfirmed(&self, channel: &str) -> bool {
        channel == "push"
    }
}

pub fn coordinates(offset: i64) -> DecisionCoordinates {
    DecisionCoordinates {
        topic: name("forbear.intents"),
        partition: 3,
        offset,
        attempt: 0,
    }
}

pub fn contact(intent: &str, channel: &str, at_ms: i64) -> Contact {
    Contact {
        at_ms,
        state: ContactState::Reserved,
        reported_at_ms: 0,
        intent_hash: id_hash(intent),
        decision: Some(coordinates(at_ms)),
        channel: name(channel),
        division: name("cards"),
        class: name("marketing"),
        message_type: name("campaign"),
        campaign: Some(name("spring")),
        category: None,
        topic: None,
        offer: Some(name("gold")),
        tags: vec![name("a"), name("b")],
        cost_micros: 2_000,
        endpoint_hash: None,
    }
}

pub fn waiting(intent: &str, offset: i64) -> Waiting {
    Waiting {
        decision: coordinates(offset),
        intent_hash: id_hash(intent),
        first_deferred_ms: Some(NOW_MS),
        wake_at_ms: Some(NOW_MS + DAY_MS),
        due_at_ms: Some(NOW_MS + DAY_MS),
        reason: 16,
        rule: Some(name("corporate-week")),
        size_bytes: 400,
        class_rank: 1,
        priority: 500,
        score: 0.5,
        expires_at_ms: None,
        created_at_ms: NOW_MS,
        intent_id: name(intent),
    }
}

pub fn body() -> WaitingBody {
    WaitingBody {
        timestamp_ms: NOW_MS,
        value: b"{\"intent_id\":\"i\"}".to_vec(),
        headers: vec![("traceparent".into(), Some(vec![1, 2])), ("empty".into(), None)],
    }
}

pub fn event(id: &str, kind: EventKind, at_ms: i64) -> EngagementEvent {
    EngagementEvent {
        event_id: name(id),
        customer_id: name("c1"),
        occurred_at_ms: at_ms,
        kind,
        intent_id: None,
        channel: None,
        division: None,
        endpoint: None,
        purpose: None,
        campaign: None,
        category: None,
        topic: None,
        offer: None,
        tags: Vec::new(),
        class: None,
        message_type: None,
        cost_micros: None,
        issue_id: None,
        machine: false,
        basis: None,
        expires_at_ms: None,
        preferences: None,
        profile: None,
    }
}

pub fn about(intent: &str, id: &str, kind: EventKind, at_ms: i64) -> EngagementEvent {
    EngagementEvent {
        intent_id: Some(name(intent)),
        ..event(id, kind, at_ms)
    }
}

/// A customer with something in every field.
pub fn full() -> Customer {
    let mut customer = fresh();
    for number in 0..40 {
        let intent = format!("i{number}");
        customer.reserve(
            contact(&intent, "email", NOW_MS - (60 - number) * DAY_MS),
            NOW_MS,
            &TestPolicy,
        );
    }
    customer.reserve(contact("p", "push", NOW_MS - DAY_MS), NOW_MS, &TestPolicy);
    for (id, kind) in [
        ("e1", EventKind::Opened),
        ("e2", EventKind::BouncedHard),
        ("e3", EventKind::Complained),
        ("e4", EventKind::ConsentWithdrawn),
        ("e5", EventKind::ConsentGranted),
        ("e6", EventKind::ContactedElsewhere),
        ("e7", EventKind::Delivered),
    ] {
        apply(
            &mut customer,
            &about("i20", id, kind, NOW_MS - DAY_MS),
            NOW_MS,
            &TestPolicy,
        );
    }
    customer.profile.timezone = Some(name("Europe/Lisbon"));
    let attributes = [
        crate::message::AttributeValue::Text(name("x")),
        crate::message::AttributeValue::Number(1.5),
        crate::message::AttributeValue::Truth(true),
    ];
    let names = ["a", "b", "c"].into_iter().map(name);
    customer.profile.attributes = names.zip(attributes).collect();
    customer.preferences.only_topics = Some(vec![name("news")]);
    customer.preferences.max_per_week = Some(3);
    customer.add_waiting(waiting("w1", 7), body());
    customer.remember(id_hash("i1"), NOW_MS, coordinates(1), 35 * DAY_MS);
    customer
}
