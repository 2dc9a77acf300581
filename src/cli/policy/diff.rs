//! `forbear policy diff OLD NEW`.

use super::files::read_document;
use super::{Format, colours, to_standard_error, to_standard_output};
use crate::policy::diff::{Change, Version, diff, text};
use crate::policy::file::Document;
use crate::policy::model::Policy;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// The policy as it is; `-`: from standard input
    old: PathBuf,
    /// The policy as it is to be; `-`: from standard input
    new: PathBuf,
    /// How changes are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Exit with 1 where there are changes
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn run(arguments: &DiffArguments) -> Result<ExitCode, String> {
    let (Some(old), Some(new)) = (load(&arguments.old)?, load(&arguments.new)?) else {
        return Ok(ExitCode::FAILURE);
    };
    let changes = diff(of(&old), of(&new));
    match arguments.format {
        Format::Json => {
            let list: Vec<serde_json::Value> = changes.iter().map(as_json).collect();
            to_standard_output(&serde_json::Value::Array(list).to_string());
        }
        Format::Text if changes.is_empty() => to_standard_output("nothing changed in meaning"),
        Format::Text => to_standard_output(text(&changes).trim_end()),
    }
    Ok(if arguments.exit_code && !changes.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn of((document, policy): &(Document, Policy)) -> Version<'_> {
    Version { document, policy }
}

/// None: it cannot be used, and standard error says why.
fn load(file: &Path) -> Result<Option<(Document, Policy)>, String> {
    let (_, document) = read_document(file);
    let document = document.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let loaded = document.and_then(|document| {
        let (policy, _) = Policy::compile(&document, None)?;
        Ok((document, policy))
    });
    Ok(match loaded {
        Ok(loaded) => Some(loaded),
        Err(errors) => {
            to_standard_error(errors.to_text(colours()).trim_end());
            None
        }
    })
}

fn as_json(change: &Change) -> serde_json::Value {
    json!({
        "section": change.section,
        "name": change.name,
        "key": change.key,
        "how": change.how.as_str(),
        "old": change.old,
        "new": change.new,
        "effect": change.effect.as_str(),
    })
}
