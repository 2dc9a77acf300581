//! Several instances: one is killed, all are replaced in turn, some come and some go, one is frozen.

use crate::harness::wait_until;
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::{PARTITIONS, PATIENCE, Scene};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Waits until the first of two members holds everything, while the other is away.
fn wait_until_taken_over(scene: &Scene, survivor: &mut Member) -> Duration {
    let start = Instant::now();
    scene.wait_until_running(&mut [survivor]);
    start.elapsed()
}

/// Two instances that share the partitions. The first may hold all of them for a while before the second has joined.
fn two_at_work(scene: &Scene) -> (Member, Member) {
    let (mut left, mut right) = (Member::start(&scene.instance(0)), Member::start(&scene.instance(1)));
    wait_until("both have work", PATIENCE, || {
        left.tend();
        right.tend();
        !left.partitions().is_empty() && !right.partitions().is_empty()
    });
    scene.wait_until_running(&mut [&mut left, &mut right]);
    (left, right)
}

#[test]
fn when_one_of_two_instances_is_killed_the_other_takes_over_and_gives_back() {
    require_broker!();
    let scene = Scene::new("takeover", &policies::brisk());
    let (mut left, mut right) = two_at_work(&scene);
    let load = scene.load("a", 2).run(150, Duration::from_millis(100));
    scene.wait_for_verdicts(100);
    right.kill9();
    let takeover = wait_until_taken_over(&scene, &mut left);
    println!("one of two instances killed: the other holds all partitions after {takeover:?} (session 6 s)");
    right.start_again();
    load.join().expect("the load");
    let at_rest = scene.audit(&mut [&mut left, &mut right]);
    at_rest.assert_rich();
    assert!(!right.whole_log().contains("set aside"), "a store was set aside");
    left.stop();
    right.stop();
}

#[test]
fn two_instances_are_replaced_in_turn_under_load() {
    require_broker!();
    let scene = Scene::new("rolling", &policies::brisk());
    let (mut left, mut right) = two_at_work(&scene);
    let load = scene.load("a", 3).run(150, Duration::from_millis(100));
    scene.wait_for_verdicts(100);
    for round in 0..2 {
        for which in 0..2 {
            let (leaving, staying) = if which == 0 {
                (&mut left, &mut right)
            } else {
                (&mut right, &mut left)
            };
            let asked = Instant::now();
            leaving.stop();
            let ended = asked.elapsed();
            leaving.start_again();
            scene.wait_until_running(&mut [leaving, staying]);
            let back = asked.elapsed();
            println!("rolling restart {round}.{which}: ended after {ended:?}, all partitions run after {back:?}");
        }
    }
    load.join().expect("the load");
    scene.audit(&mut [&mut left, &mut right]).assert_rich();
    for member in [&left, &right] {
        assert!(!member.whole_log().contains("set aside"), "a store was set aside");
    }
}

#[test]
fn instances_come_and_go_under_load_and_one_more_than_partitions_stands_by() {
    require_broker!();
    let scene = Scene::new("scale", &policies::brisk());
    let single = |number: usize| scene.instance(number).set("processing.workers", 1);
    let mut members: Vec<Member> = vec![Member::start(&single(0))];
    scene.wait_until_running(&mut members.iter_mut().collect::<Vec<_>>());
    let load = scene.load("a", 4).run(250, Duration::from_millis(100));
    scene.wait_for_verdicts(50);
    for number in 1..=PARTITIONS as usize {
        members.push(Member::start(&single(number)));
    }
    wait_until(
        "every partition has a member of its own and one stands by",
        PATIENCE,
        || {
            let held: Vec<usize> = members.iter().map(|member| member.partitions().len()).collect();
            held.iter().filter(|count| **count == 1).count() == PARTITIONS as usize && held.contains(&0)
        },
    );
    scene.wait_until_running(&mut members.iter_mut().collect::<Vec<_>>());
    let idle = members
        .iter()
        .find(|member| member.partitions().is_empty())
        .expect("one stands by");
    let body = idle.readiness().expect("an answer");
    assert_eq!(
        (body["ready"].as_bool(), body["status"].as_str()),
        (Some(true), Some("standby"))
    );
    while members.len() > 2 {
        let mut leaving = members.remove(0);
        leaving.process.sigterm();
        assert_eq!(leaving.process.wait_exit(Duration::from_secs(15)), 0);
    }
    let start = Instant::now();
    scene.wait_until_running(&mut members.iter_mut().collect::<Vec<_>>());
    println!(
        "scaled from 5 instances to 2: all partitions run after {:?} (session 6 s)",
        start.elapsed()
    );
    load.join().expect("the load");
    scene.audit(&mut members.iter_mut().collect::<Vec<_>>()).assert_rich();
}

#[test]
fn an_instance_frozen_for_longer_than_its_session_judges_nothing_twice_when_it_thaws() {
    require_broker!();
    let scene = Scene::new("zombie", &policies::brisk());
    let (mut left, mut right) = two_at_work(&scene);
    let load = scene.load("a", 5).run(200, Duration::from_millis(100));
    scene.wait_for_verdicts(100);
    right.process.sigstop();
    let takeover = wait_until_taken_over(&scene, &mut left);
    println!("one of two instances frozen: the other holds all partitions after {takeover:?} (session 6 s)");
    std::thread::sleep(Duration::from_secs(3));
    right.process.sigcont();
    load.join().expect("the load");
    scene.audit(&mut [&mut left, &mut right]).assert_rich();
    println!("the frozen instance asked {} times to be started again", right.restarts);
    assert!(!right.partitions().is_empty(), "it has work again");
}

