//! What the topics of a cluster have to be like, as a pure function over a description of the cluster: which are missing,
//! what is wrong with the ones that are there, and how the missing ones are to be made.
//!
//! Two kinds of finding: what makes judging unsafe keeps `run` from starting; everything else that is wrong is an error of
//! `topics verify`, or a warning where it is a choice that costs safety only when brokers fail.

use super::settings::TopicsSection;
use crate::customer::bounds::VALUE_BYTES_AT_MOST;
use crate::intake::rights::{Operation, Rights, no_right};
use serde::Serialize;
use std::collections::BTreeMap;

/// A cluster as the admin interface describes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cluster {
    pub cluster_id: Option<String>,
    pub broker_count: usize,
    pub topics: BTreeMap<String, TopicDescription>,
    /// What the user who asked may do with topics, as far as that is told.
    pub rights: BTreeMap<String, Rights>,
}

/// One topic that exists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicDescription {
    pub partition_count: i32,
    /// Of the partition that has the fewest.
    pub replication_factor: usize,
    /// Effective values, inherited ones included. Empty where the broker does not tell.
    pub configs: BTreeMap<String, String>,
}

/// The part that a topic plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Intents,
    Engagement,
    Reroute,
    State,
    Approved,
    Suppressed,
    Decisions,
    DeadLetter,
    Policies,
}

/// A topic that has to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedTopic {
    pub name: String,
    pub role: Role,
}

/// Whether a finding is advice or fails the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Warning,
    Error,
}

/// One finding, said in a sentence that names the topic, what it is like and what it has to be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub topic: String,
    pub severity: Severity,
    /// `run` does not start with it.
    pub prevents_run: bool,
    pub problem: String,
}

/// A topic that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewTopic {
    pub name: String,
    pub role: Role,
    pub partition_count: i32,
    /// None: the broker's default.
    pub replication_factor: Option<i32>,
    pub configs: Vec<(String, String)>,
}

/// What Kafka takes where nobody says anything: `message.max.bytes` of a broker.
const DEFAULT_MESSAGE_BYTES: u64 = 1_048_588;
/// The largest value of a customer's state, with room for its key and the frame around it.
const STATE_MESSAGE_BYTES: u64 = VALUE_BYTES_AT_MOST as u64 + 64 * 1024;
const HOUR_MS: u64 = 3_600_000;
/// A partition without writes for this long is compacted all the same: what was erased is gone after it.
const STATE_COMPACTION_LAG_MS: u64 = 24 * HOUR_MS;
const STATE_SEGMENT_MS: u64 = 12 * HOUR_MS;
/// How long a tombstone stays: a store that was away for longer is rebuilt.
const STATE_DELETE_RETENTION_MS: u64 = 7 * 24 * HOUR_MS;

impl Role {
    /// Read by the processor, under one partition count.
    fn is_input(self) -> bool {
        matches!(self, Role::Intents | Role::Engagement | Role::Reroute)
    }

    /// Written from outside: its size limit is the one that the others have to exceed.
    fn is_given(self) -> bool {
        matches!(self, Role::Intents | Role::Engagement)
    }

    /// What `run` does with it, besides looking at its settings.
    fn used_for(self) -> &'static [Operation] {
        match self {
            Role::Intents | Role::Engagement => &[Operation::Read],
            Role::Reroute | Role::State => &[Operation::Read, Operation::Write],
            Role::Approved | Role::Suppressed | Role::Decisions | Role::DeadLetter | Role::Policies => {
                &[Operation::Write]
            }
        }
    }

    fn is_compacted(self) -> bool {
        matches!(self, Role::State | Role::Policies)
    }

    /// Holds records of the inputs with headers (or a key) added.
    fn holds_grown_records(self) -> bool {
        matches!(
            self,
            Role::Reroute | Role::State | Role::Approved | Role::Suppressed | Role::DeadLetter
        )
    }
}

