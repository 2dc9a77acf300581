//! Instants as text: RFC 3339 in and out, UTC milliseconds inside.
//!
//! The years 1970 to 9999 are accepted, the whole of 9999 included, since `9999-12-31T23:59:59Z` is how many systems
//! write "never". Nothing that a message or an event says can lie before: a year such as 0001 is how other systems write
//! "not set". Only how long somebody has been a customer may reach further back. What is finer than a millisecond is cut off.

use jiff::civil::{DateTime, date};

/// The last millisecond of the year 9999.
pub const MAX_INSTANT_MS: i64 = 253_402_300_799_999;
/// The first millisecond of the year 0000: the earliest that four digits can name.
const MIN_INSTANT_MS: i64 = -62_167_219_200_000;

const MS_PER_MINUTE: i64 = 60_000;
const MS_PER_DAY: i64 = 86_400_000;

/// Reads an RFC 3339 date-time; none if it is not one, or outside the years 1970 to 9999 (UTC).
///
/// A leap second (`:60`) is read as the second before it.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    parse_any_year(text).filter(|instant_ms| *instant_ms >= 0)
}

/// [`parse_rfc3339`] from the year 0000 on.
pub fn parse_any_year(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (wall, rest) = bytes.split_at_checked(19)?;
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| wall[*at] != *mark) || !matches!(wall[10], b'T' | b't' | b' ') {
        return None;
    }
    let second = digits(&wall[17..19])?;
    let date_time = DateTime::new(
        i16::try_from(digits(&wall[0..4])?).ok()?,
        digits(&wall[5..7])? as i8,
        digits(&wall[8..10])? as i8,
        digits(&wall[11..13])? as i8,
        digits(&wall[14..16])? as i8,
        if second == 60 { 59 } else { second as i8 },
        0,
    )
    .ok()?;
    let (fraction_ms, zone) = fraction(rest)?;
    let wall_ms = i64::try_from(date_time.duration_since(epoch()).as_millis()).ok()?;
    let instant_ms = wall_ms + fraction_ms - offset_minutes(zone)? * MS_PER_MINUTE;
    (MIN_INSTANT_MS..=MAX_INSTANT_MS)
        .contains(&instant_ms)
        .then_some(instant_ms)
}

/// Appends `YYYY-MM-DDTHH:MM:SS.mmmZ`. Instants that four digits cannot name are written as the nearest that they can.
pub fn push_rfc3339(into: &mut Vec<u8>, instant_ms: i64) {
    let clamped_ms = instant_ms.clamp(MIN_INSTANT_MS, MAX_INSTANT_MS);
    let (year, month, day) = civil_date(clamped_ms.div_euclid(MS_PER_DAY));
    let of_day_ms = clamped_ms.rem_euclid(MS_PER_DAY);
    push_digits(into, year, 4);
    into.push(b'-');
    push_digits(into, month, 2);
    into.push(b'-');
    push_digits(into, day, 2);
    into.push(b'T');
    push_digits(into, of_day_ms / 3_600_000, 2);
    into.push(b':');
    push_digits(into, of_day_ms / MS_PER_MINUTE % 60, 2);
    into.push(b':');
    push_digits(into, of_day_ms / 1000 % 60, 2);
    into.push(b'.');
    push_digits(into, of_day_ms % 1000, 3);
    into.push(b'Z');
}

/// [`push_rfc3339`] as bytes of their own.
pub fn rfc3339(instant_ms: i64) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    push_rfc3339(&mut text, instant_ms);
    text
}

fn epoch() -> DateTime {
    date(1970, 1, 1).at(0, 0, 0, 0)
}

/// The number that at most four ASCII digits name.
fn digits(bytes: &[u8]) -> Option<u16> {
    bytes.iter().try_fold(0u16, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u16::from(byte - b'0'))
    })
}

/// Milliseconds of an optional fraction, and what follows it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(after_point) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let length = after_point.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let (fraction, zone) = after_point.split_at(length);
    let milliseconds = (0..3).fold(0, |number, place| {
        number * 10 + i64::from(fraction.get(place).map_or(0, |byte| byte - b'0'))
    });
    Some((milliseconds, zone))
}

/// `Z` or `±hh:mm`, in minutes east of UTC.
fn offset_minutes(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let total = i64::from(hours * 60 + minutes);
            Some(if *sign == b'-' { -total } else { total })
        }
        _ => None,
    }
}

/// Year, month and day of a day counted from the epoch, from the year 0000 on.
///
/// Every record carries times, and the calendar library takes several times as long for this. Years are counted from
/// March here, so that the leap day is a year's last, and the days before a month follow one line: 30.6 days a month.
fn civil_date(days_since_epoch: i64) -> (i64, i64, i64) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    /// From 1 March of the year -400, where a cycle of 400 years begins, to the epoch.
    const EPOCH: i64 = 719_468 + DAYS_IN_400_YEARS;
    let days = days_since_epoch + EPOCH;
    let (cycle, of_cycle) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    // Take the leap days out of the days of the cycle, then all of its years have 365.
    let year_of_cycle = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) = if month_from_march < 10 {
        (month_from_march + 3, 0)
    } else {
        (month_from_march - 9, 1)
    };
    (400 * (cycle - 1) + year_of_cycle + next_year, month, day)
}

