//! `forbear audit`: the shell around [`crate::audit`]: Kafka behind its traits, a progress bar, a table or JSON.

use super::interrupt::Interrupt;
use super::settings::Settings;
use super::{ConfigArgument, Format};
use crate::audit::log::{Bounds, Cursor, Halt, LogRecord, Logs};
use crate::audit::report::{Count, Promise, Report, TOLD_AT_MOST};
use crate::audit::{From, Progress, Request, Topics, audit};
use crate::intake::client::KafkaSettings;
use crate::intake::reader::{Look, Partitions, Stretch};
use crate::store::StoreSettings;
use crate::store::rocks::RocksStores;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One look at a partition waits so long at most; an interrupt is heard in between.
const LOOK: Duration = Duration::from_millis(100);
/// A partition that has not got on for so long is not going to.
const PATIENCE: Duration = Duration::from_secs(60);
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// How far the clocks of brokers and processes may lie apart.
const CLOCK_TOLERANCE_MS: i64 = 5_000;
/// Ended by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;
const MIB: u64 = 1 << 20;

#[derive(Args)]
pub struct AuditArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Only these partitions of the inputs; default: all
    #[arg(long, value_name = "P,…", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Look at verdicts from here on: an RFC 3339 time, or an offset of the first intents topic (needs --partition). What
    /// came before is read as the state of then
    #[arg(long, value_name = "TIME|OFFSET", value_parser = from)]
    from: Option<From>,
    /// Look at verdicts up to this RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<i64>,
    /// Only these checks: P1 to P6, contract
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = promise)]
    checks: Vec<Promise>,
    /// Memory for what is being compared, in MiB; more than this lies on disk
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(64..=1_048_576))]
    memory: u64,
    /// Where files are kept meanwhile; default: the system's directory for temporary files
    #[arg(long, value_name = "DIRECTORY")]
    work_directory: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

fn from(text: &str) -> Result<From, String> {
    match text.parse::<i64>() {
        Ok(offset) if offset >= 0 => Ok(From::Offset(offset)),
        Ok(_) => Err("expected an offset from 0 on".to_owned()),
        Err(_) => instant(text).map(From::Instant),
    }
}

fn instant(text: &str) -> Result<i64, String> {
    let instant = text.parse::<jiff::Timestamp>();
    instant
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|_| "expected a time such as 2026-03-28T20:30:00Z".to_owned())
}

fn promise(text: &str) -> Result<Promise, String> {
    let known = Promise::ALL
        .into_iter()
        .find(|promise| promise.as_str().eq_ignore_ascii_case(text));
    known.ok_or_else(|| "expected P1, P2, P3, P4, P5, P6 or contract".to_owned())
}

pub(super) fn execute(arguments: &AuditArguments) -> Result<ExitCode, String> {
    if matches!(arguments.from, Some(From::Offset(_))) && arguments.partition.len() != 1 {
        eprintln!("error: --from with an offset means one partition: name it with --partition");
        return Ok(ExitCode::from(2));
    }
    let settings = arguments.config.load()?;
    let interrupt = Interrupt::listen()?;
    let directory = WorkDirectory::new(arguments.work_directory.as_deref())?;
    let request = request(arguments, &settings, &directory.0)?;
    let mut logs = KafkaLogs {
        partitions: Partitions::new(kafka_settings(&settings))?,
        interrupt: interrupt.clone(),
        closing: Closing::default(),
    };
    let mut store = StoreSettings::new(directory.0.join("state"));
    store.block_cache_bytes = usize::try_from(arguments.memory * MIB / 8).unwrap_or(usize::MAX);
    store.write_buffers_total_bytes = store.block_cache_bytes;
    store.wal = false;
    // Nothing is looked up by time: no value says when its customer is due.
    let mut stores = RocksStores::new(store, |_, _| None).map_err(|error| error.to_string())?;
    let mut progress = Bar::new();
    let mut watch = |step: Progress| {
        progress.step(step);
        !interrupt.asked()
    };
    let outcome = audit(&mut logs, &mut stores, &request, &mut watch);
    progress.end();
    match outcome {
        Ok(report) => {
            println!("{}", render(&report, arguments.format));
            Ok(if report.is_clean() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Err(Halt::Interrupted) => {
            eprintln!("error: interrupted: nothing is said about these topics");
            Ok(ExitCode::from(EXIT_INTERRUPTED))
        }
        Err(Halt::Failed(reason)) => Err(reason),
    }
}

fn request(arguments: &AuditArguments, settings: &Settings, directory: &Path) -> Result<Request, String> {
    let topics = &settings.topics;
    let decisions = topics.decisions.clone().ok_or(
        "topics.decisions is \"\": without decision records nothing can be audited; name the topic, and what is judged from \
         then on can be",
    )?;
    let promises: BTreeSet<Promise> = match arguments.checks.is_empty() {
        true => Promise::ALL.into_iter().collect(),
        false => arguments.checks.iter().copied().collect(),
    };
    Ok(Request {
        topics: Topics {
            intents: topics.intents.clone(),
            engagement: topics.engagement.clone(),
            approved_prefix: topics.approved_prefix.clone(),
            suppressed_prefix: topics.suppressed_prefix.clone(),
            decisions,
            dead_letter: topics.dead_letter.clone(),
            reroute: topics.reroute.clone(),
            state: topics.state.clone(),
            policies: topics.policies.clone(),
        },
        max_intent_bytes: settings.processing.max_intent_bytes,
        partitions: (!arguments.partition.is_empty()).then(|| arguments.partition.clone()),
        from: arguments.from.unwrap_or(From::Beginning),
        until_ms: arguments.until,
        promises,
        clock_tolerance_ms: CLOCK_TOLERANCE_MS,
        memory_bytes: arguments.memory * MIB / 2,
        directory: directory.join("facts"),
    })
}

fn kafka_settings(settings: &Settings) -> KafkaSettings {
    let kafka = &settings.kafka;
    KafkaSettings {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        group_id: kafka.group_id.clone(),
        instance_id: format!("{}-audit", kafka.instance_id),
        consumer_properties: kafka.client.consumer(),
        producer_properties: Vec::new(),
        embedded_broker: false,
    }
}

/// A directory of this process alone, removed at the end.
struct WorkDirectory(PathBuf);

impl WorkDirectory {
    fn new(parent: Option<&Path>) -> Result<Self, String> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = parent.join(format!("forbear-audit-{}", std::process::id()));
        std::fs::create_dir_all(&parent)
            .and_then(|()| std::fs::create_dir(&path))
            .map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("warning: {} cannot be removed: {error}", self.0.display());
        }
    }
}

