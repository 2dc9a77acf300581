//! The consuming half of the log, as the task loop sees it. The Kafka client implements it (`intake::kafka`), and so does
//! the in-memory log of the simulation tests: the loop is the same code on both.

use crate::message::Name;
use std::time::Duration;

/// Index into [`Inputs::topics`].
pub type TopicIndex = u16;

/// Record headers, in order; names may repeat.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// What an input topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InputKind {
    Intents,
    Engagement,
    /// Strays on their way to the partition that owns the customer: intents and engagement events alike.
    Reroute,
}

/// The input topics in one fixed order: intents (the first one is the subscribed one), engagement, re-route.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub topics: Vec<(Name, InputKind)>,
    /// The one partition count of all inputs and of the state topic.
    pub partition_count: i32,
}

/// One record of an input topic, as received.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub topic: TopicIndex,
    pub partition: i32,
    pub offset: i64,
    /// UTC milliseconds; the time of the append or of the producer, as the topic is set.
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

/// One thing that a poll brings.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled {
    Record(Record),
    /// Everything stable below `offset` has been delivered (control records included).
    End {
        topic: TopicIndex,
        partition: i32,
        offset: i64,
    },
    /// The position to fetch from is outside the log: retention passed it, or the topic is another one.
    OutOfRange {
        topic: TopicIndex,
        partition: i32,
    },
}

/// What the group (or the client) has to say since it was last asked.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceEvent {
    /// Partition numbers that are now this worker's. Has to be answered with [`Source::hold`].
    Assigned(Vec<i32>),
    /// Partition numbers that go away. Has to be answered with [`Source::release`]; `lost`: somebody may own them already.
    Revoked { partitions: Vec<i32>, lost: bool },
    /// The cluster does not allow it to join; the client goes on trying. Says which right is missing, or what is wrong.
    Forbidden(String),
    /// The cluster does not allow an input to be read any more, and which right is missing; or it allows all of them again.
    ReadingForbidden(Option<String>),
    /// Another member took this identity: the process has to end.
    Fenced(String),
    /// The client cannot go on: the process has to end (and be started again).
    Fatal(String),
}

/// A committed offset with its metadata string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub metadata: String,
}

/// Why a call to the log failed. Nothing here is ever ignored: the caller retries, or the partition is blocked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("{0}")]
    Transient(String),
    #[error("fenced: {0}")]
    Fenced(String),
    #[error("{0}")]
    Fatal(String),
}

/// Where to start reading one input partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    Beginning,
    Offset(i64),
}

/// The consuming half of one worker's connection.
///
/// Lifecycle of a partition number: assigned → held (owned, nothing is fetched) → started (fetching every input, or every
/// input but the intents) → held or released. No call runs callbacks: what the group decides arrives as [`SourceEvent`], and takes effect when the
/// worker answers it, so nothing is ever revoked in the middle of a batch.
pub trait Source {
    /// Snapshot of the group membership, taken when an assignment is answered; goes into every commit of that assignment.
    type Group: Clone;

    /// Serves the group and returns what happened. Blocks at most `wait`.
    fn events(&mut self, wait: Duration) -> Vec<SourceEvent>;
    /// Answers [`SourceEvent::Assigned`].
    fn hold(&mut self, partitions: &[i32]) -> Result<(), SourceError>;
    /// Answers [`SourceEvent::Revoked`]; whatever was fetched of them is dropped.
    fn release(&mut self, partitions: &[i32]) -> Result<(), SourceError>;
    /// The membership as of the newest answered assignment.
    fn group(&mut self) -> Result<Self::Group, SourceError>;
    /// Starts fetching every input topic of a held partition, at one position a topic (in the order of the inputs).
    fn start(&mut self, partition: i32, positions: &[StartAt]) -> Result<(), SourceError>;
    /// Back to held; whatever was fetched is dropped.
    fn stop(&mut self, partition: i32) -> Result<(), SourceError>;
    /// Appends engagement and re-routed records that are there; waits at most `wait` for the first.
    fn poll_engagement(&mut self, into: &mut Vec<Polled>, most: usize, wait: Duration) -> Result<(), SourceError>;
    /// Appends intents that are there; waits at most `wait` for the first.
    fn poll_intents(&mut self, into: &mut Vec<Polled>, most: usize, wait: Duration) -> Result<(), SourceError>;
    /// The ends of these input partitions now, asked of their leaders (never cached): everything that was appended lies
    /// below, also what stands in (or behind) a transaction that is still open. One answer each, in their order: a partition
    /// that cannot be asked says why, and must not keep the others waiting.
    fn ends(&mut self, of: &[(TopicIndex, i32)]) -> Result<Vec<Result<i64, String>>, SourceError>;
    /// Fetches no more intents of a started partition, and goes on with its other inputs; or goes on with all of them.
    fn pause_intents(&mut self, partition: i32, paused: bool) -> Result<(), SourceError>;
    /// The group's committed offsets, waiting for open transactions to settle (`require_stable`).
    fn committed(&mut self, of: &[(TopicIndex, i32)]) -> Result<Vec<Option<Committed>>, SourceError>;
    /// Gives the seat in the group up, so that others take over at once. The source is dropped after it.
    fn leave(&mut self) {}
}
