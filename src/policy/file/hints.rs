//! What is said to somebody who put a known key into the wrong place, or wrote a single value where several belong.

/// How a map is written, by what it is.
pub(super) fn example(what: &str) -> &'static str {
    match what {
        "a policy" => "lines such as `forbear: 1` and `name: our-policy`",
        "a selector" => "`{ channel: email }`",
        "a span of hours" => "`{ days: mon-fri, from: \"08:00\", to: \"21:00\" }`",
        "`cap`" => "`{ limit: 4, window: 7d }`",
        "`pressure`" => "`{ limit: 12, window: 7d }`",
        "`spend`" => "`{ limit: 12.00, window: 365d }`",
        "`capacity`" => "`{ limit: 1000, window: 1h }`",
        "`back-off`" => "`{ after: 5, gap: 7d, factor: 2, max: 90d }`",
        "`cool-off`" => "`{ after: [complained], for: 90d }`",
        "`redundant`" => "`{ key: offer, within: 14d }`",
        "`sequence`" => "`{ never: { channel: mail }, after: { channel: phone }, within: 60d }`",
        "`mix`" => "`{ of: { category: promo }, at-most: 70%, last: 10 }`",
        "`send-window`" => "`{ open: [ { days: mon-fri, from: \"08:00\", to: \"21:00\" } ] }`",
        "`quiet-hours`" => "`{ quiet: [ { days: mon-sun, from: \"21:00\", to: \"08:00\" } ] }`",
        "`holdout`" => "`{ percent: 2, salt: \"2026\" }`",
        _ => "`{ key: value, … }`",
    }
}

/// Where a key belongs that is none of this map.
pub(super) fn misplaced(what: &str, key: &str) -> Option<String> {
    let is_kind = what.starts_with('`') && example(what) != example("");
    match (what, key) {
        ("a rule", "description" | "comment" | "note" | "name" | "title" | "about" | "why" | "owner") => {
            Some("a note stands in a comment: `# …`".to_owned())
        }
        (
            "a rule",
            "limit" | "window" | "within" | "timezone" | "tumbling-from" | "distinct" | "open" | "quiet" | "closed-on"
            | "jitter" | "after" | "until" | "max" | "factor" | "of" | "at-most" | "last" | "percent" | "salt" | "key"
            | "half-life" | "count",
        ) => {
            let example = example("`cap`");
            Some(format!(
                "it stands inside the kind of the rule, as in `cap: {}`",
                example.trim_matches('`')
            ))
        }
        ("`send-window`", "days" | "from" | "to") => Some(format!("hours stand in a list: {}", example(what))),
        ("`quiet-hours`", "days" | "from" | "to") => Some(format!("hours stand in a list: {}", example(what))),
        ("`send-window`", "quiet") => Some("what is quiet is a rule of the kind `quiet-hours`".to_owned()),
        ("`quiet-hours`", "open") => Some("what is open is a rule of the kind `send-window`".to_owned()),
        (_, "for" | "counts" | "per" | "when" | "on-hit" | "shadow" | "id") if is_kind => {
            Some(format!("it stands beside {what}, in the rule"))
        }
        _ => None,
    }
}
