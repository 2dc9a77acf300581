//! The engine itself under the simulation: its loop, its step, its stores in memory.

use super::client::{Cluster, Connection};
use super::fleet::{Engine, ProcessClock, Running, STATE_TOPIC, Surroundings, Turned};
use super::policies::Known;
use super::stores::FaultyStores;
use forbear::customer::keys::{Key, due_of, parse_key};
use forbear::policy::model::Policy;
use forbear::serve::metrics::{Bounds, Metrics};
use forbear::serve::status::Status;
use forbear::store::memory::{MemorySnapshot, MemoryStores};
use forbear::task::clock::Clock;
use forbear::task::partition::Stage;
use forbear::task::worker::{self, PolicyHandle, Worker, WorkerSettings};
use forbear::verdict::TopicNames;
use std::sync::Arc;
use std::time::Duration;

/// Starts real workers.
#[derive(Clone, Copy)]
pub struct Forbear;

/// Every process has its own idea of the time of day.
struct SimulatedClock(Cluster, ProcessClock);

impl Clock for SimulatedClock {
    fn wall_ms(&self) -> i64 {
        self.0.now_ms().saturating_add(self.1.off_ms.get())
    }
    fn monotonic_ms(&self) -> i64 {
        self.0.now_ms()
    }
}

impl Engine for Forbear {
    const ONLY_THE_PROTOCOL: bool = false;
    type Disk = MemoryStores;
    type Copy = MemorySnapshot;

    fn disk(&self) -> MemoryStores {
        MemoryStores::new(due_of)
    }

    fn start(&self, around: Surroundings, disk: &MemoryStores, policy: &Known) -> Box<dyn Running> {
        Box::new(Starting::new(around, disk, compiled(policy)))
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
pub struct Starting {
    around: Surroundings,
    disk: MemoryStores,
    policy: PolicyHandle,
    pub metrics: Arc<Metrics>,
    pub status: Arc<Status>,
    /// Other than the usual settings.
    pub adjust: fn(&mut WorkerSettings),
    up: Option<ForbearWorker>,
}

impl Starting {
    pub fn new(around: Surroundings, disk: &MemoryStores, policy: Arc<Policy>) -> Self {
        let metrics = Metrics::new();
        Self {
            around,
            disk: disk.clone(),
            policy: Arc::new(arc_swap::ArcSwap::new(policy)),
            status: Status::new(metrics.clone()),
            metrics,
            adjust: |_| (),
            up: None,
        }
    }

    /// Another policy from the next turn on.
    pub fn replace_policy(&self, policy: Arc<Policy>) {
        self.policy.store(policy);
    }

    fn settings(&self) -> WorkerSettings {
        let mut drawn = 0_u8;
        let now_ms = self.around.cluster.now_ms();
        let number = self.around.connection.worker;
        WorkerSettings {
            index: 0,
            inputs: self.around.connection.inputs.clone(),
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
            barrier_wait: Duration::from_millis(self.around.barrier_wait_ms),
            renew_offsets_after_ms: 12 * 3_600_000,
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
            // Whoever starts a process sees to its clock first: it is trusted as it stands.
            self.around.clock.set_right();
            let mut settings = self.settings();
            (self.adjust)(&mut settings);
            let stores = FaultyStores::new(self.disk.clone(), self.around.connection.clone());
            let worker = Worker::new(
                settings,
                self.around.connection.clone(),
                stores,
                SimulatedClock(self.around.cluster.clone(), self.around.clock.clone()),
                self.policy.clone(),
                self.metrics.worker(Arc::new(Bounds::default())),
                self.status.clone(),
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

    fn join_anew(&mut self) -> Turned {
        match self.worker().and_then(|worker| worker.join_anew()) {
            Ok(()) => Turned::Busy,
            Err(exit) => Turned::Exit(exit.to_string()),
        }
    }

    fn adopt(&mut self, policy: &Known) {
        self.policy.store(compiled(policy));
    }

    fn describe(&self) -> String {
        let tasks = self.up.iter().flat_map(ForbearWorker::tasks);
        let tasks: Vec<String> = tasks
            .map(|task| {
                format!(
                    "{} {:?} {:?} seq {} deferred {} retiming {} buffered {}+{}",
                    task.partition,
                    task.stage,
                    task.obstacle,
                    task.seq,
                    task.deferred,
                    task.retiming.is_some(),
                    task.engagement.len(),
                    task.intents.len(),
                )
            })
            .collect();
        tasks.join(", ")
    }

    fn complaints(&self) -> Vec<String> {
        let tasks = self.up.iter().flat_map(ForbearWorker::tasks);
        let blocked = tasks.filter_map(|task| match &task.stage {
            Stage::Blocked { reason, .. } => Some(format!("partition {} is blocked: {reason}", task.partition)),
            _ => None,
        });
        let running = self
            .up
            .iter()
            .flat_map(ForbearWorker::tasks)
            .filter(|task| task.is_running());
        let policy = self.policy.load().sha256;
        running
            .flat_map(|task| {
                let snapshot = self.disk.snapshot(task.partition).unwrap_or_default();
                let timed = task.timed_by == Some(policy);
                let untimed = (!timed).then(|| "was not timed under the policy of now".to_owned());
                let complaints = unwoken(&snapshot)
                    .into_iter()
                    .chain(miscounted(&snapshot, task.deferred));
                let complaints = complaints.chain(untimed).collect::<Vec<_>>();
                complaints
                    .into_iter()
                    .map(|what| format!("partition {} {what}", task.partition))
            })
            .chain(blocked)
            .collect()
    }
}

/// Every customer who has to be looked at has a due hint that comes in time: one without would sleep for ever.
fn unwoken(snapshot: &MemorySnapshot) -> Option<String> {
    let sleeps = |(key, value): &(&Vec<u8>, &Vec<u8>)| {
        due_of(key, value).is_some_and(|(due_ms, id)| {
            let mut hints = snapshot.due.iter();
            !hints.any(|(hint_ms, of)| of == id && *hint_ms <= due_ms)
        })
    };
    let count = snapshot.values.iter().filter(sleeps).count();
    (count > 0).then(|| format!("has {count} customers that nothing wakes"))
}

/// The number of waiting intents is what the store holds.
fn miscounted(snapshot: &MemorySnapshot, deferred: u64) -> Option<String> {
    let bodies = snapshot.values.keys().filter_map(|key| parse_key(key));
    let bodies = bodies.filter(|key| matches!(key, Key::WaitingBody { .. })).count() as u64;
    (bodies != deferred).then(|| format!("counts {deferred} waiting intents and holds {bodies}"))
}
