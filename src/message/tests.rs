//! The decoders from outside: what every field means, each kind of dead letter, and arbitrary bytes.

mod edges;
mod events;

use super::*;
use proptest::prelude::*;

const MAX_BYTES: usize = 10_000;
const RECORD_MS: i64 = 1_700_000_000_000;

const WHOLE_INTENT: &str = r#"{
    "intent_id":"i-1", "customer_id":"c-1", "channel":"email", "division":"cards", "class":"service",
    "message_type":"trigger", "campaign":"spring", "category":"promo", "topic":"travel", "tags":["a","b"],
    "offer":"o-1", "endpoint":"a@example.com", "fallback_channels":["push","sms"], "priority":1000, "value":-12.5,
    "propensity":0.25, "cost":0.002, "not_before":"2026-03-28T20:30:00Z", "deliver_at":"2026-03-28T20:30:01Z",
    "expires_at":"2026-03-28T20:30:02Z", "created_at":"2026-03-28T20:29:00Z", "objective":"upsell",
    "payload":{"customer_id":"x","customer_id":[null]}, "unknown":[{}] }"#;

const MINIMAL_EVENT: &str =
    r#"{"event_id":"e-1","customer_id":"c-1","type":"TYPE","occurred_at":"2026-03-28T20:30:00Z"}"#;

fn intent(value: &str) -> Result<Intent, Malformed> {
    decode_intent(Some(value.as_bytes()), &[], RECORD_MS, MAX_BYTES, false)
}

fn event(value: &str) -> Result<EngagementEvent, Malformed> {
    decode_event(Some(value.as_bytes()), &[], MAX_BYTES, false)
}

/// A minimal intent with further members.
fn intent_with(members: &str) -> Result<Intent, Malformed> {
    intent(&format!(
        r#"{{"intent_id":"i-1","customer_id":"c-1","channel":"email","division":"cards",{members}}}"#
    ))
}

/// A minimal event of a type with further members.
fn event_with(kind: &str, members: &str) -> Result<EngagementEvent, Malformed> {
    let event_text = MINIMAL_EVENT.replace("TYPE", kind);
    event(&format!("{},{members}}}", event_text.strip_suffix('}').unwrap()))
}

fn header(name: &str, value: &str) -> Header {
    (name.to_owned(), Some(value.as_bytes().to_vec()))
}

#[test]
fn every_field_of_an_intent_is_read() {
    let expected = Intent {
        intent_id: "i-1".into(),
        customer_id: "c-1".into(),
        channel: "email".into(),
        division: "cards".into(),
        class: Some("service".into()),
        message_type: "trigger".into(),
        campaign: Some("spring".into()),
        category: Some("promo".into()),
        topic: Some("travel".into()),
        tags: vec!["a".into(), "b".into()],
        offer: Some("o-1".into()),
        endpoint: Some("a@example.com".into()),
        fallback_channels: vec!["push".into(), "sms".into()],
        priority: 1000,
        value: Some(-12.5),
        propensity: Some(0.25),
        cost_micros: Some(2000),
        not_before_ms: Some(1_774_729_800_000),
        deliver_at_ms: Some(1_774_729_801_000),
        expires_at_ms: Some(1_774_729_802_000),
        created_at_ms: 1_774_729_740_000,
        objective: Some("upsell".into()),
    };
    assert_eq!(intent(WHOLE_INTENT), Ok(expected));
}

#[test]
fn absent_and_null_fields_of_an_intent_have_their_defaults() {
    for members in [
        r#""unread":1"#,
        r#""class":null,"message_type":null,"tags":null,"priority":null,"value":null,"cost":null,"created_at":null,"payload":null"#,
    ] {
        let intent = intent_with(members).unwrap();
        assert_eq!(&*intent.message_type, "campaign", "{members:?}");
        assert_eq!(intent.priority, 500, "{members:?}");
        assert_eq!(intent.created_at_ms, RECORD_MS, "{members:?}");
        assert_eq!(
            (intent.class, intent.endpoint, intent.objective),
            (None, None, None),
            "{members:?}"
        );
        assert_eq!(
            (intent.value, intent.propensity, intent.cost_micros),
            (None, None, None),
            "{members:?}"
        );
        assert_eq!(
            (intent.not_before_ms, intent.deliver_at_ms, intent.expires_at_ms),
            (None, None, None),
            "{members:?}"
        );
        assert!(
            intent.tags.is_empty() && intent.fallback_channels.is_empty(),
            "{members:?}"
        );
    }
}

#[test]
fn a_record_without_a_timestamp_was_created_at_the_epoch() {
    let value = WHOLE_INTENT.replace("created_at", "created");
    let intent = decode_intent(Some(value.as_bytes()), &[], -1, MAX_BYTES, false).unwrap();
    assert_eq!(intent.created_at_ms, 0);
}

