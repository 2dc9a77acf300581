//! How an engagement event changes a customer.
//!
//! - Events are applied in the order of the log. A repeated `event_id`, among the last 64, changes nothing.
//! - What is read has happened: an event counts from the moment at which it is applied, also where its `occurred_at` lies
//!   ahead, because senders' clocks do. The time itself stays as it is written, so that what follows from it (when a contact
//!   leaves a window, whether a grant is newer than a refusal) can be derived from the log alone.
//! - A time that lies further ahead than [`AHEAD_AT_MOST_MS`] is wrong. It is taken as that far ahead: the event takes
//!   effect, and no wrong clock can silence a customer for years, or write a refusal that no grant could lift.
//! - Of an erased customer nothing is learned any more.
//! - What a rule may ask for later is remembered as a [`PastEvent`] ([`remembered_as_event`] says which kinds), with the
//!   fields of the contact that it is about where it names none of its own.
//! - Whatever could free a waiting intent makes the whole queue due at once; the judge then decides.

use crate::customer::record::{ConsentStatement, Contact, ContactState, DecisionCoordinates, PastEvent, Standing};
use crate::customer::{Customer, bounds, endpoint_hash, id_hash, reports};
use crate::message::{EngagementEvent, EventKind, Name, PreferenceChange, ProfileChange};

/// How far ahead of the decision time an `occurred_at` is believed: clocks are off by seconds, seldom by minutes.
pub const AHEAD_AT_MOST_MS: i64 = 5 * 60_000;

/// What of the policy the application of events needs.
pub trait ApplyPolicy {
    /// Whether the channel's `release-on` lists this cause. Never asked about [`ReleasedBy::Cancelled`].
    fn release_on(&self, channel: &str, cause: ReleasedBy) -> bool;
    /// The channel's `confirm-within`.
    fn confirm_within_ms(&self, channel: &str) -> i64;
    /// `remember-intents`.
    fn remember_intents_ms(&self) -> i64;
}

/// What gave a contact back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleasedBy {
    /// `failed`.
    Failed,
    /// `bounced_soft`.
    BouncedSoft,
    /// `bounced_hard`.
    BouncedHard,
    /// Nothing was reported within `confirm-within`.
    Unconfirmed,
    /// `intent_cancelled`, before anything was sent.
    Cancelled,
}

/// A contact that was given back: a decision record is due for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Released {
    /// As it is now.
    pub contact: Contact,
    /// Why.
    pub by: ReleasedBy,
}

/// What an event did, beyond the changed record.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// Whether the record changed at all.
    pub changed: bool,
    /// Whether the event had been applied before.
    pub duplicate: bool,
    /// Whether the waiting intents have become due.
    pub retime: bool,
    /// Contacts given back.
    pub released: Vec<Released>,
    /// A waiting intent that the event ended: the step writes its verdict (`cancelled`) and removes it from the queue.
    pub cancelled_waiting: Option<DecisionCoordinates>,
    /// Whether the customer was erased by this event. What waits is due now, and ends on the suppression list.
    pub erased: bool,
}

/// Applies one event at the instant `received_at_ms` (the batch's decision time).
pub fn apply(
    customer: &mut Customer,
    event: &EngagementEvent,
    received_at_ms: i64,
    policy: &dyn ApplyPolicy,
) -> Applied {
    let mut applied = Applied::default();
    if customer.standing == Standing::Erased {
        return applied;
    }
    let event_hash = id_hash(&event.event_id);
    if customer.recent_event_ids.contains(&event_hash) {
        applied.duplicate = true;
        return applied;
    }
    applied.changed = true;
    if event.kind == EventKind::Erased {
        erase(customer, received_at_ms);
        applied.erased = true;
        applied.retime = !customer.waiting.is_empty();
        return applied;
    }
    let excess = (customer.recent_event_ids.len() + 1).saturating_sub(bounds::RECENT_EVENT_IDS);
    customer.recent_event_ids.drain(..excess);
    customer.recent_event_ids.push(event_hash);
    let at_ms = event
        .occurred_at_ms
        .min(received_at_ms.saturating_add(AHEAD_AT_MOST_MS));
    change(customer, event, at_ms, policy, &mut applied);
    if remembered_as_event(event.kind) {
        remember_event(customer, event, at_ms);
    }
    customer.trim(received_at_ms, policy.remember_intents_ms());
    applied.retime = !customer.waiting.is_empty() && (may_free(event) || !applied.released.is_empty());
    if applied.retime {
        customer.retime(received_at_ms);
    }
    applied
}

