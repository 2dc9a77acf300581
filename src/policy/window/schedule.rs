//! Weekly wall-clock schedules: send windows and quiet hours. An instant is judged by the wall clock of that instant, so a
//! clock hour that does not exist is never asked for and one that is repeated is open or closed twice.
//!
//! The spans are cut into open intervals for each weekday once, when the policy is compiled; a search for the next opening
//! walks from one change of the zone's offset to the next, between which the wall clock runs evenly.

use super::calendar;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

const DAY_S: i32 = 86_400;
/// An offset that changes sooner than this is looked at; a schedule that neither opens nor closes until then never does.
const SEARCH_DAYS: i64 = 800;

/// A span of local wall-clock time on some days, `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaySpan {
    /// The days on which it starts: bit 0 is Monday, bit 6 Sunday.
    pub days: u8,
    /// Seconds after midnight, below 86 400.
    pub from_s: i32,
    /// Seconds after midnight; 86 400 is `"24:00"`. Not after `from_s`: it ends on the next day.
    pub to_s: i32,
}

/// What the spans list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// `send-window: open`: the rest is closed.
    Open,
    /// `quiet-hours: quiet`: the rest is open.
    Quiet,
}

/// When the wall clock is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Open intervals in seconds of the local day, by weekday from Monday: sorted, disjoint, not touching.
    open: [Vec<(i32, i32)>; 7],
    /// Local dates that are closed as a whole, sorted.
    closed_on: Vec<Date>,
}

impl Schedule {
    /// A schedule from the spans as written.
    pub fn new(spans: &[DaySpan], polarity: Polarity, closed_on: &[Date]) -> Self {
        let mut listed: [Vec<(i32, i32)>; 7] = Default::default();
        for span in spans {
            for day in (0..7).filter(|day| span.days & (1 << day) != 0) {
                if span.to_s > span.from_s {
                    listed[day].push((span.from_s, span.to_s.min(DAY_S)));
                } else {
                    listed[day].push((span.from_s, DAY_S));
                    listed[(day + 1) % 7].push((0, span.to_s));
                }
            }
        }
        let open = listed.map(|intervals| {
            let merged = merge(intervals);
            match polarity {
                Polarity::Open => merged,
                Polarity::Quiet => complement(&merged),
            }
        });
        let mut closed_on = closed_on.to_vec();
        closed_on.sort_unstable();
        closed_on.dedup();
        Self { open, closed_on }
    }

    /// Whether the wall clock of the zone is open.
    pub fn is_open(&self, at_ms: i64, zone: &TimeZone) -> bool {
        let local = calendar::local(at_ms, zone);
        let second = calendar::second_of_day(local);
        self.day(local.date())
            .iter()
            .any(|(from, to)| *from <= second && second < *to)
    }

    /// The first open instant at or after `at_ms`; `None`: there is none.
    pub fn next_open(&self, at_ms: i64, zone: &TimeZone) -> Option<i64> {
        self.next(at_ms, zone, true)
    }

    /// The first closed instant at or after `at_ms`: the end of an open window. `None`: it never closes.
    pub fn open_until(&self, at_ms: i64, zone: &TimeZone) -> Option<i64> {
        self.next(at_ms, zone, false)
    }

    /// Whether no instant of any week is open.
    pub fn never_opens(&self) -> bool {
        self.open.iter().all(Vec::is_empty)
    }

    /// Whether there is an hour of the week at which all of these are open on the same wall clock.
    pub fn ever_open_together(schedules: &[&Schedule]) -> bool {
        (0..7).any(|day| {
            let mut open = vec![(0, DAY_S)];
            for schedule in schedules {
                let mut common = Vec::new();
                for (from, to) in &open {
                    let both = schedule.open[day]
                        .iter()
                        .map(|(start, end)| (*from.max(start), *to.min(end)));
                    common.extend(both.filter(|(from, to)| from < to));
                }
                open = common;
            }
            !open.is_empty()
        })
    }

    /// Whether the other is open at every hour of the week at which this one is. Closed dates are left out.
    pub fn is_within_week(&self, other: &Self) -> bool {
        let covered = |day: usize, (from, to): (i32, i32)| {
            let mut wide = other.open[day].iter();
            wide.any(|(start, end)| *start <= from && to <= *end)
        };
        (0..7).all(|day| self.open[day].iter().all(|interval| covered(day, *interval)))
    }

