//! One engagement partition loses its leader: it holds up its own intents and nobody else's.

use crate::harness::{Broker, BrokerOptions, KafkaClient, wait_for, wait_until};
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::{PARTITIONS, PATIENCE, Place, Scene};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A topic of which every partition lies on one node alone.
fn create_without_replicas(client: &KafkaClient, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = client.settings().create().expect("an admin client");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    wait_until("the topic is there, on one node a partition", PATIENCE, || {
        let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        // Refused while the old one is being deleted, and once the new one is there: what counts is what is there.
        let _ = runtime.block_on(admin.create_topics(&[new], &AdminOptions::new()));
        let leaders = leaders(client, topic);
        leaders.len() == PARTITIONS as usize && leaders.values().all(Option::is_some)
    });
}

/// The node that leads each partition without replicas; none for one that nobody leads.
fn leaders(client: &KafkaClient, topic: &str) -> BTreeMap<i32, Option<i32>> {
    let consumer: BaseConsumer = client
        .settings()
        .set("group.id", "nobody")
        .create()
        .expect("a consumer");
    let Ok(metadata) = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)) else {
        return BTreeMap::new();
    };
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let leader = |id: i32| (id >= 0).then_some(id);
    partitions
        .filter(|partition| partition.replicas().len() == 1)
        .map(|partition| (partition.id(), leader(partition.leader())))
        .collect()
}

#[test]
fn an_engagement_partition_whose_only_node_is_gone_holds_up_itself_alone() {
    require_broker!();
    let place = Place::take();
    let broker = Broker::start(BrokerOptions {
        nodes: 3,
        ..BrokerOptions::default()
    });
    let scene = Scene::on(&broker, place, "leaders", &policies::brisk());
    let engagement = scene.topics.engagement[0].clone();
    scene.client.delete_topics(&[&engagement]);
    create_without_replicas(&scene.client, &engagement);
    // The node that goes may be the group's coordinator: that is another story, which a longer session sits out.
    let launch = scene.instance(0).set("kafka.client.\"session.timeout.ms\"", "40000");
    let mut member = Member::start(&launch);
    scene.wait_until_running(&mut [&mut member]);
    let enough = Arc::new(AtomicBool::new(false));
    let load = scene
        .load("a", 23)
        .run_until(enough.clone(), Duration::from_millis(100));
    scene.wait_for_verdicts(100);
    let before = leaders(&scene.client, &engagement);
    let node = before[&0].expect("a leader");
    let held: Vec<i64> = before
        .iter()
        .filter(|(_, leader)| **leader == Some(node))
        .map(|(id, _)| i64::from(*id))
        .collect();
    println!("node {node} goes; it alone has {held:?} of {before:?}");
    broker.kill9_node(usize::try_from(node - 1).expect("a node"));
    let reason = wait_for("the partition says what it waits for", PATIENCE, || {
        member.tend();
        let body = member.readiness()?;
        let listed = body["partitions"].as_array()?.clone();
        let entry = listed
            .iter()
            .find(|entry| entry["partition"] == held[0] && entry["state"] == "blocked")?;
        entry["reason"]
            .as_str()
            .map(str::to_owned)
            .filter(|reason| reason.contains(&engagement))
    });
    println!("blocked: {reason}");
    // The others go on for as long as it lasts: how long each took is printed.
    let mut newest = judged(&scene, &held);
    for _ in 0..4 {
        let asked = Instant::now();
        wait_until("the other partitions judge something", PATIENCE, || {
            judged(&scene, &held) > newest
        });
        println!("the others went on after {:?}", asked.elapsed());
        newest = judged(&scene, &held);
        std::thread::sleep(Duration::from_secs(1));
    }
    enough.store(true, Ordering::Release);
    broker.restart();
    load.join().expect("the load");
    scene.audit(&mut [&mut member]).assert_rich();
}

/// Committed intents of all partitions but these.
fn judged(scene: &Scene, but: &[i64]) -> i64 {
    let committed = scene
        .client
        .try_committed(&scene.launch.group_id, &scene.topics.intents[0]);
    let committed = committed.unwrap_or_default();
    let others = committed
        .iter()
        .enumerate()
        .filter(|(partition, _)| !but.contains(&(*partition as i64)));
    others
        .filter_map(|(_, committed)| committed.as_ref())
        .map(|committed| committed.offset)
        .sum()
}
