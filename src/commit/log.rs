//! The producing half of the log and the changelog reader, as the task loop sees them. Implemented on Kafka
//! (`commit::kafka`) and by the in-memory log of the simulation tests.

use crate::intake::source::{Headers, Source, TopicIndex};
use crate::message::Name;
use std::time::Duration;

/// One record to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    pub topic: Name,
    /// None: by murmur2 of the key.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
    /// The input record's own time where the record travels on; none: the time of the append.
    pub timestamp_ms: Option<i64>,
}

/// An input position to commit: the next unprocessed offset, and `seq` and lineage of the marker in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommit {
    pub topic: TopicIndex,
    pub partition: i32,
    pub offset: i64,
    pub metadata: String,
}

/// Everything that becomes true at once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction {
    pub records: Vec<Outgoing>,
    pub offsets: Vec<OffsetCommit>,
}

/// Anything but a clean commit. After it the producer is dropped, always, and every task of the worker recovers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another producer holds this transactional id: the process has to end.
    #[error("fenced: {0}")]
    Fenced(String),
    /// The outcome may be committed, aborted or unknown: recovery finds out.
    #[error("{0}")]
    Uncertain(String),
    /// The cluster does not allow it: no record's fault, and it may be allowed at any time. Says which right is missing.
    #[error("{0}")]
    Forbidden(String),
    /// The broker (or the client) refuses a record of the transaction as it is: it will fail again.
    #[error("{0}")]
    Refused(String),
}

/// A transactional producer. One transaction at a time, from begin to end inside `commit`.
pub trait Producer {
    /// Who commits: member and generation, as they were at the assignment.
    type Group;
    /// Begin, produce, send offsets, commit. Returns the next changelog offset for each partition of `state_topic` that
    /// the transaction wrote to (offset of the last record + 1).
    fn commit(
        &mut self,
        transaction: &Transaction,
        group: &Self::Group,
        state_topic: &str,
    ) -> Result<Vec<(i32, i64)>, CommitError>;
    /// How much of the newest commit went into handing the records to the client, for the metric; none where that is no
    /// step of its own.
    fn handed_over_in(&self) -> Duration {
        Duration::ZERO
    }
}

/// One changelog record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangelogEntry {
    pub offset: i64,
    pub key: Vec<u8>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What a changelog poll brings for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangelogPolled {
    Entry(ChangelogEntry),
    /// Everything stable below has been delivered.
    End(i64),
    /// The position asked for is outside the log.
    OutOfRange,
}

/// Reads changelog partitions (`read_committed`) for restores.
pub trait Changelog {
    /// First offset that is there, and the high watermark as a read-uncommitted client sees it, asked now.
    fn bounds(&mut self, partition: i32) -> Result<(i64, i64), crate::intake::source::SourceError>;
    /// Starts (or moves) reading of one partition.
    fn open(&mut self, partition: i32, from: i64) -> Result<(), crate::intake::source::SourceError>;
    /// Stops reading of it.
    fn close(&mut self, partition: i32);
    /// Appends what is there of any open partition, at most `most` records; waits at most `wait` for the first.
    fn poll(
        &mut self,
        into: &mut Vec<(i32, ChangelogPolled)>,
        most: usize,
        wait: Duration,
    ) -> Result<(), crate::intake::source::SourceError>;
}

/// One worker's way to the log.
pub trait Log {
    /// Reads the inputs.
    type Source: Source;
    /// Writes transactions.
    type Producer: Producer<Group = <Self::Source as Source>::Group>;
    /// Reads changed state back.
    type Changelog: Changelog;
    /// Joins the group.
    fn source(&mut self) -> Result<Self::Source, crate::intake::source::SourceError>;
    /// A new transactional producer: bumps the epoch, settles what its predecessor left open, fences it.
    fn producer(&mut self) -> Result<Self::Producer, CommitError>;
    /// A reader of the changelog, outside the group.
    fn changelog(&mut self) -> Result<Self::Changelog, crate::intake::source::SourceError>;
}
