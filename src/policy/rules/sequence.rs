//! `sequence`: what may not come after what, what may not come near what, and what comes only after something else.

use super::{RuleOutcome, View, tally};
use crate::policy::model::Rule;
use crate::policy::selector::Selector;
use crate::policy::window::{Span, ZoneChoice};
use jiff::tz::TimeZone;

/// An order among contacts.
#[derive(Debug)]
pub struct Sequence {
    pub form: Form,
    pub within: Span,
    /// In which months and years are added.
    pub zone: ZoneChoice,
}

/// The three forms.
#[derive(Debug)]
pub enum Form {
    /// `never … after`: ends with the last contact of the second kind.
    Never { never: Selector, after: Selector },
    /// `never-together`: of those kinds, only one within the time.
    NeverTogether(Vec<Selector>),
    /// `only … if`: needs a contact of the second kind; no time brings one.
    Only {
        only: Selector,
        condition: Selector,
        /// Whether that contact must (or must not) have had a response; none: either.
        answered: Option<bool>,
    },
}

impl Sequence {
    /// Whether a selector of contacts names classes: then it says itself which classes count.
    pub fn names_a_class(&self) -> bool {
        match &self.form {
            Form::Never { after, .. } => after.names_a_class(),
            Form::NeverTogether(kinds) => kinds.iter().any(Selector::names_a_class),
            Form::Only { condition, .. } => condition.names_a_class(),
        }
    }

    /// Is it its turn?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> RuleOutcome {
        match &self.form {
            Form::Never { never, after } if never.matches(&view.subject) => {
                tally::none_within(rule, view, self.within, zone, |contact| after.matches(contact))
            }
            Form::NeverTogether(kinds) => {
                let own = kinds.iter().enumerate().filter(|(_, kind)| kind.matches(&view.subject));
                let others = |own: usize| kinds.iter().enumerate().filter(move |(other, _)| *other != own);
                let apart = own.map(|(own, _)| {
                    tally::none_within(rule, view, self.within, zone, |contact| {
                        others(own).any(|(_, kind)| kind.matches(contact))
                    })
                });
                apart.fold(RuleOutcome::PASS, RuleOutcome::and)
            }
            Form::Only { only, .. } if only.matches(&view.subject) => {
                let count = self.needed_until(rule, view, zone).count();
                let passes = count > 0;
                RuleOutcome {
                    passes,
                    count: i64::try_from(count).ok(),
                    bounds: (!passes).then(|| self.within.bounds(view.at_ms, zone)),
                    // What it needs is no limit, and no time brings it.
                    ..RuleOutcome::PASS
                }
            }
            Form::Never { .. } | Form::Only { .. } => RuleOutcome::PASS,
        }
    }

    /// Of `only … if`: until when the contacts that it needs are there; none: there are none.
    pub fn allowed_until(&self, rule: &Rule, view: &View, zone: &TimeZone) -> Option<i64> {
        self.needed_until(rule, view, zone).max()
    }

    /// Of `only … if`: the contacts that it needs, as the instants at which each of them is too long ago.
    fn needed_until<'v>(
        &'v self,
        rule: &'v Rule,
        view: &'v View<'v>,
        zone: &'v TimeZone,
    ) -> impl Iterator<Item = i64> + 'v {
        let needs = match &self.form {
            Form::Only {
                condition, answered, ..
            } => Some((condition, *answered)),
            Form::Never { .. } | Form::NeverTogether(_) => None,
        };
        let from_ms = self.within.certainly_over_before(view.at_ms);
        let contacts = tally::contacts(rule, view, from_ms).filter(move |contact| {
            needs.is_some_and(|(condition, answered)| {
                tally::is_picked(condition, view, contact)
                    && answered.is_none_or(|answered| view.customer.answered(contact, view.policy) == answered)
            })
        });
        let leaves = contacts.map(move |contact| tally::leaves_span(view, contact, self.within, zone));
        leaves.filter(move |leaves_ms| *leaves_ms > view.at_ms)
    }
}
