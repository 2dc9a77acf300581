//! The decoder of intents.

use super::envelope::open;
use super::field::{
    optional_cost_micros, optional_id, optional_instant_ms, optional_name, optional_names, optional_number,
    optional_text, present, required_id, whole_number,
};
use super::json::{members, parse_object};
use super::limits::{ENDPOINT_BYTES, FALLBACK_CHANNELS, PRIORITY, TAGS};
use super::{Header, Intent, Malformed};

const DEFAULT_PRIORITY: u16 = 500;
const DEFAULT_MESSAGE_TYPE: &str = "campaign";

members!(Field {
    IntentId = "intent_id",
    CustomerId = "customer_id",
    Channel = "channel",
    Division = "division",
    Class = "class",
    MessageType = "message_type",
    Campaign = "campaign",
    Category = "category",
    Topic = "topic",
    Tags = "tags",
    Offer = "offer",
    Endpoint = "endpoint",
    FallbackChannels = "fallback_channels",
    Priority = "priority",
    Value = "value",
    Propensity = "propensity",
    Cost = "cost",
    NotBefore = "not_before",
    DeliverAt = "deliver_at",
    ExpiresAt = "expires_at",
    CreatedAt = "created_at",
    Objective = "objective",
    Payload = "payload",
});

/// Decodes one record of an intents topic.
///
/// `record_timestamp_ms` stands in for an absent `created_at`. A value of more than `max_bytes` is `too_large`.
/// `reserved_headers_allowed` is true only for headers that we wrote ourselves.
///
/// CloudEvents of the Kafka binding are read too, in binary mode (`ce_id`, `ce_source`; the value is the intent) and in
/// structured mode (`content-type: application/cloudevents+json`; the intent lies under `data`). Then source and id
/// together are the `intent_id`: `<source> <id>`, or `ce:` and a SHA-256 where that would exceed 256 bytes or the source
/// holds a space. An `intent_id` in the body is not read.
pub fn decode_intent(
    value: Option<&[u8]>,
    headers: &[Header],
    record_timestamp_ms: i64,
    max_bytes: usize,
    reserved_headers_allowed: bool,
) -> Result<Intent, Malformed> {
    let body = open(value, headers, max_bytes, reserved_headers_allowed)?;
    let object = parse_object::<Field>(body.text)?;
    let intent_id = match body.identity {
        Some(identity) => identity,
        None => required_id(&object, Field::IntentId)?,
    };
    let priority = match present(&object, Field::Priority) {
        // At most 1000: the cast is exact.
        Some(raw) => whole_number(Field::Priority, raw, PRIORITY.into())? as u16,
        None => DEFAULT_PRIORITY,
    };
    Ok(Intent {
        intent_id,
        customer_id: required_id(&object, Field::CustomerId)?,
        channel: required_id(&object, Field::Channel)?,
        division: required_id(&object, Field::Division)?,
        class: optional_name(&object, Field::Class)?,
        message_type: optional_id(&object, Field::MessageType)?.unwrap_or_else(|| DEFAULT_MESSAGE_TYPE.into()),
        campaign: optional_name(&object, Field::Campaign)?,
        category: optional_name(&object, Field::Category)?,
        topic: optional_name(&object, Field::Topic)?,
        tags: optional_names(&object, Field::Tags, TAGS)?,
        offer: optional_name(&object, Field::Offer)?,
        endpoint: optional_text(&object, Field::Endpoint, ENDPOINT_BYTES)?,
        fallback_channels: optional_names(&object, Field::FallbackChannels, FALLBACK_CHANNELS)?,
        priority,
        value: optional_number(&object, Field::Value, f64::MIN..=f64::MAX)?,
        propensity: optional_number(&object, Field::Propensity, 0.0..=1.0)?,
        cost_micros: optional_cost_micros(&object, Field::Cost)?,
        not_before_ms: optional_instant_ms(&object, Field::NotBefore)?,
        deliver_at_ms: optional_instant_ms(&object, Field::DeliverAt)?,
        expires_at_ms: optional_instant_ms(&object, Field::ExpiresAt)?,
        // A record without a timestamp has -1.
        created_at_ms: optional_instant_ms(&object, Field::CreatedAt)?.unwrap_or(record_timestamp_ms.max(0)),
        objective: optional_name(&object, Field::Objective)?,
    })
}
