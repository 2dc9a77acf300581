//! The check of an expression: every name is known, every type fits, every attribute is guarded; the result is the typed
//! tree that runs. All problems are reported, not the first.

mod functions;
mod guards;
mod operators;
mod problems;

use super::Reads;
use super::compile::{Problem, Vocabulary};
use super::program::{List, Node, Operation, Read, Relation};
use crate::message::Name;
use crate::policy::file::diagnostic::nearest;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators as names};
use guards::{Guards, attribute_name};

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Truth,
    Int,
    Double,
    Text,
    /// An attribute: text, number or truth value, known when it is read.
    Dynamic,
}

impl Type {
    fn described(self) -> &'static str {
        match self {
            Self::Truth => "a truth value",
            Self::Int => "a whole number",
            Self::Double => "a decimal number",
            Self::Text => "a text",
            Self::Dynamic => "an attribute",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// Whether two values can be equal at all.
    fn meets(self, other: Self) -> bool {
        self == other || self == Self::Dynamic || other == Self::Dynamic || self.is_number() && other.is_number()
    }
}

/// What an expression as a whole has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Truth,
    Whole,
    /// Whole or not.
    Number,
}

const INTENT: &[(&str, Read, Type)] = &[
    ("channel", Read::Channel, Type::Text),
    ("division", Read::Division, Type::Text),
    ("class", Read::Class, Type::Text),
    ("message_type", Read::MessageType, Type::Text),
    ("campaign", Read::Campaign, Type::Text),
    ("category", Read::Category, Type::Text),
    ("topic", Read::Topic, Type::Text),
    ("offer", Read::Offer, Type::Text),
    ("objective", Read::Objective, Type::Text),
    ("priority", Read::Priority, Type::Int),
    ("value", Read::Value, Type::Double),
    ("propensity", Read::Propensity, Type::Double),
    ("cost", Read::Cost, Type::Double),
];
const CUSTOMER: &[(&str, Read, Type)] = &[
    ("jurisdiction", Read::Jurisdiction, Type::Text),
    ("unanswered", Read::Unanswered, Type::Int),
    ("days_since_first_contact", Read::DaysSinceFirstContact, Type::Int),
    ("days_since_response", Read::DaysSinceResponse, Type::Int),
    ("fatigue", Read::Fatigue, Type::Int),
];
const LISTS: &[(&str, &str, List)] = &[
    ("intent", "tags", List::Tags),
    ("intent", "fallback_channels", List::FallbackChannels),
    ("customer", "segments", List::Segments),
];

type Typed = (Node, Type);

/// The type of a field.
pub(super) fn type_of(read: Read) -> Type {
    let mut fields = INTENT.iter().chain(CUSTOMER);
    let found = fields.find(|(_, other, _)| *other == read);
    found.map_or(Type::Dynamic, |(_, _, kind)| *kind)
}

/// The state of one check.
pub(super) struct Lowering<'s> {
    text: &'s str,
    places: &'s SourceInfo,
    vocabulary: Vocabulary<'s>,
    variables: Vec<(String, Type)>,
    pub(super) problems: Vec<Problem>,
    pub(super) reads: Reads,
}

impl<'s> Lowering<'s> {
    pub(super) fn new(text: &'s str, places: &'s SourceInfo, vocabulary: Vocabulary<'s>) -> Self {
        Self {
            text,
            places,
            vocabulary,
            variables: Vec::new(),
            problems: Vec::new(),
            reads: Reads::default(),
        }
    }

    /// A whole expression of the wanted type.
    pub(super) fn root(&mut self, expression: &IdedExpr, wanted: Wanted) -> Option<Node> {
        let guards = Guards::new();
        match wanted {
            Wanted::Truth => self.of_type(expression, Type::Truth, &guards),
            Wanted::Whole => self.of_type(expression, Type::Int, &guards),
            Wanted::Number => match self.lower(expression, &guards)? {
                (node, found) if found.is_number() || found == Type::Dynamic => Some(node),
                (_, found) => self.refuse(
                    expression,
                    format!("this is {}", found.described()),
                    "expected a number",
                ),
            },
        }
    }

