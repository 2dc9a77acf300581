//! What deferred intents of a class that reserves keep for themselves.

use super::*;

/// Service messages wait for the morning on one channel, and keep their slot.
const RESERVE: &str = "classes:
  transactional: { rank: 9, obeys: none, counts: true }
  urgent: { rank: 5, obeys: all, counts: true }
  service: { rank: 2, obeys: all, counts: true, reserve: true }
  marketing: { rank: 1, obeys: all, counts: true }
rules:
  - id: nights
    send-window: { open: [ { days: mon-sun, from: \"08:00\", to: \"20:00\" } ] }
    for: { channel: push }
";
const ONE_A_DAY: &str = "  - { id: day, cap: { limit: 1, window: 24h } }\n";

fn with_rules(rules: &str) -> World {
    World::new(&format!("{RESERVE}{rules}"))
}

/// A service message that waits for eight o'clock.
fn for_the_morning(world: &mut World, id: &str) {
    let said = world.intent(id, json!({"class": "service", "channel": "push"}));
    assert_eq!(said, [format!("{id} deferred quiet_hours")]);
    assert_eq!(world.wake(id), Some(8 * HOUR));
}

#[test]
fn a_lower_candidate_does_not_take_the_slot_and_waits_until_the_reserved_one_frees_its_own() {
    let mut world = with_rules(ONE_A_DAY);
    for_the_morning(&mut world, "kept");
    assert_eq!(
        world.at(7 * HOUR).intent("low", json!({})),
        ["low deferred arbitration"]
    );
    let said = world.newest("low");
    assert_eq!((&said["rule"], &said["reason"]), (&json!("day"), &json!("arbitration")));
    let block = &said["blocked_by"][0];
    assert_eq!(
        (&block["rule"], &block["reason"]),
        (&json!("day"), &json!("arbitration"))
    );
    assert_eq!((&block["count"], &block["limit"]), (&json!(1), &json!(1)));
    assert_eq!(block["free_at"], json!(after(8 * HOUR)));
    assert_eq!(world.wake("low"), Some(32 * HOUR));
    assert_eq!(world.at(8 * HOUR).tick(), ["kept approved approved"]);
    assert_eq!(world.at(32 * HOUR).tick(), ["low approved approved"]);
}

#[test]
fn where_there_is_room_for_both_nothing_is_kept_from_anybody() {
    let mut world = with_rules("  - { id: day, cap: { limit: 2, window: 24h } }\n");
    for_the_morning(&mut world, "kept");
    assert_eq!(world.intent("low", json!({})), ["low approved approved"]);
    assert_eq!(world.intent("lower", json!({})), ["lower deferred arbitration"]);
    assert_eq!(world.at(8 * HOUR).tick(), ["kept approved approved"]);
}

#[test]
fn a_window_that_has_passed_by_the_time_of_the_slot_is_free_until_then() {
    let mut world = with_rules("  - { id: spacing, gap: 4h }\n");
    for_the_morning(&mut world, "kept");
    assert_eq!(
        world.at(4 * HOUR).intent("early", json!({})),
        ["early approved approved"]
    );
    let mut world = with_rules("  - { id: spacing, gap: 4h }\n");
    for_the_morning(&mut world, "kept");
    assert_eq!(
        world.at(4 * HOUR + 1).intent("late", json!({})),
        ["late deferred arbitration"]
    );
    assert_eq!(world.wake("late"), Some(12 * HOUR));
}

#[test]
fn what_stands_above_takes_the_slot_and_what_does_not_obey_the_rule_is_not_asked() {
    for class in ["urgent", "transactional"] {
        let mut world = with_rules(ONE_A_DAY);
        for_the_morning(&mut world, "kept");
        assert_eq!(
            world.intent("other", json!({"class": class})),
            ["other approved approved"]
        );
        assert_eq!(world.at(8 * HOUR).tick(), ["kept deferred cap"]);
    }
}

#[test]
fn within_one_class_the_priority_says_who_stands_above() {
    let mut world = with_rules(ONE_A_DAY);
    for_the_morning(&mut world, "kept");
    let low = json!({"class": "service", "priority": 499});
    assert_eq!(world.intent("low", low), ["low deferred arbitration"]);
    let high = json!({"class": "service", "priority": 501});
    assert_eq!(world.intent("high", high), ["high approved approved"]);
}

#[test]
fn a_class_that_does_not_reserve_keeps_nothing_when_it_is_deferred() {
    let mut world = with_rules(ONE_A_DAY);
    world.intent("waits", json!({"class": "urgent", "channel": "push"}));
    assert_eq!(world.wake("waits"), Some(8 * HOUR));
    assert_eq!(world.intent("low", json!({})), ["low approved approved"]);
}

#[test]
fn only_a_slot_that_could_be_taken_is_kept() {
    let mut world = with_rules(ONE_A_DAY);
    // Planned on a channel for which there is no grant: it is judged when its time comes, and would be suppressed.
    let hopeless = json!({"class": "service", "channel": "sms", "not_before": after(8 * HOUR)});
    assert_eq!(world.intent("hopeless", hopeless), ["hopeless deferred planned"]);
    assert_eq!(world.intent("low", json!({})), ["low approved approved"]);
}

#[test]
fn a_planned_intent_keeps_its_slot_too() {
    let mut world = with_rules(ONE_A_DAY);
    let planned = json!({"class": "service", "not_before": after(8 * HOUR)});
    assert_eq!(world.intent("planned", planned), ["planned deferred planned"]);
    assert_eq!(world.intent("low", json!({})), ["low deferred arbitration"]);
    assert_eq!(world.at(8 * HOUR).tick(), ["planned approved approved"]);
}

#[test]
fn one_that_waits_for_an_event_keeps_nothing() {
    let rules = format!(
        "{ONE_A_DAY}  - {{ id: issue, cool-off: {{ after: [issue_opened], until: issue_closed }}, for: {{ class: service }} }}\n"
    );
    let mut world = with_rules(&rules);
    world.event("issue_opened", json!({"issue_id": "7"}));
    assert_eq!(
        world.intent("waits", json!({"class": "service"})),
        ["waits deferred cool_off"]
    );
    assert_eq!(world.intent("low", json!({})), ["low approved approved"]);
}

#[test]
fn each_of_several_reserved_keeps_a_slot_and_the_first_in_the_order_the_first() {
    let two_a_day = "  - { id: day, cap: { limit: 2, window: 24h } }\n";
    let mut world = with_rules(two_a_day);
    for_the_morning(&mut world, "one");
    for_the_morning(&mut world, "two");
    assert_eq!(world.intent("low", json!({})), ["low deferred arbitration"]);
    // A third finds both slots kept, and is timed behind them.
    let third = json!({"class": "service", "channel": "push", "priority": 100});
    assert_eq!(world.intent("third", third), ["third deferred quiet_hours"]);
    assert_eq!(world.wake("third"), Some(32 * HOUR));
    assert_eq!(
        world.at(8 * HOUR).tick(),
        ["one approved approved", "two approved approved"]
    );
}

#[test]
fn a_rule_that_suppresses_says_when_the_candidate_would_pass() {
    let mut world = with_rules("  - { id: day, cap: { limit: 1, window: 24h }, on-hit: suppress }\n");
    for_the_morning(&mut world, "kept");
    assert_eq!(world.intent("low", json!({})), ["low suppressed arbitration"]);
    let said = world.newest("low");
    assert_eq!(said["next_eligible_at"], json!(after(32 * HOUR)));
    let record = world.outputs.last().expect("a record");
    let headers = examples::as_text(&record.headers);
    assert!(headers.contains(&("forbear-reason", "arbitration")) && headers.contains(&("forbear-rule", "day")));
}

#[test]
fn a_rule_that_hands_over_lets_a_fallback_pass_that_the_slot_does_not_need() {
    let mut world = with_rules(
        "  - { id: email-day, cap: { limit: 1, window: 24h }, for: { channel: email }, on-hit: [fallback, defer] }\n",
    );
    let planned = json!({"class": "service", "not_before": after(23 * HOUR)});
    world.intent("kept", planned);
    let with_fallback = json!({"fallback_channels": ["push"]});
    assert_eq!(
        world.at(9 * HOUR).intent("low", with_fallback),
        ["low approved approved"]
    );
    assert_eq!(world.newest("low")["channel"], "push");
    assert_eq!(world.newest("low")["blocked_by"][0]["reason"], "arbitration");
}

#[test]
fn a_slot_that_is_given_up_is_there_for_those_below_in_the_same_pass() {
    let mut world = with_rules(
        "  - { id: day, cap: { limit: 1, window: 24h }, counts: { division: cards } }
  - { id: push-pause, gap: 1h, for: { channel: push }, on-hit: suppress }
",
    );
    for_the_morning(&mut world, "kept");
    assert_eq!(world.intent("low", json!({})), ["low deferred arbitration"]);
    assert_eq!(world.wake("low"), Some(32 * HOUR));
    // A message from elsewhere re-times nobody, but it stands in the way of the one that keeps the slot.
    let elsewhere = json!({"channel": "push", "division": "loans", "occurred_at": after(8 * HOUR - MINUTE)});
    assert!(
        world
            .at(8 * HOUR - MINUTE)
            .event("contacted_elsewhere", elsewhere)
            .is_empty()
    );
    assert_eq!(
        world.at(8 * HOUR).tick(),
        ["kept suppressed gap", "low approved approved"]
    );
}

#[test]
fn a_cancelled_reservation_lets_the_next_one_pass_at_once() {
    let mut world = with_rules(ONE_A_DAY);
    for_the_morning(&mut world, "kept");
    world.intent("low", json!({}));
    assert_eq!(
        world.at(HOUR).event("intent_cancelled", json!({"intent_id": "kept"})),
        ["kept suppressed cancelled", "low approved approved"]
    );
}

#[test]
fn a_held_intent_of_a_class_that_reserves_keeps_its_slot_against_other_classes_and_not_against_the_held() {
    let classes = "classes:
  letters: { rank: 2, obeys: all, counts: true, hold: 1h, reserve: true }
  marketing: { rank: 1, obeys: all, counts: true }
rules:
  - { id: day, cap: { limit: 1, window: 24h }, on-hit: suppress }
";
    let mut world = World::new(classes);
    let letter = |priority: u32| json!({"class": "letters", "priority": priority});
    assert_eq!(world.intent("high", letter(900)), ["high deferred held"]);
    assert_eq!(world.intent("low", letter(100)), ["low deferred held"]);
    assert_eq!(world.intent("other", json!({})), ["other suppressed arbitration"]);
    // The best of the held is cancelled: the other one was not given up for it.
    world.at(MINUTE).event("intent_cancelled", json!({"intent_id": "high"}));
    assert_eq!(world.at(HOUR).tick(), ["low approved approved"]);
}

#[test]
fn a_policy_that_ranks_anew_orders_the_queue_before_it_is_timed_anew() {
    let classes = |one: u32, two: u32| {
        format!(
            "classes:\n  marketing: {{ rank: 0, obeys: all, counts: true }}\n  one: {{ rank: {one}, obeys: all, counts: true }}\n  two: {{ rank: {two}, obeys: all, counts: true }}\nrules:\n{}",
            "  - { id: nights, send-window: { open: [ { days: mon-sun, from: \"08:00\", to: \"20:00\" } ] } }\n  - { id: day, cap: { limit: 1, window: 24h } }\n"
        )
    };
    let mut world = World::new(&classes(1, 2));
    world.intent("one", json!({"class": "one"}));
    world.intent("two", json!({"class": "two"}));
    world.replace(&classes(2, 1));
    assert_eq!(world.at(8 * HOUR).tick(), ["one approved approved", "two deferred cap"]);
}

#[test]
fn a_full_queue_of_reserved_intents_is_judged_in_order_and_within_the_caps() {
    let rules = "  - { id: day, cap: { limit: 3, window: 24h } }\n  - { id: spacing, gap: 10min }\n";
    let mut world = with_rules(rules);
    for index in 0..60 {
        let body = json!({"class": "service", "channel": "push", "priority": 100 + index});
        world.intent(&format!("i{index}"), body);
    }
    assert_eq!(world.customer.waiting.len(), 50);
    world
        .at(HOUR)
        .event("profile_set", json!({"timezone": "Europe/Lisbon"}));
    let mut approved = Vec::new();
    for minutes in 8 * 60..9 * 60 {
        let said = world.at(minutes * MINUTE).tick();
        approved.extend(said.into_iter().filter(|line| line.ends_with("approved")));
    }
    assert_eq!(
        approved,
        [
            "i59 approved approved",
            "i58 approved approved",
            "i57 approved approved"
        ]
    );
}
