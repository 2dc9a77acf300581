//! From "assigned" to "proven complete": the one recovery path, in bounded steps, so that one thread can restore some
//! partitions, run others and serve the group at the same time.
//!
//! Order matters. The committed offsets are read first (waiting for open transactions to settle), the changelog's high
//! watermark after that, as a read-uncommitted client sees it: everything that the offsets cover lies below it. The replay
//! itself reads committed records only, and is over when its position has reached that watermark.

use crate::commit::log::{Changelog, ChangelogPolled};
use crate::commit::marker::{Marker, MarkerError};
use crate::customer::codec;
use crate::customer::keys::marker_key;
use crate::intake::source::{Committed, Inputs, Source, SourceError, StartAt, TopicIndex};
use crate::store::{Change, Store, StoreError, StoreIdentity, StoreMeta, Stores};
use crate::task::partition::{Stage, Task};
use crate::task::reconcile::{Resume, reconcile};

/// How far a restore has got.
#[derive(Debug, Default)]
pub struct Restore {
    step: Step,
    /// Tried again from this monotonic instant on.
    retry_at_ms: i64,
    /// Why it is not getting on, for `/readyz`.
    pub obstacle: Option<String>,
    /// Changelog records still to be replayed.
    pub remaining: i64,
    /// The store could not be opened, and that is in the log.
    store_refused: bool,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Open,
    Replay {
        committed: Vec<Option<Committed>>,
        position: i64,
        until: i64,
    },
}

/// What a restore needs around it.
pub struct Surroundings<'a, Src, Chg, Sto> {
    pub source: &'a mut Src,
    pub changelog: &'a mut Chg,
    pub stores: &'a mut Sto,
    pub inputs: &'a Inputs,
    pub cluster_id: &'a str,
    pub state_topic: &'a str,
    pub wall_ms: i64,
    pub monotonic_ms: i64,
    /// Stores whose newest write is older are not trusted: tombstones that they missed may be gone.
    pub trusted_for_ms: i64,
    pub fresh_lineage: &'a mut dyn FnMut() -> [u8; 16],
}

/// Why a step did not get on.
enum Obstacle {
    /// Tried again soon, without a word to anybody but `/readyz`.
    Wait(String),
    /// The store failed: it refuses everything until it is opened again.
    Reopen(String),
    /// The store is not what the changelog says: set aside and rebuilt, once.
    Distrust(&'static str),
    /// Cannot be proven.
    Block(String),
    /// The client cannot go on.
    Exit(SourceError),
}

impl From<SourceError> for Obstacle {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Transient(reason) => Self::Wait(reason),
            other => Self::Exit(other),
        }
    }
}

impl From<StoreError> for Obstacle {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) => Self::Reopen(reason),
            StoreError::Corrupt(_) => Self::Distrust("corrupt"),
        }
    }
}

impl Restore {
    /// Not before some seconds have passed: whoever answers slowly must not keep the others waiting, and less and less so.
    /// Answers whether it has to wait.
    pub fn postpone(&mut self, now_ms: i64, slow_steps: u32) -> bool {
        if self.obstacle.is_some() {
            self.retry_at_ms = now_ms.saturating_add(RETRY_BLOCKED_MS << slow_steps.min(LONGER_AT_MOST));
        }
        self.obstacle.is_some()
    }
}

const RETRY_MS: i64 = 250;
const RETRY_BLOCKED_MS: i64 = 5_000;
/// How often the wait doubles for a partition that the cluster answers slowly for.
const LONGER_AT_MOST: u32 = 3;

/// Moves a restoring or blocked task one step on. The changelog's records come separately, through [`replay`].
///
/// # Errors
/// Only what ends the process.
pub fn advance<Src: Source, Chg: Changelog, Sto: Stores>(
    task: &mut Task<Sto::Store>,
    around: &mut Surroundings<Src, Chg, Sto>,
) -> Result<(), SourceError> {
    if let Stage::Blocked { retry_at_ms, .. } = &task.stage {
        if around.monotonic_ms < *retry_at_ms {
            return Ok(());
        }
        // The reason stays visible until something else is known.
        let Stage::Blocked { reason, .. } = std::mem::replace(&mut task.stage, Stage::Running) else {
            return Ok(());
        };
        task.stage = Stage::Restoring(Restore {
            obstacle: Some(reason),
            ..Restore::default()
        });
    }
    let Stage::Restoring(restore) = &mut task.stage else {
        return Ok(());
    };
    if around.monotonic_ms < restore.retry_at_ms {
        return Ok(());
    }
    let outcome = match &restore.step {
        Step::Open => open(task, around),
        Step::Replay { position, until, .. } if position >= until => finish(task, around),
        Step::Replay { .. } => return Ok(()),
    };
    outcome.or_else(|obstacle| overcome(task, around, obstacle))
}

