//! What expressions mean, and that they mean what the reference interpreter of the language says.

mod constants;

use super::*;
use crate::customer::Profile;
use crate::message::AttributeValue;
use cel::{Context, Program, Value};
use proptest::prelude::*;
use std::collections::HashMap;

const VOCABULARY: Vocabulary<'static> = Vocabulary {
    channels: &["email", "sms"],
    classes: &["marketing"],
    experiments: &[],
};

/// Everything that a condition looks at, owned.
#[derive(Debug, Clone)]
struct Situation {
    intent: Intent,
    channel: Name,
    class: Name,
    customer: Customer,
    derived: Derived,
}

impl Situation {
    fn facts(&self) -> Facts<'_> {
        Facts {
            intent: &self.intent,
            channel: &self.channel,
            class: &self.class,
            customer: &self.customer,
            derived: &self.derived,
        }
    }

    fn test(&self, text: &str) -> Result<bool, ConditionError> {
        let (condition, _) = Condition::compile(text, VOCABULARY).unwrap();
        condition.test(&self.facts())
    }

    fn limit(&self, text: &str) -> Result<i64, ConditionError> {
        let (expression, _) = Expression::compile(text, VOCABULARY).unwrap();
        expression.evaluate(&self.facts())
    }
}

fn situation() -> Situation {
    let intent = Intent {
        intent_id: "i".into(),
        customer_id: "c".into(),
        channel: "email".into(),
        division: "loans".into(),
        class: None,
        message_type: "offer".into(),
        campaign: None,
        category: Some("promo".into()),
        topic: None,
        tags: vec!["a".into(), "ab".into()],
        offer: None,
        endpoint: None,
        fallback_channels: vec!["sms".into()],
        priority: 7,
        value: Some(2.5),
        propensity: None,
        cost_micros: None,
        not_before_ms: None,
        deliver_at_ms: None,
        expires_at_ms: None,
        created_at_ms: 0,
        objective: None,
    };
    let attributes = vec![
        ("age".into(), AttributeValue::Number(41.0)),
        ("staff".into(), AttributeValue::Truth(true)),
        ("tier".into(), AttributeValue::Text("gold".into())),
    ];
    let mut customer = Customer::new("c".into());
    customer.profile = Profile {
        jurisdiction: Some("FR".into()),
        segments: vec!["vip".into(), "é-club".into()],
        attributes,
        ..Profile::default()
    };
    let derived = Derived {
        unanswered: 3,
        unanswered_by: vec![("email".into(), 2)],
        days_since_first_contact: None,
        days_since_response: None,
        fatigue: 4,
    };
    Situation {
        intent,
        channel: "sms".into(),
        class: "marketing".into(),
        customer,
        derived,
    }
}

#[test]
fn a_score_is_any_number_and_never_nothing() {
    let facts = situation();
    let score = |text: &str| {
        let (score, _) = Score::compile(text, VOCABULARY).unwrap();
        score.evaluate(&facts.facts())
    };
    assert_eq!(score("intent.value * 2.0"), Ok(5.0));
    assert_eq!(score("intent.priority - customer.unanswered"), Ok(4.0));
    assert_eq!(
        score("has(customer.attributes.age) ? customer.attributes.age : 0.0"),
        Ok(41.0)
    );
    assert!(score("-intent.propensity").unwrap().is_sign_positive());
    for text in [
        "intent.propensity / intent.propensity",
        "1 / (intent.priority - 7)",
        "has(customer.attributes.tier) ? customer.attributes.tier : 0.0",
    ] {
        assert!(score(text).is_err(), "{text}");
    }
    assert!(Score::compile("intent.channel", VOCABULARY).is_err());
}

