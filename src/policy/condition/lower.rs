//! The check of an expression: every name is known, every type fits, every attribute is guarded; the result is the typed
//! tree that runs. All problems are reported, not the first.

use super::compile::{Problem, Vocabulary};
use super::program::{List, Node, Operation, Read, Relation, TextTest, VARIABLES};
use crate::message::Name;
use crate::policy::file::diagnostic::{floor_boundary, nearest, one_of};
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use std::collections::BTreeSet;

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
];
const LISTS: &[(&str, &str, List)] = &[
    ("intent", "tags", List::Tags),
    ("intent", "fallback_channels", List::FallbackChannels),
    ("customer", "segments", List::Segments),
];
/// Names of the language that this version does not evaluate yet.
const LATER: &[&str] = &["arm", "fatigue"];
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
];

/// Attributes that are certainly there.
type Guards = BTreeSet<String>;
type Typed = (Node, Type);

/// The state of one check.
pub(super) struct Lowering<'s> {
    text: &'s str,
    places: &'s SourceInfo,
    vocabulary: Vocabulary<'s>,
    variables: Vec<(String, Type)>,
    pub(super) problems: Vec<Problem>,
    pub(super) time_dependent: bool,
}

impl<'s> Lowering<'s> {
    pub(super) fn new(text: &'s str, places: &'s SourceInfo, vocabulary: Vocabulary<'s>) -> Self {
        Self {
            text,
            places,
            vocabulary,
            variables: Vec::new(),
            problems: Vec::new(),
            time_dependent: false,
        }
    }

