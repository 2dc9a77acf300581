//! The shipped policies, the meaning of what they say, and every kind of mistake with its place.

use super::*;
use crate::policy::model::{ConsentMode, Obeys, ReleaseCause};
use crate::policy::rules::{Block, Limit, RuleKind, Trigger};
use crate::policy::selector::Term;
use crate::policy::window::{Shape, Span as Length, ZoneChoice};
use proptest::prelude::*;

const STARTER: &str = include_str!("../../../deploy/policies/starter.yaml");
const ACME: &str = include_str!("../../../deploy/policies/acme.yaml");
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

/// Top-level text after the small policy, and the finding that must be among the answers, by line (from the first line
/// of the text) and column, with its message and label.
#[test]
fn a_mistake_is_reported_where_it_stands() {
    for (addition, expected) in [
        (
            "ruels: []",
            "1:1: unknown key `ruels` in a policy (did you mean `rules`?)",
        ),
        (
            "experiments: [ { id: a } ]",
            "1:1: `experiments` is not supported yet by this version (leave it out)",
        ),
        (
            "include: [packs/us.yaml]",
            "1:1: `include` is not supported yet by this version (leave it out)",
        ),
        ("forbear: 2", "1:1: the key `forbear` is written twice (the second one)"),
        (
            "timezone-unknown: [Europe/Lisbn]",
            "1:20: `timezone-unknown`: unknown time zone `Europe/Lisbn` (did you mean `Europe/Lisbon`?)",
        ),
        (
            "week-start: mondya",
            "1:13: unknown day `mondya` (did you mean `monday`?)",
        ),
        (
            "defaults: { class: marketin }",
            "1:20: unknown class `marketin` (did you mean `marketing`?)",
        ),
        (
            "defaults: { max-defer: 7days }",
            "1:24: `max-defer`: unknown unit `days` (did you mean `7d`?)",
        ),
        (
            "defaults: { max-defer: 1mo }",
            "1:24: `max-defer` is an exact duration (expected `s`, `min`, `h`, `d` or `w`: months and years are not of one length)",
        ),
        (
            "responses: [cliked]",
            "1:13: unknown event `cliked` (did you mean `clicked`?)",
        ),
        (
            "calendars: { a: [2026-13-01] }",
            "1:18: a date of a calendar cannot be `2026-13-01` (expected a date such as `2026-12-31`)",
        ),
        (
            "rules: { a: b }",
            "1:8: `rules` is a list, not a map (expected `- { id: …, … }`)",
        ),
        (
            "rules: [ { id: a, gap: 5m } ]",
            "1:24: a gap: `m` could be minutes or months (`5min` for minutes, `5mo` for months)",
        ),
        (
            "rules: [ { id: a, gap: 0s } ]",
            "1:24: a gap is longer than nothing (expected more than 0)",
        ),
        (
            "rules: [ { id: a, gap: 100y } ]",
            "1:24: a gap is longer than ten years (the history reaches ten years back)",
        ),
        (
            "rules: [ { id: a, gap: soon } ]",
            "1:24: a gap: `soon` is not a duration",
        ),
        ("rules: [ { id: a } ]", "1:12: this rule has no kind"),
        ("rules: [ { gap: 1h } ]", "1:12: a rule needs `id` (`id` is missing)"),
        (
            "rules: [ { id: a, gap: 1h, cap: { limit: 1, window: 1d } } ]",
            "1:28: a rule is one thing: `gap` and `cap` are two",
        ),
        (
            "rules: [ { id: a, gap: 1h }, { id: a, gap: 2h } ]",
            "1:36: the rule `a` is written twice",
        ),
        ("rules: [ { id: cap, gap: 1h } ]", "1:16: a rule cannot be called `cap`"),
        (
            "rules: [ { id: A_1, gap: 1h } ]",
            "1:16: the id of a rule cannot be `A_1`",
        ),
        (
            "rules: [ { id: a, pressure: { limit: 1, window: 7d } } ]",
            "1:19: `pressure` is not supported yet by this version",
        ),
        (
            "rules: [ { id: a, holdout: { percent: 2 } } ]",
            "1:19: `holdout` is not supported yet by this version",
        ),
        (
            "rules: [ { id: a, gap: 1h, for: { chanel: email } } ]",
            "1:35: unknown key `chanel` in a selector (did you mean `channel`?)",
        ),
        (
            "rules: [ { id: a, gap: 1h, for: { channel: emial } } ]",
            "1:44: unknown channel `emial` (did you mean `email`?)",
        ),
        (
            "rules: [ { id: a, gap: 1h, for: { class: [marketing, promo] } } ]",
            "1:54: unknown class `promo` (expected `marketing`)",
        ),
        (
            "rules: [ { id: a, gap: 1h, for: { campaign: 'a*b' } } ]",
            "1:45: `a*b`: a `*` inside a value (only at the end: `spring-*`)",
        ),
        (
            "rules: [ { id: a, gap: 1h, for: { campaign: [] } } ]",
            "1:45: this list is empty",
        ),
        (
            "rules: [ { id: a, gap: 1h, on-hit: [defer, fallbak] } ]",
            "1:44: unknown action `fallbak` (did you mean `fallback`?)",
        ),
        (
            "rules: [ { id: a, gap: 1h, on-hit: [] } ]",
            "1:36: `on-hit` names no action",
        ),
        (
            "rules: [ { id: a, gap: 1h, shadow: yes } ]",
            "1:36: `shadow` cannot be `yes` (expected `true` or `false`)",
        ),
        (
            "rules: [ { id: a, gap: 1h, per: [divison] } ]",
            "1:34: unknown field `divison` (did you mean `division`?)",
        ),
        (
            "rules: [ { id: a, gap: 1h, per: [household] } ]",
            "1:34: household caps are not in version 1",
        ),
        (
            "rules: [ { id: a, gap: 1h, per: [segment] } ]",
            "1:34: `per` cannot be `segment`",
        ),
        (
            "rules: [ { id: a, gap: 1h, limits: [] } ]",
            "1:28: `limits` has no meaning for `gap`",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1 } } ]",
            "1:26: `cap` needs `window` (`window` is missing)",
        ),
        (
            "rules: [ { id: a, cap: { limit: -1, window: 1d } } ]",
            "1:33: `limit` cannot be `-1` (expected a whole number from 0 to 1000000000)",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1, window: calender-day } } ]",
            "1:44: unknown window `calender-day` (did you mean `calendar-day`?)",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1, window: fiscal-year } } ]",
            "1:44: fiscal calendars are not in version 1",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1, window: 0 calendar-days } } ]",
            "1:44: `0 calendar-days` is not a window",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1, window: calendar-day, tumbling-from: 2026-01-05 } } ]",
            "1:73: `tumbling-from` does not fit this window",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1, window: 1d, timezone: custmer } } ]",
            "1:58: unknown time zone `custmer` (did you mean `customer`?)",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1, window: 1d, timezone: device } } ]",
            "1:58: the time zone of the device is not in version 1",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1, window: 1d, limits: [] } } ]",
            "1:48: `limits` does not belong here",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1.5, window: 1d } } ]",
            "1:33: this is a decimal number (make it whole with `int(…)`)",
        ),
        (
            "rules: [ { id: a, send-window: { open: [ { from: '08:00', to: '25:00' } ] } } ]",
            "1:63: `to` cannot be `25:00`",
        ),
        (
            "rules: [ { id: a, send-window: { open: [ { from: '08:00', to: '08:00' } ] } } ]",
            "1:63: `from` and `to` are equal",
        ),
        (
            "rules: [ { id: a, send-window: { open: [ { days: mon-fry, from: '08:00', to: '09:00' } ] } } ]",
            "1:50: unknown day `fry` (did you mean `fri`?)",
        ),
        (
            "rules: [ { id: a, send-window: { open: [] } } ]",
            "1:40: `send-window` leaves no hour open",
        ),
        (
            "rules: [ { id: a, quiet-hours: { quiet: [ { from: '00:00', to: '24:00' } ] } } ]",
            "1:41: `quiet-hours` leaves no hour open",
        ),
        (
            "rules: [ { id: a, send-window: { open: [ { from: '08:00', to: '21:00' } ], closed-on: holidays } } ]",
            "1:87: unknown calendar `holidays`",
        ),
        (
            "rules: [ { id: a, cool-off: { after: [complaint], for: 1d } } ]",
            "1:39: unknown event `complaint` (did you mean `complained`?)",
        ),
        (
            "rules: [ { id: a, cool-off: { after: [complained] } } ]",
            "1:31: `cool-off` needs `for` or `until`",
        ),
        (
            "rules: [ { id: a, cool-off: { after: complained, for: 1d, until: issue_closed } } ]",
            "1:66: both `for` and `until`",
        ),
        (
            "rules: [ { id: a, cool-off: { after: complained, for: 1d, count: 0 } } ]",
            "1:66: `count` cannot be `0`",
        ),
        (
            "exceptions: [ { id: x, for: { campaign: c }, rules: [nights], until: 2026-12-31, owner: o, why: w } ]",
            "1:54: unknown rule `nights`",
        ),
        (
            "exceptions: [ { id: x, for: { campaign: c }, rules: [], until: 2026-12-31, why: w } ]",
            "1:17: an exception needs `owner`",
        ),
        (
            "stops: [ { for: { channel: email }, until: tomorrow, why: w } ]",
            "1:44: `until` cannot be `tomorrow`",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 'customer.segmnts == \"a\"' } ]",
            "1:35: unknown field of `customer`: `segmnts` (did you mean `segments`?)",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 'intent.channel == \"emial\"' } ]",
            "1:53: unknown channel `emial` (did you mean `email`?)",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 'customer.attributes.tier == \"gold\"' } ]",
            "1:35: the attribute `tier` may be missing",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 'customer.unanswered' } ]",
            "1:35: this is a whole number (expected a truth value)",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 'customer.unanswered = 3' } ]",
            "1:55: this is not a CEL expression (to compare, write `==`)",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 'now > 3' } ]",
            "1:35: there is no `now`",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 'arm(\"x\") == \"y\"' } ]",
            "1:35: `arm` is not supported yet by this version",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: customer.unanswered > \"3\" } ]",
            "1:34: a whole number and a text have no order",
        ),
    ] {
        let found = errors(&format!("{SMALL}{addition}\n"));
        let expected = match expected.split_once(':') {
            Some((line, rest)) => format!(
                "policy.yaml:{}:{rest}",
                line.parse::<usize>().unwrap() + SMALL.lines().count()
            ),
            None => expected.to_owned(),
        };
        assert!(
            lines(&found).contains(&expected),
            "expected {expected}\nfound {}",
            lines(&found)
        );
    }
}

