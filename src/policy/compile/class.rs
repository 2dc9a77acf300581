//! `classes:`.

use super::Context;
use crate::message::Name;
use crate::policy::file::{Entry, Fields, Node, Value, fields, scalar};
use crate::policy::model::{Class, Obeys, RuleKindName};

/// What `obeys` may list beside rule ids; the ids of rules must differ from them.
pub(super) const KINDS: &[(&str, RuleKindName)] = &[
    ("suppression-list", RuleKindName::SuppressionList),
    ("consent", RuleKindName::Consent),
    ("preferences", RuleKindName::Preferences),
    ("holdout", RuleKindName::Holdout),
    ("cool-off", RuleKindName::CoolOff),
    ("redundant", RuleKindName::Redundant),
    ("sequence", RuleKindName::Sequence),
    ("cap", RuleKindName::Cap),
    ("gap", RuleKindName::Gap),
    ("pressure", RuleKindName::Pressure),
    ("back-off", RuleKindName::BackOff),
    ("mix", RuleKindName::Mix),
    ("spend", RuleKindName::Spend),
    ("quiet-hours", RuleKindName::QuietHours),
    ("capacity", RuleKindName::Capacity),
];

/// The classes, in the order of the file.
pub(super) fn classes(node: &Node, max_defer_ms: i64, context: &mut Context<'_>) -> Vec<Class> {
    let entries = fields::entries(node, "`classes`", &mut context.findings);
    if entries.is_empty() {
        let label = "expected at least one, such as `marketing: { rank: 1, obeys: all, counts: true }`";
        context.findings.error("range", node.span, "there is no class", label);
    }
    let classes = entries.iter().filter_map(|entry| class(entry, max_defer_ms, context));
    classes.collect()
}

fn class(entry: &Entry, max_defer_ms: i64, context: &mut Context<'_>) -> Option<Class> {
    let named = scalar::check_name(&entry.key, "a class", "-_", entry.key_span, &mut context.findings);
    let mut fields = Fields::open(&entry.value, "a class", &mut context.findings)?;
    let rank = fields.require("rank", &mut context.findings);
    let rank = rank.and_then(|node| scalar::integer(node, "`rank`", 0..=1000, &mut context.findings));
    let obeys = fields
        .require("obeys", &mut context.findings)
        .and_then(|node| obeys(node, context));
    let counts = fields.require("counts", &mut context.findings);
    let counts = counts.and_then(|node| scalar::truth(node, "`counts`", &mut context.findings));
    let hold = fields.take("hold");
    let hold_ms = hold.map_or(Some(0), |node| hold_ms(node, max_defer_ms, context));
    let reserve = fields.take("reserve");
    let reserve = reserve.map_or(Some(false), |node| {
        scalar::truth(node, "`reserve`", &mut context.findings)
    });
    fields.close(&mut context.findings);
    if !named {
        return None;
    }
    Some(Class {
        name: Name::from(entry.key.as_str()),
        rank: u16::try_from(rank?).ok()?,
        obeys: obeys?,
        counts: counts?,
        hold_ms: hold_ms?,
        reserve: reserve?,
    })
}

/// A hold is a deferral: it has to leave time to judge, and to wait for room afterwards.
fn hold_ms(node: &Node, max_defer_ms: i64, context: &mut Context<'_>) -> Option<i64> {
    let hold_ms = scalar::exact_ms(node, "`hold`", &mut context.findings)?;
    if hold_ms > 0 && hold_ms >= max_defer_ms {
        let message = "`hold` is not shorter than `max-defer`";
        let label = "what it holds would be given up before it is judged";
        context.findings.error("range", node.span, message, label);
        return None;
    }
    Some(hold_ms)
}

fn obeys(node: &Node, context: &mut Context<'_>) -> Option<Obeys> {
    if let Value::Scalar { text, .. } = &node.value {
        match text.as_str() {
            "all" => return Some(Obeys::All),
            "none" => return Some(Obeys::Nothing),
            _ => {}
        }
    }
    let (mut kinds, mut rules) = (Vec::new(), Vec::new());
    for item in node.as_list() {
        let Some(name) = scalar::text(item, "what a class obeys", &mut context.findings) else {
            continue;
        };
        if let Some((_, kind)) = KINDS.iter().find(|(word, _)| *word == name) {
            kinds.push(*kind);
        } else if context.rules.contains(&name) {
            rules.push(name.into());
        } else if name == "send-window" {
            let label = "`quiet-hours` covers send windows";
            context
                .findings
                .error("unknown-name", item.span, "`obeys` does not know `send-window`", label);
        } else {
            let words = ["all", "none"]
                .into_iter()
                .filter(|_| !matches!(node.value, Value::List(_)));
            let known = KINDS
                .iter()
                .map(|(word, _)| *word)
                .chain(context.rules.iter().copied())
                .chain(words);
            context.findings.unknown("kind or rule", name, item.span, known);
        }
    }
    Some(Obeys::Only { kinds, rules })
}
