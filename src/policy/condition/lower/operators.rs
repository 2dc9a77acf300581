//! Operators, lists and indexes.

use super::guards::{Guards, attribute_name, ensured, is_attributes, is_field};
use super::{LISTS, Lowering, Type, Typed};
use crate::message::Name;
use crate::policy::condition::program::{List, Node, Operation, Read, Relation};
use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

impl Lowering<'_> {
    pub(super) fn logical(
        &mut self,
        name: &str,
        first: &IdedExpr,
        rest: &[IdedExpr],
        guards: &Guards,
    ) -> Option<Typed> {
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

    pub(super) fn conditional(
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

    pub(super) fn pair(&mut self, left: &IdedExpr, right: &IdedExpr, guards: &Guards) -> Option<(Typed, Typed)> {
        let left = self.lower(left, guards);
        let right = self.lower(right, guards);
        left.zip(right)
    }

    pub(super) fn equality(
        &mut self,
        expression: &IdedExpr,
        left: &IdedExpr,
        right: &IdedExpr,
        guards: &Guards,
    ) -> Option<Node> {
        let ((left_node, left_type), (right_node, right_type)) = self.pair(left, right, guards)?;
        if !left_type.meets(right_type) {
            let message = format!("{} is never {}", left_type.described(), right_type.described());
            return self.refuse(expression, message, "these two cannot be compared");
        }
        self.check_word(&left_node, &right_node, right);
        self.check_word(&right_node, &left_node, left);
        Some(Node::Equal(Box::new(left_node), Box::new(right_node)))
    }

    /// A channel, class or arm that the policy does not have is a slip, not a condition that is never true.
    pub(super) fn check_word(&mut self, read: &Node, literal: &Node, place: &IdedExpr) {
        let arms: Vec<&str>;
        let (what, known) = match read {
            Node::Read(Read::Channel) => ("channel", self.vocabulary.channels),
            Node::Read(Read::Class) => ("class", self.vocabulary.classes),
            Node::Arm(experiment) => {
                let nobody = Some("").filter(|_| !experiment.is_for_everybody());
                arms = experiment.arms.iter().map(|(name, _)| &**name).chain(nobody).collect();
                ("arm", arms.as_slice())
            }
            _ => return,
        };
        if let Node::Text(text) = literal
            && !known.contains(&&**text)
        {
            let text = text.to_string();
            let _: Option<Node> = self.unknown(place, what, &text, known);
        }
    }

    pub(super) fn order(
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

    pub(super) fn arithmetic(
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

    pub(super) fn member(
        &mut self,
        expression: &IdedExpr,
        element: &IdedExpr,
        list: &IdedExpr,
        guards: &Guards,
    ) -> Option<Typed> {
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
    pub(super) fn list(&mut self, expression: &IdedExpr, guards: &Guards) -> Option<(List, Option<Type>)> {
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

    pub(super) fn index(
        &mut self,
        expression: &IdedExpr,
        map: &IdedExpr,
        key: &IdedExpr,
        guards: &Guards,
    ) -> Option<Typed> {
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
        self.reads.time_dependent = true;
        Some((Node::UnansweredBy(Box::new(node)), Type::Int))
    }
}
