//! Windows against definitions that share no code with them: periods by walking the clock minute by minute, schedules by
//! reading the spans as written.

use super::schedule::{DaySpan, Polarity, Schedule};
use super::{Period, Shape, Span, Window, ZoneChoice, calendar, free_at, zone};
use jiff::civil::{Date, DateTime, Time, Weekday, date};
use jiff::tz::TimeZone;
use proptest::prelude::*;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Zones with something odd about them.
const ZONES: &[&str] = &[
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Havana",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Europe/Lisbon",
    "Europe/Dublin",
    "Asia/Tehran",
];

/// Instants around which clocks did something odd, and one where none did.
const AROUND: &[&str] = &[
    "2011-12-30T10:00:00Z",
    "2018-11-04T03:00:00Z",
    "2018-02-18T02:00:00Z",
    "2010-11-07T02:31:00Z",
    "2010-03-14T03:31:00Z",
    "2021-10-02T15:30:00Z",
    "2021-04-03T15:00:00Z",
    "2022-03-26T22:00:00Z",
    "2023-04-27T22:00:00Z",
    "2021-03-28T01:00:00Z",
    "2021-10-31T01:00:00Z",
    "2021-11-07T05:00:00Z",
    "2021-12-31T23:00:00Z",
    "1993-08-21T12:00:00Z",
    "2024-02-28T12:00:00Z",
];

fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("an instant").as_millisecond()
}

fn in_zone(name: &str) -> TimeZone {
    zone::named(name).expect("a zone of the bundled database")
}

fn window(shape: Shape) -> Window {
    Window {
        shape,
        zone: ZoneChoice::Company,
        week_start: Weekday::Monday,
    }
}

fn zones() -> impl Strategy<Value = TimeZone> {
    (0..ZONES.len()).prop_map(|index| in_zone(ZONES[index]))
}

fn odd_instants() -> impl Strategy<Value = i64> {
    let near = (0..AROUND.len(), -3 * DAY_MS..3 * DAY_MS).prop_map(|(index, offset)| at(AROUND[index]) + offset);
    let edge = (0..AROUND.len(), -2i64..=2, -30i64..30)
        .prop_map(|(index, ms, halves)| at(AROUND[index]) + halves * 30 * MINUTE_MS + ms);
    prop_oneof![near, edge]
}

/// The start of the written period, on paper.
fn label(period: Period, local: DateTime, week_start: Weekday) -> DateTime {
    let day = local.date();
    let start = match period {
        Period::Hour => return day.at(local.hour(), 0, 0, 0),
        Period::Day => day,
        Period::Week => {
            let mut day = day;
            while day.weekday() != week_start {
                day = day.yesterday().expect("a day before");
            }
            day
        }
        Period::Month => day.first_of_month(),
        Period::Quarter => Date::new(
            day.year(),
            [1, 4, 7, 10][usize::from(day.month().unsigned_abs() - 1) / 3],
            1,
        )
        .expect("the first of a quarter"),
        Period::Year => day.first_of_year(),
    };
    start.to_datetime(Time::midnight())
}

/// Walks minute by minute from long before and starts a period whenever the clock first reads a later one.
fn walked_start(period: Period, at_ms: i64, zone: &TimeZone, week_start: Weekday) -> (i64, DateTime) {
    let reach_ms = if period == Period::Hour { DAY_MS } else { 3 * DAY_MS };
    let mut minute_ms = (at_ms - reach_ms).div_euclid(MINUTE_MS) * MINUTE_MS;
    let mut latest = label(period, calendar::local(minute_ms, zone), week_start);
    let mut start_ms = i64::MIN;
    while minute_ms <= at_ms {
        let here = label(period, calendar::local(minute_ms, zone), week_start);
        if here > latest {
            latest = here;
            start_ms = minute_ms;
        }
        minute_ms += MINUTE_MS;
    }
    (start_ms, latest)
}

fn period() -> impl Strategy<Value = Period> {
    prop_oneof![
        Just(Period::Hour),
        Just(Period::Day),
        Just(Period::Week),
        Just(Period::Month),
        Just(Period::Quarter),
        Just(Period::Year)
    ]
}

fn span_of_days() -> impl Strategy<Value = DaySpan> {
    (1u8..128, 0i32..96, 0i32..=96)
        .prop_filter("equal ends are an error", |(_, from, to)| {
            from != to && !(*from == 0 && *to == 0)
        })
        .prop_map(|(days, from, to)| DaySpan {
            days,
            from_s: from * 900,
            to_s: to * 900,
        })
}

