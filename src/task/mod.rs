//! One partition's life, and the loop that carries it.
//!
//! ```text
//!            ┌────────────── anything but a clean commit ──────────────┐
//!            ▼                                                         │
//!  assigned ─► restoring ── proven complete ─► running ── batch ─► commit
//!                 │   ▲                                               │
//!                 │   └── every few seconds ──┐                       └─► store (after the commit, never before)
//!                 └── cannot be proven ─► blocked
//! ```
//!
//! A [`partition::Task`] is one partition number of every input, with its own store. A [`worker::Worker`] owns a consumer, a
//! transactional producer and its tasks by value, on one thread; workers share nothing on the hot path. There is one
//! recovery path, and it is also the start: new producer, committed offsets, the changelog's tail, seek. A batch goes through
//! `reading`, `barrier`, [`batch`] and `closing`; what is not clean goes to `recovery`.

mod barrier;
pub mod batch;
#[cfg(test)]
mod batch_tests;
pub mod clock;
mod closing;
pub mod partition;
mod reading;
pub mod reconcile;
mod recovery;
pub mod repair;
mod report;
pub mod restore;
mod stopwatch;
pub mod supervisor;
pub mod worker;
