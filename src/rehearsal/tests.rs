//! The runner on timelines whose outcome is known, and on tests that are wrong.

mod working;

use super::report;
use super::{Played, play, read_tests};
use crate::policy::file::{Document, Findings};
use crate::policy::model::Policy;
use std::rc::Rc;

const ACME: &str = include_str!("../../deploy/policies/acme.yaml");

const POLICY: &str = r#"forbear: 1
name: rehearsed
timezone: America/New_York
defaults: { max-defer: 7d }
channels:
  email: { consent: opt-out, valid-for: 6h, release-on: [failed] }
  sms: { consent: opt-in, cost: 0.02 }
  push: { consent: opt-in }
classes:
  service: { rank: 2, obeys: [suppression-list, consent], counts: true }
  marketing: { rank: 1, obeys: all, counts: true }
rules:
  - { id: week, cap: { limit: 2, window: 7d }, for: { class: marketing }, on-hit: defer }
  - id: email-day
    cap: { limit: 1, window: calendar-day, timezone: customer }
    for: { class: marketing, channel: email }
    on-hit: [fallback, defer]
  - id: nights
    send-window: { open: [ { from: "08:00", to: "21:00" } ], jitter: 20min }
    for: { channel: [sms, push] }
  - { id: trial, shadow: true, cap: { limit: 1, window: 7d }, for: { class: marketing } }
"#;

fn read(policy: &str, tests: &str) -> (Document, Rc<Policy>, Vec<super::Test>, Findings) {
    let nothing = &mut |_: &str| Err("no".to_owned());
    let mut document = Document::read("policy.yaml", policy.as_bytes(), nothing).expect("a policy");
    let policy = match Policy::compile(&document, None) {
        Ok((policy, _)) => Rc::new(policy),
        Err(errors) => panic!("{}", errors.to_text(false)),
    };
    let mut findings = Findings::default();
    let node = document.add("tests.yaml", tests.as_bytes(), &mut findings);
    let tests = node.map_or_else(Vec::new, |node| read_tests(&node, &policy, &mut findings));
    (document, policy, tests, findings)
}

fn played(policy: &str, tests: &str) -> (Vec<Played>, String) {
    let (document, policy, tests, findings) = read(policy, tests);
    let has_errors = findings.has_errors();
    let found = findings.into_diagnostics(&document.sources);
    assert!(!has_errors, "{}", found.to_text(false));
    let played: Vec<Played> = tests.iter().map(|test| play(test, &document, &policy)).collect();
    let text = report::text(&played, &document.sources, true);
    (played, text)
}

fn passes(policy: &str, tests: &str) {
    let (played, text) = played(policy, tests);
    assert!(!played.is_empty());
    assert!(played.iter().all(|test| test.failures.is_empty()), "{text}");
}

fn fails(policy: &str, tests: &str) -> String {
    let (played, text) = played(policy, tests);
    assert!(played.iter().any(|test| !test.failures.is_empty()), "{text}");
    text
}

/// The findings about a file of tests, a line each.
fn found(tests: &str) -> String {
    let (document, _, _, findings) = read(POLICY, tests);
    findings.into_diagnostics(&document.sources).to_string()
}

#[test]
fn the_example_of_the_language_passes() {
    passes(
        ACME,
        r#"
tests:
  - name: a second e-mail on the same local day falls back to push
    customer: { timezone: Europe/Lisbon, consent: { push: granted } }
    timeline:
      - { at: 2026-03-28T09:00:00Z, contact: { channel: email, division: cards } }
      - at: 2026-03-28T20:30:00Z
        intent: { channel: email, division: loans, fallback_channels: [push] }
        expect: { verdict: approved, channel: push, blocked-by: [email-day] }
"#,
    );
}

