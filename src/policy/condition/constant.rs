//! Whether a condition is the same whatever comes: `x > 3 && x < 2`, `a == "p" || a != "p"`.
//!
//! Between the constants that it is compared with, a value makes no difference. So each value that the condition reads stands
//! for finitely many: the constants themselves, one on each side of them, and a failure where reading it may fail; and the
//! condition is looked at for all of their combinations. What is not compared with constants may be anything. Values that
//! hang together (a field and whether it is there) are taken as free of each other, so that something may be missed, but
//! what is found is true.

use super::compile::Vocabulary;
use super::program::{Computed, List, Node, Read, Relation, Scope, compare, equal};
use super::{ConditionError, lower};

/// So many bytes of a condition are looked at, over all combinations: a file of the largest size must be checked in no time.
const BYTES_LOOKED_AT: usize = 30_000;
/// Stands for every text that is not compared with: no policy holds it, for control characters are refused.
const OTHER_TEXT: &str = "\u{0}";

const FAILURE: ConditionError = ConditionError {
    what: "a value that may be missing",
};

type Outcome<'n> = Result<Computed<'n>, ConditionError>;

/// `Some(true)`: it always holds. `Some(false)`: it never does, though it may fail.
pub(super) fn always(node: &Node, text: &str, vocabulary: Vocabulary<'_>) -> Option<bool> {
    let mut values = Values {
        vocabulary,
        found: Vec::new(),
    };
    values.gather(node);
    let mut sizes = values.found.iter().map(|value| value.samples.len());
    let combinations = sizes.try_fold(1_usize, usize::checked_mul)?;
    if combinations == 0 || combinations.checked_mul(text.len())? > BYTES_LOOKED_AT {
        return None;
    }
    let outcome = |combination: usize| {
        let mut rest = combination;
        let chosen: Vec<(&Node, Outcome)> = values
            .found
            .iter()
            .map(|value| {
                let sample = value.samples[rest % value.samples.len()].clone();
                rest /= value.samples.len();
                (value.node, sample)
            })
            .collect();
        truth(node, &chosen)
    };
    let first = outcome(0).unwrap_or(false);
    let same = (1..combinations).all(|combination| outcome(combination).unwrap_or(false) == first);
    // What fails does not hold; so nothing that may fail always does.
    same.then_some(first)
}

/// The values that a condition reads.
struct Values<'n> {
    vocabulary: Vocabulary<'n>,
    found: Vec<Value<'n>>,
}

/// One of them, with what it may be.
struct Value<'n> {
    node: &'n Node,
    samples: Vec<Outcome<'n>>,
}

impl<'n> Values<'n> {
    fn gather(&mut self, node: &'n Node) {
        if constant(node).is_some() {
            return;
        }
        match node {
            Node::Not(inner) => self.gather(inner),
            Node::And(left, right) | Node::Or(left, right) => {
                self.gather(left);
                self.gather(right);
            }
            Node::If(parts) => parts.iter().for_each(|part| self.gather(part)),
            _ => match compared(node) {
                Some((value, constants)) => {
                    for constant in constants {
                        self.add(value, Some(constant));
                    }
                    self.add(value, None);
                }
                None => self.add(node, None),
            },
        }
    }

    /// Adds what a value may be, beside a constant that it is compared with.
    fn add(&mut self, node: &'n Node, constant: Option<Computed<'n>>) {
        let place = match self.found.iter().position(|value| value.node == node) {
            Some(place) => place,
            None => {
                let samples = self.of_its_own(node);
                self.found.push(Value { node, samples });
                self.found.len() - 1
            }
        };
        let around = constant.map(|constant| around(node, constant)).unwrap_or_default();
        let samples = &mut self.found[place].samples;
        for sample in around.into_iter().map(Ok) {
            if !samples.contains(&sample) {
                samples.push(sample);
            }
        }
    }

