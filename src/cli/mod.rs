//! Commands, settings, demo, generator.
//!
//! Exit codes: 0; 1 for an error, said on standard error; 2 for wrong usage; 75 when the process has to be started again.
//! What the commands need of the processor and of the policy language goes through [`engine`].

pub mod audit;
pub mod demo;
pub mod engine;
pub mod generate;
mod interrupt;
pub mod policy;
pub mod senders;
pub mod settings;
pub mod topic_rules;
pub mod topics;
pub mod workload;

use clap::{Args, Parser, Subcommand, ValueEnum};
use settings::Settings;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The process is to be started again: nothing is lost, but it cannot go on.
pub const EXIT_RESTART: u8 = 75;

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.execute() {
        Ok(code) => code,
        Err(problem) => {
            to_standard_error(as_errors(&problem).trim_end());
            ExitCode::FAILURE
        }
    }
}

/// Writes a result, with a line end. A reader that has gone away (`| head`) is no reason to fail.
fn to_standard_output(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a message, with a line end. (`eprintln!` would panic where nobody reads it.)
fn to_standard_error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Each line is a problem of its own, up to a report about a file: that one has its own marks and is left as it is.
fn as_errors(problem: &str) -> String {
    let mut in_report = false;
    let mut text = String::new();
    for line in problem.lines() {
        in_report |= line.starts_with("error[") || line.starts_with("warning[");
        if !in_report {
            text.push_str("error: ");
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[derive(Parser)]
#[command(
    name = "forbear",
    version,
    about = "One corporate contact policy over every division's messages: intents in, verdicts out, exactly once",
    after_help = "Example:\n  forbear demo"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the whole pipeline in one process: no server, no settings
    #[command(
        after_help = "Examples:\n  forbear demo\n  forbear demo --seconds 60 --seed 7\n  forbear demo --brokers localhost:9092"
    )]
    Demo(demo::DemoArguments),
    /// Run the processor
    #[command(after_help = "Example:\n  forbear run --config forbear.toml")]
    Run(RunArguments),
    /// Create and verify the topics
    #[command(subcommand, after_help = "Example:\n  forbear topics verify --config forbear.toml")]
    Topics(topics::TopicsCommand),
    /// Work on policy files
    #[command(after_help = "Example:\n  forbear policy check policy.yaml")]
    Policy(policy::PolicyArguments),
    /// Get a partition going again whose state could not be proven
    #[command(
        after_help = "Example:\n  forbear repair --config forbear.toml --partition 3 --accept marker",
        long_about = "Get a partition going again whose state could not be proven.\n\n\
                      /readyz and the log say which partition is blocked, and why. The instance that holds it finds the repair by \
                      itself, within seconds. What was done is written to the decisions topic."
    )]
    Repair(RepairArguments),
    /// Recompute the promises from the topics of a cluster that runs or has stopped, and derive its verdicts again
    #[command(
        after_help = "Examples:\n  forbear audit --config forbear.toml\n  \
                      forbear audit --from 2026-03-01T00:00:00Z --format json\n  \
                      forbear audit --partition 3 --from 81723 --checks P1,P5",
        long_about = "Recompute the promises from the topics of a cluster that runs or has stopped, and derive its verdicts again.\n\n\
                      Reads the topics of the settings (committed records only), changes nothing, and joins no group. The report \
                      says what was broken and where, what was checked and how often, and what could not be checked, and why.\n\n\
                      Exit code 0: no violation. 1: violations, in the report on standard output; or an error, on standard error, \
                      with no report. 2: wrong usage. 130: interrupted."
    )]
    Audit(audit::AuditArguments),
    /// Write a synthetic, seeded load of intents and engagement to a cluster
    #[command(
        after_help = "Example:\n  forbear generate --config forbear.toml --customers 10000 --rate 2000 --seconds 60 --seed 1"
    )]
    Generate(generate::GenerateArguments),
}

/// Where the settings are.
#[derive(Args, Clone)]
pub struct ConfigArgument {
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "forbear.toml")]
    pub config: PathBuf,
}

impl ConfigArgument {
    fn load(&self) -> Result<Settings, String> {
        Settings::load(&self.config).map_err(|error| error.to_string())
    }
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Args)]
struct RunArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Leave the group at the end, so that others take over at once (for good-byes, not for restarts)
    #[arg(long)]
    leave: bool,
}

#[derive(Args)]
struct RepairArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The blocked partition
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,
    /// What to believe: the position in the newest marker of the state topic, or the group's committed offsets
    #[arg(long, value_enum)]
    accept: Accept,
}

/// What a repair believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accept {
    /// The newest position marker of the state topic
    Marker,
    /// The group's committed offsets
    Offsets,
}

impl Command {
    fn execute(self) -> Result<ExitCode, String> {
        match self {
            Command::Demo(arguments) => demo::execute(&arguments),
            Command::Run(arguments) => engine::run(arguments.config.load()?, arguments.leave),
            Command::Topics(command) => topics::execute(&command),
            Command::Policy(arguments) => Ok(policy::run(&arguments)),
            Command::Repair(arguments) => {
                engine::repair(arguments.config.load()?, arguments.partition, arguments.accept)
            }
            Command::Audit(arguments) => audit::execute(&arguments),
            Command::Generate(arguments) => generate::execute(&arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_marked_and_a_report_is_left_as_it_is() {
        assert_eq!(as_errors("one\ntwo"), "error: one\nerror: two\n");
        assert_eq!(
            as_errors("bad\nerror[duration]: a gap\n --> f:1:2\n\nerror[x]: y"),
            "error: bad\nerror[duration]: a gap\n --> f:1:2\n\nerror[x]: y\n"
        );
    }

    #[test]
    fn the_definition_of_the_commands_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
