//! What waits to collect competitors.

use super::*;

const HOLD: &str = "classes:
  transactional: { rank: 9, obeys: none, counts: false }
  service: { rank: 2, obeys: all, counts: true }
  marketing: { rank: 1, obeys: all, counts: true, hold: 5min }
";

fn with_rules(rules: &str) -> World {
    World::new(&format!("{HOLD}rules:\n{rules}"))
}

const ONE_A_DAY: &str = "  - { id: day, cap: { limit: 1, window: 24h }, on-hit: suppress }\n";
const SPACING: &str = "  - { id: spacing, gap: 4h }\n";

#[test]
fn the_held_are_judged_together_at_the_end_and_the_first_in_the_total_order_takes_the_slot() {
    let mut world = with_rules(ONE_A_DAY);
    assert_eq!(world.intent("low", json!({"priority": 100})), ["low deferred held"]);
    assert_eq!(
        world.at(MINUTE).intent("high", json!({"priority": 900})),
        ["high deferred held"]
    );
    assert_eq!(
        (world.wake("low"), world.wake("high")),
        (Some(5 * MINUTE), Some(5 * MINUTE))
    );
    assert!(world.at(5 * MINUTE - 1).tick().is_empty());
    assert_eq!(
        world.at(5 * MINUTE).tick(),
        ["high approved approved", "low suppressed cap"]
    );
    assert_eq!(world.newest("high")["attempt"], 1);
    assert!(world.customer.waiting.is_empty());
}

#[test]
fn a_hold_that_is_over_does_not_hold_the_next_one_shorter() {
    let mut world = with_rules("");
    world.intent("a", json!({}));
    world.at(5 * MINUTE).tick();
    assert_eq!(world.at(7 * MINUTE).intent("b", json!({})), ["b deferred held"]);
    assert_eq!(world.wake("b"), Some(12 * MINUTE));
}

#[test]
fn other_classes_are_judged_at_once_while_a_hold_runs() {
    let mut world = with_rules("");
    world.intent("held", json!({}));
    for class in ["service", "transactional"] {
        assert_eq!(
            world.at(MINUTE).intent(class, json!({"class": class})),
            [format!("{class} approved approved")]
        );
    }
}

#[test]
fn what_is_suppressed_now_is_suppressed_at_once_though_its_block_would_end_within_the_hold() {
    let mut world = with_rules("  - { id: pause, gap: 2min, on-hit: suppress }\n");
    world.intent("service", json!({"class": "service"}));
    assert_eq!(world.at(MINUTE).intent("a", json!({})), ["a suppressed gap"]);
    world.event("unsubscribed", json!({"channel": "email"}));
    assert_eq!(world.at(10 * MINUTE).intent("b", json!({})), ["b suppressed consent"]);
}

#[test]
fn what_would_be_deferred_to_inside_the_hold_is_held_to_its_end() {
    let mut world = with_rules("  - { id: pause, gap: 2min }\n");
    world.intent("service", json!({"class": "service"}));
    assert_eq!(world.at(MINUTE).intent("a", json!({})), ["a deferred held"]);
    assert_eq!(world.wake("a"), Some(6 * MINUTE));
    assert_eq!(world.newest("a")["blocked_by"][0]["rule"], "pause");
    assert_eq!(world.at(6 * MINUTE).tick(), ["a approved approved"]);
}

#[test]
fn what_is_blocked_for_longer_than_the_hold_is_deferred_by_its_rule_and_not_held_afterwards() {
    let mut world = with_rules(SPACING);
    world.intent("service", json!({"class": "service"}));
    assert_eq!(world.at(MINUTE).intent("a", json!({})), ["a deferred gap"]);
    assert_eq!(world.wake("a"), Some(4 * HOUR));
    assert_eq!(world.at(4 * HOUR).tick(), ["a approved approved"]);
}

#[test]
fn what_waits_for_an_event_is_deferred_by_its_rule() {
    let mut world = with_rules("  - { id: issue, cool-off: { after: [issue_opened], until: issue_closed } }\n");
    world.event("issue_opened", json!({"issue_id": "7"}));
    assert_eq!(world.intent("a", json!({})), ["a deferred cool_off"]);
    assert_eq!(world.wake("a"), None);
    assert_eq!(
        world.at(HOUR).event("issue_closed", json!({"issue_id": "7"})),
        ["a approved approved"]
    );
}

#[test]
fn a_refusal_ends_the_held_at_once_and_says_nothing_new_of_those_that_it_does_not_stop() {
    let mut world = with_rules("");
    world.intent("email", json!({}));
    world.intent("push", json!({"channel": "push"}));
    assert_eq!(
        world.at(MINUTE).event("unsubscribed", json!({"channel": "email"})),
        ["email suppressed consent"]
    );
    assert_eq!(world.wake("push"), Some(5 * MINUTE));
    assert_eq!(world.at(5 * MINUTE).tick(), ["push approved approved"]);
}

