//! Events whose time lies a little ahead of the decision, and intents whose times touch it.

use super::builder::*;
use crate::customer::{ApplyPolicy, Customer, apply};
use crate::message::{EngagementEvent, EventKind, Intent, decode_event};
use crate::policy::judgement::{Reason, Verdict};
use crate::policy::model::Policy;
use crate::policy::rules::{Block, CoolOff, Length, RuleKind, Trigger};
use crate::policy::selector::Selector;
use crate::policy::window::{Period, Shape, Span, ZoneChoice};

const NOON: &str = "2026-06-10T16:00:00Z";
/// Three seconds later.
const AHEAD: &str = "2026-06-10T16:00:03Z";

fn engagement(kind: &str, occurred_at: &str) -> EngagementEvent {
    let value = format!(
        r#"{{"event_id":"{kind}","customer_id":"c-1","type":"{kind}","occurred_at":"{occurred_at}","channel":"email","division":"cards"}}"#
    );
    decode_event(Some(value.as_bytes()), &[], 1_000, false).expect("an event")
}

fn read(customer: &mut Customer, policy: &Policy, kind: &str, occurred_at: &str) {
    apply(
        customer,
        &engagement(kind, occurred_at),
        at(NOON),
        policy as &dyn ApplyPolicy,
    );
}

fn cool_off(after: EventKind, block: Block) -> RuleKind {
    RuleKind::CoolOff(CoolOff {
        after: vec![Trigger::Event(after)],
        count: 1,
        within: None,
        block,
        events: Selector::default(),
        zone: ZoneChoice::Company,
    })
}

#[test]
fn a_contact_from_elsewhere_whose_time_lies_ahead_fills_a_cap_and_a_gap_from_now_on() {
    let three_days = Shape::Rolling(Span::Exact { ms: 3 * DAY });
    for kind in [cap(1, three_days), gap(4 * HOUR), cap(1, Shape::Calendar(Period::Day))] {
        let policy = policy(vec![rule("only-one", kind, DEFER)]);
        let mut customer = customer("America/New_York");
        read(&mut customer, &policy, "contacted_elsewhere", AHEAD);
        let judgement = judged(&policy, &customer, &intent("email"), at(NOON));
        assert_eq!(judgement.verdict, Verdict::Deferred);
        let wake_ms = judgement.wake_at_ms.expect("a known end");
        assert_eq!(
            judged(&policy, &customer, &intent("email"), wake_ms).verdict,
            Verdict::Approved
        );
        assert_eq!(
            judged(&policy, &customer, &intent("email"), wake_ms - 1).verdict,
            Verdict::Deferred
        );
    }
    // It leaves the window a week after its own time.
    let policy = policy(vec![rule("week", weekly_cap(1), DEFER)]);
    let mut customer = customer("UTC");
    read(&mut customer, &policy, "contacted_elsewhere", AHEAD);
    let judgement = judged(&policy, &customer, &intent("email"), at(NOON));
    assert_eq!(judgement.next_eligible_at_ms, Some(at(AHEAD) + 7 * DAY));
}

#[test]
fn a_complaint_whose_time_lies_ahead_begins_its_cool_off_now() {
    let block = Block::For(Length::Span(Span::Exact { ms: 90 * DAY }));
    let policy = policy(vec![rule(
        "after-complaint",
        cool_off(EventKind::Complained, block),
        DEFER,
    )]);
    let mut customer = customer("UTC");
    read(&mut customer, &policy, "complained", AHEAD);
    // Push: the complaint itself stops only its own channel.
    let judgement = judged(&policy, &customer, &intent("push"), at(NOON));
    assert_eq!(
        (judgement.verdict, judgement.reason),
        (Verdict::Suppressed, Reason::CoolOff)
    );
    assert_eq!(judgement.next_eligible_at_ms, Some(at(AHEAD) + 90 * DAY));
}

#[test]
fn an_issue_that_is_closed_a_little_ahead_of_its_time_is_closed() {
    let block = Block::Until {
        kind: EventKind::IssueClosed,
        max: None,
    };
    let policy = policy(vec![rule("open-issue", cool_off(EventKind::IssueOpened, block), DEFER)]);
    let mut customer = customer("UTC");
    read(&mut customer, &policy, "issue_opened", NOON);
    assert_eq!(
        judged(&policy, &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Deferred
    );
    read(&mut customer, &policy, "issue_closed", AHEAD);
    assert_eq!(
        judged(&policy, &customer, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

fn verdict_of(change: impl Fn(&mut Intent)) -> (Verdict, Reason) {
    let mut intent = intent("email");
    change(&mut intent);
    let judgement = judged(&policy(vec![]), &customer("UTC"), &intent, at(NOON));
    (judgement.verdict, judgement.reason)
}

#[test]
fn an_intent_expires_at_its_very_instant_and_not_before() {
    let expiring = |offset_ms: i64| verdict_of(|intent| intent.expires_at_ms = Some(at(NOON) + offset_ms));
    assert_eq!(expiring(-1), (Verdict::Suppressed, Reason::Expired));
    assert_eq!(expiring(0), (Verdict::Suppressed, Reason::Expired));
    assert_eq!(expiring(1), (Verdict::Approved, Reason::Approved));
}

#[test]
fn a_time_to_wait_for_that_is_reached_or_past_is_not_waited_for() {
    let not_before = |offset_ms: i64| verdict_of(|intent| intent.not_before_ms = Some(at(NOON) + offset_ms));
    let deliver_at = |offset_ms: i64| verdict_of(|intent| intent.deliver_at_ms = Some(at(NOON) + offset_ms));
    for planned in [&not_before as &dyn Fn(i64) -> _, &deliver_at] {
        assert_eq!(planned(-DAY), (Verdict::Approved, Reason::Approved));
        assert_eq!(planned(0), (Verdict::Approved, Reason::Approved));
        assert_eq!(planned(1), (Verdict::Deferred, Reason::Planned));
    }
}

#[test]
fn an_intent_that_would_expire_before_its_time_is_not_kept() {
    let planned = |offset_ms: i64| {
        verdict_of(|intent| {
            intent.deliver_at_ms = Some(at(NOON) + DAY);
            intent.expires_at_ms = Some(at(NOON) + DAY + offset_ms);
        })
    };
    assert_eq!(planned(-1), (Verdict::Suppressed, Reason::Planned));
    assert_eq!(planned(0), (Verdict::Suppressed, Reason::Planned));
    assert_eq!(planned(1), (Verdict::Deferred, Reason::Planned));
}
