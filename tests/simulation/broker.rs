//! The simulated cluster: topics, the transaction coordinator, the group's offsets. Everything that happens here happens
//! because somebody called, or because [`Broker::tick`] let something that was under way arrive.

use super::group::{Group, Membership, Refusal};
use super::partition::{Data, Partition};
use forbear::intake::source::Committed;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};

/// A topic and its partitions.
#[derive(Debug)]
pub struct Topic {
    pub partitions: Vec<Partition>,
    pub compacted: bool,
    /// Appends stamp the broker's clock, whatever the producer says.
    pub append_time: bool,
    /// Larger records are refused.
    pub max_record_bytes: usize,
    /// Records that hold this text are refused.
    pub refuses: Option<&'static str>,
}

/// Why the cluster refuses a producer's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerRefusal {
    /// A newer epoch holds the transactional id (or the server ended the transaction for it).
    Fenced,
    Record(&'static str),
    Group(Refusal),
    InvalidState,
}

/// What a transactional producer is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdentity {
    pub id: u64,
    pub epoch: u32,
}

#[derive(Debug)]
enum TransactionState {
    Empty,
    Ongoing {
        since_ms: i64,
        partitions: BTreeSet<(String, usize)>,
        offsets: Vec<(String, i32, Committed)>,
    },
    /// Decided; the control records are on their way.
    Ending {
        commit: bool,
        markers: Vec<Marker>,
    },
}

#[derive(Debug)]
enum Marker {
    Partition(String, usize),
    Offsets(Vec<(String, i32, Committed)>),
}

#[derive(Debug)]
struct Transactional {
    epoch: u32,
    state: TransactionState,
}

#[derive(Debug)]
pub struct Broker {
    pub now_ms: i64,
    pub topics: BTreeMap<String, Topic>,
    pub group: Group,
    pub random: ChaCha8Rng,
    pub transaction_timeout_ms: i64,
    producers: Vec<Transactional>,
    producer_ids: BTreeMap<String, u64>,
    committed: BTreeMap<(String, i32), Committed>,
    committed_at_ms: BTreeMap<(String, i32), i64>,
    /// Partitions that nobody leads: nothing is written, read or asked there.
    pub leaderless: BTreeSet<(String, i32)>,
    /// How long the committed offsets of a stable group are kept for topics that it does not subscribe to, and the topic
    /// that it does.
    pub offset_retention: Option<(i64, String)>,
    /// Requests that were sent and have not arrived.
    late_ends: Vec<(ProducerIdentity, bool)>,
}

impl Broker {
    pub fn new(random: ChaCha8Rng, group: Group, now_ms: i64, transaction_timeout_ms: i64) -> Self {
        Self {
            now_ms,
            topics: BTreeMap::new(),
            group,
            random,
            transaction_timeout_ms,
            producers: Vec::new(),
            producer_ids: BTreeMap::new(),
            committed: BTreeMap::new(),
            committed_at_ms: BTreeMap::new(),
            leaderless: BTreeSet::new(),
            offset_retention: None,
            late_ends: Vec::new(),
        }
    }

    pub fn create_topic(&mut self, name: &str, partitions: i32, compacted: bool, max_record_bytes: usize) {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        self.topics.insert(
            name.to_owned(),
            Topic {
                partitions,
                compacted,
                append_time: true,
                max_record_bytes,
                refuses: None,
            },
        );
    }

    /// None: there is no such partition.
    pub fn partition(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.topics
            .get_mut(topic)?
            .partitions
            .get_mut(usize::try_from(partition).ok()?)
    }

    /// Lets time work: control records, late requests, time-outs, sessions. `haste` is the chance of each thing to arrive.
    pub fn tick(&mut self, haste: f64) {
        for index in 0..self.producers.len() {
            while self.has_markers(index) && self.random.random_bool(haste) {
                self.write_one_marker(index);
            }
        }
        while !self.late_ends.is_empty() && self.random.random_bool(haste) {
            let index = self.random.random_range(0..self.late_ends.len());
            let (identity, commit) = self.late_ends.swap_remove(index);
            // Whoever sent it does not listen any more.
            let _ = self.end_transaction(identity, commit);
        }
        for index in 0..self.producers.len() {
            let overdue = matches!(&self.producers[index].state, TransactionState::Ongoing { since_ms, .. }
                if self.now_ms - since_ms > self.transaction_timeout_ms);
            if overdue {
                self.producers[index].epoch += 1;
                self.decide(index, false);
            }
        }
        let now_ms = self.now_ms;
        self.group.expire(now_ms);
        self.expire_offsets();
    }

