//! What a worker reads into the buffers of its tasks, and what of it becomes the work of one batch.
//!
//! Nothing is lost here: what is taken out of a buffer is either committed, put back, or read again after a recovery.

use crate::commit::log::Log;
use crate::intake::source::{InputKind, Inputs, Polled, Record, Source, SourceError, StartAt, TopicIndex};
use crate::serve::metrics::Stage as Timed;
use crate::store::{Store, StoreError, Stores};
use crate::task::barrier::{is_rerouted, is_rerouted_intent};
use crate::task::batch::{BatchError, Work};
use crate::task::clock::Clock;
use crate::task::partition::Task;
use crate::task::worker::{Worker, WorkerExit, tolerate};
use std::time::{Duration, Instant};

/// Due customers and queues timed anew in one batch at most.
const DUE_AT_MOST: usize = 1_000;
const RETIME_AT_MOST: usize = 200;

impl<L: Log, S: Stores, C: Clock> Worker<L, S, C> {
    /// Reads until the queue is dry, the batch is full, or the interval is over.
    pub(super) fn collect(&mut self) -> Result<(), WorkerExit> {
        let timer = Instant::now();
        let mut wait = if self.has_buffered() {
            Duration::ZERO
        } else {
            self.settings.idle_wait
        };
        loop {
            let before = self.buffered();
            let in_the_way = self.in_the_way();
            let room = self.settings.engagement_records.saturating_sub(in_the_way.0);
            let mut polled = Vec::new();
            if room > 0 {
                tolerate(self.source.poll_engagement(&mut polled, room, Duration::ZERO))?;
            }
            self.route(polled)?;
            let mut polled = Vec::new();
            let room = self.settings.batch_records.saturating_sub(in_the_way.1);
            if room > 0 {
                let wait = if self.has_buffered() { Duration::ZERO } else { wait };
                tolerate(self.source.poll_intents(&mut polled, room, wait))?;
            }
            self.route(polled)?;
            wait = Duration::ZERO;
            let dry = self.buffered() == before;
            if dry
                || self.in_the_way().1 >= self.settings.batch_records
                || timer.elapsed() >= self.settings.commit_interval
            {
                self.metrics.shared().stage(Timed::Consume, timer.elapsed());
                return Ok(());
            }
        }
    }

    fn buffered(&self) -> (usize, usize) {
        self.tasks.values().fold((0, 0), |(engagement, intents), task| {
            (engagement + task.engagement.len(), intents + task.intents.len())
        })
    }

    /// What takes up room in the next batch: not what waits for a partition that is held up, and grows no more.
    fn in_the_way(&self) -> (usize, usize) {
        let waiting = self.tasks.values().filter(|task| task.intents_paused);
        let (engagement, intents) = self.buffered();
        waiting.fold((engagement, intents), |(engagement, intents), task| {
            (engagement - task.engagement.len(), intents - task.intents.len())
        })
    }

    pub(super) fn has_buffered(&self) -> bool {
        self.buffered() != (0, 0)
    }

    /// Hands what a poll brought to the running tasks that it is of.
    pub(super) fn route(&mut self, polled: Vec<Polled>) -> Result<(), WorkerExit> {
        for polled in polled {
            let (Polled::Record(Record { partition, .. })
            | Polled::End { partition, .. }
            | Polled::OutOfRange { partition, .. }) = polled;
            let Some(task) = self.tasks.get_mut(&partition).filter(|task| task.is_running()) else {
                continue;
            };
            if let Some(topic) = task.take(polled, &self.settings.inputs) {
                self.position_is_lost(partition, topic)?;
            }
        }
        Ok(())
    }

    /// Retention passed a position. Lost intents are recorded and alerted on; lost engagement may have been an opt-out.
    fn position_is_lost(&mut self, partition: i32, topic: TopicIndex) -> Result<(), WorkerExit> {
        let (name, kind) = self.settings.inputs.topics[usize::from(topic)].clone();
        let Some(task) = self.tasks.get_mut(&partition) else {
            return Ok(());
        };
        if kind != InputKind::Intents {
            let reason =
                format!("retention removed records of {name} before they were applied: consent may be missing");
            tolerate(self.source.stop(partition))?;
            task.block(reason, self.clock.monotonic_ms().saturating_add(60_000));
            return Ok(());
        }
        tracing::error!(
            partition,
            topic = &*name,
            "retention removed intents before they were judged; going on after them"
        );
        // What was reached stays: marker and offsets go on naming it until something newer is read, which is all that there
        // is from the beginning on. A transaction that named no offset for the topic would block the next restore.
        let mut positions: Vec<StartAt> = task
            .reached
            .iter()
            .map(|reached| reached.map_or(StartAt::Beginning, StartAt::Offset))
            .collect();
        positions[usize::from(topic)] = StartAt::Beginning;
        match self.source.start(partition, &positions) {
            Ok(()) => self.metrics.shared().lost_intents(&name, 1),
            // A position is reported lost once: only from the start on can it be found again.
            Err(SourceError::Transient(reason)) => {
                tracing::warn!(partition, reason, "the partition is restored to be started anew");
                tolerate(self.source.stop(partition))?;
                task.recover();
            }
            Err(other) => return Err(other.into()),
        }
        Ok(())
    }

