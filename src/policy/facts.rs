//! What the policy answers to the customer's room: what a response is, what gives a contact back, how long things are
//! kept; and what it asks for in return, the derived facts that conditions read.

use crate::customer::Customer;
use crate::customer::facts::{FactPolicy, ResetBy, counts, is_response};
use crate::customer::{ApplyPolicy, ReleasedBy};
use crate::message::EventKind;
use crate::policy::condition::Derived;
use crate::policy::model::{Policy, ReleaseCause};

const DAY_MS: i64 = 86_400_000;

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
    }
}

/// The first instant after `at_ms` at which one of [`derived`]'s values may differ though nothing happens.
pub fn next_change(policy: &Policy, customer: &Customer, at_ms: i64) -> Option<i64> {
    let next_day = |since_ms: i64| {
        let days = at_ms.saturating_sub(since_ms).max(0) / DAY_MS;
        since_ms.saturating_add((days + 1).saturating_mul(DAY_MS))
    };
    let first = customer.contacts.iter().find(|contact| counts(contact, at_ms, policy));
    let responses = customer.events.iter().rev();
    let last_response = responses
        .filter(|event| event.at_ms <= at_ms)
        .find(|event| is_response(event, policy));
    let days = [
        first.map(|contact| contact.at_ms),
        last_response.map(|event| event.at_ms),
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
        .filter(|instant| *instant > at_ms)
        .min()
}
