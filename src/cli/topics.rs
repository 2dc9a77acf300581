//! `forbear topics create|verify`: asks the cluster, lets [`topic_rules`](super::topic_rules) judge, prints.

use super::settings::Settings;
use super::topic_rules::{self, Cluster, ExpectedTopic, NewTopic, Problem, Severity, TopicDescription};
use super::{ConfigArgument, Format, to_standard_output};
use crate::intake::admin::{Admin, ClusterFacts, TopicToCreate};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the cluster may take to answer.
const TIMEOUT: Duration = Duration::from_secs(12);
/// A topic that was just made may take this long to be visible everywhere.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
pub enum TopicsCommand {
    /// Create the topics that are missing, with the settings that they need; what exists is never changed
    #[command(
        after_help = "Example:\n  forbear topics create --config forbear.toml --partitions 12 --replication-factor 3"
    )]
    Create(CreateArguments),
    /// Say what is wrong with the topics: missing ones, partition counts, compaction, replication, sizes; exit 1 on an error
    #[command(after_help = "Example:\n  forbear topics verify --config forbear.toml --format json")]
    Verify(VerifyArguments),
}

#[derive(Args)]
pub struct CreateArguments {
    #[command(flatten)]
    which: WhichTopics,
    /// Partitions of each new topic; default: as many as the inputs that exist have, else 12
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: Option<i32>,
    /// Replicas of each new topic; default: the cluster's
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(i32).range(1..=32_767))]
    replication_factor: Option<i32>,
}

#[derive(Args)]
pub struct VerifyArguments {
    #[command(flatten)]
    which: WhichTopics,
}

#[derive(Args)]
struct WhichTopics {
    #[command(flatten)]
    config: ConfigArgument,
    /// The policy whose channels need topics; default: the one of the settings
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Channels, instead of the ones of a policy
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', conflicts_with = "policy")]
    channels: Vec<String>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    pub cluster: Cluster,
    pub problems: Vec<Problem>,
}

impl Verification {
    /// What keeps `run` from starting.
    pub fn prevents_run(&self) -> Vec<&Problem> {
        self.problems.iter().filter(|problem| problem.prevents_run).collect()
    }
}

/// Asks the cluster about every topic that these settings and channels call for. An error: there was no answer.
pub fn verify(settings: &Settings, channels: &[String], timeout: Duration) -> Result<Verification, String> {
    let expected = topic_rules::expected(&settings.topics, channels);
    let admin = connect(settings)?;
    let cluster = describe(&admin, &expected, timeout)?;
    let problems = topic_rules::verify(&expected, &cluster);
    Ok(Verification { cluster, problems })
}

/// The partition counts on a broker that has no admin interface: librdkafka's own.
pub fn describe_embedded(settings: &Settings, channels: &[String], timeout: Duration) -> Result<Cluster, String> {
    let expected = topic_rules::expected(&settings.topics, channels);
    let names: Vec<&str> = expected.iter().map(|topic| topic.name.as_str()).collect();
    Ok(cluster_of(
        connect(settings)?.describe_without_configs(&names, timeout)?,
    ))
}

