//! P9: what a record says stays in the records. Everything that a process says is searched for what was planted in them.

use crate::harness::{Outgoing, Partitioner};
use crate::member::Member;
use crate::policies;
use crate::require_broker;
use crate::scene::Scene;
use serde_json::{Value, json};

/// Stands in every value that a record can have.
const CANARY: &str = "kx7canary";

fn planted(what: &str, number: usize) -> String {
    format!("{CANARY}-{what}-{number}")
}

/// An intent with something planted in everything that is free text.
fn intent(number: usize) -> Value {
    json!({
        "intent_id": planted("intent", number), "customer_id": planted("customer", number % 7),
        "channel": if number.is_multiple_of(3) { "sms" } else { "email" }, "division": planted("division", number % 3),
        "class": if number.is_multiple_of(5) { planted("class", number) } else { "marketing".to_owned() },
        "campaign": planted("campaign", number), "category": planted("category", number), "topic": planted("topic", number),
        "offer": planted("offer", number), "tags": [planted("tag", number)], "endpoint": planted("endpoint", number),
        "fallback_channels": ["push"], "payload": { "text": planted("payload", number) },
    })
}

fn event(number: usize, kind: &str, more: &Value) -> Vec<u8> {
    let mut body = json!({
        "event_id": planted("event", number), "customer_id": planted("customer", number % 7), "type": kind,
        "occurred_at": "2026-01-01T00:00:00Z",
    });
    for (member, value) in more.as_object().into_iter().flatten() {
        body[member] = value.clone();
    }
    body.to_string().into_bytes()
}

fn events() -> Vec<Outgoing> {
    let profile = json!({ "timezone": "Europe/Lisbon", "segments": [planted("segment", 1)], "attributes": { "name": planted("attribute", 1) } });
    let kinds = [
        ("profile_set", profile.clone()),
        (
            "consent_granted",
            json!({ "channel": "sms", "endpoint": planted("endpoint", 1) }),
        ),
        (
            "delivered",
            json!({ "channel": "email", "intent_id": planted("intent", 1) }),
        ),
        (
            "bounced_hard",
            json!({ "channel": "email", "intent_id": planted("intent", 2), "endpoint": planted("endpoint", 2) }),
        ),
        (
            "unsubscribed",
            json!({ "channel": "email", "topic": planted("topic", 1) }),
        ),
        ("intent_cancelled", json!({ "intent_id": planted("intent", 4) })),
        ("erased", json!({})),
        // Malformed, each in another way.
        ("profile_set", json!({ "timezone": planted("timezone", 1) })),
        ("consent_granted", json!({ "channel": planted("channel", 1) })),
        ("delivered", json!({ "channel": 7, "intent_id": planted("intent", 1) })),
        (CANARY, json!({})),
    ];
    let value = |(number, (kind, more)): (usize, &(&str, Value))| event(number, kind, more);
    let well_read = kinds.iter().enumerate().map(value);
    let customer = |number: usize| planted("customer", number % 7);
    let mut records: Vec<Outgoing> = well_read
        .enumerate()
        .map(|(number, value)| Outgoing::new(customer(number), value))
        .collect();
    records.push(Outgoing::new(customer(1), format!("{{\"event_id\": \"{CANARY}")));
    records
}

fn intents() -> Vec<Outgoing> {
    let mut records: Vec<Outgoing> = (0..60)
        .map(|number| Outgoing::new(planted("customer", number % 7), intent(number).to_string()))
        .collect();
    let mut bad = |member: &str, value: Value| {
        let mut body = intent(1);
        body[member] = value;
        records.push(Outgoing::new(planted("customer", 1), body.to_string()));
    };
    bad("channel", json!(planted("channel", 1)));
    bad("expires_at", json!(planted("instant", 1)));
    bad("customer_id", json!(CANARY.repeat(60)));
    bad("priority", json!(planted("priority", 1)));
    bad("tags", json!(planted("tags", 1)));
    // A repeated one, half of one, and one that claims to be a verdict.
    records.push(Outgoing::new(planted("customer", 1), intent(1).to_string()));
    records.push(Outgoing::new(
        planted("customer", 1),
        format!("{{\"intent_id\": \"{CANARY}"),
    ));
    records.push(Outgoing {
        headers: vec![("forbear-reason".to_owned(), Some(CANARY.into()))],
        ..Outgoing::new(planted("customer", 1), intent(2).to_string())
    });
    records
}

#[test]
fn nothing_that_a_record_says_is_in_a_log_a_metric_a_health_page_or_an_error_text() {
    require_broker!();
    let scene = Scene::new("privacy", &policies::brisk());
    let launch = scene.instance(0).set("log.level", "trace");
    let mut member = Member::start(&launch);
    scene.client.produce(&scene.topics.engagement[0], &events());
    scene.client.produce(&scene.topics.intents[0], &intents());
    // By another partitioner: some of them are strays.
    let elsewhere = intents().into_iter().take(20).collect::<Vec<_>>();
    let unwilling = Partitioner::Crc32;
    scene.client.produce_by(unwilling, &scene.topics.intents[0], &elsewhere);
    scene.wait_until_at_rest(&mut [&mut member]);
    let pages =
        ["/metrics", "/healthz", "/readyz"].map(|path| (path, member.process.get(path).expect("an answer").body));
    // Killed and started again: what a restore says is searched as well.
    member.kill9();
    member.start_again();
    scene.wait_until_at_rest(&mut [&mut member]);
    let log = member.whole_log();
    assert!(log.contains("TRACE"), "the log is not at its lowest level");
    for (what, text) in pages
        .iter()
        .map(|(path, body)| (*path, body))
        .chain([("the log", &log)])
    {
        let leak = text.lines().find(|line| line.contains(CANARY));
        assert!(leak.is_none(), "{what}: {leak:?}");
    }
    let letters = scene.client.read_topic(&scene.topics.dead_letter);
    assert!(letters.len() >= 10, "{} dead letters", letters.len());
    for letter in &letters {
        for name in ["forbear-error", "forbear-error-detail", "forbear-source"] {
            let said = letter.header(name).expect("a header of ours");
            assert!(!said.contains(CANARY), "{name}: {said}");
        }
    }
    member.stop();
    assert!(!member.whole_log().contains(CANARY), "the end says it");
}
