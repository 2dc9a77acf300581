//! The end of a batch: one transaction, and only after it the stores and the counters.
//!
//! The transaction carries the offsets and the marker of every task touched. The text of a policy goes in front of the
//! first verdicts that this worker gives under it.

use crate::commit::log::{CommitError, Log, OffsetCommit, Outgoing, Producer, Transaction};
use crate::customer::keys::marker_key;
use crate::intake::source::{Inputs, TopicIndex};
use crate::message::Name;
use crate::policy::model::Policy;
use crate::serve::metrics::{Stage as Timed, TransactionOutcome, WorkerMetrics};
use crate::store::{Store, StoreError, StoreMeta, Stores};
use crate::task::batch::{BatchError, Culprit, Prepared, Work};
use crate::task::clock::Clock;
use crate::task::partition::Task;
use crate::task::worker::{Forbidden, RETRY_FORBIDDEN_MS, Worker, WorkerExit};
use crate::verdict::TopicNames;
use std::time::{Duration, Instant};

/// What becomes true of one task with the commit.
pub(super) struct Closing {
    pub(super) work: Work,
    positions: Vec<Option<i64>>,
    pub(super) share: Prepared,
}

impl<L: Log, S: Stores, C: Clock> Worker<L, S, C> {
    /// Commits the batch and lets the stores know. Answers whether it is committed.
    pub(super) fn commit(
        &mut self,
        works: Vec<Work>,
        prepared: Vec<Prepared>,
        policy: &Policy,
    ) -> Result<bool, WorkerExit> {
        let encoding = Instant::now();
        let mut transaction = Transaction::default();
        if self.published_policy != Some(policy.sha256) {
            transaction
                .records
                .push(policy_record(&self.settings.topics.policies, policy));
        }
        let mut closings = Vec::with_capacity(works.len());
        for (work, share) in works.into_iter().zip(prepared) {
            if let Some(task) = self.tasks.get(&work.partition) {
                let (inputs, topics) = (&self.settings.inputs, &self.settings.topics);
                closings.push(enter(&mut transaction, task, work, share, inputs, topics));
            }
        }
        let Some(group) = self.group.clone() else {
            self.recover("the group membership is not known");
            return Ok(false);
        };
        let Some(producer) = &mut self.producer else {
            return Ok(false);
        };
        self.metrics.shared().stage(Timed::Encode, encoding.elapsed());
        let timer = Instant::now();
        let outcome = producer.commit(&transaction, &group, &self.settings.topics.state);
        let spent = timer.elapsed();
        let handed_over = producer.handed_over_in();
        self.metrics.shared().stage(Timed::Produce, handed_over);
        self.metrics
            .shared()
            .stage(Timed::Commit, spent.saturating_sub(handed_over));
        self.metrics.shared().commit_seconds.observe(spent.as_secs_f64());
        match outcome {
            Ok(state_positions) => {
                self.metrics.shared().transaction(TransactionOutcome::Committed);
                self.published_policy = Some(policy.sha256);
                self.allow(Forbidden::Committing);
                self.acquit(&closings);
                self.close(closings, &state_positions);
                Ok(true)
            }
            Err(CommitError::Fenced(reason)) => {
                self.metrics.shared().transaction(TransactionOutcome::Fenced);
                Err(WorkerExit::Fenced(reason))
            }
            Err(CommitError::Uncertain(reason)) => {
                self.metrics.shared().transaction(TransactionOutcome::Unknown);
                self.recover(&reason);
                Ok(false)
            }
            Err(CommitError::Forbidden(reason)) => {
                self.metrics.shared().transaction(TransactionOutcome::Aborted);
                self.recover(&reason);
                self.forbid(Forbidden::Committing, reason);
                self.producer_retry_at_ms = self.clock.monotonic_ms().saturating_add(RETRY_FORBIDDEN_MS);
                Ok(false)
            }
            Err(CommitError::Refused(reason)) => {
                self.metrics.shared().transaction(TransactionOutcome::Aborted);
                self.blame(&closings, &reason)?;
                self.recover(&reason);
                Ok(false)
            }
        }
    }

