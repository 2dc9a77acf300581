//! Before anything is checked: where each partition begins and ends, and how far its task has got.
//!
//! What was judged is what the newest position marker of the state topic covers. The order of the questions makes that a clean
//! cut also while Forbear runs: first the settled end of the state topic, then the ends of everything else. A transaction
//! whose marker lies below the first has written all of its records below the second.

use super::log::{Bounds, Cursor, Halt, Logs};
use super::{From, Request};
use crate::commit::marker::Marker;
use std::collections::BTreeMap;

/// Judging batches between two samples of [`Task::judging`].
const SAMPLED_EVERY: u64 = 1_000;

/// The state as it was right after one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Offset of its marker in the state topic; none: before the first transaction.
    pub offset: Option<i64>,
    pub seq: u64,
    /// Its decision time.
    pub now_ms: i64,
    /// Next unprocessed offset of each input.
    pub positions: BTreeMap<String, i64>,
}

impl Mark {
    pub fn position(&self, topic: &str) -> i64 {
        self.positions.get(topic).copied().unwrap_or(0)
    }

    fn of(marker: &Marker, offset: i64) -> Self {
        Self {
            offset: Some(offset),
            seq: marker.seq,
            now_ms: marker.now_ms,
            positions: marker.positions.iter().cloned().collect(),
        }
    }
}

/// How far one partition's task has got.
#[derive(Debug, Clone, Default)]
pub struct Task {
    pub state: Bounds,
    /// From here on every transaction is there, with the state before it and the inputs behind it.
    pub derivable: Option<Mark>,
    /// Sources from here on must have ended, or wait; none: what retention took of the outputs cannot be told from what was
    /// lost.
    pub complete: Option<Mark>,
    /// The newest transaction that is looked at.
    pub last: Option<Mark>,
    /// Decisions that were made before are not looked at.
    pub since_ms: i64,
    /// Policies under which the whole queue was timed: from which transaction on, and the hash; none: a walk was under way.
    pub timed_by: Vec<(u64, Option<[u8; 32]>)>,
    /// Decision time of every thousandth batch that judged arrivals, and what waited at the end.
    pub judging: Vec<i64>,
    pub deferred: u64,
    /// Somebody set its positions by hand.
    pub was_repaired: bool,
}

impl Task {
    /// What is at or behind it is not judged yet.
    pub fn end(&self, topic: &str) -> i64 {
        self.last.as_ref().map_or(0, |last| last.position(topic))
    }

    /// Whether a decision of that time is looked at.
    pub fn covers(&self, decided_at_ms: i64) -> bool {
        decided_at_ms >= self.since_ms && !self.is_too_new(decided_at_ms)
    }

    /// It belongs to a transaction that came after the newest one that is looked at.
    pub fn is_too_new(&self, decided_at_ms: i64) -> bool {
        self.last.as_ref().is_none_or(|last| decided_at_ms > last.now_ms)
    }

    /// Whether what was due at that time would have been judged since, in whatever pieces.
    pub fn is_overdue(&self, due_ms: i64) -> bool {
        let since = self.judging.iter().filter(|now_ms| **now_ms > due_ms).count() as u64;
        since > 1 + self.deferred / SAMPLED_EVERY
    }
}

/// Everything that has to be known before records are read.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Of the inputs and the state topic.
    pub partition_count: i32,
    /// By partition; only those that are audited.
    pub tasks: BTreeMap<i32, Task>,
    /// Of every topic that exists.
    pub bounds: BTreeMap<String, Vec<Bounds>>,
    /// Topics that are missing and may be: outputs of channels that were never used.
    pub channels: Vec<String>,
}

impl Survey {
    /// The bounds of one partition.
    pub fn bounds_of(&self, topic: &str, partition: i32) -> Bounds {
        let bounds = self.bounds.get(topic);
        let found = usize::try_from(partition).ok().and_then(|index| bounds?.get(index));
        found.copied().unwrap_or_default()
    }

    /// Whether the record should be among what was read: in a partition that is audited, not taken by retention, judged.
    pub fn knows(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.tasks.get(&partition).is_some_and(|task| {
            let first = self.bounds_of(topic, partition).first;
            offset >= first && offset < task.end(topic)
        })
    }

    /// Retention took the beginning of this topic somewhere.
    pub fn is_cut(&self, topic: &str) -> bool {
        self.bounds
            .get(topic)
            .is_some_and(|partitions| partitions.iter().any(|bounds| bounds.first > 0))
    }