#[test]
fn whatever_waits_is_judged_at_the_instant_at_which_it_is_due() {
    passes(
        POLICY,
        r#"
tests:
  - name: the night is over, then the week
    customer: { timezone: Europe/Lisbon, consent: { sms: granted } }
    timeline:
      - at: 2026-01-05T22:00:00Z
        intent: { intent_id: night, channel: sms }
        expect:
          verdict: deferred
          reason: quiet_hours
          rule: nights
          next-eligible: 2026-01-06T08:00:00Z
          wake: { from: 2026-01-06T08:00:00Z, to: 2026-01-06T08:20:00Z }
      - { at: 2026-01-06T08:20:00Z, tick: true, expect: { woke: [ { intent: night, verdict: approved, channel: sms } ] } }
      - { at: 2026-01-07T10:00:00Z, contact: { channel: push } }
      - at: 2026-01-08T10:00:00Z
        intent: { intent_id: full, channel: sms }
        expect: { verdict: deferred, rule: week, blocked-by: [week], wake: { from: 2026-01-13T08:00:00Z, to: 2026-01-13T08:20:00Z } }
      - { at: 2026-01-08T11:00:00Z, tick: true, expect: { woke: [] } }
      - { at: 2026-01-14T00:00:00Z, tick: true, expect: { woke: [full] } }
      - { at: 2026-01-14T00:00:00Z, tick: true, expect: { woke: [] } }
"#,
    );
}

#[test]
fn an_event_of_the_same_instant_goes_before_the_intent() {
    passes(
        POLICY,
        r#"
- name: unsubscribed in time
  timeline:
    - { at: 2026-01-05T15:00:00Z, intent: { channel: email }, expect: { verdict: suppressed, reason: consent, blocked-by: [consent], rule: null, wake: null, next-eligible: null } }
    - { at: 2026-01-05T10:00:00-05:00, event: { type: unsubscribed, channel: email } }
"#,
    );
}

#[test]
fn a_cancelled_a_released_and_a_repeated_intent_end_as_they_should() {
    passes(
        POLICY,
        r#"
- name: cancelled while it waits
  customer: { id: somebody, consent: { sms: granted, push: { state: refused } } }
  timeline:
    - { at: 2026-01-05T03:00:00Z, intent: { intent_id: a, channel: sms }, expect: deferred }
    - { at: 2026-01-05T04:00:00Z, event: { type: intent_cancelled, intent_id: a }, expect: { woke: [ { intent: a, verdict: suppressed, reason: cancelled } ] } }
    - { at: 2026-01-05T05:00:00Z, intent: { intent_id: a, channel: sms }, expect: { verdict: suppressed, reason: duplicate } }
- name: given back
  timeline:
    - { at: 2026-01-05T15:00:00Z, intent: { intent_id: a, channel: email }, expect: { verdict: approved, valid-until: 2026-01-05T21:00:00Z } }
    - { at: 2026-01-05T16:00:00Z, intent: { intent_id: b, channel: email }, expect: { verdict: deferred, blocked-by: [email-day, trial] } }
    - { at: 2026-01-05T17:00:00Z, event: { type: failed, intent_id: a } }
    - { tick: true, expect: { woke: [ { intent: b, verdict: approved, blocked-by: [] } ] } }
- name: a contact has an id like an intent
  timeline:
    - { at: 2026-01-05T15:00:00Z, contact: { intent_id: a, channel: email, state: sent } }
    - { at: 2026-01-05T15:10:00Z, intent: { intent_id: a, channel: email }, expect: { reason: duplicate } }
    - { at: 2026-01-05T15:20:00Z, event: { type: failed, intent_id: a } }
    - { at: 2026-01-05T15:30:00Z, intent: { channel: email }, expect: approved }
"#,
    );
}

#[test]
fn a_policy_that_is_replaced_times_the_queue_anew_and_counts_the_past() {
    passes(
        POLICY,
        r#"
- name: a lower limit and then none
  timeline:
    - { at: 2026-01-05T15:00:00Z, contact: { channel: email, division: cards } }
    - { at: 2026-01-06T15:00:00Z, contact: { channel: email, division: cards } }
    - { at: 2026-01-07T15:00:00Z, intent: { intent_id: a, channel: email }, expect: { verdict: deferred, rule: week, wake: 2026-01-12T15:00:00Z } }
    - { at: 2026-01-07T16:00:00Z, policy: { rules: [ { id: week, cap: { limit: 1, window: 7d }, for: { class: marketing }, on-hit: defer } ] }, expect: { woke: [ { intent: a, verdict: deferred, wake: 2026-01-13T15:00:00Z } ] } }
    - { at: 2026-01-07T17:00:00Z, policy: { rules: [] } }
    - { at: 2026-01-07T17:00:00Z, tick: true, expect: { woke: [ { intent: a, verdict: deferred }, { intent: a, verdict: approved } ] } }
- name: a test may begin with another policy
  policy: { rules: [] }
  timeline:
    - { at: 2026-01-05T15:00:00Z, contact: { channel: email } }
    - { at: 2026-01-05T15:30:00Z, contact: { channel: email } }
    - { at: 2026-01-05T16:00:00Z, intent: { channel: email }, expect: { verdict: approved, blocked-by: [] } }
"#,
    );
}