#[test]
fn a_file_that_is_not_a_policy_is_refused() {
    for (text, expected) in [
        ("", "1:1: the file is empty"),
        ("a: [1, 2", "this is not YAML"),
        ("a:\n\t- b\n", "this is not YAML"),
        ("a: 1\n---\nb: 2\n", "a second document"),
        ("a: !!str 1\n", "1:4: a tag"),
        ("a: &x { b: 1 }\nc: { <<: *x }\n", "2:6: a merge key"),
        ("? [a]\n: b\n", "1:3: a key that is a list or a map"),
        ("[]", "1:1: a policy is a map, not a list"),
        ("\u{feff}forbear: 1\n", "the file starts with a byte order mark"),
        (
            "forbear: 2\n",
            "1:10: `forbear`, the version of the language, cannot be `2`",
        ),
        ("forbear: 1\n", "1:1: a policy needs `channels`"),
    ] {
        let found = errors(text);
        assert!(
            lines(&found).contains(expected),
            "expected {expected}\nfound {}",
            lines(&found)
        );
    }
}

#[test]
fn a_mistake_in_a_channel_is_reported_where_it_stands() {
    for (channel, expected) in [
        (
            "email: { consent: opt-out, cost: 0.0000001 }",
            "5:36: `cost` cannot be `0.0000001`",
        ),
        (
            "email: { consent: optin }",
            "5:21: unknown consent mode `optin` (did you mean `opt-in`?)",
        ),
        ("email: { cost: 1 }", "5:12: a channel needs `consent`"),
        ("E-Mail: { consent: opt-in }", "5:3: a channel cannot be `E-Mail`"),
        (
            "email: { consent: [ { when: 'true', mode: opt-in } ] }",
            "5:31: the last row of `consent` has a condition",
        ),
        (
            "email: { consent: [ { mode: opt-in }, { mode: opt-out } ] }",
            "5:25: no row after this one can ever hold",
        ),
        (
            "email: { consent: opt-in, release-on: [lost] }",
            "5:42: unknown cause `lost`",
        ),
        (
            "email: { consent: { mode: opt-in, implied: { sale: 1y } } }",
            "5:48: unknown basis of consent `sale`",
        ),
    ] {
        let found = errors(&SMALL.replace("email: { consent: opt-out }", channel));
        assert!(
            lines(&found).contains(expected),
            "expected {expected}\nfound {}",
            lines(&found)
        );
    }
}

