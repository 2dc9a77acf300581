use super::*;
use crate::customer::bounds::*;
use crate::customer::facts::ResetBy;
use crate::customer::keys::{Key, parse_key};
use proptest::prelude::*;

#[test]
fn one_more_contact_in_the_head_leaves_the_segments_alone() {
    let mut values = Values::new();
    let mut customer = full();
    store(&mut customer, &mut values);
    customer.reserve(contact("new", "email", NOW_MS), NOW_MS, &TestPolicy);
    assert_eq!(store(&mut customer, &mut values), [keys::head_key("c1")]);
}

#[test]
fn a_report_about_an_old_contact_writes_only_the_segment_of_its_month_beside_the_head() {
    let mut values = Values::new();
    store(&mut full(), &mut values);
    let mut customer = load(&values);
    apply(
        &mut customer,
        &about("i0", "late", EventKind::Delivered, NOW_MS),
        NOW_MS,
        &TestPolicy,
    );
    let written = store(&mut customer, &mut values);
    let segments = written
        .iter()
        .filter(|key| matches!(parse_key(key), Some(Key::History { .. })));
    assert_eq!((segments.count(), written.len()), (1, 2));
    assert_eq!(load(&values), customer);
}

#[test]
fn contacts_older_than_ten_years_leave_with_their_segment() {
    let mut values = Values::new();
    let mut customer = full();
    store(&mut customer, &mut values);
    customer.trim(NOW_MS - 30 * DAY_MS + CONTACT_AGE_MS, DAY_MS);
    store(&mut customer, &mut values);
    assert!(
        customer
            .contacts
            .iter()
            .all(|contact| contact.at_ms > NOW_MS - 30 * DAY_MS)
    );
    assert!(!customer.overflowed() && customer.ledger_reaches(i64::MIN));
    assert_eq!(load(&values), customer);
}

#[test]
fn too_many_contacts_suppress_while_the_lost_ones_matter() {
    let mut customer = fresh();
    for number in 0..=CONTACTS_AT_MOST as i64 {
        customer.reserve(contact("i", "email", NOW_MS + number), NOW_MS + number, &TestPolicy);
    }
    assert_eq!(customer.contacts.len(), CONTACTS_AT_MOST);
    assert!(customer.overflowed());
    assert!(!customer.ledger_reaches(NOW_MS) && customer.ledger_reaches(NOW_MS + 1));
    customer.trim(NOW_MS + EXACT_AGE_MS, DAY_MS);
    assert!(!customer.overflowed());
    assert!(!customer.ledger_reaches(NOW_MS));
}

#[test]
fn machine_opens_and_opens_make_room_before_anything_that_matters() {
    let mut customer = fresh();
    apply(
        &mut customer,
        &event("issue", EventKind::IssueOpened, NOW_MS - DAY_MS),
        NOW_MS,
        &TestPolicy,
    );
    for number in 0..EVENTS_AT_MOST {
        apply(
            &mut customer,
            &event(&format!("e{number}"), EventKind::Opened, NOW_MS),
            NOW_MS,
            &TestPolicy,
        );
    }
    assert_eq!(customer.events.len(), EVENTS_AT_MOST);
    assert_eq!(customer.events[0].kind, EventKind::IssueOpened);
    assert!(!customer.overflowed());
    for number in 0..EVENTS_AT_MOST {
        apply(
            &mut customer,
            &event(&format!("r{number}"), EventKind::Replied, NOW_MS),
            NOW_MS,
            &TestPolicy,
        );
    }
    assert!(customer.overflowed());
}

