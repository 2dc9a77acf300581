//! `mix:`.

use super::{Context, selector};
use crate::policy::file::{Fields, Node, scalar};
use crate::policy::rules::Mix;

/// The rule of this kind.
pub(super) fn mix(node: &Node, context: &mut Context<'_>) -> Option<Mix> {
    let mut fields = Fields::open(node, "`mix`", &mut context.findings)?;
    let of = fields.require("of", &mut context.findings);
    let of = of.and_then(|node| selector::selector(node, context));
    let at_most = fields.require("at-most", &mut context.findings);
    let at_most = at_most.and_then(|node| scalar::percent(node, "`at-most`", &mut context.findings));
    let last = fields.require("last", &mut context.findings);
    let last = last.and_then(|node| scalar::integer(node, "`last`", 2..=1_000, &mut context.findings));
    fields.close(&mut context.findings);
    Some(Mix {
        of: of?,
        at_most: at_most?,
        last: usize::try_from(last?).ok()?,
    })
}
