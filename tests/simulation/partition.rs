//! One partition of the simulated log: records and control records, what is still open, what was cleaned away.

use forbear::intake::source::Headers;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// One record, without its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Of the transaction that this producer has not ended yet.
    Open(u64),
    Committed,
    Aborted,
}

#[derive(Debug, Clone)]
pub struct Slot {
    pub offset: i64,
    pub fate: Fate,
    /// None: a control record. Nobody sees it, and it takes an offset.
    pub data: Option<Data>,
    /// When a tombstone was first left as the newest of its key by a cleaning.
    cleaned_at_ms: Option<i64>,
}

/// Offsets never move; cleaning leaves holes.
#[derive(Debug, Default)]
pub struct Partition {
    slots: VecDeque<Slot>,
    start: i64,
    next: i64,
    /// First offset of each transaction that is open here.
    open: BTreeMap<u64, i64>,
    /// What retention removed, for the audit.
    removed: Vec<Slot>,
}

impl Partition {
    /// First offset that can be read.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The end as a read-uncommitted client sees it.
    pub fn high_watermark(&self) -> i64 {
        self.next
    }

    /// The end as a read-committed client sees it: nothing at or after the first open record is stable.
    pub fn last_stable_offset(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.next)
    }

    pub fn append(&mut self, producer: Option<u64>, data: Data) -> i64 {
        let offset = self.next;
        if let Some(producer) = producer {
            self.open.entry(producer).or_insert(offset);
        }
        let fate = producer.map_or(Fate::Committed, Fate::Open);
        self.slots.push_back(Slot {
            offset,
            fate,
            data: Some(data),
            cleaned_at_ms: None,
        });
        self.next += 1;
        offset
    }

    /// Writes the control record that ends a producer's transaction here.
    pub fn end_transaction(&mut self, producer: u64, commit: bool) {
        let Some(first) = self.open.remove(&producer) else {
            return;
        };
        let fate = if commit { Fate::Committed } else { Fate::Aborted };
        let from = self.index_of(first);
        for slot in self
            .slots
            .iter_mut()
            .skip(from)
            .filter(|slot| slot.fate == Fate::Open(producer))
        {
            slot.fate = fate;
        }
        self.slots.push_back(Slot {
            offset: self.next,
            fate,
            data: None,
            cleaned_at_ms: None,
        });
        self.next += 1;
    }

    fn index_of(&self, offset: i64) -> usize {
        self.slots.partition_point(|slot| slot.offset < offset)
    }

    /// Committed records from `from` on, at most `most`, and the position after them. Where everything stable was
    /// delivered the position is the last stable offset, past control records and aborted ones.
    pub fn read_committed(&self, from: i64, most: usize) -> (Vec<(i64, &Data)>, i64) {
        let end = self.last_stable_offset();
        let mut records = Vec::new();
        for slot in self.slots.range(self.index_of(from)..) {
            if slot.offset >= end {
                break;
            }
            if records.len() == most {
                return (records, slot.offset);
            }
            if let (Fate::Committed, Some(data)) = (slot.fate, &slot.data) {
                records.push((slot.offset, data));
            }
        }
        (records, end.max(from))
    }

    /// Keys of everything that is there, whatever became of it.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        let data = self.slots.iter().filter_map(|slot| slot.data.as_ref());
        data.filter_map(|data| data.key.clone()).collect()
    }

    /// Everything that was ever committed, also what retention removed.
    pub fn history(&self) -> impl Iterator<Item = (i64, &Data)> {
        let all = self.removed.iter().chain(&self.slots);
        all.filter(|slot| slot.fate == Fate::Committed)
            .filter_map(|slot| Some((slot.offset, slot.data.as_ref()?)))
    }

    /// What can still be read, and what nobody sees, in order.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Retention: the log starts at `offset` afterwards (never past what is stable).
    pub fn remove_before(&mut self, offset: i64) {
        let offset = offset.min(self.last_stable_offset());
        while self.slots.front().is_some_and(|slot| slot.offset < offset) {
            self.removed.extend(self.slots.pop_front());
        }
        self.start = self.start.max(offset);
    }

    /// Cleans below `dirty_point` as a compacted topic is cleaned: of each key only the newest record stays; aborted
    /// records go; control records go once nothing before them needs them; a tombstone goes in a cleaning that is
    /// `tombstone_ms` later than the one that first left it alone.
    pub fn compact(&mut self, dirty_point: i64, now_ms: i64, tombstone_ms: i64) {
        // The newest record is in the active segment, which is never cleaned.
        let below = dirty_point.min(self.last_stable_offset()).min(self.next - 1);
        let mut newest: HashMap<Vec<u8>, i64> = HashMap::new();
        for slot in self
            .slots
            .iter()
            .filter(|slot| slot.fate == Fate::Committed && slot.offset < below)
        {
            if let Some(key) = slot.data.as_ref().and_then(|data| data.key.clone()) {
                newest.insert(key, slot.offset);
            }
        }
        self.slots.retain_mut(|slot| {
            if slot.offset >= below {
                return true;
            }
            let Some(data) = slot.data.as_ref().filter(|_| slot.fate == Fate::Committed) else {
                return false;
            };
            if data
                .key
                .as_ref()
                .is_none_or(|key| newest.get(key) != Some(&slot.offset))
            {
                return false;
            }
            if data.value.is_some() {
                return true;
            }
            let since_ms = *slot.cleaned_at_ms.get_or_insert(now_ms);
            now_ms.saturating_sub(since_ms) < tombstone_ms
        });
    }
}