/// Which kinds are kept for rules that count events. `sent` and `delivered` are states of contacts, and what only sets
/// something is not something that happened.
pub fn remembered_as_event(kind: EventKind) -> bool {
    !matches!(
        kind,
        EventKind::Sent
            | EventKind::Delivered
            | EventKind::PreferencesSet
            | EventKind::ProfileSet
            | EventKind::ContactedElsewhere
            | EventKind::Erased
            | EventKind::DoNotContact
    )
}

/// Whether the event may let a waiting intent pass earlier, or has to stop it.
fn may_free(event: &EngagementEvent) -> bool {
    match event.kind {
        EventKind::Sent
        | EventKind::Delivered
        | EventKind::Failed
        | EventKind::BouncedSoft
        | EventKind::ContactedElsewhere
        | EventKind::InboundContact => false,
        EventKind::Opened | EventKind::Clicked | EventKind::Replied | EventKind::Converted | EventKind::Declined => {
            !event.machine
        }
        EventKind::BouncedHard
        | EventKind::Complained
        | EventKind::Unsubscribed
        | EventKind::Resubscribed
        | EventKind::ConsentGranted
        | EventKind::ConsentWithdrawn
        | EventKind::PreferencesSet
        | EventKind::ProfileSet
        | EventKind::IssueOpened
        | EventKind::IssueClosed
        | EventKind::IntentCancelled
        | EventKind::Erased
        | EventKind::DoNotContact => true,
    }
}

fn change(
    customer: &mut Customer,
    event: &EngagementEvent,
    at_ms: i64,
    policy: &dyn ApplyPolicy,
    applied: &mut Applied,
) {
    match event.kind {
        EventKind::Sent
        | EventKind::Delivered
        | EventKind::Failed
        | EventKind::BouncedSoft
        | EventKind::BouncedHard => reports::report(customer, event, at_ms, policy, applied),
        EventKind::IntentCancelled => reports::cancel(customer, event, applied),
        EventKind::Complained => reports::complain(customer, event, at_ms),
        EventKind::Unsubscribed | EventKind::ConsentWithdrawn => customer.state_consent(statement(event, false, at_ms)),
        EventKind::Resubscribed | EventKind::ConsentGranted => customer.state_consent(statement(event, true, at_ms)),
        EventKind::PreferencesSet => {
            if let Some(preferences) = &event.preferences {
                set_preferences(customer, preferences);
            }
        }
        EventKind::ProfileSet => {
            if let Some(profile) = &event.profile {
                set_profile(customer, profile);
            }
        }
        EventKind::ContactedElsewhere => customer.insert_contact(contact_elsewhere(event, at_ms)),
        EventKind::DoNotContact => customer.standing = Standing::DoNotContact,
        EventKind::Opened
        | EventKind::Clicked
        | EventKind::Replied
        | EventKind::Converted
        | EventKind::Declined
        | EventKind::InboundContact
        | EventKind::IssueOpened
        | EventKind::IssueClosed
        | EventKind::Erased => {}
    }
}

/// Forgets everything but what still waits: each of those intents is owed a verdict, which ends it.
fn erase(customer: &mut Customer, now_ms: i64) {
    let blank = Customer::new(customer.id.clone());
    let before = std::mem::replace(customer, blank);
    customer.standing = Standing::Erased;
    customer.waiting = before.waiting;
    customer.stored = before.stored;
    customer.stored.history_len = 0;
    customer.retime(now_ms);
}

fn statement(event: &EngagementEvent, granted: bool, at_ms: i64) -> ConsentStatement {
    ConsentStatement {
        granted,
        channel: event.channel.clone(),
        purpose: event.purpose.clone(),
        division: event.division.clone(),
        basis: event.basis.filter(|_| granted),
        occurred_at_ms: at_ms,
        expires_at_ms: event.expires_at_ms.filter(|_| granted),
    }
}

