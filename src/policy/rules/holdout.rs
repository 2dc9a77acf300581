//! `holdout`: a fixed share of the customers is left alone, so that what the messages do can be measured. The arms of
//! experiments are drawn in the same way.

use super::{RuleOutcome, View};
use crate::message::Name;
use sha2::{Digest, Sha256};

/// Hundredths of a percent in a whole.
pub const WHOLE: u64 = 10_000;
/// The group of a customer who is left alone.
pub const HOLDOUT: &str = "holdout";
/// The group of all others.
pub const TREATED: &str = "treated";

/// A share of the customers who get nothing.
#[derive(Debug)]
pub struct Holdout {
    /// In hundredths of a percent.
    pub share: u64,
    pub salt: String,
}

/// Customers divided into arms; conditions ask for the arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    pub id: Name,
    pub salt: String,
    /// In the order written, each with its share in hundredths of a percent. Together at most a whole.
    pub arms: Vec<(Name, u64)>,
}

impl Holdout {
    /// Is the customer treated?
    pub fn evaluate(&self, view: &View) -> RuleOutcome {
        if self.contains(&view.customer.id) {
            return RuleOutcome::blocked_until(None);
        }
        RuleOutcome::PASS
    }

    /// The group of a customer, for the record.
    pub fn group(&self, customer_id: &str) -> &'static str {
        if self.contains(customer_id) { HOLDOUT } else { TREATED }
    }

    fn contains(&self, customer_id: &str) -> bool {
        drawn(&self.salt, customer_id) < self.share
    }
}

impl Experiment {
    /// The arm of a customer; none: the arms are not for everybody, and the customer is in none.
    pub fn arm(&self, customer_id: &str) -> Option<&Name> {
        let number = drawn(&self.salt, customer_id);
        let mut end = 0;
        let mut arms = self.arms.iter();
        arms.find(|(_, share)| {
            end += share;
            number < end
        })
        .map(|(name, _)| name)
    }

    /// Whether every customer is in some arm.
    pub fn is_for_everybody(&self) -> bool {
        self.arms.iter().map(|(_, share)| share).sum::<u64>() >= WHOLE
    }
}

/// The number of a customer, below [`WHOLE`]: the first eight bytes of SHA-256 over salt, a zero byte and id, as a
/// big-endian number.
fn drawn(salt: &str, customer_id: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(salt)
        .chain_update([0])
        .chain_update(customer_id)
        .finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
        % WHOLE
}
