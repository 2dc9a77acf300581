//! P5: each batch of a partition, put together again from the log and run through the processor's own step.
//!
//! This folder is the only one of the audit that uses the processor's code; see the audit's page for what is believed here.

mod batch;
mod inputs;
mod orders;

use super::facts::{Fact, Letter, Stored, Terminal};
use super::gather::{Policies, Runs};
use super::log::{Cursor, Halt, LogRecord, Logs};
use super::reading::Coordinates;
use super::report::{Findings, Promise};
use super::spill::Spill;
use super::survey::{Mark, Survey, Task, marker_of};
use super::{Counter, Request};
use crate::commit::log::Outgoing;
use crate::commit::marker::Marker;
use crate::message::Name;
use crate::policy::model::Policy;
use crate::store::{Change, Store, StoreError, StoreIdentity, StoreMeta, Stores};
use crate::verdict::TopicNames;
use batch::{Batch, Derived};
use inputs::InputReader;
use std::collections::BTreeMap;
use std::rc::Rc;

pub use crate::task::batch::UNPROCESSABLE;

/// Changes that are written to the store at once.
const CHANGES_AT_ONCE: usize = 2_000;

/// What a re-derivation stands in.
pub struct Scene<'a, 'w, L> {
    pub logs: &'a mut L,
    pub request: &'a Request,
    pub survey: &'a Survey,
    pub policies: &'a Policies,
    pub runs: &'a Runs,
    pub spill: &'a mut Spill,
    pub findings: &'a mut Findings,
    pub read: &'a mut Counter<'w>,
}

/// Derives what one partition's task did, and keeps it as facts. Answers how many batches were derived.
///
/// # Errors
/// A topic cannot be read, or the disk is full.
pub fn partition<L: Logs, S: Stores>(
    scene: &mut Scene<'_, '_, L>,
    stores: &mut S,
    partition: i32,
) -> Result<u64, Halt> {
    let survey = scene.survey;
    let task = &survey.tasks[&partition];
    let (Some(start), Some(last)) = (&task.derivable, &task.last) else {
        return Ok(0);
    };
    let identity = StoreIdentity {
        cluster_id: "audit".to_owned(),
        state_topic: scene.request.topics.state.clone(),
        partition,
        partition_count: survey.partition_count,
    };
    let mut walk = Walk {
        partition,
        task,
        store: stores.open(&identity, i64::MIN).map_err(unusable)?,
        written: 0,
        inputs: InputReader::new(scene.request, survey, partition, start),
        policies: Compiled::new(scene.policies),
        topics: topic_names(scene.request),
        batches: 0,
    };
    walk.fold_up_to(scene, start)?;
    walk.derive_from(scene, start, last)?;
    Ok(walk.batches)
}

struct Walk<'a, L: Logs, S> {
    partition: i32,
    task: &'a Task,
    store: S,
    written: i64,
    inputs: InputReader<L>,
    policies: Compiled<'a>,
    topics: TopicNames,
    batches: u64,
}

