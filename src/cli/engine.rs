//! The one place where the commands meet the processor and the policy language.

use super::Accept;
use super::generate::now_ms;
use super::settings::Settings;
use crate::policy::model::Policy;
use std::path::Path;
use std::process::ExitCode;

/// A processor that runs in this process.
pub trait Processor {
    /// Finishes the batch, commits and ends.
    fn stop(self: Box<Self>) -> Result<(), String>;
}

/// The names of the channels of a policy, in the order of the file.
pub fn channels(policy_file: &Path) -> Result<Vec<String>, String> {
    let name = policy_file.display().to_string();
    let bytes = std::fs::read(policy_file).map_err(|error| format!("cannot read the policy {name}: {error}"))?;
    match Policy::load(&bytes, &name, Some(now_ms())) {
        Ok((policy, _)) => Ok(policy.channels.iter().map(|channel| channel.name.to_string()).collect()),
        Err(_) => Err(format!(
            "the policy {name} has errors; `forbear policy check {name}` shows them"
        )),
    }
}

/// `forbear run`: until a signal (exit code 0), or until it has to be started again (75).
pub fn run(_settings: Settings, _leave: bool) -> Result<ExitCode, String> {
    Err("the processor is not linked in".to_owned())
}

/// `forbear repair`.
pub fn repair(_settings: Settings, _partition: i32, _accept: Accept) -> Result<ExitCode, String> {
    Err("the processor is not linked in".to_owned())
}

/// Starts a processor in this process, for the demo. `embedded`: the broker is librdkafka's own.
pub fn start(_settings: &Settings, _embedded: bool) -> Result<Box<dyn Processor>, String> {
    Err("the processor is not linked in".to_owned())
}
