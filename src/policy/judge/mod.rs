//! One intent before the policy: the fixed order, what the hits of a channel add up to, and the answer.
//!
//! Invariants: the answer depends on the arguments alone; an intent is approved only on a channel on which nothing but
//! shadow rules blocks at `now`; every rule is asked whatever the others said; what cannot be evaluated blocks. A repeated
//! `intent_id` is not seen here: whoever remembers intents answers it before.

mod builtin;
mod case;
mod competition;
mod explain;
mod wake;
mod zones;

#[cfg(test)]
mod tests;

use crate::customer::{CapacityUse, Customer};
use crate::message::{Intent, Name};
use crate::policy::judgement::{Block, Judgement, Reason, Verdict};
use crate::policy::model::Policy;
use crate::policy::rules::spend::cost_micros;
use case::{Case, Hit};
use competition::Slots;
pub use competition::{Competition, Hold, Reserved};
use std::cmp::Reverse;
use wake::Search;

pub use explain::{Bearing, Working, explain};

/// A search for the next eligible instant that has no other end stops here: ten years.
const SEARCH_MS: i64 = 3_653 * 86_400_000;

/// What is known of an intent beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation<'a> {
    /// When it was first deferred by a rule; none: never yet, or only planned. `max-defer` runs from here.
    pub first_deferred_ms: Option<i64>,
    /// How many partitions share a capacity.
    pub partition_count: i32,
    /// What this partition has used of the capacities.
    pub capacity: &'a CapacityUse,
}

/// Judges one intent at one instant, without competitors.
pub fn judge(policy: &Policy, customer: &Customer, intent: &Intent, now_ms: i64, situation: &Situation) -> Judgement {
    judge_among(policy, customer, intent, now_ms, situation, &Competition::default())
}

/// Judges one intent at one instant, among what waits of its customer. Waiting intents are judged by the same call, with
/// their [`Situation`].
pub fn judge_among(
    policy: &Policy,
    customer: &Customer,
    intent: &Intent,
    now_ms: i64,
    situation: &Situation,
    competition: &Competition,
) -> Judgement {
    let mut slots = Slots::none(policy, customer, *situation);
    let Some(case) = Case::new(&slots, intent) else {
        return without_class(intent);
    };
    if intent.expires_at_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
        return case.answer(Verdict::Suppressed, Reason::Expired);
    }
    if builtin::is_erased(&case) {
        return case.answer(Verdict::Suppressed, Reason::SuppressionList);
    }
    if !builtin::is_known(&case, &intent.channel) {
        return case.answer(Verdict::Suppressed, Reason::PolicyError);
    }
    let planned_ms = intent.not_before_ms.max(intent.deliver_at_ms);
    if let Some(planned_ms) = planned_ms.filter(|planned_ms| *planned_ms > now_ms) {
        return case.plan(planned_ms);
    }
    let hold_end_ms = case.hold_end(competition.hold, now_ms, situation);
    for Reserved { intent, at_ms, is_held } in &competition.reserved {
        // Who is held is compared with those who are held when the hold ends.
        if hold_end_ms.is_none() || !is_held {
            slots.enter(intent, *at_ms);
        }
    }
    let Some(case) = Case::new(&slots, intent) else {
        return without_class(intent);
    };
    let judgement = case.decide(now_ms, situation);
    match hold_end_ms {
        Some(end_ms) => case.hold(judgement, end_ms),
        None => judgement,
    }
}

