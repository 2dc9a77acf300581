//! Rounds of real processes on a real Kafka under a seeded schedule of faults; each round ends at rest and is audited, by the
//! tests' own auditor and by `forbear audit`.
//!
//! `cargo test --test chaos` plays a few fixed rounds. More of them: `FORBEAR_CHAOS_ROUNDS=200 FORBEAR_CHAOS_SEED=1 cargo test
//! --test chaos -- --nocapture`. Round n of a run has the seed n above the first one; a single round is started again by its
//! seed and `FORBEAR_CHAOS_ROUNDS=1`. A round is only as good as its faults: each says what shows that it hit, and a round
//! with one that did not is played once more, with longer waits, and fails if it misses again.

#[path = "cluster/audit_command.rs"]
mod audit_command;
#[path = "auditor/mod.rs"]
mod auditor;
#[path = "chaos/cluster.rs"]
mod cluster;
#[path = "chaos/files.rs"]
mod files;
#[path = "chaos/fleet.rs"]
mod fleet;
#[path = "chaos/frames.rs"]
mod frames;
mod harness;
#[path = "cluster/load.rs"]
mod load;
#[path = "cluster/member.rs"]
mod member;
#[path = "chaos/plan.rs"]
mod plan;
#[path = "cluster/policies.rs"]
mod policies;
#[path = "chaos/relay.rs"]
mod relay;
#[path = "chaos/report.rs"]
mod report;
#[path = "chaos/round.rs"]
mod round;
#[path = "cluster/scene.rs"]
mod scene;
#[path = "cluster/small_disk.rs"]
mod small_disk;
#[path = "chaos/strike.rs"]
mod strike;

use cluster::Clusters;
use plan::Plan;
use round::{Outcome, Verdict};
use std::fs::{self, File};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// The rounds of every test run: both transaction protocols, lost ends of transactions, a kill, an instance that is frozen.
const SHORT_RUN: &[u64] = &[156, 259, 204];

/// A broker that forgot the markers of a transaction shows nothing: such a round is played so often at most.
const ATTEMPTS: usize = 3;

#[test]
fn rounds_of_faults_on_real_processes_break_no_promise() {
    require_broker!();
    let asked = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
    };
    let seeds: Vec<u64> = match (asked("FORBEAR_CHAOS_ROUNDS"), asked("FORBEAR_CHAOS_SEED")) {
        (None, None) => SHORT_RUN.to_vec(),
        (rounds, first) => {
            let first = first.unwrap_or_else(from_the_clock);
            (0..rounds.unwrap_or(1))
                .map(|number| first.wrapping_add(number))
                .collect()
        }
    };
    let mut clusters = Clusters::default();
    let mut outcomes = Vec::new();
    for (number, seed) in seeds.iter().enumerate() {
        outcomes.push(play(&mut clusters, number, *seed));
    }
    say(&report::table(&outcomes));
    assert!(
        report::is_good(&outcomes),
        "not every round was as it should be (see above)"
    );
}

/// Plays a round, again where it shows nothing.
fn play(clusters: &mut Clusters, number: usize, seed: u64) -> Outcome {
    let plan = Plan::of(seed);
    let mut patience = 1;
    let mut attempt = 1;
    loop {
        let cluster = clusters.get(plan.kind);
        let outcome = round::play(&plan, cluster, patience);
        if cluster.broker.forgot_markers() || matches!(outcome.verdict, Verdict::Broken(_)) {
            clusters.give_up(plan.kind);
        }
        say(&report::line(number, &outcome));
        let again = match outcome.verdict {
            Verdict::Missed if patience == 1 => true,
            Verdict::KafkaForgot(_) => attempt < ATTEMPTS,
            _ => false,
        };
        if !again {
            return outcome;
        }
        attempt += 1;
        patience = 3;
    }
}

/// To the output of the test, and to a file that stays: a long run may be cut off.
fn say(text: &str) {
    println!("{text}");
    let directory = round::kept_directory();
    fs::create_dir_all(&directory).expect("a folder for the reports");
    let path = directory.join("report.txt");
    let file = File::options().create(true).append(true).open(path);
    writeln!(file.expect("the report"), "{text}").expect("the report is written");
}

fn from_the_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed.
    now.as_secs() % 1_000_000 * 1_000
}
