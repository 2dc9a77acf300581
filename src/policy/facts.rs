//! What the policy answers to the customer's room: what a response is, what gives a contact back, how long things are
//! kept; and what it asks for in return, the derived facts that conditions read.

use crate::customer::Customer;
use crate::customer::facts::{FactPolicy, ResetBy, counts};
use crate::customer::{ApplyPolicy, ReleasedBy};
use crate::message::EventKind;
use crate::policy::condition::Derived;
use crate::policy::decay::{first_at_most, gone_after_ms};
use crate::policy::model::{Policy, ReleaseCause};
use crate::policy::rules::pressure::{UNITS_IN_A_POINT, weight_at};

const DAY_MS: i64 = 86_400_000;
/// `customer.fatigue` is the points of the customer's contacts (of classes that count), halved with each week that lies
/// between, in whole points, rounded down.
pub const FATIGUE_HALF_LIFE_MS: i64 = 7 * DAY_MS;

impl FactPolicy for Policy {
    fn is_response(&self, kind: EventKind) -> bool {
        self.responses.contains(&kind)
    }

    fn confirm_within_ms(&self, channel: &str) -> i64 {
        self.channel(channel).map_or(0, |channel| channel.confirm_within_ms)
    }

    fn releases_unconfirmed(&self, channel: &str) -> bool {
        self.channel(channel)
            .is_some_and(|channel| channel.release_on.contains(&ReleaseCause::Unconfirmed))
    }
}

impl ApplyPolicy for Policy {
    fn release_on(&self, channel: &str, cause: ReleasedBy) -> bool {
        let cause = match cause {
            ReleasedBy::Failed => ReleaseCause::Failed,
            ReleasedBy::BouncedSoft => ReleaseCause::BouncedSoft,
            ReleasedBy::BouncedHard => ReleaseCause::BouncedHard,
            ReleasedBy::Unconfirmed => ReleaseCause::Unconfirmed,
            ReleasedBy::Cancelled => return true,
        };
        self.channel(channel)
            .is_some_and(|channel| channel.release_on.contains(&cause))
    }

    fn confirm_within_ms(&self, channel: &str) -> i64 {
        FactPolicy::confirm_within_ms(self, channel)
    }

    fn remember_intents_ms(&self) -> i64 {
        self.remember_intents_ms
    }
}

/// The facts that conditions read, as they stand at `at_ms`.
pub fn derived(policy: &Policy, customer: &Customer, at_ms: i64) -> Derived {
    let by_channel = policy.channels.iter().map(|channel| {
        let unanswered = customer.unanswered_by(&channel.name, ResetBy::AnyChannel, at_ms, policy);
        (channel.name.clone(), i64::from(unanswered))
    });
    Derived {
        unanswered: i64::from(customer.unanswered(at_ms, policy)),
        unanswered_by: by_channel.collect(),
        days_since_first_contact: customer.days_since_first_contact(at_ms, policy),
        days_since_response: customer.days_since_response(at_ms, policy),
        fatigue: if policy.reads_fatigue() {
            weariness(policy, customer, at_ms) / UNITS_IN_A_POINT
        } else {
            0
        },
    }
}

/// The points of all contacts that count, as they decay, in millionths.
fn weariness(policy: &Policy, customer: &Customer, at_ms: i64) -> i64 {
    let from_ms = at_ms.saturating_sub(gone_after_ms(FATIGUE_HALF_LIFE_MS));
    let recent = customer
        .contacts
        .iter()
        .rev()
        .take_while(|contact| contact.at_ms >= from_ms);
    let counting = recent.filter(|contact| policy.class_counts(&contact.class));
    weight_at(policy, counting, FATIGUE_HALF_LIFE_MS, at_ms)
}

/// When `fatigue` will be one point less: it only falls while nothing happens.
fn next_rest(policy: &Policy, customer: &Customer, at_ms: i64) -> Option<i64> {
    let whole = weariness(policy, customer, at_ms) / UNITS_IN_A_POINT;
    (whole > 0).then(|| {
        let last_ms = at_ms.saturating_add(gone_after_ms(FATIGUE_HALF_LIFE_MS));
        first_at_most(whole * UNITS_IN_A_POINT - 1, at_ms, last_ms, |at_ms| {
            weariness(policy, customer, at_ms)
        })
    })
}

/// The first instant after `at_ms` at which one of [`derived`]'s values may differ though nothing happens.
pub fn next_change(policy: &Policy, customer: &Customer, at_ms: i64) -> Option<i64> {
    let next_day = |since_ms: i64| {
        let days = at_ms.saturating_sub(since_ms).max(0) / DAY_MS;
        since_ms.saturating_add((days + 1).saturating_mul(DAY_MS))
    };
    let first = customer.contacts.iter().find(|contact| counts(contact, at_ms, policy));
    let days = [
        first.map(|contact| contact.at_ms),
        customer.last_response_ms(ResetBy::AnyChannel, at_ms, policy),
    ];
    let days = days.into_iter().flatten().map(next_day);
    let confirmations = customer.contacts.iter().map(|contact| {
        let within_ms = FactPolicy::confirm_within_ms(policy, &contact.channel);
        contact.at_ms.saturating_add(within_ms)
    });
    let arrivals = customer.contacts.iter().map(|contact| contact.at_ms);
    let answers = customer.events.iter().map(|event| event.at_ms);
    days.chain(confirmations)
        .chain(arrivals)
        .chain(answers)
        .chain(
            policy
                .reads_fatigue()
                .then(|| next_rest(policy, customer, at_ms))
                .flatten(),
        )
        .filter(|instant| *instant > at_ms)
        .min()
}
