//! The consent barrier: nothing is judged before engagement is applied up to the ends that were asked for after the decision
//! time was read.

use crate::commit::log::Log;
use crate::intake::source::{InputKind, Inputs, Record, Source, SourceError, TopicIndex};
use crate::store::{Store, Stores};
use crate::task::batch::Work;
use crate::task::clock::Clock;
use crate::task::partition::Task;
use crate::task::reading::put_back;
use crate::task::worker::{Worker, WorkerExit, tolerate};
use crate::verdict::reroute::{StrayKind, read_stray};
use std::time::{Duration, Instant};

/// How long one poll waits for engagement that is on its way.
const POLL_WAIT: Duration = Duration::from_millis(5);

impl<L: Log, S: Stores, C: Clock> Worker<L, S, C> {
    /// Applies the barrier to the work of a batch. Where it cannot be reached in time, what is there is applied and nothing is
    /// judged; what then has nothing left to do is no work any more.
    pub(super) fn meet_the_barrier(&mut self, works: &mut Vec<Work>) -> Result<(), WorkerExit> {
        let timer = Instant::now();
        let ahead = ahead(&self.settings.inputs);
        let wanted: Vec<(TopicIndex, i32)> = works
            .iter()
            .flat_map(|work| ahead.iter().map(|topic| (*topic, work.partition)))
            .collect();
        let met = match self.source.ends(&wanted) {
            Ok(ends) => self.read_up_to(&wanted, &ends)?,
            Err(SourceError::Transient(reason)) => {
                tracing::warn!(
                    reason,
                    "the ends of engagement are not known: nothing is judged for now"
                );
                false
            }
            Err(other) => return Err(other.into()),
        };
        self.metrics
            .shared()
            .consent_barrier_wait_seconds
            .observe(timer.elapsed().as_secs_f64());
        let limited = self.batch_limit.is_some();
        let (inputs, tasks) = (&self.settings.inputs, &mut self.tasks);
        works.retain_mut(|work| {
            // Work of a task that was blocked meanwhile is read again when it runs again.
            let task = tasks.get_mut(&work.partition).filter(|task| task.is_running());
            task.is_some_and(|task| settle(task, work, inputs, &ahead, met, limited))
        });
        Ok(())
    }

    /// Reads engagement until every position wanted is reached; answers whether it is.
    fn read_up_to(&mut self, wanted: &[(TopicIndex, i32)], ends: &[i64]) -> Result<bool, WorkerExit> {
        let wait_ms = i64::try_from(self.settings.barrier_wait.as_millis()).unwrap_or(i64::MAX);
        let until_ms = self.clock.monotonic_ms().saturating_add(wait_ms);
        let mut room = self.settings.engagement_records;
        while !self.has_reached(wanted, ends) {
            if room == 0 || self.clock.monotonic_ms() >= until_ms {
                return Ok(false);
            }
            let mut polled = Vec::new();
            tolerate(self.source.poll_engagement(&mut polled, room, POLL_WAIT))?;
            room = room.saturating_sub(polled.len());
            self.route(polled)?;
        }
        Ok(true)
    }

    fn has_reached(&self, wanted: &[(TopicIndex, i32)], ends: &[i64]) -> bool {
        wanted.iter().zip(ends).all(|((topic, partition), end)| {
            let task = self.tasks.get(partition);
            task.is_some_and(|task| task.reached[usize::from(*topic)].unwrap_or(0) >= *end)
        })
    }
}

/// What is applied before anything is judged: every input but the intents.
fn ahead(inputs: &Inputs) -> Vec<TopicIndex> {
    (0..inputs.topics.len())
        .filter(|topic| inputs.topics[*topic].1 != InputKind::Intents)
        .map(|topic| topic as TopicIndex)
        .collect()
}

/// Gives the work its engagement and its barrier; answers whether anything is left to do.
fn settle<S: Store>(
    task: &mut Task<S>,
    work: &mut Work,
    inputs: &Inputs,
    ahead: &[TopicIndex],
    met: bool,
    limited: bool,
) -> bool {
    if !limited {
        work.engagement.extend(task.engagement.drain(..));
    }
    // A limited batch leaves behind what was read since: then the barrier is not reached either.
    work.may_judge &= met && task.engagement.is_empty();
    if !work.may_judge {
        put_back(task, &mut work.intents);
        hold_rerouted_intents(task, work, inputs);
        work.due.clear();
        work.retime.clear();
    }
    let barrier = ahead.iter().map(|topic| {
        let (name, _) = &inputs.topics[usize::from(*topic)];
        (name.clone(), task.reached[usize::from(*topic)].unwrap_or(0))
    });
    work.barrier = barrier.collect();
    work.size() > 0 || task.positions() != task.committed
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

pub(super) fn is_rerouted(record: &Record, inputs: &Inputs) -> bool {
    inputs.topics[usize::from(record.topic)].1 == InputKind::Reroute
}

pub(super) fn is_rerouted_intent(record: &Record, inputs: &Inputs) -> bool {
    is_rerouted(record, inputs)
        && read_stray(record.value.as_deref(), &record.headers).is_ok_and(|stray| stray.kind == StrayKind::Intent)
}
