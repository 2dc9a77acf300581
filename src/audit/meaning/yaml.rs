//! A policy's text as plain values: maps, lists and texts. A reader of its own, so that a fault of the processor's reader is not
//! repeated here; what the text may say was checked when it was loaded.

use saphyr_parser::{Event, Parser, StrInput};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Nesting and size of what is believed to be a policy.
const DEPTH: usize = 64;
const NODES: usize = 200_000;

enum Open {
    List(Vec<Value>, usize),
    Map(Map<String, Value>, Option<String>, usize),
}

/// The text's one document: scalars are texts, whatever they look like; a null is null. None: it is no YAML.
pub fn parse(text: &str) -> Option<Value> {
    let mut parser = Parser::<StrInput>::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Value> = HashMap::new();
    let mut root = None;
    let mut nodes = 0;
    while let Some(next) = parser.next_event() {
        let (event, _) = next.ok()?;
        nodes += 1;
        if nodes > NODES || open.len() > DEPTH {
            return None;
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_null = style == saphyr_parser::ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let value = if is_null {
                    Value::Null
                } else {
                    Value::String(text.into_owned())
                };
                (value, anchor)
            }
            Event::Alias(anchor) => (anchors.get(&anchor)?.clone(), 0),
            Event::SequenceStart(anchor, _) => {
                open.push(Open::List(Vec::new(), anchor));
                continue;
            }
            Event::MappingStart(anchor, _) => {
                open.push(Open::Map(Map::new(), None, anchor));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop()? {
                Open::List(items, anchor) => (Value::Array(items), anchor),
                Open::Map(entries, _, anchor) => (Value::Object(entries), anchor),
            },
            _ => continue,
        };
        if anchor > 0 {
            anchors.insert(anchor, value.clone());
        }
        match open.last_mut() {
            None => root = Some(value),
            Some(Open::List(items, _)) => items.push(value),
            Some(Open::Map(entries, key, _)) => match key.take() {
                None => *key = Some(value.as_str()?.to_owned()),
                Some(key) => drop(entries.insert(key, value)),
            },
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_lists_texts_and_aliases_are_read() {
        let text = "a: { b: [1, \"2\", ~] }\nc: &x\n  - d\ne: *x\n";
        assert_eq!(
            parse(text),
            Some(json!({ "a": { "b": ["1", "2", null] }, "c": ["d"], "e": ["d"] }))
        );
        assert_eq!(parse("a: [1"), None);
    }
}
