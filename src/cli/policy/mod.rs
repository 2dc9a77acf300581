//! `forbear policy …`: what the owner of a policy does with the file before it is live.

mod check;
mod diff;
mod explain;
pub mod files;
mod schema;
mod test;

use super::{Format, to_standard_error, to_standard_output};
use clap::{Args, Subcommand};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Checks, tests and explains policies.
#[derive(Debug, Args)]
pub struct PolicyArguments {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Parse, type-check and lint a policy; exits with 1 on an error
    #[command(after_help = "Examples:\n  forbear policy check policy.yaml\n  \
                            forbear policy check policy.yaml --deny-warnings --format json")]
    Check(check::CheckArguments),
    /// Play the tests of a policy and of files of tests; exits with 1 where one fails
    #[command(after_help = "Examples:\n  forbear policy test policy.yaml\n  \
                            forbear policy test policy.yaml tests/*.yaml --junit results.xml\n  \
                            forbear policy test policy.yaml --watch")]
    Test(test::TestArguments),
    /// One verdict, offline, with every rule's working
    #[command(after_help = "Examples:\n  \
                            forbear policy explain --policy policy.yaml --customer customer.yaml --intent intent.yaml\n  \
                            forbear policy explain --customer customer.yaml --intent intent.json --at 2026-03-28T20:30:00Z")]
    Explain(explain::ExplainArguments),
    /// What changed in meaning between two policies, for a review
    #[command(after_help = "Examples:\n  forbear policy diff policy.yaml proposed.yaml\n  \
                            git show main:policy.yaml | forbear policy diff - policy.yaml")]
    Diff(diff::DiffArguments),
    /// The JSON Schema of the policy file, for editors
    #[command(
        after_help = "Example:\n  forbear policy schema > forbear-policy.schema.json\n\nThen, in the first line of a policy:\n  \
                            # yaml-language-server: $schema=forbear-policy.schema.json"
    )]
    Schema,
}

/// Runs the command.
pub fn run(arguments: &PolicyArguments) -> ExitCode {
    let done = match &arguments.command {
        PolicyCommand::Check(arguments) => check::run(arguments),
        PolicyCommand::Test(arguments) => test::run(arguments),
        PolicyCommand::Explain(arguments) => explain::run(arguments),
        PolicyCommand::Diff(arguments) => diff::run(arguments),
        PolicyCommand::Schema => Ok(schema::run()),
    };
    done.unwrap_or_else(|problem| {
        to_standard_error(&format!("error: {problem}"));
        ExitCode::FAILURE
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a report on standard error may have colours.
fn colours() -> bool {
    std::io::stderr().is_terminal()
}
