//! Where each partition of this process is: the read side of health and readiness. The task loop reports here, and
//! nothing here is ever read by it. What is reported goes into the metrics as well, so that the two never differ.

use super::metrics::{Metrics, number, signed};
use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A partition's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionState {
    /// The changelog is being replayed.
    Restoring,
    /// Judging.
    Running,
    /// Judges nothing, and says why.
    Blocked,
    /// Given up.
    Closed,
}

/// The transaction that holds a partition's end back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HangingTransaction {
    /// An input, an internal topic or the offsets topic.
    pub topic: String,
    /// Of that topic.
    pub partition: i32,
    /// How long the end has stood still.
    pub age_ms: u64,
}

/// What is known of one partition. Reasons name no customer and repeat no message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// Where it is.
    pub state: PartitionState,
    /// Why it is not running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Changelog records that are still to be replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_remaining_records: Option<u64>,
    /// Index of the worker that owns it.
    pub worker: usize,
    /// Records of all inputs that are not processed.
    pub lag_records: u64,
    /// The oldest that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hanging_transaction: Option<HangingTransaction>,
}

/// The status of the process.
pub struct Status {
    metrics: Arc<Metrics>,
    partitions: DashMap<i32, PartitionStatus>,
    /// Transactions that hold a partition back, as the probe last saw them.
    hanging: DashMap<i32, HangingTransaction>,
    unowned: ArcSwap<Vec<i32>>,
    started: AtomicBool,
    /// Workers, and whether each is a member of the group to which nothing was assigned.
    standby: DashMap<usize, bool>,
    /// Workers for which a right is missing, and which.
    forbidden: DashMap<usize, String>,
    policy: ArcSwapOption<String>,
    tripped: ArcSwapOption<String>,
}

/// The body of `/readyz`.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Readiness {
    /// True: 200.
    pub ready: bool,
    /// In one word: `starting`, `standby`, `ready` or `not ready`.
    pub status: &'static str,
    /// What the cluster does not allow: which right is missing, or which setting it refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Label of the policy that judges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// By number.
    pub partitions: Vec<ReadinessOfPartition>,
    /// Partitions that no instance of the group has had for a while. That makes this instance no less ready for its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unowned_partitions: Vec<i32>,
}

/// One partition in the body of `/readyz`.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct ReadinessOfPartition {
    /// Its number.
    pub partition: i32,
    /// What is known of it.
    #[serde(flatten)]
    pub status: PartitionStatus,
}

const STATES: [(PartitionState, &str); 4] = [
    (PartitionState::Restoring, "restoring"),
    (PartitionState::Running, "running"),
    (PartitionState::Blocked, "blocked"),
    (PartitionState::Closed, "closed"),
];

impl PartitionStatus {
    /// A partition in this state, with nothing else known.
    pub fn new(state: PartitionState, worker: usize) -> Self {
        PartitionStatus {
            state,
            reason: None,
            restore_remaining_records: None,
            worker,
            lag_records: 0,
            hanging_transaction: None,
        }
    }
}

