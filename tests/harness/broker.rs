//! A real Kafka: ordinary Java processes (KRaft, both roles in one) on loopback ports and a folder of their own.
//!
//! A broker that counts as started answers, has all its nodes, and has loaded the coordinators of transactions and groups:
//! the first call of a test meets no "coordinator load in progress". Ports and folder stay the same over `kill9` and
//! `restart`, so that clients find it again.

use super::client::{KafkaClient, TopicSpec};
use super::installation::Installation;
use super::os::{self, PortLease};
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

/// Partitions of the internal topics: few, so that a start is fast.
const INTERNAL_PARTITIONS: i32 = 8;

/// How long a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a clean stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The identity of every cluster of the tests; nothing connects two of them.
const CLUSTER_ID: &str = "Zm9yYmVhci10ZXN0cy0wMA";

const LOGGING: &str = "\
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1}: %m%n
";

/// The transaction protocol of the broker's side. librdkafka speaks the old one to both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionVersion {
    /// Before KIP-890.
    One,
    /// KIP-890: what a new cluster has.
    Two,
}

/// What kind of cluster to start.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// 1, or 3 for replication and leader moves.
    pub nodes: u16,
    pub transaction_version: TransactionVersion,
    /// Further server settings; they win over the harness's.
    pub settings: Vec<(String, String)>,
    /// Each node gets a second listener, whose advertised port is not its own but one for a relay in front of it (see
    /// [`Broker::relays`]): whoever comes by it stays behind the relay, the others go direct.
    pub relayed: bool,
    /// Further listeners of every node (so of a single one), beside the open one: name, protocol, `host:port`.
    pub listeners: Vec<(String, String, String)>,
    /// Further arguments of `kafka-storage format`.
    pub format_arguments: Vec<String>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            nodes: 1,
            transaction_version: TransactionVersion::Two,
            settings: Vec::new(),
            relayed: false,
            listeners: Vec::new(),
            format_arguments: Vec::new(),
        }
    }
}

/// The way to one node by a relay.
struct RelayPorts {
    /// Where the relay has to listen: what the node tells its clients.
    advertised: PortLease,
    /// Where the node itself listens for what the relay hands on.
    listener: PortLease,
}

struct Node {
    /// From 1.
    id: u16,
    client_port: PortLease,
    controller_port: PortLease,
    relay: Option<RelayPorts>,
    directory: PathBuf,
    child: Mutex<Option<Child>>,
}

/// A running cluster of one or more nodes. Ends when dropped, and with the test binary.
pub struct Broker {
    nodes: Vec<Node>,
    directory: PathBuf,
    bootstrap: String,
    installation: &'static Installation,
}

