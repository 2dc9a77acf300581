//! SIGTERM in the states in which it is inconvenient: no cluster, one that hangs, one that is gone, a partition that is refused.

use crate::harness::os::PortLease;
use crate::harness::{Broker, BrokerOptions, Launch, Process, TopicSet, unique_name, wait_until};
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::{PATIENCE, Place, Scene};
use std::time::{Duration, Instant};

/// What contract.md gives it, and a little for a busy machine.
const WITHIN: Duration = Duration::from_millis(10_500);

/// Asks for the end, and expects it to come cleanly and in time.
fn expect_a_clean_end(process: &mut Process, when: &str) {
    let asked = Instant::now();
    process.sigterm();
    let code = process.wait_exit(Duration::from_secs(30));
    println!("{when}: code {code} after {:?}", asked.elapsed());
    assert_eq!(code, 0, "{when}\n{}", process.log());
    assert!(asked.elapsed() < WITHIN, "{when}: the end took {:?}", asked.elapsed());
}

#[test]
fn without_any_broker_a_start_is_given_up_and_an_end_comes_at_once() {
    let nobody = PortLease::take().address();
    let name = unique_name("nobody");
    let launch = Launch::new(&nobody, &name, &TopicSet::new(&name), &policies::brisk().text);
    let mut process = Process::start(&launch);
    std::thread::sleep(Duration::from_secs(1));
    expect_a_clean_end(&mut process, "no broker");
    let mut process = Process::start(&launch);
    assert_eq!(process.wait_exit(Duration::from_secs(16)), 1, "{}", process.log());
    assert!(
        process.log().contains("cannot reach") || process.log().contains("Kafka"),
        "{}",
        process.log()
    );
}

#[test]
fn it_ends_in_time_and_cleanly_while_the_broker_hangs_or_is_gone() {
    require_broker!();
    // A broker that was killed may forget how a transaction ended (see `Broker::unless_it_forgot_markers`): the ends are as
    // they should be, and what the topics hold afterwards shows nothing.
    let shown = (0..5).any(|_| ends_while_the_broker_hangs_or_is_gone());
    assert!(shown, "each time, Kafka forgot the markers of a transaction");
}

/// Answers false where Kafka forgot the markers of a transaction.
fn ends_while_the_broker_hangs_or_is_gone() -> bool {
    let place = Place::take();
    let broker = Broker::start(BrokerOptions::default());
    let scene = Scene::on(&broker, place, "endings", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    let load = scene.load("a", 21).run(60, Duration::from_millis(100));
    scene.wait_for_verdicts(50);
    broker.freeze();
    std::thread::sleep(Duration::from_secs(3));
    expect_a_clean_end(&mut member.process, "the broker hangs in the middle of load");
    broker.thaw();
    load.join().expect("the load");

    member.start_again();
    wait_until("partitions are assigned", PATIENCE, || !member.partitions().is_empty());
    broker.freeze();
    std::thread::sleep(Duration::from_secs(1));
    expect_a_clean_end(&mut member.process, "the broker hangs while partitions are restored");
    broker.thaw();

    member.start_again();
    scene.wait_until_running(&mut [&mut member]);
    broker.freeze();
    std::thread::sleep(Duration::from_secs(2));
    let asked = Instant::now();
    member.process.sigterm();
    std::thread::sleep(Duration::from_millis(500));
    member.process.sigterm();
    let code = member.process.wait_exit(Duration::from_secs(10));
    println!("a second signal: code {code} after {:?}", asked.elapsed());
    assert_eq!(code, 130, "{}", member.process.log());
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "the end took {:?}",
        asked.elapsed()
    );
    broker.thaw();

    member.start_again();
    scene.wait_until_running(&mut [&mut member]);
    broker.kill9();
    std::thread::sleep(Duration::from_secs(2));
    expect_a_clean_end(&mut member.process, "the broker is gone");
    broker.restart();

    member.start_again();
    broker.unless_it_forgot_markers(|| {
        scene.audit(&mut [&mut member]).assert_rich();
        member.stop();
    })
}
