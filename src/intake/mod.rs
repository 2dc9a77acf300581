//! Bytes → input: consumer, consent barrier, owner check, strays.

pub mod source;
