//! Windows and hours, recomputed on the wall clock: an independent reading of policy.md, "Windows and time".

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span as Length, Timestamp};

/// In which zone a window is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    Customer,
    Company,
    Named(String),
}

/// The zones of one customer at one decision.
#[derive(Debug, Clone)]
pub struct Zones {
    pub customer: TimeZone,
    pub company: TimeZone,
}

impl Zones {
    fn of(&self, zone: &Zone) -> Option<TimeZone> {
        match zone {
            Zone::Customer => Some(self.customer.clone()),
            Zone::Company => Some(self.company.clone()),
            Zone::Named(name) => TimeZone::get(name).ok(),
        }
    }
}

/// In which contacts are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub shape: Shape,
    pub zone: Zone,
    pub week_start: Weekday,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    RollingMs(i64),
    RollingMonths(i32),
    Ever,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    /// Today and the local days before it, so many in all.
    Days(i32),
}

impl Window {
    /// True where a contact at `contact_ms` counts at `now_ms`. Contacts of the future never do; where the calendar does
    /// not tell, neither.
    pub fn holds(&self, contact_ms: i64, now_ms: i64, zones: &Zones) -> bool {
        if contact_ms > now_ms {
            return false;
        }
        match self.shape {
            Shape::RollingMs(length_ms) => contact_ms.saturating_add(length_ms) > now_ms,
            Shape::Ever => true,
            _ => self.holds_by_calendar(contact_ms, now_ms, zones).unwrap_or(false),
        }
    }

    fn holds_by_calendar(&self, contact_ms: i64, now_ms: i64, zones: &Zones) -> Option<bool> {
        let zone = zones.of(&self.zone)?;
        let (contact, now) = (local(contact_ms, &zone)?, local(now_ms, &zone)?);
        let (was, is) = (contact.date(), now.date());
        let quarter = |date: Date| (date.year(), (date.month() - 1) / 3);
        Some(match self.shape {
            // A repeated clock hour is one hour: the hour of the wall clock decides.
            Shape::Hour => was == is && contact.hour() == now.hour(),
            Shape::Day => was == is,
            Shape::Week => self.first_of_week(was)? == self.first_of_week(is)?,
            Shape::Month => was.first_of_month() == is.first_of_month(),
            Shape::Quarter => quarter(was) == quarter(is),
            Shape::Year => was.year() == is.year(),
            Shape::Days(days) => was > is.checked_sub(Length::new().days(days)).ok()?,
            Shape::RollingMonths(months) => {
                let over = contact.checked_add(Length::new().months(months)).ok()?;
                // A local time that does not exist, or exists twice, is taken as a calendar takes it.
                let over = zone.to_ambiguous_timestamp(over).compatible().ok()?;
                over.as_millisecond() > now_ms
            }
            Shape::RollingMs(_) | Shape::Ever => return None,
        })
    }

    fn first_of_week(&self, date: Date) -> Option<Date> {
        let start = self.week_start.to_monday_zero_offset();
        let today = date.weekday().to_monday_zero_offset();
        let days = i64::from((today - start + 7) % 7);
        date.checked_sub(Length::new().days(days)).ok()
    }
}

/// `[from, to)` on the local wall clock, in minutes of the day; over midnight where `to` is smaller. It belongs to the day on
/// which it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// 0 is Monday; an empty list is every day.
    pub days: Vec<i8>,
    pub from_minute: i32,
    pub to_minute: i32,
}

impl Span {
    fn contains(&self, wall: DateTime) -> bool {
        let minute = i32::from(wall.hour()) * 60 + i32::from(wall.minute());
        let today = wall.weekday().to_monday_zero_offset();
        let on = |day: i8| self.days.is_empty() || self.days.contains(&day);
        if self.from_minute < self.to_minute {
            return on(today) && (self.from_minute..self.to_minute).contains(&minute);
        }
        (on(today) && minute >= self.from_minute) || (on((today + 6) % 7) && minute < self.to_minute)
    }
}

/// When messages may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    pub zone: Zone,
    /// The spans are the open hours; else they are the quiet ones.
    pub spans_are_open: bool,
    pub spans: Vec<Span>,
    /// Local dates that are closed as a whole.
    pub closed: Vec<Date>,
}

impl Hours {
    /// True where the instant is quiet; false also where the calendar does not tell.
    pub fn are_quiet_at(&self, instant_ms: i64, zones: &Zones) -> bool {
        let Some(wall) = zones.of(&self.zone).and_then(|zone| local(instant_ms, &zone)) else {
            return false;
        };
        let inside = self.spans.iter().any(|span| span.contains(wall));
        inside != self.spans_are_open || self.closed.contains(&wall.date())
    }
}

fn local(instant_ms: i64, zone: &TimeZone) -> Option<DateTime> {
    Some(zone.to_datetime(Timestamp::from_millisecond(instant_ms).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn zones(name: &str) -> Zones {
        let customer = TimeZone::get(name).unwrap();
        Zones {
            company: customer.clone(),
            customer,
        }
    }

    fn window(shape: Shape) -> Window {
        Window {
            shape,
            zone: Zone::Customer,
            week_start: Weekday::Monday,
        }
    }

    #[test]
    fn a_contact_leaves_a_rolling_window_when_it_is_exactly_as_old() {
        let zones = zones("UTC");
        let week = window(Shape::RollingMs(7 * 86_400_000));
        let contact = at("2026-03-01T10:00:00Z");
        assert!(week.holds(contact, at("2026-03-08T09:59:59.999Z"), &zones));
        assert!(!week.holds(contact, at("2026-03-08T10:00:00Z"), &zones));
        assert!(!week.holds(contact, contact - 1, &zones));
    }

    #[test]
    fn months_are_added_to_the_contact_and_clamped() {
        let zones = zones("UTC");
        let month = window(Shape::RollingMonths(1));
        let contact = at("2026-01-31T10:00:00Z");
        assert!(month.holds(contact, at("2026-02-28T09:59:00Z"), &zones));
        assert!(!month.holds(contact, at("2026-02-28T10:00:00Z"), &zones));
    }

    #[test]
    fn calendar_windows_are_cut_in_the_zone() {
        let zones = zones("America/New_York");
        let (late, early) = (at("2026-03-02T04:30:00Z"), at("2026-03-02T05:30:00Z"));
        assert!(!window(Shape::Day).holds(late, early, &zones));
        assert!(
            !window(Shape::Week).holds(late, early, &zones),
            "Monday begins in between"
        );
        assert!(window(Shape::Days(2)).holds(late, early, &zones));
        assert!(window(Shape::Month).holds(late, early, &zones));
        assert!(window(Shape::Quarter).holds(late, early, &zones));
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_on_which_they_start() {
        let hours = Hours {
            zone: Zone::Customer,
            spans_are_open: false,
            spans: vec![Span {
                days: vec![0],
                from_minute: 21 * 60,
                to_minute: 6 * 60,
            }],
            closed: vec!["2026-12-25".parse().unwrap()],
        };
        let zones = zones("UTC");
        assert!(hours.are_quiet_at(at("2026-03-02T22:00:00Z"), &zones), "Monday night");
        assert!(hours.are_quiet_at(at("2026-03-03T05:59:00Z"), &zones), "its tail");
        assert!(
            !hours.are_quiet_at(at("2026-03-02T05:59:00Z"), &zones),
            "Sunday's is none"
        );
        assert!(hours.are_quiet_at(at("2026-12-25T12:00:00Z"), &zones), "closed");
    }
}
