//! One intent of one customer before one policy: everything that blocks it on a channel at an instant.
//!
//! Every step and every rule is asked, also after the first hit: the decision record lists all of them, and the wake time
//! is a question about all of them.

use super::builtin;
use super::zones::Zones;
use crate::customer::Customer;
use crate::message::{Intent, Name};
use crate::policy::condition::{ConditionError, Derived, Facts};
use crate::policy::facts;
use crate::policy::judgement::{Block, Reason};
use crate::policy::model::{Class, OnHit, Policy, Rule};
use crate::policy::rules::{RuleKind, RuleOutcome, SendWindow, View};
use crate::policy::selector::JudgedIntent;

/// What does not change while one intent is judged, at whatever instant and on whatever channel.
pub(super) struct Case<'a> {
    pub policy: &'a Policy,
    pub customer: &'a Customer,
    pub intent: &'a Intent,
    pub class: &'a Class,
    pub class_index: usize,
    pub zones: Zones<'a>,
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
    /// Everything that blocks the intent on this channel at this instant, in the order in which it decides, shadow rules
    /// included.
    pub fn hits(&self, channel: &'a Name, at_ms: i64) -> Vec<Hit<'a>> {
        let mut hits = Vec::new();
        self.with_view(channel, at_ms, |view| {
            builtin::hits(self, view, &mut hits);
            for rule in self.rules() {
                if let Some(hit) = self.rule_hit(rule, view) {
                    hits.push(hit);
                }
            }
        });
        hits
    }

    /// The send windows and quiet hours that this intent obeys on this channel at this instant.
    pub fn windows(&self, channel: &'a Name, at_ms: i64) -> Vec<&'a SendWindow> {
        let mut windows = Vec::new();
        self.with_view(channel, at_ms, |view| {
            for rule in self.rules().filter(|rule| !rule.shadow) {
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

    /// The next instant at which one of the windows that apply opens or closes.
    pub fn next_window_change(&self, channel: &'a Name, at_ms: i64) -> Option<i64> {
        let windows = self.windows(channel, at_ms);
        let changes = windows.iter().flat_map(|window| {
            let zones = self.zones.of(&window.zone).iter();
            zones.filter_map(|zone| {
                if window.schedule.is_open(at_ms, zone) {
                    window.schedule.open_until(at_ms, zone)
                } else {
                    window.schedule.next_open(at_ms, zone)
                }
            })
        });
        changes.min()
    }

    /// The next instant after this one at which what conditions read may change by itself.
    pub fn next_change(&self, at_ms: i64) -> Option<i64> {
        facts::next_change(self.policy, self.customer, at_ms)
    }

    fn rules(&self) -> impl Iterator<Item = &'a Rule> {
        let policy = self.policy;
        let positions = policy.index.of_class(self.class_index).iter();
        positions.filter_map(move |position| policy.rules.get(*position))
    }

    fn with_view(&self, channel: &'a Name, at_ms: i64, then: impl FnOnce(&View)) {
        let derived = if self.policy.depends_on_time() {
            facts::derived(self.policy, self.customer, at_ms)
        } else {
            Derived::default()
        };
        let class = &self.class.name;
        then(&View {
            policy: self.policy,
            customer: self.customer,
            subject: JudgedIntent {
                intent: self.intent,
                channel,
                class,
                profile: &self.customer.profile,
            },
            facts: Facts {
                intent: self.intent,
                channel,
                class,
                customer: self.customer,
                derived: &derived,
            },
            at_ms,
        });
    }

    /// Whether the rule is there for this intent: selected, not guarded away, not lifted by an exception.
    fn governs(&self, rule: &Rule, view: &View) -> Result<bool, ConditionError> {
        if !rule.governs.matches(&view.subject) || self.is_lifted(rule, view) {
            return Ok(false);
        }
        rule.when.as_ref().map_or(Ok(true), |when| when.test(&view.facts))
    }

    fn is_lifted(&self, rule: &Rule, view: &View) -> bool {
        self.policy.exceptions.iter().any(|exception| {
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

    fn evaluate(&self, rule: &Rule, view: &View) -> Result<RuleOutcome, ConditionError> {
        let mut combined = RuleOutcome::PASS;
        for zone in self.zones.of(rule.kind.zone()) {
            combined = combined.and(rule.kind.evaluate(rule, view, zone)?);
        }
        Ok(combined)
    }
}
