//! The log: standard error, text or JSON lines. `FORBEAR_LOG` filters it (`info`, or `forbear::store=debug,warn`).

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{IsTerminal, Write};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

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

/// A warning that says the same again within this time is not written: a cluster that is away would fill the log.
const SAME_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// So many different warnings are remembered.
const REMEMBERED: usize = 1_000;

/// Starts logging; once a process. `default` is the filter where the environment names none.
pub fn start(format: LogFormat, default: &str) -> Result<(), String> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(filter) => parse_filter(FILTER_VARIABLE, &filter)?,
        Err(_) => parse_filter("log.level", default)?,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| StandardError)
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_filter(NotAgain::default()))
        .try_init();
    started.map_err(|error| format!("logging: {error}"))?;
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(at = place_of(panic), "a thread panicked; please report it");
    }));
    Ok(())
}

/// Standard error, whatever becomes of it: whoever reads the log may go away, and the disk that it goes to may be full, but
/// judging goes on.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lets a warning or an error through once in [`SAME_AGAIN_AFTER`]: the same place in the code, with the same fields.
#[derive(Default)]
struct NotAgain(Mutex<HashMap<u64, Instant>>);

impl NotAgain {
    fn is_new(&self, event: &Event<'_>) -> bool {
        let mut said = Said(DefaultHasher::new());
        event.metadata().callsite().hash(&mut said.0);
        event.record(&mut said);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, at| at.elapsed() < SAME_AGAIN_AFTER);
        }
        let key = said.0.finish();
        let is_new = known.get(&key).is_none_or(|at| at.elapsed() >= SAME_AGAIN_AFTER);
        if is_new && known.len() < REMEMBERED {
            known.insert(key, Instant::now());
        }
        is_new
    }
}

impl<S: Subscriber> Filter<S> for NotAgain {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        *event.metadata().level() > Level::WARN || self.is_new(event)
    }
}

/// What an event says, as a number.
struct Said(DefaultHasher);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        field.name().hash(&mut self.0);
        format!("{value:?}").hash(&mut self.0);
    }
}

/// Where it happened, and nothing more: the message of a panic may repeat what a record says (P9).
fn place_of(panic: &std::panic::PanicHookInfo<'_>) -> String {
    match panic.location() {
        Some(location) => format!("{}:{}", location.file(), location.line()),
        None => "an unknown place".to_string(),
    }
}

/// `setting`: what it was read from, for the message. A word alone is a level; the library would take one that it does not
/// know for the name of a target, and log nothing at all.
fn parse_filter(setting: &str, filter: &str) -> Result<EnvFilter, String> {
    let expected = "expected off, error, warn, info, debug or trace, or targets (forbear::store=debug,warn)";
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| levels.contains(&word.to_ascii_lowercase().as_str());
    let mut words = filter.split(',').map(str::trim).filter(|word| !word.is_empty());
    if let Some(word) = words.find(|word| !word.contains(['=', '[']) && !is_level(word)) {
        return Err(format!("{setting}: {word:?} is no level; {expected}"));
    }
    EnvFilter::from_str(filter).map_err(|error| format!("{setting}: {error}; {expected}"))
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
    fn a_bad_filter_is_an_error_that_names_what_it_was_read_from() {
        for good in ["forbear::store=debug,warn", "info", "WARN", "off"] {
            assert!(parse_filter("log.level", good).is_ok(), "{good}");
        }
        for bad in ["forbear=loud", "loud", "info,loud"] {
            let error = parse_filter("log.level", bad).unwrap_err();
            assert!(error.starts_with("log.level: "), "{error}");
        }
    }

    #[test]
    fn the_same_warning_is_written_once_in_a_while_and_everything_else_always() {
        #[derive(Clone, Default)]
        struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);
        impl Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .with_filter(NotAgain::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..3 {
                for partition in 0..2 {
                    tracing::warn!(partition, "away");
                    tracing::info!(partition, "running");
                }
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("away").count(), 2, "{text}");
        assert_eq!(text.matches("running").count(), 6, "{text}");
    }
}
