//! Findings as a person reads them, and as an editor does.

use super::diagnostic::{Diagnostic, Diagnostics, Severity, floor_boundary};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A longer line is not shown: the terminal could not show it either.
const SHOWN_LINE_BYTES: usize = 500;

impl Diagnostics {
    /// The report for a terminal: file, line and column, the line itself, what was expected, what to do.
    pub fn to_text(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for item in &self.items {
            text.push_str(&self.render(item, &renderer));
            text.push_str("\n\n");
        }
        if self.left_out > 0 {
            text.push_str(&format!("and {} more\n", self.left_out));
        }
        text
    }

    /// The report for editors: an array, one object for each finding. Lines and columns count from 1; the end is the
    /// column after the last character.
    pub fn to_json(&self) -> String {
        let items: Vec<serde_json::Value> = self.items.iter().map(|item| self.json(item)).collect();
        serde_json::Value::Array(items).to_string()
    }

    fn json(&self, item: &Diagnostic) -> serde_json::Value {
        let start = self.sources.place(item.span.start);
        let end = self.sources.place(item.span.end.max(item.span.start));
        let message = if item.label.is_empty() {
            item.message.clone()
        } else {
            format!("{}: {}", item.message, item.label)
        };
        serde_json::json!({
            "file": start.file,
            "line": start.line,
            "column": start.column,
            "end_line": end.line,
            "end_column": end.column,
            "severity": severity_word(item.severity),
            "code": item.code,
            "message": message,
            "help": item.help,
            "suggestion": item.suggestion,
        })
    }

    fn render(&self, item: &Diagnostic, renderer: &Renderer) -> String {
        let level = match item.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(item.message.as_str()).id(item.code);
        let text = self.sources.text();
        let place = self.sources.place(item.span.start);
        let (line_start, line_end) = self.sources.line(item.span.start);
        let start = floor_boundary(text, item.span.start).clamp(line_start, line_end);
        let line = &text[line_start..line_end];
        if line.len() > SHOWN_LINE_BYTES || text.trim().is_empty() {
            let word = severity_word(item.severity);
            let place = format!("{}:{}:{}", place.file, place.line, place.column);
            return format!("{word}[{}]: {}\n --> {place}: {}", item.code, item.message, item.label);
        }
        // Only the first line of the marked text is marked: the place counts, not the extent.
        let end = floor_boundary(text, item.span.end).clamp(start, line_end);
        let marked = start - line_start..end - line_start;
        let mut annotation = AnnotationKind::Primary.span(marked);
        if !item.label.is_empty() {
            annotation = annotation.label(item.label.as_str());
        }
        let snippet = Snippet::source(line)
            .path(place.file)
            .line_start(place.line)
            .annotation(annotation);
        let mut group = Group::with_title(title).element(snippet);
        if let Some(help) = &item.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
