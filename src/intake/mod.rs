//! Bytes → input: consumer, consent barrier, owner check, strays.

pub mod admin;
pub mod answers;
pub mod client;
pub mod embedded;
mod ends;
pub mod hanging;
pub mod kafka;
pub mod membership;
pub mod queue;
pub mod reader;
mod rebalance;
pub mod source;
pub mod tail;
