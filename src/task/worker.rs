//! The loop: one thread, one consumer, one transactional producer, its tasks.
//!
//! A turn serves the group, moves restores on, and, where there is something to do, makes one batch: read the decision
//! time, ask for the ends of engagement, apply engagement up to there, judge, commit, write the stores. What must stay true:
//! - nothing is written to a store, and nothing is counted, before the transaction that says it is committed;
//! - no transaction is open across a poll, so nothing is revoked in the middle of one;
//! - anything but a clean commit drops the producer and everything that was read, and every task recovers.

use crate::commit::log::{Changelog, ChangelogPolled, CommitError, Log, OffsetCommit, Outgoing, Producer, Transaction};
use crate::customer::keys::marker_key;
use crate::intake::source::{InputKind, Inputs, Polled, Record, Source, SourceError, SourceEvent, StartAt, TopicIndex};
use crate::message::Name;
use crate::policy::model::Policy;
use crate::serve::metrics::{Stage as Timed, TransactionOutcome, WorkerMetrics};
use crate::serve::status::{PartitionState, PartitionStatus, Status};
use crate::store::{Store, StoreError, StoreMeta, Stores};
use crate::task::batch::{BatchContext, BatchError, Place, Prepared, Work, place, prepare};
use crate::task::clock::{Clock, StepWatch, decision_time_ms};
use crate::task::partition::{Stage, Task};
use crate::task::restore::{self, Surroundings};
use crate::verdict::TopicNames;
use crate::verdict::reroute::{StrayKind, read_stray};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a worker is told.
pub struct WorkerSettings {
    pub index: usize,
    pub inputs: Inputs,
    pub topics: TopicNames,
    pub cluster_id: String,
    pub max_intent_bytes: usize,
    /// Intents in one batch at most.
    pub batch_records: usize,
    /// Engagement records applied in one batch at most; more is caught up with before anything is judged.
    pub engagement_records: usize,
    /// A batch is closed after this long, at the latest.
    pub commit_interval: Duration,
    /// How long an idle turn waits for an intent.
    pub idle_wait: Duration,
    /// How long a batch waits for engagement to arrive up to its end before it gives up judging this time.
    pub barrier_wait: Duration,
    /// Stores that were not written for longer are not trusted.
    pub trusted_for_ms: i64,
    /// Draws the lineage of an empty partition.
    pub fresh_lineage: Box<dyn FnMut() -> [u8; 16] + Send>,
}

/// The policy of now: one handle a batch.
pub type PolicyHandle = Arc<arc_swap::ArcSwap<Policy>>;

/// Why a worker ends for good. The process ends with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkerExit {
    /// Somebody else holds the identity.
    #[error("fenced: {0}")]
    Fenced(String),
    #[error("{0}")]
    Fatal(String),
}

impl From<SourceError> for WorkerExit {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Fenced(reason) => Self::Fenced(reason),
            SourceError::Transient(reason) | SourceError::Fatal(reason) => Self::Fatal(reason),
        }
    }
}

/// What a turn did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// Something moved: there may be more at once.
    Worked,
    Idle,
}

/// Due customers and queues timed anew in one batch at most.
const DUE_AT_MOST: usize = 1_000;
const RETIME_AT_MOST: usize = 200;
const CHANGELOG_RECORDS: usize = 10_000;
/// A store that was idle this long gets its time stamp renewed, so that it stays trusted.
const RENEW_STORE_MS: i64 = 10 * 60_000;
/// Batches that the log refused in a row before they shrink to one record.
const REFUSALS_BEFORE_SHRINKING: u32 = 2;
const LAG_EVERY_MS: i64 = 2_000;
const RETRY_PRODUCER_MS: i64 = 500;

/// One worker.
pub struct Worker<L: Log, S: Stores, C: Clock> {
    settings: WorkerSettings,
    log: L,
    source: L::Source,
    producer: Option<L::Producer>,
    changelog: L::Changelog,
    group: Option<<L::Source as Source>::Group>,
    stores: S,
    clock: C,
    step_watch: StepWatch,
    policy: PolicyHandle,
    /// Whose text this worker has published and whose queues are timed: by hash.
    published_policy: Option<[u8; 32]>,
    tasks: BTreeMap<i32, Task<S::Store>>,
    metrics: WorkerMetrics,
    status: Arc<Status>,
    poisoned: HashSet<Place>,
    refusals: u32,
    producer_retry_at_ms: i64,
    clock_complaint_at_ms: i64,
    lag_at_ms: i64,
}