#[test]
fn what_is_no_json_object_is_not_json() {
    for value in [
        "",
        "  ",
        "null",
        "[]",
        "\"text\"",
        "12",
        "{",
        "{\"a\":1}}",
        "{\"a\":1} {}",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"a\":\"\n\"}",
        "{\"payload\":[1,2}",
        "{\"priority\":\"wrong type\",\"payload\":[}",
        "\u{feff}{}",
    ] {
        assert_eq!(intent(value).unwrap_err().kind, MalformedKind::NotJson, "{value:?}");
        assert_eq!(event(value).unwrap_err().kind, MalformedKind::NotJson, "{value:?}");
    }
}

#[test]
fn a_null_value_and_invalid_utf_8_are_not_json() {
    for value in [None, Some(&b"{\"payload\":\"\xff\"}"[..])] {
        let malformed = decode_intent(value, &[], 0, MAX_BYTES, false).unwrap_err();
        assert_eq!(malformed.kind, MalformedKind::NotJson);
        let malformed = decode_event(value, &[], MAX_BYTES, false).unwrap_err();
        assert_eq!(malformed.kind, MalformedKind::NotJson);
    }
}

#[test]
fn nesting_deeper_than_128_is_not_json_wherever_it_is() {
    for name in ["payload", "unknown", "tags", "attributes"] {
        // The object itself is the first level.
        let nested = |depth: usize| format!(r#""{name}":{}{}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert_eq!(
            intent_with(&nested(129)).unwrap_err().kind,
            MalformedKind::NotJson,
            "{name:?}"
        );
        assert_eq!(
            event_with("clicked", &nested(4000)).unwrap_err().kind,
            MalformedKind::NotJson,
            "{name:?}"
        );
        if name != "tags" {
            assert!(intent_with(&nested(128)).is_ok(), "{name:?}");
        }
    }
}

#[test]
fn a_repeated_key_is_a_bad_field() {
    for (members, detail) in [
        ("\"customer_id\":\"c-1\"", "customer_id: expected to occur once"),
        ("\"customer\\u005fid\":\"c-1\"", "customer_id: expected to occur once"),
        ("\"payload\":1,\"payload\":1", "payload: expected to occur once"),
        ("\"x\":1,\"y\":1,\"\\u0078\":2", "expected every key to occur once"),
    ] {
        let malformed = intent_with(members).unwrap_err();
        assert_eq!(
            malformed,
            Malformed::new(MalformedKind::BadField, detail),
            "{members:?} {detail:?}"
        );
    }
}

#[test]
fn an_intent_without_a_required_field_says_which() {
    for name in ["intent_id", "customer_id", "channel", "division"] {
        let expected = Malformed::new(MalformedKind::MissingField, format!("{name}: required"));
        let renamed = WHOLE_INTENT.replacen(&format!("\"{name}\""), "\"another\"", 1);
        assert_eq!(intent(&renamed).as_ref(), Err(&expected), "{name:?}");
        let nulled = renamed.replacen('{', &format!("{{\"{name}\":null,"), 1);
        assert_eq!(intent(&nulled), Err(expected), "{name:?}");
    }
}

#[test]
fn an_event_without_a_required_field_says_which() {
    for name in ["event_id", "customer_id", "type", "occurred_at"] {
        let value = MINIMAL_EVENT.replace("TYPE", "opened").replace(name, "another");
        let expected = Malformed::new(MalformedKind::MissingField, format!("{name}: required"));
        assert_eq!(event(&value), Err(expected), "{name:?}");
    }
}

#[test]
fn a_bad_field_of_an_intent_is_named_and_its_value_is_not() {
    for (name, value) in [
        ("class", "1"),
        ("class", "{}"),
        ("message_type", "\"\""),
        ("campaign", "[\"spring\"]"),
        ("campaign", "\"\\ud800\""),
        ("tags", "\"a\""),
        ("tags", "[1]"),
        ("tags", "[null]"),
        ("tags", "[\"\"]"),
        ("fallback_channels", "{}"),
        ("endpoint", "true"),
        ("priority", "-1"),
        ("priority", "1001"),
        ("priority", "1.5"),
        ("priority", "\"500\""),
        ("priority", "1e400"),
        ("value", "1e400"),
        ("value", "\"12\""),
        ("propensity", "1.01"),
        ("propensity", "-0.01"),
        ("cost", "-0.01"),
        ("cost", "1000000001"),
        ("not_before", "\"tomorrow\""),
        ("deliver_at", "1774729800"),
        ("expires_at", "\"2026-02-30T00:00:00Z\""),
        ("created_at", "\"1969-12-31T23:59:59Z\""),
    ] {
        let malformed = intent_with(&format!("\"{name}\":{value}")).unwrap_err();
        assert_eq!(malformed.kind, MalformedKind::BadField, "{name:?} {value:?}");
        assert!(
            malformed.detail.starts_with(&format!("{name}: expected ")),
            "{malformed:?}"
        );
        assert!(
            !malformed.detail.contains("tomorrow") && !malformed.detail.contains("spring"),
            "{name:?} {value:?}"
        );
    }
}

