//! What the contract says of one customer's records, from bytes in to records out: decoder, state, judge and records
//! together, with the state written and loaded again after every step.

use super::decision_id;
use super::examples::topics;
use super::step::{self, Arrival, Effects, StepContext};
use super::{Received, SourceCoordinates, Stamp};
use crate::commit::log::Outgoing;
use crate::customer::Customer;
use crate::customer::keys::erased_key;
use crate::message::{Header, Name, decode_event, decode_intent};
use crate::policy::model::Policy;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SECRET: [u8; 16] = *b"a lineage of ten";
const NOON_MS: i64 = 1_781_107_200_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

const POLICY: &str = "forbear: 1
name: conformance
timezone: UTC
defaults: { remember-intents: 35d }
channels:
  email: { consent: opt-out, release-on: [failed, bounced_hard] }
  push: { consent: opt-out, release-on: [unconfirmed], confirm-within: 2h }
  sms: { consent: opt-in }
classes:
  legal: { rank: 2, obeys: [suppression-list], counts: false }
  marketing: { rank: 1, obeys: all, counts: true }
rules:
  - id: email-day
    cap: { limit: 1, window: 24h }
    for: { channel: email, class: marketing }
    on-hit: [fallback, defer]
  - id: push-day
    cap: { limit: 1, window: 24h }
    for: { channel: push, class: marketing }
    on-hit: [fallback, defer]
";

/// One customer, and the time.
struct World {
    policy: Policy,
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    now_ms: i64,
    offset: i64,
}

/// A record that came out, as a reader sees it.
#[derive(Debug, PartialEq)]
struct Seen {
    topic: String,
    headers: BTreeMap<String, String>,
    value: Vec<u8>,
}

impl Seen {
    fn says(&self) -> (&str, &str) {
        let reason = self.headers.get("forbear-reason").map_or("", String::as_str);
        (&self.topic, reason)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.value).expect("JSON")
    }
}

impl World {
    fn new() -> World {
        let (policy, _) = Policy::load(POLICY.as_bytes(), "policy.yaml", None).expect("a policy");
        World {
            policy,
            values: BTreeMap::new(),
            now_ms: NOON_MS,
            offset: 0,
        }
    }

    fn customer(&self) -> Customer {
        let read = &mut |key: &[u8]| Ok::<_, String>(self.values.get(key).cloned());
        Customer::load(Name::from("c"), &SECRET, read).expect("a customer that loads")
    }

    /// One step, and then whatever is due by it, as in a batch.
    fn step(&mut self, act: impl FnOnce(&StepContext, &mut Customer, step::Read<String>, &mut Effects)) -> Vec<Seen> {
        let topics = topics();
        let context = StepContext {
            policy: &self.policy,
            topics: &topics,
            stamp: Stamp {
                decided_at_ms: self.now_ms,
                policy: &self.policy.label,
                barrier: &[],
            },
            partition_count: 1,
            max_intent_bytes: 10_000,
        };
        let mut customer = self.customer();
        let mut effects = Effects::default();
        let read = &mut |key: &[u8]| Ok(self.values.get(key).cloned());
        act(&context, &mut customer, read, &mut effects);
        if customer.next_due_ms().is_some_and(|due_ms| due_ms <= self.now_ms) {
            step::due(&context, &mut customer, read, &mut effects).expect("a store that reads");
        }
        for (key, value) in customer.changes(&SECRET) {
            match value {
                Some(value) => self.values.insert(key, value),
                None => self.values.remove(&key),
            };
        }
        effects.outgoing.into_iter().map(seen).collect()
    }

