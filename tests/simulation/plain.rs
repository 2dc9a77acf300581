//! A stand-in for the engine that follows the commit protocol and judges nothing: it suppresses every intent as `stopped`,
//! tells repeats, sends strays on and dead-letters what it cannot read. It keeps no store; every recovery replays the
//! changelog. It exists to test the simulation: the log must be livable for whoever keeps the protocol, and must catch
//! whoever breaks it ([`Flaw`]).

use super::client::{Cluster, Connection};
use super::fleet::{Engine, Running, STATE_TOPIC, Surroundings, Turned};
use super::policies::Known;
use crate::auditor::reading::{Event, Intent, owner};
use crate::auditor::{TopicNames, TopicRecord};
use forbear::commit::log::{
    Changelog, ChangelogPolled, CommitError, Log, OffsetCommit, Outgoing, Producer, Transaction,
};
use forbear::intake::source::{
    Headers, InputKind, Inputs, Polled, Record, Source, SourceError, SourceEvent, StartAt, TopicIndex,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// One way to break the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// Keeps going after a transaction whose end it does not know.
    TrustsUncertainCommits,
    /// Ends a restore at what is stable now, instead of at the high watermark and the committed `seq`.
    RestoresTooLittle,
    /// Does not wait for engagement.
    IgnoresTheBarrier,
    /// Leaves positions out of its transactions.
    CommitsNoOffsets,
    /// Takes the membership anew for each commit, with what it held before.
    KeepsRevokedPartitions,
}

#[derive(Clone, Copy)]
pub struct Plain(pub Flaw);

impl Engine for Plain {
    const ONLY_THE_PROTOCOL: bool = true;
    type Disk = ();
    type Copy = ();
    fn disk(&self) {}
    fn start(&self, around: Surroundings, (): &(), policy: &Known) -> Box<dyn Running> {
        let connection = around.connection;
        Box::new(PlainWorker {
            flaw: self.0,
            inputs: connection.inputs().clone(),
            cluster: around.cluster,
            label: policy.label.clone(),
            policy_text: Some(policy.text),
            names: TopicNames::default(),
            log: connection,
            source: None,
            producer: None,
            tasks: BTreeMap::new(),
        })
    }
    fn copy(&self, (): &(), _: i32) -> Option<()> {
        None
    }
    fn put_back(&self, (): &(), _: i32, (): ()) {}
    fn wipe(&self, (): &(), _: i32) {}
}

#[derive(Default)]
struct Task {
    running: bool,
    seq: u64,
    /// The newest time that was decided at.
    now_ms: i64,
    /// Next offset that is not covered by a transaction, one for each input.
    done: Vec<i64>,
    /// Intent → its first decision id.
    seen: BTreeMap<String, String>,
}

struct PlainWorker {
    flaw: Flaw,
    log: Connection,
    inputs: Inputs,
    cluster: Cluster,
    label: String,
    /// Until it is in its topic.
    policy_text: Option<&'static str>,
    names: TopicNames,
    source: Option<<Connection as Log>::Source>,
    producer: Option<<Connection as Log>::Producer>,
    tasks: BTreeMap<i32, Task>,
}

/// Positions after a batch, and what it saw for the first time.
type Progress = (Vec<i64>, Vec<(String, String)>);

/// What a batch adds up to before it is committed.
struct Batch {
    now_ms: i64,
    transaction: Transaction,
    /// By partition.
    done: BTreeMap<i32, Progress>,
}

impl Running for PlainWorker {
    fn turn(&mut self) -> Turned {
        match self.pass() {
            Ok(busy) if busy => Turned::Busy,
            Ok(_) => Turned::Idle,
            Err(SourceError::Transient(_)) => Turned::Busy,
            Err(error) => Turned::Exit(error.to_string()),
        }
    }

    fn join_anew(&mut self) -> Turned {
        self.source.iter_mut().for_each(Source::leave);
        (self.source, self.producer) = (None, None);
        self.tasks.clear();
        Turned::Busy
    }

