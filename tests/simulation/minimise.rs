//! Makes a seed that fails small: switches off what it does not need to fail, one kind of trouble after the other, and stops
//! it as early as it can be stopped. What is left is what has to be understood.
//!
//! A run that is reduced draws other numbers than the whole one, so that it may fail for another reason, or not at all: each
//! reduction is kept only where the run still fails.

use super::plan::Plan;
use std::collections::BTreeSet;
use std::fmt;

type Switch = (&'static str, fn(&mut Plan));

/// Each kind of trouble and how it is switched off; the ones that take most away come first.
const SWITCHES: &[Switch] = &[
    ("processes", |plan| plan.processes = 1),
    ("workers", |plan| plan.workers = 1),
    ("two-inputs", |plan| plan.two_inputs = false),
    ("clock-skew", |plan| plan.clock_skew_ms = 0),
    ("barrier-wait", |plan| plan.barrier_wait_ms = 0),
    ("external", |plan| plan.external = 0.0),
    ("leaderless", |plan| plan.leaderless = 0.0),
    ("kill", |plan| plan.kill = 0.0),
    ("freeze", |plan| plan.freeze = 0.0),
    ("wipe", |plan| plan.wipe = 0.0),
    ("stale", |plan| plan.stale = 0.0),
    ("scale", |plan| plan.scale = 0.0),
    ("clean", |plan| plan.clean = 0.0),
    ("retention", |plan| plan.retention = 0.0),
    ("loss", |plan| plan.loss = 0.0),
    ("leaps", |plan| plan.leaps = 0.0),
    ("replace-policy", |plan| plan.replace_policy = 0.0),
    ("set-clock", |plan| plan.set_clock = 0.0),
    ("crash", |plan| plan.chances.crash = 0.0),
    ("crash-in-commit", |plan| plan.chances.crash_in_commit = 0.0),
    ("crash-in-store", |plan| plan.chances.crash_in_store = 0.0),
    ("stall", |plan| plan.chances.stall = 0.0),
    ("transient", |plan| plan.chances.transient = 0.0),
    ("uncertain", |plan| plan.chances.uncertain = 0.0),
    ("lost-answer", |plan| plan.chances.lost_answer = 0.0),
    ("evict", |plan| plan.chances.evict = 0.0),
    ("round", |plan| plan.chances.round = 0.0),
    ("interleave", |plan| plan.chances.interleave = 0.0),
    ("partial-poll", |plan| plan.chances.partial_poll = 0.0),
    ("disk", |plan| plan.chances.disk = 0.0),
    ("delay", |plan| plan.chances.haste = 1.0),
    ("stray", |plan| plan.mix.stray = 0.0),
    ("rubbish", |plan| plan.mix.rubbish = 0.0),
    ("repeat", |plan| plan.mix.repeat = 0.0),
    ("refusal", |plan| plan.mix.refusal = 0.0),
    ("erasure", |plan| plan.mix.erasure = 0.0),
    ("poison", |plan| plan.mix.poison = 0.0),
];

/// What is taken away from the plan of a seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reduction {
    /// Names of [`SWITCHES`] that are off.
    without: BTreeSet<&'static str>,
    /// How many steps of it are played at most.
    steps: Option<usize>,
}

impl Reduction {
    /// What `FORBEAR_SIM_WITHOUT` and `FORBEAR_SIM_STEPS` say.
    pub fn from_environment() -> Self {
        let without = std::env::var("FORBEAR_SIM_WITHOUT").unwrap_or_default();
        let named = without.split(',').filter(|name| !name.is_empty());
        let known = |name: &str| {
            let switch = SWITCHES.iter().find(|(known, _)| *known == name);
            switch
                .unwrap_or_else(|| panic!("FORBEAR_SIM_WITHOUT: there is no {name}"))
                .0
        };
        let steps = std::env::var("FORBEAR_SIM_STEPS").ok();
        Self {
            without: named.map(known).collect(),
            steps: steps.map(|text| text.parse().expect("FORBEAR_SIM_STEPS is a number")),
        }
    }

    pub fn reduce(&self, plan: &mut Plan) {
        let off = SWITCHES.iter().filter(|(name, _)| self.without.contains(name));
        off.for_each(|(_, switch)| switch(plan));
        plan.steps = plan.steps.min(self.steps.unwrap_or(usize::MAX));
    }

    fn and_without(&self, name: &'static str) -> Self {
        let mut more = self.clone();
        more.without.insert(name);
        more
    }

    fn stopped_after(&self, steps: usize) -> Self {
        Self {
            steps: Some(steps),
            ..self.clone()
        }
    }
}

/// As variables of the environment.
impl fmt::Display for Reduction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.without.is_empty() {
            let names: Vec<&str> = self.without.iter().copied().collect();
            write!(formatter, "FORBEAR_SIM_WITHOUT={} ", names.join(","))?;
        }
        if let Some(steps) = self.steps {
            write!(formatter, "FORBEAR_SIM_STEPS={steps} ")?;
        }
        Ok(())
    }
}

/// The smallest reduction found under which it still fails. `steps` are those of the whole plan.
pub fn minimise(steps: usize, fails: impl Fn(&Reduction) -> bool) -> Reduction {
    let mut least = Reduction::default();
    // Stopped early first: all further runs are shorter then.
    least = stop_early(least, steps, &fails);
    loop {
        let before = least.clone();
        for (name, _) in SWITCHES {
            let less = least.and_without(name);
            if less != least && fails(&less) {
                least = less;
            }
        }
        least = stop_early(least, steps, &fails);
        if least == before {
            return least;
        }
    }
}

/// Whether it fails need not grow with its length: what bisection finds is short, not always the shortest.
fn stop_early(from: Reduction, steps: usize, fails: &impl Fn(&Reduction) -> bool) -> Reduction {
    let (mut passes, mut shortest) = (0, from.steps.unwrap_or(steps));
    while passes + 1 < shortest {
        let middle = passes + (shortest - passes) / 2;
        match fails(&from.stopped_after(middle)) {
            true => shortest = middle,
            false => passes = middle,
        }
    }
    from.stopped_after(shortest)
}

#[test]
fn what_a_failure_does_not_need_is_taken_away() {
    // Fails from its seventh step on, with kills, and only while something is stale or wiped.
    let fails = |reduction: &Reduction| {
        let on = |name| !reduction.without.contains(name);
        reduction.steps.unwrap_or(100) >= 7 && on("kill") && (on("stale") || on("wipe"))
    };
    let least = minimise(100, fails);
    assert!(fails(&least));
    assert_eq!(least.steps, Some(7));
    let on: Vec<&str> = SWITCHES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !least.without.contains(name))
        .collect();
    assert_eq!(on, ["kill", "stale"]);
}
