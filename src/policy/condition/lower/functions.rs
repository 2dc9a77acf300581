//! Functions, and the macros that ask every element of a list.

use super::guards::{Guards, is_field};
use super::{LISTS, Lowering, Type, Typed};
use crate::policy::condition::program::{Node, TextTest, VARIABLES};
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

const FUNCTIONS: &[&str] = &[
    "size",
    "has",
    "int",
    "double",
    "startsWith",
    "endsWith",
    "contains",
    "exists",
    "all",
    "arm",
];

impl Lowering<'_> {
    pub(super) fn function(&mut self, expression: &IdedExpr, call: &CallExpr, guards: &Guards) -> Option<Typed> {
        let target = call.target.as_deref();
        match (call.func_name.as_str(), target, call.args.as_slice()) {
            ("size", Some(subject), []) | ("size", None, [subject]) => self.size(subject, guards),
            ("int" | "double", None, [inner]) => {
                let (node, kind) = self.lower(inner, guards)?;
                if !kind.is_number() && kind != Type::Dynamic {
                    return self.refuse(inner, format!("this is {}", kind.described()), "expected a number");
                }
                let node = Box::new(node);
                let to_int = call.func_name == "int";
                Some(if to_int {
                    (Node::ToInt(node), Type::Int)
                } else {
                    (Node::ToDouble(node), Type::Double)
                })
            }
            (name @ ("startsWith" | "endsWith" | "contains"), Some(text), [part]) => {
                let test = match name {
                    "startsWith" => TextTest::StartsWith,
                    "endsWith" => TextTest::EndsWith,
                    _ => TextTest::Contains,
                };
                let text = self.of_type(text, Type::Text, guards);
                let part = self.of_type(part, Type::Text, guards);
                let (text, part) = text.zip(part)?;
                Some((Node::TextTest(test, Box::new(text), Box::new(part)), Type::Truth))
            }
            ("arm", None, [name]) => self.arm(name),
            (name, _, _) if FUNCTIONS.contains(&name) => {
                self.refuse(expression, format!("`{name}` is not called like this"), usage(name))
            }
            ("now", ..) => self.refuse(expression, "there is no `now`", "conditions do not read the clock"),
            (name, ..) => self.unknown(expression, "function", name, FUNCTIONS),
        }
    }

    /// The arm of the customer in an experiment of the policy; empty: in none.
    fn arm(&mut self, name: &IdedExpr) -> Option<Typed> {
        let Expr::Literal(LiteralValue::String(text)) = &name.expr else {
            return self.refuse(name, "an experiment is named by a literal", "expected a text in quotes");
        };
        let text = text.inner();
        let experiments = self.vocabulary.experiments;
        match experiments.iter().find(|experiment| *experiment.id == *text) {
            Some(experiment) => Some((Node::Arm(Box::new(experiment.clone())), Type::Text)),
            None => {
                let known: Vec<&str> = experiments.iter().map(|experiment| &*experiment.id).collect();
                self.unknown(name, "experiment", text, &known)
            }
        }
    }

    fn size(&mut self, subject: &IdedExpr, guards: &Guards) -> Option<Typed> {
        let is_list =
            matches!(&subject.expr, Expr::List(_)) || LISTS.iter().any(|(of, name, _)| is_field(subject, of, name));
        if is_list {
            let (list, _) = self.list(subject, guards)?;
            return Some((Node::Count(list), Type::Int));
        }
        let text = self.of_type(subject, Type::Text, guards)?;
        Some((Node::Length(Box::new(text)), Type::Int))
    }

    /// `exists` and `all`, as the parser has unfolded them.
    pub(super) fn comprehension(
        &mut self,
        expression: &IdedExpr,
        unfolded: &ComprehensionExpr,
        guards: &Guards,
    ) -> Option<Typed> {
        let all = match (&unfolded.accu_init.expr, &unfolded.loop_step.expr) {
            (Expr::Literal(LiteralValue::Boolean(start)), Expr::Call(step))
                if step.func_name == operators::LOGICAL_AND || step.func_name == operators::LOGICAL_OR =>
            {
                *start.inner()
            }
            _ => return self.refuse(expression, "this macro is not supported", "only `exists` and `all`"),
        };
        let Expr::Call(CallExpr { args, .. }) = &unfolded.loop_step.expr else {
            return None;
        };
        let [_, body] = args.as_slice() else {
            return self.refuse(expression, "this macro is not supported", "only `exists` and `all`");
        };
        let (list, element) = self.list(&unfolded.iter_range, guards)?;
        if self.variables.len() >= VARIABLES {
            return self.refuse(
                expression,
                "too many macros inside each other",
                format!("at most {VARIABLES}"),
            );
        }
        let slot = self.variables.len();
        self.variables
            .push((unfolded.iter_var.clone(), element.unwrap_or(Type::Dynamic)));
        let body = self.of_type(body, Type::Truth, guards);
        self.variables.pop();
        let body = Box::new(body?);
        Some((Node::Quantify { all, list, slot, body }, Type::Truth))
    }
}

fn usage(name: &str) -> &'static str {
    match name {
        "size" => "`size(list)` or `size(text)`",
        "has" => "`has(customer.attributes.x)`",
        "arm" => "`arm(\"experiment\")`",
        "int" | "double" => "`int(number)`, `double(number)`",
        "exists" | "all" => "`list.exists(x, condition)`, `list.all(x, condition)`",
        _ => "`text.startsWith(text)`, `text.endsWith(text)`, `text.contains(text)`",
    }
}
