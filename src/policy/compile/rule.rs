//! `rules:`.

use super::top::Defaults;
use super::{
    Context, back_off, cap, capacity, class, cool_off, holdout, mix, pressure, redundant, selector, sequence, spend,
    window,
};
use crate::message::Name;
use crate::policy::file::diagnostic::one_of;
use crate::policy::file::{Entry, Fields, Node, Span as Place, Value, scalar};
use crate::policy::model::{OnHit, Rule};
use crate::policy::rules::{Gap, RuleKind};
use crate::policy::selector::Selector;
use crate::policy::window::{Polarity, ZoneChoice};
use std::collections::HashMap;

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
/// Keys that say what kind a rule is.
pub(in crate::policy) const KINDS: &[&str] = &[
    "cap",
    "gap",
    "pressure",
    "back-off",
    "cool-off",
    "redundant",
    "sequence",
    "mix",
    "spend",
    "send-window",
    "quiet-hours",
    "capacity",
    "holdout",
];
/// Kinds whose limit conditions may choose.
const LIMITED: &[&str] = &["cap", "pressure", "spend"];
/// Kinds for which `counts` may say which contacts fill them.
const COUNTING: &[&str] = &[
    "cap",
    "gap",
    "pressure",
    "back-off",
    "redundant",
    "sequence",
    "mix",
    "spend",
    "capacity",
];
/// Kinds that look at no contact and no event of the customer: there is nothing to split.
const UNSPLIT: &[&str] = &["send-window", "quiet-hours", "capacity", "holdout"];

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
    let mut seen = HashMap::new();
    let placed = items
        .iter()
        .filter_map(|item| Some((rule(item, defaults, &mut seen, context)?, item.span)));
    let placed: Vec<(Rule, Place)> = placed.collect();
    sequence::refuse_cycles(&placed, context);
    placed.into_iter().map(|(rule, _)| rule).collect()
}

fn rule<'n>(
    node: &'n Node,
    defaults: &Defaults<'_>,
    seen: &mut HashMap<&'n str, Place>,
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
        let kind_name = entry.key.as_str();
        if !LIMITED.contains(&kind_name) {
            misplaced(limits, kind_name, context);
        }
        if !COUNTING.contains(&kind_name) {
            misplaced(counts_entry, kind_name, context);
        }
        if UNSPLIT.contains(&kind_name) {
            misplaced(per_entry, kind_name, context);
        }
        kind(entry, limits, context).map(|kind| (kind, entry.key_span))
    });
    fields.close(&mut context.findings);
    let ((kind, place), governs) = kind.zip(governs)?;
    let (counts, counts_by_class) = match counts {
        Some(counts) => (counts?, false),
        None => default_counts(&kind, &governs),
    };
    if let RuleKind::Mix(mix) = &kind
        && counts.is_within(&mix.of)
    {
        mix::only_its_own(place, context);
    }
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

fn id<'n>(node: &'n Node, seen: &mut HashMap<&'n str, Place>, context: &mut Context<'_>) -> Option<Name> {
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
    if let Some(first) = seen.get(id) {
        findings.twice("repeated-id", &format!("the rule `{id}`"), *first, node.span);
        return None;
    }
    seen.insert(id, node.span);
    Some(id.into())
}

/// The one key that says what the rule is.
fn the_kind<'n>(fields: &mut Fields<'n>, context: &mut Context<'_>) -> Option<&'n Entry> {
    let mut written: Vec<&Entry> = KINDS.iter().filter_map(|kind| fields.take_entry(kind)).collect();
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
        [only] => Some(*only),
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

/// Which contacts fill a rule that does not say, and whether the flag of their class decides as well.
fn default_counts(kind: &RuleKind, governs: &Selector) -> (Selector, bool) {
    match kind {
        // It says itself which contacts it means; `for` says nothing about them.
        RuleKind::Sequence(sequence) => (Selector::default(), !sequence.names_a_class()),
        _ => (selector::without_class(governs), true),
    }
}

fn kind(entry: &Entry, limits: Option<&Entry>, context: &mut Context<'_>) -> Option<RuleKind> {
    let node = &entry.value;
    match entry.key.as_str() {
        "cap" => cap::cap(node, limits, context).map(RuleKind::Cap),
        "pressure" => pressure::pressure(node, limits, context).map(RuleKind::Pressure),
        "spend" => spend::spend(node, limits, context).map(RuleKind::Spend),
        "back-off" => back_off::back_off(node, context).map(RuleKind::BackOff),
        "redundant" => redundant::redundant(node, context).map(RuleKind::Redundant),
        "sequence" => sequence::sequence(node, context).map(RuleKind::Sequence),
        "mix" => mix::mix(node, context).map(RuleKind::Mix),
        "capacity" => capacity::capacity(node, context).map(RuleKind::Capacity),
        "holdout" => holdout::holdout(node, context).map(RuleKind::Holdout),
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
