//! The rule kinds, one file each. A kind answers one question at one instant: does the intent pass, and if not, from when
//! on would it pass if nothing else happened?
//!
//! Invariant that the wake time rests on: where an evaluation at `t` blocks and answers `free_at`, the same rule blocks at
//! every instant of `[t, free_at)` as long as the facts that its conditions read stay as they are. Where it answers none, it
//! has no known end. And where it passes at `t` and answers that it may block from `b` on, it
//! passes at every instant of `[t, b)`: that is what the wake on a fallback rests on.

pub mod back_off;
pub mod cap;
pub mod capacity;
pub mod cool_off;
pub mod gap;
pub mod holdout;
pub mod mix;
pub mod pressure;
pub mod redundant;
pub mod send_window;
pub mod sequence;
pub mod spend;
mod sum;
pub mod tally;

pub use back_off::BackOff;
pub use cap::{Cap, Limit, LimitRow, Limits};
pub use capacity::Capacity;
pub use cool_off::{Block, CoolOff, Length, Trigger};
pub use gap::Gap;
pub use holdout::{Experiment, Holdout};
pub use mix::Mix;
pub use pressure::{Memory, Pressure};
pub use redundant::Redundant;
pub use send_window::SendWindow;
pub use sequence::{Form, Sequence};
pub use spend::Spend;

use crate::customer::{CapacityUse, Customer};
use crate::policy::condition::{ConditionError, Facts};
use crate::policy::judgement::Reason;
use crate::policy::model::{Policy, Rule, RuleKindName};
use crate::policy::selector::JudgedIntent;
use crate::policy::window::{Bounds, ZoneChoice};
use jiff::tz::TimeZone;

/// What a rule is, with everything that its kind needs.
#[derive(Debug)]
pub enum RuleKind {
    Holdout(Holdout),
    CoolOff(CoolOff),
    Redundant(Redundant),
    Sequence(Sequence),
    Cap(Cap),
    Gap(Gap),
    Pressure(Pressure),
    BackOff(BackOff),
    Mix(Mix),
    Spend(Spend),
    /// `send-window` and `quiet-hours`: they differ in the polarity of the schedule.
    SendWindow(SendWindow),
    Capacity(Capacity),
}

/// One intent on one channel at one instant, and what is known then.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub policy: &'a Policy,
    pub customer: &'a Customer,
    pub subject: JudgedIntent<'a>,
    pub facts: Facts<'a>,
    /// What the partition has used of what all customers share, and into how many shares that is cut.
    pub capacity: &'a CapacityUse,
    pub partition_count: i32,
    pub at_ms: i64,
}

/// The working of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleOutcome {
    pub passes: bool,
    pub count: Option<i64>,
    pub limit: Option<i64>,
    pub bounds: Option<Bounds>,
    /// Where it blocks: the first instant at which it would pass; none: no known end.
    pub free_at_ms: Option<i64>,
}

impl RuleOutcome {
    /// It passes, and there is nothing to tell.
    pub const PASS: Self = Self {
        passes: true,
        count: None,
        limit: None,
        bounds: None,
        free_at_ms: None,
    };

    /// It blocks until the instant (none: no known end).
    pub fn blocked_until(free_at_ms: Option<i64>) -> Self {
        Self {
            passes: false,
            free_at_ms,
            ..Self::PASS
        }
    }

    /// Both must pass: the one that blocks longer speaks.
    pub fn and(self, other: Self) -> Self {
        match (self.passes, other.passes) {
            (true, _) => other,
            (_, true) => self,
            _ => {
                let free_at_ms = self.free_at_ms.zip(other.free_at_ms).map(|(one, two)| one.max(two));
                Self { free_at_ms, ..self }
            }
        }
    }
}

impl RuleKind {
    /// The name under which `obeys` covers it.
    pub fn name(&self) -> RuleKindName {
        match self {
            Self::Holdout(_) => RuleKindName::Holdout,
            Self::CoolOff(_) => RuleKindName::CoolOff,
            Self::Redundant(_) => RuleKindName::Redundant,
            Self::Sequence(_) => RuleKindName::Sequence,
            Self::Cap(_) => RuleKindName::Cap,
            Self::Gap(_) => RuleKindName::Gap,
            Self::Pressure(_) => RuleKindName::Pressure,
            Self::BackOff(_) => RuleKindName::BackOff,
            Self::Mix(_) => RuleKindName::Mix,
            Self::Spend(_) => RuleKindName::Spend,
            Self::SendWindow(_) => RuleKindName::QuietHours,
            Self::Capacity(_) => RuleKindName::Capacity,
        }
    }

