//! `gap`: no contact in the last D.

use super::{RuleOutcome, View, tally};
use crate::policy::model::Rule;
use crate::policy::window::{Span, ZoneChoice};
use jiff::tz::TimeZone;

/// The least distance to the contact before.
#[derive(Debug)]
pub struct Gap {
    pub length: Span,
    /// In which months and years are added.
    pub zone: ZoneChoice,
}

impl Gap {
    /// Is the last contact far enough away?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> RuleOutcome {
        tally::none_within(rule, view, self.length, zone, |_| true)
    }
}
