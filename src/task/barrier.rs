//! The consent barrier: nothing is judged before engagement is applied up to the ends that were asked for after the decision
//! time was read.

use crate::commit::log::Log;
use crate::intake::source::{InputKind, Inputs, Record, Source, SourceError, TopicIndex};
use crate::store::{Store, Stores};
use crate::task::batch::Work;
use crate::task::clock::Clock;
use crate::task::partition::{Awaited, Task};
use crate::task::reading::put_back;
use crate::task::worker::{Worker, WorkerExit, tolerate};
use crate::verdict::reroute::{StrayKind, read_stray};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Intents of a partition that is held up for longer are not fetched any more.
const PAUSED_AFTER_MS: i64 = 1_000;
/// How long one poll waits for engagement that is on its way.
const POLL_WAIT: Duration = Duration::from_millis(5);

impl<L: Log, S: Stores, C: Clock> Worker<L, S, C> {
    /// Applies the barrier to the work of a batch. Where it cannot be reached in time, what is there is applied and nothing is
    /// judged; what then has nothing left to do is no work any more. Each partition has a barrier of its own: one that
    /// cannot be asked or reached holds up nobody else.
    pub(super) fn meet_the_barrier(&mut self, works: &mut Vec<Work>) -> Result<(), WorkerExit> {
        let timer = Instant::now();
        let unknown = self.ask_for_the_ends(works)?;
        self.read_up_to_the_ends(works)?;
        self.metrics
            .shared()
            .consent_barrier_wait_seconds
            .observe(timer.elapsed().as_secs_f64());
        let limited = self.batch_limit.is_some();
        let monotonic_ms = self.clock.monotonic_ms();
        let (inputs, tasks) = (&self.settings.inputs, &mut self.tasks);
        works.retain_mut(|work| {
            // Work of a task that was blocked meanwhile is read again when it runs again.
            let Some(task) = tasks.get_mut(&work.partition).filter(|task| task.is_running()) else {
                return false;
            };
            let short = unknown
                .get(&work.partition)
                .cloned()
                .or_else(|| falls_short(task, inputs));
            let met = short.is_none() && task.awaited.is_some();
            if let Some((topic, reason)) = short {
                task.hold_up(topic, reason, monotonic_ms);
            }
            settle(task, work, inputs, met, limited)
        });
        Ok(())
    }

    /// Asks for the ends of whoever has none that are still to be reached. Answers who has none to go by, and why.
    fn ask_for_the_ends(&mut self, works: &[Work]) -> Result<BTreeMap<i32, (TopicIndex, String)>, WorkerExit> {
        let ahead = ahead(&self.settings.inputs);
        let mut unknown = BTreeMap::new();
        let asks = |work: &&Work| {
            self.tasks
                .get(&work.partition)
                .is_some_and(|task| task.awaited.is_none())
        };
        let asking: Vec<&Work> = works.iter().filter(asks).collect();
        if asking.is_empty() {
            return Ok(unknown);
        }
        let places = asking.iter().map(|work| work.partition);
        let wanted: Vec<(TopicIndex, i32)> = places
            .flat_map(|partition| ahead.iter().map(move |topic| (*topic, partition)))
            .collect();
        let answers = match self.source.ends(&wanted) {
            Ok(answers) => answers,
            Err(SourceError::Transient(reason)) => vec![Err(reason); wanted.len()],
            Err(other) => return Err(other.into()),
        };
        for (work, answers) in asking.into_iter().zip(answers.chunks(ahead.len().max(1))) {
            let Some(task) = self.tasks.get_mut(&work.partition) else {
                continue;
            };
            let mut ends = Vec::with_capacity(ahead.len());
            for (topic, answer) in ahead.iter().zip(answers) {
                match answer {
                    Ok(end) => ends.push((*topic, *end)),
                    Err(reason) => {
                        let (name, _) = &self.settings.inputs.topics[usize::from(*topic)];
                        let partition = work.partition;
                        let reason = format!("the end of {name}/{partition} is not known: {reason}");
                        unknown.insert(partition, (*topic, reason));
                    }
                }
            }
            if ends.len() == ahead.len() {
                let intents = work.intents.len().saturating_add(task.intents.len());
                task.awaited = Some(Awaited {
                    now_ms: work.now_ms,
                    ends,
                    intents,
                });
            }
        }
        Ok(unknown)
    }

