//! The small values of the file: truth values, numbers, durations, dates, hours, days, zones, names.
//!
//! Each reader answers `None` after it has added a finding, so that a caller goes on and finds more.

use super::diagnostic::{Diagnostic, Findings, Span as Place, nearest, one_of, shortened};
use super::tree::{Node, Value};
use crate::policy::window::zone;
use crate::policy::window::{Span, ZoneChoice};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

/// The history reaches ten years back; nothing in a policy is longer.
const LONGEST_MS: i64 = 3_660 * 86_400_000;
const LONGEST_MONTHS: i32 = 120;
/// Amounts of money and points, in whole units.
const LARGEST_DECIMAL: i64 = 1_000_000_000;

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const WEEKDAYS_LONG: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// The text of a scalar.
pub fn text<'n>(node: &'n Node, what: &str, findings: &mut Findings) -> Option<&'n str> {
    let text = node.text();
    if text.is_none() && node.is_empty() {
        let label = "nothing is written here: expected a value after the colon";
        findings.error("type", node.span, format!("{what} is empty"), label);
    } else if text.is_none() {
        let message = format!("{what} is a single value, not {}", node.described());
        findings.error("type", node.span, message, format!("expected {what}"));
    }
    text
}

/// `true` or `false`.
pub fn truth(node: &Node, what: &str, findings: &mut Findings) -> Option<bool> {
    match &node.value {
        Value::Scalar { text, plain: true } if text == "true" => Some(true),
        Value::Scalar { text, plain: true } if text == "false" => Some(false),
        _ => {
            wrong(node, what, "`true` or `false`", findings);
            None
        }
    }
}

/// A whole number in a range.
pub fn integer(node: &Node, what: &str, range: std::ops::RangeInclusive<i64>, findings: &mut Findings) -> Option<i64> {
    let number = node
        .text()
        .filter(|text| looks_integer(text))
        .and_then(|text| text.parse::<i64>().ok());
    if let Some(number) = number.filter(|number| range.contains(number)) {
        return Some(number);
    }
    let expected = if range.start() == range.end() {
        format!("`{}`", range.start())
    } else {
        format!("a whole number from {} to {}", range.start(), range.end())
    };
    wrong(node, what, &expected, findings);
    None
}

/// Whether a text is written like a whole number.
pub fn looks_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A decimal that is not negative, in units of 10^-`digits`, exactly.
pub fn decimal(node: &Node, what: &str, digits: usize, findings: &mut Findings) -> Option<i64> {
    let parsed = node.text().and_then(|text| fixed_point(text, digits));
    if parsed.is_none() {
        let least = match node.text() {
            Some(text) if text.starts_with('-') => "0 or ",
            _ => "",
        };
        let expected = format!("{least}a number such as `1.25`, with at most {digits} digits after the point");
        wrong(node, what, &expected, findings);
    }
    parsed
}

/// A share from nothing to all, `2`, `0.5` or `70%`, in hundredths of a percent.
pub fn percent(node: &Node, what: &str, findings: &mut Findings) -> Option<i64> {
    let written = node
        .text()
        .map(|text| text.strip_suffix('%').unwrap_or(text).trim_end());
    let parsed = written
        .and_then(|text| fixed_point(text, 2))
        .filter(|share| *share <= 10_000);
    if parsed.is_none() {
        wrong(
            node,
            what,
            "a percentage from 0 to 100, with at most 2 digits after the point",
            findings,
        );
    }
    parsed
}

fn fixed_point(text: &str, digits: usize) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > digits || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok().filter(|whole| *whole <= LARGEST_DECIMAL)?;
    let padded = format!("{fraction:0<digits$}");
    let fraction: i64 = if padded.is_empty() { 0 } else { padded.parse().ok()? };
    whole
        .checked_mul(10_i64.checked_pow(u32::try_from(digits).ok()?)?)?
        .checked_add(fraction)
}

/// A duration: `30s`, `20min`, `4h`, `7d`, `2w`, `1mo`, `1y`.
pub fn span(node: &Node, what: &str, findings: &mut Findings) -> Option<Span> {
    let Some(text) = node.text() else {
        let message = format!("{what} is a duration, not {}", node.described());
        findings.error(
            "type",
            node.span,
            message,
            "expected a number and a unit, such as `4h` or `7d`",
        );
        return None;
    };
    match parse_span(text) {
        Ok(span) => Some(span),
        Err(problem) => {
            findings.push(problem.into_diagnostic(node, what, text));
            None
        }
    }
}