/// Appends the last digits of a number that is not negative.
fn push_digits(into: &mut Vec<u8>, number: i64, width: usize) {
    for divisor in [1000, 100, 10, 1].into_iter().skip(4 - width) {
        into.push(b'0' + (number / divisor % 10) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_rfc_3339_time_is_read_to_the_millisecond() {
        for (text, expected_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-03-28T20:30:00Z", 1_774_729_800_000),
            ("2026-03-28T22:30:00.5+02:00", 1_774_729_800_500),
            ("2026-03-28t15:00:00.1239-05:30", 1_774_729_800_123),
            ("2026-03-28 20:30:00-00:00", 1_774_729_800_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
            ("2017-01-01T05:29:60.75+05:30", 1_483_228_799_750),
            ("2026-03-28T20:30:00.0009999999999999999999z", 1_774_729_800_000),
            ("9999-12-31T23:59:59.999Z", MAX_INSTANT_MS),
        ] {
            assert_eq!(parse_rfc3339(text), Some(expected_ms), "{text:?} {expected_ms:?}");
        }
    }

    #[test]
    fn what_is_no_rfc_3339_time_in_range_is_refused() {
        for text in [
            "",
            "2026-03-28",
            "2026-03-28T20:30Z",
            "2026-03-28T20:30:00",
            "2026-03-28T20:30:00.Z",
            "2026-03-28T20:30:00+0200",
            "2026-03-28T20:30:00+24:00",
            "2026-03-28T20:30:00Z[UTC]",
            "2026-02-29T20:30:00Z",
            "2026-13-01T20:30:00Z",
            "2026-03-28T24:00:00Z",
            "2026-03-28T20:30:61Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "+2026-03-28T20:30:00Z",
            "1774729800",
            "2026-03-28T20:30:0é",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text:?}");
        }
    }

    #[test]
    fn any_year_of_four_digits_is_read_where_it_may_lie_before_1970() {
        for (text, expected_ms) in [
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("0000-01-01T00:00:00Z", Some(MIN_INSTANT_MS)),
            ("0000-01-01T00:00:00+00:01", None),
            ("9999-12-31T23:59:59.999Z", Some(MAX_INSTANT_MS)),
            ("9999-12-31T23:59:59-00:01", None),
            ("-001-01-01T00:00:00Z", None),
        ] {
            assert_eq!(parse_any_year(text), expected_ms, "{text:?}");
        }
    }

    #[test]
    fn an_instant_is_written_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), b"1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_774_729_800_007), b"2026-03-28T20:30:00.007Z");
        assert_eq!(rfc3339(-1), b"1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(i64::MAX), b"9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(i64::MIN), b"0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn every_day_that_four_digits_can_name_has_its_date() {
        let mut expected = date(0, 1, 1);
        for day in MIN_INSTANT_MS / MS_PER_DAY..=MAX_INSTANT_MS / MS_PER_DAY {
            let numbers = (expected.year().into(), expected.month().into(), expected.day().into());
            assert_eq!(civil_date(day), numbers);
            expected = expected.tomorrow().unwrap_or(expected);
        }
        assert_eq!(expected, date(9999, 12, 31));
    }

    proptest! {
        #[test]
        fn a_written_instant_is_read_as_the_same(instant_ms in 0..=MAX_INSTANT_MS) {
            let text = String::from_utf8(rfc3339(instant_ms)).unwrap();
            prop_assert_eq!(parse_rfc3339(&text), Some(instant_ms));
        }

        #[test]
        fn reading_agrees_with_the_calendar_library(
            seconds in 0..253_000_000_000i64,
            offset_minutes in -1439..1440i64,
        ) {
            let zone = jiff::tz::Offset::from_seconds(offset_minutes as i32 * 60).unwrap();
            let wall = zone.to_datetime(jiff::Timestamp::from_second(seconds).unwrap());
            let sign = if offset_minutes < 0 { '-' } else { '+' };
            let away = offset_minutes.abs();
            let text = format!("{wall}{sign}{:02}:{:02}", away / 60, away % 60);
            prop_assert_eq!(parse_rfc3339(&text), Some(seconds * 1000));
        }

        #[test]
        fn writing_agrees_with_the_calendar_library(seconds in -62_100_000_000..253_000_000_000i64) {
            let expected = jiff::Timestamp::from_second(seconds).unwrap().to_string().replace('Z', ".000Z");
            prop_assert_eq!(String::from_utf8(rfc3339(seconds * 1000)).unwrap(), expected);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