#[test]
fn an_intent_is_recalled_until_it_is_exactly_as_old_as_the_memory() {
    let mut customer = fresh();
    customer.remember(1, NOW_MS, coordinates(5), DAY_MS);
    let newer = DecisionCoordinates {
        attempt: 2,
        ..coordinates(5)
    };
    customer.remember(1, NOW_MS + 5, newer.clone(), DAY_MS);
    assert_eq!(customer.recall(1, NOW_MS + DAY_MS - 1, DAY_MS), Some(&newer));
    assert_eq!(customer.recall(1, NOW_MS + DAY_MS, DAY_MS), None);
    assert_eq!(customer.recall(2, NOW_MS, DAY_MS), None);
    customer.add_waiting(waiting("w", 9), body());
    assert_eq!(
        customer.recall(id_hash("w"), NOW_MS + 999 * DAY_MS, DAY_MS),
        Some(&coordinates(9))
    );
}

#[test]
fn forgetting_an_intent_by_number_suppresses_until_it_would_have_aged_away() {
    let mut customer = fresh();
    for number in 0..=REMEMBERED_AT_MOST as u64 {
        customer.remember(number, NOW_MS, coordinates(number as i64), DAY_MS);
    }
    assert!(customer.overflowed());
    customer.trim(NOW_MS + DAY_MS, DAY_MS);
    assert!(!customer.overflowed() && customer.remembered.is_empty());
}

#[test]
fn the_queue_is_in_the_order_of_competitors() {
    let mut customer = fresh();
    let first = Waiting {
        class_rank: 2,
        priority: 1,
        ..waiting("a", 1)
    };
    let second = Waiting {
        priority: 600,
        ..waiting("b", 2)
    };
    let third = Waiting {
        score: 0.9,
        ..waiting("c", 3)
    };
    let fourth = Waiting {
        expires_at_ms: Some(NOW_MS),
        ..waiting("d", 4)
    };
    let fifth = Waiting {
        created_at_ms: NOW_MS - 1,
        ..waiting("e", 5)
    };
    let expected = [first, second, third, fourth, fifth, waiting("f", 6), waiting("g", 7)];
    for waiting in expected.iter().rev() {
        customer.add_waiting(waiting.clone(), body());
    }
    let mut judged = Vec::new();
    for expected in &expected {
        let next = customer.next_due_waiting(NOW_MS + DAY_MS, &judged);
        assert_eq!(next.as_ref(), Some(expected));
        judged.push(expected.decision.clone());
    }
    assert_eq!(customer.next_due_waiting(NOW_MS + DAY_MS, &judged), None);
    assert_eq!(customer.next_due_waiting(NOW_MS + DAY_MS - 1, &[]), None);
    assert_eq!(customer.lowest_waiting(), expected.last());
    assert_eq!(customer.waiting_bytes(), 7 * 400);
}

#[test]
fn a_contact_that_nobody_confirmed_is_given_back_where_the_channel_says_so() {
    let mut customer = fresh();
    for (intent, channel) in [("a", "push"), ("b", "push"), ("c", "email")] {
        customer.reserve(contact(intent, channel, NOW_MS), NOW_MS, &TestPolicy);
    }
    apply(
        &mut customer,
        &about("b", "e", EventKind::Sent, NOW_MS + 1),
        NOW_MS + 1,
        &TestPolicy,
    );
    assert_eq!(customer.next_due_ms(), Some(NOW_MS + 2 * DAY_MS));
    assert!(
        customer
            .release_unconfirmed(NOW_MS + 2 * DAY_MS - 1, &TestPolicy)
            .is_empty()
    );
    let released = customer.release_unconfirmed(NOW_MS + 2 * DAY_MS, &TestPolicy);
    assert_eq!(
        released
            .iter()
            .map(|released| released.contact.intent_hash)
            .collect::<Vec<_>>(),
        [id_hash("a")]
    );
    assert_eq!(customer.next_due_ms(), None);
}

