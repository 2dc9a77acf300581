//! The one place where the commands meet the processor and the policy language.

use super::settings::Settings;
use super::{Accept, Format};
use std::path::Path;
use std::process::ExitCode;

/// A processor that runs in this process.
pub trait Processor {
    /// Finishes the batch, commits and ends.
    fn stop(self: Box<Self>) -> Result<(), String>;
}

/// The names of the channels of a policy, in the order of the file.
pub fn channels(policy_file: &Path) -> Result<Vec<String>, String> {
    Err(format!(
        "cannot read the channels of {}: the policy language is not linked in",
        policy_file.display()
    ))
}

/// `forbear run`: until a signal (exit code 0), or until it has to be started again (75).
pub fn run(_settings: Settings, _leave: bool) -> Result<ExitCode, String> {
    Err("the processor is not linked in".to_owned())
}

/// `forbear repair`.
pub fn repair(_settings: Settings, _partition: i32, _accept: Accept) -> Result<ExitCode, String> {
    Err("the processor is not linked in".to_owned())
}

/// `forbear policy check`.
pub fn check_policy(_file: &Path, _format: Format) -> Result<ExitCode, String> {
    Err("the policy language is not linked in".to_owned())
}

/// Starts a processor in this process, for the demo. `embedded`: the broker is librdkafka's own.
pub fn start(_settings: &Settings, _embedded: bool) -> Result<Box<dyn Processor>, String> {
    Err("the processor is not linked in".to_owned())
}
