//! `spend`: what the contacts of a window cost, and this one, come to no more than the limit. Money is counted in
//! millionths, in whole numbers.

use super::sum::{self, Room};
use super::{Limits, RuleOutcome, View};
use crate::message::Intent;
use crate::policy::condition::ConditionError;
use crate::policy::model::{Policy, Rule};
use crate::policy::window::Window;
use jiff::tz::TimeZone;

/// At most so much money.
#[derive(Debug)]
pub struct Spend {
    /// In millionths.
    pub limits: Limits,
    pub window: Window,
}

impl Spend {
    /// Is there money left for this one?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> Result<RuleOutcome, ConditionError> {
        let Some(limit) = self.limits.resolve(&view.facts)? else {
            return Ok(RuleOutcome::PASS);
        };
        let own = cost_micros(view.policy, view.subject.intent, view.subject.channel);
        let room = Room { limit, own };
        Ok(sum::in_window(rule, view, &self.window, zone, room, |contact| {
            contact.cost_micros
        }))
    }
}

/// What the intent costs on a channel: what it says itself, else what the channel costs.
pub fn cost_micros(policy: &Policy, intent: &Intent, channel: &str) -> i64 {
    let of_channel = || policy.channel(channel).map_or(0, |channel| channel.cost_micros);
    intent.cost_micros.unwrap_or_else(of_channel)
}