#[test]
fn a_rebalance_at_rest_loses_nothing_of_what_comes_afterwards() {
    require_broker!();
    let scene = Scene::new("idle", &policies::brisk());
    let mut left = Member::start(&scene.instance(0));
    let mut load = scene.load("a", 14);
    load.round();
    load.flush();
    scene.wait_until_at_rest(&mut [&mut left]);
    // Everything was read to its end; what `left` keeps goes on from there.
    let mut right = Member::start(&scene.instance(1));
    wait_until("the second instance has work", PATIENCE, || {
        !right.partitions().is_empty()
    });
    scene.wait_until_running(&mut [&mut left, &mut right]);
    assert!(!left.partitions().is_empty(), "the first instance keeps some");
    (0..4).for_each(|_| load.round());
    load.flush();
    scene.audit(&mut [&mut left, &mut right]);
    assert_eq!((left.restarts, right.restarts), (0, 0));
}

#[test]
fn an_instance_that_leaves_for_good_hands_over_at_once() {
    require_broker!();
    let scene = Scene::new("leave", &policies::brisk());
    let mut leaving = scene.instance(1);
    leaving.arguments.push("--leave".to_owned());
    let (mut left, mut right) = (Member::start(&scene.instance(0)), Member::start(&leaving));
    wait_until("the leaving instance has work", PATIENCE, || {
        !right.partitions().is_empty()
    });
    scene.wait_until_running(&mut [&mut left, &mut right]);
    let load = scene.load("a", 15).run(30, Duration::from_millis(100));
    scene.wait_for_verdicts(50);
    right.stop();
    let takeover = wait_until_taken_over(&scene, &mut left);
    println!("one of two instances left for good: the other holds all partitions after {takeover:?} (session 6 s)");
    load.join().expect("the load");
    scene.audit(&mut [&mut left]);
}

/// A member that takes what it is given and never answers when something is taken back.
#[derive(Default)]
struct Mute {
    asked_to_give_back: AtomicBool,
}

impl ClientContext for Mute {}

impl ConsumerContext for Mute {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                consumer.incremental_assign(partitions).expect("an assignment");
            }
            _ => self.asked_to_give_back.store(true, Ordering::Release),
        }
    }
}

/// Sits on the seat of worker 0 of this instance.
fn mute_member(scene: &Scene, instance_id: &str) -> BaseConsumer<Mute> {
    let mut settings = scene.client.settings();
    settings
        .set("group.id", &scene.launch.group_id)
        .set("group.instance.id", format!("{instance_id}/0"))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "30000");
    let consumer: BaseConsumer<Mute> = settings.create_with_context(Mute::default()).expect("a consumer");
    consumer.subscribe(&[&scene.topics.intents[0]]).expect("a subscription");
    wait_until("the mute member has everything", PATIENCE, || {
        consumer.poll(Duration::from_millis(50));
        let held = consumer.assignment().expect("an assignment").count();
        held == PARTITIONS as usize
    });
    consumer
}

#[test]
fn partitions_that_the_group_forgot_in_a_hand_over_are_handed_out_again() {
    require_broker!();
    let scene = Scene::new("forgotten", &policies::brisk());
    let single = |number: usize| scene.instance(number).set("processing.workers", 1);
    // Killed in the hand-over: after the round that takes from it, before it asks for the one that gives to the other.
    let killed = mute_member(&scene, &single(0).instance_id);
    let mut right = Member::start(&single(1));
    wait_until("the mute member is asked to give back", PATIENCE, || {
        killed.poll(Duration::from_millis(50));
        killed.context().asked_to_give_back.load(Ordering::Acquire)
    });
    let mut left = Member::start(&single(0));
    // It lost its seat, and a close would wait for the answer that it never gives.
    std::mem::forget(killed);
    let began = Instant::now();
    wait_until("it is said which partitions nobody has", PATIENCE, || {
        left.tend();
        right.tend();
        let body = right.readiness().unwrap_or_default();
        body["unowned_partitions"]
            .as_array()
            .is_some_and(|named| !named.is_empty())
    });
    assert!(right.metric("forbear_unowned_partitions", &[]) > 0.0);
    println!("forgotten partitions are named after {:?}", began.elapsed());
    scene.wait_until_running(&mut [&mut left, &mut right]);
    println!("forgotten partitions run again after {:?}", began.elapsed());
    let load = scene.load("a", 16).run(30, Duration::from_millis(100));
    load.join().expect("the load");
    scene.audit(&mut [&mut left, &mut right]).assert_rich();
    wait_until("nothing is named any more", PATIENCE, || {
        right.metric("forbear_unowned_partitions", &[]) == 0.0
    });
    assert_eq!(
        (left.restarts, right.restarts),
        (0, 0),
        "nobody had to be started again"
    );
}
