//! The stores of a process on disk: one RocksDB database for each partition.
//!
//! ```text
//! <state.directory>/LOCK                                   held by the process that uses the directory
//! <state.directory>/<partition>/                           the database
//! <state.directory>/<partition>.set-aside-<why>-<unix ms>/ the newest store that was not trusted, for a post-mortem
//! ```
//!
//! One database a partition, so that each can be corrupt, stale, set aside or handed over alone; block cache and memtable
//! budget are shared. Of the stores that were set aside only the newest of a partition is kept, so that they cannot fill
//! the disk.
//!
//! Failures name their recovery. [`StoreError::Corrupt`]: set aside and rebuild. [`StoreError::Unavailable`]: keep the
//! store, drop the handle and open again later. After a full disk RocksDB stops writing for good (its background error);
//! a new `open` succeeds once there is space and continues at the position that the disk holds.

use super::identity::Distrust;
use super::options::database_options;
pub use super::rocks_store::RocksStore;
use super::rocks_store::{self, Opened};
use super::{DueOf, StoreError, StoreFigures, StoreIdentity, StoreSettings, Stores};
use rocksdb::{Cache, DB, ErrorKind, Options, WriteBufferManager};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

/// The stores of one process. Clones share cache, memory budget and directory: one for each worker.
#[derive(Clone)]
pub struct RocksStores {
    shared: Arc<Shared>,
}

/// What the stores of a process have in common.
pub(super) struct Shared {
    settings: StoreSettings,
    due_of: DueOf,
    cache: Cache,
    options: Options,
    /// The lock on the directory, once it is ours.
    lock: Mutex<Option<File>>,
    /// The databases that are open, for their figures.
    open: Mutex<BTreeMap<i32, Weak<DB>>>,
}

impl RocksStores {
    /// Prepares the directory. It is locked at the first `open`, not here: a process that takes over from another one
    /// with the same identity has to start (and fence it) while the older one still holds the lock.
    pub fn new(settings: StoreSettings, due_of: DueOf) -> Result<Self, StoreError> {
        fs::create_dir_all(&settings.directory)
            .map_err(|error| in_directory(&settings.directory, "cannot be created", &error))?;
        let cache = Cache::new_lru_cache(settings.block_cache_bytes);
        let buffers = WriteBufferManager::new_write_buffer_manager(settings.write_buffers_total_bytes, false);
        let options = database_options(&settings, &cache, &buffers);
        Ok(RocksStores {
            shared: Arc::new(Shared {
                settings,
                due_of,
                cache,
                options,
                lock: Mutex::new(None),
                open: Mutex::default(),
            }),
        })
    }

    /// Figures of every store that is open, by partition. Cheap enough for every scrape.
    pub fn figures(&self) -> Vec<StoreFigures> {
        // The lock is held throughout: a store that is being dropped waits for it, so that no reader here can keep a
        // database open that its owner has given up.
        let open = lock(&self.shared.open);
        let databases = open
            .iter()
            .filter_map(|(partition, database)| Some((*partition, database.upgrade()?)));
        databases
            .map(|(partition, database)| figures_of(partition, &database))
            .collect()
    }

    /// Memory that the shared block cache uses now.
    pub fn block_cache_bytes(&self) -> u64 {
        u64::try_from(self.shared.cache.get_usage()).unwrap_or(u64::MAX)
    }
}

impl Stores for RocksStores {
    type Store = RocksStore;

    fn open(&mut self, wanted: &StoreIdentity, trusted_since_ms: i64) -> Result<RocksStore, StoreError> {
        self.shared.lock_directory()?;
        let directory = self.shared.directory_of(wanted.partition);
        let (why, detail) = match self.shared.try_open(&directory, wanted, trusted_since_ms)? {
            Ok(store) => return Ok(store),
            Err(distrusted) => distrusted,
        };
        let kept_as = self.shared.move_aside(wanted.partition, why.word())?;
        tracing::warn!(
            partition = wanted.partition,
            why = why.word(),
            detail,
            kept_as = kept_as.as_ref().map(|path| path.display().to_string()),
            "store set aside, the changelog rebuilds it"
        );
        match self.shared.try_open(&directory, wanted, trusted_since_ms)? {
            Ok(store) => Ok(store),
            Err((_, detail)) => Err(StoreError::Unavailable(format!(
                "a fresh store in {} is unusable: {detail}",
                directory.display()
            ))),
        }
    }

    fn set_aside(&mut self, partition: i32, why: &str) -> Result<(), StoreError> {
        self.shared.lock_directory()?;
        let kept_as = self.shared.move_aside(partition, why)?;
        if let Some(path) = kept_as {
            tracing::warn!(partition, why, kept_as = %path.display(), "store set aside, the changelog rebuilds it");
        }
        Ok(())
    }
}

impl Shared {
    fn directory_of(&self, partition: i32) -> PathBuf {
        self.settings.directory.join(partition.to_string())
    }

    pub(super) fn due_of(&self) -> DueOf {
        self.due_of
    }

    pub(super) fn wal(&self) -> bool {
        self.settings.wal
    }

    /// Called by a store that is being dropped, before it lets go of its database.
    pub(super) fn closed(&self, partition: i32) {
        lock(&self.open).remove(&partition);
    }

