//! Policies, customers and intents for tests, without the file format.

use crate::customer::{CapacityUse, Contact, ContactState, Customer, PastEvent};
use crate::message::{EventKind, Intent, Name};
use crate::policy::index::RuleIndex;
use crate::policy::judge::{Situation, judge};
use crate::policy::judgement::{Judgement, Verdict};
use crate::policy::model::{Channel, Class, ConsentClause, ConsentMode, Obeys, OnHit, Policy, Rule};
use crate::policy::model::{RuleKindName, Stop};
use crate::policy::rules::{Cap, Gap, Limit, Limits, RuleKind, SendWindow};
use crate::policy::selector::{Field, Pattern, Selector, Term};
use crate::policy::window::{DaySpan, Polarity, Schedule, Shape, Span, Window, ZoneChoice, zone};
use jiff::civil::Weekday;

pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
pub const FRESH: Situation = Situation {
    first_deferred_ms: None,
    partition_count: 1,
    capacity: &CapacityUse::new(0),
};
pub const DEFER: OnHit = OnHit {
    fallback: false,
    defer: true,
    suppress: false,
};
pub const FALLBACK_DEFER: OnHit = OnHit {
    fallback: true,
    defer: true,
    suppress: false,
};
pub const FALLBACK: OnHit = OnHit {
    fallback: true,
    defer: false,
    suppress: false,
};

/// How many random worlds are looked at: as many as usual, or as `PROPTEST_CASES` asks for.
pub fn cases(usual: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(usual)
}

pub fn name(text: &str) -> Name {
    Name::from(text)
}

pub fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("an instant").as_millisecond()
}

/// Channels e-mail and push (opt-out), text (opt-in); the classes of the documentation; no rules.
pub fn policy(rules: Vec<Rule>) -> Policy {
    let class = |text: &str, rank, obeys, counts| Class {
        name: name(text),
        rank,
        obeys,
        counts,
        hold_ms: 0,
        reserve: false,
    };
    let only = |kinds: &[RuleKindName]| Obeys::Only {
        kinds: kinds.to_vec(),
        rules: Vec::new(),
    };
    use RuleKindName::{Consent, QuietHours, SuppressionList};
    let classes = vec![
        class("legal", 4, only(&[SuppressionList]), false),
        class("service", 2, only(&[SuppressionList, Consent, QuietHours]), true),
        class("marketing", 1, Obeys::All, true),
    ];
    Policy {
        name: "test".into(),
        label: name("test@000000000000"),
        sha256: [0; 32],
        text: Vec::new(),
        zone: zone::named("America/New_York").expect("a zone"),
        week_start: Weekday::Monday,
        timezone_unknown: Vec::new(),
        default_class: 2,
        max_defer_ms: 7 * DAY,
        remember_intents_ms: 35 * DAY,
        channels: vec![
            channel("email", ConsentMode::OptOut),
            channel("push", ConsentMode::OptOut),
            channel("sms", ConsentMode::OptIn),
        ],
        index: RuleIndex::new(&rules, &classes),
        classes,
        responses: vec![EventKind::Clicked, EventKind::Replied, EventKind::Opened],
        score: None,
        rules,
        stops: Vec::<Stop>::new(),
        exceptions: Vec::new(),
        experiments: Vec::new(),
    }
}

fn channel(text: &str, mode: ConsentMode) -> Channel {
    Channel {
        name: name(text),
        consent: vec![ConsentClause {
            when: None,
            mode,
            implied: Vec::new(),
        }],
        cost_micros: 2_000,
        pressure_milli: 1_000,
        valid_for_ms: None,
        release_on: Vec::new(),
        confirm_within_ms: 0,
    }
}

pub fn rule(id: &str, kind: RuleKind, on_hit: OnHit) -> Rule {
    Rule {
        id: name(id),
        when: None,
        governs: Selector::default(),
        counts: Selector::default(),
        counts_by_class: true,
        per: Vec::new(),
        kind,
        on_hit,
        shadow: false,
    }
}

pub fn limits(limit: i64) -> Limits {
    Limits {
        rows: Vec::new(),
        otherwise: Limit::Number(limit),
    }
}

pub fn cap(limit: i64, shape: Shape) -> RuleKind {
    RuleKind::Cap(Cap {
        window: window(shape),
        limits: limits(limit),
        distinct: None,
    })
}

pub fn window(shape: Shape) -> Window {
    Window {
        shape,
        zone: ZoneChoice::Customer,
        week_start: Weekday::Monday,
    }
}

pub fn weekly_cap(limit: i64) -> RuleKind {
    cap(limit, Shape::Rolling(Span::Exact { ms: 7 * DAY }))
}

