//! A test that fails shows the working of every rule.

use super::{POLICY, fails};

#[test]
fn a_wrong_expectation_shows_what_came_and_every_rules_working() {
    let text = fails(
        POLICY,
        r#"
tests:
  - name: this one is wrong
    customer: { timezone: Europe/Lisbon }
    timeline:
      - { at: 2026-03-28T09:00:00Z, contact: { channel: email, division: cards } }
      - at: 2026-03-28T20:30:00Z
        intent: { channel: email, division: loans }
        expect: { verdict: approved, channel: push, reason: approved, rule: week, blocked-by: [week], next-eligible: null, wake: 2026-03-29T00:00:00Z }
"#,
    );
    for expected in [
        "FAIL  this one is wrong (tests.yaml:3)",
        "tests.yaml:9:17: the intent `intent-2` at 2026-03-28T20:30:00.000Z",
        " verdict        approved  deferred",
        " channel        push      email",
        " reason         approved  cap",
        " rule           week      email-day",
        " blocked-by     [week]    [email-day, trial (shadow)]",
        " next-eligible  null      2026-03-29T00:00:00.000Z",
        "every rule's working (times in Europe/Lisbon)",
        " email    email-day  cap               BLOCKS                  1 of 1  2026-03-28 00:00 +00:00 – 2026-03-29 00:00 +00:00  2026-03-29 00:00 +00:00",
        " email    week       cap               passes                  1 of 2",
        " email    nights     quiet_hours       governs other messages",
        "1 test, 0 passed, 1 failed",
    ] {
        assert!(text.contains(expected), "expected {expected}\n{text}");
    }
    assert!(!text.contains(" wake "), "what is right is not listed\n{text}");
}

#[test]
fn the_working_names_a_rule_whose_room_is_kept_for_a_higher_message() {
    const KEPT: &str = "forbear: 1
name: kept
timezone: Europe/Lisbon
channels: { email: { consent: opt-out } }
classes: { high: { rank: 2, obeys: all, counts: true, reserve: true }, marketing: { rank: 1, obeys: all, counts: true } }
rules:
  - { id: week, cap: { limit: 1, window: 7d } }
  - { id: nights, quiet-hours: { quiet: { from: '22:00', to: '08:00' } }, for: { class: high } }
";
    let text = fails(
        KEPT,
        "
- name: the one of the week is spoken for
  timeline:
    - { at: 2026-01-05T22:30:00Z, intent: { channel: email, class: high }, expect: { verdict: deferred } }
    - { at: 2026-01-05T23:00:00Z, intent: { channel: email }, expect: { verdict: approved } }
",
    );
    assert!(text.contains(" verdict  approved  suppressed"), "{text}");
    let row = text
        .lines()
        .find(|line| line.contains(" email    week "))
        .unwrap_or_default();
    for expected in ["arbitration", "BLOCKS: what is left is kept", "2026-01-06 08:00 +00:00"] {
        assert!(row.contains(expected), "expected {expected}\n{text}");
    }
}
