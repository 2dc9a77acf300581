//! What a worker tells about its tasks: lag, states, the time stamps of idle stores.

use crate::commit::log::Log;
use crate::intake::source::{Source, TopicIndex};
use crate::serve::status::{PartitionState, PartitionStatus};
use crate::store::{Store, StoreMeta, Stores};
use crate::task::clock::Clock;
use crate::task::partition::{HELD_UP_TOLD_AFTER_MS, Stage, Task};
use crate::task::worker::Worker;

/// A store that was idle this long gets its time stamp renewed, so that it stays trusted.
const RENEW_STORE_MS: i64 = 10 * 60_000;
const LAG_EVERY_MS: i64 = 2_000;

impl<L: Log, S: Stores, C: Clock> Worker<L, S, C> {
    /// Asks for the ends of all inputs now and then: how far behind every running task is.
    fn measure_lag(&mut self) {
        let monotonic_ms = self.clock.monotonic_ms();
        if monotonic_ms < self.lag_at_ms {
            return;
        }
        let topics = 0..self.settings.inputs.topics.len();
        let running = self.tasks.values().filter(|task| task.is_running());
        let wanted: Vec<(TopicIndex, i32)> = running
            .flat_map(|task| topics.clone().map(|topic| (topic as TopicIndex, task.partition)))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let ends = self.source.ends(&wanted);
        // Counted from the answer: a slow one must not be asked for in every turn.
        self.lag_at_ms = self.clock.monotonic_ms().saturating_add(LAG_EVERY_MS);
        let Ok(ends) = ends else { return };
        for ((topic, partition), end) in wanted.into_iter().zip(ends) {
            // Of an input that cannot be asked the last answer stands.
            let (Some(task), Ok(end)) = (self.tasks.get_mut(&partition), end) else {
                continue;
            };
            let lag = end
                .saturating_sub(task.committed[usize::from(topic)].unwrap_or(0))
                .max(0);
            task.lag[usize::from(topic)] = lag.unsigned_abs();
            let (name, _) = &self.settings.inputs.topics[usize::from(topic)];
            self.metrics.shared().set_lag(name, partition, lag);
        }
    }

    /// Where every task is.
    pub(super) fn report_states(&mut self) {
        let is_standby = !self.awaits_assignment && self.tasks.is_empty();
        self.status.set_standby(self.settings.index, is_standby);
        for task in self.tasks.values() {
            let deferred = usize::try_from(task.deferred).unwrap_or(usize::MAX);
            self.metrics.shared().set_deferred(task.partition, deferred);
            self.status.set(task.partition, self.status_of(task));
        }
    }

    /// Everything that is told once a turn.
    pub(super) fn report(&mut self) {
        self.measure_lag();
        self.report_states();
        let wall_ms = self.clock.wall_ms();
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

    fn status_of(&self, task: &Task<S::Store>) -> PartitionStatus {
        let worker = self.settings.index;
        let monotonic_ms = self.clock.monotonic_ms();
        let held_up = task.held_up.as_ref();
        let held_up = held_up.filter(|held_up| monotonic_ms.saturating_sub(held_up.since_ms) >= HELD_UP_TOLD_AFTER_MS);
        let held_up = held_up.map(|held_up| format!("judging waits for engagement: {}", held_up.reason));
        let obstacle = self
            .clock_obstacle
            .as_deref()
            .or(self.missing_right())
            .or(task.obstacle.as_deref())
            .or(held_up.as_deref());
        let (state, reason, remaining) = match &task.stage {
            Stage::Running if obstacle.is_some() => (PartitionState::Blocked, obstacle.map(str::to_owned), None),
            Stage::Restoring(restore) => {
                let remaining = u64::try_from(restore.remaining).ok();
                let reason = restore.obstacle.as_deref().or(self.missing_right());
                (PartitionState::Restoring, reason.map(str::to_owned), remaining)
            }
            Stage::Running => (PartitionState::Running, None, None),
            Stage::Blocked { reason, .. } => (PartitionState::Blocked, Some(reason.clone()), None),
        };
        PartitionStatus {
            reason,
            restore_remaining_records: remaining,
            lag_records: task.lag.iter().sum(),
            ..PartitionStatus::new(state, worker)
        }
    }
}
