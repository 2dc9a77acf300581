//! Calendar periods in a zone: where a clock hour, a local day, a week, a month, a quarter or a year starts and ends.
//!
//! A period starts at its first existing instant and ends where the next one starts. Where the clock is set back over the
//! start of a period, the instants that are read twice belong to the period that has already begun: periods never
//! overlap, never leave a hole and follow one another in order, in every zone.

use super::{Bounds, NEVER_MS, Span};
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// The calendar periods that a window can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// The period that contains `at_ms`.
pub fn bounds(period: Period, at_ms: i64, zone: &TimeZone, week_start: Weekday) -> Bounds {
    let start = start_of(period, local(at_ms, zone), week_start);
    walk(at_ms, zone, start, |from, forward| step(period, from, forward))
}

/// The local day that `at_ms` belongs to.
pub fn local_day(at_ms: i64, zone: &TimeZone) -> Date {
    let date = local(at_ms, zone).date();
    // Set back over midnight: the wall clock reads yesterday, but today has begun.
    match date.tomorrow() {
        Ok(next) if first_instant(midnight(next), zone) <= at_ms => next,
        _ => date,
    }
}

/// The first instant of the local day that lies `days` after `day` (before, if negative).
pub fn day_plus(day: Date, days: i64, zone: &TimeZone) -> i64 {
    match jiff::Span::new().try_days(days).and_then(|span| day.checked_add(span)) {
        Ok(date) => first_instant(midnight(date), zone),
        Err(_) if days < 0 => i64::MIN,
        Err(_) => NEVER_MS,
    }
}

/// The period of one span that contains `at_ms`, counted from the first instant of `from`, in both directions.
pub fn tumbling_bounds(from: Date, span: Span, at_ms: i64, zone: &TimeZone) -> Bounds {
    let origin_ms = first_instant(midnight(from), zone);
    match span {
        Span::Exact { ms } => {
            let length_ms = ms.max(1);
            let start_ms = at_ms.saturating_sub(at_ms.saturating_sub(origin_ms).rem_euclid(length_ms));
            Bounds {
                start_ms,
                end_ms: start_ms.saturating_add(length_ms),
            }
        }
        Span::Months(months) => {
            let months = i64::from(months.max(1));
            let today = local(at_ms, zone).date();
            let between = (i64::from(today.year()) - i64::from(from.year())) * 12 + i64::from(today.month())
                - i64::from(from.month());
            counted(between.div_euclid(months), at_ms, |index| {
                jiff::Span::new()
                    .try_months(index.saturating_mul(months))
                    .and_then(|span| from.checked_add(span))
                    .ok()
                    .map(|date| first_instant(midnight(date), zone))
            })
        }
    }
}

/// The period of `days` local days that contains `at_ms`, counted from `from`, in both directions.
pub fn tumbling_days(from: Date, days: u32, at_ms: i64, zone: &TimeZone) -> Bounds {
    let days = i64::from(days.max(1));
    let passed = local_day(at_ms, zone)
        .since((jiff::Unit::Day, from))
        .map_or(0, |span| i64::from(span.get_days()));
    counted(passed.div_euclid(days), at_ms, |index| {
        Some(day_plus(from, index.saturating_mul(days), zone))
    })
}

/// Local date and time.
pub fn local(at_ms: i64, zone: &TimeZone) -> DateTime {
    zone.to_datetime(timestamp(at_ms))
}

/// Whole seconds since local midnight.
pub fn second_of_day(local: DateTime) -> i32 {
    i32::from(local.hour()) * 3600 + i32::from(local.minute()) * 60 + i32::from(local.second())
}

/// What has to be added to UTC at this instant.
pub fn offset_ms(at_ms: i64, zone: &TimeZone) -> i64 {
    i64::from(zone.to_offset(timestamp(at_ms)).seconds()) * 1000
}

/// The next instant after `at_ms` at which the zone's offset may change; `None`: it never does again.
pub fn next_offset_change(at_ms: i64, zone: &TimeZone) -> Option<i64> {
    zone.following(timestamp(at_ms))
        .next()
        .map(|transition| transition.timestamp().as_millisecond())
}

