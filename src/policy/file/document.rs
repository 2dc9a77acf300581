//! A policy as it is written: one file, or one that includes others.
//!
//! `include: [packs/us-tcpa.yaml]` takes in files by their path relative to the including file. An included file brings rules,
//! exceptions, stops, experiments and tests, which are appended, and channels, classes and calendars, whose names must be
//! new. What belongs to the company as a whole (its zone, its defaults) stands in the first file only. A file that is reached
//! in two ways is taken in once; one that reaches itself is an error.
//!
//! Invariant: [`Document::text`] is the policy by itself, and loading it gives the same policy. For a single file it is the file,
//! byte for byte. With files included it is written anew from the merged tree (`emit`), so that it depends on nothing but what the
//! files say; tests judge nothing and are left out of it.

use super::diagnostic::{Diagnostic, Diagnostics, Findings, Span, nearest, one_of, shortened};
use super::sources::Sources;
use super::tree::{self, Entry, FILE_BYTES, NODES, Node, Value};
use super::{emit, scalar};
use jiff::civil::Date;

/// Files that one policy may include.
const FILES_AT_MOST: usize = 64;

/// Keys of an included file whose elements are appended.
pub const APPENDED: &[&str] = &["rules", "exceptions", "stops", "experiments", "tests"];
/// Keys of an included file whose names must be new.
pub const JOINED: &[&str] = &["channels", "classes", "calendars"];
/// What an included file says about itself.
pub const ABOUT: &[&str] = &["forbear", "name", "about", "from", "until"];
/// What only the first file may say.
pub const COMPANY: &[&str] = &[
    "timezone",
    "timezone-unknown",
    "week-start",
    "defaults",
    "responses",
    "score",
];

/// Reads an included file by its path.
pub type ReadFile<'r> = &'r mut dyn FnMut(&str) -> Result<Vec<u8>, String>;

/// The merged tree of a policy, with the texts that it was read from.
#[derive(Debug, Clone)]
pub struct Document {
    pub root: Node,
    pub sources: Sources,
    /// When included files say that they are to be looked at again.
    pub reviews: Vec<(Span, Date)>,
    text: Vec<u8>,
}

impl Document {
    /// Reads a policy from the bytes of its first file.
    ///
    /// # Errors
    /// Everything that is wrong with the files as files.
    pub fn read(name: &str, bytes: &[u8], read: ReadFile) -> Result<Document, Box<Diagnostics>> {
        let mut gathering = Gathering {
            sources: Sources::default(),
            findings: Findings::default(),
            read,
            open: vec![name.to_owned()],
            taken: Vec::new(),
            reviews: Vec::new(),
            nodes: 0,
        };
        let root = gathering
            .file(name, bytes, None)
            .and_then(|root| gathering.resolve(root));
        let Gathering {
            sources,
            mut findings,
            reviews,
            ..
        } = gathering;
        let Some((root, includes)) = root.filter(|_| !findings.has_errors()) else {
            return Err(Box::new(findings.into_diagnostics(&sources)));
        };
        let text = if includes {
            emit::text(&root).into_bytes()
        } else {
            bytes.to_vec()
        };
        if text.len() > FILE_BYTES {
            let message = format!("with everything included, the policy has {} bytes", text.len());
            findings.error("too-large", Span::default(), message, "a policy is at most 1 MiB");
            return Err(Box::new(findings.into_diagnostics(&sources)));
        }
        Ok(Document {
            root,
            sources,
            reviews,
            text,
        })
    }

    /// The policy by itself: what the hash is of, what is published, and what can be loaded again.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same policy with some of its top-level keys replaced.
    pub fn with(&self, replacements: &[Entry]) -> Document {
        let kept = self.root.entries().iter();
        let kept = kept.filter(|entry| replacements.iter().all(|new| new.key != entry.key));
        let entries = kept.chain(replacements).cloned().collect();
        let root = Node::map(self.root.span, entries);
        Document {
            text: emit::text(&root).into_bytes(),
            root,
            ..self.clone()
        }
    }

    /// Reads a further file beside the policy: of tests, of a customer.
    pub fn add(&mut self, name: &str, bytes: &[u8], findings: &mut Findings) -> Option<Node> {
        let mut own = Findings::default();
        let text = tree::decode(bytes, &mut own);
        let base = self.sources.add(name, text.unwrap_or_default());
        findings.append(own, base);
        tree::parse(text?, base, findings)
    }