    /// The topic has one partition for each of the inputs: partition by partition their orders agree.
    pub fn is_aligned(&self, topic: &str) -> bool {
        self.bounds
            .get(topic)
            .is_some_and(|partitions| i32::try_from(partitions.len()) == Ok(self.partition_count))
    }

    /// The partitions of a topic to read: those that are audited, or all where the topic is cut in another way.
    pub fn partitions_of(&self, topic: &str) -> Vec<i32> {
        let count = self.bounds.get(topic).map_or(0, Vec::len);
        if self.is_aligned(topic) {
            return self.tasks.keys().copied().collect();
        }
        (0..i32::try_from(count).unwrap_or(0)).collect()
    }
}

/// Asks for everything. `channels` are those of the policies that ever judged.
///
/// # Errors
/// The cluster does not answer, or a topic is missing that has to be there.
pub fn survey<L: Logs>(logs: &mut L, request: &Request, channels: Vec<String>) -> Result<Survey, Halt> {
    let topics = &request.topics;
    let mut survey = Survey {
        channels,
        ..Survey::default()
    };
    survey.partition_count = count_of(logs, &topics.intents[0])?;
    for topic in topics.inputs().chain([topics.state.as_str()]) {
        if count_of(logs, topic)? != survey.partition_count {
            let first = &topics.intents[0];
            return Err(Halt::Failed(format!(
                "{topic} and {first} have different partition counts: `forbear topics verify` says more"
            )));
        }
    }
    let wanted: Vec<i32> = match &request.partitions {
        None => (0..survey.partition_count).collect(),
        Some(partitions) => partitions.clone(),
    };
    for partition in wanted {
        if !(0..survey.partition_count).contains(&partition) {
            let message = format!(
                "there is no partition {partition}: there are {}",
                survey.partition_count
            );
            return Err(Halt::Failed(message));
        }
        let state = logs.settled(&topics.state, partition)?;
        let task = Task {
            state,
            ..Task::default()
        };
        survey.tasks.insert(partition, task);
    }
    for topic in topics
        .inputs()
        .map(str::to_owned)
        .chain(topics.outputs(&survey.channels))
    {
        let Some(count) = logs.partitions(&topic)? else {
            if topic == topics.decisions || topic == topics.dead_letter {
                return Err(Halt::Failed(format!("{topic} does not exist")));
            }
            continue;
        };
        let bounds: Result<Vec<Bounds>, Halt> = (0..count).map(|partition| logs.appended(&topic, partition)).collect();
        survey.bounds.insert(topic, bounds?);
    }
    let horizon_ms = horizon(logs, request, &survey)?;
    for partition in survey.tasks.keys().copied().collect::<Vec<_>>() {
        let task = walk(logs, request, &survey, partition, horizon_ms)?;
        survey.tasks.insert(partition, task);
    }
    Ok(survey)
}

fn count_of<L: Logs>(logs: &mut L, topic: &str) -> Result<i32, Halt> {
    let count = logs.partitions(topic)?;
    count.ok_or_else(|| Halt::Failed(format!("{topic} does not exist")))
}

/// Up to when retention may have taken records of the outputs; none: it took nothing.
fn horizon<L: Logs>(logs: &mut L, request: &Request, survey: &Survey) -> Result<Option<i64>, Halt> {
    let mut horizon_ms: Option<i64> = None;
    for topic in request.topics.outputs(&survey.channels) {
        for partition in survey.partitions_of(&topic) {
            let bounds = survey.bounds_of(&topic, partition);
            if bounds.first == 0 {
                continue;
            }
            let first = logs.open(&topic, partition, bounds.first, bounds.end)?.next()?;
            let first_ms = first.map_or(i64::MAX, |record| record.timestamp_ms);
            horizon_ms = Some(horizon_ms.map_or(first_ms, |known_ms| known_ms.max(first_ms)));
        }
    }
    Ok(horizon_ms)
}