#[test]
fn what_waits_is_judged_again_in_the_order_of_competitors() {
    passes(
        POLICY,
        r#"
- name: priority first
  timeline:
    - { at: 2026-01-05T15:00:00Z, contact: { channel: email } }
    - { at: 2026-01-05T15:10:00Z, intent: { intent_id: low, channel: email, priority: 1 }, expect: deferred }
    - { at: 2026-01-05T15:20:00Z, intent: { intent_id: high, channel: email, priority: 900 }, expect: deferred }
    - { at: 2026-01-06T05:00:00Z, tick: true, expect: { woke: [ { intent: high, verdict: approved }, { intent: low, verdict: deferred, rule: week } ] } }
"#,
    );
}

#[test]
fn a_customer_has_a_profile_wishes_and_a_history() {
    passes(
        POLICY,
        r#"
- name: a wish for one a week
  customer:
    id: c-9
    timezone: Asia/Tokyo
    segments: vip
    attributes: { tier: gold, since: 3 }
    preferences: { max_per_week: 1, refused-channels: [push] }
    consent: { sms: [ { state: granted, basis: express, occurred_at: 2025-01-01T00:00:00Z } ], all: granted }
    history:
      - { at: 2026-01-04T15:00:00Z, contact: { channel: sms, state: sent } }
  timeline:
    - { at: 2026-01-05T03:00:00Z, intent: { channel: sms }, expect: { verdict: suppressed, reason: preference, blocked-by: [preference, trial] } }
"#,
    );
}

#[test]
fn an_intent_that_cannot_be_read_or_has_no_channel_of_the_policy_is_a_dead_letter() {
    passes(
        POLICY,
        r#"
- name: dead letters
  timeline:
    - { at: 2026-01-05T03:00:00Z, intent: { channel: fax }, expect: { verdict: dead-letter, reason: unknown_channel } }
    - { at: 2026-01-05T03:00:00Z, intent: { channel: email, priority: 5000 }, expect: { verdict: dead_letter, reason: bad_field } }
"#,
    );
    let text = fails(
        POLICY,
        "- { name: x, timeline: [ { at: 2026-01-05T03:00:00Z, intent: { channel: fax }, expect: approved } ] }",
    );
    assert!(text.contains("dead-letter (unknown_channel"), "{text}");
}