struct KafkaLogs {
    partitions: Partitions,
    interrupt: Interrupt,
    closing: Closing,
}

/// Clients that are being closed. Each takes a tenth of a second for it, and there is one for each partition of each topic:
/// nobody waits for them before the end.
#[derive(Clone, Default)]
struct Closing(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Closing {
    fn close(&self, read: Stretch) {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(std::thread::spawn(move || drop(read)));
    }
}

impl Drop for KafkaLogs {
    fn drop(&mut self) {
        let threads = std::mem::take(&mut *self.closing.0.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A client that panics while it is closed has nothing to tell any more.
            let _ = thread.join();
        }
    }
}

impl Logs for KafkaLogs {
    type Cursor = KafkaCursor;

    fn partitions(&mut self, topic: &str) -> Result<Option<i32>, Halt> {
        self.partitions.count(topic).map_err(Halt::Failed)
    }

    fn settled(&mut self, topic: &str, partition: i32) -> Result<Bounds, Halt> {
        self.bounds(topic, partition, true)
    }

    fn appended(&mut self, topic: &str, partition: i32) -> Result<Bounds, Halt> {
        self.bounds(topic, partition, false)
    }

    fn open(&mut self, topic: &str, partition: i32, from: i64, until: i64) -> Result<KafkaCursor, Halt> {
        let stretch = match from < until {
            true => Some(
                self.partitions
                    .open(topic, partition, from, until)
                    .map_err(Halt::Failed)?,
            ),
            false => None,
        };
        Ok(KafkaCursor {
            stretch,
            place: format!("{topic}/{partition}"),
            interrupt: self.interrupt.clone(),
            closing: self.closing.clone(),
        })
    }
}

impl KafkaLogs {
    fn bounds(&mut self, topic: &str, partition: i32, committed: bool) -> Result<Bounds, Halt> {
        if self.interrupt.asked() {
            return Err(Halt::Interrupted);
        }
        let (first, end) = self
            .partitions
            .bounds(topic, partition, committed)
            .map_err(Halt::Failed)?;
        Ok(Bounds { first, end })
    }
}

struct KafkaCursor {
    stretch: Option<Stretch>,
    place: String,
    interrupt: Interrupt,
    closing: Closing,
}

impl Cursor for KafkaCursor {
    fn next(&mut self) -> Result<Option<LogRecord>, Halt> {
        let Some(stretch) = &mut self.stretch else {
            return Ok(None);
        };
        let started = Instant::now();
        loop {
            match stretch.look(LOOK).map_err(Halt::Failed)? {
                Look::Record(record) => {
                    return Ok(Some(LogRecord {
                        offset: record.offset,
                        timestamp_ms: record.timestamp_ms,
                        has_append_time: record.has_append_time,
                        key: record.key,
                        value: record.value,
                        headers: record.headers,
                    }));
                }
                Look::Over => {
                    if let Some(read) = self.stretch.take() {
                        self.closing.close(read);
                    }
                    return Ok(None);
                }
                Look::Nothing if self.interrupt.asked() => return Err(Halt::Interrupted),
                Look::Nothing if started.elapsed() > PATIENCE => {
                    return Err(Halt::Failed(format!(
                        "{} could not be read on for {} s: a transaction is open there, or its leader is away",
                        self.place,
                        PATIENCE.as_secs()
                    )));
                }
                Look::Nothing => {}
            }
        }
    }
}

/// A bar on a terminal, a line every few seconds elsewhere; both on standard error.
struct Bar {
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    unit: &'static str,
    shown: Instant,
}

impl Bar {
    fn new() -> Self {
        Self {
            bar: std::io::stderr().is_terminal().then(|| ProgressBar::new(0)),
            total: 0,
            done: 0,
            unit: "records",
            shown: Instant::now(),
        }
    }

    fn step(&mut self, step: Progress) {
        match step {
            Progress::Total(total) => self.begin(total, "records"),
            Progress::Buckets(total) => self.begin(total, "groups of customers"),
            Progress::Read(records) => self.done += records,
            Progress::Bucket => self.done += 1,
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if self.shown.elapsed() >= REPORT_EVERY {
            self.shown = Instant::now();
            eprintln!("{} of about {} {}", self.done, self.total, self.unit);
        }
    }

    fn begin(&mut self, total: u64, unit: &'static str) {
        (self.total, self.done, self.unit) = (total, 0, unit);
        if let Some(bar) = &self.bar {
            let template = format!("{{bar:40}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left");
            let style = ProgressStyle::with_template(&template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_length(total);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn render(report: &Report, format: Format) -> String {
    if format == Format::Json {
        return serde_json::to_string_pretty(report).unwrap_or_default();
    }
    let mut text = String::new();
    if !report.violations.is_empty() {
        let mut table = super::demo::table(&["promise", "at", "violation"]);
        for violation in &report.violations {
            table.add_row([violation.promise.as_str(), &violation.at, &violation.what]);
        }
        text.push_str(&format!("{table}\n"));
        let more = report.violation_count().saturating_sub(report.violations.len() as u64);
        if more > 0 {
            text.push_str(&format!("and {more} more: {TOLD_AT_MOST} are told, sorted\n"));
        }
    }
    let mut table = super::demo::table(&["promise", "checked", "times"]);
    add_rows(&mut table, &report.checked);
    text.push_str(&format!("{table}\n"));
    if !report.not_checked.is_empty() {
        let mut table = super::demo::table(&["promise", "not checked", "times"]);
        add_rows(&mut table, &report.not_checked);
        text.push_str(&format!("{table}\n"));
    }
    let mut table = super::demo::table(&[
        "partition",
        "judged until",
        "batches derived again",
        "intents not judged yet",
    ]);
    for stretch in &report.partitions {
        let derived = match stretch.until_seq {
            Some(until) if stretch.batches > 0 => format!("{} to {until}", stretch.after_seq + 1),
            _ => "none".to_owned(),
        };
        table.add_row([
            stretch.partition.to_string(),
            stretch.until.clone().unwrap_or_else(|| "nothing was judged".to_owned()),
            derived,
            stretch.pending_intents.to_string(),
        ]);
    }
    text.push_str(&format!("{table}\n"));
    let records = report.records_read;
    let summary = match report.violation_count() {
        0 => format!("{records} records read: no violation"),
        1 => format!("{records} records read: 1 VIOLATION"),
        count => format!("{records} records read: {count} VIOLATIONS"),
    };
    text + &summary
}

fn add_rows(table: &mut comfy_table::Table, counts: &[Count]) {
    for count in counts {
        table.add_row([count.promise.as_str(), &count.what, &count.count.to_string()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::report::Findings;

    #[test]
    fn a_start_is_an_offset_or_a_time() {
        assert_eq!(from("81723"), Ok(From::Offset(81_723)));
        assert_eq!(from("1970-01-01T00:00:01Z"), Ok(From::Instant(1_000)));
        assert!(from("-1").is_err());
        assert!(from("yesterday").is_err());
        assert_eq!(promise("p5"), Ok(Promise::P5));
        assert!(promise("P7").is_err());
    }

    #[test]
    fn what_was_broken_what_was_checked_and_what_was_not_is_told() {
        let mut findings = Findings::new(Promise::ALL.into_iter().collect());
        findings.violation(Promise::P1, "forbear.intents/3/17", "it has ended 2 times");
        findings.checked(Promise::P1, "intents");
        findings.not_checked(Promise::P3, "rule x: it has a condition");
        let report = findings.report(Vec::new(), 12);
        let text = render(&report, Format::Text);
        for told in [
            "forbear.intents/3/17",
            "it has ended 2 times",
            "rule x",
            "12 records read: 1 VIOLATION",
        ] {
            assert!(text.contains(told), "{told} is missing in\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&render(&report, Format::Json)).unwrap();
        assert_eq!(json["violations"][0]["promise"], "P1");
        assert_eq!(json["violations"][0]["at"], "forbear.intents/3/17");
        assert_eq!(json["violation_counts"]["P1"], 1);
        assert_eq!(json["violation_counts"]["P2"], 0);
    }
}
