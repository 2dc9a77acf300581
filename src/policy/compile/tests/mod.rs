//! The shipped policies, the meaning of what they say, and every kind of mistake with its place.

mod kinds;
mod mistakes;
mod slips;

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
    assert_eq!(week.limits.rows.len(), 3);
    assert!(policy.rules[0].counts_by_class && policy.rules[0].counts.terms.is_empty());
    let RuleKind::Cap(day) = &policy.rules[1].kind else {
        panic!("email-day is a cap")
    };
    assert!(matches!(day.window.zone, ZoneChoice::Customer));
    assert!(policy.rules[1].on_hit.fallback && policy.rules[1].on_hit.defer && !policy.rules[1].on_hit.suppress);
    assert!(matches!(policy.rules[1].counts.terms.as_slice(), [Term::AnyOf { .. }]));
    let rule = |id: &str| policy.rules.iter().find(|rule| &*rule.id == id).unwrap();
    let RuleKind::CoolOff(ignored) = &rule("ignored-offer").kind else {
        panic!("ignored-offer is a cool-off")
    };
    assert_eq!(
        ignored.after,
        [Trigger::NoResponse(Length::Exact { ms: 3 * 86_400_000 })]
    );
    let RuleKind::CoolOff(issue) = &rule("open-issue").kind else {
        panic!("open-issue is a cool-off")
    };
    assert!(matches!(issue.block, Block::Until { .. }));
    assert!(rule("nights").on_hit.defer, "windows defer");
    assert!(rule("cap-trial").shadow);
    let kinds: std::collections::HashSet<_> = policy.rules.iter().map(|rule| rule.kind.name()).collect();
    assert_eq!(kinds.len(), 12, "every kind of rule");
    let RuleKind::Pressure(pressure) = &rule("pressure-week").kind else {
        panic!("pressure-week is a pressure")
    };
    assert!(matches!(pressure.limits.otherwise, Limit::Number(12_000_000)));
    let RuleKind::Spend(spend) = &rule("mail-budget").kind else {
        panic!("mail-budget is a spend")
    };
    assert!(matches!(spend.limits.otherwise, Limit::Number(12_000_000)));
    assert!(rule("no-agent-then-mail").counts.terms.is_empty() && rule("no-agent-then-mail").counts_by_class);
    assert_eq!(policy.experiments[0].arms.len(), 2);
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
fn a_class_may_hold_and_reserve_and_a_formula_may_order() {
    let text = SMALL.replace("counts: true }", "counts: true, hold: 5min, reserve: true }");
    let (policy, warnings) = load(&format!("{text}score: intent.value * double(intent.priority)\n"));
    assert_eq!(lines(&warnings), "");
    let class = &policy.classes[0];
    assert_eq!((class.hold_ms, class.reserve), (300_000, true));
    assert!(policy.score.is_some() && !policy.depends_on_time());
    let (policy, _) = load(&format!("{SMALL}score: 10 - customer.unanswered\n"));
    assert_eq!((policy.classes[0].hold_ms, policy.classes[0].reserve), (0, false));
    assert!(policy.depends_on_time());
    let (_, warnings) = load(&format!("{SMALL}score: 1 + 2\n"));
    assert!(lines(&warnings).contains("this score is the same for every message"));
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
    let found = Policy::load(
        &vec![b'#'; crate::policy::file::tree::FILE_BYTES + 1],
        "policy.yaml",
        None,
    )
    .unwrap_err();
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

/// Whatever stands in a file, the answer comes at once.
#[test]
fn a_hostile_file_is_refused_within_a_second() {
    let bomb = |text: &mut String, levels: usize| {
        text.push_str("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..levels {
            let below = format!("*a{}, ", level - 1).repeat(9);
            text.push_str(&format!("a{level}: &a{level} [{below}*a{}]\n", level - 1));
        }
    };
    let mut aliases = String::new();
    bomb(&mut aliases, 60);
    let mut nested_anchors = String::new();
    (0..60).for_each(|level| {
        nested_anchors.push_str(&format!("{}&n{level}\n{}- \n", "  ".repeat(level), "  ".repeat(level)))
    });
    let half = crate::policy::file::tree::FILE_BYTES / 2;
    let repeated = format!("{SMALL}{}", "rules: []\n".repeat(half / 10));
    let many_keys: String = (0..half / 12).map(|index| format!("key{index}: 1\n")).collect();
    let many_rules: String = (0..half / 40)
        .map(|index| format!("  - {{ id: r{index}, gap: 1h, for: {{ class: c }} }}\n"))
        .collect();
    let long_line = format!("{SMALL}name2: {}\n", "x".repeat(half));
    let long_when = format!(
        "{SMALL}rules: [ {{ id: a, gap: 1h, when: '{}' }} ]\n",
        "!".repeat(1_900)
    );
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("an alias bomb", aliases.into_bytes()),
        ("nested anchors", nested_anchors.into_bytes()),
        ("ten megabytes", vec![b'a'; 10 << 20]),
        ("deep flow lists", "[".repeat(half).into_bytes()),
        ("deep flow maps", "{a: ".repeat(half / 4).into_bytes()),
        ("deep block lists", "- ".repeat(half / 2).into_bytes()),
        (
            "not UTF-8",
            [SMALL.as_bytes(), &[0xc3, 0x28], SMALL.as_bytes()].concat(),
        ),
        ("UTF-16", b"\xff\xfef\0o\0".to_vec()),
        (
            "tabs",
            b"forbear: 1\nchannels:\n\temail: { consent: opt-in }\n".to_vec(),
        ),
        ("a byte order mark", [b"\xef\xbb\xbf", SMALL.as_bytes()].concat()),
        ("repeated keys", repeated.into_bytes()),
        ("many unknown keys", many_keys.into_bytes()),
        ("many rules", format!("{SMALL}rules:\n{many_rules}").into_bytes()),
        ("a long line", long_line.into_bytes()),
        ("a long run of operators", long_when.into_bytes()),
        ("zeros", vec![0; half]),
        ("quotes", vec![b'"'; half]),
        ("question marks", b"? ".repeat(half / 2)),
        ("anchors", b"&a ".repeat(half / 3)),
        ("a folded text", [b"a: >\n".to_vec(), b" \n".repeat(half / 2)].concat()),
    ];
    for (what, bytes) in files {
        let begun = std::time::Instant::now();
        let found = Policy::load(&bytes, "policy.yaml", Some(0));
        let Err(found) = found else {
            panic!("{what} is accepted")
        };
        assert!(found.errors() > 0, "{what}");
        let report = found.to_text(false).len() + found.to_json().len();
        // A build without optimisation on a busy machine is slower than what is shipped.
        assert!(begun.elapsed().as_secs() < 20, "{what}: {:?}", begun.elapsed());
        assert!(report < 1 << 20, "{what}: a report of {report} bytes");
    }
}

