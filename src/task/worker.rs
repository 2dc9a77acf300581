//! The loop: one thread, one consumer, one transactional producer, its tasks.
//!
//! A turn serves the group, moves restores on, and, where there is something to do, makes one batch: read the decision
//! time, ask for the ends of engagement, apply engagement up to there, judge, commit, write the stores. What must stay true:
//! - nothing is written to a store, and nothing is counted, before the transaction that says it is committed;
//! - no transaction is open across a poll, so nothing is revoked in the middle of one;
//! - anything but a clean commit drops the producer and everything that was read, and every task recovers.

use crate::commit::log::{Changelog, ChangelogPolled, CommitError, Log};
use crate::intake::source::{Inputs, Source, SourceError, SourceEvent};
use crate::policy::model::Policy;
use crate::serve::metrics::{Bounds, Stage as Timed, WorkerMetrics};
use crate::serve::status::Status;
use crate::store::{StoreError, Stores};
use crate::task::batch::{BatchContext, BatchError, Culprit, Prepared, Work, prepare};
use crate::task::clock::{Clock, StepWatch};
use crate::task::partition::Task;
use crate::task::restore::{self, Surroundings};
use crate::task::stopwatch::StageTimes;
use crate::verdict::TopicNames;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

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
    /// The positions of a partition in which nothing happens are committed again after this long.
    ///
    /// Kafka keeps the committed offsets of a live group only for the topics that its members subscribe to. Of all others an
    /// offset expires `offsets.retention.minutes` (7 days) after *its own* commit while the group is stable
    /// (`OffsetMetadataManager.cleanupExpiredOffsets`: `isSubscribedToTopic`, then `ClassicGroup.offsetExpirationCondition`).
    /// Forbear subscribes to the first intents topic alone; engagement and re-route are assigned by hand. A restore would
    /// find an offset for the one and none for the others, as after a topic that was made anew, and refuse the partition.
    pub renew_offsets_after_ms: i64,
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

/// What a right may be missing for: it is there again when that has worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Forbidden {
    Joining,
    Reading,
    Producing,
    Committing,
}

const CHANGELOG_RECORDS: usize = 10_000;
/// What is not allowed is tried again: rights are given without telling anybody.
pub(super) const RETRY_FORBIDDEN_MS: i64 = 5_000;
const RETRY_PRODUCER_MS: i64 = 500;
/// A step of a restore that took this long has waited for the cluster.
const SLOW_RESTORE_STEP_MS: i64 = 1_000;