    /// By the time of each offset's own commit, as long as members are there.
    fn expire_offsets(&mut self) {
        let Some((retention_ms, subscribed)) = &self.offset_retention else {
            return;
        };
        if !self.group.is_settled() {
            return;
        }
        let now_ms = self.now_ms;
        let ats = &self.committed_at_ms;
        self.committed.retain(|place, _| {
            let at_ms = ats.get(place).copied().unwrap_or(now_ms);
            place.0 == *subscribed || now_ms - at_ms < *retention_ms
        });
    }

    fn has_markers(&self, index: usize) -> bool {
        matches!(self.producers[index].state, TransactionState::Ending { .. })
    }

    fn write_one_marker(&mut self, index: usize) {
        let TransactionState::Ending { commit, markers } = &mut self.producers[index].state else {
            return;
        };
        let commit = *commit;
        let marker = match markers.len() {
            0 => None,
            count => Some(markers.swap_remove(self.random.random_range(0..count))),
        };
        if markers.is_empty() {
            self.producers[index].state = TransactionState::Empty;
        }
        match marker {
            Some(Marker::Partition(topic, partition)) => {
                if let Some(topic) = self.topics.get_mut(&topic) {
                    topic.partitions[partition].end_transaction(index as u64, commit);
                }
            }
            Some(Marker::Offsets(offsets)) if commit => {
                for (topic, partition, offset) in offsets {
                    self.committed_at_ms.insert((topic.clone(), partition), self.now_ms);
                    self.committed.insert((topic, partition), offset);
                }
            }
            _ => {}
        }
    }

    /// Ends what is decided: what a client waits for before it goes on with the same transactional id.
    fn finish_markers(&mut self, index: usize) {
        while self.has_markers(index) {
            self.write_one_marker(index);
        }
    }

    fn decide(&mut self, index: usize, commit: bool) {
        let state = std::mem::replace(&mut self.producers[index].state, TransactionState::Empty);
        let TransactionState::Ongoing {
            partitions, offsets, ..
        } = state
        else {
            return;
        };
        let mut markers: Vec<Marker> = partitions
            .into_iter()
            .map(|(name, part)| Marker::Partition(name, part))
            .collect();
        if !offsets.is_empty() {
            markers.push(Marker::Offsets(offsets));
        }
        self.producers[index].state = TransactionState::Ending { commit, markers };
    }

    /// A new producer for a transactional id: settles what its predecessor left, and fences it.
    pub fn initialise_producer(&mut self, transactional_id: &str) -> ProducerIdentity {
        let id = *self
            .producer_ids
            .entry(transactional_id.to_owned())
            .or_insert(self.producers.len() as u64);
        if id as usize == self.producers.len() {
            self.producers.push(Transactional {
                epoch: 0,
                state: TransactionState::Empty,
            });
        }
        let index = id as usize;
        self.producers[index].epoch += 1;
        self.finish_markers(index);
        self.decide(index, false);
        self.finish_markers(index);
        ProducerIdentity {
            id,
            epoch: self.producers[index].epoch,
        }
    }

    /// The state of a producer that is current, with its transaction begun.
    fn ongoing(&mut self, producer: ProducerIdentity) -> Result<&mut TransactionState, ProducerRefusal> {
        let index = producer.id as usize;
        if self.producers[index].epoch != producer.epoch {
            return Err(ProducerRefusal::Fenced);
        }
        self.finish_markers(index);
        let since_ms = self.now_ms;
        let state = &mut self.producers[index].state;
        if matches!(state, TransactionState::Empty) {
            *state = TransactionState::Ongoing {
                since_ms,
                partitions: BTreeSet::new(),
                offsets: Vec::new(),
            };
        }
        Ok(state)
    }

