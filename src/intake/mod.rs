//! Bytes → input: consumer, consent barrier, owner check, strays.

pub mod admin;
pub mod answers;
pub mod client;
mod denied;
pub mod embedded;
mod ends;
pub mod hanging;
pub mod kafka;
pub mod membership;
pub mod queue;
pub mod reader;
mod rebalance;
pub mod rights;
pub mod source;
pub mod tail;
