//! Which contacts of the ledger fill a rule at one instant, and when each of them stops. Shared by everything that counts.

use super::{RuleOutcome, View};
use crate::customer::{Contact, ContactState};
use crate::policy::model::{Policy, ReleaseCause, Rule};
use crate::policy::selector::{LedgerContact, Selector, agree};
use crate::policy::window::{NEVER_MS, Sight, Span, Window};
use jiff::tz::TimeZone;

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
    let seen = seen(view, contact);
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

/// The contacts that fill the rule and are still in its window.
pub fn in_window<'v>(
    rule: &'v Rule,
    view: &'v View<'v>,
    window: &'v Window,
    zone: &'v TimeZone,
    sight: Sight,
) -> impl Iterator<Item = &'v Contact> + 'v {
    contacts(rule, view, sight.from_ms)
        .filter(move |contact| sight.exact || window.leaves_at(contact.at_ms, zone) > view.at_ms)
}

/// When a contact leaves the window, by its age or by being given back.
pub fn leaves_window(view: &View, contact: &Contact, window: &Window, zone: &TimeZone) -> i64 {
    let leaves_ms = window.leaves_at(contact.at_ms, zone);
    leaves_ms.min(given_back_at(view.policy, contact))
}

/// When a contact is further away than a length of time, or is given back.
pub fn leaves_span(view: &View, contact: &Contact, length: Span, zone: &TimeZone) -> i64 {
    let over_ms = length.after(contact.at_ms, zone);
    over_ms.min(given_back_at(view.policy, contact))
}

/// Blocks until the last of the contacts that fill the rule, and that the test picks, lies further back than the length.
pub fn none_within(
    rule: &Rule,
    view: &View,
    length: Span,
    zone: &TimeZone,
    picks: impl Fn(&LedgerContact) -> bool,
) -> RuleOutcome {
    let from_ms = length.certainly_over_before(view.at_ms);
    let mut count = 0;
    let mut free_at_ms = i64::MIN;
    for contact in contacts(rule, view, from_ms).filter(|contact| picks(&seen(view, contact))) {
        let leaves_ms = leaves_span(view, contact, length, zone);
        if leaves_ms > view.at_ms {
            count += 1;
            free_at_ms = free_at_ms.max(leaves_ms);
        }
    }
    if !view.customer.ledger_reaches(from_ms) {
        return RuleOutcome::blocked_until(None);
    }
    let passes = count == 0;
    RuleOutcome {
        passes,
        count: Some(count),
        limit: Some(1),
        bounds: (!passes).then(|| length.bounds(view.at_ms, zone)),
        free_at_ms: Some(free_at_ms).filter(|free_ms| !passes && *free_ms != NEVER_MS),
    }
}

/// Whether the selector picks the contact.
pub fn is_picked(selector: &Selector, view: &View, contact: &Contact) -> bool {
    selector.matches(&seen(view, contact))
}

/// The contact with the customer whom it belongs to.
pub fn seen<'v>(view: &View<'v>, contact: &'v Contact) -> LedgerContact<'v> {
    LedgerContact {
        contact,
        profile: &view.customer.profile,
    }
}

/// The outcome, unless contacts are missing that would have to be counted: then nobody can say that there is room.
pub fn if_known(view: &View, from_ms: i64, outcome: RuleOutcome) -> RuleOutcome {
    if view.customer.ledger_reaches(from_ms) {
        return outcome;
    }
    RuleOutcome {
        passes: false,
        free_at_ms: None,
        ..outcome
    }
}