/// Reads one partition's markers.
fn walk<L: Logs>(
    logs: &mut L,
    request: &Request,
    survey: &Survey,
    partition: i32,
    horizon_ms: Option<i64>,
) -> Result<Task, Halt> {
    let mut task = survey.tasks[&partition].clone();
    let inputs: Vec<(&str, i64)> = request
        .topics
        .inputs()
        .map(|topic| (topic, survey.bounds_of(topic, partition).first))
        .collect();
    let has_inputs = |mark: &Mark| inputs.iter().all(|(topic, first)| mark.position(topic) >= *first);
    let is_before = |mark: &Mark| match request.from {
        From::Beginning => false,
        From::Instant(at_ms) => mark.now_ms < at_ms,
        From::Offset(offset) => mark.position(&request.topics.intents[0]) <= offset,
    };
    let is_behind_the_horizon = |mark: &Mark| horizon_ms.is_none_or(|at_ms| mark.now_ms > at_ms);
    if horizon_ms.is_none() {
        // What was judged before the state topic's first marker has its outputs still.
        task.complete = Some(Mark {
            offset: None,
            seq: 0,
            now_ms: i64::MIN,
            positions: inputs
                .iter()
                .map(|(topic, first)| ((*topic).to_owned(), *first))
                .collect(),
        });
    }
    task.since_ms = match request.from {
        From::Instant(at_ms) => at_ms,
        From::Beginning | From::Offset(_) => i64::MIN,
    };
    let mut cursor = logs.open(&request.topics.state, partition, task.state.first, task.state.end)?;
    let mut before: Option<Marker> = None;
    let mut judged = 0_u64;
    while let Some(record) = cursor.next()? {
        let Some(marker) = marker_of(partition, record.key.as_deref(), record.value.as_deref())? else {
            continue;
        };
        if request.until_ms.is_some_and(|until_ms| marker.now_ms > until_ms) {
            break;
        }
        let mark = Mark::of(&marker, record.offset);
        let follows = before.as_ref().is_some_and(|before| {
            before.lineage == marker.lineage && (before.seq + 1 == marker.seq || marker.repaired)
        });
        let begins = before.is_none() && marker.seq == 1 && !marker.repaired && task.state.first == 0;
        let known = match (follows, begins) {
            (true, _) => Some(mark.clone()),
            (false, true) => Some(Mark {
                offset: None,
                seq: 0,
                now_ms: i64::MIN,
                positions: BTreeMap::new(),
            }),
            // Something is missing before this one: its state is whole only once the next one is.
            (false, false) => {
                task.derivable = None;
                (task.timed_by, task.judging) = (Vec::new(), Vec::new());
                None
            }
        };
        if let Some(known) = known {
            if has_inputs(&known) && (task.derivable.is_none() || is_before(&mark)) {
                // Before the first transaction there is nothing to skip to.
                let later = if is_before(&mark) { mark.clone() } else { known.clone() };
                task.derivable = Some(later);
            }
            let is_later = task.complete.is_none() || is_before(&mark);
            if is_behind_the_horizon(&mark) && is_later {
                task.complete = Some(mark.clone());
            }
        }
        if matches!(request.from, From::Offset(_)) && is_before(&mark) {
            task.since_ms = marker.now_ms;
        }
        let moved = |topic: &String| {
            before
                .as_ref()
                .is_none_or(|before| position(before, topic) < position(&marker, topic))
        };
        if request.topics.intents.iter().any(moved) {
            judged += 1;
            if judged.is_multiple_of(SAMPLED_EVERY) {
                task.judging.push(marker.now_ms);
            }
        }
        if task
            .timed_by
            .last()
            .is_none_or(|(_, timed_by)| *timed_by != marker.timed_by)
        {
            task.timed_by.push((marker.seq, marker.timed_by));
        }
        task.deferred = marker.deferred;
        task.was_repaired |= marker.repaired;
        task.last = Some(mark);
        before = Some(marker);
    }
    Ok(task)
}

fn position(marker: &Marker, topic: &str) -> i64 {
    let found = marker.positions.iter().find(|(name, _)| name == topic);
    found.map_or(0, |(_, position)| *position)
}

/// The marker that a record of the state topic is; none: it is something else.
///
/// # Errors
/// It is a marker, and cannot be read.
pub fn marker_of(partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Marker>, Halt> {
    // A kind byte and the partition; nothing else in the topic has a key so short.
    let is_marker = key.is_some_and(|key| key.len() == 5 && key[1..] == partition.to_be_bytes());
    match value.filter(|_| is_marker) {
        None => Ok(None),
        Some(value) => Marker::decode(value)
            .map(Some)
            .map_err(|error| Halt::Failed(format!("the state of partition {partition}: {error}"))),
    }
}
