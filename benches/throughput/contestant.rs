//! One run of one program: started, watched until it has worked through the backlog, measured, ended, checked.

use crate::backlog::{Backlog, ENGAGEMENT_TOPIC, INTENTS_TOPIC};
use crate::bare;
use crate::harness::{Broker, KafkaClient, Launch, Process, TopicSet, os};
use crate::outputs::{self, Sizes};
use clap::ValueEnum;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(1_800);
/// The steady part of a run begins here: a virtual machine has compiled, caches are filled.
const STEADY_FROM: f64 = 0.2;
/// Lines of the policy are the rules that the Streams peer has in its code.
const POLICY: &str = "forbear: 1
name: bench
timezone: America/New_York
channels:
  email: { consent: opt-out }
classes:
  marketing: { rank: 1, obeys: all, counts: true }
rules:
  - { id: week, cap: { limit: 4, window: 7d }, for: { class: marketing } }
  - { id: day, cap: { limit: 100000, window: calendar-day, timezone: company } }
  - { id: division, cap: { limit: 100000, window: 30d }, per: [division] }
  - { id: hours, send-window: { timezone: company, open: [ { days: mon-sun, from: \"00:00\", to: \"24:00\" } ] } }
  - { id: complaint, cool-off: { after: [complained], for: 90d } }
";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Program {
    Forbear,
    Bare,
    Streams,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Self::Forbear => "forbear",
            Self::Bare => "bare loop",
            Self::Streams => "kafka streams",
        }
    }
}

/// What was measured of one run.
#[derive(Debug, Clone)]
pub struct Figure {
    pub program: Program,
    pub round: usize,
    pub intents: u64,
    pub approved: u64,
    /// From the start of the process until all is committed.
    pub wall_s: f64,
    pub cpu_s: f64,
    /// CPU of the program for an intent, in the part after [`STEADY_FROM`].
    pub steady_us: f64,
    pub broker_cpu_s: f64,
    pub peak_mib: f64,
    pub sizes: Sizes,
    /// Where Forbear says that its time went, in µs for an intent.
    pub stages: Vec<(String, f64)>,
}

/// Everything that the runs share.
pub struct Contest<'a> {
    broker: &'a Broker,
    client: KafkaClient,
    backlog: Backlog,
    commit_interval_ms: u64,
    /// What Forbear's records are like: the bare loop writes such.
    sizes: Option<Sizes>,
}

/// A program that runs.
enum Running {
    Forbear(Process),
    Other(Child),
}

impl Running {
    fn id(&self) -> u32 {
        match self {
            Self::Forbear(process) => process.id(),
            Self::Other(child) => child.id(),
        }
    }

    fn end(self) {
        match self {
            Self::Forbear(mut process) => {
                process.sigterm();
                process.wait_exit(Duration::from_secs(30));
            }
            Self::Other(mut child) => {
                os::signal(child.id(), libc::SIGKILL);
                os::wait_exit(&mut child, Duration::from_secs(30));
            }
        }
    }
}

impl<'a> Contest<'a> {
    pub fn new(broker: &'a Broker, backlog: Backlog, commit_interval_ms: u64) -> Self {
        Self {
            broker,
            client: broker.client(),
            backlog,
            commit_interval_ms,
            sizes: None,
        }
    }

    pub fn run(&mut self, program: Program, round: usize) -> Figure {
        let name = format!("{}-{round}", program.name().replace(' ', "-"));
        let prefix = format!("{name}.");
        let topics = TopicSet {
            intents: vec![INTENTS_TOPIC.to_owned()],
            engagement: vec![ENGAGEMENT_TOPIC.to_owned()],
            ..TopicSet::new(&name)
        };
        let own = TopicSet {
            intents: Vec::new(),
            engagement: Vec::new(),
            ..topics.clone()
        };
        own.create(&self.client, self.backlog.partitions, &["email"]);
        let broker_id = self.broker.process_id(0).expect("the broker runs");
        let broker_before_s = cpu_s(broker_id);
        let started = Instant::now();
        let running = self.start(program, &name, &prefix, &topics);
        let watched = self.watch(&running, &name, started);
        let broker_cpu_s = cpu_s(broker_id) - broker_before_s;
        let peak_mib = peak_mib(running.id());
        let stages = stages(&running, self.backlog.intents);
        running.end();
        let found = outputs::check(&self.client, &prefix, &self.backlog);
        if program == Program::Forbear {
            self.sizes = Some(found.sizes);
        }
        self.forget(&own, program, &name);
        Figure {
            program,
            round,
            intents: self.backlog.intents,
            approved: found.approved,
            wall_s: watched.wall_s,
            cpu_s: watched.cpu_s,
            steady_us: watched.steady_us,
            broker_cpu_s,
            peak_mib,
            sizes: found.sizes,
            stages,
        }
    }

