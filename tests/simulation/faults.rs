//! What may go wrong, and how often: a plan that each seed draws anew, so that some seeds are all crashes, others all
//! rebalances, and a few are calm.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Chances for each step of each call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chances {
    /// The calling process dies here (any call).
    pub crash: f64,
    /// The calling process dies at this step of a commit.
    pub crash_in_commit: f64,
    /// The process dies before or after a write of its store.
    pub crash_in_store: f64,
    /// The calling worker stands still for up to half a minute.
    pub stall: f64,
    /// A call that may be repeated answers that it should be.
    pub transient: f64,
    /// A transaction fails at this step; what became of it is not known.
    pub uncertain: f64,
    /// EndTxn: the answer gets lost.
    pub lost_answer: f64,
    /// The group loses sight of the calling worker.
    pub evict: f64,
    /// The group starts a round for no reason of ours.
    pub round: f64,
    /// Another worker runs while this one is inside a call.
    pub interleave: f64,
    /// A poll brings less than there is.
    pub partial_poll: f64,
    /// The disk refuses a write or a read.
    pub disk: f64,
    /// For each thing that is under way: it arrives at this step.
    pub haste: f64,
}

impl Chances {
    /// Nothing goes wrong, everything arrives at once.
    pub const CALM: Self = Self {
        crash: 0.0,
        crash_in_commit: 0.0,
        crash_in_store: 0.0,
        stall: 0.0,
        transient: 0.0,
        uncertain: 0.0,
        lost_answer: 0.0,
        evict: 0.0,
        round: 0.0,
        interleave: 0.0,
        partial_poll: 0.0,
        disk: 0.0,
        haste: 1.0,
    };

    /// Draws a plan: each fault is off in half of the seeds, and where it is on its rate varies by a factor of ten.
    pub fn draw(random: &mut ChaCha8Rng) -> Self {
        let mut rate = |highest: f64| match random.random_bool(0.5) {
            true => 0.0,
            false => highest * 10_f64.powf(-random.random::<f64>()),
        };
        Self {
            crash: rate(0.002),
            crash_in_commit: rate(0.03),
            crash_in_store: rate(0.03),
            stall: rate(0.003),
            transient: rate(0.2),
            uncertain: rate(0.02),
            lost_answer: rate(0.2),
            evict: rate(0.003),
            round: rate(0.01),
            interleave: rate(0.1),
            partial_poll: rate(0.8),
            disk: rate(0.01),
            // Control records mostly arrive at once, and in some seeds only after hundreds of steps.
            haste: if random.random_bool(0.4) {
                1.0
            } else {
                10_f64.powf(-3.0 * random.random::<f64>())
            },
        }
    }
}