    /// One process a directory: another one's stores must never be moved or opened under its feet.
    fn lock_directory(&self) -> Result<(), StoreError> {
        let mut held = lock(&self.lock);
        if held.is_some() {
            return Ok(());
        }
        let directory = &self.settings.directory;
        fs::create_dir_all(directory).map_err(|error| in_directory(directory, "cannot be created", &error))?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join("LOCK"))
            .map_err(|error| in_directory(directory, "is not writable", &error))?;
        match file.try_lock() {
            Ok(()) => {
                *held = Some(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
                "state directory {} is in use by another process",
                directory.display()
            ))),
            Err(TryLockError::Error(error)) => Err(in_directory(directory, "cannot be locked", &error)),
        }
    }

    /// The outer result fails where waiting may help; the inner one where the store must not be used.
    #[allow(clippy::type_complexity)]
    fn try_open(
        self: &Arc<Self>,
        directory: &Path,
        wanted: &StoreIdentity,
        trusted_since_ms: i64,
    ) -> Result<Result<RocksStore, (Distrust, String)>, StoreError> {
        let database = match DB::open(&self.options, directory) {
            Ok(database) => database,
            Err(error) => return distrust(open_error(directory, error)),
        };
        match rocks_store::prepare(database, self.clone(), wanted, trusted_since_ms) {
            Ok(Opened::Usable(store)) => {
                lock(&self.open).insert(wanted.partition, Arc::downgrade(store.database()));
                Ok(Ok(store))
            }
            Ok(Opened::Distrusted(why, detail)) => Ok(Err((why, detail))),
            Err(error) => distrust(error),
        }
    }

    /// Renames the partition's directory and forgets older ones. None: there was nothing.
    fn move_aside(&self, partition: i32, why: &str) -> Result<Option<PathBuf>, StoreError> {
        let from = self.directory_of(partition);
        if lock(&self.open).contains_key(&partition) {
            return Err(StoreError::Unavailable(format!(
                "store {} is still open",
                from.display()
            )));
        }
        if !from.exists() {
            return Ok(None);
        }
        let prefix = format!("{partition}.set-aside-");
        let name = format!("{prefix}{}-{}", file_word(why), unix_ms());
        let to = self.settings.directory.join(name);
        self.remove_older(&prefix)?;
        fs::rename(&from, &to).map_err(|error| in_directory(&from, "cannot be set aside", &error))?;
        Ok(Some(to))
    }

    fn remove_older(&self, prefix: &str) -> Result<(), StoreError> {
        let directory = &self.settings.directory;
        let unreadable = |error| in_directory(directory, "cannot be read", &error);
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|error| in_directory(&path, "cannot be removed", &error))?;
            }
        }
        Ok(())
    }
}

/// What an error of RocksDB asks for. A file that is missing inside a database is damage, whatever its kind says.
pub(super) fn classify(error: rocksdb::Error) -> StoreError {
    let kind = error.kind();
    let text = error.into_string();
    match kind {
        ErrorKind::Corruption | ErrorKind::NotSupported | ErrorKind::InvalidArgument => StoreError::Corrupt(text),
        ErrorKind::IOError if text.contains("No such file or directory") => StoreError::Corrupt(text),
        _ => StoreError::Unavailable(text),
    }
}

fn open_error(directory: &Path, error: rocksdb::Error) -> StoreError {
    let text: &str = error.as_ref();
    if error.kind() == ErrorKind::IOError
        && (text.contains("lock hold by current process") || text.contains("While lock file"))
    {
        return StoreError::Unavailable(format!(
            "store {} is held by another owner: {text}",
            directory.display()
        ));
    }
    match classify(error) {
        corrupt @ StoreError::Corrupt(_) => corrupt,
        StoreError::Unavailable(text) => {
            StoreError::Unavailable(format!("store {} cannot be opened: {text}", directory.display()))
        }
    }
}

fn distrust<T>(error: StoreError) -> Result<Result<T, (Distrust, String)>, StoreError> {
    match error {
        StoreError::Corrupt(detail) => Ok(Err((Distrust::Corrupt, detail))),
        unavailable @ StoreError::Unavailable(_) => Err(unavailable),
    }
}

fn figures_of(partition: i32, database: &DB) -> StoreFigures {
    use rocksdb::properties::{
        BACKGROUND_ERRORS, CUR_SIZE_ALL_MEM_TABLES, ESTIMATE_NUM_KEYS, ESTIMATE_PENDING_COMPACTION_BYTES,
    };
    // A figure that cannot be had reads 0: metrics never fail a scrape.
    let property = |name| database.property_int_value(name).ok().flatten().unwrap_or(0);
    StoreFigures {
        partition,
        disk_bytes: directory_bytes(database.path()),
        estimated_keys: property(ESTIMATE_NUM_KEYS),
        memtable_bytes: property(CUR_SIZE_ALL_MEM_TABLES),
        pending_compaction_bytes: property(ESTIMATE_PENDING_COMPACTION_BYTES),
        background_errors: property(BACKGROUND_ERRORS),
    }
}

/// A database's directory has no directories of its own.
fn directory_bytes(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

fn in_directory(directory: &Path, what: &str, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("state directory {} {what}: {error}", directory.display()))
}

/// Only what is safe in a file name, and not too much of it.
fn file_word(why: &str) -> String {
    let safe = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    why.chars().take(40).map(safe).collect()
}

fn unix_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}

/// Nothing under these locks is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "rocks_tests.rs"]
mod tests;
