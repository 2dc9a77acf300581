//! YAML text into a tree whose nodes know where they stand.
//!
//! Budgets: 1 MiB of text, 64 levels, 200 000 nodes with every alias counted as what it stands for, so that a few lines
//! cannot unfold into gigabytes. Merge keys, tags, repeated keys and several documents are refused: each makes a file mean
//! something that its reader does not see.

use super::diagnostic::{Diagnostic, Findings, Span, shortened};
use super::syntax::unreadable;
use saphyr_parser::{Event, Parser, ScalarStyle, Span as ParserSpan, StrInput};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

/// The largest file.
pub const FILE_BYTES: usize = 1024 * 1024;
/// Levels of maps and lists.
const DEPTH: usize = 64;
/// Nodes of the tree, aliases unfolded.
pub(super) const NODES: usize = 200_000;

/// A value of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Span,
    pub value: Value,
    /// Nodes in it, itself included.
    size: usize,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `plain`: written without quotes, so that `true` is a truth value and `4` a number.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    /// What it is, in a sentence.
    pub fn described(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_empty() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Whether nothing was written (or `null`).
    pub fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// The text of a scalar that is not empty.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_empty() => Some(text),
            _ => None,
        }
    }

    /// A map of entries that were read elsewhere.
    pub fn map(span: Span, entries: Vec<Entry>) -> Self {
        let size = 1 + entries.iter().map(|entry| entry.value.size).sum::<usize>();
        let value = Value::Map(entries);
        Self { span, value, size }
    }

    /// A list of nodes that were read elsewhere.
    pub fn list(span: Span, items: Vec<Node>) -> Self {
        let size = 1 + items.iter().map(|item| item.size).sum::<usize>();
        let value = Value::List(items);
        Self { span, value, size }
    }

    /// How many nodes it is, aliases unfolded.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The entries of a map; anything else has none.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    fn shift(&mut self, base: usize) {
        self.span = self.span.moved(base);
        match &mut self.value {
            Value::Scalar { .. } => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.shift(base)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| {
                entry.key_span = entry.key_span.moved(base);
                entry.value.shift(base);
            }),
        }
    }

    /// The elements of a list; anything else is a list of one.
    pub fn as_list(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }
}

/// The tree of a file whose text begins at the offset `base`. `None`: there is none, and the findings say why.
pub fn parse(text: &str, base: usize, findings: &mut Findings) -> Option<Node> {
    let mut own = Findings::default();
    let built = Builder::new(text, &mut own).build();
    let node = match built {
        Ok(mut node) => {
            node.shift(base);
            Some(node)
        }
        Err(diagnostic) => {
            own.push(*diagnostic);
            None
        }
    };
    findings.append(own, base);
    node
}

/// The text of a file, if it is text that YAML can be in.
pub fn decode<'b>(bytes: &'b [u8], findings: &mut Findings) -> Option<&'b str> {
    let refuse =
        |message: String, label: &str, at: usize| Diagnostic::error("not-text", Span::new(at, at), message, label);
    if bytes.len() > FILE_BYTES {
        let message = format!("the file has {} bytes: more than {FILE_BYTES}", bytes.len());
        findings.push(refuse(message, "a policy is at most 1 MiB", 0));
        return None;
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let message = "the file is UTF-16: a policy is UTF-8".to_owned();
        findings.push(refuse(message, "save it as UTF-8", 0));
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.starts_with('\u{feff}') => {
            let message = "the file starts with a byte order mark".to_owned();
            findings.push(refuse(message, "save it as UTF-8 without one", 0));
            None
        }
        Ok(text) => Some(text),
        Err(error) => {
            let at = error.valid_up_to();
            let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = format!("the file is not UTF-8: see byte {at}, in line {line}");
            findings.push(refuse(message, "save it as UTF-8", 0));
            None
        }
    }
}

type Refusal = Box<Diagnostic>;

/// A list or map that is not closed yet.
enum Open {
    List {
        items: Vec<Node>,
        start: usize,
        anchor: usize,
    },
    Map {
        entries: Vec<Entry>,
        keys: HashMap<String, Span>,
        key: Option<(String, Span)>,
        start: usize,
        anchor: usize,
    },
}

