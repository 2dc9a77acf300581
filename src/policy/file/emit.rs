//! A tree as YAML text: one top-level key after another, everything below an element on one line. The same tree always gives
//! the same text, and reading the text gives the same tree.

use super::tree::{Node, Value};
use std::fmt::Write;

/// The text of a policy without its tests.
pub fn text(root: &Node) -> String {
    let mut text = String::new();
    for entry in root.entries().iter().filter(|entry| entry.key != "tests") {
        text.push_str(&key(&entry.key));
        text.push(':');
        match &entry.value.value {
            Value::Map(entries) if !entries.is_empty() => {
                for entry in entries {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "\n  {}: {}", key(&entry.key), flow(&entry.value));
                }
            }
            Value::List(items) if !items.is_empty() => {
                for item in items {
                    let _ = write!(text, "\n  - {}", flow(item));
                }
            }
            _ => {
                let _ = write!(text, " {}", flow(&entry.value));
            }
        }
        text.push('\n');
    }
    text
}

/// A value on one line.
pub fn flow(node: &Node) -> String {
    match &node.value {
        Value::Scalar { .. } if node.is_empty() => "null".to_owned(),
        Value::Scalar { text, plain: true } if is_bare(text) => text.clone(),
        Value::Scalar { text, .. } => quoted(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|entry| format!("{}: {}", key(&entry.key), flow(&entry.value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

fn key(text: &str) -> String {
    if is_bare(text) && !matches!(text, "null") {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Whether a text means the same without quotes, wherever it stands.
fn is_bare(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'%'))
}

/// What JSON writes is a double-quoted text of YAML, but for what YAML does not allow to stand there unescaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | ' '..='~'
                if !matches!(character, '\u{2028}' | '\u{2029}') =>
            {
                quoted.push(character);
            }
            other => {
                let code = u32::from(other);
                // Writing to a string cannot fail.
                let _ = if code <= 0xffff {
                    write!(quoted, "\\u{code:04x}")
                } else {
                    write!(quoted, "\\U{code:08x}")
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::Findings;
    use super::super::tree::parse;
    use super::*;
    use proptest::prelude::*;

    /// A tree without its places.
    fn meaning(node: &Node) -> String {
        match &node.value {
            Value::Scalar { .. } if node.is_empty() => "nothing".to_owned(),
            // Only for these does it matter that they stand without quotes.
            Value::Scalar { text, plain } => {
                format!("{text:?}{}", *plain && matches!(text.as_str(), "true" | "false"))
            }
            Value::List(items) => format!("{:?}", items.iter().map(meaning).collect::<Vec<_>>()),
            Value::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), meaning(&entry.value)));
                format!("{:?}", pairs.collect::<Vec<_>>())
            }
        }
    }

    fn tree(text: &str) -> Node {
        let mut findings = Findings::default();
        let node = parse(text, 0, &mut findings);
        node.unwrap_or_else(|| panic!("{text}\n{findings:?}"))
    }

    #[test]
    fn reading_what_was_written_gives_the_same_policy() {
        for text in [
            include_str!("../../../deploy/policies/acme.yaml"),
            include_str!("../../../deploy/policies/starter.yaml"),
            include_str!("../../../deploy/policies/demo.yaml"),
            "a: { b: ~, 'true': true, c: 'true', d: -5, e: \"\", 'x: y': |\n    two\n    lines\n  }\n",
        ] {
            let Some(before) = parse(text, 0, &mut Findings::default()) else {
                continue;
            };
            let written = super::text(&before);
            assert_eq!(meaning(&tree(&written)), meaning(&before), "{written}");
            assert_eq!(super::text(&tree(&written)), written);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was_written(text in "\\PC{0,30}", more in proptest::collection::vec(any::<char>(), 0..10)) {
            let value = text + &more.into_iter().collect::<String>();
            let written = format!("a: [{}, {{ b: {} }}]\n", quoted(&value), quoted(&value));
            let root = tree(&written);
            let items = root.entries()[0].value.as_list();
            let found = items[0].text().unwrap_or_default();
            prop_assert_eq!(found, value.as_str());
            prop_assert_eq!(items[1].entries()[0].value.text().unwrap_or_default(), value.as_str());
        }
    }
}
