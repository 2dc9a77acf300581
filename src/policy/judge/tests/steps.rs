//! The built-in steps and what the classes obey.

use super::builder::*;
use crate::customer::{ConsentStatement, Customer, Standing, Suppression, endpoint_hash};
use crate::message::{Basis, Intent};
use crate::policy::judgement::{Judgement, Reason, Verdict};
use crate::policy::model::{OnHit, Policy, Stop};
use crate::policy::order::Place;
use crate::policy::selector::{Field, Pattern, Selector, Term};
use crate::policy::window::Span;

const NOON: &str = "2026-06-10T16:00:00Z";

fn now(customer: &Customer, intent: &Intent) -> Judgement {
    judged(&policy(vec![]), customer, intent, at(NOON))
}

fn outcome(judgement: &Judgement) -> (Verdict, Reason) {
    (judgement.verdict, judgement.reason)
}

fn as_class(channel: &str, class: &str) -> Intent {
    let mut intent = intent(channel);
    intent.class = Some(name(class));
    intent
}

fn statement(granted: bool, channel: Option<&str>) -> ConsentStatement {
    ConsentStatement {
        granted,
        channel: channel.map(name),
        purpose: None,
        division: None,
        basis: None,
        occurred_at_ms: at(NOON) - DAY,
        expires_at_ms: None,
    }
}

#[test]
fn an_expired_intent_is_expired_whatever_else_holds() {
    let mut customer = customer("UTC");
    customer.standing = Standing::DoNotContact;
    let mut intent = intent("email");
    intent.expires_at_ms = Some(at(NOON));
    assert_eq!(
        outcome(&now(&customer, &intent)),
        (Verdict::Suppressed, Reason::Expired)
    );
}

#[test]
fn do_not_contact_and_erasure_stop_every_class() {
    for standing in [Standing::DoNotContact, Standing::Erased] {
        let mut customer = customer("UTC");
        customer.standing = standing;
        let legal = as_class("email", "legal");
        assert_eq!(
            outcome(&now(&customer, &legal)),
            (Verdict::Suppressed, Reason::SuppressionList)
        );
    }
}

#[test]
fn a_planned_intent_waits_for_its_time_and_only_erasure_or_expiry_end_it_before() {
    let mut customer = customer("UTC");
    let mut intent = intent("email");
    intent.not_before_ms = Some(at(NOON) + DAY);
    intent.deliver_at_ms = Some(at(NOON) + 20 * DAY);
    let judgement = now(&customer, &intent);
    assert_eq!(outcome(&judgement), (Verdict::Deferred, Reason::Planned));
    assert_eq!(judgement.wake_at_ms, Some(at(NOON) + 20 * DAY));
    customer.standing = Standing::DoNotContact;
    assert_eq!(outcome(&now(&customer, &intent)), (Verdict::Deferred, Reason::Planned));
    customer.standing = Standing::Erased;
    assert_eq!(
        outcome(&now(&customer, &intent)),
        (Verdict::Suppressed, Reason::SuppressionList)
    );
    customer.standing = Standing::Active;
    intent.expires_at_ms = intent.deliver_at_ms;
    assert_eq!(
        outcome(&now(&customer, &intent)),
        (Verdict::Suppressed, Reason::Planned)
    );
}

#[test]
fn a_complaint_stops_marketing_on_its_channel_and_a_fallback_may_pass() {
    let mut customer = customer("UTC");
    customer.suppressions.push(Suppression::Complaint {
        channel: Some(name("email")),
        at_ms: 0,
    });
    let mut marketing = intent("email");
    assert_eq!(
        outcome(&now(&customer, &marketing)),
        (Verdict::Suppressed, Reason::SuppressionList)
    );
    marketing.fallback_channels = vec![name("push")];
    assert_eq!(&*now(&customer, &marketing).channel, "push");
    assert_eq!(now(&customer, &as_class("email", "service")).verdict, Verdict::Approved);
}

#[test]
fn a_hard_bounce_stops_its_endpoint_for_every_class_and_a_fallback_is_judged_without_it() {
    let mut customer = customer("UTC");
    customer.suppressions.push(Suppression::Endpoint {
        channel: None,
        endpoint_hash: endpoint_hash("a@example.org"),
        at_ms: 0,
    });
    let mut legal = as_class("email", "legal");
    assert_eq!(now(&customer, &legal).verdict, Verdict::Approved);
    legal.endpoint = Some(name("a@example.org"));
    assert_eq!(
        outcome(&now(&customer, &legal)),
        (Verdict::Suppressed, Reason::SuppressionList)
    );
    legal.fallback_channels = vec![name("push")];
    assert_eq!(&*now(&customer, &legal).channel, "push");
}

#[test]
fn a_bounce_without_an_endpoint_stops_the_channel_until_another_address_is_named() {
    let mut customer = customer("UTC");
    customer.suppressions.push(Suppression::Channel {
        channel: name("email"),
        known_endpoint_hash: Some(endpoint_hash("old@example.org")),
        at_ms: 0,
    });
    let mut intent = intent("email");
    assert_eq!(now(&customer, &intent).verdict, Verdict::Suppressed);
    intent.endpoint = Some(name("old@example.org"));
    assert_eq!(now(&customer, &intent).verdict, Verdict::Suppressed);
    intent.endpoint = Some(name("new@example.org"));
    assert_eq!(now(&customer, &intent).verdict, Verdict::Approved);
}

