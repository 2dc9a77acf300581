//! One reader for each kind of field: raw JSON text → a checked value, or a [`Malformed`] that names the field and what
//! was expected. JSON `null` is the same as absent, except where [`named`] is asked.

use super::json::{Member, Object, all_members, bad_field, elements, string};
use super::limits::{ATTRIBUTE_BYTES, ATTRIBUTES, COST, ID_BYTES, NAME_BYTES};
use super::{AttributeValue, Malformed, MalformedKind, Name, time};
use jiff::tz::TimeZoneDatabase;
use std::sync::LazyLock;

/// The zone names that exist: those of the bundled database, the same on every machine.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

const NULL: &str = "null";

/// The member where it is there and not `null`.
pub(super) fn present<'a, M: Member>(object: &Object<'a, M>, member: M) -> Option<&'a str> {
    object.named(member).filter(|raw| *raw != NULL)
}

/// The member where it is there: outer none: absent; inner none: `null`, which clears.
pub(super) fn named<'a, M: Member>(object: &Object<'a, M>, member: M) -> Option<Option<&'a str>> {
    object.named(member).map(|raw| (raw != NULL).then_some(raw))
}

/// The member's raw text, or `missing_field`.
pub(super) fn required<'a, M: Member>(object: &Object<'a, M>, member: M) -> Result<&'a str, Malformed> {
    present(object, member).ok_or_else(|| missing(member.name()))
}

pub(super) fn missing(name: &str) -> Malformed {
    Malformed::new(MalformedKind::MissingField, format!("{name}: required"))
}

/// An id (or a name that has to say something): 1 to 256 bytes.
pub(super) fn id<M: Member>(member: M, raw: &str) -> Result<Name, Malformed> {
    let text = string(raw).filter(|text| (1..=ID_BYTES).contains(&text.len()));
    text.map(Name::from)
        .ok_or_else(|| bad_field(member.name(), "a string of 1 to 256 bytes"))
}

/// A required id.
pub(super) fn required_id<M: Member>(object: &Object<M>, member: M) -> Result<Name, Malformed> {
    id(member, required(object, member)?)
}

/// An optional id.
pub(super) fn optional_id<M: Member>(object: &Object<M>, member: M) -> Result<Option<Name>, Malformed> {
    present(object, member).map(|raw| id(member, raw)).transpose()
}

/// An optional name of at most 256 bytes.
pub(super) fn optional_name<M: Member>(object: &Object<M>, member: M) -> Result<Option<Name>, Malformed> {
    optional_text(object, member, NAME_BYTES)
}

/// An optional text of at most so many bytes.
pub(super) fn optional_text<M: Member>(
    object: &Object<M>,
    member: M,
    most_bytes: usize,
) -> Result<Option<Name>, Malformed> {
    present(object, member)
        .map(|raw| text(member, raw, most_bytes))
        .transpose()
}

/// A text of at most so many bytes.
pub(super) fn text<M: Member>(member: M, raw: &str, most_bytes: usize) -> Result<Name, Malformed> {
    let text = string(raw).filter(|text| text.len() <= most_bytes);
    text.map(Name::from)
        .ok_or_else(|| bad_field(member.name(), &format!("a string of at most {most_bytes} bytes")))
}

/// A list of at most so many names of 1 to 256 bytes each.
pub(super) fn names<M: Member>(member: M, raw: &str, most: usize) -> Result<Vec<Name>, Malformed> {
    let read = || {
        let items = elements(raw).filter(|items| items.len() <= most)?;
        let texts = items.into_iter().map(|item| {
            let text = string(item).filter(|text| (1..=NAME_BYTES).contains(&text.len()));
            text.map(Name::from)
        });
        texts.collect::<Option<Vec<Name>>>()
    };
    read().ok_or_else(|| {
        bad_field(
            member.name(),
            &format!("a list of at most {most} strings of 1 to {NAME_BYTES} bytes"),
        )
    })
}

/// An optional list of names; absent is empty.
pub(super) fn optional_names<M: Member>(object: &Object<M>, member: M, most: usize) -> Result<Vec<Name>, Malformed> {
    present(object, member).map_or_else(|| Ok(Vec::new()), |raw| names(member, raw, most))
}

/// An RFC 3339 time.
pub(super) fn instant_ms<M: Member>(member: M, raw: &str) -> Result<i64, Malformed> {
    string(raw)
        .and_then(|text| time::parse_rfc3339(&text))
        .ok_or_else(|| bad_field(member.name(), "an RFC 3339 time in the years 1970 to 9999"))
}

