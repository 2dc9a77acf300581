//! Wake times and caps against brute force, over random policies, ledgers and zones.

use super::builder::*;
use crate::customer::{Contact, ContactState, Customer, PastEvent};
use crate::message::{EventKind, Intent};
use crate::policy::index::RuleIndex;
use crate::policy::judge::judge;
use crate::policy::judgement::Verdict;
use crate::policy::model::{OnHit, Policy, ReleaseCause, Rule};
use crate::policy::rules::{
    BackOff, Block, CoolOff, Form, Holdout, Length, Limit, Limits, Memory, Mix, Pressure, Redundant, RuleKind,
    SendWindow, Sequence, Spend, Trigger,
};
use crate::policy::selector::{Field, Selector};
use crate::policy::window::{DaySpan, Period, Polarity, Schedule, Shape, Span, Window, ZoneChoice, calendar, zone};
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
    "Africa/Cairo",
    "Europe/Dublin",
    // Its clocks went forward at midnight of the first of October 2017.
    "America/Asuncion",
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
    "2021-10-30T20:00:00Z",
    "2023-04-27T12:00:00Z",
    // Before the ends of months, quarters and years.
    "2017-09-27T16:00:00Z",
    "2026-10-29T09:00:00Z",
    "2021-12-28T23:50:00Z",
    "2024-02-26T05:00:00Z",
    "2026-06-28T21:15:00Z",
];

pub(super) struct World {
    pub policy: Policy,
    pub customer: Customer,
    pub intent: Intent,
    pub now_ms: i64,
}

