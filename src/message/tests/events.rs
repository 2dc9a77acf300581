//! What every type of engagement event carries.

use super::*;

#[test]
fn every_type_of_event_is_read_and_others_are_unknown() {
    for kind in EventKind::ALL {
        let event = event_with(
            kind.as_str(),
            r#""intent_id":"i-1","channel":"email","division":"cards""#,
        )
        .unwrap();
        assert_eq!(event.kind, kind);
        assert_eq!(event.occurred_at_ms, 1_774_729_800_000);
        assert_eq!(event.preferences.is_some(), kind == EventKind::PreferencesSet);
        assert_eq!(event.profile.is_some(), kind == EventKind::ProfileSet);
    }
    let unknown = event(&MINIMAL_EVENT.replace("TYPE", "Opened")).unwrap_err();
    assert_eq!(
        unknown,
        Malformed::new(MalformedKind::UnknownType, "type: expected an engagement type")
    );
    let merged = event(&MINIMAL_EVENT.replace("TYPE", "identity_merged")).unwrap_err();
    assert_eq!(
        merged,
        Malformed::new(MalformedKind::UnknownType, "type: identity_merged is not supported yet")
    );
}

#[test]
fn an_event_that_could_have_no_effect_is_missing_a_field() {
    for (kind, members, detail) in [
        ("contacted_elsewhere", r#""channel":"phone""#, "division: required"),
        ("contacted_elsewhere", r#""division":"cards""#, "channel: required"),
        ("intent_cancelled", r#""channel":"phone""#, "intent_id: required"),
    ] {
        let malformed = event_with(kind, members).unwrap_err();
        assert_eq!(
            malformed,
            Malformed::new(MalformedKind::MissingField, detail),
            "{kind:?} {members:?} {detail:?}"
        );
    }
}

#[test]
fn a_report_names_its_message() {
    let event = event_with(
        "opened",
        r#""intent_id":"i-1","channel":"email","machine":true,"amount":12,"timezone":"nowhere","basis":7"#,
    )
    .unwrap();
    assert_eq!(event.intent_id.as_deref(), Some("i-1"));
    assert_eq!(event.channel.as_deref(), Some("email"));
    assert!(event.machine);
    assert_eq!(event.basis, None);
}

#[test]
fn a_contact_elsewhere_is_described_as_an_intent_is() {
    let event = event_with(
        "contacted_elsewhere",
        r#""channel":"phone","division":"cards","cost":6,"tags":["x"],"class":"marketing","message_type":"event","offer":"o""#,
    )
    .unwrap();
    assert_eq!(event.cost_micros, Some(6_000_000));
    assert_eq!(event.tags, [Name::from("x")]);
    assert_eq!(event.class.as_deref(), Some("marketing"));
    assert_eq!(event.message_type.as_deref(), Some("event"));
    assert_eq!(event.offer.as_deref(), Some("o"));
}

#[test]
fn a_statement_of_consent_has_scope_basis_and_end() {
    let members =
        r#""channel":"sms","purpose":"promo","division":"cards","basis":"inquiry","expires_at":"2026-03-29T00:00:00Z""#;
    let event = event_with("consent_granted", members).unwrap();
    assert_eq!(event.purpose.as_deref(), Some("promo"));
    assert_eq!(event.division.as_deref(), Some("cards"));
    assert_eq!(event.basis, Some(Basis::Inquiry));
    assert_eq!(event.expires_at_ms, Some(1_774_742_400_000));
    let malformed = event_with("consent_granted", r#""basis":"friendship""#).unwrap_err();
    assert_eq!(
        malformed,
        Malformed::new(MalformedKind::BadField, "basis: expected express, purchase or inquiry")
    );
}

#[test]
fn preferences_that_are_not_named_stay_and_null_clears() {
    let change = |members: &str| event_with("preferences_set", members).unwrap().preferences.unwrap();
    assert_eq!(*change(r#""unread":1"#), PreferenceChange::default());
    let cleared = PreferenceChange {
        refused_topics: Some(Vec::new()),
        only_topics: Some(None),
        refused_channels: Some(Vec::new()),
        max_per_week: Some(None),
        paused_until_ms: Some(None),
    };
    let nulls =
        r#""refused_topics":null,"only_topics":null,"refused_channels":null,"max_per_week":null,"paused_until":null"#;
    assert_eq!(*change(nulls), cleared);
    let set = PreferenceChange {
        refused_topics: Some(vec!["news".into()]),
        only_topics: Some(Some(Vec::new())),
        refused_channels: Some(vec!["sms".into(), "push".into()]),
        max_per_week: Some(Some(3)),
        paused_until_ms: Some(Some(1_774_729_800_000)),
    };
    let values = r#""refused_topics":["news"],"only_topics":[],"refused_channels":["sms","push"],"max_per_week":3,
        "paused_until":"2026-03-28T20:30:00Z""#;
    assert_eq!(*change(values), set);
}

#[test]
fn profile_fields_that_are_not_named_stay_and_null_clears() {
    let change = |members: &str| event_with("profile_set", members).unwrap().profile.unwrap();
    assert_eq!(*change(r#""unread":1"#), ProfileChange::default());
    let cleared = ProfileChange {
        timezone: Some(None),
        jurisdiction: Some(None),
        segments: Some(Vec::new()),
        attributes: Some(Vec::new()),
        since_ms: Some(None),
    };
    let nulls = r#""timezone":null,"jurisdiction":null,"segments":null,"attributes":null,"since":null"#;
    assert_eq!(*change(nulls), cleared);
    let set = ProfileChange {
        timezone: Some(Some("Europe/Lisbon".into())),
        jurisdiction: Some(Some("PT".into())),
        segments: Some(vec!["vip".into()]),
        attributes: Some(vec![
            ("age".into(), AttributeValue::Number(41.5)),
            ("gold".into(), AttributeValue::Truth(true)),
            ("tier".into(), AttributeValue::Text("top".into())),
        ]),
        since_ms: Some(Some(0)),
    };
    let values = r#""timezone":"europe/lisbon","jurisdiction":"PT","segments":["vip"],
        "attributes":{"tier":"top","age":41.5,"gone":null,"gold":true},"since":"1970-01-01T00:00:00Z""#;
    assert_eq!(*change(values), set);
}

#[test]
fn somebody_may_have_been_a_customer_since_before_1970() {
    let since = |text: &str| {
        let event = event_with("profile_set", &format!("\"since\":\"{text}\""));
        event.map(|event| event.profile.unwrap().since_ms.unwrap().unwrap())
    };
    assert_eq!(since("1969-12-31T23:59:59Z"), Ok(-1_000));
    assert!(since("1931-07-01T00:00:00+01:00").unwrap() < -1_000_000_000_000);
    let malformed = since("31-07-1931").unwrap_err();
    assert_eq!(
        malformed.detail,
        "since: expected an RFC 3339 time in the years 0000 to 9999"
    );
    assert!(
        event_with("opened", r#""expires_at":"1931-07-01T00:00:00Z""#).is_ok(),
        "not read"
    );
    assert!(event(&MINIMAL_EVENT.replace("TYPE", "opened").replace("2026", "1931")).is_err());
}

#[test]
fn a_bad_field_of_an_event_is_named_and_its_value_is_not() {
    for (kind, name, value) in [
        ("preferences_set", "max_per_week", "-1"),
        ("preferences_set", "max_per_week", "4294967296"),
        ("preferences_set", "only_topics", "\"news\""),
        ("preferences_set", "paused_until", "true"),
        ("profile_set", "timezone", "\"Mars/Olympus\""),
        ("profile_set", "timezone", "\"Etc/Unknown\""),
        ("profile_set", "timezone", "\"\""),
        ("profile_set", "attributes", "[]"),
        ("profile_set", "attributes", "{\"a\":1,\"a\":1}"),
        ("profile_set", "attributes", "{\"a\":[1]}"),
        ("profile_set", "attributes", "{\"a\":{}}"),
        ("profile_set", "attributes", "{\"\":1}"),
        ("profile_set", "attributes", "{\"a\":1e999}"),
        ("profile_set", "segments", "[[\"vip\"]]"),
        ("profile_set", "since", "\"yesterday\""),
        ("opened", "machine", "\"yes\""),
        ("opened", "intent_id", "\"\""),
        ("contacted_elsewhere\",\"channel\":\"c\",\"division\":\"d", "cost", "-1"),
    ] {
        let malformed = event_with(kind, &format!("\"{name}\":{value}")).unwrap_err();
        assert_eq!(malformed.kind, MalformedKind::BadField, "{kind:?} {name:?} {value:?}");
        assert!(
            malformed.detail.starts_with(&format!("{name}: expected ")),
            "{malformed:?}"
        );
        assert!(
            !malformed.detail.contains("Olympus") && !malformed.detail.contains("vip"),
            "{kind:?} {name:?} {value:?}"
        );
    }
}
