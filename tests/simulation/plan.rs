//! What a seed decides at the start: sizes, rates, mishaps. Swarm style: every kind of trouble is off in half of the seeds.

use super::faults::Chances;
use super::workload::Mix;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Everything that a seed decides at the start.
pub struct Plan {
    pub partitions: i32,
    pub processes: usize,
    pub workers: usize,
    pub steps: usize,
    pub appends: usize,
    pub longest_step_ms: i64,
    pub leaps: f64,
    pub chances: Chances,
    pub mix: Mix,
    pub external: f64,
    /// An engagement partition loses its leader, or gets one again.
    pub leaderless: f64,
    pub kill: f64,
    pub freeze: f64,
    pub wipe: f64,
    pub stale: f64,
    pub scale: f64,
    pub clean: f64,
    pub retention: f64,
    /// Retention that passes what nobody has judged.
    pub loss: f64,
    pub replace_policy: f64,
    pub set_clock: f64,
    pub clock_skew_ms: i64,
    pub barrier_wait_ms: u64,
    pub two_inputs: bool,
    pub session_ms: i64,
    pub transaction_timeout_ms: i64,
}

impl Plan {
    /// Nothing but what the commit protocol itself has to stand.
    pub fn keep_to_the_protocol(&mut self) {
        (self.loss, self.replace_policy, self.set_clock, self.mix.poison) = (0.0, 0.0, 0.0, 0.0);
        (self.clock_skew_ms, self.barrier_wait_ms, self.leaderless) = (0, 0, 0.0);
    }

    pub fn draw(random: &mut ChaCha8Rng) -> Self {
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
            poison: sometimes(0.05),
        };
        let (leaps, retention) = (sometimes(0.2), sometimes(0.2));
        let leaderless = sometimes(0.1);
        let (loss, replace_policy, set_clock) = (sometimes(0.02), sometimes(0.1), sometimes(0.05));
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
            leaderless,
            kill,
            freeze,
            wipe,
            stale,
            scale,
            clean,
            retention,
            loss,
            replace_policy,
            set_clock,
            clock_skew_ms: *[0, 2_000].choose(random).unwrap_or(&0),
            barrier_wait_ms: *[0, 50].choose(random).unwrap_or(&0),
            two_inputs: random.random_bool(0.3),
            session_ms: *[2_000, 15_000].choose(random).unwrap_or(&15_000),
            transaction_timeout_ms: *[10_000, 60_000].choose(random).unwrap_or(&10_000),
        }
    }
}
