//! The topics as the audit sees them: partitions that can be measured and read from one offset to another, in order.
//!
//! Kafka is behind it in `cli::audit`; [`MemoryLogs`] serves tests and the simulation.

use std::collections::{BTreeMap, VecDeque};

/// A header: name and value.
pub type Header = (String, Option<Vec<u8>>);
/// Record headers, in order; names may repeat.
pub type Headers = Vec<Header>;

/// One record, as a reader of committed records gets it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogRecord {
    pub offset: i64,
    /// UTC milliseconds.
    pub timestamp_ms: i64,
    /// The time is that of the append, and not the producer's.
    pub has_append_time: bool,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The first offset that retention has left.
    pub first: i64,
    /// The offset behind the last one.
    pub end: i64,
}

/// Why an audit ends before it is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Failed(String),
}

/// A cluster's topics.
pub trait Logs {
    type Cursor: Cursor;
    /// How many partitions a topic has; none: it does not exist.
    ///
    /// # Errors
    /// No answer.
    fn partitions(&mut self, topic: &str) -> Result<Option<i32>, Halt>;
    /// Everything below this end is decided: no transaction is open there.
    ///
    /// # Errors
    /// No answer.
    fn settled(&mut self, topic: &str, partition: i32) -> Result<Bounds, Halt>;
    /// Everything that was appended lies below this end.
    ///
    /// # Errors
    /// No answer.
    fn appended(&mut self, topic: &str, partition: i32) -> Result<Bounds, Halt>;
    /// Opens `from <= offset < until`.
    ///
    /// # Errors
    /// It cannot be read.
    fn open(&mut self, topic: &str, partition: i32, from: i64, until: i64) -> Result<Self::Cursor, Halt>;
}

/// A stretch of a partition that is being read.
pub trait Cursor {
    /// The next committed record; none: the stretch is over, and nothing of it is missing.
    ///
    /// # Errors
    /// It cannot be read on.
    fn next(&mut self) -> Result<Option<LogRecord>, Halt>;
}

/// Topics in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryLogs {
    /// By topic and partition: the first offset, and the records in order. The end is behind the last record.
    pub topics: BTreeMap<String, Vec<(i64, Vec<LogRecord>)>>,
}

impl MemoryLogs {
    /// Makes an empty topic, where there is none.
    pub fn create(&mut self, topic: &str, partitions: usize) {
        let empty = || vec![(0, Vec::new()); partitions];
        self.topics.entry(topic.to_owned()).or_insert_with(empty);
    }

    /// Appends a record; answers its offset, or none where the partition does not exist.
    pub fn append(&mut self, topic: &str, partition: usize, record: LogRecord) -> Option<i64> {
        let (first, records) = self.topics.get_mut(topic)?.get_mut(partition)?;
        let offset = records.last().map_or(*first, |last| last.offset + 1);
        records.push(LogRecord { offset, ..record });
        Some(offset)
    }

    fn partition(&self, topic: &str, partition: i32) -> Result<&(i64, Vec<LogRecord>), Halt> {
        let found = usize::try_from(partition)
            .ok()
            .and_then(|index| self.topics.get(topic)?.get(index));
        found.ok_or_else(|| Halt::Failed(format!("{topic}/{partition} does not exist")))
    }
}

impl Logs for MemoryLogs {
    type Cursor = MemoryCursor;

    fn partitions(&mut self, topic: &str) -> Result<Option<i32>, Halt> {
        let count = self.topics.get(topic).map(Vec::len);
        Ok(count.and_then(|count| i32::try_from(count).ok()))
    }

    fn settled(&mut self, topic: &str, partition: i32) -> Result<Bounds, Halt> {
        self.appended(topic, partition)
    }

    fn appended(&mut self, topic: &str, partition: i32) -> Result<Bounds, Halt> {
        let (first, records) = self.partition(topic, partition)?;
        Ok(Bounds {
            first: *first,
            end: records.last().map_or(*first, |last| last.offset + 1),
        })
    }

    fn open(&mut self, topic: &str, partition: i32, from: i64, until: i64) -> Result<MemoryCursor, Halt> {
        let (_, records) = self.partition(topic, partition)?;
        let inside = records.iter().filter(|record| (from..until).contains(&record.offset));
        Ok(MemoryCursor(inside.cloned().collect()))
    }
}

/// A stretch in memory.
pub struct MemoryCursor(VecDeque<LogRecord>);

impl Cursor for MemoryCursor {
    fn next(&mut self) -> Result<Option<LogRecord>, Halt> {
        Ok(self.0.pop_front())
    }
}
