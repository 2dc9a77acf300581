//! The one place where anything becomes true: transaction, position marker, changelog written and replayed.

pub mod log;
pub mod plain;