impl<'a> Case<'a> {
    /// When the hold would end that the intent is in, or that it joins or begins; none: it is not held.
    fn hold_end(&self, hold: Hold, now_ms: i64, situation: &Situation) -> Option<i64> {
        if self.class.hold_ms <= 0 {
            return None;
        }
        let end_ms = match hold {
            Hold::Over => return None,
            Hold::Until(end_ms) => end_ms,
            Hold::May { running_until_ms } => {
                let end_ms = running_until_ms.unwrap_or(now_ms.saturating_add(self.class.hold_ms));
                match self.intent.expires_at_ms {
                    Some(expires_ms) if expires_ms <= end_ms => now_ms + expires_ms.saturating_sub(now_ms) / 2,
                    _ => end_ms,
                }
            }
        };
        let first_ms = situation.first_deferred_ms.unwrap_or(now_ms);
        let last_ms = first_ms.saturating_add(self.policy.max_defer_ms);
        Some(end_ms.min(last_ms)).filter(|end_ms| *end_ms > now_ms)
    }

    /// What may pass until the end of the hold waits for it.
    fn hold(&self, judgement: Judgement, end_ms: i64) -> Judgement {
        let waits = match judgement.verdict {
            Verdict::Approved => true,
            Verdict::Deferred => judgement.wake_at_ms.is_some_and(|wake_ms| wake_ms <= end_ms),
            Verdict::Suppressed | Verdict::Released => false,
        };
        if !waits {
            return judgement;
        }
        Judgement {
            blocked_by: judgement.blocked_by,
            wake_at_ms: Some(end_ms),
            ..self.answer(Verdict::Deferred, Reason::Held)
        }
    }

    /// Adds up what blocks: approved, on a fallback, deferred, suppressed.
    fn decide(&self, now_ms: i64, situation: &Situation) -> Judgement {
        let requested = &self.intent.channel;
        let hits = self.hits(requested, now_ms);
        let mut blocked_by = blocks(&hits, requested);
        if hits.iter().all(Hit::is_shadow) {
            return self.approve(requested, now_ms, blocked_by);
        }
        let effective = || hits.iter().filter(|hit| !hit.is_shadow());
        if wake::hands_over(&hits) {
            for channel in self.fallbacks() {
                let hits = self.hits(channel, now_ms);
                blocked_by.extend(blocks(&hits, channel));
                if hits.iter().all(Hit::is_shadow) {
                    return self.approve(channel, now_ms, blocked_by);
                }
            }
        }
        let may_wait = effective().all(|hit| hit.on_hit.defer);
        self.refuse(&hits, may_wait, blocked_by, now_ms, situation)
    }

