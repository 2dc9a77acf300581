//! A compiled expression: a typed tree over the facts, evaluated without allocation. The check in `lower` has proven the
//! types; only values of attributes, whose type nobody declares, are checked while it runs.
//!
//! The meaning is CEL's: `&&` and `||` (and the macros on lists) answer if one side decides, even where the other fails;
//! whole numbers do not wrap; numbers compare across types.

use super::{ConditionError, Facts};
use crate::message::{AttributeValue, Name};
use crate::policy::rules::Experiment;
use std::cmp::Ordering;

/// How many macros may be nested.
pub(super) const VARIABLES: usize = 4;
/// What `days_since_response` is for a customer who never responded: a hundred years.
pub(super) const NEVER_DAYS: i64 = 36_500;

/// A field that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Channel,
    Division,
    Class,
    MessageType,
    Campaign,
    Category,
    Topic,
    Offer,
    Objective,
    Priority,
    Value,
    Propensity,
    Cost,
    Jurisdiction,
    Unanswered,
    DaysSinceFirstContact,
    DaysSinceResponse,
    Fatigue,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Truth(bool),
    Int(i64),
    Double(f64),
    Text(Name),
    Read(Read),
    /// `has(…)` on a field that may be missing.
    Has(Read),
    Attribute(Name),
    HasAttribute(Name),
    UnansweredBy(Box<Node>),
    /// The customer's arm in the experiment; empty where it has none for the customer.
    Arm(Box<Experiment>),
    /// The element that a macro has reached.
    Variable(usize),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    If(Box<[Node; 3]>),
    Equal(Box<Node>, Box<Node>),
    Order(Relation, Box<Node>, Box<Node>),
    Arithmetic(Operation, Box<Node>, Box<Node>),
    In(Box<Node>, List),
    /// `exists` (false), `all` (true).
    Quantify {
        all: bool,
        list: List,
        slot: usize,
        body: Box<Node>,
    },
    Length(Box<Node>),
    Count(List),
    TextTest(TextTest, Box<Node>, Box<Node>),
    ToInt(Box<Node>),
    ToDouble(Box<Node>),
}

