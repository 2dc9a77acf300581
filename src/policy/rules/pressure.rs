//! `pressure`: the points of the channels in a window, or as they decay, and this one's come to no more than the limit.
//!
//! Points are counted in millionths, in whole numbers. What decays is a [`Worth`]: exact to the millisecond, and nothing
//! once it is less than a millionth of a point.

use super::sum::{self, Room};
use super::{Limits, RuleOutcome, View, tally};
use crate::customer::Contact;
use crate::policy::condition::ConditionError;
use crate::policy::decay::{Worth, first_at_most, gone_after_ms};
use crate::policy::model::{Policy, Rule};
use crate::policy::window::{Bounds, NEVER_MS, Window, ZoneChoice};
use jiff::tz::TimeZone;

/// So many units are one point.
pub const UNITS_IN_A_POINT: i64 = 1_000_000;
/// What a contact on a channel weighs that the policy does not have: as much as on one that says nothing.
const UNKNOWN_CHANNEL: i64 = UNITS_IN_A_POINT;

/// At most so many points.
#[derive(Debug)]
pub struct Pressure {
    /// In millionths of a point.
    pub limits: Limits,
    pub memory: Memory,
}

/// How long a contact presses.
#[derive(Debug)]
pub enum Memory {
    /// In full while it is in the window.
    Window(Window),
    /// Half as much after each half-life.
    HalfLife { ms: i64 },
}

impl Pressure {
    /// Is there room for the channel's points?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> Result<RuleOutcome, ConditionError> {
        let Some(limit) = self.limits.resolve(&view.facts)? else {
            return Ok(RuleOutcome::PASS);
        };
        let own = points(view.policy, view.subject.channel);
        let room = Room { limit, own };
        Ok(match &self.memory {
            Memory::Window(window) => sum::in_window(rule, view, window, zone, room, |contact| {
                points(view.policy, &contact.channel)
            }),
            Memory::HalfLife { ms } => decaying(rule, view, *ms, room),
        })
    }

    /// The zone in which its window is cut.
    pub fn zone(&self) -> &ZoneChoice {
        match &self.memory {
            Memory::Window(window) => &window.zone,
            Memory::HalfLife { .. } => &ZoneChoice::Company,
        }
    }
}

/// What a contact on this channel weighs, in millionths of a point.
pub fn points(policy: &Policy, channel: &str) -> i64 {
    policy.channel(channel).map_or(UNKNOWN_CHANNEL, |channel| {
        channel.pressure_milli.saturating_mul(UNITS_IN_A_POINT / 1_000)
    })
}

/// What contacts still weigh at an instant, each until it is given back, in millionths of a point.
pub fn weight_at<'c>(
    policy: &Policy,
    contacts: impl Iterator<Item = &'c Contact>,
    half_life_ms: i64,
    at_ms: i64,
) -> i64 {
    let weights = contacts
        .filter(|contact| tally::given_back_at(policy, contact) > at_ms)
        .map(|contact| {
            let age_ms = at_ms.saturating_sub(contact.at_ms);
            Worth::of(points(policy, &contact.channel), age_ms, half_life_ms)
        });
    weights.fold(Worth::default(), Worth::and).rounded_up()
}

fn decaying(rule: &Rule, view: &View, half_life_ms: i64, room: Room) -> RuleOutcome {
    let from_ms = view.at_ms.saturating_sub(gone_after_ms(half_life_ms));
    let contacts: Vec<&Contact> = tally::contacts(rule, view, from_ms).collect();
    let weight_at = |at_ms| weight_at(view.policy, contacts.iter().copied(), half_life_ms, at_ms);
    let weight = weight_at(view.at_ms);
    let passes = weight <= room.for_others();
    let free_at_ms = (!passes && room.for_others() >= 0).then(|| {
        let last_ms = view.at_ms.saturating_add(gone_after_ms(half_life_ms));
        first_at_most(room.for_others(), view.at_ms, last_ms, weight_at)
    });
    let outcome = RuleOutcome {
        passes,
        count: Some(weight),
        limit: Some(room.limit),
        bounds: (!passes).then_some(Bounds {
            start_ms: i64::MIN,
            end_ms: view.at_ms,
        }),
        free_at_ms: free_at_ms.filter(|free_ms| *free_ms != NEVER_MS),
    };
    tally::if_known(view, from_ms, outcome)
}