    fn of_type(&mut self, expression: &IdedExpr, wanted: Type, guards: &Guards) -> Option<Node> {
        let (node, found) = self.lower(expression, guards)?;
        // An attribute turns out to be of the type or fails when it runs; a whole number it never is.
        if found == wanted || found == Type::Dynamic && wanted != Type::Int {
            return Some(node);
        }
        let label = match (wanted, found) {
            (Type::Int, Type::Dynamic | Type::Double) => "make it whole with `int(…)`".to_owned(),
            _ => format!("expected {}", wanted.described()),
        };
        self.problem(expression, format!("this is {}", found.described()), label);
        None
    }

    fn lower(&mut self, expression: &IdedExpr, guards: &Guards) -> Option<Typed> {
        match &expression.expr {
            Expr::Literal(literal) => self.literal(expression, literal),
            Expr::Ident(name) => self.identifier(expression, name),
            Expr::Select(select) => self.select(expression, select, guards),
            Expr::Call(call) => self.call(expression, call, guards),
            Expr::Comprehension(comprehension) => self.comprehension(expression, comprehension, guards),
            Expr::List(_) => self.refuse(
                expression,
                "a list stands alone",
                "use it with `in`, `exists`, `all` or `size`",
            ),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => self.refuse(
                expression,
                "maps are not supported in a policy",
                "expected a value or a comparison",
            ),
        }
    }

    fn literal(&mut self, expression: &IdedExpr, literal: &LiteralValue) -> Option<Typed> {
        Some(match literal {
            LiteralValue::Boolean(truth) => (Node::Truth(*truth.inner()), Type::Truth),
            LiteralValue::Int(number) => (Node::Int(*number.inner()), Type::Int),
            LiteralValue::Double(number) => (Node::Double(*number.inner()), Type::Double),
            LiteralValue::String(text) => (Node::Text(Name::from(text.inner())), Type::Text),
            LiteralValue::UInt(_) => return self.refuse(expression, "an unsigned number", "leave the `u` out"),
            LiteralValue::Bytes(_) | LiteralValue::Null => {
                return self.refuse(
                    expression,
                    "a literal that nothing can be compared with",
                    "expected a text or number",
                );
            }
        })
    }

    fn identifier(&mut self, expression: &IdedExpr, name: &str) -> Option<Typed> {
        if let Some(slot) = self.variables.iter().rposition(|(variable, _)| variable == name) {
            return Some((Node::Variable(slot), self.variables[slot].1));
        }
        if name == "intent" || name == "customer" {
            return self.refuse(
                expression,
                format!("`{name}` is not a value"),
                format!("name a field: `{name}.…`"),
            );
        }
        if name == "now" {
            return self.refuse(
                expression,
                "there is no `now`",
                "conditions do not read the clock: use a window or a send window",
            );
        }
        if name == "arm" {
            return self.refuse(expression, "`arm` is a function", "`arm(\"experiment\")`");
        }
        if let Some(near) = nearest(name, ["intent", "customer"]) {
            return self.unknown(expression, "name", name, &[near]);
        }
        let label = format!("a text stands in quotes, `\"{name}\"`; a field is `intent.…` or `customer.…`");
        self.refuse(expression, format!("unknown name `{name}`"), label)
    }

