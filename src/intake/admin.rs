//! Questions to the cluster that need no record: which topics there are and what they are like, and making new ones.
//! A thin shell; what to think of the answers is decided elsewhere. Every call blocks, at most for the time given.

use crate::intake::rights::{self, Rights};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the cluster says about itself and about the topics asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterFacts {
    pub cluster_id: Option<String>,
    pub broker_count: usize,
    /// The ones that exist and can be seen.
    pub topics: BTreeMap<String, TopicFacts>,
    /// What this user may do with those that were asked for, as far as that is told.
    pub rights: BTreeMap<String, Rights>,
}

/// One topic that exists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopicFacts {
    pub partition_count: i32,
    /// Of the partition that has the fewest.
    pub replication_factor: usize,
    /// Effective values, inherited ones included.
    pub configs: BTreeMap<String, String>,
}

/// A topic to be made.
#[derive(Debug, Clone, Copy)]
pub struct TopicToCreate<'a> {
    pub name: &'a str,
    pub partition_count: i32,
    /// None: the broker's default.
    pub replication_factor: Option<i32>,
    pub configs: &'a [(String, String)],
}

/// A connection for administration.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
    config: ClientConfig,
    bootstrap_servers: String,
    runtime: tokio::runtime::Runtime,
}

impl Admin {
    /// Does not connect yet.
    pub fn new(bootstrap_servers: &str, properties: &[(String, String)]) -> Result<Admin, String> {
        let mut config = ClientConfig::new();
        for (name, value) in properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", bootstrap_servers);
        // Asking for a topic must never make it.
        config.set("allow.auto.create.topics", "false");
        let client = config
            .create()
            .map_err(|error| format!("the Kafka client cannot be set up: {error}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| format!("no runtime for the Kafka client: {error}"))?;
        Ok(Admin {
            client,
            config,
            bootstrap_servers: bootstrap_servers.to_owned(),
            runtime,
        })
    }

    /// Describes the named topics; the ones that do not exist are left out. The settings of a topic are empty where the user has
    /// no right to read them.
    pub fn describe(&self, topics: &[&str], timeout: Duration) -> Result<ClusterFacts, String> {
        let deadline = Instant::now() + timeout;
        let (broker_count, mut found) = self.existing(topics, timeout)?;
        let rights = rights::of_topics(self.client.inner(), topics, left(deadline));
        self.add_configs(&mut found, left(deadline))?;
        let cluster_id = self.client.inner().fetch_cluster_id(left(deadline));
        Ok(ClusterFacts {
            cluster_id,
            broker_count,
            topics: found,
            rights,
        })
    }

    /// Partition counts and replicas alone, from the metadata: all that the embedded broker can tell.
    pub fn describe_without_configs(&self, topics: &[&str], timeout: Duration) -> Result<ClusterFacts, String> {
        let (broker_count, topics) = self.existing(topics, timeout)?;
        Ok(ClusterFacts {
            cluster_id: None,
            broker_count,
            topics,
            rights: BTreeMap::new(),
        })
    }

    /// Makes topics; says which could not be made, and why. One that is there by now is as good as made.
    pub fn create(&self, topics: &[TopicToCreate<'_>], timeout: Duration) -> Result<(), Vec<String>> {
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let replication = TopicReplication::Fixed(topic.replication_factor.unwrap_or(-1));
                let new = NewTopic::new(topic.name, topic.partition_count, replication);
                topic
                    .configs
                    .iter()
                    .fold(new, |new, (name, value)| new.set(name, value))
            })
            .collect();
        let options = AdminOptions::new()
            .request_timeout(Some(timeout))
            .operation_timeout(Some(timeout));
        let results = self
            .runtime
            .block_on(self.client.create_topics(&new, &options))
            .map_err(|error| vec![format!("cannot create topics: {error}")])?;
        let already = RDKafkaErrorCode::TopicAlreadyExists;
        let needed = |code| match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => ": this Kafka user needs Create on it",
            _ => "",
        };
        let failures: Vec<String> = results
            .into_iter()
            .filter_map(|result| result.err())
            .filter(|(_, code)| *code != already)
            .map(|(name, code)| format!("cannot create {name}: {code}{}", needed(code)))
            .collect();
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }

