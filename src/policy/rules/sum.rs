//! A sum over the contacts of a window: what `pressure` and `spend` (and, over buckets, `capacity`) have in common. Amounts are fixed point.

use super::{RuleOutcome, View, tally};
use crate::customer::Contact;
use crate::policy::model::Rule;
use crate::policy::window::{NEVER_MS, Window};
use jiff::tz::TimeZone;

/// What may come to a sum, and what the intent would add.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub limit: i64,
    /// This one's.
    pub own: i64,
}

impl Room {
    /// The largest sum of the others at which this one passes; negative: it never does.
    pub fn for_others(self) -> i64 {
        self.limit.saturating_sub(self.own)
    }
}

/// The amounts of the contacts in the window and this one's are at most the limit?
pub fn in_window(
    rule: &Rule,
    view: &View,
    window: &Window,
    zone: &TimeZone,
    room: Room,
    amount: impl Fn(&Contact) -> i64,
) -> RuleOutcome {
    let sight = window.sight(view.at_ms, zone);
    let contacts = || tally::in_window(rule, view, window, zone, sight);
    let sum = contacts().fold(0_i64, |sum, contact| sum.saturating_add(amount(contact)));
    let passes = sum <= room.for_others();
    let free_at_ms = if passes {
        None
    } else {
        let leaves = |contact| tally::leaves_window(view, contact, window, zone);
        free_at(
            contacts().map(|contact| (leaves(contact), amount(contact))).collect(),
            sum,
            room,
        )
    };
    let outcome = RuleOutcome {
        passes,
        count: Some(sum),
        limit: Some(room.limit),
        bounds: (!passes).then(|| window.bounds(view.at_ms, zone)),
        free_at_ms,
    };
    tally::if_known(view, sight.from_ms, outcome)
}

/// The first instant at which so much has left that there is room, given when each amount leaves; none: this one alone is
/// too much, or what would have to leave never does.
pub fn free_at(mut leaves: Vec<(i64, i64)>, sum: i64, room: Room) -> Option<i64> {
    if room.for_others() < 0 {
        return None;
    }
    leaves.sort_unstable();
    let mut left = sum;
    let enough = leaves.into_iter().find(|(_, amount)| {
        left = left.saturating_sub(*amount);
        left <= room.for_others()
    });
    enough
        .map(|(leaves_ms, _)| leaves_ms)
        .filter(|leaves_ms| *leaves_ms != NEVER_MS)
}
