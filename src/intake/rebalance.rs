//! What the group decides, as the client's callback tells it: noted, and answered by the worker between two batches.

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::types::RDKafkaRespErr;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Called with the client's role (`consumer`, `producer`) and librdkafka's statistics (JSON).
pub type StatisticsSink = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// What the group decided and the worker has not answered yet.
pub struct GroupEvents {
    pending: Mutex<VecDeque<Rebalance>>,
    /// The consumer is being closed: nobody will answer any more, so the callback does it itself.
    closing: AtomicBool,
    statistics: Option<StatisticsSink>,
}

/// One decision of the group, to be answered.
pub enum Rebalance {
    Assign {
        partitions: Vec<i32>,
        eager: bool,
    },
    Revoke {
        partitions: Vec<i32>,
        lost: bool,
        eager: bool,
    },
}

impl GroupEvents {
    /// Nothing has happened yet.
    pub fn new(statistics: Option<StatisticsSink>) -> Self {
        Self {
            pending: Mutex::new(VecDeque::new()),
            closing: AtomicBool::new(false),
            statistics,
        }
    }

    /// What has not been answered yet, oldest first.
    pub fn take(&self) -> Vec<Rebalance> {
        lock(&self.pending).drain(..).collect()
    }

    /// From now on nobody answers any more.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for GroupEvents {
    fn stats_raw(&self, statistics: &[u8]) {
        if let (Some(sink), Ok(text)) = (&self.statistics, std::str::from_utf8(statistics)) {
            sink("consumer", text);
        }
    }
}

impl ConsumerContext for GroupEvents {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let eager = !matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let assigned = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answer = if eager {
                consumer.unassign()
            } else {
                consumer.incremental_unassign(partitions)
            };
            if let (Err(error), false) = (answer, assigned) {
                tracing::debug!(%error, "unassignment while closing");
            }
            return;
        }
        let partitions = partitions
            .elements()
            .iter()
            .map(|element| element.partition())
            .collect();
        let rebalance = if assigned {
            Rebalance::Assign { partitions, eager }
        } else {
            Rebalance::Revoke {
                partitions,
                lost: consumer.assignment_lost(),
                eager,
            }
        };
        lock(&self.pending).push_back(rebalance);
    }
}

/// The lock guards plain data: a panic elsewhere cannot leave it half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
