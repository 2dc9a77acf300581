//! One intent of one customer before one policy: everything that blocks it on a channel at an instant.
//!
//! Every step and every rule is asked, also after the first hit: the decision record lists all of them, and the wake time
//! is a question about all of them.

use super::builtin;
use super::competition::{Slots, is_contested};
use super::zones::Zones;
use crate::customer::{CapacityUse, Customer};
use crate::message::{Intent, Name};
use crate::policy::condition::{ConditionError, Derived, Facts};
use crate::policy::facts;
use crate::policy::judgement::{Block, Reason};
use crate::policy::model::{Class, Exception, OnHit, Policy, Rule};
use crate::policy::order;
use crate::policy::rules::{RuleKind, RuleOutcome, SendWindow, View};
use crate::policy::selector::JudgedIntent;

/// What does not change while one intent is judged, at whatever instant and on whatever channel.
pub(super) struct Case<'a> {
    pub policy: &'a Policy,
    pub customer: &'a Customer,
    pub intent: &'a Intent,
    pub class: &'a Class,
    pub class_index: usize,
    pub capacity: &'a CapacityUse,
    pub partition_count: i32,
    pub zones: Zones<'a>,
    /// What is kept for those above it.
    pub slots: &'a Slots<'a>,
}

/// A step or a rule that blocks.
#[derive(Debug, Clone)]
pub(super) struct Hit<'a> {
    pub rule: Option<&'a Rule>,
    pub reason: Reason,
    /// Of the fixed order.
    pub step: u8,
    pub on_hit: OnHit,
    pub outcome: RuleOutcome,
    /// What it reads may change by itself: before the next such change nothing can be said.
    pub depends_on_time: bool,
}

impl<'a> Hit<'a> {
    /// A built-in step that blocks.
    pub fn builtin(reason: Reason, on_hit: OnHit, outcome: RuleOutcome) -> Self {
        Self {
            rule: None,
            reason,
            step: reason.step(),
            on_hit,
            outcome,
            depends_on_time: false,
        }
    }

    /// Recorded, without effect.
    pub fn is_shadow(&self) -> bool {
        self.rule.is_some_and(|rule| rule.shadow)
    }

    /// As the decision record tells it.
    pub fn block(&self, channel: &Name) -> Block {
        let bounds = self.outcome.bounds;
        Block {
            rule: self.rule.map(|rule| rule.id.clone()),
            reason: self.reason,
            channel: channel.clone(),
            count: self.outcome.count,
            limit: self.outcome.limit,
            window_start_ms: bounds.map(|bounds| bounds.start_ms).filter(|start| *start != i64::MIN),
            window_end_ms: bounds.map(|bounds| bounds.end_ms).filter(|end| *end != i64::MAX),
            free_at_ms: self.outcome.free_at_ms,
            shadow: self.is_shadow(),
        }
    }
}

impl<'a> Case<'a> {
    /// The case of an intent before what is kept for those above it; none: the policy has no class for it.
    pub fn new(slots: &'a Slots<'a>, intent: &'a Intent) -> Option<Self> {
        let policy = slots.policy();
        let class_index = policy.class_index(intent.class.as_deref());
        Some(Self {
            policy,
            customer: slots.customer(),
            intent,
            class: policy.classes.get(class_index)?,
            class_index,
            capacity: slots.surroundings().capacity,
            partition_count: slots.surroundings().partition_count,
            zones: slots.zones().clone(),
            slots,
        })
    }

