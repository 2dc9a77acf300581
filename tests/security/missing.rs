//! Rights that are missing: named, with the topic, the group or the transactional id, and nothing is judged.

use crate::harness::{Acl, Process, Resource, wait_until};
use crate::scene::{Scene, assert_no_secret, said, shared};
use crate::{PATIENCE, require_broker};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

/// Processes at a time.
const AT_A_TIME: usize = 4;

/// A user of `run` who lacks one right.
struct Case {
    lacks: Acl,
    acls: Vec<Acl>,
}

fn cases(scene: &Scene) -> VecDeque<Case> {
    let all = scene.rights("run");
    let mut cases = VecDeque::new();
    for lacks in &all {
        let mut acls: Vec<Acl> = all.iter().filter(|acl| *acl != lacks).cloned().collect();
        let case = |acls: &[Acl]| Case {
            lacks: lacks.clone(),
            acls: acls.to_vec(),
        };
        cases.push_back(case(&acls));
        // Once more, where the topic can be seen all the same.
        if lacks.resource == Resource::Topic && lacks.operation != "DescribeConfigs" {
            acls.push(Acl {
                operation: "Describe".to_owned(),
                ..lacks.clone()
            });
            cases.push_back(case(&acls));
        }
    }
    cases
}

/// What a process of that user says, once it has said what is missing; or all that it said.
fn complaint_of(scene: &Scene, case: &Case) -> String {
    let (launch, _) = scene.with_rights(&case.acls);
    let mut process = Process::start(&launch);
    let start = std::time::Instant::now();
    loop {
        let page = process.get("/readyz").map(|response| response.body).unwrap_or_default();
        let ended = !process.is_running();
        let is_topic = case.lacks.resource == Resource::Topic;
        if ended {
            assert!(is_topic, "{:?} ended it\n{}", case.lacks, process.log());
            assert_eq!(process.wait_exit(PATIENCE), 1, "{:?}", case.lacks);
            return process.log();
        }
        // What may be given any moment ends nothing, and is on the page and in the log.
        if names(&page, &case.lacks) && names(&process.log(), &case.lacks) {
            assert!(!is_topic, "{:?} did not keep it from starting", case.lacks);
            return page + &process.log();
        }
        assert!(
            start.elapsed() < PATIENCE,
            "nothing is said of {:?}:\n{page}\n{}",
            case.lacks,
            process.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn names(text: &str, acl: &Acl) -> bool {
    let is_named = |line: &str| line.contains(&acl.name) && line.contains(&acl.operation);
    text.lines().any(is_named)
}

#[test]
fn each_right_that_is_missing_is_named_and_nothing_is_judged() {
    require_broker!();
    let scene = Scene::with_topics("missing");
    scene.ask_for("c", 3, 3);
    at_once(cases(&scene), |case| {
        let complaint = complaint_of(&scene, &case);
        assert!(
            names(&complaint, &case.lacks),
            "{:?} is not named in\n{complaint}",
            case.lacks
        );
        assert_no_secret(&complaint);
    });
    assert_eq!(scene.outputs(), 0, "something was judged without a right");
}

#[test]
fn the_other_commands_name_the_right_that_is_missing() {
    require_broker!();
    let scene = Scene::with_topics("commands");
    // The audit looks at the outputs of the policies that have judged.
    let (launch, _) = scene.with_rights(&scene.rights("run"));
    let mut process = Process::start(&launch);
    scene.ask_for("c", 1, 1);
    wait_until("something is judged", PATIENCE, || scene.outputs() > 0);
    process.sigterm();
    assert_eq!(process.wait_exit(PATIENCE), 0);
    let commands: [(&str, &[&str]); 4] = [
        ("topics create", &["topics", "create"]),
        ("topics verify", &["topics", "verify"]),
        ("audit", &["audit"]),
        ("generate", &["generate", "--count", "5"]),
    ];
    let cases = commands.into_iter().flat_map(|(command, arguments)| {
        let rights = scene.rights(command);
        // The audit does its work without a coordinator.
        let indices = (0..rights.len()).filter(move |index| rights[*index].resource == Resource::Topic);
        indices.map(move |index| (command, arguments, index))
    });
    at_once(cases.collect(), |(command, arguments, index)| {
        // Names of its own where topics are made: there is something to be made, and something to go by.
        let another = (command == "topics create").then(|| Scene::with_some_topics("create"));
        let scene = another.as_ref().unwrap_or(&scene);
        let mut acls = scene.rights(command);
        let lacks = &acls.remove(index);
        let (launch, _) = scene.with_rights(&acls);
        let output = launch.command(arguments);
        let text = said(&output);
        let code = output.status.code();
        assert_eq!(code, Some(1), "`forbear {command}` without {lacks:?}:\n{text}");
        assert!(
            names(&text, lacks),
            "`forbear {command}` does not name {lacks:?}:\n{text}"
        );
    });
}

/// Some of these at a time.
fn at_once<T: Send>(cases: VecDeque<T>, check: impl Fn(T) + Sync) {
    let waiting = Mutex::new(cases);
    let next = || waiting.lock().expect("no thread panics with it").pop_front();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = next() {
                    check(case);
                }
            });
        }
    });
}

#[test]
fn a_right_that_is_taken_away_while_it_runs_stops_the_judging_until_it_is_given_back() {
    require_broker!();
    let scene = Scene::with_topics("revoked");
    let (launch, user) = scene.with_rights(&scene.rights("run"));
    let mut process = Process::start(&launch);
    process.wait_until_ready(PATIENCE);
    let lost = |resource, name: &str, operation: &str| {
        let rights = scene.rights("run");
        let found = rights
            .into_iter()
            .find(|acl| (acl.resource, acl.name.as_str(), acl.operation.as_str()) == (resource, name, operation));
        found.expect("one of the rights")
    };
    let approved = scene.topics.approved("email");
    let rights = [
        lost(Resource::Topic, &scene.topics.approved_prefix, "Write"),
        lost(Resource::Topic, &scene.topics.intents[0], "Read"),
        lost(Resource::TransactionalId, &format!("{}/", launch.group_id), "Write"),
        lost(Resource::Group, &launch.group_id, "Read"),
    ];
    for (round, right) in rights.iter().enumerate() {
        let before = scene.count(&approved);
        shared().take_away(&user, right);
        scene.ask_for(&format!("r{round}"), 4, 1);
        let page = || process.get("/readyz").expect("a page");
        wait_until(&format!("/readyz names {right:?}"), PATIENCE, || {
            let response = page();
            response.status == 503 && names(&response.body, right)
        });
        assert!(names(&process.log(), right), "{}", process.log());
        assert_eq!(
            scene.count(&approved),
            before,
            "something was approved without {right:?}"
        );
        shared().allow(&user, std::slice::from_ref(right));
        wait_until("all that waited is approved", PATIENCE, || {
            scene.count(&approved) == before + 4
        });
        wait_until("it is ready again", PATIENCE, || page().status == 200);
    }
    assert_eq!(
        scene.count(&scene.topics.dead_letter),
        0,
        "a record was blamed for a missing right"
    );
    let (launch, _) = scene.with_rights(&scene.rights("audit"));
    let output = launch.command(&["audit"]);
    assert!(output.status.success(), "{}", said(&output));
}
