//! `sequence:`, and the rules of this kind that wait for each other.

use super::{Context, selector, window};
use crate::policy::file::{Fields, Node, Span as Place, Value, scalar};
use crate::policy::model::Rule;
use crate::policy::rules::{Form, RuleKind, Sequence};
use crate::policy::selector::Selector;

/// The rule of this kind.
pub(super) fn sequence(node: &Node, context: &mut Context<'_>) -> Option<Sequence> {
    let mut fields = Fields::open(node, "`sequence`", &mut context.findings)?;
    let form = form(&mut fields, context);
    let within = fields.require("within", &mut context.findings);
    let within = within.and_then(|node| scalar::positive_span(node, "`within`", &mut context.findings));
    let zone = window::zone_beside(&mut fields, context);
    fields.close(&mut context.findings);
    Some(Sequence {
        form: form?,
        within: within?,
        zone: zone?,
    })
}

fn form(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Form> {
    let never = fields.take_entry("never");
    let together = fields.take_entry("never-together");
    let only = fields.take_entry("only");
    let after = fields.take_entry("after");
    let condition = fields.take_entry("if");
    let answered = fields.take_entry("answered");
    let mut refuse = |entry: Option<&crate::policy::file::Entry>, form: &str| {
        if let Some(entry) = entry {
            let message = format!("`{}` does not go with `{form}`", entry.key);
            let label = "it belongs to another form of `sequence`";
            context.findings.error("sequence", entry.key_span, message, label);
        }
    };
    let written = [never, together, only].into_iter().flatten().count();
    if written != 1 {
        let label = "expected one of `never` and `after`, `never-together`, `only` and `if`";
        let message = match written {
            0 => "`sequence` says nothing",
            _ => "a sequence has one form",
        };
        context.findings.error("sequence", fields.head(), message, label);
        return None;
    }
    if let Some(never) = never {
        refuse(condition.or(answered), "never");
        let never = selector::selector(&never.value, context);
        let after = fields.require("after", &mut context.findings);
        let after = after.and_then(|node| selector::selector(node, context));
        return Some(Form::Never {
            never: never?,
            after: after?,
        });
    }
    refuse(after, if together.is_some() { "never-together" } else { "only" });
    if let Some(together) = together {
        refuse(condition.or(answered), "never-together");
        return kinds(&together.value, context).map(Form::NeverTogether);
    }
    let answered = answered.map(|entry| scalar::truth(&entry.value, "`answered`", &mut context.findings));
    let only = selector::selector(&only?.value, context);
    let condition = fields.require("if", &mut context.findings);
    let condition = condition.and_then(|node| selector::selector(node, context));
    if answered == Some(None) {
        return None;
    }
    Some(Form::Only {
        only: only?,
        condition: condition?,
        answered: answered.flatten(),
    })
}

fn kinds(node: &Node, context: &mut Context<'_>) -> Option<Vec<Selector>> {
    let items = match &node.value {
        Value::List(items) if items.len() >= 2 => items,
        _ => {
            let label = "expected a list of at least two selectors";
            let message = "`never-together` keeps two kinds apart";
            context.findings.error("sequence", node.span, message, label);
            return None;
        }
    };
    let kinds: Vec<Option<Selector>> = items.iter().map(|item| selector::selector(item, context)).collect();
    kinds.into_iter().collect()
}

/// Rules of the form `only … if` that wait for each other: nothing that they govern could ever be sent. A rule waits for
/// another where everything that it needs is itself governed by that one. Guards may keep two rules apart: a rule that
/// has one is not looked at.
pub(super) fn refuse_cycles(rules: &[(Rule, Place)], context: &mut Context<'_>) {
    let waiting: Vec<(&Rule, Place, &Selector, &Selector)> = rules
        .iter()
        .filter(|(rule, _)| rule.when.is_none() && !rule.shadow)
        .filter_map(|(rule, place)| match &rule.kind {
            RuleKind::Sequence(Sequence {
                form: Form::Only { only, condition, .. },
                ..
            }) => Some((rule, *place, only, condition)),
            _ => None,
        })
        .collect();
    let waits_for = |one: usize, other: usize| {
        let (_, _, _, needed) = waiting[one];
        let (rule, _, only, _) = waiting[other];
        needed.is_within(only) && needed.is_within(&rule.governs)
    };
    let everyone = || 0..waiting.len();
    // Reached over one step or more.
    let mut reaches: Vec<Vec<bool>> = everyone()
        .map(|one| everyone().map(|other| waits_for(one, other)).collect())
        .collect();
    for middle in everyone() {
        for one in everyone().filter(|one| reaches[*one][middle]).collect::<Vec<_>>() {
            for other in everyone() {
                reaches[one][other] |= reaches[middle][other];
            }
        }
    }
    let in_a_cycle = waiting.iter().enumerate().filter(|(index, _)| reaches[*index][*index]);
    for (_, (rule, place, ..)) in in_a_cycle {
        let message = format!("what `{}` governs can never be sent", rule.id);
        let label = "it waits for something that waits for it: a cycle of `only … if`";
        context.findings.error("cycle", *place, message, label);
    }
}
