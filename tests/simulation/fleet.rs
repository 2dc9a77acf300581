//! The processes of a simulated deployment: workers that start, run, stand still, die and start again.

use super::client::{Cluster, Connection, SimulatedCrash};
use super::plan::Plan;
use super::policies::Known;
use crate::auditor::TopicNames;
use forbear::intake::source::{InputKind, Inputs};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

pub const STATE_TOPIC: &str = "forbear.state";

/// Longer than any hand-over takes.
const FORGOTTEN_AFTER_MS: i64 = 20_000;

/// What one pass of a worker's loop did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turned {
    Busy,
    Idle,
    /// The worker wants its process to end (and to be started again).
    Exit(String),
}

/// A worker that runs.
pub trait Running {
    fn turn(&mut self) -> Turned;
    /// Leaves the group and joins it again.
    fn join_anew(&mut self) -> Turned;
    /// Another policy holds from the next turn on.
    fn adopt(&mut self, policy: &Known);
    /// Where its partitions stand, for whoever looks into a seed.
    fn describe(&self) -> String;
    /// What is wrong with its state while nothing moves.
    fn complaints(&self) -> Vec<String>;
}

/// What a process is started with.
pub struct Surroundings {
    pub connection: Connection,
    pub cluster: Cluster,
    /// How far the process's wall clock is off.
    pub clock: ProcessClock,
    /// How long a batch waits for engagement.
    pub barrier_wait_ms: u64,
}

/// What is driven: the engine, or a stand-in that tests the simulation itself.
pub trait Engine: 'static {
    /// It keeps the commit protocol and nothing else: no clock, no change of policy, no record that is refused.
    const ONLY_THE_PROTOCOL: bool;
    /// What survives the death of a process.
    type Disk;
    /// A copy of one partition's store.
    type Copy;
    fn disk(&self) -> Self::Disk;
    fn start(&self, around: Surroundings, disk: &Self::Disk, policy: &Known) -> Box<dyn Running>;
    fn copy(&self, disk: &Self::Disk, partition: i32) -> Option<Self::Copy>;
    fn put_back(&self, disk: &Self::Disk, partition: i32, copy: Self::Copy);
    fn wipe(&self, disk: &Self::Disk, partition: i32);
}

pub enum State {
    Up {
        worker: u64,
        running: Box<dyn Running>,
        frozen_until_ms: Option<i64>,
        /// Index of the policy that it runs under.
        policy: usize,
    },
    Down {
        until_ms: i64,
    },
    /// Scaled away.
    Gone,
}

pub struct Seat {
    pub process: usize,
    pub instance: String,
    pub state: RefCell<State>,
}

/// A wall clock: a little off for ever, and sometimes set to something else.
#[derive(Clone)]
pub struct ProcessClock {
    pub off_ms: Rc<Cell<i64>>,
    usual_ms: i64,
}

impl ProcessClock {
    /// The cluster's own time.
    pub fn right() -> Self {
        Self {
            off_ms: Rc::new(Cell::new(0)),
            usual_ms: 0,
        }
    }

    pub fn set(&self, by_ms: i64) {
        self.off_ms.set(self.usual_ms + by_ms);
    }

    pub fn set_right(&self) {
        self.off_ms.set(self.usual_ms);
    }
}

pub struct Fleet<E: Engine> {
    pub engine: E,
    pub cluster: Cluster,
    pub inputs: Inputs,
    pub policies: Vec<Known>,
    /// By process: index of the policy that its file holds, and its clock.
    pub policy_of: Vec<Cell<usize>>,
    pub clocks: Vec<ProcessClock>,
    barrier_wait_ms: u64,
    pub clock_skew_ms: i64,
    pub disks: Vec<E::Disk>,
    pub seats: Vec<Seat>,
    random: RefCell<ChaCha8Rng>,
    next_worker: Cell<u64>,
    /// Since when the group has left a partition to nobody.
    forgotten_since_ms: Cell<Option<i64>>,
    depth: Cell<u32>,
}

