//! What conditions read of the ledger: `customer.fatigue`.

use super::builder::*;
use crate::customer::ContactState;
use crate::policy::decay::Worth;
use crate::policy::judgement::{Reason, Verdict};

const NOON: &str = "2026-06-10T16:00:00Z";

#[test]
fn fatigue_is_the_points_of_what_counts_halved_with_each_week_in_whole_points() {
    let mut customer = contacted(&[("sms", at(NOON) - 7 * DAY), ("mail", at(NOON)), ("sms", at(NOON))]);
    customer.contacts[2].class = name("legal");
    // 1.5 and 4, and what is of a class that does not count.
    for (fatigue, verdict) in [(5, Verdict::Suppressed), (6, Verdict::Approved)] {
        let policy = written(&format!(
            "rules: [ {{ id: tired, cap: {{ limit: 0, window: 1d }}, when: customer.fatigue >= {fatigue} }} ]"
        ));
        assert_eq!(
            judged(&policy, &customer, &intent("email"), at(NOON)).verdict,
            verdict,
            "{fatigue}"
        );
    }
    customer.contacts[1].state = ContactState::Released;
    let policy = written("rules: [ { id: tired, cap: { limit: 0, window: 1d }, when: customer.fatigue >= 2 } ]");
    assert_eq!(
        judged(&policy, &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn the_wake_is_the_millisecond_at_which_fatigue_has_fallen_low_enough() {
    let policy =
        written("rules: [ { id: tired, cap: { limit: 0, window: 1d }, when: customer.fatigue > 3, on-hit: defer } ]");
    let customer = contacted(&[("sms", at(NOON) - 3 * HOUR), ("mail", at(NOON) - HOUR)]);
    let weight_at = |at_ms: i64| {
        let text = Worth::of(3_000_000, at_ms - at(NOON) + 3 * HOUR, 7 * DAY);
        text.and(Worth::of(4_000_000, at_ms - at(NOON) + HOUR, 7 * DAY))
            .rounded_up()
    };
    let judgement = judged(&policy, &customer, &intent("email"), at(NOON));
    assert_eq!((judgement.verdict, judgement.reason), (Verdict::Deferred, Reason::Cap));
    let wake_ms = judgement.wake_at_ms.expect("it fades");
    assert!(weight_at(wake_ms) < 4_000_000 && weight_at(wake_ms - 1) >= 4_000_000);
}