#[test]
fn unanswered_counts_what_was_delivered_since_the_last_response() {
    let mut customer = fresh();
    for (intent, channel, days) in [("a", "email", 9), ("b", "email", 7), ("c", "sms", 5), ("d", "email", 1)] {
        customer.reserve(contact(intent, channel, NOW_MS - days * DAY_MS), NOW_MS, &TestPolicy);
    }
    assert_eq!(
        customer.unanswered(NOW_MS, &TestPolicy),
        3,
        "d is not past confirm-within"
    );
    let click = about("a", "e1", EventKind::Clicked, NOW_MS - 8 * DAY_MS);
    apply(&mut customer, &click, NOW_MS, &TestPolicy);
    let machine = EngagementEvent {
        machine: true,
        ..about("c", "e2", EventKind::Opened, NOW_MS)
    };
    apply(&mut customer, &machine, NOW_MS, &TestPolicy);
    assert_eq!(customer.unanswered(NOW_MS, &TestPolicy), 2);
    assert_eq!(
        customer.unanswered_by("email", ResetBy::AnyChannel, NOW_MS, &TestPolicy),
        1
    );
    assert_eq!(
        customer.unanswered_by("sms", ResetBy::Channel("sms"), NOW_MS, &TestPolicy),
        1
    );
    assert_eq!(customer.days_since_response(NOW_MS, &TestPolicy), Some(8));
    assert_eq!(customer.days_since_first_contact(NOW_MS, &TestPolicy), Some(9));
    assert_eq!(fresh().days_since_response(NOW_MS, &TestPolicy), None);
}

/// What may happen to a ledger.
#[derive(Debug, Clone)]
enum Happening {
    Approve(i64),
    Elsewhere(i64),
    Deliver(usize),
    Store,
    Reload,
    Age(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0_i64..3).prop_map(Happening::Approve),
        2 => (0_i64..900).prop_map(Happening::Elsewhere),
        2 => (0_usize..200).prop_map(Happening::Deliver),
        3 => Just(Happening::Store),
        1 => Just(Happening::Reload),
        1 => (0_i64..200).prop_map(Happening::Age),
    ]
}

proptest! {
    #[test]
    fn contacts_are_never_lost_or_doubled_between_head_and_segments(
        happenings in prop::collection::vec(happening(), 1..200)
    ) {
        let mut values = Values::new();
        let mut customer = fresh();
        let mut now_ms = NOW_MS;
        let mut expected: Vec<(i64, u64)> = Vec::new();
        for (number, happening) in happenings.into_iter().enumerate() {
            let id = format!("n{number}");
            match happening {
                Happening::Approve(days) => {
                    now_ms += days * DAY_MS;
                    customer.reserve(contact(&id, "email", now_ms), now_ms, &TestPolicy);
                    expected.push((now_ms, id_hash(&id)));
                }
                Happening::Elsewhere(days) => {
                    let at_ms = now_ms - days * DAY_MS;
                    apply(&mut customer, &event(&id, EventKind::ContactedElsewhere, at_ms), now_ms, &TestPolicy);
                    expected.push((at_ms, id_hash(&id)));
                }
                Happening::Deliver(which) => {
                    let report = about(&format!("n{which}"), &id, EventKind::Delivered, now_ms);
                    apply(&mut customer, &report, now_ms, &TestPolicy);
                }
                Happening::Age(days) => now_ms += days * DAY_MS,
                Happening::Store | Happening::Reload => {
                    store(&mut customer, &mut values);
                    let loaded = load(&values);
                    prop_assert_eq!(&loaded, &customer);
                    if matches!(happening, Happening::Reload) {
                        customer = loaded;
                    }
                    prop_assert!(customer.changes(&SECRET).is_empty());
                }
            }
        }
        customer.trim(now_ms, DAY_MS);
        expected.retain(|(at_ms, _)| *at_ms > now_ms - CONTACT_AGE_MS);
        expected.sort_unstable();
        let mut found: Vec<_> = customer.contacts.iter().map(|contact| (contact.at_ms, contact.intent_hash)).collect();
        prop_assert!(found.is_sorted_by_key(|(at_ms, _)| *at_ms));
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}
