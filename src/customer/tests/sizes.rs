//! No value outgrows a record of the changelog, whatever producers send.

use super::*;
use crate::customer::bounds::*;
use crate::message::{AttributeValue, PreferenceChange, ProfileChange, limits};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A name as long as one may be, and one of its own.
fn long(random: &mut ChaCha8Rng) -> Name {
    let number: u64 = random.random();
    name(&format!("{number:0>width$}", width = limits::NAME_BYTES))
}

fn some_long(random: &mut ChaCha8Rng) -> Option<Name> {
    Some(long(random))
}

fn longs(most: usize, random: &mut ChaCha8Rng) -> Vec<Name> {
    let count = match random.random_range(0..3) {
        0 => most,
        1 => random.random_range(0..=most),
        _ => 0,
    };
    (0..count).map(|_| long(random)).collect()
}

fn any_event(random: &mut ChaCha8Rng, now_ms: i64) -> EngagementEvent {
    let kinds = EventKind::ALL.iter().filter(|kind| **kind != EventKind::Erased);
    let kinds: Vec<_> = kinds.copied().collect();
    let kind = kinds[random.random_range(0..kinds.len())];
    let lists = |random: &mut ChaCha8Rng| longs(limits::PREFERENCE_ENTRIES, random);
    EngagementEvent {
        intent_id: some_long(random),
        channel: some_long(random),
        division: some_long(random),
        purpose: some_long(random),
        campaign: some_long(random),
        category: some_long(random),
        topic: some_long(random),
        offer: some_long(random),
        tags: longs(limits::TAGS, random),
        class: some_long(random),
        message_type: some_long(random),
        issue_id: some_long(random),
        endpoint: some_long(random),
        preferences: Some(Box::new(PreferenceChange {
            refused_topics: Some(lists(random)),
            only_topics: Some(Some(lists(random))),
            refused_channels: Some(lists(random)),
            ..PreferenceChange::default()
        })),
        profile: Some(Box::new(ProfileChange {
            jurisdiction: Some(some_long(random)),
            segments: Some(longs(limits::SEGMENTS, random)),
            attributes: Some(attributes(random)),
            ..ProfileChange::default()
        })),
        ..event(&long(random), kind, now_ms - random.random_range(0..3) * 10 * DAY_MS)
    }
}

fn attributes(random: &mut ChaCha8Rng) -> Vec<(Name, AttributeValue)> {
    let names = longs(limits::ATTRIBUTES, random);
    let text = name(&"x".repeat(random.random_range(0..=limits::ATTRIBUTE_BYTES)));
    names
        .into_iter()
        .map(|name| (name, AttributeValue::Text(text.clone())))
        .collect()
}

fn any_contact(random: &mut ChaCha8Rng, at_ms: i64) -> Contact {
    Contact {
        channel: long(random),
        division: long(random),
        class: long(random),
        message_type: long(random),
        campaign: some_long(random),
        category: some_long(random),
        topic: some_long(random),
        offer: some_long(random),
        tags: longs(limits::TAGS, random),
        ..contact(&long(random), "email", at_ms)
    }
}

fn any_waiting(random: &mut ChaCha8Rng, offset: i64) -> Waiting {
    waiting(&long(random), offset)
}

/// Stores and answers the largest value written, which has to load again as what it was.
fn largest(customer: &mut Customer) -> usize {
    let mut values = Values::new();
    store(customer, &mut values);
    let largest = values.values().map(Vec::len).max().unwrap_or(0);
    assert_eq!(&load(&values), customer);
    largest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn however_many_events_of_whatever_size_no_value_grows_past_its_bound(seed: u64) {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut values = Values::new();
        let mut customer = fresh();
        let mut now_ms = NOW_MS;
        let steps = random.random_range(500..1_500);
        for step in 0..steps {
            now_ms += random.random_range(0..3_600_000);
            match random.random_range(0..8) {
                0 => customer.reserve(any_contact(random, now_ms), now_ms, &TestPolicy),
                1 if customer.waiting.len() < WAITING_AT_MOST => {
                    customer.add_waiting(any_waiting(random, step), body());
                }
                2 => {
                    let id: u64 = random.random();
                    customer.remember(id, now_ms, coordinates(step), 35 * DAY_MS);
                }
                _ => {
                    let event = any_event(random, now_ms);
                    apply(&mut customer, &event, now_ms, &TestPolicy);
                }
            }
            if step % 97 == 0 || step + 1 == steps {
                store(&mut customer, &mut values);
                for (key, value) in &values {
                    prop_assert!(value.len() <= VALUE_BYTES_AT_MOST, "{} bytes under {:?}", value.len(), key.first());
                }
                prop_assert_eq!(&load(&values), &customer);
            }
        }
    }
}

#[test]
fn a_head_in_which_everything_is_as_large_as_it_may_be_fits() {
    let random = &mut ChaCha8Rng::seed_from_u64(7);
    let mut customer = fresh();
    for number in 0..3_000_i64 {
        for kind in EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::Erased) {
            if matches!(kind, EventKind::PreferencesSet | EventKind::ProfileSet) && number > 0 {
                continue;
            }
            if kind as i64 % 24 == number % 24 || number == 0 {
                let event = EngagementEvent {
                    kind,
                    tags: Vec::new(),
                    preferences: Some(Box::new(PreferenceChange {
                        refused_topics: Some((0..200).map(|_| long(random)).collect()),
                        ..PreferenceChange::default()
                    })),
                    profile: Some(Box::new(ProfileChange {
                        segments: Some((0..200).map(|_| long(random)).collect()),
                        ..ProfileChange::default()
                    })),
                    ..any_event(random, NOW_MS)
                };
                apply(&mut customer, &event, NOW_MS, &TestPolicy);
            }
        }
    }
    for number in 0..REMEMBERED_AT_MOST as u64 {
        customer.remember(u64::MAX - number, NOW_MS, coordinates(i64::MAX), 35 * DAY_MS);
    }
    for number in 0..WAITING_AT_MOST as i64 {
        customer.add_waiting(any_waiting(random, number), body());
    }
    for number in 0..40 {
        let contact = Contact {
            tags: Vec::new(),
            ..any_contact(random, NOW_MS + number)
        };
        customer.reserve(contact, NOW_MS, &TestPolicy);
    }
    let largest = largest(&mut customer);
    assert!((400 * 1024..=VALUE_BYTES_AT_MOST).contains(&largest), "{largest}");
}