#[test]
fn a_slip_that_compiles_is_warned_about() {
    const CLASSES: &str = "  marketing: { rank: 1, obeys: all, counts: true }\n";
    let more = "  service: { rank: 2, obeys: [suppression-list, quiet-hours], counts: true }\n  legal: { rank: 3, obeys: [suppression-list], counts: false }\n";
    let base = SMALL.replace(CLASSES, &format!("{CLASSES}{more}"));
    for (rules, expected) in [
        (
            "- { id: a, cap: { limit: 1, window: 7d }, for: { class: legal } }",
            "the rule `a` can never hit (no class that it governs obeys it)",
        ),
        (
            "- { id: a, cap: { limit: 2, window: 7d } }\n  - { id: b, cap: { limit: 3, window: 1d }, for: { channel: email } }",
            "the rule `b` never decides anything (whatever it blocks, `a` blocks as well)",
        ),
        (
            "- { id: a, gap: 1h, for: { channel: [email, sms] } }\n  - { id: b, gap: 30min, for: { channel: email } }",
            "the rule `b` never decides anything",
        ),
        (
            "- { id: a, gap: 1h, for: { channel: email } }",
            "no rule governs the channel `sms` (whatever is allowed by consent goes out)",
        ),
        (
            "- { id: a, gap: 1h }\n  - { id: b, quiet-hours: { quiet: { from: '22:00', to: '06:00' } }, for: { class: marketing } }",
            "no rule governs the class `service`",
        ),
        (
            "- { id: a, send-window: { open: { days: mon-fri, from: '08:00', to: '12:00' } }, for: { channel: sms } }\n  \
             - { id: b, quiet-hours: { quiet: [ { days: mon-fri, from: '07:00', to: '13:00' } ] } }",
            "a marketing message on `sms` can never go out: `a` and `b` are never open together",
        ),
        (
            "- { id: a, cap: { limit: 9, window: 2y } }",
            "the window of `a` is longer than the history that is always whole",
        ),
        (
            "- { id: a, spend: { limit: 9, window: 2y } }",
            "the window of `a` is longer than the history that is always whole",
        ),
        (
            "- { id: a, gap: 500d }",
            "the window of `a` is longer than the history that is always whole",
        ),
        (
            "- { id: a, send-window: { timezone: company, open: { from: '08:00', to: '12:00' } } }\n  \
             - { id: b, quiet-hours: { timezone: company, quiet: { from: '07:00', to: '13:00' } } }\n  \
             - { id: c, quiet-hours: { quiet: { from: '22:00', to: '23:00' } } }",
            "a marketing message on `email` can never go out: `a` and `b` are never open together",
        ),
        (
            "- { id: a, cool-off: { after: clicked, count: 2, within: 2y, for: 1d } }",
            "`a` looks further back than opens and clicks are kept",
        ),
    ] {
        let (_, warnings) = load(&format!("{base}rules:\n  {rules}\n"));
        assert!(
            lines(&warnings).contains(expected),
            "expected {expected}\nfound {}",
            lines(&warnings)
        );
    }
    for rules in [
        "- { id: a, cap: { limit: 2, window: 1d } }\n  - { id: b, cap: { limit: 3, window: 7d }, for: { channel: email } }",
        "- { id: a, cap: { limit: 2, window: 7d }, when: 'customer.unanswered > 3' }\n  - { id: b, cap: { limit: 3, window: 1d } }",
        "- { id: a, cap: { limit: 2, window: 7d }, for: { channel: email } }\n  - { id: b, cap: { limit: 3, window: 1d } }",
        "- { id: a, cap: { limit: 2, window: 7d }, per: [division] }\n  - { id: b, cap: { limit: 3, window: 1d } }",
        "- { id: a, cap: { limit: 2, window: 7d }, on-hit: defer }\n  - { id: b, cap: { limit: 3, window: 1d } }",
        "- { id: a, shadow: true, cap: { limit: 2, window: 7d } }\n  - { id: b, cap: { limit: 3, window: 1d } }",
        "- { id: a, cap: { limit: 9, window: ever } }",
    ] {
        let (_, warnings) = load(&format!("{base}rules:\n  {rules}\n"));
        assert_eq!(lines(&warnings), "", "{rules}");
    }
}
