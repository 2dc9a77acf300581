//! One partition's store in RocksDB: reads, the one atomic write, the due index.

use super::identity::{self, Distrust};
use super::keys::{self, check_foreign};
use super::rocks::{Shared, classify};
use super::{Change, Store, StoreError, StoreIdentity, StoreMeta};
use rocksdb::{DB, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

/// One partition's store, owned by one worker.
pub struct RocksStore {
    partition: i32,
    database: Arc<DB>,
    shared: Arc<Shared>,
    write_options: WriteOptions,
    meta: Option<StoreMeta>,
    /// No hint is earlier. Saves the scan in most batches, and keeps it from wading through hints that were deleted.
    earliest_due_ms: Cell<i64>,
    /// The first failure of a write: what the disk holds since is known only after it was opened again.
    failed: Option<StoreError>,
}

/// What came of a database that RocksDB could open.
pub(super) enum Opened {
    Usable(RocksStore),
    Distrusted(Distrust, String),
}

/// Checks whose state it is, or makes it ours if it is empty.
pub(super) fn prepare(
    database: DB,
    shared: Arc<Shared>,
    wanted: &StoreIdentity,
    trusted_since_ms: i64,
) -> Result<Opened, StoreError> {
    let meta = database
        .get(keys::META)
        .map_err(classify)?
        .map(|bytes| keys::decode_meta(&bytes));
    match database.get(keys::IDENTITY).map_err(classify)? {
        Some(found) => {
            // The identity speaks first: a later format may keep its meta differently.
            let known = meta.as_ref().and_then(|meta| meta.as_ref().ok());
            if let Err((why, detail)) = identity::examine(&found, known, wanted, trusted_since_ms) {
                return Ok(Opened::Distrusted(why, detail));
            }
        }
        None => {
            if let Some(first) = database.iterator(IteratorMode::Start).next() {
                first.map_err(classify)?;
                return Ok(Opened::Distrusted(Distrust::Corrupt, "it has no identity".to_string()));
            }
            let mut durable = WriteOptions::default();
            durable.set_sync(true);
            database
                .put_opt(keys::IDENTITY, identity::encode(wanted)?, &durable)
                .map_err(classify)?;
        }
    }
    let mut write_options = WriteOptions::default();
    write_options.disable_wal(!shared.wal());
    Ok(Opened::Usable(RocksStore {
        partition: wanted.partition,
        database: Arc::new(database),
        shared,
        write_options,
        meta: meta.transpose()?,
        earliest_due_ms: Cell::new(i64::MIN),
        failed: None,
    }))
}

impl RocksStore {
    pub(super) fn database(&self) -> &Arc<DB> {
        &self.database
    }

    fn commit(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let outcome = self.database.write_opt(batch, &self.write_options).map_err(classify);
        self.failed = outcome.clone().err();
        outcome
    }

    /// Hints are sorted by time, so finding somebody's means looking at all of them: once for all who are forgotten, which is
    /// seldom.
    fn delete_hints_of(&self, forgotten: &HashSet<&str>, batch: &mut WriteBatch) -> Result<(), StoreError> {
        if forgotten.is_empty() {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(keys::due_prefix(i64::MIN));
        options.set_iterate_upper_bound(keys::due_end());
        for entry in self.database.iterator_opt(IteratorMode::Start, options) {
            let (key, _) = entry.map_err(classify)?;
            let (_, customer_id) = keys::parse_due_key(&key)?;
            if forgotten.contains(customer_id.as_str()) {
                batch.delete(&key);
            }
        }
        Ok(())
    }

    fn check_not_failed(&self) -> Result<(), StoreError> {
        match &self.failed {
            None => Ok(()),
            Some(StoreError::Corrupt(text)) => Err(StoreError::Corrupt(text.clone())),
            Some(StoreError::Unavailable(text)) => Err(StoreError::Unavailable(format!(
                "an earlier write failed, the store has to be opened again: {text}"
            ))),
        }
    }
}

impl Store for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(key).map_err(classify)
    }

    fn write(&mut self, changes: &[Change], meta: &StoreMeta) -> Result<(), StoreError> {
        self.check_not_failed()?;
        let due_of = self.shared.due_of();
        let mut earliest_due_ms = self.earliest_due_ms.get();
        let mut batch = WriteBatch::default();
        let mut forgotten = HashSet::new();
        for (key, value) in changes {
            check_foreign(key)?;
            let Some(value) = value else {
                batch.delete(key);
                forgotten.extend(keys::forgotten_by_deleting(key));
                continue;
            };
            batch.put(key, value);
            if let Some((due_ms, customer_id)) = due_of(key, value) {
                batch.put(keys::due_key(due_ms, customer_id), b"");
                earliest_due_ms = earliest_due_ms.min(due_ms);
            }
        }
        self.delete_hints_of(&forgotten, &mut batch)?;
        batch.put(keys::META, keys::encode_meta(meta));
        self.commit(batch)?;
        self.earliest_due_ms.set(earliest_due_ms);
        self.meta = Some(meta.clone());
        Ok(())
    }

    fn meta(&self) -> Option<StoreMeta> {
        self.meta.clone()
    }

    fn due(&self, until_ms: i64, most: usize) -> Result<Vec<(i64, String)>, StoreError> {
        let mut due = Vec::new();
        if self.earliest_due_ms.get() > until_ms || most == 0 {
            return Ok(due);
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(keys::due_prefix(self.earliest_due_ms.get()));
        options.set_iterate_upper_bound(keys::due_end());
        // The first hint that is there says where the next scan begins.
        let mut earliest_ms = None;
        for entry in self.database.iterator_opt(IteratorMode::Start, options) {
            let (key, _) = entry.map_err(classify)?;
            let hint = keys::parse_due_key(&key)?;
            earliest_ms.get_or_insert(hint.0);
            if hint.0 > until_ms || due.len() >= most {
                break;
            }
            due.push(hint);
        }
        self.earliest_due_ms.set(earliest_ms.unwrap_or(i64::MAX));
        Ok(due)
    }

    fn hints_after(&self, after: Option<&(i64, String)>, most: usize) -> Result<Vec<(i64, String)>, StoreError> {
        let from = after.map_or_else(|| keys::due_prefix(i64::MIN), |(due_ms, id)| keys::due_key(*due_ms, id));
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(keys::due_end());
        let mut hints = Vec::new();
        for entry in self.database.iterator_opt(IteratorMode::Start, options) {
            let (key, _) = entry.map_err(classify)?;
            let hint = keys::parse_due_key(&key)?;
            if Some(&hint) == after {
                continue;
            }
            if hints.len() >= most {
                break;
            }
            hints.push(hint);
        }
        Ok(hints)
    }

    fn forget_due(&mut self, hints: &[(i64, String)]) -> Result<(), StoreError> {
        self.check_not_failed()?;
        if hints.is_empty() {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        for (due_ms, customer_id) in hints {
            batch.delete(keys::due_key(*due_ms, customer_id));
        }
        self.commit(batch)
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.shared.closed(self.partition);
    }
}
