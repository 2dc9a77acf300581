//! `redundant`, `sequence` and `mix`: what a contact says about the next one.

use super::builder::*;
use crate::customer::{ContactState, Customer, PastEvent};
use crate::message::{EventKind, Intent};
use crate::policy::judgement::{Judgement, Reason, Verdict};

const NOON: &str = "2026-06-10T16:00:00Z";

fn offering(offer: &str) -> Intent {
    Intent {
        offer: Some(name(offer)),
        ..intent("email")
    }
}

fn outcome(judgement: &Judgement) -> (Verdict, Reason) {
    (judgement.verdict, judgement.reason)
}

#[test]
fn an_offer_is_not_made_twice_within_the_time_by_whatever_division() {
    let policy = written("rules: [ { id: repeat, redundant: { key: offer, within: 14d } } ]");
    let mut before = contacted(&[("push", at(NOON) - 13 * DAY), ("push", at(NOON) - DAY)]);
    before.contacts[0].offer = Some(name("card"));
    before.contacts[0].division = name("loans");
    let judgement = judged(&policy, &before, &offering("card"), at(NOON));
    assert_eq!(outcome(&judgement), (Verdict::Suppressed, Reason::RedundantOffer));
    // One that is exactly so old has left.
    assert_eq!(judgement.next_eligible_at_ms, Some(at(NOON) + DAY));
    assert_eq!(
        judged(&policy, &before, &offering("card"), at(NOON) + DAY).verdict,
        Verdict::Approved
    );
    assert_eq!(
        judged(&policy, &before, &offering("loan"), at(NOON)).verdict,
        Verdict::Approved
    );
    before.contacts[0].state = ContactState::Released;
    assert_eq!(
        judged(&policy, &before, &offering("card"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn a_message_without_offer_repeats_nothing() {
    let policy = written("rules: [ { id: repeat, redundant: { key: offer, within: 14d } } ]");
    let before = contacted(&[("email", at(NOON) - DAY)]);
    assert_eq!(
        judged(&policy, &before, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
    assert_eq!(
        judged(&policy, &before, &offering("card"), at(NOON)).verdict,
        Verdict::Approved
    );
    let tags = written("rules: [ { id: repeat, redundant: { key: tags, within: 14d } } ]");
    assert_eq!(
        judged(&tags, &before, &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn a_contact_that_nobody_confirms_frees_the_offer_when_it_is_given_back() {
    let policy = written("rules: [ { id: repeat, redundant: { key: offer, within: 14d }, on-hit: defer } ]");
    let mut before = contacted(&[("phone", at(NOON) - DAY)]);
    before.contacts[0].offer = Some(name("card"));
    before.contacts[0].state = ContactState::Reserved;
    assert_eq!(
        wake(&policy, &before, &offering("card"), at(NOON)),
        Some(at(NOON) + DAY)
    );
}

const AFTER: &str =
    "rules: [ { id: calls, sequence: { never: { channel: mail }, after: { channel: phone }, within: 60d } } ]";

#[test]
fn what_never_comes_after_something_waits_until_that_is_long_ago() {
    let policy = written(AFTER);
    let before = contacted(&[("phone", at(NOON) - 59 * DAY), ("mail", at(NOON) - DAY)]);
    let judgement = judged(&policy, &before, &intent("mail"), at(NOON));
    assert_eq!(outcome(&judgement), (Verdict::Suppressed, Reason::Sequence));
    assert_eq!(judgement.next_eligible_at_ms, Some(at(NOON) + DAY));
    assert_eq!(
        judged(&policy, &before, &intent("mail"), at(NOON) + DAY).verdict,
        Verdict::Approved
    );
    for other in ["phone", "email"] {
        assert_eq!(
            judged(&policy, &before, &intent(other), at(NOON)).verdict,
            Verdict::Approved
        );
    }
}

#[test]
fn what_does_not_count_is_nothing_to_come_after_unless_its_class_is_named() {
    let mut before = contacted(&[("phone", at(NOON) - DAY)]);
    before.contacts[0].class = name("legal");
    assert_eq!(
        judged(&written(AFTER), &before, &intent("mail"), at(NOON)).verdict,
        Verdict::Approved
    );
    let named =
        written("rules: [ { id: a, sequence: { never: { channel: mail }, after: { class: legal }, within: 60d } } ]");
    assert_eq!(
        judged(&named, &before, &intent("mail"), at(NOON)).reason,
        Reason::Sequence
    );
}

#[test]
fn what_is_never_together_keeps_apart_in_both_orders() {
    let policy = written(
        "rules: [ { id: apart, sequence: { never-together: [ { campaign: a }, { campaign: b* } ], within: 30d } } ]",
    );
    let of = |campaign: &str| Intent {
        campaign: Some(name(campaign)),
        ..intent("email")
    };
    for (earlier, later) in [("a", "b2"), ("b1", "a")] {
        let mut before = contacted(&[("email", at(NOON) - DAY)]);
        before.contacts[0].campaign = Some(name(earlier));
        let judgement = judged(&policy, &before, &of(later), at(NOON));
        assert_eq!(outcome(&judgement), (Verdict::Suppressed, Reason::Sequence));
        assert_eq!(judgement.next_eligible_at_ms, Some(at(NOON) + 29 * DAY));
        assert_eq!(
            judged(&policy, &before, &of(earlier), at(NOON)).verdict,
            Verdict::Approved
        );
        assert_eq!(judged(&policy, &before, &of("c"), at(NOON)).verdict, Verdict::Approved);
    }
}

#[test]
fn what_comes_only_after_an_answer_has_no_time_at_which_it_passes_without_one() {
    let policy = written(
        "rules: [ { id: first-mail, sequence: { only: { channel: phone }, if: { channel: email }, answered: true, within: 30d }, on-hit: defer } ]",
    );
    let mut customer = contacted(&[("email", at(NOON) - 29 * DAY)]);
    let judgement = judged(&policy, &customer, &intent("phone"), at(NOON));
    assert_eq!(outcome(&judgement), (Verdict::Deferred, Reason::Sequence));
    assert_eq!((judgement.wake_at_ms, judgement.next_eligible_at_ms), (None, None));
    customer.events.push(PastEvent {
        intent_hash: Some(customer.contacts[0].intent_hash),
        ..event(EventKind::Clicked, at(NOON) - DAY)
    });
    let verdict = |at_ms| judged(&policy, &customer, &intent("phone"), at_ms).verdict;
    assert_eq!(
        (verdict(at(NOON)), verdict(at(NOON) + DAY - 1)),
        (Verdict::Approved, Verdict::Approved)
    );
    assert_eq!(verdict(at(NOON) + DAY), Verdict::Deferred);
    assert_eq!(
        judged(&policy, &customer, &intent("push"), at(NOON) + DAY).verdict,
        Verdict::Approved
    );
}

#[test]
fn only_if_may_ask_for_a_contact_that_was_not_answered_or_for_any() {
    let rule = |more: &str| {
        written(&format!(
            "rules: [ {{ id: r, sequence: {{ only: {{ channel: sms }}, if: {{ channel: email }}, within: 30d{more} }} }} ]"
        ))
    };
    let mut answered = contacted(&[("email", at(NOON) - DAY)]);
    answered.events.push(PastEvent {
        intent_hash: Some(answered.contacts[0].intent_hash),
        ..event(EventKind::Clicked, at(NOON) - HOUR)
    });
    let silent = contacted(&[("email", at(NOON) - DAY)]);
    let nobody = contacted(&[]);
    for (more, expected) in [
        ("", [true, true, false]),
        (", answered: true", [true, false, false]),
        (", answered: false", [false, true, false]),
    ] {
        let passes =
            |customer: &Customer| judged(&rule(more), customer, &intent("sms"), at(NOON)).verdict == Verdict::Approved;
        assert_eq!(
            [passes(&answered), passes(&silent), passes(&nobody)],
            expected,
            "{more}"
        );
    }
}

const MIX: &str = "rules: [ { id: promos, mix: { of: { category: promo }, at-most: 70%, last: 4 }, on-hit: defer } ]";

fn promo() -> Intent {
    Intent {
        category: Some(name("promo")),
        ..intent("email")
    }
}

/// Contacts, an hour apart, oldest first: `p` is a promotion.
fn mixed(kinds: &str) -> Customer {
    let hours: i64 = kinds.len().try_into().expect("few");
    let mut customer = contacted(&[]);
    for (index, kind) in (0..).zip(kinds.chars()) {
        let mut contact = contact("email", at(NOON) - (hours - index) * HOUR);
        contact.category = (kind == 'p').then(|| name("promo"));
        customer.contacts.push(contact);
    }
    customer
}

#[test]
fn of_the_last_four_at_most_seventy_percent_are_promotions() {
    let policy = written(MIX);
    for (before, passes) in [
        // Two of four are 50 %, three are 75 %.
        ("..p", true),
        (".pp", false),
        ("p.p", false),
        ("pp..", true),
        ("ppp..", true),
        ("..pp", false),
        // Fewer than three earlier ones say nothing yet.
        ("pp", true),
        ("", true),
    ] {
        let judgement = judged(&policy, &mixed(before), &promo(), at(NOON));
        assert_eq!(judgement.verdict == Verdict::Approved, passes, "{before}");
        if !passes {
            assert_eq!((judgement.reason, judgement.wake_at_ms), (Reason::Mix, None));
            assert_eq!(
                (judgement.blocked_by[0].count, judgement.blocked_by[0].limit),
                (Some(3), Some(2))
            );
            assert_eq!(judgement.next_eligible_at_ms, None);
        }
    }
}

#[test]
fn what_is_not_of_the_kind_passes_and_makes_the_mix_better() {
    assert_eq!(
        judged(&written(MIX), &mixed("ppp"), &intent("email"), at(NOON)).verdict,
        Verdict::Approved
    );
}

#[test]
fn a_share_that_is_met_exactly_passes() {
    let policy = written("rules: [ { id: promos, mix: { of: { category: promo }, at-most: 75, last: 4 } } ]");
    assert_eq!(
        judged(&policy, &mixed("p.p"), &promo(), at(NOON)).verdict,
        Verdict::Approved
    );
    let just_less = written("rules: [ { id: promos, mix: { of: { category: promo }, at-most: 74.99, last: 4 } } ]");
    assert_eq!(
        judged(&just_less, &mixed("p.p"), &promo(), at(NOON)).reason,
        Reason::Mix
    );
}

#[test]
fn a_mix_changes_when_a_contact_is_given_back() {
    let mut before = mixed(".p.p");
    before.contacts[3].channel = name("phone");
    before.contacts[3].state = ContactState::Reserved;
    let policy = written(MIX);
    // The call is the newest promotion: when nobody confirms it, `.p.` is left, which is few enough.
    let judgement = judged(&policy, &before, &promo(), at(NOON));
    assert_eq!(judgement.wake_at_ms, Some(at(NOON) - HOUR + 2 * DAY));
    assert_eq!(judgement.next_eligible_at_ms, None, "no time is promised for a mix");
}