#[test]
fn a_value_on_the_edge_of_its_range_is_accepted() {
    for (name, value) in [
        ("priority", "0"),
        ("priority", "1e3"),
        ("priority", "7.0"),
        ("value", "-1e300"),
        ("propensity", "0"),
        ("propensity", "1"),
        ("cost", "0"),
        ("cost", "1000000000"),
        ("campaign", "\"\""),
        ("expires_at", "\"9999-12-31T23:59:59Z\""),
    ] {
        assert!(
            intent_with(&format!("\"{name}\":{value}")).is_ok(),
            "{name:?} {value:?}"
        );
    }
}

#[test]
fn an_id_has_1_to_256_bytes() {
    let with_ids = |intent_id: &str, customer_id: &str| {
        intent(&format!(
            r#"{{"intent_id":"{intent_id}","customer_id":"{customer_id}","channel":"email","division":"cards"}}"#
        ))
    };
    let longest = "é".repeat(128);
    assert_eq!(&*with_ids(&longest, &longest).unwrap().customer_id, longest);
    for bad in ["", &format!("{longest}x")] {
        let bad_field = |name| {
            Malformed::new(
                MalformedKind::BadField,
                format!("{name}: expected a string of 1 to 256 bytes"),
            )
        };
        assert_eq!(with_ids(bad, "c").unwrap_err(), bad_field("intent_id"));
        assert_eq!(with_ids("i", bad).unwrap_err(), bad_field("customer_id"));
    }
}

#[test]
fn a_list_may_be_as_long_as_its_limit_and_no_longer() {
    for (name, most) in [("tags", limits::TAGS), ("fallback_channels", limits::FALLBACK_CHANNELS)] {
        let list = |length: usize| format!("\"{name}\":[{}]", vec!["\"x\""; length].join(","));
        assert!(intent_with(&list(most)).is_ok(), "{name:?} {most:?}");
        assert_eq!(
            intent_with(&list(most + 1)).unwrap_err().kind,
            MalformedKind::BadField,
            "{name:?} {most:?}"
        );
    }
}

#[test]
fn a_value_larger_than_the_limit_is_too_large_and_one_as_large_is_not() {
    let value = WHOLE_INTENT.as_bytes();
    assert!(decode_intent(Some(value), &[], 0, value.len(), false).is_ok());
    let malformed = decode_intent(Some(value), &[], 0, value.len() - 1, false).unwrap_err();
    assert_eq!(malformed.kind, MalformedKind::TooLarge);
}

#[test]
fn a_reserved_header_is_refused_unless_it_is_ours() {
    let headers = [header("traceparent", "00"), header("forbear-channel", "sms")];
    let decode = |allowed| decode_intent(Some(WHOLE_INTENT.as_bytes()), &headers, 0, MAX_BYTES, allowed);
    assert_eq!(decode(false).unwrap_err().kind, MalformedKind::ReservedHeader);
    assert!(decode(true).is_ok());
    let value = MINIMAL_EVENT.replace("TYPE", "opened");
    let malformed = decode_event(Some(value.as_bytes()), &headers, MAX_BYTES, false).unwrap_err();
    assert_eq!(malformed.kind, MalformedKind::ReservedHeader);
}

#[test]
fn a_cloud_event_in_binary_mode_is_identified_by_source_and_id() {
    let value = r#"{"customer_id":"c-1","channel":"email","division":"cards","intent_id":7}"#;
    let decode = |headers: &[Header]| decode_intent(Some(value.as_bytes()), headers, 0, MAX_BYTES, false);
    let headers = [
        header("ce_specversion", "1.0"),
        header("ce_id", "42"),
        header("ce_source", "/crm/loans"),
        header("content-type", "application/json"),
    ];
    assert_eq!(&*decode(&headers).unwrap().intent_id, "/crm/loans 42");
    for missing in [1, 2] {
        let mut fewer = headers.to_vec();
        let (name, _) = fewer.remove(missing);
        assert_eq!(
            decode(&fewer).unwrap_err(),
            Malformed::new(MalformedKind::MissingField, format!("{name}: required"))
        );
        fewer.push(header(&name, ""));
        assert_eq!(decode(&fewer).unwrap_err().kind, MalformedKind::BadField);
    }
    let repeated = [headers[1].clone(), headers[2].clone(), header("ce_id", "43")];
    assert_eq!(decode(&repeated).unwrap_err().kind, MalformedKind::BadField);
}

