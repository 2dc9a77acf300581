//! `gap`: no contact in the last D.

use crate::policy::window::{Span, ZoneChoice};

/// The least distance to the contact before.
#[derive(Debug)]
pub struct Gap {
    pub length: Span,
    /// In which months and years are added.
    pub zone: ZoneChoice,
}
