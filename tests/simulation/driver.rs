//! Drives one seed: draws a cluster, a fleet, a workload and a plan of mishaps, lets them run, brings everything to rest,
//! and hands the topics to the auditor.

use super::broker::{Broker, ProducerIdentity};
use super::client::{Cluster, Connection, SimulatedCrash, interleave_with};
use super::faults::Chances;
use super::group::Group;
use super::policies::{self, Known};
use super::workload::{Append, Mix, Workload};
use crate::auditor::{AuditInput, TopicNames, TopicRecord, audit};
use forbear::intake::source::{InputKind, Inputs};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

pub const STATE_TOPIC: &str = "forbear.state";
const REBALANCE_MS: i64 = 45_000;
const HOUR_MS: i64 = 3_600_000;
const TOMBSTONE_MS: i64 = 24 * HOUR_MS;
/// Turns that a calm cluster may take to come to rest.
const PATIENCE: usize = 3000;

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
}

/// What is driven: the engine, or a stand-in that tests the simulation itself.
pub trait Engine: 'static {
    /// What survives the death of a process.
    type Disk;
    /// A copy of one partition's store.
    type Copy;
    fn disk(&self) -> Self::Disk;
    fn start(&self, connection: Connection, cluster: &Cluster, disk: &Self::Disk, policy: &Known) -> Box<dyn Running>;
    fn copy(&self, disk: &Self::Disk, partition: i32) -> Option<Self::Copy>;
    fn put_back(&self, disk: &Self::Disk, partition: i32, copy: Self::Copy);
    fn wipe(&self, disk: &Self::Disk, partition: i32);
}

/// What a seed showed.
#[derive(Debug, Default)]
pub struct Report {
    /// By verdict or error, how many records.
    pub outcomes: BTreeMap<String, u64>,
    pub mishaps: BTreeMap<&'static str, u64>,
}

enum State {
    Up {
        worker: u64,
        running: Box<dyn Running>,
        frozen_until_ms: Option<i64>,
    },
    Down {
        until_ms: i64,
    },
    /// Scaled away.
    Gone,
}

struct Seat {
    process: usize,
    instance: String,
    state: RefCell<State>,
}

struct Fleet<E: Engine> {
    engine: E,
    cluster: Cluster,
    inputs: Inputs,
    policy: Known,
    disks: Vec<E::Disk>,
    seats: Vec<Seat>,
    random: RefCell<ChaCha8Rng>,
    next_worker: Cell<u64>,
    depth: Cell<u32>,
}

/// Everything that a seed decides at the start.
struct Plan {
    partitions: i32,
    processes: usize,
    workers: usize,
    steps: usize,
    appends: usize,
    longest_step_ms: i64,
    leaps: f64,
    chances: Chances,
    mix: Mix,
    external: f64,
    kill: f64,
    freeze: f64,
    wipe: f64,
    stale: f64,
    scale: f64,
    clean: f64,
    retention: f64,
    two_inputs: bool,
    session_ms: i64,
    transaction_timeout_ms: i64,
}

impl Plan {
    fn draw(random: &mut ChaCha8Rng) -> Self {
        let mut sometimes = |highest: f64| {
            if random.random_bool(0.5) {
                highest * random.random::<f64>()
            } else {
                0.0
            }
        };
        let (external, kill, freeze) = (sometimes(0.2), sometimes(0.1), sometimes(0.1));
        let (wipe, stale, scale, clean) = (sometimes(0.3), sometimes(0.3), sometimes(0.03), sometimes(0.3));
        let mix = Mix {
            customers: 0,
            stray: sometimes(0.3),
            rubbish: sometimes(0.2),
            repeat: sometimes(0.2),
            refusal: sometimes(0.3),
            erasure: sometimes(0.05),
        };
        let (leaps, retention) = (sometimes(0.2), sometimes(0.2));
        Self {
            partitions: random.random_range(1..=5),
            processes: random.random_range(1..=3),
            workers: random.random_range(1..=2),
            steps: random.random_range(20..=120),
            appends: random.random_range(1..=6),
            longest_step_ms: *[20, 500, 5_000].choose(random).unwrap_or(&500),
            leaps,
            chances: Chances::draw(random),
            mix: Mix {
                customers: random.random_range(1..=25),
                ..mix
            },
            external,
            kill,
            freeze,
            wipe,
            stale,
            scale,
            clean,
            retention,
            two_inputs: random.random_bool(0.3),
            session_ms: *[2_000, 15_000].choose(random).unwrap_or(&15_000),
            transaction_timeout_ms: *[10_000, 60_000].choose(random).unwrap_or(&10_000),
        }
    }
}

