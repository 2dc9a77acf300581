//! `cool-off:`.

use super::{Context, EVENTS, selector, window};
use crate::customer::apply::remembered_as_event;
use crate::message::EventKind;
use crate::policy::file::{Fields, Node, Value, scalar};
use crate::policy::rules::{Block, CoolOff, Length, Trigger};
use crate::policy::selector::Selector;

/// The rule of this kind.
pub(super) fn cool_off(node: &Node, context: &mut Context<'_>) -> Option<CoolOff> {
    let mut fields = Fields::open(node, "`cool-off`", &mut context.findings)?;
    let after = fields
        .require("after", &mut context.findings)
        .and_then(|node| triggers(node, context));
    let count = fields.take("count");
    let count = count.map_or(Some(1), |node| {
        scalar::integer(node, "`count`", 1..=10_000, &mut context.findings)
    });
    let within = fields
        .take("within")
        .map(|node| scalar::positive_span(node, "`within`", &mut context.findings));
    let block = block(&mut fields, context);
    let events = fields
        .take("events")
        .map_or(Some(Selector::default()), |node| selector::selector(node, context));
    let zone = window::zone_beside(&mut fields, context);
    fields.close(&mut context.findings);
    if within == Some(None) {
        return None;
    }
    Some(CoolOff {
        after: after?,
        count: u32::try_from(count?).ok()?,
        within: within.flatten(),
        block: block?,
        events: events?,
        zone: zone?,
    })
}

fn triggers(node: &Node, context: &mut Context<'_>) -> Option<Vec<Trigger>> {
    let items = node.as_list();
    if items.is_empty() {
        context.findings.error(
            "range",
            node.span,
            "`after` is empty",
            "expected an event such as `complained`",
        );
    }
    let triggers: Vec<Option<Trigger>> = items.iter().map(|item| trigger(item, context)).collect();
    triggers
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .filter(|triggers| !triggers.is_empty())
}

fn trigger(node: &Node, context: &mut Context<'_>) -> Option<Trigger> {
    if matches!(node.value, Value::Map(_)) {
        let mut fields = Fields::open(node, "what a cool-off comes after", &mut context.findings)?;
        let silence = fields.require("no-response", &mut context.findings);
        fields.close(&mut context.findings);
        return scalar::positive_span(silence?, "`no-response`", &mut context.findings).map(Trigger::NoResponse);
    }
    if node.text() == Some("no-response") {
        let label = "expected how long, as in `{ no-response: 3d }`";
        context
            .findings
            .error("cool-off", node.span, "`no-response` has a length", label);
        return None;
    }
    let kind = scalar::word(node, "event", EVENTS, &mut context.findings)?;
    if !remembered_as_event(kind) {
        context.findings.error(
            "cool-off",
            node.span,
            "no cool-off can come after this event: it is a state of a contact, or sets something",
            "expected something that the customer did, such as `complained` or `clicked`",
        );
        return None;
    }
    Some(Trigger::Event(kind))
}

/// `for`, or `until` and `max`.
fn block(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Block> {
    let head = fields.head();
    let length = fields.take("for");
    let until = fields.take("until");
    let max = fields.take("max");
    let findings = &mut context.findings;
    match (length, until) {
        (Some(length), None) => {
            if let Some(max) = max {
                findings.error(
                    "cool-off",
                    max.span,
                    "`max` goes with `until`",
                    "leave it out: `for` is the length",
                );
            }
            let text = scalar::text(length, "`for`", findings)?;
            if let Some(days) = window::calendar_days(length, text, findings) {
                return days.map(|days| Block::For(Length::CalendarDays(days)));
            }
            scalar::positive_span(length, "`for`", findings).map(|span| Block::For(Length::Span(span)))
        }
        (None, Some(until)) => {
            let kind = scalar::word(until, "event", &[("issue_closed", EventKind::IssueClosed)], findings);
            let max = max.map(|node| scalar::positive_span(node, "`max`", findings));
            if max == Some(None) {
                return None;
            }
            Some(Block::Until {
                kind: kind?,
                max: max.flatten(),
            })
        }
        (Some(_), Some(until)) => {
            findings.error("cool-off", until.span, "both `for` and `until`", "one of them");
            None
        }
        (None, None) => {
            findings.error(
                "missing-key",
                head,
                "`cool-off` needs `for` or `until`",
                "how long does it last?",
            );
            None
        }
    }
}
