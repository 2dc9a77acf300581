//! The working of every step and every rule for one intent: those that block, those that let it pass, and those that have
//! nothing to say about it, with the cause. The judge asks the same questions; it keeps only the answers that block.

use super::builtin;
use super::case::{Case, Hit};
use super::competition::Slots;
use super::{Situation, wake};
use crate::customer::{CapacityUse, Customer};
use crate::message::{Intent, Name};
use crate::policy::judgement::Reason;
use crate::policy::model::{Policy, Rule, RuleKindName};
use crate::policy::rules::{Memory, RuleKind, RuleOutcome, View};
use crate::policy::window::Bounds;
use jiff::tz::TimeZone;

/// One step or rule on one channel, with its working.
#[derive(Debug, Clone, PartialEq)]
pub struct Working {
    pub channel: Name,
    /// None: a step that every policy has.
    pub rule: Option<Name>,
    /// What a hit of it is called.
    pub reason: Reason,
    pub bearing: Bearing,
    pub shadow: bool,
    pub count: Option<i64>,
    pub limit: Option<i64>,
    pub window_start_ms: Option<i64>,
    pub window_end_ms: Option<i64>,
    /// Where it blocks: when it would pass if nothing else were approved; none: no known end.
    pub free_at_ms: Option<i64>,
}

/// What a rule has to do with an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearing {
    Passes,
    Blocks,
    /// The class does not obey it.
    NotObeyed,
    /// `for` selects other messages.
    NotSelected,
    /// Its `when` is false.
    NotNow,
    /// This exception lifts it.
    Lifted(Name),
}

/// Everything that is asked about the intent at this instant: on the requested channel, and on the fallback channels that are
/// tried. `capacity`: what the one partition that there is has used of it.
pub fn explain(
    policy: &Policy,
    customer: &Customer,
    intent: &Intent,
    now_ms: i64,
    capacity: &CapacityUse,
) -> Vec<Working> {
    let situation = Situation {
        first_deferred_ms: None,
        partition_count: 1,
        capacity,
    };
    let slots = Slots::none(policy, customer, situation);
    let Some(case) = Case::new(&slots, intent) else {
        return Vec::new();
    };
    let mut workings = Vec::new();
    let hits = case.hits(&intent.channel, now_ms);
    case.explain(&intent.channel, now_ms, &mut workings);
    if !hits.iter().all(Hit::is_shadow) && wake::hands_over(&hits) {
        for channel in case.fallbacks() {
            case.explain(channel, now_ms, &mut workings);
            if case.hits(channel, now_ms).iter().all(Hit::is_shadow) {
                break;
            }
        }
    }
    workings
}

impl<'a> Case<'a> {
    fn explain(&self, channel: &'a Name, at_ms: i64, into: &mut Vec<Working>) {
        self.with_view(channel, at_ms, |view| {
            let mut hits = Vec::new();
            builtin::hits(self, view, &mut hits);
            for (reason, kind) in BUILT_IN {
                let step = hits.iter().filter(|hit| hit.step == reason.step());
                let blocking: Vec<Working> = step.map(|hit| blocking_step(hit, channel)).collect();
                if blocking.is_empty() {
                    let obeyed = kind.is_none_or(|kind| self.class.obeys.kind(kind));
                    let bearing = if obeyed { Bearing::Passes } else { Bearing::NotObeyed };
                    into.push(working(channel, None, reason, bearing, &RuleOutcome::PASS));
                }
                into.extend(blocking);
            }
            let mut order: Vec<usize> = (0..self.policy.rules.len()).collect();
            let rules = &self.policy.rules;
            order.sort_by_key(|index| (rules[*index].kind.reason().step(), rules[*index].id.clone()));
            for index in order {
                let rule = &rules[index];
                into.push(self.explain_rule(rule, self.class.obeys.rule(rule), view));
            }
        });
    }