    fn record(&mut self, value: &[u8], headers: &[Header]) -> Vec<Seen> {
        let intent = decode_intent(Some(value), headers, self.now_ms, 10_000, false).expect("an intent");
        self.offset += 1;
        let source = SourceCoordinates {
            topic: "forbear.intents".into(),
            partition: 0,
            offset: self.offset,
        };
        let timestamp_ms = self.now_ms;
        self.step(|context, customer, read, effects| {
            let arrival = Arrival {
                source,
                timestamp_ms,
                received: Received {
                    key: None,
                    value: Some(value),
                    headers,
                },
                intent: &intent,
            };
            step::arrival(context, customer, &arrival, read, effects).expect("a store that reads");
        })
    }

    /// The record on an output topic, if there is one, and always the decision.
    fn intent(&mut self, id: &str, channel: &str, members: Value) -> Vec<Seen> {
        let mut body = json!({"intent_id": id, "customer_id": "c", "channel": channel, "division": "cards"});
        merge(&mut body, members);
        self.record(body.to_string().as_bytes(), &[])
    }

    fn event(&mut self, kind: &str, members: Value) -> Vec<Seen> {
        self.offset += 1;
        let occurred_at = String::from_utf8(crate::message::time::rfc3339(self.now_ms)).expect("text");
        let mut body = json!({"event_id": format!("e{}", self.offset), "customer_id": "c", "type": kind, "occurred_at": occurred_at});
        merge(&mut body, members);
        let event = decode_event(Some(body.to_string().as_bytes()), &[], 10_000, false).expect("an event");
        self.step(|context, customer, read, effects| {
            step::engagement(context, customer, &event, read, effects).expect("a store that reads");
        })
    }

    fn pass(&mut self, ms: i64) -> Vec<Seen> {
        self.now_ms += ms;
        self.step(|_, _, _, _| ())
    }
}

fn merge(body: &mut Value, members: Value) {
    let (Value::Object(body), Value::Object(members)) = (body, members) else {
        panic!("two objects");
    };
    body.extend(members);
}

fn seen(record: Outgoing) -> Seen {
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap_or_default()).expect("UTF-8");
    Seen {
        topic: record.topic.to_string(),
        headers: record
            .headers
            .into_iter()
            .map(|(name, value)| (name, text(value)))
            .collect(),
        value: record.value.unwrap_or_default(),
    }
}

/// What lies on the approved and suppressed topics.
fn ends(records: &[Seen]) -> Vec<(&str, &str)> {
    let ends = records.iter().filter(|record| record.topic != "forbear.decisions");
    ends.map(Seen::says).collect()
}

/// Verdict, reason and attempt of the decision records.
fn decisions(records: &[Seen]) -> Vec<(String, String, i64)> {
    let decisions = records
        .iter()
        .filter(|record| record.topic == "forbear.decisions")
        .map(Seen::json);
    decisions
        .map(|record| {
            let text = |member: &str| record[member].as_str().unwrap_or_default().to_owned();
            (
                text("verdict"),
                text("reason"),
                record["attempt"].as_i64().unwrap_or(-1),
            )
        })
        .collect()
}

fn decision(verdict: &str, reason: &str, attempt: i64) -> (String, String, i64) {
    (verdict.to_owned(), reason.to_owned(), attempt)
}

#[test]
fn an_intent_that_is_repeated_ends_as_a_duplicate_of_the_newest_decision_and_counts_nothing() {
    let mut world = World::new();
    assert_eq!(ends(&world.intent("i", "email", json!({}))), [("approved.email", "")]);
    world.event("failed", json!({"intent_id": "i"}));
    let again = world.intent("i", "email", json!({"class": "legal"}));
    assert_eq!(ends(&again), [("suppressed.email", "duplicate")]);
    // The release was the newest decision about it.
    assert_eq!(again[0].headers["forbear-duplicate-of"], "forbear.intents/0/1/1");
    assert_eq!(decisions(&again), [decision("suppressed", "duplicate", 0)]);
    assert_eq!(ends(&world.intent("j", "email", json!({}))), [("approved.email", "")]);
}

