//! The maps of the policy, key by key.

use super::Part;
use crate::message::{Basis, EventKind};
use serde_json::{Value, json};

/// The keys of a rule of which there is exactly one.
pub(super) const RULE_KINDS: &[&str] = &["cap", "gap", "cool-off", "send-window", "quiet-hours"];

/// Every map that the reader of the file knows.
pub(crate) const PARTS: &[Part] = &[
    Part {
        what: "a policy",
        definition: "policy",
        keys: &[
            ("forbear", || json!({ "const": 1 }), "The version of the language."),
            (
                "name",
                || name("-_."),
                "Stands in every verdict, with the hash of the file.",
            ),
            (
                "timezone",
                text,
                "The company's, an IANA name: days and weeks are cut here unless a rule says otherwise.",
            ),
            (
                "timezone-unknown",
                one_or_more_texts,
                "Zones in all of which it must be right, where a customer's zone is not known.",
            ),
            (
                "week-start",
                || json!({ "enum": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "mon", "tue", "wed", "thu", "fri", "sat", "sun"] }),
                "The day on which a calendar week starts.",
            ),
            (
                "defaults",
                || reference("defaults"),
                "What holds where a rule or an intent says nothing.",
            ),
            (
                "include",
                one_or_more_texts,
                "Files with more rules, by their path from this file.",
            ),
            (
                "channels",
                || by_name("channel"),
                "What can be sent on, and what consent it asks for.",
            ),
            (
                "classes",
                || by_name("class"),
                "What a message of a class is subject to, and whether it counts.",
            ),
            ("responses", events, "What counts as interest."),
            (
                "rules",
                || list("rule"),
                "All that match apply; their order means nothing.",
            ),
            ("stops", || list("stop"), "Emergency: nothing of this goes out."),
            (
                "exceptions",
                || list("exception"),
                "Named, owned and dated: these rules do not apply to those messages.",
            ),
            (
                "calendars",
                || json!({ "type": ["object", "null"], "additionalProperties": { "anyOf": [ { "type": "array", "items": date() }, date(), { "type": "null" } ] } }),
                "Lists of dates, for `closed-on`.",
            ),
            (
                "tests",
                || json!({ "type": ["array", "null"], "items": { "type": "object" } }),
                "Played by `forbear policy test`.",
            ),
        ],
        required: &["forbear", "name", "timezone", "channels", "classes"],
    },
    Part {
        what: "`defaults`",
        definition: "defaults",
        keys: &[
            (
                "on-hit",
                actions,
                "What a hit does where the rule says nothing; windows defer.",
            ),
            ("class", text, "What an intent without class is judged as."),
            ("max-defer", exact_duration, "A message waits at most so long."),
            (
                "remember-intents",
                exact_duration,
                "A repeated intent_id is known for so long.",
            ),
        ],
        required: &[],
    },
    Part {
        what: "a channel",
        definition: "channel",
        keys: &[
            (
                "consent",
                consent,
                "opt-in: only with a grant in force; opt-out: unless refused; or rows, of which the first that matches counts.",
            ),
            ("cost", decimal, "Of one message, in the company's currency."),
            ("pressure", decimal, "Points of one message."),
            (
                "valid-for",
                exact_duration,
                "A sender that is later than this drops the message.",
            ),
            (
                "confirm-within",
                exact_duration,
                "Without a report for so long, a contact counts as delivered.",
            ),
            (
                "release-on",
                || one_or_more(json!({ "enum": ["failed", "bounced_soft", "bounced_hard", "unconfirmed"] })),
                "What gives a contact back.",
            ),
        ],
        required: &["consent"],
    },
    Part {
        what: "a row of `consent`",
        definition: "consent-row",
        keys: &[
            ("when", condition, "For which customers; the last row has none."),
            ("mode", mode, ""),
            ("implied", implied, "How long each basis of a grant lasts."),
        ],
        required: &["mode"],
    },
    Part {
        what: "a class",
        definition: "class",
        keys: &[
            (
                "rank",
                || json!({ "type": "integer", "minimum": 0, "maximum": 1000 }),
                "Orders competitors: the higher goes first.",
            ),
            (
                "obeys",
                one_or_more_texts,
                "all, none, or kinds of rules and ids of rules.",
            ),
            (
                "counts",
                || json!({ "type": "boolean" }),
                "Whether its messages use up what others may send.",
            ),
            ("hold", exact_duration, "Waits so long to collect competitors."),
            (
                "reserve",
                || json!({ "type": "boolean" }),
                "Keeps its place while it waits.",
            ),
        ],
        required: &["rank", "obeys", "counts"],
    },
    Part {
        what: "a rule",
        definition: "rule",
        keys: &[
            ("id", || name("-"), "Stands in every verdict that it decides."),
            (
                "when",
                condition,
                "A guard: where it is false, the rule does not exist.",
            ),
            ("for", || reference("selector"), "Which messages it governs."),
            (
                "counts",
                || reference("selector"),
                "Which contacts fill it; left out: the same without the class.",
            ),
            ("per", fields, "Splits the count by these fields."),
            (
                "limits",
                || list("limit-row"),
                "Other limits; the first row that matches counts.",
            ),
            ("on-hit", actions, "What a hit does."),
            (
                "shadow",
                || json!({ "type": "boolean" }),
                "Evaluated and recorded, without effect.",
            ),
            ("cap", || reference("cap"), "At most so many contacts in a window."),
            ("gap", duration, "No contact in the last so long."),
            (
                "cool-off",
                || reference("cool-off"),
                "Silence after something happened.",
            ),
            (
                "send-window",
                || reference("send-window"),
                "Goes out only at these hours.",
            ),
            (
                "quiet-hours",
                || reference("quiet-hours"),
                "Does not go out at these hours.",
            ),
        ],
        required: &["id"],
    },
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
        keys: &[("when", condition, ""), ("limit", limit, "")],
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
    Part {
        what: "a span of hours",
        definition: "hours",
        keys: &[
            ("days", one_or_more_texts, "mon-fri, sat, …; left out: every day."),
            (
                "from",
                || json!({ "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$" }),
                "",
            ),
            (
                "to",
                || json!({ "type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$" }),
                "Not included; before `from`: on the next day.",
            ),
        ],
        required: &["from", "to"],
    },
    Part {
        what: "a selector",
        definition: "selector",
        keys: &[
            ("channel", values, ""),
            ("division", values, ""),
            ("campaign", values, ""),
            ("category", values, ""),
            ("topic", values, ""),
            ("class", values, ""),
            ("type", values, "campaign, event or trigger."),
            (
                "tags",
                || json!({ "anyOf": [values(), reference("all-tags")] }),
                "Any of them, or `{ all: [ … ] }`.",
            ),
            ("offer", values, ""),
            ("jurisdiction", values, "The customer's."),
            ("segment", values, "Any of the customer's."),
            ("not", || reference("selector"), "What this selects is left out."),
        ],
        required: &[],
    },
    Part {
        what: "`tags`",
        definition: "all-tags",
        keys: &[("all", values, "All of them.")],
        required: &["all"],
    },
    Part {
        what: "a stop",
        definition: "stop",
        keys: &[
            ("for", || reference("selector"), ""),
            ("until", date_or_instant, ""),
            ("why", text, ""),
        ],
        required: &["for", "why"],
    },
    Part {
        what: "an exception",
        definition: "exception",
        keys: &[
            ("id", text, ""),
            ("for", || reference("selector"), ""),
            ("rules", one_or_more_texts, "The rules that do not apply."),
            ("until", date_or_instant, ""),
            ("owner", text, ""),
            ("why", text, ""),
        ],
        required: &["id", "for", "rules", "until", "owner", "why"],
    },
];

