//! Which attributes are certainly there: those that a test in front has asked for.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use std::collections::BTreeSet;

/// Attributes that are certainly there.
pub(super) type Guards = BTreeSet<String>;

pub(super) fn is_field(expression: &IdedExpr, owner: &str, field: &str) -> bool {
    matches!(&expression.expr, Expr::Select(select)
        if !select.test && select.field == field && matches!(&select.operand.expr, Expr::Ident(name) if name == owner))
}

pub(super) fn is_attributes(expression: &IdedExpr) -> bool {
    is_field(expression, "customer", "attributes")
}

/// The attribute that `customer.attributes.x`, `has(customer.attributes.x)` or `customer.attributes["x"]` names.
pub(super) fn attribute_name(expression: &IdedExpr, tested: bool) -> Option<String> {
    match &expression.expr {
        Expr::Select(select) if is_attributes(&select.operand) && (tested || !select.test) => {
            Some(select.field.clone())
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [map, key] if is_attributes(map) => match &key.expr {
                Expr::Literal(LiteralValue::String(name)) => Some(name.inner().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The attributes that are there for certain where the expression has this truth value.
pub(super) fn ensured(expression: &IdedExpr, truth: bool) -> Guards {
    match &expression.expr {
        Expr::Select(select) if select.test && truth => attribute_name(expression, true).into_iter().collect(),
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::IN, [element, list]) if truth && is_attributes(list) => match &element.expr {
                Expr::Literal(LiteralValue::String(name)) => Guards::from([name.inner().to_owned()]),
                _ => Guards::new(),
            },
            (operators::LOGICAL_NOT, [inner]) => ensured(inner, !truth),
            (name @ (operators::LOGICAL_AND | operators::LOGICAL_OR), args) => {
                let sets = args.iter().map(|arg| ensured(arg, truth));
                // All parts of a true `&&` are true; of a false one, it is not known which is false.
                let all_hold = (name == operators::LOGICAL_AND) == truth;
                let combined = sets.reduce(|a, b| if all_hold { &a | &b } else { &a & &b });
                combined.unwrap_or_default()
            }
            _ => Guards::new(),
        },
        _ => Guards::new(),
    }
}
