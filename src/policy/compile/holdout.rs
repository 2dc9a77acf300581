//! `holdout:`, and `experiments:`, whose arms are drawn alike.

use super::Context;
use crate::message::Name;
use crate::policy::file::{Diagnostic, Entry, Fields, Node, Span, Value, fields, scalar};
use crate::policy::rules::holdout::WHOLE;
use crate::policy::rules::{Experiment, Holdout};

/// The rule of this kind.
pub(super) fn holdout(node: &Node, context: &mut Context<'_>) -> Option<Holdout> {
    let findings = &mut context.findings;
    let mut fields = Fields::open(node, "`holdout`", findings)?;
    let share = fields.require("percent", findings);
    let share = share.and_then(|node| scalar::percent(node, "`percent`", findings));
    let salt = fields.require("salt", findings);
    let salt = salt.and_then(|node| scalar::text(node, "`salt`", findings));
    fields.close(findings);
    Some(Holdout {
        share: u64::try_from(share?).ok()?,
        salt: salt?.to_owned(),
    })
}

/// The experiments, in the order of the file.
pub(super) fn experiments(node: &Node, context: &mut Context<'_>) -> Vec<Experiment> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ if node.is_empty() => &[],
        _ => {
            let message = format!("`experiments` is a list, not {}", node.described());
            let label = "expected `- { id: …, salt: …, arms: { … } }`";
            context.findings.error("type", node.span, message, label);
            &[]
        }
    };
    let mut seen = Vec::new();
    let experiments = items.iter().filter_map(|item| experiment(item, &mut seen, context));
    experiments.collect()
}

fn experiment<'n>(node: &'n Node, seen: &mut Vec<(&'n str, Span)>, context: &mut Context<'_>) -> Option<Experiment> {
    let mut fields = Fields::open(node, "an experiment", &mut context.findings)?;
    let id = fields.require("id", &mut context.findings);
    let id = id.and_then(|node| id_of(node, seen, context));
    let findings = &mut context.findings;
    let salt = fields.require("salt", findings);
    let salt = salt.and_then(|node| scalar::text(node, "`salt`", findings));
    let arms = fields.require("arms", findings).map(|node| arms(node, context));
    fields.close(&mut context.findings);
    Some(Experiment {
        id: id?,
        salt: salt?.to_owned(),
        arms: arms??,
    })
}

fn id_of<'n>(node: &'n Node, seen: &mut Vec<(&'n str, Span)>, context: &mut Context<'_>) -> Option<Name> {
    let id = scalar::text(node, "the id of an experiment", &mut context.findings)?;
    if !scalar::check_name(id, "the id of an experiment", "-", node.span, &mut context.findings) {
        return None;
    }
    if let Some((_, first)) = seen.iter().find(|(other, _)| *other == id) {
        let what = format!("the experiment `{id}`");
        context.findings.twice("repeated-id", &what, *first, node.span);
        return None;
    }
    seen.push((id, node.span));
    if context.rules.contains(&id) {
        let message = format!("the experiment `{id}` is called like a rule");
        let label = "the groups of a decision record could not tell them apart";
        context.findings.error("repeated-id", node.span, message, label);
        return None;
    }
    Some(id.into())
}

/// The shares of the arms. Together they are at most everybody.
fn arms(node: &Node, context: &mut Context<'_>) -> Option<Vec<(Name, u64)>> {
    let findings = &mut context.findings;
    let entries = fields::entries(node, "`arms`", findings);
    let arms: Vec<Option<(Name, u64)>> = entries
        .iter()
        .map(|Entry { key, key_span, value }| {
            let named = scalar::check_name(key, "an arm", "-_", *key_span, findings);
            let share = scalar::percent(value, "the share of an arm", findings)?;
            named.then_some((Name::from(key.as_str()), u64::try_from(share).ok()?))
        })
        .collect();
    let arms = arms.into_iter().collect::<Option<Vec<_>>>()?;
    if arms.is_empty() {
        let label = "expected shares such as `{ control: 50, changed: 50 }`";
        findings.error("range", node.span, "this experiment has no arm", label);
        return None;
    }
    let sum: u64 = arms.iter().map(|(_, share)| share).sum();
    if sum > WHOLE {
        let label = "expected at most 100 together";
        findings.error("range", node.span, "the arms are more than everybody", label);
        return None;
    }
    if sum < WHOLE {
        let message = "the arms are not everybody";
        let label = "the other customers are in no arm, and `arm(…)` is \"\"";
        findings.push(Diagnostic::warning("arms", node.span, message, label));
    }
    Some(arms)
}