/// Every topic that the settings and the policy's channels call for, inputs first.
pub fn expected(topics: &TopicsSection, channels: &[String]) -> Vec<ExpectedTopic> {
    let topic = |name: &str, role| ExpectedTopic {
        name: name.to_owned(),
        role,
    };
    let mut list: Vec<ExpectedTopic> = topics.intents.iter().map(|name| topic(name, Role::Intents)).collect();
    list.extend(topics.engagement.iter().map(|name| topic(name, Role::Engagement)));
    list.push(topic(&topics.reroute, Role::Reroute));
    list.push(topic(&topics.state, Role::State));
    for channel in channels {
        list.push(topic(&topics.approved(channel), Role::Approved));
        list.push(topic(&topics.suppressed(channel), Role::Suppressed));
    }
    list.extend(topics.decisions.iter().map(|name| topic(name, Role::Decisions)));
    list.push(topic(&topics.dead_letter, Role::DeadLetter));
    list.push(topic(&topics.policies, Role::Policies));
    list
}

/// Everything that is wrong, in the order of `expected`.
pub fn verify(expected: &[ExpectedTopic], cluster: &Cluster) -> Vec<Problem> {
    let mut problems = Vec::new();
    let leading_count = partition_count(expected, cluster);
    let input_bytes = input_message_bytes(expected, cluster);
    for topic in expected {
        let mut report = Report {
            topic: &topic.name,
            problems: &mut problems,
        };
        if let Some(why) = cluster.rights.get(&topic.name).and_then(unseen) {
            report.fatal(why);
        }
        match cluster.topics.get(&topic.name) {
            None if cluster.rights.get(&topic.name) == Some(&Rights::Hidden) => {}
            None => report.fatal(match super::settings::is_topic_name(&topic.name) {
                true => "does not exist; `forbear topics create` makes it".to_owned(),
                false => "does not exist, and its name is not one that Kafka accepts".to_owned(),
            }),
            Some(description) => {
                check_partitions(&mut report, topic.role, description, leading_count.as_ref());
                check_cleanup(&mut report, topic.role, description);
                check_replication(&mut report, description, cluster.broker_count);
                check_sizes(&mut report, topic.role, description, input_bytes);
            }
        }
    }
    problems
}

/// The topics of which this user cannot know whether they are there and what they are like, each in a sentence.
pub fn unknown(expected: &[ExpectedTopic], cluster: &Cluster) -> Vec<String> {
    let sentence = |topic: &ExpectedTopic| {
        let why = unseen(cluster.rights.get(&topic.name)?)?;
        Some(format!("{} {why}", topic.name))
    };
    expected.iter().filter_map(sentence).collect()
}

fn unseen(rights: &Rights) -> Option<String> {
    if *rights == Rights::Hidden {
        let right = no_right(&[Operation::Describe], "it");
        return Some(format!("cannot be seen: it does not exist, or {right}"));
    }
    let lacks = rights.lack(&[Operation::DescribeConfigs]);
    (!lacks.is_empty()).then(|| format!("cannot be checked: {}", no_right(&lacks, "it")))
}

/// What the user who asked may not do, of what `run` does.
pub fn forbidden(expected: &[ExpectedTopic], cluster: &Cluster) -> Vec<Problem> {
    let mut problems = Vec::new();
    for topic in expected {
        let lacks = cluster
            .rights
            .get(&topic.name)
            .map(|rights| rights.lack(topic.role.used_for()));
        if let Some(lacks) = lacks.filter(|lacks| !lacks.is_empty()) {
            let mut report = Report {
                topic: &topic.name,
                problems: &mut problems,
            };
            report.fatal(format!("cannot be used: {}", no_right(&lacks, "it")));
        }
    }
    problems
}

