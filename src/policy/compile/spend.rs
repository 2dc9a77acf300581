//! `spend:`.

use super::limit::{self, Unit};
use super::{Context, window};
use crate::policy::file::{Entry, Fields, Node};
use crate::policy::rules::Spend;

/// The rule of this kind.
pub(super) fn spend(node: &Node, limits: Option<&Entry>, context: &mut Context<'_>) -> Option<Spend> {
    let mut fields = Fields::open(node, "`spend`", &mut context.findings)?;
    let limits = limit::limits(&mut fields, limits, Unit::Money, context);
    let window = window::window(&mut fields, context);
    fields.close(&mut context.findings);
    Some(Spend {
        limits: limits?,
        window: window?,
    })
}
