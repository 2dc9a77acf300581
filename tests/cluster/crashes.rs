//! A process that is killed, and comes back.

use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::Scene;
use std::time::Duration;

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
