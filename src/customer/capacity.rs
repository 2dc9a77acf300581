//! What one partition has approved under each capacity, which all customers of the company share: state of the partition, not
//! of a customer. It lies beside the customers' values, in the store and in the changelog alike, so that it survives a
//! restart, a restore and a move.
//!
//! Approvals are counted in buckets of time. Contacts of a bucket are forgotten together, when the newest of them is over:
//! a partition may count one that is over already, never the other way round.

use crate::customer::CodecError;
use crate::customer::keys::capacity_key;
use crate::customer::stored::{Change, LoadError, ReadValue};
use crate::message::Name;
use minicbor::{Decode, Encode};
use std::collections::{BTreeMap, BTreeSet};

/// Format of the value, and the oldest reader that may read it.
const FORMAT: u8 = 1;

/// So many approvals within a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Bucket {
    #[n(0)]
    pub first_ms: i64,
    #[n(1)]
    pub last_ms: i64,
    #[n(2)]
    pub count: i64,
}

/// The use that one partition has made of the capacities, by the id of the rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CapacityUse {
    partition: i32,
    rules: BTreeMap<Name, Vec<Bucket>>,
    changed: BTreeSet<Name>,
}

impl CapacityUse {
    /// Nothing was used yet.
    pub const fn new(partition: i32) -> Self {
        Self {
            partition,
            rules: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// What the store holds of these rules.
    ///
    /// # Errors
    /// The value cannot be read: nothing may be assumed then.
    pub fn load<'r, E>(
        partition: i32,
        rules: impl Iterator<Item = &'r Name>,
        read: &mut ReadValue<'_, E>,
    ) -> Result<Self, LoadError<E>> {
        let mut loaded = Self::new(partition);
        for rule in rules {
            let value = read(&capacity_key(partition, rule)).map_err(LoadError::Read)?;
            if let Some(value) = value {
                loaded.rules.insert(rule.clone(), decode(&value)?);
            }
        }
        Ok(loaded)
    }

    /// The partition that it is of.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// What was used under a rule, oldest first.
    pub fn of(&self, rule: &str) -> &[Bucket] {
        self.rules.get(rule).map_or(&[], Vec::as_slice)
    }

    /// Counts an approval: in the newest bucket if the instants belong together, else in a new one. Time never goes back.
    /// What is over is forgotten.
    pub fn add(
        &mut self,
        rule: &Name,
        at_ms: i64,
        belong_together: impl Fn(i64, i64) -> bool,
        is_over: impl Fn(&Bucket) -> bool,
    ) {
        let buckets = self.rules.entry(rule.clone()).or_default();
        match buckets.last_mut() {
            Some(newest) if belong_together(newest.first_ms, at_ms) => {
                newest.last_ms = newest.last_ms.max(at_ms);
                newest.count = newest.count.saturating_add(1);
            }
            _ => buckets.push(Bucket {
                first_ms: at_ms,
                last_ms: at_ms,
                count: 1,
            }),
        }
        buckets.retain(|bucket| !is_over(bucket));
        self.changed.insert(rule.clone());
    }

    /// The values that changed since the load (or since the last call).
    pub fn changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        let values = changed.iter().map(|rule| {
            let value = Some(encode(self.of(rule)));
            (capacity_key(self.partition, rule), value)
        });
        values.collect()
    }
}

fn encode(buckets: &[Bucket]) -> Vec<u8> {
    let mut bytes = vec![FORMAT, FORMAT];
    // Writing to a vector cannot fail.
    let _ = minicbor::encode(buckets, &mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Vec<Bucket>, CodecError> {
    let damaged = CodecError::Corrupt("the use of a capacity");
    let (head, body) = bytes.split_first_chunk::<2>().ok_or(damaged.clone())?;
    if head[1] > FORMAT {
        return Err(CodecError::TooNew {
            format: head[0],
            oldest_reader: head[1],
            reader: FORMAT,
        });
    }
    minicbor::decode(body).map_err(|_| damaged)
}
