//! What the auditor catches of competitors: holds, their order, and slots that are kept.

use super::*;

const MINUTE_MS: i64 = 60_000;

/// The small policy, whose marketing holds five minutes and keeps its slots. Nothing has come to rest yet.
fn competing() -> World {
    let mut world = World::new();
    world.input.settled_at_ms = None;
    if let Some(policy) = world.input.policies.get_mut(LABEL) {
        policy.classes[0].hold_ms = 5 * MINUTE_MS;
        policy.classes[0].reserve = true;
    }
    world
}

fn held(world: &mut World, id: &str, more: Value, wake_ms: i64) -> i64 {
    let source = world.intent_with(id, more);
    world.decide(
        source,
        0,
        json!({"verdict": "deferred", "reason": "held", "wake_at": time(wake_ms)}),
    );
    source
}

fn deferred(world: &mut World, id: &str, more: Value, wake_ms: i64) -> i64 {
    let source = world.intent_with(id, more);
    let block = json!([{"rule": "spacing", "reason": "gap", "channel": "email"}]);
    let why = json!({"verdict": "deferred", "reason": "gap", "rule": "spacing", "blocked_by": block, "wake_at": time(wake_ms)});
    world.decide(source, 0, why);
    source
}

fn approve_again(world: &mut World, source: i64) {
    world.decide(source, 1, json!({}));
    world.output("approved.email", source, 1, &[]);
}

#[test]
fn an_approval_without_the_hold_of_its_class_is_found() {
    let mut world = competing();
    let source = world.intent("a");
    world.approve(source);
    world.catches("contract", "approves without a hold");
}

#[test]
fn a_hold_that_is_too_long_or_past_the_expiry_or_of_no_class_is_found() {
    let mut world = competing();
    held(&mut world, "a", json!({}), NOON_MS + 5 * MINUTE_MS);
    world.is_clean();
    held(&mut world, "b", json!({}), NOON_MS + 5 * MINUTE_MS + 1);
    world.catches("contract", "holds longer than any class");
    let mut world = competing();
    let expires = json!({"expires_at": time(NOON_MS + 2 * MINUTE_MS)});
    held(&mut world, "a", expires, NOON_MS + 2 * MINUTE_MS);
    world.catches("contract", "holds past the expiry");
    let mut world = World::new();
    world.input.settled_at_ms = None;
    held(&mut world, "a", json!({}), NOON_MS + 1);
    world.catches("contract", "holds what is not held");
}

#[test]
fn a_hold_that_ends_in_another_order_is_found() {
    for order in [[0, 1], [1, 0]] {
        let mut world = competing();
        if let Some(policy) = world.input.policies.get_mut(LABEL) {
            policy.rules.clear();
        }
        let wake_ms = NOON_MS + 5 * MINUTE_MS;
        let sources = [json!({"priority": 900}), json!({})].map(|more| {
            let id = more.to_string();
            held(&mut world, &id, more, wake_ms)
        });
        world.now_ms = wake_ms;
        for index in order {
            approve_again(&mut world, sources[index]);
        }
        match order {
            [0, 1] => world.is_clean(),
            _ => world.catches("contract", "was judged after one that stands below it"),
        }
    }
}

#[test]
fn an_approval_that_takes_a_slot_that_is_kept_above_it_is_found() {
    let world_with = |limit: usize, priority: i64| {
        let mut world = competing();
        if let Some(policy) = world.input.policies.get_mut(LABEL) {
            policy.rules.retain(|rule| rule.id != "nights");
            if let RuleTest::Cap { limit: of_rule, .. } = &mut policy.rules[0].test {
                *of_rule = limit;
            }
        }
        let low = held(&mut world, "low", json!({"priority": priority}), NOON_MS + MINUTE_MS);
        deferred(&mut world, "kept", json!({}), NOON_MS + 24 * HOUR_MS);
        world.now_ms = NOON_MS + MINUTE_MS;
        approve_again(&mut world, low);
        world
    };
    world_with(1, 100).catches("contract", "took what the rule week had room for");
    // There is room for both; the other one stands below.
    world_with(2, 100).is_clean();
    world_with(1, 900).is_clean();
}

#[test]
fn a_slot_is_not_asked_after_where_something_may_have_ended_it() {
    let mut world = competing();
    if let Some(policy) = world.input.policies.get_mut(LABEL) {
        policy.rules.retain(|rule| rule.id == "week");
        if let RuleTest::Cap { limit, .. } = &mut policy.rules[0].test {
            *limit = 1;
        }
    }
    let low = held(&mut world, "low", json!({"priority": 100}), NOON_MS + MINUTE_MS);
    let source = world.intent("kept");
    let block = json!([{"rule": "week", "reason": "cap", "channel": "email"}]);
    let wake = time(NOON_MS + 24 * HOUR_MS);
    let why = json!({"verdict": "deferred", "reason": "cap", "rule": "week", "blocked_by": block, "wake_at": wake});
    world.decide(source, 0, why);
    world.event("e", "resubscribed", json!({}));
    world.now_ms = NOON_MS + MINUTE_MS;
    approve_again(&mut world, low);
    world.is_clean();
}