#[test]
fn opt_in_needs_a_grant_in_force_and_opt_out_no_refusal() {
    let mut customer = customer("UTC");
    assert_eq!(
        outcome(&now(&customer, &intent("sms"))),
        (Verdict::Suppressed, Reason::Consent)
    );
    assert_eq!(now(&customer, &intent("email")).verdict, Verdict::Approved);
    customer.state_consent(statement(true, Some("sms")));
    assert_eq!(now(&customer, &intent("sms")).verdict, Verdict::Approved);
    customer.state_consent(statement(false, None));
    for channel in ["sms", "email"] {
        assert_eq!(
            outcome(&now(&customer, &intent(channel))),
            (Verdict::Suppressed, Reason::Consent)
        );
    }
    assert_eq!(now(&customer, &as_class("email", "legal")).verdict, Verdict::Approved);
}

#[test]
fn a_grant_ends_at_its_expiry_and_an_implied_one_after_its_basis() {
    let mut customer = customer("UTC");
    let mut grant = statement(true, Some("sms"));
    grant.expires_at_ms = Some(at(NOON));
    customer.consents = vec![grant.clone()];
    assert_eq!(outcome(&now(&customer, &intent("sms"))).1, Reason::ConsentExpired);
    assert_eq!(
        judged(&policy(vec![]), &customer, &intent("sms"), at(NOON) - 1).verdict,
        Verdict::Approved
    );
    let mut policy = policy(vec![]);
    policy.channels[2].consent[0].implied = vec![(Basis::Purchase, Span::Months(1))];
    grant.expires_at_ms = None;
    grant.occurred_at_ms = at("2026-01-31T17:00:00Z");
    let verdict = |policy: &Policy, grant: &ConsentStatement, basis, text| {
        let mut customer = Customer::new(name("c-1"));
        customer.consents = vec![ConsentStatement { basis, ..grant.clone() }];
        judged(policy, &customer, &intent("sms"), at(text)).verdict
    };
    let purchase = Some(Basis::Purchase);
    assert_eq!(
        verdict(&policy, &grant, purchase, "2026-02-28T16:59:59.999Z"),
        Verdict::Approved
    );
    assert_eq!(
        verdict(&policy, &grant, purchase, "2026-02-28T17:00:00Z"),
        Verdict::Suppressed
    );
    assert_eq!(
        verdict(&policy, &grant, Some(Basis::Inquiry), "2026-02-01T00:00:00Z"),
        Verdict::Suppressed
    );
    assert_eq!(verdict(&policy, &grant, None, NOON), Verdict::Approved);
}

#[test]
fn preferences_stop_topics_channels_pauses_and_more_than_the_wanted_number_a_week() {
    let refused = |change: fn(&mut Customer)| {
        let mut customer = customer("UTC");
        change(&mut customer);
        let mut intent = intent("email");
        intent.topic = Some(name("cruises"));
        intent.fallback_channels = vec![name("push")];
        now(&customer, &intent)
    };
    let stopped = (Verdict::Suppressed, Reason::Preference);
    let topic = refused(|customer| customer.preferences.refused_topics = vec![name("cruises")]);
    assert_eq!(outcome(&topic), stopped);
    let only = refused(|customer| customer.preferences.only_topics = Some(vec![name("hotels")]));
    assert_eq!((outcome(&only), only.next_eligible_at_ms), (stopped, None));
    let channel = refused(|customer| customer.preferences.refused_channels = vec![name("email")]);
    assert_eq!((channel.verdict, &*channel.channel), (Verdict::Approved, "push"));
    let paused = refused(|customer| customer.preferences.paused_until_ms = Some(at(NOON) + DAY));
    assert_eq!(
        (outcome(&paused), paused.next_eligible_at_ms),
        (stopped, Some(at(NOON) + DAY))
    );
    let full = refused(|customer| {
        customer.preferences.max_per_week = Some(1);
        let mut legal = contact("email", at(NOON) - HOUR);
        legal.class = name("legal");
        customer.contacts = vec![contact("push", at(NOON) - 7 * DAY + 1), legal];
    });
    assert_eq!(
        (outcome(&full), full.next_eligible_at_ms),
        (stopped, Some(at(NOON) + 1))
    );
}

#[test]
fn the_first_step_decides_though_a_later_one_frees_later() {
    let mut customer = customer("UTC");
    customer.preferences.paused_until_ms = Some(at(NOON) + HOUR);
    customer.contacts.push(contact("email", at(NOON) - HOUR));
    let policy = policy(vec![rule("week", weekly_cap(1), OnHit::SUPPRESS)]);
    let judgement = judged(&policy, &customer, &intent("email"), at(NOON));
    assert_eq!((judgement.reason, judgement.rule), (Reason::Preference, None));
    assert_eq!(judgement.next_eligible_at_ms, Some(at(NOON) - HOUR + 7 * DAY));
}

