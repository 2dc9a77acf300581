//! Records as the world writes them: malformed in every way, as large as they may be and larger, and placed by another
//! partitioner.

use crate::auditor::reading::header;
use crate::harness::{Outgoing, Partitioner, wait_until};
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::{PATIENCE, Scene};
use serde_json::{Value, json};
use std::time::Duration;

/// Stands in every record here; never in a log.
const SECRET: &str = "xq7-never-in-a-log";
/// `max-intent-bytes` unless set.
const LARGEST: usize = 983_040;

fn intent(id: &str, customer: &str, channel: &str) -> Value {
    json!({ "intent_id": id, "customer_id": customer, "channel": channel, "division": "cards",
        "campaign": SECRET })
}

fn with(mut body: Value, member: &str, value: Value) -> Vec<u8> {
    body[member] = value;
    body.to_string().into_bytes()
}

fn without(mut body: Value, member: &str) -> Vec<u8> {
    body.as_object_mut().expect("an object").remove(member);
    body.to_string().into_bytes()
}

/// An intent of exactly so many bytes.
fn sized(id: &str, customer: &str, bytes: usize) -> Vec<u8> {
    padded(intent(id, customer, "email"), bytes)
}

fn padded(mut body: Value, bytes: usize) -> Vec<u8> {
    body["payload"] = json!("");
    let empty = body.to_string().len();
    body["payload"] = json!("x".repeat(bytes - empty));
    let value = body.to_string().into_bytes();
    assert_eq!(value.len(), bytes);
    value
}

/// Every kind of record that cannot be an intent, with the error that it deserves.
fn bad_intents() -> Vec<(&'static str, Outgoing)> {
    let good = || intent("bad", "somebody", "email");
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let text = good().to_string();
    let values: Vec<(&str, Vec<u8>)> = vec![
        ("not_json", b"{\"intent_id\": \"xq7-never-in-a-log\"".to_vec()),
        ("not_json", b"[\"xq7-never-in-a-log\"]".to_vec()),
        ("not_json", b"{\"intent_id\":\"xq7-never-in-a-log\xff\"}".to_vec()),
        (
            "not_json",
            text.replacen('{', &format!("{{\"payload\":{deep},"), 1).into_bytes(),
        ),
        ("not_json", Vec::new()),
        ("missing_field", without(good(), "division")),
        ("missing_field", without(good(), "customer_id")),
        ("missing_field", without(good(), "intent_id")),
        (
            "bad_field",
            text.replacen('{', "{\"channel\":\"push\",", 1).into_bytes(),
        ),
        ("bad_field", with(good(), "expires_at", json!(SECRET))),
        ("bad_field", with(good(), "priority", json!(1001))),
        ("bad_field", with(good(), "customer_id", json!(""))),
        ("bad_field", with(good(), "customer_id", json!(SECRET.repeat(20)))),
        ("unknown_channel", with(good(), "channel", json!(SECRET))),
        ("too_large", sized("bad", "somebody", LARGEST + 1)),
    ];
    let mut records: Vec<_> = values
        .into_iter()
        .map(|(error, value)| (error, Outgoing::new("somebody", value)))
        .collect();
    records.push((
        "not_json",
        Outgoing {
            key: Some(b"somebody".to_vec()),
            ..Outgoing::default()
        },
    ));
    records.push((
        "reserved_header",
        Outgoing {
            headers: vec![("forbear-channel".to_owned(), Some(SECRET.as_bytes().to_vec()))],
            ..Outgoing::new("somebody", text)
        },
    ));
    records
}

fn bad_events() -> Vec<(&'static str, Outgoing)> {
    let good = || json!({ "event_id": SECRET, "customer_id": "somebody", "type": "profile_set", "occurred_at": "2026-01-01T00:00:00Z" });
    let values: Vec<(&str, Vec<u8>)> = vec![
        ("not_json", b"xq7-never-in-a-log".to_vec()),
        ("missing_field", without(good(), "event_id")),
        ("missing_field", without(good(), "occurred_at")),
        ("bad_field", with(good(), "occurred_at", json!(SECRET))),
        ("bad_field", with(good(), "timezone", json!(SECRET))),
        ("unknown_type", with(good(), "type", json!(SECRET))),
    ];
    values
        .into_iter()
        .map(|(error, value)| (error, Outgoing::new("somebody", value)))
        .collect()
}

