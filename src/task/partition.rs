//! What a worker keeps of one partition number between two batches.

use crate::commit::marker::{Lineage, Marker};
use crate::intake::source::{InputKind, Inputs, Polled, Record, StartAt, TopicIndex};
use crate::store::Store;
use crate::task::clock::{TOLERATED_STEP_MS, decision_time_ms};
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

/// What has to be applied before anything is judged at that decision time. It stays until it is reached, over several batches
/// where need be: ends that were asked for anew each time would move away in front of whoever reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The decision time, read before the ends were asked for.
    pub now_ms: i64,
    /// Of engagement and re-route, by topic.
    pub ends: Vec<(TopicIndex, i64)>,
    /// Intents that had been read by then: what came later may have come after an opt-out that the ends do not cover.
    pub intents: usize,
}

/// A partition that waits for engagement says so after this long.
pub const HELD_UP_TOLD_AFTER_MS: i64 = 3_000;

/// Judging waits for engagement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldUp {
    /// Monotonic instant of the newest progress.
    pub since_ms: i64,
    /// What is the matter.
    pub reason: String,
    /// The input that it waits for, and how far that had been read then.
    pub at: (TopicIndex, Option<i64>),
    /// It is in the log.
    pub is_told: bool,
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
    /// Ends that were asked for and are not reached yet.
    pub awaited: Option<Awaited>,
    /// Engagement does not come up to its ends: the others do not wait for this one.
    pub held_up: Option<HeldUp>,
    /// No more intents are fetched for now.
    pub intents_paused: bool,
    /// The store was rebuilt, and until something has been judged past these positions what still does not match is not the
    /// store's fault.
    pub rebuilt: Option<Vec<Option<i64>>>,
    /// Steps of the restore, one after the other, for which the cluster answered slowly.
    pub slow_steps: u32,
    /// Wall clock of the newest write to the store.
    pub store_written_ms: i64,
    /// Records of each input that were not processed when it was last asked.
    pub lag: Vec<u64>,
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
            awaited: None,
            held_up: None,
            intents_paused: false,
            rebuilt: None,
            slow_steps: 0,
            store_written_ms: 0,
            lag: vec![0; inputs],
            deferred: 0,
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }

    /// Lets the others have their turn: the cluster answers slowly for this one.
    pub fn postpone(&mut self, now_ms: i64) {
        let slow_steps = self.slow_steps;
        if let Stage::Restoring(restore) = &mut self.stage
            && restore.postpone(now_ms, slow_steps)
        {
            self.slow_steps = slow_steps.saturating_add(1);
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
        self.awaited = None;
        self.held_up = None;
        self.intents_paused = false;
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
        self.slow_steps = 0;
        self.stage = Stage::Running;
    }

    /// The decision time, now that the wall clock says so: that of a barrier which is not reached yet stays for a while.
    ///
    /// # Errors
    /// How far the wall clock stands behind the newest decision.
    pub fn decision_time_ms(&mut self, wall_ms: i64) -> Result<i64, i64> {
        let now_ms = decision_time_ms(wall_ms, self.now_ms)?;
        let stays = |awaited: &Awaited| now_ms.saturating_sub(awaited.now_ms) <= TOLERATED_STEP_MS;
        self.awaited = self.awaited.take().filter(stays);
        Ok(self.awaited.as_ref().map_or(now_ms, |awaited| awaited.now_ms))
    }

    /// Nothing was committed for so long that the group's offsets have to be committed again. The newest decision time is the
    /// time of the newest commit, and it survives restarts; the partitions do not all come at once.
    pub fn offsets_are_old(&self, now_ms: i64, renew_after_ms: i64) -> bool {
        let earlier_ms = renew_after_ms / 64 * i64::from(self.partition.rem_euclid(16));
        let known = self.committed.iter().any(Option::is_some);
        known && self.seq > 0 && now_ms.saturating_sub(self.now_ms) >= renew_after_ms.saturating_sub(earlier_ms)
    }

    /// The first input that has not been read up to its end, and that end.
    pub fn short_of(&self) -> Option<(TopicIndex, i64)> {
        let ends = self.awaited.iter().flat_map(|awaited| &awaited.ends);
        let mut short = ends.filter(|(topic, end)| self.reached[usize::from(*topic)].unwrap_or(0) < *end);
        short.next().copied()
    }

    /// Judging waits for that input. What moves is not stuck, however long it takes.
    pub fn hold_up(&mut self, topic: TopicIndex, reason: String, monotonic_ms: i64) {
        let at = (topic, self.reached[usize::from(topic)]);
        let before = self.held_up.take().filter(|before| before.at == at);
        let (since_ms, is_told) = before.map_or((monotonic_ms, false), |before| (before.since_ms, before.is_told));
        let is_long = monotonic_ms.saturating_sub(since_ms) >= HELD_UP_TOLD_AFTER_MS;
        if is_long && !is_told {
            tracing::warn!(partition = self.partition, reason, "judging waits for engagement");
        }
        self.held_up = Some(HeldUp {
            since_ms,
            reason,
            at,
            is_told: is_told || is_long,
        });
    }

    /// So far into the state that was rebuilt, all is well.
    pub fn trust_again(&mut self) {
        let past = |rebuilt: &Vec<Option<i64>>| {
            let mut positions = rebuilt.iter().zip(&self.committed);
            positions.all(|(failed, committed)| failed <= committed)
        };
        if self.rebuilt.as_ref().is_some_and(past) {
            self.rebuilt = None;
        }
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
            // From here on customers are judged under it: the queue as a whole is timed under neither, until the walk ends.
            self.timed_by = None;
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
