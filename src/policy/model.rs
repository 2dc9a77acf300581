//! The compiled policy: what `judge` reads. Built by `compile` from a checked file; never changed afterwards.

use crate::message::{EventKind, Name};
use crate::policy::index::RuleIndex;
use jiff::tz::TimeZone;

/// One policy as loaded.
#[derive(Debug)]
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
    /// What orders competitors of one class and priority; none: propensity × value.
    pub score: Option<crate::policy::condition::Score>,
    pub rules: Vec<Rule>,
    /// Emergency stops.
    pub stops: Vec<Stop>,
    pub exceptions: Vec<Exception>,
    pub experiments: Vec<crate::policy::rules::Experiment>,
    /// From `RuleIndex::new(&rules, &classes)`.
    pub index: RuleIndex,
}

impl Policy {
    /// The channel with this name.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| &*channel.name == name)
    }

    /// Whether any condition reads what changes with time alone.
    pub fn depends_on_time(&self) -> bool {
        let mut clauses = self.channels.iter().flat_map(|channel| &channel.consent);
        self.index.depends_on_time()
            || self.score.as_ref().is_some_and(|score| score.depends_on_time())
            || clauses.any(|clause| clause.when.as_ref().is_some_and(|when| when.depends_on_time()))
    }

    /// Whether any condition reads `customer.fatigue`.
    pub fn reads_fatigue(&self) -> bool {
        let mut clauses = self.channels.iter().flat_map(|channel| &channel.consent);
        self.index.reads_fatigue
            || self
                .score
                .as_ref()
                .is_some_and(crate::policy::condition::Score::reads_fatigue)
            || clauses.any(|clause| clause.when.as_ref().is_some_and(|when| when.reads_fatigue()))
    }

    /// The class that a message with this class name is judged as: undeclared or none, the default class.
    pub fn class_index(&self, name: Option<&str>) -> usize {
        name.and_then(|name| self.classes.iter().position(|class| &*class.name == name))
            .unwrap_or(self.default_class)
    }

    /// The class that a message with this class name is judged as. A checked policy has at least its default class.
    pub fn class_of(&self, name: Option<&str>) -> Option<&Class> {
        self.classes.get(self.class_index(name))
    }

    /// Whether contacts of this class count.
    pub fn class_counts(&self, name: &str) -> bool {
        self.classes
            .get(self.class_index(Some(name)))
            .is_none_or(|class| class.counts)
    }
}

/// A channel, and what holds on it.
#[derive(Debug)]
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

/// A row of a channel's consent table.
#[derive(Debug)]
pub struct ConsentClause {
    pub when: Option<crate::policy::condition::Condition>,
    pub mode: ConsentMode,
    /// How long each basis lasts; empty: a grant lasts until it is refused or expires.
    pub implied: Vec<(crate::message::Basis, crate::policy::window::Span)>,
}

/// What consent a channel asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentMode {
    OptIn,
    OptOut,
}

/// What may give a contact back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseCause {
    Failed,
    BouncedSoft,
    BouncedHard,
    Unconfirmed,
}

/// A class of messages: what it obeys, and whether it counts.
#[derive(Debug)]
pub struct Class {
    pub name: Name,
    pub rank: u16,
    pub obeys: Obeys,
    pub counts: bool,
    /// How long a customer's first intent of the class waits for competitors; 0: it is judged at once.
    pub hold_ms: i64,
    /// Whether a deferred intent of the class keeps its slot against those below it.
    pub reserve: bool,
}

/// What a message of a class is subject to.
#[derive(Debug)]
pub enum Obeys {
    All,
    Nothing,
    /// Kinds (`suppression-list`, `cap`, …) and rule ids.
    Only {
        kinds: Vec<RuleKindName>,
        rules: Vec<Name>,
    },
}

impl Obeys {
    /// Whether a message obeys rules (or the built-in step) of this kind.
    pub fn kind(&self, name: RuleKindName) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Only { kinds, .. } => kinds.contains(&name),
        }
    }

    /// Whether a message obeys this rule, by its kind or by its id.
    pub fn rule(&self, rule: &Rule) -> bool {
        let by_id = matches!(self, Self::Only { rules, .. } if rules.contains(&rule.id));
        by_id || self.kind(rule.kind.name())
    }
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

/// One rule of the file.
#[derive(Debug)]
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

impl Rule {
    /// Whether its guard or its working reads facts that change while nothing happens.
    pub fn depends_on_time(&self) -> bool {
        self.kind.depends_on_time() || self.when.as_ref().is_some_and(|when| when.depends_on_time())
    }

    pub(super) fn reads_fatigue(&self) -> bool {
        let limits = self.kind.limits();
        limits.is_some_and(|limits| limits.reads_fatigue())
            || self.when.as_ref().is_some_and(|when| when.reads_fatigue())
    }
}

/// What a hit does: a set of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnHit {
    pub fallback: bool,
    pub defer: bool,
    pub suppress: bool,
}

impl OnHit {
    /// What a built-in step does that is bound to the channel.
    pub const CHANNEL_BOUND: Self = Self {
        fallback: true,
        defer: false,
        suppress: true,
    };
    /// What a built-in step does that is bound to the customer.
    pub const SUPPRESS: Self = Self {
        fallback: false,
        defer: false,
        suppress: true,
    };

    /// Whether suppressing is its only action.
    pub fn only_suppresses(self) -> bool {
        !self.fallback && !self.defer
    }
}

/// Stops everything that it selects.
#[derive(Debug)]
pub struct Stop {
    pub governs: crate::policy::selector::Selector,
    pub until_ms: Option<i64>,
    pub why: String,
}

/// Lifts rules for what it selects, until an instant.
#[derive(Debug)]
pub struct Exception {
    pub id: Name,
    pub governs: crate::policy::selector::Selector,
    pub rules: Vec<Name>,
    pub until_ms: i64,
}
