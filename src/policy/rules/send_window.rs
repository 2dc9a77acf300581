//! `send-window` and `quiet-hours`: the local wall clock is open.

use super::RuleOutcome;
use crate::policy::window::{Schedule, ZoneChoice};
use jiff::tz::TimeZone;

/// When messages may go out.
#[derive(Debug)]
pub struct SendWindow {
    pub schedule: Schedule,
    /// Defaults to the customer's.
    pub zone: ZoneChoice,
    /// A deferred intent wakes up to so much later than the opening.
    pub jitter_ms: i64,
}

impl SendWindow {
    /// Is the clock of the zone open?
    pub fn evaluate(&self, at_ms: i64, zone: &TimeZone) -> RuleOutcome {
        if self.schedule.is_open(at_ms, zone) {
            return RuleOutcome::PASS;
        }
        RuleOutcome::blocked_until(self.schedule.next_open(at_ms, zone))
    }
}
