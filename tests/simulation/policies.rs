//! The policies that simulated clusters run under: the text that the engine loads, and beside it what the text means, said by
//! hand for the auditor.

use crate::auditor::facts::{ChannelFacts, ClassFacts, PolicyFacts, RuleFacts, RuleTest, Scope, Span, Window, Zone};
use sha2::{Digest, Sha256};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// No deferral of any of these policies lasts longer.
pub const LONGEST_DEFERRAL_MS: i64 = 2 * DAY_MS;

/// A policy, its label and its meaning.
pub struct Known {
    pub text: &'static str,
    pub label: String,
    pub facts: PolicyFacts,
}

const DEFERRING: &str = r#"forbear: 1
name: deferring
timezone: America/New_York
defaults: { on-hit: suppress, class: marketing, max-defer: 2d, remember-intents: 35d }
channels:
  email: { consent: opt-out, valid-for: 6h }
  sms: { consent: opt-in }
  push: { consent: opt-out }
classes:
  legal: { rank: 3, obeys: [suppression-list], counts: false }
  service: { rank: 2, obeys: [suppression-list, consent, quiet-hours], counts: true }
  marketing: { rank: 1, obeys: all, counts: true }
responses: [clicked, replied]
rules:
  - { id: week, cap: { limit: 4, window: 7d }, for: { class: marketing }, on-hit: defer }
  - id: email-day
    cap: { limit: 1, window: calendar-day, timezone: customer }
    for: { class: marketing, channel: email }
    on-hit: [fallback, defer]
  - { id: spacing, gap: 4h, for: { class: marketing }, on-hit: defer }
  - id: division-share
    cap: { limit: 2, window: 3d }
    per: [division]
  - id: nights
    send-window: { timezone: customer, open: [ { days: mon-sat, from: "08:00", to: "21:00" } ] }
    for: { channel: [sms, push] }
"#;

const STRICT: &str = r#"forbear: 1
name: strict
timezone: Europe/Lisbon
defaults: { on-hit: suppress, class: marketing, max-defer: 1d, remember-intents: 35d }
channels:
  email: { consent: opt-out, release-on: [failed, bounced_hard] }
  sms: { consent: opt-in, release-on: [failed] }
  push: { consent: opt-out }
classes:
  legal: { rank: 3, obeys: [suppression-list], counts: false }
  service: { rank: 2, obeys: [suppression-list, consent, quiet-hours], counts: true }
  marketing: { rank: 1, obeys: all, counts: true }
responses: [clicked, replied]
rules:
  - { id: day, cap: { limit: 1, window: 24h }, for: { class: marketing } }
  - { id: month, cap: { limit: 6, window: calendar-month }, for: { class: marketing }, on-hit: defer }
  - { id: spacing, gap: 30min, on-hit: defer }
  - id: after-complaint
    cool-off: { after: [complained], count: 1, within: 1d, for: 90d }
  - id: nights
    quiet-hours: { timezone: customer, quiet: [ { days: mon-sun, from: "20:00", to: "09:00" } ] }
    for: { class: marketing }
"#;

const SHARED: &str = r#"forbear: 1
name: shared
timezone: Europe/Lisbon
defaults: { on-hit: suppress, class: marketing, max-defer: 1d, remember-intents: 35d }
channels:
  email: { consent: opt-out, pressure: 2 }
  sms: { consent: opt-in, pressure: 3 }
  push: { consent: opt-out }
classes:
  legal: { rank: 3, obeys: [suppression-list], counts: false }
  service: { rank: 2, obeys: [suppression-list, consent, quiet-hours], counts: true }
  marketing: { rank: 1, obeys: all, counts: true }