impl Status {
    /// A process that is starting.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Status> {
        Arc::new(Status {
            metrics,
            partitions: DashMap::new(),
            hanging: DashMap::new(),
            unowned: ArcSwap::default(),
            started: AtomicBool::new(false),
            standby: DashMap::new(),
            forbidden: DashMap::new(),
            policy: ArcSwapOption::empty(),
            tripped: ArcSwapOption::empty(),
        })
    }

    /// Reports the transactions that hold partitions back, by partition number; what is not named is over.
    pub fn set_hanging(&self, found: &[(i32, HangingTransaction)]) {
        self.hanging
            .retain(|partition, _| found.iter().any(|(named, _)| named == partition));
        for (partition, hanging) in found {
            self.hanging.insert(*partition, hanging.clone());
        }
    }

    /// Reports the partitions that nobody in the group has; no instance has a state for them.
    pub fn set_unowned(&self, partitions: &[i32]) {
        self.metrics.unowned_partitions.set(signed(partitions.len() as u64));
        self.unowned.store(Arc::new(partitions.to_vec()));
    }

    /// Reports where a partition is. One that a hanging transaction holds back is blocked, whatever it says itself: it
    /// waits for records that nobody can read.
    pub fn set(&self, partition: i32, mut status: PartitionStatus) {
        if let Some(hanging) = self.hanging.get(&partition) {
            let HangingTransaction {
                topic,
                partition,
                age_ms,
            } = hanging.value();
            status.state = PartitionState::Blocked;
            status.reason = Some(format!(
                "an open transaction has held {topic}/{partition} back for {} s: find it with \
                 `kafka-transactions.sh find-hanging`, and abort it",
                age_ms / 1_000
            ));
            status.hanging_transaction = Some(hanging.value().clone());
        }
        let label = number(partition);
        for (state, word) in STATES {
            self.metrics
                .task_state
                .with_label_values(&[label.as_str(), word])
                .set(i64::from(state == status.state));
        }
        let remaining = status.restore_remaining_records.unwrap_or(0);
        self.metrics
            .restore_remaining
            .with_label_values(&[label.as_str()])
            .set(signed(remaining));
        let before = self.partitions.insert(partition, status.clone());
        let gone = before.and_then(|before| before.hanging_transaction).filter(|before| {
            let now = status.hanging_transaction.as_ref();
            now.is_none_or(|now| (&now.topic, now.partition) != (&before.topic, before.partition))
        });
        if let Some(gone) = gone {
            self.forget_hanging(&gone);
        }
        if let Some(hanging) = &status.hanging_transaction {
            let labels = [hanging.topic.as_str(), &number(hanging.partition)];
            self.metrics
                .hanging_transaction
                .with_label_values(&labels)
                .set(signed(hanging.age_ms / 1000));
        }
    }

    /// Forgets a partition that this process no longer owns.
    pub fn remove(&self, partition: i32) {
        let before = self.partitions.remove(&partition);
        if let Some(hanging) = before.and_then(|(_, before)| before.hanging_transaction) {
            self.forget_hanging(&hanging);
        }
        let label = number(partition);
        // Each fails only where the series does not exist.
        for (_, word) in STATES {
            let _ = self.metrics.task_state.remove_label_values(&[label.as_str(), word]);
        }
        let _ = self.metrics.restore_remaining.remove_label_values(&[label.as_str()]);
    }

    /// What is known of a partition.
    pub fn partition(&self, partition: i32) -> Option<PartitionStatus> {
        self.partitions.get(&partition).map(|status| status.clone())
    }

    /// The first assignment is answered: from here on, the partitions decide.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether a worker is a member of the group to which nothing is assigned: more workers than partitions. A worker that has
    /// not joined, or that the group gave up, is none.
    pub fn set_standby(&self, worker: usize, standby: bool) {
        self.standby.insert(worker, standby);
    }

    /// Which right a worker is missing; none: it may do what it has to.
    pub fn set_forbidden(&self, worker: usize, reason: Option<&str>) {
        match reason {
            Some(reason) => drop(self.forbidden.insert(worker, reason.to_owned())),
            None => drop(self.forbidden.remove(&worker)),
        }
    }

    /// Label of the policy that judges.
    pub fn set_policy(&self, label: &str) {
        self.policy.store(Some(Arc::new(label.to_string())));
        self.metrics.set_policy(label);
    }

    /// The watchdog found a call that does not end: the process is about to.
    pub fn trip(&self, why: &str) {
        self.tripped.store(Some(Arc::new(why.to_string())));
    }

    /// Why the process is not healthy; none: it is.
    pub fn tripped(&self) -> Option<String> {
        self.tripped.load_full().map(|why| why.to_string())
    }

    /// The body of `/readyz`.
    pub fn readiness(&self) -> Readiness {
        let mut partitions: Vec<_> = self
            .partitions
            .iter()
            .map(|entry| ReadinessOfPartition {
                partition: *entry.key(),
                status: entry.value().clone(),
            })
            .collect();
        partitions.sort_by_key(|entry| entry.partition);
        let mut owned = partitions
            .iter()
            .filter(|entry| entry.status.state != PartitionState::Closed)
            .peekable();
        let reason = self.forbidden.iter().next().map(|entry| entry.value().clone());
        let (ready, status) = if reason.is_some() {
            (false, "not ready")
        } else if !self.started.load(Ordering::Relaxed) {
            (false, "starting")
        } else if owned.peek().is_none() {
            match !self.standby.is_empty() && self.standby.iter().all(|worker| *worker.value()) {
                true => (true, "standby"),
                false => (false, "not ready"),
            }
        } else if owned.all(|entry| entry.status.state == PartitionState::Running) {
            (true, "ready")
        } else {
            (false, "not ready")
        };
        let policy = self.policy.load_full().map(|label| label.to_string());
        Readiness {
            ready,
            status,
            reason,
            policy,
            partitions,
            unowned_partitions: self.unowned.load().to_vec(),
        }
    }

    fn forget_hanging(&self, hanging: &HangingTransaction) {
        let labels = [hanging.topic.as_str(), &number(hanging.partition)];
        // Fails only where the series does not exist.
        let _ = self.metrics.hanging_transaction.remove_label_values(&labels);
    }
}
