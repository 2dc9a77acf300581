//! The clusters that the rounds share: one of each kind, with a relay in front of each node, started when first needed.

use crate::harness::{Broker, BrokerOptions, TransactionVersion};
use crate::plan::Kind;
use crate::relay::{Orders, Relay};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Short times of the brokers, so that a round is short: a node is missed after 4 s, and a transaction is given up soon
/// after its time is over.
const SETTINGS: &[(&str, &str)] = &[
    ("broker.session.timeout.ms", "4000"),
    ("broker.heartbeat.interval.ms", "500"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000"),
];

/// A cluster whose instances come by relays, and whose tests go direct.
pub struct Cluster {
    pub broker: Broker,
    pub orders: Arc<Orders>,
    /// `bootstrap.servers` for the instances.
    pub relayed: String,
    _relays: Vec<Relay>,
}

impl Cluster {
    fn start(kind: Kind) -> Self {
        let (nodes, transaction_version) = match kind {
            Kind::SingleOld => (1, TransactionVersion::One),
            Kind::SingleNew => (1, TransactionVersion::Two),
            Kind::Three => (3, TransactionVersion::Two),
        };
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let broker = Broker::start(BrokerOptions {
            nodes,
            transaction_version,
            settings: SETTINGS.iter().map(owned).collect(),
            relayed: true,
            ..BrokerOptions::default()
        });
        let orders = Arc::new(Orders::default());
        let ports = broker.relays();
        let relay = |(address, target): &(String, String)| Relay::start(address, target, &orders);
        let relays = ports.iter().map(relay).collect();
        let addresses: Vec<&str> = ports.iter().map(|(address, _)| address.as_str()).collect();
        Self {
            relayed: addresses.join(","),
            broker,
            orders,
            _relays: relays,
        }
    }

    pub fn nodes(&self) -> usize {
        self.broker.relays().len()
    }

    /// The node (from 0) that leads each partition of a topic; none where nobody does.
    pub fn leaders(&self, topic: &str) -> BTreeMap<i32, Option<usize>> {
        let client = self.broker.client();
        let consumer: BaseConsumer = client.settings().create().expect("a client");
        let Ok(metadata) = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)) else {
            return BTreeMap::new();
        };
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let leader = |id: i32| usize::try_from(id - 1).ok();
        partitions
            .map(|partition| (partition.id(), leader(partition.leader())))
            .collect()
    }

    /// Copies what the nodes have logged.
    pub fn keep_logs(&self, directory: &Path) {
        for node in 0..self.nodes() {
            let _ = fs::copy(
                self.broker.node_log(node),
                directory.join(format!("broker-{}.log", node + 1)),
            );
        }
    }
}

/// At most one cluster of each kind.
#[derive(Default)]
pub struct Clusters {
    open: BTreeMap<Kind, Cluster>,
}

impl Clusters {
    pub fn get(&mut self, kind: Kind) -> &Cluster {
        self.open.entry(kind).or_insert_with(|| Cluster::start(kind))
    }

    /// The next round of this kind starts a new one.
    pub fn give_up(&mut self, kind: Kind) {
        self.open.remove(&kind);
    }
}
