//! Stores of a process that can die in the middle: the engine's own stores in memory, with a crash or a full disk between
//! any two of their calls.

use super::client::Connection;
use super::faults::Chances;
use forbear::store::{Change, Store, StoreError, StoreIdentity, StoreMeta, Stores};

/// Stores that fail as the seed says.
pub struct FaultyStores<S> {
    inner: S,
    to: Connection,
}

pub struct FaultyStore<S> {
    inner: S,
    to: Connection,
    /// After a write that failed nothing more is written, as the interface promises.
    broken: bool,
}

impl<S> FaultyStores<S> {
    pub fn new(inner: S, to: Connection) -> Self {
        Self { inner, to }
    }
}

/// The process may die here; the disk may refuse.
fn step(to: &Connection) -> Result<(), StoreError> {
    to.disk_step(|chances: &Chances| chances.crash_in_store)
        .map_err(StoreError::Unavailable)
}

impl<S: Stores> Stores for FaultyStores<S> {
    type Store = FaultyStore<S::Store>;

    fn open(&mut self, identity: &StoreIdentity, trusted_since_ms: i64) -> Result<Self::Store, StoreError> {
        step(&self.to)?;
        let inner = self.inner.open(identity, trusted_since_ms)?;
        Ok(FaultyStore {
            inner,
            to: self.to.clone(),
            broken: false,
        })
    }

    fn set_aside(&mut self, partition: i32, why: &str) -> Result<(), StoreError> {
        step(&self.to)?;
        self.inner.set_aside(partition, why)
    }
}

impl<S: Store> FaultyStore<S> {
    fn writing(&mut self, write: impl FnOnce(&mut S) -> Result<(), StoreError>) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Unavailable("an earlier write failed".into()));
        }
        let outcome = step(&self.to).and_then(|()| write(&mut self.inner));
        self.broken = outcome.is_err();
        outcome?;
        // Written, and the process may die before it knows. Only a death counts here: the disk has answered.
        let _known = step(&self.to);
        Ok(())
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        assert!(!self.to.panics_on(key), "a fault of ours");
        self.inner.get(key)
    }

    fn write(&mut self, changes: &[Change], meta: &StoreMeta) -> Result<(), StoreError> {
        self.writing(|inner| inner.write(changes, meta))
    }

    fn meta(&self) -> Option<StoreMeta> {
        self.inner.meta()
    }

    fn due(&self, until_ms: i64, most: usize) -> Result<Vec<(i64, String)>, StoreError> {
        self.inner.due(until_ms, most)
    }

    fn hints_after(&self, after: Option<&(i64, String)>, most: usize) -> Result<Vec<(i64, String)>, StoreError> {
        self.inner.hints_after(after, most)
    }

    fn forget_due(&mut self, hints: &[(i64, String)]) -> Result<(), StoreError> {
        self.writing(|inner| inner.forget_due(hints))
    }
}
