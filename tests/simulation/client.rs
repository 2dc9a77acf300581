//! The client side of the simulated cluster: what the engine's loop talks to. The same traits that the Kafka client
//! implements, so the loop is the same code.
//!
//! A crash unwinds the calling worker out of the middle of the call, and whatever still holds its connection afterwards gets
//! errors only: nothing that a dead process might do later has any effect.

use super::broker::Broker;
use super::client_producer::SimulatedProducer;
use super::client_source::{SimulatedChangelog, SimulatedSource};
use super::faults::Chances;
use forbear::commit::log::{CommitError, Log};
use forbear::intake::source::{Inputs, SourceError, TopicIndex};
use rand::Rng;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a worker's stack unwinds with when its process dies.
pub struct SimulatedCrash;

/// Runs other workers while one (named by its incarnation) is inside a call.
pub type Interleave = Rc<dyn Fn(u64)>;

thread_local! {
    static INTERLEAVE: RefCell<Option<Interleave>> = const { RefCell::new(None) };
}

/// Sets what runs between the steps of calls on this thread; none: nothing.
pub fn interleave_with(hook: Option<Interleave>) {
    INTERLEAVE.with(|slot| *slot.borrow_mut() = hook);
}

/// The cluster and who is alive.
pub struct Shared {
    pub broker: Broker,
    pub chances: Chances,
    /// Workers that live, with the member that each is in the group.
    pub alive: BTreeMap<u64, Option<u64>>,
    /// The newest incarnation of each instance.
    instances: BTreeMap<String, u64>,
    pub dead: BTreeSet<u64>,
    /// Counts what went wrong, for the report of a failing seed.
    pub mishaps: BTreeMap<&'static str, u64>,
    /// What retention took before it was committed past: topic, partition, offset.
    pub lost: BTreeSet<(String, i32, i64)>,
    /// Reading a key that holds these bytes panics, so many times: a fault in the code that looks at it.
    pub panics: Option<(Vec<u8>, u32)>,
    /// Verdicts that were in the log before the text of their policy.
    pub untold_policies: BTreeSet<String>,
}

/// A handle on the cluster.
#[derive(Clone)]
pub struct Cluster(Arc<Mutex<Shared>>);

