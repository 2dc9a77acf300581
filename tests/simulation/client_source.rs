//! The reading half of the simulated client: [`Source`] and [`Changelog`], both read-committed.

use super::client::{Connection, GONE, Gone};
use super::group::{Membership, Notice};
use super::partition::Data;
use forbear::commit::log::{Changelog, ChangelogEntry, ChangelogPolled};
use forbear::intake::source::{
    Committed, InputKind, Polled, Record, Source, SourceError, SourceEvent, StartAt, TopicIndex,
};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
    /// Started partitions of which no intents are fetched.
    paused: BTreeSet<i32>,
    group: Option<Membership>,
    answering: Option<Notice>,
}

impl SimulatedSource {
    pub fn new(to: Connection) -> Self {
        Self {
            to,
            member: None,
            held: BTreeMap::new(),
            paused: BTreeSet::new(),
            group: None,
            answering: None,
        }
    }

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
                let fetched = self.held.keys().filter(|held| !intents || !self.paused.contains(held));
                places.extend(fetched.map(|partition| (*partition, index as TopicIndex)));
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
            if shared
                .broker
                .leaderless
                .contains(&(self.to.topic(topic).to_owned(), number))
            {
                continue;
            }
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
        self.paused.remove(&partition);
        Ok(())
    }

    fn stop(&mut self, partition: i32) -> Result<(), SourceError> {
        if let Some(held) = self.held.get_mut(&partition) {
            *held = None;
        }
        Ok(())
    }

    fn poll_engagement(&mut self, into: &mut Vec<Polled>, most: usize, wait: Duration) -> Result<(), SourceError> {
        let before = into.len();
        self.poll(false, into, most)?;
        if into.len() == before && !wait.is_zero() {
            self.to.wait(wait);
        }
        Ok(())
    }

    fn poll_intents(&mut self, into: &mut Vec<Polled>, most: usize, _wait: Duration) -> Result<(), SourceError> {
        self.poll(true, into, most)
    }

    fn ends(&mut self, of: &[(TopicIndex, i32)]) -> Result<Vec<Result<i64, String>>, SourceError> {
        self.to.ask()?;
        let mut shared = self.to.cluster.lock();
        let end = |(topic, partition): &(TopicIndex, i32)| {
            let name = self.to.topic(*topic).to_owned();
            if shared.broker.leaderless.contains(&(name.clone(), *partition)) {
                return Ok(Err("it has no leader".to_owned()));
            }
            let log = shared.broker.partition(&name, *partition);
            log.map(|log| Ok(log.high_watermark()))
                .ok_or_else(|| SourceError::Fatal("no such partition".into()))
        };
        of.iter().map(end).collect()
    }

    fn pause_intents(&mut self, partition: i32, paused: bool) -> Result<(), SourceError> {
        self.to.ask()?;
        match paused {
            true => self.paused.insert(partition),
            false => self.paused.remove(&partition),
        };
        Ok(())
    }

    fn leave(&mut self) {
        self.held.clear();
        (self.answering, self.group) = (None, None);
        if let Some(member) = self.member.take() {
            let mut shared = self.to.cluster.lock();
            let now_ms = shared.broker.now_ms;
            shared.broker.group.evict(member, now_ms);
        }
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

/// [`Changelog`] on the simulated cluster.
pub struct SimulatedChangelog {
    to: Connection,
    open: BTreeMap<i32, Position>,
}

impl SimulatedChangelog {
    pub fn new(to: Connection) -> Self {
        Self {
            to,
            open: BTreeMap::new(),
        }
    }
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
