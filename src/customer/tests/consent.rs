use super::*;
use crate::customer::bounds::CONSENTS_AT_MOST;
use crate::message::Basis;

/// `+` or `-`, then the scope (`channel/purpose/division`, `*` for what is not named), then `@` and when it occurred.
fn say(text: &str) -> ConsentStatement {
    let (granted, rest) = (text.starts_with('+'), &text[1..]);
    let (scope, at) = rest.split_once('@').expect("a time");
    let mut named = scope
        .split('/')
        .map(|part| Some(part).filter(|part| *part != "*").map(name));
    ConsentStatement {
        granted,
        channel: named.next().flatten(),
        purpose: named.next().flatten(),
        division: named.next().flatten(),
        basis: None,
        occurred_at_ms: at.parse().expect("a number"),
        expires_at_ms: None,
    }
}

fn said(statements: &[&str]) -> Customer {
    let mut customer = fresh();
    for statement in statements {
        customer.state_consent(say(statement));
    }
    customer
}

const QUESTION: ConsentQuestion<'static> = ConsentQuestion {
    channel: "email",
    purpose: Some("promo"),
    division: Some("cards"),
};

const IN_FORCE: fn(&ConsentStatement) -> GrantForce = |_| GrantForce::InForce;
const OVER: fn(&ConsentStatement) -> GrantForce = |_| GrantForce::Over;
const NOT_COUNTED: fn(&ConsentStatement) -> GrantForce = |_| GrantForce::NotCounted;

fn standing(customer: &Customer) -> &'static str {
    match consent_standing(&customer.consents, &QUESTION, &IN_FORCE) {
        ConsentStanding::Silent => "silent",
        ConsentStanding::Refused(_) => "refused",
        ConsentStanding::Granted(_) => "granted",
        ConsentStanding::Expired { .. } => "expired",
    }
}

#[test]
fn statements_mean_what_the_order_of_consent_says() {
    let table: &[(&[&str], &str)] = &[
        (&[], "silent"),
        (&["-*/*/*@1"], "refused"),
        (&["-sms/*/*@1"], "silent"),
        (&["-email/*/loans@1"], "silent"),
        (&["+email/*/*@1"], "granted"),
        (&["+sms/*/*@1"], "silent"),
        // A grant lifts a refusal if it is later in the log and its time is not older.
        (&["-email/*/*@5", "+email/*/*@5"], "granted"),
        (&["-email/*/*@5", "+email/*/*@6"], "granted"),
        (&["-email/*/*@5", "+email/*/*@4"], "refused"),
        (&["-email/*/*@5", "+email/promo/*@5"], "granted"),
        (&["-*/promo/*@5", "+email/*/cards@4"], "refused"),
        // A refusal takes effect when it is read, whatever its time.
        (&["+email/*/*@5", "-email/*/*@1"], "refused"),
        (&["+email/promo/cards@5", "-*/*/*@1"], "refused"),
        (&["+*/*/*@5", "-email/*/*@1"], "refused"),
        // The most specific among later statements wins.
        (&["-*/*/*@1", "+email/*/*@2"], "granted"),
        (&["-*/*/*@1", "+email/*/*@2", "-email/promo/*@3"], "refused"),
        (&["-email/promo/*@1", "+email/*/*@2"], "refused"),
        (&["-email/promo/*@1", "+*/*/*@2"], "refused"),
        (&["-email/*/*@1", "+email/promo/*@2"], "granted"),
        (&["-email/promo/*@1", "+email/promo/cards@2"], "granted"),
        // At equal specificity the refusal, whichever came first.
        (&["-email/*/*@1", "+*/promo/*@2"], "refused"),
        (&["+*/promo/*@1", "-email/*/*@2"], "refused"),
        // A refusal ends the grants inside it for good: lifting it does not bring them back.
        (&["+email/promo/*@1", "-email/*/*@2", "+email/*/cards@3"], "granted"),
        (&["-email/*/*@9", "+email/promo/*@5", "+email/*/*@10"], "granted"),
        // A grant that came before an overlapping refusal does not lift it, however specific it is.
        (&["+*/promo/cards@1", "-email/*/*@2"], "refused"),
        (&["-email/*/*@2", "+*/promo/cards@3"], "granted"),
        // The newest refusal of a scope keeps the later of both times.
        (&["-email/*/*@9", "-email/*/*@1", "+email/*/*@5"], "refused"),
        (&["-email/*/*@1", "+email/*/*@2", "-email/*/*@3"], "refused"),
    ];
    for (statements, expected) in table {
        assert_eq!(standing(&said(statements)), *expected, "{statements:?}");
    }
}