/// A list.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum List {
    Tags,
    Segments,
    FallbackChannels,
    Elements(Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

/// A value while it is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Computed<'a> {
    Truth(bool),
    Int(i64),
    Double(f64),
    Text(&'a str),
}

type Outcome<'a> = Result<Computed<'a>, ConditionError>;

/// What an expression looks at: the facts (none while a constant is folded) and the elements that macros have reached.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub facts: Option<&'a Facts<'a>>,
    pub variables: [Computed<'a>; VARIABLES],
}

impl<'a> Scope<'a> {
    /// A scope over the facts.
    pub(super) fn new(facts: Option<&'a Facts<'a>>) -> Self {
        Self {
            facts,
            variables: [Computed::Truth(false); VARIABLES],
        }
    }

    fn facts(&self) -> Result<&'a Facts<'a>, ConditionError> {
        self.facts.ok_or(ConditionError { what: "no facts" })
    }
}

impl Node {
    /// Its value.
    pub(super) fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Outcome<'a> {
        Ok(match self {
            Self::Truth(truth) => Computed::Truth(*truth),
            Self::Int(number) => Computed::Int(*number),
            Self::Double(number) => Computed::Double(*number),
            Self::Text(text) => Computed::Text(text),
            Self::Read(read) => read.value(scope.facts()?),
            Self::Has(read) => Computed::Truth(read.is_there(scope.facts()?)),
            Self::Attribute(name) => attribute(scope.facts()?, name)?,
            Self::HasAttribute(name) => Computed::Truth(attribute(scope.facts()?, name).is_ok()),
            Self::Arm(experiment) => {
                let arm = experiment.arm(&scope.facts()?.customer.id);
                Computed::Text(arm.map_or("", |name| name))
            }
            Self::UnansweredBy(channel) => unanswered_by(scope.facts()?, channel.text(scope)?),
            Self::Variable(slot) => scope.variables.get(*slot).copied().ok_or(failed("variable"))?,
            Self::Not(inner) => Computed::Truth(!inner.truth(scope)?),
            Self::Negate(inner) => match inner.evaluate(scope)? {
                Computed::Int(number) => Computed::Int(number.checked_neg().ok_or(OVERFLOW)?),
                Computed::Double(number) => Computed::Double(-number),
                _ => return Err(WRONG_TYPE),
            },
            Self::And(left, right) => Computed::Truth(decide(left.truth(scope), || right.truth(scope), false)?),
            Self::Or(left, right) => Computed::Truth(decide(left.truth(scope), || right.truth(scope), true)?),
            Self::If(parts) => {
                let [test, yes, no] = &**parts;
                return if test.truth(scope)? {
                    yes.evaluate(scope)
                } else {
                    no.evaluate(scope)
                };
            }
            Self::Equal(left, right) => Computed::Truth(equal(left.evaluate(scope)?, right.evaluate(scope)?)),
            Self::Order(relation, left, right) => {
                let ordering = compare(left.evaluate(scope)?, right.evaluate(scope)?)?;
                Computed::Truth(relation.holds(ordering))
            }
            Self::Arithmetic(operation, left, right) => {
                operation.apply(left.evaluate(scope)?, right.evaluate(scope)?)?
            }
            Self::In(element, list) => {
                let element = element.evaluate(scope)?;
                Computed::Truth(list.find(scope, |item| Ok(equal(element, item)), true)?)
            }
            Self::Quantify { all, list, slot, body } => {
                let mut inner = *scope;
                let found = list.find(
                    scope,
                    |item| {
                        *inner.variables.get_mut(*slot).ok_or(failed("variable"))? = item;
                        Ok(body.truth(&inner)? != *all)
                    },
                    false,
                )?;
                Computed::Truth(found != *all)
            }
            Self::Length(text) => Computed::Int(saturated(text.text(scope)?.chars().count())),
            Self::Count(list) => Computed::Int(saturated(list.len(scope)?)),
            Self::TextTest(test, text, part) => {
                let (text, part) = (text.text(scope)?, part.text(scope)?);
                Computed::Truth(match test {
                    TextTest::StartsWith => text.starts_with(part),
                    TextTest::EndsWith => text.ends_with(part),
                    TextTest::Contains => text.contains(part),
                })
            }
            Self::ToInt(inner) => Computed::Int(to_int(inner.evaluate(scope)?)?),
            Self::ToDouble(inner) => Computed::Double(match inner.evaluate(scope)? {
                Computed::Int(number) => number as f64,
                Computed::Double(number) => number,
                _ => return Err(WRONG_TYPE),
            }),
        })
    }

    /// Its value, that has to be a truth value.
    pub(super) fn truth<'a>(&'a self, scope: &Scope<'a>) -> Result<bool, ConditionError> {
        match self.evaluate(scope)? {
            Computed::Truth(truth) => Ok(truth),
            _ => Err(WRONG_TYPE),
        }
    }

    fn text<'a>(&'a self, scope: &Scope<'a>) -> Result<&'a str, ConditionError> {
        match self.evaluate(scope)? {
            Computed::Text(text) => Ok(text),
            _ => Err(WRONG_TYPE),
        }
    }
}

