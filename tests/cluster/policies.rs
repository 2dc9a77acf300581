//! The policies of these tests: windows so short that what is deferred wakes within a test. Beside each text stands what it
//! means, said by hand for the auditor.

// Two test binaries compile this module, and each uses a part of it.
#![allow(dead_code)]

use crate::auditor::facts::{ChannelFacts, ClassFacts, PolicyFacts, RuleFacts, RuleTest, Scope, Span, Window, Zone};
use sha2::{Digest, Sha256};

/// The channels of every policy here.
pub const CHANNELS: &[&str] = &["email", "sms", "push"];

const DAY_MS: i64 = 86_400_000;

/// A policy, its label and its meaning.
#[derive(Clone)]
pub struct Known {
    pub text: String,
    pub label: String,
    pub facts: PolicyFacts,
}

/// The policy of most tests. Nothing waits longer than 10 s.
pub fn brisk() -> Known {
    policy("brisk", 2, 3, 10)
}

/// What [`brisk`] is replaced by: other limits under another name.
pub fn brisker() -> Known {
    policy("brisker", 1, 2, 10)
}

/// As [`brisk`], for tests of which there are many: nothing waits longer than 3 s.
pub fn hasty() -> Known {
    policy("hasty", 2, 3, 3)
}

/// As [`brisker`], where nothing waits longer than 3 s.
pub fn hastier() -> Known {
    policy("hastier", 1, 2, 3)
}

fn policy(name: &str, burst_limit: usize, day_limit: usize, max_defer_s: u32) -> Known {
    let text = format!(
        r#"forbear: 1
name: {name}
timezone: America/New_York
defaults: {{ on-hit: suppress, class: marketing, max-defer: {max_defer_s}s, remember-intents: 35d }}
channels:
  email: {{ consent: opt-out, valid-for: 6h, release-on: [failed, bounced_hard] }}
  sms: {{ consent: opt-in }}
  push: {{ consent: opt-out }}
classes:
  legal: {{ rank: 3, obeys: [suppression-list], counts: false }}
  service: {{ rank: 2, obeys: [suppression-list, consent, quiet-hours], counts: true }}
  marketing: {{ rank: 1, obeys: all, counts: true }}
responses: [clicked, replied]
rules:
  - {{ id: burst, cap: {{ limit: {burst_limit}, window: 6s }}, for: {{ class: marketing }}, on-hit: defer }}
  - id: email-day
    cap: {{ limit: {day_limit}, window: calendar-day, timezone: customer }}
    for: {{ class: marketing, channel: email }}
    on-hit: [fallback, suppress]
  - {{ id: spacing, gap: 1s, for: {{ class: marketing }}, on-hit: defer }}
  - id: division-share
    cap: {{ limit: 3, window: 30s }}
    per: [division]
    for: {{ class: marketing }}
    on-hit: [fallback, defer]
  - id: nights
    quiet-hours: {{ timezone: customer, quiet: [ {{ days: mon-sun, from: "21:00", to: "06:30" }} ] }}
    for: {{ channel: sms }}
"#
    );
    let hash: String = Sha256::digest(&text)
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Known {
        label: format!("{name}@{hash}"),
        text,
        facts: facts(burst_limit, day_limit),
    }
}

fn facts(burst_limit: usize, day_limit: usize) -> PolicyFacts {
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
        company_zone: "America/New_York".into(),
        default_class: "marketing".into(),
        remember_intents_ms: 35 * DAY_MS,
        channels: vec![channel("email", false), channel("sms", true), channel("push", false)],
        classes: vec![
            class("legal", 3, false, &["suppression-list"]),
            class("service", 2, true, &["suppression-list", "consent", "quiet-hours"]),
            class("marketing", 1, true, &["all"]),
        ],
        rules: rules(burst_limit, day_limit),
    }
}

fn rules(burst_limit: usize, day_limit: usize) -> Vec<RuleFacts> {
    let marketing = |channels: &[&str]| Scope {
        classes: vec!["marketing".into()],
        channels: channels.iter().map(|name| (*name).to_owned()).collect(),
        ..Scope::default()
    };
    let rule = |id: &str, governs: Scope, test: RuleTest| RuleFacts {
        id: id.into(),
        governs,
        counts: None,
        per: Vec::new(),
        test,
    };
    let cap = |limit: usize, window: Window| RuleTest::Cap { limit, window };
    let night = vec![Span {
        days: Vec::new(),
        from_minute: 21 * 60,
        to_minute: 6 * 60 + 30,
    }];
    let sms = Scope {
        channels: vec!["sms".into()],
        ..Scope::default()
    };
    let quiet = RuleTest::Quiet {
        zone: Zone::Customer,
        spans: night,
    };
    vec![
        rule("burst", marketing(&[]), cap(burst_limit, Window::RollingMs(6_000))),
        rule(
            "email-day",
            marketing(&["email"]),
            cap(day_limit, Window::CalendarDay(Zone::Customer)),
        ),
        rule("spacing", marketing(&[]), RuleTest::Gap { gap_ms: 1_000 }),
        RuleFacts {
            per: vec!["division".into()],
            ..rule("division-share", marketing(&[]), cap(3, Window::RollingMs(30_000)))
        },
        rule("nights", sms, quiet),
    ]
}
