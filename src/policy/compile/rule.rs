//! `rules:`.

use super::top::Defaults;
use super::{Context, class, cool_off, later, selector, window};
use crate::message::Name;
use crate::policy::file::diagnostic::one_of;
use crate::policy::file::{Diagnostic, Entry, Fields, Node, Value, scalar};
use crate::policy::model::{OnHit, Rule};
use crate::policy::rules::{Cap, Gap, Limit, LimitRow, Limits, RuleKind};
use crate::policy::selector::Selector;
use crate::policy::window::{Polarity, ZoneChoice};
use std::collections::HashSet;

/// `on-hit: suppress`.
pub(super) const SUPPRESS: OnHit = OnHit {
    fallback: false,
    defer: false,
    suppress: true,
};
const DEFER: OnHit = OnHit {
    fallback: false,
    defer: true,
    suppress: false,
};
const KINDS: &[&str] = &["cap", "gap", "cool-off", "send-window", "quiet-hours"];
const LARGEST_LIMIT: i64 = 1_000_000_000;

/// The rules, in the order of the file.
pub(super) fn rules(node: &Node, defaults: &Defaults<'_>, context: &mut Context<'_>) -> Vec<Rule> {
    let Value::List(items) = &node.value else {
        if !node.is_empty() {
            let message = format!("`rules` is a list, not {}", node.described());
            context
                .findings
                .error("type", node.span, message, "expected `- { id: …, … }`");
        }
        return Vec::new();
    };
    let mut seen = HashSet::new();
    items
        .iter()
        .filter_map(|item| rule(item, defaults, &mut seen, context))
        .collect()
}

fn rule<'n>(
    node: &'n Node,
    defaults: &Defaults<'_>,
    seen: &mut HashSet<&'n str>,
    context: &mut Context<'_>,
) -> Option<Rule> {
    let mut fields = Fields::open(node, "a rule", &mut context.findings)?;
    let id = fields
        .require("id", &mut context.findings)
        .and_then(|node| id(node, seen, context));
    let when = fields.take("when").map(|node| context.condition(node));
    let governs = fields
        .take("for")
        .map_or(Some(Selector::default()), |node| selector::selector(node, context));
    let counts_entry = fields.take_entry("counts");
    let counts = counts_entry.map(|entry| selector::selector(&entry.value, context));
    let per_entry = fields.take_entry("per");
    let per = per_entry.map_or(Some(Vec::new()), |entry| {
        selector::split_fields(&entry.value, "`per`", context)
    });
    let limits = fields.take_entry("limits");
    let on_hit = fields.take("on-hit").map(|node| on_hit(node, context));
    let shadow = fields.take("shadow").map_or(Some(false), |node| {
        scalar::truth(node, "`shadow`", &mut context.findings)
    });
    let kind = the_kind(&mut fields, context).and_then(|entry| {
        if entry.key != "cap" {
            misplaced(limits, &entry.key, context);
        }
        if !matches!(entry.key.as_str(), "cap" | "gap") {
            misplaced(counts_entry, &entry.key, context);
        }
        if matches!(entry.key.as_str(), "send-window" | "quiet-hours") {
            misplaced(per_entry, &entry.key, context);
        }
        kind(entry, limits, context)
    });
    fields.close(&mut context.findings);
    let (kind, governs) = kind.zip(governs)?;
    let counts_by_class = counts.is_none();
    let counts = counts.unwrap_or_else(|| Some(selector::without_class(&governs)))?;
    let default_on_hit = if matches!(kind, RuleKind::SendWindow(_)) {
        DEFER
    } else {
        defaults.on_hit
    };
    Some(Rule {
        id: id?,
        when: match when {
            Some(condition) => Some(condition?),
            None => None,
        },
        governs,
        counts,
        counts_by_class,
        per: per?,
        kind,
        on_hit: on_hit.unwrap_or(Some(default_on_hit))?,
        shadow: shadow?,
    })
}

fn id<'n>(node: &'n Node, seen: &mut HashSet<&'n str>, context: &mut Context<'_>) -> Option<Name> {
    let id = scalar::text(node, "the id of a rule", &mut context.findings)?;
    let findings = &mut context.findings;
    if !scalar::check_name(id, "the id of a rule", "-", node.span, findings) {
        return None;
    }
    let taken = class::KINDS
        .iter()
        .map(|(word, _)| *word)
        .chain(["all", "none", "send-window"]);
    if taken.into_iter().any(|word| word == id) {
        let label = "`obeys` could not tell them apart";
        findings.error("name", node.span, format!("a rule cannot be called `{id}`"), label);
        return None;
    }
    if !seen.insert(id) {
        findings.error(
            "repeated-id",
            node.span,
            format!("the rule `{id}` is written twice"),
            "the second one",
        );
        return None;
    }
    Some(id.into())
}

/// The one key that says what the rule is.
fn the_kind<'n>(fields: &mut Fields<'n>, context: &mut Context<'_>) -> Option<&'n Entry> {
    let mut written: Vec<&Entry> = KINDS.iter().filter_map(|kind| fields.take_entry(kind)).collect();
    let mut later = Vec::new();
    for kind in later::RULE_KINDS {
        later.extend(fields.take_entry(kind));
    }
    for entry in &later {
        context.not_yet(entry.key_span, &entry.key);
    }
    written.extend(later.iter().copied());
    written.sort_by_key(|entry| entry.key_span.start);
    match written.as_slice() {
        [] => {
            let message = "this rule has no kind";
            context.findings.error(
                "missing-key",
                fields.head(),
                message,
                format!("expected {}", one_of(KINDS)),
            );
            None
        }
        [only] => KINDS.contains(&only.key.as_str()).then_some(*only),
        [first, second, ..] => {
            let message = format!("a rule is one thing: `{}` and `{}` are two", first.key, second.key);
            context
                .findings
                .error("kinds", second.key_span, message, "make it a rule of its own");
            None
        }
    }
}

