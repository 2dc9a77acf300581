//! Bytes → input: consumer, consent barrier, owner check, strays.

pub mod client;
pub mod kafka;
pub mod queue;
pub mod source;
