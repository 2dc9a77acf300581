//! Drives one seed: draws a cluster, a fleet, a workload and a plan of mishaps, lets them run, brings everything to rest,
//! and hands the topics to the auditor.

use super::broker::{Broker, ProducerIdentity};
use super::client::{Cluster, interleave_with};
use super::command;
use super::faults::Chances;
use super::fleet::{Engine, Fleet, ProcessClock, STATE_TOPIC, State};
use super::group::Group;
use super::minimise::Reduction;
use super::plan::Plan;
use super::policies::{self, Known};
use super::workload::{Append, Workload};
use crate::auditor::{AuditInput, TopicNames, TopicRecord, audit};
use forbear::audit::report::Promise;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

const REBALANCE_MS: i64 = 45_000;
const HOUR_MS: i64 = 3_600_000;
/// Less than passes at the end of a seed, more than twice the time after which the engine commits its positions again.
const OFFSETS_KEPT_MS: i64 = 48 * HOUR_MS;
const TOMBSTONE_MS: i64 = 24 * HOUR_MS;
/// `forbear audit` looks at every so-manieth seed too.
const COMMAND_AUDITS_EVERY: u64 = 4;
/// Turns that a calm cluster may take to come to rest.
const PATIENCE: usize = 3000;

/// What a seed showed.
#[derive(Debug, Default)]
pub struct Report {
    /// By verdict or error, how many records.
    pub outcomes: BTreeMap<String, u64>,
    pub mishaps: BTreeMap<&'static str, u64>,
}

/// What a seed decides at the start.
pub fn plan_of(seed: u64) -> Plan {
    Plan::draw(&mut ChaCha8Rng::seed_from_u64(seed))
}

/// Runs one seed to the end, without what the reduction takes away. An error is one sentence for each thing that is wrong.
pub fn run<E: Engine>(engine: E, seed: u64, reduction: &Reduction) -> Result<Report, Vec<String>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut plan = Plan::draw(&mut random);
    reduction.reduce(&mut plan);
    if E::ONLY_THE_PROTOCOL {
        plan.keep_to_the_protocol();
    }
    let known = policies::all();
    let names = topic_names(&plan);
    let cluster = new_cluster(&plan, &names, &known[0], &mut random);
    let fleet = Rc::new(Fleet::new(engine, &plan, &names, cluster.clone(), known, &mut random));
    let hook = Rc::downgrade(&fleet);
    interleave_with(Some(Rc::new(move |_| {
        if let Some(fleet) = hook.upgrade() {
            fleet.turn_somebody();
        }
    })));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        live(&fleet, &plan, &names, &mut random);
        settle(&fleet, &names, &mut random)
    }));
    interleave_with(None);
    let settled = outcome.unwrap_or_else(|panic| Err(vec![panic_text(&*panic)]));
    let mut wrong = settled.err().unwrap_or_default();
    let input = evidence(&fleet, &names, wrong.is_empty());
    let mut report = report(&fleet, &input);
    wrong.extend(audit(&input).iter().map(ToString::to_string));
    // It takes longer than the seed itself.
    if !E::ONLY_THE_PROTOCOL && seed.is_multiple_of(COMMAND_AUDITS_EVERY) {
        audit_by_command(&fleet, &names, &mut report, &mut wrong);
    }
    let untold = std::mem::take(&mut cluster.lock().untold_policies);
    wrong.extend(
        untold
            .iter()
            .filter(|_| !E::ONLY_THE_PROTOCOL)
            .map(|label| format!("P5: {label} judged before its text was in the log")),
    );
    if let (false, Ok(path)) = (wrong.is_empty(), std::env::var("FORBEAR_SIM_DUMP")) {
        dump(&input, &path);
    }
    if wrong.is_empty() { Ok(report) } else { Err(wrong) }
}

