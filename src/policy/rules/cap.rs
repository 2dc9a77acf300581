//! `cap`: the contacts in the window are fewer than the limit.

use super::{RuleOutcome, View, tally};
use crate::customer::{Contact, Profile};
use crate::policy::condition::{Condition, ConditionError, Expression, Facts};
use crate::policy::model::Rule;
use crate::policy::selector::{Field, LedgerContact, agree};
use crate::policy::window::{Sight, Window, free_at};
use jiff::tz::TimeZone;

/// At most so many contacts in a window.
#[derive(Debug)]
pub struct Cap {
    pub window: Window,
    pub limits: Limits,
    /// Counts different values of a field instead of contacts; a value that is already there adds nothing.
    pub distinct: Option<Field>,
}

/// The limit that holds: the first row whose condition is true, else `otherwise`.
#[derive(Debug)]
pub struct Limits {
    pub rows: Vec<LimitRow>,
    pub otherwise: Limit,
}

/// A row of `limits`.
#[derive(Debug)]
pub struct LimitRow {
    pub when: Condition,
    pub limit: Limit,
}

/// How much is allowed, in the unit of the kind.
#[derive(Debug)]
pub enum Limit {
    /// 0 blocks always.
    Number(i64),
    Unlimited,
    /// An integer expression.
    Expression(Expression),
}

impl Limits {
    /// The limit that holds; none: unlimited.
    pub fn resolve(&self, facts: &Facts) -> Result<Option<i64>, ConditionError> {
        for row in &self.rows {
            if row.when.test(facts)? {
                return row.limit.value(facts);
            }
        }
        self.otherwise.value(facts)
    }

    /// Whether the limit can change while nothing happens.
    pub fn depends_on_time(&self) -> bool {
        let mut rows = self.rows.iter();
        self.otherwise.depends_on_time() || rows.any(|row| row.when.depends_on_time() || row.limit.depends_on_time())
    }

    /// Whether a condition or an expression in it reads `customer.fatigue`.
    pub fn reads_fatigue(&self) -> bool {
        let mut rows = self.rows.iter();
        self.otherwise.reads_fatigue() || rows.any(|row| row.when.reads_fatigue() || row.limit.reads_fatigue())
    }
}

impl Limit {
    fn value(&self, facts: &Facts) -> Result<Option<i64>, ConditionError> {
        match self {
            Self::Number(number) => Ok(Some(*number)),
            Self::Unlimited => Ok(None),
            Self::Expression(expression) => expression.evaluate(facts).map(Some),
        }
    }

    fn depends_on_time(&self) -> bool {
        matches!(self, Self::Expression(expression) if expression.depends_on_time())
    }

    fn reads_fatigue(&self) -> bool {
        matches!(self, Self::Expression(expression) if expression.reads_fatigue())
    }
}

impl Cap {
    /// Fewer contacts (or values) than the limit?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> Result<RuleOutcome, ConditionError> {
        let Some(limit) = self.limits.resolve(&view.facts)? else {
            return Ok(RuleOutcome::PASS);
        };
        let sight = self.window.sight(view.at_ms, zone);
        let outcome = match self.distinct {
            None => self.count_contacts(rule, view, zone, sight, limit),
            Some(field) => self.count_values(field, rule, view, zone, sight, limit),
        };
        Ok(tally::if_known(view, sight.from_ms, outcome))
    }

    fn count_contacts(&self, rule: &Rule, view: &View, zone: &TimeZone, sight: Sight, limit: i64) -> RuleOutcome {
        let seen = || tally::in_window(rule, view, &self.window, zone, sight);
        let count = to_count(seen().count());
        if count < limit {
            return self.outcome(view, zone, true, count, limit, None);
        }
        let mut leaves: Vec<i64> = seen()
            .map(|contact| tally::leaves_window(view, contact, &self.window, zone))
            .collect();
        let free_at_ms = free_at(&mut leaves, limit);
        self.outcome(view, zone, false, count, limit, free_at_ms)
    }

    fn count_values(
        &self,
        field: Field,
        rule: &Rule,
        view: &View,
        zone: &TimeZone,
        sight: Sight,
        limit: i64,
    ) -> RuleOutcome {
        let profile = &view.customer.profile;
        fn described<'c>(contact: &'c Contact, profile: &'c Profile) -> LedgerContact<'c> {
            LedgerContact { contact, profile }
        }
        // A value leaves with the last contact that has it.
        let mut values: Vec<(&Contact, i64)> = Vec::new();
        let mut known = false;
        for contact in tally::in_window(rule, view, &self.window, zone, sight) {
            let leaves_ms = tally::leaves_window(view, contact, &self.window, zone);
            known |= agree(&[field], &view.subject, &described(contact, profile));
            let same =
                |value: &(&Contact, i64)| agree(&[field], &described(value.0, profile), &described(contact, profile));
            match values.iter().position(same) {
                Some(index) => values[index].1 = values[index].1.max(leaves_ms),
                None => values.push((contact, leaves_ms)),
            }
        }
        let count = to_count(values.len());
        let passes = limit > 0 && (known || count < limit);
        let mut leaves: Vec<i64> = values.into_iter().map(|(_, leaves_ms)| leaves_ms).collect();
        let free_at_ms = if passes { None } else { free_at(&mut leaves, limit) };
        self.outcome(view, zone, passes, count, limit, free_at_ms)
    }

    fn outcome(
        &self,
        view: &View,
        zone: &TimeZone,
        passes: bool,
        count: i64,
        limit: i64,
        free_at_ms: Option<i64>,
    ) -> RuleOutcome {
        RuleOutcome {
            passes,
            count: Some(count),
            limit: Some(limit),
            bounds: (!passes).then(|| self.window.bounds(view.at_ms, zone)),
            free_at_ms,
        }
    }
}

fn to_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