/// What has to be made so that nothing is missing. `partitions` is used where no input exists yet to follow.
pub fn plan(
    expected: &[ExpectedTopic],
    cluster: &Cluster,
    partitions: Option<i32>,
    replication_factor: Option<i32>,
) -> Result<Vec<NewTopic>, String> {
    let missing: Vec<&ExpectedTopic> = expected
        .iter()
        .filter(|topic| !cluster.topics.contains_key(&topic.name))
        .collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(topic) = missing
        .iter()
        .find(|topic| !super::settings::is_topic_name(&topic.name))
    {
        return Err(format!(
            "{:?} is not the name of a topic; expected 1 to 249 of a-z A-Z 0-9 . _ -",
            topic.name
        ));
    }
    let count = match (partition_count(expected, cluster), partitions) {
        (Some((first, count)), Some(asked)) if count != asked => {
            return Err(format!(
                "{first} exists with {count} partitions; all inputs must have one partition count, so --partitions has to be {count}"
            ));
        }
        (Some((_, count)), _) => count,
        (None, asked) => asked.unwrap_or(DEFAULT_PARTITIONS),
    };
    let input_bytes = input_message_bytes(expected, cluster);
    Ok(missing
        .into_iter()
        .map(|topic| NewTopic {
            name: topic.name.clone(),
            role: topic.role,
            partition_count: if topic.role == Role::Policies { 1 } else { count },
            replication_factor,
            configs: configs_for(topic.role, input_bytes),
        })
        .collect())
}

/// Partitions of new topics where nobody says anything: room for twelve workers.
pub const DEFAULT_PARTITIONS: i32 = 12;

/// How long a tombstone stays in the state topic: a store that was last written before it cannot be trusted.
pub fn state_delete_retention_ms(state_topic: &str, cluster: &Cluster) -> u64 {
    cluster
        .topics
        .get(state_topic)
        .and_then(|topic| number(topic, "delete.retention.ms"))
        .unwrap_or(24 * HOUR_MS)
}

fn configs_for(role: Role, input_bytes: u64) -> Vec<(String, String)> {
    let mut configs = Vec::new();
    let mut set = |name: &str, value: String| configs.push((name.to_owned(), value));
    set(
        "cleanup.policy",
        if role.is_compacted() { "compact" } else { "delete" }.to_owned(),
    );
    let grown_bytes = input_bytes.saturating_mul(2).min(i32::MAX as u64);
    let message_bytes = match role {
        _ if role.is_given() => input_bytes,
        Role::State => grown_bytes.max(STATE_MESSAGE_BYTES),
        _ => grown_bytes,
    };
    set("max.message.bytes", message_bytes.to_string());
    if role == Role::State {
        set("max.compaction.lag.ms", STATE_COMPACTION_LAG_MS.to_string());
        set("min.compaction.lag.ms", "0".to_owned());
        set("segment.ms", STATE_SEGMENT_MS.to_string());
        set("delete.retention.ms", STATE_DELETE_RETENTION_MS.to_string());
    }
    configs
}

/// The first existing topic whose partition count the others have to follow: intents lead.
fn partition_count(expected: &[ExpectedTopic], cluster: &Cluster) -> Option<(String, i32)> {
    let leads = |topic: &&ExpectedTopic| topic.role.is_input() || topic.role == Role::State;
    expected
        .iter()
        .filter(leads)
        .find_map(|topic| Some((topic.name.clone(), cluster.topics.get(&topic.name)?.partition_count)))
}

/// The largest record that an input accepts.
fn input_message_bytes(expected: &[ExpectedTopic], cluster: &Cluster) -> u64 {
    expected
        .iter()
        .filter(|topic| topic.role.is_given())
        .filter_map(|topic| cluster.topics.get(&topic.name))
        .filter_map(|topic| number(topic, "max.message.bytes"))
        .max()
        .unwrap_or(DEFAULT_MESSAGE_BYTES)
}

fn check_partitions(report: &mut Report<'_>, role: Role, topic: &TopicDescription, leading: Option<&(String, i32)>) {
    let Some((leader, count)) = leading else { return };
    if (role.is_input() || role == Role::State) && topic.partition_count != *count {
        report.fatal(format!(
            "has {} partitions, but {leader} has {count}: all inputs and the state topic must have one partition count",
            topic.partition_count
        ));
    }
}

