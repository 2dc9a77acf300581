//! The real binary as a process of its own, with generated settings: to be watched, stopped, frozen and killed.

use super::client::{KafkaClient, TopicSpec};
use super::http::{self, Metrics};
use super::os::{self, PortLease};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use toml::{Table, Value};

/// The topic names of one test: everything of contract.md under a prefix, so that tests share a broker.
#[derive(Debug, Clone)]
pub struct TopicSet {
    pub intents: Vec<String>,
    pub engagement: Vec<String>,
    pub approved_prefix: String,
    pub suppressed_prefix: String,
    pub decisions: String,
    pub dead_letter: String,
    pub reroute: String,
    pub state: String,
    pub policies: String,
}

impl TopicSet {
    pub fn new(prefix: &str) -> Self {
        let named = |name: &str| format!("{prefix}.{name}");
        Self {
            intents: vec![named("intents")],
            engagement: vec![named("engagement")],
            approved_prefix: named("approved."),
            suppressed_prefix: named("suppressed."),
            decisions: named("decisions"),
            dead_letter: named("dead-letter"),
            reroute: named("reroute"),
            state: named("state"),
            policies: named("policies"),
        }
    }

    pub fn approved(&self, channel: &str) -> String {
        format!("{}{channel}", self.approved_prefix)
    }

    pub fn suppressed(&self, channel: &str) -> String {
        format!("{}{channel}", self.suppressed_prefix)
    }

    /// The inputs whose positions the group commits.
    pub fn inputs(&self) -> Vec<&str> {
        let reroute = std::iter::once(self.reroute.as_str());
        self.intents
            .iter()
            .chain(&self.engagement)
            .map(String::as_str)
            .chain(reroute)
            .collect()
    }

    /// Creates all of them without the binary under test.
    pub fn create(&self, client: &KafkaClient, partitions: i32, channels: &[&str]) {
        // Above the inputs' own limit, so that a record always fits with its headers.
        let wide = |name: &str| TopicSpec::new(name, partitions).with("max.message.bytes", "2097152");
        let mut topics: Vec<TopicSpec> = Vec::new();
        topics.extend(
            self.intents
                .iter()
                .chain(&self.engagement)
                .map(|name| TopicSpec::new(name, partitions)),
        );
        topics.extend(
            channels
                .iter()
                .flat_map(|channel| [wide(&self.approved(channel)), wide(&self.suppressed(channel))]),
        );
        topics.extend([wide(&self.decisions), wide(&self.dead_letter), wide(&self.reroute)]);
        topics.push(wide(&self.state).with("cleanup.policy", "compact"));
        topics.push(TopicSpec::new(&self.policies, 1).with("cleanup.policy", "compact"));
        client.create_topics(&topics);
    }

    fn to_table(&self) -> Table {
        let text = |text: &String| Value::String(text.clone());
        let list = |names: &[String]| Value::Array(names.iter().map(text).collect());
        Table::from_iter([
            ("intents".to_owned(), list(&self.intents)),
            ("engagement".to_owned(), list(&self.engagement)),
            ("approved-prefix".to_owned(), text(&self.approved_prefix)),
            ("suppressed-prefix".to_owned(), text(&self.suppressed_prefix)),
            ("decisions".to_owned(), text(&self.decisions)),
            ("dead-letter".to_owned(), text(&self.dead_letter)),
            ("reroute".to_owned(), text(&self.reroute)),
            ("state".to_owned(), text(&self.state)),
            ("policies".to_owned(), text(&self.policies)),
        ])
    }
}

/// What to start. Build it with [`Launch::new`] and change what the test is about; a clone with another `instance_id` and
/// [`Launch::with_own_state`] is a second member of the same group.
#[derive(Debug, Clone)]
pub struct Launch {
    pub bootstrap: String,
    pub group_id: String,
    pub instance_id: String,
    pub topics: TopicSet,
    /// The policy's text.
    pub policy: String,
    /// Where RocksDB lies; kept over restarts, removed by nobody but a later test run.
    pub state: PathBuf,
    /// Settings by path (`processing.workers`); they win over the generated ones.
    pub settings: Vec<(String, Value)>,
    pub environment: Vec<(String, String)>,
    /// Arguments after `run --config <file>`.
    pub arguments: Vec<String>,
}

impl Launch {
    pub fn new(bootstrap: &str, name: &str, topics: &TopicSet, policy: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            group_id: name.to_owned(),
            instance_id: format!("{name}-0"),
            topics: topics.clone(),
            policy: policy.to_owned(),
            state: os::new_directory("state"),
            settings: Vec::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Sets one setting by its path.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.settings.push((path.to_owned(), value.into()));
        self
    }

    /// Another member of the group: its own identity, its own empty state directory.
    pub fn with_own_state(mut self, instance_id: &str) -> Self {
        self.instance_id = instance_id.to_owned();
        self.state = os::new_directory("state");
        self
    }

