//! From a record to the JSON text whose fields are read: size, reserved headers, encoding, and CloudEvents.
//!
//! CloudEvents come in two modes of the Kafka binding. *Binary*: headers `ce_id` and `ce_source`, the value is the body
//! itself. *Structured*: header `content-type: application/cloudevents+json`, the value is an envelope with `id`, `source`
//! and the body under `data`. In both, source and id together are the identity, and the body's own `intent_id` or
//! `event_id` is not read: reports about such an intent name the identity that its decision record shows.

use super::field::{missing, present, required};
use super::json::{bad_field, bounded_text, members, not_json, parse_object, string};
use super::limits::ID_BYTES;
use super::{Header, Malformed, MalformedKind, Name, is_reserved_header};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The text whose fields are read, and the identity that an envelope gives it.
pub(super) struct Body<'a> {
    pub(super) text: &'a str,
    pub(super) identity: Option<Name>,
}

members!(CloudEvent {
    Id = "id",
    Source = "source",
    Data = "data",
});

const STRUCTURED_MODE: &[u8] = b"application/cloudevents";
const STRUCTURED_JSON: &[u8] = b"application/cloudevents+json";

/// Opens a record. `reserved_headers_allowed`: a record of ours (a stray) carries our headers rightfully.
pub(super) fn open<'a>(
    value: Option<&'a [u8]>,
    headers: &[Header],
    max_bytes: usize,
    reserved_headers_allowed: bool,
) -> Result<Body<'a>, Malformed> {
    let value = value.ok_or_else(|| not_json("the record has no value"))?;
    if value.len() > max_bytes {
        return Err(Malformed::new(
            MalformedKind::TooLarge,
            format!("value: expected at most {max_bytes} bytes"),
        ));
    }
    let headers = Attributes::of(headers, reserved_headers_allowed)?;
    let text = bounded_text(value)?;
    match headers.content_type {
        Some(content_type) if starts_with_ignoring_case(content_type, STRUCTURED_MODE) => {
            if !is_structured_json(content_type) {
                return Err(not_json("content-type: expected application/cloudevents+json"));
            }
            structured(text)
        }
        _ => Ok(Body {
            text,
            identity: headers.identity()?,
        }),
    }
}

/// The headers that mean something here.
#[derive(Default)]
struct Attributes<'a> {
    content_type: Option<&'a [u8]>,
    /// Some header says that this is a CloudEvent.
    is_cloud_event: bool,
    id: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
}

impl<'a> Attributes<'a> {
    fn of(headers: &'a [Header], reserved_headers_allowed: bool) -> Result<Self, Malformed> {
        let mut found = Attributes::default();
        for (name, value) in headers {
            if is_reserved_header(name) && !reserved_headers_allowed {
                return Err(Malformed::new(
                    MalformedKind::ReservedHeader,
                    "header names that begin with forbear- are reserved",
                ));
            }
            let (place, label) = match name.as_str() {
                "ce_id" => (&mut found.id, "ce_id"),
                "ce_source" => (&mut found.source, "ce_source"),
                "ce_specversion" => {
                    found.is_cloud_event = true;
                    continue;
                }
                _ if name.eq_ignore_ascii_case("content-type") => {
                    found.content_type = value.as_deref();
                    continue;
                }
                _ => continue,
            };
            found.is_cloud_event = true;
            if let Some(value) = value.as_deref()
                && place.replace(value).is_some()
            {
                return Err(bad_field(label, "the header to occur once"));
            }
        }
        Ok(found)
    }

    fn identity(&self) -> Result<Option<Name>, Malformed> {
        if !self.is_cloud_event {
            return Ok(None);
        }
        let source = attribute("ce_source", self.source)?;
        let id = attribute("ce_id", self.id)?;
        Ok(Some(identity(source, id)))
    }
}

fn attribute<'a>(label: &str, value: Option<&'a [u8]>) -> Result<&'a str, Malformed> {
    let text = std::str::from_utf8(value.ok_or_else(|| missing(label))?).ok();
    text.filter(|text| !text.is_empty())
        .ok_or_else(|| bad_field(label, "a text that is not empty"))
}

fn structured(text: &str) -> Result<Body<'_>, Malformed> {
    let envelope = parse_object::<CloudEvent>(text)?;
    let attribute = |member, label| {
        string(required(&envelope, member)?)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| bad_field(label, "a string that is not empty"))
    };
    let source = attribute(CloudEvent::Source, "source")?;
    let id = attribute(CloudEvent::Id, "id")?;
    let data = present(&envelope, CloudEvent::Data).ok_or_else(|| missing("data"))?;
    if !data.starts_with('{') {
        return Err(bad_field("data", "an object"));
    }
    Ok(Body {
        text: data,
        identity: Some(identity(&source, &id)),
    })
}

/// One id out of source and id: `<source> <id>` where that is unambiguous and fits, else `ce:` and a SHA-256 over both.
/// A source is a URI reference, so it has no space; the two forms cannot meet, since the second has none.
fn identity(source: &str, id: &str) -> Name {
    if !source.contains(' ') && source.len() + 1 + id.len() <= ID_BYTES {
        return format!("{source} {id}").into();
    }
    let digest = Sha256::new()
        .chain_update((source.len() as u64).to_be_bytes())
        .chain_update(source)
        .chain_update(id)
        .finalize();
    let mut text = String::from("ce:");
    for byte in digest {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

fn starts_with_ignoring_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn is_structured_json(content_type: &[u8]) -> bool {
    starts_with_ignoring_case(content_type, STRUCTURED_JSON)
        && matches!(content_type.get(STRUCTURED_JSON.len()), None | Some(b';' | b' '))
}
