//! What senders report, in the order in which it really comes: none.

use super::*;
use crate::customer::bounds::HEAD_CONTACTS_AT_MOST;

fn report(customer: &mut Customer, intent: &str, id: &str, kind: EventKind) -> Applied {
    apply(customer, &about(intent, id, kind, NOW_MS), NOW_MS, &TestPolicy)
}

fn state_of(customer: &Customer, intent: &str) -> ContactState {
    customer.contact_of(id_hash(intent)).expect("a contact").state
}

fn with_contact(channel: &str) -> Customer {
    let mut customer = fresh();
    customer.reserve(contact("i", channel, NOW_MS - DAY_MS), NOW_MS, &TestPolicy);
    customer
}

#[test]
fn delivered_stays_delivered_when_sent_or_failed_come_after_it() {
    let mut customer = with_contact("email");
    report(&mut customer, "i", "e1", EventKind::Delivered);
    report(&mut customer, "i", "e2", EventKind::Sent);
    assert_eq!(state_of(&customer, "i"), ContactState::Delivered);
    for (id, kind) in [("e3", EventKind::Failed), ("e4", EventKind::BouncedHard)] {
        assert!(report(&mut customer, "i", id, kind).released.is_empty(), "{kind:?}");
        assert_eq!(state_of(&customer, "i"), ContactState::Delivered);
    }
    assert_eq!(
        customer.suppressions.len(),
        1,
        "the bounce is believed as to the address"
    );
}

#[test]
fn a_contact_that_was_given_back_counts_again_once_it_is_delivered_and_only_then() {
    let mut customer = with_contact("email");
    assert_eq!(report(&mut customer, "i", "e1", EventKind::Failed).released.len(), 1);
    report(&mut customer, "i", "e2", EventKind::Sent);
    assert_eq!(state_of(&customer, "i"), ContactState::Released);
    report(&mut customer, "i", "e3", EventKind::Delivered);
    assert_eq!(state_of(&customer, "i"), ContactState::Delivered);
    assert!(report(&mut customer, "i", "e4", EventKind::Failed).released.is_empty());
}

#[test]
fn a_report_about_an_intent_that_nobody_knows_changes_no_contact() {
    let mut customer = with_contact("email");
    let before = customer.contacts.clone();
    for kind in [
        EventKind::Sent,
        EventKind::Delivered,
        EventKind::Failed,
        EventKind::BouncedSoft,
    ] {
        let outcome = report(&mut customer, "unknown", kind.as_str(), kind);
        assert!(outcome.released.is_empty() && outcome.cancelled_waiting.is_none());
    }
    assert_eq!(customer.contacts, before);
    assert!(customer.suppressions.is_empty());
}

#[test]
fn a_contact_that_left_the_head_is_reported_on_as_any_other() {
    let mut values = Values::new();
    let mut customer = fresh();
    for number in 0..=HEAD_CONTACTS_AT_MOST as i64 {
        let at_ms = NOW_MS - (60 - number) * DAY_MS;
        customer.reserve(contact(&format!("i{number}"), "email", at_ms), NOW_MS, &TestPolicy);
    }
    store(&mut customer, &mut values);
    let mut customer = load(&values);
    let outcome = report(&mut customer, "i0", "e1", EventKind::Failed);
    assert_eq!(outcome.released.len(), 1);
    store(&mut customer, &mut values);
    let mut customer = load(&values);
    assert_eq!(state_of(&customer, "i0"), ContactState::Released);
    report(&mut customer, "i0", "e2", EventKind::Delivered);
    store(&mut customer, &mut values);
    assert_eq!(state_of(&load(&values), "i0"), ContactState::Delivered);
}

#[test]
fn a_soft_bounce_puts_nothing_on_the_suppression_list_and_the_contact_keeps_counting() {
    let mut customer = with_contact("email");
    let outcome = report(&mut customer, "i", "e1", EventKind::BouncedSoft);
    assert!(outcome.released.is_empty(), "the channel does not list it");
    assert_eq!(state_of(&customer, "i"), ContactState::Failed);
    assert!(customer.suppressions.is_empty());
}

#[test]
fn a_hard_bounce_after_a_fallback_stops_the_fallbacks_channel_and_never_the_address_of_the_other() {
    // What fell back went out without the endpoint of the requested channel.
    let mut customer = with_contact("push");
    report(&mut customer, "i", "e1", EventKind::BouncedHard);
    let expected = Suppression::Channel {
        channel: name("push"),
        known_endpoint_hash: None,
        at_ms: NOW_MS,
    };
    assert_eq!(customer.suppressions, [expected]);
}

#[test]
fn a_bounce_without_address_stands_for_the_one_that_was_last_used_before_it() {
    let mut customer = fresh();
    for (intent, days, endpoint) in [
        ("old", 9, Some(1)),
        ("used", 3, Some(2)),
        ("bare", 2, None),
        ("new", 0, Some(3)),
    ] {
        let used = Contact {
            endpoint_hash: endpoint,
            ..contact(intent, "email", NOW_MS - days * DAY_MS)
        };
        customer.reserve(used, NOW_MS, &TestPolicy);
    }
    let bounce = EngagementEvent {
        channel: Some(name("email")),
        ..event("e", EventKind::BouncedHard, NOW_MS - DAY_MS)
    };
    apply(&mut customer, &bounce, NOW_MS, &TestPolicy);
    let expected = Suppression::Channel {
        channel: name("email"),
        known_endpoint_hash: Some(2),
        at_ms: NOW_MS - DAY_MS,
    };
    assert_eq!(customer.suppressions, [expected]);
}

#[test]
fn an_unsubscribe_about_a_message_stops_everything_that_it_does_not_name() {
    let mut customer = with_contact("email");
    report(&mut customer, "i", "e1", EventKind::Unsubscribed);
    let statement = &customer.consents[0];
    assert_eq!(
        (&statement.channel, &statement.purpose, &statement.division),
        (&None, &None, &None)
    );
}