#[test]
fn an_intent_that_is_repeated_while_it_waits_is_a_duplicate_and_is_new_once_its_first_verdict_is_too_old() {
    let mut world = World::new();
    world.intent("i", "email", json!({}));
    let waits = world.intent("j", "email", json!({}));
    assert_eq!(
        (ends(&waits), decisions(&waits)),
        (vec![], vec![decision("deferred", "cap", 0)])
    );
    let again = world.intent("j", "email", json!({}));
    assert_eq!(ends(&again), [("suppressed.email", "duplicate")]);
    assert_eq!(again[0].headers["forbear-duplicate-of"], "forbear.intents/0/2/0");
    assert_eq!(ends(&world.pass(DAY_MS)), [("approved.email", "")]);
    world.pass(33 * DAY_MS);
    assert_eq!(
        ends(&world.intent("j", "push", json!({}))),
        [("suppressed.push", "duplicate")]
    );
    world.pass(DAY_MS);
    assert_eq!(ends(&world.intent("j", "push", json!({}))), [("approved.push", "")]);
}

#[test]
fn every_intent_that_waits_for_somebody_who_is_erased_ends_at_once_and_nothing_is_left_of_it() {
    let mut world = World::new();
    world.intent("first", "email", json!({}));
    world.intent("deferred", "email", json!({}));
    world.intent("planned", "email", json!({"not_before": "2027-01-01T00:00:00Z"}));
    world.intent(
        "legal",
        "sms",
        json!({"class": "legal", "deliver_at": "2027-01-01T00:00:00Z"}),
    );
    world.pass(HOUR_MS);
    let erased = world.event("erased", json!({}));
    let mut ended = ends(&erased);
    ended.sort_unstable();
    assert_eq!(
        ended,
        [
            ("suppressed.email", "suppression_list"),
            ("suppressed.email", "suppression_list"),
            ("suppressed.sms", "suppression_list"),
        ]
    );
    let key = erased_key(&SECRET, "c");
    assert_eq!(world.values.keys().collect::<Vec<_>>(), [&key]);
    // What comes afterwards is stopped, whatever its class, and leaves nothing either.
    for (id, class) in [("later", "marketing"), ("law", "legal"), ("first", "marketing")] {
        let later = world.intent(id, "email", json!({"class": class}));
        assert_eq!(ends(&later), [("suppressed.email", "suppression_list")], "{id}");
    }
    let planned = world.intent("plan", "email", json!({"not_before": "2028-01-01T00:00:00Z"}));
    assert_eq!(ends(&planned), [("suppressed.email", "suppression_list")]);
    assert!(world.event("consent_granted", json!({"channel": "sms"})).is_empty());
    assert_eq!(world.values.keys().collect::<Vec<_>>(), [&key]);
}

#[test]
fn do_not_contact_stops_everything_that_is_judged_and_no_grant_lifts_it() {
    let mut world = World::new();
    world.intent("first", "email", json!({}));
    world.intent("deferred", "email", json!({}));
    let stopped = world.event("do_not_contact", json!({}));
    assert_eq!(ends(&stopped), [("suppressed.email", "suppression_list")]);
    world.event("resubscribed", json!({}));
    for class in ["legal", "marketing"] {
        let later = world.intent(class, "email", json!({"class": class, "fallback_channels": ["push"]}));
        assert_eq!(ends(&later), [("suppressed.email", "suppression_list")]);
    }
}

#[test]
fn a_cancellation_ends_what_waits_gives_back_what_is_reserved_and_stops_what_has_not_come_yet() {
    let mut world = World::new();
    world.intent("reserved", "email", json!({}));
    world.intent("waiting", "email", json!({}));
    let ended = world.event("intent_cancelled", json!({"intent_id": "waiting"}));
    assert_eq!(ends(&ended), [("suppressed.email", "cancelled")]);
    assert_eq!(decisions(&ended), [decision("suppressed", "cancelled", 1)]);
    let released = world.event("intent_cancelled", json!({"intent_id": "reserved"}));
    assert_eq!(ends(&released), []);
    assert_eq!(decisions(&released), [decision("released", "released", 1)]);
    assert_eq!(world.event("intent_cancelled", json!({"intent_id": "late"})), []);
    assert_eq!(
        ends(&world.intent("late", "email", json!({}))),
        [("suppressed.email", "cancelled")]
    );
    // Nothing counts any more.
    assert_eq!(
        ends(&world.intent("next", "email", json!({}))),
        [("approved.email", "")]
    );
    // What was sent cannot be called back.
    world.event("sent", json!({"intent_id": "next"}));
    assert_eq!(world.event("intent_cancelled", json!({"intent_id": "next"})), []);
}

