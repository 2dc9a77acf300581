//! `pressure` and `spend`: sums over a window, and sums that decay.

use super::builder::*;
use crate::customer::{ContactState, Overflow};
use crate::policy::decay::Worth;
use crate::policy::judgement::{Reason, Verdict};
use crate::policy::model::Policy;

const NOON: &str = "2026-06-10T16:00:00Z";

fn week(limit: &str) -> Policy {
    written(&format!(
        "rules: [ {{ id: week, pressure: {{ limit: {limit}, window: 7d }}, on-hit: defer }} ]"
    ))
}

fn fading(limit: &str) -> Policy {
    written(&format!(
        "rules: [ {{ id: fading, pressure: {{ limit: {limit}, half-life: 3d }}, on-hit: defer }} ]"
    ))
}

#[test]
fn pressure_adds_the_points_of_the_channels_and_its_own_to_exactly_the_limit() {
    let before = contacted(&[("sms", at(NOON) - DAY), ("push", at(NOON) - HOUR)]);
    // 3 and 1.5, and 1 for an e-mail.
    assert_eq!(
        judged(&week("5.5"), &before, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
    let judgement = judged(&week("5.499"), &before, &intent("email"), at(NOON));
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Deferred, Reason::Pressure)
    );
    let block = &judgement.blocked_by[0];
    assert_eq!((block.count, block.limit), (Some(4_500_000), Some(5_499_000)));
    assert_eq!(block.window_start_ms, Some(at(NOON) - 7 * DAY));
    // The text leaves first, exactly seven days after it was sent.
    assert_eq!(judgement.wake_at_ms, Some(at(NOON) + 6 * DAY));
    assert_eq!(judgement.next_eligible_at_ms, judgement.wake_at_ms);
}

#[test]
fn pressure_waits_until_enough_contacts_have_left_however_little_each_weighs() {
    let before = contacted(&[
        ("email", at(NOON) - 3 * HOUR),
        ("email", at(NOON) - 2 * HOUR),
        ("email", at(NOON) - HOUR),
    ]);
    assert_eq!(
        wake(&week("5"), &before, &intent("sms"), at(NOON)),
        Some(at(NOON) - 3 * HOUR + 7 * DAY)
    );
    assert_eq!(
        wake(&week("3.5"), &before, &intent("sms"), at(NOON)),
        Some(at(NOON) - HOUR + 7 * DAY)
    );
}

#[test]
fn a_message_that_is_too_much_alone_has_no_time_at_which_it_passes() {
    for policy in [week("2.999"), fading("2.999")] {
        let judgement = judged(&policy, &contacted(&[]), &intent("sms"), at(NOON));
        assert_eq!((judgement.verdict, judgement.wake_at_ms), (Verdict::Deferred, None));
        assert_eq!(judgement.next_eligible_at_ms, None);
    }
}

