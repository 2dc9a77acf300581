//! Which conditions are known to be the same whatever comes.

use super::*;

#[test]
fn a_condition_that_is_the_same_whatever_comes_is_known_to_be() {
    let always = |text: &str| Condition::compile(text, VOCABULARY).unwrap().1;
    for text in [
        "customer.unanswered > 3 && customer.unanswered < 2",
        "customer.unanswered > 3 && customer.unanswered < 4",
        "customer.unanswered > 3 && 4 > customer.unanswered",
        "customer.unanswered < 0",
        r#"intent.campaign == "a" && intent.campaign == "b""#,
        r#"intent.campaign == "a" && intent.campaign in ["b", "c"]"#,
        r#"customer.jurisdiction != "FR" && customer.jurisdiction in ["FR"]"#,
        r#"intent.channel != "email" && intent.channel != "sms""#,
        r#""vip" in customer.segments && !("vip" in customer.segments)"#,
        "intent.priority >= 5 && !(intent.priority > 4.5)",
        "intent.value > 2.0 && intent.value < 2.0",
        "customer.unanswered_by[\"sms\"] == 1 && customer.unanswered_by[\"sms\"] == 2",
        "has(customer.attributes.age) && customer.attributes.age > 3 && customer.attributes.age < 2",
        r#"has(customer.attributes.tier) && customer.attributes.tier == "a" && customer.attributes.tier == "b""#,
        "(intent.priority > 5 ? intent.priority < 3 : intent.priority > 7)",
        "1 > 2",
    ] {
        assert_eq!(always(text), Some(false), "{text}");
    }
    for text in [
        "customer.unanswered > 3 || customer.unanswered <= 3",
        "customer.unanswered >= 0",
        r#"intent.campaign != "a" || intent.campaign != "b""#,
        r#"intent.channel == "email" || intent.channel == "sms""#,
        "has(intent.offer) || !has(intent.offer)",
        r#"intent.campaign.startsWith("a") || !intent.campaign.startsWith("a")"#,
        "intent.value < 2.0 || intent.value >= 2.0",
        "customer.fatigue > 10 || customer.unanswered > 3 || customer.fatigue <= 10",
    ] {
        assert_eq!(always(text), Some(true), "{text}");
    }
    for text in [
        "customer.unanswered > 3 && customer.unanswered < 5",
        "intent.value > 3.0 && intent.value < 4.0",
        "intent.value > 3.0 || intent.value < 3.0",
        r#"intent.campaign == "a" && intent.offer == "b""#,
        r#"intent.campaign < "b" && intent.campaign > "a""#,
        r#"intent.campaign == intent.offer && intent.campaign != "a""#,
        // With an attribute of another type this fails, and what fails does not hold.
        "has(customer.attributes.age) && (customer.attributes.age > 3 || customer.attributes.age <= 3)",
        "intent.priority * 2 > 3 && intent.priority * 2 < 4",
        "customer.unanswered > 3 && customer.days_since_response < 2",
        "intent.propensity / intent.propensity < 2.0",
    ] {
        assert_eq!(always(text), None, "{text}");
    }
}
