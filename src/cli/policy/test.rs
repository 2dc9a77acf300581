//! `forbear policy test POLICY [TESTS...]`.

use super::files::{Files, read_bounded, read_document};
use super::{Format, colours, to_standard_error, to_standard_output};
use crate::policy::file::{Diagnostics, Document, Findings, Node};
use crate::policy::model::Policy;
use crate::rehearsal::{Played, play, read_tests, report};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const LOOKED_AT_EVERY: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
pub(super) struct TestArguments {
    /// The policy file; tests that stand in it, and in what it includes, are played too
    policy: PathBuf,
    /// Files of tests
    tests: Vec<PathBuf>,
    /// How results are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write the results for a build server
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Only the tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Say what was decided, step by step, also of tests that pass
    #[arg(long)]
    verbose: bool,
    /// Play them again whenever a file changes
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(arguments: &TestArguments) -> Result<ExitCode, String> {
    let (mut seen, mut outcome) = once(arguments);
    if !arguments.watch {
        return outcome;
    }
    loop {
        if let Err(problem) = &outcome {
            to_standard_error(&format!("error: {problem}"));
        }
        to_standard_error("waiting for a file to change …");
        loop {
            std::thread::sleep(LOOKED_AT_EVERY);
            if seen.again() != seen {
                break;
            }
        }
        (seen, outcome) = once(arguments);
    }
}

/// Plays everything once. The files that were read are answered whatever happens.
fn once(arguments: &TestArguments) -> (Files, Result<ExitCode, String>) {
    let (mut files, document) = read_document(&arguments.policy);
    for test in &arguments.tests {
        files = files.and(Files::one(test));
    }
    let cannot_read = |error| format!("cannot read {}: {error}", arguments.policy.display());
    let outcome = document
        .map_err(cannot_read)
        .and_then(|document| match document.and_then(compiled) {
            Ok((document, policy)) => played(arguments, document, &policy),
            Err(errors) => Ok(refused(arguments, &errors)),
        });
    (files, outcome)
}

fn compiled(document: Document) -> Result<(Document, Rc<Policy>), Box<Diagnostics>> {
    let (policy, _) = Policy::compile(&document, None)?;
    Ok((document, Rc::new(policy)))
}

fn played(arguments: &TestArguments, mut document: Document, policy: &Rc<Policy>) -> Result<ExitCode, String> {
    let mut findings = Findings::default();
    let mut listed: Vec<Node> = document.tests().into_iter().cloned().collect();
    for file in &arguments.tests {
        let bytes = read_bounded(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        listed.extend(document.add(&file.display().to_string(), &bytes, &mut findings));
    }
    let read = listed.iter().map(|node| read_tests(node, policy, &mut findings));
    let mut tests: Vec<_> = read.collect::<Vec<_>>().into_iter().flatten().collect();
    let has_errors = findings.has_errors();
    let found = findings.into_diagnostics(&document.sources);
    if has_errors {
        return Ok(refused(arguments, &found));
    }
    if !found.items.is_empty() {
        to_standard_error(found.to_text(colours()).trim_end());
    }
    if let Some(only) = &arguments.only {
        tests.retain(|test| test.name.contains(only.as_str()));
    }
    if tests.is_empty() {
        return Err("there is no test to play: a policy has them under `tests:`, or in files of their own".to_owned());
    }
    let played: Vec<Played> = tests.iter().map(|test| play(test, &document, policy)).collect();
    let sources = &document.sources;
    match arguments.format {
        Format::Text => to_standard_output(report::text(&played, sources, arguments.verbose).trim_end()),
        Format::Json => to_standard_output(&report::as_json(&played, sources)),
    }
    if let Some(file) = &arguments.junit {
        let written = std::fs::write(file, report::junit(&played, sources));
        written.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    let good = played.iter().all(|test| test.failures.is_empty());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refused(arguments: &TestArguments, errors: &Diagnostics) -> ExitCode {
    match arguments.format {
        Format::Text => to_standard_error(errors.to_text(colours()).trim_end()),
        Format::Json => {
            let findings: serde_json::Value = serde_json::from_str(&errors.to_json()).unwrap_or_default();
            to_standard_output(&serde_json::json!({ "errors": findings }).to_string());
        }
    }
    ExitCode::FAILURE
}