impl List {
    /// Whether the test holds for an element. Where it does for none and failed for some, the failure; `strict`: the
    /// first failure ends it.
    fn find<'a>(
        &'a self,
        scope: &Scope<'a>,
        mut test: impl FnMut(Computed<'a>) -> Result<bool, ConditionError>,
        strict: bool,
    ) -> Result<bool, ConditionError> {
        let mut failure = None;
        let mut look = |outcome: Outcome<'a>| match outcome.and_then(&mut test) {
            Ok(found) => found,
            Err(error) => {
                failure.get_or_insert(error);
                strict
            }
        };
        let found = match self {
            Self::Elements(elements) => {
                // A list is made before it is searched: an element that fails, fails the list.
                for element in elements {
                    element.evaluate(scope)?;
                }
                elements.iter().any(|element| look(element.evaluate(scope)))
            }
            names => names.names(scope)?.iter().any(|name| look(Ok(Computed::Text(name)))),
        };
        match failure {
            Some(error) if strict || !found => Err(error),
            _ => Ok(found),
        }
    }

    fn len(&self, scope: &Scope<'_>) -> Result<usize, ConditionError> {
        match self {
            Self::Elements(elements) => {
                for element in elements {
                    element.evaluate(scope)?;
                }
                Ok(elements.len())
            }
            names => Ok(names.names(scope)?.len()),
        }
    }

    fn names<'a>(&self, scope: &Scope<'a>) -> Result<&'a [Name], ConditionError> {
        let facts = scope.facts()?;
        Ok(match self {
            Self::Tags => &facts.intent.tags,
            Self::Segments => &facts.customer.profile.segments,
            Self::FallbackChannels => &facts.intent.fallback_channels,
            Self::Elements(_) => &[],
        })
    }
}

impl Read {
    fn value<'a>(self, facts: &'a Facts<'a>) -> Computed<'a> {
        let intent = facts.intent;
        let optional = |name: &'a Option<Name>| Computed::Text(name.as_deref().unwrap_or_default());
        match self {
            Self::Channel => Computed::Text(facts.channel),
            Self::Division => Computed::Text(&intent.division),
            Self::Class => Computed::Text(facts.class),
            Self::MessageType => Computed::Text(&intent.message_type),
            Self::Campaign => optional(&intent.campaign),
            Self::Category => optional(&intent.category),
            Self::Topic => optional(&intent.topic),
            Self::Offer => optional(&intent.offer),
            Self::Objective => optional(&intent.objective),
            Self::Priority => Computed::Int(i64::from(intent.priority)),
            Self::Value => Computed::Double(intent.value.unwrap_or_default()),
            Self::Propensity => Computed::Double(intent.propensity.unwrap_or_default()),
            Self::Cost => Computed::Double(intent.cost_micros.unwrap_or_default() as f64 / 1e6),
            Self::Jurisdiction => optional(&facts.customer.profile.jurisdiction),
            Self::Unanswered => Computed::Int(facts.derived.unanswered),
            Self::DaysSinceFirstContact => Computed::Int(facts.derived.days_since_first_contact.unwrap_or(0)),
            Self::DaysSinceResponse => Computed::Int(facts.derived.days_since_response.unwrap_or(NEVER_DAYS)),
            Self::Fatigue => Computed::Int(facts.derived.fatigue),
        }
    }

    fn is_there(self, facts: &Facts<'_>) -> bool {
        let intent = facts.intent;
        match self {
            Self::Campaign => intent.campaign.is_some(),
            Self::Category => intent.category.is_some(),
            Self::Topic => intent.topic.is_some(),
            Self::Offer => intent.offer.is_some(),
            Self::Objective => intent.objective.is_some(),
            Self::Value => intent.value.is_some(),
            Self::Propensity => intent.propensity.is_some(),
            Self::Cost => intent.cost_micros.is_some(),
            Self::Jurisdiction => facts.customer.profile.jurisdiction.is_some(),
            Self::DaysSinceFirstContact => facts.derived.days_since_first_contact.is_some(),
            Self::DaysSinceResponse => facts.derived.days_since_response.is_some(),
            Self::Channel
            | Self::Division
            | Self::Class
            | Self::MessageType
            | Self::Priority
            | Self::Unanswered
            | Self::Fatigue => true,
        }
    }
}

