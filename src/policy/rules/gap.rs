//! `gap`: no contact in the last D.

use super::{RuleOutcome, View, tally};
use crate::policy::model::Rule;
use crate::policy::window::{Bounds, Span, ZoneChoice};
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
        let from_ms = self.length.certainly_over_before(view.at_ms);
        let mut count = 0;
        let mut free_at_ms = i64::MIN;
        for contact in tally::contacts(rule, view, from_ms) {
            let over_ms = self.length.after(contact.at_ms, zone);
            let over_ms = over_ms.min(tally::given_back_at(view.policy, contact));
            if over_ms > view.at_ms {
                count += 1;
                free_at_ms = free_at_ms.max(over_ms);
            }
        }
        if !view.customer.ledger_reaches(from_ms) {
            return RuleOutcome::blocked_until(None);
        }
        if count == 0 {
            return RuleOutcome::PASS;
        }
        RuleOutcome {
            passes: false,
            count: Some(count),
            limit: Some(1),
            bounds: Some(Bounds {
                start_ms: self.length.before(view.at_ms, zone),
                end_ms: view.at_ms,
            }),
            free_at_ms: Some(free_at_ms),
        }
    }
}
