//! Reading a map key by key. The keys that were asked for are the known ones: whatever else is written is an error with
//! the nearest of them, so that a reader and its list of keys cannot drift apart.

use super::diagnostic::{Diagnostic, Findings, Span, nearest, one_of, shortened};
use super::hints;
use super::tree::{Entry, Node, Value};

/// A map that is being read.
pub struct Fields<'n> {
    /// What the map is, for messages: `a rule`.
    what: &'static str,
    span: Span,
    entries: &'n [Entry],
    asked: Vec<&'static str>,
    /// Keys that have been refused with a sentence of their own.
    refused: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Opens a map; anything else is an error.
    pub fn open(node: &'n Node, what: &'static str, findings: &mut Findings) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            _ => {
                let message = format!("{what} is a map, not {}", node.described());
                findings.error("type", node.span, message, format!("expected {}", hints::example(what)));
                return None;
            }
        };
        Some(Self {
            what,
            span: node.span,
            entries,
            asked: Vec::new(),
            refused: Vec::new(),
        })
    }

    /// The value of a key, if it is written.
    pub fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.take_entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key, if it is written.
    pub fn take_entry(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.asked.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Refuses a key for what this version leaves out, with a sentence that says so. It is no key that is suggested to anybody.
    pub fn leave_out(&mut self, key: &'static str, message: &str, label: &str, findings: &mut Findings) {
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            self.refused.push(key);
            findings.error("not-in-version-1", entry.key_span, message, label);
        }
    }

    /// The value of a key that must be written.
    pub fn require(&mut self, key: &'static str, findings: &mut Findings) -> Option<&'n Node> {
        let found = self.take(key);
        if found.is_none() {
            findings.error(
                "missing-key",
                self.head(),
                self.needs(key),
                format!("`{key}` is missing"),
            );
        }
        found
    }

    fn needs(&self, key: &str) -> String {
        format!("{} needs `{key}`", self.what)
    }

    /// Where the map begins: enough to find it, without marking all of it.
    pub fn head(&self) -> Span {
        self.entries.first().map_or(self.span, |entry| entry.key_span)
    }

    /// Refuses the keys that nobody asked for.
    pub fn close(self, findings: &mut Findings) {
        #[cfg(test)]
        asked::note(self.what, &self.asked);
        let mut known: Vec<&str> = Vec::new();
        for key in &self.asked {
            if !known.contains(key) {
                known.push(key);
            }
        }
        for entry in self
            .entries
            .iter()
            .filter(|entry| !self.asked.contains(&entry.key.as_str()))
            .filter(|entry| !self.refused.contains(&entry.key.as_str()))
        {
            if findings.is_full() {
                findings.error("unknown-key", entry.key_span, "", "");
                continue;
            }
            // `limit:4` is one word to YAML.
            let (name, rest) = entry.key.split_once(':').unwrap_or((&entry.key, ""));
            let name = name.trim();
            let elsewhere = hints::misplaced(self.what, name);
            let near = nearest(name, self.asked.iter().copied()).filter(|_| elsewhere.is_none());
            let label = match near {
                _ if elsewhere.is_some() => elsewhere.unwrap_or_default(),
                Some(near) if !rest.is_empty() => format!("write `{near}: {rest}`, with a space after the colon"),
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected {}", one_of(&known)),
            };
            // What is written wrong is not missing as well.
            if let Some(near) = near {
                findings.withdraw("missing-key", self.head(), &self.needs(near));
            }
            let near = near.filter(|_| rest.is_empty());
            let message = format!("unknown key `{}` in {}", shortened(&entry.key), self.what);
            let diagnostic = Diagnostic::error("unknown-key", entry.key_span, message, label);
            findings.push(diagnostic.suggest(near));
        }
    }
}

/// The entries of a map whose keys are names of the owner's choice.
pub fn entries<'n>(node: &'n Node, what: &str, findings: &mut Findings) -> &'n [Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => {
            let message = format!("{what} is a map from a name to its settings, not {}", node.described());
            findings.error("type", node.span, message, "expected `name: { … }`");
            &[]
        }
    }
}

/// Which keys were asked for, by what the map was: the tables of the schema are compared with it.
#[cfg(test)]
pub mod asked {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    type Asked = BTreeMap<&'static str, BTreeSet<&'static str>>;

    thread_local! {
        static ASKED: RefCell<Asked> = RefCell::default();
    }

    pub fn note(what: &'static str, keys: &[&'static str]) {
        ASKED.with_borrow_mut(|asked| asked.entry(what).or_default().extend(keys));
    }

    /// Everything since the last call.
    pub fn take() -> Asked {
        ASKED.take()
    }
}