    fn existing(&self, names: &[&str], timeout: Duration) -> Result<(usize, BTreeMap<String, TopicFacts>), String> {
        // The second part of the time goes to a client that hears why.
        let first = self.client.inner().fetch_metadata(None, timeout * 2 / 3);
        let metadata = first.or_else(|_| self.listen(timeout / 3)).map_err(|why| {
            format!(
                "no answer from the Kafka cluster at {} within {} s: {why}",
                self.bootstrap_servers,
                timeout.as_secs()
            )
        })?;
        let found = metadata
            .topics()
            .iter()
            .filter(|topic| names.contains(&topic.name()) && !topic.partitions().is_empty())
            .map(|topic| {
                let replicas = topic
                    .partitions()
                    .iter()
                    .map(|partition| partition.replicas().len())
                    .min();
                let facts = TopicFacts {
                    partition_count: topic.partitions().len() as i32,
                    replication_factor: replicas.unwrap_or(0),
                    configs: BTreeMap::new(),
                };
                (topic.name().to_owned(), facts)
            })
            .collect();
        Ok((metadata.brokers().len(), found))
    }

    /// Asks by a new client, which is told about its connections: a password that is refused, a certificate that cannot be verified.
    fn listen(&self, timeout: Duration) -> Result<Metadata, String> {
        let deadline = Instant::now() + timeout;
        let heard = Heard::default();
        let client: BaseProducer<Heard> = self
            .config
            .create_with_context(heard.clone())
            .map_err(|error| format!("the Kafka client cannot be set up: {error}"))?;
        loop {
            let answer = client.client().fetch_metadata(None, left(deadline).min(ASKED_FOR));
            // Until nothing more is said.
            client.poll(Duration::from_millis(100));
            match answer {
                Ok(metadata) => return Ok(metadata),
                Err(error) if Instant::now() >= deadline => return Err(heard.said().unwrap_or(error.to_string())),
                Err(_) => {}
            }
        }
    }

    fn add_configs(&self, topics: &mut BTreeMap<String, TopicFacts>, timeout: Duration) -> Result<(), String> {
        if topics.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = topics.keys().cloned().collect();
        let wanted: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(timeout));
        let results = self
            .runtime
            .block_on(self.client.describe_configs(&wanted, &options))
            .map_err(|error| format!("cannot read the settings of the topics: {error}"))?;
        // In the order in which they were asked for.
        for (name, result) in names.iter().zip(results) {
            let resource = match result {
                // What the rights say of it is enough.
                Err(RDKafkaErrorCode::TopicAuthorizationFailed) => continue,
                Err(code) => return Err(format!("cannot read the settings of {name}: {code}")),
                Ok(resource) => resource,
            };
            let OwnedResourceSpecifier::Topic(name) = &resource.specifier else {
                continue;
            };
            if let Some(topic) = topics.get_mut(name) {
                topic.configs = resource
                    .entries
                    .into_iter()
                    .filter_map(|entry| Some((entry.name, entry.value?)))
                    .collect();
            }
        }
        Ok(())
    }
}

/// How long one question of the client that listens may take.
const ASKED_FOR: Duration = Duration::from_secs(1);

/// The most telling of what a client said about its connections.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Option<(u8, String)>>>);

impl Heard {
    fn said(&self) -> Option<String> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The client names only one of the two things that may be wrong then.
        let hint = |reason: &str| match reason.contains("certificate verify failed") {
            true => "; or the certificate is not for that host name",
            false => "",
        };
        heard.as_ref().map(|(_, reason)| format!("{reason}{}", hint(reason)))
    }
}

impl ClientContext for Heard {
    fn error(&self, error: KafkaError, reason: &str) {
        let weight = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => 2,
            Some(RDKafkaErrorCode::AllBrokersDown) | None => 0,
            Some(_) => 1,
        };
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.as_ref().is_none_or(|(before, _)| *before <= weight) {
            *heard = Some((weight, reason.to_owned()));
        }
    }
}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// At least a little: a time-out of nothing would never ask.
fn left(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(500))
}