#[test]
fn every_kind_of_bad_record_is_a_dead_letter_with_its_error_and_stops_nothing() {
    require_broker!();
    let scene = Scene::new("malformed", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    let mut expected = Vec::new();
    let lots = [
        (scene.topics.intents[0].clone(), bad_intents()),
        (scene.topics.engagement[0].clone(), bad_events()),
        (
            scene.topics.reroute.clone(),
            vec![("reroute_failed", Outgoing::new("somebody", "{}"))],
        ),
    ];
    for (topic, lot) in lots {
        let (errors, records): (Vec<&str>, Vec<Outgoing>) = lot.into_iter().unzip();
        let places = scene.client.produce(&topic, &records);
        let sources = places
            .iter()
            .map(|(partition, offset)| format!("{topic}/{partition}/{offset}"));
        expected.extend(sources.zip(errors));
    }
    let mut load = scene.load("a", 9);
    load.round();
    load.flush();
    let at_rest = scene.audit(&mut [&mut member]);
    for (source, error) in &expected {
        let found: Vec<_> = at_rest
            .dead_letters()
            .iter()
            .filter(|letter| header(letter, "forbear-source") == Some(source))
            .map(|letter| header(letter, "forbear-error").unwrap_or("none"))
            .collect();
        assert_eq!(found, [*error], "the dead letter of {source}");
    }
    println!(
        "{} kinds of bad records, each a dead letter with its error",
        expected.len()
    );
    for letter in at_rest.dead_letters() {
        let detail = header(letter, "forbear-error-detail").expect("a detail");
        assert!(!detail.contains(SECRET), "a detail repeats a value");
    }
    assert!(!member.whole_log().contains(SECRET), "the log repeats a value");
    let metrics = member.process.get("/metrics").expect("a scrape").body;
    assert!(!metrics.contains(SECRET), "a metric repeats a value");
}

#[test]
fn records_as_large_as_they_may_be_pass_and_wait_and_wake() {
    require_broker!();
    let scene = Scene::new("large", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    let mut records: Vec<Outgoing> = (0..6)
        .map(|n| format!("customer-{n}"))
        .map(|customer| Outgoing::new(customer.clone(), sized(&format!("{customer}-a"), &customer, LARGEST)))
        .collect();
    // One megabyte each that waits in the state.
    let later = jiff::Timestamp::now() + Duration::from_secs(15);
    records.extend((0..3).map(|n| {
        let customer = format!("customer-{n}");
        let mut body = intent(&format!("{customer}-b"), &customer, "email");
        body["not_before"] = json!(later.to_string());
        Outgoing::new(customer, padded(body, LARGEST))
    }));
    records.push(Outgoing::new("customer-0", sized("over", "customer-0", LARGEST + 1)));
    scene.client.produce(&scene.topics.intents[0], &records);
    let at_rest = scene.audit(&mut [&mut member]);
    assert_eq!(at_rest.decisions("approved"), 9);
    assert!(at_rest.decisions("deferred") >= 3);
    assert_eq!(at_rest.dead_letters().len(), 1);
    assert_eq!(header(&at_rest.dead_letters()[0], "forbear-error"), Some("too_large"));
    println!("9 intents of {LARGEST} bytes approved, 3 of them after a wait; one byte more is a dead letter");
}

#[test]
fn strays_of_another_partitioner_count_against_the_one_ledger_of_their_customer() {
    require_broker!();
    let scene = Scene::new("strays", &policies::brisk());
    let mut member = Member::start(&scene.instance(0));
    scene.wait_until_running(&mut [&mut member]);
    let intents: Vec<Outgoing> = (0..300)
        .map(|n| {
            let customer = format!("customer-{}", n % 50);
            let body = intent(&format!("intent-{n}"), &customer, "push");
            Outgoing::new(customer, body.to_string())
        })
        .collect();
    let events: Vec<Outgoing> = (0..50)
        .map(|n| {
            let customer = format!("customer-{n}");
            let body = json!({ "event_id": format!("event-{n}"), "customer_id": customer, "type": "unsubscribed",
                "occurred_at": "2026-01-01T00:00:00Z", "channel": "push" });
            Outgoing::new(customer, body.to_string())
        })
        .collect();
    let (topics, client) = (&scene.topics, &scene.client);
    client.produce_by(Partitioner::Crc32, &topics.intents[0], &intents[..150]);
    client.produce(&topics.intents[0], &intents[150..250]);
    wait_until("the first intents are judged", PATIENCE, || scene.lag() == 0);
    client.produce_by(Partitioner::Crc32, &topics.engagement[0], &events);
    wait_until("the opt-outs are applied", PATIENCE, || scene.lag() == 0);
    client.produce_by(Partitioner::Crc32, &topics.intents[0], &intents[250..]);
    let at_rest = scene.audit(&mut [&mut member]);
    let strays = |kind: &str| member.metric("forbear_strays_total", &[("kind", kind)]);
    println!(
        "{} intents and {} opt-outs went astray",
        strays("intent"),
        strays("engagement")
    );
    assert!(strays("intent") > 0.0 && strays("engagement") > 0.0);
    assert_eq!(at_rest.reroutes().len() as f64, strays("intent") + strays("engagement"));
    assert!(at_rest.decisions("approved") > 0);
}