    /// The transaction is committed: now it is true, and the stores may know.
    fn close(&mut self, closings: Vec<Closing>, state_positions: &[(i32, i64)]) {
        let timer = Instant::now();
        let wall_ms = self.clock.wall_ms();
        let mut failed = Vec::new();
        for closing in closings {
            let partition = closing.work.partition;
            let Some(task) = self.tasks.get_mut(&partition) else {
                continue;
            };
            count(&mut self.metrics, &closing.share, wall_ms);
            let state_position = state_positions.iter().find(|(known, _)| *known == partition);
            let mut ended = closing.share.given_up.clone();
            ended.extend(closing.share.judged_first.clone());
            let written = carry_over(task, closing, state_position.map(|(_, position)| *position), wall_ms);
            failed.extend(written.err().map(|error| (partition, error)));
            let is_ahead = |culprit: &Culprit| match culprit {
                _ if culprit.partition() != partition => true,
                Culprit::Record((topic, _, offset)) => {
                    let next = task.committed.get(usize::from(*topic)).copied().flatten();
                    next.is_none_or(|next| next <= *offset)
                }
                Culprit::Waiting(..) | Culprit::Customer(..) => !ended.contains(culprit),
            };
            self.poisoned.retain(is_ahead);
            self.suspects.retain(is_ahead);
        }
        self.metrics.flush();
        self.metrics.shared().stage(Timed::Store, timer.elapsed());
        for (partition, error) in failed {
            self.handle(partition, BatchError::Store(error));
        }
    }
}

/// Adds one task's share to the transaction: records, changed state, marker, offsets.
fn enter<S: Store>(
    transaction: &mut Transaction,
    task: &Task<S>,
    work: Work,
    mut share: Prepared,
    inputs: &Inputs,
    topics: &TopicNames,
) -> Closing {
    let positions = task.positions();
    let deferred = task.deferred.saturating_add_signed(share.deferred_growth);
    let marker = task.marker(inputs, &positions, work.now_ms, deferred);
    share.changes.push((marker_key(work.partition), Some(marker.encode())));
    transaction.records.append(&mut share.outgoing);
    let changes = share.changes.iter().map(|(key, value)| Outgoing {
        topic: topics.state.clone(),
        partition: Some(work.partition),
        key: Some(key.clone()),
        value: value.clone(),
        headers: Vec::new(),
        timestamp_ms: None,
    });
    transaction.records.extend(changes);
    let metadata = marker.metadata();
    let offsets = positions.iter().enumerate().filter_map(|(topic, offset)| {
        Some(OffsetCommit {
            topic: topic as TopicIndex,
            partition: work.partition,
            offset: (*offset)?,
            metadata: metadata.clone(),
        })
    });
    transaction.offsets.extend(offsets);
    Closing { work, positions, share }
}

/// Brings task and store up to what is committed.
fn carry_over<S: Store>(
    task: &mut Task<S>,
    closing: Closing,
    state_position: Option<i64>,
    wall_ms: i64,
) -> Result<(), StoreError> {
    let Closing { work, positions, share } = closing;
    task.seq = task.seq.saturating_add(1);
    task.now_ms = work.now_ms;
    task.committed = positions;
    task.deferred = task.deferred.saturating_add_signed(share.deferred_growth);
    if let (Some(retiming), Some(last)) = (&mut task.retiming, work.retime.last()) {
        retiming.after = Some(last.clone());
    }
    let missing = || StoreError::Unavailable("the log did not say where the state went".into());
    let changelog_position = state_position.ok_or_else(missing)?;
    let closed = || StoreError::Unavailable("the store is closed".into());
    let store = task.store.as_mut().ok_or_else(closed)?;
    let meta = StoreMeta {
        changelog_position,
        last_applied_ms: wall_ms,
    };
    store.write(&share.changes, &meta)?;
    store.forget_due(&share.served)?;
    task.store_written_ms = wall_ms;
    if work.may_judge {
        task.trust_again();
    }
    Ok(())
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
        if let Some(field) = counted.unknown_value {
            metrics.shared().unknown_value(field);
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
