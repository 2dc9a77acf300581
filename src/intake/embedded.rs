//! The broker that comes with librdkafka, in this process, for `forbear demo`. It speaks the protocol and keeps nothing:
//! transactions always succeed, aborted records stay visible, positions that a transaction commits are lost.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// A broker on a port of 127.0.0.1 that ends with this value.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl EmbeddedBroker {
    /// Starts one broker with these topics.
    pub fn start(topics: &[(String, i32)]) -> Result<EmbeddedBroker, String> {
        let cluster = MockCluster::new(1).map_err(|error| format!("the embedded broker does not start: {error}"))?;
        for (name, partition_count) in topics {
            cluster
                .create_topic(name, *partition_count, 1)
                .map_err(|error| format!("the embedded broker cannot make the topic {name}: {error}"))?;
        }
        Ok(EmbeddedBroker { cluster })
    }

    /// Where clients find it.
    pub fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
