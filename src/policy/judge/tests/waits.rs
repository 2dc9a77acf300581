//! `back-off`: the wait that grows, and what shortens or lengthens it.

use super::builder::*;
use crate::customer::{ContactState, Customer, PastEvent};
use crate::message::EventKind;
use crate::policy::judgement::{Reason, Verdict};
use crate::policy::model::Policy;

const NOON: &str = "2026-06-10T16:00:00Z";

fn back_off(more: &str) -> Policy {
    let rule =
        format!("{{ id: no-answer, back-off: {{ after: 2, gap: 1d, factor: 2, max: 3d{more} }}, on-hit: defer }}");
    let mut policy = written(&format!("rules: [ {rule} ]"));
    policy.channels[0].confirm_within_ms = 2 * DAY;
    policy
}

/// Delivered e-mails so many hours ago.
fn ignored(hours: &[i64]) -> Customer {
    let contacts: Vec<(&str, i64)> = hours.iter().map(|hours| ("email", at(NOON) - hours * HOUR)).collect();
    contacted(&contacts)
}

fn click(hours: i64, channel: &str) -> PastEvent {
    PastEvent {
        channel: Some(name(channel)),
        ..event(EventKind::Clicked, at(NOON) - hours * HOUR)
    }
}

#[test]
fn fewer_than_after_need_no_gap() {
    assert_eq!(
        judged(&back_off(""), &ignored(&[1]), &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn the_gap_doubles_with_each_unanswered_contact_up_to_its_greatest() {
    for (hours, wait_ms) in [
        (&[5, 1][..], DAY),
        (&[9, 5, 1], 2 * DAY),
        (&[12, 9, 5, 1], 3 * DAY),
        (&[20, 12, 9, 5, 1], 3 * DAY),
    ] {
        let customer = ignored(hours);
        let judgement = judged(&back_off(""), &customer, &intent("email"), at(NOON));
        assert_eq!(judgement.reason, Reason::BackOff);
        let block = &judgement.blocked_by[0];
        assert_eq!((block.count, block.limit), (i64::try_from(hours.len()).ok(), Some(2)));
        let free_ms = at(NOON) - HOUR + wait_ms;
        assert_eq!(
            (judgement.wake_at_ms, judgement.next_eligible_at_ms),
            (Some(free_ms), Some(free_ms))
        );
        // One that is exactly so old is far enough away.
        assert_eq!(
            judged(&back_off(""), &customer, &intent("email"), free_ms).verdict,
            Verdict::Approved
        );
        assert_eq!(
            judged(&back_off(""), &customer, &intent("email"), free_ms - 1).verdict,
            Verdict::Deferred
        );
    }
}

#[test]
fn a_factor_with_decimals_is_cut_to_whole_milliseconds_at_each_step() {
    let policy = written("rules: [ { id: slow, back-off: { after: 1, gap: 1s, factor: 1.333 }, on-hit: defer } ]");
    // 1000, 1333, 1776.889, then 1776 × 1.333 = 2367.408.
    let customer = contacted(&[("email", at(NOON)); 4]);
    assert_eq!(
        wake(&policy, &customer, &intent("email"), at(NOON)),
        Some(at(NOON) + 2_367)
    );
}

#[test]
fn without_a_greatest_the_gap_grows_beyond_the_history_and_stays_a_number() {
    let policy = written("rules: [ { id: long, back-off: { after: 1, gap: 30d, factor: 1000 } } ]");
    let customer = contacted(&[("email", at(NOON)); 40]);
    let judgement = judged(&policy, &customer, &intent("email"), at(NOON));
    assert_eq!(judgement.blocked_by[0].free_at_ms, Some(at(NOON) + 3_653 * DAY));
}

#[test]
fn a_response_on_any_channel_resets_unless_only_its_own_does() {
    let mut customer = ignored(&[9, 5, 1]);
    customer.events = vec![click(3, "push")];
    assert_eq!(
        judged(&back_off(""), &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
    let same = back_off(", reset-by: same-channel");
    assert_eq!(
        judged(&same, &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Deferred
    );
    customer.events = vec![click(3, "email")];
    assert_eq!(
        judged(&same, &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
    // What a machine opened is no response.
    customer.events[0].machine = true;
    assert_eq!(
        judged(&same, &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Deferred
    );
}

#[test]
fn a_contact_at_the_instant_of_the_response_is_answered() {
    let mut customer = ignored(&[5, 1]);
    customer.events = vec![click(5, "email")];
    assert_eq!(
        judged(&back_off(""), &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn a_contact_that_begins_to_count_as_delivered_lengthens_the_wait() {
    let mut customer = ignored(&[47, 30, 20, 1]);
    customer.contacts[0].state = ContactState::Sent;
    customer.contacts[3].state = ContactState::Reserved;
    // Two are delivered, the last of them 20 hours ago: free in four hours. In one hour there are three: free in 28. The
    // newest counts only in 47 hours.
    let free_ms = at(NOON) + 28 * HOUR;
    assert_eq!(
        wake(&back_off(""), &customer, &intent("email"), at(NOON)),
        Some(free_ms)
    );
    assert_eq!(
        judged(&back_off(""), &customer, &intent("email"), free_ms - 1).verdict,
        Verdict::Deferred
    );
    assert_eq!(
        judged(&back_off(""), &customer, &intent("email"), free_ms).verdict,
        Verdict::Approved
    );
    // Then it passes, until the newest counts: four, three days after the newest.
    let counts_ms = at(NOON) + 47 * HOUR;
    assert_eq!(
        judged(&back_off(""), &customer, &intent("email"), counts_ms - 1).verdict,
        Verdict::Approved
    );
    assert_eq!(
        wake(&back_off(""), &customer, &intent("email"), counts_ms),
        Some(at(NOON) - HOUR + 3 * DAY)
    );
}

#[test]
fn what_failed_and_what_nobody_reported_on_a_channel_that_gives_it_back_is_not_unanswered() {
    let mut customer = contacted(&[
        ("email", at(NOON) - 5 * HOUR),
        ("phone", at(NOON) - 60 * HOUR),
        ("email", at(NOON) - HOUR),
    ]);
    customer.contacts[0].state = ContactState::Reserved;
    customer.contacts[1].state = ContactState::Failed;
    assert_eq!(
        judged(&back_off(""), &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
    customer.contacts[1].state = ContactState::Delivered;
    assert_eq!(
        judged(&back_off(""), &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Deferred
    );
}

#[test]
fn the_wake_on_a_fallback_sees_a_back_off_that_begins_by_itself() {
    // The gap only waits; the back-off hands over, once the second e-mail counts as delivered.
    let mut policy = written(
        "rules:
  - { id: spacing, gap: 4d, for: { channel: email }, on-hit: defer }
  - { id: no-answer, back-off: { after: 2, gap: 9d }, for: { channel: email }, on-hit: [fallback, defer] }",
    );
    policy.channels[0].confirm_within_ms = 2 * DAY;
    let mut customer = ignored(&[30, 1]);
    customer.contacts[1].state = ContactState::Sent;
    let mut message = intent("email");
    message.fallback_channels = vec![name("push")];
    let begins_ms = at(NOON) - HOUR + 2 * DAY;
    assert_eq!(wake(&policy, &customer, &message, at(NOON)), Some(begins_ms));
    let judgement = judged(&policy, &customer, &message, begins_ms);
    assert_eq!((judgement.verdict, &*judgement.channel), (Verdict::Approved, "push"));
    policy.rules[1].when = Some(crate::policy::condition::Condition::new("false", false, |_| Ok(false)));
    assert_eq!(
        wake(&policy, &customer, &message, at(NOON)),
        Some(at(NOON) - HOUR + 4 * DAY)
    );
}
