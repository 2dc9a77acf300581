//! The settings file, as types. [`Settings::load`] reads `forbear.toml` and the environment over it, and either returns
//! settings that are complete and in range or says everything that is wrong at once: no other code checks them again.
//!
//! Relative paths are relative to the working directory. A key may be overridden by the environment: `FORBEAR_`, then the
//! path in capitals, `__` between levels and `_` for `-` (and, below `[kafka.client]`, for `.`); lists are separated by
//! commas. A value of `[kafka.client]` that begins with `file:` is read from that file, so that a secret need not stand
//! in the settings; nothing here prints such a value.

mod client;
mod properties;
mod read;

pub use client::ClientProperties;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything that `forbear.toml` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub kafka: KafkaSection,
    pub topics: TopicsSection,
    pub policy: PolicySection,
    pub state: StateSection,
    pub processing: ProcessingSection,
    pub http: HttpSection,
    pub log: LogSection,
}

/// The cluster, and who this process is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaSection {
    pub bootstrap_servers: String,
    pub group_id: String,
    /// Default: the host name.
    pub instance_id: String,
    /// Handed to librdkafka as they are.
    pub client: ClientProperties,
}

/// The names of all topics.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicsSection {
    /// At least one; the first is the one that the group subscribes to.
    pub intents: Vec<String>,
    /// At least one: without engagement no opt-out could be heard.
    pub engagement: Vec<String>,
    pub approved_prefix: String,
    pub suppressed_prefix: String,
    /// None: turned off.
    pub decisions: Option<String>,
    pub dead_letter: String,
    pub reroute: String,
    pub state: String,
    pub policies: String,
}

/// Where the policy is.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySection {
    pub file: PathBuf,
}

/// The state on disk, and the memory in front of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StateSection {
    pub directory: PathBuf,
    /// Block cache of all partitions of the process together.
    pub block_cache_mib: usize,
    /// Write buffers of all partitions of the process together.
    pub write_buffer_mib: usize,
}

/// How the work is cut into threads and transactions.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessingSection {
    /// Default: one for each core.
    pub workers: usize,
    pub commit_interval_ms: u64,
    pub max_intent_bytes: usize,
    /// Records in one transaction, at most.
    pub max_batch_records: usize,
}

/// Where health and metrics are served.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSection {
    pub listen: SocketAddr,
}

/// What is logged, and how it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSection {
    pub format: LogFormat,
    /// A level (`info`), or directives as `forbear=debug,rdkafka=warn`.
    pub level: String,
}

/// One line of text, or one JSON object, for each entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Everything that is wrong with the settings: one sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    pub problems: Vec<String>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// The largest file that settings, or a secret of theirs, are read from.
const FILE_BYTES: u64 = 1 << 20;

/// Reads a small text file: one that never ends (a device) is no reason to fill the memory.
fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
    match read as u64 > FILE_BYTES {
        true => Err(std::io::Error::other("it is larger than 1 MiB")),
        false => Ok(text),
    }
}

impl Settings {
    /// Reads a settings file and the environment of this process.
    pub fn load(path: &Path) -> Result<Settings, SettingsError> {
        let text = read_bounded(path).map_err(|error| SettingsError {
            problems: vec![format!("cannot read the settings file {}: {error}", path.display())],
        })?;
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Settings::parse(&text, environment)
    }

    /// Reads settings from a text and an environment. The only files that it opens are the ones named by `file:` values.
    pub fn parse(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, SettingsError> {
        read::settings(text, environment)
    }

    /// The transactional id of a worker: `<group-id>/<instance-id>/<n>`.
    pub fn transactional_id(&self, worker: usize) -> String {
        format!("{}/{}/{worker}", self.kafka.group_id, self.kafka.instance_id)
    }

    /// The name under which a worker is a member of the group: `<instance-id>/<n>`.
    pub fn instance_id(&self, worker: usize) -> String {
        format!("{}/{worker}", self.kafka.instance_id)
    }
}

impl TopicsSection {
    /// The topic of approved messages of a channel.
    pub fn approved(&self, channel: &str) -> String {
        format!("{}{channel}", self.approved_prefix)
    }

    /// The topic of suppressed messages of a channel.
    pub fn suppressed(&self, channel: &str) -> String {
        format!("{}{channel}", self.suppressed_prefix)
    }
}

/// Whether Kafka accepts it as the name of a topic: 1 to 249 of `a-z A-Z 0-9 . _ -`, not `.` or `..`.
pub fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests;