impl<L: Log, S: Stores, C: Clock> Worker<L, S, C> {
    /// Joins the group. The producer comes with the first turn.
    ///
    /// # Errors
    /// A client that cannot be made.
    pub fn new(
        settings: WorkerSettings,
        mut log: L,
        stores: S,
        clock: C,
        policy: PolicyHandle,
        metrics: WorkerMetrics,
        status: Arc<Status>,
    ) -> Result<Self, WorkerExit> {
        let source = log.source()?;
        let changelog = log.changelog()?;
        Ok(Self {
            step_watch: StepWatch::new(&clock),
            settings,
            log,
            source,
            producer: None,
            changelog,
            group: None,
            stores,
            clock,
            policy,
            published_policy: None,
            tasks: BTreeMap::new(),
            metrics,
            status,
            poisoned: HashSet::new(),
            refusals: 0,
            producer_retry_at_ms: i64::MIN,
            clock_complaint_at_ms: i64::MIN,
            lag_at_ms: i64::MIN,
        })
    }

    /// The tasks, to look at.
    pub fn tasks(&self) -> impl Iterator<Item = &Task<S::Store>> {
        self.tasks.values()
    }

    /// One bounded pass of the loop.
    ///
    /// # Errors
    /// What ends the process.
    pub fn turn(&mut self) -> Result<Turned, WorkerExit> {
        self.serve_the_group()?;
        if !self.ensure_producer()? {
            std::thread::sleep(self.settings.idle_wait);
            return Ok(Turned::Idle);
        }
        let restored = self.restore()?;
        let worked = self.batch()?;
        self.report();
        Ok(if restored || worked {
            Turned::Worked
        } else {
            Turned::Idle
        })
    }

    fn serve_the_group(&mut self) -> Result<(), WorkerExit> {
        for event in self.source.events(Duration::ZERO) {
            match event {
                SourceEvent::Assigned(partitions) => {
                    tolerate(self.source.hold(&partitions))?;
                    self.group = self.source.group().ok();
                    tracing::info!(worker = self.settings.index, ?partitions, "partitions assigned");
                    for partition in partitions {
                        let task = Task::new(partition, self.settings.inputs.topics.len());
                        self.tasks.insert(partition, task);
                    }
                }
                SourceEvent::Revoked { partitions, lost } => {
                    tracing::info!(worker = self.settings.index, ?partitions, lost, "partitions revoked");
                    for partition in &partitions {
                        self.changelog.close(*partition);
                        self.tasks.remove(partition);
                        self.status.remove(*partition);
                        let topics: Vec<&str> = self.settings.inputs.topics.iter().map(|(name, _)| &**name).collect();
                        self.metrics.shared().forget_partition(*partition, &topics);
                    }
                    tolerate(self.source.release(&partitions))?;
                }
                SourceEvent::Fenced(reason) => return Err(WorkerExit::Fenced(reason)),
                SourceEvent::Fatal(reason) => return Err(WorkerExit::Fatal(reason)),
            }
        }
        Ok(())
    }

    /// Before anything else: a new producer settles what its predecessor left open.
    fn ensure_producer(&mut self) -> Result<bool, WorkerExit> {
        if self.producer.is_some() {
            return Ok(true);
        }
        if self.clock.monotonic_ms() < self.producer_retry_at_ms {
            return Ok(false);
        }
        match self.log.producer() {
            Ok(producer) => self.producer = Some(producer),
            Err(CommitError::Fenced(reason)) => return Err(WorkerExit::Fenced(reason)),
            Err(CommitError::Uncertain(reason) | CommitError::Refused(reason)) => {
                tracing::warn!(worker = self.settings.index, reason, "the producer cannot start yet");
                self.producer_retry_at_ms = self.clock.monotonic_ms().saturating_add(RETRY_PRODUCER_MS);
            }
        }
        Ok(self.producer.is_some())
    }

