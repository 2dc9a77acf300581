//! What a value of the policy may be.

use crate::message::{Basis, EventKind};
use serde_json::{Value, json};

const LENGTH: &str = "^[0-9]+(s|min|h|d|w|mo|y)$";
const EXACT_LENGTH: &str = "^[0-9]+(s|min|h|d|w)$";
pub(super) const WINDOW_LENGTH: &str = "^[0-9]+(s|min|h|d|w|mo|y| calendar-days?)$";
const WINDOW: &str = "^([0-9]+(s|min|h|d|w|mo|y| calendar-days?)|calendar-(hour|day|week|month|quarter|year)|ever)$";

pub(super) fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

pub(super) fn list(definition: &str) -> Value {
    json!({ "type": ["array", "null"], "items": reference(definition) })
}

pub(super) fn by_name(definition: &str) -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": "^[a-z0-9_-]{1,64}$" },
        "additionalProperties": reference(definition),
    })
}

/// What YAML reads as a number, a truth value or a text is a text where one is wanted.
pub(super) fn text() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

pub(super) fn name(marks: &str) -> Value {
    json!({ "type": ["string", "number"], "pattern": format!("^[a-z0-9{}]{{1,64}}$", marks.replace('-', "\\-")) })
}

pub(super) fn one_or_more(item: Value) -> Value {
    json!({ "anyOf": [item, { "type": "array", "items": item }] })
}

pub(super) fn one_or_more_texts() -> Value {
    one_or_more(text())
}

/// Values of a selector: an empty list would select nothing.
pub(super) fn values() -> Value {
    json!({ "anyOf": [text(), { "type": "array", "minItems": 1, "items": text() }] })
}

pub(super) fn duration() -> Value {
    json!({ "type": "string", "pattern": LENGTH })
}

pub(super) fn exact_duration() -> Value {
    json!({ "type": "string", "pattern": EXACT_LENGTH })
}

pub(super) fn window() -> Value {
    json!({ "type": "string", "pattern": WINDOW })
}

pub(super) fn decimal() -> Value {
    json!({ "type": ["number", "string"], "minimum": 0, "pattern": "^[0-9]+(\\.[0-9]+)?$" })
}

pub(super) fn limit() -> Value {
    json!({ "type": ["integer", "string"], "minimum": 0, "maximum": 1_000_000_000 })
}

/// A limit with digits after the point, or an expression.
pub(super) fn amount() -> Value {
    json!({ "type": ["number", "string"], "minimum": 0 })
}

pub(super) fn percent() -> Value {
    json!({ "type": ["number", "string"], "minimum": 0, "maximum": 100, "pattern": "^[0-9]+(\\.[0-9]+)?%?$" })
}

pub(super) fn condition() -> Value {
    json!({ "type": ["string", "boolean"], "maxLength": 2000 })
}

pub(super) fn date() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" })
}

pub(super) fn date_or_instant() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?$" })
}

pub(super) fn actions() -> Value {
    let action = json!({ "enum": ["fallback", "defer", "suppress"] });
    json!({ "anyOf": [action, { "type": "array", "minItems": 1, "items": action }] })
}

pub(super) fn mode() -> Value {
    json!({ "enum": ["opt-in", "opt-out"] })
}

pub(super) fn consent() -> Value {
    let row = reference("consent-row");
    json!({ "anyOf": [mode(), row, { "type": "array", "minItems": 1, "items": row }] })
}

pub(super) fn implied() -> Value {
    let bases = Basis::ALL.map(Basis::as_str);
    json!({ "type": "object", "propertyNames": { "enum": bases }, "additionalProperties": duration() })
}

pub(super) fn event() -> Value {
    json!({ "enum": EventKind::ALL.map(EventKind::as_str) })
}

pub(super) fn events() -> Value {
    one_or_more(event())
}

pub(super) fn field() -> Value {
    json!({ "enum": ["channel", "division", "campaign", "category", "topic", "class", "type", "tags", "offer"] })
}

pub(super) fn fields() -> Value {
    one_or_more(field())
}

pub(super) fn hours() -> Value {
    one_or_more(reference("hours"))
}
