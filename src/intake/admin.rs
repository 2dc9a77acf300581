//! Questions to the cluster that need no record: which topics there are and what they are like, and making new ones.
//! A thin shell; what to think of the answers is decided elsewhere. Every call blocks, at most for the time given.

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the cluster says about itself and about the topics asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterFacts {
    pub cluster_id: Option<String>,
    pub broker_count: usize,
    /// The ones that exist.
    pub topics: BTreeMap<String, TopicFacts>,
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
            bootstrap_servers: bootstrap_servers.to_owned(),
            runtime,
        })
    }

    /// Describes the named topics; the ones that do not exist are left out.
    pub fn describe(&self, topics: &[&str], timeout: Duration) -> Result<ClusterFacts, String> {
        let deadline = Instant::now() + timeout;
        let (broker_count, mut found) = self.existing(topics, timeout)?;
        self.add_configs(&mut found, left(deadline))?;
        let cluster_id = self.client.inner().fetch_cluster_id(left(deadline));
        Ok(ClusterFacts {
            cluster_id,
            broker_count,
            topics: found,
        })
    }

    /// Partition counts and replicas alone, from the metadata: all that the embedded broker can tell.
    pub fn describe_without_configs(&self, topics: &[&str], timeout: Duration) -> Result<ClusterFacts, String> {
        let (broker_count, topics) = self.existing(topics, timeout)?;
        Ok(ClusterFacts {
            cluster_id: None,
            broker_count,
            topics,
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
        let already = rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists;
        let failures: Vec<String> = results
            .into_iter()
            .filter_map(|result| result.err())
            .filter(|(_, code)| *code != already)
            .map(|(name, code)| format!("cannot create {name}: {code}"))
            .collect();
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }

    fn existing(&self, names: &[&str], timeout: Duration) -> Result<(usize, BTreeMap<String, TopicFacts>), String> {
        let metadata = self.client.inner().fetch_metadata(None, timeout).map_err(|error| {
            format!(
                "no answer from the Kafka cluster at {} within {} s: {error}",
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
        for result in results {
            let resource = result.map_err(|code| format!("cannot read the settings of a topic: {code}"))?;
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

/// At least a little: a time-out of nothing would never ask.
fn left(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(500))
}
