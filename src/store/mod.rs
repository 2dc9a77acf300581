//! The store of one partition: RocksDB on disk ([`rocks`]), and the interface that the task loop sees.
//!
//! Invariants that the rest of the system leans on:
//! * a store is always exactly at one position of its changelog: data, due hints and [`StoreMeta`] change in one write;
//! * a store is never ahead of the committed log (the caller writes after the commit), so a store that went back in time
//!   (power loss, a torn write-ahead log) is merely behind: the changelog's tail brings it up again;
//! * a store that cannot be trusted is never read from: it is set aside and a fresh one is started.

pub mod identity;
pub mod keys;
pub mod memory;
mod options;
pub mod rocks;
mod rocks_store;

pub use options::StoreSettings;

/// What a value says about time: the instant at which its customer has to be looked at, and the customer's id. Given to
/// the stores at construction (`customer::keys::due_of`), so that this room knows nothing of the values.
pub type DueOf = for<'a> fn(key: &'a [u8], value: &[u8]) -> Option<(i64, &'a str)>;

/// One value to be written; none deletes.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// What the store says about itself: written in the same batch as the data that it describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreMeta {
    /// Next changelog offset to apply: everything below is in the store.
    pub changelog_position: i64,
    /// Wall clock of the newest write, for the age check.
    pub last_applied_ms: i64,
}

/// Whose state it is. A store with another identity is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Of the Kafka cluster.
    pub cluster_id: String,
    /// The changelog topic.
    pub state_topic: String,
    /// The partition number.
    pub partition: i32,
    /// Of the state topic, and so of every input.
    pub partition_count: i32,
}

/// Why a store call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space, no permission: goes on by itself when the cause is gone.
    #[error("{0}")]
    Unavailable(String),
    /// The bytes are wrong: the store is set aside and rebuilt.
    #[error("{0}")]
    Corrupt(String),
}

/// One partition's store. Keys are the ones of `customer::keys`; the store keeps its own bookkeeping under keys of its own.
pub trait Store {
    /// The value as of the newest write; none: not there.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// One atomic write: the changes, the due hints that they imply (`customer::keys::due_of`), the meta.
    ///
    /// After a failed write the store answers every further write with an error, until it is dropped and opened again:
    /// the one recovery path, which continues from the position that the disk really holds.
    fn write(&mut self, changes: &[Change], meta: &StoreMeta) -> Result<(), StoreError>;
    /// Of the newest write; none: nothing was ever written.
    fn meta(&self) -> Option<StoreMeta>;
    /// Due hints at or before `until_ms`, earliest first, at most `most`: (due, customer id). Hints may be stale.
    fn due(&self, until_ms: i64, most: usize) -> Result<Vec<(i64, String)>, StoreError>;
    /// Due hints after that one (none: from the first), earliest first, at most `most`: to walk the whole queue.
    fn hints_after(&self, after: Option<&(i64, String)>, most: usize) -> Result<Vec<(i64, String)>, StoreError>;
    /// Removes hints that turned out stale (or were served). Only after the write that made them so: a hint that is
    /// removed before is lost when that write never happens.
    fn forget_due(&mut self, hints: &[(i64, String)]) -> Result<(), StoreError>;
}

/// Opens and sets aside the stores of a process.
pub trait Stores {
    /// What `open` gives out.
    type Store: Store;
    /// Opens the partition's store; an unusable one (corrupt, of another identity or format, older than
    /// `trusted_since_ms`) is set aside first, with one log line.
    fn open(&mut self, identity: &StoreIdentity, trusted_since_ms: i64) -> Result<Self::Store, StoreError>;
    /// Moves the partition's store out of the way, so that the next `open` starts an empty one. The store has to be
    /// dropped before. `why` is one word for the file name and the log line.
    fn set_aside(&mut self, partition: i32, why: &str) -> Result<(), StoreError>;
}

/// What a store tells about itself, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreFigures {
    /// The partition number.
    pub partition: i32,
    /// Size of the store's files.
    pub disk_bytes: u64,
    /// Keys, as the database estimates them: bookkeeping counts too, overwritten keys count until they are compacted.
    pub estimated_keys: u64,
    /// Memory held by writes that are not in a table file yet.
    pub memtable_bytes: u64,
    /// What compaction still has to rewrite.
    pub pending_compaction_bytes: u64,
    /// Errors of flushes and compactions since the store was opened.
    pub background_errors: u64,
}