impl<E: Engine> Fleet<E> {
    pub fn new(
        engine: E,
        plan: &Plan,
        names: &TopicNames,
        cluster: Cluster,
        policies: Vec<Known>,
        random: &mut ChaCha8Rng,
    ) -> Self {
        let first_policy = random.random_range(0..policies.len());
        let mut clock = || {
            let usual_ms = random.random_range(-plan.clock_skew_ms..=plan.clock_skew_ms);
            ProcessClock {
                off_ms: Rc::new(Cell::new(usual_ms)),
                usual_ms,
            }
        };
        let kinds = names.intents.iter().map(|name| (name, InputKind::Intents));
        let kinds = kinds.chain(names.engagement.iter().map(|name| (name, InputKind::Engagement)));
        let kinds = kinds.chain([(&names.reroute, InputKind::Reroute)]);
        let topics = kinds.map(|(name, kind)| (name.as_str().into(), kind)).collect();
        let now_ms = cluster.now_ms();
        let seats = (0..plan.processes).flat_map(|process| {
            (0..plan.workers).map(move |worker| Seat {
                process,
                instance: format!("process-{process}/{worker}"),
                state: RefCell::new(State::Down { until_ms: now_ms }),
            })
        });
        Self {
            policy_of: (0..plan.processes).map(|_| Cell::new(first_policy)).collect(),
            clocks: (0..plan.processes).map(|_| clock()).collect(),
            barrier_wait_ms: plan.barrier_wait_ms,
            clock_skew_ms: plan.clock_skew_ms,
            disks: (0..plan.processes).map(|_| engine.disk()).collect(),
            seats: seats.collect(),
            engine,
            cluster,
            inputs: Inputs {
                topics,
                partition_count: plan.partitions,
            },
            policies,
            random: RefCell::new(ChaCha8Rng::from_rng(random)),
            next_worker: Cell::new(1),
            forgotten_since_ms: Cell::new(None),
            depth: Cell::new(0),
        }
    }

    /// Starts what is due to start and lets the worker of that seat have one turn.
    fn turn(&self, index: usize) -> Turned {
        let seat = &self.seats[index];
        let Ok(mut state) = seat.state.try_borrow_mut() else {
            return Turned::Busy;
        };
        let now_ms = self.cluster.now_ms();
        if matches!(*state, State::Down { until_ms } if until_ms <= now_ms) {
            let worker = self.next_worker.replace(self.next_worker.get() + 1);
            let to = Connection::new(
                self.cluster.clone(),
                self.inputs.clone(),
                STATE_TOPIC,
                &seat.instance,
                worker,
            );
            let around = Surroundings {
                connection: to,
                cluster: self.cluster.clone(),
                clock: self.clocks[seat.process].clone(),
                barrier_wait_ms: self.barrier_wait_ms,
            };
            let policy = self.policy_of[seat.process].get();
            let running = self
                .engine
                .start(around, &self.disks[seat.process], &self.policies[policy]);
            *state = State::Up {
                worker,
                running,
                frozen_until_ms: None,
                policy,
            };
        }
        let State::Up {
            worker,
            running,
            frozen_until_ms,
            policy,
        } = &mut *state
        else {
            return Turned::Idle;
        };
        let worker = *worker;
        if frozen_until_ms.is_some_and(|until_ms| until_ms > now_ms) && !self.cluster.is_dead(worker) {
            return Turned::Idle;
        }
        *frozen_until_ms = None;
        let newest = self.policy_of[seat.process].get();
        if std::mem::replace(policy, newest) != newest {
            running.adopt(&self.policies[newest]);
        }
        let turned = catch_unwind(AssertUnwindSafe(|| running.turn()));
        let exits = match &turned {
            Ok(Turned::Exit(_)) => true,
            Ok(_) => self.cluster.is_dead(worker),
            Err(panic) => panic.is::<SimulatedCrash>(),
        };
        if exits {
            let pause_ms = self.random.borrow_mut().random_range(0..20_000);
            *state = State::Down {
                until_ms: now_ms.saturating_add(pause_ms),
            };
            drop(state);
            self.cluster.kill(worker);
            self.kill_process(seat.process);
        }
        match turned {
            Err(panic) if !exits => resume_unwind(panic),
            Err(_) => Turned::Busy,
            Ok(_) if exits => Turned::Busy,
            Ok(turned) => turned,
        }
    }