    fn adopt(&mut self, policy: &Known) {
        self.label.clone_from(&policy.label);
        self.policy_text = Some(policy.text);
    }

    fn describe(&self) -> String {
        format!("{} partitions", self.tasks.len())
    }

    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }
}

impl PlainWorker {
    fn pass(&mut self) -> Result<bool, SourceError> {
        if self.source.is_none() {
            self.source = Some(self.log.source()?);
        }
        if self.producer.is_none() {
            self.producer = Some(self.log.producer().map_err(|error| match error {
                CommitError::Fenced(why) => SourceError::Fenced(why),
                other => SourceError::Transient(other.to_string()),
            })?);
        }
        let served = self.serve_group()?;
        let restored = self.restore_all()?;
        Ok(self.cycle()? || served || restored)
    }

    fn source(&mut self) -> Result<&mut <Connection as Log>::Source, SourceError> {
        self.source
            .as_mut()
            .ok_or_else(|| SourceError::Transient("no source".into()))
    }

    fn serve_group(&mut self) -> Result<bool, SourceError> {
        let events = self.source()?.events(Duration::ZERO);
        let some = !events.is_empty();
        for event in events {
            match event {
                SourceEvent::Assigned(partitions) => {
                    self.source()?.hold(&partitions)?;
                    self.tasks
                        .extend(partitions.into_iter().map(|partition| (partition, Task::default())));
                }
                SourceEvent::Revoked { partitions, .. } => {
                    self.source()?.release(&partitions)?;
                    if self.flaw != Flaw::KeepsRevokedPartitions {
                        self.tasks.retain(|partition, _| !partitions.contains(partition));
                    }
                }
                SourceEvent::Fenced(why) => return Err(SourceError::Fenced(why)),
                SourceEvent::ReadingForbidden(_) => {}
                SourceEvent::Forbidden(why) | SourceEvent::Fatal(why) => return Err(SourceError::Fatal(why)),
            }
        }
        Ok(some)
    }

    fn restore_all(&mut self) -> Result<bool, SourceError> {
        let waiting: Vec<i32> = self
            .tasks
            .iter()
            .filter(|(_, task)| !task.running)
            .map(|(number, _)| *number)
            .collect();
        for number in &waiting {
            if let Some(task) = self.restore(*number)? {
                self.tasks.insert(*number, task);
            }
        }
        Ok(!waiting.is_empty())
    }

    /// Committed positions first, then the high watermark, then everything up to there.
    fn restore(&mut self, number: i32) -> Result<Option<Task>, SourceError> {
        let of: Vec<(TopicIndex, i32)> = (0..self.inputs.topics.len())
            .map(|topic| (topic as TopicIndex, number))
            .collect();
        let committed = self.source()?.committed(&of)?;
        let mut changelog = self.log.changelog()?;
        let (start, end) = changelog.bounds(number)?;
        changelog.open(number, start)?;
        let mut task = Task {
            done: vec![0; of.len()],
            ..Task::default()
        };
        let mut position = start;
        while position < end {
            let mut polled = Vec::new();
            changelog.poll(&mut polled, 50, Duration::ZERO)?;
            for (_, one) in polled {
                match one {
                    ChangelogPolled::Entry(entry) => task.replay(&entry.key, entry.value.as_deref()),
                    ChangelogPolled::End(at) if at >= end || self.flaw == Flaw::RestoresTooLittle => position = end,
                    // The rest is not stable yet: another time.
                    ChangelogPolled::End(_) => return Ok(None),
                    ChangelogPolled::OutOfRange => return Err(SourceError::Fatal("the changelog is gone".into())),
                }
            }
        }
        let named = committed
            .iter()
            .flatten()
            .next()
            .map_or(0, |committed| committed.metadata.parse().unwrap_or(0));
        if named != task.seq && self.flaw != Flaw::RestoresTooLittle {
            return Err(SourceError::Fatal(format!(
                "marker {} and committed {named} differ",
                task.seq
            )));
        }
        for (done, committed) in task.done.iter_mut().zip(&committed) {
            *done = committed.as_ref().map_or(0, |committed| committed.offset);
        }
        let positions: Vec<StartAt> = task.done.iter().map(|offset| StartAt::Offset(*offset)).collect();
        self.source()?.start(number, &positions)?;
        task.running = true;
        Ok(Some(task))
    }

