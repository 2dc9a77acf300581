//! A cluster that asks who is there: TLS, passwords, certificates, and rights that are exactly those of the README's table.

#[path = "security/connections.rs"]
mod connections;
mod harness;
#[path = "security/missing.rs"]
mod missing;
#[path = "security/rights.rs"]
mod rights;
#[path = "security/scene.rs"]
mod scene;

use harness::{Outgoing, Process, wait_until};
use scene::{Scene, assert_no_secret, said, shared};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

fn assert_nothing_was_refused(user: &str, command: &str) {
    let refusals = shared().refusals(user);
    assert!(
        refusals.is_empty(),
        "`forbear {command}` wanted more than the README's table says:\n{}",
        refusals.join("\n")
    );
}

#[test]
fn with_exactly_the_rights_of_the_table_every_command_works_and_the_broker_refuses_nothing() {
    require_broker!();
    let scene = Scene::new("exact");
    let succeeds = |command: &str, arguments: &[&str]| {
        let (_, user) = scene.with_rights(&scene.rights(command));
        // Here, the password is in a file.
        let output = scene.as_user_with_file(&user).command(arguments);
        let text = said(&output);
        assert!(output.status.success(), "`forbear {command}`:\n{text}");
        assert_no_secret(&text);
        assert_nothing_was_refused(&user, command);
    };
    succeeds("topics create", &["topics", "create", "--partitions", "2"]);
    succeeds("topics verify", &["topics", "verify"]);

    let (launch, user) = scene.with_rights(&scene.rights("run"));
    let mut process = Process::start(&launch);
    process.wait_until_ready(PATIENCE);
    let client = shared().broker.client();
    let refusal =
        r#"{"event_id":"e","customer_id":"out-0","type":"do_not_contact","occurred_at":"2026-01-01T00:00:00Z"}"#;
    client.produce(&scene.topics.engagement[0], &[Outgoing::new("out-0", refusal)]);
    scene.ask_for("c", 10, 3);
    scene.ask_for("out", 1, 1);
    client.produce(&scene.topics.intents[0], &[Outgoing::new("c-0", "no JSON")]);
    let approved = scene.topics.approved("email");
    let suppressed = scene.topics.suppressed("email");
    wait_until("everything is judged", PATIENCE, || {
        client.lag(&launch.group_id, &scene.topics.inputs()) == 0
    });
    let reasons = |reason: &str| {
        let records = client.read_topic(&suppressed);
        let reasons = records
            .iter()
            .filter(|record| record.header("forbear-reason") == Some(reason));
        reasons.count()
    };
    assert_eq!(client.read_topic(&approved).len(), 20);
    assert_eq!((reasons("cap"), reasons("suppression_list")), (10, 1));
    assert_eq!(scene.count(&scene.topics.dead_letter), 1);

    let load = [
        "--count",
        "150",
        "--rate",
        "1000",
        "--customers",
        "20",
        "--stray",
        "0.05",
    ];
    let load = [&["generate", "--channels", "email,sms"][..], &load].concat();
    succeeds("generate", &load);
    wait_until("everything is judged", PATIENCE, || {
        client.lag(&launch.group_id, &scene.topics.inputs()) == 0
    });
    assert!(scene.count(&scene.topics.reroute) > 0, "there was no stray");
    succeeds("audit", &["audit"]);

    let pages = ["/readyz", "/metrics"].map(|page| process.get(page).expect("a page").body);
    pages.iter().for_each(|page| assert_no_secret(page));
    process.sigterm();
    assert_eq!(process.wait_exit(Duration::from_secs(20)), 0);
    assert_no_secret(&process.log());
    assert_nothing_was_refused(&user, "run");
}
