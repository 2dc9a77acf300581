//! `back-off`: the longer a customer does not answer, the further apart the contacts.
//!
//! How many are unanswered changes with time alone: a contact without report counts as delivered once `confirm-within` is
//! over. So the wait is looked at from one such instant to the next; between two of them nothing changes but the clock.

use super::{RuleOutcome, View, tally};
use crate::customer::facts::{ResetBy, delivered_at};
use crate::policy::model::Rule;
use crate::policy::window::Bounds;

/// Thousandths in a whole.
const FACTOR_UNITS: i128 = 1_000;

/// A gap that grows.
#[derive(Debug)]
pub struct BackOff {
    /// So many unanswered contacts are the first that need a gap. At least 1.
    pub after: i64,
    pub gap_ms: i64,
    /// By how much each further contact lengthens the gap, in thousandths. At least 1,000.
    pub factor_milli: i64,
    pub max_ms: i64,
    /// A response resets on its own channel only; else on all.
    pub same_channel: bool,
}

/// An unanswered contact: when it was made, and when it begins to count as delivered.
#[derive(Debug, Clone, Copy)]
struct Unanswered {
    at_ms: i64,
    delivered_ms: i64,
}

impl BackOff {
    /// Is the last unanswered contact far enough away?
    pub fn evaluate(&self, rule: &Rule, view: &View) -> RuleOutcome {
        let (unanswered, since_ms) = self.unanswered(rule, view);
        if !view.customer.ledger_reaches(since_ms) {
            return RuleOutcome::blocked_until(None);
        }
        let (count, free_at_ms) = self.count_and_free(&unanswered, view.at_ms);
        let passes = free_at_ms <= view.at_ms;
        let last_ms = last_delivered(&unanswered, view.at_ms).filter(|_| count >= self.after);
        RuleOutcome {
            passes,
            count: Some(count),
            limit: Some(self.after),
            bounds: last_ms.map(|start_ms| Bounds {
                start_ms,
                end_ms: free_at_ms,
            }),
            free_at_ms: (!passes).then(|| self.first_free(&unanswered, free_at_ms)),
        }
    }

    /// The next instant after this one at which a contact begins to count as delivered.
    pub fn next_change(&self, rule: &Rule, view: &View) -> Option<i64> {
        let (unanswered, _) = self.unanswered(rule, view);
        next_delivered(&unanswered, view.at_ms)
    }

    /// The contacts that count, or will count, as unanswered, and the instant from which on they were looked for.
    fn unanswered(&self, rule: &Rule, view: &View) -> (Vec<Unanswered>, i64) {
        let answered_ms = |channel: Option<&str>| {
            let reset_by = channel.map_or(ResetBy::AnyChannel, ResetBy::Channel);
            let response_ms = view.customer.last_response_ms(reset_by, view.at_ms, view.policy);
            response_ms.map_or(i64::MIN, |at_ms| at_ms.saturating_add(1))
        };
        let since_ms = if self.same_channel { i64::MIN } else { answered_ms(None) };
        let contacts = tally::contacts(rule, view, since_ms)
            .filter(|contact| !self.same_channel || contact.at_ms >= answered_ms(Some(&contact.channel)));
        let unanswered = contacts.filter_map(|contact| {
            Some(Unanswered {
                at_ms: contact.at_ms,
                delivered_ms: delivered_at(contact, view.policy)?,
            })
        });
        (unanswered.collect(), since_ms)
    }

    /// How many count at an instant, and when the wait after the last of them is over if no other joins them.
    fn count_and_free(&self, unanswered: &[Unanswered], at_ms: i64) -> (i64, i64) {
        let delivered = unanswered.iter().filter(|contact| contact.delivered_ms <= at_ms);
        let count = i64::try_from(delivered.count()).unwrap_or(i64::MAX);
        match last_delivered(unanswered, at_ms) {
            Some(last_ms) if count >= self.after => (count, last_ms.saturating_add(self.wait_ms(count))),
            _ => (count, i64::MIN),
        }
    }

    /// The first instant at which it passes, given when the wait that holds now is over: a contact that begins to count
    /// before lengthens it.
    fn first_free(&self, unanswered: &[Unanswered], free_at_ms: i64) -> i64 {
        let mut free_at_ms = free_at_ms;
        loop {
            // Later contacts are counted as of that instant: they can only add to the wait.
            let (_, next_ms) = self.count_and_free(unanswered, free_at_ms);
            if next_ms <= free_at_ms {
                return free_at_ms;
            }
            free_at_ms = next_ms;
        }
    }

    /// The gap after so many, in milliseconds: lengthened step by step, each step rounded down.
    fn wait_ms(&self, count: i64) -> i64 {
        let mut wait_ms = i128::from(self.gap_ms);
        let max_ms = i128::from(self.max_ms);
        for _ in self.after..count {
            let longer_ms = wait_ms * i128::from(self.factor_milli) / FACTOR_UNITS;
            if wait_ms >= max_ms || longer_ms == wait_ms {
                break;
            }
            wait_ms = longer_ms;
        }
        i64::try_from(wait_ms.min(max_ms)).unwrap_or(i64::MAX)
    }
}

fn last_delivered(unanswered: &[Unanswered], at_ms: i64) -> Option<i64> {
    let delivered = unanswered.iter().filter(|contact| contact.delivered_ms <= at_ms);
    delivered.map(|contact| contact.at_ms).max()
}

fn next_delivered(unanswered: &[Unanswered], at_ms: i64) -> Option<i64> {
    let instants = unanswered.iter().map(|contact| contact.delivered_ms);
    instants.filter(|delivered_ms| *delivered_ms > at_ms).min()
}
