//! Mistakes in the kinds of rules, reported where they stand.

use super::*;

#[test]
fn a_mistake_in_a_kind_is_reported_where_it_stands() {
    for (rule, expected) in [
        (
            "pressure: { limit: 1.2345, window: 7d }",
            "1:38: `limit` cannot be `1.2345` (expected a number such as `1.25`, with at most 3 digits after the point)",
        ),
        (
            "pressure: { limit: 1 }",
            "1:31: `pressure` needs `window` or `half-life`",
        ),
        (
            "pressure: { limit: 1, window: 7d, half-life: 3d }",
            "1:53: both `window` and `half-life` (one of them: points leave at once or fade)",
        ),
        (
            "pressure: { limit: 1, half-life: 0s }",
            "1:52: `half-life` is longer than nothing",
        ),
        (
            "pressure: { limit: 1, halflife: 3d }",
            "1:41: unknown key `halflife` in `pressure` (did you mean `half-life`?)",
        ),
        (
            "pressure: { limit: 1, half-life: 3d, timezone: customer }",
            "1:56: unknown key `timezone` in `pressure`",
        ),
        (
            "back-off: { gap: 7d }",
            "1:31: `back-off` needs `after` (`after` is missing)",
        ),
        ("back-off: { after: 0, gap: 7d }", "1:38: `after` cannot be `0`"),
        ("back-off: { after: 1, gap: 1mo }", "1:46: `gap` is an exact duration"),
        (
            "back-off: { after: 1, gap: 7d, factor: 0.5 }",
            "1:58: `factor` is less than 1 (expected 1 or more: a wait that gets shorter is no back-off)",
        ),
        (
            "back-off: { after: 1, gap: 7d, max: 6d }",
            "1:55: `max` is shorter than `gap` (expected at least the gap)",
        ),
        (
            "back-off: { after: 1, gap: 7d, reset-by: same-chanel }",
            "1:60: unknown way to reset `same-chanel` (did you mean `same-channel`?)",
        ),
        (
            "redundant: { key: ofer, within: 14d }",
            "1:37: unknown field `ofer` (did you mean `offer`?)",
        ),
        (
            "redundant: { key: offer }",
            "1:32: `redundant` needs `within` (`within` is missing)",
        ),
        (
            "redundant: { key: segment, within: 1d }",
            "1:37: `key` cannot be `segment`",
        ),
        ("sequence: { within: 1d }", "1:31: `sequence` says nothing"),
        (
            "sequence: { never: {}, only: {}, within: 1d }",
            "1:31: a sequence has one form",
        ),
        (
            "sequence: { never: {}, within: 1d }",
            "1:31: `sequence` needs `after` (`after` is missing)",
        ),
        (
            "sequence: { never: {}, after: {}, answered: true, within: 1d }",
            "1:53: `answered` does not go with `never`",
        ),
        (
            "sequence: { only: { channel: sms }, if: { chanel: email }, within: 1d }",
            "1:61: unknown key `chanel` in a selector (did you mean `channel`?)",
        ),
        (
            "sequence: { never-together: [ {} ], within: 1d }",
            "1:47: `never-together` keeps two kinds apart (expected a list of at least two selectors)",
        ),
        (
            "sequence: { only: { channel: sms }, if: { channel: sms }, within: 1d }",
            "1:10: what `a` governs can never be sent (it waits for something that waits for it: a cycle of `only … if`)",
        ),
        (
            "mix: { of: {}, at-most: 101%, last: 10 }",
            "1:43: `at-most` cannot be `101%` (expected a percentage from 0 to 100, with at most 2 digits after the point)",
        ),
        ("mix: { of: {}, at-most: 70%, last: 1 }", "1:54: `last` cannot be `1`"),
        ("spend: { limit: 1 }", "1:28: `spend` needs `window`"),
        (
            "spend: { limit: customer.unanswered, window: 1d }",
            "1:35: `limit` cannot be `customer.unanswered`",
        ),
        (
            "holdout: { percent: 2 }",
            "1:30: `holdout` needs `salt` (`salt` is missing)",
        ),
        (
            "holdout: { percent: 2.345, salt: s }",
            "1:39: `percent` cannot be `2.345`",
        ),
        (
            "holdout: { percent: 2, salt: s }, per: [division]",
            "1:53: `per` has no meaning for `holdout` (leave it out)",
        ),
        (
            "cool-off: { after: complained, for: 1d }, counts: {}",
            "1:61: `counts` has no meaning for `cool-off`",
        ),
    ] {
        let addition = format!("rules: [ {{ id: a, {rule} }} ]");
        let line_offset = SMALL.lines().count();
        let found = lines(&errors(&format!("{SMALL}{addition}\n")));
        let expected = format!("{}{}", line_offset + 1, &expected[1..]);
        assert!(
            found.contains(&expected),
            "{addition}\nexpected {expected}\nfound {found}"
        );
    }
}

