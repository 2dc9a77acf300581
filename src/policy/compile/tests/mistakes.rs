//! Every kind of mistake, reported where it stands.

use super::*;

/// Top-level text after the small policy, and the finding that must be among the answers, by line (from the first line
/// of the text) and column, with its message and label.
pub fn is_found(addition: &str, expected: &str) {
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

#[test]
fn a_mistake_is_reported_where_it_stands() {
    for (addition, expected) in [
        (
            "ruels: []",
            "1:1: unknown key `ruels` in a policy (did you mean `rules`?)",
        ),
        (
            "include: [packs/us.yaml]",
            "1:11: `packs/us.yaml` cannot be read (packs/us.yaml: a policy that is loaded by itself includes nothing)",
        ),
        ("score: intent.channel", "1:8: this is a text (expected a number)"),
        (
            "forbear: 2",
            "1:1: the key `forbear` is written twice (the second one; the first is in line 1)",
        ),
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
            "1:13: unknown response `cliked` (did you mean `clicked`?)",
        ),
        (
            "responses: [declined]",
            "1:13: unknown response `declined` (expected `clicked`, `replied`, `converted` or `opened`)",
        ),
        (
            "calendars: { a: [2026-13-01] }",
            "1:18: a date of a calendar cannot be `2026-13-01` (no calendar has this day: it is year, month, day)",
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
            "1:36: the rule `a` is written twice (the second one; the first is in line 9)",
        ),
        ("rules: [ { id: cap, gap: 1h } ]", "1:16: a rule cannot be called `cap`"),
        (
            "rules: [ { id: A_1, gap: 1h } ]",
            "1:16: the id of a rule cannot be `A_1`",
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
            "1:33: `limit` cannot be `1.5` (contacts are counted in whole numbers)",
        ),
        (
            "rules: [ { id: a, cap: { limit: unlimted, window: 1d } } ]",
            "1:33: `limit` cannot be `unlimted` (did you mean `unlimited`?)",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1.5 * 2.0, window: 1d } } ]",
            "1:33: this is a decimal number (make it whole with `int(…)`)",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1, window: first-contact } } ]",
            "1:44: windows that open at the first contact are not in version 1",
        ),
        (
            "rules: [ { id: a, cap: { limit: 1, window: 7d, concurrent: campaign } } ]",
            "1:48: caps on campaigns that run at the same time are not in version 1",
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
            "1:50: unknown day `fry` (did you mean `mon-fri`?)",
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
            "1:55: this expression cannot be read (to compare, write `==`)",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 'now > 3' } ]",
            "1:35: there is no `now`",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: 'arm(\"x\") == \"y\"' } ]",
            "1:39: unknown experiment `x` (the policy declares none)",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: customer.unanswered > \"3\" } ]",
            "1:34: a whole number and a text have no order",
        ),
    ] {
        is_found(addition, expected);
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
            "marketing: { rank: 1, obeys: all, counts: true, hold: 7d }",
            "8:57: `hold` is not shorter than `max-defer`",
        ),
        (
            "marketing: { rank: 1, obeys: all, counts: true, hold: 1mo }",
            "8:57: `hold` is an exact duration",
        ),
        (
            "marketing: { rank: 1, obeys: all, counts: true, reserve: maybe }",
            "8:60: `reserve` cannot be `maybe`",
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
            "rules: [ { id: a, gap: 1h, when: customer.unanswered > 3 && customer.unanswered < 2 } ]",
            "9:34: this condition is never true",
        ),
        (
            "rules: [ { id: a, gap: 1h }, { id: b, gap: 30min } ]\n\
             exceptions: [ { id: e, for: { channel: sms }, rules: [a], until: 2020-01-01, owner: o, why: w } ]",
            "9:36: the rule `b` never decides anything",
        ),
        (
            "rules: [ { id: a, mix: { of: { category: promo }, at-most: 0.7, last: 10 } } ]",
            "9:60: this share of 10 messages is less than one",
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