fn random_shape(random: &mut ChaCha8Rng) -> Shape {
    match random.random_range(0..27) {
        0..6 => Shape::Rolling(Span::Exact {
            ms: random.random_range(1..100) * HOUR,
        }),
        6 | 7 => Shape::Rolling(Span::Months(1)),
        8 => Shape::Rolling(Span::Months(12)),
        9..12 => Shape::Calendar(Period::Day),
        12 | 13 => Shape::Calendar(Period::Week),
        14 | 15 => Shape::Calendar(Period::Hour),
        16 | 17 => Shape::Calendar(Period::Month),
        18 => Shape::Calendar(Period::Quarter),
        19 => Shape::Calendar(Period::Year),
        20 | 21 => Shape::CalendarDays(random.random_range(1..9)),
        22 => Shape::TumblingDays {
            from: jiff::civil::date(2010, 1, 4),
            days: random.random_range(1..9),
        },
        23 => Shape::Tumbling {
            from: jiff::civil::date(2009, 12, 31),
            span: Span::Months(1),
        },
        24 => Shape::Ever,
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

fn random_hours(random: &mut ChaCha8Rng, most: i64) -> Span {
    Span::Exact {
        ms: random.random_range(1..most) * HOUR,
    }
}

fn random_kind(random: &mut ChaCha8Rng) -> RuleKind {
    let in_window = |random: &mut ChaCha8Rng| Window {
        zone: random_zone(random),
        ..window(random_shape(random))
    };
    match random.random_range(0..20) {
        0..4 => {
            let mut kind = cap(random.random_range(1..4), random_shape(random));
            if let RuleKind::Cap(cap) = &mut kind {
                cap.window.zone = random_zone(random);
                cap.distinct = (random.random_range(0..4) == 0).then_some(Field::Campaign);
            }
            kind
        }
        4 | 5 => gap(random.random_range(1..40) * HOUR),
        6 => RuleKind::CoolOff(CoolOff {
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
        7 => RuleKind::CoolOff(CoolOff {
            after: vec![Trigger::NoResponse(random_hours(random, 50))],
            count: random.random_range(1..4),
            within: Some(random_hours(random, 100)),
            block: Block::For(Length::Span(random_hours(random, 60))),
            events: Selector::default(),
            zone: ZoneChoice::Company,
        }),
        8 => RuleKind::Pressure(Pressure {
            limits: limits(random.random_range(2..10) * 500_000),
            memory: Memory::Window(in_window(random)),
        }),
        9 | 10 => RuleKind::Pressure(Pressure {
            limits: limits(random.random_range(2..10) * 500_000),
            memory: Memory::HalfLife {
                ms: random.random_range(1..60 * HOUR),
            },
        }),
        11 => RuleKind::Spend(Spend {
            limits: limits(random.random_range(0..4) * 1_500_000),
            window: in_window(random),
        }),
        12 | 13 => RuleKind::BackOff(BackOff {
            after: random.random_range(1..4),
            gap_ms: random.random_range(1..20) * HOUR,
            factor_milli: random.random_range(1_000..3_000),
            max_ms: random.random_range(20..90) * HOUR,
            same_channel: random.random(),
        }),
        14 => RuleKind::Redundant(Redundant {
            key: Field::Offer,
            within: random_hours(random, 100),
            zone: ZoneChoice::Company,
        }),
        15 => RuleKind::Sequence(Sequence {
            form: random_form(random),
            within: random_hours(random, 100),
            zone: ZoneChoice::Company,
        }),
        16 => RuleKind::Mix(Mix {
            of: selector(Field::Category, "promo"),
            at_most: random.random_range(2..8) * 1_000,
            last: random.random_range(2..6),
        }),
        17 if random.random_range(0..4) == 0 => RuleKind::Holdout(Holdout {
            share: 5_000,
            salt: random.random_range(0..100).to_string(),
        }),
        _ => random_window(random),
    }
}

fn random_form(random: &mut ChaCha8Rng) -> Form {
    let promo = || selector(Field::Category, "promo");
    match random.random_range(0..4) {
        0 => Form::Never {
            never: promo(),
            after: selector(Field::Channel, "push"),
        },
        1 => Form::NeverTogether(vec![promo(), selector(Field::Offer, "card")]),
        _ => Form::Only {
            only: promo(),
            condition: selector(Field::Channel, "push"),
            answered: *[None, Some(true), Some(false)].choose(random).expect("answers"),
        },
    }
}

fn random_rule(index: usize, random: &mut ChaCha8Rng) -> Rule {
    let kind = random_kind(random);
    let on_hit: OnHit = if random.random() { DEFER } else { FALLBACK_DEFER };
    let rule = rule(&format!("r{index}"), kind, on_hit);
    match random.random_range(0..4) {
        0 => only_on(rule, "email"),
        1 => only_on(rule, "push"),
        _ => rule,
    }
}

fn random_contact(random: &mut ChaCha8Rng, now_ms: i64) -> Contact {
    use ContactState::{Delivered, Failed, Released, Reserved, Sent};
    let channel = if random.random() { "email" } else { "push" };
    let one_of = |random: &mut ChaCha8Rng, text: &str| random.random::<bool>().then(|| name(text));
    Contact {
        state: *[
            Delivered, Delivered, Delivered, Reserved, Reserved, Sent, Failed, Released,
        ]
        .choose(random)
        .expect("states"),
        cost_micros: random.random_range(0..3) * 1_000_000,
        offer: one_of(random, "card"),
        category: one_of(random, "promo"),
        campaign: one_of(random, "spring"),
        ..contact(channel, now_ms - random_age_ms(random))
    }
}

/// Of the last days, or such that a month or a year is over soon.
fn random_age_ms(random: &mut ChaCha8Rng) -> i64 {
    let days = match random.random_range(0..10) {
        0 | 1 => random.random_range(24..32),
        2 => random.random_range(358..367),
        _ => random.random_range(0..5),
    };
    days * DAY + random.random_range(0..DAY)
}

pub(super) fn world(seed: u64) -> World {
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
    for channel in policy.channels.iter_mut().take(2) {
        channel.confirm_within_ms = random.random_range(0..90) * HOUR;
        if random.random() {
            channel.release_on = vec![ReleaseCause::Unconfirmed];
        }
        channel.pressure_milli = random.random_range(0..4) * 700;
        channel.cost_micros = random.random_range(0..3) * 1_000_000;
    }
    for _ in 0..random.random_range(0..8) {
        customer.contacts.push(random_contact(random, now_ms));
    }
    customer.contacts.sort_by_key(|contact| contact.at_ms);
    for _ in 0..random.random_range(0..3) {
        let at_ms = now_ms - random.random_range(0..3 * DAY);
        customer.events.push(event(EventKind::Complained, at_ms));
    }
    if let Some(answered) = customer.contacts.choose(random)
        && random.random()
    {
        let at_ms = random.random_range(answered.at_ms..=now_ms);
        customer.events.push(PastEvent {
            channel: Some(answered.channel.clone()),
            intent_hash: Some(answered.intent_hash),
            ..event(EventKind::Clicked, at_ms)
        });
    }
    customer.events.sort_by_key(|event| event.at_ms);
    let mut intent = intent("email");
    if random.random() {
        intent.fallback_channels = vec![name("push")];
    }
    intent.offer = random.random::<bool>().then(|| name("card"));
    intent.category = random.random::<bool>().then(|| name("promo"));
    intent.campaign = random.random::<bool>().then(|| name("spring"));
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

    /// Every instant at which a contact or an event can leave anything whose length is whole hours, months or local days, and
    /// its neighbours.
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
        for zone in ZONES.iter().map(|name| zone::named(name).expect("a zone")) {
            let today = calendar::local_day(self.now_ms, &zone);
            let midnights = (0..9).map(|day| calendar::day_plus(today, day, &zone));
            let months = self
                .customer
                .contacts
                .iter()
                .flat_map(|contact| [1, 12].map(|months| Span::Months(months).after(contact.at_ms, &zone)));
            for edge_ms in midnights.chain(months) {
                edges.extend([edge_ms - 1, edge_ms, edge_ms + 1]);
            }
        }
        edges.retain(|edge_ms| (self.now_ms..until_ms).contains(edge_ms));
        edges
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(250), max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn the_wake_is_the_earliest_instant_at_which_the_verdict_would_be_approved(seed in any::<u64>()) {
        let world = world(seed);
        let judgement = judged(&world.policy, &world.customer, &world.intent, world.now_ms);
        let last_ms = world.now_ms + world.policy.max_defer_ms;
        let expires_ms = world.intent.expires_at_ms.unwrap_or(i64::MAX);
        let end_ms = match judgement.verdict {
            Verdict::Approved => return Ok(()),
            Verdict::Deferred if judgement.wake_at_ms.is_some() => {
                let wake_ms = judgement.wake_at_ms.expect("just looked");
                prop_assert!(wake_ms > world.now_ms && wake_ms <= last_ms && wake_ms < expires_ms);
                prop_assert!(world.approved(wake_ms), "not approved at its wake");
                prop_assert!(!world.approved(wake_ms - 1), "approved a millisecond before its wake");
                wake_ms
            }
            // Nothing in reach may be approved: suppressed, or what blocks has no known end.
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
        // A further hit may hand over to a fallback that passes.
        world.intent.fallback_channels.clear();
        world.policy.rules.retain(|rule| !rule.kind.a_contact_may_free());
        world.policy.index = RuleIndex::new(&world.policy.rules, &world.policy.classes);
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
    fn at_every_approval_the_contacts_that_count_leave_room_under_each_limit(seed in any::<u64>()) {
        let world = world(seed);
        let judgement = judged(&world.policy, &world.customer, &world.intent, world.now_ms);
        if judgement.verdict != Verdict::Approved {
            return Ok(());
        }
        let on = |rule: &Rule, channel: &str| {
            rule.governs.terms.is_empty() || rule.governs == selector(crate::policy::selector::Field::Channel, channel)
        };
        let policy = &world.policy;
        let settings = |channel: &str| policy.channel(channel).expect("a channel of the policy");
        let given_back = |contact: &Contact| {
            let settings = settings(&contact.channel);
            let unconfirmed = contact.state == ContactState::Reserved && !settings.release_on.is_empty();
            contact.state == ContactState::Released
                || unconfirmed && contact.at_ms + settings.confirm_within_ms <= world.now_ms
        };
        let number = |limits: &Limits| match limits.otherwise {
            Limit::Number(limit) => limit,
            _ => i64::MAX,
        };
        for rule in policy.rules.iter().filter(|rule| on(rule, &judgement.channel)) {
            let counting = |length: Span, amount: &dyn Fn(&Contact) -> i64| -> Option<i64> {
                let Span::Exact { ms } = length else { return None };
                let contacts = world.customer.contacts.iter().filter(|contact| {
                    !given_back(contact) && on(rule, &contact.channel) && contact.at_ms + ms > world.now_ms
                });
                Some(contacts.map(amount).sum())
            };
            let rolling = |window: &Window, amount: &dyn Fn(&Contact) -> i64| match window.shape {
                Shape::Rolling(span) => counting(span, amount),
                _ => None,
            };
            let points = |channel: &str| settings(channel).pressure_milli * 1_000;
            let (sum, most) = match &rule.kind {
                RuleKind::Gap(gap) => (counting(gap.length, &|_| 1), 0),
                RuleKind::Cap(cap) if cap.distinct.is_none() => (rolling(&cap.window, &|_| 1), number(&cap.limits) - 1),
                RuleKind::Redundant(redundant) => {
                    let offer = &world.intent.offer;
                    let same = |contact: &Contact| i64::from(offer.is_some() && contact.offer == *offer);
                    (counting(redundant.within, &same), 0)
                }
                RuleKind::Pressure(Pressure { limits, memory: Memory::Window(window) }) => {
                    let sum = rolling(window, &|contact| points(&contact.channel));
                    (sum, number(limits) - points(&judgement.channel))
                }
                RuleKind::Spend(spend) => {
                    (rolling(&spend.window, &|contact| contact.cost_micros), number(&spend.limits) - judgement.cost_micros)
                }
                _ => continue,
            };
            prop_assert!(sum.is_none_or(|sum| sum <= most), "{}: {sum:?} of {most}", rule.id);
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
