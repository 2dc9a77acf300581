//! `capacity`: what all customers together may get, such as the messages that a gateway takes in an hour.
//!
//! Partitions know nothing of each other, so each holds an equal share of the limit; the remainder goes to the lowest
//! numbers, and the shares add up to the limit exactly. The limit is therefore never exceeded, and it is under-used where
//! the customers of some partitions get more than those of others.
//!
//! A partition counts its approvals in buckets of a hundredth of the window; a bucket leaves as a whole, when its newest
//! approval does. So at most one hundredth of the window is counted for too long, and nothing is for too short a time. What
//! is given back or cancelled was taken all the same, and stays counted.

use super::sum::{self, Room};
use super::{RuleKind, RuleOutcome, View};
use crate::customer::capacity::Bucket;
use crate::customer::{CapacityUse, Contact, Profile};
use crate::policy::model::{Policy, Rule};
use crate::policy::selector::LedgerContact;
use crate::policy::window::{Window, ZoneChoice};
use jiff::tz::TimeZone;

/// Into so many parts a window is cut.
const BUCKETS_IN_A_WINDOW: i64 = 100;

/// At most so many contacts of all customers in a window.
#[derive(Debug)]
pub struct Capacity {
    /// Of the whole company.
    pub limit: i64,
    /// Never in the zone of a customer.
    pub window: Window,
}

impl Capacity {
    /// Does the partition's share have room?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> RuleOutcome {
        let used = view.capacity.of(&rule.id);
        let counting: Vec<(i64, i64)> = used
            .iter()
            .map(|bucket| (self.leaves_at(bucket, zone), bucket.count))
            .filter(|(leaves_ms, _)| *leaves_ms > view.at_ms)
            .collect();
        let count = counting
            .iter()
            .fold(0_i64, |sum, (_, count)| sum.saturating_add(*count));
        let share = share(self.limit, view.capacity.partition(), view.partition_count);
        let passes = count < share;
        let free_at_ms = if passes {
            None
        } else {
            sum::free_at(counting, count, Room { limit: share, own: 1 })
        };
        RuleOutcome {
            passes,
            count: Some(count),
            limit: Some(share),
            bounds: (!passes).then(|| self.window.bounds(view.at_ms, zone)),
            free_at_ms,
        }
    }

    fn leaves_at(&self, bucket: &Bucket, zone: &TimeZone) -> i64 {
        self.window.leaves_at(bucket.last_ms, zone)
    }

    fn note(&self, rule: &Rule, at_ms: i64, company: &TimeZone, used: &mut CapacityUse) {
        let zone = match &self.window.zone {
            ZoneChoice::Fixed(zone) => zone,
            ZoneChoice::Company | ZoneChoice::Customer => company,
        };
        let bounds = self.window.bounds(at_ms, zone);
        let length_ms = bounds.end_ms.saturating_sub(bounds.start_ms) / BUCKETS_IN_A_WINDOW;
        let part = |at_ms: i64| at_ms.div_euclid(length_ms.max(1));
        used.add(
            &rule.id,
            at_ms,
            |first_ms, at_ms| part(first_ms) == part(at_ms),
            |bucket| self.leaves_at(bucket, zone) <= at_ms,
        );
    }
}

/// The part of a limit that a partition holds.
fn share(limit: i64, partition: i32, partition_count: i32) -> i64 {
    let (partition, count) = (i64::from(partition), i64::from(partition_count.max(1)));
    limit / count + i64::from(partition < limit % count)
}

/// Counts an approved contact under every capacity that it fills, whatever its class obeys.
pub fn note_approval(policy: &Policy, profile: &Profile, contact: &Contact, used: &mut CapacityUse) {
    for rule in &policy.rules {
        if let RuleKind::Capacity(capacity) = &rule.kind
            && (!rule.counts_by_class || policy.class_counts(&contact.class))
            && rule.counts.matches(&LedgerContact { contact, profile })
        {
            capacity.note(rule, contact.at_ms, &policy.zone, used);
        }
    }
}

/// The rules whose use has to be known before anything is judged.
pub fn capacities(policy: &Policy) -> impl Iterator<Item = &crate::message::Name> {
    let capacities = policy
        .rules
        .iter()
        .filter(|rule| matches!(rule.kind, RuleKind::Capacity(_)));
    capacities.map(|rule| &rule.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_shares_of_all_partitions_are_the_limit(limit in 0..1_000_000_i64, count in 1..500_i32) {
            let shares: Vec<i64> = (0..count).map(|partition| share(limit, partition, count)).collect();
            prop_assert_eq!(shares.iter().sum::<i64>(), limit);
            prop_assert!(shares.is_sorted_by(|one, next| one >= next) && shares[0] - shares[shares.len() - 1] <= 1);
        }
    }
}
