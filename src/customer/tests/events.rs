use super::*;
use crate::message::{PreferenceChange, ProfileChange};
use proptest::prelude::*;

fn with_contact() -> Customer {
    let mut customer = fresh();
    customer.reserve(contact("i", "email", NOW_MS - DAY_MS), NOW_MS, &TestPolicy);
    customer
}

fn applied(customer: &mut Customer, event: &EngagementEvent) -> Applied {
    apply(customer, event, NOW_MS, &TestPolicy)
}

fn state(customer: &Customer) -> ContactState {
    customer.contacts[0].state
}

#[test]
fn a_repeated_event_id_changes_nothing() {
    let mut customer = with_contact();
    let click = about("i", "e1", EventKind::Clicked, NOW_MS);
    assert!(applied(&mut customer, &click).changed);
    let before = customer.clone();
    let again = applied(
        &mut customer,
        &EngagementEvent {
            kind: EventKind::Complained,
            ..click
        },
    );
    assert!(again.duplicate && !again.changed);
    assert_eq!(customer, before);
}

#[test]
fn the_sixty_fifth_event_pushes_the_first_id_out() {
    let mut customer = fresh();
    for number in 0..65 {
        applied(
            &mut customer,
            &event(&format!("e{number}"), EventKind::InboundContact, NOW_MS),
        );
    }
    assert!(applied(&mut customer, &event("e1", EventKind::InboundContact, NOW_MS)).duplicate);
    assert!(applied(&mut customer, &event("e0", EventKind::InboundContact, NOW_MS)).changed);
}

#[test]
fn a_failure_that_the_channel_lists_gives_the_contact_back_once() {
    let mut customer = with_contact();
    customer.add_waiting(waiting("w", 1), body());
    let first = applied(&mut customer, &about("i", "e1", EventKind::Failed, NOW_MS));
    assert_eq!((first.released.len(), first.released[0].by), (1, ReleasedBy::Failed));
    assert!(first.retime && customer.next_due_ms() == Some(NOW_MS));
    let second = applied(&mut customer, &about("i", "e2", EventKind::BouncedHard, NOW_MS));
    assert!(second.released.is_empty());
    applied(&mut customer, &about("i", "e3", EventKind::Delivered, NOW_MS));
    assert_eq!(state(&customer), ContactState::Delivered, "it counts again");
}

#[test]
fn a_failure_that_the_channel_does_not_list_keeps_the_contact() {
    let mut customer = with_contact();
    assert!(
        applied(&mut customer, &about("i", "e1", EventKind::BouncedSoft, NOW_MS))
            .released
            .is_empty()
    );
    assert_eq!(state(&customer), ContactState::Failed);
    applied(&mut customer, &about("i", "e2", EventKind::Sent, NOW_MS));
    assert_eq!(state(&customer), ContactState::Failed, "sent came late");
    applied(&mut customer, &about("i", "e3", EventKind::Delivered, NOW_MS));
    assert_eq!(state(&customer), ContactState::Delivered);
    assert!(
        applied(&mut customer, &about("i", "e4", EventKind::Failed, NOW_MS))
            .released
            .is_empty()
    );
    assert_eq!(state(&customer), ContactState::Delivered, "what was delivered counts");
}

#[test]
fn a_hard_bounce_suppresses_the_endpoint_named_else_the_one_used_else_the_channel() {
    let mut customer = with_contact();
    customer.contacts[0].endpoint_hash = Some(9);
    let bounce = |id: &str| about("i", id, EventKind::BouncedHard, NOW_MS);
    applied(
        &mut customer,
        &EngagementEvent {
            endpoint: Some(name("a@b")),
            ..bounce("e1")
        },
    );
    applied(&mut customer, &bounce("e2"));
    let unknown = EngagementEvent {
        intent_id: None,
        channel: Some(name("email")),
        ..bounce("e3")
    };
    applied(&mut customer, &unknown);
    applied(
        &mut customer,
        &EngagementEvent {
            channel: None,
            ..unknown.clone()
        },
    );
    let at_ms = NOW_MS;
    let endpoint = |endpoint_hash| Suppression::Endpoint {
        channel: Some(name("email")),
        endpoint_hash,
        at_ms,
    };
    let expected = [
        endpoint(endpoint_hash("a@b")),
        endpoint(9),
        Suppression::Channel {
            channel: name("email"),
            known_endpoint_hash: Some(9),
            at_ms,
        },
    ];
    assert_eq!(customer.suppressions, expected);
}

#[test]
fn a_complaint_stops_the_channel_of_its_contact_or_all() {
    let mut customer = with_contact();
    applied(&mut customer, &about("i", "e1", EventKind::Complained, NOW_MS));
    applied(&mut customer, &event("e2", EventKind::Complained, NOW_MS));
    let at_ms = NOW_MS;
    let complaint = |channel| Suppression::Complaint { channel, at_ms };
    assert_eq!(customer.suppressions, [complaint(Some(name("email"))), complaint(None)]);
}