/// A duration that must not be zero.
pub fn positive_span(node: &Node, what: &str, findings: &mut Findings) -> Option<Span> {
    let span = span(node, what, findings)?;
    if matches!(span, Span::Exact { ms: 0 } | Span::Months(0)) {
        findings.error(
            "range",
            node.span,
            format!("{what} is longer than nothing"),
            "expected more than 0",
        );
        return None;
    }
    Some(span)
}

/// A duration that no calendar is needed for, in milliseconds.
pub fn exact_ms(node: &Node, what: &str, findings: &mut Findings) -> Option<i64> {
    match span(node, what, findings)? {
        Span::Exact { ms } => Some(ms),
        Span::Months(_) => {
            let label = "expected `s`, `min`, `h`, `d` or `w`: months and years are not of one length";
            findings.error("duration", node.span, format!("{what} is an exact duration"), label);
            None
        }
    }
}

/// Why a text is not a duration.
pub enum SpanProblem {
    /// `5m`: minutes or months?
    Ambiguous,
    Unit,
    Form,
    TooLong,
}

impl SpanProblem {
    /// The finding about it.
    pub fn into_diagnostic(self, node: &Node, what: &str, text: &str) -> Diagnostic {
        let number: String = text.chars().take_while(char::is_ascii_digit).collect();
        let unit = &text[number.len()..];
        let error = |message: String, label: String| Diagnostic::error("duration", node.span, message, label);
        match self {
            Self::Ambiguous => {
                let label = format!("`{number}min` for minutes, `{number}mo` for months");
                let message = format!("{what}: `m` could be minutes or months");
                error(message, label).suggest(Some(format!("{number}min")))
            }
            Self::Unit => {
                let words = [
                    ("sec", "s"),
                    ("seconds", "s"),
                    ("minutes", "min"),
                    ("hours", "h"),
                    ("days", "d"),
                ];
                let more = [
                    ("weeks", "w"),
                    ("months", "mo"),
                    ("years", "y"),
                    ("day", "d"),
                    ("hr", "h"),
                    ("month", "mo"),
                ];
                let long = words
                    .iter()
                    .chain(&more)
                    .find(|(long, _)| long.eq_ignore_ascii_case(unit.trim()));
                let units = ["s", "min", "h", "d", "w", "mo", "y"];
                let near = long.map(|(_, short)| *short).or_else(|| nearest(unit.trim(), units));
                let message = format!("{what}: unknown unit `{}`", shortened(unit));
                let suggestion = near.map(|near| format!("{number}{near}"));
                let label = match &suggestion {
                    Some(suggestion) => format!("did you mean `{suggestion}`?"),
                    None => format!("expected {}", one_of(&units)),
                };
                error(message, label).suggest(suggestion)
            }
            Self::Form => {
                let message = format!("{what}: `{}` is not a duration", shortened(text));
                error(
                    message,
                    "expected a whole number and a unit, such as `30s`, `20min`, `4h`, `7d`, `1mo`".to_owned(),
                )
            }
            Self::TooLong => error(
                format!("{what} is longer than ten years"),
                "the history reaches ten years back".to_owned(),
            ),
        }
    }
}

/// A duration from its text.
pub fn parse_span(text: &str) -> Result<Span, SpanProblem> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || unit.is_empty() {
        return Err(SpanProblem::Form);
    }
    let number: i64 = number.parse().map_err(|_| SpanProblem::TooLong)?;
    let unit_ms = match unit {
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        "mo" | "y" => {
            let months = number.checked_mul(if unit == "y" { 12 } else { 1 });
            let months = months
                .and_then(|months| i32::try_from(months).ok())
                .filter(|months| *months <= LONGEST_MONTHS);
            return months.map(Span::Months).ok_or(SpanProblem::TooLong);
        }
        "m" => return Err(SpanProblem::Ambiguous),
        _ if unit.trim().bytes().all(|byte| byte.is_ascii_alphabetic()) => return Err(SpanProblem::Unit),
        _ => return Err(SpanProblem::Form),
    };
    let ms = number.checked_mul(unit_ms).filter(|ms| *ms <= LONGEST_MS);
    ms.map(|ms| Span::Exact { ms }).ok_or(SpanProblem::TooLong)
}

/// A date, `2026-12-31`.
pub fn date(node: &Node, what: &str, findings: &mut Findings) -> Option<Date> {
    let date = node
        .text()
        .filter(|text| text.len() == 10)
        .and_then(|text| text.parse::<Date>().ok());
    if date.is_none() && !no_such_day(node, what, findings) {
        wrong(node, what, "a date such as `2026-12-31`", findings);
    }
    date
}