/// One worker.
pub struct Worker<L: Log, S: Stores, C: Clock> {
    pub(super) settings: WorkerSettings,
    log: L,
    pub(super) source: L::Source,
    pub(super) producer: Option<L::Producer>,
    changelog: L::Changelog,
    pub(super) group: Option<<L::Source as Source>::Group>,
    pub(super) stores: S,
    pub(super) clock: C,
    step_watch: StepWatch,
    policy: PolicyHandle,
    /// Whose text is in the log, in front of the verdicts that this worker gave under it: by hash.
    pub(super) published_policy: Option<[u8; 32]>,
    pub(super) tasks: BTreeMap<i32, Task<S::Store>>,
    pub(super) metrics: WorkerMetrics,
    pub(super) status: Arc<Status>,
    /// What the log refused on its own, or what a step panicked on; forgotten once it has been committed past.
    pub(super) poisoned: HashSet<Culprit>,
    /// How many records may be tried at once since the log refused a batch; none: as many as there are.
    pub(super) batch_limit: Option<usize>,
    /// The partition that is first in the next limited batch.
    pub(super) limited_from: i32,
    /// What was refused on its own once; forgotten like the poisoned. A set: after each recovery another partition may be the
    /// first to run again, and two records that are refused must not make each other's first time forgotten.
    pub(super) suspects: HashSet<Culprit>,
    pub(super) producer_retry_at_ms: i64,
    pub(super) lag_at_ms: i64,
    /// Whose names are the labels of the metrics: by hash.
    bounds_of: [u8; 32],
    /// What the cluster does not allow, and which right is missing.
    forbidden: BTreeMap<Forbidden, String>,
    /// Why nothing at all is judged: the wall clock was set.
    pub(super) clock_obstacle: Option<String>,
    /// The group has not said what is assigned, or has taken partitions back since: an assignment (it may be empty) is to come.
    /// It does not come while the cluster is away.
    pub(super) awaits_assignment: bool,
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
        status.set_standby(settings.index, false);
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
            batch_limit: None,
            limited_from: 0,
            suspects: HashSet::new(),
            producer_retry_at_ms: i64::MIN,
            lag_at_ms: i64::MIN,
            bounds_of: [0; 32],
            forbidden: BTreeMap::new(),
            clock_obstacle: None,
            awaits_assignment: true,
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
            self.report_states();
            std::thread::sleep(self.settings.idle_wait);
            return Ok(Turned::Idle);
        }
        let restored = self.restore()?;
        let worked = self.batch()?;
        if !worked && self.has_buffered() {
            // What is there cannot be judged yet: no reason to ask again at once.
            std::thread::sleep(self.settings.idle_wait);
        }
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
                    self.source.hold(&partitions)?;
                    self.group = self.source.group().ok();
                    self.awaits_assignment = false;
                    self.allow(Forbidden::Joining);
                    self.status.set_started();
                    tracing::info!(worker = self.settings.index, ?partitions, "partitions assigned");
                    for partition in partitions {
                        let task = Task::new(partition, self.settings.inputs.topics.len());
                        self.tasks.insert(partition, task);
                    }
                }
                SourceEvent::Revoked { partitions, lost } => {
                    tracing::info!(worker = self.settings.index, ?partitions, lost, "partitions revoked");
                    self.forget(&partitions);
                    self.source.release(&partitions)?;
                    self.awaits_assignment = true;
                }
                SourceEvent::Forbidden(reason) => self.forbid(Forbidden::Joining, reason),
                SourceEvent::ReadingForbidden(Some(reason)) => self.forbid(Forbidden::Reading, reason),
                SourceEvent::ReadingForbidden(None) => self.allow(Forbidden::Reading),
                SourceEvent::Fenced(reason) => return Err(WorkerExit::Fenced(reason)),
                SourceEvent::Fatal(reason) => return Err(WorkerExit::Fatal(reason)),
            }
        }
        if self.group.is_none() && !self.tasks.is_empty() {
            self.group = self.source.group().ok();
        }
        Ok(())
    }

    /// Drops the tasks of these partitions with everything that was read for them.
    fn forget(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.changelog.close(*partition);
            self.tasks.remove(partition);
            self.status.remove(*partition);
            self.poisoned.retain(|culprit| culprit.partition() != *partition);
            self.suspects.retain(|culprit| culprit.partition() != *partition);
            let topics: Vec<&str> = self.settings.inputs.topics.iter().map(|(name, _)| &**name).collect();
            self.metrics.shared().forget_partition(*partition, &topics);
        }
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
            Ok(producer) => {
                self.producer = Some(producer);
                self.allow(Forbidden::Producing);
            }
            Err(CommitError::Forbidden(reason)) => {
                self.forbid(Forbidden::Producing, reason);
                self.producer_retry_at_ms = self.clock.monotonic_ms().saturating_add(RETRY_FORBIDDEN_MS);
            }
            Err(CommitError::Fenced(reason)) => return Err(WorkerExit::Fenced(reason)),
            Err(CommitError::Uncertain(reason) | CommitError::Refused(reason)) => {
                tracing::warn!(worker = self.settings.index, reason, "the producer cannot start yet");
                self.producer_retry_at_ms = self.clock.monotonic_ms().saturating_add(RETRY_PRODUCER_MS);
            }
        }
        Ok(self.producer.is_some())
    }

    /// The cluster does not allow something: nothing can be judged until it does, and no record is to blame.
    pub(super) fn forbid(&mut self, what: Forbidden, reason: String) {
        if self.forbidden.get(&what) != Some(&reason) {
            let worker = self.settings.index;
            tracing::error!(
                worker,
                reason,
                "not allowed: nothing is judged until it is; trying again"
            );
            self.forbidden.insert(what, reason);
            self.status.set_forbidden(worker, self.missing_right());
        }
    }

    /// That has worked.
    pub(super) fn allow(&mut self, what: Forbidden) {
        if let Some(reason) = self.forbidden.remove(&what) {
            let worker = self.settings.index;
            tracing::info!(worker, before = reason, "allowed now");
            self.status.set_forbidden(worker, self.missing_right());
        }
    }

    /// Which right is missing.
    pub(super) fn missing_right(&self) -> Option<&str> {
        self.forbidden.values().next().map(String::as_str)
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
        }
        for task in self.tasks.values_mut().filter(|task| !task.is_running()) {
            let asked_ms = self.clock.monotonic_ms();
            around.monotonic_ms = asked_ms;
            restore::advance(task, &mut around)?;
            // A slow answer for one partition must not keep the group waiting for the others: they come next turn.
            if self.clock.monotonic_ms().saturating_sub(asked_ms) > SLOW_RESTORE_STEP_MS {
                task.postpone(self.clock.monotonic_ms());
                break;
            }
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
        if self.bounds_of != policy.sha256 {
            self.bounds_of = policy.sha256;
            self.metrics.set_bounds(Arc::new(Bounds::of(&policy)));
        }
        let Some(wall_ms) = self.trusted_time() else {
            return Ok(false);
        };
        for task in self.tasks.values_mut().filter(|task| task.is_running()) {
            task.time_under(policy.sha256);
        }
        let mut works = self.take_work(wall_ms);
        if !works.is_empty() {
            self.meet_the_barrier(&mut works)?;
        }
        self.pause_and_resume()?;
        if works.is_empty() {
            return Ok(false);
        }
        match self.prepare(&policy, &works) {
            Ok(prepared) => self.commit(works, prepared, &policy),
            Err((partition, error)) => {
                self.drop_the_batch(works);
                self.handle(partition, error);
                Ok(false)
            }
        }
    }

    fn trusted_time(&mut self) -> Option<i64> {
        match self.step_watch.now_ms(&self.clock) {
            Ok(wall_ms) => {
                self.clock_obstacle = None;
                Some(wall_ms)
            }
            Err(step_ms) => {
                if self.clock_obstacle.is_none() {
                    tracing::error!(
                        step_ms,
                        "the wall clock was set: nothing is judged until it is set back, or this process is restarted"
                    );
                }
                self.clock_obstacle = Some(format!("the wall clock was set by {} s", step_ms / 1_000));
                None
            }
        }
    }

    /// Steps through the whole batch. An error names the partition that it is of.
    fn prepare(&mut self, policy: &Policy, works: &[Work]) -> Result<Vec<Prepared>, (i32, BatchError)> {
        let context = BatchContext {
            policy,
            topics: &self.settings.topics,
            inputs: &self.settings.inputs,
            max_intent_bytes: self.settings.max_intent_bytes,
            poisoned: &self.poisoned,
        };
        let mut prepared = Vec::with_capacity(works.len());
        for work in works {
            let task = self.tasks.get(&work.partition);
            let closed = || StoreError::Unavailable("the store is closed".into());
            let closed = || (work.partition, BatchError::Store(closed()));
            let store = task.and_then(|task| task.store.as_ref()).ok_or_else(closed)?;
            let share = prepare(&context, store, work).map_err(|error| (work.partition, error))?;
            prepared.push(share);
        }
        let mut times = StageTimes::default();
        prepared.iter().for_each(|share| times += share.times);
        let metrics = self.metrics.shared();
        metrics.stage(Timed::Decode, times.decode);
        metrics.stage(Timed::Lookup, times.lookup);
        metrics.stage(Timed::Judge, times.judge);
        metrics.stage(Timed::Encode, times.encode);
        let spent = times.lookup + times.judge;
        let judged: usize = prepared.iter().map(|share| share.counted.len()).sum();
        if let Ok(judged @ 1..) = u32::try_from(judged) {
            for _ in 0..judged.min(64) {
                self.metrics.decision(spent / judged);
            }
        }
        Ok(prepared)
    }

    /// Whether partitions were given back that nobody has yet. A static member that ends now and comes back is handed what it
    /// had, without a new round of the group, and nobody would ever get them: it has to leave.
    pub fn hands_over(&self) -> bool {
        self.group.is_some() && self.awaits_assignment
    }

    /// Leaves the group for good: the others take over at once, instead of after the session's time-out.
    pub fn leave(&mut self) {
        self.source.leave();
    }

    /// Leaves the group and joins it anew, so that it hands out every partition again: also those that it has forgotten.
    ///
    /// # Errors
    /// A client that cannot be made.
    pub fn join_anew(&mut self) -> Result<(), WorkerExit> {
        self.source.leave();
        let held: Vec<i32> = self.tasks.keys().copied().collect();
        self.forget(&held);
        self.group = None;
        self.awaits_assignment = true;
        self.status.set_standby(self.settings.index, false);
        // A new client finds out by itself what it may not read; it would never say that what another found is over.
        self.allow(Forbidden::Reading);
        // Its predecessor has left. Where the leave did not get through, this one takes its seat, no new round begins, and
        // whoever asked for this will ask again.
        self.source = self.log.source()?;
        Ok(())
    }
}

/// A transient failure of the log is tried again with the next turn.
pub(super) fn tolerate(outcome: Result<(), SourceError>) -> Result<(), WorkerExit> {
    match outcome {
        Ok(()) => Ok(()),
        Err(SourceError::Transient(reason)) => {
            tracing::warn!(reason, "the log did not answer; trying again");
            Ok(())
        }
        Err(other) => Err(other.into()),
    }
}