    /// The local dates that are closed as a whole, sorted.
    pub fn closed_on(&self) -> &[Date] {
        &self.closed_on
    }

    fn always_open(&self) -> bool {
        self.open.iter().all(|day| *day == [(0, DAY_S)])
    }

    fn next(&self, at_ms: i64, zone: &TimeZone, wanted: bool) -> Option<i64> {
        if !wanted && self.closed_on.is_empty() && self.always_open() {
            return None;
        }
        let mut from_ms = at_ms;
        let last_ms = at_ms.saturating_add(SEARCH_DAYS * 1000 * i64::from(DAY_S));
        while from_ms <= last_ms {
            let offset_ms = calendar::offset_ms(from_ms, zone);
            let change_ms = calendar::next_offset_change(from_ms, zone);
            // Between two changes of the offset the wall clock is UTC moved by a constant.
            if let Some(wall_ms) = self.next_on_wall(from_ms.saturating_add(offset_ms), wanted) {
                let found_ms = wall_ms.saturating_sub(offset_ms);
                if change_ms.is_none_or(|change| found_ms < change) {
                    return Some(found_ms);
                }
            }
            from_ms = change_ms?;
        }
        None
    }

    /// The same on a wall clock without changes; instants are local milliseconds.
    fn next_on_wall(&self, wall_ms: i64, wanted: bool) -> Option<i64> {
        let local = calendar::local(wall_ms, &TimeZone::UTC);
        let mut date = local.date();
        let day_start_ms = calendar::instant_of(date.to_datetime(jiff::civil::Time::midnight()), &TimeZone::UTC);
        let mut earliest_ms = wall_ms;
        for day in 0..self.days_to_search(date, wanted) {
            let start_ms = day_start_ms.saturating_add(day * 1000 * i64::from(DAY_S));
            let intervals = self.day(date);
            if wanted {
                for (from, to) in intervals {
                    if start_ms + i64::from(*to) * 1000 > earliest_ms {
                        return Some(earliest_ms.max(start_ms + i64::from(*from) * 1000));
                    }
                }
            } else {
                for (from, to) in intervals {
                    if start_ms + i64::from(*from) * 1000 > earliest_ms {
                        break;
                    }
                    earliest_ms = earliest_ms.max(start_ms + i64::from(*to) * 1000);
                }
                if earliest_ms < start_ms + i64::from(DAY_S) * 1000 {
                    return Some(earliest_ms);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// After how many days from `date` on there is nothing new: the weeks repeat, but for the closed dates.
    fn days_to_search(&self, date: Date, wanted: bool) -> i64 {
        let first = self.closed_on.partition_point(|closed| *closed < date);
        let closed = i64::try_from(self.closed_on.len() - first).unwrap_or(0);
        let week = 8;
        if wanted {
            // Each closed date can take away one opening of the week.
            return (week + 7 * closed).min(SEARCH_DAYS);
        }
        match self.closed_on.get(first) {
            Some(closed) if self.always_open() => {
                let until = closed.since((jiff::Unit::Day, date));
                until
                    .map_or(week, |span| i64::from(span.get_days()) + 1)
                    .min(SEARCH_DAYS)
            }
            None if self.always_open() => 0,
            _ => week,
        }
    }

    fn day(&self, date: Date) -> &[(i32, i32)] {
        if self.closed_on.binary_search(&date).is_ok() {
            return &[];
        }
        &self.open[weekday_index(date.weekday())]
    }
}

fn weekday_index(weekday: Weekday) -> usize {
    usize::try_from(weekday.to_monday_zero_offset()).unwrap_or(0)
}

fn merge(mut intervals: Vec<(i32, i32)>) -> Vec<(i32, i32)> {
    intervals.retain(|(from, to)| from < to);
    intervals.sort_unstable();
    let mut merged: Vec<(i32, i32)> = Vec::with_capacity(intervals.len());
    for (from, to) in intervals {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

fn complement(merged: &[(i32, i32)]) -> Vec<(i32, i32)> {
    let mut gaps = Vec::with_capacity(merged.len() + 1);
    let mut start = 0;
    for (from, to) in merged {
        gaps.push((start, *from));
        start = *to;
    }
    gaps.push((start, DAY_S));
    gaps.retain(|(from, to)| from < to);
    gaps
}
