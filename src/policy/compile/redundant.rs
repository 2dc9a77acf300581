//! `redundant:`.

use super::{Context, selector, window};
use crate::policy::file::{Fields, Node, scalar};
use crate::policy::rules::Redundant;

/// The rule of this kind.
pub(super) fn redundant(node: &Node, context: &mut Context<'_>) -> Option<Redundant> {
    let mut fields = Fields::open(node, "`redundant`", &mut context.findings)?;
    let key = fields.require("key", &mut context.findings);
    let key = key.and_then(|node| selector::split_field(node, "`key`", context));
    let within = fields.require("within", &mut context.findings);
    let within = within.and_then(|node| scalar::positive_span(node, "`within`", &mut context.findings));
    let zone = window::zone_beside(&mut fields, context);
    fields.close(&mut context.findings);
    Some(Redundant {
        key: key?,
        within: within?,
        zone: zone?,
    })
}
