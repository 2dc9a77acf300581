//! What a hit does, and when what waits is looked at again.

use super::*;
use crate::customer::bounds::WAITING_AT_MOST;
use crate::customer::{ContactState, endpoint_hash};

const CLASSES: &str = "classes:
  service: { rank: 2, obeys: all, counts: true }
  marketing: { rank: 1, obeys: all, counts: true }
rules:
";
const NEVER: &str = "  - { id: never, cap: { limit: 0, window: 1d }, for: { channel: email } }\n";

fn with_rules(rules: &str) -> World {
    World::new(&format!("{CLASSES}{rules}"))
}

#[test]
fn the_contact_is_on_the_channel_judged_and_an_address_is_not_carried_over_to_it() {
    let mut world =
        with_rules("  - { id: email-day, cap: { limit: 0, window: 1d }, for: { channel: email }, on-hit: fallback }\n");
    let intent = json!({"fallback_channels": ["nowhere", "email", "sms", "push"], "endpoint": "a@example.org"});
    assert_eq!(world.intent("a", intent), ["a approved approved"]);
    let contact = &world.customer.contacts[0];
    assert_eq!((&*contact.channel, contact.endpoint_hash), ("push", None));
    assert_eq!(&*world.outputs[0].topic, "approved.push");
    let tried: Vec<&str> = world.newest("a")["blocked_by"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|block| block["channel"].as_str())
        .collect();
    assert_eq!(tried, ["email", "sms"]);
}

#[test]
fn a_bounced_address_stops_the_channel_that_it_belongs_to_and_the_fallback_is_judged_without_it() {
    let mut world = with_rules("  []\n");
    world.event("bounced_hard", json!({"endpoint": "a@example.org"}));
    let to_it = |fallbacks: Value| json!({"endpoint": "a@example.org", "fallback_channels": fallbacks});
    assert_eq!(world.intent("a", to_it(json!([]))), ["a suppressed suppression_list"]);
    assert_eq!(world.intent("b", to_it(json!(["push"]))), ["b approved approved"]);
    assert_eq!(&*world.customer.contacts[0].channel, "push");
    let mut requested = with_rules("  []\n");
    requested.intent("c", to_it(json!(["push"])));
    assert_eq!(
        requested.customer.contacts[0].endpoint_hash,
        Some(endpoint_hash("a@example.org"))
    );
}

#[test]
fn a_fallback_is_judged_in_full_by_its_own_channels_rules() {
    let rules =
        "  - { id: email-day, cap: { limit: 0, window: 1d }, for: { channel: email }, on-hit: [fallback, defer] }
  - { id: push-day, cap: { limit: 1, window: 24h }, for: { channel: push }, on-hit: suppress }
";
    let mut world = with_rules(rules);
    let intent = || json!({"fallback_channels": ["push"]});
    assert_eq!(world.intent("a", intent()), ["a approved approved"]);
    // What only suppresses on the fallback ends the fallback, not the intent; it waits for the earliest of both.
    assert_eq!(world.at(HOUR).intent("b", intent()), ["b deferred cap"]);
    assert_eq!(world.newest("b")["rule"], "email-day");
    assert_eq!(world.wake("b"), Some(24 * HOUR));
    assert_eq!(world.at(24 * HOUR).tick(), ["b approved approved"]);
    assert_eq!(world.newest("b")["channel"], "push");
}

#[test]
fn at_its_wake_the_whole_order_runs_again() {
    let mut world = with_rules("  - { id: spacing, gap: 4h }\n");
    let granted = json!({"channel": "sms", "expires_at": after(2 * HOUR)});
    world.event("consent_granted", granted);
    world.intent("first", json!({}));
    // When the gap is over, the grant will be over too: only another one, which is an event, lets it pass.
    assert_eq!(world.intent("sms", json!({"channel": "sms"})), ["sms deferred gap"]);
    assert_eq!(world.wake("sms"), None);
    let lasting = json!({"channel": "sms", "expires_at": after(5 * HOUR)});
    assert_eq!(world.at(MINUTE).event("consent_granted", lasting), ["sms deferred gap"]);
    assert_eq!(world.wake("sms"), Some(4 * HOUR));
    // The processor was down at its wake, and the grant ended meanwhile.
    assert_eq!(world.at(6 * HOUR).tick(), ["sms suppressed consent_expired"]);
}

#[test]
fn what_waits_for_an_event_expires_or_is_given_up_with_the_blocking_reason() {
    let mut world = with_rules(NEVER);
    let expiring = json!({"expires_at": after(DAY)});
    assert_eq!(world.intent("expires", expiring), ["expires deferred cap"]);
    assert_eq!(world.intent("waits", json!({})), ["waits deferred cap"]);
    assert_eq!((world.wake("expires"), world.wake("waits")), (None, None));
    assert!(world.at(DAY - 1).tick().is_empty());
    assert_eq!(world.at(DAY).tick(), ["expires suppressed expired"]);
    assert!(world.at(7 * DAY - 1).tick().is_empty());
    assert_eq!(world.at(7 * DAY).tick(), ["waits suppressed cap"]);
}

#[test]
fn what_cannot_make_it_is_suppressed_at_once_with_the_blocking_reason() {
    let mut world = with_rules("  - { id: month, gap: 8d }\n");
    world.intent("first", json!({}));
    assert_eq!(world.at(HOUR).intent("late", json!({})), ["late suppressed gap"]);
    assert_eq!(world.newest("late")["next_eligible_at"], json!(after(8 * DAY)));
    // One that was deferred in time keeps the end of its wait when something pushes its wake further.
    assert_eq!(world.at(DAY).intent("in-time", json!({})), ["in-time deferred gap"]);
    let elsewhere = json!({"channel": "email", "division": "loans", "occurred_at": after(2 * DAY)});
    world.at(2 * DAY).event("contacted_elsewhere", elsewhere);
    assert_eq!(world.at(8 * DAY).tick(), ["in-time suppressed gap"]);
    assert_eq!(world.newest("in-time")["next_eligible_at"], json!(after(10 * DAY)));
}

