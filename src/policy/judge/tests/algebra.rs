//! What the hits of a channel add up to: fallback, deferral, suppression, and who decides.

use super::builder::*;
use crate::message::EventKind;
use crate::policy::condition::{Condition, ConditionError};
use crate::policy::judge::{Situation, judge};
use crate::policy::judgement::{Reason, Verdict};
use crate::policy::model::{Exception, OnHit};
use crate::policy::rules::{Block, CoolOff, Limit, LimitRow, RuleKind, Trigger};
use crate::policy::selector::{Field, Selector};
use crate::policy::window::{Period, Shape, ZoneChoice};

const NOON: &str = "2026-06-10T16:00:00Z";

#[test]
fn a_plain_approval_says_nothing_of_blocks_and_costs_what_the_channel_costs() {
    let judgement = judged(
        &policy(vec![]),
        &customer("America/New_York"),
        &intent("email"),
        at(NOON),
    );
    assert_eq!(judgement.verdict, Verdict::Approved);
    assert_eq!(judgement.reason, Reason::Approved);
    assert_eq!(judgement.cost_micros, 2_000);
    assert!(judgement.blocked_by.is_empty() && judgement.valid_until_ms.is_none());
}

#[test]
fn a_second_message_on_one_local_day_falls_back_and_tells_what_blocked() {
    let rules = vec![only_on(
        rule("email-day", cap(1, Shape::Calendar(Period::Day)), FALLBACK_DEFER),
        "email",
    )];
    let mut customer = customer("Europe/Lisbon");
    customer.contacts.push(contact("email", at("2026-03-28T09:00:00Z")));
    let mut intent = intent("email");
    intent.fallback_channels = vec![name("sms"), name("push")];
    let judgement = judged(&policy(rules), &customer, &intent, at("2026-03-28T20:30:00Z"));
    assert_eq!((judgement.verdict, &*judgement.channel), (Verdict::Approved, "push"));
    let told: Vec<_> = judgement
        .blocked_by
        .iter()
        .map(|block| (block.rule.as_deref(), block.reason, &*block.channel))
        .collect();
    assert_eq!(
        told,
        [
            (Some("email-day"), Reason::Cap, "email"),
            (None, Reason::Consent, "sms")
        ]
    );
    let block = &judgement.blocked_by[0];
    assert_eq!((block.count, block.limit), (Some(1), Some(1)));
    assert_eq!(block.window_start_ms, Some(at("2026-03-28T00:00:00Z")));
    assert_eq!(block.free_at_ms, Some(at("2026-03-29T00:00:00Z")));
}

#[test]
fn one_hit_that_only_suppresses_ends_it_whatever_the_others_allow() {
    let rules = vec![
        rule("spacing", gap(4 * HOUR), FALLBACK_DEFER),
        rule("week", weekly_cap(1), OnHit::SUPPRESS),
    ];
    let mut customer = customer("UTC");
    customer.contacts.push(contact("email", at(NOON) - HOUR));
    let mut intent = intent("email");
    intent.fallback_channels = vec![name("push")];
    let judgement = judged(&policy(rules), &customer, &intent, at(NOON));
    assert_eq!(judgement.verdict, Verdict::Suppressed);
    // Both lie in one step: the one that frees last decides.
    assert_eq!(judgement.rule.as_deref(), Some("week"));
    assert_eq!(judgement.next_eligible_at_ms, Some(at(NOON) - HOUR + 7 * DAY));
    assert_eq!(judgement.blocked_by.len(), 2);
}

#[test]
fn hits_of_which_one_does_not_defer_are_not_deferred() {
    let rules = vec![
        rule("spacing", gap(4 * HOUR), DEFER),
        rule("other", gap(5 * HOUR), FALLBACK),
    ];
    let mut customer = customer("UTC");
    customer.contacts.push(contact("email", at(NOON) - HOUR));
    let judgement = judged(&policy(rules), &customer, &intent("email"), at(NOON));
    assert_eq!((judgement.verdict, judgement.wake_at_ms), (Verdict::Suppressed, None));
    assert_eq!(judgement.rule.as_deref(), Some("other"));
}

#[test]
fn a_gap_that_ends_in_quiet_hours_waits_for_the_morning_and_jitter_only_adds() {
    let rules = vec![
        rule("spacing", gap(4 * HOUR), DEFER),
        rule("nights", open_hours(8, 21, 20 * MINUTE), DEFER),
    ];
    let mut customer = customer("UTC");
    customer.contacts.push(contact("email", at("2026-06-10T19:00:00Z")));
    let judgement = judged(&policy(rules), &customer, &intent("email"), at("2026-06-10T20:00:00Z"));
    let morning = at("2026-06-11T08:00:00Z");
    assert_eq!((judgement.verdict, judgement.reason), (Verdict::Deferred, Reason::Gap));
    assert_eq!(judgement.next_eligible_at_ms, Some(morning));
    let wake = judgement.wake_at_ms.expect("a wake");
    assert!((morning..=morning + 20 * MINUTE).contains(&wake));
}