impl Relation {
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Operation {
    fn apply<'a>(self, left: Computed<'a>, right: Computed<'a>) -> Outcome<'a> {
        match (left, right) {
            (Computed::Int(left), Computed::Int(right)) => {
                if matches!(self, Self::Divide | Self::Remainder) && right == 0 {
                    return Err(failed("division by zero"));
                }
                let result = match self {
                    Self::Add => left.checked_add(right),
                    Self::Subtract => left.checked_sub(right),
                    Self::Multiply => left.checked_mul(right),
                    Self::Divide => left.checked_div(right),
                    Self::Remainder => left.checked_rem(right),
                };
                result.map(Computed::Int).ok_or(OVERFLOW)
            }
            (Computed::Double(left), Computed::Double(right)) => Ok(Computed::Double(match self {
                Self::Add => left + right,
                Self::Subtract => left - right,
                Self::Multiply => left * right,
                Self::Divide => left / right,
                Self::Remainder => return Err(WRONG_TYPE),
            })),
            _ => Err(WRONG_TYPE),
        }
    }
}

const OVERFLOW: ConditionError = failed("a number out of range");
const WRONG_TYPE: ConditionError = failed("a value of another type than is needed");

const fn failed(what: &'static str) -> ConditionError {
    ConditionError { what }
}

fn decide(
    left: Result<bool, ConditionError>,
    right: impl FnOnce() -> Result<bool, ConditionError>,
    decisive: bool,
) -> Result<bool, ConditionError> {
    if left == Ok(decisive) {
        return Ok(decisive);
    }
    match right() {
        Ok(right) if right == decisive => Ok(decisive),
        right => left.and(right),
    }
}

pub(super) fn equal(left: Computed<'_>, right: Computed<'_>) -> bool {
    match (left, right) {
        (Computed::Truth(left), Computed::Truth(right)) => left == right,
        (Computed::Text(left), Computed::Text(right)) => left == right,
        (Computed::Int(_) | Computed::Double(_), Computed::Int(_) | Computed::Double(_)) => {
            numbers(left, right) == Some(Ordering::Equal)
        }
        _ => false,
    }
}

/// What is not a number has no order: that is a failure, as in the reference interpreter, not a silent `false`.
pub(super) fn compare(left: Computed<'_>, right: Computed<'_>) -> Result<Ordering, ConditionError> {
    match (left, right) {
        (Computed::Text(left), Computed::Text(right)) => Ok(left.cmp(right)),
        (Computed::Int(_) | Computed::Double(_), Computed::Int(_) | Computed::Double(_)) => {
            numbers(left, right).ok_or(failed("not a number"))
        }
        _ => Err(WRONG_TYPE),
    }
}

fn numbers(left: Computed<'_>, right: Computed<'_>) -> Option<Ordering> {
    match (left, right) {
        (Computed::Int(left), Computed::Int(right)) => Some(left.cmp(&right)),
        (Computed::Double(left), Computed::Double(right)) => left.partial_cmp(&right),
        (Computed::Int(left), Computed::Double(right)) => (left as f64).partial_cmp(&right),
        (Computed::Double(left), Computed::Int(right)) => left.partial_cmp(&(right as f64)),
        _ => None,
    }
}

fn to_int(value: Computed<'_>) -> Result<i64, ConditionError> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Computed::Int(number) => Ok(number),
        Computed::Double(number) if number > -BOUND && number < BOUND => Ok(number as i64),
        Computed::Double(_) => Err(OVERFLOW),
        _ => Err(WRONG_TYPE),
    }
}

fn attribute<'a>(facts: &'a Facts<'a>, name: &str) -> Outcome<'a> {
    let attributes = &facts.customer.profile.attributes;
    let found = attributes
        .binary_search_by(|(candidate, _)| (**candidate).cmp(name))
        .ok();
    match found.and_then(|index| attributes.get(index)) {
        Some((_, AttributeValue::Text(text))) => Ok(Computed::Text(text)),
        Some((_, AttributeValue::Number(number))) => Ok(Computed::Double(*number)),
        Some((_, AttributeValue::Truth(truth))) => Ok(Computed::Truth(*truth)),
        None => Err(failed("an attribute that the customer does not have")),
    }
}

fn unanswered_by<'a>(facts: &Facts<'_>, channel: &str) -> Computed<'a> {
    let by_channel = facts.derived.unanswered_by.iter().find(|(name, _)| &**name == channel);
    Computed::Int(by_channel.map_or(0, |(_, count)| *count))
}

fn saturated(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
