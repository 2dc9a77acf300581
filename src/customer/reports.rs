//! What senders report about a contact, and what goes onto the suppression list.
//!
//! Reports come late, twice and out of order, so a state only ever rises: reserved, sent, failed, released, delivered.
//! Whatever the order in which the same reports arrive, the same state is the result. `delivered` is the top: something
//! that reached the customer counts, even if another report says that it failed (a release before it is taken back). A
//! hard bounce puts its endpoint on the suppression list whatever the state is.
//! A cancellation is a command, not a report: it gives back what nobody reported on yet, and nothing else.

use crate::customer::apply::{Applied, ApplyPolicy, Released, ReleasedBy};
use crate::customer::bounds::SUPPRESSIONS_AT_MOST;
use crate::customer::record::{Contact, ContactState, Suppression};
use crate::customer::{Customer, endpoint_hash, id_hash};
use crate::message::{EngagementEvent, EventKind, Name};

/// `sent`, `delivered`, `failed`, `bounced_soft`, `bounced_hard`.
pub fn report(
    customer: &mut Customer,
    event: &EngagementEvent,
    at_ms: i64,
    policy: &dyn ApplyPolicy,
    applied: &mut Applied,
) {
    let index = event
        .intent_id
        .as_deref()
        .and_then(|id| customer.contact_index(id_hash(id)));
    if event.kind == EventKind::BouncedHard {
        suppress_bounced(customer, event, index, at_ms);
    }
    let Some(index) = index else { return };
    customer.touch_contact(index);
    let contact = &mut customer.contacts[index];
    contact.reported_at_ms = match contact.reported_at_ms {
        0 => at_ms,
        earlier_ms => earlier_ms.max(at_ms),
    };
    let (reported, cause) = match event.kind {
        EventKind::Delivered => (ContactState::Delivered, None),
        EventKind::Failed => (ContactState::Failed, Some(ReleasedBy::Failed)),
        EventKind::BouncedSoft => (ContactState::Failed, Some(ReleasedBy::BouncedSoft)),
        EventKind::BouncedHard => (ContactState::Failed, Some(ReleasedBy::BouncedHard)),
        _ => (ContactState::Sent, None),
    };
    let release = cause.filter(|cause| policy.release_on(&contact.channel, *cause));
    let reported = release.map_or(reported, |_| ContactState::Released);
    if height(reported) <= height(contact.state) {
        return;
    }
    contact.state = reported;
    if let Some(by) = release {
        applied.released.push(Released {
            contact: contact.clone(),
            by,
        });
    }
}

/// `intent_cancelled`: ends a deferral, or gives a reservation back.
pub fn cancel(customer: &mut Customer, event: &EngagementEvent, applied: &mut Applied) {
    let Some(intent_hash) = event.intent_id.as_deref().map(id_hash) else {
        return;
    };
    if let Some(waiting) = customer.waiting_of(intent_hash) {
        applied.cancelled_waiting = Some(waiting.decision.clone());
        return;
    }
    let Some(index) = customer.contact_index(intent_hash) else {
        return;
    };
    if customer.contacts[index].state == ContactState::Reserved {
        customer.touch_contact(index);
        customer.contacts[index].state = ContactState::Released;
        applied.released.push(Released {
            contact: customer.contacts[index].clone(),
            by: ReleasedBy::Cancelled,
        });
    }
}

/// `complained`: stops marketing on the channel named, else on the contact's, else on every channel.
pub fn complain(customer: &mut Customer, event: &EngagementEvent, at_ms: i64) {
    let contact = event
        .intent_id
        .as_deref()
        .and_then(|id| customer.contact_of(id_hash(id)));
    let channel = channel_of(event, contact);
    suppress(customer, Suppression::Complaint { channel, at_ms });
}

/// How far a contact's state has come.
fn height(state: ContactState) -> u8 {
    match state {
        ContactState::Reserved => 0,
        ContactState::Sent => 1,
        ContactState::Failed => 2,
        ContactState::Released => 3,
        ContactState::Delivered => 4,
    }
}

fn channel_of(event: &EngagementEvent, contact: Option<&Contact>) -> Option<Name> {
    event
        .channel
        .clone()
        .or_else(|| contact.map(|contact| contact.channel.clone()))
}

/// The endpoint that the report names, else the one that the contact used, else the channel, until an intent names
/// another address than the one last used there. A bounce that names none of these says nothing that could be kept.
fn suppress_bounced(customer: &mut Customer, event: &EngagementEvent, index: Option<usize>, at_ms: i64) {
    let contact = index.map(|index| &customer.contacts[index]);
    let channel = channel_of(event, contact);
    let named = event.endpoint.as_deref().map(endpoint_hash);
    let suppression = match (
        named.or_else(|| contact.and_then(|contact| contact.endpoint_hash)),
        channel,
    ) {
        (Some(endpoint_hash), channel) => Suppression::Endpoint {
            channel,
            endpoint_hash,
            at_ms,
        },
        (None, Some(channel)) => {
            let before = customer.contacts.iter().rev().filter(|contact| contact.at_ms <= at_ms);
            let known_endpoint_hash = before
                .filter(|contact| contact.channel == channel)
                .find_map(|contact| contact.endpoint_hash);
            Suppression::Channel {
                channel,
                known_endpoint_hash,
                at_ms,
            }
        }
        (None, None) => return,
    };
    suppress(customer, suppression);
}

/// Enters it, or moves the entry that says the same to the later of both times.
fn suppress(customer: &mut Customer, suppression: Suppression) {
    if let Some(known) = customer
        .suppressions
        .iter_mut()
        .find(|known| same_entry(known, &suppression))
    {
        if at_ms(known) < at_ms(&suppression) {
            *known = suppression;
        }
    } else if customer.suppressions.len() < SUPPRESSIONS_AT_MOST {
        customer.suppressions.push(suppression);
    } else {
        customer.overflow.suppressions = true;
    }
}

fn at_ms(suppression: &Suppression) -> i64 {
    match suppression {
        Suppression::Complaint { at_ms, .. }
        | Suppression::Endpoint { at_ms, .. }
        | Suppression::Channel { at_ms, .. } => *at_ms,
    }
}

fn same_entry(one: &Suppression, other: &Suppression) -> bool {
    match (one, other) {
        (Suppression::Complaint { channel: one, .. }, Suppression::Complaint { channel: other, .. }) => one == other,
        (
            Suppression::Endpoint {
                channel: one,
                endpoint_hash: one_hash,
                ..
            },
            Suppression::Endpoint {
                channel: other,
                endpoint_hash: other_hash,
                ..
            },
        ) => one == other && one_hash == other_hash,
        // Each bounce that names no address stands for the one that was known then: a later one must not set it free.
        (
            Suppression::Channel {
                channel: one,
                known_endpoint_hash: one_hash,
                ..
            },
            Suppression::Channel {
                channel: other,
                known_endpoint_hash: other_hash,
                ..
            },
        ) => one == other && one_hash == other_hash,
        _ => false,
    }
}