#[test]
fn the_wake_counts_a_fallback_that_opens_earlier() {
    let rules = vec![
        only_on(rule("email-week", weekly_cap(1), FALLBACK_DEFER), "email"),
        only_on(rule("push-hours", open_hours(18, 20, 0), DEFER), "push"),
    ];
    let mut customer = customer("UTC");
    customer.contacts.push(contact("email", at(NOON) - DAY));
    let mut intent = intent("email");
    intent.fallback_channels = vec![name("push")];
    let judgement = judged(&policy(rules), &customer, &intent, at(NOON));
    assert_eq!(judgement.wake_at_ms, Some(at("2026-06-10T18:00:00Z")));
    // The reported time is the requested channel's.
    assert_eq!(judgement.next_eligible_at_ms, Some(at(NOON) + 6 * DAY));
}

#[test]
fn a_deferral_that_cannot_make_it_is_suppressed_at_once_with_the_blocking_reason() {
    let rules = || vec![rule("spacing", gap(4 * HOUR), DEFER)];
    let mut customer = customer("UTC");
    customer.contacts.push(contact("email", at(NOON) - HOUR));
    let mut intent = intent("email");
    intent.expires_at_ms = Some(at(NOON) + 3 * HOUR);
    let judgement = judged(&policy(rules()), &customer, &intent, at(NOON));
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Suppressed, Reason::Gap)
    );
    assert_eq!(judgement.next_eligible_at_ms, None);
    intent.expires_at_ms = Some(at(NOON) + 3 * HOUR + 1);
    let judgement = judged(&policy(rules()), &customer, &intent, at(NOON));
    assert_eq!(judgement.wake_at_ms, Some(at(NOON) + 3 * HOUR));
    // `max-defer` runs from the first deferral, and its very end is still in time.
    let waited = |first_ms| Situation {
        first_deferred_ms: Some(first_ms),
        ..FRESH
    };
    let in_time = waited(at(NOON) + 3 * HOUR - 7 * DAY);
    let too_late = waited(at(NOON) + 3 * HOUR - 7 * DAY - 1);
    let verdict = |situation| judge(&policy(rules()), &customer, &intent, at(NOON), &situation).verdict;
    assert_eq!(
        (verdict(in_time), verdict(too_late)),
        (Verdict::Deferred, Verdict::Suppressed)
    );
}