/// The instant of a local date and time: in a gap as far after it as it was written after the gap's start, the first one
/// where it is repeated.
pub fn instant_of(local: DateTime, zone: &TimeZone) -> i64 {
    match zone.to_ambiguous_timestamp(local).compatible() {
        Ok(instant) => instant.as_millisecond(),
        Err(_) if local.year() > 0 => NEVER_MS,
        Err(_) => i64::MIN,
    }
}

/// The first instant at which the wall clock reads this time or a later one.
fn first_instant(local: DateTime, zone: &TimeZone) -> i64 {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let AmbiguousOffset::Gap { after, .. } = ambiguous.offset() else {
        return instant_of(local, zone);
    };
    // The gap's end is the change of the offset itself. Read with the later offset, the time lies before that change.
    after
        .to_timestamp(local)
        .ok()
        .and_then(|before_change| zone.following(before_change).next())
        .map_or_else(
            || instant_of(local, zone),
            |transition| transition.timestamp().as_millisecond(),
        )
}

fn timestamp(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap_or(if at_ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn midnight(date: Date) -> DateTime {
    date.to_datetime(Time::midnight())
}

fn start_of(period: Period, local: DateTime, week_start: Weekday) -> DateTime {
    let date = local.date();
    match period {
        Period::Hour => date.at(local.hour(), 0, 0, 0),
        Period::Day => midnight(date),
        Period::Week => {
            let back = i64::from(week_start.until(date.weekday()));
            midnight(date.checked_sub(back.days()).unwrap_or(date))
        }
        Period::Month => midnight(date.first_of_month()),
        Period::Quarter => {
            let month = (date.month() - 1) / 3 * 3 + 1;
            midnight(Date::new(date.year(), month, 1).unwrap_or(date))
        }
        Period::Year => midnight(date.first_of_year()),
    }
}

fn step(period: Period, start: DateTime, forward: bool) -> Option<DateTime> {
    let span = match period {
        Period::Hour => 1.hour(),
        Period::Day => 1.day(),
        Period::Week => 1.week(),
        Period::Month => 1.month(),
        Period::Quarter => 3.months(),
        Period::Year => 1.year(),
    };
    if forward {
        start.checked_add(span)
    } else {
        start.checked_sub(span)
    }
    .ok()
}

/// From a period that is at most a few away, the last one that has begun at `at_ms`.
fn walk(at_ms: i64, zone: &TimeZone, start: DateTime, step: impl Fn(DateTime, bool) -> Option<DateTime>) -> Bounds {
    let instant = |local: Option<DateTime>, beyond: i64| local.map_or(beyond, |local| first_instant(local, zone));
    let mut start = start;
    let mut start_ms = first_instant(start, zone);
    while start_ms > at_ms {
        let Some(before) = step(start, false) else { break };
        (start, start_ms) = (before, first_instant(before, zone));
    }
    let mut next = step(start, true);
    let mut end_ms = instant(next, NEVER_MS);
    while end_ms <= at_ms {
        let Some(reached) = next else { break };
        start_ms = end_ms;
        next = step(reached, true);
        end_ms = instant(next, NEVER_MS);
    }
    Bounds { start_ms, end_ms }
}

/// The same over numbered periods.
fn counted(guess: i64, at_ms: i64, start_of: impl Fn(i64) -> Option<i64>) -> Bounds {
    let mut index = guess;
    let mut start_ms = start_of(index).unwrap_or(i64::MIN);
    while start_ms > at_ms {
        index -= 1;
        start_ms = start_of(index).unwrap_or(i64::MIN);
    }
    let mut end_ms = start_of(index + 1).unwrap_or(NEVER_MS);
    while end_ms <= at_ms && end_ms != NEVER_MS {
        index += 1;
        start_ms = end_ms;
        end_ms = start_of(index + 1).unwrap_or(NEVER_MS);
    }
    Bounds { start_ms, end_ms }
}
