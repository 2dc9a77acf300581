//! The one place where anything becomes true: transaction, position marker, changelog written and replayed.

pub mod kafka;
pub mod log;
<<<<<<< HEAD
pub mod marker;
pub mod raw;
=======
pub mod plain;
>>>>>>> cli
