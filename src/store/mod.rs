//! The store of one partition: RocksDB on disk, and the interface that the task loop sees.

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
    pub cluster_id: String,
    pub state_topic: String,
    pub partition: i32,
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
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// One atomic write: the changes, the due hints that they imply (`customer::keys::due_of`), the meta.
    fn write(&mut self, changes: &[Change], meta: &StoreMeta) -> Result<(), StoreError>;
    fn meta(&self) -> Option<StoreMeta>;
    /// Due hints at or before `until_ms`, earliest first, at most `most`: (due, customer id). Hints may be stale.
    fn due(&self, until_ms: i64, most: usize) -> Result<Vec<(i64, String)>, StoreError>;
    /// Removes hints that turned out stale (or were served).
    fn forget_due(&mut self, hints: &[(i64, String)]) -> Result<(), StoreError>;
}

/// Opens and sets aside the stores of a process.
pub trait Stores {
    type Store: Store;
    /// Opens the partition's store; an unusable one (corrupt, of another identity or format, older than
    /// `trusted_since_ms`) is set aside first, with one log line.
    fn open(&mut self, identity: &StoreIdentity, trusted_since_ms: i64) -> Result<Self::Store, StoreError>;
    /// Moves the partition's store out of the way, so that the next `open` starts an empty one.
    fn set_aside(&mut self, partition: i32, why: &str) -> Result<(), StoreError>;
}
