//! The decoder of engagement events.
//!
//! What every type may carry (which intent, which channel, the description of a message) is read on every type; what
//! belongs to one type (consent, preferences, profile) is read on that type only, so that a click with a field
//! `timezone` of the producer's own is no dead letter.

use super::envelope::open;
use super::field::{
    attributes, instant_ms, missing, named, names, old_instant_ms, optional_cost_micros, optional_id,
    optional_instant_ms, optional_name, optional_names, optional_text, optional_truth, present, required, required_id,
    text, whole_number, zone_name,
};
use super::json::{Object, bad_field, members, parse_object, string};
use super::limits::{ENDPOINT_BYTES, NAME_BYTES, PREFERENCE_ENTRIES, SEGMENTS, TAGS};
use super::{
    Basis, EngagementEvent, EventKind, Header, Malformed, MalformedKind, Name, PreferenceChange, ProfileChange,
};

members!(Field {
    EventId = "event_id",
    CustomerId = "customer_id",
    Type = "type",
    OccurredAt = "occurred_at",
    IntentId = "intent_id",
    Channel = "channel",
    Division = "division",
    Endpoint = "endpoint",
    Purpose = "purpose",
    Campaign = "campaign",
    Category = "category",
    Topic = "topic",
    Offer = "offer",
    Tags = "tags",
    Class = "class",
    MessageType = "message_type",
    Cost = "cost",
    IssueId = "issue_id",
    Machine = "machine",
    Basis = "basis",
    ExpiresAt = "expires_at",
    RefusedTopics = "refused_topics",
    OnlyTopics = "only_topics",
    RefusedChannels = "refused_channels",
    MaxPerWeek = "max_per_week",
    PausedUntil = "paused_until",
    Timezone = "timezone",
    Jurisdiction = "jurisdiction",
    Segments = "segments",
    Attributes = "attributes",
    Since = "since",
});

/// A type that is public but not built yet.
const IDENTITY_MERGED: &str = "identity_merged";

/// Decodes one record of an engagement topic. The parameters are those of [`decode_intent`](super::decode_intent), and
/// CloudEvents are read in the same two modes: there, source and id together are the `event_id`.
///
/// The record's timestamp is not read: `occurred_at` is required.
pub fn decode_event(
    value: Option<&[u8]>,
    headers: &[Header],
    max_bytes: usize,
    reserved_headers_allowed: bool,
) -> Result<EngagementEvent, Malformed> {
    let body = open(value, headers, max_bytes, reserved_headers_allowed)?;
    let object = parse_object::<Field>(body.text)?;
    let event_id = match body.identity {
        Some(identity) => identity,
        None => required_id(&object, Field::EventId)?,
    };
    let customer_id = required_id(&object, Field::CustomerId)?;
    let kind = kind_of(required(&object, Field::Type)?)?;
    require_what_the_kind_needs(&object, kind)?;
    let states_consent = states_consent(kind);
    let consent_id = |member| {
        if states_consent {
            optional_id(&object, member)
        } else {
            Ok(None)
        }
    };
    Ok(EngagementEvent {
        event_id,
        customer_id,
        occurred_at_ms: instant_ms(Field::OccurredAt, required(&object, Field::OccurredAt)?)?,
        kind,
        intent_id: optional_id(&object, Field::IntentId)?,
        channel: optional_id(&object, Field::Channel)?,
        division: optional_id(&object, Field::Division)?,
        endpoint: optional_text(&object, Field::Endpoint, ENDPOINT_BYTES)?,
        purpose: consent_id(Field::Purpose)?,
        campaign: optional_name(&object, Field::Campaign)?,
        category: optional_name(&object, Field::Category)?,
        topic: optional_name(&object, Field::Topic)?,
        offer: optional_name(&object, Field::Offer)?,
        tags: optional_names(&object, Field::Tags, TAGS)?,
        class: optional_name(&object, Field::Class)?,
        message_type: optional_id(&object, Field::MessageType)?,
        cost_micros: match kind {
            EventKind::ContactedElsewhere => optional_cost_micros(&object, Field::Cost)?,
            _ => None,
        },
        issue_id: optional_id(&object, Field::IssueId)?,
        machine: optional_truth(&object, Field::Machine)?,
        basis: if states_consent { basis(&object)? } else { None },
        expires_at_ms: if states_consent {
            optional_instant_ms(&object, Field::ExpiresAt)?
        } else {
            None
        },
        preferences: match kind {
            EventKind::PreferencesSet => Some(Box::new(preferences(&object)?)),
            _ => None,
        },
        profile: match kind {
            EventKind::ProfileSet => Some(Box::new(profile(&object)?)),
            _ => None,
        },
    })
}