#[test]
fn a_mistake_in_an_experiment_is_reported_where_it_stands() {
    for (experiment, expected) in [
        ("{ id: e, arms: { a: 100 } }", "9:18: an experiment needs `salt`"),
        ("{ id: e, salt: s, arms: {} }", "9:40: this experiment has no arm"),
        (
            "{ id: e, salt: s, arms: { a: 60, b: 50 } }",
            "9:40: the arms are more than everybody",
        ),
        ("{ id: e, salt: s, arms: { A: 100 } }", "9:42: an arm cannot be `A`"),
        (
            "{ id: g, salt: s, arms: { a: 100 } }",
            "9:22: the experiment `g` is called like a rule",
        ),
        (
            "{ id: e, salt: s, arms: { a: 100 } }, { id: e, salt: s, arms: { a: 100 } }",
            "9:60: the experiment `e` is written twice",
        ),
    ] {
        let found = lines(&errors(&format!(
            "{SMALL}experiments: [ {experiment} ]\nrules: [ {{ id: g, gap: 1h }} ]\n"
        )));
        assert!(
            found.contains(expected),
            "{experiment}\nexpected {expected}\nfound {found}"
        );
    }
    let text = format!(
        "{SMALL}experiments: [ {{ id: tight, salt: s, arms: {{ on: 50, off: 50 }} }} ]
rules: [ {{ id: g, gap: 1h, when: 'arm(\"tight\") == \"onn\"' }}, {{ id: h, gap: 1h, when: 'arm(\"tigt\") == \"on\"' }} ]\n"
    );
    let found = lines(&errors(&text));
    assert!(
        found.contains("10:51: unknown arm `onn` (did you mean `on`?)"),
        "{found}"
    );
    assert!(
        found.contains("10:90: unknown experiment `tigt` (did you mean `tight`?)"),
        "{found}"
    );
}

#[test]
fn rules_that_wait_for_each_other_are_refused_and_others_are_not() {
    let rule = |id: &str, only: &str, needed: &str, more: &str| {
        format!("  - {{ id: {id}, sequence: {{ only: {only}, if: {needed}, within: 30d }}{more} }}\n")
    };
    let (email, sms, promo) = (
        "{ channel: email }",
        "{ channel: sms }",
        "{ channel: [sms], category: promo }",
    );
    let found = |rules: &[String]| match Policy::load(
        format!("{SMALL}rules:\n{}", rules.concat()).as_bytes(),
        "policy.yaml",
        None,
    ) {
        Ok(_) => 0,
        Err(errors) => errors.items.iter().filter(|item| item.code == "cycle").count(),
    };
    assert_eq!(found(&[rule("a", email, sms, ""), rule("b", sms, email, "")]), 2);
    assert_eq!(
        found(&[rule("a", email, sms, ""), rule("b", sms, "{ offer: x }", "")]),
        0
    );
    // A promotion by text waits for an e-mail, which waits for such a promotion.
    assert_eq!(found(&[rule("a", email, promo, ""), rule("b", sms, email, "")]), 2);
    // Another text may come first.
    assert_eq!(found(&[rule("a", email, sms, ""), rule("b", promo, email, "")]), 0);
    // Somebody without the guard's condition may begin.
    let guarded = ", when: '\"vip\" in customer.segments'";
    assert_eq!(found(&[rule("a", email, sms, guarded), rule("b", sms, email, "")]), 0);
    assert_eq!(
        found(&[
            rule("a", email, sms, ", for: { category: promo }"),
            rule("b", sms, email, "")
        ]),
        0
    );
}

#[test]
fn a_mix_that_only_its_own_kind_fills_is_warned_about() {
    let warned = |more: &str| {
        let rule = format!("{{ id: m, mix: {{ of: {{ category: promo }}, at-most: 70%, last: 10 }}{more} }}");
        let (_, warnings) = load(&format!("{SMALL}rules: [ {rule} ]\n"));
        lines(&warnings)
    };
    assert_eq!(warned(""), "");
    assert_eq!(warned(", for: { category: promo }, counts: {}"), "");
    assert!(
        warned(", for: { category: promo, channel: sms }").contains("9:19: only what is `of` the kind fills this mix")
    );
}
