//! From text and environment to [`Settings`]: unknown keys, wrong types and values out of range are collected and
//! reported together, each as a sentence that names the key and what is expected.

use super::{
    ClientProperties, HttpSection, KafkaSection, LogFormat, LogSection, PolicySection, ProcessingSection, Settings,
    SettingsError, StateSection, TopicsSection, is_topic_name, properties,
};
use config::{Config, File, FileFormat, Map, Value, ValueKind};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// Every key, by section; `kafka.client` is open and stands apart.
const KEYS: &[(&str, &[&str])] = &[
    ("kafka", &["bootstrap-servers", "group-id", "instance-id", "client"]),
    (
        "topics",
        &[
            "intents",
            "engagement",
            "approved-prefix",
            "suppressed-prefix",
            "decisions",
            "dead-letter",
            "reroute",
            "state",
            "policies",
        ],
    ),
    ("policy", &["file"]),
    ("state", &["directory", "block-cache-mib", "write-buffer-mib"]),
    (
        "processing",
        &["workers", "commit-interval-ms", "max-intent-bytes", "max-batch-records"],
    ),
    ("http", &["listen"]),
    ("log", &["format", "level"]),
];

const ENVIRONMENT_PREFIX: &str = "FORBEAR_";

/// The largest `max-intent-bytes`: a decoded record is held in memory several times over.
const MOST_INTENT_BYTES: i64 = 15_000_000;

