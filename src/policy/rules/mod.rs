//! The rule kinds, one file each. A kind answers one question at one instant: does the intent pass, and if not, from when
//! on would it pass if nothing else happened?
//!
//! Invariant that the wake time rests on: where an evaluation at `t` blocks and answers `free_at`, the same rule blocks at
//! every instant of `[t, free_at)` as long as the facts that its conditions read stay as they are.

pub mod cap;
pub mod cool_off;
pub mod gap;
pub mod send_window;
pub mod tally;

pub use cap::{Cap, Limit, LimitRow, Limits};
pub use cool_off::{Block, CoolOff, Length, Trigger};
pub use gap::Gap;
pub use send_window::SendWindow;

use crate::customer::Customer;
use crate::policy::condition::{ConditionError, Facts};
use crate::policy::judgement::Reason;
use crate::policy::model::{Policy, Rule, RuleKindName};
use crate::policy::selector::JudgedIntent;
use crate::policy::window::{Bounds, ZoneChoice};
use jiff::tz::TimeZone;

/// What a rule is, with everything that its kind needs.
#[derive(Debug)]
pub enum RuleKind {
    Cap(Cap),
    Gap(Gap),
    CoolOff(CoolOff),
    /// `send-window` and `quiet-hours`: they differ in the polarity of the schedule.
    SendWindow(SendWindow),
}

/// One intent on one channel at one instant, and what is known then.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub policy: &'a Policy,
    pub customer: &'a Customer,
    pub subject: JudgedIntent<'a>,
    pub facts: Facts<'a>,
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
            Self::Cap(_) => RuleKindName::Cap,
            Self::Gap(_) => RuleKindName::Gap,
            Self::CoolOff(_) => RuleKindName::CoolOff,
            Self::SendWindow(_) => RuleKindName::QuietHours,
        }
    }

    /// The reason that a hit is given.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Cap(_) => Reason::Cap,
            Self::Gap(_) => Reason::Gap,
            Self::CoolOff(_) => Reason::CoolOff,
            Self::SendWindow(_) => Reason::QuietHours,
        }
    }

    /// The zone in which it reads the clock.
    pub fn zone(&self) -> &ZoneChoice {
        match self {
            Self::Cap(cap) => &cap.window.zone,
            Self::Gap(gap) => &gap.zone,
            Self::CoolOff(cool_off) => &cool_off.zone,
            Self::SendWindow(window) => &window.zone,
        }
    }

    /// Whether its working reads facts that change with time alone.
    pub fn depends_on_time(&self) -> bool {
        match self {
            Self::Cap(cap) => cap.limits.depends_on_time(),
            Self::Gap(_) | Self::CoolOff(_) | Self::SendWindow(_) => false,
        }
    }

    /// Does the intent pass in this zone?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> Result<RuleOutcome, ConditionError> {
        match self {
            Self::Cap(cap) => cap.evaluate(rule, view, zone),
            Self::Gap(gap) => Ok(gap.evaluate(rule, view, zone)),
            Self::CoolOff(cool_off) => Ok(cool_off.evaluate(rule, view, zone)),
            Self::SendWindow(window) => Ok(window.evaluate(view.at_ms, zone)),
        }
    }
}