const LENGTH: &str = "^[0-9]+(s|min|h|d|w|mo|y)$";
const EXACT_LENGTH: &str = "^[0-9]+(s|min|h|d|w)$";
const WINDOW_LENGTH: &str = "^[0-9]+(s|min|h|d|w|mo|y| calendar-days?)$";
const WINDOW: &str = "^([0-9]+(s|min|h|d|w|mo|y| calendar-days?)|calendar-(hour|day|week|month|quarter|year)|ever)$";

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

fn list(definition: &str) -> Value {
    json!({ "type": ["array", "null"], "items": reference(definition) })
}

fn by_name(definition: &str) -> Value {
    json!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": "^[a-z0-9_-]{1,64}$" },
        "additionalProperties": reference(definition),
    })
}

/// What YAML reads as a number, a truth value or a text is a text where one is wanted.
fn text() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

fn name(marks: &str) -> Value {
    json!({ "type": ["string", "number"], "pattern": format!("^[a-z0-9{}]{{1,64}}$", marks.replace('-', "\\-")) })
}

fn one_or_more(item: Value) -> Value {
    json!({ "anyOf": [item, { "type": "array", "items": item }] })
}

fn one_or_more_texts() -> Value {
    one_or_more(text())
}

/// Values of a selector: an empty list would select nothing.
fn values() -> Value {
    json!({ "anyOf": [text(), { "type": "array", "minItems": 1, "items": text() }] })
}

fn duration() -> Value {
    json!({ "type": "string", "pattern": LENGTH })
}

fn exact_duration() -> Value {
    json!({ "type": "string", "pattern": EXACT_LENGTH })
}

fn window() -> Value {
    json!({ "type": "string", "pattern": WINDOW })
}

fn decimal() -> Value {
    json!({ "type": ["number", "string"], "minimum": 0, "pattern": "^[0-9]+(\\.[0-9]+)?$" })
}

fn limit() -> Value {
    json!({ "type": ["integer", "string"], "minimum": 0, "maximum": 1_000_000_000 })
}

fn condition() -> Value {
    json!({ "type": ["string", "boolean"], "maxLength": 2000 })
}

fn date() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" })
}

fn date_or_instant() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?$" })
}

fn actions() -> Value {
    let action = json!({ "enum": ["fallback", "defer", "suppress"] });
    json!({ "anyOf": [action, { "type": "array", "minItems": 1, "items": action }] })
}

fn mode() -> Value {
    json!({ "enum": ["opt-in", "opt-out"] })
}

fn consent() -> Value {
    let row = reference("consent-row");
    json!({ "anyOf": [mode(), row, { "type": "array", "minItems": 1, "items": row }] })
}

fn implied() -> Value {
    let bases = Basis::ALL.map(Basis::as_str);
    json!({ "type": "object", "propertyNames": { "enum": bases }, "additionalProperties": duration() })
}

fn event() -> Value {
    json!({ "enum": EventKind::ALL.map(EventKind::as_str) })
}

fn events() -> Value {
    one_or_more(event())
}

fn field() -> Value {
    json!({ "enum": ["channel", "division", "campaign", "category", "topic", "class", "type", "tags", "offer"] })
}

fn fields() -> Value {
    one_or_more(field())
}

fn hours() -> Value {
    one_or_more(reference("hours"))
}