/// Reads, checks, and either returns the settings or everything that is wrong.
pub(super) fn settings(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, SettingsError> {
    let root = Config::builder()
        .add_source(File::from_str(text, FileFormat::Toml))
        .build()
        .and_then(Config::try_deserialize::<Map<String, Value>>)
        .map_err(|error| SettingsError {
            problems: vec![format!("the settings are not valid TOML: {error}")],
        })?;
    let mut reader = Reader::new(root);
    reader.overlay(environment);
    let settings = reader.settings();
    if reader.problems.is_empty() {
        Ok(settings)
    } else {
        Err(SettingsError {
            problems: reader.problems,
        })
    }
}

/// The name that is most like the given one, if any is like it at all.
pub(super) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

struct Reader {
    /// `section.key` → value; what was read is left in place.
    values: BTreeMap<String, Value>,
    client: BTreeMap<String, Value>,
    problems: Vec<String>,
}

impl Reader {
    fn new(root: Map<String, Value>) -> Reader {
        let mut reader = Reader {
            values: BTreeMap::new(),
            client: BTreeMap::new(),
            problems: Vec::new(),
        };
        let mut sections: Vec<_> = root.into_iter().collect();
        sections.sort_by(|left, right| left.0.cmp(&right.0));
        for (section, value) in sections {
            let ValueKind::Table(table) = value.kind else {
                reader.unknown(&section, &section);
                continue;
            };
            let Some((_, keys)) = KEYS.iter().find(|(name, _)| *name == section) else {
                reader.unknown(&section, &section);
                continue;
            };
            let mut entries: Vec<_> = table.into_iter().collect();
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            for (key, value) in entries {
                match value.kind {
                    ValueKind::Table(client) if section == "kafka" && key == "client" => {
                        flatten("", client, &mut reader.client);
                    }
                    _ if keys.contains(&key.as_str()) => {
                        reader.values.insert(format!("{section}.{key}"), value);
                    }
                    _ => reader.unknown(&format!("{section}.{key}"), &key),
                }
            }
        }
        if reader.values.remove("kafka.client").is_some() {
            reader
                .problems
                .push("kafka.client must be a table of client properties".to_owned());
        }
        reader
    }

    /// The environment goes over the file.
    fn overlay(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<_> = environment
            .into_iter()
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
            .collect();
        variables.sort();
        for (name, text) in variables {
            let path = name[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase();
            if !path.contains("__") && !known_paths().any(|known| known.replace(['.', '-'], "_") == path) {
                // Not a setting: FORBEAR_LOG, or something of the scripts around.
                continue;
            }
            let value = Value::new(Some(&name), text);
            if let Some(property) = path.strip_prefix("kafka__client__") {
                let spelled = |known: &&str| known.replace('.', "_") == property;
                let property = properties::names()
                    .find(spelled)
                    .map_or(property.replace('_', "."), str::to_owned);
                self.client.insert(property, value);
                continue;
            }
            let key = path.replacen("__", ".", 1).replace('_', "-");
            if known_paths().any(|known| known == key) {
                self.values.insert(key, value);
            } else {
                let near = nearest(&key, known_paths().collect::<Vec<_>>().iter().map(String::as_str))
                    .map(|near| format!("; did you mean {ENVIRONMENT_PREFIX}{}?", variable_of(near)))
                    .unwrap_or_default();
                self.problems
                    .push(format!("the environment variable {name} names no setting{near}"));
            }
        }
    }

    fn settings(&mut self) -> Settings {
        let client = std::mem::take(&mut self.client);
        let client = self.client_properties(client);
        let settings = Settings {
            kafka: KafkaSection {
                bootstrap_servers: self.text("kafka.bootstrap-servers", "localhost:9092"),
                group_id: self.text("kafka.group-id", "forbear"),
                instance_id: self.text("kafka.instance-id", &host_name()),
                client,
            },
            topics: self.topics(),
            policy: PolicySection {
                file: self.text("policy.file", "policy.yaml").into(),
            },
            state: StateSection {
                directory: self.text("state.directory", "data").into(),
                block_cache_mib: self.integer("state.block-cache-mib", 256, 8..=1_048_576) as usize,
                write_buffer_mib: self.integer("state.write-buffer-mib", 64, 8..=65_536) as usize,
            },
            processing: ProcessingSection {
                workers: self.integer("processing.workers", core_count(), 1..=64) as usize,
                commit_interval_ms: self.integer("processing.commit-interval-ms", 100, 1..=10_000) as u64,
                max_intent_bytes: self.integer("processing.max-intent-bytes", 983_040, 1_024..=MOST_INTENT_BYTES)
                    as usize,
                max_batch_records: self.integer("processing.max-batch-records", 20_000, 1..=1_000_000) as usize,
            },
            http: HttpSection { listen: self.listen() },
            log: LogSection {
                format: self.log_format(),
                level: self.text("log.level", "info"),
            },
        };
        self.check_topics(&settings.topics);
        settings
    }

    fn topics(&mut self) -> TopicsSection {
        let decisions = self.possibly_empty("topics.decisions", "forbear.decisions");
        TopicsSection {
            intents: self.list("topics.intents", "forbear.intents"),
            engagement: self.list("topics.engagement", "forbear.engagement"),
            approved_prefix: self.text("topics.approved-prefix", "approved."),
            suppressed_prefix: self.text("topics.suppressed-prefix", "suppressed."),
            decisions: (!decisions.is_empty()).then_some(decisions),
            dead_letter: self.text("topics.dead-letter", "forbear.dead-letter"),
            reroute: self.text("topics.reroute", "forbear.reroute"),
            state: self.text("topics.state", "forbear.state"),
            policies: self.text("topics.policies", "forbear.policies"),
        }
    }

    /// Names must be topic names, and no topic may play two parts.
    fn check_topics(&mut self, topics: &TopicsSection) {
        let mut used: BTreeMap<&str, &str> = BTreeMap::new();
        let single = [
            ("topics.decisions", topics.decisions.as_deref()),
            ("topics.dead-letter", Some(topics.dead_letter.as_str())),
            ("topics.reroute", Some(topics.reroute.as_str())),
            ("topics.state", Some(topics.state.as_str())),
            ("topics.policies", Some(topics.policies.as_str())),
        ];
        let lists = [
            ("topics.intents", &topics.intents),
            ("topics.engagement", &topics.engagement),
        ];
        let named = lists
            .into_iter()
            .flat_map(|(key, list)| list.iter().map(move |name| (key, name.as_str())))
            .chain(single.into_iter().filter_map(|(key, name)| Some((key, name?))))
            .filter(|(_, name)| !name.is_empty());
        for (key, name) in named {
            if !is_topic_name(name) {
                self.problems.push(format!(
                    "{key}: {name:?} is not the name of a topic; expected 1 to 249 of a-z A-Z 0-9 . _ -"
                ));
            }
            if let Some(other) = used.insert(name, key) {
                self.problems
                    .push(format!("{key}: the topic {name:?} is already used by {other}"));
            }
            for (prefix_key, prefix) in [
                ("topics.approved-prefix", &topics.approved_prefix),
                ("topics.suppressed-prefix", &topics.suppressed_prefix),
            ] {
                if !prefix.is_empty() && name.starts_with(prefix.as_str()) {
                    self.problems.push(format!(
                        "{key}: the topic {name:?} begins with {prefix_key} and could be an output topic of a channel"
                    ));
                }
            }
        }
        for (key, prefix) in [
            ("topics.approved-prefix", &topics.approved_prefix),
            ("topics.suppressed-prefix", &topics.suppressed_prefix),
        ] {
            if !prefix.is_empty() && !is_topic_name(&format!("{prefix}x")) {
                self.problems
                    .push(format!("{key}: {prefix:?} cannot begin the name of a topic"));
            }
        }
        let (approved, suppressed) = (&topics.approved_prefix, &topics.suppressed_prefix);
        if !approved.is_empty()
            && (approved.starts_with(suppressed.as_str()) || suppressed.starts_with(approved.as_str()))
        {
            self.problems.push(
                "topics.approved-prefix and topics.suppressed-prefix must differ, and neither may begin with the other"
                    .to_owned(),
            );
        }
    }

    fn client_properties(&mut self, given: BTreeMap<String, Value>) -> ClientProperties {
        let mut entries = Vec::new();
        for (name, value) in given {
            match value.kind {
                ValueKind::Array(_) | ValueKind::Table(_) | ValueKind::Nil => {
                    self.problems.push(format!(
                        "kafka.client.\"{name}\" must be a text, a number or true/false"
                    ));
                }
                _ => match value.into_string() {
                    Ok(text) => entries.push((name, text)),
                    Err(_) => self.problems.push(format!("kafka.client.\"{name}\" must be a text")),
                },
            }
        }
        ClientProperties::from_entries(entries).unwrap_or_else(|problems| {
            self.problems.extend(problems);
            ClientProperties::default()
        })
    }

    fn listen(&mut self) -> SocketAddr {
        let text = self.text("http.listen", "127.0.0.1:9464");
        text.parse().unwrap_or_else(|_| {
            if !text.is_empty() {
                self.problems
                    .push("http.listen must be an address and a port, as in \"127.0.0.1:9464\"".to_owned());
            }
            SocketAddr::from(([127, 0, 0, 1], 9464))
        })
    }

    fn log_format(&mut self) -> LogFormat {
        match self.text("log.format", "text").as_str() {
            "json" => LogFormat::Json,
            "text" | "" => LogFormat::Text,
            _ => {
                self.problems.push("log.format must be \"text\" or \"json\"".to_owned());
                LogFormat::Text
            }
        }
    }

    /// A text that may not be empty.
    fn text(&mut self, path: &str, default: &str) -> String {
        let text = self.possibly_empty(path, default);
        if text.trim().is_empty()
            && !self
                .problems
                .iter()
                .any(|problem| problem.starts_with(&format!("{path} ")))
        {
            self.problems.push(format!("{path} must not be empty"));
        }
        text
    }

    fn possibly_empty(&mut self, path: &str, default: &str) -> String {
        match self.values.get(path).map(|value| &value.kind) {
            None => default.to_owned(),
            Some(ValueKind::String(text)) => text.clone(),
            Some(_) => {
                self.problems.push(format!("{path} must be a text in quotes"));
                default.to_owned()
            }
        }
    }

    fn integer(&mut self, path: &str, default: i64, range: RangeInclusive<i64>) -> i64 {
        let given = match self.values.get(path).map(|value| &value.kind) {
            None => return default,
            Some(ValueKind::I64(number)) => Some(*number),
            Some(ValueKind::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        match given {
            Some(number) if range.contains(&number) => number,
            _ => {
                let (least, most) = (range.start(), range.end());
                self.problems
                    .push(format!("{path} must be a whole number from {least} to {most}"));
                default
            }
        }
    }

    fn list(&mut self, path: &str, default: &str) -> Vec<String> {
        let given = match self.values.get(path).map(|value| &value.kind) {
            None => return vec![default.to_owned()],
            Some(ValueKind::String(text)) => Some(text.split(',').map(|name| name.trim().to_owned()).collect()),
            Some(ValueKind::Array(values)) => values
                .iter()
                .map(|value| match &value.kind {
                    ValueKind::String(text) => Some(text.clone()),
                    _ => None,
                })
                .collect::<Option<Vec<String>>>(),
            Some(_) => None,
        };
        match given {
            None => self.problems.push(format!("{path} must be a list of topic names")),
            Some(names) if names.is_empty() || names.iter().any(String::is_empty) => {
                self.problems
                    .push(format!("{path} must name at least one topic, and no name may be empty"));
            }
            Some(names) => return names,
        }
        vec![default.to_owned()]
    }

    fn unknown(&mut self, path: &str, key: &str) {
        let section = path.strip_suffix(key).and_then(|parent| parent.strip_suffix('.'));
        let siblings: Vec<&str> = match section {
            None => KEYS.iter().map(|(name, _)| *name).collect(),
            Some(section) => KEYS
                .iter()
                .filter(|(name, _)| *name == section)
                .flat_map(|(_, keys)| keys.iter().copied())
                .collect(),
        };
        // A key may also be right and stand in the wrong section.
        let elsewhere = KEYS
            .iter()
            .find(|(_, keys)| keys.contains(&key))
            .map(|(section, _)| format!("{section}.{key}"));
        let suggestion = elsewhere.or_else(|| {
            nearest(key, siblings).map(|near| section.map_or(near.to_owned(), |section| format!("{section}.{near}")))
        });
        let suggestion = suggestion
            .map(|near| format!("; did you mean {near}?"))
            .unwrap_or_default();
        self.problems.push(format!("{path} is not a setting{suggestion}"));
    }
}

/// `security.protocol = "SSL"` without quotes is a table in a table: both spellings are the same property.
fn flatten(prefix: &str, table: Map<String, Value>, into: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let name = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        match value.kind {
            ValueKind::Table(inner) => flatten(&name, inner, into),
            _ => {
                into.insert(name, value);
            }
        }
    }
}

fn known_paths() -> impl Iterator<Item = String> {
    KEYS.iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}")))
        .filter(|path| path != "kafka.client")
}

fn variable_of(path: &str) -> String {
    path.replace('.', "__").replace('-', "_").to_ascii_uppercase()
}

fn host_name() -> String {
    hostname::get()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "forbear-0".to_owned())
}

fn core_count() -> i64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(64) as i64)
}
