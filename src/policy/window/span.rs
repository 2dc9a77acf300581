//! Lengths of time: exact ones, and months and years, which only a calendar can measure.

use super::calendar;
use super::{Bounds, NEVER_MS};
use jiff::ToSpan;
use jiff::tz::TimeZone;

const DAY_MS: i64 = 86_400_000;

/// A length of time as the policy writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// `s min h d w`: a day is 24 hours. Not negative.
    Exact { ms: i64 },
    /// `mo y`: calendar arithmetic in the rule's zone, clamped to the month's end. Not negative.
    Months(i32),
}

impl Span {
    /// The instant one span after `start_ms`: months are added to the local date and time of `start_ms`, never taken
    /// from now (31 January and one month is 28 February).
    pub fn after(self, start_ms: i64, zone: &TimeZone) -> i64 {
        match self {
            Self::Exact { ms } => start_ms.saturating_add(ms),
            Self::Months(months) => shifted(start_ms, months, zone).unwrap_or(NEVER_MS),
        }
    }

    /// The instant one span before `end_ms`: the start of a rolling window, for the record.
    pub fn before(self, end_ms: i64, zone: &TimeZone) -> i64 {
        match self {
            Self::Exact { ms } => end_ms.saturating_sub(ms),
            Self::Months(months) => shifted(end_ms, months.saturating_neg(), zone).unwrap_or(i64::MIN),
        }
    }

    /// The stretch of time of this length that ends at an instant, for the record.
    pub fn bounds(self, end_ms: i64, zone: &TimeZone) -> Bounds {
        Bounds {
            start_ms: self.before(end_ms, zone),
            end_ms,
        }
    }

    /// An instant such that whatever started before it is over at `at_ms`, in every zone.
    pub fn certainly_over_before(self, at_ms: i64) -> i64 {
        match self {
            Self::Exact { ms } => at_ms.saturating_sub(ms),
            // No month is longer than 31 days; two more cover every change of offset, a skipped day included.
            Self::Months(months) => {
                let days = i64::from(months).saturating_mul(31).saturating_add(2);
                at_ms.saturating_sub(days.saturating_mul(DAY_MS))
            }
        }
    }
}

fn shifted(start_ms: i64, months: i32, zone: &TimeZone) -> Option<i64> {
    let local = calendar::local(start_ms, zone);
    let moved = local.checked_add(months.months()).ok()?;
    Some(calendar::instant_of(moved, zone))
}