#[test]
fn a_name_of_a_test_does_not_command_the_terminal() {
    let text = fails(
        POLICY,
        r#"
- name: "red \e[31m"
  timeline: [ { at: 2026-01-05T03:00:00Z, intent: { channel: fax }, expect: approved } ]
"#,
    );
    assert!(text.contains("FAIL  red  [31m ("), "{text:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn an_exact_set_is_neither_more_nor_less_but_shadow_rules_may_be_left_out() {
    let test = |blocked: &str| {
        format!(
            "- name: x\n  timeline:\n    - {{ at: 2026-01-05T15:00:00Z, contact: {{ channel: email }} }}\n    - {{ at: 2026-01-05T16:00:00Z, \
             intent: {{ channel: email, fallback_channels: [push] }}, expect: {{ blocked-by: {blocked} }} }}\n"
        )
    };
    passes(POLICY, &test("[email-day, consent]"));
    passes(POLICY, &test("[trial, consent, email-day]"));
    for wrong in ["[email-day]", "[]", "[email-day, consent, week]", "[consent]"] {
        fails(POLICY, &test(wrong));
    }
}

#[test]
fn what_woke_is_compared_in_number_and_in_order() {
    let test = |woke: &str| {
        format!(
            "- name: x\n  timeline:\n    - {{ at: 2026-01-05T15:00:00Z, contact: {{ channel: email, class: service }} }}\n    \
             - {{ at: 2026-01-05T16:00:00Z, intent: {{ intent_id: a, channel: email }} }}\n    \
             - {{ at: 2026-01-05T16:00:00Z, intent: {{ intent_id: b, channel: email }} }}\n    \
             - {{ at: 2026-01-06T05:00:00Z, tick: true, expect: {{ woke: {woke} }} }}\n"
        )
    };
    passes(POLICY, &test("[a, b]"));
    for wrong in [
        "[]",
        "[a]",
        "[b, a]",
        "[a, b, a]",
        "[ { intent: a, verdict: suppressed }, b ]",
    ] {
        fails(POLICY, &test(wrong));
    }
}

#[test]
fn a_mistake_in_a_test_is_reported_where_it_stands() {
    let step = |step: &str| format!("- {{ name: x, timeline: [ {step} ] }}");
    for (text, expected) in [
        (
            "tets: []".to_owned(),
            "1:1: unknown key `tets` in a file of tests (did you mean `tests`?)",
        ),
        (
            "- { nam: x, timeline: [] }".to_owned(),
            "1:5: unknown key `nam` in a test (did you mean `name`?)",
        ),
        ("- { name: x }".to_owned(), "1:5: a test needs `timeline`"),
        (
            "- { name: x, timeline: [] }".to_owned(),
            "1:5: this test expects nothing, so it cannot fail",
        ),
        (step("{ intent: {} }"), "a step needs `at`"),
        (
            step("{ at: 2026-01-05T15:00:00, tick: true }"),
            "`at` cannot be `2026-01-05T15:00:00` (expected an instant such as",
        ),
        (step("{ at: 2026-01-05T15:00:00Z }"), "this step does nothing"),
        (
            step("{ at: 2026-01-05T15:00:00Z, tick: true, intent: {} }"),
            "a step is one thing: `tick` and `intent` are two",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, intnt: {} }"),
            "unknown key `intnt` in a step (did you mean `intent`?)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, intent: { chanel: email } }"),
            "unknown key `chanel` in an intent (did you mean `channel`?)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, intent: { channel: email, priority: high } }"),
            "`priority` cannot be `high` (expected a number)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, intent: { channel: email, propensity: 2 } }"),
            "this intent would be a dead letter (propensity: expected a number from 0 to 1)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, contact: { channel: emial } }"),
            "the policy has no channel `emial` (did you mean `email`?)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, event: { type: unsubscribe } }"),
            "unknown type of event `unsubscribe` (did you mean `unsubscribed`?)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, event: { type: intent_cancelled } }"),
            "this event would be a dead letter (intent_id: required)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, intent: { channel: email }, expect: { verdict: aproved } }"),
            "unknown verdict `aproved` (did you mean `approved`?)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, intent: { channel: email }, expect: { reason: capp } }"),
            "unknown reason `capp` (did you mean `cap`?)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, intent: { channel: email }, expect: { verdit: approved } }"),
            "unknown key `verdit` in `expect` (did you mean `verdict`?)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, tick: true, expect: { verdict: approved } }"),
            "`verdict` is of a verdict, and a step with `tick` has none",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, tick: true, expect: { woke: [ { verdict: approved } ] } }"),
            "what woke needs `intent`",
        ),
        (
            "- { name: x, customer: { timzone: UTC }, timeline: [] }".to_owned(),
            "1:26: unknown key `timzone` in a customer (did you mean `timezone`?)",
        ),
        (
            "- { name: x, customer: { timezone: Mars }, timeline: [] }".to_owned(),
            "this event would be a dead letter (timezone: expected the name of a time zone",
        ),
        (
            "- { name: x, customer: { consent: { sms: yes } }, timeline: [] }".to_owned(),
            "`sms` cannot be `yes` (expected `granted` or `refused`)",
        ),
        (
            "- { name: x, customer: { consent: { smss: granted } }, timeline: [] }".to_owned(),
            "unknown channel `smss` (did you mean `sms`?)",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, policy: { include: [x] } }"),
            "a test cannot replace `include`",
        ),
        (
            step("{ at: 2026-01-05T15:00:00Z, tick: true }, { at: 2026-01-05T14:00:00Z, tick: true }"),
            "this step is earlier than the one before it",
        ),
    ] {
        let found = found(&text);
        assert!(
            found.contains("tests.yaml:") && found.contains(expected),
            "expected {expected}\nfound {found}"
        );
    }
}