#[test]
fn a_cloud_event_in_structured_mode_has_its_fields_under_data() {
    let value = r#"{"specversion":"1.0","id":"42","source":"/esp","type":"report","data":
        {"customer_id":"c-1","type":"opened","occurred_at":"2026-03-28T20:30:00Z"}}"#;
    let decode = |content_type: &str, value: &str| {
        let headers = [header("Content-Type", content_type)];
        decode_event(Some(value.as_bytes()), &headers, MAX_BYTES, false)
    };
    for content_type in [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=UTF-8",
    ] {
        let event = decode(content_type, value).unwrap();
        assert_eq!((&*event.event_id, &*event.customer_id), ("/esp 42", "c-1"));
    }
    let kind_of = |value: &str| decode("application/cloudevents+json", value).unwrap_err().kind;
    assert_eq!(kind_of(&value.replace("data", "dada")), MalformedKind::MissingField);
    assert_eq!(kind_of(&value.replace("source", "origin")), MalformedKind::MissingField);
    assert_eq!(kind_of(r#"{"id":"1","source":"s","data":[]}"#), MalformedKind::BadField);
    assert_eq!(
        kind_of(r#"{"id":"1","id":"1","source":"s","data":{}}"#),
        MalformedKind::BadField
    );
    assert_eq!(kind_of(r#"{"id":"","source":"s","data":{}}"#), MalformedKind::BadField);
    let avro = decode("application/cloudevents+avro", value).unwrap_err();
    assert_eq!(avro.kind, MalformedKind::NotJson);
}

proptest! {
    #[test]
    fn the_identity_of_a_cloud_event_is_bounded_and_never_shared(
        one in ("[ab /]{1,4}|[a ]{250,260}", "[ab /]{1,4}"),
        other in ("[ab /]{1,4}|[a ]{250,260}", "[ab /]{1,4}"),
    ) {
        let identity = |(source, id): &(String, String)| {
            let value = br#"{"customer_id":"c","channel":"e","division":"d"}"#;
            let headers = [header("ce_source", source), header("ce_id", id)];
            decode_intent(Some(value), &headers, 0, MAX_BYTES, false).unwrap().intent_id
        };
        prop_assert!(identity(&one).len() <= limits::ID_BYTES);
        prop_assert_eq!(identity(&one) == identity(&other), one == other);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        headers in prop::collection::vec(
            ("ce_id|ce_source|content-type|[a-z]{0,4}", prop::option::of(prop::collection::vec(any::<u8>(), 0..30))),
            0..4,
        ),
    ) {
        let _ = decode_intent(value.as_deref(), &headers, i64::MIN, 200, false);
        let _ = decode_event(value.as_deref(), &headers, 200, true);
    }

    #[test]
    fn a_damaged_record_is_decoded_or_refused_and_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
        is_structured: bool,
    ) {
        let event = MINIMAL_EVENT.replace("TYPE", r#"profile_set","timezone":"UTC","attributes":{"a":1},"x":"\u0041"#);
        let headers = if is_structured { vec![header("content-type", "application/cloudevents+json")] } else { vec![] };
        for original in [WHOLE_INTENT, &event, r#"{"id":"1","source":"s","data":{"tags":["\u0041"]}}"#] {
            let mut bytes = original.as_bytes().to_vec();
            for (place, byte, how) in &damage {
                let place = place.index(bytes.len());
                match how {
                    0 => bytes[place] = *byte,
                    1 => bytes.insert(place, *byte),
                    _ => { bytes.remove(place); }
                }
            }
            let is_json = std::str::from_utf8(&bytes)
                .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
            let intent = decode_intent(Some(&bytes), &headers, 0, MAX_BYTES, false);
            let event = decode_event(Some(&bytes), &headers, MAX_BYTES, false);
            prop_assert!(is_json || (intent.is_err() && event.is_err()));
        }
    }

    #[test]
    fn a_detail_never_repeats_what_the_record_says(name in "tags|endpoint|cost|value|priority|created_at|offer|zzsecret") {
        for value in [r#"{"zzsecret":"zzsecret"}"#, r#"["zzsecret",1]"#, r#""zzsecret"#] {
            if let Err(malformed) = intent_with(&format!("\"zzsecret\":1,\"{name}\":{value}")) {
                prop_assert!(!malformed.detail.contains("zzsecret"), "{:?}", malformed);
            }
        }
    }
}