#[test]
fn a_service_message_fills_a_marketing_cap_without_obeying_it() {
    let mut week = rule("week", weekly_cap(1), OnHit::SUPPRESS);
    week.governs = selector(Field::Class, "marketing");
    let policy = policy(vec![week]);
    let verdict = |class: &str, judged_as: &str| {
        let mut customer = customer("UTC");
        let mut before = contact("email", at(NOON) - HOUR);
        before.class = name(class);
        customer.contacts.push(before);
        judged(&policy, &customer, &as_class("email", judged_as), at(NOON)).verdict
    };
    assert_eq!(verdict("service", "marketing"), Verdict::Suppressed);
    assert_eq!(verdict("service", "service"), Verdict::Approved);
    assert_eq!(verdict("legal", "marketing"), Verdict::Approved);
}

#[test]
fn an_unknown_class_is_judged_as_the_default_class() {
    let mut nameless = intent("email");
    nameless.class = None;
    for intent in [as_class("email", "marketting"), nameless] {
        let judgement = now(&customer("UTC"), &intent);
        assert_eq!((&*judgement.class, judgement.class_was_unknown), ("marketing", true));
    }
}

#[test]
fn a_stop_ends_what_it_selects_until_its_date() {
    let mut policy = policy(vec![]);
    policy.stops.push(Stop {
        governs: selector(Field::Division, "cards"),
        until_ms: Some(at(NOON) + 1),
        why: "a wrong price".into(),
    });
    let verdict = |at_ms| outcome(&judged(&policy, &customer("UTC"), &intent("email"), at_ms));
    assert_eq!(verdict(at(NOON)), (Verdict::Suppressed, Reason::Stopped));
    assert_eq!(verdict(at(NOON) + 1).0, Verdict::Approved);
}

#[test]
fn per_splits_the_count_and_a_missing_field_is_a_value_of_its_own() {
    let mut share = rule("share", weekly_cap(1), OnHit::SUPPRESS);
    share.per = vec![Field::Division, Field::Campaign];
    let policy = policy(vec![share]);
    let mut customer = customer("UTC");
    customer.contacts.push(contact("email", at(NOON) - HOUR));
    let mut intent = intent("email");
    let verdict = |intent: &Intent| judged(&policy, &customer, intent, at(NOON)).verdict;
    assert_eq!(verdict(&intent), Verdict::Suppressed);
    intent.campaign = Some(name("spring"));
    assert_eq!(verdict(&intent), Verdict::Approved);
    intent.campaign = None;
    intent.division = name("loans");
    assert_eq!(verdict(&intent), Verdict::Approved);
}

#[test]
fn selectors_know_prefixes_all_tags_and_negation() {
    let customer = customer("UTC");
    let mut intent = intent("email");
    intent.campaign = Some(name("spring-2026"));
    intent.tags = vec![name("promo"), name("cruise-med")];
    let (channel, class) = (name("email"), name("marketing"));
    let subject = crate::policy::selector::JudgedIntent {
        intent: &intent,
        channel: &channel,
        class: &class,
        profile: &customer.profile,
    };
    let matches = |term: Term| Selector { terms: vec![term] }.matches(&subject);
    let any = |field, pattern: Pattern| Term::AnyOf {
        field,
        patterns: vec![pattern],
    };
    assert!(matches(any(Field::Campaign, Pattern::Prefix(name("spring-")))));
    assert!(!matches(any(Field::Campaign, Pattern::Exact(name("spring-")))));
    assert!(matches(any(Field::Tags, Pattern::Exact(name("promo")))));
    assert!(!matches(any(Field::Topic, Pattern::Prefix(name("")))));
    let both = vec![Pattern::Exact(name("promo")), Pattern::Prefix(name("cruise-"))];
    assert!(matches(Term::AllTags(both)));
    assert!(!matches(Term::AllTags(vec![Pattern::Exact(name("sale"))])));
    assert!(matches(Term::Not(selector(Field::Channel, "sms"))));
}

#[test]
fn competitors_stand_in_one_total_order() {
    let policy = policy(vec![]);
    let place = |id: &str, change: fn(&mut Intent)| {
        let mut intent = intent("email");
        intent.intent_id = name(id);
        change(&mut intent);
        Place::of_intent(&policy, &customer("UTC"), &intent, at(NOON))
    };
    let mut places = [
        place("z", |_| {}),
        place("a", |_| {}),
        place("old", |intent| intent.created_at_ms = -1),
        place("urgent", |intent| intent.expires_at_ms = Some(1)),
        place("worth", |intent| {
            intent.value = Some(10.0);
            intent.propensity = Some(0.5);
        }),
        place("important", |intent| intent.priority = 501),
        place("legal", |intent| intent.class = Some(name("legal"))),
    ];
    places.sort();
    let ids: Vec<&str> = places.iter().map(|place| &*place.intent_id).collect();
    assert_eq!(ids, ["legal", "important", "worth", "urgent", "old", "a", "z"]);
}
