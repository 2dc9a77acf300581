//! `send-window` and `quiet-hours`: the local wall clock is open.

use crate::policy::window::{Schedule, ZoneChoice};

/// When messages may go out.
#[derive(Debug)]
pub struct SendWindow {
    pub schedule: Schedule,
    /// Defaults to the customer's.
    pub zone: ZoneChoice,
    /// A deferred intent wakes up to so much later than the opening.
    pub jitter_ms: i64,
}
