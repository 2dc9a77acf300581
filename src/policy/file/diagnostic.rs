//! What is wrong with a policy file, and where. Findings are collected, never returned at the first one: the owner of a
//! file wants to see all of them at once.

use super::sources::Sources;
use std::fmt;

/// More findings than this are counted, not kept: a broken file of a megabyte must not make a report of a gigabyte.
const KEPT_FINDINGS: usize = 100;

/// Only so many names are compared with a wrong one: a hostile file could declare tens of thousands.
const COMPARED_NAMES: usize = 1_000;

/// A stretch of the file in bytes, `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// Whether the file can be used in spite of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A stable word for tools, such as `unknown-key`.
    pub code: &'static str,
    pub message: String,
    pub span: Span,
    /// What was expected there; stands beside the marked text.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What to write in place of the marked text.
    pub suggestion: Option<String>,
    /// Of something that is written twice: where the first one stands. Its line is told beside the marked text.
    pub first: Option<Span>,
}

/// The findings about a policy, with the texts that they point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    pub sources: Sources,
    pub items: Vec<Diagnostic>,
    /// How many more there were.
    pub left_out: usize,
}

/// Where findings are gathered while a file is read.
#[derive(Debug, Default)]
pub struct Findings {
    items: Vec<Diagnostic>,
    left_out: usize,
    errors: usize,
}

impl Span {
    /// A span from its ends.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The same stretch where its text begins at an offset.
    pub(super) fn moved(self, base: usize) -> Self {
        Self::new(self.start + base, self.end + base)
    }
}

impl Diagnostic {
    /// An error without help.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span,
            label: label.into(),
            help: None,
            suggestion: None,
            first: None,
        }
    }

    /// A warning without help.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, span, message, label)
        }
    }

    /// With advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With the place of the first of two.
    pub fn first(mut self, first: Span) -> Self {
        self.first = Some(first);
        self
    }

    /// With a text to write instead.
    pub fn suggest(mut self, replacement: Option<impl Into<String>>) -> Self {
        self.suggestion = replacement.map(Into::into);
        self
    }
}

impl Findings {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.items.len() < KEPT_FINDINGS {
            self.items.push(diagnostic);
        } else {
            self.left_out += 1;
        }
    }

    /// Adds an error.
    pub fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>, label: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message, label));
    }

    /// Adds "such-and-such is written twice", at the second one.
    pub fn twice(&mut self, code: &'static str, what: &str, first: Span, second: Span) {
        self.push(Diagnostic::error(code, second, format!("{what} is written twice"), "the second one").first(first));
    }

    /// Adds "unknown such-and-such", with the nearest of the known names.
    pub fn unknown<'k>(&mut self, what: &str, name: &str, span: Span, known: impl IntoIterator<Item = &'k str>) {
        if self.is_full() {
            return self.error("unknown-name", span, String::new(), String::new());
        }
        let known: Vec<&str> = known.into_iter().collect();
        let nearest = nearest(name, known.iter().copied());
        let label = match nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => expected(&known),
        };
        let message = format!("unknown {what} `{}`", shortened(name));
        self.push(Diagnostic::error("unknown-name", span, message, label).suggest(nearest));
    }

    /// Takes an error back that another one explains.
    pub fn withdraw(&mut self, code: &str, span: Span, message: &str) {
        let same = |item: &Diagnostic| item.code == code && item.span == span && item.message == message;
        if let Some(index) = self.items.iter().rposition(same) {
            self.items.remove(index);
            self.errors -= 1;
        }
    }

    /// Whether further findings are only counted, so that no work is due for their words.
    pub fn is_full(&self) -> bool {
        self.items.len() >= KEPT_FINDINGS
    }

    /// Whether the file cannot be used.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Adds what was found in a text that begins at an offset.
    pub(super) fn append(&mut self, other: Findings, base: usize) {
        for mut item in other.items {
            item.span = item.span.moved(base);
            item.first = item.first.map(|first| first.moved(base));
            self.push(item);
        }
        self.left_out += other.left_out;
        self.errors += other.left_out;
    }

    /// The findings in the order of the files, with the texts that they point into.
    pub fn into_diagnostics(mut self, sources: &Sources) -> Diagnostics {
        for item in &mut self.items {
            if let Some(first) = item.first {
                let (there, here) = (sources.place(first.start), sources.place(item.span.start));
                let file = if there.file == here.file {
                    String::new()
                } else {
                    format!(" of {}", there.file)
                };
                item.label = format!("{}; the first is in line {}{file}", item.label, there.line);
            }
        }
        self.items
            .sort_by_key(|item| (item.span.start, item.span.end, item.severity));
        Diagnostics {
            sources: sources.clone(),
            items: self.items,
            left_out: self.left_out,
        }
    }
}

impl Diagnostics {
    /// The number of errors among those kept.
    pub fn errors(&self) -> usize {
        self.items
            .iter()
            .filter(|item| item.severity == Severity::Error)
            .count()
    }
}

/// One line for each finding: `file:line:column: message`.
impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            let place = self.sources.place(item.span.start);
            let separator = if index == 0 { "" } else { "\n" };
            let (file, line, column) = (place.file, place.line, place.column);
            write!(formatter, "{separator}{file}:{line}:{column}: {}", item.message)?;
            if !item.label.is_empty() {
                write!(formatter, " ({})", item.label)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The nearest of the known names, if it is near enough to be what was meant.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_lowercase();
    known
        .into_iter()
        .take(COMPARED_NAMES)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What was expected where a name is not one of those that the policy declares.
pub fn expected(declared: &[&str]) -> String {
    match declared {
        [] => "the policy declares none".to_owned(),
        _ => format!("expected {}", one_of(declared)),
    }
}

/// `a`, `b` or `c`; a long list is cut.
pub fn one_of(known: &[&str]) -> String {
    const SHOWN: usize = 14;
    match known {
        [] => "nothing here".to_owned(),
        [only] => format!("`{only}`"),
        [first @ .., last] if known.len() <= SHOWN => {
            let first: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
        _ => {
            let first: Vec<String> = known.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
            format!("{}, …", first.join(", "))
        }
    }
}

/// A text of the file as it may be repeated in a message.
pub fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    let one_line: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        one_line + "…"
    } else {
        one_line
    }
}

/// The last character boundary at or before an offset.
pub fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
