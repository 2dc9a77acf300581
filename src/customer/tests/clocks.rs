//! Times that lie ahead of the decision time, and times that come late.

use super::*;
use crate::customer::apply::AHEAD_AT_MOST_MS;
use crate::customer::facts::ResetBy;

fn applied(customer: &mut Customer, event: &EngagementEvent) {
    apply(customer, event, NOW_MS, &TestPolicy);
}

#[test]
fn a_contact_made_elsewhere_stands_at_its_time_among_the_others_and_counts_as_delivered() {
    let mut customer = fresh();
    for days in [9, 3, 1] {
        let ours = contact(&format!("i{days}"), "email", NOW_MS - days * DAY_MS);
        customer.reserve(ours, NOW_MS, &TestPolicy);
    }
    applied(
        &mut customer,
        &event("late", EventKind::ContactedElsewhere, NOW_MS - 5 * DAY_MS),
    );
    let days: Vec<i64> = customer
        .contacts
        .iter()
        .map(|contact| (NOW_MS - contact.at_ms) / DAY_MS)
        .collect();
    assert_eq!(days, [9, 5, 3, 1]);
    let elsewhere = &customer.contacts[1];
    assert_eq!(
        (elsewhere.state, elsewhere.decision.as_ref()),
        (ContactState::Delivered, None)
    );
}

#[test]
fn a_contact_made_elsewhere_counts_as_marketing_whatever_class_it_names() {
    for class in [None, Some(name("legal")), Some(name("marketing"))] {
        let mut customer = fresh();
        let elsewhere = EngagementEvent {
            class,
            ..event("e", EventKind::ContactedElsewhere, NOW_MS)
        };
        applied(&mut customer, &elsewhere);
        assert_eq!(&*customer.contacts[0].class, "marketing");
    }
}

#[test]
fn a_contact_older_than_ten_years_is_not_kept() {
    let mut customer = fresh();
    applied(&mut customer, &event("e", EventKind::ContactedElsewhere, i64::MIN));
    assert_eq!(customer.contacts, []);
    assert!(!customer.overflowed());
}

#[test]
fn a_time_that_lies_a_little_ahead_stays_as_it_is_written() {
    let ahead_ms = NOW_MS + AHEAD_AT_MOST_MS;
    let mut customer = fresh();
    applied(&mut customer, &event("e1", EventKind::ContactedElsewhere, ahead_ms));
    applied(&mut customer, &event("e2", EventKind::Unsubscribed, ahead_ms - 1));
    applied(&mut customer, &event("e3", EventKind::Complained, NOW_MS + 1));
    assert_eq!(customer.contacts[0].at_ms, ahead_ms);
    assert_eq!(customer.consents[0].occurred_at_ms, ahead_ms - 1);
    assert_eq!(customer.events[0].at_ms, NOW_MS + 1);
    // The same whenever it is read: what the log says can be derived from the log.
    let mut later = fresh();
    let event = event("e1", EventKind::ContactedElsewhere, ahead_ms);
    apply(&mut later, &event, NOW_MS + 1_000, &TestPolicy);
    assert_eq!(later.contacts, customer.contacts);
}

#[test]
fn a_time_that_cannot_be_true_takes_effect_and_is_not_believed() {
    let mut customer = fresh();
    for (id, kind) in [
        ("e1", EventKind::ContactedElsewhere),
        ("e2", EventKind::Unsubscribed),
        ("e3", EventKind::Clicked),
    ] {
        applied(&mut customer, &event(id, kind, i64::MAX));
    }
    let at_ms = NOW_MS + AHEAD_AT_MOST_MS;
    assert_eq!(customer.contacts[0].at_ms, at_ms);
    assert_eq!(customer.consents[0].occurred_at_ms, at_ms);
    assert_eq!(customer.events[0].at_ms, at_ms);
    // So a grant of tomorrow lifts the refusal.
    let grant = event("e4", EventKind::Resubscribed, NOW_MS + DAY_MS);
    apply(&mut customer, &grant, NOW_MS + DAY_MS, &TestPolicy);
    let question = ConsentQuestion {
        channel: "email",
        purpose: None,
        division: None,
    };
    let standing = consent_standing(&customer.consents, &question, &|_| GrantForce::InForce);
    assert!(matches!(standing, ConsentStanding::Granted(_)), "{standing:?}");
}

#[test]
fn a_refusal_whose_time_lies_ahead_is_not_lifted_by_an_older_grant_that_comes_after_it() {
    let mut customer = fresh();
    applied(&mut customer, &event("e1", EventKind::Unsubscribed, NOW_MS + 2_000));
    applied(&mut customer, &event("e2", EventKind::Resubscribed, NOW_MS + 1_999));
    let question = ConsentQuestion {
        channel: "email",
        purpose: None,
        division: Some("cards"),
    };
    let standing = consent_standing(&customer.consents, &question, &|_| GrantForce::InForce);
    assert!(standing.refuses(), "{standing:?}");
}

#[test]
fn a_response_whose_time_lies_ahead_answers_what_came_before_it_and_nothing_later() {
    let mut customer = fresh();
    customer.reserve(contact("a", "sms", NOW_MS - 3 * DAY_MS), NOW_MS, &TestPolicy);
    assert_eq!(customer.unanswered(NOW_MS, &TestPolicy), 1);
    applied(&mut customer, &about("a", "e1", EventKind::Clicked, NOW_MS + 3_000));
    assert_eq!(customer.unanswered(NOW_MS, &TestPolicy), 0);
    assert_eq!(customer.days_since_response(NOW_MS, &TestPolicy), Some(0));
    applied(
        &mut customer,
        &event("e2", EventKind::ContactedElsewhere, NOW_MS + 1_000),
    );
    assert_eq!(customer.unanswered(NOW_MS, &TestPolicy), 1);
    let last_ms = customer.last_response_ms(ResetBy::AnyChannel, NOW_MS, &TestPolicy);
    assert_eq!(last_ms, Some(NOW_MS));
}
