//! The log: standard error, text or JSON lines. `FORBEAR_LOG` filters it (`info`, or `forbear::store=debug,warn`).

use std::io::IsTerminal;
use std::str::FromStr;
use tracing_subscriber::EnvFilter;

/// Name of the environment variable that filters.
pub const FILTER_VARIABLE: &str = "FORBEAR_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; once a process. `default` is the filter where the environment names none.
pub fn start(format: LogFormat, default: &str) -> Result<(), String> {
    let filter = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| default.to_string());
    let filter = parse_filter(&filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(|error| format!("logging: {error}"))?;
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(at = place_of(panic), "a thread panicked; please report it");
    }));
    Ok(())
}

/// Where it happened, and nothing more: the message of a panic may repeat what a record says (P9).
fn place_of(panic: &std::panic::PanicHookInfo<'_>) -> String {
    match panic.location() {
        Some(location) => format!("{}:{}", location.file(), location.line()),
        None => "an unknown place".to_string(),
    }
}

fn parse_filter(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::from_str(filter).map_err(|error| {
        format!("{FILTER_VARIABLE}: {error}; expected a level (info) or targets (forbear::store=debug,warn)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_panic_the_place_is_told_and_never_the_message() {
        let told = std::sync::Arc::new(std::sync::Mutex::new(None));
        let (here, tell) = (std::thread::current().id(), told.clone());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().id() == here {
                *tell.lock().unwrap() = Some(place_of(panic));
            }
        }));
        let panicked = std::panic::catch_unwind(|| panic!("somebody@example.org"));
        std::panic::set_hook(before);
        assert!(panicked.is_err());
        let place = told.lock().unwrap().take().unwrap();
        assert!(place.contains("logging.rs:") && !place.contains("somebody"), "{place}");
    }

    #[test]
    fn a_bad_filter_is_an_error_that_names_the_variable() {
        assert!(parse_filter("forbear::store=debug,warn").is_ok());
        let error = parse_filter("forbear=loud").unwrap_err();
        assert!(error.contains(FILTER_VARIABLE), "{error}");
    }
}