#[test]
fn an_expression_means_what_it_says() {
    for (text, expected) in [
        (r#"customer.jurisdiction == "FR""#, true),
        (r#""vip" in customer.segments"#, true),
        (r#"!("vip" in customer.segments)"#, false),
        ("customer.unanswered >= 3 && customer.unanswered < 4.5", true),
        (
            r#"customer.unanswered_by["email"] == 2 && customer.unanswered_by["sms"] == 0"#,
            true,
        ),
        ("customer.unanswered_by[intent.channel] == 0", true),
        (r#"intent.channel == "sms" && intent.class == "marketing""#, true),
        (
            r#"intent.campaign == "" && !has(intent.campaign) && has(intent.category)"#,
            true,
        ),
        (
            r#"has(customer.attributes.tier) && customer.attributes.tier == "gold""#,
            true,
        ),
        (
            r#""tier" in customer.attributes && customer.attributes["tier"].startsWith("go")"#,
            true,
        ),
        ("!has(customer.attributes.age) || customer.attributes.age > 40", true),
        (
            "has(customer.attributes.age) ? customer.attributes.age + 1.0 == 42.0 : false",
            true,
        ),
        ("has(customer.attributes.staff) && customer.attributes.staff", true),
        ("has(customer.attributes.none) && customer.attributes.none", false),
        (
            r#"intent.tags.exists(t, t.startsWith("ab")) && intent.tags.all(t, t.contains("a"))"#,
            true,
        ),
        (r#"["loans", "cards"].exists(d, d == intent.division)"#, true),
        (
            r#"size(customer.segments) == 2 && size("é") == 1 && intent.tags.size() == 2"#,
            true,
        ),
        ("customer.days_since_first_contact < 30", true),
        (
            "customer.days_since_response > 365 && !has(customer.days_since_response)",
            true,
        ),
        ("intent.priority % 2 == 1 && intent.value * 2.0 == 5.0", true),
        ("intent.priority / 0 == 1 || true", true),
        ("intent.priority in [1, 7]", true),
    ] {
        assert_eq!(situation().test(text), Ok(expected), "{text:?} {expected:?}");
    }
}

#[test]
fn an_expression_that_fails_is_an_error_and_not_a_panic() {
    for text in [
        "intent.priority / 0 == 1",
        "intent.priority % 0 == 1 && true",
        "9223372036854775807 + intent.priority > 0",
        "has(customer.attributes.tier) && customer.attributes.tier",
        "has(customer.attributes.tier) && customer.attributes.tier > 3",
    ] {
        assert!(situation().test(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_limit_is_a_whole_number_that_may_be_calculated() {
    let situation = situation();
    assert_eq!(situation.limit("4 - customer.unanswered"), Ok(1));
    assert_eq!(situation.limit(r#""vip" in customer.segments ? 8 : 4"#), Ok(8));
    assert_eq!(
        situation.limit("has(customer.attributes.age) ? int(customer.attributes.age) : 0"),
        Ok(41)
    );
    let (_, constant) = Expression::compile("2 * 3", VOCABULARY).unwrap();
    assert_eq!(constant, Some(6));
}

#[test]
fn an_expression_knows_whether_time_alone_changes_it() {
    let depends = |text: &str| Condition::compile(text, VOCABULARY).unwrap().0.depends_on_time();
    assert!(depends("customer.unanswered > 3"));
    assert!(depends(r#"customer.unanswered_by["sms"] > 3"#));
    assert!(depends("customer.days_since_response > 3"));
    assert!(!depends(r#""vip" in customer.segments"#));
}

#[test]
fn a_wrong_expression_is_refused_with_a_reason() {
    for (text, message, label) in [
        (
            "customer.segment",
            "unknown field of `customer`: `segment`",
            "did you mean `segments`?",
        ),
        (
            r#"customer.unanswered_by["emial"] > 1"#,
            "unknown channel `emial`",
            "did you mean `email`?",
        ),
        (
            r#"intent.channel in ["sms", "emial"]"#,
            "unknown channel `emial`",
            "did you mean `email`?",
        ),
        (
            "customers.unanswered > 1",
            "unknown name `customers`",
            "did you mean `customer`?",
        ),
        (
            r#"intent.division.startWith("a")"#,
            "unknown function `startWith`",
            "did you mean `startsWith`?",
        ),
        (
            "customer.attributes.x == 1 && has(customer.attributes.x)",
            "the attribute `x` may be missing",
            "guard it",
        ),
        (
            "has(customer.attributes.x) || customer.attributes.x == 1",
            "the attribute `x` may be missing",
            "guard it",
        ),
        (
            "has(customer.attributes.y) && customer.attributes.x == 1",
            "the attribute `x` may be missing",
            "guard it",
        ),
        (
            r#"intent.priority == "high""#,
            "a whole number is never a text",
            "cannot be compared",
        ),
        ("intent.tags == intent.tags", "a list stands alone", "in intent.tags`"),
        ("intent", "`intent` is not a value", "name a field"),
        (
            "customer.fatige > 3",
            "unknown field of `customer`: `fatige`",
            "did you mean `fatigue`?",
        ),
        (
            r#"arm("tighter") == "a""#,
            "unknown experiment `tighter`",
            "the policy declares none",
        ),
        ("arm == 1", "`arm` is a function", ""),
        ("arm(intent.offer) == \"a\"", "an experiment is named by a literal", ""),
        (
            "intent.tags.map(t, t) == []",
            "this macro is not supported",
            "only `exists` and `all`",
        ),
        (
            "timestamp('2026-01-01') > 1",
            "unknown function `timestamp`",
            "expected",
        ),
        ("intent.value + 1 > 2", "cannot calculate", ""),
        ("", "this expression cannot be read", ""),
        (
            "1 +",
            "this expression cannot be read",
            "something is missing at the end",
        ),
        ("(1 == 1", "this expression cannot be read", "is missing"),
        ("1 === 1", "this expression cannot be read", "`=` has no meaning here"),
        ("null == 1", "a literal that nothing", ""),
    ] {
        let problems = Condition::compile(text, VOCABULARY).unwrap_err();
        let fits = |problem: &Problem| problem.message.contains(message) && problem.label.contains(label);
        assert!(problems.iter().any(fits), "{problems:?}");
    }
}

#[test]
fn a_problem_points_at_its_place_behind_letters_of_two_bytes() {
    let text = r#""é" in customer.segments && customer.unansered > 1"#;
    let problems = Condition::compile(text, VOCABULARY).unwrap_err();
    assert_eq!(&text[problems[0].start..problems[0].end], "customer.unansered");
    assert_eq!(problems[0].suggestion.as_deref(), Some("customer.unanswered"));
}

#[test]
fn a_syntax_error_points_at_its_place_behind_letters_of_two_bytes() {
    let text = r#""é" in customer.segments && 1 ~ 2"#;
    let problems = Condition::compile(text, VOCABULARY).unwrap_err();
    assert_eq!(&text[problems[0].start..problems[0].end], "~");
}

#[test]
fn hostile_expressions_are_refused_before_they_hurt() {
    for text in [
        "(".repeat(1_900),
        "!".repeat(1_900),
        "[".repeat(1_900),
        "-".repeat(1_900),
        "true&&".repeat(300) + "true",
        "1?".repeat(600),
        "a.".repeat(900) + "b",
        "x".repeat(5_000),
    ] {
        let _ = Condition::compile(&text, VOCABULARY);
    }
}

/// Generators of expressions as text, by type.
fn number() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        (0_i64..5).prop_map(|number| number.to_string()),
        Just("9223372036854775807".to_owned()),
        Just("customer.unanswered".to_owned()),
        Just(r#"customer.unanswered_by["email"]"#.to_owned()),
        Just("intent.priority".to_owned()),
        list().prop_map(|list| format!("size({list})")),
        text().prop_map(|text| format!("size({text})")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let operator = prop_oneof![Just("+"), Just("-"), Just("*"), Just("/"), Just("%")];
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
            inner.prop_map(|number| format!("-({number})")),
            decimal().prop_map(|number| format!("int({number})")),
        ]
    })
    .boxed()
}

fn decimal() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        Just("0.0".to_owned()),
        Just("2.5".to_owned()),
        Just("intent.value".to_owned()),
        Just("double(intent.priority)".to_owned()),
    ];
    let operator = prop_oneof![Just("+"), Just("-"), Just("*"), Just("/")];
    prop_oneof![
        3 => leaf.clone(),
        1 => (leaf.clone(), operator, leaf).prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
    ]
    .boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![
        Just(r#""a""#.to_owned()),
        Just(r#""é""#.to_owned()),
        Just(r#""""#.to_owned()),
        Just("intent.division".to_owned()),
        Just("customer.jurisdiction".to_owned()),
    ]
    .boxed()
}

fn list() -> BoxedStrategy<String> {
    prop_oneof![
        Just("intent.tags".to_owned()),
        Just("customer.segments".to_owned()),
        proptest::collection::vec(text(), 1..3).prop_map(|items| format!("[{}]", items.join(", "))),
    ]
    .boxed()
}

fn truth() -> BoxedStrategy<String> {
    let compare = prop_oneof![Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")];
    let test = prop_oneof![Just("startsWith"), Just("endsWith"), Just("contains")];
    let attribute = prop_oneof![Just("x"), Just("y")];
    let value = prop_oneof![text(), decimal(), Just("true".to_owned())];
    let leaf = prop_oneof![
        any::<bool>().prop_map(|truth| truth.to_string()),
        (number(), compare.clone(), number()).prop_map(|(left, compare, right)| format!("{left} {compare} {right}")),
        (number(), compare.clone(), decimal()).prop_map(|(left, compare, right)| format!("{left} {compare} {right}")),
        (decimal(), compare.clone(), decimal()).prop_map(|(left, compare, right)| format!("{left} {compare} {right}")),
        (text(), compare.clone(), text()).prop_map(|(left, compare, right)| format!("{left} {compare} {right}")),
        (text(), list()).prop_map(|(text, list)| format!("{text} in {list}")),
        (text(), test.clone(), text()).prop_map(|(text, test, part)| format!("{text}.{test}({part})")),
        (list(), test.clone(), text()).prop_map(|(list, test, part)| format!("{list}.exists(e, e.{test}({part}))")),
        (list(), test, text()).prop_map(|(list, test, part)| format!("{list}.all(e, e.{test}({part}))")),
        (list(), number()).prop_map(|(list, number)| format!("{list}.exists(e, size(e) / {number} == 1)")),
        (list(), number()).prop_map(|(list, number)| format!("{list}.all(e, {number} / size(e) == 1)")),
        attribute
            .clone()
            .prop_map(|name| format!("has(customer.attributes.{name})")),
        attribute
            .clone()
            .prop_map(|name| format!("\"{name}\" in customer.attributes")),
        (attribute.clone(), compare.clone(), value.clone()).prop_map(|(name, compare, value)| {
            // Truth values have no order here; the reference gives them one.
            let compare = if value == "true" { "==" } else { compare };
            format!("(has(customer.attributes.{name}) && customer.attributes.{name} {compare} {value})")
        }),
        attribute.prop_map(|name| format!("(!has(customer.attributes.{name}) || customer.attributes.{name})")),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|truth| format!("!({truth})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left}) && ({right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left}) || ({right})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(test, yes, no)| format!("({test}) ? ({yes}) : ({no})")),
        ]
    })
    .boxed()
}

fn any_situation() -> impl Strategy<Value = Situation> {
    let word = prop_oneof![Just("a"), Just("ab"), Just("é"), Just("")];
    let words = proptest::collection::vec(word.clone().prop_map(Name::from), 0..3);
    let attribute = prop_oneof![
        Just(None),
        word.clone().prop_map(|text| Some(AttributeValue::Text(text.into()))),
        Just(Some(AttributeValue::Number(2.5))),
        any::<bool>().prop_map(|truth| Some(AttributeValue::Truth(truth))),
    ];
    (
        words.clone(),
        words,
        word,
        0_i64..4,
        0_u16..4,
        attribute.clone(),
        attribute,
    )
        .prop_map(|(tags, segments, jurisdiction, unanswered, priority, x, y)| {
            let mut situation = situation();
            situation.intent.tags = tags;
            situation.intent.priority = priority;
            situation.customer.profile.segments = segments;
            situation.customer.profile.jurisdiction = Some(jurisdiction.into());
            situation.derived.unanswered = unanswered;
            let attributes = [("x", x), ("y", y)].into_iter();
            let attributes = attributes.filter_map(|(name, value)| value.map(|value| (Name::from(name), value)));
            situation.customer.profile.attributes = attributes.collect();
            situation
        })
}

fn reference(text: &str, situation: &Situation) -> Option<bool> {
    let program = Program::compile(text).unwrap();
    let names = |names: &[Name]| {
        Value::from(
            names
                .iter()
                .map(|name| Value::from(name.to_string()))
                .collect::<Vec<_>>(),
        )
    };
    let map = |pairs: Vec<(&str, Value)>| {
        let pairs: HashMap<String, Value> = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Value::from(pairs)
    };
    let attributes = situation.customer.profile.attributes.iter().map(|(name, value)| {
        let value = match value {
            AttributeValue::Text(text) => Value::from(text.to_string()),
            AttributeValue::Number(number) => Value::from(*number),
            AttributeValue::Truth(truth) => Value::from(*truth),
        };
        (&**name, value)
    });
    let profile = &situation.customer.profile;
    let customer = map(vec![
        ("segments", names(&profile.segments)),
        (
            "jurisdiction",
            Value::from(profile.jurisdiction.as_deref().unwrap_or_default().to_owned()),
        ),
        ("unanswered", Value::from(situation.derived.unanswered)),
        ("unanswered_by", map(vec![("email", Value::from(2_i64))])),
        ("attributes", map(attributes.collect())),
    ]);
    let intent = map(vec![
        ("tags", names(&situation.intent.tags)),
        ("division", Value::from(situation.intent.division.to_string())),
        ("priority", Value::from(i64::from(situation.intent.priority))),
        ("value", Value::from(situation.intent.value.unwrap_or_default())),
    ]);
    let mut context = Context::default();
    context.add_variable_from_value("customer", customer);
    context.add_variable_from_value("intent", intent);
    match program.execute(&context) {
        Ok(Value::Bool(truth)) => Some(truth),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn a_compiled_condition_agrees_with_the_reference_interpreter(text in truth(), situation in any_situation()) {
        // Too long or too deep: refused, which is tested elsewhere.
        if let Ok((condition, constant)) = Condition::compile(&text, VOCABULARY) {
            let ours = condition.test(&situation.facts()).ok();
            prop_assert_eq!(ours, reference(&text, &situation), "{}", text);
            prop_assert!(constant != Some(true) || ours == Some(true), "{} is not always true", text);
            prop_assert!(constant != Some(false) || ours != Some(true), "{} is not never true", text);
        } else {
            prop_assert!(text.len() > 60, "{} was refused", text);
        }
    }

    #[test]
    fn an_arbitrary_text_is_never_a_panic(text in "\\PC{0,40}") {
        let _ = Condition::compile(&text, VOCABULARY);
    }

    #[test]
    fn a_mangled_expression_is_never_a_panic(text in truth(), at in 0_usize..60, with in "[\\]()\"'.!&|a1é]{0,3}") {
        let at = crate::policy::file::diagnostic::floor_boundary(&text, at);
        let _ = Condition::compile(&format!("{}{with}{}", &text[..at], &text[at..]), VOCABULARY);
    }
}
