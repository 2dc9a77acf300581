//! Wake times and caps against brute force, over random policies, ledgers and zones.

use super::builder::*;
use crate::customer::{ContactState, Customer};
use crate::message::{EventKind, Intent};
use crate::policy::judge::judge;
use crate::policy::judgement::Verdict;
use crate::policy::model::{OnHit, Policy, Rule};
use crate::policy::rules::{Block, CoolOff, Length, RuleKind, SendWindow, Trigger};
use crate::policy::selector::Selector;
use crate::policy::window::{DaySpan, Period, Polarity, Schedule, Shape, Span, ZoneChoice, zone};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

const ZONES: &[&str] = &[
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Beirut",
    "America/St_Johns",
    "Asia/Kathmandu",
];
const NOWS: &[&str] = &[
    "2011-12-28T12:34:56.789Z",
    "2018-11-03T20:00:00Z",
    "2018-02-17T20:00:00Z",
    "2021-10-02T08:00:00Z",
    "2021-04-03T08:00:00Z",
    "2022-03-25T22:00:00Z",
    "2010-11-06T22:31:00Z",
    "2026-06-10T09:17:00.001Z",
];

struct World {
    policy: Policy,
    customer: Customer,
    intent: Intent,
    now_ms: i64,
}

fn random_shape(random: &mut ChaCha8Rng) -> Shape {
    match random.random_range(0..8) {
        0 | 1 => Shape::Rolling(Span::Exact {
            ms: random.random_range(1..100) * HOUR,
        }),
        2 => Shape::Rolling(Span::Months(1)),
        3 => Shape::Calendar(Period::Day),
        4 => Shape::Calendar(Period::Week),
        5 => Shape::Calendar(Period::Hour),
        6 => Shape::CalendarDays(random.random_range(1..4)),
        _ => Shape::Tumbling {
            from: jiff::civil::date(2010, 1, 4),
            span: Span::Exact { ms: 3 * DAY },
        },
    }
}

fn random_window(random: &mut ChaCha8Rng) -> RuleKind {
    let spans: Vec<DaySpan> = (0..random.random_range(1..3))
        .map(|_| {
            let from_s = random.random_range(0..48) * 1800;
            let length_s = random.random_range(4..40) * 1800;
            let to_s = if from_s + length_s > 86_400 {
                from_s + length_s - 86_400
            } else {
                from_s + length_s
            };
            DaySpan {
                days: random.random_range(1..128),
                from_s,
                to_s,
            }
        })
        .collect();
    let polarity = if random.random() {
        Polarity::Open
    } else {
        Polarity::Quiet
    };
    RuleKind::SendWindow(SendWindow {
        schedule: Schedule::new(&spans, polarity, &[]),
        zone: random_zone(random),
        jitter_ms: 0,
    })
}

fn random_zone(random: &mut ChaCha8Rng) -> ZoneChoice {
    match random.random_range(0..4) {
        0 => ZoneChoice::Company,
        1 => ZoneChoice::Fixed(zone::named(ZONES.choose(random).expect("zones")).expect("a zone")),
        _ => ZoneChoice::Customer,
    }
}

fn random_rule(index: usize, random: &mut ChaCha8Rng) -> Rule {
    let kind = match random.random_range(0..7) {
        0..3 => {
            let mut kind = cap(random.random_range(1..4), random_shape(random));
            if let RuleKind::Cap(cap) = &mut kind {
                cap.window.zone = random_zone(random);
            }
            kind
        }
        3 => gap(random.random_range(1..40) * HOUR),
        4 => RuleKind::CoolOff(CoolOff {
            after: vec![Trigger::Event(EventKind::Complained)],
            count: random.random_range(1..3),
            within: Some(Span::Exact { ms: 2 * DAY }),
            block: Block::For(if random.random() {
                Length::CalendarDays(random.random_range(1..4))
            } else {
                Length::Span(Span::Exact { ms: 30 * HOUR })
            }),
            events: Selector::default(),
            zone: random_zone(random),
        }),
        _ => random_window(random),
    };
    let on_hit: OnHit = if random.random() { DEFER } else { FALLBACK_DEFER };
    let rule = rule(&format!("r{index}"), kind, on_hit);
    match random.random_range(0..4) {
        0 => only_on(rule, "email"),
        1 => only_on(rule, "push"),
        _ => rule,
    }
}

