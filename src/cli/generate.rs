//! `forbear generate`: writes a synthetic, seeded load to a cluster at a given rate, and says what it wrote.

use super::interrupt::Interrupt;
use super::settings::Settings;
use super::workload::{Feed, Generated, Nature, Workload, WorkloadPlan};
use super::{ConfigArgument, Format, to_standard_error, to_standard_output};
use crate::commit::plain::{Place, PlainProducer};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a full queue may stay full before the cluster counts as gone.
const PATIENCE: Duration = Duration::from_secs(30);
const REPORT_EVERY: Duration = Duration::from_secs(5);

#[derive(Args)]
pub struct GenerateArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// How many customers there are
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    customers: u32,
    /// Intents a second
    #[arg(long, default_value_t = 1_000.0, value_parser = rate)]
    rate: f64,
    /// End after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// End after this many intents (neither this nor --seconds: 60 seconds)
    #[arg(long)]
    count: Option<u64>,
    /// The same seed, customers and shares give the same records, but for their times; default: another one each time,
    /// because the same intents again are all duplicates
    #[arg(long)]
    seed: Option<u64>,
    /// Share of intents that cannot be read, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    malformed: f64,
    /// Share of records on a partition that does not own their customer, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    stray: f64,
    /// Share of records that come a second time, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    repeat: f64,
    /// 0: every customer alike; 1 and more: a few get most
    #[arg(long, default_value_t = 1.1, value_parser = skew)]
    skew: f64,
    /// Engagement events for each intent, beside profiles and consents
    #[arg(long, default_value_t = 0.5, value_parser = engagement)]
    engagement: f64,
    /// Channels to ask for
    #[arg(long, value_delimiter = ',', default_value = "email,push,sms")]
    channels: Vec<String>,
    /// How the result is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Written {
    pub seed: u64,
    pub intents: u64,
    pub engagement: u64,
    pub malformed: u64,
    pub repeated: u64,
    pub strays: u64,
    pub failed: u64,
    pub seconds: f64,
}

impl Written {
    /// Counts one record.
    pub fn add(&mut self, record: &Generated) {
        match record.feed {
            Feed::Intents => self.intents += 1,
            Feed::Engagement => self.engagement += 1,
        }
        self.malformed += u64::from(record.nature == Nature::Malformed);
        self.repeated += u64::from(record.nature == Nature::Repeated);
        self.strays += u64::from(record.astray.is_some());
    }

    fn render(&self, format: Format) -> String {
        if format == Format::Json {
            return serde_json::to_string(self).unwrap_or_default();
        }
        format!(
            "wrote {} intents and {} engagement events in {:.1} s ({} malformed, {} repeated, {} astray, {} failed; seed {})",
            self.intents,
            self.engagement,
            self.seconds,
            self.malformed,
            self.repeated,
            self.strays,
            self.failed,
            self.seed
        )
    }
}

/// The topic that a generated record goes to: records of one customer go round the topics of a kind.
pub fn topic_of<'a>(settings: &'a Settings, record: &Generated, number: u64) -> &'a str {
    let topics = match record.feed {
        Feed::Intents => &settings.topics.intents,
        Feed::Engagement => &settings.topics.engagement,
    };
    let index = (number % topics.len().max(1) as u64) as usize;
    topics.get(index).map_or("", String::as_str)
}

/// UTC milliseconds now.
pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis().min(i64::MAX as u128) as i64)
}

