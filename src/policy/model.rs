//! The compiled policy: what `judge` reads. Built by `compile` from a checked file; never changed afterwards.

use crate::message::{EventKind, Name};
use jiff::tz::TimeZone;

/// One policy as loaded.
pub struct Policy {
    pub name: String,
    /// Header `forbear-policy`: `<name>@<first 12 hex of the SHA-256 of the text>`.
    pub label: Name,
    pub sha256: [u8; 32],
    /// The bytes that the hash is of: the file as loaded, `include` resolved.
    pub text: Vec<u8>,
    /// The company's.
    pub zone: TimeZone,
    pub week_start: jiff::civil::Weekday,
    /// Zones in which an intent for a customer without a known zone must pass; empty: the company's.
    pub timezone_unknown: Vec<TimeZone>,
    /// Index into `classes`.
    pub default_class: usize,
    pub max_defer_ms: i64,
    pub remember_intents_ms: i64,
    /// In the order of the file.
    pub channels: Vec<Channel>,
    pub classes: Vec<Class>,
    /// Kinds of event that count as interest (a machine open never does).
    pub responses: Vec<EventKind>,
    pub rules: Vec<Rule>,
    /// Of class `for` selectors that stop everything they match, until an instant.
    pub stops: Vec<Stop>,
    pub exceptions: Vec<Exception>,
}

pub struct Channel {
    pub name: Name,
    /// First match wins; the last one has no condition.
    pub consent: Vec<ConsentClause>,
    pub cost_micros: i64,
    /// Points in thousandths.
    pub pressure_milli: i64,
    pub valid_for_ms: Option<i64>,
    /// What gives a contact back.
    pub release_on: Vec<ReleaseCause>,
    pub confirm_within_ms: i64,
}

pub struct ConsentClause {
    pub when: Option<crate::policy::condition::Condition>,
    pub mode: ConsentMode,
    /// How long each basis lasts; empty: a grant lasts until it is refused or expires.
    pub implied: Vec<(crate::message::Basis, crate::policy::window::Span)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentMode {
    OptIn,
    OptOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseCause {
    Failed,
    BouncedSoft,
    BouncedHard,
    Unconfirmed,
}

pub struct Class {
    pub name: Name,
    pub rank: u16,
    pub obeys: Obeys,
    pub counts: bool,
    pub hold_ms: i64,
    pub reserve: bool,
}

pub enum Obeys {
    All,
    Nothing,
    /// Kinds (`suppression-list`, `cap`, …) and rule ids.
    Only {
        kinds: Vec<RuleKindName>,
        rules: Vec<Name>,
    },
}

/// The kinds that `obeys` may list, in the order in which an intent is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleKindName {
    SuppressionList,
    Consent,
    Preferences,
    Holdout,
    CoolOff,
    Redundant,
    Sequence,
    Cap,
    Gap,
    Pressure,
    BackOff,
    Mix,
    Spend,
    QuietHours,
    Capacity,
}

pub struct Rule {
    pub id: Name,
    pub when: Option<crate::policy::condition::Condition>,
    /// Which intents it governs (`for`).
    pub governs: crate::policy::selector::Selector,
    /// Which contacts fill it (`counts`; default: `for` without its class part).
    pub counts: crate::policy::selector::Selector,
    /// True where `counts` was left out: the class's `counts` flag decides as well.
    pub counts_by_class: bool,
    pub per: Vec<crate::policy::selector::Field>,
    pub kind: crate::policy::rules::RuleKind,
    pub on_hit: OnHit,
    pub shadow: bool,
}

/// What a hit does: a set of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnHit {
    pub fallback: bool,
    pub defer: bool,
    pub suppress: bool,
}

pub struct Stop {
    pub governs: crate::policy::selector::Selector,
    pub until_ms: Option<i64>,
    pub why: String,
}

pub struct Exception {
    pub id: Name,
    pub governs: crate::policy::selector::Selector,
    pub rules: Vec<Name>,
    pub until_ms: i64,
}
