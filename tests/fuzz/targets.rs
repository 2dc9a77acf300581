//! What is fuzzed: everything that reads bytes from outside. One function for each target; each takes any bytes, must never
//! panic, and asserts what has to hold of what it accepts. Used by the fuzzer (`tests/fuzz/fuzz_*.rs`) and, over the seeds and
//! over everything that once crashed, by `cargo test --test fuzz_corpus`.

use forbear::cli::settings::Settings;
use forbear::commit::marker::{self, Marker};
use forbear::customer::keys::{self, Key};
use forbear::customer::{CapacityUse, Customer, codec};
use forbear::message::{Header, Malformed, MalformedKind, Name, decode_event, decode_intent, limits, owner, time};
use forbear::policy::file::Document;
use forbear::policy::model::Policy;
use forbear::store::keys as store_keys;
use forbear::store::{StoreIdentity, identity};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// A name, what is called with the bytes, and how many bytes of a seed are damaged one after the other in the replay.
pub type Target = (&'static str, fn(&[u8]), usize);

/// Every target.
pub const TARGETS: [Target; 5] = [
    ("intent", intent, 1_024),
    ("event", event, 1_024),
    ("policy", policy, 2_048),
    ("state", state, 1_024),
    ("settings", settings, 1_024),
];

/// `max-intent-bytes`, small enough that the fuzzer meets it.
const MOST_BYTES: usize = 960;
const PARTITIONS: i32 = 12;
const TIMESTAMP_MS: i64 = 1_774_729_800_000;
const SECRET: [u8; 16] = [7; 16];
/// The longest detail of a dead letter: it names a field and what was expected, and repeats nothing of the record.
const DETAIL_BYTES: usize = 400;

/// A record of an intents topic: lines of headers (`name=value`), a zero byte, the value. Without a zero byte: the value.
pub fn intent(bytes: &[u8]) {
    let (headers, value) = record(bytes);
    match decode_intent(Some(value), &headers, TIMESTAMP_MS, MOST_BYTES, false) {
        Ok(intent) => {
            for id in [
                &intent.intent_id,
                &intent.customer_id,
                &intent.channel,
                &intent.division,
            ] {
                assert!(
                    (1..=limits::ID_BYTES).contains(&id.len()),
                    "an id of {} bytes",
                    id.len()
                );
            }
            assert!(intent.priority <= limits::PRIORITY);
            assert!(intent.value.is_none_or(f64::is_finite));
            assert!(intent.propensity.is_none_or(|share| (0.0..=1.0).contains(&share)));
            assert!(intent.tags.len() <= limits::TAGS && intent.fallback_channels.len() <= limits::FALLBACK_CHANNELS);
            assert_json(&headers, value, &intent.customer_id);
        }
        Err(malformed) => assert_malformed(&malformed, value),
    }
}

/// A record of an engagement topic, as for [`intent`].
pub fn event(bytes: &[u8]) {
    let (headers, value) = record(bytes);
    match decode_event(Some(value), &headers, MOST_BYTES, false) {
        Ok(event) => {
            for id in [&event.event_id, &event.customer_id] {
                assert!(
                    (1..=limits::ID_BYTES).contains(&id.len()),
                    "an id of {} bytes",
                    id.len()
                );
            }
            // What is written for people reads back, whatever instant was accepted.
            let written = String::from_utf8(time::rfc3339(event.occurred_at_ms)).expect("ASCII");
            assert_eq!(time::parse_any_year(&written), Some(event.occurred_at_ms), "{written}");
            assert_json(&headers, value, &event.customer_id);
        }
        Err(malformed) => assert_malformed(&malformed, value),
    }
}

/// A policy; what follows a zero byte are files that it may include, `1.yaml` and so on.
pub fn policy(bytes: &[u8]) {
    let mut files = bytes.split(|byte| *byte == 0);
    let main = files.next().unwrap_or_default();
    let others: BTreeMap<String, &[u8]> = (1..).map(|number| format!("{number}.yaml")).zip(files).collect();
    let mut read = |name: &str| {
        others
            .get(name)
            .map(|text| text.to_vec())
            .ok_or("no such file".to_owned())
    };
    let loaded = Policy::load_with(main, "policy.yaml", Some(TIMESTAMP_MS), &mut read);
    let (policy, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(
                !errors.to_text(false).is_empty(),
                "a policy is refused and nobody says why"
            );
            return;
        }
    };
    let _ = warnings.to_text(false);
    // The text that is published is the policy by itself: P5 rests on it.
    let (again, _) = Policy::load(&policy.text, "policy.yaml", Some(TIMESTAMP_MS))
        .unwrap_or_else(|errors| panic!("the published text is refused: {}", errors.to_text(false)));
    assert_eq!(again.sha256, policy.sha256);
    // And so is the text that is written anew from the tree, as it is where files are included.
    let document = Document::read("policy.yaml", &policy.text, &mut read).expect("it was read before");
    let emitted = document.with(&[]);
    Policy::load(emitted.text(), "policy.yaml", Some(TIMESTAMP_MS))
        .unwrap_or_else(|errors| panic!("the text written anew is refused: {}", errors.to_text(false)));
}