responses: [clicked, replied]
rules:
  - { id: gateway, capacity: { limit: 9, window: 3h }, for: { class: marketing, channel: [email, push] }, on-hit: defer }
  - { id: fading, pressure: { limit: 6, half-life: 2h }, for: { class: marketing }, on-hit: defer }
  - { id: no-answer, back-off: { after: 2, gap: 2h, factor: 2, max: 1d }, for: { class: marketing }, on-hit: defer }
  - id: mail-first
    sequence: { only: { channel: push }, if: { channel: email }, within: 2d }
    for: { class: marketing }
    on-hit: defer
  - { id: variety, mix: { of: { channel: email }, at-most: 60%, last: 5 }, on-hit: defer }
"#;

/// Nearly everything waits, for one reason or another: for competitors, for the morning, for room that is kept.
const COMPETING: &str = r#"forbear: 1
name: competing
timezone: Asia/Tokyo
defaults: { on-hit: defer, class: marketing, max-defer: 2d, remember-intents: 35d }
channels:
  email: { consent: opt-out }
  sms: { consent: opt-in }
  push: { consent: opt-out }
classes:
  legal: { rank: 3, obeys: [suppression-list], counts: false }
  service: { rank: 2, obeys: [suppression-list, consent, quiet-hours, day, spacing], counts: true, reserve: true }
  marketing: { rank: 1, obeys: all, counts: true, hold: 20min, reserve: true }
responses: [clicked, replied]
rules:
  - { id: day, cap: { limit: 2, window: 24h } }
  - { id: spacing, gap: 1h }
  - { id: division-day, cap: { limit: 1, window: 24h }, per: [division], for: { class: marketing }, on-hit: suppress }
  - id: email-day
    cap: { limit: 1, window: calendar-day, timezone: customer }
    for: { class: marketing, channel: email }
    on-hit: [fallback, defer]
  - id: nights
    quiet-hours: { timezone: customer, quiet: [ { days: mon-sun, from: "20:00", to: "09:00" } ] }
    for: { channel: [sms, push] }
"#;

/// Every policy that a seed may draw.
pub fn all() -> Vec<Known> {
    vec![
        known("deferring", DEFERRING, deferring()),
        known("strict", STRICT, strict()),
        known("shared", SHARED, shared()),
        known("competing", COMPETING, competing()),
    ]
}

fn known(name: &str, text: &'static str, facts: PolicyFacts) -> Known {
    let hash: String = Sha256::digest(text)
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Known {
        text,
        label: format!("{name}@{hash}"),
        facts,
    }
}

fn marketing() -> Scope {
    Scope {
        classes: vec!["marketing".into()],
        ..Scope::default()
    }
}

fn on(channels: &[&str], scope: Scope) -> Scope {
    Scope {
        channels: channels.iter().map(|name| (*name).to_owned()).collect(),
        ..scope
    }
}

fn rule(id: &str, governs: Scope, test: RuleTest) -> RuleFacts {
    RuleFacts {
        id: id.into(),
        governs,
        counts: None,
        per: Vec::new(),
        test,
    }
}

fn base(company_zone: &str, rules: Vec<RuleFacts>) -> PolicyFacts {
    let class = |name: &str, rank: u16, counts: bool, obeys: &[&str]| ClassFacts {
        name: name.into(),
        counts,
        obeys: obeys.iter().map(|kind| (*kind).to_owned()).collect(),
        rank,
        hold_ms: 0,
        reserve: false,
    };
    let channel = |name: &str, opt_in: bool| ChannelFacts {
        name: name.into(),
        opt_in,
    };
    PolicyFacts {
        company_zone: company_zone.into(),
        default_class: "marketing".into(),
        remember_intents_ms: 35 * DAY_MS,
        channels: vec![channel("email", false), channel("sms", true), channel("push", false)],
        classes: vec![
            class("legal", 3, false, &["suppression-list"]),
            class("service", 2, true, &["suppression-list", "consent", "quiet-hours"]),
            class("marketing", 1, true, &["all"]),
        ],
        rules,
    }
}

