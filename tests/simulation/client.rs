//! The client side of the simulated cluster: what the engine's loop talks to. The same traits that the Kafka client
//! implements, so the loop is the same code.
//!
//! A crash unwinds the calling worker out of the middle of the call, and whatever still holds its connection afterwards gets
//! errors only: nothing that a dead process might do later has any effect.

use super::broker::{Broker, ProducerIdentity, ProducerRefusal};
use super::faults::Chances;
use super::group::{Membership, Notice};
use super::partition::Data;
use crate::auditor::reading::owner;
use forbear::commit::log::{
    Changelog, ChangelogEntry, ChangelogPolled, CommitError, Log, Outgoing, Producer, Transaction,
};
use forbear::intake::source::{
    Committed, InputKind, Inputs, Polled, Record, Source, SourceError, SourceEvent, StartAt, TopicIndex,
};
use rand::Rng;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a worker's stack unwinds with when its process dies.
pub struct SimulatedCrash;

/// Runs other workers while one (named by its incarnation) is inside a call.
pub type Interleave = Rc<dyn Fn(u64)>;

thread_local! {
    static INTERLEAVE: RefCell<Option<Interleave>> = const { RefCell::new(None) };
}

/// Sets what runs between the steps of calls on this thread; none: nothing.
pub fn interleave_with(hook: Option<Interleave>) {
    INTERLEAVE.with(|slot| *slot.borrow_mut() = hook);
}

/// The cluster and who is alive.
pub struct Shared {
    pub broker: Broker,
    pub chances: Chances,
    /// Workers that live, with the member that each is in the group.
    alive: BTreeMap<u64, Option<u64>>,
    /// The newest incarnation of each instance.
    instances: BTreeMap<String, u64>,
    dead: BTreeSet<u64>,
    /// Counts what went wrong, for the report of a failing seed.
    pub mishaps: BTreeMap<&'static str, u64>,
}

/// A handle on the cluster.
#[derive(Clone)]
pub struct Cluster(Arc<Mutex<Shared>>);

