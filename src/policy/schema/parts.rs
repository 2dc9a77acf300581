//! The maps of the policy that are no kinds of rules, key by key.

use super::Part;
use super::values::*;
use serde_json::json;

/// Every map that the reader of the file knows, but for those of `kinds`.
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
            (
                "experiments",
                || list("experiment"),
                "Customers drawn into arms, for `arm(…)` in conditions.",
            ),
            (
                "score",
                || json!({ "type": ["string", "number"], "maxLength": 2000 }),
                "An expression that orders competitors of one class and priority; the highest comes first.",
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
            (
                "mode",
                mode,
                "opt-in asks for a grant in force, opt-out for no refusal.",
            ),
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
                "pressure",
                || reference("pressure"),
                "The points of the channels, in a window or fading.",
            ),
            (
                "back-off",
                || reference("back-off"),
                "Longer waits, the longer there is no response.",
            ),
            (
                "cool-off",
                || reference("cool-off"),
                "Silence after something happened.",
            ),
            (
                "redundant",
                || reference("redundant"),
                "The same once in a time, across divisions.",
            ),
            (
                "sequence",
                || reference("sequence"),
                "What must not follow, or must follow, something else.",
            ),
            ("mix", || reference("mix"), "At most a share of the last messages."),
            ("spend", || reference("spend"), "At most so much money in a window."),
            ("capacity", || reference("capacity"), "Of the company as a whole."),
            ("holdout", || reference("holdout"), "These customers get nothing of it."),
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
        what: "a span of hours",
        definition: "hours",
        keys: &[
            ("days", one_or_more_texts, "mon-fri, sat, …; left out: every day."),
            (
                "from",
                || json!({ "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$" }),
                "When it begins: the first minute is included.",
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
            ("channel", values, "Declared under `channels`."),
            ("division", values, "The business unit that asks."),
            ("campaign", values, "A trailing `*` is a prefix."),
            (
                "category",
                values,
                "What the message is for: the purpose that consent names.",
            ),
            ("topic", values, "What the message is about: preferences name topics."),
            ("class", values, "Declared under `classes`."),
            ("type", values, "campaign, event or trigger."),
            (
                "tags",
                || json!({ "anyOf": [values(), reference("all-tags")] }),
                "Any of them, or `{ all: [ … ] }`.",
            ),
            ("offer", values, "What is offered."),
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
            ("for", || reference("selector"), "Which messages are stopped."),
            (
                "until",
                date_or_instant,
                "When the stop ends; a date alone ends with that day.",
            ),
            ("why", text, "The reason, for whoever reads the decision later."),
        ],
        required: &["for", "why"],
    },
    Part {
        what: "an exception",
        definition: "exception",
        keys: &[
            ("id", text, "What the explanation of a verdict calls it."),
            ("for", || reference("selector"), "Which messages are excepted."),
            ("rules", one_or_more_texts, "The rules that do not apply."),
            (
                "until",
                date_or_instant,
                "When the exception ends; a date alone ends with that day.",
            ),
            ("owner", text, "Who answers for it."),
            ("why", text, "The reason, for whoever reads the decision later."),
        ],
        required: &["id", "for", "rules", "until", "owner", "why"],
    },
];