    fn restore(&mut self) -> Result<bool, WorkerExit> {
        if self.tasks.values().all(Task::is_running) {
            return Ok(false);
        }
        let mut polled = Vec::new();
        match self.changelog.poll(&mut polled, CHANGELOG_RECORDS, Duration::ZERO) {
            Ok(()) => {}
            Err(SourceError::Transient(reason)) => tracing::warn!(reason, "reading the changelog failed"),
            Err(other) => return Err(other.into()),
        }
        let mut by_partition: BTreeMap<i32, Vec<ChangelogPolled>> = BTreeMap::new();
        for (partition, polled) in polled {
            by_partition.entry(partition).or_default().push(polled);
        }
        let moved = !by_partition.is_empty();
        let mut around = Surroundings {
            source: &mut self.source,
            changelog: &mut self.changelog,
            stores: &mut self.stores,
            inputs: &self.settings.inputs,
            cluster_id: &self.settings.cluster_id,
            state_topic: &self.settings.topics.state,
            wall_ms: self.clock.wall_ms(),
            monotonic_ms: self.clock.monotonic_ms(),
            trusted_for_ms: self.settings.trusted_for_ms,
            fresh_lineage: &mut self.settings.fresh_lineage,
        };
        for task in self.tasks.values_mut().filter(|task| !task.is_running()) {
            if let Some(polled) = by_partition.remove(&task.partition) {
                let count = restore::replay(task, &mut around, polled)?;
                self.metrics.shared().restore_records.inc_by(count as u64);
            }
            restore::advance(task, &mut around)?;
        }
        Ok(moved)
    }

    /// Reads, judges, commits. Answers whether anything was committed.
    fn batch(&mut self) -> Result<bool, WorkerExit> {
        if !self.tasks.values().any(Task::is_running) {
            std::thread::sleep(self.settings.idle_wait.min(Duration::from_millis(5)));
            return Ok(false);
        }
        self.collect()?;
        let policy = self.policy.load_full();
        let policy_is_new = self.published_policy != Some(policy.sha256);
        if policy_is_new && self.published_policy.is_some() {
            for task in self.tasks.values_mut().filter(|task| task.is_running()) {
                task.retiming = Some(None);
            }
        }
        let Some(wall_ms) = self.trusted_time() else {
            return Ok(false);
        };
        let mut works = self.take_work(wall_ms)?;
        if works.is_empty() {
            if policy_is_new && self.published_policy.is_none() {
                return Ok(false);
            }
            self.published_policy = self.published_policy.map(|_| policy.sha256);
            return Ok(false);
        }
        self.meet_the_barrier(&mut works)?;
        let (prepared, failed) = self.prepare(&policy, &works);
        if let Some((partition, error)) = failed {
            self.drop_the_batch(works);
            self.handle(partition, error);
            return Ok(false);
        }
        let text = policy_is_new.then(|| policy_record(&self.settings.topics.policies, &policy));
        self.commit(works, prepared, text)?;
        if self.producer.is_some() {
            self.published_policy = Some(policy.sha256);
        }
        Ok(true)
    }