#[test]
fn a_limit_of_nothing_passes_what_weighs_nothing() {
    let mut policy = week("0");
    assert_eq!(
        judged(&policy, &contacted(&[]), &intent("email"), at(NOON)).verdict,
        Verdict::Deferred
    );
    policy.channels[0].pressure_milli = 0;
    assert_eq!(
        judged(&policy, &contacted(&[]), &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn a_channel_that_the_policy_does_not_have_weighs_one_point() {
    let before = contacted(&[("door", at(NOON) - HOUR)]);
    assert_eq!(
        judged(&week("2"), &before, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
    assert_eq!(
        judged(&week("1.999"), &before, &intent("email"), at(NOON)).verdict,
        Verdict::Deferred
    );
}

#[test]
fn pressure_with_a_half_life_wakes_at_the_first_millisecond_at_which_the_sum_is_small_enough() {
    let before = contacted(&[("sms", at(NOON) - DAY), ("push", at(NOON) - HOUR), ("mail", at(NOON))]);
    let weight_at = |at_ms: i64| {
        let parts = [(3_000_000, DAY), (1_500_000, HOUR), (4_000_000, 0)];
        let worths = parts.map(|(points, age_ms)| Worth::of(points, at_ms - at(NOON) + age_ms, 3 * DAY));
        worths.into_iter().fold(Worth::default(), Worth::and).rounded_up()
    };
    for (limit, room) in [("6", 5_000_000), ("3", 2_000_000), ("1.001", 1_000), ("1", 0)] {
        let judgement = judged(&fading(limit), &before, &intent("email"), at(NOON));
        let free_ms = judgement.next_eligible_at_ms.expect("it fades");
        assert!(
            weight_at(free_ms) <= room && weight_at(free_ms - 1) > room,
            "limit {limit}"
        );
        assert_eq!(judgement.blocked_by[0].free_at_ms, Some(free_ms));
    }
}

#[test]
fn what_halves_is_half_exactly_one_half_life_later() {
    let before = contacted(&[("sms", at(NOON) - HOUR)]);
    let wake_ms = wake(&fading("2.5"), &before, &intent("email"), at(NOON));
    assert_eq!(wake_ms, Some(at(NOON) - HOUR + 3 * DAY));
}

#[test]
fn points_of_a_contact_that_is_given_back_are_gone_at_once() {
    let mut before = contacted(&[("phone", at(NOON) - DAY), ("sms", at(NOON) - HOUR)]);
    before.contacts[0].state = ContactState::Reserved;
    // The call is given back after two days; the text alone weighs less than three points.
    let wake_ms = wake(&fading("4"), &before, &intent("email"), at(NOON));
    assert_eq!(wake_ms, Some(at(NOON) + DAY));
    before.contacts[0].state = ContactState::Released;
    assert_eq!(
        judged(&fading("4"), &before, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn rows_of_limits_raise_and_lower_pressure() {
    let policy = written(
        "rules: [ { id: week, pressure: { limit: 1, window: 7d }, limits: [ { when: '\"vip\" in customer.segments', limit: 2.5 } ] } ]",
    );
    let mut before = contacted(&[("push", at(NOON) - HOUR)]);
    assert_eq!(
        judged(&policy, &before, &intent("email"), at(NOON)).reason,
        Reason::Pressure
    );
    before.profile.segments = vec![name("vip")];
    assert_eq!(
        judged(&policy, &before, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn spend_counts_what_each_contact_cost_when_it_was_judged() {
    let policy = written(
        "rules: [ { id: budget, spend: { limit: 2.20, window: 365d }, for: { channel: mail }, on-hit: defer } ]",
    );
    let mut before = contacted(&[("mail", at(NOON) - DAY), ("sms", at(NOON) - HOUR)]);
    before.contacts[0].cost_micros = 1_100_000;
    before.contacts[1].cost_micros = 9_000_000;
    let mut letter = intent("mail");
    // 1.10 and 1.10: exactly the limit.
    assert_eq!(judged(&policy, &before, &letter, at(NOON)).cost_micros, 1_100_000);
    letter.cost_micros = Some(1_100_001);
    let judgement = judged(&policy, &before, &letter, at(NOON));
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Suppressed, Reason::Spend)
    );
    assert_eq!(judgement.next_eligible_at_ms, Some(at(NOON) + 364 * DAY));
    assert_eq!(
        (judgement.blocked_by[0].count, judgement.blocked_by[0].limit),
        (Some(1_100_000), Some(2_200_000))
    );
    letter.cost_micros = Some(0);
    assert_eq!(judged(&policy, &before, &letter, at(NOON)).cost_micros, 0);
}

#[test]
fn a_window_of_months_keeps_a_contact_of_the_31st_until_the_end_of_the_short_month() {
    let policy = written("rules: [ { id: budget, spend: { limit: 1, window: 1mo }, on-hit: defer } ]");
    let mut before = contacted(&[("email", at("2026-01-31T17:00:00Z"))]);
    before.contacts[0].cost_micros = 1_000_000;
    let wake_ms = wake(&policy, &before, &intent("email"), at("2026-02-27T17:00:00Z"));
    assert_eq!(wake_ms, Some(at("2026-02-28T17:00:00Z")));
}

#[test]
fn what_was_lost_of_the_ledger_leaves_no_room_in_a_sum() {
    let mut before = contacted(&[]);
    before.overflow = Overflow {
        ledger_from_ms: Some(at(NOON) - DAY),
        ..Overflow::default()
    };
    let spend = written("rules: [ { id: budget, spend: { limit: 100, window: 2d } } ]");
    let short = written("rules: [ { id: budget, spend: { limit: 100, window: 1d } } ]");
    for (policy, verdict) in [
        (fading("100"), Verdict::Deferred),
        (spend, Verdict::Suppressed),
        (short, Verdict::Approved),
    ] {
        let judgement = judged(&policy, &before, &intent("email"), at(NOON));
        assert_eq!((judgement.verdict, judgement.next_eligible_at_ms), (verdict, None));
    }
}