    fn select(&mut self, expression: &IdedExpr, select: &SelectExpr, guards: &Guards) -> Option<Typed> {
        if let Some(name) = attribute_name(expression, true) {
            if select.test {
                return Some((Node::HasAttribute(name.into()), Type::Truth));
            }
            return self.attribute(expression, &name, guards);
        }
        let owner = match &select.operand.expr {
            Expr::Ident(owner) => owner.as_str(),
            _ => {
                self.lower(&select.operand, guards)?;
                return self.refuse(
                    expression,
                    format!("no field `{}` there", select.field),
                    "this value has no fields",
                );
            }
        };
        let table = match owner {
            "intent" => INTENT,
            "customer" => CUSTOMER,
            other => {
                return self
                    .identifier(&select.operand, other)
                    .and_then(|_| self.refuse(expression, "no such field", "this value has no fields"));
            }
        };
        if let Some((_, read, kind)) = table.iter().find(|(name, ..)| *name == select.field) {
            self.reads.fatigue |= *read == Read::Fatigue;
            self.reads.time_dependent |= matches!(
                read,
                Read::Unanswered | Read::DaysSinceFirstContact | Read::DaysSinceResponse | Read::Fatigue
            );
            return Some(if select.test {
                (Node::Has(*read), Type::Truth)
            } else {
                (Node::Read(*read), *kind)
            });
        }
        if LISTS.iter().any(|(of, name, _)| *of == owner && *name == select.field) {
            return self.refuse(
                expression,
                "a list stands alone",
                format!(
                    "to ask for one of them: `\"…\" in {owner}.{}`; there are `exists`, `all` and `size` too",
                    select.field
                ),
            );
        }
        if owner == "customer" && matches!(select.field.as_str(), "attributes" | "unanswered_by") {
            let label = format!("name one: `customer.{}[\"…\"]`", select.field);
            return self.refuse(
                expression,
                format!("`customer.{}` is not a single value", select.field),
                label,
            );
        }
        let lists = LISTS.iter().filter(|(of, ..)| *of == owner).map(|(_, name, _)| *name);
        let maps = ["attributes", "unanswered_by"]
            .into_iter()
            .filter(|_| owner == "customer");
        let known: Vec<&str> = table.iter().map(|(name, ..)| *name).chain(lists).chain(maps).collect();
        self.unknown(expression, &format!("field of `{owner}`:"), &select.field, &known)
    }

    fn attribute(&mut self, expression: &IdedExpr, name: &str, guards: &Guards) -> Option<Typed> {
        if !guards.contains(name) {
            let message = format!("the attribute `{name}` may be missing");
            let label = format!("guard it: `has(customer.attributes.{name}) && …`");
            return self.refuse(expression, message, label);
        }
        Some((Node::Attribute(name.into()), Type::Dynamic))
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr, guards: &Guards) -> Option<Typed> {
        let name = call.func_name.as_str();
        match (name, call.args.as_slice()) {
            (names::LOGICAL_AND | names::LOGICAL_OR, [first, rest @ ..]) => self.logical(name, first, rest, guards),
            (names::LOGICAL_NOT, [inner]) => {
                let inner = self.of_type(inner, Type::Truth, guards)?;
                Some((Node::Not(Box::new(inner)), Type::Truth))
            }
            (names::NEGATE, [inner]) => match self.lower(inner, guards)? {
                (node, kind) if kind.is_number() => Some((Node::Negate(Box::new(node)), kind)),
                (_, kind) => self.refuse(inner, format!("this is {}", kind.described()), "expected a number"),
            },
            (names::CONDITIONAL, [test, yes, no]) => self.conditional(expression, [test, yes, no], guards),
            (names::EQUALS | names::NOT_EQUALS, [left, right]) => {
                let equal = self.equality(expression, left, right, guards)?;
                let node = if name == names::EQUALS {
                    equal
                } else {
                    Node::Not(Box::new(equal))
                };
                Some((node, Type::Truth))
            }
            (names::LESS, [left, right]) => self.order(expression, Relation::Less, left, right, guards),
            (names::LESS_EQUALS, [left, right]) => self.order(expression, Relation::LessOrEqual, left, right, guards),
            (names::GREATER, [left, right]) => self.order(expression, Relation::Greater, left, right, guards),
            (names::GREATER_EQUALS, [left, right]) => {
                self.order(expression, Relation::GreaterOrEqual, left, right, guards)
            }
            (names::ADD, [left, right]) => self.arithmetic(expression, Operation::Add, left, right, guards),
            (names::SUBSTRACT, [left, right]) => self.arithmetic(expression, Operation::Subtract, left, right, guards),
            (names::MULTIPLY, [left, right]) => self.arithmetic(expression, Operation::Multiply, left, right, guards),
            (names::DIVIDE, [left, right]) => self.arithmetic(expression, Operation::Divide, left, right, guards),
            (names::MODULO, [left, right]) => self.arithmetic(expression, Operation::Remainder, left, right, guards),
            (names::IN, [element, list]) => self.member(expression, element, list, guards),
            (names::INDEX, [map, key]) => self.index(expression, map, key, guards),
            _ => self.function(expression, call, guards),
        }
    }
}