    fn explain_rule(&self, rule: &Rule, obeyed: bool, view: &View) -> Working {
        let reason = rule.kind.reason();
        let of = |bearing| working(view.subject.channel, Some(rule), reason, bearing, &RuleOutcome::PASS);
        if !obeyed {
            return of(Bearing::NotObeyed);
        }
        if !rule.governs.matches(&view.subject) {
            return of(Bearing::NotSelected);
        }
        if let Some(exception) = self.lifted_by(rule, view) {
            return of(Bearing::Lifted(exception.id.clone()));
        }
        match rule.when.as_ref().map_or(Ok(true), |when| when.test(&view.facts)) {
            Ok(true) => {}
            Ok(false) => return of(Bearing::NotNow),
            Err(_) => return undecidable(rule, view),
        }
        match self.evaluate(rule, view) {
            Ok(mut outcome) => {
                let zone = self.zones.of(rule.kind.zone()).first();
                let told = outcome.count.is_some() || matches!(rule.kind, RuleKind::SendWindow(_));
                if outcome.passes && outcome.bounds.is_none() && told {
                    outcome.bounds = zone.and_then(|zone| bounds(&rule.kind, view.at_ms, zone));
                }
                let bearing = if outcome.passes {
                    Bearing::Passes
                } else {
                    Bearing::Blocks
                };
                working(view.subject.channel, Some(rule), reason, bearing, &outcome)
            }
            Err(_) => undecidable(rule, view),
        }
    }
}

/// The steps that every policy has, and what a class must obey for them to be asked.
const BUILT_IN: [(Reason, Option<RuleKindName>); 4] = [
    (Reason::Stopped, None),
    (Reason::SuppressionList, Some(RuleKindName::SuppressionList)),
    (Reason::Consent, Some(RuleKindName::Consent)),
    (Reason::Preference, Some(RuleKindName::Preferences)),
];

/// Nobody can say what the rule asks for: it blocks.
fn undecidable(rule: &Rule, view: &View) -> Working {
    let outcome = RuleOutcome::blocked_until(None);
    let channel = view.subject.channel;
    working(channel, Some(rule), Reason::PolicyError, Bearing::Blocks, &outcome)
}

fn blocking_step(hit: &Hit, channel: &Name) -> Working {
    working(channel, None, hit.reason, Bearing::Blocks, &hit.outcome)
}

/// A window that a passing rule looked at, where it has one. The judge does not ask for it: it costs calendar arithmetic.
fn bounds(kind: &RuleKind, at_ms: i64, zone: &TimeZone) -> Option<Bounds> {
    match kind {
        RuleKind::Cap(cap) => Some(cap.window.bounds(at_ms, zone)),
        RuleKind::Spend(spend) => Some(spend.window.bounds(at_ms, zone)),
        RuleKind::Capacity(capacity) => Some(capacity.window.bounds(at_ms, zone)),
        RuleKind::Pressure(pressure) => match &pressure.memory {
            Memory::Window(window) => Some(window.bounds(at_ms, zone)),
            Memory::HalfLife { .. } => None,
        },
        RuleKind::Gap(gap) => Some(gap.length.bounds(at_ms, zone)),
        RuleKind::Redundant(redundant) => Some(redundant.within.bounds(at_ms, zone)),
        RuleKind::Sequence(sequence) => Some(sequence.within.bounds(at_ms, zone)),
        RuleKind::CoolOff(cool_off) => cool_off.within.map(|within| within.bounds(at_ms, zone)),
        RuleKind::SendWindow(window) => Some(Bounds {
            start_ms: i64::MIN,
            end_ms: window.schedule.open_until(at_ms, zone)?,
        }),
        RuleKind::Holdout(_) | RuleKind::BackOff(_) | RuleKind::Mix(_) => None,
    }
}

fn working(channel: &Name, rule: Option<&Rule>, reason: Reason, bearing: Bearing, outcome: &RuleOutcome) -> Working {
    Working {
        channel: channel.clone(),
        rule: rule.map(|rule| rule.id.clone()),
        reason,
        shadow: rule.is_some_and(|rule| rule.shadow),
        count: outcome.count,
        limit: outcome.limit,
        window_start_ms: (outcome.bounds.map(|bounds| bounds.start_ms)).filter(|start_ms| *start_ms != i64::MIN),
        window_end_ms: (outcome.bounds.map(|bounds| bounds.end_ms)).filter(|end_ms| *end_ms != i64::MAX),
        free_at_ms: outcome.free_at_ms.filter(|_| bearing == Bearing::Blocks),
        bearing,
    }
}