fn deferring() -> PolicyFacts {
    let hours = vec![Span {
        days: (0..6).collect(),
        from_minute: 8 * 60,
        to_minute: 21 * 60,
    }];
    let share = rule(
        "division-share",
        Scope::default(),
        RuleTest::Cap {
            limit: 2,
            window: Window::RollingMs(3 * DAY_MS),
        },
    );
    let rules = vec![
        rule(
            "week",
            marketing(),
            RuleTest::Cap {
                limit: 4,
                window: Window::RollingMs(7 * DAY_MS),
            },
        ),
        rule(
            "email-day",
            on(&["email"], marketing()),
            RuleTest::Cap {
                limit: 1,
                window: Window::CalendarDay(Zone::Customer),
            },
        ),
        rule("spacing", marketing(), RuleTest::Gap { gap_ms: 4 * HOUR_MS }),
        RuleFacts {
            per: vec!["division".into()],
            ..share
        },
        rule(
            "nights",
            on(&["sms", "push"], Scope::default()),
            RuleTest::Open {
                zone: Zone::Customer,
                spans: hours,
            },
        ),
    ];
    base("America/New_York", rules)
}

fn competing() -> PolicyFacts {
    let night = vec![Span {
        days: Vec::new(),
        from_minute: 20 * 60,
        to_minute: 9 * 60,
    }];
    let day = |limit: usize| RuleTest::Cap {
        limit,
        window: Window::RollingMs(DAY_MS),
    };
    let rules = vec![
        rule("day", Scope::default(), day(2)),
        rule("spacing", Scope::default(), RuleTest::Gap { gap_ms: HOUR_MS }),
        RuleFacts {
            per: vec!["division".into()],
            ..rule("division-day", marketing(), day(1))
        },
        rule(
            "email-day",
            on(&["email"], marketing()),
            RuleTest::Cap {
                limit: 1,
                window: Window::CalendarDay(Zone::Customer),
            },
        ),
        rule(
            "nights",
            on(&["sms", "push"], Scope::default()),
            RuleTest::Quiet {
                zone: Zone::Customer,
                spans: night,
            },
        ),
    ];
    let mut facts = base("Asia/Tokyo", rules);
    for class in facts.classes.iter_mut().filter(|class| class.name != "legal") {
        class.reserve = true;
    }
    facts.classes[1].obeys.extend(["day".to_owned(), "spacing".to_owned()]);
    facts.classes[2].hold_ms = HOUR_MS / 3;
    facts
}

fn strict() -> PolicyFacts {
    let night = vec![Span {
        days: Vec::new(),
        from_minute: 20 * 60,
        to_minute: 9 * 60,
    }];
    let rules = vec![
        rule(
            "day",
            marketing(),
            RuleTest::Cap {
                limit: 1,
                window: Window::RollingMs(DAY_MS),
            },
        ),
        rule(
            "month",
            marketing(),
            RuleTest::Cap {
                limit: 6,
                window: Window::CalendarMonth(Zone::Company),
            },
        ),
        rule("spacing", Scope::default(), RuleTest::Gap { gap_ms: HOUR_MS / 2 }),
        rule(
            "after-complaint",
            Scope::default(),
            RuleTest::Other { kind: "cool-off" },
        ),
        rule(
            "nights",
            marketing(),
            RuleTest::Quiet {
                zone: Zone::Customer,
                spans: night,
            },
        ),
    ];
    base("Europe/Lisbon", rules)
}

fn shared() -> PolicyFacts {
    let gateway = RuleTest::Capacity {
        limit: 9,
        window_ms: 3 * HOUR_MS,
    };
    let other = |kind| RuleTest::Other { kind };
    let rules = vec![
        rule("gateway", on(&["email", "push"], marketing()), gateway),
        rule("fading", marketing(), other("pressure")),
        rule("no-answer", marketing(), other("back-off")),
        rule("mail-first", marketing(), other("sequence")),
        rule("variety", Scope::default(), other("mix")),
    ];
    base("Europe/Lisbon", rules)
}