fn check_cleanup(report: &mut Report<'_>, role: Role, topic: &TopicDescription) {
    let Some(policy) = topic.configs.get("cleanup.policy") else {
        return;
    };
    let compacts = policy.split(',').any(|part| part.trim() == "compact");
    let deletes = policy.split(',').any(|part| part.trim() == "delete");
    match role {
        Role::State if !compacts => {
            report.fatal(format!("has cleanup.policy={policy}: the state topic must be compacted (cleanup.policy=compact)"));
        }
        Role::State if deletes => report.fatal(format!(
            "has cleanup.policy={policy}: records would be deleted by age, and the state could not be rebuilt; it must be compact alone"
        )),
        Role::Policies if !compacts || deletes => report.error(format!(
            "has cleanup.policy={policy}: the text of every policy that judged must stay (cleanup.policy=compact)"
        )),
        Role::State | Role::Policies => {}
        _ if compacts => report.error(format!(
            "has cleanup.policy={policy}: compaction would drop records of one customer; it must be delete"
        )),
        _ => {}
    }
    if role != Role::State {
        return;
    }
    for (name, most_ms) in [
        ("max.compaction.lag.ms", STATE_COMPACTION_LAG_MS),
        ("segment.ms", STATE_SEGMENT_MS),
    ] {
        if let Some(value) = number(topic, name).filter(|value| *value > most_ms) {
            report.error(format!(
                "has {name}={value}: an erased customer would stay in the log for longer than promised; expected at most {most_ms}"
            ));
        }
    }
}

fn check_replication(report: &mut Report<'_>, topic: &TopicDescription, broker_count: usize) {
    let replicas = topic.replication_factor;
    if let Some(in_sync) = number(topic, "min.insync.replicas") {
        if in_sync > replicas as u64 {
            report.error(format!(
                "has min.insync.replicas={in_sync} but {replicas} replicas: nothing can be written to it"
            ));
        } else if replicas > 1 && in_sync == replicas as u64 {
            report.warning(format!(
                "has min.insync.replicas={in_sync} and {replicas} replicas: one broker that is down stops all writes"
            ));
        } else if replicas > 2 && in_sync < 2 {
            report.warning(format!(
                "has min.insync.replicas={in_sync}: a record that one broker alone holds counts as written; expected 2"
            ));
        }
    }
    if replicas < broker_count.min(3) {
        report.warning(format!(
            "has {replicas} replicas on a cluster of {broker_count} brokers; expected {}",
            broker_count.min(3)
        ));
    }
}

fn check_sizes(report: &mut Report<'_>, role: Role, topic: &TopicDescription, input_bytes: u64) {
    if !role.holds_grown_records() {
        return;
    }
    let Some(bytes) = number(topic, "max.message.bytes") else {
        return;
    };
    if bytes <= input_bytes {
        report.error(format!(
            "has max.message.bytes={bytes}, but the inputs accept {input_bytes}: it must be larger, or an accepted record does not fit with its headers"
        ));
    } else if role == Role::State && bytes < STATE_MESSAGE_BYTES {
        report.error(format!(
            "has max.message.bytes={bytes}, but what is known of one customer may take {STATE_MESSAGE_BYTES}: it must be at least that"
        ));
    }
}

fn number(topic: &TopicDescription, name: &str) -> Option<u64> {
    topic.configs.get(name)?.parse().ok()
}

struct Report<'a> {
    topic: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Report<'_> {
    fn fatal(&mut self, what: String) {
        self.push(Severity::Error, true, what);
    }

    fn error(&mut self, what: String) {
        self.push(Severity::Error, false, what);
    }

    fn warning(&mut self, what: String) {
        self.push(Severity::Warning, false, what);
    }

    fn push(&mut self, severity: Severity, prevents_run: bool, what: String) {
        self.problems.push(Problem {
            topic: self.topic.to_owned(),
            severity,
            prevents_run,
            problem: format!("{} {what}", self.topic),
        });
    }
}

#[cfg(test)]
mod tests;
