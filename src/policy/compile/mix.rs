//! `mix:`.

use super::{Context, selector};
use crate::policy::file::{Diagnostic, Fields, Node, Span as Place, scalar};
use crate::policy::rules::Mix;

/// The rule of this kind.
pub(super) fn mix(node: &Node, context: &mut Context<'_>) -> Option<Mix> {
    let mut fields = Fields::open(node, "`mix`", &mut context.findings)?;
    let of = fields.require("of", &mut context.findings);
    let of = of.and_then(|node| selector::selector(node, context));
    let at_most = fields.require("at-most", &mut context.findings);
    let place = at_most.map_or(node.span, |node| node.span);
    let at_most = at_most.and_then(|node| scalar::percent(node, "`at-most`", &mut context.findings));
    let last = fields.require("last", &mut context.findings);
    let last = last.and_then(|node| scalar::integer(node, "`last`", 2..=1_000, &mut context.findings));
    fields.close(&mut context.findings);
    let mix = Mix {
        of: of?,
        at_most: at_most?,
        last: usize::try_from(last?).ok()?,
    };
    if mix.most() == 0 {
        let message = format!("this share of {} messages is less than one", mix.last);
        let label = "it blocks all that is `of` the kind; a share is written in percent, such as `70%`";
        context
            .findings
            .push(Diagnostic::warning("limit-zero", place, message, label));
    }
    Some(mix)
}

/// Warns about a mix that nothing else can get into: when it is full, it stays as it is.
pub(super) fn only_its_own(place: Place, context: &mut Context<'_>) {
    let message = "only what is `of` the kind fills this mix";
    let label = "after a few messages it blocks for ever";
    let diagnostic = Diagnostic::warning("mix", place, message, label);
    context
        .findings
        .push(diagnostic.help("`counts: {}` looks at all contacts, whatever `for` says"));
}