pub(super) fn execute(arguments: &GenerateArguments) -> Result<ExitCode, String> {
    let settings = arguments.config.load()?;
    let interrupt = Interrupt::listen()?;
    let mut producer = PlainProducer::new(&settings.kafka.bootstrap_servers, &settings.kafka.client.producer())?;
    let seconds = arguments.seconds.or(arguments.count.is_none().then_some(60));
    let end = seconds.map(|seconds| (seconds as f64 * arguments.rate).ceil() as u64);
    let intents_wanted = arguments.count.into_iter().chain(end).min().unwrap_or(u64::MAX);
    let progress = Progress::new(intents_wanted);
    // Short enough to be typed again.
    let seed = arguments.seed.unwrap_or(now_ms().unsigned_abs() % 100_000_000);
    let workload = Workload::new(arguments.plan(seed));
    let start = Instant::now();
    let mut written = Written {
        seed,
        ..Written::default()
    };
    for (number, record) in workload.enumerate() {
        if record.feed == Feed::Intents && written.intents >= intents_wanted || interrupt.asked() {
            break;
        }
        pace(start, record.after_ms, &interrupt);
        if interrupt.asked() {
            break;
        }
        let place = record.astray.map_or(Place::Owner, Place::Elsewhere);
        let topic = topic_of(&settings, &record, number as u64);
        producer.send(topic, Some(&record.key), &record.value, place, PATIENCE)?;
        written.add(&record);
        progress.show(&written, start.elapsed());
    }
    let flushed = producer.flush(PATIENCE);
    written.failed = producer.delivered().failed;
    written.seconds = start.elapsed().as_secs_f64();
    progress.end();
    to_standard_output(&written.render(arguments.format));
    flushed?;
    if written.failed > 0 {
        let why = producer.first_failure().unwrap_or("do the topics exist?");
        return Err(format!("{} records could not be delivered: {why}", written.failed));
    }
    Ok(ExitCode::SUCCESS)
}

impl GenerateArguments {
    fn plan(&self, seed: u64) -> WorkloadPlan {
        WorkloadPlan {
            seed,
            customers: self.customers,
            rate: self.rate,
            malformed: self.malformed,
            stray: self.stray,
            repeat: self.repeat,
            skew: self.skew,
            engagement: self.engagement,
            start_ms: now_ms(),
            channels: self.channels.clone(),
            ..WorkloadPlan::default()
        }
    }
}

/// Waits until a record is due, in steps short enough to hear an interrupt.
pub(super) fn pace(start: Instant, after_ms: i64, interrupt: &Interrupt) {
    let due = Duration::from_millis(u64::try_from(after_ms).unwrap_or(0));
    while let Some(left) = due.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        if interrupt.asked() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// A bar on a terminal, a line every few seconds elsewhere; both on standard error.
struct Progress {
    bar: Option<ProgressBar>,
    wanted: u64,
    shown: std::cell::Cell<Duration>,
}

impl Progress {
    fn new(wanted: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(wanted);
            let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} intents, {per_sec}, {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress {
            bar,
            wanted,
            shown: std::cell::Cell::new(Duration::ZERO),
        }
    }

    fn show(&self, written: &Written, elapsed: Duration) {
        if let Some(bar) = &self.bar {
            bar.set_position(written.intents);
        } else if elapsed.saturating_sub(self.shown.get()) >= REPORT_EVERY {
            self.shown.set(elapsed);
            to_standard_error(&format!(
                "{:>5} s  {} of {} intents, {} events",
                elapsed.as_secs(),
                written.intents,
                self.wanted,
                written.engagement
            ));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let parsed = text
        .parse::<f64>()
        .ok()
        .filter(|number| (least..=most).contains(number));
    parsed.ok_or_else(|| format!("expected a number from {least} to {most}"))
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.01, 10_000_000.0)
}

fn skew(text: &str) -> Result<f64, String> {
    number(text, 0.0, 10.0)
}

fn engagement(text: &str) -> Result<f64, String> {
    number(text, 0.0, 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_counted_by_kind() {
        let plan = WorkloadPlan {
            malformed: 0.1,
            stray: 0.1,
            repeat: 0.1,
            ..WorkloadPlan::default()
        };
        let mut written = Written::default();
        for record in Workload::new(plan).take(1_000) {
            written.add(&record);
        }
        assert_eq!(written.intents + written.engagement, 1_000);
        assert!(written.malformed > 0 && written.repeated > 0 && written.strays > 0);
        assert!(written.render(Format::Text).starts_with("wrote "));
        assert!(serde_json::from_str::<serde_json::Value>(&written.render(Format::Json)).is_ok());
    }

    #[test]
    fn shares_outside_their_range_are_refused() {
        assert!(share("1.5").is_err() && share("NaN").is_err() && share("x").is_err() && rate("0").is_err());
        assert_eq!(share("0.25"), Ok(0.25));
    }

    #[test]
    fn records_go_round_the_topics_of_their_kind() {
        let settings = Settings::parse("[topics]\nintents = [\"a\", \"b\"]", []).expect("settings");
        let record = Workload::new(WorkloadPlan::default())
            .find(|record| record.feed == Feed::Intents)
            .expect("one");
        assert_eq!(
            (topic_of(&settings, &record, 0), topic_of(&settings, &record, 1)),
            ("a", "b")
        );
    }
}