impl<L: Logs, S: Store> Walk<'_, L, S> {
    /// The state of then: what compaction kept of everything up to the start.
    fn fold_up_to(&mut self, scene: &mut Scene<'_, '_, L>, start: &Mark) -> Result<(), Halt> {
        let Some(offset) = start.offset else { return Ok(()) };
        let topic = &scene.request.topics.state;
        let mut cursor = scene
            .logs
            .open(topic, self.partition, self.task.state.first, offset + 1)?;
        let mut changes: Vec<Change> = Vec::new();
        while let Some(record) = cursor.next()? {
            scene.read.count()?;
            changes.extend(record.key.map(|key| (key, record.value)));
            if changes.len() >= CHANGES_AT_ONCE {
                self.write(&changes)?;
                changes.clear();
            }
        }
        self.write(&changes)
    }

    /// Batch by batch, to the end.
    fn derive_from(&mut self, scene: &mut Scene<'_, '_, L>, start: &Mark, last: &Mark) -> Result<(), Halt> {
        let topic = scene.request.topics.state.clone();
        let from = start.offset.map_or(self.task.state.first, |offset| offset + 1);
        let end = last.offset.map_or(from, |offset| offset + 1);
        if end <= from {
            return Ok(());
        }
        let mut cursor = scene.logs.open(&topic, self.partition, from, end)?;
        let mut changes: BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)> = BTreeMap::new();
        while let Some(record) = cursor.next()? {
            scene.read.count()?;
            let marker = marker_of(self.partition, record.key.as_deref(), record.value.as_deref())?;
            match marker {
                None => {
                    let change = record.key.map(|key| (key, (record.offset, record.value)));
                    changes.extend(change);
                }
                Some(marker) => {
                    let recorded = std::mem::take(&mut changes);
                    self.transaction(scene, &marker, record.offset, &recorded)?;
                    let changes: Vec<Change> = recorded.into_iter().map(|(key, (_, value))| (key, value)).collect();
                    self.write(&changes)?;
                }
            }
        }
        Ok(())
    }

    fn transaction(
        &mut self,
        scene: &mut Scene<'_, '_, L>,
        marker: &Marker,
        offset: i64,
        recorded: &BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)>,
    ) -> Result<(), Halt> {
        if marker.repaired {
            // Positions that somebody set: nothing was judged.
            self.inputs.go_to(&marker.positions);
            return Ok(());
        }
        let read = self.inputs.read_up_to(scene.logs, &marker.positions, scene.read)?;
        self.batches += 1;
        let (candidates, named) = self.candidates(scene, marker);
        let state = Coordinates {
            topic: scene.request.topics.state.clone(),
            partition: self.partition,
            offset,
        };
        let mut batch = Batch {
            store: &self.store,
            topics: &self.topics,
            inputs: self.inputs.topics(),
            max_intent_bytes: scene.request.max_intent_bytes,
            partition: self.partition,
            marker,
            read: &read,
            recorded,
            unprocessable: &scene.runs.unprocessable,
        };
        if candidates.is_empty() {
            for group in batch.groups() {
                scene.spill.keep(&group, &Fact::Unresolved(marker.now_ms))?;
            }
            scene.findings.not_checked(
                Promise::P5,
                "batches under a policy whose text is not there or is not understood by this version",
            );
            return Ok(());
        }
        let Derived {
            outgoing,
            unresolved,
            wrong,
        } = batch.derive(&candidates, named);
        scene
            .findings
            .checked(Promise::P5, "batches run again over the state before them");
        for at in wrong {
            let at = Coordinates {
                offset: at,
                ..state.clone()
            };
            let what = "this state does not follow from the log";
            scene.findings.violation(Promise::P5, at, what);
        }
        for customer in unresolved {
            scene.spill.keep(&customer, &Fact::Unresolved(marker.now_ms))?;
        }
        for record in outgoing {
            self.keep(scene, record)?;
        }
        Ok(())
    }

    /// The policies under which the batch may have been judged, the most likely first; and how many of them decisions of that
    /// very time name.
    fn candidates(&mut self, scene: &Scene<'_, '_, L>, marker: &Marker) -> (Vec<Rc<Policy>>, usize) {
        let timed_by = &self.task.timed_by;
        let next = timed_by.partition_point(|(seq, _)| *seq <= marker.seq);
        let of_hash = |hash: Option<[u8; 32]>| hash.map(|hash| hash.iter().take(6).map(hex).collect::<String>());
        let labels = scene.runs.labels_at(self.partition, marker.now_ms);
        let named = labels
            .iter()
            .filter_map(|label| Some(label.rsplit_once('@')?.1.to_owned()));
        let mut hashes: Vec<String> = named.collect();
        let named = hashes.len();
        let later = timed_by[next..].iter().find_map(|(_, hash)| of_hash(*hash));
        let earlier = timed_by[..next].iter().rev().find_map(|(_, hash)| of_hash(*hash));
        hashes.extend(of_hash(marker.timed_by).into_iter().chain(later).chain(earlier));
        hashes.extend(self.policies.hashes());
        let mut candidates: Vec<Rc<Policy>> = Vec::new();
        for hash in hashes {
            if let Some(policy) = self.policies.of(&hash)
                && !candidates.iter().any(|known| known.sha256 == policy.sha256)
            {
                candidates.push(policy);
            }
        }
        (candidates, named)
    }

    /// A record that follows from the log.
    fn keep(&self, scene: &mut Scene<'_, '_, L>, outgoing: Outgoing) -> Result<(), Halt> {
        let at = Coordinates {
            topic: outgoing.topic.to_string(),
            partition: self.partition,
            offset: -1,
        };
        let topics = &scene.request.topics;
        let record = LogRecord {
            key: outgoing.key,
            value: outgoing.value,
            headers: outgoing.headers,
            ..LogRecord::default()
        };
        let (group, fact) = if at.topic == topics.decisions {
            let (group, stored) = Stored::decision(at, &record);
            (group, Fact::DerivedDecision(stored))
        } else if at.topic == topics.dead_letter {
            let (group, letter) = Letter::read(at, &record, |topic| topics.is_intents(topic));
            (group, Fact::DerivedLetter(letter))
        } else if at.topic == topics.reroute {
            // Its owner's verdict shows whether it came there.
            return Ok(());
        } else {
            let topic = at.topic.clone();
            let approved = topic.strip_prefix(&topics.approved_prefix);
            let suppressed = topic.strip_prefix(&topics.suppressed_prefix);
            let channel = approved.or(suppressed).unwrap_or_default();
            let (group, terminal) = Terminal::read(at, &record, approved.is_some(), channel);
            (group, Fact::DerivedTerminal(terminal))
        };
        scene.spill.keep(&group, &fact)
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), Halt> {
        self.written += 1;
        let meta = StoreMeta {
            changelog_position: self.written,
            last_applied_ms: 0,
        };
        self.store.write(changes, &meta).map_err(unusable)
    }
}

/// Policies that this version can compile, by the first bytes of their hash.
struct Compiled<'a> {
    policies: &'a Policies,
    known: BTreeMap<String, Option<Rc<Policy>>>,
}

impl<'a> Compiled<'a> {
    fn new(policies: &'a Policies) -> Self {
        Self {
            policies,
            known: BTreeMap::new(),
        }
    }

    fn hashes(&self) -> Vec<String> {
        self.policies.hashes().cloned().collect()
    }

    fn of(&mut self, hash: &str) -> Option<Rc<Policy>> {
        if let Some(known) = self.known.get(hash) {
            return known.clone();
        }
        let text = self.policies.text_of(hash)?;
        let compiled = Policy::load(text, "policy", None).ok();
        let compiled = compiled.map(|(policy, _)| Rc::new(policy));
        self.known.insert(hash.to_owned(), compiled.clone());
        compiled
    }
}

fn topic_names(request: &Request) -> TopicNames {
    let topics = &request.topics;
    let name = |text: &String| Name::from(text.as_str());
    TopicNames {
        approved_prefix: name(&topics.approved_prefix),
        suppressed_prefix: name(&topics.suppressed_prefix),
        decisions: Some(name(&topics.decisions)),
        dead_letter: name(&topics.dead_letter),
        reroute: name(&topics.reroute),
        state: name(&topics.state),
        policies: name(&topics.policies),
    }
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

fn unusable(error: StoreError) -> Halt {
    Halt::Failed(format!("the store of the audit: {error}"))
}
