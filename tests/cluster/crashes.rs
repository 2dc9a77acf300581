//! A process that is killed and comes back, to its state, to none, or to an old copy; and a broker that is killed.

use crate::harness::os::copy_directory;
use crate::harness::{Broker, BrokerOptions};
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::{Place, Scene};
use std::time::{Duration, Instant};

/// A tail is what was committed since the newest write to the store; here all of the log is small.
const SMALL_TAIL: f64 = 2_000.0;

#[test]
fn killed_in_the_middle_of_load_it_replays_the_tail_and_repeats_nothing() {
    require_broker!();
    let scene = Scene::new("kill9", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    let load = scene.load("a", 1).run(40, Duration::from_millis(100));
    for kill in 0..2 {
        scene.wait_for_verdicts(150 * (kill + 1));
        let killed = member.kill9();
        member.start_again();
        scene.wait_until_running(&mut [&mut member]);
        let recovery = killed.elapsed();
        let replayed = member.metric("forbear_restore_records_total", &[]);
        println!("kill -9 number {kill}: all partitions run again after {recovery:?}; {replayed} records replayed");
        assert!(replayed < SMALL_TAIL, "{replayed} records were replayed");
    }
    load.join().expect("the load");
    let at_rest = scene.audit(&mut [&mut member]);
    at_rest.assert_rich();
    assert!(!member.whole_log().contains("set aside"), "a store was set aside");
    member.stop();
}

/// A broker of its own, because it is killed.
fn with_own_broker(stem: &str) -> (Broker, Scene) {
    let place = Place::take();
    let broker = Broker::start(BrokerOptions::default());
    let scene = Scene::on(&broker, place, stem, &policies::brisk());
    (broker, scene)
}

#[test]
fn a_broker_killed_and_restarted_in_the_middle_of_load_loses_and_repeats_nothing() {
    require_broker!();
    // Kafka itself may lose the end of a transaction (see `Broker::unless_it_forgot_markers`).
    let shown = (0..5).any(|_| a_broker_is_killed_and_restarted_in_the_middle_of_load());
    assert!(shown, "each time, Kafka forgot the markers of a transaction");
}

/// Answers false where Kafka forgot the markers of a transaction.
fn a_broker_is_killed_and_restarted_in_the_middle_of_load() -> bool {
    let (broker, scene) = with_own_broker("broker");
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    let load = scene.load("a", 6).run(100, Duration::from_millis(100));
    scene.wait_for_verdicts(150);
    broker.kill9();
    std::thread::sleep(Duration::from_secs(3));
    broker.restart();
    let back = Instant::now();
    load.join().expect("the load");
    broker.unless_it_forgot_markers(|| {
        scene.wait_until_at_rest(&mut [&mut member]);
        println!(
            "broker killed: at rest {:?} after it was back; forbear was started again {} times",
            back.elapsed(),
            member.restarts
        );
        scene.audit(&mut [&mut member]).assert_rich();
    })
}

#[test]
fn a_state_directory_that_was_wiped_is_rebuilt_from_the_changelog() {
    require_broker!();
    let scene = Scene::new("wiped", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    let load = scene.load("a", 7).run(60, Duration::from_millis(100));
    scene.wait_for_verdicts(300);
    let killed = member.kill9();
    std::fs::remove_dir_all(&member.launch.state).expect("the state is removed");
    member.start_again();
    scene.wait_until_running(&mut [&mut member]);
    let replayed = member.metric("forbear_restore_records_total", &[]);
    println!(
        "state wiped: all partitions run again after {:?}; {replayed} records replayed",
        killed.elapsed()
    );
    assert!(replayed > 0.0, "nothing was replayed");
    load.join().expect("the load");
    scene.audit(&mut [&mut member]).assert_rich();
}

#[test]
fn a_stale_copy_of_the_state_directory_catches_up_before_anything_is_judged() {
    require_broker!();
    let scene = Scene::new("stale", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    // The first load is over before the copy is taken, the second one comes after it: so the copy lacks something, however
    // slowly the process starts.
    scene
        .load("a", 8)
        .run(20, Duration::from_millis(50))
        .join()
        .expect("the load");
    scene.wait_for_verdicts(100);
    member.kill9();
    let copy = member.launch.state.with_extension("copy");
    copy_directory(&member.launch.state, &copy);
    member.start_again();
    scene.wait_until_at_rest(&mut [&mut member]);
    let before = scene.verdicts();
    let load = scene.load("b", 9).run(60, Duration::from_millis(100));
    scene.wait_for_verdicts(before + 150);
    let killed = member.kill9();
    std::fs::remove_dir_all(&member.launch.state).expect("the state is removed");
    std::fs::rename(&copy, &member.launch.state).expect("the copy is put back");
    member.start_again();
    scene.wait_until_running(&mut [&mut member]);
    let replayed = member.metric("forbear_restore_records_total", &[]);
    println!(
        "stale state: all partitions run again after {:?}; {replayed} records replayed",
        killed.elapsed()
    );
    assert!(replayed > 0.0, "nothing was replayed");
    load.join().expect("the load");
    scene.audit(&mut [&mut member]).assert_rich();
    assert!(!member.whole_log().contains("set aside"), "a store was set aside");
}
