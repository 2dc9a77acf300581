//! Slips of people who do not write code: the message says what was meant, and how it is written.

use super::mistakes::is_found;
use super::*;

#[test]
fn a_slip_is_told_with_what_was_meant() {
    for (addition, expected) in [
        (
            "rules: [ { id: a, cap: 3 per week } ]",
            "1:24: `cap` is a map, not a single value (expected `{ limit: 4, window: 7d }`)",
        ),
        (
            "rules: [ { id: a, cap: { limit: 4, window: 7d, per: [division] } } ]",
            "1:48: unknown key `per` in `cap` (it stands beside `cap`, in the rule)",
        ),
        (
            "rules: [ { id: a, cap: { limit: 4 }, window: 7d } ]",
            "1:38: unknown key `window` in a rule (it stands inside the kind of the rule, as in `cap: { limit: 4, window: 7d }`)",
        ),
        (
            "rules: [ { id: a, gap: 1h, description: between two } ]",
            "1:28: unknown key `description` in a rule (a note stands in a comment: `# …`)",
        ),
        (
            "rules: [ { id: a, send-window: { days: mon-fri } } ]",
            "1:34: unknown key `days` in `send-window` (hours stand in a list: `{ open: [ ",
        ),
        (
            "rules: [ { id: a, gap: 1h, for: { channel: } } ]",
            "1:42: a value of a selector is empty (nothing is written here: expected a value after the colon)",
        ),
        (
            "rules: [ { id: a, cool-off: { after: no-response, for: 90d } } ]",
            "1:38: `no-response` has a length (expected how long, as in `{ no-response: 3d }`)",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: vip } ]",
            "1:34: unknown name `vip` (a text stands in quotes, `\"vip\"`; a field is `intent.…` or `customer.…`)",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: customer.segments == 'vip' } ]",
            "1:34: a list stands alone (to ask for one of them: `\"…\" in customer.segments`",
        ),
        (
            "rules: [ { id: a, cap: { limit: four, window: 7d } } ]",
            "1:33: `limit` cannot be `four` (expected a whole number such as `4`, `unlimited`, or a formula over `customer.…`)",
        ),
        (
            "rules: [ { id: a, cap: { limit:4, window: 7d } } ]",
            "1:26: unknown key `limit:4` in `cap` (write `limit: 4`, with a space after the colon)",
        ),
        (
            "rules: [ { id: a, cap: { limit: 4, window: week } } ]",
            "1:44: unknown window `week` (did you mean `calendar-week`?)",
        ),
        (
            "rules: [ { id: a, cap: { limit: 4, window: 7 calendar days } } ]",
            "1:44: unknown window `7 calendar days` (did you mean `7 calendar-days`?)",
        ),
        (
            "rules: [ { id: a, quiet-hours: { quiet: { days: Mon-Friday, from: '08:00', to: '21:00' } } } ]",
            "1:49: unknown day `Mon` (did you mean `mon-friday`?)",
        ),
        (
            "rules: [ { id: a, quiet-hours: { quiet: { days: everyday, from: '08:00', to: '21:00' } } } ]",
            "1:49: unknown day `everyday` (did you mean `mon-sun`?)",
        ),
        (
            "rules: [ { id: a, quiet-hours: { quiet: { from: “21:00”, to: '08:00' } } } ]",
            "1:49: `from` cannot be `“21:00”` (these are typographic quotes: write straight ones, `\"`)",
        ),
        (
            "rules: [ { id: a, gap: 1h, when: customer.unanswered > 3 and customer.unanswered < 5 } ]",
            "1:58: this expression cannot be read (`and` is written `&&`)",
        ),
        (
            "timezone-unknown: [Paris]",
            "1:20: `timezone-unknown`: unknown time zone `Paris` (did you mean `Europe/Paris`?)",
        ),
        (
            "stops: [ { for: { channel: sms }, until: 2026-02-30, why: w } ]",
            "1:42: `until` cannot be `2026-02-30` (no calendar has this day",
        ),
    ] {
        is_found(addition, expected);
    }
}

#[test]
fn what_is_written_wrong_is_not_missing_as_well() {
    let found = errors(&SMALL.replace("timezone:", "time-zone:"));
    assert_eq!(
        lines(&found),
        "policy.yaml:3:1: unknown key `time-zone` in a policy (did you mean `timezone`?)"
    );
    assert_eq!(found.errors(), 1);
    // With one that is near to nothing, both are told.
    assert_eq!(errors(&SMALL.replace("timezone:", "place:")).errors(), 2);
}
