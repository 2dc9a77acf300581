//! `mix`: of the last contacts, this one included, at most a share is of one kind.
//!
//! Only what is of the kind can make it too many: everything else passes, so that the mix can get better. Time brings no
//! contacts, so that only one that is given back for want of a report can end a block by itself.

use super::{RuleOutcome, View, tally};
use crate::customer::Contact;
use crate::policy::model::Rule;
use crate::policy::selector::Selector;
use crate::policy::window::NEVER_MS;

/// Hundredths of a percent in a whole.
const WHOLE: i64 = 10_000;

/// At most a share of the last contacts.
#[derive(Debug)]
pub struct Mix {
    /// The kind.
    pub of: Selector,
    /// In hundredths of a percent.
    pub at_most: i64,
    /// How many contacts are looked at, this one included. At least 2.
    pub last: usize,
}

impl Mix {
    /// Is there enough else among the last ones?
    pub fn evaluate(&self, rule: &Rule, view: &View) -> RuleOutcome {
        if !self.of.matches(&view.subject) {
            return RuleOutcome::PASS;
        }
        let contacts: Vec<(i64, bool)> = tally::contacts(rule, view, i64::MIN)
            .map(|contact| self.described(view, contact))
            .collect();
        let earlier = self.last.saturating_sub(1);
        if contacts.len() < earlier && !view.customer.ledger_reaches(i64::MIN) {
            return RuleOutcome::blocked_until(None);
        }
        let (passes, count) = self.passes_at(&contacts, view.at_ms);
        RuleOutcome {
            passes,
            count: Some(count),
            limit: Some(self.most()),
            bounds: None,
            free_at_ms: if passes {
                None
            } else {
                self.free_at(&contacts, view.at_ms)
            },
        }
    }

    /// The next instant after this one at which a contact is given back: the mix is another one then.
    pub fn next_change(&self, rule: &Rule, view: &View) -> Option<i64> {
        let changes = tally::contacts(rule, view, i64::MIN)
            .map(|contact| tally::given_back_at(view.policy, contact))
            .filter(|back_ms| *back_ms > view.at_ms && *back_ms != NEVER_MS);
        changes.min()
    }

    /// How many of the last ones may be of the kind.
    pub fn most(&self) -> i64 {
        let last = i64::try_from(self.last).unwrap_or(i64::MAX);
        last.saturating_mul(self.at_most) / WHOLE
    }

    /// Until when it counts, and whether it is of the kind.
    fn described(&self, view: &View, contact: &Contact) -> (i64, bool) {
        (
            tally::given_back_at(view.policy, contact),
            tally::is_picked(&self.of, view, contact),
        )
    }

    /// Whether there is enough else at an instant, and how many of the last ones are of the kind, this one included. With fewer
    /// contacts than are looked at it passes.
    fn passes_at(&self, newest_first: &[(i64, bool)], at_ms: i64) -> (bool, i64) {
        let earlier = self.last.saturating_sub(1);
        let counting = newest_first.iter().filter(|(back_ms, _)| *back_ms > at_ms);
        let (mut looked_at, mut count) = (0, 1);
        for (_, of_the_kind) in counting.take(earlier) {
            looked_at += 1;
            count += i64::from(*of_the_kind);
        }
        (looked_at < earlier || count <= self.most(), count)
    }

    fn free_at(&self, newest_first: &[(i64, bool)], at_ms: i64) -> Option<i64> {
        let mut changes: Vec<i64> = newest_first.iter().map(|(back_ms, _)| *back_ms).collect();
        changes.retain(|back_ms| *back_ms > at_ms && *back_ms != NEVER_MS);
        changes.sort_unstable();
        let passes = |at_ms: &i64| self.passes_at(newest_first, *at_ms).0;
        changes.into_iter().find(passes)
    }
}