fn kind_of(raw: &str) -> Result<EventKind, Malformed> {
    let word = string(raw).ok_or_else(|| bad_field("type", "a string"))?;
    EventKind::parse(&word).ok_or_else(|| {
        let detail = match word.as_ref() {
            IDENTITY_MERGED => "type: identity_merged is not supported yet",
            _ => "type: expected an engagement type",
        };
        Malformed::new(MalformedKind::UnknownType, detail)
    })
}

/// Without these the event could have no effect at all.
fn require_what_the_kind_needs(object: &Object<Field>, kind: EventKind) -> Result<(), Malformed> {
    let needed: &[(Field, &str)] = match kind {
        EventKind::ContactedElsewhere => &[(Field::Channel, "channel"), (Field::Division, "division")],
        EventKind::IntentCancelled => &[(Field::IntentId, "intent_id")],
        _ => &[],
    };
    match needed.iter().find(|(member, _)| present(object, *member).is_none()) {
        Some((_, name)) => Err(missing(name)),
        None => Ok(()),
    }
}

fn states_consent(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Unsubscribed | EventKind::Resubscribed | EventKind::ConsentGranted | EventKind::ConsentWithdrawn
    )
}

fn basis(object: &Object<Field>) -> Result<Option<Basis>, Malformed> {
    let Some(raw) = present(object, Field::Basis) else {
        return Ok(None);
    };
    let basis = string(raw).and_then(|word| Basis::parse(&word));
    basis
        .map(Some)
        .ok_or_else(|| bad_field("basis", "express, purchase or inquiry"))
}

fn preferences(object: &Object<Field>) -> Result<PreferenceChange, Malformed> {
    Ok(PreferenceChange {
        refused_topics: cleared_to_empty(object, Field::RefusedTopics, PREFERENCE_ENTRIES)?,
        only_topics: change(object, Field::OnlyTopics, |member, raw| {
            names(member, raw, PREFERENCE_ENTRIES)
        })?,
        refused_channels: cleared_to_empty(object, Field::RefusedChannels, PREFERENCE_ENTRIES)?,
        max_per_week: change(object, Field::MaxPerWeek, |member, raw| {
            whole_number(member, raw, u32::MAX)
        })?,
        paused_until_ms: change(object, Field::PausedUntil, instant_ms)?,
    })
}

fn profile(object: &Object<Field>) -> Result<ProfileChange, Malformed> {
    Ok(ProfileChange {
        timezone: change(object, Field::Timezone, zone_name)?,
        jurisdiction: change(object, Field::Jurisdiction, |member, raw| text(member, raw, NAME_BYTES))?,
        segments: cleared_to_empty(object, Field::Segments, SEGMENTS)?,
        attributes: change(object, Field::Attributes, attributes)?.map(Option::unwrap_or_default),
        since_ms: change(object, Field::Since, old_instant_ms)?,
    })
}

/// Outer none: not named; inner none: `null`, which clears.
fn change<T>(
    object: &Object<Field>,
    member: Field,
    read: impl FnOnce(Field, &str) -> Result<T, Malformed>,
) -> Result<Option<Option<T>>, Malformed> {
    named(object, member)
        .map(|raw| raw.map(|raw| read(member, raw)).transpose())
        .transpose()
}

/// A list for which cleared and empty are the same.
fn cleared_to_empty(object: &Object<Field>, member: Field, most: usize) -> Result<Option<Vec<Name>>, Malformed> {
    let change = change(object, member, |member, raw| names(member, raw, most))?;
    Ok(change.map(Option::unwrap_or_default))
}