#[test]
fn cancelling_ends_a_deferral_or_gives_an_unsent_contact_back() {
    let mut customer = with_contact();
    customer.add_waiting(waiting("w", 7), body());
    let deferred = applied(&mut customer, &about("w", "e1", EventKind::IntentCancelled, NOW_MS));
    assert_eq!(deferred.cancelled_waiting, Some(coordinates(7)));
    let reserved = applied(&mut customer, &about("i", "e2", EventKind::IntentCancelled, NOW_MS));
    assert_eq!(reserved.released[0].by, ReleasedBy::Cancelled);
    let mut customer = with_contact();
    applied(&mut customer, &about("i", "e1", EventKind::Sent, NOW_MS));
    assert!(
        applied(&mut customer, &about("i", "e2", EventKind::IntentCancelled, NOW_MS))
            .released
            .is_empty()
    );
    assert!(customer.was_cancelled("i") && !customer.was_cancelled("w"));
}

#[test]
fn events_inherit_the_fields_of_their_contact_and_their_own_go_before() {
    let mut customer = with_contact();
    let click = EngagementEvent {
        offer: Some(name("silver")),
        ..about("i", "e1", EventKind::Clicked, NOW_MS)
    };
    applied(&mut customer, &click);
    let past = &customer.events[0];
    assert_eq!(past.offer, Some(name("silver")));
    assert_eq!(past.campaign, Some(name("spring")));
    assert_eq!(past.division, Some(name("cards")));
    assert_eq!(past.tags, [name("a"), name("b")]);
}

#[test]
fn preferences_and_profile_replace_only_what_they_name() {
    let mut customer = fresh();
    customer.preferences.refused_topics = vec![name("news")];
    customer.preferences.max_per_week = Some(2);
    let change = PreferenceChange {
        max_per_week: Some(None),
        ..PreferenceChange::default()
    };
    let set = EngagementEvent {
        preferences: Some(Box::new(change)),
        ..event("e1", EventKind::PreferencesSet, NOW_MS)
    };
    applied(&mut customer, &set);
    assert_eq!(customer.preferences.refused_topics, [name("news")]);
    assert_eq!(customer.preferences.max_per_week, None);
    customer.profile.jurisdiction = Some(name("FR"));
    let change = ProfileChange {
        segments: Some(vec![name("vip")]),
        ..ProfileChange::default()
    };
    let set = EngagementEvent {
        profile: Some(Box::new(change)),
        ..event("e2", EventKind::ProfileSet, NOW_MS)
    };
    applied(&mut customer, &set);
    assert_eq!(customer.profile.segments, [name("vip")]);
    assert_eq!(customer.profile.jurisdiction, Some(name("FR")));
}

#[test]
fn preferences_that_do_not_fit_suppress_until_all_lists_are_set_again() {
    let mut customer = fresh();
    let mut set = |id: &str, change: PreferenceChange| {
        let set = event(id, EventKind::PreferencesSet, NOW_MS);
        applied(
            &mut customer,
            &EngagementEvent {
                preferences: Some(Box::new(change)),
                ..set
            },
        );
        customer.overflowed()
    };
    let many = (0..1_000).map(|number| name(&format!("t{number}"))).collect();
    assert!(set(
        "e1",
        PreferenceChange {
            refused_topics: Some(many),
            ..PreferenceChange::default()
        }
    ));
    assert!(set(
        "e2",
        PreferenceChange {
            max_per_week: Some(Some(1)),
            ..PreferenceChange::default()
        }
    ));
    let all = PreferenceChange {
        refused_topics: Some(Vec::new()),
        only_topics: Some(None),
        refused_channels: Some(Vec::new()),
        ..PreferenceChange::default()
    };
    assert!(!set("e3", all));
}

proptest! {
    #[test]
    fn the_same_reports_in_any_order_end_in_the_same_state(
        (reports, shuffled) in prop::collection::vec((0_usize..5, 0_i64..1_000), 1..8)
            .prop_flat_map(|reports| (Just(reports.clone()), Just(reports).prop_shuffle()))
    ) {
        let kinds = [
            EventKind::Sent, EventKind::Delivered, EventKind::Failed, EventKind::BouncedSoft, EventKind::BouncedHard,
        ];
        let end = |reports: &[(usize, i64)]| {
            let mut customer = with_contact();
            for (number, (kind, earlier_ms)) in reports.iter().enumerate() {
                let report = about("i", &format!("e{number}"), kinds[*kind], NOW_MS - earlier_ms);
                applied(&mut customer, &report);
            }
            (customer.contacts, customer.suppressions)
        };
        prop_assert_eq!(end(&reports), end(&shuffled));
    }
}
