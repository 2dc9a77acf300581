//! The instances of a round, kept as an operator's supervisor keeps them, and the waits for them.

use crate::harness::{Broker, Launch};
use crate::member::Member;
use crate::scene::{Scene, all_run};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How long the partitions may take to run again after a fault. The longest that is known to be in order is a transaction of
/// an instance that stays away (10 s) behind a group that has to notice (6 s), with commits that wait 20 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long it is waited where Kafka has given up on the end of a transaction: it does not come back by itself.
const PATIENCE_IN_VAIN: Duration = Duration::from_secs(20);

/// What contract.md gives a clean end, and a little for a busy machine.
const END_WITHIN: Duration = Duration::from_secs(11);

/// Why a round failed.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// A promise is broken.
    Violation(String),
    /// Partitions do not come to run, or records are not processed.
    Stuck(String),
    /// Anything else that should not be: an end with another code, a panic of the test.
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(what) => write!(formatter, "VIOLATION {what}"),
            Self::Stuck(what) => write!(formatter, "STUCK {what}"),
            Self::Failed(what) => write!(formatter, "FAILED {what}"),
        }
    }
}

/// What each process had committed at a moment: transactions by process id.
pub struct Baseline(BTreeMap<u32, f64>);

pub struct Fleet<'a> {
    pub members: Vec<Member>,
    /// An instance that starts without a cluster ends with 1 after 15 s; a supervisor starts it again.
    pub cluster_was_away: bool,
    /// How often that was.
    pub gave_up: usize,
    broker: &'a Broker,
}

impl<'a> Fleet<'a> {
    pub fn start(broker: &'a Broker, launches: impl IntoIterator<Item = Launch>) -> Self {
        Self {
            members: launches.into_iter().map(|launch| Member::start(&launch)).collect(),
            cluster_was_away: false,
            gave_up: 0,
            broker,
        }
    }

    pub fn all(&mut self) -> Vec<&mut Member> {
        self.members.iter_mut().collect()
    }

    /// The index that is meant by a number of the plan.
    pub fn index(&self, number: usize) -> usize {
        number % self.members.len()
    }

    /// Starts again who asked for it.
    pub fn tend(&mut self) -> Result<(), Trouble> {
        for member in &mut self.members {
            if member.process.is_running() {
                continue;
            }
            match member.process.wait_exit(Duration::ZERO) {
                75 => member.restarts += 1,
                1 if self.cluster_was_away => self.gave_up += 1,
                code => return Err(Trouble::Failed(format!("an instance ended with code {code}"))),
            }
            member.start_again();
        }
        Ok(())
    }

    pub fn baseline(&self) -> Baseline {
        let committed = |member: &Member| (member.process.id(), committed(member));
        Baseline(self.members.iter().map(committed).collect())
    }

    /// Waits until all partitions run, every instance says that it is ready, and whoever has partitions has committed
    /// something since: partitions may look well while their worker waits in a commit.
    pub fn wait_until_recovered(&mut self, since: &Baseline) -> Result<(), Trouble> {
        self.wait("not every partition came to run and to commit", |fleet| {
            let ready = |member: &Member| member.process.get("/readyz").is_ok_and(|answer| answer.status == 200);
            let goes_on = |member: &Member| {
                let before = since.0.get(&member.process.id()).copied().unwrap_or(0.0);
                member.partitions().is_empty() || committed(member) > before
            };
            all_run(&fleet.all()) && fleet.members.iter().all(|member| ready(member) && goes_on(member))
        })
    }

    /// Waits until all partitions run and every instance says that it is ready.
    pub fn wait_until_running(&mut self) -> Result<(), Trouble> {
        self.wait_until_recovered(&Baseline(BTreeMap::new()))
    }

    /// Waits until all inputs are processed and nothing is deferred, in two looks.
    pub fn wait_until_at_rest(&mut self, scene: &Scene) -> Result<(), Trouble> {
        let mut quiet_looks = 0;
        self.wait("the records were not all processed", |fleet| {
            let deferred = |member: &Member| member.metric("forbear_deferred", &[]);
            let waiting: f64 = fleet.members.iter().map(deferred).sum();
            let quiet = all_run(&fleet.all()) && waiting == 0.0 && scene.lag() == 0;
            quiet_looks = if quiet { quiet_looks + 1 } else { 0 };
            quiet_looks == 2
        })
        .map_err(|trouble| match trouble {
            Trouble::Stuck(what) => Trouble::Stuck(format!("{what}; lag {}", scene.lag())),
            other => other,
        })
    }

    fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> Result<(), Trouble> {
        let start = Instant::now();
        loop {
            self.tend()?;
            if holds(self) {
                return Ok(());
            }
            let waited = start.elapsed();
            if waited > PATIENCE || waited > PATIENCE_IN_VAIN && self.broker.forgot_markers() {
                let answers: Vec<String> = self.members.iter().map(readiness).collect();
                let seconds = waited.as_secs();
                return Err(Trouble::Stuck(format!("{what} in {seconds} s: {}", answers.join(" "))));
            }
            // Looks become rarer: a look into the logs of the brokers takes a while.
            std::thread::sleep(Duration::from_millis(50) + waited / 50);
        }
    }

    /// kill -9. Answers whether that is what ended the process.
    pub fn kill(&mut self, index: usize) -> bool {
        let process = &mut self.members[index].process;
        process.kill9();
        process.wait_exit(Duration::ZERO) == -libc::SIGKILL
    }

    /// SIGTERM, and a clean end in time. Answers false where the process had asked for a restart just then.
    pub fn end(&mut self, index: usize) -> Result<bool, Trouble> {
        let process = &mut self.members[index].process;
        // Before it listens for signals, it would just die of one.
        let start = Instant::now();
        while process.is_running() && process.get("/healthz").is_err() && start.elapsed() < END_WITHIN {
            std::thread::sleep(Duration::from_millis(20));
        }
        process.sigterm();
        let asked = Instant::now();
        let code = process.wait_exit(Duration::from_secs(30));
        let took = asked.elapsed();
        match code {
            75 => Ok(false),
            1 if self.cluster_was_away => Ok(false),
            0 if took < END_WITHIN => Ok(true),
            _ => Err(Trouble::Failed(format!("asked to end: code {code} after {took:?}"))),
        }
    }
}

/// Transactions that a process has committed.
fn committed(member: &Member) -> f64 {
    member.metric("forbear_transactions_total", &[("outcome", "committed")])
}

fn readiness(member: &Member) -> String {
    member
        .readiness()
        .map_or_else(|| "no answer".to_owned(), |body| body.to_string())
}