impl Cluster {
    pub fn new(broker: Broker, chances: Chances) -> Self {
        let shared = Shared {
            broker,
            chances,
            alive: BTreeMap::new(),
            instances: BTreeMap::new(),
            dead: BTreeSet::new(),
            mishaps: BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(shared)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now_ms(&self) -> i64 {
        self.lock().broker.now_ms
    }

    /// Lets time pass. Background threads of the living keep their seats, except of those that stand still.
    pub fn advance(&self, by_ms: i64, frozen: &BTreeSet<u64>) {
        let mut shared = self.lock();
        shared.advance(by_ms, frozen);
    }

    /// Kills a worker from outside.
    pub fn kill(&self, worker: u64) {
        self.lock().bury(worker, "kill");
    }

    /// Kills the newest incarnation of an instance.
    pub fn kill_instance(&self, instance: &str) {
        let mut shared = self.lock();
        if let Some(worker) = shared.instances.get(instance).copied() {
            shared.bury(worker, "kill");
        }
    }

    pub fn is_dead(&self, worker: u64) -> bool {
        self.lock().dead.contains(&worker)
    }
}

impl Shared {
    fn advance(&mut self, by_ms: i64, frozen: &BTreeSet<u64>) {
        let mut left_ms = by_ms;
        while left_ms > 0 {
            let step_ms = left_ms.min(1000);
            left_ms -= step_ms;
            self.broker.now_ms += step_ms;
            // Minutes and more are jumps: nobody could tell the steps apart.
            if left_ms > 120_000 {
                self.broker.now_ms += left_ms - 120_000;
                left_ms = 120_000;
            }
            let now_ms = self.broker.now_ms;
            for member in self
                .alive
                .iter()
                .filter(|(worker, _)| !frozen.contains(worker))
                .filter_map(|(_, id)| *id)
            {
                self.broker.group.heartbeat(member, now_ms);
            }
            let haste = self.chances.haste;
            self.broker.tick(haste);
        }
    }

    fn bury(&mut self, worker: u64, how: &'static str) {
        self.alive.remove(&worker);
        if self.dead.insert(worker) {
            *self.mishaps.entry(how).or_default() += 1;
        }
    }

    /// True with that chance, counted.
    pub fn strikes(&mut self, chance: f64, what: &'static str) -> bool {
        let strikes = chance > 0.0 && self.broker.random.random_bool(chance);
        if strikes {
            *self.mishaps.entry(what).or_default() += 1;
        }
        strikes
    }
}

/// One worker's connection. Every incarnation of a worker has its own number.
#[derive(Clone)]
pub struct Connection {
    cluster: Cluster,
    inputs: Inputs,
    state_topic: String,
    instance: String,
    worker: u64,
}

/// The call came from a process that is dead.
struct Gone;

const GONE: &str = "the process is dead";

impl Connection {
    pub fn new(cluster: Cluster, inputs: Inputs, state_topic: &str, instance: &str, worker: u64) -> Self {
        let mut shared = cluster.lock();
        shared.alive.insert(worker, None);
        shared.instances.insert(instance.to_owned(), worker);
        drop(shared);
        Self {
            cluster,
            inputs,
            state_topic: state_topic.to_owned(),
            instance: instance.to_owned(),
            worker,
        }
    }

    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// One step of one call: things arrive, things go wrong, others run.
    fn step(&self, crash: fn(&Chances) -> f64) -> Result<(), Gone> {
        let mut shared = self.cluster.lock();
        if shared.dead.contains(&self.worker) {
            return Err(Gone);
        }
        let chances = shared.chances;
        shared.broker.tick(chances.haste);
        if shared.strikes(crash(&chances), "crash") {
            shared.bury(self.worker, "death");
            drop(shared);
            std::panic::resume_unwind(Box::new(SimulatedCrash));
        }
        if shared.strikes(chances.stall, "stall") {
            let length_ms = shared.broker.random.random_range(1..30_000);
            shared.advance(length_ms, &BTreeSet::from([self.worker]));
        }
        let now_ms = shared.broker.now_ms;
        if let Some(member) = shared.alive.get(&self.worker).copied().flatten()
            && shared.strikes(chances.evict, "evict")
        {
            shared.broker.group.evict(member, now_ms);
        }
        if shared.strikes(chances.round, "round") {
            shared.broker.group.start_round(now_ms);
        }
        let others = shared.strikes(chances.interleave, "interleave");
        drop(shared);
        if others && let Some(hook) = INTERLEAVE.with(|slot| slot.borrow().clone()) {
            hook(self.worker);
        }
        match self.cluster.is_dead(self.worker) {
            true => Err(Gone),
            false => Ok(()),
        }
    }

    /// A step of a call that only reads or asks.
    fn ask(&self) -> Result<(), SourceError> {
        self.step(|chances| chances.crash)
            .map_err(|Gone| SourceError::Fatal(GONE.into()))?;
        let mut shared = self.cluster.lock();
        let transient = shared.chances.transient;
        match shared.strikes(transient, "transient") {
            true => Err(SourceError::Transient("the broker is busy".into())),
            false => Ok(()),
        }
    }

    /// A step of a call to the disk of the same process.
    pub fn disk_step(&self, crash: fn(&Chances) -> f64) -> Result<(), String> {
        self.step(crash).map_err(|Gone| GONE.to_owned())?;
        let mut shared = self.cluster.lock();
        let disk = shared.chances.disk;
        match shared.strikes(disk, "disk") {
            true => Err("no space left on the device".into()),
            false => Ok(()),
        }
    }

    fn topic(&self, index: TopicIndex) -> &str {
        self.inputs.topics.get(usize::from(index)).map_or("", |(name, _)| name)
    }
}

impl Log for Connection {
    type Source = SimulatedSource;
    type Producer = SimulatedProducer;
    type Changelog = SimulatedChangelog;

    fn source(&mut self) -> Result<SimulatedSource, SourceError> {
        self.ask()?;
        Ok(SimulatedSource {
            to: self.clone(),
            member: None,
            held: BTreeMap::new(),
            group: None,
            answering: None,
        })
    }

    fn producer(&mut self) -> Result<SimulatedProducer, CommitError> {
        self.step(|chances| chances.crash_in_commit)
            .map_err(|Gone| CommitError::Uncertain(GONE.into()))?;
        let mut shared = self.cluster.lock();
        let transient = shared.chances.transient;
        if shared.strikes(transient, "transient") {
            return Err(CommitError::Uncertain("the coordinator is loading".into()));
        }
        let identity = shared.broker.initialise_producer(&self.instance);
        drop(shared);
        Ok(SimulatedProducer {
            to: self.clone(),
            identity,
            poisoned: false,
        })
    }

    fn changelog(&mut self) -> Result<SimulatedChangelog, SourceError> {
        self.ask()?;
        Ok(SimulatedChangelog {
            to: self.clone(),
            open: BTreeMap::new(),
        })
    }
}

/// Where the reading of one partition of one topic stands.
#[derive(Debug, Clone)]
struct Position {
    next: i64,
    /// The end that was told last; each is told once.
    told_end: Option<i64>,
    out_of_range: bool,
}

impl Position {
    fn at(next: i64) -> Self {
        Self {
            next,
            told_end: None,
            out_of_range: false,
        }
    }
}

/// [`Source`] on the simulated cluster.
pub struct SimulatedSource {
    to: Connection,
    member: Option<u64>,
    /// Positions in the order of the inputs; none: held and not started.
    held: BTreeMap<i32, Option<Vec<Position>>>,
    group: Option<Membership>,
    answering: Option<Notice>,
}

impl SimulatedSource {
    /// The member that this source is in the group, joined where it is none.
    fn membership(&mut self) -> u64 {
        let mut shared = self.to.cluster.lock();
        let now_ms = shared.broker.now_ms;
        let member = *self
            .member
            .get_or_insert_with(|| shared.broker.group.join(&self.to.instance, now_ms));
        if let Some(seat) = shared.alive.get_mut(&self.to.worker) {
            *seat = Some(member);
        }
        member
    }

    fn poll(&mut self, intents: bool, into: &mut Vec<Polled>, most: usize) -> Result<(), SourceError> {
        self.to.ask()?;
        let mut shared = self.to.cluster.lock();
        let partial = shared.chances.partial_poll;
        let mut room = match shared.strikes(partial, "partial poll") {
            true => shared.broker.random.random_range(0..=most.min(4)),
            false => most,
        };
        let mut places: Vec<(i32, TopicIndex)> = Vec::new();
        for (index, (_, kind)) in self.to.inputs.topics.iter().enumerate() {
            if (*kind == InputKind::Intents) == intents {
                places.extend(self.held.keys().map(|partition| (*partition, index as TopicIndex)));
            }
        }
        if !places.is_empty() {
            let turn = shared.broker.random.random_range(0..places.len());
            places.rotate_left(turn);
        }
        for (number, topic) in places {
            let Some(positions) = self.held.get_mut(&number).and_then(Option::as_mut) else {
                continue;
            };
            let position = &mut positions[usize::from(topic)];
            let Some(log) = shared.broker.partition(self.to.topic(topic), number) else {
                continue;
            };
            if position.out_of_range || position.next < log.start() || position.next > log.high_watermark() {
                if !position.out_of_range {
                    into.push(Polled::OutOfRange {
                        topic,
                        partition: number,
                    });
                }
                position.out_of_range = true;
                continue;
            }
            let (records, next) = log.read_committed(position.next, room);
            room -= records.len();
            into.extend(
                records
                    .into_iter()
                    .map(|(offset, data)| Polled::Record(record(topic, number, offset, data))),
            );
            position.next = next;
            if next == log.last_stable_offset() && position.told_end != Some(next) {
                position.told_end = Some(next);
                into.push(Polled::End {
                    topic,
                    partition: number,
                    offset: next,
                });
            }
        }
        Ok(())
    }
}

fn record(topic: TopicIndex, partition: i32, offset: i64, data: &Data) -> Record {
    Record {
        topic,
        partition,
        offset,
        timestamp_ms: data.timestamp_ms,
        key: data.key.clone(),
        value: data.value.clone(),
        headers: data.headers.clone(),
    }
}

impl Source for SimulatedSource {
    type Group = Membership;

    fn events(&mut self, _wait: Duration) -> Vec<SourceEvent> {
        if self.to.step(|chances| chances.crash).is_err() {
            return vec![SourceEvent::Fatal(GONE.into())];
        }
        let member = self.membership();
        let notice = {
            let mut shared = self.to.cluster.lock();
            let now_ms = shared.broker.now_ms;
            shared.broker.group.poll(member, now_ms)
        };
        match notice {
            None => Vec::new(),
            Some(Notice::Fenced) => vec![SourceEvent::Fenced("another member took the seat".into())],
            Some(Notice::Out) => {
                if self.held.is_empty() {
                    self.member = None;
                    return Vec::new();
                }
                let partitions: Vec<i32> = self.held.keys().copied().collect();
                let lost = Notice::Revoked {
                    partitions: partitions.clone(),
                    lost: true,
                };
                let told = self.answering.replace(lost.clone()) == Some(lost);
                if told {
                    Vec::new()
                } else {
                    vec![SourceEvent::Revoked { partitions, lost: true }]
                }
            }
            Some(notice) => {
                self.answering = Some(notice.clone());
                vec![match notice {
                    Notice::Revoked { partitions, lost } => SourceEvent::Revoked { partitions, lost },
                    Notice::Assigned(partitions) => SourceEvent::Assigned(partitions),
                    Notice::Fenced | Notice::Out => return Vec::new(),
                }]
            }
        }
    }

    fn hold(&mut self, partitions: &[i32]) -> Result<(), SourceError> {
        self.to
            .step(|chances| chances.crash)
            .map_err(|Gone| SourceError::Fatal(GONE.into()))?;
        let given = matches!(self.answering.take(), Some(Notice::Assigned(given)) if given == partitions);
        assert!(
            given,
            "an assignment was answered with other partitions than were given"
        );
        self.held.extend(partitions.iter().map(|partition| (*partition, None)));
        let member = self.membership();
        let answered = self
            .to
            .cluster
            .lock()
            .broker
            .group
            .answered_assigned(member, partitions);
        // One that was thrown out meanwhile does not know it yet: its commits will be refused.
        self.group = answered.or(Some(Membership { member, generation: -1 }));
        Ok(())
    }

    fn release(&mut self, partitions: &[i32]) -> Result<(), SourceError> {
        self.to
            .step(|chances| chances.crash)
            .map_err(|Gone| SourceError::Fatal(GONE.into()))?;
        let Some(Notice::Revoked {
            partitions: taken,
            lost,
        }) = self.answering.take()
        else {
            panic!("a revocation was answered that was not given");
        };
        assert_eq!(
            taken, partitions,
            "a revocation was answered with other partitions than were taken"
        );
        partitions
            .iter()
            .for_each(|partition| drop(self.held.remove(partition)));
        match (lost, self.member) {
            (true, _) => self.member = None,
            (false, Some(member)) => self.to.cluster.lock().broker.group.answered_revoked(member, partitions),
            (false, None) => {}
        }
        Ok(())
    }

    fn group(&mut self) -> Result<Membership, SourceError> {
        self.group
            .ok_or_else(|| SourceError::Transient("not a member of the group yet".into()))
    }

    fn start(&mut self, partition: i32, positions: &[StartAt]) -> Result<(), SourceError> {
        self.to.ask()?;
        assert_eq!(
            positions.len(),
            self.to.inputs.topics.len(),
            "one position for each input"
        );
        let mut shared = self.to.cluster.lock();
        let held = self.held.get_mut(&partition);
        let held = held.ok_or_else(|| SourceError::Transient("the partition is not assigned".into()))?;
        let mut started = Vec::new();
        for ((topic, _), at) in self.to.inputs.topics.iter().zip(positions) {
            let beginning = shared.broker.partition(topic, partition).map_or(0, |log| log.start());
            started.push(Position::at(match at {
                StartAt::Beginning => beginning,
                StartAt::Offset(offset) => *offset,
            }));
        }
        *held = Some(started);
        Ok(())
    }

    fn stop(&mut self, partition: i32) -> Result<(), SourceError> {
        if let Some(held) = self.held.get_mut(&partition) {
            *held = None;
        }
        Ok(())
    }

    fn poll_engagement(&mut self, into: &mut Vec<Polled>, most: usize, _wait: Duration) -> Result<(), SourceError> {
        self.poll(false, into, most)
    }

    fn poll_intents(&mut self, into: &mut Vec<Polled>, most: usize, _wait: Duration) -> Result<(), SourceError> {
        self.poll(true, into, most)
    }

    fn ends(&mut self, of: &[(TopicIndex, i32)]) -> Result<Vec<i64>, SourceError> {
        self.to.ask()?;
        let mut shared = self.to.cluster.lock();
        let end = |(topic, partition): &(TopicIndex, i32)| {
            let log = shared.broker.partition(self.to.topic(*topic), *partition);
            log.map(|log| log.last_stable_offset())
                .ok_or_else(|| SourceError::Fatal("no such partition".into()))
        };
        of.iter().map(end).collect()
    }

    fn committed(&mut self, of: &[(TopicIndex, i32)]) -> Result<Vec<Option<Committed>>, SourceError> {
        self.to.ask()?;
        let shared = self.to.cluster.lock();
        let unstable = || SourceError::Transient("the offset is in an open transaction".into());
        let stable = |(topic, partition): &(TopicIndex, i32)| {
            shared
                .broker
                .stable_committed(self.to.topic(*topic), *partition)
                .ok_or_else(unstable)
        };
        of.iter().map(stable).collect()
    }
}

/// [`Producer`] on the simulated cluster.
pub struct SimulatedProducer {
    to: Connection,
    identity: ProducerIdentity,
    /// Anything but a clean commit: using it again is the mistake that the protocol forbids.
    poisoned: bool,
}

impl SimulatedProducer {
    fn step(&self) -> Result<(), CommitError> {
        self.to
            .step(|chances| chances.crash_in_commit)
            .map_err(|Gone| CommitError::Uncertain(GONE.into()))?;
        let mut shared = self.to.cluster.lock();
        let uncertain = shared.chances.uncertain;
        match shared.strikes(uncertain, "uncertain") {
            true => Err(CommitError::Uncertain("the request timed out".into())),
            false => Ok(()),
        }
    }

    fn produce(&self, outgoing: &Outgoing) -> Result<(i32, i64), CommitError> {
        let mut shared = self.to.cluster.lock();
        let now_ms = shared.broker.now_ms;
        let count = shared
            .broker
            .topics
            .get(&*outgoing.topic)
            .map_or(1, |topic| topic.partitions.len() as i32);
        let by_key = || outgoing.key.as_deref().map_or(0, |key| owner(key, count));
        let partition = outgoing.partition.unwrap_or_else(by_key);
        let data = Data {
            timestamp_ms: outgoing.timestamp_ms.unwrap_or(now_ms),
            key: outgoing.key.clone(),
            value: outgoing.value.clone(),
            headers: outgoing.headers.clone(),
        };
        let offset = shared
            .broker
            .produce(self.identity, &outgoing.topic, partition, data)
            .map_err(refused)?;
        Ok((partition, offset))
    }

    fn try_commit(
        &self,
        transaction: &Transaction,
        group: Membership,
        state_topic: &str,
    ) -> Result<Vec<(i32, i64)>, CommitError> {
        self.step()?;
        let mut changelog: BTreeMap<i32, i64> = BTreeMap::new();
        for outgoing in &transaction.records {
            self.step()?;
            let (partition, offset) = self.produce(outgoing)?;
            if &*outgoing.topic == state_topic {
                changelog.insert(partition, offset + 1);
            }
        }
        if transaction.records.is_empty() && transaction.offsets.is_empty() {
            return Ok(Vec::new());
        }
        self.step()?;
        let name = |index: TopicIndex| self.to.topic(index).to_owned();
        let offsets = transaction.offsets.iter().map(|commit| {
            let committed = Committed {
                offset: commit.offset,
                metadata: commit.metadata.clone(),
            };
            (name(commit.topic), commit.partition, committed)
        });
        let offsets = offsets.collect();
        self.to
            .cluster
            .lock()
            .broker
            .send_offsets(self.identity, group, offsets)
            .map_err(refused)?;
        self.step()?;
        self.end()?;
        self.step()?;
        Ok(changelog.into_iter().collect())
    }

    /// EndTxn, with everything that may become of it.
    fn end(&self) -> Result<(), CommitError> {
        let mut shared = self.to.cluster.lock();
        let lost = shared.chances.lost_answer;
        if !shared.strikes(lost, "lost answer") {
            return shared.broker.end_transaction(self.identity, true).map_err(refused);
        }
        match shared.broker.random.random_range(0..3) {
            0 => {
                let _ = shared.broker.end_transaction(self.identity, true);
            }
            1 => shared.broker.end_transaction_later(self.identity, true),
            _ => {}
        }
        if shared.broker.random.random_bool(0.5) {
            shared.bury(self.to.worker, "death");
            drop(shared);
            std::panic::resume_unwind(Box::new(SimulatedCrash));
        }
        Err(CommitError::Uncertain("no answer to the end of the transaction".into()))
    }
}

fn refused(refusal: ProducerRefusal) -> CommitError {
    match refusal {
        ProducerRefusal::Fenced => CommitError::Fenced("a newer epoch holds the transactional id".into()),
        ProducerRefusal::Record(why) => CommitError::Refused(why.into()),
        ProducerRefusal::Group(why) => CommitError::Uncertain(format!("the group refuses the offsets: {why:?}")),
        ProducerRefusal::InvalidState => CommitError::Uncertain("the transaction is not in that state".into()),
    }
}

impl Producer for SimulatedProducer {
    type Group = Membership;

    fn commit(
        &mut self,
        transaction: &Transaction,
        group: &Membership,
        state_topic: &str,
    ) -> Result<Vec<(i32, i64)>, CommitError> {
        assert!(!self.poisoned, "a producer was used again after an error");
        self.poisoned = true;
        let outcome = self.try_commit(transaction, *group, state_topic);
        self.poisoned = outcome.is_err();
        let mut shared = self.to.cluster.lock();
        // A client that can still talk aborts; one that cannot leaves it open.
        if outcome.is_err() && !shared.dead.contains(&self.to.worker) && shared.broker.random.random_bool(0.5) {
            let _ = shared.broker.end_transaction(self.identity, false);
        }
        outcome
    }
}

/// [`Changelog`] on the simulated cluster.
pub struct SimulatedChangelog {
    to: Connection,
    open: BTreeMap<i32, Position>,
}

impl Changelog for SimulatedChangelog {
    fn bounds(&mut self, partition: i32) -> Result<(i64, i64), SourceError> {
        self.to.ask()?;
        let mut shared = self.to.cluster.lock();
        let log = shared.broker.partition(&self.to.state_topic, partition);
        log.map(|log| (log.start(), log.high_watermark()))
            .ok_or_else(|| SourceError::Fatal("no such partition".into()))
    }

    fn open(&mut self, partition: i32, from: i64) -> Result<(), SourceError> {
        self.to.ask()?;
        self.open.insert(partition, Position::at(from));
        Ok(())
    }

    fn close(&mut self, partition: i32) {
        self.open.remove(&partition);
    }

    fn poll(
        &mut self,
        into: &mut Vec<(i32, ChangelogPolled)>,
        most: usize,
        _wait: Duration,
    ) -> Result<(), SourceError> {
        self.to.ask()?;
        let mut shared = self.to.cluster.lock();
        let partial = shared.chances.partial_poll;
        let mut room = match shared.strikes(partial, "partial poll") {
            true => shared.broker.random.random_range(0..=most.min(4)),
            false => most,
        };
        for (number, position) in &mut self.open {
            let Some(log) = shared.broker.partition(&self.to.state_topic, *number) else {
                continue;
            };
            if position.out_of_range || position.next < log.start() || position.next > log.high_watermark() {
                if !position.out_of_range {
                    into.push((*number, ChangelogPolled::OutOfRange));
                }
                position.out_of_range = true;
                continue;
            }
            let (records, next) = log.read_committed(position.next, room);
            room -= records.len();
            into.extend(records.into_iter().map(|(offset, data)| {
                let key = data.key.clone().unwrap_or_default();
                (
                    *number,
                    ChangelogPolled::Entry(ChangelogEntry {
                        offset,
                        key,
                        value: data.value.clone(),
                    }),
                )
            }));
            position.next = next;
            if next == log.last_stable_offset() && position.told_end != Some(next) {
                position.told_end = Some(next);
                into.push((*number, ChangelogPolled::End(next)));
            }
        }
        Ok(())
    }
}
