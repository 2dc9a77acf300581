//! `forbear audit` on a real cluster: a right run is clean, while it runs and when it has stopped; a forged record is named.

use crate::audit_command::{assert_clean, audit};
use crate::harness::{Broker, Outgoing, TopicSet, unique_name, wait_until};
use crate::load::Load;
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::{PARTITIONS, PATIENCE, Place, Scene};
use serde_json::Value;
use std::time::Duration;

const ACME: &str = include_str!("../../deploy/policies/acme.yaml");

/// Times that something was checked (or was not), over all promises.
fn times(report: &Value, list: &str, promise: &str) -> u64 {
    let counts = report[list].as_array().expect("a list").iter();
    let own = counts.filter(|count| count["promise"] == promise);
    own.filter_map(|count| count["count"].as_u64()).sum()
}

#[test]
fn a_right_run_with_kills_is_clean_and_a_forged_verdict_is_named() {
    require_broker!();
    let scene = Scene::new("audit", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    let load = scene.load("a", 31).run(40, Duration::from_millis(100));
    for kill in 0..2 {
        scene.wait_for_verdicts(150 * (kill + 1));
        member.kill9();
        member.start_again();
        scene.wait_until_running(&mut [&mut member]);
        let (code, report) = audit(&member.process, &[]);
        assert_clean(code, &report);
    }
    load.join().expect("the load");
    scene.audit(&mut [&mut member]).assert_rich();
    member.stop();
    let (code, report) = audit(&member.process, &[]);
    println!("{}", serde_json::to_string_pretty(&report).expect("JSON"));
    assert_clean(code, &report);
    for promise in ["P1", "P2", "P3", "P5", "P6", "contract"] {
        assert!(times(&report, "checked", promise) > 100, "{promise} was hardly checked");
    }

    let topic = scene.topics.approved("email");
    let forged = scene
        .client
        .read_topic(&topic)
        .into_iter()
        .next()
        .expect("something was approved");
    let copy = Outgoing {
        partition: Some(forged.partition),
        key: forged.key,
        value: forged.value,
        headers: forged.headers,
        timestamp_ms: None,
    };
    let (partition, offset) = scene.client.produce(&topic, &[copy])[0];
    let (code, report) = audit(&member.process, &[]);
    assert_eq!(code, 1, "a verdict that stands twice");
    let place = format!("{topic}/{partition}/{offset}");
    let told = report["violations"].to_string();
    assert!(told.contains(&place), "{place} is not named in {told}");
    assert_eq!(report["violation_counts"]["P1"], 1, "{told}");

    let partition = partition.to_string();
    let (code, _) = audit(&member.process, &["--checks", "P2,P4", "--partition", &partition]);
    assert_eq!(code, 0, "what was not asked for is not told");
}

#[test]
fn the_large_policy_is_derived_again_while_it_runs() {
    require_broker!();
    let _place = Place::take();
    let name = unique_name("acme");
    let broker = Broker::shared();
    let client = broker.client();
    let topics = TopicSet::new(&name);
    topics.create(&client, PARTITIONS, &["email", "sms", "push", "mail", "phone"]);
    let launch = crate::harness::Launch::new(broker.bootstrap(), &name, &topics, ACME).set("processing.workers", 2);
    let mut member = Member::start(&launch);
    let load = Load::new(&client, &topics, "a", 32).run(60, Duration::from_millis(50));
    let verdicts = || -> usize {
        let ends = client.ends("read_committed", &topics.decisions);
        ends.map_or(0, |ends| ends.iter().sum::<i64>() as usize)
    };
    wait_until("half of the load is judged", PATIENCE, || verdicts() > 500);
    member.kill9();
    member.start_again();
    let (code, report) = audit(&member.process, &[]);
    assert_clean(code, &report);
    // Limits that change while intents wait: the queue is timed anew.
    member.process.replace_policy(
        &ACME
            .replace("gap: 4h", "gap: 2s")
            .replace("limit: 4, window: 7d", "limit: 9, window: 7d"),
    );
    load.join().expect("the load");
    wait_until("all is judged", PATIENCE, || {
        client.lag(&launch.group_id, &topics.inputs()) == 0
    });
    let (code, report) = audit(&member.process, &[]);
    println!("{}", serde_json::to_string_pretty(&report).expect("JSON"));
    assert_clean(code, &report);
    assert!(
        times(&report, "checked", "P5") > 1_000,
        "hardly anything was derived again"
    );
    member.stop();
}
