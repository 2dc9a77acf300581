//! The pass over the topics: each record is read once, checked against its neighbours where order is what matters, and kept as
//! a fact.

use super::facts::{Fact, Group, Letter, Received, Stored, Terminal};
use super::log::{Cursor, Halt, LogRecord, Logs};
use super::meaning::Policy;
use super::reading::{Coordinates, Decision, header, split_headers};
use super::rederive::UNPROCESSABLE;
use super::report::{Findings, Promise};
use super::spill::Spill;
use super::stream::InOrder;
use super::survey::Survey;
use super::{Counter, Request};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Every policy whose text is there, by the hash part of its label.
#[derive(Debug, Default)]
pub struct Policies {
    texts: BTreeMap<String, (Vec<u8>, Option<Policy>)>,
}

impl Policies {
    /// By label (header `forbear-policy`).
    pub fn of(&self, label: &str) -> Option<&Policy> {
        self.texts.get(label.rsplit_once('@')?.1)?.1.as_ref()
    }

    /// The hash parts of all labels.
    pub fn hashes(&self) -> impl Iterator<Item = &String> {
        self.texts.keys()
    }

    /// The text whose hash begins so.
    pub fn text_of(&self, hash: &str) -> Option<&[u8]> {
        self.texts.get(hash).map(|(text, _)| text.as_slice())
    }

    pub fn all(&self) -> impl Iterator<Item = &Policy> {
        self.texts.values().filter_map(|(_, policy)| policy.as_ref())
    }

    /// Of all of them.
    pub fn channels(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.all().flat_map(|policy| policy.channels.keys()).collect();
        names.into_iter().cloned().collect()
    }
}

/// Reads the policies topic.
///
/// # Errors
/// The topic is missing or cannot be read.
pub fn policies<L: Logs>(logs: &mut L, request: &Request, findings: &mut Findings) -> Result<Policies, Halt> {
    let topic = &request.topics.policies;
    let missing = || Halt::Failed(format!("{topic} does not exist"));
    let mut policies = Policies::default();
    for partition in 0..logs.partitions(topic)?.ok_or_else(missing)? {
        let bounds = logs.appended(topic, partition)?;
        let mut cursor = logs.open(topic, partition, bounds.first, bounds.end)?;
        while let Some(record) = cursor.next()? {
            let Some(text) = record.value else { continue };
            let at = coordinates(topic, partition, record.offset);
            let hash: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
            if record.key.as_deref() != Some(hash.as_bytes()) {
                findings.violation(Promise::P5, at, "the text is not the one that its key is the hash of");
                continue;
            }
            let policy = Policy::read(&text);
            policies.texts.insert(Policy::hash_of(&text), (text, policy));
        }
    }
    Ok(policies)
}

/// What the re-derivation has to know of the outputs beforehand.
#[derive(Debug, Default)]
pub struct Runs {
    /// Under which labels a partition judged, by partition and by partition of the decisions topic, in its order.
    pub labels: BTreeMap<i32, BTreeMap<i32, Vec<Run>>>,
    /// What ended as a dead letter because its step failed.
    pub unprocessable: BTreeSet<Coordinates>,
}

/// Decisions that follow each other under one label: from when to when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub label: String,
    pub first_ms: i64,
    pub last_ms: i64,
}

impl Runs {
    fn add(&mut self, owner: i32, partition: i32, label: &str, at_ms: i64) {
        let runs = self.labels.entry(owner).or_default().entry(partition).or_default();
        match runs.last_mut() {
            Some(run) if run.label == label => run.last_ms = run.last_ms.max(at_ms),
            _ => runs.push(Run {
                label: label.to_owned(),
                first_ms: at_ms,
                last_ms: at_ms,
            }),
        }
    }

    /// The labels under which a partition may have judged at that instant.
    pub fn labels_at(&self, owner: i32, at_ms: i64) -> BTreeSet<&str> {
        let all = self.labels.get(&owner).into_iter().flat_map(BTreeMap::values);
        let at = all
            .flatten()
            .filter(|run| (run.first_ms..=run.last_ms).contains(&at_ms));
        at.map(|run| run.label.as_str()).collect()
    }
}

/// Reads everything else.
///
/// # Errors
/// A topic cannot be read, or the disk is full.
pub fn gather<L: Logs>(
    logs: &mut L,
    request: &Request,
    survey: &Survey,
    policies: &Policies,
    spill: &mut Spill,
    findings: &mut Findings,
    read: &mut Counter<'_>,
) -> Result<Runs, Halt> {
    let topics = &request.topics;
    for topic in topics.inputs() {
        for partition in survey.tasks.keys().copied() {
            inputs(logs, request, survey, topic, partition, spill, read)?;
        }
    }
    for channel in &survey.channels {
        for (topic, approved) in [(topics.approved(channel), true), (topics.suppressed(channel), false)] {
            for partition in survey.partitions_of(&topic) {
                let mut keep = |at: Coordinates, record: LogRecord| {
                    let (group, fact) = Terminal::read(at, &record, approved, channel);
                    spill.keep(&group, &Fact::Terminal(fact))
                };
                all_of(logs, survey, &topic, partition, read, &mut keep)?;
            }
        }
    }
    let mut runs = Runs::default();
    let bounds = survey.bounds.get(&topics.dead_letter).map_or(0, Vec::len);
    // A dead letter keeps its key, whatever it is: it may lie anywhere.
    for partition in 0..i32::try_from(bounds).unwrap_or(0) {
        let mut keep = |at: Coordinates, record: LogRecord| {
            let (group, fact) = Letter::read(at, &record, |topic| topics.is_intents(topic));
            if header(&record.headers, "forbear-error-detail") == Some(UNPROCESSABLE) {
                runs.unprocessable.extend(fact.source.clone());
            }
            spill.keep(&group, &Fact::Letter(fact))
        };
        all_of(logs, survey, &topics.dead_letter, partition, read, &mut keep)?;
    }
    for partition in survey.partitions_of(&topics.decisions) {
        decisions(
            logs, request, survey, policies, partition, spill, findings, read, &mut runs,
        )?;
    }
    Ok(runs)
}

