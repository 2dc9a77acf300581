//! What an audit has to say: what was broken, what was checked and how often, and what was not checked, and why.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Violations that are told one by one; the others are counted.
pub const TOLD_AT_MOST: usize = 1_000;

/// What can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Promise {
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    /// What contract.md says about the form of records.
    #[serde(rename = "contract")]
    Contract,
}

impl Promise {
    /// All of them.
    pub const ALL: [Promise; 7] = [
        Self::P1,
        Self::P2,
        Self::P3,
        Self::P4,
        Self::P5,
        Self::P6,
        Self::Contract,
    ];

    /// As it is written in reports and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P5 => "P5",
            Self::P6 => "P6",
            Self::Contract => "contract",
        }
    }
}

/// One broken promise. It names coordinates and ids of rules, never what a record says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    pub promise: Promise,
    /// The record that shows it: `<topic>/<partition>/<offset>`, or a decision id, which has the attempt behind it.
    pub at: String,
    pub what: String,
}

/// How often something was checked, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    pub promise: Promise,
    pub what: String,
    pub count: u64,
}

/// How far one partition was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch {
    pub partition: i32,
    /// Transactions of the partition's task that were derived again.
    pub batches: u64,
    /// The last transaction before those, by its number; 0: they begin with the first.
    pub after_seq: u64,
    /// The newest transaction; none: nothing was ever judged.
    pub until_seq: Option<u64>,
    /// Its decision time.
    pub until: Option<String>,
    /// Intents behind it, which are not judged yet.
    pub pending_intents: i64,
}

/// The outcome of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Sorted; at most [`TOLD_AT_MOST`].
    pub violations: Vec<Violation>,
    /// All of them, by promise.
    pub violation_counts: BTreeMap<&'static str, u64>,
    pub checked: Vec<Count>,
    pub not_checked: Vec<Count>,
    pub partitions: Vec<Stretch>,
    pub records_read: u64,
}

impl Report {
    /// Whether anything was broken.
    pub fn is_clean(&self) -> bool {
        self.violation_counts.values().all(|count| *count == 0)
    }

    /// How many promises were found broken in all.
    pub fn violation_count(&self) -> u64 {
        self.violation_counts.values().sum()
    }
}

/// Where the checks write to.
#[derive(Debug)]
pub struct Findings {
    wanted: BTreeSet<Promise>,
    violations: BTreeSet<Violation>,
    counts: BTreeMap<Promise, u64>,
    checked: BTreeMap<(Promise, &'static str), u64>,
    not_checked: BTreeMap<(Promise, String), u64>,
}

impl Findings {
    /// Only these promises are told of.
    pub fn new(wanted: BTreeSet<Promise>) -> Self {
        Self {
            wanted,
            violations: BTreeSet::new(),
            counts: BTreeMap::new(),
            checked: BTreeMap::new(),
            not_checked: BTreeMap::new(),
        }
    }

    pub fn wants(&self, promise: Promise) -> bool {
        self.wanted.contains(&promise)
    }

    pub fn violation(&mut self, promise: Promise, at: impl ToString, what: impl Into<String>) {
        if !self.wants(promise) {
            return;
        }
        *self.counts.entry(promise).or_default() += 1;
        self.violations.insert(Violation {
            promise,
            at: at.to_string(),
            what: what.into(),
        });
        if self.violations.len() > TOLD_AT_MOST {
            self.violations.pop_last();
        }
    }

    pub fn checked(&mut self, promise: Promise, what: &'static str) {
        self.checked_times(promise, what, 1);
    }

    pub fn checked_times(&mut self, promise: Promise, what: &'static str, times: u64) {
        if self.wants(promise) && times > 0 {
            *self.checked.entry((promise, what)).or_default() += times;
        }
    }

    pub fn not_checked(&mut self, promise: Promise, why: impl Into<String>) {
        self.not_checked_times(promise, why, 1);
    }

    pub fn not_checked_times(&mut self, promise: Promise, why: impl Into<String>, times: u64) {
        if self.wants(promise) && times > 0 {
            *self.not_checked.entry((promise, why.into())).or_default() += times;
        }
    }

    /// The report, with what is not a matter of single records.
    pub fn report(self, partitions: Vec<Stretch>, records_read: u64) -> Report {
        let count = |((promise, what), count): ((Promise, String), u64)| Count { promise, what, count };
        let counts = Promise::ALL
            .iter()
            .filter(|promise| self.wanted.contains(promise))
            .map(|promise| (promise.as_str(), self.counts.get(promise).copied().unwrap_or(0)));
        Report {
            violation_counts: counts.collect(),
            violations: self.violations.into_iter().collect(),
            checked: self
                .checked
                .into_iter()
                .map(|((promise, what), times)| count(((promise, what.to_owned()), times)))
                .collect(),
            not_checked: self.not_checked.into_iter().map(count).collect(),
            partitions,
            records_read,
        }
    }
}
