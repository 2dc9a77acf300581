//! Bytes → input: consumer, consent barrier, owner check, strays.

pub mod admin;
pub mod embedded;
pub mod source;
pub mod tail;