fn world(seed: u64) -> World {
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let rules = (0..random.random_range(1..6))
        .map(|index| random_rule(index, random))
        .collect();
    let mut policy = policy(rules);
    policy.zone = zone::named(ZONES.choose(random).expect("zones")).expect("a zone");
    let now_ms = at(NOWS.choose(random).expect("instants")) + random.random_range(0..12) * 20 * MINUTE;
    let mut customer = customer(ZONES.choose(random).expect("zones"));
    if random.random_range(0..5) == 0 {
        customer.profile.timezone = None;
        policy.timezone_unknown = vec![
            zone::named("Pacific/Apia").expect("a zone"),
            zone::named("America/St_Johns").expect("a zone"),
        ];
    }
    for _ in 0..random.random_range(0..8) {
        let channel = if random.random() { "email" } else { "push" };
        let mut contact = contact(channel, now_ms - random.random_range(0..5 * DAY));
        if random.random_range(0..6) == 0 {
            contact.state = ContactState::Released;
        }
        customer.contacts.push(contact);
    }
    customer.contacts.sort_by_key(|contact| contact.at_ms);
    for _ in 0..random.random_range(0..3) {
        let at_ms = now_ms - random.random_range(0..3 * DAY);
        customer.events.push(event(EventKind::Complained, at_ms));
    }
    customer.events.sort_by_key(|event| event.at_ms);
    let mut intent = intent("email");
    if random.random() {
        intent.fallback_channels = vec![name("push")];
    }
    if random.random_range(0..3) == 0 {
        intent.expires_at_ms = Some(now_ms + random.random_range(1..200) * HOUR);
    }
    World {
        policy,
        customer,
        intent,
        now_ms,
    }
}

impl World {
    fn approved(&self, at_ms: i64) -> bool {
        judge(&self.policy, &self.customer, &self.intent, at_ms, &FRESH).verdict == Verdict::Approved
    }