#[test]
fn a_mistake_in_a_class_is_reported_where_it_stands() {
    for (class, expected) in [
        (
            "marketing: { rank: 1, obeys: [caps], counts: true }",
            "8:33: unknown kind or rule `caps` (did you mean `cap`?)",
        ),
        (
            "marketing: { rank: 1, obeys: [send-window], counts: true }",
            "8:33: `obeys` does not know `send-window`",
        ),
        (
            "marketing: { rank: one, obeys: all, counts: true }",
            "8:22: `rank` cannot be `one`",
        ),
        (
            "marketing: { rank: 1, obeys: all, counts: true, hold: 5min }",
            "8:57: `hold` is not supported yet",
        ),
        (
            "other: { rank: 1, obeys: all, counts: true }",
            "there is no class `marketing`",
        ),
    ] {
        let found = errors(&SMALL.replace("marketing: { rank: 1, obeys: all, counts: true }", class));
        assert!(
            lines(&found).contains(expected),
            "expected {expected}\nfound {}",
            lines(&found)
        );
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = format!(
        "{SMALL}rules:\n  - {{ id: a, gap: 5m, for: {{ channel: emial }} }}\n  - {{ id: b, gpa: 4h }}\nstopps: []\n"
    );
    let found = errors(&text);
    let codes: Vec<&str> = found.items.iter().map(|item| item.code).collect();
    assert_eq!(
        codes,
        ["duration", "unknown-name", "missing-key", "unknown-key", "unknown-key"]
    );
}

#[test]
fn a_report_shows_the_line_and_marks_the_place() {
    let found = errors(&format!("{SMALL}rules: [ {{ id: a, gap: 5m }} ]\n"));
    let expected = "\
error[duration]: a gap: `m` could be minutes or months
 --> policy.yaml:9:24
  |
9 | rules: [ { id: a, gap: 5m } ]
  |                        ^^ `5min` for minutes, `5mo` for months";
    assert_eq!(found.to_text(false).trim_end(), expected);
}

#[test]
fn the_report_for_editors_has_places_and_suggestions() {
    let found = errors(&format!("{SMALL}ruels: []\n"));
    let json: serde_json::Value = serde_json::from_str(&found.to_json()).unwrap();
    assert_eq!(json[0]["line"], 9);
    assert_eq!(json[0]["column"], 1);
    assert_eq!(json[0]["end_column"], 6);
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["code"], "unknown-key");
    assert_eq!(json[0]["suggestion"], "rules");
}

#[test]
fn what_is_allowed_but_odd_is_warned_about() {
    for (addition, expected) in [
        (
            "rules: [ { id: a, cap: { limit: 0, window: 1d } } ]",
            "9:33: a limit of 0 blocks everything",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 1 < 2 } ]",
            "9:34: this condition is always true",
        ),
        (
            "calendars: { unused: [2026-12-25] }",
            "9:14: the calendar `unused` is not used",
        ),
        (
            "stops: [ { for: { channel: email }, until: 2020-01-01, why: w } ]",
            "9:44: this stop is over",
        ),
    ] {
        let today_ms = Some(1_790_000_000_000);
        let (_, warnings) = Policy::load(format!("{SMALL}{addition}\n").as_bytes(), "policy.yaml", today_ms).unwrap();
        assert!(
            lines(&warnings).contains(expected),
            "expected {expected}\nfound {}",
            lines(&warnings)
        );
    }
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