/// Runs one seed to the end. An error is one sentence for each thing that is wrong.
pub fn run<E: Engine>(engine: E, seed: u64) -> Result<Report, Vec<String>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let plan = Plan::draw(&mut random);
    let mut known = policies::all();
    let policy = known.swap_remove(random.random_range(0..known.len()));
    let names = topic_names(&plan);
    let cluster = new_cluster(&plan, &names, &policy, &mut random);
    let fleet = Rc::new(Fleet::new(engine, &plan, &names, cluster.clone(), policy, &mut random));
    let hook = Rc::downgrade(&fleet);
    interleave_with(Some(Rc::new(move |_| {
        if let Some(fleet) = hook.upgrade() {
            fleet.turn_somebody();
        }
    })));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        live(&fleet, &plan, &names, &mut random);
        settle(&fleet, &names)
    }));
    interleave_with(None);
    let settled = outcome.unwrap_or_else(|panic| Err(vec![panic_text(&*panic)]));
    let mut wrong = settled.err().unwrap_or_default();
    let input = evidence(&fleet, &names, wrong.is_empty());
    let report = report(&fleet, &input);
    wrong.extend(audit(&input).iter().map(ToString::to_string));
    if wrong.is_empty() { Ok(report) } else { Err(wrong) }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    format!("panicked: {}", text.unwrap_or_else(|| "without a text".into()))
}

fn topic_names(plan: &Plan) -> TopicNames {
    let mut names = TopicNames::default();
    if plan.two_inputs {
        names.intents.push("more.intents".into());
        names.engagement.push("more.engagement".into());
    }
    names
}

fn new_cluster(plan: &Plan, names: &TopicNames, policy: &Known, random: &mut ChaCha8Rng) -> Cluster {
    // Some day of two years, at any hour: days on which clocks change are among them.
    let now_ms = 1_767_225_600_000 + random.random_range(0..2 * 365 * 24) * HOUR_MS + random.random_range(0..HOUR_MS);
    let group = Group::new(plan.partitions, plan.session_ms, REBALANCE_MS);
    let mut broker = Broker::new(ChaCha8Rng::from_rng(random), group, now_ms, plan.transaction_timeout_ms);
    for name in names.intents.iter().chain(&names.engagement).chain([&names.reroute]) {
        broker.create_topic(name, plan.partitions, false, 1_000_000);
    }
    broker.create_topic(STATE_TOPIC, plan.partitions, true, 2_000_000);
    broker.create_topic(&names.policies, 1, true, 2_000_000);
    broker.create_topic(&names.decisions, plan.partitions, false, 2_000_000);
    broker.create_topic(&names.dead_letter, 1, false, 2_000_000);
    for channel in &policy.facts.channels {
        broker.create_topic(
            &format!("{}{}", names.approved_prefix, channel.name),
            plan.partitions,
            false,
            2_000_000,
        );
        broker.create_topic(
            &format!("{}{}", names.suppressed_prefix, channel.name),
            plan.partitions,
            false,
            2_000_000,
        );
    }
    Cluster::new(broker, plan.chances)
}

