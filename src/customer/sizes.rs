//! How many bytes parts of a customer take in a value, at the most. Cheap sums that are never too small: a name that many
//! records share is written once, and is counted here for each of them.

use crate::customer::codec;
use crate::customer::record::{ConsentStatement, Contact, PastEvent};
use crate::message::Name;

/// In the table of names and where it is named.
const NAME_OVERHEAD: usize = 10;
/// Numbers, states and lengths of one record, each as long as it can be.
const CONTACT_OVERHEAD: usize = 96;
/// What reports may still add to a contact: a time, a state, a longer attempt.
const REPORT_GROWTH: usize = 16;
const EVENT_OVERHEAD: usize = 48;
const CONSENT_OVERHEAD: usize = 40;

/// Of a contact, in the head or in a segment.
pub(super) fn contact(contact: &Contact) -> usize {
    let optional = [&contact.campaign, &contact.category, &contact.topic, &contact.offer];
    CONTACT_OVERHEAD
        + contact.decision.as_ref().map_or(0, |decision| name(&decision.topic))
        + name(&contact.channel)
        + name(&contact.division)
        + name(&contact.class)
        + name(&contact.message_type)
        + optional.into_iter().map(optional_name).sum::<usize>()
        + contact.tags.iter().map(name).sum::<usize>()
}

/// Of a segment with these contacts, whatever is reported about them later. Exact, and so not cheap.
pub(super) fn segment(contacts: &[Contact]) -> usize {
    codec::encode_segment(contacts).len() + REPORT_GROWTH * contacts.len()
}

/// Of a remembered event.
pub(super) fn event(event: &PastEvent) -> usize {
    let optional = [
        &event.issue_id,
        &event.channel,
        &event.division,
        &event.campaign,
        &event.category,
        &event.topic,
        &event.offer,
        &event.class,
        &event.message_type,
    ];
    EVENT_OVERHEAD + optional.into_iter().map(optional_name).sum::<usize>() + event.tags.iter().map(name).sum::<usize>()
}

/// Of a consent statement.
pub(super) fn consent(statement: &ConsentStatement) -> usize {
    let scope = [&statement.channel, &statement.purpose, &statement.division];
    CONSENT_OVERHEAD + scope.into_iter().map(optional_name).sum::<usize>()
}

fn name(name: &Name) -> usize {
    name.len() + NAME_OVERHEAD
}

fn optional_name(optional: &Option<Name>) -> usize {
    optional.as_ref().map_or(0, name)
}