/// A date that is well written and stands in no calendar: `2026-02-30`.
fn no_such_day(node: &Node, what: &str, findings: &mut Findings) -> bool {
    let text = node.text().unwrap_or_default();
    let parts: Vec<&str> = text.split('-').collect();
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_written_well =
        matches!(parts[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2));
    if is_written_well {
        let label = "no calendar has this day: it is year, month, day";
        findings.error("value", node.span, format!("{what} cannot be `{text}`"), label);
    }
    is_written_well
}

/// The end of something: an instant with its offset, or a date, whose whole local day is included.
pub fn until_ms(node: &Node, what: &str, zone: &TimeZone, findings: &mut Findings) -> Option<i64> {
    let text = node.text().unwrap_or_default();
    let end = if text.len() == 10 {
        text.parse::<Date>().ok().and_then(|date| {
            let next = date.tomorrow().ok()?;
            Some(crate::policy::window::calendar::day_plus(next, 0, zone))
        })
    } else {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|instant| instant.as_millisecond())
    };
    if end.is_none() && !no_such_day(node, what, findings) {
        wrong(
            node,
            what,
            "a date such as `2026-12-31` or an instant such as `2026-12-31T18:00:00Z`",
            findings,
        );
    }
    end
}

/// Local time of a day in seconds after midnight, `"08:00"`; `"24:00"` only where `end` is true.
pub fn time_of_day(node: &Node, what: &str, end: bool, findings: &mut Findings) -> Option<i32> {
    let parsed = node.text().and_then(|text| {
        let (hour, minute) = text.split_once(':')?;
        let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if !two_digits(hour) || !two_digits(minute) {
            return None;
        }
        let (hour, minute): (i32, i32) = (hour.parse().ok()?, minute.parse().ok()?);
        let seconds = hour * 3_600 + minute * 60;
        let valid = minute < 60 && (hour < 24 || end && seconds == 86_400);
        valid.then_some(seconds)
    });
    if parsed.is_none() {
        let expected = if end {
            "a time of day from `\"00:00\"` to `\"24:00\"`"
        } else {
            "a time of day from `\"00:00\"` to `\"23:59\"`"
        };
        wrong(node, what, expected, findings);
    }
    parsed
}

/// Days of the week as bits from Monday: `mon`, `mon-fri`, `[sat, sun]`.
pub fn days(node: &Node, findings: &mut Findings) -> Option<u8> {
    let mut bits = 0;
    let mut complete = true;
    for item in node.as_list() {
        let text = text(item, "`days`", findings)?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (weekday_index(first), weekday_index(last)) {
            (Some(first), Some(last)) => {
                let length = (last + 7 - first) % 7;
                (0..=length).for_each(|step| bits |= 1_u8 << ((first + step) % 7));
            }
            (first_index, _) => {
                let wrong = if first_index.is_none() { first } else { last };
                findings.push(unknown_days(item.span, text, wrong));
                complete = false;
            }
        }
    }
    if bits == 0 && complete {
        findings.error(
            "range",
            node.span,
            "`days` names no day",
            "expected days such as `mon-fri`",
        );
    }
    (complete && bits != 0).then_some(bits)
}

/// The finding about days that are none; capitals and whole words are understood.
fn unknown_days(place: Place, written: &str, wrong: &str) -> Diagnostic {
    let message = format!("unknown day `{}`", shortened(wrong));
    let lower = written.to_lowercase();
    let lower = lower.trim();
    let meant = match lower {
        "daily" | "everyday" | "every day" | "all" => Some("mon-sun".to_owned()),
        "weekdays" | "weekday" | "workdays" => Some("mon-fri".to_owned()),
        "weekend" | "weekends" => Some("sat-sun".to_owned()),
        _ => {
            let known = |name: &str| {
                WEEKDAYS
                    .iter()
                    .map(|(short, _)| *short)
                    .chain(WEEKDAYS_LONG)
                    .any(|day| day == name)
            };
            let near = |name: &str| {
                let names = WEEKDAYS.iter().map(|(short, _)| *short).chain(WEEKDAYS_LONG);
                if known(name) {
                    Some(name.to_owned())
                } else {
                    nearest(name, names).map(str::to_owned)
                }
            };
            match lower.split_once(['-', '–']) {
                Some((first, last)) => near(first.trim())
                    .zip(near(last.trim()))
                    .map(|(first, last)| format!("{first}-{last}")),
                None => near(lower),
            }
        }
    };
    let label = match &meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "expected days such as `mon`, `mon-fri` or `[sat, sun]`".to_owned(),
    };
    Diagnostic::error("unknown-name", place, message, label).suggest(meant)
}