pub fn gap(length_ms: i64) -> RuleKind {
    RuleKind::Gap(Gap {
        length: Span::Exact { ms: length_ms },
        zone: ZoneChoice::Company,
    })
}

/// Open on all days from one hour to another.
pub fn open_hours(from: i32, to: i32, jitter_ms: i64) -> RuleKind {
    let span = DaySpan {
        days: 0b111_1111,
        from_s: from * 3600,
        to_s: to * 3600,
    };
    RuleKind::SendWindow(SendWindow {
        schedule: Schedule::new(&[span], Polarity::Open, &[]),
        zone: ZoneChoice::Customer,
        jitter_ms,
    })
}

pub fn only_on(mut rule: Rule, channel: &str) -> Rule {
    rule.governs = selector(Field::Channel, channel);
    rule.counts = selector(Field::Channel, channel);
    rule
}

pub fn selector(field: Field, value: &str) -> Selector {
    Selector {
        terms: vec![Term::AnyOf {
            field,
            patterns: vec![Pattern::Exact(name(value))],
        }],
    }
}

pub fn customer(zone: &str) -> Customer {
    let mut customer = Customer::new(name("c-1"));
    customer.profile.timezone = Some(name(zone));
    customer
}

pub fn contact(channel: &str, at_ms: i64) -> Contact {
    Contact {
        at_ms,
        state: ContactState::Delivered,
        reported_at_ms: at_ms,
        intent_hash: u64::try_from(at_ms).unwrap_or(0),
        decision: None,
        channel: name(channel),
        division: name("cards"),
        class: name("marketing"),
        message_type: name("campaign"),
        campaign: None,
        category: None,
        topic: None,
        offer: None,
        tags: Vec::new(),
        cost_micros: 0,
        endpoint_hash: None,
    }
}

pub fn event(kind: EventKind, at_ms: i64) -> PastEvent {
    PastEvent {
        at_ms,
        kind,
        machine: false,
        intent_hash: None,
        issue_id: None,
        channel: None,
        division: None,
        campaign: None,
        category: None,
        topic: None,
        offer: None,
        tags: Vec::new(),
        class: None,
        message_type: None,
    }
}

pub fn intent(channel: &str) -> Intent {
    Intent {
        intent_id: name("i-1"),
        customer_id: name("c-1"),
        channel: name(channel),
        division: name("cards"),
        class: Some(name("marketing")),
        message_type: name("campaign"),
        campaign: None,
        category: None,
        topic: None,
        tags: Vec::new(),
        offer: None,
        endpoint: None,
        fallback_channels: Vec::new(),
        priority: 500,
        value: None,
        propensity: None,
        cost_micros: None,
        not_before_ms: None,
        deliver_at_ms: None,
        expires_at_ms: None,
        created_at_ms: 0,
        objective: None,
    }
}

pub fn judged(policy: &Policy, customer: &Customer, intent: &Intent, now_ms: i64) -> Judgement {
    judge(policy, customer, intent, now_ms, &FRESH)
}

/// The channels of [`policy`] and two dearer ones, without rules: what is added is the text of `rules` and the like.
pub fn written(addition: &str) -> Policy {
    const HEAD: &str = "forbear: 1
name: written
timezone: America/New_York
channels:
  email: { consent: opt-out, cost: 0.002 }
  push: { consent: opt-out, pressure: 1.5 }
  sms: { consent: opt-out, pressure: 3, cost: 0.02 }
  mail: { consent: opt-out, pressure: 4, cost: 1.10 }
  phone: { consent: opt-out, pressure: 5, cost: 6, release-on: [unconfirmed], confirm-within: 2d }
classes:
  legal: { rank: 4, obeys: [suppression-list], counts: false }
  service: { rank: 2, obeys: [suppression-list, consent, quiet-hours], counts: true }
  marketing: { rank: 1, obeys: all, counts: true }
";
    match Policy::load(format!("{HEAD}{addition}\n").as_bytes(), "policy.yaml", None) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{}", errors.to_text(false)),
    }
}

/// A customer in New York with these contacts.
pub fn contacted(contacts: &[(&str, i64)]) -> Customer {
    let mut customer = customer("America/New_York");
    customer.contacts = contacts
        .iter()
        .map(|(channel, at_ms)| contact(channel, *at_ms))
        .collect();
    customer.contacts.sort_by_key(|contact| contact.at_ms);
    customer
}

/// The wake of an intent that waits.
pub fn wake(policy: &Policy, customer: &Customer, intent: &Intent, now_ms: i64) -> Option<i64> {
    let judgement = judged(policy, customer, intent, now_ms);
    assert_eq!(judgement.verdict, Verdict::Deferred, "{judgement:?}");
    judgement.wake_at_ms
}