/// An RFC 3339 time that may lie before 1970.
pub(super) fn old_instant_ms<M: Member>(member: M, raw: &str) -> Result<i64, Malformed> {
    string(raw)
        .and_then(|text| time::parse_any_year(&text))
        .ok_or_else(|| bad_field(member.name(), "an RFC 3339 time in the years 0000 to 9999"))
}

/// An optional time.
pub(super) fn optional_instant_ms<M: Member>(object: &Object<M>, member: M) -> Result<Option<i64>, Malformed> {
    present(object, member).map(|raw| instant_ms(member, raw)).transpose()
}

/// A whole number from 0 to `most`; `3.0` is one too.
pub(super) fn whole_number<M: Member>(member: M, raw: &str, most: u32) -> Result<u32, Malformed> {
    number(raw)
        .filter(|number| (0.0..=f64::from(most)).contains(number) && number.fract() == 0.0)
        // In range and whole: the cast is exact.
        .map(|number| number as u32)
        .ok_or_else(|| bad_field(member.name(), &format!("a whole number from 0 to {most}")))
}

/// An optional finite number in a range.
pub(super) fn optional_number<M: Member>(
    object: &Object<M>,
    member: M,
    range: std::ops::RangeInclusive<f64>,
) -> Result<Option<f64>, Malformed> {
    let Some(raw) = present(object, member) else {
        return Ok(None);
    };
    match number(raw).filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None if *range.end() == f64::MAX => Err(bad_field(member.name(), "a finite number")),
        None => Err(bad_field(
            member.name(),
            &format!("a number from {} to {}", range.start(), range.end()),
        )),
    }
}

/// Optional money of at least 0, in millionths (rounded to the nearest).
pub(super) fn optional_cost_micros<M: Member>(object: &Object<M>, member: M) -> Result<Option<i64>, Malformed> {
    let cost = optional_number(object, member, 0.0..=COST)?;
    // At most 10^15: the cast is exact.
    Ok(cost.map(|cost| (cost * 1_000_000.0).round() as i64))
}

/// An optional truth value; absent is false.
pub(super) fn optional_truth<M: Member>(object: &Object<M>, member: M) -> Result<bool, Malformed> {
    match present(object, member) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(bad_field(member.name(), "true or false")),
    }
}

/// The canonical spelling of an IANA zone name.
pub(super) fn zone_name<M: Member>(member: M, raw: &str) -> Result<Name, Malformed> {
    string(raw)
        .and_then(|text| ZONES.get(&text).ok())
        .filter(|zone| !zone.is_unknown())
        .and_then(|zone| zone.iana_name().map(Name::from))
        .ok_or_else(|| bad_field(member.name(), "the name of a time zone of the IANA database"))
}

/// Attributes: names and scalars, sorted by name; `null` ones are left out.
pub(super) fn attributes<M: Member>(member: M, raw: &str) -> Result<Vec<(Name, AttributeValue)>, Malformed> {
    let read = || {
        let members = all_members(raw).filter(|members| members.len() <= ATTRIBUTES)?;
        let mut attributes = Vec::with_capacity(members.len());
        for (name, raw) in members {
            if !(1..=NAME_BYTES).contains(&name.len()) {
                return None;
            }
            if raw != NULL {
                attributes.push((Name::from(name), attribute(raw)?));
            }
        }
        attributes.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Some(attributes)
    };
    read().ok_or_else(|| {
        bad_field(
            member.name(),
            &format!(
                "an object of at most {ATTRIBUTES} unique names of 1 to {NAME_BYTES} bytes with numbers, true, false or \
                 strings of at most {ATTRIBUTE_BYTES} bytes"
            ),
        )
    })
}

fn attribute(raw: &str) -> Option<AttributeValue> {
    match raw {
        "true" => Some(AttributeValue::Truth(true)),
        "false" => Some(AttributeValue::Truth(false)),
        _ if raw.starts_with('"') => string(raw)
            .filter(|text| text.len() <= ATTRIBUTE_BYTES)
            .map(|text| AttributeValue::Text(text.into())),
        _ => number(raw).map(AttributeValue::Number),
    }
}

/// A finite JSON number.
fn number(raw: &str) -> Option<f64> {
    serde_json::from_str::<f64>(raw)
        .ok()
        .filter(|number| number.is_finite())
}