/// What a task has passed; of the re-route topic also what is still on its way.
fn inputs<L: Logs>(
    logs: &mut L,
    request: &Request,
    survey: &Survey,
    topic: &str,
    partition: i32,
    spill: &mut Spill,
    read: &mut Counter<'_>,
) -> Result<(), Halt> {
    let bounds = survey.bounds_of(topic, partition);
    let is_reroute = topic == request.topics.reroute;
    let end = match is_reroute {
        true => bounds.end,
        false => survey.tasks[&partition].end(topic).min(bounds.end),
    };
    if end <= bounds.first {
        return Ok(());
    }
    let mut cursor = logs.open(topic, partition, bounds.first, end)?;
    while let Some(record) = cursor.next()? {
        read.count()?;
        let at = coordinates(topic, partition, record.offset);
        let (group, fact) = match is_reroute {
            true => rerouted(at, record),
            false if request.topics.is_intents(topic) => {
                let (group, fact) = Received::intent(at, &record);
                (group, Fact::Source(fact))
            }
            false => {
                let (group, fact) = Received::engagement(at, &record);
                (group, Fact::Engagement(fact))
            }
        };
        spill.keep(&group, &fact)?;
    }
    Ok(())
}

/// A stray, as it was received first, at the place to which it was re-routed.
fn rerouted(at: Coordinates, record: LogRecord) -> (Group, Fact) {
    let is_intent = header(&record.headers, "forbear-input") == Some("intent");
    let origin = header(&record.headers, "forbear-source").and_then(Coordinates::parse);
    let received = split_headers(&record.headers).0.to_vec();
    let as_received = LogRecord {
        headers: received,
        ..record
    };
    match origin.filter(|_| is_intent) {
        Some(origin) => {
            let (group, _) = Received::intent(origin.clone(), &as_received);
            (group, Fact::Rerouted { at, origin })
        }
        None => {
            let (group, fact) = Received::engagement(at, &as_received);
            (group, Fact::Engagement(fact))
        }
    }
}

fn all_of<L: Logs>(
    logs: &mut L,
    survey: &Survey,
    topic: &str,
    partition: i32,
    read: &mut Counter<'_>,
    keep: &mut dyn FnMut(Coordinates, LogRecord) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let bounds = survey.bounds_of(topic, partition);
    if bounds.end <= bounds.first {
        return Ok(());
    }
    let mut cursor = logs.open(topic, partition, bounds.first, bounds.end)?;
    while let Some(record) = cursor.next()? {
        read.count()?;
        keep(coordinates(topic, partition, record.offset), record)?;
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn decisions<L: Logs>(
    logs: &mut L,
    request: &Request,
    survey: &Survey,
    policies: &Policies,
    partition: i32,
    spill: &mut Spill,
    findings: &mut Findings,
    read: &mut Counter<'_>,
    runs: &mut Runs,
) -> Result<(), Halt> {
    let topic = &request.topics.decisions;
    let bounds = survey.bounds_of(topic, partition);
    if bounds.end <= bounds.first {
        return Ok(());
    }
    let mut cursor = logs.open(topic, partition, bounds.first, bounds.end)?;
    let mut in_order = InOrder::new(request, survey, policies, partition);
    while let Some(record) = cursor.next()? {
        read.count()?;
        // A repair is told without a key; it is no verdict.
        if record.key.is_none() {
            continue;
        }
        let at = coordinates(topic, partition, record.offset);
        let (group, fact) = Stored::decision(at.clone(), &record);
        match Decision::read(at, fact.key.as_deref(), fact.value.as_deref()) {
            Ok(decision) => {
                let owner = super::reading::owner(&decision.customer_id, survey.partition_count);
                runs.add(owner, partition, &decision.policy, decision.decided_at_ms);
                in_order.decision(logs, &decision, owner, findings)?;
            }
            Err(what) => findings.violation(Promise::P6, &fact.at, format!("the decision record {what}")),
        }
        spill.keep(&group, &Fact::Decision(fact))?;
    }
    in_order.finish(findings);
    Ok(())
}

fn coordinates(topic: &str, partition: i32, offset: i64) -> Coordinates {
    Coordinates {
        topic: topic.to_owned(),
        partition,
        offset,
    }
}
