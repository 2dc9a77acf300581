//! The shipped policies, the meaning of what they say, and every kind of mistake with its place.

mod mistakes;

use super::*;
use crate::policy::model::{ConsentMode, Obeys, ReleaseCause};
use crate::policy::rules::{Block, Limit, RuleKind, Trigger};
use crate::policy::selector::Term;
use crate::policy::window::{Shape, Span as Length, ZoneChoice};
use proptest::prelude::*;

const STARTER: &str = include_str!("../../../../deploy/policies/starter.yaml");
const ACME: &str = include_str!("../../../../deploy/policies/acme.yaml");
const SMALL: &str = "forbear: 1
name: small
timezone: Europe/Lisbon
channels:
  email: { consent: opt-out }
  sms: { consent: opt-in }
classes:
  marketing: { rank: 1, obeys: all, counts: true }
";

fn load(text: &str) -> (Policy, Diagnostics) {
    match Policy::load(text.as_bytes(), "policy.yaml", None) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{}", errors.to_text(false)),
    }
}

fn errors(text: &str) -> Diagnostics {
    match Policy::load(text.as_bytes(), "policy.yaml", None) {
        Ok(_) => panic!("this policy should have been refused:\n{text}"),
        Err(errors) => *errors,
    }
}

fn lines(diagnostics: &Diagnostics) -> String {
    diagnostics.to_string()
}

#[test]
fn the_starter_policy_compiles_without_a_warning() {
    let (policy, warnings) = load(STARTER);
    assert_eq!(lines(&warnings), "");
    assert_eq!(policy.rules.len(), 7);
    assert_eq!(policy.classes[policy.default_class].name.as_ref(), "marketing");
}

#[test]
fn the_policy_of_acme_compiles_to_what_it_says() {
    let (policy, warnings) = load(ACME);
    assert_eq!(lines(&warnings), "");
    assert!(policy.label.starts_with("acme-contact-policy@"));
    assert_eq!(policy.label.len(), "acme-contact-policy@".len() + 12);
    let phone = &policy.channels[4];
    assert_eq!(phone.consent.len(), 2);
    assert_eq!(phone.consent[0].mode, ConsentMode::OptIn);
    assert_eq!(
        phone.consent[0].implied,
        [(crate::message::Basis::Purchase, Length::Months(24))]
    );
    assert_eq!(phone.cost_micros, 6_000_000);
    assert_eq!(phone.release_on, [ReleaseCause::Failed, ReleaseCause::BouncedHard]);
    assert_eq!(policy.channels[2].pressure_milli, 1_500);
    assert_eq!(policy.channels[0].valid_for_ms, Some(6 * 3_600_000));
    assert!(matches!(&policy.classes[2].obeys, Obeys::Only { kinds, .. } if kinds.len() == 3));
    let RuleKind::Cap(week) = &policy.rules[0].kind else {
        panic!("corporate-week is a cap")
    };
    assert_eq!(week.window.shape, Shape::Rolling(Length::Exact { ms: 7 * 86_400_000 }));
    assert!(matches!(week.limits.otherwise, Limit::Number(4)));
    assert_eq!(week.limits.rows.len(), 2);
    assert!(policy.rules[0].counts_by_class && policy.rules[0].counts.terms.is_empty());
    let RuleKind::Cap(day) = &policy.rules[1].kind else {
        panic!("email-day is a cap")
    };
    assert!(matches!(day.window.zone, ZoneChoice::Customer));
    assert!(policy.rules[1].on_hit.fallback && policy.rules[1].on_hit.defer && !policy.rules[1].on_hit.suppress);
    assert!(matches!(policy.rules[1].counts.terms.as_slice(), [Term::AnyOf { .. }]));
    let RuleKind::CoolOff(ignored) = &policy.rules[5].kind else {
        panic!("ignored-offer is a cool-off")
    };
    assert_eq!(
        ignored.after,
        [Trigger::NoResponse(Length::Exact { ms: 3 * 86_400_000 })]
    );
    let RuleKind::CoolOff(issue) = &policy.rules[6].kind else {
        panic!("open-issue is a cool-off")
    };
    assert!(matches!(issue.block, Block::Until { .. }));
    assert!(policy.rules[7].on_hit.defer, "windows defer");
    assert!(policy.rules[9].shadow);
    // The whole of 31 December in New York.
    assert_eq!(
        policy.exceptions[0].until_ms,
        "2027-01-01T05:00:00Z"
            .parse::<jiff::Timestamp>()
            .unwrap()
            .as_millisecond()
    );
}

#[test]
fn a_list_may_be_an_anchor_that_is_used_again() {
    let text = format!(
        "{SMALL}rules:\n  - {{ id: a, gap: 1h, for: &who {{ channel: [email, sms] }} }}\n  - {{ id: b, gap: 2h, for: *who }}\n"
    );
    let (policy, _) = load(&text);
    assert_eq!(policy.rules[0].governs, policy.rules[1].governs);
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{below}*a{}]\n", level - 1));
    }
    assert!(lines(&errors(&text)).contains("more than 200000 values"));
}

#[test]
fn a_file_that_nests_too_deep_is_refused() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        let found = lines(&errors(&text));
        assert!(
            found.contains("more than 64 levels") || found.contains("not YAML"),
            "{found}"
        );
    }
}

#[test]
fn a_file_that_is_too_long_is_refused_unread() {
    let found = Policy::load(&vec![b'#'; tree::FILE_BYTES + 1], "policy.yaml", None).unwrap_err();
    assert!(lines(&found).contains("a policy is at most 1 MiB"));
}

#[test]
fn a_file_that_is_not_utf8_is_refused_with_the_line() {
    let found = Policy::load(b"forbear: 1\nname: \xff\n", "policy.yaml", None).unwrap_err();
    assert!(lines(&found).contains("not UTF-8: see byte 17, in line 2"));
    let found = Policy::load(b"\xff\xfef\0", "policy.yaml", None).unwrap_err();
    assert!(lines(&found).contains("UTF-16"));
}

#[test]
fn a_report_stays_small_however_many_mistakes_there_are() {
    let mut text = String::from(SMALL);
    (0..5_000).for_each(|index| text.push_str(&format!("key{index}: 1\n")));
    let found = errors(&text);
    assert_eq!(found.items.len() + found.left_out, 5_000);
    assert!(found.items.len() <= 100 && found.to_text(false).contains("and 4900 more"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(errors) = Policy::load(&bytes, "policy.yaml", Some(0)) {
            let _ = (errors.to_text(false), errors.to_json());
        }
    }

    #[test]
    fn a_policy_with_a_stretch_replaced_never_panics(at in 0..ACME.len(), length in 0_usize..40, with in "\\PC{0,12}") {
        let start = crate::policy::file::diagnostic::floor_boundary(ACME, at);
        let end = crate::policy::file::diagnostic::floor_boundary(ACME, at + length);
        let text = format!("{}{with}{}", &ACME[..start], &ACME[end..]);
        match Policy::load(text.as_bytes(), "policy.yaml", Some(0)) {
            Ok((_, warnings)) => { let _ = (warnings.to_text(false), warnings.to_json()); }
            Err(errors) => {
                prop_assert!(errors.errors() > 0);
                let _ = (errors.to_text(false), errors.to_json());
            }
        }
    }
}
