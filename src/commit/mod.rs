//! The one place where anything becomes true: transaction, position marker, changelog written and replayed.

mod forbidden;
pub mod kafka;
pub mod log;
pub mod marker;
pub mod plain;
pub mod raw;