fn overcome<Src: Source, Chg: Changelog, Sto: Stores>(
    task: &mut Task<Sto::Store>,
    around: &mut Surroundings<Src, Chg, Sto>,
    obstacle: Obstacle,
) -> Result<(), SourceError> {
    let retry_at_ms = around.monotonic_ms.saturating_add(RETRY_MS);
    around.changelog.close(task.partition);
    let store_refused = matches!(obstacle, Obstacle::Reopen(_));
    let obstacle = match obstacle {
        Obstacle::Distrust(why) if task.rebuilt.is_none() => {
            task.store = None;
            match around.stores.set_aside(task.partition, why) {
                Ok(()) => {
                    task.rebuilt = Some(vec![None; task.committed.len()]);
                    "the store is being rebuilt from the changelog".to_owned()
                }
                Err(error) => error.to_string(),
            }
        }
        Obstacle::Distrust(why) => {
            let reason = format!("the state is unusable ({why}) even after it was rebuilt from the changelog");
            task.block(reason, around.monotonic_ms.saturating_add(RETRY_BLOCKED_MS));
            return Ok(());
        }
        Obstacle::Block(reason) => {
            task.block(reason, around.monotonic_ms.saturating_add(RETRY_BLOCKED_MS));
            return Ok(());
        }
        Obstacle::Reopen(reason) => {
            // It is tried several times a second, and names another file each time: one line, until something else happens.
            if !matches!(&task.stage, Stage::Restoring(restore) if restore.store_refused) {
                tracing::warn!(
                    partition = task.partition,
                    reason,
                    "the store cannot be used; opening it again soon"
                );
            }
            task.store = None;
            reason
        }
        Obstacle::Wait(reason) => {
            tracing::debug!(partition = task.partition, reason, "restore waits");
            reason
        }
        Obstacle::Exit(error) => return Err(error),
    };
    task.stage = Stage::Restoring(Restore {
        retry_at_ms,
        obstacle: Some(obstacle),
        store_refused,
        ..Restore::default()
    });
    Ok(())
}

fn open<Src: Source, Chg: Changelog, Sto: Stores>(
    task: &mut Task<Sto::Store>,
    around: &mut Surroundings<Src, Chg, Sto>,
) -> Result<(), Obstacle> {
    let partition = task.partition;
    let every_input: Vec<(TopicIndex, i32)> = (0..around.inputs.topics.len())
        .map(|topic| (topic as TopicIndex, partition))
        .collect();
    let committed = around.source.committed(&every_input)?;
    let (low, high) = around.changelog.bounds(partition)?;
    if task.store.is_none() {
        let identity = StoreIdentity {
            cluster_id: around.cluster_id.to_owned(),
            state_topic: around.state_topic.to_owned(),
            partition,
            partition_count: around.inputs.partition_count,
        };
        let trusted_since_ms = around.wall_ms.saturating_sub(around.trusted_for_ms);
        task.store = Some(around.stores.open(&identity, trusted_since_ms)?);
    }
    let from = task
        .store
        .as_ref()
        .and_then(Store::meta)
        .map(|meta| meta.changelog_position);
    if from.is_some_and(|from| from < low || from > high) {
        return Err(Obstacle::Distrust("position"));
    }
    let position = from.unwrap_or(low);
    if position < high {
        around.changelog.open(partition, position)?;
    }
    if let Stage::Restoring(restore) = &mut task.stage {
        restore.obstacle = None;
        restore.remaining = high.saturating_sub(position);
        restore.step = Step::Replay {
            committed,
            position,
            until: high,
        };
    }
    Ok(())
}

/// Applies what a changelog poll brought for one restoring task; answers how many records.
///
/// # Errors
/// Only what ends the process.
pub fn replay<Src: Source, Chg: Changelog, Sto: Stores>(
    task: &mut Task<Sto::Store>,
    around: &mut Surroundings<Src, Chg, Sto>,
    polled: Vec<ChangelogPolled>,
) -> Result<usize, SourceError> {
    match apply(task, around.wall_ms, polled) {
        Ok(count) => Ok(count),
        Err(obstacle) => overcome(task, around, obstacle).map(|()| 0),
    }
}