#[test]
fn a_month_of_contacts_too_large_for_its_segment_suppresses_while_the_lost_ones_matter() {
    let random = &mut ChaCha8Rng::seed_from_u64(1);
    let mut customer = fresh();
    customer.reserve(contact("older", "email", NOW_MS - 100 * DAY_MS), NOW_MS, &TestPolicy);
    let mut count = 0;
    while !customer.overflowed() {
        let huge = Contact {
            tags: (0..limits::TAGS).map(|_| long(random)).collect(),
            ..any_contact(random, NOW_MS + count)
        };
        customer.reserve(huge, NOW_MS + count, &TestPolicy);
        count += 1;
        assert!(count < 1_000, "nothing is lost and nothing overflows");
    }
    assert!(count > 40, "{count} contacts of a month fit at least");
    assert!(largest(&mut customer) <= VALUE_BYTES_AT_MOST);
    // The newest are there, what is older than the first lost one is not claimed to be.
    assert_eq!(
        customer.contacts.last().map(|contact| contact.at_ms),
        Some(NOW_MS + count - 1)
    );
    let reach_ms = customer.overflow.ledger_from_ms.expect("the ledger is cut");
    assert!(customer.contacts.iter().all(|contact| contact.at_ms >= reach_ms));
    assert!(!customer.ledger_reaches(reach_ms - 1));
    customer.trim(reach_ms + EXACT_AGE_MS, DAY_MS);
    assert!(!customer.overflowed());
}

#[test]
fn many_contacts_that_share_their_names_lose_none_of_them() {
    let mut customer = fresh();
    let shared: Vec<Name> = (0..limits::TAGS)
        .map(|number| name(&format!("{number:0>200}")))
        .collect();
    for number in 0..1_000 {
        let contact = Contact {
            tags: shared.clone(),
            ..contact(&format!("i{number}"), "email", NOW_MS + number)
        };
        customer.reserve(contact, NOW_MS + number, &TestPolicy);
    }
    assert_eq!(customer.contacts.len(), 1_000);
    assert!(!customer.overflowed());
    for number in 0..1_000 {
        let report = about(
            &format!("i{number}"),
            &format!("e{number}"),
            EventKind::Delivered,
            NOW_MS,
        );
        apply(&mut customer, &report, NOW_MS, &TestPolicy);
    }
    assert!(largest(&mut customer) <= VALUE_BYTES_AT_MOST);
}

#[test]
fn contacts_with_long_names_leave_the_head_early_and_stay_in_the_ledger() {
    let random = &mut ChaCha8Rng::seed_from_u64(3);
    let mut values = Values::new();
    let mut customer = fresh();
    for number in 0..10 {
        let huge = Contact {
            tags: (0..limits::TAGS).map(|_| long(random)).collect(),
            ..any_contact(random, NOW_MS + number)
        };
        customer.reserve(huge, NOW_MS + number, &TestPolicy);
        store(&mut customer, &mut values);
    }
    let head = &values[&keys::head_key("c1")];
    assert!(head.len() <= HEAD_CONTACT_BYTES_AT_MOST + 1_024, "{}", head.len());
    assert_eq!(load(&values).contacts.len(), 10);
    assert!(!customer.overflowed());
}

#[test]
fn events_with_long_names_make_room_by_their_bytes_and_what_matters_is_not_lost_in_silence() {
    let random = &mut ChaCha8Rng::seed_from_u64(4);
    let mut customer = fresh();
    let mut apply_one = |kind: EventKind, customer: &mut Customer| {
        let event = EngagementEvent {
            tags: (0..limits::TAGS).map(|_| long(random)).collect(),
            ..event(&long(random), kind, NOW_MS)
        };
        apply(customer, &event, NOW_MS, &TestPolicy);
    };
    apply_one(EventKind::Complained, &mut customer);
    for _ in 0..50 {
        apply_one(EventKind::Opened, &mut customer);
    }
    assert!(customer.events.len() < 20, "{}", customer.events.len());
    assert_eq!(customer.events[0].kind, EventKind::Complained);
    assert!(!customer.overflowed());
    for _ in 0..50 {
        apply_one(EventKind::Complained, &mut customer);
    }
    assert!(customer.overflowed());
}

#[test]
fn refusals_with_long_names_suppress_before_one_is_forgotten() {
    let random = &mut ChaCha8Rng::seed_from_u64(5);
    let mut customer = fresh();
    for number in 0..CONSENTS_AT_MOST as i64 {
        let refusal = EngagementEvent {
            channel: some_long(random),
            purpose: some_long(random),
            division: some_long(random),
            ..event(&format!("e{number}"), EventKind::Unsubscribed, NOW_MS)
        };
        apply(&mut customer, &refusal, NOW_MS, &TestPolicy);
        let kept = customer.consents.len() as i64;
        assert!(kept == number + 1 || customer.overflowed(), "{kept} of {number}");
    }
    assert!(customer.overflowed());
    customer.events.clear();
    assert!(largest(&mut customer) <= CONSENT_BYTES_AT_MOST + 4_096);
}