    fn start(&self, program: Program, name: &str, prefix: &str, topics: &TopicSet) -> Running {
        let bootstrap = self.broker.bootstrap();
        match program {
            Program::Forbear => {
                let launch = Launch::new(bootstrap, name, topics, POLICY)
                    .set("processing.workers", 1)
                    .set(
                        "processing.commit-interval-ms",
                        i64::try_from(self.commit_interval_ms).expect("an interval"),
                    );
                Running::Forbear(Process::start(&launch))
            }
            Program::Bare => {
                let sizes = self.sizes.unwrap_or(Sizes::MEASURED_BEFORE);
                let told = bare::Arguments {
                    bootstrap: bootstrap.to_owned(),
                    group: name.to_owned(),
                    prefix: prefix.to_owned(),
                    partitions: self.backlog.partitions,
                    commit_interval_ms: self.commit_interval_ms,
                    decision_bytes: sizes.decision_bytes,
                    state_bytes: sizes.state_bytes,
                    header_bytes: sizes.header_bytes,
                    headers: sizes.headers,
                };
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command.arg("--as-the-bare-loop").args(told.to_texts());
                Running::Other(os::spawn(command).expect("the bare loop starts"))
            }
            Program::Streams => {
                let mut command = streams_command();
                command
                    .args([bootstrap, name, INTENTS_TOPIC, ENGAGEMENT_TOPIC, prefix])
                    .arg(os::new_directory("streams"))
                    .arg(self.commit_interval_ms.to_string());
                command.stdin(Stdio::null());
                Running::Other(os::spawn(command).expect("the Streams peer starts"))
            }
        }
    }

    /// Looks until all of the backlog is committed.
    fn watch(&self, running: &Running, group: &str, started: Instant) -> Watched {
        let all = self.backlog.intents;
        let mut steady: Option<(f64, u64)> = None;
        loop {
            std::thread::sleep(LOOK_EVERY);
            let done = self.committed(group, INTENTS_TOPIC);
            let cpu_s = cpu_s(running.id());
            assert!(
                started.elapsed() < PATIENCE,
                "{group} did {done} of {all} intents and no more"
            );
            if steady.is_none() && done as f64 >= STEADY_FROM * all as f64 && done < all {
                steady = Some((cpu_s, done));
            }
            if done >= all && self.committed(group, ENGAGEMENT_TOPIC) >= self.backlog.events() {
                let (from_s, from) = steady.unwrap_or((0.0, 0));
                return Watched {
                    wall_s: started.elapsed().as_secs_f64(),
                    cpu_s,
                    steady_us: (cpu_s - from_s) * 1e6 / (all - from).max(1) as f64,
                };
            }
        }
    }

    fn committed(&self, group: &str, topic: &str) -> u64 {
        let committed = self.client.try_committed(group, topic).unwrap_or_default();
        let offsets = committed.iter().flatten().map(|committed| committed.offset);
        offsets.filter_map(|offset| u64::try_from(offset).ok()).sum()
    }

    /// Gives the disk back.
    fn forget(&self, own: &TopicSet, program: Program, name: &str) {
        let changelog = format!("{name}-ledger-changelog");
        let approved = own.approved("email");
        let suppressed = own.suppressed("email");
        let mut names = vec![
            approved.as_str(),
            suppressed.as_str(),
            &own.decisions,
            &own.dead_letter,
            &own.reroute,
            &own.state,
            &own.policies,
        ];
        if program == Program::Streams {
            names.push(&changelog);
        }
        self.client.delete_topics(&names);
    }
}

struct Watched {
    wall_s: f64,
    cpu_s: f64,
    steady_us: f64,
}

/// CPU seconds of a process, user and system, of all its threads.
fn cpu_s(process_id: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = |index: usize| -> f64 {
        let field = after_name.split_whitespace().nth(index);
        field.and_then(|field| field.parse().ok()).unwrap_or(0.0)
    };
    // The 14th and 15th fields of `stat`, in ticks of a hundredth of a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// Peak of the resident memory.
fn peak_mib(process_id: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process_id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1_024.0
}

fn stages(running: &Running, intents: u64) -> Vec<(String, f64)> {
    let Running::Forbear(process) = running else {
        return Vec::new();
    };
    let Some(metrics) = process.metrics() else {
        return Vec::new();
    };
    let samples = metrics.matching("forbear_stage_seconds_total", &[]);
    let of = |sample: &crate::harness::http::Sample| {
        let stage = sample.labels.iter().find(|(name, _)| name == "stage");
        let stage = stage.map_or_else(String::new, |(_, value)| value.clone());
        (stage, sample.value * 1e6 / intents as f64)
    };
    samples.map(of).collect()
}

/// Compiles the peer where that has not been done, and says how to start it.
fn streams_command() -> Command {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/streams");
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("FORBEAR_CACHE").map_or_else(|| home.join(".cache/forbear"), PathBuf::from);
    let libraries = cache.join("streams-4.3.1");
    if !libraries.join("kafka-streams-4.3.1.jar").exists() {
        eprintln!("fetching the jars of Kafka Streams through Maven");
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(source.join("pom.xml"));
        maven.arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies");
        maven.arg(format!("-DoutputDirectory={}", libraries.display()));
        let status = maven.status().expect("Maven (apt-get install maven)");
        assert!(status.success(), "Maven could not fetch the jars of Kafka Streams");
    }
    let classes = os::new_directory("streams-classes");
    let class_path = format!("{}/*:{}", libraries.display(), classes.display());
    let mut compiler = Command::new("javac");
    compiler.args(["-cp", &class_path, "-d"]).arg(&classes);
    let status = compiler.arg(source.join("StreamsPeer.java")).status();
    assert!(
        status
            .expect("a Java compiler (apt-get install default-jdk-headless)")
            .success(),
        "the Streams peer does not compile"
    );
    let mut command = Command::new("java");
    command.args(["-Xmx1g", "-XX:+UseSerialGC", "-cp", &class_path, "StreamsPeer"]);
    command
}