    /// The tests that stand in the policy and in what it includes.
    pub fn tests(&self) -> Option<&Node> {
        let mut entries = self.root.entries().iter();
        entries.find(|entry| entry.key == "tests").map(|entry| &entry.value)
    }
}

struct Gathering<'r> {
    sources: Sources,
    findings: Findings,
    read: ReadFile<'r>,
    /// The files that are being read, the first one first.
    open: Vec<String>,
    /// The files that were read.
    taken: Vec<String>,
    reviews: Vec<(Span, Date)>,
    nodes: usize,
}

impl Gathering<'_> {
    /// The tree of one file. `from`: where it is included.
    fn file(&mut self, name: &str, bytes: &[u8], from: Option<Span>) -> Option<Node> {
        let mut own = Findings::default();
        let Some(text) = tree::decode(bytes, &mut own) else {
            let base = self.sources.add(name, "");
            self.findings.append(own, base);
            return None;
        };
        if self.sources.text().len() + text.len() > FILE_BYTES + FILES_AT_MOST {
            let message = "the files of this policy are larger than 1 MiB together";
            let label = "this one is too much";
            self.findings
                .error("too-large", from.unwrap_or_default(), message, label);
            return None;
        }
        let base = self.sources.add(name, text);
        let root = tree::parse(text, base, &mut self.findings)?;
        self.nodes += root.size();
        if self.nodes > NODES {
            let message = format!("more than {NODES} values in all files, aliases counted as what they stand for");
            self.findings
                .error("too-large", root.span, message, "too many from here on");
            return None;
        }
        Some(root)
    }

    /// The tree with what it includes merged into it, and whether there was anything.
    fn resolve(&mut self, root: Node) -> Option<(Node, bool)> {
        let Some(include) = root.entries().iter().find(|entry| entry.key == "include").cloned() else {
            return Some((root, false));
        };
        let span = root.span;
        let mut merged: Vec<Entry> = root.entries().to_vec();
        merged.retain(|entry| entry.key != "include");
        let items = if include.value.is_empty() {
            &[]
        } else {
            include.value.as_list()
        };
        for item in items {
            self.include(item, &mut merged);
        }
        Some((Node::map(span, merged), !items.is_empty()))
    }

    fn include(&mut self, item: &Node, merged: &mut Vec<Entry>) {
        let Some(path) = scalar::text(item, "the path of a file to include", &mut self.findings) else {
            return;
        };
        let including = self.open.last().map_or("", String::as_str);
        let Some(name) = beside(including, path) else {
            let message = format!("`{}` is not the path of a file", shortened(path));
            let label = "expected a path relative to this file, such as `packs/us-tcpa.yaml`";
            return self.findings.error("include", item.span, message, label);
        };
        if self.open.contains(&name) {
            let message = format!("`{}` includes itself", shortened(path));
            let way: Vec<&str> = self.open.iter().map(String::as_str).chain([name.as_str()]).collect();
            let diagnostic = Diagnostic::error("include", item.span, message, "a circle");
            return self
                .findings
                .push(diagnostic.help(format!("the way round: {}", way.join(" includes "))));
        }
        if self.taken.contains(&name) {
            return;
        }
        if self.taken.len() >= FILES_AT_MOST {
            let message = format!("more than {FILES_AT_MOST} files are included");
            return self
                .findings
                .error("include", item.span, message, "too many from here on");
        }
        self.taken.push(name.clone());
        let bytes = match (self.read)(&name) {
            Ok(bytes) => bytes,
            Err(problem) => {
                let message = format!("`{}` cannot be read", shortened(path));
                return self
                    .findings
                    .error("include", item.span, message, format!("{name}: {problem}"));
            }
        };
        self.open.push(name.clone());
        if let Some(root) = self.file(&name, &bytes, Some(item.span)) {
            self.merge(&root, merged);
        }
        self.open.pop();
    }

    /// Takes in what an included file brings.
    fn merge(&mut self, root: &Node, merged: &mut Vec<Entry>) {
        if !matches!(root.value, Value::Map(_)) {
            let message = format!("an included file is a map, not {}", root.described());
            return self.findings.error(
                "type",
                root.span,
                message,
                "expected `rules:`, `calendars:` and the like",
            );
        }
        for entry in root.entries() {
            match entry.key.as_str() {
                "include" if entry.value.is_empty() => {}
                "include" => {
                    for item in entry.value.as_list() {
                        self.include(item, merged);
                    }
                }
                key if APPENDED.contains(&key) => self.append(entry, merged),
                key if JOINED.contains(&key) => self.join(entry, merged),
                key if ABOUT.contains(&key) => self.about(entry),
                key => self.refuse(key, entry),
            }
        }
    }

    fn append(&mut self, entry: &Entry, merged: &mut Vec<Entry>) {
        if entry.value.is_empty() {
            return;
        }
        let Value::List(more) = &entry.value.value else {
            let message = format!("`{}` is a list, not {}", entry.key, entry.value.described());
            return self
                .findings
                .error("type", entry.value.span, message, "expected `- { … }`");
        };
        match merged.iter_mut().find(|there| there.key == entry.key) {
            Some(there) => match &there.value.value {
                Value::List(items) => {
                    let items = items.iter().chain(more).cloned().collect();
                    there.value = Node::list(there.value.span, items);
                }
                _ if there.value.is_empty() => there.value = entry.value.clone(),
                // What stands there is of the wrong kind: that is said when it is compiled.
                _ => {}
            },
            None => merged.push(entry.clone()),
        }
    }

    fn join(&mut self, entry: &Entry, merged: &mut Vec<Entry>) {
        if entry.value.is_empty() {
            return;
        }
        if !matches!(entry.value.value, Value::Map(_)) {
            let message = format!("`{}` is a map, not {}", entry.key, entry.value.described());
            return self
                .findings
                .error("type", entry.value.span, message, "expected `name: { … }`");
        }
        let Some(there) = merged.iter_mut().find(|there| there.key == entry.key) else {
            return merged.push(entry.clone());
        };
        let mut entries = there.value.entries().to_vec();
        for new in entry.value.entries() {
            match entries.iter().find(|old| old.key == new.key) {
                Some(old) => {
                    let message = format!("`{}` is in `{}` twice", shortened(&new.key), entry.key);
                    let place = self.sources.place(old.key_span.start);
                    let label = format!("also in {}, line {}", place.file, place.line);
                    self.findings.error("repeated-key", new.key_span, message, label);
                }
                None => entries.push(new.clone()),
            }
        }
        if matches!(there.value.value, Value::Map(_)) || there.value.is_empty() {
            there.value = Node::map(there.value.span, entries);
        }
    }

    fn about(&mut self, entry: &Entry) {
        match entry.key.as_str() {
            "forbear" => {
                let what = "`forbear`, the version of the language,";
                scalar::integer(&entry.value, what, 1..=1, &mut self.findings);
            }
            "from" => {
                scalar::date(&entry.value, "`from`", &mut self.findings);
            }
            "until" => {
                let date = scalar::date(&entry.value, "`until`", &mut self.findings);
                self.reviews.extend(date.map(|date| (entry.value.span, date)));
            }
            _ => {
                scalar::text(&entry.value, &entry.key, &mut self.findings);
            }
        }
    }

    fn refuse(&mut self, key: &str, entry: &Entry) {
        let known = [APPENDED, JOINED, ABOUT, &["include"]].concat();
        let message = if COMPANY.contains(&key) {
            format!("`{key}` belongs to the including policy")
        } else {
            format!("unknown key `{}` in an included file", shortened(key))
        };
        let near = nearest(key, known.iter().copied()).filter(|_| !COMPANY.contains(&key));
        let label = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected {}", one_of(&known)),
        };
        let diagnostic = Diagnostic::error("unknown-key", entry.key_span, message, label);
        self.findings.push(diagnostic.suggest(near));
    }
}