#[test]
fn a_policy_step_that_cannot_be_compiled_fails_the_test_with_its_place() {
    let text = fails(
        POLICY,
        "- name: x\n  timeline:\n    - { at: 2026-01-05T15:00:00Z, policy: { rules: [ { id: a, gap: 5m } ] } }\n    \
         - { at: 2026-01-05T15:00:00Z, intent: { channel: email }, expect: approved }\n",
    );
    assert!(text.contains("tests.yaml:3:68"), "{text}");
    assert!(text.contains("`5min` for minutes"), "{text}");
}

#[test]
fn an_instant_may_be_written_with_any_offset_or_with_the_name_of_a_zone() {
    let ms = super::words::instant_of("2026-03-28T20:30:00Z");
    assert!(ms.is_some());
    for text in [
        "2026-03-28T21:30:00+01:00",
        "2026-03-28 20:30:00Z",
        "2026-03-28T20:30Z",
        "2026-03-29T05:30:00+09:00",
        "2026-03-28T21:30[Europe/Berlin]",
        "2026-03-28T20:30:00.000Z",
    ] {
        assert_eq!(super::words::instant_of(text), ms, "{text}");
    }
    for text in ["2026-03-28", "20:30", "2026-03-28T20:30:00", "yesterday", ""] {
        assert_eq!(super::words::instant_of(text), None, "{text}");
    }
}

#[test]
fn every_field_that_a_test_may_write_is_read_by_the_decoders() {
    use super::words::{EVENT, INTENT, Kind};
    use crate::message::{decode_event, decode_intent};
    let mut unread = Vec::new();
    for (field, kind) in INTENT {
        let message =
            format!(r#"{{"intent_id":"i","customer_id":"c","channel":"email","division":"d","{field}":{{"a":[]}}}}"#);
        let message = match *field {
            "intent_id" | "customer_id" | "channel" | "division" => {
                message.replacen(&format!("\"{field}\":"), &format!("\"x{field}\":"), 1)
            }
            _ => message,
        };
        let read = decode_intent(Some(message.as_bytes()), &[], 0, 10_000, false).is_err();
        if !read && *kind != Kind::Anything {
            unread.push(*field);
        }
    }
    assert_eq!(unread, Vec::<&str>::new());
    for (field, _) in EVENT {
        let kinds = [
            "profile_set",
            "preferences_set",
            "consent_granted",
            "contacted_elsewhere",
        ];
        let refused = kinds.iter().any(|kind| {
            let mut message = serde_json::json!({
                "type": kind, "event_id": "e", "customer_id": "c", "occurred_at": "2026-01-05T15:00:00Z",
                "channel": "email", "division": "d",
            });
            message[field] = serde_json::json!({ "a": [] });
            let bytes = serde_json::to_vec(&message).unwrap();
            decode_event(Some(&bytes), &[], 10_000, false).is_err()
        });
        if !refused {
            unread.push(*field);
        }
    }
    // Public fields that have no effect.
    assert_eq!(unread, ["amount", "into"]);
}

#[test]
fn the_report_for_build_servers_has_a_suite_for_each_file_and_escapes_what_it_says() {
    let (document, policy, tests, _) = read(
        POLICY,
        "- { name: 'a <b> & \"c\"', timeline: [ { at: 2026-01-05T15:00:00Z, intent: { channel: email }, expect: suppressed } ] }\n\
         - { name: good, timeline: [ { at: 2026-01-05T15:00:00Z, intent: { channel: email }, expect: approved } ] }\n",
    );
    let played: Vec<Played> = tests.iter().map(|test| play(test, &document, &policy)).collect();
    let xml = report::junit(&played, &document.sources);
    for expected in [
        "<testsuites name=\"forbear policy test\" tests=\"2\" failures=\"1\" errors=\"0\">",
        "<testsuite name=\"tests.yaml\" tests=\"2\" failures=\"1\" errors=\"0\">",
        "name=\"a &lt;b&gt; &amp; &quot;c&quot;\" file=\"tests.yaml\" line=\"1\">",
        "<failure message=\"the intent `intent-1`: verdict\">",
        "name=\"good\" file=\"tests.yaml\" line=\"2\"/>",
    ] {
        assert!(xml.contains(expected), "expected {expected}\n{xml}");
    }
    let json: serde_json::Value = serde_json::from_str(&report::as_json(&played, &document.sources)).unwrap();
    assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
    assert_eq!(json["tests"][0]["failures"][0]["mismatches"][0]["got"], "approved");
    assert_eq!(json["tests"][0]["failures"][0]["working"][0]["reason"], "stopped");
}
