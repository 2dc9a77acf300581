//! `limit`, and the rows of `limits` that may be chosen in its place.

use super::Context;
use crate::policy::file::diagnostic::{nearest, shortened};
use crate::policy::file::{Diagnostic, Entry, Fields, Node, Value, scalar};
use crate::policy::rules::pressure::UNITS_IN_A_POINT;
use crate::policy::rules::{Limit, LimitRow, Limits};

const LARGEST_LIMIT: i64 = 1_000_000_000;

/// What a limit is a number of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unit {
    Contacts,
    /// With three digits after the point.
    Points,
    /// With six digits after the point.
    Money,
}

/// The limit of a kind, `otherwise`, with the rows that stand beside the kind.
pub(super) fn limits(
    kind: &mut Fields<'_>,
    rows: Option<&Entry>,
    unit: Unit,
    context: &mut Context<'_>,
) -> Option<Limits> {
    let otherwise = kind
        .require("limit", &mut context.findings)
        .and_then(|node| limit(node, unit, context));
    if let Some(inside) = kind.take_entry("limits") {
        let label = "it stands beside the kind, not in it";
        context
            .findings
            .error("misplaced-key", inside.key_span, "`limits` does not belong here", label);
    }
    let rows = rows.map_or(Some(Vec::new()), |entry| limit_rows(&entry.value, unit, context));
    Some(Limits {
        rows: rows?,
        otherwise: otherwise?,
    })
}

fn limit_rows(node: &Node, unit: Unit, context: &mut Context<'_>) -> Option<Vec<LimitRow>> {
    let Value::List(items) = &node.value else {
        let message = format!("`limits` is a list, not {}", node.described());
        context
            .findings
            .error("type", node.span, message, "expected `- { when: …, limit: … }`");
        return None;
    };
    let rows: Vec<Option<LimitRow>> = items.iter().map(|item| limit_row(item, unit, context)).collect();
    rows.into_iter().collect()
}

fn limit_row(node: &Node, unit: Unit, context: &mut Context<'_>) -> Option<LimitRow> {
    let mut fields = Fields::open(node, "a row of `limits`", &mut context.findings)?;
    let when = fields
        .require("when", &mut context.findings)
        .and_then(|node| context.condition(node));
    let limit = fields
        .require("limit", &mut context.findings)
        .and_then(|node| limit(node, unit, context));
    fields.close(&mut context.findings);
    let (when, limit) = when.zip(limit)?;
    Some(LimitRow { when, limit })
}

/// A number or `unlimited`; where contacts are counted, also an integer expression.
fn limit(node: &Node, unit: Unit, context: &mut Context<'_>) -> Option<Limit> {
    let text = scalar::text(node, "`limit`", &mut context.findings)?;
    if text == "unlimited" {
        return Some(Limit::Unlimited);
    }
    match unit {
        Unit::Contacts => number_of_contacts(node, text, context),
        Unit::Points => {
            let thousandths = scalar::decimal(node, "`limit`", 3, &mut context.findings)?;
            Some(Limit::Number(thousandths.saturating_mul(UNITS_IN_A_POINT / 1_000)))
        }
        Unit::Money => scalar::decimal(node, "`limit`", 6, &mut context.findings).map(Limit::Number),
    }
}

fn number_of_contacts(node: &Node, text: &str, context: &mut Context<'_>) -> Option<Limit> {
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
    if text.parse::<f64>().is_ok() {
        let message = format!("`limit` cannot be `{}`", shortened(text));
        let label = "contacts are counted in whole numbers";
        context.findings.error("value", node.span, message, label);
        return None;
    }
    if let Some(near) = nearest(text, ["unlimited"]) {
        let message = format!("`limit` cannot be `{}`", shortened(text));
        let label = format!("did you mean `{near}`?");
        let diagnostic = Diagnostic::error("value", node.span, message, label);
        context.findings.push(diagnostic.suggest(Some(near)));
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        let message = format!("`limit` cannot be `{}`", shortened(text));
        let label = "expected a whole number such as `4`, `unlimited`, or a formula over `customer.…`";
        context.findings.error("value", node.span, message, label);
        return None;
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
