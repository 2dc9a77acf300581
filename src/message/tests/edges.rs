//! The edges of JSON: numbers, texts and keys that other readers disagree about.

use super::*;

fn kind_of(result: Result<Intent, Malformed>) -> Option<MalformedKind> {
    result.err().map(|malformed| malformed.kind)
}

#[test]
fn a_negative_zero_is_zero() {
    let intent = intent_with(r#""priority":-0,"propensity":-0.0,"cost":-0e5,"value":-0"#).unwrap();
    assert_eq!((intent.priority, intent.cost_micros), (0, Some(0)));
    assert_eq!(intent.propensity, Some(0.0));
}

#[test]
fn a_number_that_no_double_holds_is_out_of_range_where_it_is_read_and_passes_where_it_is_not() {
    for name in ["priority", "value", "propensity", "cost"] {
        for number in ["1e400", "-1e400", "1e999999999"] {
            let read = intent_with(&format!("\"{name}\":{number}"));
            assert_eq!(kind_of(read), Some(MalformedKind::BadField), "{name} {number}");
        }
    }
    assert!(intent_with(r#""payload":[1e400,-1e999999999],"unread":1e400"#).is_ok());
    // As close to zero as makes no difference.
    assert_eq!(intent_with(r#""propensity":1e-400"#).unwrap().propensity, Some(0.0));
}

#[test]
fn half_a_surrogate_pair_is_refused_in_a_key_and_where_it_is_read_and_passes_where_it_is_not() {
    let half = r#""\ud800""#;
    assert_eq!(kind_of(intent_with(&format!("{half}:1"))), Some(MalformedKind::NotJson));
    for name in ["campaign", "endpoint", "expires_at", "objective"] {
        let read = intent_with(&format!("\"{name}\":{half}"));
        assert_eq!(kind_of(read), Some(MalformedKind::BadField), "{name}");
    }
    let read = intent_with(&format!("\"tags\":[\"a\",{half}]"));
    assert_eq!(kind_of(read), Some(MalformedKind::BadField));
    assert!(intent_with(&format!("\"payload\":{half}")).is_ok());
    assert_eq!(
        &*intent_with(r#""campaign":"\ud83d\ude00""#).unwrap().campaign.unwrap(),
        "😀"
    );
}

#[test]
fn a_text_may_hold_what_a_byte_may_hold_as_long_as_it_is_written_as_json() {
    let intent = intent_with(r#""campaign":"\u0000\u001f/\/\"","tags":["\u0000"]"#).unwrap();
    assert_eq!(intent.campaign.as_deref(), Some("\0\u{1f}//\""));
    for raw in ["\0", "\u{1f}", "\n", "\t"] {
        let value = format!("\"campaign\":\"{raw}\"");
        assert_eq!(kind_of(intent_with(&value)), Some(MalformedKind::NotJson), "{raw:?}");
    }
}

#[test]
fn a_byte_order_mark_is_no_json_and_white_space_around_is() {
    let minimal = r#"{"intent_id":"i","customer_id":"c","channel":"email","division":"d"}"#;
    assert_eq!(
        kind_of(intent(&format!("\u{feff}{minimal}"))),
        Some(MalformedKind::NotJson)
    );
    assert!(intent(&format!(" \r\n\t{minimal}\n ")).is_ok());
    assert_eq!(
        kind_of(intent(&format!("\u{a0}{minimal}"))),
        Some(MalformedKind::NotJson)
    );
}

#[test]
fn a_repeated_key_is_found_in_every_object_that_is_read() {
    let attributes = event_with("profile_set", r#""attributes":{"a":1,"\u0061":2}"#).unwrap_err();
    assert_eq!(attributes.kind, MalformedKind::BadField);
    let headers = [header("content-type", "application/cloudevents+json")];
    for value in [
        r#"{"id":"1","source":"s","source":"s","data":{}}"#,
        r#"{"id":"1","source":"s","x":1,"x":1,"data":{"customer_id":"c","channel":"e","division":"d"}}"#,
        r#"{"id":"1","source":"s","data":{"customer_id":"c","customer_id":"c","channel":"e","division":"d"}}"#,
        r#"{"id":"1","source":"s","data":{"customer_id":"c","channel":"e","division":"d"},"data":{}}"#,
    ] {
        let decoded = decode_intent(Some(value.as_bytes()), &headers, 0, MAX_BYTES, false);
        assert_eq!(kind_of(decoded), Some(MalformedKind::BadField), "{value}");
    }
    // Nobody reads a payload.
    assert!(intent_with(r#""payload":{"a":1,"a":2,"b":{"c":1,"c":1}}"#).is_ok());
}

#[test]
fn every_optional_field_of_an_intent_may_be_null_and_none_may_be_of_another_type() {
    for name in [
        "class",
        "message_type",
        "campaign",
        "category",
        "topic",
        "tags",
        "offer",
        "endpoint",
        "fallback_channels",
        "priority",
        "value",
        "propensity",
        "cost",
        "not_before",
        "deliver_at",
        "expires_at",
        "created_at",
        "objective",
    ] {
        assert!(intent_with(&format!("\"{name}\":null")).is_ok(), "{name}");
        for wrong in ["{}", "true", "[{}]"] {
            let malformed = intent_with(&format!("\"{name}\":{wrong}")).unwrap_err();
            assert_eq!(malformed.kind, MalformedKind::BadField, "{name} {wrong}");
        }
    }
    assert!(intent_with(r#""payload":null"#).is_ok());
}

#[test]
fn every_optional_field_of_an_event_may_be_null_and_none_may_be_of_another_type() {
    let fields = [
        (
            "clicked",
            "intent_id channel division endpoint campaign category topic offer tags class message_type issue_id machine",
        ),
        ("consent_granted", "channel purpose division basis expires_at"),
        (
            "preferences_set",
            "refused_topics only_topics refused_channels max_per_week paused_until",
        ),
        ("profile_set", "timezone jurisdiction segments attributes since"),
    ];
    for (kind, names) in fields {
        for name in names.split(' ') {
            assert!(event_with(kind, &format!("\"{name}\":null")).is_ok(), "{name}");
            let malformed = event_with(kind, &format!("\"{name}\":[{{}}]")).unwrap_err();
            assert_eq!(malformed.kind, MalformedKind::BadField, "{name}");
        }
    }
    let null = event_with("contacted_elsewhere", r#""channel":"phone","division":"d","cost":null"#);
    assert_eq!(null.unwrap().cost_micros, None);
}

#[test]
fn an_id_of_an_event_has_1_to_256_bytes_and_so_has_the_identity_of_a_cloud_event() {
    let with_id = |id: &str| event(&MINIMAL_EVENT.replace("TYPE", "opened").replace("e-1", id));
    let longest = "é".repeat(128);
    assert_eq!(&*with_id(&longest).unwrap().event_id, longest);
    for bad in ["", &format!("{longest}x")] {
        assert_eq!(with_id(bad).unwrap_err().kind, MalformedKind::BadField);
    }
    for name in ["intent_id", "issue_id", "channel", "division"] {
        assert!(event_with("clicked", &format!("\"{name}\":\"{longest}\"")).is_ok());
        let malformed = event_with("clicked", &format!("\"{name}\":\"{longest}x\"")).unwrap_err();
        assert_eq!(malformed.kind, MalformedKind::BadField, "{name}");
    }
}

#[test]
fn what_is_broken_anywhere_is_not_json_whatever_else_is_wrong_with_it() {
    let reserved = [header("forbear-channel", "sms")];
    let broken = br#"{"customer_id":7,"customer_id":8,"payload":[}"#;
    let kind = |headers: &[Header], most| decode_intent(Some(broken), headers, 0, most, false).unwrap_err().kind;
    assert_eq!(kind(&[], MAX_BYTES), MalformedKind::NotJson);
    // Only what is not looked into comes before.
    assert_eq!(kind(&reserved, MAX_BYTES), MalformedKind::ReservedHeader);
    assert_eq!(kind(&reserved, 3), MalformedKind::TooLarge);
}

#[test]
fn a_cloud_event_of_a_stranger_keeps_bare_json_readable_beside_it() {
    let value = br#"{"intent_id":"i","customer_id":"c","channel":"email","division":"d"}"#;
    let headers = [
        header("content-type", "application/json"),
        header("ce", "x"),
        header("traceparent", "00-1"),
    ];
    let intent = decode_intent(Some(value), &headers, 0, MAX_BYTES, false).unwrap();
    assert_eq!(&*intent.intent_id, "i");
    let batch = [header("content-type", "application/cloudevents-batch+json")];
    let malformed = decode_intent(Some(value), &batch, 0, MAX_BYTES, false).unwrap_err();
    assert_eq!(malformed.kind, MalformedKind::NotJson);
}
