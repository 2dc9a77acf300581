//! `cap:`.

use super::limit::{self, Unit};
use super::{Context, selector, window};
use crate::policy::file::{Entry, Fields, Node};
use crate::policy::rules::Cap;

/// The rule of this kind.
pub(super) fn cap(node: &Node, limits: Option<&Entry>, context: &mut Context<'_>) -> Option<Cap> {
    let mut fields = Fields::open(node, "`cap`", &mut context.findings)?;
    let limits = limit::limits(&mut fields, limits, Unit::Contacts, context);
    let window = window::window(&mut fields, context);
    let distinct = fields
        .take("distinct")
        .map(|node| selector::split_field(node, "`distinct`", context));
    let message = "caps on campaigns that run at the same time are not in version 1";
    let label = "`distinct: campaign` counts different campaigns in a window";
    fields.leave_out("concurrent", message, label, &mut context.findings);
    fields.close(&mut context.findings);
    if distinct == Some(None) {
        return None;
    }
    Some(Cap {
        window: window?,
        limits: limits?,
        distinct: distinct.flatten(),
    })
}
