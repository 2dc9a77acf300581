//! A disk that is full, for a while.

use crate::harness::{wait_for, wait_until};
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::{PATIENCE, Scene};
use crate::small_disk::SmallDisk;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LEFT_BYTES: u64 = 1024 * 1024;

#[test]
fn a_full_disk_stops_the_judging_and_says_so_and_all_goes_on_by_itself_when_there_is_space() {
    require_broker!();
    let scene = Scene::new("full", &policies::brisk());
    let launch = scene.instance(0);
    let Some(disk) = SmallDisk::mount(&launch.state) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: mounting is not allowed here: a full disk");
        return;
    };
    // Enough to open the stores, and for some batches. (On an empty disk RocksDB reserves megabytes for what comes.)
    let filler = disk.fill(LEFT_BYTES);
    let mut member = Member::start(&launch);
    scene.wait_until_running(&mut [&mut member]);
    let enough = Arc::new(AtomicBool::new(false));
    let load = scene
        .load("a", 22)
        .run_until(enough.clone(), Duration::from_millis(100));
    let (state, reason) = wait_for("a partition says that there is no space", PATIENCE, || {
        let body = member.readiness()?;
        let listed = body["partitions"].as_array()?.clone();
        let stuck = listed.iter().find(|entry| entry["state"] != "running")?;
        let reason = stuck["reason"].as_str()?.to_owned();
        reason
            .contains("No space left")
            .then(|| (stuck["state"].to_string(), reason))
    });
    println!("{state}: {reason}");
    assert_eq!(member.process.get("/readyz").expect("an answer").status, 503);
    // A store that is opened again may find some room: what it deletes is its own. So the room is taken each time.
    wait_until("all four stand still, though there is work", PATIENCE, || {
        disk.fill_up(&filler);
        let before = committed(&scene);
        std::thread::sleep(Duration::from_secs(2));
        let stuck = member.partitions().values().all(|state| state != "running");
        stuck && committed(&scene) == before && scene.lag() > 0
    });
    enough.store(true, Ordering::Release);
    let said = member.whole_log().matches("No space left").count();
    assert!((1..100).contains(&said), "said {said} times");
    load.join().expect("the load");
    fs::remove_file(&filler).expect("the filler is removed");
    scene.audit(&mut [&mut member]).assert_rich();
    assert_eq!(member.restarts, 0, "it went on by itself");
    assert!(!member.whole_log().contains("set aside"), "a store was set aside");
    member.stop();
}

/// Committed positions of all inputs, as one number.
fn committed(scene: &Scene) -> i64 {
    let of = |topic: &&str| scene.client.committed(&scene.launch.group_id, topic);
    let inputs = scene.topics.inputs();
    inputs
        .iter()
        .flat_map(of)
        .flatten()
        .map(|committed| committed.offset)
        .sum()
}