impl<E: Engine> Fleet<E> {
    fn new(
        engine: E,
        plan: &Plan,
        names: &TopicNames,
        cluster: Cluster,
        policy: Known,
        random: &mut ChaCha8Rng,
    ) -> Self {
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
            disks: (0..plan.processes).map(|_| engine.disk()).collect(),
            seats: seats.collect(),
            engine,
            cluster,
            inputs: Inputs {
                topics,
                partition_count: plan.partitions,
            },
            policy,
            random: RefCell::new(ChaCha8Rng::from_rng(random)),
            next_worker: Cell::new(1),
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
            let running = self
                .engine
                .start(to, &self.cluster, &self.disks[seat.process], &self.policy);
            *state = State::Up {
                worker,
                running,
                frozen_until_ms: None,
            };
        }
        let State::Up {
            worker,
            running,
            frozen_until_ms,
        } = &mut *state
        else {
            return Turned::Idle;
        };
        let worker = *worker;
        if frozen_until_ms.is_some_and(|until_ms| until_ms > now_ms) && !self.cluster.is_dead(worker) {
            return Turned::Idle;
        }
        *frozen_until_ms = None;
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
    fn kill_process(&self, process: usize) {
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
    fn turn_somebody(&self) {
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

    fn frozen(&self) -> BTreeSet<u64> {
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

    fn turn_all(&self) -> bool {
        let mut order: Vec<usize> = (0..self.seats.len()).collect();
        order.shuffle(&mut *self.random.borrow_mut());
        let mut busy = false;
        for index in order {
            busy |= self.turn(index) != Turned::Idle;
        }
        busy
    }
}

/// The part in which things go wrong.
fn live<E: Engine>(fleet: &Rc<Fleet<E>>, plan: &Plan, names: &TopicNames, random: &mut ChaCha8Rng) {
    let mut workload = Workload::new(ChaCha8Rng::from_rng(random), plan.mix, plan.partitions);
    let mut external: Option<(ProducerIdentity, bool)> = None;
    let mut copies: Vec<(usize, i32, E::Copy)> = Vec::new();
    for _ in 0..plan.steps {
        for _ in 0..random.random_range(0..=plan.appends) {
            let intents = random.random_bool(0.6);
            let append = workload.next(fleet.cluster.now_ms(), intents);
            write(fleet, names, append, external.map(|(identity, _)| identity), random);
        }
        if random.random_bool(plan.external) {
            external = toggle_external(fleet, external, random);
        }
        misfortune(fleet, plan, &mut copies, random);
        for _ in 0..random.random_range(1..=3) {
            fleet.turn_all();
        }
        let step_ms = match random.random_bool(plan.leaps) {
            true => random.random_range(0..6 * HOUR_MS),
            false => random.random_range(1..=plan.longest_step_ms),
        };
        fleet.cluster.advance(step_ms, &fleet.frozen());
    }
    if let Some((identity, commit)) = external {
        let _ = fleet.cluster.lock().broker.end_transaction(identity, commit);
    }
}

/// A division's own transaction over the intents topics: open, then committed or aborted.
fn toggle_external<E: Engine>(
    fleet: &Fleet<E>,
    external: Option<(ProducerIdentity, bool)>,
    random: &mut ChaCha8Rng,
) -> Option<(ProducerIdentity, bool)> {
    let mut shared = fleet.cluster.lock();
    match external {
        Some((identity, commit)) => {
            let _ = shared.broker.end_transaction(identity, commit);
            None
        }
        None => Some((shared.broker.initialise_producer("a-division"), random.random_bool(0.7))),
    }
}

fn write<E: Engine>(
    fleet: &Fleet<E>,
    names: &TopicNames,
    append: Append,
    external: Option<ProducerIdentity>,
    random: &mut ChaCha8Rng,
) {
    let topics = if append.intents {
        &names.intents
    } else {
        &names.engagement
    };
    let Some(topic) = topics.choose(random) else { return };
    let mut shared = fleet.cluster.lock();
    let now_ms = shared.broker.now_ms;
    if let Some(identity) = external.filter(|_| append.intents) {
        // A transaction that the server has ended meanwhile takes no more records: the division loses them.
        let _ = shared.broker.produce(identity, topic, append.partition, append.data);
        return;
    }
    let mut data = append.data;
    data.timestamp_ms = now_ms;
    if let Some(partition) = shared.broker.partition(topic, append.partition) {
        partition.append(None, data);
    }
}

/// What happens to processes and disks from outside.
fn misfortune<E: Engine>(
    fleet: &Fleet<E>,
    plan: &Plan,
    copies: &mut Vec<(usize, i32, E::Copy)>,
    random: &mut ChaCha8Rng,
) {
    let process = random.random_range(0..plan.processes);
    let partition = random.random_range(0..plan.partitions);
    let now_ms = fleet.cluster.now_ms();
    if random.random_bool(plan.kill) {
        fleet.kill_process(process);
    }
    if random.random_bool(plan.freeze) {
        let until = now_ms + random.random_range(1_000..60_000);
        let seat = &fleet.seats[random.random_range(0..fleet.seats.len())];
        if let State::Up { frozen_until_ms, .. } = &mut *seat.state.borrow_mut() {
            *frozen_until_ms = Some(until);
        }
    }
    let seats = || fleet.seats.iter().filter(|seat| seat.process == process);
    let is_down = seats().all(|seat| !matches!(*seat.state.borrow(), State::Up { .. }));
    if random.random_bool(plan.stale) {
        copies.extend(
            fleet
                .engine
                .copy(&fleet.disks[process], partition)
                .map(|copy| (process, partition, copy)),
        );
    }
    if is_down && random.random_bool(plan.wipe) {
        fleet.engine.wipe(&fleet.disks[process], partition);
    }
    if is_down
        && random.random_bool(plan.stale)
        && let Some(at) = copies.iter().position(|(owner, ..)| *owner == process)
    {
        let (_, partition, copy) = copies.swap_remove(at);
        fleet.engine.put_back(&fleet.disks[process], partition, copy);
    }
    if random.random_bool(plan.scale) && process > 0 {
        let gone = seats().all(|seat| matches!(*seat.state.borrow(), State::Gone));
        fleet.kill_process(process);
        for seat in seats() {
            *seat.state.borrow_mut() = if gone {
                State::Down { until_ms: now_ms }
            } else {
                State::Gone
            };
        }
    }
    if random.random_bool(plan.clean) {
        fleet.cluster.lock().broker.compact_somewhere(TOMBSTONE_MS);
    }
    if random.random_bool(plan.retention) {
        let topics = &fleet.inputs.topics;
        let (topic, _) = &topics[random.random_range(0..topics.len())];
        fleet.cluster.lock().broker.retain_committed(topic, partition);
    }
}

/// Nothing goes wrong any more: everything must come to rest, and all that waits must come to its end.
fn settle<E: Engine>(fleet: &Rc<Fleet<E>>, names: &TopicNames) -> Result<(), Vec<String>> {
    let live_chances = std::mem::replace(&mut fleet.cluster.lock().chances, Chances::CALM);
    for seat in &fleet.seats {
        match &mut *seat.state.borrow_mut() {
            State::Down { until_ms } => *until_ms = 0,
            State::Up { frozen_until_ms, .. } => *frozen_until_ms = None,
            State::Gone => {}
        }
    }
    come_to_rest(fleet, names, 1_000)?;
    let hours = policies::LONGEST_DEFERRAL_MS / HOUR_MS + 30;
    for _ in 0..hours {
        fleet.cluster.advance(HOUR_MS, &BTreeSet::new());
        come_to_rest(fleet, names, 50)?;
    }
    fleet.cluster.lock().chances = Chances {
        haste: 1.0,
        ..live_chances
    };
    Ok(())
}

fn come_to_rest<E: Engine>(fleet: &Rc<Fleet<E>>, names: &TopicNames, step_ms: i64) -> Result<(), Vec<String>> {
    let mut quiet = 0;
    for _ in 0..PATIENCE {
        let busy = fleet.turn_all();
        fleet.cluster.advance(step_ms, &BTreeSet::new());
        let rests = !busy && fleet.cluster.lock().broker.group.is_settled() && lag(fleet, names).is_empty();
        quiet = if rests { quiet + 1 } else { 0 };
        if quiet >= 3 {
            return Ok(());
        }
    }
    let settled = fleet.cluster.lock().broker.group.is_settled();
    let lag = lag(fleet, names);
    Err(vec![format!(
        "liveness: the fleet does not come to rest (group settled: {settled}, behind: {lag:?})"
    )])
}

/// Partitions with records that nobody has committed past.
fn lag<E: Engine>(fleet: &Fleet<E>, names: &TopicNames) -> Vec<String> {
    let mut shared = fleet.cluster.lock();
    let mut behind = Vec::new();
    for topic in names.intents.iter().chain(&names.engagement).chain([&names.reroute]) {
        for number in 0..fleet.inputs.partition_count {
            let committed = shared.broker.committed_offset(topic, number).unwrap_or(0);
            let Some(log) = shared.broker.partition(topic, number) else {
                continue;
            };
            if !log.read_committed(committed, 1).0.is_empty() {
                behind.push(format!("{topic}/{number}"));
            }
        }
    }
    behind
}

fn evidence<E: Engine>(fleet: &Fleet<E>, names: &TopicNames, settled: bool) -> AuditInput {
    let shared = fleet.cluster.lock();
    let mut topics = BTreeMap::new();
    for (name, topic) in shared.broker.topics.iter().filter(|(name, _)| *name != STATE_TOPIC) {
        let mut records: Vec<TopicRecord> = Vec::new();
        for (partition, log) in topic.partitions.iter().enumerate() {
            records.extend(log.history().map(|(offset, data)| TopicRecord {
                partition: partition as i32,
                offset,
                timestamp_ms: data.timestamp_ms,
                key: data.key.clone(),
                value: data.value.clone(),
                headers: data.headers.clone(),
            }));
        }
        topics.insert(name.clone(), records);
    }
    AuditInput {
        names: names.clone(),
        partition_count: fleet.inputs.partition_count,
        topics,
        policies: BTreeMap::from([(fleet.policy.label.clone(), fleet.policy.facts.clone())]),
        engagement_has_append_times: true,
        clock_tolerance_ms: 0,
        settled_at_ms: settled.then_some(shared.broker.now_ms - HOUR_MS),
    }
}

fn report<E: Engine>(fleet: &Fleet<E>, input: &AuditInput) -> Report {
    let mut report = Report {
        mishaps: fleet.cluster.lock().mishaps.clone(),
        ..Report::default()
    };
    for (name, records) in &input.topics {
        *report.outcomes.entry(name.clone()).or_default() += records.len() as u64;
    }
    for record in input.topics.get(&input.names.decisions).into_iter().flatten() {
        let value: Option<serde_json::Value> = record
            .value
            .as_deref()
            .and_then(|value| serde_json::from_slice(value).ok());
        let reason = value
            .as_ref()
            .and_then(|value| value.get("reason"))
            .and_then(serde_json::Value::as_str);
        *report
            .outcomes
            .entry(format!("reason {}", reason.unwrap_or("none")))
            .or_default() += 1;
    }
    report
}