/// The path of a file named by another one, relative to it, with `.` and `..` taken out.
pub fn beside(including: &str, path: &str) -> Option<String> {
    if path.is_empty() || path.contains("://") || path.contains(['\0', '\\', '\n']) || path.ends_with('/') {
        return None;
    }
    let folder = including.rfind('/').map_or("", |end| &including[..=end]);
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{folder}{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match (part, parts.last()) {
            ("" | ".", _) => {}
            ("..", Some(last)) if *last != ".." => {
                parts.pop();
            }
            (part, _) => parts.push(part),
        }
    }
    let root = if joined.starts_with('/') { "/" } else { "" };
    (!parts.is_empty()).then(|| format!("{root}{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Document, String> {
        let bytes = |name: &str| {
            let found = files.iter().find(|(other, _)| *other == name);
            found
                .map(|(_, text)| text.as_bytes().to_vec())
                .ok_or_else(|| "there is no such file".to_owned())
        };
        let main = bytes(files[0].0)?;
        Document::read(files[0].0, &main, &mut |name| bytes(name)).map_err(|found| found.to_string())
    }

    #[test]
    fn a_policy_that_includes_nothing_is_its_own_text_byte_for_byte() {
        for text in [
            "forbear: 1 # one\n",
            "forbear: 1\ninclude: []\n",
            "include:\nforbear: 1\n",
        ] {
            assert_eq!(read(&[("p.yaml", text)]).unwrap().text(), text.as_bytes());
        }
    }

    #[test]
    fn lists_are_appended_and_maps_are_joined_in_the_order_of_the_includes() {
        let document = read(&[
            ("a/p.yaml", "include: [packs/one.yaml, ./packs/../packs/one.yaml]\nrules: [ { id: own } ]\ncalendars: { x: [2026-01-01] }\n"),
            ("a/packs/one.yaml", "forbear: 1\nname: one\nfrom: 2026-01-01\ninclude: [../two.yaml]\nrules: [ { id: second } ]\n"),
            ("a/two.yaml", "rules: [ { id: first, when: 'a \"b\" > 1' } ]\ncalendars: { y: [2026-01-02] }\ntests: [ { name: t } ]\n"),
        ])
        .unwrap();
        let text = String::from_utf8(document.text().to_vec()).unwrap();
        assert_eq!(
            text,
            "rules:\n  - { id: own }\n  - { id: first, when: \"a \\\"b\\\" > 1\" }\n  - { id: second }\n\
             calendars:\n  x: [2026-01-01]\n  y: [2026-01-02]\n"
        );
        assert_eq!(document.tests().map(|tests| tests.as_list().len()), Some(1));
    }

    #[test]
    fn a_mistake_in_an_include_is_reported_in_the_file_that_makes_it() {
        for (files, expected) in [
            (
                vec![("p.yaml", "forbear: 1\ninclude: [packs/none.yaml]\n")],
                "p.yaml:2:11: `packs/none.yaml` cannot be read (packs/none.yaml: there is no such file)",
            ),
            (
                vec![("p.yaml", "include: [https://x.example/y]\n")],
                "p.yaml:1:11: `https://x.example/y` is not the path of a file",
            ),
            (
                vec![("p.yaml", "include: p.yaml\n")],
                "p.yaml:1:10: `p.yaml` includes itself (a circle)",
            ),
            (
                vec![
                    ("p.yaml", "include: [a.yaml]\n"),
                    ("a.yaml", "include: [b.yaml]\n"),
                    ("b.yaml", "name: b\ninclude: [a.yaml]\n"),
                ],
                "b.yaml:2:11: `a.yaml` includes itself (a circle)",
            ),
            (
                vec![("p.yaml", "include: [a.yaml]\n"), ("a.yaml", "timezone: UTC\n")],
                "a.yaml:1:1: `timezone` belongs to the including policy",
            ),
            (
                vec![("p.yaml", "include: [a.yaml]\n"), ("a.yaml", "ruels: []\n")],
                "a.yaml:1:1: unknown key `ruels` in an included file (did you mean `rules`?)",
            ),
            (
                vec![
                    ("p.yaml", "calendars: { x: [] }\ninclude: [a.yaml]\n"),
                    ("a.yaml", "name: a\ncalendars: { x: [] }\n"),
                ],
                "a.yaml:2:14: `x` is in `calendars` twice (also in p.yaml, line 1)",
            ),
            (
                vec![("p.yaml", "include: [a.yaml]\n"), ("a.yaml", "a: [\n")],
                "a.yaml:2:1: this is not YAML",
            ),
        ] {
            let found = read(&files).unwrap_err();
            assert!(found.contains(expected), "expected {expected}\nfound {found}");
        }
    }

    #[test]
    fn a_path_is_taken_from_the_folder_of_the_file_that_names_it() {
        assert_eq!(beside("a/b/p.yaml", "../x/./y.yaml").as_deref(), Some("a/x/y.yaml"));
        assert_eq!(beside("p.yaml", "../x.yaml").as_deref(), Some("../x.yaml"));
        assert_eq!(beside("/a/p.yaml", "/b/x.yaml").as_deref(), Some("/b/x.yaml"));
        assert_eq!(beside("p.yaml", "packs/"), None);
    }
}
