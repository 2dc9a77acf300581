//! `forbear policy schema`.

use super::to_standard_output;
use crate::policy::schema::schema;
use std::process::ExitCode;

/// For whoever reads the output in a terminal: standard error, so that the document itself stays JSON.
const WIRING: &str = "write it to a file and put this into the first line of the policy:\n\
                      # yaml-language-server: $schema=forbear-policy.schema.json";

pub(super) fn run() -> ExitCode {
    let text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    to_standard_output(&text);
    super::to_standard_error(WIRING);
    ExitCode::SUCCESS
}