fn misplaced(entry: Option<&Entry>, kind: &str, context: &mut Context<'_>) {
    if let Some(entry) = entry {
        let message = format!("`{}` has no meaning for `{kind}`", entry.key);
        context
            .findings
            .error("misplaced-key", entry.key_span, message, "leave it out");
    }
}

fn kind(entry: &Entry, limits: Option<&Entry>, context: &mut Context<'_>) -> Option<RuleKind> {
    let node = &entry.value;
    match entry.key.as_str() {
        "cap" => cap(node, limits, context).map(RuleKind::Cap),
        "gap" => window::gap(node, context).map(|length| {
            RuleKind::Gap(Gap {
                length,
                zone: ZoneChoice::Company,
            })
        }),
        "cool-off" => cool_off::cool_off(node, context).map(RuleKind::CoolOff),
        "send-window" => window::send_window(node, Polarity::Open, context).map(RuleKind::SendWindow),
        "quiet-hours" => window::send_window(node, Polarity::Quiet, context).map(RuleKind::SendWindow),
        _ => None,
    }
}

fn cap(node: &Node, limits: Option<&Entry>, context: &mut Context<'_>) -> Option<Cap> {
    let mut fields = Fields::open(node, "`cap`", &mut context.findings)?;
    let otherwise = fields
        .require("limit", &mut context.findings)
        .and_then(|node| limit(node, context));
    let window = window::window(&mut fields, context);
    let distinct = fields
        .take("distinct")
        .map(|node| selector::split_field(node, "`distinct`", context));
    if let Some(inside) = fields.take_entry("limits") {
        let label = "it stands beside `cap`, not in it";
        context
            .findings
            .error("misplaced-key", inside.key_span, "`limits` does not belong here", label);
    }
    fields.close(&mut context.findings);
    let rows = limits.map_or(Some(Vec::new()), |entry| limit_rows(&entry.value, context));
    if distinct == Some(None) {
        return None;
    }
    Some(Cap {
        window: window?,
        limits: Limits {
            rows: rows?,
            otherwise: otherwise?,
        },
        distinct: distinct.flatten(),
    })
}

fn limit_rows(node: &Node, context: &mut Context<'_>) -> Option<Vec<LimitRow>> {
    let Value::List(items) = &node.value else {
        let message = format!("`limits` is a list, not {}", node.described());
        context
            .findings
            .error("type", node.span, message, "expected `- { when: …, limit: … }`");
        return None;
    };
    let rows: Vec<Option<LimitRow>> = items.iter().map(|item| limit_row(item, context)).collect();
    rows.into_iter().collect()
}

fn limit_row(node: &Node, context: &mut Context<'_>) -> Option<LimitRow> {
    let mut fields = Fields::open(node, "a row of `limits`", &mut context.findings)?;
    let when = fields
        .require("when", &mut context.findings)
        .and_then(|node| context.condition(node));
    let limit = fields
        .require("limit", &mut context.findings)
        .and_then(|node| limit(node, context));
    fields.close(&mut context.findings);
    let (when, limit) = when.zip(limit)?;
    Some(LimitRow { when, limit })
}

/// A number, `unlimited`, or an integer expression.
fn limit(node: &Node, context: &mut Context<'_>) -> Option<Limit> {
    let text = scalar::text(node, "`limit`", &mut context.findings)?;
    if text == "unlimited" {
        return Some(Limit::Unlimited);
    }
    if scalar::looks_integer(text) {
        let number = scalar::integer(node, "`limit`", 0..=LARGEST_LIMIT, &mut context.findings)?;
        if number == 0 {
            let message = "a limit of 0 blocks everything that the rule governs";
            let diagnostic = Diagnostic::warning("limit-zero", node.span, message, "always a hit");
            context
                .findings
                .push(diagnostic.help("to stop messages for a time, `stops` says who and why"));
        }
        return Some(Limit::Number(number));
    }
    let (expression, constant) = context.expression(node)?;
    match constant {
        Some(number) if !(0..=LARGEST_LIMIT).contains(&number) => {
            let label = format!("expected 0 to {LARGEST_LIMIT}");
            context
                .findings
                .error("value", node.span, format!("this limit is always {number}"), label);
            None
        }
        Some(number) => Some(Limit::Number(number)),
        None => Some(Limit::Expression(expression)),
    }
}

/// An action or a list of them.
pub(super) fn on_hit(node: &Node, context: &mut Context<'_>) -> Option<OnHit> {
    const ACTIONS: &[(&str, [bool; 3])] = &[
        ("fallback", [true, false, false]),
        ("defer", [false, true, false]),
        ("suppress", [false, false, true]),
    ];
    let mut chosen = [false; 3];
    let mut complete = true;
    for item in node.as_list() {
        match scalar::word(item, "action", ACTIONS, &mut context.findings) {
            Some(action) => chosen
                .iter_mut()
                .zip(action)
                .for_each(|(chosen, action)| *chosen |= action),
            None => complete = false,
        }
    }
    if chosen == [false; 3] && complete {
        let label = "expected `fallback`, `defer`, `suppress` or a list of them";
        context
            .findings
            .error("range", node.span, "`on-hit` names no action", label);
    }
    let [fallback, defer, suppress] = chosen;
    (complete && chosen != [false; 3]).then_some(OnHit {
        fallback,
        defer,
        suppress,
    })
}
