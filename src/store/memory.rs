//! Stores in memory, for deterministic simulation: ordered maps, no clock, no disk.
//!
//! [`MemoryStores`] is a handle on a "disk" that outlives a simulated crash: drop every [`MemoryStore`], keep the handle,
//! open again. Tests take and put back copies of a partition (a stale store, a wiped one) and make calls fail.

use super::identity;
use super::keys::{check_foreign, forgotten_by_deleting};
use super::{Change, DueOf, Store, StoreError, StoreIdentity, StoreMeta, Stores};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything that one partition's store holds: compare it, copy it, put it back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemorySnapshot {
    /// The identity's bytes; a test may spoil them.
    pub identity: Vec<u8>,
    /// Of the newest write.
    pub meta: Option<StoreMeta>,
    /// The customers' values.
    pub values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The due hints.
    pub due: BTreeSet<(i64, String)>,
}

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryCall {
    /// [`Stores::open`].
    Open,
    /// [`Store::get`] and [`Store::due`].
    Read,
    /// [`Store::write`] and [`Store::forget_due`].
    Write,
}

type Disk = Arc<Mutex<MemorySnapshot>>;

#[derive(Default)]
struct Shared {
    disks: BTreeMap<i32, Disk>,
    faults: BTreeMap<(i32, MemoryCall), VecDeque<StoreError>>,
    set_aside: Vec<(i32, String)>,
}

/// The stores of one simulated process (or of its disk).
#[derive(Clone)]
pub struct MemoryStores {
    shared: Arc<Mutex<Shared>>,
    due_of: DueOf,
}

/// One partition's store.
pub struct MemoryStore {
    partition: i32,
    shared: Arc<Mutex<Shared>>,
    disk: Disk,
    due_of: DueOf,
    failed: Option<StoreError>,
}

impl MemoryStores {
    /// An empty disk.
    pub fn new(due_of: DueOf) -> Self {
        MemoryStores {
            shared: Arc::default(),
            due_of,
        }
    }

    /// A copy of what a partition holds now.
    pub fn snapshot(&self, partition: i32) -> Option<MemorySnapshot> {
        let disk = lock(&self.shared).disks.get(&partition).cloned();
        disk.map(|disk| lock(&disk).clone())
    }

    /// Puts a copy in place of what the partition holds. Stores that are still open keep the old one.
    pub fn put_back(&self, partition: i32, snapshot: MemorySnapshot) {
        lock(&self.shared)
            .disks
            .insert(partition, Arc::new(Mutex::new(snapshot)));
    }

    /// Removes a partition's store, as `rm -r` does.
    pub fn wipe(&self, partition: i32) {
        lock(&self.shared).disks.remove(&partition);
    }

    /// Makes the next such call on the partition fail with `error`. Several queue up.
    pub fn fail_next(&self, partition: i32, call: MemoryCall, error: StoreError) {
        lock(&self.shared)
            .faults
            .entry((partition, call))
            .or_default()
            .push_back(error);
    }

    /// What was set aside so far: partition and why, oldest first.
    pub fn set_aside_so_far(&self) -> Vec<(i32, String)> {
        lock(&self.shared).set_aside.clone()
    }
}

impl Stores for MemoryStores {
    type Store = MemoryStore;

    fn open(&mut self, identity: &StoreIdentity, trusted_since_ms: i64) -> Result<MemoryStore, StoreError> {
        let mut shared = lock(&self.shared);
        shared.fault(identity.partition, MemoryCall::Open)?;
        if let Some(disk) = shared.disks.get(&identity.partition).cloned() {
            let found = lock(&disk);
            let verdict = identity::examine(&found.identity, found.meta.as_ref(), identity, trusted_since_ms);
            if let Err((why, _)) = verdict {
                shared.set_aside(identity.partition, why.word());
            }
        }
        let fresh = MemorySnapshot {
            identity: identity::encode(identity)?,
            ..MemorySnapshot::default()
        };
        let disk = shared
            .disks
            .entry(identity.partition)
            .or_insert_with(|| Arc::new(Mutex::new(fresh)));
        Ok(MemoryStore {
            partition: identity.partition,
            disk: disk.clone(),
            shared: self.shared.clone(),
            due_of: self.due_of,
            failed: None,
        })
    }

    fn set_aside(&mut self, partition: i32, why: &str) -> Result<(), StoreError> {
        lock(&self.shared).set_aside(partition, why);
        Ok(())
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        lock(&self.shared).fault(self.partition, MemoryCall::Read)?;
        Ok(lock(&self.disk).values.get(key).cloned())
    }

    fn write(&mut self, changes: &[Change], meta: &StoreMeta) -> Result<(), StoreError> {
        self.may_write()?;
        for (key, _) in changes {
            check_foreign(key)?;
        }
        let mut disk = lock(&self.disk);
        for (key, value) in changes {
            match value {
                Some(value) => {
                    disk.due
                        .extend((self.due_of)(key, value).map(|(due_ms, id)| (due_ms, id.to_string())));
                    disk.values.insert(key.clone(), value.clone());
                }
                None => {
                    disk.values.remove(key);
                    if let Some(forgotten) = forgotten_by_deleting(key) {
                        disk.due.retain(|(_, id)| id != forgotten);
                    }
                }
            }
        }
        disk.meta = Some(meta.clone());
        Ok(())
    }