fn apply<S: Store>(task: &mut Task<S>, wall_ms: i64, polled: Vec<ChangelogPolled>) -> Result<usize, Obstacle> {
    let Stage::Restoring(restore) = &mut task.stage else {
        return Ok(0);
    };
    let (Step::Replay { position, until, .. }, Some(store)) = (&mut restore.step, &mut task.store) else {
        return Ok(0);
    };
    let mut changes: Vec<Change> = Vec::with_capacity(polled.len());
    let mut reached = *position;
    for polled in polled {
        match polled {
            ChangelogPolled::Entry(entry) if entry.offset < reached => {}
            ChangelogPolled::Entry(entry) => {
                reached = entry.offset.saturating_add(1);
                changes.push((entry.key, entry.value));
            }
            ChangelogPolled::End(offset) => reached = reached.max(offset),
            ChangelogPolled::OutOfRange => return Err(Obstacle::Distrust("position")),
        }
    }
    check_formats(task.partition, &changes)?;
    check_lineage(store, task.partition, &changes)?;
    if !changes.is_empty() {
        store.write(
            &changes,
            &StoreMeta {
                changelog_position: reached,
                last_applied_ms: wall_ms,
            },
        )?;
    }
    *position = reached;
    restore.remaining = until.saturating_sub(reached).max(0);
    Ok(changes.len())
}

/// What a later version wrote must not even be stored: its due instants cannot be read, so nothing would ever wake those
/// customers, not even once the later version runs again.
fn check_formats(partition: i32, changes: &[Change]) -> Result<(), Obstacle> {
    let key = marker_key(partition);
    for (changed, value) in changes {
        let Some(value) = value else { continue };
        let newer = match *changed == key {
            true => Marker::decode(value)
                .err()
                .filter(MarkerError::is_newer)
                .map(|error| error.to_string()),
            false => codec::newer_format(value).map(|error| error.to_string()),
        };
        if let Some(reason) = newer {
            return Err(Obstacle::Block(reason));
        }
    }
    Ok(())
}

/// A store whose history is another one than the changelog's would be mixed with it: an equal topic name proves nothing.
fn check_lineage<S: Store>(store: &S, partition: i32, changes: &[Change]) -> Result<(), Obstacle> {
    let key = marker_key(partition);
    let Some((_, Some(newest))) = changes
        .iter()
        .rev()
        .find(|(changed, value)| *changed == key && value.is_some())
    else {
        return Ok(());
    };
    let Some(known) = store.get(&key)? else { return Ok(()) };
    let (Ok(known), Ok(newest)) = (Marker::decode(&known), Marker::decode(newest)) else {
        return Ok(());
    };
    if known.lineage == newest.lineage {
        Ok(())
    } else {
        Err(Obstacle::Distrust("lineage"))
    }
}

fn finish<Src: Source, Chg: Changelog, Sto: Stores>(
    task: &mut Task<Sto::Store>,
    around: &mut Surroundings<Src, Chg, Sto>,
) -> Result<(), Obstacle> {
    around.changelog.close(task.partition);
    let Stage::Restoring(Restore {
        step: Step::Replay { committed, .. },
        ..
    }) = &task.stage
    else {
        return Ok(());
    };
    let Some(store) = &task.store else { return Ok(()) };
    let marker = store.get(&marker_key(task.partition))?;
    let marker = marker
        .map(|bytes| Marker::decode(&bytes))
        .transpose()
        .map_err(|error| match error.is_newer() {
            true => Obstacle::Block(error.to_string()),
            false => Obstacle::Distrust("corrupt"),
        })?;
    let resume = match reconcile(around.inputs, marker.as_ref(), committed) {
        Ok(resume) => resume,
        // The store may be the one that is wrong: the changelog alone decides.
        Err(_) if task.rebuilt.is_none() => return Err(Obstacle::Distrust("mismatch")),
        Err(reason) => return Err(Obstacle::Block(reason)),
    };
    let known_seq = task.seq;
    let positions = match resume {
        Resume::Fresh => {
            task.seq = 0;
            task.deferred = 0;
            task.timed_by = None;
            task.lineage = (around.fresh_lineage)();
            vec![StartAt::Beginning; around.inputs.topics.len()]
        }
        Resume::At {
            seq,
            lineage,
            now_ms,
            deferred,
            timed_by,
            positions,
        } => {
            task.deferred = deferred;
            task.timed_by = timed_by;
            task.seq = seq;
            task.lineage = lineage;
            task.now_ms = now_ms;
            positions
        }
    };
    around.source.start(task.partition, &positions)?;
    if task.seq != known_seq {
        // Somebody else has worked on the queue meanwhile, perhaps under another policy: a walk over it begins again.
        task.retiming = None;
    }
    task.run_from(&positions);
    tracing::info!(partition = task.partition, seq = task.seq, "partition is running");
    Ok(())
}
