//! What the workload promises: its counts, its order, its rates.

use super::*;
use std::collections::HashSet;

fn records(plan: WorkloadPlan, count: usize) -> Vec<Generated> {
    Workload::new(plan).take(count).collect()
}

fn field(record: &Generated, name: &str) -> Value {
    serde_json::from_slice::<Value>(&record.value).expect("JSON")[name].clone()
}

#[test]
fn the_same_plan_gives_the_same_bytes_and_another_seed_gives_others() {
    let plan = WorkloadPlan {
        malformed: 0.01,
        stray: 0.01,
        repeat: 0.01,
        ..WorkloadPlan::default()
    };
    assert_eq!(records(plan.clone(), 5_000), records(plan.clone(), 5_000));
    assert_ne!(
        records(plan.clone(), 100),
        records(WorkloadPlan { seed: 2, ..plan }, 100)
    );
}

#[test]
fn the_shares_of_the_plan_are_met() {
    let plan = WorkloadPlan {
        malformed: 0.02,
        stray: 0.05,
        repeat: 0.03,
        ..WorkloadPlan::default()
    };
    let all = records(plan, 100_000);
    let intents = all.iter().filter(|record| record.feed == Feed::Intents).count() as f64;
    let share = |count: usize, of: f64| count as f64 / of;
    let malformed = all.iter().filter(|record| record.nature == Nature::Malformed).count();
    assert!(
        (0.015..0.025).contains(&share(malformed, intents)),
        "{malformed} of {intents}"
    );
    let repeated = all.iter().filter(|record| record.nature == Nature::Repeated).count();
    assert!((0.01..0.04).contains(&share(repeated, 100_000.0)), "{repeated}");
    let astray = all.iter().filter(|record| record.astray.is_some()).count();
    assert!((0.04..0.06).contains(&share(astray, 100_000.0)), "{astray}");
}

#[test]
fn without_shares_everything_is_sound_and_every_id_is_new() {
    let all = records(WorkloadPlan::default(), 20_000);
    assert!(
        all.iter()
            .all(|record| record.nature == Nature::Sound && record.astray.is_none())
    );
    let ids: HashSet<String> = all
        .iter()
        .map(|record| {
            field(
                record,
                if record.feed == Feed::Intents {
                    "intent_id"
                } else {
                    "event_id"
                },
            )
            .to_string()
        })
        .collect();
    assert_eq!(ids.len(), all.len());
    assert!(
        all.iter()
            .all(|record| field(record, "customer_id").as_str().map(str::as_bytes) == Some(&record.key))
    );
}

#[test]
fn a_repeat_is_the_same_bytes_under_the_same_key() {
    let all = records(
        WorkloadPlan {
            repeat: 0.1,
            ..WorkloadPlan::default()
        },
        2_000,
    );
    for (index, record) in all
        .iter()
        .enumerate()
        .filter(|(_, record)| record.nature == Nature::Repeated)
    {
        assert!(
            all[..index]
                .iter()
                .any(|earlier| earlier.value == record.value && earlier.key == record.key)
        );
    }
}

#[test]
fn skew_gives_a_few_customers_most_of_the_messages() {
    let share_of_first_tenth = |skew: f64| {
        let all = records(
            WorkloadPlan {
                customers: 1_000,
                skew,
                ..WorkloadPlan::default()
            },
            50_000,
        );
        let intents: Vec<_> = all.iter().filter(|record| record.feed == Feed::Intents).collect();
        let first = intents
            .iter()
            .filter(|record| record.key.as_slice() < b"customer-000100".as_slice())
            .count();
        first as f64 / intents.len() as f64
    };
    assert!((0.08..0.12).contains(&share_of_first_tenth(0.0)));
    assert!(share_of_first_tenth(1.1) > 0.6);
}

#[test]
fn a_profile_comes_before_the_first_intent_of_its_customer() {
    let mut introduced = HashSet::new();
    for record in records(
        WorkloadPlan {
            customers: 50,
            ..WorkloadPlan::default()
        },
        3_000,
    ) {
        match record.feed {
            Feed::Engagement => _ = introduced.insert(record.key.clone()),
            Feed::Intents => assert!(introduced.contains(&record.key), "an intent before the profile"),
        }
    }
    assert!(introduced.len() > 10);
}

#[test]
fn times_follow_the_rate() {
    let plan = WorkloadPlan {
        rate: 100.0,
        engagement: 0.0,
        ..WorkloadPlan::default()
    };
    let all = records(plan, 5_000);
    let intents: Vec<_> = all.iter().filter(|record| record.feed == Feed::Intents).collect();
    assert_eq!(intents[200].after_ms, 2_000);
    assert!(all.windows(2).all(|pair| pair[0].after_ms <= pair[1].after_ms));
}

#[test]
fn only_channels_of_the_policy_are_asked_for() {
    let plan = WorkloadPlan {
        channels: vec!["fax".to_owned()],
        ..WorkloadPlan::default()
    };
    for record in records(plan, 500).iter().filter(|record| record.feed == Feed::Intents) {
        assert_eq!(field(record, "channel"), "fax");
    }
}

#[test]
fn a_plan_out_of_range_still_gives_records() {
    let plan = WorkloadPlan {
        customers: 0,
        rate: f64::NAN,
        skew: f64::INFINITY,
        engagement: -1.0,
        start_ms: i64::MAX,
        channels: vec![],
        ..WorkloadPlan::default()
    };
    assert_eq!(records(plan, 100).len(), 100);
}