    fn meta(&self) -> Option<StoreMeta> {
        lock(&self.disk).meta.clone()
    }

    fn due(&self, until_ms: i64, most: usize) -> Result<Vec<(i64, String)>, StoreError> {
        lock(&self.shared).fault(self.partition, MemoryCall::Read)?;
        let disk = lock(&self.disk);
        Ok(disk
            .due
            .iter()
            .take_while(|(due, _)| *due <= until_ms)
            .take(most)
            .cloned()
            .collect())
    }

    fn hints_after(&self, after: Option<&(i64, String)>, most: usize) -> Result<Vec<(i64, String)>, StoreError> {
        lock(&self.shared).fault(self.partition, MemoryCall::Read)?;
        let disk = lock(&self.disk);
        let hints = disk.due.iter().filter(|hint| after.is_none_or(|after| *hint > after));
        Ok(hints.take(most).cloned().collect())
    }

    fn forget_due(&mut self, hints: &[(i64, String)]) -> Result<(), StoreError> {
        self.may_write()?;
        let mut disk = lock(&self.disk);
        for hint in hints {
            disk.due.remove(hint);
        }
        Ok(())
    }
}

impl MemoryStore {
    fn may_write(&mut self) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let outcome = lock(&self.shared).fault(self.partition, MemoryCall::Write);
        self.failed = outcome.clone().err();
        outcome
    }
}

impl Shared {
    fn fault(&mut self, partition: i32, call: MemoryCall) -> Result<(), StoreError> {
        let fault = self.faults.get_mut(&(partition, call)).and_then(VecDeque::pop_front);
        fault.map_or(Ok(()), Err)
    }

    fn set_aside(&mut self, partition: i32, why: &str) {
        if self.disks.remove(&partition).is_some() {
            self.set_aside.push((partition, why.to_string()));
        }
    }
}

/// A panic in a test thread must not hide what the disk holds.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_of<'a>(key: &'a [u8], value: &[u8]) -> Option<(i64, &'a str)> {
        Some((i64::from(*value.first()?), std::str::from_utf8(key).ok()?))
    }

    fn identity() -> StoreIdentity {
        StoreIdentity {
            cluster_id: "c".to_string(),
            state_topic: "t".to_string(),
            partition: 1,
            partition_count: 2,
        }
    }

    fn meta(changelog_position: i64) -> StoreMeta {
        StoreMeta {
            changelog_position,
            last_applied_ms: changelog_position,
        }
    }

    #[test]
    fn state_outlives_a_crash_and_a_stale_copy_can_be_put_back() {
        let mut stores = MemoryStores::new(due_of);
        let mut store = stores.open(&identity(), 0).unwrap();
        store.write(&[(b"a".to_vec(), Some(vec![5]))], &meta(1)).unwrap();
        let stale = stores.snapshot(1).unwrap();
        store
            .write(&[(b"a".to_vec(), None), (b"b".to_vec(), Some(vec![3]))], &meta(2))
            .unwrap();
        drop(store);
        let store = stores.open(&identity(), 0).unwrap();
        assert_eq!((store.meta(), store.get(b"a").unwrap()), (Some(meta(2)), None));
        assert_eq!(
            store.due(9, 9).unwrap(),
            vec![(3, "b".to_string()), (5, "a".to_string())]
        );
        stores.put_back(1, stale);
        assert_eq!(stores.open(&identity(), 0).unwrap().meta(), Some(meta(1)));
        assert_eq!(stores.open(&identity(), 2).unwrap().meta(), None);
        assert_eq!(stores.set_aside_so_far(), vec![(1, "too-old".to_string())]);
    }

    #[test]
    fn a_customer_whose_head_is_deleted_is_named_by_no_hint_however_old() {
        use crate::customer::keys::head_key;
        let due_of_a_head: DueOf = |key, value| Some((i64::from(*value.first()?), forgotten_by_deleting(key)?));
        let mut store = MemoryStores::new(due_of_a_head).open(&identity(), 0).unwrap();
        for due in [7, 5] {
            let changes = [head_key("erased"), head_key("kept")].map(|key| (key, Some(vec![due])));
            store.write(&changes, &meta(1)).unwrap();
        }
        store.write(&[(head_key("erased"), None)], &meta(2)).unwrap();
        let kept = |at: i64| (at, "kept".to_string());
        assert_eq!(store.due(9, 9).unwrap(), [kept(5), kept(7)]);
    }

    #[test]
    fn a_failed_write_changes_nothing_and_the_store_has_to_be_opened_again() {
        let mut stores = MemoryStores::new(due_of);
        let mut store = stores.open(&identity(), 0).unwrap();
        let full = StoreError::Unavailable("full".to_string());
        stores.fail_next(1, MemoryCall::Write, full.clone());
        let change = [(b"a".to_vec(), Some(vec![5]))];
        assert_eq!(store.write(&change, &meta(1)), Err(full.clone()));
        assert_eq!(store.write(&change, &meta(1)), Err(full));
        assert_eq!(store.meta(), None);
        drop(store);
        let mut store = stores.open(&identity(), 0).unwrap();
        store.write(&change, &meta(1)).unwrap();
        assert_eq!(store.get(b"a").unwrap(), Some(vec![5]));
    }
}