/// The command finds nothing either; how much it checked is counted.
fn audit_by_command<E: Engine>(fleet: &Fleet<E>, names: &TopicNames, report: &mut Report, wrong: &mut Vec<String>) {
    match command::audit_by_command(fleet, names) {
        Ok(found) => {
            for one in &found.violations {
                // Under the faults of a simulation a few verdicts in a thousand are not derived again yet: counted, not refused.
                if one.promise == Promise::P5 {
                    *report.outcomes.entry("audit P5 not derived".to_owned()).or_default() += 1;
                } else {
                    wrong.push(format!("audit: {}: {}: {}", one.promise.as_str(), one.at, one.what));
                }
            }
            for (prefix, counts) in [("checked", found.checked), ("not checked", found.not_checked)] {
                for count in counts {
                    let name = format!("audit {prefix} {} {}", count.promise.as_str(), count.what);
                    *report.outcomes.entry(name).or_default() += count.count;
                }
            }
        }
        Err(problem) => wrong.push(format!("audit: {problem}")),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    format!("panicked: {}", text.unwrap_or_else(|| "without a text".into()))
}

/// Every topic as text, to find out what happened in a seed.
fn dump(input: &AuditInput, path: &str) {
    let mut text = String::new();
    let show = |bytes: &Option<Vec<u8>>| {
        bytes
            .as_deref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    for (name, records) in &input.topics {
        for record in records {
            let headers: Vec<String> = record
                .headers
                .iter()
                .map(|(name, value)| format!("{name}={}", show(value).unwrap_or_default()))
                .collect();
            text.push_str(&format!(
                "{name}/{}/{} at {} {:?} {} {}\n",
                record.partition,
                record.offset,
                record.timestamp_ms,
                show(&record.key),
                headers.join(" "),
                show(&record.value).unwrap_or_default()
            ));
        }
    }
    let _ = std::fs::write(path, text);
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
    for (name, topic) in &mut broker.topics {
        if name.starts_with(&names.approved_prefix) || name.starts_with(&names.suppressed_prefix) {
            topic.refuses = Some("\"poison\":true");
        }
    }
    Cluster::new(broker, plan.chances)
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
        misfortune(fleet, plan, names, &mut copies, random);
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
    if shared.broker.leaderless.contains(&(topic.clone(), append.partition)) {
        return;
    }
    if let Some(identity) = external.filter(|_| append.intents || !E::ONLY_THE_PROTOCOL) {
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
    names: &TopicNames,
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
    if random.random_bool(plan.replace_policy) {
        fleet.policy_of[process].set(random.random_range(0..fleet.policies.len()));
    }
    if random.random_bool(plan.set_clock) {
        match random.random_bool(0.5) {
            true => fleet.clocks[process].set_right(),
            false => {
                let by_ms = random.random_range(10_000..100_000);
                fleet.clocks[process].set(if random.random_bool(0.5) { by_ms } else { -by_ms });
            }
        }
    }
    if random.random_bool(plan.loss)
        && let Some(topic) = names.intents.choose(random)
    {
        let mut shared = fleet.cluster.lock();
        let lost = shared.broker.lose(topic, partition);
        *shared.mishaps.entry("lost intent").or_default() += lost.len() as u64;
        shared
            .lost
            .extend(lost.into_iter().map(|offset| (topic.clone(), partition, offset)));
    }
    if random.random_bool(plan.leaderless)
        && let Some(topic) = names.engagement.choose(random)
    {
        let mut shared = fleet.cluster.lock();
        let place = (topic.clone(), partition);
        if !shared.broker.leaderless.remove(&place) {
            shared.broker.leaderless.insert(place);
            *shared.mishaps.entry("leaderless").or_default() += 1;
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
fn settle<E: Engine>(fleet: &Rc<Fleet<E>>, names: &TopicNames, random: &mut ChaCha8Rng) -> Result<(), Vec<String>> {
    fleet.clocks.iter().for_each(ProcessClock::set_right);
    let policy = random.random_range(0..fleet.policies.len());
    fleet.policy_of.iter().for_each(|of| of.set(policy));
    let live_chances = {
        let mut shared = fleet.cluster.lock();
        shared.broker.leaderless.clear();
        std::mem::replace(&mut shared.chances, Chances::CALM)
    };
    for seat in &fleet.seats {
        match &mut *seat.state.borrow_mut() {
            State::Down { until_ms } => *until_ms = 0,
            State::Up { frozen_until_ms, .. } => *frozen_until_ms = None,
            State::Gone => {}
        }
    }
    come_to_rest(fleet, names, 1_000)?;
    // From here on the server forgets offsets of topics that nobody subscribes to, while nothing happens in most partitions.
    let subscribed = fleet.inputs.topics[0].0.to_string();
    if !E::ONLY_THE_PROTOCOL {
        fleet.cluster.lock().broker.offset_retention = Some((OFFSETS_KEPT_MS, subscribed));
    }
    let hours = policies::LONGEST_DEFERRAL_MS / HOUR_MS + 30;
    for _ in 0..hours {
        fleet.cluster.advance(HOUR_MS, &BTreeSet::new());
        come_to_rest(fleet, names, 50)?;
    }
    // Whoever starts now has to find what it needs.
    (0..fleet.disks.len()).for_each(|process| fleet.kill_process(process));
    fleet.cluster.advance(60_000, &BTreeSet::new());
    come_to_rest(fleet, names, 1_000)?;
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
            let complaints = fleet.complaints();
            return if complaints.is_empty() { Ok(()) } else { Err(complaints) };
        }
    }
    let settled = fleet.cluster.lock().broker.group.is_settled();
    let lag = lag(fleet, names);
    Err(vec![format!(
        "liveness: the fleet does not come to rest (group settled: {settled}, behind: {lag:?}, {:?})",
        fleet.describe()
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
        policies: fleet
            .policies
            .iter()
            .map(|known| (known.label.clone(), known.facts.clone()))
            .collect(),
        engagement_has_append_times: true,
        clock_tolerance_ms: fleet.clock_skew_ms,
        lost: shared.lost.clone(),
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