    /// The reason that a hit is given.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Holdout(_) => Reason::Holdout,
            Self::CoolOff(_) => Reason::CoolOff,
            Self::Redundant(_) => Reason::RedundantOffer,
            Self::Sequence(_) => Reason::Sequence,
            Self::Cap(_) => Reason::Cap,
            Self::Gap(_) => Reason::Gap,
            Self::Pressure(_) => Reason::Pressure,
            Self::BackOff(_) => Reason::BackOff,
            Self::Mix(_) => Reason::Mix,
            Self::Spend(_) => Reason::Spend,
            Self::SendWindow(_) => Reason::QuietHours,
            Self::Capacity(_) => Reason::Capacity,
        }
    }

    /// The zone in which it reads the clock.
    pub fn zone(&self) -> &ZoneChoice {
        match self {
            Self::Cap(cap) => &cap.window.zone,
            Self::Gap(gap) => &gap.zone,
            Self::CoolOff(cool_off) => &cool_off.zone,
            Self::Redundant(redundant) => &redundant.zone,
            Self::Sequence(sequence) => &sequence.zone,
            Self::Pressure(pressure) => pressure.zone(),
            Self::Spend(spend) => &spend.window.zone,
            Self::SendWindow(window) => &window.zone,
            Self::Capacity(capacity) => &capacity.window.zone,
            // These know no calendar.
            Self::Holdout(_) | Self::BackOff(_) | Self::Mix(_) => &ZoneChoice::Company,
        }
    }

    /// Whether one more contact may let pass what it blocks: one that is needed, that makes a mix better, or whose value is
    /// known from then on.
    pub fn a_contact_may_free(&self) -> bool {
        match self {
            Self::Mix(_) => true,
            Self::Sequence(sequence) => matches!(sequence.form, Form::Only { .. }),
            Self::Cap(cap) => cap.distinct.is_some(),
            _ => false,
        }
    }

    /// Whether its working reads facts that change with time alone.
    pub fn depends_on_time(&self) -> bool {
        self.limits().is_some_and(Limits::depends_on_time)
    }

    /// The limits that conditions may choose among.
    pub fn limits(&self) -> Option<&Limits> {
        match self {
            Self::Cap(cap) => Some(&cap.limits),
            Self::Pressure(pressure) => Some(&pressure.limits),
            Self::Spend(spend) => Some(&spend.limits),
            _ => None,
        }
    }

    /// Does the intent pass in this zone?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> Result<RuleOutcome, ConditionError> {
        match self {
            Self::Holdout(holdout) => Ok(holdout.evaluate(view)),
            Self::CoolOff(cool_off) => Ok(cool_off.evaluate(rule, view, zone)),
            Self::Redundant(redundant) => Ok(redundant.evaluate(rule, view, zone)),
            Self::Sequence(sequence) => Ok(sequence.evaluate(rule, view, zone)),
            Self::Cap(cap) => cap.evaluate(rule, view, zone),
            Self::Gap(gap) => Ok(gap.evaluate(rule, view, zone)),
            Self::Pressure(pressure) => pressure.evaluate(rule, view, zone),
            Self::BackOff(back_off) => Ok(back_off.evaluate(rule, view)),
            Self::Mix(mix) => Ok(mix.evaluate(rule, view)),
            Self::Spend(spend) => spend.evaluate(rule, view, zone),
            Self::SendWindow(window) => Ok(window.evaluate(view.at_ms, zone)),
            Self::Capacity(capacity) => Ok(capacity.evaluate(rule, view, zone)),
        }
    }

    /// The next instant after this one at which it may begin to block though nothing happens; none: it never does.
    pub fn may_block_from(&self, rule: &Rule, view: &View, zone: &TimeZone) -> Option<i64> {
        match self {
            Self::SendWindow(window) => window.schedule.open_until(view.at_ms, zone),
            Self::CoolOff(cool_off) => cool_off.next_ignored(rule, view, zone),
            Self::Sequence(sequence) => sequence.allowed_until(rule, view, zone),
            Self::BackOff(back_off) => back_off.next_change(rule, view),
            Self::Mix(mix) => mix.next_change(rule, view),
            // What fills these only leaves as time passes.
            Self::Holdout(_)
            | Self::Redundant(_)
            | Self::Cap(_)
            | Self::Gap(_)
            | Self::Pressure(_)
            | Self::Spend(_)
            | Self::Capacity(_) => None,
        }
    }
}
