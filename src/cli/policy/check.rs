//! `forbear policy check FILE`.

use super::files::read_document;
use super::{Format, colours, now_ms, to_standard_error, to_standard_output};
use crate::policy::file::Diagnostics;
use crate::policy::model::Policy;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The policy file
    file: PathBuf,
    /// How findings are written; for editors: an array, one object for each
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Warnings fail too
    #[arg(long)]
    deny_warnings: bool,
}

pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, String> {
    let file = &arguments.file;
    let (_, document) = read_document(file);
    let document = document.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let loaded = document.and_then(|document| Policy::compile(&document, Some(now_ms())));
    let findings = match &loaded {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    };
    match arguments.format {
        Format::Json => to_standard_output(&findings.to_json()),
        Format::Text => tell(file, findings, loaded.as_ref().ok().map(|(policy, _)| policy)),
    }
    let denied = arguments.deny_warnings && !findings.items.is_empty();
    if loaded.is_ok() && !denied {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

fn tell(file: &Path, findings: &Diagnostics, policy: Option<&Policy>) {
    let text = findings.to_text(colours());
    if !text.is_empty() {
        to_standard_error(text.trim_end());
    }
    let (errors, all) = (findings.errors(), findings.items.len());
    if let Some(policy) = policy {
        to_standard_output(&summary(policy));
        if all > 0 {
            to_standard_error(&format!("{}: {}", file.display(), counted(all, "warning")));
        }
    } else {
        let mark = if findings.left_out > 0 { " or more" } else { "" };
        let noun = if errors == 1 { "error" } else { "errors" };
        to_standard_error(&format!("\n{}: {errors}{mark} {noun}", file.display()));
    }
}

fn summary(policy: &Policy) -> String {
    let classes = match policy.classes.len() {
        1 => "1 class".to_owned(),
        count => format!("{count} classes"),
    };
    format!(
        "{}: {}, {classes}, {}, {}, {}",
        policy.label,
        counted(policy.channels.len(), "channel"),
        counted(policy.rules.len(), "rule"),
        counted(policy.exceptions.len(), "exception"),
        counted(policy.stops.len(), "stop"),
    )
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
