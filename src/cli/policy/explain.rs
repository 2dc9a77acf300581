//! `forbear policy explain --policy FILE --customer FILE --intent FILE`.

use super::files::{read_bounded, read_document};
use super::{Format, colours, now_ms, to_standard_error, to_standard_output};
use crate::policy::file::{Document, Findings, Node};
use crate::policy::model::Policy;
use crate::rehearsal::explained::{Explained, explain};
use crate::rehearsal::words::instant_of;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The policy file
    #[arg(long, value_name = "FILE", default_value = "policy.yaml")]
    policy: PathBuf,
    /// Who it is about, YAML or JSON: the keys of `customer:` in policy tests, and `history`, a list of contacts and events
    #[arg(long, value_name = "FILE")]
    customer: PathBuf,
    /// The intent, YAML or JSON
    #[arg(long, value_name = "FILE")]
    intent: PathBuf,
    /// When it is judged; default: now
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<i64>,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn instant(text: &str) -> Result<i64, String> {
    instant_of(text).ok_or_else(|| "expected an instant such as 2026-03-28T20:30:00Z".to_owned())
}

pub(super) fn run(arguments: &ExplainArguments) -> Result<ExitCode, String> {
    let (_, document) = read_document(&arguments.policy);
    let document = document.map_err(|error| cannot_read(&arguments.policy, &error))?;
    let compiled = document.and_then(|document| {
        let (policy, _) = Policy::compile(&document, None)?;
        Ok((document, Rc::new(policy)))
    });
    let (mut document, policy) = match compiled {
        Ok(compiled) => compiled,
        Err(errors) => {
            to_standard_error(errors.to_text(colours()).trim_end());
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut findings = Findings::default();
    let customer = node(&arguments.customer, &mut document, &mut findings)?;
    let intent = node(&arguments.intent, &mut document, &mut findings)?;
    let explained = match customer.zip(intent) {
        Some((customer, intent)) => {
            let at_ms = arguments.at.unwrap_or_else(now_ms);
            explain(&policy, &customer, &intent, at_ms, &mut findings)?
        }
        None => None,
    };
    let found = findings.into_diagnostics(&document.sources);
    if !found.items.is_empty() {
        to_standard_error(found.to_text(colours()).trim_end());
    }
    let Some(explained) = explained else {
        return Ok(ExitCode::FAILURE);
    };
    tell(&explained, arguments.format);
    Ok(ExitCode::SUCCESS)
}

fn tell(explained: &Explained, format: Format) {
    match format {
        Format::Text => to_standard_output(explained.text().trim_end()),
        Format::Json => to_standard_output(&explained.as_json().to_string()),
    }
}

fn node(file: &Path, document: &mut Document, findings: &mut Findings) -> Result<Option<Node>, String> {
    let bytes = read_bounded(file).map_err(|error| cannot_read(file, &error))?;
    Ok(document.add(&file.display().to_string(), &bytes, findings))
}

fn cannot_read(file: &Path, error: &std::io::Error) -> String {
    format!("cannot read {}: {error}", file.display())
}
