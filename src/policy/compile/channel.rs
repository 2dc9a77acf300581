//! `channels:`.

use super::Context;
use crate::message::{Basis, Name};
use crate::policy::file::{Entry, Fields, Node, Value, fields, scalar};
use crate::policy::model::{Channel, ConsentClause, ConsentMode, ReleaseCause};
use crate::policy::window::Span;

const MODES: &[(&str, ConsentMode)] = &[("opt-in", ConsentMode::OptIn), ("opt-out", ConsentMode::OptOut)];
const BASES: &[(&str, Basis)] = &[
    ("express", Basis::Express),
    ("purchase", Basis::Purchase),
    ("inquiry", Basis::Inquiry),
];
const CAUSES: &[(&str, ReleaseCause)] = &[
    ("failed", ReleaseCause::Failed),
    ("bounced_soft", ReleaseCause::BouncedSoft),
    ("bounced_hard", ReleaseCause::BouncedHard),
    ("unconfirmed", ReleaseCause::Unconfirmed),
];

/// The channels, in the order of the file.
pub(super) fn channels(node: &Node, context: &mut Context<'_>) -> Vec<Channel> {
    let entries = fields::entries(node, "`channels`", &mut context.findings);
    if entries.is_empty() {
        context.findings.error(
            "range",
            node.span,
            "there is no channel",
            "expected at least one, such as `email: { consent: opt-out }`",
        );
    }
    entries.iter().filter_map(|entry| channel(entry, context)).collect()
}

fn channel(entry: &Entry, context: &mut Context<'_>) -> Option<Channel> {
    let named = scalar::check_name(&entry.key, "a channel", "-_", entry.key_span, &mut context.findings);
    let mut fields = Fields::open(&entry.value, "a channel", &mut context.findings)?;
    let consent = fields
        .require("consent", &mut context.findings)
        .and_then(|node| consent(node, context));
    let findings = &mut context.findings;
    let cost = fields
        .take("cost")
        .map_or(Some(0), |node| scalar::decimal(node, "`cost`", 6, findings));
    let pressure = fields
        .take("pressure")
        .map_or(Some(1_000), |node| scalar::decimal(node, "`pressure`", 3, findings));
    let valid_for = fields
        .take("valid-for")
        .map(|node| scalar::exact_ms(node, "`valid-for`", findings));
    let confirm = fields
        .take("confirm-within")
        .map_or(Some(0), |node| scalar::exact_ms(node, "`confirm-within`", findings));
    let mut release_on = Vec::new();
    for item in fields.take("release-on").map(Node::as_list).unwrap_or_default() {
        release_on.extend(scalar::word(item, "cause", CAUSES, findings));
    }
    fields.close(findings);
    if valid_for == Some(None) || !named {
        return None;
    }
    Some(Channel {
        name: Name::from(entry.key.as_str()),
        consent: consent?,
        cost_micros: cost?,
        pressure_milli: pressure?,
        valid_for_ms: valid_for.flatten(),
        release_on,
        confirm_within_ms: confirm?,
    })
}

/// A mode, or a list of rows of which the first that matches counts.
fn consent(node: &Node, context: &mut Context<'_>) -> Option<Vec<ConsentClause>> {
    let Value::List(rows) = &node.value else {
        let clause = match &node.value {
            Value::Map(_) => clause(node, true, context)?,
            _ => ConsentClause {
                when: None,
                mode: scalar::word(node, "consent mode", MODES, &mut context.findings)?,
                implied: Vec::new(),
            },
        };
        return Some(vec![clause]);
    };
    if rows.is_empty() {
        context.findings.error(
            "range",
            node.span,
            "`consent` has no row",
            "expected `opt-in` or `opt-out`",
        );
    }
    let last = rows.len().saturating_sub(1);
    let clauses: Vec<Option<ConsentClause>> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| clause(row, index == last, context))
        .collect();
    clauses
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .filter(|clauses| !clauses.is_empty())
}

fn clause(node: &Node, last: bool, context: &mut Context<'_>) -> Option<ConsentClause> {
    let mut fields = Fields::open(node, "a row of `consent`", &mut context.findings)?;
    let when = fields.take("when");
    match (when, last) {
        (Some(when), true) => {
            let label = "add a row without `when` after it: some row must hold for every customer";
            context
                .findings
                .error("consent", when.span, "the last row of `consent` has a condition", label);
        }
        (None, false) => {
            let label = "add `when` here, or move the row to the end";
            context
                .findings
                .error("consent", fields.head(), "no row after this one can ever hold", label);
        }
        _ => {}
    }
    let condition = when.map(|node| context.condition(node));
    let mode = fields.require("mode", &mut context.findings);
    let mode = mode.and_then(|node| scalar::word(node, "consent mode", MODES, &mut context.findings));
    let implied = fields
        .take("implied")
        .map(|node| implied(node, context))
        .unwrap_or_default();
    fields.close(&mut context.findings);
    if condition.as_ref().is_some_and(Option::is_none) {
        return None;
    }
    Some(ConsentClause {
        when: condition.flatten(),
        mode: mode?,
        implied,
    })
}

fn implied(node: &Node, context: &mut Context<'_>) -> Vec<(Basis, Span)> {
    let findings = &mut context.findings;
    let mut implied = Vec::new();
    for entry in fields::entries(node, "`implied`", findings) {
        let basis = BASES.iter().find(|(name, _)| *name == entry.key);
        if basis.is_none() {
            findings.unknown(
                "basis of consent",
                &entry.key,
                entry.key_span,
                BASES.iter().map(|(name, _)| *name),
            );
        }
        let span = scalar::positive_span(&entry.value, "how long a basis lasts", findings);
        implied.extend(basis.map(|(_, basis)| *basis).zip(span));
    }
    implied
}
