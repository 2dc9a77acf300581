//! The whole task loop over an in-memory log with real transaction semantics, driven by a seed.

#[path = "auditor/mod.rs"]
mod auditor;
#[path = "auditor/tests.rs"]
mod auditor_tests;
#[path = "simulation/bench.rs"]
mod bench;
#[path = "simulation/bench_tests.rs"]
mod bench_tests;
#[path = "simulation/broker.rs"]
mod broker;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/client_producer.rs"]
mod client_producer;
#[path = "simulation/client_source.rs"]
mod client_source;
#[path = "simulation/command.rs"]
mod command;
#[path = "simulation/driver.rs"]
mod driver;
#[path = "simulation/engine.rs"]
mod engine;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/fleet.rs"]
mod fleet;
#[path = "simulation/group.rs"]
mod group;
#[path = "simulation/log_tests.rs"]
mod log_tests;
#[path = "simulation/minimise.rs"]
mod minimise;
#[path = "simulation/partition.rs"]
mod partition;
#[path = "simulation/plain.rs"]
mod plain;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/policies.rs"]
mod policies;
#[path = "simulation/stores.rs"]
mod stores;
#[path = "simulation/workload.rs"]
mod workload;

use driver::Report;
use fleet::Engine;
use minimise::Reduction;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A run of more seeds than this tells how far it has come.
const PROGRESS_EVERY: u64 = 5_000;

/// Runs seeds on all cores until one fails. What it answers: everything that was seen, and what is wrong with the first
/// seed that failed.
fn run_seeds<E: Engine>(engine: impl Fn() -> E + Sync, first: u64, count: u64) -> (Report, Option<(u64, Vec<String>)>) {
    let reduction = Reduction::from_environment();
    let next = AtomicU64::new(first);
    let sum: Mutex<(Report, BTreeMap<u64, Vec<String>>)> = Mutex::default();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || !sum.lock().map_or(true, |sum| sum.1.is_empty()) {
                return;
            }
            if count > PROGRESS_EVERY && seed.is_multiple_of(PROGRESS_EVERY) {
                println!("seed {seed} of {first} to {}", first + count - 1);
            }
            let outcome = driver::run(engine(), seed, &reduction);
            let Ok(mut sum) = sum.lock() else { return };
            match outcome {
                Ok(report) => {
                    report
                        .outcomes
                        .into_iter()
                        .for_each(|(name, n)| *sum.0.outcomes.entry(name).or_default() += n);
                    report
                        .mishaps
                        .into_iter()
                        .for_each(|(name, n)| *sum.0.mishaps.entry(name).or_default() += n);
                }
                Err(wrong) => drop(sum.1.insert(seed, wrong)),
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let (report, failures) = sum.into_inner().unwrap_or_default();
    (report, failures.into_iter().next())
}

/// First seed and number of seeds: `FORBEAR_SIM_SEED` runs one again, `FORBEAR_SIM_SEEDS` asks for more than usual.
fn seeds(usual: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("FORBEAR_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("FORBEAR_SIM_SEEDS").unwrap_or(usual)),
    }
}

/// One line that runs the seed again, and what is wrong. With `FORBEAR_SIM_MINIMISE=1` first one more line, that runs as little of
/// the seed as was found to fail.
fn demand_clean<E: Engine>(engine: impl Fn() -> E, failure: Option<(u64, Vec<String>)>) {
    if let Some((seed, wrong)) = failure {
        if std::env::var_os("FORBEAR_SIM_MINIMISE").is_some() {
            println!("{}", smallest(engine, seed));
        }
        panic!(
            "FORBEAR_SIM_SEED={seed} cargo test --test simulation -- --nocapture: {}",
            wrong.join("; ")
        );
    }
}

/// One line that runs as little of a seed as was found to fail, and what is wrong there.
fn smallest<E: Engine>(engine: impl Fn() -> E, seed: u64) -> String {
    let steps = driver::plan_of(seed).steps;
    let least = minimise::minimise(steps, |reduction| driver::run(engine(), seed, reduction).is_err());
    let wrong = driver::run(engine(), seed, &least).err().unwrap_or_default();
    format!(
        "{least}FORBEAR_SIM_SEED={seed} cargo test --test simulation -- --nocapture: {}",
        wrong.join("; ")
    )
}

#[test]
fn a_worker_that_keeps_the_protocol_loses_and_repeats_nothing() {
    let (first, count) = seeds(500);
    let (report, failure) = run_seeds(|| plain::Plain(plain::Flaw::None), first, count);
    demand_clean(|| plain::Plain(plain::Flaw::None), failure);
    for mishap in [
        "crash",
        "stall",
        "lost answer",
        "evict",
        "round",
        "interleave",
        "uncertain",
        "transient",
    ] {
        assert!(
            count < 100 || report.mishaps.contains_key(mishap),
            "no seed had a {mishap}: {report:?}"
        );
    }
}

#[test]
fn a_worker_that_breaks_the_protocol_is_found() {
    use plain::Flaw::*;
    for flaw in [
        TrustsUncertainCommits,
        RestoresTooLittle,
        IgnoresTheBarrier,
        CommitsNoOffsets,
        KeepsRevokedPartitions,
    ] {
        let (_, failure) = run_seeds(|| plain::Plain(flaw), 0, 3000);
        let (seed, wrong) = failure.unwrap_or_else(|| panic!("{flaw:?} was not found"));
        println!("{flaw:?}: seed {seed}: {}", wrong[0]);
    }
}

#[test]
fn a_seed_that_fails_is_made_small_and_still_fails() {
    let flawed = || plain::Plain(plain::Flaw::CommitsNoOffsets);
    let (_, failure) = run_seeds(flawed, 0, 3000);
    let (seed, _) = failure.expect("a seed that fails");
    let line = smallest(flawed, seed);
    println!("{line}");
    let said = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
    let steps: usize = said("FORBEAR_SIM_STEPS=")
        .and_then(|text| text.parse().ok())
        .expect("steps");
    assert!(steps < driver::plan_of(seed).steps, "{line}");
    let without = said("FORBEAR_SIM_WITHOUT=").map_or(0, |names| names.split(',').count());
    assert!(without > 20, "{line}");
    assert!(line.split(": ").nth(1).is_some_and(|wrong| !wrong.is_empty()), "{line}");
}

#[test]
fn the_engine_keeps_every_promise_under_every_seed() {
    let (first, count) = seeds(2000);
    if count == 1 {
        // One seed is run to find out what happens in it: the engine's own log (`RUST_LOG`) goes with it.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
    }
    let (report, failure) = run_seeds(|| engine::Forbear, first, count);
    println!("seeds {first} to {}: {report:#?}", first + count - 1);
    demand_clean(|| engine::Forbear, failure);
}