#[test]
fn a_question_without_purpose_is_not_covered_by_a_statement_that_names_one() {
    let question = ConsentQuestion {
        purpose: None,
        ..QUESTION
    };
    let refused = said(&["-email/promo/*@1"]);
    assert_eq!(
        consent_standing(&refused.consents, &question, &IN_FORCE),
        ConsentStanding::Silent
    );
}

#[test]
fn a_grant_that_expired_says_so_and_the_refusal_it_had_lifted_stands_again() {
    let mut customer = said(&[]);
    let grant = ConsentStatement {
        basis: Some(Basis::Purchase),
        expires_at_ms: Some(10),
        ..say("+email/*/*@2")
    };
    customer.state_consent(grant.clone());
    let ended = |statements: &[ConsentStatement]| match consent_standing(statements, &QUESTION, &OVER) {
        ConsentStanding::Expired { refused, .. } => Some(refused),
        _ => None,
    };
    assert_eq!(ended(&customer.consents), Some(false));
    let mut customer = said(&["-email/*/*@1"]);
    customer.state_consent(grant.clone());
    assert_eq!(
        consent_standing(&customer.consents, &QUESTION, &IN_FORCE),
        ConsentStanding::Granted(&grant)
    );
    assert_eq!(ended(&customer.consents), Some(true));
    assert!(consent_standing(&customer.consents, &QUESTION, &OVER).refuses());
}

#[test]
fn a_broader_grant_in_force_stands_in_for_a_specific_one_that_ended() {
    let mut customer = said(&["+email/*/*@1"]);
    customer.state_consent(ConsentStatement {
        expires_at_ms: Some(5),
        ..say("+email/promo/*@2")
    });
    let in_force = |grant: &ConsentStatement| match grant.expires_at_ms {
        None => GrantForce::InForce,
        Some(_) => GrantForce::Over,
    };
    let standing = consent_standing(&customer.consents, &QUESTION, &in_force);
    assert_eq!(standing, ConsentStanding::Granted(&say("+email/*/*@1")));
}

#[test]
fn repeated_statements_take_no_room() {
    let mut customer = fresh();
    for at in 0..1_000 {
        customer.state_consent(say(&format!("-email/*/*@{at}")));
        customer.state_consent(say(&format!("+email/*/*@{at}")));
    }
    assert_eq!(
        customer.consents.len(),
        2,
        "the last refusal, and the grant that lifts it"
    );
}

#[test]
fn a_refusal_outlives_the_grant_that_lifted_it_whatever_policy_says_later_how_long_that_lasts() {
    let customer = said(&["-email/*/*@1", "+email/*/*@2"]);
    assert_eq!(standing(&customer), "granted");
    assert!(consent_standing(&customer.consents, &QUESTION, &OVER).refuses());
}

#[test]
fn a_grant_that_does_not_count_is_no_grant_and_lifts_nothing() {
    let standing = |statements: &[&str]| match consent_standing(&said(statements).consents, &QUESTION, &NOT_COUNTED) {
        ConsentStanding::Silent => "silent",
        ConsentStanding::Refused(_) => "refused",
        ConsentStanding::Granted(_) => "granted",
        ConsentStanding::Expired { .. } => "expired",
    };
    assert_eq!(standing(&["+email/*/*@1"]), "silent");
    assert_eq!(standing(&["-email/*/*@1", "+email/*/*@2"]), "refused");
}

#[test]
fn too_many_refusals_suppress_the_customer_and_none_is_forgotten() {
    let mut customer = said(&["+*/*/*@1"]);
    for purpose in 0..CONSENTS_AT_MOST {
        customer.state_consent(say(&format!("-email/p{purpose}/*@5")));
    }
    assert_eq!(customer.consents.len(), CONSENTS_AT_MOST);
    assert!(
        customer.consents.iter().all(|statement| !statement.granted),
        "the grant went first"
    );
    assert!(!customer.overflowed());
    customer.state_consent(say("-email/promo/*@5"));
    assert!(customer.overflowed());
}
