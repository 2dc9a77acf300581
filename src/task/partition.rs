//! What a worker keeps of one partition number between two batches.

use crate::commit::marker::{Lineage, Marker};
use crate::intake::source::{InputKind, Inputs, Polled, Record, StartAt, TopicIndex};
use crate::store::Store;
use crate::task::restore::Restore;
use std::collections::VecDeque;

/// Where a task is in its life.
#[derive(Debug)]
pub enum Stage {
    /// The changelog's tail is being replayed.
    Restoring(Restore),
    /// Judging.
    Running,
    /// Judges nothing, says why, and tries again at that monotonic instant.
    Blocked { reason: String, retry_at_ms: i64 },
}

/// A walk over the queue of a partition, some customers a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retiming {
    /// Hash of the policy under which the queue is timed anew.
    pub policy: [u8; 32],
    /// The last due hint that is committed to be served.
    pub after: Option<(i64, String)>,
}

/// One partition number of every input, with its store.
pub struct Task<S> {
    pub partition: i32,
    pub stage: Stage,
    /// Open from the first restore on; closed where the disk failed.
    pub store: Option<S>,
    /// Of the newest committed transaction; 0: none yet.
    pub seq: u64,
    pub lineage: Lineage,
    /// Newest decision time.
    pub now_ms: i64,
    /// Next unprocessed offset of each input, as committed; none: nothing is known of it yet.
    pub committed: Vec<Option<i64>>,
    /// Next offset to be read of each input: everything below is committed or buffered.
    pub reached: Vec<Option<i64>>,
    /// Engagement and re-routed records that are read and not applied.
    pub engagement: VecDeque<Record>,
    /// Intents that are read and not judged.
    pub intents: VecDeque<Record>,
    /// The policy (its hash) under which the whole queue was timed; none: it never was.
    pub timed_by: Option<[u8; 32]>,
    /// The background re-timing after a policy change; none: it is not under way.
    pub retiming: Option<Retiming>,
    /// Why it judges nothing for now, although it runs.
    pub obstacle: Option<String>,
    /// The store was rebuilt since the partition was assigned: what still does not match then is not the store's fault.
    pub rebuilt: bool,
    /// Wall clock of the newest write to the store.
    pub store_written_ms: i64,
    /// Records of all inputs that were not processed when it was last asked.
    pub lag: u64,
    /// Intents that wait.
    pub deferred: u64,
}

impl<S: Store> Task<S> {
    /// A task that has just been assigned.
    pub fn new(partition: i32, inputs: usize) -> Self {
        Self {
            partition,
            stage: Stage::Restoring(Restore::default()),
            store: None,
            seq: 0,
            lineage: Lineage::default(),
            now_ms: 0,
            committed: vec![None; inputs],
            reached: vec![None; inputs],
            engagement: VecDeque::new(),
            intents: VecDeque::new(),
            timed_by: None,
            retiming: None,
            obstacle: None,
            rebuilt: false,
            store_written_ms: 0,
            lag: 0,
            deferred: 0,
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }

    /// Lets the others have their turn: the cluster answers slowly for this one.
    pub fn postpone(&mut self, now_ms: i64) {
        if let Stage::Restoring(restore) = &mut self.stage {
            restore.postpone(now_ms);
        }
    }

    /// Drops everything that is not committed (a re-timing stands where it was committed), and goes the one recovery path.
    pub fn recover(&mut self) {
        self.stage = Stage::Restoring(Restore::default());
        self.drop_buffers();
    }

    /// Stops judging until the cause is gone.
    pub fn block(&mut self, reason: String, retry_at_ms: i64) {
        tracing::error!(
            partition = self.partition,
            reason,
            "partition blocked: it judges nothing"
        );
        self.stage = Stage::Blocked { reason, retry_at_ms };
        self.drop_buffers();
    }

    fn drop_buffers(&mut self) {
        self.engagement.clear();
        self.intents.clear();
        self.obstacle = None;
    }

    /// Begins to run at these positions.
    pub fn run_from(&mut self, positions: &[StartAt]) {
        self.committed = positions
            .iter()
            .map(|position| match position {
                StartAt::Beginning => None,
                StartAt::Offset(offset) => Some(*offset),
            })
            .collect();
        self.reached.clone_from(&self.committed);
        self.stage = Stage::Running;
    }

    /// Takes in one thing that a poll brought. Answers the topic whose position lies outside the log.
    pub fn take(&mut self, polled: Polled, inputs: &Inputs) -> Option<TopicIndex> {
        match polled {
            Polled::Record(record) => {
                let topic = usize::from(record.topic);
                // What was fetched before a seek may still arrive; it is below what was reached, or it is a gap.
                if self.reached[topic].is_some_and(|reached| record.offset < reached) {
                    return None;
                }
                self.reached[topic] = Some(record.offset.saturating_add(1));
                match inputs.topics[topic].1 {
                    InputKind::Intents => self.intents.push_back(record),
                    _ => self.engagement.push_back(record),
                }
                None
            }
            Polled::End { topic, offset, .. } => {
                let reached = &mut self.reached[usize::from(topic)];
                *reached = Some(reached.map_or(offset, |reached| reached.max(offset)));
                None
            }
            Polled::OutOfRange { topic, .. } => Some(topic),
        }
    }

    /// Next unprocessed offset of each input: what is buffered is not processed, and where nothing is buffered the position
    /// moves past control records too.
    pub fn positions(&self) -> Vec<Option<i64>> {
        let mut positions = self.reached.clone();
        for record in self.intents.iter().chain(&self.engagement) {
            let position = &mut positions[usize::from(record.topic)];
            *position = Some(position.map_or(record.offset, |position| position.min(record.offset)));
        }
        positions
    }

    /// The policy of now. Where the queue was timed under another one, it is walked through.
    pub fn time_under(&mut self, policy: [u8; 32]) {
        if self.timed_by == Some(policy) {
            self.retiming = None;
        } else if self.retiming.as_ref().is_none_or(|retiming| retiming.policy != policy) {
            self.retiming = Some(Retiming { policy, after: None });
        }
    }

    /// The walk has come to the end of the queue.
    pub fn retiming_is_over(&mut self) {
        if let Some(retiming) = self.retiming.take() {
            self.timed_by = Some(retiming.policy);
        }
    }

    /// Judges nothing: the wall clock stands that far behind the newest decision.
    pub fn wait_for_the_clock(&mut self, behind_ms: i64) {
        if self.obstacle.is_none() {
            tracing::error!(
                partition = self.partition,
                behind_ms,
                "the wall clock stands behind the newest decision: the partition judges nothing until it has caught up"
            );
        }
        self.obstacle = Some(format!(
            "the wall clock stands {} s behind the newest decision",
            behind_ms / 1_000
        ));
    }

    /// The marker of the transaction that is being made.
    pub fn marker(&self, inputs: &Inputs, positions: &[Option<i64>], now_ms: i64, deferred: u64) -> Marker {
        let positions = inputs.topics.iter().zip(positions);
        Marker {
            seq: self.seq.saturating_add(1),
            lineage: self.lineage,
            partition_count: inputs.partition_count,
            now_ms,
            positions: positions
                .filter_map(|((topic, _), offset)| Some((topic.to_string(), (*offset)?)))
                .collect(),
            repaired: false,
            deferred,
            timed_by: self.timed_by,
        }
    }
}