#[test]
fn a_release_is_a_decision_of_its_own_and_wakes_the_queue_in_the_same_batch() {
    let mut world = World::new();
    world.intent("first", "email", json!({}));
    world.intent("waiting", "email", json!({}));
    let failed = world.event("failed", json!({"intent_id": "first"}));
    assert_eq!(ends(&failed), [("approved.email", "")]);
    assert_eq!(
        decisions(&failed),
        [decision("released", "released", 1), decision("approved", "approved", 1)]
    );
    assert_eq!(failed[0].json()["decision_id"], "forbear.intents/0/1/1");
    assert_eq!(failed[1].headers["forbear-decision-id"], "forbear.intents/0/2/1");
    // A delivery after the release counts again: two are there now, and none is added.
    world.event("delivered", json!({"intent_id": "first"}));
    let third = world.intent("third", "email", json!({}));
    assert_eq!(third[0].json()["blocked_by"][0]["count"], 2);
}

#[test]
fn what_nobody_confirms_is_given_back_where_the_channel_says_so_and_any_report_keeps_it() {
    let mut world = World::new();
    world.intent("silent", "push", json!({}));
    assert_eq!(world.pass(2 * HOUR_MS - 1), []);
    assert_eq!(decisions(&world.pass(1)), [decision("released", "released", 1)]);
    world.intent("sent", "push", json!({}));
    world.event("sent", json!({"intent_id": "sent"}));
    assert_eq!(world.pass(3 * HOUR_MS), []);
    let next = world.intent("next", "push", json!({}));
    assert_eq!(decisions(&next), [decision("deferred", "cap", 0)]);
}

#[test]
fn a_hard_bounce_after_a_fallback_says_nothing_about_the_address_of_the_requested_channel() {
    let mut world = World::new();
    let endpoint = json!({"endpoint": "a@example.org", "fallback_channels": ["push"]});
    world.intent("first", "email", endpoint.clone());
    let fallen = world.intent("second", "email", endpoint.clone());
    assert_eq!(ends(&fallen), [("approved.push", "")]);
    assert_eq!(fallen[0].headers["forbear-channel"], "push");
    world.event("bounced_hard", json!({"intent_id": "second"}));
    world.pass(2 * DAY_MS);
    let later = world.intent("third", "email", endpoint);
    assert_eq!(ends(&later), [("approved.email", "")]);
    let push = world.intent("fourth", "push", json!({"class": "legal"}));
    assert_eq!(ends(&push), [("suppressed.push", "suppression_list")]);
}

