//! Results of tests: for a person, for programs, for build servers (JUnit).

use super::play::{Failure, Played};
use super::words::text_of;
use super::working;
use crate::policy::file::Sources;
use comfy_table::{Table, presets};
use serde_json::json;
use std::fmt::Write;

/// The report for a person: every failure with what was expected, what came and every rule's working, then the sum.
/// `verbose`: also what was decided, step by step.
pub fn text(played: &[Played], sources: &Sources, verbose: bool) -> String {
    let mut text = String::new();
    for test in played {
        let place = sources.place(test.span.start);
        // A name may hold whatever a file can: a terminal must not obey it.
        let name = test.name.replace(char::is_control, " ");
        if test.failures.is_empty() {
            if verbose {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "ok    {name} ({}:{})", place.file, place.line);
            }
        } else {
            let _ = writeln!(text, "FAIL  {name} ({}:{})", place.file, place.line);
        }
        if verbose {
            for line in &test.trace {
                let _ = writeln!(text, "      {line}");
            }
        }
        for failure in &test.failures {
            text.push_str(&indented(&failure_text(failure, sources), 6));
            text.push('\n');
        }
    }
    let failed = played.iter().filter(|test| !test.failures.is_empty()).count();
    let noun = if played.len() == 1 { "test" } else { "tests" };
    let _ = writeln!(
        text,
        "{} {noun}, {} passed, {failed} failed",
        played.len(),
        played.len() - failed
    );
    text
}

fn failure_text(failure: &Failure, sources: &Sources) -> String {
    let place = sources.place(failure.span.start);
    let at = text_of(failure.at_ms);
    let mut text = format!(
        "{}:{}:{}: {} at {at}\n",
        place.file, place.line, place.column, failure.what
    );
    if !failure.mismatches.is_empty() {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["", "expected", "got"]);
        for mismatch in &failure.mismatches {
            table.add_row([&mismatch.field, &mismatch.expected, &mismatch.got]);
        }
        for line in table.lines() {
            let _ = writeln!(text, "  {}", line.trim_end());
        }
    }
    for note in &failure.notes {
        let _ = writeln!(text, "  {}", note.replace('\n', "\n  "));
    }
    if !failure.working.is_empty() {
        let zone = failure.zone.as_deref();
        let _ = writeln!(text, "  every rule's working (times in {}):", zone.unwrap_or("UTC"));
        text.push_str(&indented(&working::table(&failure.working, zone), 2));
        text.push('\n');
    }
    text
}

/// The report for programs.
pub fn as_json(played: &[Played], sources: &Sources) -> String {
    let tests: Vec<serde_json::Value> = played.iter().map(|test| json_of(test, sources)).collect();
    let failed = played.iter().filter(|test| !test.failures.is_empty()).count();
    json!({
        "tests": tests,
        "passed": played.len() - failed,
        "failed": failed,
    })
    .to_string()
}

fn json_of(test: &Played, sources: &Sources) -> serde_json::Value {
    let place = sources.place(test.span.start);
    let failures: Vec<serde_json::Value> = test
        .failures
        .iter()
        .map(|failure| {
            let place = sources.place(failure.span.start);
            let mismatches: Vec<serde_json::Value> = failure
                .mismatches
                .iter()
                .map(|mismatch| json!({ "field": mismatch.field, "expected": mismatch.expected, "got": mismatch.got }))
                .collect();
            json!({
                "file": place.file,
                "line": place.line,
                "column": place.column,
                "step": failure.step,
                "at": text_of(failure.at_ms),
                "what": failure.what,
                "mismatches": mismatches,
                "notes": failure.notes,
                "working": working::as_json(&failure.working),
            })
        })
        .collect();
    json!({
        "name": test.name,
        "file": place.file,
        "line": place.line,
        "passed": test.failures.is_empty(),
        "failures": failures,
        "trace": test.trace,
    })
}

/// The report for build servers: one suite for each file, in the order in which they come.
pub fn junit(played: &[Played], sources: &Sources) -> String {
    let mut suites: Vec<(&str, Vec<&Played>)> = Vec::new();
    for test in played {
        let file = sources.place(test.span.start).file;
        match suites.iter_mut().find(|(other, _)| *other == file) {
            Some((_, tests)) => tests.push(test),
            None => suites.push((file, vec![test])),
        }
    }
    let failed = |tests: &[&Played]| tests.iter().filter(|test| !test.failures.is_empty()).count();
    let all: Vec<&Played> = played.iter().collect();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (count, bad) = (all.len(), failed(&all));
    let _ = writeln!(
        text,
        "<testsuites name=\"forbear policy test\" tests=\"{count}\" failures=\"{bad}\" errors=\"0\">"
    );
    for (file, tests) in &suites {
        let (count, bad, name) = (tests.len(), failed(tests), xml(file));
        let _ = writeln!(
            text,
            "  <testsuite name=\"{name}\" tests=\"{count}\" failures=\"{bad}\" errors=\"0\">"
        );
        for test in tests {
            let line = sources.place(test.span.start).line;
            let _ = write!(
                text,
                "    <testcase classname=\"{name}\" name=\"{}\" file=\"{name}\" line=\"{line}\"",
                xml(&test.name)
            );
            if test.failures.is_empty() {
                text.push_str("/>\n");
                continue;
            }
            text.push_str(">\n");
            for failure in &test.failures {
                let fields: Vec<&str> = failure.mismatches.iter().map(|it| it.field.as_str()).collect();
                let message = format!("{}: {}", failure.what, fields.join(", "));
                let _ = writeln!(
                    text,
                    "      <failure message=\"{}\">{}</failure>",
                    xml(&message),
                    xml(&failure_text(failure, sources))
                );
            }
            text.push_str("    </testcase>\n");
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Text in XML 1.0: what it cannot hold is left out.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            other if other < ' ' || matches!(other, '\u{fffe}' | '\u{ffff}') => {}
            other => escaped.push(other),
        }
    }
    escaped
}

fn indented(text: &str, by: usize) -> String {
    let lines = text.lines().map(|line| {
        let indented = format!("{:by$}{line}", "");
        indented.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}
