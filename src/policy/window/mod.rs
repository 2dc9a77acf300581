//! Windows and time: which contacts a rule still sees, and when each of them leaves. Pure, exact, UTC milliseconds.
//!
//! Everything rests on one question: *at which instant does a contact made at `c` leave the window?* A contact counts at
//! `t` while that instant lies after `t`. Rolling windows, calendar periods, local days and fixed periods differ in the
//! answer and in nothing else, so a count, a free instant and a gap are all computed in one way.
//!
//! A calendar period starts at its first existing instant (some midnights do not exist) and lasts until the next one
//! starts; a clock hour that is repeated is one period.

pub mod calendar;
pub mod schedule;
pub mod span;
pub mod zone;

#[cfg(test)]
mod tests;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

pub use calendar::Period;
pub use schedule::{DaySpan, Polarity, Schedule};
pub use span::Span;
pub use zone::ZoneChoice;

/// "Never" as an instant: later than every instant that a record can carry.
pub const NEVER_MS: i64 = i64::MAX;

/// What a rule counts over, together with the zone that its periods are cut in.
#[derive(Debug, Clone)]
pub struct Window {
    pub shape: Shape,
    /// Caps and the like default to the company's.
    pub zone: ZoneChoice,
    /// On which day a `calendar-week` starts (top level `week-start`).
    pub week_start: Weekday,
}

/// How long a contact counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// `7d`, `1mo`: one that is exactly that old has left.
    Rolling(Span),
    /// `calendar-day` and its siblings.
    Calendar(Period),
    /// `N calendar-days`: today and the N − 1 local days before. At least 1.
    CalendarDays(u32),
    /// A fixed period of one span, counted from the first instant of a date (`tumbling-from` beside `7d`, `1mo`).
    Tumbling { from: Date, span: Span },
    /// A fixed period of N local days, counted from a date (`tumbling-from` beside `N calendar-days`).
    TumblingDays { from: Date, days: u32 },
    /// As far as the history reaches.
    Ever,
}

/// The window that holds at one instant, `[start, end)`. For a window that rolls, the end is the instant itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl Window {
    /// When a contact made at `contact_ms` leaves: it counts at `t` while this lies after `t`. [`NEVER_MS`]: never.
    pub fn leaves_at(&self, contact_ms: i64, zone: &TimeZone) -> i64 {
        match &self.shape {
            Shape::Rolling(span) => span.after(contact_ms, zone),
            Shape::Calendar(period) => calendar::bounds(*period, contact_ms, zone, self.week_start).end_ms,
            Shape::CalendarDays(days) => {
                let day = calendar::local_day(contact_ms, zone);
                calendar::day_plus(day, i64::from((*days).max(1)), zone)
            }
            Shape::Tumbling { from, span } => calendar::tumbling_bounds(*from, *span, contact_ms, zone).end_ms,
            Shape::TumblingDays { from, days } => calendar::tumbling_days(*from, *days, contact_ms, zone).end_ms,
            Shape::Ever => NEVER_MS,
        }
    }

    /// The window as it stands at `at_ms`, for the record.
    pub fn bounds(&self, at_ms: i64, zone: &TimeZone) -> Bounds {
        match &self.shape {
            Shape::Rolling(span) => span.bounds(at_ms, zone),
            Shape::Calendar(period) => calendar::bounds(*period, at_ms, zone, self.week_start),
            Shape::CalendarDays(days) => {
                let day = calendar::local_day(at_ms, zone);
                Bounds {
                    start_ms: calendar::day_plus(day, 1 - i64::from((*days).max(1)), zone),
                    end_ms: calendar::day_plus(day, 1, zone),
                }
            }
            Shape::Tumbling { from, span } => calendar::tumbling_bounds(*from, *span, at_ms, zone),
            Shape::TumblingDays { from, days } => calendar::tumbling_days(*from, *days, at_ms, zone),
            Shape::Ever => Bounds {
                start_ms: i64::MIN,
                end_ms: at_ms,
            },
        }
    }

    /// Which contacts count at `at_ms`, without asking each when it leaves: lets a scan over a sorted ledger stop early.
    pub fn sight(&self, at_ms: i64, zone: &TimeZone) -> Sight {
        match &self.shape {
            Shape::Rolling(Span::Exact { ms }) => Sight::exact(at_ms.saturating_sub(*ms).saturating_add(1)),
            Shape::Rolling(span @ Span::Months(_)) => Sight {
                from_ms: span.certainly_over_before(at_ms),
                exact: false,
            },
            Shape::Ever => Sight::exact(i64::MIN),
            _ => Sight::exact(self.bounds(at_ms, zone).start_ms),
        }
    }
}

/// How far back a window sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Contacts before this instant have left.
    pub from_ms: i64,
    /// Contacts from there on all count; otherwise each has to be asked when it leaves.
    pub exact: bool,
}

impl Sight {
    fn exact(from_ms: i64) -> Self {
        Self { from_ms, exact: true }
    }
}

/// The first instant at which fewer than `limit` of the contacts remain, given when each of those that count now leaves.
/// `None`: there is none (a limit of 0, or contacts that never leave). Sorts `leaves`.
pub fn free_at(leaves: &mut [i64], limit: i64) -> Option<i64> {
    if limit <= 0 {
        return None;
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let surplus = leaves.len().checked_sub(limit)?;
    leaves.sort_unstable();
    leaves.get(surplus).copied().filter(|instant| *instant != NEVER_MS)
}