/// Creates what is missing and waits until it is visible; returns what was created.
pub fn create(
    settings: &Settings,
    channels: &[String],
    partitions: Option<i32>,
    replication_factor: Option<i32>,
) -> Result<Vec<NewTopic>, String> {
    let expected = topic_rules::expected(&settings.topics, channels);
    let admin = connect(settings)?;
    let cluster = describe(&admin, &expected, TIMEOUT)?;
    let unknown = topic_rules::unknown(&expected, &cluster);
    if !unknown.is_empty() {
        return Err(unknown.join("\n"));
    }
    let new = topic_rules::plan(&expected, &cluster, partitions, replication_factor)?;
    if new.is_empty() {
        return Ok(new);
    }
    let requests: Vec<TopicToCreate<'_>> = new
        .iter()
        .map(|topic| TopicToCreate {
            name: &topic.name,
            partition_count: topic.partition_count,
            replication_factor: topic.replication_factor,
            configs: &topic.configs,
        })
        .collect();
    admin
        .create(&requests, TIMEOUT)
        .map_err(|failures| failures.join("\n"))?;
    let deadline = Instant::now() + VISIBLE_WITHIN;
    while Instant::now() < deadline {
        let seen = describe(&admin, &expected, TIMEOUT);
        if seen.is_ok_and(|cluster| new.iter().all(|topic| cluster.topics.contains_key(&topic.name))) {
            return Ok(new);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Err(
        "the topics were created, but the cluster does not show them yet; `forbear topics verify` says when it does"
            .to_owned(),
    )
}

pub(super) fn execute(command: &TopicsCommand) -> Result<ExitCode, String> {
    match command {
        TopicsCommand::Create(arguments) => {
            let (settings, channels) = arguments.which.load()?;
            let created = create(&settings, &channels, arguments.partitions, arguments.replication_factor)?;
            to_standard_output(render_created(&created, arguments.which.format).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        TopicsCommand::Verify(arguments) => {
            let (settings, channels) = arguments.which.load()?;
            let found = verify(&settings, &channels, TIMEOUT)?;
            let count = topic_rules::expected(&settings.topics, &channels).len();
            to_standard_output(render_problems(&found.problems, count, arguments.which.format).trim_end());
            let wrong = found.problems.iter().any(|problem| problem.severity == Severity::Error);
            Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}

impl WhichTopics {
    fn load(&self) -> Result<(Settings, Vec<String>), String> {
        let settings = self.config.load()?;
        let channels = if self.channels.is_empty() {
            super::engine::channels(self.policy.as_ref().unwrap_or(&settings.policy.file))?
        } else {
            self.channels.clone()
        };
        Ok((settings, channels))
    }
}

fn connect(settings: &Settings) -> Result<Admin, String> {
    Admin::new(&settings.kafka.bootstrap_servers, &settings.kafka.client.admin())
}

fn describe(admin: &Admin, expected: &[ExpectedTopic], timeout: Duration) -> Result<Cluster, String> {
    let names: Vec<&str> = expected.iter().map(|topic| topic.name.as_str()).collect();
    Ok(cluster_of(admin.describe(&names, timeout)?))
}

fn cluster_of(facts: ClusterFacts) -> Cluster {
    let ClusterFacts {
        cluster_id,
        broker_count,
        topics,
        rights,
    } = facts;
    let topics = topics
        .into_iter()
        .map(|(name, facts)| {
            let description = TopicDescription {
                partition_count: facts.partition_count,
                replication_factor: facts.replication_factor,
                configs: facts.configs,
            };
            (name, description)
        })
        .collect();
    Cluster {
        cluster_id,
        broker_count,
        topics,
        rights,
    }
}

fn render_created(created: &[NewTopic], format: Format) -> String {
    if format == Format::Json {
        return format!("{}\n", serde_json::json!({ "created": created }));
    }
    if created.is_empty() {
        return "nothing is missing\n".to_owned();
    }
    let mut table = super::demo::table(&["created", "partitions", "settings"]);
    for topic in created {
        let configs: Vec<String> = topic
            .configs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        table.add_row([
            topic.name.clone(),
            topic.partition_count.to_string(),
            configs.join("\n"),
        ]);
    }
    format!("{table}\n")
}

fn render_problems(problems: &[Problem], topic_count: usize, format: Format) -> String {
    if format == Format::Json {
        return format!(
            "{}\n",
            serde_json::json!({ "topics": topic_count, "problems": problems })
        );
    }
    if problems.is_empty() {
        return format!("{topic_count} topics, nothing is wrong\n");
    }
    let line = |problem: &Problem| match problem.severity {
        Severity::Error => format!("error: {}\n", problem.problem),
        Severity::Warning => format!("warning: {}\n", problem.problem),
    };
    problems.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            topic: "t".to_owned(),
            severity: Severity::Error,
            prevents_run: true,
            problem: "t does not exist".to_owned(),
        }
    }

    #[test]
    fn problems_are_sentences_for_people_and_fields_for_programs() {
        assert_eq!(
            render_problems(&[problem()], 5, Format::Text),
            "error: t does not exist\n"
        );
        assert_eq!(render_problems(&[], 5, Format::Text), "5 topics, nothing is wrong\n");
        let json: serde_json::Value =
            serde_json::from_str(&render_problems(&[problem()], 5, Format::Json)).expect("JSON");
        assert_eq!(json["problems"][0]["severity"], "error");
        assert_eq!(json["problems"][0]["prevents_run"], true);
    }

    #[test]
    fn only_what_makes_judging_unsafe_prevents_a_run() {
        let warning = Problem {
            prevents_run: false,
            severity: Severity::Warning,
            ..problem()
        };
        let found = Verification {
            cluster: Cluster::default(),
            problems: vec![problem(), warning],
        };
        assert_eq!(found.prevents_run().len(), 1);
    }
}