#[test]
fn what_is_due_at_one_time_is_judged_in_the_total_order_whatever_made_it_due() {
    let rules =
        "  - { id: spacing, gap: 4h, for: { channel: email } }\n  - { id: day, cap: { limit: 2, window: 24h } }\n";
    let mut world = with_rules(rules);
    world.intent("first", json!({}));
    world.at(MINUTE).intent("low", json!({"priority": 10}));
    world.at(2 * MINUTE).intent("old", json!({}));
    world.at(3 * MINUTE).intent("high", json!({"priority": 900}));
    world
        .at(4 * MINUTE)
        .intent("service", json!({"class": "service", "priority": 0}));
    assert_eq!(world.wake("low"), world.wake("service"));
    assert_eq!(
        world.at(4 * HOUR).tick(),
        [
            "service approved approved",
            "high deferred cap",
            "old deferred cap",
            "low deferred cap"
        ]
    );
    // An event makes them due before their wake: the same order, in the batch that read it.
    let cancelled = json!({"intent_id": "service"});
    assert_eq!(
        world.at(5 * HOUR).event("intent_cancelled", cancelled),
        ["service released released", "high approved approved"]
    );
}

#[test]
fn every_event_that_may_free_or_must_stop_times_the_queue_anew() {
    let retimed = |kind: &str, more: Value| {
        let mut world = with_rules(NEVER);
        world.intent("waits", json!({}));
        world.at(HOUR);
        let before = world.customer.waiting[0].due_at_ms;
        let mut body = json!({"event_id": "e", "customer_id": "c-1", "type": kind, "occurred_at": after(HOUR)});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let event = decode_event(Some(body.to_string().as_bytes()), &[], 100_000, false).expect("an event");
        world.step(|context, customer, read, effects| engagement(context, customer, &event, read, effects));
        let now = world.customer.waiting[0].due_at_ms == Some(world.now_ms);
        assert!(now || world.customer.waiting[0].due_at_ms == before);
        now
    };
    for (kind, more) in [
        ("clicked", json!({"intent_id": "other"})),
        ("replied", json!({})),
        ("converted", json!({})),
        ("opened", json!({})),
        ("unsubscribed", json!({"channel": "push"})),
        ("resubscribed", json!({"channel": "push"})),
        ("consent_granted", json!({"channel": "sms"})),
        ("consent_withdrawn", json!({"channel": "sms"})),
        ("preferences_set", json!({"max_per_week": 3})),
        ("profile_set", json!({"timezone": "Europe/Lisbon"})),
        ("issue_opened", json!({"issue_id": "7"})),
        ("issue_closed", json!({"issue_id": "7"})),
        ("intent_cancelled", json!({"intent_id": "other"})),
        ("complained", json!({"channel": "push"})),
        ("do_not_contact", json!({})),
        ("erased", json!({})),
    ] {
        assert!(retimed(kind, more), "{kind}");
    }
    for (kind, more) in [
        ("sent", json!({"intent_id": "other"})),
        ("delivered", json!({"intent_id": "other"})),
        ("opened", json!({"machine": true})),
        ("contacted_elsewhere", json!({"channel": "email", "division": "cards"})),
    ] {
        assert!(!retimed(kind, more), "{kind}");
    }
}

#[test]
fn a_release_gives_the_slot_to_the_first_that_waits() {
    let mut world = with_rules("  - { id: day, cap: { limit: 1, window: 24h } }\n");
    world.policy.channels[0].release_on = vec![ReleaseCause::Failed];
    world.intent("first", json!({}));
    world.intent("low", json!({"priority": 1}));
    world.intent("high", json!({}));
    assert_eq!(
        world
            .at(HOUR)
            .event("failed", json!({"intent_id": "first", "channel": "email"})),
        ["first released released", "high approved approved", "low deferred cap"]
    );
    assert_eq!(world.customer.contacts[0].state, ContactState::Released);
    assert_eq!(world.wake("low"), Some(25 * HOUR));
}

#[test]
fn the_lowest_of_a_full_queue_goes_and_that_may_be_the_newcomer() {
    let mut world = with_rules(NEVER);
    for index in 0..WAITING_AT_MOST {
        world.intent(&format!("i{index}"), json!({"priority": 500 + index}));
    }
    assert_eq!(world.customer.waiting.len(), WAITING_AT_MOST);
    assert_eq!(
        world.intent("newcomer", json!({"priority": 1})),
        ["newcomer deferred cap", "newcomer suppressed deferral_limit"]
    );
    assert_eq!(
        world.intent("better", json!({"priority": 501})),
        ["better deferred cap", "i0 suppressed deferral_limit"]
    );
    assert_eq!(world.customer.waiting.len(), WAITING_AT_MOST);
}

#[test]
fn a_queue_of_too_many_bytes_loses_its_lowest_too() {
    let mut world = with_rules(NEVER);
    let large = |priority: u32| json!({"priority": priority, "payload": "x".repeat(99_000)});
    for index in 0..10 {
        assert_eq!(world.intent(&format!("i{index}"), large(900 - index)).len(), 1);
    }
    assert_eq!(
        world.intent("large", large(950)),
        ["large deferred cap", "i9 suppressed deferral_limit"]
    );
    assert_eq!(world.intent("small", json!({"priority": 0})), ["small deferred cap"]);
}