    /// Every instant at which a contact or an event can leave anything whose length is whole hours, and its neighbours.
    fn edges(&self, until_ms: i64) -> Vec<i64> {
        let contacts = self.customer.contacts.iter().map(|contact| contact.at_ms);
        let events = self.customer.events.iter().map(|event| event.at_ms);
        let starts: Vec<i64> = contacts.chain(events).collect();
        let mut edges = Vec::new();
        for start_ms in starts {
            for hours in 0..=120 {
                let edge_ms = start_ms + hours * HOUR;
                edges.extend([edge_ms - 1, edge_ms, edge_ms + 1]);
            }
        }
        edges.retain(|edge_ms| (self.now_ms..until_ms).contains(edge_ms));
        edges
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn the_wake_is_the_earliest_instant_at_which_the_verdict_would_be_approved(seed in any::<u64>()) {
        let world = world(seed);
        let judgement = judged(&world.policy, &world.customer, &world.intent, world.now_ms);
        let last_ms = world.now_ms + world.policy.max_defer_ms;
        let expires_ms = world.intent.expires_at_ms.unwrap_or(i64::MAX);
        let end_ms = match judgement.verdict {
            Verdict::Approved => return Ok(()),
            Verdict::Deferred => {
                let wake_ms = judgement.wake_at_ms.expect("every rule here has a known end");
                prop_assert!(wake_ms > world.now_ms && wake_ms <= last_ms && wake_ms < expires_ms);
                prop_assert!(world.approved(wake_ms), "not approved at its wake");
                prop_assert!(!world.approved(wake_ms - 1), "approved a millisecond before its wake");
                wake_ms
            }
            // Nothing in reach may be approved.
            _ => (last_ms + 1).min(expires_ms),
        };
        let minutes = (world.now_ms.div_euclid(MINUTE)..end_ms.div_euclid(MINUTE) + 1)
            .step_by(3)
            .map(|minute| minute * MINUTE);
        for instant in minutes.chain(world.edges(end_ms)) {
            if (world.now_ms..end_ms).contains(&instant) {
                prop_assert!(!world.approved(instant), "approved at {instant}, before {end_ms}");
            }
        }
    }

    #[test]
    fn the_next_eligible_instant_is_when_the_requested_channel_first_passes(seed in any::<u64>()) {
        let mut world = world(seed);
        world.intent.fallback_channels.clear();
        world.intent.expires_at_ms = None;
        let judgement = judged(&world.policy, &world.customer, &world.intent, world.now_ms);
        if judgement.verdict == Verdict::Approved {
            prop_assert_eq!(judgement.next_eligible_at_ms, None);
        } else if let Some(free_ms) = judgement.next_eligible_at_ms {
            prop_assert!(world.approved(free_ms) && !world.approved(free_ms - 1));
        }
    }

    #[test]
    fn one_more_contact_never_turns_a_blocked_intent_into_an_approved_one(seed in any::<u64>(), age_ms in 0..5 * DAY) {
        let mut world = world(seed);
        // Said of one channel: another rule that blocks may be the one that hands over to a fallback.
        world.intent.fallback_channels.clear();
        let before = judged(&world.policy, &world.customer, &world.intent, world.now_ms);
        let more = contact("email", world.now_ms - age_ms);
        let place = world.customer.contacts.partition_point(|contact| contact.at_ms <= more.at_ms);
        world.customer.contacts.insert(place, more);
        let after = judged(&world.policy, &world.customer, &world.intent, world.now_ms);
        if before.verdict != Verdict::Approved {
            prop_assert_ne!(after.verdict, Verdict::Approved);
        }
    }

    #[test]
    fn at_every_approval_fewer_contacts_count_than_each_limit(seed in any::<u64>()) {
        let world = world(seed);
        let judgement = judged(&world.policy, &world.customer, &world.intent, world.now_ms);
        if judgement.verdict != Verdict::Approved {
            return Ok(());
        }
        let on = |rule: &Rule, channel: &str| {
            rule.governs.terms.is_empty() || rule.governs == selector(crate::policy::selector::Field::Channel, channel)
        };
        for rule in world.policy.rules.iter().filter(|rule| on(rule, &judgement.channel)) {
            let (hours, limit) = match &rule.kind {
                RuleKind::Gap(gap) => match gap.length {
                    Span::Exact { ms } => (ms, 1),
                    Span::Months(_) => continue,
                },
                RuleKind::Cap(cap) => match (&cap.window.shape, &cap.limits.otherwise) {
                    (Shape::Rolling(Span::Exact { ms }), crate::policy::rules::Limit::Number(limit)) => (*ms, *limit),
                    _ => continue,
                },
                _ => continue,
            };
            let counting = world.customer.contacts.iter().filter(|contact| {
                contact.state != ContactState::Released
                    && on(rule, &contact.channel)
                    && contact.at_ms + hours > world.now_ms
            });
            prop_assert!(i64::try_from(counting.count()).expect("a small number") < limit);
        }
    }

    #[test]
    fn jitter_is_only_ever_later_and_lands_where_the_verdict_is_approved(seed in any::<u64>()) {
        let plain = world(seed);
        let mut spread = world(seed);
        for rule in &mut spread.policy.rules {
            if let RuleKind::SendWindow(window) = &mut rule.kind {
                window.jitter_ms = 45 * MINUTE;
            }
        }
        let before = judged(&plain.policy, &plain.customer, &plain.intent, plain.now_ms);
        let after = judged(&spread.policy, &spread.customer, &spread.intent, spread.now_ms);
        prop_assert_eq!(before.verdict, after.verdict);
        prop_assert_eq!(before.next_eligible_at_ms, after.next_eligible_at_ms);
        if let (Some(before_ms), Some(after_ms)) = (before.wake_at_ms, after.wake_at_ms) {
            prop_assert!((before_ms..=before_ms + 45 * MINUTE).contains(&after_ms));
            prop_assert!(plain.approved(after_ms));
            prop_assert!(after_ms <= plain.now_ms + plain.policy.max_defer_ms);
        }
    }
}