/// Bytes of the store and of the changelog: the first byte says which kind.
pub fn state(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    match kind % 12 {
        0 => again(
            bytes,
            |bytes| codec::decode_head(Name::from("c1"), bytes).ok(),
            |(customer, months)| codec::encode_head(customer, months, &customer.contacts),
        ),
        1 => again(
            bytes,
            |bytes| codec::decode_segment(bytes).ok(),
            |contacts| codec::encode_segment(contacts),
        ),
        2 => again(
            bytes,
            |bytes| codec::decode_waiting_body(bytes).ok(),
            codec::encode_waiting_body,
        ),
        3 => again(
            bytes,
            |bytes| codec::decode_erased(bytes).ok(),
            |()| codec::encode_erased(),
        ),
        4 => again(bytes, |bytes| Marker::decode(bytes).ok(), Marker::encode),
        5 => capacity(bytes),
        6 => key(bytes),
        7 => again(
            bytes,
            |key| store_keys::parse_due_key(key).ok(),
            |(due_ms, id)| store_keys::due_key(*due_ms, id),
        ),
        8 => again(
            bytes,
            |bytes| store_keys::decode_meta(bytes).ok(),
            |meta| store_keys::encode_meta(meta).to_vec(),
        ),
        9 => store_identity(bytes),
        10 => offset_metadata(bytes),
        _ => customer(bytes),
    }
}

/// Settings; what follows a zero byte are variables of the environment (`NAME=value`, one a line).
pub fn settings(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (Some(Ok(text)), variables) = (parts.next().map(std::str::from_utf8), parts.next().unwrap_or_default()) else {
        return;
    };
    let variables = String::from_utf8_lossy(variables);
    // A `file:` value opens what it names: a device could be anything.
    if text.contains("file:") || variables.contains("file:") {
        return;
    }
    let environment = variables.lines().filter_map(|line| line.split_once('='));
    let environment: Vec<(String, String)> = environment
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match Settings::parse(text, environment) {
        Ok(settings) => {
            assert!((1..=64).contains(&settings.processing.workers));
            assert!(!settings.topics.intents.is_empty() && !settings.topics.engagement.is_empty());
            assert!(!settings.kafka.group_id.trim().is_empty());
            let _ = format!("{settings:?}");
        }
        Err(error) => assert!(error.problems.iter().all(|problem| !problem.is_empty()) && !error.problems.is_empty()),
    }
}

/// What decodes must encode again and decode to the same.
fn again<T: Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<T>, encode: impl Fn(&T) -> Vec<u8>) {
    let Some(first) = decode(bytes) else { return };
    let encoded = encode(&first);
    let second = decode(&encoded).expect("what was written can be read");
    // By their texts: a number that is none is not equal to itself.
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    assert_eq!(encoded, encode(&second), "the same is not written the same way twice");
}

fn capacity(bytes: &[u8]) {
    let rule = Name::from("rule");
    let load = |bytes: &[u8]| {
        let mut read = |_: &[u8]| Ok::<_, ()>(Some(bytes.to_vec()));
        CapacityUse::load(3, std::iter::once(&rule), &mut read).ok()
    };
    let Some(mut used) = load(bytes) else { return };
    used.add(&rule, TIMESTAMP_MS, |_, _| false, |_| false);
    for (key, value) in used.changes() {
        assert_eq!(
            keys::parse_key(&key),
            Some(Key::Capacity {
                partition: 3,
                rule: "rule"
            })
        );
        let loaded = load(&value.expect("a value")).expect("what was written can be read");
        assert_eq!(loaded.of("rule"), used.of("rule"));
    }
}

