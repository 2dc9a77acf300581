//! The total order of competitors: class rank, priority, score, earliest expiry (absent last), oldest creation, intent id.
//! Due intents of one customer are judged in this order.

use crate::customer::{Customer, Waiting};
use crate::message::{Intent, Name};
use crate::policy::condition::{ConditionError, Derived, Facts};
use crate::policy::facts;
use crate::policy::model::Policy;
use std::cmp::Ordering;

/// Where an intent stands among its competitors. The least goes first.
#[derive(Debug, Clone)]
pub struct Place {
    pub class_rank: u16,
    pub priority: u16,
    /// From [`score`].
    pub score: f64,
    pub expires_at_ms: Option<i64>,
    pub created_at_ms: i64,
    pub intent_id: Name,
}

impl Place {
    /// The place of an intent, as it stands at `at_ms`. A formula that fails makes the score 0 (and the judge suppresses).
    pub fn of_intent(policy: &Policy, customer: &Customer, intent: &Intent, at_ms: i64) -> Self {
        let class = policy.class_of(intent.class.as_deref());
        Self {
            class_rank: class.map_or(0, |class| class.rank),
            priority: intent.priority,
            score: score(policy, customer, intent, at_ms).unwrap_or(0.0),
            expires_at_ms: intent.expires_at_ms,
            created_at_ms: intent.created_at_ms,
            intent_id: intent.intent_id.clone(),
        }
    }

    /// The place that an intent was given when it was put into the queue.
    pub fn of_waiting(waiting: &Waiting) -> Self {
        Self {
            class_rank: waiting.class_rank,
            priority: waiting.priority,
            score: waiting.score,
            expires_at_ms: waiting.expires_at_ms,
            created_at_ms: waiting.created_at_ms,
            intent_id: waiting.intent_id.clone(),
        }
    }
}

/// The policy's formula, over the intent on the channel that it asks for; without one, propensity times value, where a
/// missing factor is 0.
///
/// # Errors
/// The formula failed.
pub fn score(policy: &Policy, customer: &Customer, intent: &Intent, at_ms: i64) -> Result<f64, ConditionError> {
    let Some(formula) = &policy.score else {
        // Both are finite, and only their product may not be; a negative zero may not order anything.
        return Ok(intent.propensity.unwrap_or(0.0) * intent.value.unwrap_or(0.0) + 0.0);
    };
    let derived = if formula.depends_on_time() {
        facts::derived(policy, customer, at_ms)
    } else {
        Derived::default()
    };
    let unnamed = Name::from("");
    let class = policy.class_of(intent.class.as_deref());
    formula.evaluate(&Facts {
        intent,
        channel: &intent.channel,
        class: class.map_or(&unnamed, |class| &class.name),
        customer,
        derived: &derived,
    })
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let expiry = |place: &Self| place.expires_at_ms.unwrap_or(i64::MAX);
        (other.class_rank.cmp(&self.class_rank))
            .then_with(|| other.priority.cmp(&self.priority))
            .then_with(|| other.score.total_cmp(&self.score))
            .then_with(|| expiry(self).cmp(&expiry(other)))
            .then_with(|| self.created_at_ms.cmp(&other.created_at_ms))
            .then_with(|| self.intent_id.cmp(&other.intent_id))
    }
}