    pub fn produce(
        &mut self,
        producer: ProducerIdentity,
        topic: &str,
        partition: i32,
        mut data: Data,
    ) -> Result<i64, ProducerRefusal> {
        let now_ms = self.now_ms;
        let place = self.topics.get(topic).ok_or(ProducerRefusal::Record("no such topic"))?;
        let index = usize::try_from(partition)
            .ok()
            .filter(|index| *index < place.partitions.len());
        let index = index.ok_or(ProducerRefusal::Record("no such partition"))?;
        let size = [&data.key, &data.value]
            .into_iter()
            .flatten()
            .map(Vec::len)
            .sum::<usize>()
            + data
                .headers
                .iter()
                .map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len))
                .sum::<usize>();
        if size > place.max_record_bytes {
            return Err(ProducerRefusal::Record("the record is too large"));
        }
        let held = data.value.as_deref().map(String::from_utf8_lossy);
        if let (Some(text), Some(value)) = (place.refuses, held)
            && value.contains(text)
        {
            return Err(ProducerRefusal::Record("the topic does not take it"));
        }
        if place.compacted && data.key.is_none() {
            return Err(ProducerRefusal::Record("a compacted topic needs keys"));
        }
        if place.append_time {
            data.timestamp_ms = now_ms;
        }
        if let TransactionState::Ongoing { partitions, .. } = self.ongoing(producer)? {
            partitions.insert((topic.to_owned(), index));
        }
        let partitions = self.topics.get_mut(topic).map(|topic| &mut topic.partitions[index]);
        partitions
            .map(|log| log.append(Some(producer.id), data))
            .ok_or(ProducerRefusal::Record("no such topic"))
    }

    pub fn send_offsets(
        &mut self,
        producer: ProducerIdentity,
        group: Membership,
        offsets: Vec<(String, i32, Committed)>,
    ) -> Result<(), ProducerRefusal> {
        let admitted = self.group.admits(group);
        let TransactionState::Ongoing { offsets: pending, .. } = self.ongoing(producer)? else {
            return Err(ProducerRefusal::InvalidState);
        };
        admitted.map_err(ProducerRefusal::Group)?;
        pending.extend(offsets);
        Ok(())
    }

    /// EndTxn: decides. The control records follow later.
    pub fn end_transaction(&mut self, producer: ProducerIdentity, commit: bool) -> Result<(), ProducerRefusal> {
        let index = producer.id as usize;
        if self.producers[index].epoch != producer.epoch {
            return Err(ProducerRefusal::Fenced);
        }
        match &self.producers[index].state {
            TransactionState::Ongoing { .. } => {
                self.decide(index, commit);
                Ok(())
            }
            // The same request again.
            TransactionState::Ending { commit: decided, .. } if *decided == commit => Ok(()),
            _ => Err(ProducerRefusal::InvalidState),
        }
    }

    /// The request is on its way; some later [`Broker::tick`] lets it arrive.
    pub fn end_transaction_later(&mut self, producer: ProducerIdentity, commit: bool) {
        self.late_ends.push((producer, commit));
    }

    /// None: the offset of that partition is in a transaction that has not ended.
    pub fn stable_committed(&self, topic: &str, partition: i32) -> Option<Option<Committed>> {
        let same = |offsets: &[(String, i32, Committed)]| {
            offsets
                .iter()
                .any(|(other, number, _)| other == topic && *number == partition)
        };
        let pending = self.producers.iter().any(|producer| match &producer.state {
            TransactionState::Empty => false,
            TransactionState::Ongoing { offsets, .. } => same(offsets),
            TransactionState::Ending { markers, .. } => markers
                .iter()
                .any(|marker| matches!(marker, Marker::Offsets(offsets) if same(offsets))),
        });
        (!pending).then(|| self.committed.get(&(topic.to_owned(), partition)).cloned())
    }

    /// What was committed last, whatever is pending.
    pub fn committed_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.committed
            .get(&(topic.to_owned(), partition))
            .map(|committed| committed.offset)
    }

    /// Retention removes a part of what the group has committed past.
    pub fn retain_committed(&mut self, topic: &str, partition: i32) {
        let committed = self.committed_offset(topic, partition).unwrap_or(0);
        let offset = self.random.random_range(0..=committed);
        if let Some(log) = self.partition(topic, partition) {
            log.remove_before(offset);
        }
    }

    /// Retention removes what nobody has committed past, and answers which records that were.
    pub fn lose(&mut self, topic: &str, partition: i32) -> Vec<i64> {
        let committed = self.committed_offset(topic, partition).unwrap_or(0);
        let Some(stable) = self.partition(topic, partition).map(|log| log.last_stable_offset()) else {
            return Vec::new();
        };
        let start = self.random.random_range(committed.min(stable)..=stable);
        let Some(log) = self.partition(topic, partition) else {
            return Vec::new();
        };
        let lost = log.history().map(|(offset, _)| offset);
        let lost = lost.filter(|offset| (committed..start).contains(offset)).collect();
        log.remove_before(start);
        lost
    }

    /// One cleaning of a random compacted partition.
    pub fn compact_somewhere(&mut self, tombstone_ms: i64) {
        let names: Vec<String> = self
            .topics
            .iter()
            .filter(|(_, topic)| topic.compacted)
            .map(|(name, _)| name.clone())
            .collect();
        let Some(name) = names.choose(&mut self.random) else {
            return;
        };
        let Some(topic) = self.topics.get_mut(name) else { return };
        let index = self.random.random_range(0..topic.partitions.len());
        let partition = &mut topic.partitions[index];
        let dirty_point = self.random.random_range(0..=partition.high_watermark());
        partition.compact(dirty_point, self.now_ms, tombstone_ms);
    }
}