    /// A whole expression of the wanted type.
    pub(super) fn root(&mut self, expression: &IdedExpr, wanted: Type) -> Option<Node> {
        self.of_type(expression, wanted, &Guards::new())
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
        if LATER.contains(&name) {
            return self.refuse(
                expression,
                format!("`{name}` is not supported yet by this version"),
                "leave it out",
            );
        }
        self.unknown(expression, "name", name, &["intent", "customer"])
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
            self.time_dependent |= matches!(
                read,
                Read::Unanswered | Read::DaysSinceFirstContact | Read::DaysSinceResponse
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
                "use it with `in`, `exists`, `all` or `size`",
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
        if LATER.contains(&select.field.as_str()) {
            let message = format!("`{owner}.{}` is not supported yet by this version", select.field);
            return self.refuse(expression, message, "leave it out");
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
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [first, rest @ ..]) => {
                self.logical(name, first, rest, guards)
            }
            (operators::LOGICAL_NOT, [inner]) => {
                let inner = self.of_type(inner, Type::Truth, guards)?;
                Some((Node::Not(Box::new(inner)), Type::Truth))
            }
            (operators::NEGATE, [inner]) => match self.lower(inner, guards)? {
                (node, kind) if kind.is_number() => Some((Node::Negate(Box::new(node)), kind)),
                (_, kind) => self.refuse(inner, format!("this is {}", kind.described()), "expected a number"),
            },
            (operators::CONDITIONAL, [test, yes, no]) => self.conditional(expression, [test, yes, no], guards),
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                let equal = self.equality(expression, left, right, guards)?;
                let node = if name == operators::EQUALS {
                    equal
                } else {
                    Node::Not(Box::new(equal))
                };
                Some((node, Type::Truth))
            }
            (operators::LESS, [left, right]) => self.order(expression, Relation::Less, left, right, guards),
            (operators::LESS_EQUALS, [left, right]) => {
                self.order(expression, Relation::LessOrEqual, left, right, guards)
            }
            (operators::GREATER, [left, right]) => self.order(expression, Relation::Greater, left, right, guards),
            (operators::GREATER_EQUALS, [left, right]) => {
                self.order(expression, Relation::GreaterOrEqual, left, right, guards)
            }
            (operators::ADD, [left, right]) => self.arithmetic(expression, Operation::Add, left, right, guards),
            (operators::SUBSTRACT, [left, right]) => {
                self.arithmetic(expression, Operation::Subtract, left, right, guards)
            }
            (operators::MULTIPLY, [left, right]) => {
                self.arithmetic(expression, Operation::Multiply, left, right, guards)
            }
            (operators::DIVIDE, [left, right]) => self.arithmetic(expression, Operation::Divide, left, right, guards),
            (operators::MODULO, [left, right]) => {
                self.arithmetic(expression, Operation::Remainder, left, right, guards)
            }
            (operators::IN, [element, list]) => self.member(expression, element, list, guards),
            (operators::INDEX, [map, key]) => self.index(expression, map, key, guards),
            _ => self.function(expression, call, guards),
        }
    }

    fn logical(&mut self, name: &str, first: &IdedExpr, rest: &[IdedExpr], guards: &Guards) -> Option<Typed> {
        let and = name == operators::LOGICAL_AND;
        let mut guards = guards.clone();
        let mut combined = self.of_type(first, Type::Truth, &guards);
        let mut previous = first;
        for next in rest {
            guards.extend(ensured(previous, and));
            let next_node = self.of_type(next, Type::Truth, &guards);
            combined = combined.zip(next_node).map(|(left, right)| {
                let (left, right) = (Box::new(left), Box::new(right));
                if and {
                    Node::And(left, right)
                } else {
                    Node::Or(left, right)
                }
            });
            previous = next;
        }
        Some((combined?, Type::Truth))
    }

    fn conditional(
        &mut self,
        expression: &IdedExpr,
        [test, yes, no]: [&IdedExpr; 3],
        guards: &Guards,
    ) -> Option<Typed> {
        let test_node = self.of_type(test, Type::Truth, guards);
        let with = |truth: bool| guards.union(&ensured(test, truth)).cloned().collect::<Guards>();
        let yes = self.lower(yes, &with(true));
        let no = self.lower(no, &with(false));
        let ((test, (yes, yes_type)), (no, no_type)) = test_node.zip(yes).zip(no)?;
        let kind = match (yes_type, no_type) {
            (yes, no) if yes == no => yes,
            (Type::Dynamic, _) | (_, Type::Dynamic) => Type::Dynamic,
            (yes, no) => {
                let message = format!("one branch is {}, the other {}", yes.described(), no.described());
                return self.refuse(expression, message, "both branches are of one type");
            }
        };
        Some((Node::If(Box::new([test, yes, no])), kind))
    }

    fn pair(&mut self, left: &IdedExpr, right: &IdedExpr, guards: &Guards) -> Option<(Typed, Typed)> {
        let left = self.lower(left, guards);
        let right = self.lower(right, guards);
        left.zip(right)
    }

    fn equality(&mut self, expression: &IdedExpr, left: &IdedExpr, right: &IdedExpr, guards: &Guards) -> Option<Node> {
        let ((left_node, left_type), (right_node, right_type)) = self.pair(left, right, guards)?;
        if !left_type.meets(right_type) {
            let message = format!("{} is never {}", left_type.described(), right_type.described());
            return self.refuse(expression, message, "these two cannot be compared");
        }
        self.check_word(&left_node, &right_node, right);
        self.check_word(&right_node, &left_node, left);
        Some(Node::Equal(Box::new(left_node), Box::new(right_node)))
    }

    /// A channel or class that the policy does not have is a slip, not a condition that is never true.
    fn check_word(&mut self, read: &Node, literal: &Node, place: &IdedExpr) {
        let (what, known) = match read {
            Node::Read(Read::Channel) => ("channel", self.vocabulary.channels),
            Node::Read(Read::Class) => ("class", self.vocabulary.classes),
            _ => return,
        };
        if let Node::Text(text) = literal
            && !known.contains(&&**text)
        {
            let text = text.to_string();
            let _: Option<Node> = self.unknown(place, what, &text, known);
        }
    }

    fn order(
        &mut self,
        expression: &IdedExpr,
        relation: Relation,
        left: &IdedExpr,
        right: &IdedExpr,
        guards: &Guards,
    ) -> Option<Typed> {
        let ((left, left_type), (right, right_type)) = self.pair(left, right, guards)?;
        if !left_type.meets(right_type) || left_type == Type::Truth || right_type == Type::Truth {
            let message = format!("{} and {} have no order", left_type.described(), right_type.described());
            return self.refuse(expression, message, "expected two numbers or two texts");
        }
        Some((Node::Order(relation, Box::new(left), Box::new(right)), Type::Truth))
    }

    fn arithmetic(
        &mut self,
        expression: &IdedExpr,
        operation: Operation,
        left: &IdedExpr,
        right: &IdedExpr,
        guards: &Guards,
    ) -> Option<Typed> {
        let ((left, left_type), (right, right_type)) = self.pair(left, right, guards)?;
        let decimal = |kind: Type| matches!(kind, Type::Double | Type::Dynamic);
        let kind = match (left_type, right_type) {
            (Type::Int, Type::Int) => Type::Int,
            (left, right) if decimal(left) && decimal(right) && operation != Operation::Remainder => Type::Double,
            (left, right) => {
                let message = format!("cannot calculate with {} and {}", left.described(), right.described());
                let label = "expected two whole numbers or two decimals: `int(…)` and `double(…)` convert";
                return self.refuse(expression, message, label);
            }
        };
        Some((Node::Arithmetic(operation, Box::new(left), Box::new(right)), kind))
    }

    fn member(&mut self, expression: &IdedExpr, element: &IdedExpr, list: &IdedExpr, guards: &Guards) -> Option<Typed> {
        if is_attributes(list) {
            return match &element.expr {
                Expr::Literal(LiteralValue::String(name)) => {
                    Some((Node::HasAttribute(Name::from(name.inner())), Type::Truth))
                }
                _ => self.refuse(
                    element,
                    "an attribute is named by a literal",
                    "expected a text in quotes",
                ),
            };
        }
        let element_lowered = self.lower(element, guards);
        let list_lowered = self.list(list, guards);
        let ((node, kind), (list_node, element_type)) = element_lowered.zip(list_lowered)?;
        if element_type.is_some_and(|element_type| !kind.meets(element_type)) {
            let message = format!("{} is never in this list", kind.described());
            return self.refuse(expression, message, "the types differ");
        }
        if let (List::Elements(elements), Expr::List(written)) = (&list_node, &list.expr) {
            for (element, place) in elements.iter().zip(&written.elements) {
                self.check_word(&node, element, place);
            }
        }
        Some((Node::In(Box::new(node), list_node), Type::Truth))
    }

    /// A list and the type of its elements; none: it is empty.
    fn list(&mut self, expression: &IdedExpr, guards: &Guards) -> Option<(List, Option<Type>)> {
        match &expression.expr {
            Expr::Select(select) if !select.test => {
                if let Expr::Ident(owner) = &select.operand.expr {
                    let found = LISTS.iter().find(|(of, name, _)| of == owner && *name == select.field);
                    if let Some((_, _, list)) = found {
                        return Some((list.clone(), Some(Type::Text)));
                    }
                }
            }
            Expr::List(list) => {
                let lowered: Vec<Option<Typed>> = list.elements.iter().map(|item| self.lower(item, guards)).collect();
                let lowered: Option<Vec<Typed>> = lowered.into_iter().collect();
                let lowered = lowered?;
                let first = lowered.first().map(|(_, kind)| *kind);
                if let Some(index) = lowered.iter().position(|(_, kind)| Some(*kind) != first) {
                    return self.refuse(&list.elements[index], "a list of several types", "one type for all");
                }
                return Some((
                    List::Elements(lowered.into_iter().map(|(node, _)| node).collect()),
                    first,
                ));
            }
            _ => {}
        }
        let (_, kind) = self.lower(expression, guards)?;
        self.refuse(expression, format!("this is {}", kind.described()), "expected a list")
    }

    fn index(&mut self, expression: &IdedExpr, map: &IdedExpr, key: &IdedExpr, guards: &Guards) -> Option<Typed> {
        if let Some(name) = attribute_name(expression, false) {
            return self.attribute(expression, &name, guards);
        }
        if is_attributes(map) {
            return self.refuse(key, "an attribute is named by a literal", "expected a text in quotes");
        }
        if !is_field(map, "customer", "unanswered_by") {
            return self.refuse(
                expression,
                "this cannot be indexed",
                "only `customer.attributes` and `customer.unanswered_by`",
            );
        }
        let node = self.of_type(key, Type::Text, guards)?;
        self.check_word(&Node::Read(Read::Channel), &node, key);
        self.time_dependent = true;
        Some((Node::UnansweredBy(Box::new(node)), Type::Int))
    }

    fn function(&mut self, expression: &IdedExpr, call: &CallExpr, guards: &Guards) -> Option<Typed> {
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
            (name, _, _) if LATER.contains(&name) => self.refuse(
                expression,
                format!("`{name}` is not supported yet by this version"),
                "leave it out",
            ),
            (name, _, _) if FUNCTIONS.contains(&name) => {
                self.refuse(expression, format!("`{name}` is not called like this"), usage(name))
            }
            ("now", ..) => self.refuse(expression, "there is no `now`", "conditions do not read the clock"),
            (name, ..) => self.unknown(expression, "function", name, FUNCTIONS),
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
    fn comprehension(&mut self, expression: &IdedExpr, unfolded: &ComprehensionExpr, guards: &Guards) -> Option<Typed> {
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

    fn unknown<T>(&mut self, place: &IdedExpr, what: &str, name: &str, known: &[&str]) -> Option<T> {
        let near = nearest(name, known.iter().copied());
        let label = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected {}", one_of(known)),
        };
        self.problem(place, format!("unknown {what} `{name}`"), label);
        if let Some(problem) = self.problems.last_mut() {
            let text = &self.text[problem.start..problem.end];
            problem.suggestion = near.map(|near| text.replace(name, near));
        }
        None
    }

    fn refuse<T>(&mut self, place: &IdedExpr, message: impl Into<String>, label: impl Into<String>) -> Option<T> {
        self.problem(place, message.into(), label.into());
        None
    }

    fn problem(&mut self, place: &IdedExpr, message: String, label: String) {
        let (start, end) = self.extent(place).unwrap_or((0, self.text.len()));
        self.problems.push(Problem {
            start,
            end,
            message,
            label,
            suggestion: None,
        });
    }

    /// Where an expression stands, in bytes: from its first part to its last.
    fn extent(&self, expression: &IdedExpr) -> Option<(usize, usize)> {
        let own = self.places.offset_for(expression.id).map(|(start, stop)| {
            let start = floor_boundary(self.text, start as usize);
            (start, floor_boundary(self.text, stop as usize + 1).max(start))
        });
        let parts: Vec<&IdedExpr> = match &expression.expr {
            Expr::Select(select) => vec![&select.operand],
            Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
            Expr::Comprehension(unfolded) => vec![&unfolded.iter_range],
            _ => Vec::new(),
        };
        let extents = parts.into_iter().filter_map(|part| self.extent(part));
        let (start, mut end) = own
            .into_iter()
            .chain(extents)
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        if let Expr::Call(call) = &expression.expr
            && self.text[..start].ends_with(&call.func_name)
            && call.target.is_none()
        {
            // The place of a call is its bracket.
            return Some((start - call.func_name.len(), end));
        }
        if let Expr::Select(select) = &expression.expr {
            // The place of a selection is its dot; the field follows.
            let rest = &self.text[end..];
            let blank = rest.len() - rest.trim_start().len();
            if rest.trim_start().starts_with(&select.field) {
                end += blank + select.field.len();
            }
        }
        Some((start, end))
    }
}

fn usage(name: &str) -> &'static str {
    match name {
        "size" => "`size(list)` or `size(text)`",
        "has" => "`has(customer.attributes.x)`",
        "int" | "double" => "`int(number)`, `double(number)`",
        "exists" | "all" => "`list.exists(x, condition)`, `list.all(x, condition)`",
        _ => "`text.startsWith(text)`, `text.endsWith(text)`, `text.contains(text)`",
    }
}

fn is_field(expression: &IdedExpr, owner: &str, field: &str) -> bool {
    matches!(&expression.expr, Expr::Select(select)
        if !select.test && select.field == field && matches!(&select.operand.expr, Expr::Ident(name) if name == owner))
}

fn is_attributes(expression: &IdedExpr) -> bool {
    is_field(expression, "customer", "attributes")
}

/// The attribute that `customer.attributes.x`, `has(customer.attributes.x)` or `customer.attributes["x"]` names.
fn attribute_name(expression: &IdedExpr, tested: bool) -> Option<String> {
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
fn ensured(expression: &IdedExpr, truth: bool) -> Guards {
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