#[test]
fn a_block_without_a_known_end_waits_for_its_event_until_max_defer_is_over() {
    let open_issue = RuleKind::CoolOff(CoolOff {
        after: vec![Trigger::Event(EventKind::IssueOpened)],
        count: 1,
        within: None,
        block: Block::Until {
            kind: EventKind::IssueClosed,
            max: None,
        },
        events: Selector::default(),
        zone: ZoneChoice::Company,
    });
    let policy = policy(vec![rule("open-issue", open_issue, DEFER)]);
    let mut customer = customer("UTC");
    let mut opened = event(EventKind::IssueOpened, at(NOON) - DAY);
    opened.issue_id = Some(name("7"));
    customer.events.push(opened);
    let judgement = judged(&policy, &customer, &intent("email"), at(NOON));
    assert_eq!((judgement.verdict, judgement.wake_at_ms), (Verdict::Deferred, None));
    let situation = Situation {
        first_deferred_ms: Some(at(NOON) - 7 * DAY),
        ..FRESH
    };
    let judgement = judge(&policy, &customer, &intent("email"), at(NOON), &situation);
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Suppressed, Reason::CoolOff)
    );
    let mut other = event(EventKind::IssueClosed, at(NOON) - HOUR);
    other.issue_id = Some(name("8"));
    customer.events.push(other);
    assert_eq!(
        judged(&policy, &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Deferred
    );
    customer.events.push(event(EventKind::IssueClosed, at(NOON) - MINUTE));
    assert_eq!(
        judged(&policy, &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn a_shadow_rule_is_recorded_and_blocks_nothing() {
    let mut trial = rule("trial", weekly_cap(0), OnHit::SUPPRESS);
    trial.shadow = true;
    let judgement = judged(&policy(vec![trial]), &customer("UTC"), &intent("email"), at(NOON));
    assert_eq!(judgement.verdict, Verdict::Approved);
    assert_eq!(judgement.blocked_by.len(), 1);
    assert!(judgement.blocked_by[0].shadow);
}

#[test]
fn an_exception_lifts_its_rules_until_its_date() {
    let mut policy = policy(vec![rule("stop-all", weekly_cap(0), OnHit::SUPPRESS)]);
    policy.exceptions.push(Exception {
        id: name("recall"),
        governs: selector(Field::Campaign, "recall-2026"),
        rules: vec![name("stop-all")],
        until_ms: at(NOON) + 1,
    });
    let mut intent = intent("email");
    let verdict = |intent: &_, at_ms| judged(&policy, &customer("UTC"), intent, at_ms).verdict;
    assert_eq!(verdict(&intent, at(NOON)), Verdict::Suppressed);
    intent.campaign = Some(name("recall-2026"));
    assert_eq!(verdict(&intent, at(NOON)), Verdict::Approved);
    assert_eq!(verdict(&intent, at(NOON) + 1), Verdict::Suppressed);
}

#[test]
fn an_expression_that_fails_blocks_as_a_policy_error() {
    let failing = || {
        Condition::new("customer.attributes.x", false, |_| {
            Err(ConditionError { what: "no attribute" })
        })
    };
    let mut guarded = rule("guarded", weekly_cap(9), OnHit::SUPPRESS);
    guarded.when = Some(failing());
    let mut limited = rule("limited", weekly_cap(9), OnHit::SUPPRESS);
    if let RuleKind::Cap(cap) = &mut limited.kind {
        cap.limits.rows.push(LimitRow {
            when: failing(),
            limit: Limit::Unlimited,
        });
    }
    for rule in [guarded, limited] {
        let judgement = judged(&policy(vec![rule]), &customer("UTC"), &intent("email"), at(NOON));
        assert_eq!(
            (judgement.verdict, judgement.reason),
            (Verdict::Suppressed, Reason::PolicyError)
        );
        assert_eq!(judgement.next_eligible_at_ms, None);
    }
}

#[test]
fn the_wake_follows_a_limit_that_changes_with_time_alone() {
    // From the third day after the first contact on, two are allowed.
    let mut week = rule("week", weekly_cap(1), DEFER);
    if let RuleKind::Cap(cap) = &mut week.kind {
        let older = Condition::new("customer.days_since_first_contact >= 3", true, |facts| {
            Ok(facts.derived.days_since_first_contact.is_some_and(|days| days >= 3))
        });
        cap.limits.rows.push(LimitRow {
            when: older,
            limit: Limit::Number(2),
        });
    }
    let mut customer = customer("UTC");
    customer.contacts.push(contact("email", at(NOON) - DAY - HOUR));
    let judgement = judged(&policy(vec![week]), &customer, &intent("email"), at(NOON));
    assert_eq!(judgement.wake_at_ms, Some(at(NOON) + 2 * DAY - HOUR));
}

#[test]
fn windows_that_never_open_together_end_the_search() {
    let rules = vec![
        rule("mornings", open_hours(8, 10, 0), DEFER),
        rule("evenings", open_hours(18, 20, 0), DEFER),
    ];
    let judgement = judged(&policy(rules), &customer("UTC"), &intent("email"), at(NOON));
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Suppressed, Reason::QuietHours)
    );
    assert_eq!(judgement.next_eligible_at_ms, None);
}

#[test]
fn an_approval_is_valid_until_the_first_of_expiry_window_and_channel() {
    let mut policy = policy(vec![rule("nights", open_hours(8, 21, 0), DEFER)]);
    let mut intent = intent("email");
    let valid = |policy: &_, intent: &_| judged(policy, &customer("UTC"), intent, at(NOON)).valid_until_ms;
    assert_eq!(valid(&policy, &intent), Some(at("2026-06-10T21:00:00Z")));
    policy.channels[0].valid_for_ms = Some(2 * HOUR);
    assert_eq!(valid(&policy, &intent), Some(at(NOON) + 2 * HOUR));
    intent.expires_at_ms = Some(at(NOON) + HOUR);
    assert_eq!(valid(&policy, &intent), Some(at(NOON) + HOUR));
}

#[test]
fn a_fallback_opens_when_a_window_that_hands_over_closes_beside_one_that_is_closed_already() {
    let rules = vec![
        only_on(rule("mornings", open_hours(8, 10, 0), DEFER), "email"),
        only_on(rule("days", open_hours(8, 20, 0), FALLBACK_DEFER), "email"),
    ];
    let mut intent = intent("email");
    intent.fallback_channels = vec![name("push")];
    let judgement = judged(&policy(rules), &customer("UTC"), &intent, at(NOON));
    assert_eq!(judgement.wake_at_ms, Some(at("2026-06-10T20:00:00Z")));
    assert_eq!(judgement.next_eligible_at_ms, Some(at("2026-06-11T08:00:00Z")));
}