    /// Deferred, if the hits allow it and it can still make it; otherwise suppressed.
    fn refuse(
        &self,
        hits: &[Hit<'a>],
        may_wait: bool,
        blocked_by: Vec<Block>,
        now_ms: i64,
        situation: &Situation,
    ) -> Judgement {
        let expires_ms = self.intent.expires_at_ms.unwrap_or(i64::MAX);
        let end_ms = expires_ms.min(now_ms.saturating_add(SEARCH_MS));
        let effective: Vec<&Hit> = hits.iter().filter(|hit| !hit.is_shadow()).collect();
        let requested = self.earliest_pass(&self.intent.channel, now_ms, end_ms);
        let timed = effective.iter().all(|hit| hit.reason.is_timed());
        let deciding = deciding(&effective);
        let mut judgement = Judgement {
            rule: deciding.and_then(|hit| hit.rule).map(|rule| rule.id.clone()),
            blocked_by,
            next_eligible_at_ms: requested.instant().filter(|_| timed),
            groups: self.groups(&self.intent.channel, now_ms),
            ..self.answer(
                Verdict::Suppressed,
                deciding.map_or(Reason::PolicyError, |hit| hit.reason),
            )
        };
        if may_wait && let Some(wake_at_ms) = self.wake(requested, end_ms, now_ms, situation) {
            judgement.verdict = Verdict::Deferred;
            judgement.wake_at_ms = wake_at_ms;
        }
        judgement
    }

    /// `None`: it cannot make it any more. `Some(None)`: it waits for an event.
    fn wake(&self, requested: Search, end_ms: i64, now_ms: i64, situation: &Situation) -> Option<Option<i64>> {
        let first_ms = situation.first_deferred_ms.unwrap_or(now_ms);
        let last_ms = first_ms.saturating_add(self.policy.max_defer_ms);
        // Waking at the very end of `max-defer` is in time, at the expiry it is not.
        let end_ms = end_ms.min(last_ms.saturating_add(1));
        match self.earliest_approval(requested, now_ms, end_ms) {
            Search::Passes { at_ms, .. } if at_ms >= end_ms => None,
            Search::Passes { at_ms, jitter_ms } => Some(Some(self.with_jitter(at_ms, jitter_ms, end_ms))),
            // It cannot pass before that instant: it is looked at again there, and the search goes on.
            Search::Unsettled { from_ms } if from_ms < end_ms => Some(Some(from_ms)),
            Search::NoKnownEnd if now_ms < last_ms => Some(None),
            Search::Unsettled { .. } | Search::NoKnownEnd | Search::Beyond => None,
        }
    }

    fn approve(&self, channel: &'a Name, now_ms: i64, blocked_by: Vec<Block>) -> Judgement {
        let valid_for_ms = self.policy.channel(channel).and_then(|channel| channel.valid_for_ms);
        let ends = [
            self.intent.expires_at_ms,
            self.open_until(channel, now_ms),
            valid_for_ms.map(|valid_ms| now_ms.saturating_add(valid_ms)),
        ];
        Judgement {
            channel: channel.clone(),
            blocked_by,
            valid_until_ms: ends.into_iter().flatten().min(),
            cost_micros: cost_micros(self.policy, self.intent, channel),
            groups: self.groups(channel, now_ms),
            ..self.answer(Verdict::Approved, Reason::Approved)
        }
    }

    /// Waits for its time; one that would not live to see it is not kept.
    fn plan(&self, planned_ms: i64) -> Judgement {
        let in_time = self
            .intent
            .expires_at_ms
            .is_none_or(|expires_ms| planned_ms < expires_ms);
        if !in_time {
            return self.answer(Verdict::Suppressed, Reason::Planned);
        }
        Judgement {
            wake_at_ms: Some(planned_ms),
            ..self.answer(Verdict::Deferred, Reason::Planned)
        }
    }

    fn answer(&self, verdict: Verdict, reason: Reason) -> Judgement {
        let declared = self.intent.class.as_ref() == Some(&self.class.name);
        Judgement {
            verdict,
            channel: self.intent.channel.clone(),
            reason,
            rule: None,
            blocked_by: Vec::new(),
            next_eligible_at_ms: None,
            wake_at_ms: None,
            valid_until_ms: None,
            cost_micros: 0,
            class: self.class.name.clone(),
            class_was_unknown: !declared,
            groups: Vec::new(),
        }
    }
}

/// The first in the order of steps; within a step the one that frees last (never is last of all), then by id.
fn deciding<'h, 'a>(effective: &[&'h Hit<'a>]) -> Option<&'h Hit<'a>> {
    let frees_ms = |hit: &Hit| hit.outcome.free_at_ms.unwrap_or(i64::MAX);
    let id = |hit: &Hit<'a>| hit.rule.map(|rule| rule.id.clone());
    effective
        .iter()
        .copied()
        .min_by_key(|hit| (hit.step, Reverse(frees_ms(hit)), id(hit)))
}

fn blocks(hits: &[Hit], channel: &Name) -> Vec<Block> {
    hits.iter().map(|hit| hit.block(channel)).collect()
}

/// A policy without classes judges nothing. A checked policy has at least its default class.
fn without_class(intent: &Intent) -> Judgement {
    Judgement {
        verdict: Verdict::Suppressed,
        channel: intent.channel.clone(),
        reason: Reason::PolicyError,
        rule: None,
        blocked_by: Vec::new(),
        next_eligible_at_ms: None,
        wake_at_ms: None,
        valid_until_ms: None,
        cost_micros: 0,
        class: intent.class.clone().unwrap_or_else(|| Name::from("")),
        class_was_unknown: true,
        groups: Vec::new(),
    }
}
