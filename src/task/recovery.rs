//! What follows when something is not clean: a task that recovers on its own, a worker that drops everything that is not
//! committed, and the search for a record that the log refuses.

use crate::commit::log::Log;
use crate::intake::source::Source;
use crate::store::{StoreError, Stores};
use crate::task::batch::{BatchError, Culprit, Work, place};
use crate::task::clock::Clock;
use crate::task::closing::Closing;
use crate::task::reading::put_back;
use crate::task::worker::{Worker, WorkerExit};

const RETRY_BLOCKED_MS: i64 = 5_000;
const RETRY_PANICKED_MS: i64 = 60_000;

impl<L: Log, S: Stores, C: Clock> Worker<L, S, C> {
    /// What failed in one task while nothing had been committed yet (or after everything had been): that task recovers.
    pub(super) fn handle(&mut self, partition: i32, error: BatchError) {
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
                let retry_at_ms = self.clock.monotonic_ms().saturating_add(RETRY_BLOCKED_MS);
                if task.rebuilt.is_some() {
                    task.block(reason, retry_at_ms);
                } else if let Err(error) = self.stores.set_aside(partition, "corrupt") {
                    task.block(error.to_string(), retry_at_ms);
                } else {
                    task.rebuilt = Some(task.reached.clone());
                }
            }
            BatchError::PanickedSomewhere { size, first } if size > 1 && self.batch_limit != Some(1) => {
                tracing::error!(
                    partition,
                    size,
                    "a batch panicked outside of its steps: smaller ones find out on what; please report it"
                );
                self.batch_limit = Some((size / 2).max(1));
                drop(first);
                task.recover();
            }
            BatchError::Panicked(culprit)
            | BatchError::PanickedSomewhere {
                first: Some(culprit), ..
            } => {
                tracing::error!(
                    partition,
                    at = describe(&culprit),
                    "a step panicked: what it was about becomes a dead letter; please report it"
                );
                task.recover();
                if !self.poisoned.insert(culprit) {
                    let reason = "a step panics even on what it has to give up: run another version".to_owned();
                    task.block(reason, self.clock.monotonic_ms().saturating_add(RETRY_PANICKED_MS));
                }
            }
            BatchError::PanickedSomewhere { first: None, .. } => {
                let reason = "a batch panics that holds nothing: run another version".to_owned();
                task.block(reason, self.clock.monotonic_ms().saturating_add(RETRY_PANICKED_MS));
            }
        }
    }

    /// Puts everything back that a dropped batch had taken.
    pub(super) fn drop_the_batch(&mut self, works: Vec<Work>) {
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
    pub(super) fn recover(&mut self, reason: &str) {
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

    /// The log refused the batch. What is tried at once is halved until one record is refused on its own, twice: that one is
    /// a dead letter.
    pub(super) fn blame(&mut self, closings: &[Closing], reason: &str) -> Result<(), WorkerExit> {
        let size: usize = closings.iter().map(|closing| closing.work.size()).sum();
        if size > 1 || self.batch_limit != Some(1) {
            self.batch_limit = Some((size / 2).max(1));
            return Ok(());
        }
        let suspect = closings.iter().find_map(first_of);
        let refused_before = suspect
            .as_ref()
            .is_none_or(|suspect| !self.suspects.insert(suspect.clone()));
        if !refused_before {
            return Ok(());
        }
        if let Some(culprit) = suspect.filter(|culprit| !self.poisoned.contains(culprit)) {
            tracing::error!(
                partition = culprit.partition(),
                at = describe(&culprit),
                reason,
                "the log refuses what has to be written: what it is about becomes a dead letter"
            );
            self.poisoned.insert(culprit);
            return Ok(());
        }
        Err(WorkerExit::Fatal(format!(
            "the log refuses what has to be written: {reason}"
        )))
    }

    /// A batch was taken: the next one may be larger.
    ///
    /// Only a batch that was as large as it might be says anything; and the partitions take turns, so that a busy one does
    /// not keep the search from coming to an end in another.
    pub(super) fn acquit(&mut self, closings: &[Closing]) {
        let size: usize = closings.iter().map(|closing| closing.work.size()).sum();
        if self.batch_limit.is_none_or(|limit| size < limit) {
            return;
        }
        let last = closings.iter().rfind(|closing| closing.work.size() > 0);
        self.limited_from = last.map_or(0, |closing| closing.work.partition.saturating_add(1));
        let doubled = self.batch_limit.map(|limit| limit.saturating_mul(2));
        self.batch_limit = doubled.filter(|limit| *limit < self.settings.batch_records);
    }
}

/// What a batch of one is about.
fn first_of(closing: &Closing) -> Option<Culprit> {
    let work = &closing.work;
    let record = work.engagement.iter().chain(&work.intents).next();
    let record = record.map(|record| Culprit::Record(place(record)));
    record.or_else(|| closing.share.judged_first.clone())
}

/// For the log: where it was received.
fn describe(culprit: &Culprit) -> String {
    match culprit {
        Culprit::Record((_, _, offset)) => format!("offset {offset}"),
        Culprit::Waiting(_, received) => format!(
            "waiting intent {}/{}/{}",
            received.topic, received.partition, received.offset
        ),
        // An id is nobody's business in a log.
        Culprit::Customer(..) => "what waits for a customer".to_owned(),
    }
}
