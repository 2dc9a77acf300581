//! Which contacts of the ledger fill a rule at one instant. Shared by everything that counts.

use super::View;
use crate::customer::{Contact, ContactState};
use crate::policy::model::{Policy, ReleaseCause, Rule};
use crate::policy::selector::{LedgerContact, agree};
use crate::policy::window::NEVER_MS;

/// The contacts since `from_ms` that fill the rule for this intent, newest first: not given back, selected by `counts`,
/// of a class that counts, in the same part of `per`.
pub fn contacts<'v>(rule: &'v Rule, view: &'v View<'v>, from_ms: i64) -> impl Iterator<Item = &'v Contact> + 'v {
    view.customer
        .contacts
        .iter()
        .rev()
        .take_while(move |contact| contact.at_ms >= from_ms)
        .filter(move |contact| fills(rule, view, contact))
}

/// Whether a contact of the ledger fills the rule for this intent.
pub fn fills(rule: &Rule, view: &View, contact: &Contact) -> bool {
    let seen = LedgerContact {
        contact,
        profile: &view.customer.profile,
    };
    given_back_at(view.policy, contact) > view.at_ms
        && (!rule.counts_by_class || view.policy.class_counts(&contact.class))
        && rule.counts.matches(&seen)
        && agree(&rule.per, &view.subject, &seen)
}

/// When the contact stops counting by being given back: at once where it was, at the end of `confirm-within` where the
/// channel gives back what nobody reported on. [`NEVER_MS`]: it is not.
pub fn given_back_at(policy: &Policy, contact: &Contact) -> i64 {
    match contact.state {
        ContactState::Released => i64::MIN,
        ContactState::Reserved => match policy.channel(&contact.channel) {
            Some(channel) if channel.release_on.contains(&ReleaseCause::Unconfirmed) => {
                contact.at_ms.saturating_add(channel.confirm_within_ms)
            }
            _ => NEVER_MS,
        },
        _ => NEVER_MS,
    }
}
