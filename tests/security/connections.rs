//! Who is not let in, or does not trust the broker: an error that says why, in bounded time, without any secret. And who shows
//! a certificate instead of a password.

use crate::harness::secured::PASSWORD;
use crate::harness::{Launch, Process};
use crate::scene::{Scene, assert_no_secret, client_path, said, shared, with};
use crate::{PATIENCE, require_broker};
use std::time::{Duration, Instant};

/// contract.md gives 15 s until `run` has said what is wrong; a busy machine may need some to start a process.
const WITHIN: Duration = Duration::from_secs(25);
/// Resembles the right one, so that nobody shortens what must not be shown.
const WRONG_PASSWORD: &str = "canary-c0rrect-horse-but-wrong";

#[test]
fn a_wrong_password_an_authority_that_is_not_trusted_and_a_wrong_host_name_are_told_apart() {
    require_broker!();
    let scene = Scene::with_topics("stranger");
    let (right, _) = scene.with_rights(&scene.rights("run"));
    let mut wrong_password = right.clone();
    wrong_password.environment[0].1 = WRONG_PASSWORD.to_owned();
    let mut wrong_host = right.clone();
    wrong_host.bootstrap = shared().sasl_bootstrap_by_another_name();
    let wrong_authority = with(right.clone(), vec![("ssl.ca.location", shared().another_authority())]);
    let cases: [(&str, Launch, &[&str]); 3] = [
        (
            "a wrong password",
            wrong_password,
            &["invalid credentials", "SCRAM-SHA-512"],
        ),
        (
            "an authority",
            wrong_authority,
            &["certificate verify failed", "ssl.ca.location"],
        ),
        (
            "a host name",
            wrong_host,
            &["certificate verify failed", "not for that host name", "127.1:"],
        ),
    ];
    std::thread::scope(|scope| {
        for (what, launch, words) in &cases {
            scope.spawn(move || {
                let started = Instant::now();
                // As much is logged as can be.
                let mut launch = launch.clone().set(&client_path("debug"), "all");
                launch.environment.push(("FORBEAR_LOG".to_owned(), "trace".to_owned()));
                let mut process = Process::start(&launch);
                assert_eq!(process.wait_exit(WITHIN), 1, "{what}");
                let log = process.log();
                assert_no_secret(&log);
                let last = log
                    .lines()
                    .rfind(|line| line.starts_with("error: "))
                    .unwrap_or_default();
                for word in *words {
                    assert!(last.contains(word), "{what}: {word:?} is not in {last:?}");
                }
                println!("{what}, after {:.1} s: {last}", started.elapsed().as_secs_f64());
            });
        }
    });
}

#[test]
fn a_certificate_of_the_client_does_as_well() {
    require_broker!();
    let scene = Scene::with_topics("certified");
    let (properties, user) = shared().tls_properties();
    shared().allow(&user, &scene.rights("run"));
    let mut launch = with(scene.base.clone(), properties);
    launch.bootstrap = shared().tls_bootstrap();
    let secret = (
        "FORBEAR_KAFKA__CLIENT__SSL_KEYSTORE_PASSWORD".to_owned(),
        PASSWORD.to_owned(),
    );
    launch.environment.push(secret);
    let mut process = Process::start(&launch);
    process.wait_until_ready(PATIENCE);
    scene.ask_for("c", 1, 1);
    crate::wait_until("it is approved", PATIENCE, || {
        scene.count(&scene.topics.approved("email")) == 1
    });
    assert_no_secret(&process.log());
    let refusals = shared().refusals(&user);
    assert!(refusals.is_empty(), "{refusals:?}");
    // Without its certificate it is nobody.
    let without: Vec<_> = launch
        .settings
        .iter()
        .filter(|(path, _)| !path.contains("keystore"))
        .cloned()
        .collect();
    let nobody = Launch {
        settings: without,
        environment: Vec::new(),
        ..launch.clone()
    };
    let output = nobody.command(&["topics", "verify"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    println!("without a certificate: {}", said(&output));
}