#[test]
fn a_hard_bounce_stops_its_address_for_every_class_and_another_address_passes() {
    let mut world = World::new();
    world.intent("first", "email", json!({"endpoint": "a@example.org"}));
    world.event("bounced_hard", json!({"intent_id": "first"}));
    let mut to = |id: &str, endpoint: &str| {
        let sent = world.intent(id, "email", json!({"class": "legal", "endpoint": endpoint}));
        ends(&sent)
            .into_iter()
            .map(|(topic, _)| topic.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(to("same", "a@example.org"), ["suppressed.email"]);
    assert_eq!(to("other", "b@example.org"), ["approved.email"]);
}

#[test]
fn a_contact_from_elsewhere_that_comes_late_counts_from_when_it_happened() {
    let mut world = World::new();
    let at = String::from_utf8(crate::message::time::rfc3339(NOON_MS - 20 * HOUR_MS)).expect("text");
    world.event(
        "contacted_elsewhere",
        json!({"channel": "email", "division": "shop", "occurred_at": at, "class": "legal"}),
    );
    let deferred = world.intent("i", "email", json!({}));
    let record = deferred[0].json();
    assert_eq!(
        (record["verdict"].as_str(), record["reason"].as_str()),
        (Some("deferred"), Some("cap"))
    );
    let free_at = String::from_utf8(crate::message::time::rfc3339(NOON_MS + 4 * HOUR_MS)).expect("text");
    assert_eq!(record["wake_at"], Value::from(free_at));
    assert_eq!(ends(&world.pass(4 * HOUR_MS)), [("approved.email", "")]);
}

#[test]
fn the_record_that_goes_out_is_byte_for_byte_the_one_that_came_in_whatever_way_it_took() {
    let mut world = World::new();
    let body =
        br#"{ "intent_id" : "i","customer_id":"c", "channel":"email","division":"cards", "payload":{"x":[1e400]} }"#;
    let own = vec![("traceparent".to_owned(), Some(b"00-1".to_vec()))];
    let approved = world.record(body, &own);
    assert_eq!(
        (ends(&approved), &approved[0].value[..]),
        (vec![("approved.email", "")], &body[..])
    );
    assert_eq!(approved[0].headers["traceparent"], "00-1");
    let waiting = br#" {"intent_id":"w","customer_id":"c","channel":"email","division":"cards"}"#;
    assert_eq!(ends(&world.record(waiting, &own)), []);
    let woken = world.pass(DAY_MS);
    assert_eq!(
        (ends(&woken), &woken[0].value[..]),
        (vec![("approved.email", "")], &waiting[..])
    );
    assert_eq!(woken[0].headers["traceparent"], "00-1");
    assert_eq!(woken[0].headers["forbear-decision-id"], "forbear.intents/0/2/1");
}

#[test]
fn a_cloud_event_is_approved_in_its_envelope_and_known_by_its_source_and_id() {
    let mut world = World::new();
    let envelope = br#"{"specversion":"1.0","id":"7","source":"/crm","type":"intent",
        "data":{"customer_id":"c","channel":"email","division":"cards"}}"#;
    let headers = vec![(
        "content-type".to_owned(),
        Some(b"application/cloudevents+json".to_vec()),
    )];
    let approved = world.record(envelope, &headers);
    assert_eq!(
        (ends(&approved), &approved[0].value[..]),
        (vec![("approved.email", "")], &envelope[..])
    );
    assert_eq!(approved[1].json()["intent_id"], "/crm 7");
    let failed = world.event("failed", json!({"intent_id": "/crm 7"}));
    assert_eq!(decisions(&failed), [decision("released", "released", 1)]);
    assert_eq!(
        ends(&world.record(envelope, &headers)),
        [("suppressed.email", "duplicate")]
    );
}

#[test]
fn a_repeated_event_id_changes_nothing() {
    let mut world = World::new();
    world.intent("i", "email", json!({}));
    let failed = json!({"event_id": "same", "intent_id": "i"});
    assert_eq!(decisions(&world.event("failed", failed.clone())).len(), 1);
    let before = world.values.clone();
    assert_eq!(world.event("do_not_contact", failed), []);
    assert_eq!(world.values, before);
}

#[test]
fn a_decision_id_is_the_same_however_often_it_is_written() {
    let source = SourceCoordinates {
        topic: "forbear.intents".into(),
        partition: 0,
        offset: 1,
    };
    let mut world = World::new();
    let first = world.intent("i", "email", json!({}));
    let mut again = World::new();
    assert_eq!(again.intent("i", "email", json!({})), first);
    assert_eq!(
        first[0].headers["forbear-decision-id"].as_bytes(),
        decision_id(&source.decision(0))
    );
}
