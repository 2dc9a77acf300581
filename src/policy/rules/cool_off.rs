//! `cool-off`: after something happened, silence for a time, or until it is settled.

use crate::message::EventKind;
use crate::policy::selector::Selector;
use crate::policy::window::{Span, ZoneChoice};

/// Blocks once `count` matching events lie within `within`.
#[derive(Debug)]
pub struct CoolOff {
    /// Any of these counts.
    pub after: Vec<Trigger>,
    /// At least 1.
    pub count: u32,
    /// None: however far apart the events lie.
    pub within: Option<Span>,
    pub block: Block,
    /// `events:` what is counted, beside the kind.
    pub events: Selector,
    /// In which months and local days are measured.
    pub zone: ZoneChoice,
}

/// What starts a cool-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    Event(EventKind),
    /// A delivered contact that had no response for so long; it happens at the end of that time.
    NoResponse(Span),
}

/// How a cool-off ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A time after the event that completed the count.
    For(Length),
    /// When the pairing event (by `issue_id`) is read; `max` ends it in any case, and is not a known end.
    Until { kind: EventKind, max: Option<Span> },
}

/// How long a cool-off lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Span(Span),
    /// The event's local day is the first; ends when the N-th ends. At least 1.
    CalendarDays(u32),
}