    /// Reads until the queue is dry, the batch is full, or the interval is over.
    fn collect(&mut self) -> Result<(), WorkerExit> {
        let timer = Instant::now();
        let mut wait = if self.has_buffered() {
            Duration::ZERO
        } else {
            self.settings.idle_wait
        };
        loop {
            let before = self.buffered();
            let room = self.settings.engagement_records.saturating_sub(before.0);
            let mut polled = Vec::new();
            if room > 0 {
                tolerate(self.source.poll_engagement(&mut polled, room, Duration::ZERO))?;
            }
            self.route(polled)?;
            let mut polled = Vec::new();
            let room = self.settings.batch_records.saturating_sub(before.1);
            if room > 0 {
                let wait = if self.has_buffered() { Duration::ZERO } else { wait };
                tolerate(self.source.poll_intents(&mut polled, room, wait))?;
            }
            self.route(polled)?;
            wait = Duration::ZERO;
            let dry = self.buffered() == before;
            if dry
                || self.buffered().1 >= self.settings.batch_records
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

    fn has_buffered(&self) -> bool {
        self.buffered() != (0, 0)
    }

    fn route(&mut self, polled: Vec<Polled>) -> Result<(), WorkerExit> {
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
        self.metrics.shared().lost_intents(&name, 1);
        // What was reached stays: marker and offsets go on naming it until something newer is read, which is all that there
        // is from the beginning on.
        let mut positions: Vec<StartAt> = task
            .reached
            .iter()
            .map(|reached| reached.map_or(StartAt::Beginning, StartAt::Offset))
            .collect();
        positions[usize::from(topic)] = StartAt::Beginning;
        match self.source.start(partition, &positions) {
            Err(SourceError::Transient(reason)) => {
                tracing::warn!(partition, reason, "the partition could not be moved on: it recovers");
                task.recover();
                Ok(())
            }
            outcome => outcome.map_err(WorkerExit::from),
        }
    }

    fn trusted_time(&mut self) -> Option<i64> {
        match self.step_watch.now_ms(&self.clock) {
            Ok(wall_ms) => Some(wall_ms),
            Err(step_ms) => {
                let monotonic_ms = self.clock.monotonic_ms();
                if monotonic_ms >= self.clock_complaint_at_ms {
                    self.clock_complaint_at_ms = monotonic_ms.saturating_add(10_000);
                    tracing::error!(
                        step_ms,
                        "the wall clock was set: nothing is judged until it is set back, or this process is restarted"
                    );
                }
                let reason = format!("the wall clock was set by {} s", step_ms / 1_000);
                for task in self.tasks.values().filter(|task| task.is_running()) {
                    self.status.set(task.partition, self.status_of(task, Some(&reason)));
                }
                None
            }
        }
    }

    /// Takes what the running tasks have to do out of their buffers.
    fn take_work(&mut self, wall_ms: i64) -> Result<Vec<Work>, WorkerExit> {
        let single = self.refusals >= REFUSALS_BEFORE_SHRINKING;
        let mut works = Vec::new();
        let mut failed = Vec::new();
        for task in self.tasks.values_mut().filter(|task| task.is_running()) {
            let Some(store) = &mut task.store else { continue };
            let Ok(now_ms) = decision_time_ms(wall_ms, task.now_ms) else {
                continue;
            };
            let due = match store.due(now_ms, if single { 1 } else { DUE_AT_MOST }) {
                Ok(due) => due,
                Err(error) => {
                    failed.push((task.partition, error));
                    continue;
                }
            };
            let retime = match &task.retiming {
                None => Vec::new(),
                Some(after) => match store.hints_after(after.as_ref(), RETIME_AT_MOST) {
                    Ok(hints) => hints,
                    Err(error) => {
                        failed.push((task.partition, error));
                        continue;
                    }
                },
            };
            let moved = task.reached != task.committed;
            if let Some(after) = &mut task.retiming {
                match retime.last() {
                    Some(last) => *after = Some(last.clone()),
                    None => task.retiming = None,
                }
            }
            if !moved && due.is_empty() && retime.is_empty() && task.engagement.is_empty() && task.intents.is_empty() {
                continue;
            }
            let mut work = Work {
                partition: task.partition,
                lineage: task.lineage,
                now_ms,
                barrier: Vec::new(),
                engagement: task.engagement.drain(..).collect(),
                intents: task.intents.drain(..).collect(),
                due,
                retime,
                may_judge: true,
            };
            if single {
                shrink(task, &mut work, &self.settings.inputs);
            }
            works.push(work);
            if single {
                break;
            }
        }
        for (partition, error) in failed {
            self.handle(partition, BatchError::Store(error));
        }
        works.retain(|work| self.tasks.get(&work.partition).is_some_and(Task::is_running));
        Ok(works)
    }

    /// The consent barrier: engagement is applied up to the ends that were asked for after the decision time was read.
    /// Where that cannot be reached in time, what is there is applied and nothing is judged.
    fn meet_the_barrier(&mut self, works: &mut [Work]) -> Result<(), WorkerExit> {
        let timer = Instant::now();
        let ahead: Vec<TopicIndex> = (0..self.settings.inputs.topics.len())
            .filter(|topic| self.settings.inputs.topics[*topic].1 != InputKind::Intents)
            .map(|topic| topic as TopicIndex)
            .collect();
        let wanted: Vec<(TopicIndex, i32)> = works
            .iter()
            .flat_map(|work| ahead.iter().map(|topic| (*topic, work.partition)))
            .collect();
        let single = self.refusals >= REFUSALS_BEFORE_SHRINKING;
        let ends = match self.source.ends(&wanted) {
            Ok(ends) => Some(ends),
            Err(SourceError::Transient(reason)) => {
                tracing::warn!(
                    reason,
                    "the ends of engagement are not known: nothing is judged for now"
                );
                None
            }
            Err(other) => return Err(other.into()),
        };
        let reached = |tasks: &BTreeMap<i32, Task<S::Store>>| {
            ends.as_ref().is_some_and(|ends| {
                wanted.iter().zip(ends).all(|((topic, partition), end)| {
                    let task = tasks.get(partition);
                    task.is_some_and(|task| task.reached[usize::from(*topic)].unwrap_or(0) >= *end)
                })
            })
        };
        let mut room = self.settings.engagement_records;
        let mut met = reached(&self.tasks);
        while ends.is_some() && !met && room > 0 && timer.elapsed() < self.settings.barrier_wait {
            let mut polled = Vec::new();
            tolerate(self.source.poll_engagement(&mut polled, room, Duration::from_millis(5)))?;
            let nothing = polled.is_empty();
            room = room.saturating_sub(polled.len());
            self.route(polled)?;
            met = reached(&self.tasks);
            if nothing && self.settings.barrier_wait.is_zero() {
                break;
            }
        }
        self.metrics
            .shared()
            .consent_barrier_wait_seconds
            .observe(timer.elapsed().as_secs_f64());
        for work in works.iter_mut() {
            let Some(task) = self.tasks.get_mut(&work.partition).filter(|task| task.is_running()) else {
                work.may_judge = false;
                continue;
            };
            if !single {
                work.engagement.extend(task.engagement.drain(..));
            } else if !task.engagement.is_empty() {
                met = false;
            }
            work.may_judge = met;
            if !met {
                put_back(task, &mut work.intents);
                hold_rerouted_intents(task, work, &self.settings.inputs);
                work.due.clear();
                work.retime.clear();
            }
            work.barrier = ahead
                .iter()
                .map(|topic| {
                    let (name, _) = &self.settings.inputs.topics[usize::from(*topic)];
                    (name.clone(), task.reached[usize::from(*topic)].unwrap_or(0))
                })
                .collect();
        }
        Ok(())
    }

    #[allow(clippy::type_complexity)]
    fn prepare(&mut self, policy: &Policy, works: &[Work]) -> (Vec<Prepared>, Option<(i32, BatchError)>) {
        let timer = Instant::now();
        let context = BatchContext {
            policy,
            topics: &self.settings.topics,
            inputs: &self.settings.inputs,
            max_intent_bytes: self.settings.max_intent_bytes,
            poisoned: &self.poisoned,
        };
        let mut prepared = Vec::with_capacity(works.len());
        let mut judged = 0;
        for work in works {
            let Some(store) = self.tasks.get(&work.partition).and_then(|task| task.store.as_ref()) else {
                return (
                    prepared,
                    Some((work.partition, BatchError::State("the store is closed".into()))),
                );
            };
            match prepare(&context, store, work) {
                Ok(share) => {
                    judged += share.counted.len();
                    prepared.push(share);
                }
                Err(error) => return (prepared, Some((work.partition, error))),
            }
        }
        let spent = timer.elapsed();
        self.metrics.shared().stage(Timed::Judge, spent);
        if let Ok(judged @ 1..) = u32::try_from(judged) {
            for _ in 0..judged.min(64) {
                self.metrics.decision(spent / judged);
            }
        }
        (prepared, None)
    }

    fn commit(&mut self, works: Vec<Work>, prepared: Vec<Prepared>, text: Option<Outgoing>) -> Result<(), WorkerExit> {
        let timer = Instant::now();
        let mut transaction = Transaction {
            records: text.into_iter().collect(),
            offsets: Vec::new(),
        };
        let mut closings = Vec::with_capacity(works.len());
        for (work, mut share) in works.iter().zip(prepared) {
            let Some(task) = self.tasks.get(&work.partition) else {
                continue;
            };
            let remaining = task
                .intents
                .iter()
                .chain(&task.engagement)
                .map(|record| (record.topic, record.offset));
            let positions = task.positions_behind(remaining);
            let deferred = task.deferred.saturating_add_signed(share.deferred_growth);
            let marker = task.marker(&self.settings.inputs, &positions, work.now_ms, deferred);
            share.changes.push((marker_key(work.partition), Some(marker.encode())));
            transaction.records.append(&mut share.outgoing);
            transaction
                .records
                .extend(share.changes.iter().map(|(key, value)| Outgoing {
                    topic: self.settings.topics.state.clone(),
                    partition: Some(work.partition),
                    key: Some(key.clone()),
                    value: value.clone(),
                    headers: Vec::new(),
                    timestamp_ms: None,
                }));
            let metadata = marker.metadata();
            transaction
                .offsets
                .extend(positions.iter().enumerate().filter_map(|(topic, offset)| {
                    Some(OffsetCommit {
                        topic: topic as TopicIndex,
                        partition: work.partition,
                        offset: (*offset)?,
                        metadata: metadata.clone(),
                    })
                }));
            closings.push((work.partition, positions, share));
        }
        let Some(group) = self.group.clone() else {
            self.recover("the group membership is not known");
            return Ok(());
        };
        let Some(producer) = &mut self.producer else {
            return Ok(());
        };
        let outcome = producer.commit(&transaction, &group, &self.settings.topics.state);
        self.metrics.shared().stage(Timed::Commit, timer.elapsed());
        self.metrics
            .shared()
            .commit_seconds
            .observe(timer.elapsed().as_secs_f64());
        match outcome {
            Ok(state_positions) => {
                self.metrics.shared().transaction(TransactionOutcome::Committed);
                self.refusals = 0;
                self.close(&works, closings, &state_positions);
                Ok(())
            }
            Err(CommitError::Fenced(reason)) => {
                self.metrics.shared().transaction(TransactionOutcome::Fenced);
                Err(WorkerExit::Fenced(reason))
            }
            Err(CommitError::Uncertain(reason)) => {
                self.metrics.shared().transaction(TransactionOutcome::Unknown);
                self.recover(&reason);
                Ok(())
            }
            Err(CommitError::Refused(reason)) => {
                self.metrics.shared().transaction(TransactionOutcome::Aborted);
                self.blame(&works, &reason)?;
                self.recover(&reason);
                Ok(())
            }
        }
    }

    /// The transaction is committed: now it is true, and the stores may know.
    fn close(
        &mut self,
        works: &[Work],
        closings: Vec<(i32, Vec<Option<i64>>, Prepared)>,
        state_positions: &[(i32, i64)],
    ) {
        let timer = Instant::now();
        let wall_ms = self.clock.wall_ms();
        let mut failed = Vec::new();
        for ((partition, positions, share), work) in closings.into_iter().zip(works) {
            let Some(task) = self.tasks.get_mut(&partition) else {
                continue;
            };
            task.seq = task.seq.saturating_add(1);
            task.now_ms = work.now_ms;
            task.committed = positions;
            task.deferred = task.deferred.saturating_add_signed(share.deferred_growth);
            let deferred = usize::try_from(task.deferred).unwrap_or(usize::MAX);
            self.metrics.shared().set_deferred(partition, deferred);
            let state_position = state_positions.iter().find(|(known, _)| *known == partition);
            if let (Some(store), Some((_, changelog_position))) = (&mut task.store, state_position) {
                let meta = StoreMeta {
                    changelog_position: *changelog_position,
                    last_applied_ms: wall_ms,
                };
                let written = store
                    .write(&share.changes, &meta)
                    .and_then(|()| store.forget_due(&share.served));
                task.store_written_ms = wall_ms;
                failed.extend(written.err().map(|error| (partition, error)));
            }
            count(&mut self.metrics, &share, wall_ms);
        }
        self.metrics.flush();
        self.metrics.shared().stage(Timed::Store, timer.elapsed());
        for (partition, error) in failed {
            self.handle(partition, BatchError::Store(error));
        }
    }

    /// What failed in one task while nothing had been committed yet (or after everything had been): that task recovers.
    fn handle(&mut self, partition: i32, error: BatchError) {
        let Some(task) = self.tasks.get_mut(&partition) else {
            return;
        };
        if let Err(error) = self.source.stop(partition) {
            tracing::warn!(partition, %error, "the partition could not be paused");
        }
        match error {
            BatchError::Store(StoreError::Unavailable(reason)) => {
                tracing::error!(
                    partition,
                    reason,
                    "the store cannot be used: judging stops until it can"
                );
                task.recover();
                task.store = None;
            }
            BatchError::Store(StoreError::Corrupt(reason)) | BatchError::State(reason) => {
                tracing::error!(
                    partition,
                    reason,
                    "the state cannot be read: it is rebuilt from the changelog"
                );
                task.recover();
                task.store = None;
                let rebuilt = std::mem::replace(&mut task.rebuilt, true);
                let retry_at_ms = self.clock.monotonic_ms().saturating_add(5_000);
                if rebuilt {
                    task.block(reason, retry_at_ms);
                } else if let Err(error) = self.stores.set_aside(partition, "corrupt") {
                    task.block(error.to_string(), retry_at_ms);
                }
            }
            BatchError::Panicked(Some(place)) => {
                tracing::error!(
                    partition,
                    offset = place.2,
                    "a step panicked: the record becomes a dead letter"
                );
                self.poisoned.insert(place);
                task.recover();
            }
            BatchError::Panicked(None) => {
                let retry_at_ms = self.clock.monotonic_ms().saturating_add(60_000);
                task.block(
                    "judging a waiting intent failed inside Forbear: please report it".into(),
                    retry_at_ms,
                );
            }
        }
    }

    /// Puts everything back that a dropped batch had taken.
    fn drop_the_batch(&mut self, works: Vec<Work>) {
        self.metrics.discard();
        for mut work in works {
            let Some(task) = self.tasks.get_mut(&work.partition).filter(|task| task.is_running()) else {
                continue;
            };
            put_back(task, &mut work.intents);
            for record in work.engagement.into_iter().rev() {
                task.engagement.push_front(record);
            }
        }
    }

    /// The one recovery path for everything that a worker has.
    fn recover(&mut self, reason: &str) {
        tracing::warn!(
            worker = self.settings.index,
            reason,
            "the transaction was not clean: starting from what is committed"
        );
        self.producer = None;
        self.metrics.discard();
        for task in self.tasks.values_mut().filter(|task| task.is_running()) {
            if let Err(error) = self.source.stop(task.partition) {
                tracing::warn!(partition = task.partition, %error, "the partition could not be paused");
            }
            task.recover();
        }
    }

    /// The log refused the batch. Twice in a row: the batches shrink to one record; and one record that is refused on its
    /// own, twice, is a dead letter.
    fn blame(&mut self, works: &[Work], reason: &str) -> Result<(), WorkerExit> {
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals <= REFUSALS_BEFORE_SHRINKING {
            return Ok(());
        }
        let mut records = works
            .iter()
            .flat_map(|work| work.engagement.iter().chain(&work.intents));
        match records.next().map(place) {
            Some(place) if self.poisoned.insert(place) => Ok(()),
            _ => Err(WorkerExit::Fatal(format!(
                "the log refuses what has to be written: {reason}"
            ))),
        }
    }

    /// Leaves the group for good: the others take over at once, instead of after the session's time-out.
    pub fn leave(&mut self) {
        self.source.leave();
    }

    /// Asks for the ends of all inputs now and then: how far behind every running task is.
    fn measure_lag(&mut self) {
        let monotonic_ms = self.clock.monotonic_ms();
        if monotonic_ms < self.lag_at_ms {
            return;
        }
        self.lag_at_ms = monotonic_ms.saturating_add(LAG_EVERY_MS);
        let topics = 0..self.settings.inputs.topics.len();
        let running = self.tasks.values().filter(|task| task.is_running());
        let wanted: Vec<(TopicIndex, i32)> = running
            .flat_map(|task| topics.clone().map(|topic| (topic as TopicIndex, task.partition)))
            .collect();
        let Ok(ends) = self.source.ends(&wanted) else { return };
        for task in self.tasks.values_mut() {
            task.lag = 0;
        }
        for ((topic, partition), end) in wanted.into_iter().zip(ends) {
            let Some(task) = self.tasks.get_mut(&partition) else {
                continue;
            };
            let lag = end
                .saturating_sub(task.committed[usize::from(topic)].unwrap_or(0))
                .max(0);
            task.lag = task.lag.saturating_add(lag.unsigned_abs());
            let (name, _) = &self.settings.inputs.topics[usize::from(topic)];
            self.metrics.shared().set_lag(name, partition, lag);
        }
    }

    fn report(&mut self) {
        self.measure_lag();
        let wall_ms = self.clock.wall_ms();
        self.status.set_standby(self.tasks.is_empty());
        for task in self.tasks.values() {
            self.status.set(task.partition, self.status_of(task, None));
        }
        for task in self.tasks.values_mut().filter(|task| task.is_running()) {
            if task.store_written_ms == 0 {
                task.store_written_ms = wall_ms;
            }
            let idle = wall_ms.saturating_sub(task.store_written_ms) > RENEW_STORE_MS;
            if let (true, Some(store)) = (idle, &mut task.store)
                && let Some(meta) = store.meta()
            {
                task.store_written_ms = wall_ms;
                if let Err(error) = store.write(
                    &[],
                    &StoreMeta {
                        last_applied_ms: wall_ms,
                        ..meta
                    },
                ) {
                    tracing::warn!(partition = task.partition, %error, "the store's time stamp could not be renewed");
                }
            }
        }
    }

    fn status_of(&self, task: &Task<S::Store>, obstacle: Option<&str>) -> PartitionStatus {
        let worker = self.settings.index;
        let (state, reason, remaining) = match &task.stage {
            _ if obstacle.is_some() => (PartitionState::Blocked, obstacle.map(str::to_owned), None),
            Stage::Restoring(restore) => {
                let remaining = u64::try_from(restore.remaining).ok();
                (PartitionState::Restoring, restore.obstacle.clone(), remaining)
            }
            Stage::Running => (PartitionState::Running, None, None),
            Stage::Blocked { reason, .. } => (PartitionState::Blocked, Some(reason.clone()), None),
        };
        PartitionStatus {
            reason,
            restore_remaining_records: remaining,
            lag_records: task.lag,
            ..PartitionStatus::new(state, worker)
        }
    }
}

/// A transient failure of the log is tried again with the next turn.
fn tolerate(outcome: Result<(), SourceError>) -> Result<(), WorkerExit> {
    match outcome {
        Ok(()) => Ok(()),
        Err(SourceError::Transient(reason)) => {
            tracing::warn!(reason, "the log did not answer; trying again");
            Ok(())
        }
        Err(other) => Err(other.into()),
    }
}

fn put_back<S>(task: &mut Task<S>, intents: &mut Vec<Record>) {
    for record in intents.drain(..).rev() {
        task.intents.push_front(record);
    }
}

/// Nothing is judged in this batch: where a re-routed intent stands in the re-route topic, that topic has to wait from there
/// on, because its position moves in one piece. The other topics go on.
fn hold_rerouted_intents<S>(task: &mut Task<S>, work: &mut Work, inputs: &Inputs) {
    let mut held = Vec::new();
    let mut applied = Vec::with_capacity(work.engagement.len());
    for record in work.engagement.drain(..) {
        let waits = !held.is_empty() && is_rerouted(&record, inputs);
        if waits || is_rerouted_intent(&record, inputs) {
            held.push(record);
        } else {
            applied.push(record);
        }
    }
    work.engagement = applied;
    for record in held.into_iter().rev() {
        task.engagement.push_front(record);
    }
}

fn is_rerouted(record: &Record, inputs: &Inputs) -> bool {
    inputs.topics[usize::from(record.topic)].1 == InputKind::Reroute
}

fn is_rerouted_intent(record: &Record, inputs: &Inputs) -> bool {
    is_rerouted(record, inputs)
        && read_stray(record.value.as_deref(), &record.headers).is_ok_and(|stray| stray.kind == StrayKind::Intent)
}

/// Leaves one record (or one due customer) in the work; the rest goes back. What stands before re-routed intents is taken
/// one by one; they themselves can only be judged with all of the re-route topic behind them.
fn shrink<S>(task: &mut Task<S>, work: &mut Work, inputs: &Inputs) {
    let first = work.engagement.iter().position(|record| !is_rerouted(record, inputs));
    let leading = work
        .engagement
        .first()
        .is_some_and(|record| !is_rerouted_intent(record, inputs))
        .then_some(0);
    let mut kept = work.engagement.len();
    if let Some(index) = leading.or(first) {
        let record = work.engagement.remove(index);
        for rest in work.engagement.drain(..).rev() {
            task.engagement.push_front(rest);
        }
        work.engagement.push(record);
        kept = 1;
    }
    let keep_intents = usize::from(kept == 0).min(work.intents.len());
    let mut rest = work.intents.split_off(keep_intents);
    put_back(task, &mut rest);
    if kept + keep_intents > 0 {
        work.due.clear();
    }
    work.retime.clear();
}

fn policy_record(topic: &Name, policy: &Policy) -> Outgoing {
    let hash: String = policy.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    Outgoing {
        topic: topic.clone(),
        partition: None,
        key: Some(hash.into_bytes()),
        value: Some(policy.text.clone()),
        headers: Vec::new(),
        timestamp_ms: None,
    }
}

fn count(metrics: &mut WorkerMetrics, share: &Prepared, wall_ms: i64) {
    for counted in &share.counted {
        metrics.verdict(
            &counted.division,
            &counted.channel,
            counted.verdict.as_str(),
            counted.reason.as_str(),
        );
        for (rule, shadow) in &counted.hits {
            metrics.rule_hit(rule, *shadow);
        }
        if counted.class_was_unknown {
            metrics.shared().unknown_value("class");
        }
        if let Some(appended_at_ms) = counted.appended_at_ms {
            let elapsed_ms = u64::try_from(wall_ms.saturating_sub(appended_at_ms)).unwrap_or(0);
            metrics.end_to_end(Duration::from_millis(elapsed_ms));
        }
    }
    for kind in &share.applied {
        metrics.engagement(kind.as_str());
    }
    for kind in &share.dead_letters {
        metrics.shared().dead_letter(kind.as_str());
    }
    for kind in &share.strays {
        metrics.shared().stray(kind.as_str());
    }
}
