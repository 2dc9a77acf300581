//! What conditions and rules ask about a customer: responses, unanswered contacts, days since.
//!
//! Pure queries. Contacts and events that are known have happened, also those whose time lies a little ahead (a sender's clock
//! does, see [`apply`](mod@crate::customer::apply)). What a response is, and how long a contact may go without report before it counts as delivered, is the
//! policy's; it comes in with [`FactPolicy`].

use crate::customer::record::{Contact, ContactState, PastEvent};
use crate::customer::{Customer, id_hash};
use crate::message::EventKind;

/// What of the policy these queries need.
pub trait FactPolicy {
    /// Whether `responses` lists this kind.
    fn is_response(&self, kind: EventKind) -> bool;
    /// The channel's `confirm-within`: past it, a contact without report counts as delivered.
    fn confirm_within_ms(&self, channel: &str) -> i64;
    /// Whether the channel's `release-on` lists `unconfirmed`: then it is given back instead.
    fn releases_unconfirmed(&self, channel: &str) -> bool;
}

/// Which responses end a row of unanswered contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetBy<'a> {
    /// A response on any channel.
    AnyChannel,
    /// A response on this channel only.
    Channel(&'a str),
}

/// Whether the contact fills windows at `now_ms`: it was not given back, and has not yet to be.
pub fn counts(contact: &Contact, now_ms: i64, policy: &dyn FactPolicy) -> bool {
    contact.state != ContactState::Released
        && !(unconfirmed(contact, now_ms, policy) && policy.releases_unconfirmed(&contact.channel))
}

/// Whether the contact counts as delivered at `now_ms`: see [`delivered_at`].
pub fn counts_as_delivered(contact: &Contact, now_ms: i64, policy: &dyn FactPolicy) -> bool {
    delivered_at(contact, policy).is_some_and(|delivered_ms| delivered_ms <= now_ms)
}

/// From when on the contact counts as delivered, if nothing more is heard of it: always where that was reported, else
/// once `confirm-within` is over without any report of its fate; none: it never does. A channel that gives unconfirmed
/// contacts back never takes one as delivered.
pub fn delivered_at(contact: &Contact, policy: &dyn FactPolicy) -> Option<i64> {
    let given_back = || contact.state == ContactState::Reserved && policy.releases_unconfirmed(&contact.channel);
    match contact.state {
        ContactState::Delivered => Some(i64::MIN),
        ContactState::Reserved | ContactState::Sent if !given_back() => {
            Some(contact.at_ms.saturating_add(policy.confirm_within_ms(&contact.channel)))
        }
        _ => None,
    }
}

/// Whether the event is a response: of a kind that the policy lists, and not by a machine.
pub fn is_response(event: &PastEvent, policy: &dyn FactPolicy) -> bool {
    !event.machine && policy.is_response(event.kind)
}

impl Customer {
    /// The time of the last response. One whose time lies ahead was given by now: it answers nothing that comes later.
    pub fn last_response_ms(&self, reset_by: ResetBy<'_>, now_ms: i64, policy: &dyn FactPolicy) -> Option<i64> {
        let heard = |event: &&PastEvent| match reset_by {
            ResetBy::AnyChannel => true,
            ResetBy::Channel(channel) => event.channel.as_deref() == Some(channel),
        };
        let mut heard = self.events.iter().rev().filter(heard);
        heard
            .find(|event| is_response(event, policy))
            .map(|event| event.at_ms.min(now_ms))
    }

    /// Delivered contacts since the last response on any channel.
    pub fn unanswered(&self, now_ms: i64, policy: &dyn FactPolicy) -> u32 {
        self.count_unanswered(None, ResetBy::AnyChannel, now_ms, policy)
    }

    /// Delivered contacts on one channel since the last response (on any channel, or on that one).
    pub fn unanswered_by(&self, channel: &str, reset_by: ResetBy<'_>, now_ms: i64, policy: &dyn FactPolicy) -> u32 {
        self.count_unanswered(Some(channel), reset_by, now_ms, policy)
    }

    /// Whole days (of 24 hours) since the last response; none: there was none within the memory of events (400 days).
    pub fn days_since_response(&self, now_ms: i64, policy: &dyn FactPolicy) -> Option<i64> {
        self.last_response_ms(ResetBy::AnyChannel, now_ms, policy)
            .map(|at_ms| days_between(at_ms, now_ms))
    }

    /// Whole days (of 24 hours) since the first contact that counts; none: there was none.
    pub fn days_since_first_contact(&self, now_ms: i64, policy: &dyn FactPolicy) -> Option<i64> {
        let first = self.contacts.iter().find(|contact| counts(contact, now_ms, policy))?;
        Some(days_between(first.at_ms, now_ms))
    }

    /// Whether a response to this very contact was seen.
    pub fn answered(&self, contact: &Contact, policy: &dyn FactPolicy) -> bool {
        let mut events = self.events.iter().rev();
        events.any(|event| event.intent_hash == Some(contact.intent_hash) && is_response(event, policy))
    }

    /// Whether `intent_cancelled` was read for this intent, be it before the intent itself was read.
    pub fn was_cancelled(&self, intent_id: &str) -> bool {
        let intent_hash = Some(id_hash(intent_id));
        let mut events = self.events.iter().rev();
        events.any(|event| event.kind == EventKind::IntentCancelled && event.intent_hash == intent_hash)
    }

    fn count_unanswered(
        &self,
        channel: Option<&str>,
        reset_by: ResetBy<'_>,
        now_ms: i64,
        policy: &dyn FactPolicy,
    ) -> u32 {
        let since_ms = self.last_response_ms(reset_by, now_ms, policy).unwrap_or(i64::MIN);
        let first = self.contacts.partition_point(|contact| contact.at_ms <= since_ms);
        let since = self.contacts[first..].iter();
        let on_channel = since.filter(|contact| channel.is_none_or(|channel| &*contact.channel == channel));
        let unanswered = on_channel
            .filter(|contact| counts_as_delivered(contact, now_ms, policy))
            .count();
        u32::try_from(unanswered).unwrap_or(u32::MAX)
    }
}

const DAY_MS: i64 = 24 * 3_600_000;

fn unconfirmed(contact: &Contact, now_ms: i64, policy: &dyn FactPolicy) -> bool {
    contact.state == ContactState::Reserved
        && contact.at_ms.saturating_add(policy.confirm_within_ms(&contact.channel)) <= now_ms
}

fn days_between(from_ms: i64, to_ms: i64) -> i64 {
    to_ms.saturating_sub(from_ms).max(0) / DAY_MS
}
