//! Forbear: an event-stream suppression processor.

pub mod cli;
pub mod commit;
pub mod customer;
pub mod intake;
pub mod message;
pub mod policy;
pub mod serve;
pub mod store;
pub mod task;
pub mod verdict;