    /// What a value may be, whatever it is compared with.
    fn of_its_own(&self, node: &'n Node) -> Vec<Outcome<'n>> {
        let words = |words: &[&'n str]| words.iter().map(|word| Ok(Computed::Text(word))).collect();
        match node {
            // Another channel is a dead letter, another class is judged as the default one.
            Node::Read(Read::Channel) => words(self.vocabulary.channels),
            Node::Read(Read::Class) => words(self.vocabulary.classes),
            Node::Read(read) => match lower::type_of(*read) {
                lower::Type::Int => vec![Ok(Computed::Int(0))],
                lower::Type::Double => vec![Ok(Computed::Double(0.0))],
                _ => vec![Ok(Computed::Text(OTHER_TEXT))],
            },
            Node::Arm(experiment) => {
                let arms = experiment.arms.iter().map(|(name, _)| &**name);
                let nobody = Some("").filter(|_| !experiment.is_for_everybody());
                arms.chain(nobody).map(|arm| Ok(Computed::Text(arm))).collect()
            }
            Node::Has(_) | Node::HasAttribute(_) => truths(false),
            Node::Count(_) => vec![Ok(Computed::Int(0))],
            Node::UnansweredBy(channel) => match **channel {
                Node::Text(_) | Node::Read(_) => vec![Ok(Computed::Int(0))],
                _ => vec![Ok(Computed::Int(0)), Err(FAILURE)],
            },
            Node::In(element, _) if matches!(**element, Node::Text(_) | Node::Read(_)) => truths(false),
            Node::TextTest(_, text, part) => {
                let is_plain = |node: &Node| matches!(node, Node::Text(_) | Node::Read(_));
                truths(!(is_plain(text) && is_plain(part)))
            }
            Node::Equal(left, right) | Node::Order(_, left, right) => {
                let is_read = |node: &Node| matches!(node, Node::Read(_)) || constant(node).is_some();
                truths(!(is_read(left) && is_read(right)))
            }
            Node::Quantify { .. } | Node::In(..) => truths(true),
            // Attributes, and what is calculated: of any type, or nothing.
            _ => {
                let mut samples = truths(true);
                samples.extend([
                    Ok(Computed::Int(0)),
                    Ok(Computed::Double(0.5)),
                    Ok(Computed::Text(OTHER_TEXT)),
                ]);
                samples
            }
        }
    }
}

fn truths<'n>(may_fail: bool) -> Vec<Outcome<'n>> {
    let mut truths = vec![Ok(Computed::Truth(true)), Ok(Computed::Truth(false))];
    truths.extend(may_fail.then_some(Err(FAILURE)));
    truths
}

/// The constant and its neighbours, of what the value can be.
fn around<'n>(node: &Node, constant: Computed<'n>) -> Vec<Computed<'n>> {
    let is_closed = matches!(node, Node::Read(Read::Channel | Read::Class) | Node::Arm(_));
    let is_whole = match node {
        Node::Read(read) => lower::type_of(*read) == lower::Type::Int,
        Node::Count(_) | Node::UnansweredBy(_) => true,
        _ => false,
    };
    let is_count = is_whole && *node != Node::Read(Read::Priority);
    let whole = |number: i64| {
        let around = [number.saturating_sub(1), number, number.saturating_add(1)];
        around.map(Computed::Int).to_vec()
    };
    let decimal = |number: f64| {
        [number.next_down(), number, number.next_up()]
            .map(Computed::Double)
            .to_vec()
    };
    let mut samples = match constant {
        Computed::Int(number) if is_whole => whole(number),
        Computed::Double(number) if is_whole => {
            let mut samples = whole(number.floor() as i64);
            samples.extend(whole(number.ceil() as i64));
            samples
        }
        Computed::Int(number) => decimal(number as f64),
        Computed::Double(number) => decimal(number),
        other => vec![other],
    };
    samples.retain(|sample| match sample {
        Computed::Int(number) => *number >= 0 || !is_count,
        Computed::Text(_) => !is_closed,
        _ => true,
    });
    samples
}

/// A value that is compared with constants only, and these.
fn compared(node: &Node) -> Option<(&Node, Vec<Computed<'_>>)> {
    match node {
        Node::Equal(left, right) => one_side(left, right),
        // Texts have an order too, but no neighbours.
        Node::Order(_, left, right) => one_side(left, right).filter(|(_, constants)| {
            let is_number = |constant: &Computed| matches!(constant, Computed::Int(_) | Computed::Double(_));
            constants.iter().all(is_number)
        }),
        Node::In(element, List::Elements(elements)) => {
            let constants: Option<Vec<Computed>> = elements.iter().map(constant).collect();
            Some((&**element, constants?))
        }
        _ => None,
    }
}

fn one_side<'n>(left: &'n Node, right: &'n Node) -> Option<(&'n Node, Vec<Computed<'n>>)> {
    match (constant(left), constant(right)) {
        (Some(constant), None) => Some((right, vec![constant])),
        (None, Some(constant)) => Some((left, vec![constant])),
        _ => None,
    }
}

/// Its value, if it reads nothing.
fn constant(node: &Node) -> Option<Computed<'_>> {
    node.evaluate(&Scope::new(None)).ok()
}

fn truth<'n>(node: &'n Node, chosen: &[(&'n Node, Outcome<'n>)]) -> Result<bool, ConditionError> {
    let is_true = |value: Computed| match value {
        Computed::Truth(truth) => Ok(truth),
        _ => Err(FAILURE),
    };
    if let Some(value) = constant(node) {
        return is_true(value);
    }
    let value_of = |node: &'n Node| match constant(node) {
        Some(value) => Ok(value),
        None => {
            let found = chosen.iter().find(|(value, _)| *value == node);
            found.map_or(Err(FAILURE), |(_, outcome)| outcome.clone())
        }
    };
    match node {
        Node::Not(inner) => Ok(!truth(inner, chosen)?),
        Node::And(left, right) => decide(truth(left, chosen), truth(right, chosen), false),
        Node::Or(left, right) => decide(truth(left, chosen), truth(right, chosen), true),
        Node::If(parts) => {
            let [test, yes, no] = &**parts;
            truth(if truth(test, chosen)? { yes } else { no }, chosen)
        }
        _ if compared(node).is_none() => is_true(value_of(node)?),
        Node::Equal(left, right) => Ok(equal(value_of(left)?, value_of(right)?)),
        Node::Order(relation, left, right) => {
            let ordering = compare(value_of(left)?, value_of(right)?)?;
            Ok(Relation::holds(*relation, ordering))
        }
        Node::In(element, List::Elements(elements)) => {
            let element = value_of(element)?;
            Ok(elements.iter().filter_map(constant).any(|other| equal(element, other)))
        }
        _ => Err(FAILURE),
    }
}

fn decide(
    left: Result<bool, ConditionError>,
    right: Result<bool, ConditionError>,
    decisive: bool,
) -> Result<bool, ConditionError> {
    if left == Ok(decisive) || right == Ok(decisive) {
        return Ok(decisive);
    }
    left.and(right)
}