impl Broker {
    /// Whether a broker can be started here, or why not.
    pub fn available() -> Result<(), &'static str> {
        Installation::find().map(|_| ())
    }

    /// The broker that the tests of one binary share: tests that do not kill it take this one, with names of their own
    /// (see [`super::unique_name`]).
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Broker> = LazyLock::new(|| Broker::start(BrokerOptions::default()));
        &SHARED
    }

    /// Formats and starts a cluster of its own. Panics with the end of its log when it does not come up.
    pub fn start(options: BrokerOptions) -> Self {
        let installation = Installation::find().unwrap_or_else(|why| panic!("no Kafka broker: {why}"));
        let directory = os::new_directory("broker");
        let nodes: Vec<Node> = (1..=options.nodes)
            .map(|id| Node {
                id,
                client_port: PortLease::take(),
                controller_port: PortLease::take(),
                relay: options.relayed.then(|| RelayPorts {
                    advertised: PortLease::take(),
                    listener: PortLease::take(),
                }),
                directory: directory.join(format!("node-{id}")),
                child: Mutex::new(None),
            })
            .collect();
        let addresses: Vec<String> = nodes.iter().map(|node| node.client_port.address()).collect();
        let broker = Self {
            nodes,
            directory,
            bootstrap: addresses.join(","),
            installation,
        };
        for node in &broker.nodes {
            broker.format(node, &options);
        }
        broker.restart();
        broker
    }

    /// `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// For each node with a relay: where the relay has to listen, and where it hands on to.
    pub fn relays(&self) -> Vec<(String, String)> {
        let ports = self.nodes.iter().filter_map(|node| node.relay.as_ref());
        ports
            .map(|ports| (ports.advertised.address(), ports.listener.address()))
            .collect()
    }

    /// Topics, records and offsets on this broker.
    pub fn client(&self) -> KafkaClient {
        KafkaClient::new(&self.bootstrap)
    }

    /// kill -9 of every node.
    pub fn kill9(&self) {
        (0..self.nodes.len()).for_each(|index| self.kill9_node(index));
    }

    /// kill -9 of one node (from 0).
    pub fn kill9_node(&self, index: usize) {
        self.nodes[index].end(libc::SIGKILL);
    }

    /// SIGTERM to every node, and the wait for their ends.
    pub fn stop(&self) {
        let running = self
            .nodes
            .iter()
            .filter_map(|node| node.child().as_ref().map(Child::id));
        running.for_each(|process_id| os::signal(process_id, libc::SIGTERM));
        self.nodes.iter().for_each(Node::wait_for_end);
    }

    /// SIGTERM to one node (from 0), and the wait for its end.
    pub fn stop_node(&self, index: usize) {
        self.nodes[index].end(libc::SIGTERM);
    }

    /// SIGSTOP of every node: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.nodes.iter().for_each(|node| node.signal(libc::SIGSTOP));
    }

    /// SIGCONT of every node.
    pub fn thaw(&self) {
        self.nodes.iter().for_each(|node| node.signal(libc::SIGCONT));
    }

    /// SIGSTOP of one node (from 0).
    pub fn freeze_node(&self, index: usize) {
        self.nodes[index].signal(libc::SIGSTOP);
    }

    /// SIGCONT of one node (from 0).
    pub fn thaw_node(&self, index: usize) {
        self.nodes[index].signal(libc::SIGCONT);
    }

    /// The process of one node (from 0), while it runs.
    pub fn node_process(&self, index: usize) -> Option<u32> {
        self.nodes[index].child().as_ref().map(Child::id)
    }

    /// What one node has logged (from 0), over all its starts.
    pub fn node_log(&self, index: usize) -> PathBuf {
        self.nodes[index].log_file()
    }

    /// What a test asserts of a broker that was killed and is back. Answers false where Kafka gave up on the markers of a
    /// transaction: that run shows nothing.
    ///
    /// A broker that is killed in the middle of the end of a transaction completes it when it is back. But where it is back
    /// before its old registration has expired (9 s), the controller fences it once more while it starts; the coordinator,
    /// loaded by then, takes partitions without a leader for deleted ones and skips their markers. What was committed stays
    /// invisible there until the same producer commits something else (seen with 4.3.1, in half of the attempts); what was
    /// aborted could come up with that commit. A broker that was frozen for longer than its session forgot nothing (ten
    /// attempts), and a cluster in which every partition keeps a leader is not concerned.
    pub fn unless_it_forgot_markers(&self, rest: impl FnOnce()) -> bool {
        let outcome = (!self.forgot_markers()).then(|| catch_unwind(AssertUnwindSafe(rest)));
        match outcome {
            Some(Ok(())) => return true,
            Some(Err(panic)) if !self.forgot_markers() => resume_unwind(panic),
            _ => println!("Kafka forgot the markers of a transaction: once more"),
        }
        false
    }

    /// Whether Kafka gave up on the markers of a transaction, at any time since the cluster is there.
    pub fn forgot_markers(&self) -> bool {
        let forgot = |node: &Node| {
            let log = fs::read(node.log_file()).unwrap_or_default();
            String::from_utf8_lossy(&log).contains("Couldn't find leader endpoint for partitions")
        };
        self.nodes.iter().any(forgot)
    }

    /// Starts every node that does not run, on the folder and the ports that it had, and waits until all is loaded.
    pub fn restart(&self) {
        (0..self.nodes.len()).for_each(|index| self.start_node(index));
        self.wait_until_ready();
    }

    /// Starts one node (from 0) without waiting for it.
    pub fn start_node(&self, index: usize) {
        let node = &self.nodes[index];
        let mut child = node.child();
        if child.is_some() {
            return;
        }
        let logging = format!(
            "-Dlog4j2.configurationFile={}",
            self.directory.join("log4j2.properties").display()
        );
        let options = [
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            logging.as_str(),
        ];
        let mut command = self.installation.java(&options, "kafka.Kafka");
        command.arg(node.settings_file());
        *child = Some(run_into(command, &node.log_file()));
    }

    /// All that the first node has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.nodes[0].log_file()).unwrap_or_default()).into_owned()
    }

    /// The folder of one node's log segments (from 0), for tests that look at files.
    pub fn data_directory(&self, index: usize) -> PathBuf {
        self.nodes[index].directory.join("data")
    }

    fn format(&self, node: &Node, options: &BrokerOptions) {
        fs::create_dir_all(&node.directory).expect("the folder of a node");
        fs::write(self.directory.join("log4j2.properties"), LOGGING).expect("the logging settings");
        fs::write(node.settings_file(), self.settings(node, options)).expect("the settings of a node");
        let version = match options.transaction_version {
            TransactionVersion::One => "transaction.version=1",
            TransactionVersion::Two => "transaction.version=2",
        };
        let mut command = self
            .installation
            .java(&["-Xmx256m", "-XX:TieredStopAtLevel=1"], "kafka.tools.StorageTool");
        command
            .args(["format", "-t", CLUSTER_ID, "--feature", version, "-c"])
            .arg(node.settings_file())
            .args(&options.format_arguments);
        let mut child = run_into(command, &node.log_file());
        let code = os::wait_exit(&mut child, START_TIMEOUT);
        assert_eq!(
            code,
            Some(0),
            "Kafka did not format its folder\n{}",
            os::tail(&node.log_file())
        );
    }

    fn settings(&self, node: &Node, options: &BrokerOptions) -> String {
        let voter = |node: &Node| format!("{}@{}", node.id, node.controller_port.address());
        let voters: Vec<String> = self.nodes.iter().map(voter).collect();
        let replicas = options.nodes.min(3);
        let in_sync = replicas.saturating_sub(1).max(1);
        let further = |sign: &str, value: fn(&(String, String, String)) -> &str| -> String {
            let entries = options.listeners.iter();
            let entries = entries.map(|listener| format!(",{}{sign}{}", listener.0, value(listener)));
            entries.collect()
        };
        let further_addresses = further("://", |(_, _, address)| address);
        let further_protocols = further(":", |(_, protocol, _)| protocol);
        let mut lines = vec![
            "process.roles=broker,controller".to_owned(),
            format!("node.id={}", node.id),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!(
                "listeners=CLIENT://{}{further_addresses},CONTROLLER://{}{}",
                node.client_port.address(),
                node.controller_port.address(),
                node.relayed(|ports| &ports.listener)
            ),
            format!(
                "advertised.listeners=CLIENT://{}{further_addresses}{}",
                node.client_port.address(),
                node.relayed(|ports| &ports.advertised)
            ),
            format!(
                "listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,RELAYED:PLAINTEXT{further_protocols}"
            ),
            "inter.broker.listener.name=CLIENT".to_owned(),
            "controller.listener.names=CONTROLLER".to_owned(),
            format!("log.dirs={}", node.directory.join("data").display()),
            format!("default.replication.factor={replicas}"),
            format!("min.insync.replicas={in_sync}"),
            format!("offsets.topic.replication.factor={replicas}"),
            format!("transaction.state.log.replication.factor={replicas}"),
            format!("transaction.state.log.min.isr={in_sync}"),
            format!("share.coordinator.state.topic.replication.factor={replicas}"),
            format!("share.coordinator.state.topic.min.isr={in_sync}"),
            format!("offsets.topic.num.partitions={INTERNAL_PARTITIONS}"),
            format!("transaction.state.log.num.partitions={INTERNAL_PARTITIONS}"),
            "auto.create.topics.enable=false".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            // Tests of members that vanish choose short sessions.
            "group.min.session.timeout.ms=1000".to_owned(),
            // The default is 128 MB of heap.
            "log.cleaner.dedupe.buffer.size=16777216".to_owned(),
        ];
        lines.extend(options.settings.iter().map(|(key, value)| format!("{key}={value}")));
        lines.join("\n") + "\n"
    }

    /// Every node in the metadata, every coordinator loaded. Asks each partition of the internal topics once.
    fn wait_until_ready(&self) {
        let client = self.client();
        super::wait_until("Kafka answers with all its nodes", START_TIMEOUT, || {
            self.nodes.iter().for_each(Node::assert_alive);
            client.node_count() == Some(self.nodes.len())
        });
        let probe = "harness-probe";
        client.create_topics(&[TopicSpec::new(probe, 1)]);
        for name in one_name_for_each_partition(INTERNAL_PARTITIONS) {
            if let Err(error) = client.open_and_close_transaction(&name, probe, START_TIMEOUT) {
                panic!(
                    "the transaction coordinator did not load: {error}\n{}",
                    os::tail(&self.nodes[0].log_file())
                );
            }
            super::wait_until("Kafka has loaded its group coordinators", START_TIMEOUT, || {
                client.try_committed(&name, probe).is_ok()
            });
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill9();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Node {
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn settings_file(&self) -> PathBuf {
        self.directory.join("server.properties")
    }

    /// A further element of a list of listeners; empty without a relay.
    fn relayed(&self, port: impl Fn(&RelayPorts) -> &PortLease) -> String {
        let ports = self.relay.as_ref();
        ports.map_or_else(String::new, |ports| format!(",RELAYED://{}", port(ports).address()))
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("broker.log")
    }

    fn signal(&self, signal: libc::c_int) {
        if let Some(child) = self.child().as_ref() {
            os::signal(child.id(), signal);
        }
    }

    fn end(&self, signal: libc::c_int) {
        self.signal(signal);
        self.wait_for_end();
    }

    fn wait_for_end(&self) {
        if let Some(mut child) = self.child().take() {
            let code = os::wait_exit(&mut child, STOP_TIMEOUT);
            assert!(
                code.is_some(),
                "Kafka did not end in time\n{}",
                os::tail(&self.log_file())
            );
        }
    }

    fn assert_alive(&self) {
        if let Some(child) = self.child().as_mut() {
            let code = os::wait_exit(child, Duration::ZERO);
            assert!(
                code.is_none(),
                "Kafka ended by itself with code {code:?}\n{}",
                os::tail(&self.log_file())
            );
        }
    }
}

/// Starts a command with both outputs appended to a file.
fn run_into(mut command: std::process::Command, log: &Path) -> Child {
    let file = File::options().create(true).append(true).open(log).expect("a log file");
    command
        .stdout(Stdio::from(file.try_clone().expect("a log file")))
        .stderr(Stdio::from(file));
    os::spawn(command).expect("Java starts")
}

/// Names that lie on one partition each of an internal topic: Kafka takes Java's `String.hashCode` of the name.
fn one_name_for_each_partition(partitions: i32) -> Vec<String> {
    let hash = |name: &str| {
        name.bytes()
            .fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)))
    };
    let partition = |name: &str| (hash(name) & i32::MAX) % partitions;
    let name_on = |wanted: i32| {
        (0..)
            .map(|n| format!("harness-probe-{n}"))
            .find(|name| partition(name) == wanted)
    };
    (0..partitions).filter_map(name_on).collect()
}
