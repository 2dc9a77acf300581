//! Consent as the policy reads it: how long a basis lasts, and what a grant that is over is called.

use super::builder::*;
use crate::customer::{ConsentStatement, Customer};
use crate::message::Basis;
use crate::policy::judgement::{Reason, Verdict};
use crate::policy::model::{ConsentMode, Policy};
use crate::policy::window::{Span, zone};

const APPROVED: (Verdict, Reason) = (Verdict::Approved, Reason::Approved);
const NO_CONSENT: (Verdict, Reason) = (Verdict::Suppressed, Reason::Consent);
const EXPIRED: (Verdict, Reason) = (Verdict::Suppressed, Reason::ConsentExpired);

/// Text messages need a grant, and the table says how long each basis lasts.
fn table(implied: &[(Basis, Span)]) -> Policy {
    let mut policy = policy(vec![]);
    policy.channels[2].consent[0].implied = implied.to_vec();
    policy
}

fn grant(basis: Option<Basis>, occurred_at: &str) -> ConsentStatement {
    ConsentStatement {
        granted: true,
        channel: Some(name("sms")),
        purpose: None,
        division: None,
        basis,
        occurred_at_ms: at(occurred_at),
        expires_at_ms: None,
    }
}

fn refusal(occurred_at: &str) -> ConsentStatement {
    ConsentStatement {
        granted: false,
        basis: None,
        ..grant(None, occurred_at)
    }
}

fn outcome(policy: &Policy, statements: &[ConsentStatement], now: &str) -> (Verdict, Reason) {
    let mut customer = Customer::new(name("c-1"));
    for statement in statements {
        customer.state_consent(statement.clone());
    }
    let judgement = judged(policy, &customer, &intent("sms"), at(now));
    assert_eq!(judgement.next_eligible_at_ms, None, "time alone cures no consent");
    (judgement.verdict, judgement.reason)
}

#[test]
fn a_basis_that_the_table_does_not_name_does_not_count_and_was_never_a_consent() {
    let policy = table(&[(Basis::Purchase, Span::Months(24))]);
    let inquiry = grant(Some(Basis::Inquiry), "2026-01-01T00:00:00Z");
    assert_eq!(
        outcome(&policy, std::slice::from_ref(&inquiry), "2026-01-02T00:00:00Z"),
        NO_CONSENT
    );
    // Without a table every basis counts, for good.
    assert_eq!(outcome(&table(&[]), &[inquiry], "2036-01-02T00:00:00Z"), APPROVED);
}

#[test]
fn what_was_granted_expressly_needs_no_row_and_obeys_one_that_is_there() {
    let bare = table(&[(Basis::Purchase, Span::Months(24))]);
    let limited = table(&[(Basis::Express, Span::Months(12))]);
    for basis in [None, Some(Basis::Express)] {
        let grant = [grant(basis, "2026-01-01T00:00:00Z")];
        assert_eq!(outcome(&bare, &grant, "2035-01-01T00:00:00Z"), APPROVED);
        assert_eq!(outcome(&limited, &grant, "2026-12-31T00:00:00Z"), APPROVED);
        assert_eq!(outcome(&limited, &grant, "2027-01-02T00:00:00Z"), EXPIRED);
    }
}

#[test]
fn months_of_a_basis_are_counted_in_the_companys_zone() {
    // 22:00 on 30 January in New York, where the company is; in UTC it is the 31st already.
    let purchase = [grant(Some(Basis::Purchase), "2026-01-31T03:00:00Z")];
    let mut policy = table(&[(Basis::Purchase, Span::Months(1))]);
    assert_eq!(outcome(&policy, &purchase, "2026-03-01T02:59:59.999Z"), APPROVED);
    assert_eq!(outcome(&policy, &purchase, "2026-03-01T03:00:00Z"), EXPIRED);
    policy.zone = zone::named("UTC").expect("a zone");
    assert_eq!(outcome(&policy, &purchase, "2026-02-28T02:59:59.999Z"), APPROVED);
    assert_eq!(outcome(&policy, &purchase, "2026-02-28T03:00:00Z"), EXPIRED);
}

#[test]
fn the_earlier_of_the_table_and_of_what_the_grant_says_itself_ends_it() {
    let policy = table(&[(Basis::Purchase, Span::Months(6))]);
    let until = |expires_at: &str| {
        [ConsentStatement {
            expires_at_ms: Some(at(expires_at)),
            ..grant(Some(Basis::Purchase), "2026-01-10T12:00:00Z")
        }]
    };
    let sooner = until("2026-03-01T00:00:00Z");
    assert_eq!(outcome(&policy, &sooner, "2026-02-28T23:59:59.999Z"), APPROVED);
    assert_eq!(outcome(&policy, &sooner, "2026-03-01T00:00:00Z"), EXPIRED);
    let later = until("2028-01-01T00:00:00Z");
    assert_eq!(outcome(&policy, &later, "2026-07-10T10:59:59.999Z"), APPROVED);
    assert_eq!(outcome(&policy, &later, "2026-07-10T11:00:00Z"), EXPIRED);
}

#[test]
fn a_grant_that_ended_leaves_the_refusal_that_it_had_lifted_on_a_channel_that_asks_for_none() {
    let mut policy = table(&[(Basis::Express, Span::Months(12))]);
    policy.channels[2].consent[0].mode = ConsentMode::OptOut;
    let said = [refusal("2026-01-01T00:00:00Z"), grant(None, "2026-02-01T00:00:00Z")];
    assert_eq!(outcome(&policy, &said, "2026-03-01T00:00:00Z"), APPROVED);
    assert_eq!(outcome(&policy, &said, "2027-03-01T00:00:00Z"), EXPIRED);
    // Without a refusal before it, a grant that ended takes nothing away there.
    assert_eq!(outcome(&policy, &said[1..], "2027-03-01T00:00:00Z"), APPROVED);
    // A grant that does not count lifts nothing.
    policy.channels[2].consent[0].implied = vec![(Basis::Express, Span::Months(12))];
    let inquiry = [said[0].clone(), grant(Some(Basis::Inquiry), "2026-02-01T00:00:00Z")];
    assert_eq!(outcome(&policy, &inquiry, "2026-03-01T00:00:00Z"), NO_CONSENT);
}

#[test]
fn a_refusal_that_is_read_late_takes_effect_though_it_is_older_than_the_grant() {
    let policy = table(&[]);
    let said = [grant(None, "2026-02-01T00:00:00Z"), refusal("2020-01-01T00:00:00Z")];
    assert_eq!(outcome(&policy, &said, "2026-03-01T00:00:00Z"), NO_CONSENT);
    let again = [said[0].clone(), said[1].clone(), grant(None, "2019-12-31T00:00:00Z")];
    assert_eq!(outcome(&policy, &again, "2026-03-01T00:00:00Z"), NO_CONSENT);
    let lifted = [said[0].clone(), said[1].clone(), grant(None, "2020-01-01T00:00:00Z")];
    assert_eq!(outcome(&policy, &lifted, "2026-03-01T00:00:00Z"), APPROVED);
}