    /// Engagement up to its ends, then intents, then one transaction.
    fn cycle(&mut self) -> Result<bool, SourceError> {
        let running: Vec<i32> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.running)
            .map(|(number, _)| *number)
            .collect();
        if running.is_empty() {
            return Ok(false);
        }
        // Everything polled and not committed is read again after an error: an error ends the whole pass.
        let outcome = self.fill_and_commit(&running);
        match outcome {
            Ok(busy) => Ok(busy),
            Err(error) => {
                self.recover(&running)?;
                Err(error)
            }
        }
    }

    fn recover(&mut self, running: &[i32]) -> Result<(), SourceError> {
        for number in running {
            self.source()?.stop(*number)?;
            if let Some(task) = self.tasks.get_mut(number) {
                task.running = false;
            }
        }
        self.producer = None;
        Ok(())
    }

    fn fill_and_commit(&mut self, running: &[i32]) -> Result<bool, SourceError> {
        let newest_ms = self.tasks.values().map(|task| task.now_ms).max().unwrap_or(0);
        let now_ms = self.cluster.now_ms().max(newest_ms);
        let mut batch = Batch {
            now_ms,
            transaction: Transaction::default(),
            done: BTreeMap::new(),
        };
        for number in running {
            batch
                .done
                .insert(*number, (self.tasks[number].done.clone(), Vec::new()));
        }
        let mut of = Vec::new();
        for (index, _) in self
            .inputs
            .topics
            .iter()
            .enumerate()
            .filter(|(_, (_, kind))| *kind != InputKind::Intents)
        {
            of.extend(running.iter().map(|number| (index as TopicIndex, *number)));
        }
        let ends = self.source()?.ends(&of)?;
        let ends: Vec<i64> = ends
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(SourceError::Transient)?;
        let mut tries = 0;
        let mut taken = Vec::new();
        loop {
            let mut polled = Vec::new();
            self.source()?.poll_engagement(&mut polled, 50, Duration::ZERO)?;
            for one in polled {
                taken.extend(take(one, &mut batch)?);
            }
            let behind = of
                .iter()
                .zip(&ends)
                .any(|((topic, number), end)| batch.done[number].0[usize::from(*topic)] < *end);
            if !behind || self.flaw == Flaw::IgnoresTheBarrier {
                break;
            }
            tries += 1;
            if tries > 20 {
                return Err(SourceError::Transient("the barrier was not reached".into()));
            }
        }
        let mut polled = Vec::new();
        self.source()?.poll_intents(&mut polled, 20, Duration::ZERO)?;
        for one in polled {
            taken.extend(take(one, &mut batch)?);
        }
        // Only now: what came through the re-route is judged behind the same barrier.
        for record in &taken {
            self.answer(record, &mut batch);
        }
        if taken.is_empty() {
            // The ends that were told are not told again.
            for (number, (positions, _)) in batch.done {
                self.tasks.entry(number).and_modify(|task| task.done = positions);
            }
            return Ok(false);
        }
        self.commit(batch)
    }

    fn answer(&mut self, record: &Record, batch: &mut Batch) {
        let (topic, kind) = &self.inputs.topics[usize::from(record.topic)];
        let origin = record
            .headers
            .iter()
            .find(|(name, _)| name == "origin")
            .and_then(|(_, value)| value.clone());
        let here = format!("{topic}/{}/{}", record.partition, record.offset);
        let source = origin
            .as_ref()
            .map_or(here, |origin| String::from_utf8_lossy(origin).into_owned());
        let headers: Headers = record
            .headers
            .iter()
            .filter(|(name, _)| name != "origin")
            .cloned()
            .collect();
        let readable = TopicRecord {
            value: record.value.clone(),
            headers: headers.clone(),
            ..TopicRecord::default()
        };
        let is_event = *kind == InputKind::Engagement || (origin.is_some() && Event::read("", &readable).is_some());
        let reserved = headers.iter().any(|(name, _)| name.starts_with("forbear-"));
        let event = Event::read("", &readable).filter(|event| event.kind != "sang" && !event.customer_id.is_empty());
        let intent = Intent::read(&readable).filter(|intent| !reserved && !intent.customer_id.is_empty());
        let customer = match is_event {
            true => event.map(|event| event.customer_id),
            false => intent.as_ref().map(|intent| intent.customer_id.clone()),
        };
        let Some(customer) = customer else {
            let more = [("forbear-error", "not_json"), ("forbear-source", source.as_str())];
            let letter = outgoing(&self.names.dead_letter, record.key.clone(), record, &headers, &more);
            return batch.transaction.records.push(letter);
        };
        let home = owner(customer.as_bytes(), self.inputs.partition_count);
        if home != record.partition {
            let stray = outgoing(
                &self.names.reroute,
                record.key.clone(),
                record,
                &headers,
                &[("origin", &source)],
            );
            return batch.transaction.records.push(Outgoing {
                partition: Some(home),
                ..stray
            });
        }
        if let (false, Some(intent)) = (is_event, intent) {
            self.suppress(record, &headers, &source, &intent, batch);
        }
    }

    fn suppress(&self, record: &Record, headers: &Headers, source: &str, intent: &Intent, batch: &mut Batch) {
        let name = format!("{}\u{1}{}", intent.customer_id, intent.identity);
        let Some((done, new)) = batch.done.get_mut(&record.partition) else {
            return;
        };
        let known = self.tasks.get(&record.partition).and_then(|task| task.seen.get(&name));
        let known = known
            .or_else(|| new.iter().find(|(other, _)| *other == name).map(|(_, id)| id))
            .cloned();
        let id = format!("{source}/0");
        let decided_at = jiff::Timestamp::from_millisecond(batch.now_ms)
            .unwrap_or_default()
            .to_string();
        let reason = if known.is_some() { "duplicate" } else { "stopped" };
        let mut more = vec![
            ("forbear-decision-id", id.as_str()),
            ("forbear-decided-at", decided_at.as_str()),
        ];
        more.extend([("forbear-policy", self.label.as_str()), ("forbear-reason", reason)]);
        if let Some(known) = &known {
            more.push(("forbear-duplicate-of", known));
        }
        let key = Some(intent.customer_id.clone().into_bytes());
        let topic = format!("{}{}", self.names.suppressed_prefix, intent.channel);
        batch
            .transaction
            .records
            .push(outgoing(&topic, key.clone(), record, headers, &more));
        let barrier: BTreeMap<&str, i64> = (self.inputs.topics.iter().zip(done.iter()))
            .filter(|((_, kind), _)| *kind != InputKind::Intents)
            .map(|((topic, _), offset)| (&**topic, *offset))
            .collect();
        let mut place = source.split('/');
        let (topic, partition, offset) = (place.next(), place.next(), place.next());
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
        let decision = json!({
            "decision_id": id, "intent_id": "-", "customer_id": intent.customer_id, "class": "marketing",
            "requested_channel": intent.channel, "channel": intent.channel, "verdict": "suppressed", "reason": reason,
            "attempt": 0, "decided_at": decided_at, "policy": self.label, "barrier": barrier,
            "source": {"topic": topic, "partition": number(partition), "offset": number(offset)},
        });
        let value = Some(decision.to_string().into_bytes());
        let decision = Outgoing {
            value,
            ..outgoing(&self.names.decisions, key, record, &Vec::new(), &[])
        };
        batch.transaction.records.push(decision);
        if known.is_none() {
            new.push((name, id));
        }
    }

    fn commit(&mut self, batch: Batch) -> Result<bool, SourceError> {
        let Batch {
            now_ms,
            mut transaction,
            done,
        } = batch;
        for (number, (positions, new)) in &done {
            let seq = self.tasks[number].seq + 1;
            let state = |key: &str, value: String| Outgoing {
                topic: STATE_TOPIC.into(),
                partition: Some(*number),
                key: Some(key.as_bytes().to_vec()),
                value: Some(value.into_bytes()),
                headers: Vec::new(),
                timestamp_ms: None,
            };
            transaction
                .records
                .extend(new.iter().map(|(name, id)| state(name, id.clone())));
            transaction.records.push(state("marker", format!("{seq} {now_ms}")));
            for (topic, offset) in positions
                .iter()
                .enumerate()
                .filter(|_| self.flaw != Flaw::CommitsNoOffsets)
            {
                let commit = OffsetCommit {
                    topic: topic as TopicIndex,
                    partition: *number,
                    offset: *offset,
                    metadata: seq.to_string(),
                };
                transaction.offsets.push(commit);
            }
        }
        transaction.records.extend(self.policy_text.map(|text| Outgoing {
            topic: self.names.policies.as_str().into(),
            partition: Some(0),
            key: Some(self.label.clone().into_bytes()),
            value: Some(text.as_bytes().to_vec()),
            headers: Vec::new(),
            timestamp_ms: None,
        }));
        let group = self.source()?.group()?;
        let Some(producer) = self.producer.as_mut() else {
            return Err(SourceError::Transient("no producer".into()));
        };
        match producer.commit(&transaction, &group, STATE_TOPIC) {
            Ok(_) => {}
            Err(CommitError::Fenced(why)) => return Err(SourceError::Fenced(why)),
            Err(_) if self.flaw == Flaw::TrustsUncertainCommits => self.producer = None,
            Err(error) => return Err(SourceError::Transient(error.to_string())),
        }
        self.policy_text = None;
        for (number, (positions, new)) in done {
            if let Some(task) = self.tasks.get_mut(&number) {
                task.seq += 1;
                task.now_ms = now_ms;
                task.done = positions;
                task.seen.extend(new);
            }
        }
        Ok(true)
    }
}