#[test]
fn who_would_not_outlive_the_hold_leaves_it_half_way_to_its_expiry() {
    let mut world = with_rules("");
    world.intent("long", json!({}));
    world
        .at(MINUTE)
        .intent("short", json!({"expires_at": after(5 * MINUTE)}));
    world.intent("just", json!({"expires_at": after(5 * MINUTE + 1)}));
    assert_eq!(
        [world.wake("long"), world.wake("short"), world.wake("just")],
        [Some(5 * MINUTE), Some(3 * MINUTE), Some(5 * MINUTE)]
    );
    assert_eq!(world.at(3 * MINUTE).tick(), ["short approved approved"]);
    // One with no life left to halve is judged at once.
    let last = json!({"expires_at": after(3 * MINUTE + 1)});
    assert_eq!(world.intent("last", last), ["last approved approved"]);
}

#[test]
fn where_the_first_leaves_early_the_hold_ends_with_it() {
    let mut world = with_rules("");
    world.intent("short", json!({"expires_at": after(4 * MINUTE)}));
    world.at(MINUTE).intent("other", json!({}));
    assert_eq!(
        (world.wake("short"), world.wake("other")),
        (Some(2 * MINUTE), Some(2 * MINUTE))
    );
}

#[test]
fn a_planned_intent_is_held_when_its_time_has_come() {
    let mut world = with_rules("");
    let planned = json!({"not_before": after(HOUR)});
    assert_eq!(world.intent("a", planned), ["a deferred planned"]);
    assert_eq!(world.wake("a"), Some(HOUR));
    assert_eq!(world.at(HOUR).tick(), ["a deferred held"]);
    assert_eq!(world.wake("a"), Some(HOUR + 5 * MINUTE));
    assert_eq!(world.at(HOUR + 5 * MINUTE).tick(), ["a approved approved"]);
}

#[test]
fn what_was_judged_is_not_held_again_though_a_hold_runs_when_it_wakes() {
    let mut world = with_rules(SPACING);
    world.intent("first", json!({"class": "service"}));
    world.at(MINUTE).intent("a", json!({}));
    // Held, because the gap ends within the hold.
    world.at(4 * HOUR - MINUTE).intent("b", json!({"priority": 900}));
    assert_eq!(world.wake("b"), Some(4 * HOUR + 4 * MINUTE));
    assert_eq!(world.at(4 * HOUR).tick(), ["a approved approved"]);
    assert_eq!(world.at(4 * HOUR + 4 * MINUTE).tick(), ["b deferred gap"]);
}

#[test]
fn max_defer_runs_from_the_beginning_of_the_hold() {
    let policy = |max_defer: &str| {
        let text = format!("{HEAD}{HOLD}rules:\n  - {{ id: spacing, gap: 58min }}\n");
        load(&text.replace("max-defer: 7d", &format!("max-defer: {max_defer}")))
    };
    for (max_defer, expected) in [("59min", "a suppressed gap"), ("60min", "a deferred gap")] {
        let mut world = World::new(HOLD);
        world.policy = policy(max_defer);
        world.intent("a", json!({}));
        world.at(2 * MINUTE).intent("service", json!({"class": "service"}));
        assert_eq!(world.at(5 * MINUTE).tick(), [expected], "{max_defer}");
    }
}

#[test]
fn a_policy_without_a_hold_ends_the_holds_that_run() {
    let mut world = with_rules("");
    world.intent("a", json!({}));
    let without = HOLD.replace(", hold: 5min", "");
    assert_eq!(world.at(MINUTE).replace(&without), ["a approved approved"]);
}

#[test]
fn a_cancelled_intent_leaves_the_hold_and_the_others_stay() {
    let mut world = with_rules(ONE_A_DAY);
    world.intent("a", json!({"priority": 900}));
    world.intent("b", json!({}));
    assert_eq!(
        world.at(MINUTE).event("intent_cancelled", json!({"intent_id": "a"})),
        ["a suppressed cancelled"]
    );
    assert_eq!(world.at(5 * MINUTE).tick(), ["b approved approved"]);
}

#[test]
fn the_formula_of_the_policy_orders_those_of_one_class_and_priority() {
    let ordered = |score: &str| {
        let mut world = World::new(&format!("{HOLD}{score}rules:\n{ONE_A_DAY}"));
        world.intent("valuable", json!({"value": 100, "propensity": 0.1}));
        world.intent("likely", json!({"value": 10, "propensity": 0.9}));
        let mut said = world.at(5 * MINUTE).tick();
        said.truncate(1);
        said
    };
    assert_eq!(ordered(""), ["valuable approved approved"]);
    assert_eq!(
        ordered("score: intent.propensity * 100.0 + intent.value / 100.0\n"),
        ["likely approved approved"]
    );
}

#[test]
fn a_score_that_fails_is_a_hit() {
    let mut world = World::new(&format!("{HOLD}score: 100 / intent.priority\nrules: []\n"));
    assert_eq!(
        world.intent("none", json!({"priority": 0})),
        ["none suppressed policy_error"]
    );
    assert_eq!(world.intent("some", json!({"priority": 1})), ["some deferred held"]);
}
