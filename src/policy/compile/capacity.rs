//! `capacity:`.

use super::{Context, window};
use crate::policy::file::{Fields, Node, scalar};
use crate::policy::rules::Capacity;
use crate::policy::window::{Shape, Span, ZoneChoice};

const LARGEST_LIMIT: i64 = 1_000_000_000_000;

/// The rule of this kind.
pub(super) fn capacity(node: &Node, context: &mut Context<'_>) -> Option<Capacity> {
    let mut fields = Fields::open(node, "`capacity`", &mut context.findings)?;
    let limit = fields.require("limit", &mut context.findings);
    let limit = limit.and_then(|node| scalar::integer(node, "`limit`", 1..=LARGEST_LIMIT, &mut context.findings));
    let zone = fields.take("timezone").map(|node| node.span);
    let length = fields.take("window").map(|node| node.span);
    let window = window::window(&mut fields, context);
    fields.close(&mut context.findings);
    let (limit, window) = limit.zip(window)?;
    if matches!(window.zone, ZoneChoice::Customer) {
        let message = "a capacity is the company's: it has one clock";
        let label = "expected `company` or an IANA name";
        context.findings.error("capacity", zone?, message, label);
        return None;
    }
    // Months end together, so that what came first need not leave first.
    if matches!(window.shape, Shape::Rolling(Span::Months(_))) {
        let message = "the window of a capacity is an exact duration or a period";
        let label = "expected for example `30d` or `calendar-month`";
        context.findings.error("capacity", length?, message, label);
        return None;
    }
    Some(Capacity { limit, window })
}
