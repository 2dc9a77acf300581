//! Rules over more than one batch: what a partition keeps of a capacity, and what wakes by a contact.

use super::batch::{BatchContext, Prepared, Work, prepare};
use crate::commit::marker::Lineage;
use crate::customer::keys::due_of;
use crate::intake::source::{InputKind, Inputs, Record};
use crate::policy::model::Policy;
use crate::store::memory::{MemoryStore, MemoryStores};
use crate::store::{Change, Store, StoreIdentity, StoreMeta, Stores};
use crate::verdict::TopicNames;
use std::collections::HashSet;

const HEAD: &str = "forbear: 1
name: batches
timezone: UTC
channels: { sms: { consent: opt-out }, email: { consent: opt-out } }
classes: { marketing: { rank: 1, obeys: all, counts: true } }
";
const GATEWAY: &str = "{ id: gateway, capacity: { limit: 5, window: 1h }, on-hit: defer }";
const HOUR_MS: i64 = 3_600_000;
const NOW_MS: i64 = 1_790_000_000_000;

fn store() -> MemoryStore {
    let identity = StoreIdentity {
        cluster_id: "cluster".into(),
        state_topic: "forbear.state".into(),
        partition: 0,
        partition_count: 1,
    };
    MemoryStores::new(due_of).open(&identity, 0).unwrap()
}

fn intent(number: i64, customer: &str, channel: &str) -> Record {
    let json = format!(
        r#"{{"intent_id":"i-{number}","customer_id":"{customer}","channel":"{channel}","division":"cards","class":"marketing"}}"#
    );
    Record {
        topic: 0,
        partition: 0,
        offset: number,
        timestamp_ms: NOW_MS,
        key: None,
        value: Some(json.into_bytes()),
        headers: Vec::new(),
    }
}

/// Texts to as many customers.
fn texts(numbers: std::ops::Range<i64>) -> Vec<Record> {
    numbers
        .map(|number| intent(number, &format!("c-{number}"), "sms"))
        .collect()
}

/// One batch, written to the store as a commit does: where what it approved goes, and what it changed.
fn run(
    rule: &str,
    store: &mut MemoryStore,
    now_ms: i64,
    intents: Vec<Record>,
    due: Vec<(i64, String)>,
) -> (Vec<String>, Vec<Change>) {
    let text = format!("{HEAD}rules: [ {rule} ]\n");
    let (policy, _) = Policy::load(text.as_bytes(), "policy.yaml", None).unwrap();
    let topics = TopicNames {
        approved_prefix: "approved.".into(),
        suppressed_prefix: "suppressed.".into(),
        decisions: None,
        dead_letter: "dead".into(),
        reroute: "reroute".into(),
        state: "state".into(),
        policies: "policies".into(),
    };
    let inputs = Inputs {
        topics: vec![("forbear.intents".into(), InputKind::Intents)],
        partition_count: 1,
    };
    let context = BatchContext {
        policy: &policy,
        topics: &topics,
        inputs: &inputs,
        max_intent_bytes: 10_000,
        poisoned: &HashSet::new(),
    };
    let work = Work {
        partition: 0,
        lineage: Lineage::default(),
        now_ms,
        barrier: Vec::new(),
        engagement: Vec::new(),
        intents,
        due,
        retime: Vec::new(),
        may_judge: true,
        due_at_most: 100,
        rerouted_at_most: 100,
        renews_offsets: false,
    };
    let prepared: Prepared = prepare(&context, store, &work).unwrap_or_else(|error| panic!("{error:?}"));
    let meta = StoreMeta {
        changelog_position: now_ms,
        last_applied_ms: now_ms,
    };
    store.write(&prepared.changes, &meta).unwrap();
    let topics = prepared.outgoing.iter().map(|record| record.topic.to_string());
    (
        topics.filter(|topic| topic.starts_with("approved.")).collect(),
        prepared.changes,
    )
}

#[test]
fn a_capacity_is_kept_over_the_customers_of_a_batch_over_batches_and_over_a_restore() {
    let mut first = store();
    let (approved, mut log) = run(GATEWAY, &mut first, NOW_MS, texts(0..3), Vec::new());
    assert_eq!(approved.len(), 3);
    let (approved, more) = run(GATEWAY, &mut first, NOW_MS + 1_000, texts(3..7), Vec::new());
    assert_eq!(approved.len(), 2, "five in all");
    log.extend(more);
    // Another process, which knows the changelog only.
    let mut restored = store();
    let meta = StoreMeta {
        changelog_position: 1,
        last_applied_ms: NOW_MS,
    };
    restored.write(&log, &meta).unwrap();
    let (approved, _) = run(GATEWAY, &mut restored, NOW_MS + 2_000, texts(7..9), Vec::new());
    assert_eq!(approved.len(), 0);
    // What waits wakes with the bucket that leaves, and no more passes than has left.
    let wake_ms = NOW_MS + 1_000 + HOUR_MS;
    assert!(restored.due(wake_ms - 1, 100).unwrap().is_empty());
    let due = restored.due(wake_ms, 100).unwrap();
    assert_eq!(due.len(), 4);
    let (approved, _) = run(GATEWAY, &mut restored, wake_ms, texts(9..13), due);
    assert_eq!(approved.len(), 5);
}

#[test]
fn what_waits_for_another_message_is_judged_again_when_that_one_is_approved() {
    let after_a_mail =
        "{ id: mail-first, sequence: { only: { channel: sms }, if: { channel: email }, within: 7d }, on-hit: defer }";
    let mut store = store();
    let (approved, _) = run(
        after_a_mail,
        &mut store,
        NOW_MS,
        vec![intent(0, "c-1", "sms")],
        Vec::new(),
    );
    assert!(approved.is_empty() && store.due(NOW_MS + HOUR_MS, 100).unwrap().is_empty());
    let mail = vec![intent(1, "c-1", "email")];
    let (approved, _) = run(after_a_mail, &mut store, NOW_MS + 1_000, mail, Vec::new());
    assert_eq!(approved, ["approved.email"]);
    let due = store.due(NOW_MS + 1_000, 100).unwrap();
    assert_eq!(due.len(), 1);
    let (approved, _) = run(after_a_mail, &mut store, NOW_MS + 1_100, Vec::new(), due);
    assert_eq!(approved, ["approved.sms"]);
}