fn set_preferences(customer: &mut Customer, change: &PreferenceChange) {
    let preferences = &mut customer.preferences;
    if let Some(topics) = &change.refused_topics {
        preferences.refused_topics.clone_from(topics);
    }
    if let Some(topics) = &change.only_topics {
        preferences.only_topics.clone_from(topics);
    }
    if let Some(channels) = &change.refused_channels {
        preferences.refused_channels.clone_from(channels);
    }
    if let Some(most) = change.max_per_week {
        preferences.max_per_week = most;
    }
    if let Some(until_ms) = change.paused_until_ms {
        preferences.paused_until_ms = until_ms;
    }
    let all_lists =
        change.refused_topics.is_some() && change.only_topics.is_some() && change.refused_channels.is_some();
    customer.bound_preferences(all_lists);
}

fn set_profile(customer: &mut Customer, change: &ProfileChange) {
    let profile = &mut customer.profile;
    if let Some(timezone) = &change.timezone {
        profile.timezone.clone_from(timezone);
    }
    if let Some(jurisdiction) = &change.jurisdiction {
        profile.jurisdiction.clone_from(jurisdiction);
    }
    if let Some(segments) = &change.segments {
        profile.segments.clone_from(segments);
    }
    if let Some(attributes) = &change.attributes {
        profile.attributes.clone_from(attributes);
        profile.attributes.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    if let Some(since_ms) = change.since_ms {
        profile.since_ms = since_ms;
    }
    customer.bound_profile(change.segments.is_some() && change.attributes.is_some());
}

/// The class of every contact that was made elsewhere.
const MARKETING: &str = "marketing";

/// A contact that somebody else made: it happened, so it counts as delivered; and it counts as marketing, whatever class it
/// names, because nobody judged it as that class.
fn contact_elsewhere(event: &EngagementEvent, at_ms: i64) -> Contact {
    let or_empty = |name: &Option<Name>| name.clone().unwrap_or_else(|| Name::from(""));
    Contact {
        at_ms,
        state: ContactState::Delivered,
        reported_at_ms: at_ms,
        intent_hash: id_hash(event.intent_id.as_ref().unwrap_or(&event.event_id)),
        decision: None,
        channel: or_empty(&event.channel),
        division: or_empty(&event.division),
        class: Name::from(MARKETING),
        message_type: event.message_type.clone().unwrap_or_else(|| Name::from("campaign")),
        campaign: event.campaign.clone(),
        category: event.category.clone(),
        topic: event.topic.clone(),
        offer: event.offer.clone(),
        tags: event.tags.clone(),
        cost_micros: event.cost_micros.unwrap_or(0),
        endpoint_hash: event.endpoint.as_deref().map(endpoint_hash),
    }
}

fn remember_event(customer: &mut Customer, event: &EngagementEvent, at_ms: i64) {
    let intent_hash = event.intent_id.as_deref().map(id_hash);
    let contact = intent_hash.and_then(|hash| customer.contact_of(hash));
    let or_contact = |own: &Option<Name>, inherited: fn(&Contact) -> Option<&Name>| {
        own.clone().or_else(|| contact.and_then(inherited).cloned())
    };
    let past = PastEvent {
        at_ms,
        kind: event.kind,
        machine: event.machine,
        intent_hash,
        issue_id: event.issue_id.clone(),
        channel: or_contact(&event.channel, |contact| Some(&contact.channel)),
        division: or_contact(&event.division, |contact| Some(&contact.division)),
        campaign: or_contact(&event.campaign, |contact| contact.campaign.as_ref()),
        category: or_contact(&event.category, |contact| contact.category.as_ref()),
        topic: or_contact(&event.topic, |contact| contact.topic.as_ref()),
        offer: or_contact(&event.offer, |contact| contact.offer.as_ref()),
        tags: match contact {
            Some(contact) if event.tags.is_empty() => contact.tags.clone(),
            _ => event.tags.clone(),
        },
        class: or_contact(&event.class, |contact| Some(&contact.class)),
        message_type: or_contact(&event.message_type, |contact| Some(&contact.message_type)),
    };
    let place = customer.events.partition_point(|earlier| earlier.at_ms <= at_ms);
    customer.events.insert(place, past);
    customer.bound_events();
}
