//! The rule kinds, one file each. A kind answers one question at one instant: does the intent pass, and if not, from when
//! on would it pass if nothing else happened?
//!
//! Invariant that the wake time rests on: where an evaluation at `t` blocks and answers `free_at`, the same rule blocks at
//! every instant of `[t, free_at)` as long as the facts that its conditions read stay as they are.

pub mod cap;
pub mod cool_off;
pub mod gap;
pub mod send_window;

pub use cap::{Cap, Limit, LimitRow, Limits};
pub use cool_off::{Block, CoolOff, Length, Trigger};
pub use gap::Gap;
pub use send_window::SendWindow;

use crate::policy::judgement::Reason;
use crate::policy::model::RuleKindName;

/// What a rule is, with everything that its kind needs.
#[derive(Debug)]
pub enum RuleKind {
    Cap(Cap),
    Gap(Gap),
    CoolOff(CoolOff),
    /// `send-window` and `quiet-hours`: they differ in the polarity of the schedule.
    SendWindow(SendWindow),
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
}