    /// Everything that blocks the intent on this channel at this instant, in the order in which it decides, shadow rules
    /// included.
    pub fn hits(&self, channel: &'a Name, at_ms: i64) -> Vec<Hit<'a>> {
        let mut hits = Vec::new();
        let mut contested = Vec::new();
        let is_contest = self.slots.any_after(at_ms);
        self.with_view(channel, at_ms, |view| {
            builtin::hits(self, view, &mut hits);
            for rule in self.rules(channel) {
                if let Some(hit) = self.rule_hit(rule, view) {
                    hits.push(hit);
                } else if is_contest && is_contested(rule) && self.governs(rule, view) == Ok(true) {
                    contested.push(rule);
                }
            }
        });
        if !contested.is_empty() {
            let contact = self.imagined_contact(channel, at_ms);
            hits.extend(self.slots.taken_by(&contact, &contested));
        }
        hits.extend(self.score_hit(at_ms));
        hits
    }

    /// Where this rule, of those that the intent obeys, blocks it.
    pub fn blocked_by(&self, rule: &Rule, view: &View) -> Option<RuleOutcome> {
        let obeyed = self
            .rules(view.subject.channel)
            .find(|obeyed| std::ptr::eq(*obeyed, rule))?;
        self.rule_hit(obeyed, view).map(|hit| hit.outcome)
    }

    /// An intent that nobody can place among its competitors is not approved.
    fn score_hit(&self, at_ms: i64) -> Option<Hit<'a>> {
        let formula = self.policy.score.as_ref()?;
        let place = |customer: &Customer| order::score(self.policy, customer, self.intent, at_ms);
        self.slots.with_ledger(at_ms, place).is_err().then(|| {
            let mut hit = Hit::builtin(Reason::PolicyError, OnHit::SUPPRESS, RuleOutcome::blocked_until(None));
            hit.step = Reason::Arbitration.step();
            hit.depends_on_time = formula.depends_on_time();
            hit
        })
    }

