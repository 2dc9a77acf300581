//! Conditions and expressions of the policy: the interface that the rules ask. The expression language behind it is
//! compiled by the front end of the policy file.

pub mod compile;
mod constant;
mod lower;
mod program;

#[cfg(test)]
mod tests;

pub use compile::{Problem, Vocabulary};

use crate::customer::Customer;
use crate::message::{Intent, Name};

/// What a condition may look at, at one instant.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub intent: &'a Intent,
    /// The channel being judged: a fallback's name while one is tried.
    pub channel: &'a Name,
    /// The class it is judged as.
    pub class: &'a Name,
    pub customer: &'a Customer,
    pub derived: &'a Derived,
}

/// What is computed from the ledger for the instant of judgement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Derived {
    /// Contacts that count as delivered since the last response on any channel.
    pub unanswered: i64,
    /// The same by channel; a channel that is not listed has none.
    pub unanswered_by: Vec<(Name, i64)>,
    /// Whole days of 24 hours; none: never contacted.
    pub days_since_first_contact: Option<i64>,
    /// None: never responded.
    pub days_since_response: Option<i64>,
    /// Whole points; 0 where no condition reads it.
    pub fatigue: i64,
}

/// An expression that could not be evaluated: a hit, `policy_error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an expression of the policy could not be evaluated: {what}")]
pub struct ConditionError {
    pub what: &'static str,
}

/// A compiled truth-valued expression.
#[derive(Debug, Clone)]
pub struct Condition(Test);

/// A compiled integer expression.
#[derive(Debug, Clone)]
pub struct Expression(Measure);

/// A compiled expression that orders competitors: a number, whole or not.
#[derive(Debug, Clone)]
pub struct Score(Weight);

type Test = std::sync::Arc<Compiled<bool>>;
type Measure = std::sync::Arc<Compiled<i64>>;
type Weight = std::sync::Arc<Compiled<f64>>;

type Evaluate<T> = Box<dyn Fn(&Facts) -> Result<T, ConditionError> + Send + Sync>;

/// What an expression reads that has to be computed, or that changes while nothing happens.
#[derive(Debug, Clone, Copy, Default)]
struct Reads {
    time_dependent: bool,
    fatigue: bool,
}

impl Reads {
    fn time(time_dependent: bool) -> Self {
        Self {
            time_dependent,
            fatigue: false,
        }
    }
}

/// The function that an expression was compiled to.
struct Compiled<T> {
    source: String,
    reads: Reads,
    evaluate: Evaluate<T>,
}

impl<T> std::fmt::Debug for Compiled<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Compiled").field(&self.source).finish()
    }
}

impl Condition {
    /// A condition from its text and the function that it was compiled to.
    pub fn new(
        source: impl Into<String>,
        time_dependent: bool,
        evaluate: impl Fn(&Facts) -> Result<bool, ConditionError> + Send + Sync + 'static,
    ) -> Self {
        Self::reading(source, Reads::time(time_dependent), evaluate)
    }

    fn reading(
        source: impl Into<String>,
        reads: Reads,
        evaluate: impl Fn(&Facts) -> Result<bool, ConditionError> + Send + Sync + 'static,
    ) -> Self {
        Self(std::sync::Arc::new(Compiled {
            source: source.into(),
            reads,
            evaluate: Box::new(evaluate),
        }))
    }

    /// Whether it holds.
    pub fn test(&self, facts: &Facts) -> Result<bool, ConditionError> {
        (self.0.evaluate)(facts)
    }

    /// Whether its value can change while nothing happens: it reads `unanswered`, `fatigue` or one of the
    /// `days_since_…`.
    pub fn depends_on_time(&self) -> bool {
        self.0.reads.time_dependent
    }

    /// Whether it reads `customer.fatigue`.
    pub fn reads_fatigue(&self) -> bool {
        self.0.reads.fatigue
    }
}

impl Expression {
    /// An expression from its text and the function that it was compiled to.
    pub fn new(
        source: impl Into<String>,
        time_dependent: bool,
        evaluate: impl Fn(&Facts) -> Result<i64, ConditionError> + Send + Sync + 'static,
    ) -> Self {
        Self::reading(source, Reads::time(time_dependent), evaluate)
    }

    fn reading(
        source: impl Into<String>,
        reads: Reads,
        evaluate: impl Fn(&Facts) -> Result<i64, ConditionError> + Send + Sync + 'static,
    ) -> Self {
        Self(std::sync::Arc::new(Compiled {
            source: source.into(),
            reads,
            evaluate: Box::new(evaluate),
        }))
    }

    /// Its value.
    pub fn evaluate(&self, facts: &Facts) -> Result<i64, ConditionError> {
        (self.0.evaluate)(facts)
    }

    /// Whether its value can change while nothing happens.
    pub fn depends_on_time(&self) -> bool {
        self.0.reads.time_dependent
    }

    /// Whether it reads `customer.fatigue`.
    pub fn reads_fatigue(&self) -> bool {
        self.0.reads.fatigue
    }
}

impl Score {
    /// A score from its text and the function that it was compiled to.
    pub fn new(
        source: impl Into<String>,
        time_dependent: bool,
        evaluate: impl Fn(&Facts) -> Result<f64, ConditionError> + Send + Sync + 'static,
    ) -> Self {
        Self::reading(source, Reads::time(time_dependent), evaluate)
    }

    fn reading(
        source: impl Into<String>,
        reads: Reads,
        evaluate: impl Fn(&Facts) -> Result<f64, ConditionError> + Send + Sync + 'static,
    ) -> Self {
        Self(std::sync::Arc::new(Compiled {
            source: source.into(),
            reads,
            evaluate: Box::new(evaluate),
        }))
    }

    /// Its value: never "not a number", which nothing could be ordered by.
    pub fn evaluate(&self, facts: &Facts) -> Result<f64, ConditionError> {
        let score = (self.0.evaluate)(facts)?;
        if score.is_nan() {
            return Err(ConditionError {
                what: "a score that is not a number",
            });
        }
        // A negative zero must not stand below zero.
        Ok(score + 0.0)
    }

    /// Whether its value can change while nothing happens.
    pub fn depends_on_time(&self) -> bool {
        self.0.reads.time_dependent
    }

    /// Whether it reads `customer.fatigue`.
    pub fn reads_fatigue(&self) -> bool {
        self.0.reads.fatigue
    }
}