/// The spans as the policy reads: a span belongs to the day on which it starts.
fn listed(spans: &[DaySpan], local: DateTime) -> bool {
    let second = calendar::second_of_day(local);
    let bit = |day: Date| 1u8 << u8::try_from(day.weekday().to_monday_zero_offset()).expect("a weekday");
    let today = local.date();
    let yesterday = today.yesterday().expect("a day before");
    spans.iter().any(|span| {
        let over_midnight = span.to_s <= span.from_s;
        let starts_today =
            span.days & bit(today) != 0 && second >= span.from_s && (over_midnight || second < span.to_s);
        let tail = over_midnight && span.days & bit(yesterday) != 0 && second < span.to_s;
        starts_today || tail
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_period_starts_where_the_clock_first_reads_it(
        at_ms in odd_instants(), zone in zones(), period in period(), sunday in any::<bool>()
    ) {
        let week_start = if sunday { Weekday::Sunday } else { Weekday::Monday };
        let bounds = calendar::bounds(period, at_ms, &zone, week_start);
        prop_assert!(bounds.start_ms <= at_ms && at_ms < bounds.end_ms);
        let (start_ms, _) = walked_start(period, at_ms, &zone, week_start);
        if start_ms != i64::MIN {
            prop_assert_eq!(bounds.start_ms, start_ms);
        }
        let next = calendar::bounds(period, bounds.end_ms, &zone, week_start);
        prop_assert_eq!(next.start_ms, bounds.end_ms);
        let last = calendar::bounds(period, bounds.end_ms - 1, &zone, week_start);
        prop_assert_eq!(last, bounds);
    }

    #[test]
    fn what_a_window_sees_is_what_has_not_left(
        at_ms in odd_instants(), age_ms in 0..40 * DAY_MS, zone in zones(), shape in 0..9usize, days in 1u32..9
    ) {
        let shape = [
            Shape::Rolling(Span::Exact { ms: i64::from(days) * DAY_MS }),
            Shape::Rolling(Span::Months(1)),
            Shape::Calendar(Period::Hour),
            Shape::Calendar(Period::Day),
            Shape::Calendar(Period::Week),
            Shape::CalendarDays(days),
            Shape::Tumbling { from: date(2020, 1, 6), span: Span::Exact { ms: 7 * DAY_MS } },
            Shape::Tumbling { from: date(2020, 1, 31), span: Span::Months(1) },
            Shape::TumblingDays { from: date(2020, 1, 6), days },
        ][shape].clone();
        let window = window(shape);
        let contact_ms = at_ms - age_ms;
        let sight = window.sight(at_ms, &zone);
        let remains = window.leaves_at(contact_ms, &zone) > at_ms;
        prop_assert!(!remains || contact_ms >= sight.from_ms);
        if sight.exact {
            prop_assert_eq!(remains, contact_ms >= sight.from_ms);
        }
        let leaves_ms = window.leaves_at(at_ms, &zone);
        prop_assert!(leaves_ms > at_ms);
        if !matches!(window.shape, Shape::Rolling(_)) {
            prop_assert_eq!(window.leaves_at(leaves_ms - 1, &zone) > leaves_ms - 1, true);
            prop_assert!(window.sight(leaves_ms - 1, &zone).from_ms <= at_ms);
            prop_assert!(window.sight(leaves_ms, &zone).from_ms > at_ms);
        }
    }

    #[test]
    fn a_schedule_is_open_as_its_spans_are_written(
        at_ms in odd_instants(), zone in zones(), spans in prop::collection::vec(span_of_days(), 1..4), quiet in any::<bool>(),
        closed in -3i64..4
    ) {
        let polarity = if quiet { Polarity::Quiet } else { Polarity::Open };
        let closed_on = calendar::local(at_ms + closed * DAY_MS, &zone).date();
        let schedule = Schedule::new(&spans, polarity, &[closed_on]);
        let naive = |instant: i64| {
            let local = calendar::local(instant, &zone);
            local.date() != closed_on && listed(&spans, local) != quiet
        };
        prop_assert_eq!(schedule.is_open(at_ms, &zone), naive(at_ms));
        // The first change in either direction, by walking the minutes.
        for (wanted, found) in [(true, schedule.next_open(at_ms, &zone)), (false, schedule.open_until(at_ms, &zone))] {
            let reach_ms = at_ms + 9 * DAY_MS;
            let mut walked = (naive(at_ms) == wanted).then_some(at_ms);
            let mut minute_ms = at_ms.div_euclid(MINUTE_MS) * MINUTE_MS + MINUTE_MS;
            while walked.is_none() && minute_ms < reach_ms {
                walked = (naive(minute_ms) == wanted).then_some(minute_ms);
                minute_ms += MINUTE_MS;
            }
            match walked {
                Some(instant) => prop_assert_eq!(found, Some(instant)),
                None => prop_assert!(found.is_none_or(|instant| instant >= minute_ms - MINUTE_MS)),
            }
        }
    }

    #[test]
    fn the_free_instant_is_the_first_with_fewer_than_the_limit(
        leaves in prop::collection::vec(1i64..40, 0..12), limit in 0i64..14
    ) {
        let mut sorted = leaves.clone();
        let found = free_at(&mut sorted, limit);
        let remaining = |instant: i64| i64::try_from(leaves.iter().filter(|leave| **leave > instant).count()).unwrap_or(0);
        if remaining(0) >= limit {
            prop_assert_eq!(found, (1..60).find(|instant| remaining(*instant) < limit));
        }
    }
}

#[test]
fn a_contact_exactly_one_window_old_has_left() {
    let week = window(Shape::Rolling(Span::Exact { ms: 7 * DAY_MS }));
    let contact_ms = at("2026-03-01T10:00:00Z");
    assert_eq!(week.leaves_at(contact_ms, &TimeZone::UTC), contact_ms + 7 * DAY_MS);
    assert_eq!(
        week.sight(contact_ms + 7 * DAY_MS, &TimeZone::UTC).from_ms,
        contact_ms + 1
    );
}

#[test]
fn months_are_added_to_the_contact_and_clamped_to_the_months_end() {
    let zone = in_zone("America/New_York");
    let leaves = |contact: &str, months| Span::Months(months).after(at(contact), &zone);
    assert_eq!(leaves("2026-01-31T12:00:00-05:00", 1), at("2026-02-28T12:00:00-05:00"));
    assert_eq!(leaves("2026-02-28T12:00:00-05:00", 1), at("2026-03-28T12:00:00-04:00"));
    assert_eq!(leaves("2024-02-29T12:00:00-05:00", 12), at("2025-02-28T12:00:00-05:00"));
}

#[test]
fn a_day_without_midnight_starts_at_one() {
    let bounds = |text, name| calendar::bounds(Period::Day, at(text), &in_zone(name), Weekday::Monday);
    let sao_paulo = bounds("2018-11-04T12:00:00-02:00", "America/Sao_Paulo");
    assert_eq!(sao_paulo.start_ms, at("2018-11-04T03:00:00Z"));
    assert_eq!(sao_paulo.end_ms - sao_paulo.start_ms, 23 * HOUR_MS);
    let cairo = bounds("2023-04-28T12:00:00+03:00", "Africa/Cairo");
    assert_eq!(cairo.start_ms, at("2023-04-27T22:00:00Z"));
    assert_eq!(cairo.end_ms - cairo.start_ms, 23 * HOUR_MS);
    let beirut = bounds("2022-03-27T12:00:00+03:00", "Asia/Beirut");
    assert_eq!(beirut.end_ms - beirut.start_ms, 23 * HOUR_MS);
}

#[test]
fn a_day_on_lord_howe_island_may_have_half_an_hour_more() {
    let zone = in_zone("Australia/Lord_Howe");
    let longer = calendar::bounds(Period::Day, at("2021-04-04T03:00:00Z"), &zone, Weekday::Monday);
    assert_eq!(longer.end_ms - longer.start_ms, 24 * HOUR_MS + 30 * MINUTE_MS);
    let shorter = calendar::bounds(Period::Day, at("2021-10-03T03:00:00Z"), &zone, Weekday::Monday);
    assert_eq!(shorter.end_ms - shorter.start_ms, 23 * HOUR_MS + 30 * MINUTE_MS);
}

#[test]
fn a_day_that_was_skipped_has_no_length_and_its_neighbours_meet() {
    let zone = in_zone("Pacific/Apia");
    let before = calendar::bounds(Period::Day, at("2011-12-30T09:59:59.999Z"), &zone, Weekday::Monday);
    let after = calendar::bounds(Period::Day, at("2011-12-30T10:00:00Z"), &zone, Weekday::Monday);
    assert_eq!(before.end_ms, at("2011-12-30T10:00:00Z"));
    assert_eq!(before.end_ms, after.start_ms);
    assert_eq!(after.end_ms - after.start_ms, 24 * HOUR_MS);
    let two_days = window(Shape::CalendarDays(2));
    assert_eq!(
        two_days.leaves_at(at("2011-12-29T22:00:00Z"), &zone),
        at("2011-12-30T10:00:00Z")
    );
}

#[test]
fn a_repeated_clock_hour_is_one_calendar_hour() {
    let hour = |text, name| calendar::bounds(Period::Hour, at(text), &in_zone(name), Weekday::Monday);
    let lisbon = hour("2021-10-31T00:30:00Z", "Europe/Lisbon");
    assert_eq!(lisbon, hour("2021-10-31T01:30:00Z", "Europe/Lisbon"));
    assert_eq!(lisbon.end_ms - lisbon.start_ms, 2 * HOUR_MS);
    let lord_howe = hour("2021-04-03T15:10:00Z", "Australia/Lord_Howe");
    assert_eq!(lord_howe.end_ms - lord_howe.start_ms, HOUR_MS + 30 * MINUTE_MS);
}

#[test]
fn a_winter_time_that_the_database_calls_the_exception_is_winter_all_the_same() {
    // Ireland's standard time is the summer's; in winter its clocks are set back by a "negative" hour.
    let zone = in_zone("Europe/Dublin");
    let day = |text| calendar::bounds(Period::Day, at(text), &zone, Weekday::Monday);
    let longer = day("2021-10-31T12:00:00Z");
    assert_eq!(longer.start_ms, at("2021-10-30T23:00:00Z"));
    assert_eq!(longer.end_ms, at("2021-11-01T00:00:00Z"));
    let shorter = day("2021-03-28T12:00:00Z");
    assert_eq!(shorter.start_ms, at("2021-03-28T00:00:00Z"));
    assert_eq!(shorter.end_ms, at("2021-03-28T23:00:00Z"));
}

#[test]
fn a_closed_date_takes_the_tail_of_the_day_before_with_it() {
    let nights = DaySpan {
        days: 0b111_1111,
        from_s: 20 * 3600,
        to_s: 4 * 3600,
    };
    let schedule = Schedule::new(&[nights], Polarity::Open, &[date(2026, 12, 25)]);
    let open = |text: &str| schedule.is_open(at(text), &TimeZone::UTC);
    assert!(open("2026-12-24T23:59:59.999Z"));
    assert!(!open("2026-12-25T00:00:00Z"));
    assert!(!open("2026-12-25T21:00:00Z"));
    assert!(open("2026-12-26T03:00:00Z"));
}

#[test]
fn a_schedule_without_an_opening_never_opens() {
    let all = DaySpan {
        days: 0b111_1111,
        from_s: 0,
        to_s: 86_400,
    };
    let schedule = Schedule::new(&[all], Polarity::Quiet, &[]);
    assert!(schedule.never_opens());
    assert_eq!(schedule.next_open(0, &in_zone("Europe/Lisbon")), None);
    assert_eq!(
        Schedule::new(&[all], Polarity::Open, &[]).open_until(0, &TimeZone::UTC),
        None
    );
}

#[test]
fn closed_dates_are_found_however_far_away_and_take_away_one_opening_each() {
    let whole_days = |days| DaySpan {
        days,
        from_s: 0,
        to_s: 86_400,
    };
    let christmas = Schedule::new(&[whole_days(0b111_1111)], Polarity::Open, &[date(2026, 12, 25)]);
    let zone = in_zone("America/New_York");
    let summer = at("2026-06-10T16:00:00Z");
    assert_eq!(
        christmas.open_until(summer, &zone),
        Some(at("2026-12-25T00:00:00-05:00"))
    );
    let mondays = Schedule::new(
        &[whole_days(0b000_0001)],
        Polarity::Open,
        &[date(2026, 6, 15), date(2026, 6, 22)],
    );
    assert_eq!(mondays.next_open(summer, &zone), Some(at("2026-06-29T00:00:00-04:00")));
}

#[test]
fn an_hour_whose_start_the_clock_skips_begins_with_its_first_instant() {
    // St. John's, 2010-03-14: 00:01 became 01:01.
    let bounds = calendar::bounds(
        Period::Hour,
        at("2010-03-14T04:00:00Z"),
        &in_zone("America/St_Johns"),
        Weekday::Monday,
    );
    assert_eq!(bounds.start_ms, at("2010-03-14T03:31:00Z"));
    assert_eq!(bounds.end_ms, at("2010-03-14T04:30:00Z"));
}

#[test]
fn a_day_that_has_begun_is_today_though_the_clock_was_set_back_over_midnight() {
    // St. John's, 2010-11-07: 00:01 became 23:01 of the day before.
    let day = |text: &str| calendar::local_day(at(text), &in_zone("America/St_Johns"));
    assert_eq!(day("2010-11-07T02:29:59Z"), date(2010, 11, 6));
    assert_eq!(day("2010-11-07T02:45:00Z"), date(2010, 11, 7));
}
