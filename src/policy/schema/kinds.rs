//! The kinds of rules, key by key.

use super::Part;
use super::values::*;
use serde_json::json;

/// The maps of the kinds of rules, and the maps inside them.
pub(crate) const KINDS: &[Part] = &[
    Part {
        what: "`cap`",
        definition: "cap",
        keys: &[
            (
                "limit",
                limit,
                "A number, `unlimited`, or an integer expression; 0 blocks.",
            ),
            ("window", window, "7d, 1mo, calendar-day, `7 calendar-days`, ever, …"),
            ("timezone", text, "customer, company or an IANA name."),
            (
                "tumbling-from",
                date,
                "Makes the window a fixed period, counted from this date.",
            ),
            ("distinct", field, "Counts different values of this field."),
        ],
        required: &["limit", "window"],
    },
    Part {
        what: "a row of `limits`",
        definition: "limit-row",
        keys: &[
            (
                "when",
                condition,
                "For whom or for what this row holds; the first one that is true is taken.",
            ),
            ("limit", limit, "The limit where it is."),
        ],
        required: &["when", "limit"],
    },
    Part {
        what: "`cool-off`",
        definition: "cool-off",
        keys: &[
            (
                "after",
                || json!({ "anyOf": [event(), reference("no-response"), { "type": "array", "minItems": 1, "items": { "anyOf": [event(), reference("no-response")] } }] }),
                "What starts it.",
            ),
            (
                "count",
                || json!({ "type": "integer", "minimum": 1, "maximum": 10000 }),
                "How many of them.",
            ),
            ("within", duration, "In how long a time."),
            (
                "for",
                || json!({ "type": "string", "pattern": WINDOW_LENGTH }),
                "How long it lasts.",
            ),
            (
                "until",
                || json!({ "const": "issue_closed" }),
                "The event that ends it.",
            ),
            ("max", duration, "Ends it in any case."),
            ("events", || reference("selector"), "Which of the events are counted."),
            ("timezone", text, "In which months and local days are measured."),
        ],
        required: &["after"],
    },
    Part {
        what: "`pressure`",
        definition: "pressure",
        keys: &[
            ("limit", amount, "Points, this message's included."),
            ("window", window, "Points leave at once."),
            ("half-life", exact_duration, "Points fade: half of them in so long."),
            ("timezone", text, "customer, company or an IANA name."),
            (
                "tumbling-from",
                date,
                "Makes the window a fixed period, counted from this date.",
            ),
        ],
        required: &["limit"],
    },
    Part {
        what: "`back-off`",
        definition: "back-off",
        keys: &[
            (
                "after",
                || json!({ "type": "integer", "minimum": 1, "maximum": 10000 }),
                "So many contacts without response.",
            ),
            ("gap", exact_duration, "The first wait."),
            ("factor", decimal, "How much longer each is than the one before."),
            ("max", exact_duration, "The longest wait."),
            (
                "reset-by",
                || json!({ "enum": ["any-channel", "same-channel"] }),
                "Which responses end it.",
            ),
        ],
        required: &["after", "gap"],
    },
    Part {
        what: "`redundant`",
        definition: "redundant",
        keys: &[
            ("key", field, "What must not be the same."),
            ("within", duration, "For how long after the last one."),
            ("timezone", text, "In which months are measured."),
        ],
        required: &["key", "within"],
    },
    Part {
        what: "`sequence`",
        definition: "sequence",
        keys: &[
            ("never", || reference("selector"), "Not after what `after` selects."),
            ("after", || reference("selector"), "What `never` must not follow."),
            (
                "never-together",
                || json!({ "type": "array", "minItems": 2, "items": reference("selector") }),
                "Only one of these kinds.",
            ),
            ("only", || reference("selector"), "Only if there was what `if` selects."),
            (
                "if",
                || reference("selector"),
                "What must have gone out before what `only` selects.",
            ),
            (
                "answered",
                || json!({ "type": "boolean" }),
                "And the customer responded to it.",
            ),
            ("within", duration, "How far back is looked."),
            ("timezone", text, "In which months are measured."),
        ],
        required: &["within"],
    },
    Part {
        what: "`mix`",
        definition: "mix",
        keys: &[
            ("of", || reference("selector"), "The kind of messages."),
            ("at-most", percent, "Its share."),
            (
                "last",
                || json!({ "type": "integer", "minimum": 2, "maximum": 1000 }),
                "Of so many contacts, this one included.",
            ),
        ],
        required: &["of", "at-most", "last"],
    },
    Part {
        what: "`spend`",
        definition: "spend",
        keys: &[
            ("limit", amount, "Money, this message's cost included."),
            ("window", window, "Over which time the costs add up."),
            ("timezone", text, "customer, company or an IANA name."),
            (
                "tumbling-from",
                date,
                "Makes the window a fixed period, counted from this date.",
            ),
        ],
        required: &["limit", "window"],
    },
    Part {
        what: "`capacity`",
        definition: "capacity",
        keys: &[
            (
                "limit",
                || json!({ "type": "integer", "minimum": 1 }),
                "Of all customers together.",
            ),
            ("window", window, "Over which time messages are counted."),
            ("timezone", text, "company or an IANA name."),
            (
                "tumbling-from",
                date,
                "Makes the window a fixed period, counted from this date.",
            ),
        ],
        required: &["limit", "window"],
    },
    Part {
        what: "`holdout`",
        definition: "holdout",
        keys: &[
            ("percent", percent, "Of the customers."),
            ("salt", text, "Another salt draws other customers."),
        ],
        required: &["percent", "salt"],
    },
    Part {
        what: "an experiment",
        definition: "experiment",
        keys: &[
            (
                "id",
                || name("-"),
                "What `arm(…)` in a condition and the decision records call it.",
            ),
            ("salt", text, "Another salt draws other customers."),
            (
                "arms",
                || json!({ "type": "object", "minProperties": 1, "additionalProperties": percent() }),
                "Shares by name, consecutive ranges in the order written.",
            ),
        ],
        required: &["id", "salt", "arms"],
    },
    Part {
        what: "what a cool-off comes after",
        definition: "no-response",
        keys: &[(
            "no-response",
            duration,
            "A delivered contact without response for so long.",
        )],
        required: &["no-response"],
    },
    Part {
        what: "`send-window`",
        definition: "send-window",
        keys: &[
            ("timezone", text, "customer (left out), company or an IANA name."),
            ("open", hours, "The hours that are open; the rest is closed."),
            ("closed-on", one_or_more_texts, "Calendars whose dates are closed."),
            ("jitter", exact_duration, "What waited goes out spread over so long."),
        ],
        required: &["open"],
    },
    Part {
        what: "`quiet-hours`",
        definition: "quiet-hours",
        keys: &[
            ("timezone", text, "customer (left out), company or an IANA name."),
            ("quiet", hours, "The hours that are quiet; the rest is open."),
            ("closed-on", one_or_more_texts, "Calendars whose dates are quiet."),
            ("jitter", exact_duration, "What waited goes out spread over so long."),
        ],
        required: &["quiet"],
    },
];
