//! The JSON Schema (2020-12) of the policy file, of what it includes and of files of tests, for editors. Written from tables of
//! keys; a test compares them with the keys that the reader of the file asks for, so that the two cannot drift apart.
//!
//! It says what can be said about one value at a time. Names that must exist, expressions, and what fits together are for
//! `forbear policy check`.

mod kinds;
mod parts;
#[cfg(test)]
mod tests;
mod values;

use super::compile::RULE_KINDS;
use crate::policy::file::document::{APPENDED, COMPANY, JOINED};
use serde_json::{Map, Value, json};

/// What stands in a file that is only tests.
const KEYS_OF_TESTS: &[&str] = &["tests", "forbear", "name", "about", "why", "source"];

/// A key of a map: its name, what its value is, and a sentence about it.
type Key = (&'static str, fn() -> Value, &'static str);

/// A map of the policy: what the reader calls it, its keys, and which of them must be there.
pub(crate) struct Part {
    /// As in the findings: `a rule`.
    pub what: &'static str,
    /// As a definition of the schema: `rule`.
    pub definition: &'static str,
    pub keys: &'static [Key],
    pub required: &'static [&'static str],
}

/// The whole document.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    for part in all_parts() {
        definitions.insert(part.definition.to_owned(), object(part));
    }
    definitions.insert("included-file".to_owned(), included_file());
    definitions.insert("file-of-tests".to_owned(), file_of_tests());
    let says = |key: &&str| json!({ "required": [key] });
    let whole: Vec<Value> = COMPANY
        .iter()
        .map(says)
        .chain([json!({ "required": ["channels", "classes"] })])
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.invalid/forbear/policy.schema.json",
        "title": "Forbear policy",
        "description": "One contact policy for a whole company. `forbear policy check` says everything that a schema cannot. \
                        In an editor: # yaml-language-server: $schema=forbear-policy.schema.json",
        "if": { "anyOf": whole },
        "then": { "$ref": "#/$defs/policy" },
        "else": {
            "if": { "required": ["tests"], "propertyNames": { "enum": KEYS_OF_TESTS } },
            "then": { "$ref": "#/$defs/file-of-tests" },
            "else": { "$ref": "#/$defs/included-file" },
        },
        "$defs": definitions,
    })
}

/// Every map that the reader of the file knows.
fn all_parts() -> impl Iterator<Item = &'static Part> {
    parts::PARTS.iter().chain(kinds::KINDS)
}

fn object(part: &Part) -> Value {
    let mut properties = Map::new();
    for (name, value, sentence) in part.keys {
        let mut value = value();
        if let (false, Some(members)) = (sentence.is_empty(), value.as_object_mut()) {
            members.insert("description".to_owned(), (*sentence).into());
        }
        properties.insert((*name).to_owned(), value);
    }
    let mut object = json!({
        "title": part.what.trim_matches('`'),
        "type": "object",
        "properties": properties,
        "required": part.required,
        "additionalProperties": false,
    });
    let kinds: Vec<Value> = RULE_KINDS.iter().map(|kind| json!({ "required": [kind] })).collect();
    if part.definition == "rule"
        && let Some(members) = object.as_object_mut()
    {
        members.insert("oneOf".to_owned(), kinds.into());
    }
    object
}

/// What `include` names: the parts of a policy, without what is the company's alone.
fn included_file() -> Value {
    let policy = all_parts()
        .find(|part| part.definition == "policy")
        .map_or(Value::Null, object);
    let mut properties = Map::new();
    for key in APPENDED.iter().chain(JOINED).chain(&["include", "forbear"]) {
        properties.insert((*key).to_owned(), policy["properties"][*key].clone());
    }
    let about: [(&str, Value, &str); 4] = [
        ("name", values::text(), "What the file is called."),
        ("about", values::text(), "What it is for, in a sentence."),
        ("from", values::date(), "The day on which it was looked into."),
        (
            "until",
            values::date(),
            "The day from which on it is to be looked into again.",
        ),
    ];
    for (key, mut value, sentence) in about {
        value["description"] = sentence.into();
        properties.insert(key.to_owned(), value);
    }
    json!({
        "title": "included file",
        "type": "object",
        "properties": properties,
        "minProperties": 1,
        "additionalProperties": false,
    })
}

fn file_of_tests() -> Value {
    json!({
        "title": "file of tests",
        "type": "object",
        "properties": { "tests": { "type": "array", "description": "Played by `forbear policy test`." } },
        "required": ["tests"],
    })
}