    /// A process dies with all its workers. One that is inside a call finds out when the call goes on.
    pub fn kill_process(&self, process: usize) {
        // Whoever starts it again sees to its clock.
        self.clocks[process].set_right();
        let until_ms = self
            .cluster
            .now_ms()
            .saturating_add(self.random.borrow_mut().random_range(0..20_000));
        for seat in self.seats.iter().filter(|seat| seat.process == process) {
            match seat.state.try_borrow_mut() {
                Ok(mut state) => {
                    if let State::Up { worker, .. } = &*state {
                        self.cluster.kill(*worker);
                        *state = State::Down { until_ms };
                    }
                }
                Err(_) => self.kill_inside(seat),
            }
        }
    }

    /// The worker of a borrowed seat: it is the one that is inside a call further up this stack.
    fn kill_inside(&self, seat: &Seat) {
        self.cluster.kill_instance(&seat.instance);
    }

    /// Called from inside another worker's call.
    pub fn turn_somebody(&self) {
        if self.depth.get() >= 2 {
            return;
        }
        self.depth.set(self.depth.get() + 1);
        let turns = self.random.borrow_mut().random_range(1..=4);
        for _ in 0..turns {
            let index = self.random.borrow_mut().random_range(0..self.seats.len());
            drop(self.turn(index));
        }
        self.depth.set(self.depth.get() - 1);
    }

    pub fn frozen(&self) -> BTreeSet<u64> {
        let frozen = |seat: &Seat| match &*seat.state.borrow() {
            State::Up {
                worker,
                frozen_until_ms: Some(_),
                ..
            } => Some(*worker),
            _ => None,
        };
        self.seats.iter().filter_map(frozen).collect()
    }

    pub fn describe(&self) -> Vec<String> {
        let says = |seat: &Seat| match &*seat.state.borrow() {
            State::Up { running, .. } => format!("{}: {}", seat.instance, running.describe()),
            State::Down { .. } => format!("{}: down", seat.instance),
            State::Gone => format!("{}: gone", seat.instance),
        };
        self.seats.iter().map(says).collect()
    }

    /// What the workers say of themselves while nothing moves.
    pub fn complaints(&self) -> Vec<String> {
        let says = |seat: &Seat| match &*seat.state.borrow() {
            State::Up { running, .. } => running.complaints(),
            _ => Vec::new(),
        };
        self.seats.iter().flat_map(says).collect()
    }

    pub fn turn_all(&self) -> bool {
        let mut order: Vec<usize> = (0..self.seats.len()).collect();
        order.shuffle(&mut *self.random.borrow_mut());
        let mut busy = false;
        for index in order {
            busy |= self.turn(index) != Turned::Idle;
        }
        self.mend_the_group();
        busy
    }

    /// What the processes' membership probes come to: where a partition has been nobody's for long, somebody joins anew.
    fn mend_the_group(&self) {
        let now_ms = self.cluster.now_ms();
        if !self.cluster.lock().broker.group.forgets_a_partition() {
            self.forgotten_since_ms.set(None);
            return;
        }
        let since_ms = self.forgotten_since_ms.get().unwrap_or(now_ms);
        self.forgotten_since_ms.set(Some(since_ms));
        if now_ms.saturating_sub(since_ms) < FORGOTTEN_AFTER_MS {
            return;
        }
        let able = |seat: &&Seat| {
            let up = |state: &State| {
                matches!(
                    state,
                    State::Up {
                        frozen_until_ms: None,
                        ..
                    }
                )
            };
            seat.state.try_borrow().is_ok_and(|state| up(&state))
        };
        let Some(seat) = self.seats.iter().find(able) else {
            return;
        };
        *self.cluster.lock().mishaps.entry("forgotten partition").or_default() += 1;
        self.forgotten_since_ms.set(None);
        if let State::Up { running, .. } = &mut *seat.state.borrow_mut() {
            // An exit shows with the next turn.
            drop(catch_unwind(AssertUnwindSafe(|| running.join_anew())));
        }
    }
}
