//! `forbear policy …`: what the owner of a policy does with the file before it is live.

use crate::policy::file::tree::FILE_BYTES;
use crate::policy::model::Policy;
use clap::{Args, Subcommand, ValueEnum};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Checks, and later tests, policies.
#[derive(Debug, Args)]
pub struct PolicyArguments {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Parse, type-check and lint a policy; exits with 1 on an error
    #[command(after_help = "Example:\n  forbear policy check policy.yaml")]
    Check {
        /// The policy file
        file: PathBuf,
        /// How findings are written
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person
    Text,
    /// For an editor: an array of findings
    Json,
}

/// Runs the command.
pub fn run(arguments: &PolicyArguments) -> ExitCode {
    match &arguments.command {
        PolicyCommand::Check { file, format } => check(file, *format),
    }
}

/// `forbear policy check FILE`.
pub fn check(file: &Path, format: Format) -> ExitCode {
    let bytes = match read_bounded(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            report_line(&format!("error: cannot read {}: {error}", file.display()), true);
            return ExitCode::FAILURE;
        }
    };
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|now| i64::try_from(now.as_millis()).ok());
    let loaded = Policy::load(&bytes, &file.display().to_string(), now_ms);
    let findings = match &loaded {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    };
    match format {
        Format::Json => report_line(&findings.to_json(), false),
        Format::Text => {
            let text = findings.to_text(std::io::stderr().is_terminal());
            if !text.is_empty() {
                report_line(text.trim_end(), true);
            }
            if let Ok((policy, _)) = &loaded {
                report_line(&summary(policy), false);
            } else {
                let (count, mark) = (findings.errors(), if findings.left_out > 0 { " or more" } else { "" });
                let noun = if count == 1 { "error" } else { "errors" };
                report_line(&format!("\n{}: {count}{mark} {noun}", file.display()), true);
            }
        }
    }
    if loaded.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn summary(policy: &Policy) -> String {
    format!(
        "{}: {} channels, {} classes, {} rules, {} exceptions, {} stops",
        policy.label,
        policy.channels.len(),
        policy.classes.len(),
        policy.rules.len(),
        policy.exceptions.len(),
        policy.stops.len(),
    )
}

/// One byte more than is allowed is enough to refuse a file, however long it is.
pub(super) fn read_bounded(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?
        .take(FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A reader that has gone away (`| head`) is no reason to fail.
fn report_line(text: &str, to_standard_error: bool) {
    let _ = if to_standard_error {
        writeln!(std::io::stderr().lock(), "{text}")
    } else {
        writeln!(std::io::stdout().lock(), "{text}")
    };
}
