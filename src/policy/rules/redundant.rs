//! `redundant`: the same offer was not made within a length of time, by whatever division.

use super::{RuleOutcome, View, tally};
use crate::policy::model::Rule;
use crate::policy::selector::{Described, Field, agree};
use crate::policy::window::{Span, ZoneChoice};
use jiff::tz::TimeZone;

/// No contact with the same key.
#[derive(Debug)]
pub struct Redundant {
    /// What must not repeat. An intent that lacks it repeats nothing.
    pub key: Field,
    pub within: Span,
    /// In which months and years are added.
    pub zone: ZoneChoice,
}

impl Redundant {
    /// Is it new to the customer?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> RuleOutcome {
        let subject = &view.subject;
        let is_missing = match self.key {
            Field::Tags => subject.tags().is_empty(),
            key => subject.text(key).is_none(),
        };
        if is_missing {
            return RuleOutcome::PASS;
        }
        tally::none_within(rule, view, self.within, zone, |contact| {
            agree(&[self.key], subject, contact)
        })
    }
}
