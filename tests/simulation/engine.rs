//! The engine itself under the simulation: its loop, its step, its stores in memory.

use super::client::{Cluster, Connection};
use super::fleet::{Engine, Running, STATE_TOPIC, Turned};
use super::policies::Known;
use super::stores::FaultyStores;
use forbear::customer::keys::due_of;
use forbear::policy::model::Policy;
use forbear::serve::metrics::{Bounds, Metrics};
use forbear::serve::status::Status;
use forbear::store::memory::{MemorySnapshot, MemoryStores};
use forbear::task::clock::Clock;
use forbear::task::worker::{self, Worker, WorkerSettings};
use forbear::verdict::TopicNames;
use std::sync::Arc;
use std::time::Duration;

/// Starts real workers.
#[derive(Clone, Copy)]
pub struct Forbear;

/// Every process of a simulated deployment sees the same time.
struct SimulatedClock(Cluster);

impl Clock for SimulatedClock {
    fn wall_ms(&self) -> i64 {
        self.0.now_ms()
    }
    fn monotonic_ms(&self) -> i64 {
        self.0.now_ms()
    }
}

impl Engine for Forbear {
    type Disk = MemoryStores;
    type Copy = MemorySnapshot;

    fn disk(&self) -> MemoryStores {
        MemoryStores::new(due_of)
    }

    fn start(
        &self,
        connection: Connection,
        cluster: &Cluster,
        disk: &MemoryStores,
        policy: &Known,
    ) -> Box<dyn Running> {
        Box::new(Starting {
            connection,
            cluster: cluster.clone(),
            disk: disk.clone(),
            policy: compiled(policy),
            up: None,
        })
    }

    fn copy(&self, disk: &MemoryStores, partition: i32) -> Option<MemorySnapshot> {
        disk.snapshot(partition)
    }

    fn put_back(&self, disk: &MemoryStores, partition: i32, copy: MemorySnapshot) {
        disk.put_back(partition, copy);
    }

    fn wipe(&self, disk: &MemoryStores, partition: i32) {
        disk.wipe(partition);
    }
}

fn compiled(policy: &Known) -> Arc<Policy> {
    match Policy::load(policy.text.as_bytes(), "policy.yaml", None) {
        Ok((compiled, _)) => {
            assert_eq!(&*compiled.label, policy.label, "the label of the policy");
            Arc::new(compiled)
        }
        Err(diagnostics) => panic!("the policy does not load: {}", diagnostics.to_text(false)),
    }
}

type ForbearWorker = Worker<Connection, FaultyStores<MemoryStores>, SimulatedClock>;

/// A worker that is made with its first turn: the making of it may fail like any other call.
struct Starting {
    connection: Connection,
    cluster: Cluster,
    disk: MemoryStores,
    policy: Arc<Policy>,
    up: Option<ForbearWorker>,
}

impl Starting {
    fn settings(&self) -> WorkerSettings {
        let mut drawn = 0_u8;
        let now_ms = self.cluster.now_ms();
        let number = self.connection.worker;
        WorkerSettings {
            index: 0,
            inputs: self.connection.inputs.clone(),
            topics: TopicNames {
                approved_prefix: "approved.".into(),
                suppressed_prefix: "suppressed.".into(),
                decisions: Some("forbear.decisions".into()),
                dead_letter: "forbear.dead-letter".into(),
                reroute: "forbear.reroute".into(),
                state: STATE_TOPIC.into(),
                policies: "forbear.policies".into(),
            },
            cluster_id: "simulated".into(),
            max_intent_bytes: 983_040,
            batch_records: 20,
            engagement_records: 50,
            // Simulated time stands still inside a turn: real time must not decide anything.
            commit_interval: Duration::from_secs(3600),
            idle_wait: Duration::ZERO,
            barrier_wait: Duration::ZERO,
            trusted_for_ms: 12 * 3_600_000,
            fresh_lineage: Box::new(move || {
                drawn = drawn.wrapping_add(1);
                let mut lineage = [drawn; 16];
                lineage[..8].copy_from_slice(&now_ms.to_be_bytes());
                lineage[8..15].copy_from_slice(&number.to_be_bytes()[1..]);
                lineage
            }),
        }
    }

    fn worker(&mut self) -> Result<&mut ForbearWorker, worker::WorkerExit> {
        if self.up.is_none() {
            let metrics = Metrics::new();
            let channels = self.policy.channels.iter().map(|channel| &*channel.name);
            let bounds = Arc::new(Bounds::new([], channels));
            let stores = FaultyStores::new(self.disk.clone(), self.connection.clone());
            let worker = Worker::new(
                self.settings(),
                self.connection.clone(),
                stores,
                SimulatedClock(self.cluster.clone()),
                Arc::new(arc_swap::ArcSwap::new(self.policy.clone())),
                metrics.worker(bounds),
                Status::new(metrics),
            )?;
            self.up = Some(worker);
        }
        self.up
            .as_mut()
            .ok_or_else(|| worker::WorkerExit::Fatal("no worker".into()))
    }
}

impl Running for Starting {
    fn turn(&mut self) -> Turned {
        match self.worker().and_then(|worker| worker.turn()) {
            Ok(worker::Turned::Worked) => Turned::Busy,
            Ok(worker::Turned::Idle) => Turned::Idle,
            Err(exit) => Turned::Exit(exit.to_string()),
        }
    }
}