    /// The send windows and quiet hours that this intent obeys on this channel at this instant.
    pub fn windows(&self, channel: &'a Name, at_ms: i64) -> Vec<&'a SendWindow> {
        let mut windows = Vec::new();
        self.with_view(channel, at_ms, |view| {
            for rule in self.rules(channel).filter(|rule| !rule.shadow) {
                if let RuleKind::SendWindow(window) = &rule.kind
                    && self.governs(rule, view) == Ok(true)
                {
                    windows.push(window);
                }
            }
        });
        windows
    }

    /// The end of the open send window: the earliest of those that apply; none: nothing closes.
    pub fn open_until(&self, channel: &'a Name, at_ms: i64) -> Option<i64> {
        let windows = self.windows(channel, at_ms);
        let ends = windows.iter().flat_map(|window| {
            let zones = self.zones.of(&window.zone).iter();
            zones.filter_map(|zone| window.schedule.open_until(at_ms, zone))
        });
        ends.min()
    }

    /// The next instant after this one at which something that passes may begin to block though nothing happens: a window
    /// closes, an exception ends, a contact counts as delivered at last.
    pub fn may_block_from(&self, channel: &'a Name, at_ms: i64) -> Option<i64> {
        let mut next_ms: Option<i64> = None;
        let mut note = |instant_ms: i64| {
            if instant_ms > at_ms {
                next_ms = Some(next_ms.map_or(instant_ms, |earlier| earlier.min(instant_ms)));
            }
        };
        self.policy
            .exceptions
            .iter()
            .for_each(|exception| note(exception.until_ms));
        self.with_view(channel, at_ms, |view| {
            for rule in self.rules(channel).filter(|rule| !rule.shadow) {
                if self.governs(rule, view) == Ok(true) {
                    let zones = self.zones.of(rule.kind.zone()).iter();
                    let changes = zones.filter_map(|zone| rule.kind.may_block_from(rule, view, zone));
                    changes.for_each(&mut note);
                }
            }
        });
        next_ms
    }

    /// The groups of the customer: of each holdout that the intent is subject to, and of each experiment.
    pub fn groups(&self, channel: &'a Name, at_ms: i64) -> Vec<(Name, Name)> {
        let customer_id = &self.customer.id;
        let experiments = self.policy.experiments.iter();
        let mut groups: Vec<(Name, Name)> = experiments
            .filter_map(|experiment| Some((experiment.id.clone(), experiment.arm(customer_id)?.clone())))
            .collect();
        if self
            .rules(channel)
            .any(|rule| matches!(rule.kind, RuleKind::Holdout(_)))
        {
            self.with_view(channel, at_ms, |view| {
                for rule in self.rules(channel) {
                    if let RuleKind::Holdout(holdout) = &rule.kind
                        && self.governs(rule, view) == Ok(true)
                    {
                        groups.push((rule.id.clone(), Name::from(holdout.group(customer_id))));
                    }
                }
            });
        }
        groups.sort_unstable();
        groups
    }

    /// The next instant after this one at which what conditions read may change by itself.
    pub fn next_change(&self, at_ms: i64) -> Option<i64> {
        let next = |customer: &Customer| facts::next_change(self.policy, customer, at_ms);
        self.slots.with_ledger(i64::MAX, next)
    }

    /// The rules that may govern the intent on this channel, in the order in which they decide.
    fn rules(&self, channel: &'a str) -> impl Iterator<Item = &'a Rule> {
        let policy = self.policy;
        let positions = policy
            .index
            .candidates(self.class_index, channel, &self.intent.division);
        positions.filter_map(move |position| policy.rules.get(position))
    }

    pub(super) fn with_view(&self, channel: &'a Name, at_ms: i64, then: impl FnOnce(&View)) {
        self.slots.with_ledger(at_ms, |customer| {
            self.with_view_of(customer, channel, at_ms, then);
        });
    }

    /// A view of the customer with the ledger that is given.
    pub fn with_view_of(&self, customer: &Customer, channel: &Name, at_ms: i64, then: impl FnOnce(&View)) {
        let derived = if self.policy.depends_on_time() {
            facts::derived(self.policy, customer, at_ms)
        } else {
            Derived::default()
        };
        let class = &self.class.name;
        then(&View {
            policy: self.policy,
            customer,
            subject: JudgedIntent {
                intent: self.intent,
                channel,
                class,
                profile: &customer.profile,
            },
            facts: Facts {
                intent: self.intent,
                channel,
                class,
                customer,
                derived: &derived,
            },
            capacity: self.capacity,
            partition_count: self.partition_count,
            at_ms,
        });
    }

    /// Whether the rule is there for this intent: selected, not guarded away, not lifted by an exception.
    fn governs(&self, rule: &Rule, view: &View) -> Result<bool, ConditionError> {
        if !rule.governs.matches(&view.subject) || self.lifted_by(rule, view).is_some() {
            return Ok(false);
        }
        rule.when.as_ref().map_or(Ok(true), |when| when.test(&view.facts))
    }

    /// The exception that lifts the rule for this intent.
    pub(super) fn lifted_by(&self, rule: &Rule, view: &View) -> Option<&'a Exception> {
        self.policy.exceptions.iter().find(|exception| {
            view.at_ms < exception.until_ms
                && exception.rules.contains(&rule.id)
                && exception.governs.matches(&view.subject)
        })
    }

    fn rule_hit(&self, rule: &'a Rule, view: &View) -> Option<Hit<'a>> {
        let evaluated = match self.governs(rule, view) {
            Ok(false) => return None,
            Ok(true) => self.evaluate(rule, view),
            Err(error) => Err(error),
        };
        let (reason, outcome) = match evaluated {
            Ok(outcome) if outcome.passes => return None,
            Ok(outcome) => (rule.kind.reason(), outcome),
            // Nobody can say what the rule asks for: it blocks.
            Err(_) => (Reason::PolicyError, RuleOutcome::blocked_until(None)),
        };
        Some(Hit {
            rule: Some(rule),
            reason,
            step: rule.kind.reason().step(),
            on_hit: rule.on_hit,
            outcome,
            depends_on_time: rule.depends_on_time(),
        })
    }

    pub(super) fn evaluate(&self, rule: &Rule, view: &View) -> Result<RuleOutcome, ConditionError> {
        let mut combined = RuleOutcome::PASS;
        for zone in self.zones.of(rule.kind.zone()) {
            combined = combined.and(rule.kind.evaluate(rule, view, zone)?);
        }
        Ok(combined)
    }
}