    /// Runs another command of the binary to its end, with these settings and this environment.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let directory = os::new_directory("command");
        let settings_file = self.write(&directory, "127.0.0.1:0");
        let mut command = binary();
        command.args(arguments).arg("--config").arg(settings_file);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).output().expect("the forbear binary runs")
    }

    /// Writes policy and settings; answers where the settings are.
    fn write(&self, directory: &Path, listen: &str) -> PathBuf {
        let policy_file = directory.join("policy.yaml");
        let settings_file = directory.join("forbear.toml");
        fs::write(&policy_file, &self.policy).expect("a policy file");
        fs::write(&settings_file, self.to_toml(&policy_file, listen)).expect("a settings file");
        settings_file
    }

    fn to_toml(&self, policy_file: &Path, listen: &str) -> String {
        let mut root = Table::new();
        root.insert("topics".to_owned(), Value::Table(self.topics.to_table()));
        let path_text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let generated = [
            ("kafka.bootstrap-servers", self.bootstrap.clone()),
            ("kafka.group-id", self.group_id.clone()),
            ("kafka.instance-id", self.instance_id.clone()),
            ("policy.file", path_text(policy_file)),
            ("state.directory", path_text(&self.state)),
            ("http.listen", listen.to_owned()),
        ];
        for (path, value) in generated {
            insert(&mut root, path, Value::String(value));
        }
        for (path, value) in &self.settings {
            insert(&mut root, path, value.clone());
        }
        toml::to_string(&root).expect("settings as TOML")
    }
}

/// A running `forbear`. Killed when dropped.
pub struct Process {
    child: Child,
    pub directory: PathBuf,
    http_port: PortLease,
    log: PathBuf,
}

impl Process {
    /// Starts `forbear run` with generated settings. Does not wait.
    pub fn start(launch: &Launch) -> Self {
        let directory = os::new_directory("process");
        let http_port = PortLease::take();
        let settings_file = launch.write(&directory, &http_port.address());
        let log = directory.join("stderr.log");
        let mut command = binary();
        command
            .arg("run")
            .arg("--config")
            .arg(&settings_file)
            .args(&launch.arguments);
        command.envs(launch.environment.iter().map(|(key, value)| (key, value)));
        let stderr = File::create(&log).expect("a log file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = os::spawn(command).expect("the forbear binary starts");
        Self {
            child,
            directory,
            http_port,
            log,
        }
    }

    /// Runs another command of the binary to its end.
    pub fn command(arguments: &[&str]) -> Output {
        binary()
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the forbear binary runs")
    }

    /// The settings file, for the other commands.
    pub fn settings_file(&self) -> PathBuf {
        self.directory.join("forbear.toml")
    }

    /// Replaces the policy by rename, as an editor does.
    pub fn replace_policy(&self, text: &str) {
        let next = self.directory.join("policy.yaml.next");
        fs::write(&next, text).expect("a policy file");
        fs::rename(&next, self.directory.join("policy.yaml")).expect("the policy is replaced");
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, and the wait for the end.
    pub fn kill9(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait_exit(Duration::from_secs(10));
    }

    pub fn sigterm(&mut self) {
        self.signal(libc::SIGTERM);
    }

    pub fn sigstop(&mut self) {
        self.signal(libc::SIGSTOP);
    }

    pub fn sigcont(&mut self) {
        self.signal(libc::SIGCONT);
    }

    /// Waits for the end: the exit code, or minus the signal that ended it. Panics if it still runs then.
    pub fn wait_exit(&mut self, timeout: Duration) -> i32 {
        os::wait_exit(&mut self.child, timeout)
            .unwrap_or_else(|| panic!("forbear still runs after {} s\n{}", timeout.as_secs(), self.log_tail()))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        os::wait_exit(&mut self.child, Duration::ZERO).is_none()
    }

    /// Waits until `/readyz` says 200. Panics when it does not, or when the process ends.
    pub fn wait_until_ready(&mut self, timeout: Duration) {
        let start = std::time::Instant::now();
        while !self.get("/readyz").is_ok_and(|response| response.status == 200) {
            if let Some(code) = os::wait_exit(&mut self.child, Duration::ZERO) {
                panic!(
                    "forbear ended with code {code} before it was ready\n{}",
                    self.log_tail()
                );
            }
            let waited = start.elapsed();
            assert!(
                waited < timeout,
                "forbear was not ready after {} s\n{}",
                timeout.as_secs(),
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// GET of its own HTTP address.
    pub fn get(&self, path: &str) -> std::io::Result<http::Response> {
        http::get(&self.http_port.address(), path)
    }

    /// A scrape; none while it does not answer.
    pub fn metrics(&self) -> Option<Metrics> {
        let response = self.get("/metrics").ok()?;
        (response.status == 200).then(|| Metrics::parse(&response.body))
    }

    /// All that it wrote to standard error so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log of the process")).into_owned()
    }

    fn log_tail(&self) -> String {
        os::tail(&self.log)
    }

    fn signal(&mut self, signal: libc::c_int) {
        if self.is_running() {
            os::signal(self.child.id(), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary under test, without the settings of the environment that the tests run in.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forbear"));
    let inherited = std::env::vars_os().map(|(key, _)| key);
    for key in inherited.filter(|key| key.to_str().is_some_and(|key| key.starts_with("FORBEAR_"))) {
        command.env_remove(key);
    }
    command
}

/// Sets a value by its dotted path. The last segment may itself hold dots where it is quoted: `kafka.client."a.b"`.
fn insert(root: &mut Table, path: &str, value: Value) {
    let (tables, key) = match path.split_once('"') {
        Some((tables, quoted)) => (tables.trim_end_matches('.'), quoted.trim_end_matches('"')),
        None => path.rsplit_once('.').unwrap_or(("", path)),
    };
    let mut table = root;
    for name in tables.split('.').filter(|name| !name.is_empty()) {
        let entry = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
        table = entry
            .as_table_mut()
            .unwrap_or_else(|| panic!("{name} in {path} is no table"));
    }
    table.insert(key.to_owned(), value);
}