impl Task {
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) {
        let key = String::from_utf8_lossy(key).into_owned();
        let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        if key == "marker" {
            let mut parts = value.split(' ').map(|part| part.parse::<i64>().unwrap_or(0));
            self.seq = parts.next().unwrap_or(0) as u64;
            self.now_ms = parts.next().unwrap_or(0);
        } else {
            self.seen.insert(key, value);
        }
    }
}

/// Moves the position, and gives the record out where it is one.
fn take(polled: Polled, batch: &mut Batch) -> Result<Option<Record>, SourceError> {
    match polled {
        Polled::Record(record) => {
            if let Some((done, _)) = batch.done.get_mut(&record.partition) {
                done[usize::from(record.topic)] = record.offset + 1;
            }
            Ok(Some(record))
        }
        Polled::End {
            topic,
            partition,
            offset,
        } => {
            if let Some((done, _)) = batch.done.get_mut(&partition) {
                done[usize::from(topic)] = offset.max(done[usize::from(topic)]);
            }
            Ok(None)
        }
        Polled::OutOfRange { .. } => Err(SourceError::Fatal("the input is gone".into())),
    }
}

fn outgoing(topic: &str, key: Option<Vec<u8>>, record: &Record, headers: &Headers, more: &[(&str, &str)]) -> Outgoing {
    let more = more
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec())));
    Outgoing {
        topic: topic.into(),
        partition: None,
        key,
        value: record.value.clone(),
        headers: headers.iter().cloned().chain(more).collect(),
        timestamp_ms: None,
    }
}