/// One day of the week, `monday` or `mon`.
pub fn weekday(node: &Node, what: &str, findings: &mut Findings) -> Option<Weekday> {
    let text = text(node, what, findings)?;
    let found = weekday_index(text).map(|index| WEEKDAYS[index].1);
    if found.is_none() {
        findings.unknown("day", text, node.span, WEEKDAYS_LONG);
    }
    found
}

fn weekday_index(name: &str) -> Option<usize> {
    let short = WEEKDAYS.iter().position(|(short, _)| *short == name);
    short.or_else(|| WEEKDAYS_LONG.iter().position(|long| *long == name))
}

/// An IANA zone of the bundled database.
pub fn iana_zone(node: &Node, what: &str, findings: &mut Findings) -> Option<TimeZone> {
    let name = text(node, what, findings)?;
    let found = zone::named(name);
    if found.is_none() && findings.is_full() {
        findings.error("unknown-name", node.span, "", "");
    } else if found.is_none() {
        let names: Vec<String> = jiff::tz::TimeZoneDatabase::bundled()
            .available()
            .map(|name| name.to_string())
            .collect();
        // `Paris` is most likely `Europe/Paris`.
        let city = |zone: &&str| {
            zone.rsplit('/')
                .next()
                .is_some_and(|city| city.eq_ignore_ascii_case(name))
        };
        let near = (names.iter().map(String::as_str).find(city)).or(nearest(name, names.iter().map(String::as_str)));
        let label = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "expected an IANA name such as `Europe/Lisbon`".to_owned(),
        };
        let message = format!("{what}: unknown time zone `{}`", shortened(name));
        findings.push(Diagnostic::error("unknown-name", node.span, message, label).suggest(near));
    }
    found
}

/// The zone of a rule: `customer`, `company` or an IANA name.
pub fn zone_choice(node: &Node, findings: &mut Findings) -> Option<ZoneChoice> {
    match text(node, "`timezone`", findings)? {
        "customer" => Some(ZoneChoice::Customer),
        "company" => Some(ZoneChoice::Company),
        "device" => {
            let message = "the time zone of the device is not in version 1";
            findings.error(
                "not-in-version-1",
                node.span,
                message,
                "expected `customer`, `company` or an IANA name",
            );
            None
        }
        name => match nearest(name, ["customer", "company"]) {
            Some(near) if zone::named(name).is_none() => {
                let message = format!("unknown time zone `{}`", shortened(name));
                let label = format!("did you mean `{near}`?");
                findings.push(Diagnostic::error("unknown-name", node.span, message, label).suggest(Some(near)));
                None
            }
            _ => iana_zone(node, "`timezone`", findings).map(ZoneChoice::Fixed),
        },
    }
}

/// One of a table of words.
pub fn word<T: Copy>(node: &Node, what: &str, table: &[(&str, T)], findings: &mut Findings) -> Option<T> {
    let text = text(node, what, findings)?;
    let found = table.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        findings.unknown(what, text, node.span, table.iter().map(|(word, _)| *word));
    }
    found
}

/// A name that the owner chooses: lower-case letters, digits and the marks given, at most 64 of them.
pub fn check_name(name: &str, what: &str, marks: &str, place: Place, findings: &mut Findings) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || marks.contains(c);
    let good = !name.is_empty() && name.len() <= 64 && name.chars().all(allowed);
    if !good {
        let marks: Vec<String> = marks.chars().map(|mark| format!("`{mark}`")).collect();
        let label = format!("expected up to 64 of `a`–`z`, `0`–`9`, {}", marks.join(", "));
        findings.error("name", place, format!("{what} cannot be `{}`", shortened(name)), label);
    }
    good
}

fn wrong(node: &Node, what: &str, expected: &str, findings: &mut Findings) {
    let message = match node.text() {
        Some(text) => format!("{what} cannot be `{}`", shortened(text)),
        None => format!("{what} cannot be {}", node.described()),
    };
    let is_typographic = node
        .text()
        .is_some_and(|text| text.contains(['“', '”', '„', '‘', '’', '«', '»']));
    let label = if is_typographic {
        "these are typographic quotes: write straight ones, `\"`".to_owned()
    } else {
        format!("expected {expected}")
    };
    findings.error("value", node.span, message, label);
}
