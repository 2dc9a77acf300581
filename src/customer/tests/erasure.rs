use super::*;
use crate::customer::keys::erased_key;
use proptest::prelude::*;

fn applied(customer: &mut Customer, event: &EngagementEvent) -> Applied {
    apply(customer, event, NOW_MS, &TestPolicy)
}

#[test]
fn an_erased_customer_leaves_nothing_but_a_keyed_hash_and_learns_nothing() {
    let mut values = Values::new();
    let mut customer = full();
    store(&mut customer, &mut values);
    let erasure = applied(&mut customer, &event("x", EventKind::Erased, NOW_MS));
    assert!(erasure.erased && erasure.retime && customer.next_due_ms() == Some(NOW_MS));
    store(&mut customer, &mut values);
    assert_eq!(values.len(), 3, "the queue still waits: head, its body, the hash");
    let mut customer = load(&values);
    assert_eq!(customer.standing, Standing::Erased);
    assert!(customer.contacts.is_empty() && customer.events.is_empty() && customer.remembered.is_empty());
    customer.remove_waiting(&coordinates(7));
    store(&mut customer, &mut values);
    assert_eq!(values.keys().collect::<Vec<_>>(), [&erased_key(&SECRET, "c1")]);
    let mut customer = load(&values);
    assert!(!applied(&mut customer, &event("y", EventKind::ConsentGranted, NOW_MS)).changed);
    customer.reserve(contact("i", "email", NOW_MS), NOW_MS, &TestPolicy);
    customer.remember(1, NOW_MS, coordinates(1), DAY_MS);
    assert_eq!(customer.standing, Standing::Erased);
    assert!(store(&mut customer, &mut values).is_empty());
}

#[test]
fn after_erasure_no_key_and_no_value_repeats_anything_of_the_customer() {
    let mut values = Values::new();
    let mut customer = Customer::new(name("somebody-in-particular"));
    customer.profile.timezone = Some(name("Europe/Lisbon"));
    customer.add_waiting(waiting("planned-in-a-year", 7), body());
    for number in 0..60 {
        let intent = format!("private-intent-{number}");
        let at_ms = NOW_MS - number * 10 * DAY_MS;
        customer.reserve(contact(&intent, "email", at_ms), NOW_MS, &TestPolicy);
    }
    let complaint = event("private-event", EventKind::Complained, NOW_MS);
    applied(&mut customer, &complaint);
    store(&mut customer, &mut values);
    assert!(values.len() > 10, "head, segments and a body: {}", values.len());
    applied(&mut customer, &event("x", EventKind::Erased, NOW_MS));
    customer.remove_waiting(&coordinates(7));
    store(&mut customer, &mut values);
    assert_eq!(values.len(), 1);
    let (key, value) = values.first_key_value().expect("the keyed hash");
    assert_eq!(*key, erased_key(&SECRET, "somebody-in-particular"));
    assert_eq!(key.len(), 1 + 16);
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    for text in ["somebody", "private", "planned", "email", "Lisbon", "spring"] {
        assert!(!holds(key, text) && !holds(value, text), "{text}");
    }
}

#[test]
fn nothing_but_a_repair_by_hand_brings_an_erased_customer_back() {
    let mut values = Values::new();
    let mut customer = fresh();
    applied(&mut customer, &event("x", EventKind::Erased, NOW_MS));
    store(&mut customer, &mut values);
    for kind in EventKind::ALL {
        let mut customer = load(&values);
        let outcome = applied(&mut customer, &about("i", "later", kind, NOW_MS + DAY_MS));
        assert_eq!(outcome, Applied::default(), "{kind:?}");
        assert_eq!(customer.standing, Standing::Erased);
        assert!(store(&mut customer, &mut values).is_empty(), "{kind:?}");
    }
}

#[test]
fn do_not_contact_keeps_the_record_and_no_later_word_but_erasure_lifts_it() {
    let mut customer = fresh();
    customer.reserve(contact("i", "email", NOW_MS - DAY_MS), NOW_MS, &TestPolicy);
    applied(&mut customer, &event("e", EventKind::DoNotContact, NOW_MS));
    assert_eq!(customer.contacts.len(), 1);
    for kind in [
        EventKind::Resubscribed,
        EventKind::ConsentGranted,
        EventKind::ProfileSet,
    ] {
        applied(&mut customer, &event(kind.as_str(), kind, NOW_MS + 1));
        assert_eq!(customer.standing, Standing::DoNotContact, "{kind:?}");
    }
    applied(&mut customer, &event("x", EventKind::Erased, NOW_MS));
    assert_eq!(customer.standing, Standing::Erased);
}

proptest! {
    #[test]
    fn whatever_came_before_an_erasure_one_value_is_left(kinds in prop::collection::vec(0..24_usize, 0..60)) {
        let mut values = Values::new();
        let mut customer = fresh();
        for (number, kind) in kinds.into_iter().enumerate() {
            let at_ms = NOW_MS - (number as i64 % 9) * 40 * DAY_MS;
            let id = format!("n{number}");
            customer.reserve(contact(&id, "email", at_ms), NOW_MS, &TestPolicy);
            applied(&mut customer, &about(&id, &id, EventKind::ALL[kind], at_ms));
            if number % 7 == 0 {
                store(&mut customer, &mut values);
            }
        }
        applied(&mut customer, &event("x", EventKind::Erased, NOW_MS));
        store(&mut customer, &mut values);
        prop_assert_eq!(values.keys().collect::<Vec<_>>(), [&erased_key(&SECRET, "c1")]);
    }
}
