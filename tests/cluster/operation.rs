//! What an operator meets: settings and topics that are wrong, an identity that is taken twice, a partition that cannot be
//! proven.

use crate::harness::{KafkaClient, Launch, Process, TopicSpec, wait_until};
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::{PARTITIONS, PATIENCE, Scene};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::time::Duration;

/// Expects the start to fail, in time, and gives what was said.
fn refused(launch: &Launch) -> String {
    let mut process = Process::start(launch);
    let code = process.wait_exit(Duration::from_secs(15));
    assert_eq!(code, 1, "{}", process.log());
    process.log()
}

#[test]
fn topics_that_are_missing_are_named_and_nothing_starts() {
    require_broker!();
    let scene = Scene::new("missing", &policies::brisk());
    let gone = [
        scene.topics.state.clone(),
        scene.topics.approved("sms"),
        scene.topics.engagement[0].clone(),
    ];
    scene
        .client
        .delete_topics(&gone.iter().map(String::as_str).collect::<Vec<_>>());
    let said = refused(&scene.launch);
    for name in &gone {
        assert!(said.contains(name.as_str()), "{name} is not named:\n{said}");
    }
    assert!(
        !said.contains(&format!("{} ", scene.topics.decisions)),
        "a topic that exists is named:\n{said}"
    );
}

#[test]
fn inputs_of_unequal_partition_counts_are_named_and_nothing_starts() {
    require_broker!();
    let scene = Scene::new("unequal", &policies::brisk());
    add_partitions(&scene.client, &scene.topics.engagement[0]);
    let said = refused(&scene.launch);
    assert!(
        said.contains(&scene.topics.engagement[0]) && said.contains("5 partitions"),
        "{said}"
    );
}

#[test]
fn a_state_topic_that_is_not_compacted_is_named_and_nothing_starts() {
    require_broker!();
    let mut scene = Scene::new("deleting", &policies::brisk());
    scene.launch.topics.state = format!("{}.other-state", scene.name);
    scene
        .client
        .create_topics(&[TopicSpec::new(&scene.launch.topics.state, PARTITIONS)]);
    let said = refused(&scene.launch);
    assert!(
        said.contains(&scene.launch.topics.state) && said.contains("compact"),
        "{said}"
    );
}

#[test]
fn a_bad_policy_is_shown_with_its_line_and_nothing_starts() {
    require_broker!();
    let scene = Scene::new("bad-policy", &policies::brisk());
    let mut launch = scene.launch.clone();
    launch.policy = launch.policy.replace("window: 6s", "window: 6m");
    let line = launch
        .policy
        .lines()
        .position(|line| line.contains("6m"))
        .expect("the line")
        + 1;
    let said = refused(&launch);
    assert!(said.contains(&format!("policy.yaml:{line}:")), "{said}");
}

#[test]
fn a_partition_count_that_changes_while_running_stops_the_judging() {
    require_broker!();
    let scene = Scene::new("grown", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    add_partitions(&scene.client, &scene.topics.intents[0]);
    let code = member.process.wait_exit(Duration::from_secs(40));
    assert_eq!(code, 1, "{}", member.process.log());
    assert!(
        member.process.log().contains(&scene.topics.intents[0]),
        "{}",
        member.process.log()
    );
}

#[test]
fn of_two_processes_with_one_instance_id_the_older_one_ends_with_75() {
    require_broker!();
    let scene = Scene::new("twice", &policies::brisk());
    let mut older = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut older]);
    let load = scene.load("a", 12).run(60, Duration::from_millis(100));
    scene.wait_for_verdicts(100);
    let mut newer = Member::start(&scene.instance(0));
    let code = older.process.wait_exit(Duration::from_secs(60));
    assert_eq!(code, 75, "{}", older.process.log());
    assert!(older.process.log().contains("fenced"), "{}", older.process.log());
    load.join().expect("the load");
    scene.audit(&mut [&mut newer]).assert_rich();
    assert_eq!(newer.restarts, 0, "the newer one goes on");
}

#[test]
fn a_partition_whose_offsets_were_moved_by_hand_is_blocked_until_it_is_repaired() {
    require_broker!();
    let scene = Scene::new("moved", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    let mut load = scene.load("a", 13);
    (0..8).for_each(|_| load.round());
    load.flush();
    scene.wait_until_at_rest(&mut [&mut member]);
    member.stop();
    move_offset(&scene, 2);
    member.start_again();
    let blocked = |body: &Value| {
        let listed = body["partitions"].as_array()?;
        let state = |entry: &Value| entry["state"].as_str().map(str::to_owned);
        let others = listed.iter().filter(|entry| entry["partition"] != 2);
        let running = others
            .filter(|entry| state(entry).as_deref() == Some("running"))
            .count();
        let entry = listed.iter().find(|entry| entry["partition"] == 2)?;
        let refused = state(entry).as_deref() == Some("blocked") && running == PARTITIONS as usize - 1;
        refused.then(|| entry["reason"].as_str().unwrap_or_default().to_owned())
    };
    let reason = crate::harness::wait_for("the partition is blocked and the others run", PATIENCE, || {
        blocked(&member.readiness()?)
    });
    println!("blocked: {reason}");
    assert!(reason.contains(&scene.topics.intents[0]), "{reason}");
    assert_eq!(member.process.get("/readyz").expect("an answer").status, 503);
    load.round();
    load.flush();
    let settings = member.process.settings_file();
    let settings = settings.to_str().expect("a path in UTF-8");
    let arguments = ["repair", "--config", settings, "--partition", "2", "--accept", "marker"];
    let output = Process::command(&arguments);
    println!("repair: {}", String::from_utf8_lossy(&output.stdout).trim_end());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let at_rest = scene.audit(&mut [&mut member]);
    let told = at_rest
        .records(&scene.topics.decisions)
        .iter()
        .filter(|record| record.key.is_none())
        .count();
    assert_eq!(told, 1, "the repair is in the decisions topic");
    let again = Process::command(&arguments);
    assert_eq!(again.status.code(), Some(1), "a partition that runs needs no repair");
}

/// Commits another offset for the first intents topic, as an operator's tool does it, once the group is empty.
fn move_offset(scene: &Scene, partition: i32) {
    let consumer: BaseConsumer = scene
        .client
        .settings()
        .set("group.id", &scene.launch.group_id)
        .create()
        .expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(&scene.topics.intents[0], partition, Offset::Offset(1))
        .expect("an offset");
    wait_until("the group is empty and takes offsets", PATIENCE, || {
        consumer.commit(&offsets, CommitMode::Sync).is_ok()
    });
}

fn add_partitions(client: &KafkaClient, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = client.settings().create().expect("an admin client");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let count = usize::try_from(PARTITIONS).expect("a count") + 1;
    let answer = runtime.block_on(admin.create_partitions(&[NewPartitions::new(topic, count)], &AdminOptions::new()));
    answer.expect("an answer")[0].as_ref().expect("one more partition");
    wait_until("clients see the new partition", PATIENCE, || {
        client.partition_count(topic) == Some(PARTITIONS + 1)
    });
}