fn key(bytes: &[u8]) {
    let Some(key) = keys::parse_key(bytes) else { return };
    let built = match &key {
        Key::Head { customer_id } => keys::head_key(customer_id),
        Key::History { customer_id, month } => keys::history_key(customer_id, *month),
        Key::WaitingBody { customer_id, origin } => keys::waiting_body_key(customer_id, origin),
        Key::Marker { partition } => keys::marker_key(*partition),
        Key::Capacity { partition, rule } => keys::capacity_key(*partition, rule),
        Key::Erased { .. } => bytes.to_vec(),
    };
    assert_eq!(built, bytes, "no builder makes this key: {key:?}");
    assert!(store_keys::check_foreign(bytes).is_ok());
    let _ = store_keys::forgotten_by_deleting(bytes);
}

fn store_identity(bytes: &[u8]) {
    let wanted = StoreIdentity {
        cluster_id: "cluster".to_owned(),
        state_topic: "forbear.state".to_owned(),
        partition: 3,
        partition_count: PARTITIONS,
    };
    let written = identity::encode(&wanted).expect("an identity can be written");
    assert!(identity::examine(&written, None, &wanted, 0).is_ok());
    let _ = identity::examine(bytes, None, &wanted, 0);
}

fn offset_metadata(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some((lineage, seq)) = marker::parse_metadata(text) {
        let marker = Marker {
            seq,
            lineage,
            partition_count: PARTITIONS,
            now_ms: 0,
            positions: Vec::new(),
            repaired: false,
            deferred: 0,
            timed_by: None,
        };
        assert_eq!(marker::parse_metadata(&marker.metadata()), Some((lineage, seq)));
    }
}

/// A customer as it lies in the store: pieces, each behind its length (two bytes), are the head and the segments in the order
/// in which they are asked for. What can be loaded can be written, and is loaded as the same.
fn customer(bytes: &[u8]) {
    let mut rest = bytes;
    let mut piece = || {
        let (length, more) = rest.split_first_chunk::<2>()?;
        let (piece, more) = more.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = more;
        Some(piece.to_vec())
    };
    let mut values: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut read = |key: &[u8]| {
        let is_erased = matches!(keys::parse_key(key), Some(Key::Erased { .. }));
        let value = values
            .get(key)
            .cloned()
            .or_else(|| (!is_erased).then(&mut piece).flatten());
        values.extend(value.clone().map(|value| (key.to_vec(), value)));
        Ok::<_, ()>(value)
    };
    let Ok(mut first) = Customer::load(Name::from("c1"), &SECRET, &mut read) else {
        return;
    };
    for (key, value) in first.changes(&SECRET) {
        match value {
            Some(value) => drop(values.insert(key, value)),
            None => drop(values.remove(&key)),
        }
    }
    let mut stored = |key: &[u8]| Ok::<_, ()>(values.get(key).cloned());
    let mut second = Customer::load(Name::from("c1"), &SECRET, &mut stored).expect("what was written can be read");
    assert_eq!(knowledge(&first), knowledge(&second));
    assert!(
        second.changes(&SECRET).is_empty(),
        "what did not change is written again"
    );
}

/// All that is known of a customer, and nothing of how it is stored.
fn knowledge(customer: &Customer) -> String {
    format!("{:?}", codec::encode_head(customer, &[], &customer.contacts))
}

fn record(bytes: &[u8]) -> (Vec<Header>, &[u8]) {
    let Some(at) = bytes.iter().position(|byte| *byte == 0) else {
        return (Vec::new(), bytes);
    };
    let headers = String::from_utf8_lossy(&bytes[..at]);
    let header = |line: &str| match line.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.as_bytes().to_vec())),
        None => (line.to_owned(), None),
    };
    (headers.lines().map(header).collect(), &bytes[at + 1..])
}

/// Another parser agrees that it is JSON, and, outside of CloudEvents, about the owner.
fn assert_json(headers: &[Header], value: &[u8], customer_id: &str) {
    assert!((0..PARTITIONS).contains(&owner(customer_id, PARTITIONS)));
    let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(value);
    assert!(parsed.is_ok(), "accepted, and no JSON");
    if let (true, Ok(serde_json::Value::Object(object))) = (headers.is_empty(), serde_json::from_slice(value)) {
        let named = object.get("customer_id").and_then(|id| id.as_str());
        // A structured CloudEvent is told by its header alone.
        assert_eq!(named, Some(customer_id));
    }
}

fn assert_malformed(malformed: &Malformed, value: &[u8]) {
    assert!(
        !malformed.detail.is_empty() && malformed.detail.len() <= DETAIL_BYTES,
        "{}",
        malformed.detail
    );
    assert_eq!(malformed.kind == MalformedKind::TooLarge, value.len() > MOST_BYTES);
}