    /// Reads engagement until it is read up to its ends everywhere. Nobody waits for a partition that was held up before.
    fn read_up_to_the_ends(&mut self, works: &[Work]) -> Result<(), WorkerExit> {
        let wait_ms = i64::try_from(self.settings.barrier_wait.as_millis()).unwrap_or(i64::MAX);
        let until_ms = self.clock.monotonic_ms().saturating_add(wait_ms);
        let mut room = self.settings.engagement_records;
        while works.iter().any(|work| self.is_worth_waiting_for(work.partition)) {
            if room == 0 || self.clock.monotonic_ms() >= until_ms {
                return Ok(());
            }
            let mut polled = Vec::new();
            tolerate(self.source.poll_engagement(&mut polled, room, POLL_WAIT))?;
            room = room.saturating_sub(polled.len());
            self.route(polled)?;
        }
        Ok(())
    }

    fn is_worth_waiting_for(&self, partition: i32) -> bool {
        let task = self.tasks.get(&partition).filter(|task| task.is_running());
        task.is_some_and(|task| task.held_up.is_none() && task.short_of().is_some())
    }

    /// What waits fills the room that all partitions share: of one that is held up for longer no more intents are read.
    pub(super) fn pause_and_resume(&mut self) -> Result<(), WorkerExit> {
        let monotonic_ms = self.clock.monotonic_ms();
        for task in self.tasks.values_mut().filter(|task| task.is_running()) {
            let since_ms = task.held_up.as_ref().map(|held_up| held_up.since_ms);
            let paused = since_ms.is_some_and(|since_ms| monotonic_ms.saturating_sub(since_ms) > PAUSED_AFTER_MS);
            if paused == task.intents_paused {
                continue;
            }
            match self.source.pause_intents(task.partition, paused) {
                Ok(()) => task.intents_paused = paused,
                Err(SourceError::Transient(reason)) => {
                    tracing::warn!(
                        partition = task.partition,
                        reason,
                        paused,
                        "intents go on as they did, for now"
                    );
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }
}

/// Which input has not been read up to its end, and that in words for `/readyz`.
fn falls_short<S: Store>(task: &Task<S>, inputs: &Inputs) -> Option<(TopicIndex, String)> {
    let (topic, end) = task.short_of()?;
    let (name, _) = &inputs.topics[usize::from(topic)];
    let reached = task.reached[usize::from(topic)].unwrap_or(0);
    let reason = format!(
        "{name}/{} is read up to {reached}, and its end is {end}: a transaction is open there, or its leader is away",
        task.partition
    );
    Some((topic, reason))
}

/// What is applied before anything is judged: every input but the intents.
fn ahead(inputs: &Inputs) -> Vec<TopicIndex> {
    (0..inputs.topics.len())
        .filter(|topic| inputs.topics[*topic].1 != InputKind::Intents)
        .map(|topic| topic as TopicIndex)
        .collect()
}

/// Gives the work its engagement and its barrier; answers whether anything is left to do.
fn settle<S: Store>(task: &mut Task<S>, work: &mut Work, inputs: &Inputs, met: bool, limited: bool) -> bool {
    if !limited {
        work.engagement.extend(task.engagement.drain(..));
    }
    // A limited batch leaves behind what was read since: then the barrier is not reached either.
    work.may_judge &= met && task.engagement.is_empty();
    if work.may_judge {
        task.held_up = None;
        let awaited = task.awaited.take();
        for (topic, end) in awaited.iter().flat_map(|awaited| &awaited.ends) {
            hold_rerouted_intents(task, work, inputs, (*topic, *end));
        }
    } else {
        put_back(task, &mut work.intents);
        for topic in ahead(inputs) {
            hold_rerouted_intents(task, work, inputs, (topic, 0));
        }
        work.due.clear();
        work.retime.clear();
    }
    let positions = task.positions();
    let barrier = ahead(inputs).into_iter().map(|topic| {
        let (name, _) = &inputs.topics[usize::from(topic)];
        (name.clone(), positions[usize::from(topic)].unwrap_or(0))
    });
    work.barrier = barrier.collect();
    work.size() > 0 || work.renews_offsets || positions != task.committed
}

/// Re-routed intents from that place on are not judged in this batch: what follows them in their topic has to wait with them,
/// because its position moves in one piece. The other topics go on. (One that came after the ends were asked for may have come
/// after an opt-out that they do not cover.)
fn hold_rerouted_intents<S>(task: &mut Task<S>, work: &mut Work, inputs: &Inputs, (topic, from): (TopicIndex, i64)) {
    let mut held = Vec::new();
    let mut applied = Vec::with_capacity(work.engagement.len());
    for record in work.engagement.drain(..) {
        let waits = record.topic == topic && record.offset >= from && is_rerouted(&record, inputs);
        if waits && (!held.is_empty() || is_rerouted_intent(&record, inputs)) {
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
