//! Holdouts and the arms of experiments.

use super::builder::*;
use crate::customer::Customer;
use crate::policy::judgement::{Reason, Verdict};
use sha2::{Digest, Sha256};

const NOON: &str = "2026-06-10T16:00:00Z";
/// The number of `c-1` under the salt `2026`, computed elsewhere.
const KNOWN: u64 = 1_276;

fn numbered(number: usize) -> Customer {
    Customer::new(name(&format!("customer-{number}")))
}

fn drawn(salt: &str, id: &str) -> u64 {
    let digest = Sha256::digest([salt.as_bytes(), &[0], id.as_bytes()].concat());
    u64::from_be_bytes(digest[..8].try_into().expect("eight bytes")) % 10_000
}

#[test]
fn a_holdout_leaves_its_share_of_the_customers_alone_and_says_who_is_in_which_group() {
    let policy =
        written("rules: [ { id: everywhere, holdout: { percent: 2.5, salt: '2026' }, for: { class: marketing } } ]");
    let mut held = 0;
    for number in 0..4_000 {
        let customer = numbered(number);
        let judgement = judged(&policy, &customer, &intent("email"), at(NOON));
        let is_held = drawn("2026", &customer.id) < 250;
        let (verdict, reason, group) = match is_held {
            true => (Verdict::Suppressed, Reason::Holdout, "holdout"),
            false => (Verdict::Approved, Reason::Approved, "treated"),
        };
        assert_eq!((judgement.verdict, judgement.reason), (verdict, reason));
        assert_eq!(judgement.groups, [(name("everywhere"), name(group))]);
        assert_eq!(judgement.next_eligible_at_ms, None);
        held += usize::from(is_held);
    }
    assert!((60..140).contains(&held), "{held} of 4000");
}

#[test]
fn who_is_drawn_does_not_change_from_version_to_version() {
    assert_eq!(drawn("2026", "c-1"), KNOWN);
    let share = |percent: &str| {
        let policy = written(&format!(
            "rules: [ {{ id: h, holdout: {{ percent: {percent}, salt: '2026' }} }} ]"
        ));
        judged(&policy, &customer("UTC"), &intent("email"), at(NOON)).verdict
    };
    let (whole, hundredths) = (KNOWN / 100, KNOWN % 100);
    assert_eq!(share(&format!("{whole}.{hundredths:02}")), Verdict::Approved);
    let (whole, hundredths) = ((KNOWN + 1) / 100, (KNOWN + 1) % 100);
    assert_eq!(share(&format!("{whole}.{hundredths:02}")), Verdict::Suppressed);
    assert_eq!((share("0"), share("100%")), (Verdict::Approved, Verdict::Suppressed));
}

#[test]
fn only_what_a_holdout_governs_has_a_group_in_it() {
    let policy = written("rules: [ { id: h, holdout: { percent: 100, salt: s }, for: { class: marketing } } ]");
    let mut service = intent("email");
    service.class = Some(name("service"));
    let judgement = judged(&policy, &customer("UTC"), &service, at(NOON));
    assert_eq!((judgement.verdict, judgement.groups), (Verdict::Approved, Vec::new()));
}

#[test]
fn a_shadow_holdout_records_the_group_and_holds_nobody_out() {
    let policy = written("rules: [ { id: h, shadow: true, holdout: { percent: 100, salt: s } } ]");
    let judgement = judged(&policy, &customer("UTC"), &intent("email"), at(NOON));
    assert_eq!(judgement.verdict, Verdict::Approved);
    assert_eq!(judgement.groups, [(name("h"), name("holdout"))]);
    assert!(judgement.blocked_by[0].shadow);
}

#[test]
fn arms_take_consecutive_ranges_and_a_row_of_limits_asks_for_one() {
    let policy = written(
        "experiments: [ { id: tighter, salt: q3, arms: { control: 30, tight: 50, none: 20 } } ]
rules:
  - id: week
    cap: { limit: 1, window: 7d }
    limits: [ { when: 'arm(\"tighter\") == \"tight\"', limit: 0 } ]",
    );
    for number in 0..300 {
        let customer = numbered(number);
        let arm = match drawn("q3", &customer.id) {
            ..3_000 => "control",
            3_000..8_000 => "tight",
            _ => "none",
        };
        let judgement = judged(&policy, &customer, &intent("email"), at(NOON));
        assert_eq!(judgement.groups, [(name("tighter"), name(arm))]);
        assert_eq!(judgement.verdict == Verdict::Approved, arm != "tight");
    }
}

#[test]
fn arms_that_are_not_everybody_leave_the_others_without_a_group() {
    let policy = written(
        "experiments: [ { id: pilot, salt: p, arms: { small: 10 } } ]
rules: [ { id: g, gap: 1h, when: 'arm(\"pilot\") == \"\"' } ]",
    );
    let before = |number| {
        let mut customer = numbered(number);
        customer.contacts.push(contact("email", at(NOON) - MINUTE));
        customer
    };
    for number in 0..200 {
        let judgement = judged(&policy, &before(number), &intent("email"), at(NOON));
        let inside = drawn("p", &numbered(number).id) < 1_000;
        assert_eq!(judgement.groups.is_empty(), !inside);
        assert_eq!(judgement.verdict == Verdict::Approved, inside);
    }
}

#[test]
fn a_group_is_the_same_in_every_verdict() {
    let policy = written(
        "experiments: [ { id: e, salt: x, arms: { a: 50, b: 50 } } ]
rules: [ { id: g, gap: 1h, on-hit: [fallback, defer], for: { channel: email } }, { id: h, holdout: { percent: 0, salt: s } } ]",
    );
    let (fresh, recent) = (contacted(&[]), contacted(&[("email", at(NOON) - MINUTE)]));
    let approved = judged(&policy, &fresh, &intent("email"), at(NOON));
    let waiting = judged(&policy, &recent, &intent("email"), at(NOON));
    let mut elsewhere = intent("email");
    elsewhere.fallback_channels = vec![name("push")];
    let elsewhere = judged(&policy, &recent, &elsewhere, at(NOON));
    assert_eq!((waiting.verdict, &*elsewhere.channel), (Verdict::Deferred, "push"));
    assert_eq!(approved.groups.len(), 2);
    assert!(approved.groups == waiting.groups && waiting.groups == elsewhere.groups);
    let sorted = approved.groups.is_sorted();
    assert!(sorted, "in the order of their names");
}