    /// Takes what the running tasks have to do out of their buffers; after a refusal no more than may be tried at once.
    pub(super) fn take_work(&mut self, wall_ms: i64) -> Vec<Work> {
        let mut left = self.batch_limit;
        let mut works = Vec::new();
        let mut failed = Vec::new();
        let mut order: Vec<i32> = self.tasks.keys().copied().collect();
        if left.is_some() {
            let before = order.partition_point(|partition| *partition < self.limited_from);
            order.rotate_left(before);
        }
        // What is held up comes last: it may use up what is left, not what others need.
        order.sort_by_key(|partition| self.tasks.get(partition).is_some_and(|task| task.held_up.is_some()));
        let renew_after_ms = self.settings.renew_offsets_after_ms;
        for partition in order {
            if left == Some(0) {
                break;
            }
            let Some(task) = self.tasks.get_mut(&partition).filter(|task| task.is_running()) else {
                continue;
            };
            match work_of(task, wall_ms, left, &self.settings.inputs, renew_after_ms) {
                Ok(Some(work)) => {
                    left = left.map(|left| left.saturating_sub(work.size()));
                    works.push(work);
                }
                Ok(None) => {}
                Err(error) => failed.push((task.partition, error)),
            }
        }
        for (partition, error) in failed {
            self.handle(partition, BatchError::Store(error));
        }
        works
    }
}

fn work_of<S: Store>(
    task: &mut Task<S>,
    wall_ms: i64,
    limit: Option<usize>,
    inputs: &Inputs,
    renew_after_ms: i64,
) -> Result<Option<Work>, StoreError> {
    let now_ms = match task.decision_time_ms(wall_ms) {
        Ok(now_ms) => now_ms,
        Err(behind_ms) => {
            task.wait_for_the_clock(behind_ms);
            return Ok(None);
        }
    };
    task.obstacle = None;
    let Some(store) = &task.store else { return Ok(None) };
    let due = store.due(now_ms, limit.unwrap_or(DUE_AT_MOST).min(DUE_AT_MOST))?;
    let retime = match &task.retiming {
        Some(retiming) => {
            let most = limit.unwrap_or(RETIME_AT_MOST).min(RETIME_AT_MOST);
            store.hints_after(retiming.after.as_ref(), most)?
        }
        None => Vec::new(),
    };
    if retime.is_empty() {
        task.retiming_is_over();
    }
    let moved = task.reached != task.committed;
    let renews_offsets = task.offsets_are_old(now_ms, renew_after_ms);
    if !moved
        && !renews_offsets
        && due.is_empty()
        && retime.is_empty()
        && task.engagement.is_empty()
        && task.intents.is_empty()
    {
        (task.awaited, task.held_up) = (None, None);
        return Ok(None);
    }
    let known = task.awaited.as_ref().map_or(usize::MAX, |awaited| awaited.intents);
    let known = known.min(task.intents.len());
    let mut work = Work {
        partition: task.partition,
        lineage: task.lineage,
        now_ms,
        barrier: Vec::new(),
        engagement: task.engagement.drain(..).collect(),
        intents: task.intents.drain(..known).collect(),
        due,
        retime,
        may_judge: true,
        renews_offsets,
        due_at_most: limit.unwrap_or(usize::MAX),
        rerouted_at_most: usize::MAX,
    };
    if let Some(limit) = limit {
        shrink(task, &mut work, inputs, limit);
    }
    Ok(Some(work))
}

pub(super) fn put_back<S>(task: &mut Task<S>, intents: &mut Vec<Record>) {
    for record in intents.drain(..).rev() {
        task.intents.push_front(record);
    }
}

/// Leaves at most so many records (or else due customers, or else queues to be timed anew) in the work; the rest goes back. Engagement is applied without judging
/// anybody, so that it is never blamed for an intent. Re-routed intents can only be judged with all of their topic behind
/// them: where nothing else is left, so many of them are judged, and the others are sent round
/// again; queues that they come by wait for a batch of their own.
fn shrink<S>(task: &mut Task<S>, work: &mut Work, inputs: &Inputs, most: usize) {
    let mut rest = Vec::new();
    let mut kept = Vec::new();
    let mut held = false;
    for record in work.engagement.drain(..) {
        let waits = is_rerouted_intent(&record, inputs) || (held && is_rerouted(&record, inputs));
        held |= waits;
        if waits || kept.len() >= most {
            rest.push(record);
        } else {
            kept.push(record);
        }
    }
    let mut intents = work.intents.split_off(0);
    if !kept.is_empty() {
        work.may_judge = false;
        work.engagement = kept;
        for record in rest.into_iter().rev() {
            task.engagement.push_front(record);
        }
    } else if !rest.is_empty() {
        work.engagement = rest;
        work.rerouted_at_most = most;
        work.due_at_most = 0;
    } else {
        let others = intents.split_off(most.min(intents.len()));
        work.intents = std::mem::replace(&mut intents, others);
    }
    put_back(task, &mut intents);
    if !work.engagement.is_empty() || !work.intents.is_empty() {
        work.due.clear();
    }
    if !work.engagement.is_empty() || !work.intents.is_empty() || !work.due.is_empty() {
        work.retime.clear();
    }
}