impl Cluster {
    pub fn new(broker: Broker, chances: Chances) -> Self {
        let shared = Shared {
            broker,
            chances,
            alive: BTreeMap::new(),
            instances: BTreeMap::new(),
            dead: BTreeSet::new(),
            mishaps: BTreeMap::new(),
            lost: BTreeSet::new(),
            untold_policies: BTreeSet::new(),
            panics: None,
        };
        Self(Arc::new(Mutex::new(shared)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now_ms(&self) -> i64 {
        self.lock().broker.now_ms
    }

    /// Lets time pass. Background threads of the living keep their seats, except of those that stand still.
    pub fn advance(&self, by_ms: i64, frozen: &BTreeSet<u64>) {
        let mut shared = self.lock();
        shared.advance(by_ms, frozen);
    }

    /// Kills a worker from outside.
    pub fn kill(&self, worker: u64) {
        self.lock().bury(worker, "kill");
    }

    /// Kills the newest incarnation of an instance.
    pub fn kill_instance(&self, instance: &str) {
        let mut shared = self.lock();
        if let Some(worker) = shared.instances.get(instance).copied() {
            shared.bury(worker, "kill");
        }
    }

    pub fn is_dead(&self, worker: u64) -> bool {
        self.lock().dead.contains(&worker)
    }
}

impl Shared {
    fn advance(&mut self, by_ms: i64, frozen: &BTreeSet<u64>) {
        let mut left_ms = by_ms;
        while left_ms > 0 {
            let step_ms = left_ms.min(1000);
            left_ms -= step_ms;
            self.broker.now_ms += step_ms;
            // Minutes and more are jumps: nobody could tell the steps apart.
            if left_ms > 120_000 {
                self.broker.now_ms += left_ms - 120_000;
                left_ms = 120_000;
            }
            let now_ms = self.broker.now_ms;
            for member in self
                .alive
                .iter()
                .filter(|(worker, _)| !frozen.contains(worker))
                .filter_map(|(_, id)| *id)
            {
                self.broker.group.heartbeat(member, now_ms);
            }
            let haste = self.chances.haste;
            self.broker.tick(haste);
        }
    }

    pub fn bury(&mut self, worker: u64, how: &'static str) {
        self.alive.remove(&worker);
        if self.dead.insert(worker) {
            *self.mishaps.entry(how).or_default() += 1;
        }
    }

    /// True with that chance, counted.
    pub fn strikes(&mut self, chance: f64, what: &'static str) -> bool {
        let strikes = chance > 0.0 && self.broker.random.random_bool(chance);
        if strikes {
            *self.mishaps.entry(what).or_default() += 1;
        }
        strikes
    }
}

/// One worker's connection. Every incarnation of a worker has its own number.
#[derive(Clone)]
pub struct Connection {
    pub cluster: Cluster,
    pub inputs: Inputs,
    pub state_topic: String,
    pub instance: String,
    pub worker: u64,
}

/// The call came from a process that is dead.
pub struct Gone;

pub const GONE: &str = "the process is dead";

impl Connection {
    pub fn new(cluster: Cluster, inputs: Inputs, state_topic: &str, instance: &str, worker: u64) -> Self {
        let mut shared = cluster.lock();
        shared.alive.insert(worker, None);
        shared.instances.insert(instance.to_owned(), worker);
        drop(shared);
        Self {
            cluster,
            inputs,
            state_topic: state_topic.to_owned(),
            instance: instance.to_owned(),
            worker,
        }
    }

    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// One step of one call: things arrive, things go wrong, others run.
    pub fn step(&self, crash: fn(&Chances) -> f64) -> Result<(), Gone> {
        let mut shared = self.cluster.lock();
        if shared.dead.contains(&self.worker) {
            return Err(Gone);
        }
        let chances = shared.chances;
        shared.broker.tick(chances.haste);
        if shared.strikes(crash(&chances), "crash") {
            shared.bury(self.worker, "death");
            drop(shared);
            std::panic::resume_unwind(Box::new(SimulatedCrash));
        }
        if shared.strikes(chances.stall, "stall") {
            let length_ms = shared.broker.random.random_range(1..30_000);
            shared.advance(length_ms, &BTreeSet::from([self.worker]));
        }
        let now_ms = shared.broker.now_ms;
        if let Some(member) = shared.alive.get(&self.worker).copied().flatten()
            && shared.strikes(chances.evict, "evict")
        {
            shared.broker.group.evict(member, now_ms);
        }
        if shared.strikes(chances.round, "round") {
            shared.broker.group.start_round(now_ms);
        }
        let others = shared.strikes(chances.interleave, "interleave");
        drop(shared);
        if others && let Some(hook) = INTERLEAVE.with(|slot| slot.borrow().clone()) {
            hook(self.worker);
        }
        match self.cluster.is_dead(self.worker) {
            true => Err(Gone),
            false => Ok(()),
        }
    }

    /// Time passes while a call waits for something.
    pub fn wait(&self, wait: Duration) {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        self.cluster.lock().advance(wait_ms, &BTreeSet::new());
    }

    /// A step of a call that only reads or asks.
    pub fn ask(&self) -> Result<(), SourceError> {
        self.step(|chances| chances.crash)
            .map_err(|Gone| SourceError::Fatal(GONE.into()))?;
        let mut shared = self.cluster.lock();
        let transient = shared.chances.transient;
        match shared.strikes(transient, "transient") {
            true => Err(SourceError::Transient("the broker is busy".into())),
            false => Ok(()),
        }
    }

    /// A step of a call to the disk of the same process.
    pub fn disk_step(&self, crash: fn(&Chances) -> f64) -> Result<(), String> {
        self.step(crash).map_err(|Gone| GONE.to_owned())?;
        let mut shared = self.cluster.lock();
        let disk = shared.chances.disk;
        match shared.strikes(disk, "disk") {
            true => Err("no space left on the device".into()),
            false => Ok(()),
        }
    }

    /// Whether reading this key is to panic this time.
    pub fn panics_on(&self, key: &[u8]) -> bool {
        let mut shared = self.cluster.lock();
        let Some((bytes, left)) = &mut shared.panics else {
            return false;
        };
        let hit = *left > 0 && key.windows(bytes.len()).any(|part| part == bytes);
        *left -= u32::from(hit);
        hit
    }

    pub fn topic(&self, index: TopicIndex) -> &str {
        self.inputs.topics.get(usize::from(index)).map_or("", |(name, _)| name)
    }
}

impl Log for Connection {
    type Source = SimulatedSource;
    type Producer = SimulatedProducer;
    type Changelog = SimulatedChangelog;

    fn source(&mut self) -> Result<SimulatedSource, SourceError> {
        self.ask()?;
        Ok(SimulatedSource::new(self.clone()))
    }

    fn producer(&mut self) -> Result<SimulatedProducer, CommitError> {
        self.step(|chances| chances.crash_in_commit)
            .map_err(|Gone| CommitError::Uncertain(GONE.into()))?;
        let mut shared = self.cluster.lock();
        let transient = shared.chances.transient;
        if shared.strikes(transient, "transient") {
            return Err(CommitError::Uncertain("the coordinator is loading".into()));
        }
        let identity = shared.broker.initialise_producer(&self.instance);
        drop(shared);
        Ok(SimulatedProducer::new(self.clone(), identity))
    }

    fn changelog(&mut self) -> Result<SimulatedChangelog, SourceError> {
        self.ask()?;
        Ok(SimulatedChangelog::new(self.clone()))
    }
}
