//! Forbear, a bare loop on librdkafka and Kafka Streams over one backlog, on a real broker, in one run: CPU seconds, wall
//! time, memory. Figures, never a check of speed; what is checked is that each program's output is complete and holds
//! every intent exactly once. `make bench`, or `cargo bench --bench throughput -- --help`.

mod backlog;
#[path = "../peers/bare.rs"]
mod bare;
mod contestant;
#[path = "../../tests/harness/mod.rs"]
mod harness;
mod outputs;
mod table;

use backlog::Backlog;
use clap::Parser;
use contestant::{Contest, Program};
use harness::{Broker, BrokerOptions};
use std::time::Instant;

/// The same allocator as Forbear's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares Forbear with a bare loop on librdkafka and with Kafka Streams, over one backlog on a real broker.
#[derive(Debug, Parser)]
#[command(after_help = "Example: cargo bench --bench throughput -- --intents 500000 --repeat 1")]
struct Options {
    /// Intents in the backlog; there is one engagement event for each four.
    #[arg(long, default_value_t = 2_000_000)]
    intents: u64,
    /// Customers that they are for.
    #[arg(long, default_value_t = 1_000_000)]
    customers: u64,
    /// Partitions of every topic.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// How often each program runs.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// The programs: forbear, bare, streams.
    #[arg(long, value_delimiter = ',', default_value = "forbear,bare,streams")]
    programs: Vec<Program>,
    /// Between two commits, in milliseconds.
    #[arg(long, default_value_t = 100)]
    commit_interval_ms: u64,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "--as-the-bare-loop") {
        let told = bare::Arguments::from_texts(&arguments[2..]).expect("the arguments of the bare loop");
        bare::run(&told, backlog::INTENTS_TOPIC, backlog::ENGAGEMENT_TOPIC);
    }
    let options = Options::parse();
    if let Err(why) = Broker::available() {
        eprintln!("error: {why}");
        std::process::exit(1);
    }
    let broker = Broker::start(BrokerOptions {
        heap_mib: 2_048,
        long_running: true,
        ..BrokerOptions::default()
    });
    let backlog = Backlog {
        intents: options.intents,
        customers: options.customers,
        partitions: options.partitions,
    };
    let started = Instant::now();
    eprintln!("writing {} intents and {} events", backlog.intents, backlog.events());
    backlog.load(&broker.client());
    eprintln!("written in {:.0} s", started.elapsed().as_secs_f64());
    let mut contest = Contest::new(&broker, backlog, options.commit_interval_ms);
    let mut figures = Vec::new();
    for round in 0..options.repeat {
        for program in &options.programs {
            let figure = contest.run(*program, round);
            eprintln!("{}", table::line(&figure));
            figures.push(figure);
        }
    }
    println!("{}", table::render(&figures, &backlog));
}
