//! What a run says: a line for each round, and a table of the faults at the end. Pure: outcomes in, text out.

use crate::plan::NAMES;
use crate::round::{Outcome, Struck, Verdict};
use crate::strike::Hit;
use std::fmt::Write;
use std::time::Duration;

/// One line.
pub fn line(number: usize, outcome: &Outcome) -> String {
    let struck: Vec<String> = outcome.struck.iter().map(of_fault).collect();
    let phases: Vec<String> = outcome
        .phases
        .iter()
        .map(|phase| format!("{:.1}", phase.as_secs_f64()))
        .collect();
    let (asked, gave_up) = outcome.restarts;
    let mut text = format!(
        "round {number} seed {} ({}): {} | {} | restarts {asked}+{gave_up} | {:.1} s ({}) | {}",
        outcome.plan.seed,
        outcome.plan,
        struck.join(", "),
        outcome.counts,
        outcome.took.as_secs_f64(),
        phases.join(" + "),
        of_verdict(&outcome.verdict)
    );
    if let Some(kept) = &outcome.kept {
        let _ = write!(
            text,
            "\n  again: {}\n  logs: {}",
            outcome.plan.reproduction(),
            kept.display()
        );
    }
    text
}

fn of_fault(struck: &Struck) -> String {
    let recovery = struck
        .recovery
        .map_or_else(String::new, |time| format!(" back in {:.1} s", time.as_secs_f64()));
    let hit = match &struck.hit {
        Hit::Yes(what) => format!("hit: {what}"),
        Hit::No(what) => format!("NOT HIT: {what}"),
        Hit::Impossible(why) => format!("SKIPPED: {why}"),
    };
    format!("{} [{hit}]{recovery}", struck.text)
}

fn of_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Kept => "ok".to_owned(),
        Verdict::KafkaForgot(what) => format!("Kafka forgot the markers of a transaction ({what})"),
        Verdict::Missed => "a fault did not hit".to_owned(),
        Verdict::Broken(trouble) => trouble.to_string(),
    }
}

/// Whether the run is as it should be.
pub fn is_good(outcomes: &[Outcome]) -> bool {
    outcomes
        .iter()
        .all(|outcome| matches!(outcome.verdict, Verdict::Kept | Verdict::KafkaForgot(_)))
}

/// The summary: by fault, and of all.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:<22} {:>6} {:>5} {:>8} {:>8} {:>7} {:>12} {:>9}\n",
        "fault", "rounds", "hit", "not hit", "skipped", "failed", "recovery p50", "max"
    );
    for name in NAMES {
        let of_it = |outcome: &&Outcome| outcome.plan.steps.iter().any(|step| step.fault.name() == *name);
        let rounds: Vec<&Outcome> = outcomes.iter().filter(of_it).collect();
        let struck: Vec<&Struck> = rounds
            .iter()
            .flat_map(|outcome| &outcome.struck)
            .filter(|struck| struck.name == *name)
            .collect();
        let count = |is: fn(&Hit) -> bool| struck.iter().filter(|struck| is(&struck.hit)).count();
        let failed = rounds
            .iter()
            .filter(|outcome| matches!(outcome.verdict, Verdict::Broken(_)))
            .count();
        let hits = struck.iter().filter(|struck| matches!(struck.hit, Hit::Yes(_)));
        let times: Vec<Duration> = hits.filter_map(|struck| struck.recovery).collect();
        let _ = writeln!(
            text,
            "{name:<22} {:>6} {:>5} {:>8} {:>8} {failed:>7} {:>12} {:>9}",
            rounds.len(),
            count(|hit| matches!(hit, Hit::Yes(_))),
            count(|hit| matches!(hit, Hit::No(_))),
            count(|hit| matches!(hit, Hit::Impossible(_))),
            seconds(median(&times)),
            seconds(times.iter().max().copied())
        );
    }
    let count = |is: fn(&Verdict) -> bool| outcomes.iter().filter(|outcome| is(&outcome.verdict)).count();
    let took: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    let _ = write!(
        text,
        "{} rounds: {} kept every promise, {} failed, {} with a fault that did not hit, {} in which Kafka forgot markers; \
         {:.0} s, {:.1} s a round",
        outcomes.len(),
        count(|verdict| matches!(verdict, Verdict::Kept)),
        count(|verdict| matches!(verdict, Verdict::Broken(_))),
        count(|verdict| matches!(verdict, Verdict::Missed)),
        count(|verdict| matches!(verdict, Verdict::KafkaForgot(_))),
        took.as_secs_f64(),
        took.as_secs_f64() / outcomes.len().max(1) as f64
    );
    text
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
}

fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Trouble;
    use crate::plan::Plan;

    fn outcome(seed: u64, verdict: Verdict) -> Outcome {
        let plan = Plan::of(seed);
        let struck = |name: &'static str| Struck {
            name,
            text: name.to_owned(),
            hit: Hit::Yes("seen".to_owned()),
            recovery: Some(Duration::from_millis(1_500)),
        };
        Outcome {
            struck: plan.steps.iter().map(|step| struck(step.fault.name())).collect(),
            plan,
            kept: matches!(verdict, Verdict::Broken(_)).then(|| "/logs".into()),
            verdict,
            counts: "10 intents".to_owned(),
            restarts: (1, 0),
            took: Duration::from_secs(12),
            phases: Vec::new(),
        }
    }

    #[test]
    fn a_round_that_fails_is_told_with_the_line_that_starts_it_again() {
        let broken = outcome(5, Verdict::Broken(Trouble::Violation("P1: twice".to_owned())));
        let text = line(3, &broken);
        for part in [
            "round 3 seed 5",
            "VIOLATION P1: twice",
            "FORBEAR_CHAOS_SEED=5 FORBEAR_CHAOS_ROUNDS=1",
            "/logs",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!is_good(&[outcome(1, Verdict::Kept), broken]));
        assert!(is_good(&[
            outcome(1, Verdict::Kept),
            outcome(2, Verdict::KafkaForgot(String::new()))
        ]));
        assert!(!is_good(&[outcome(1, Verdict::Missed)]));
    }

    #[test]
    fn the_table_counts_by_fault() {
        let outcomes: Vec<Outcome> = (0..100).map(|seed| outcome(seed, Verdict::Kept)).collect();
        let text = table(&outcomes);
        let hits: usize = text
            .lines()
            .skip(1)
            .filter_map(|row| row.get(30..35)?.trim().parse::<usize>().ok())
            .sum();
        let planned: usize = outcomes.iter().map(|outcome| outcome.plan.steps.len()).sum();
        assert_eq!(hits, planned, "{text}");
        assert!(text.contains("100 rounds: 100 kept every promise, 0 failed"), "{text}");
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |millis: &[u64]| median(&millis.iter().copied().map(Duration::from_millis).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3, 1, 2]), Some(Duration::from_millis(2)));
        assert_eq!(of(&[4, 1]), Some(Duration::from_millis(1)));
    }
}
