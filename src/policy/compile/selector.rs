//! Selectors, and the fields that a count can be split by.

use super::Context;
use crate::policy::file::diagnostic::shortened;
use crate::policy::file::{Diagnostic, Entry, Fields, Node, Value, scalar};
use crate::policy::selector::{Field, Pattern, Selector, Term};

const FIELDS: &[(&str, Field)] = &[
    ("channel", Field::Channel),
    ("division", Field::Division),
    ("campaign", Field::Campaign),
    ("category", Field::Category),
    ("topic", Field::Topic),
    ("class", Field::Class),
    ("type", Field::MessageType),
    ("tags", Field::Tags),
    ("offer", Field::Offer),
    ("jurisdiction", Field::Jurisdiction),
    ("segment", Field::Segment),
];

/// A selector.
pub(super) fn selector(node: &Node, context: &mut Context<'_>) -> Option<Selector> {
    let mut fields = Fields::open(node, "a selector", &mut context.findings)?;
    let mut terms: Vec<Option<Term>> = Vec::new();
    for (key, field) in FIELDS {
        if let Some(entry) = fields.take_entry(key) {
            terms.push(term(*field, entry, context));
        }
    }
    if let Some(inner) = fields.take("not") {
        terms.push(selector(inner, context).map(Term::Not));
    }
    fields.close(&mut context.findings);
    let terms = terms.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Selector { terms })
}

fn term(field: Field, entry: &Entry, context: &mut Context<'_>) -> Option<Term> {
    if field == Field::Tags && matches!(entry.value.value, Value::Map(_)) {
        let mut fields = Fields::open(&entry.value, "`tags`", &mut context.findings)?;
        let all = fields.require("all", &mut context.findings);
        fields.close(&mut context.findings);
        return patterns(field, all?, context).map(Term::AllTags);
    }
    let patterns = patterns(field, &entry.value, context)?;
    Some(Term::AnyOf { field, patterns })
}

fn patterns(field: Field, node: &Node, context: &mut Context<'_>) -> Option<Vec<Pattern>> {
    if node.as_list().is_empty() {
        let label = "expected at least one value: an empty list selects nothing";
        context.findings.error("range", node.span, "this list is empty", label);
        return None;
    }
    let patterns: Vec<Option<Pattern>> = node
        .as_list()
        .iter()
        .map(|item| pattern(field, item, context))
        .collect();
    patterns.into_iter().collect()
}

fn pattern(field: Field, node: &Node, context: &mut Context<'_>) -> Option<Pattern> {
    let text = scalar::text(node, "a value of a selector", &mut context.findings)?;
    let known = match field {
        Field::Channel => Some(("channel", &context.channels)),
        Field::Class => Some(("class", &context.classes)),
        _ => None,
    };
    let prefix = text.strip_suffix('*');
    if prefix.unwrap_or(text).contains('*') {
        let message = format!("`{}`: a `*` inside a value", shortened(text));
        context
            .findings
            .error("value", node.span, message, "only at the end: `spring-*`");
        return None;
    }
    if let Some((what, known)) = known {
        let matched = known
            .iter()
            .any(|name| prefix.map_or(*name == text, |prefix| name.starts_with(prefix)));
        if !matched {
            let known = known.clone();
            context.findings.unknown(what, text, node.span, known);
            return None;
        }
    }
    Some(match prefix {
        Some(prefix) => Pattern::Prefix(prefix.into()),
        None => Pattern::Exact(text.into()),
    })
}

/// The default of `counts`: the same selector, whatever the class, whose own flag decides.
pub(super) fn without_class(selector: &Selector) -> Selector {
    let terms = selector.terms.iter().filter(|term| !term.names_a_class()).cloned();
    Selector { terms: terms.collect() }
}

/// `per:` and its like: fields of a message that a count is split by.
pub(super) fn split_fields(node: &Node, key: &str, context: &mut Context<'_>) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let mut complete = true;
    for item in node.as_list() {
        match split_field(item, key, context) {
            Some(field) => fields.push(field),
            None => complete = false,
        }
    }
    complete.then_some(fields)
}

/// One such field.
pub(super) fn split_field(node: &Node, key: &str, context: &mut Context<'_>) -> Option<Field> {
    let text = scalar::text(node, key, &mut context.findings)?;
    if text == "household" {
        let message = "household caps are not in version 1";
        context.findings.error(
            "not-in-version-1",
            node.span,
            message,
            "a rule counts one customer's contacts",
        );
        return None;
    }
    let field = FIELDS.iter().find(|(name, _)| *name == text).map(|(_, field)| *field);
    match field {
        Some(Field::Jurisdiction | Field::Segment) => {
            let message = format!("{key} cannot be `{text}`");
            let label = "it belongs to the customer, so it splits nothing: use `when` or `limits`";
            context
                .findings
                .push(Diagnostic::error("value", node.span, message, label));
            None
        }
        None => {
            let own = |field: &Field| !matches!(field, Field::Jurisdiction | Field::Segment);
            let known = FIELDS.iter().filter(|(_, field)| own(field)).map(|(name, _)| *name);
            context.findings.unknown("field", text, node.span, known);
            None
        }
        found => found,
    }
}