struct Builder<'t> {
    text: &'t str,
    findings: &'t mut Findings,
    /// Byte offset of each character; empty where all of them are ASCII.
    offsets: Vec<usize>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str, findings: &'t mut Findings) -> Self {
        let offsets = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(offset, _)| offset).collect()
        };
        Self {
            text,
            findings,
            offsets,
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            root: None,
        }
    }

    fn build(mut self) -> Result<Node, Refusal> {
        let mut parser = Parser::<StrInput>::new_from_str(self.text);
        let mut documents = 0;
        while let Some(next) = parser.next_event() {
            let (event, place) = next.map_err(|error| {
                let at = self.offset(error.marker().index());
                Box::new(unreadable(self.text, at, error.info()))
            })?;
            let span = self.span(place);
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
                if documents > 1 {
                    return refuse("documents", span, "a second document", "a policy is one YAML document");
                }
            }
            self.apply(event, span)?;
        }
        match self.root {
            Some(root) if !root.is_empty() => Ok(root),
            _ => refuse(
                "empty",
                Span::default(),
                "the file is empty",
                "expected `forbear: 1` and the rest of a policy",
            ),
        }
    }

    fn apply(&mut self, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        if let Event::Scalar(_, _, _, Some(tag))
        | Event::SequenceStart(_, Some(tag))
        | Event::MappingStart(_, Some(tag)) = &event
        {
            let message = format!("a tag: `{}`", shortened(&tag.to_string()));
            return refuse("tag", span, message, "tags have no meaning in a policy: leave it out");
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                let node = Node { span, value, size: 1 };
                self.add(node, anchor)
            }
            Event::Alias(anchor) => {
                let Some(size) = self.anchors.get(&anchor).map(|node| node.size) else {
                    return refuse("alias", span, "an alias inside what it stands for", "write it out");
                };
                // Counted before it is copied: a bomb is refused while it is still small.
                self.count(size, span)?;
                self.nodes -= size;
                match self.anchors.get(&anchor).cloned() {
                    Some(node) => self.add(Node { span, ..node }, 0),
                    None => Ok(()),
                }
            }
            Event::SequenceStart(anchor, _) => self.push_level(
                Open::List {
                    items: Vec::new(),
                    start: span.start,
                    anchor,
                },
                span,
            ),
            Event::MappingStart(anchor, _) => {
                let (entries, keys) = (Vec::new(), HashMap::new());
                let open = Open::Map {
                    entries,
                    keys,
                    key: None,
                    start: span.start,
                    anchor,
                };
                self.push_level(open, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            _ => Ok(()),
        }
    }

    fn push_level(&mut self, open: Open, span: Span) -> Result<(), Refusal> {
        if self.open.len() >= DEPTH {
            let message = format!("more than {DEPTH} levels of lists and maps");
            return refuse("too-deep", span, message, "too deep from here on");
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return refuse("key", span, "a key that is a list or a map", "a key is a word");
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), Refusal> {
        let (value, size, start, anchor) = match self.open.pop() {
            Some(Open::List { items, start, anchor }) => {
                let size = items.iter().map(|item| item.size).sum::<usize>();
                (Value::List(items), size, start, anchor)
            }
            Some(Open::Map {
                entries, start, anchor, ..
            }) => {
                let size = entries.iter().map(|entry| entry.value.size).sum::<usize>();
                (Value::Map(entries), size, start, anchor)
            }
            None => return Ok(()),
        };
        // What is inside was counted when it was added.
        self.nodes = self.nodes.saturating_sub(size);
        let end = self.text[..span.end.max(start)].trim_end().len().max(start);
        let span = Span::new(start, end);
        self.add(
            Node {
                span,
                value,
                size: size + 1,
            },
            anchor,
        )
    }

    fn count(&mut self, size: usize, span: Span) -> Result<(), Refusal> {
        self.nodes += size;
        if self.nodes > NODES {
            let message = format!("more than {NODES} values, aliases counted as what they stand for");
            return refuse("too-large", span, message, "too many from here on");
        }
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Refusal> {
        let span = node.span;
        self.count(node.size, span)?;
        if anchor > 0 {
            // The copy is part of the budget too: anchors inside anchors would make it quadratic.
            self.count(node.size, span)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, keys, key, .. }) => match key.take() {
                None => *key = Some(key_of(node)?),
                Some((key, key_span)) => match keys.entry(key.clone()) {
                    Slot::Vacant(slot) => {
                        slot.insert(key_span);
                        entries.push(Entry {
                            key,
                            key_span,
                            value: node,
                        });
                    }
                    Slot::Occupied(first) => {
                        let what = format!("the key `{}`", shortened(&key));
                        self.findings.twice("repeated-key", &what, *first.get(), key_span);
                    }
                },
            },
        }
        Ok(())
    }

    fn offset(&self, character: usize) -> usize {
        if self.offsets.is_empty() {
            character.min(self.text.len())
        } else {
            self.offsets.get(character).copied().unwrap_or(self.text.len())
        }
    }

    fn span(&self, place: ParserSpan) -> Span {
        let start = self.offset(place.start.index());
        Span::new(start, self.offset(place.end.index()).max(start))
    }
}

/// The text of a key.
fn key_of(node: Node) -> Result<(String, Span), Refusal> {
    let Some(text) = node.text() else {
        return refuse(
            "key",
            node.span,
            format!("a key that is {}", node.described()),
            "a key is a word",
        );
    };
    if text == "<<" {
        return refuse(
            "merge",
            node.span,
            "a merge key",
            "write the keys out, so that a reader sees them",
        );
    }
    Ok((text.to_owned(), node.span))
}

fn refuse<T>(code: &'static str, span: Span, message: impl Into<String>, label: &str) -> Result<T, Refusal> {
    Err(Box::new(Diagnostic::error(code, span, message, label)))
}
