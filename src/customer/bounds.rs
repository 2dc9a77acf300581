//! How much is kept of one customer, and what happens at the bound.
//!
//! Every value fits into a record of the changelog ([`VALUE_BYTES_AT_MOST`]), whatever names producers invent: a value that
//! did not would stop its whole partition. So lists are bounded in number and in bytes.
//!
//! Age bounds are part of the meaning (a policy cannot ask for more). Number bounds guard the machine against a customer
//! that no real one looks like; where reaching one could make a verdict too lenient, [`Customer::overflowed`] answers true
//! and the judge suppresses that customer, with a reason, until what was lost would have aged away.

use crate::customer::keys::month_of;
use crate::customer::record::PastEvent;
use crate::customer::{Customer, Preferences, Profile, sizes};
use crate::message::{AttributeValue, EventKind, Name};

const DAY_MS: i64 = 24 * 3_600_000;

/// Contacts older than this leave the ledger: ten years, the reach of the window `ever`.
pub const CONTACT_AGE_MS: i64 = 3_653 * DAY_MS;
/// Contacts at most.
pub const CONTACTS_AT_MOST: usize = 5_000;
/// As far back as the ledger has to be exact for the customer to be judged at all. A window that reaches further asks
/// [`Customer::ledger_reaches`].
pub const EXACT_AGE_MS: i64 = 400 * DAY_MS;
/// Opens and clicks older than this are forgotten; other events after ten years.
pub const EVENT_AGE_MS: i64 = EXACT_AGE_MS;
/// Events at most.
pub const EVENTS_AT_MOST: usize = 512;
/// Event ids by which a repeated event is known.
pub const RECENT_EVENT_IDS: usize = 64;
/// Consent statements at most, after those that became moot are gone.
pub const CONSENTS_AT_MOST: usize = 256;
/// Entries of the suppression list at most.
pub const SUPPRESSIONS_AT_MOST: usize = 256;
/// Intent ids within `remember-intents` at most.
pub const REMEMBERED_AT_MOST: usize = 4_096;
/// Intents in the deferred queue at most.
pub const WAITING_AT_MOST: usize = 50;
/// Bytes of the records in the deferred queue at most.
pub const WAITING_BYTES_AT_MOST: u64 = 1024 * 1024;
/// Names in each list of the preferences, and segments and attributes of the profile, at most.
pub const LIST_AT_MOST: usize = 512;
/// Bytes of text in the preferences, and in the profile, at most.
pub const TEXT_BYTES_AT_MOST: usize = 64 * 1024;
/// Bytes of a head, or of one month's segment of the ledger, at most. The state topic has to take records of this size and
/// of the key (`forbear topics verify`). The head stays within it because its parts do: what is not bounded in bytes below
/// has a few dozen bytes each, or one name.
pub const VALUE_BYTES_AT_MOST: usize = 896 * 1024;
/// Bytes of the remembered events at most.
pub const EVENT_BYTES_AT_MOST: usize = 192 * 1024;
/// Bytes of the consent statements at most.
pub const CONSENT_BYTES_AT_MOST: usize = 64 * 1024;
/// Bytes of the contacts in the head at most; with more, the oldest move to the segments of their months.
pub const HEAD_CONTACT_BYTES_AT_MOST: usize = 64 * 1024;
/// Contacts in the head at most; with one more, the oldest move to the segments of their months.
pub const HEAD_CONTACTS_AT_MOST: usize = 32;
/// Contacts that stay in the head then: a segment is rewritten once for many contacts, not for each.
pub const HEAD_CONTACTS_KEPT: usize = 16;

/// Which bounds were hit, and what was lost by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overflow {
    /// Contacts before this instant were dropped by number; none: the ledger is whole (within ten years).
    pub ledger_from_ms: Option<i64>,
    /// Something that still matters was dropped by number; it would have aged away then.
    pub inexact_until_ms: Option<i64>,
    /// A consent statement did not fit. Lasts, because a refusal does.
    pub consents: bool,
    /// An entry of the suppression list did not fit. Lasts, because a suppression does.
    pub suppressions: bool,
    /// The preferences did not fit; ends when all lists are set again and fit.
    pub preferences: bool,
    /// The profile did not fit; ends when segments and attributes are set again and fit.
    pub profile: bool,
}

impl Customer {
    /// Whether something was lost that a verdict may need: the customer is to be suppressed. Marks that are over are
    /// cleared by [`Customer::trim`].
    pub fn overflowed(&self) -> bool {
        let Overflow {
            ledger_from_ms: _,
            inexact_until_ms,
            consents,
            suppressions,
            preferences,
            profile,
        } = self.overflow;
        inexact_until_ms.is_some() || consents || suppressions || preferences || profile
    }

    /// Whether the ledger holds every contact since that instant (as far as ten years reach). A rule whose window begins
    /// earlier cannot count and has to block.
    pub fn ledger_reaches(&self, from_ms: i64) -> bool {
        self.overflow.ledger_from_ms.is_none_or(|reach_ms| reach_ms <= from_ms)
    }

    /// Forgets what is past its age at `now_ms`, and what is over its number.
    pub fn trim(&mut self, now_ms: i64, remember_ms: i64) {
        self.trim_contacts(now_ms);
        self.trim_events(now_ms);
        self.trim_remembered(now_ms, remember_ms);
        self.overflow.inexact_until_ms = self.overflow.inexact_until_ms.filter(|until_ms| *until_ms > now_ms);
    }

    fn trim_contacts(&mut self, now_ms: i64) {
        let oldest_ms = now_ms.saturating_sub(CONTACT_AGE_MS);
        let aged = self.contacts.partition_point(|contact| contact.at_ms <= oldest_ms);
        self.drop_oldest_contacts(aged);
        self.lose_oldest_contacts(self.contacts.len().saturating_sub(CONTACTS_AT_MOST));
        self.overflow.ledger_from_ms = self.overflow.ledger_from_ms.filter(|from_ms| *from_ms > oldest_ms);
    }

    /// Keeps the segment of a month, to which a contact of so many bytes was just added, within its bytes: the oldest of
    /// them go, and with them whatever is older.
    pub(crate) fn bound_month(&mut self, month: i32, added_bytes: usize) {
        let known_bytes = self.stored.month_bytes.filter(|(known, _)| *known == month);
        if let Some((_, bytes)) = known_bytes {
            let bytes = bytes + added_bytes;
            self.stored.month_bytes = Some((month, bytes));
            if bytes <= VALUE_BYTES_AT_MOST {
                return;
            }
        }
        let start = self.contacts.partition_point(|contact| month_of(contact.at_ms) < month);
        let end = self
            .contacts
            .partition_point(|contact| month_of(contact.at_ms) <= month);
        let contacts = &self.contacts[start..end];
        if contacts.iter().map(sizes::contact).sum::<usize>() <= VALUE_BYTES_AT_MOST {
            return;
        }
        // The sum counts a shared name again and again: only the bytes themselves tell.
        let bytes = |lost: usize| sizes::segment(&contacts[lost..]);
        let whole_bytes = bytes(0);
        self.stored.month_bytes = Some((month, whole_bytes));
        if whole_bytes <= VALUE_BYTES_AT_MOST {
            return;
        }
        // A little more than has to go goes, so that the next contacts find room.
        let (mut lost, mut enough) = (1, contacts.len());
        while lost < enough {
            let middle = lost.midpoint(enough);
            match bytes(middle) <= VALUE_BYTES_AT_MOST / 8 * 7 {
                true => enough = middle,
                false => lost = middle + 1,
            }
        }
        self.stored.month_bytes = None;
        self.lose_oldest_contacts(start + lost);
    }

    /// Drops contacts that a verdict may need: until they would have aged away, the customer is suppressed.
    fn lose_oldest_contacts(&mut self, count: usize) {
        if let Some(newest_lost) = count.checked_sub(1).and_then(|index| self.contacts.get(index)) {
            let lost_ms = newest_lost.at_ms;
            let reach_ms = Some(lost_ms.saturating_add(1));
            self.overflow.ledger_from_ms = self.overflow.ledger_from_ms.max(reach_ms);
            self.inexact_until(lost_ms.saturating_add(EXACT_AGE_MS));
            self.drop_oldest_contacts(count);
        }
    }

    fn drop_oldest_contacts(&mut self, count: usize) {
        for contact in self.contacts.drain(..count) {
            self.stored.touched.insert(month_of(contact.at_ms));
        }
        self.stored.history_len = self.stored.history_len.saturating_sub(count);
    }

    fn trim_events(&mut self, now_ms: i64) {
        // Opens and clicks fill a year's cool-offs; what tells more is kept as long as the contacts are.
        self.events.retain(|event| {
            let age_ms = if worth(event) == WORTH_MOST {
                CONTACT_AGE_MS
            } else {
                EVENT_AGE_MS
            };
            event.at_ms > now_ms.saturating_sub(age_ms)
        });
    }

    /// Keeps the events, to which one was just added, within their number and their bytes.
    pub(crate) fn bound_events(&mut self) {
        let mut bytes: usize = self.events.iter().map(sizes::event).sum();
        while self.events.len() > EVENTS_AT_MOST || bytes > EVENT_BYTES_AT_MOST {
            // The least telling first: what machines opened, then opens, then clicks, then the rest; the oldest of them.
            let least = self
                .events
                .iter()
                .enumerate()
                .min_by_key(|(index, event)| (worth(event), *index));
            let Some((index, event)) = least else { return };
            let (is_lost, at_ms) = (worth(event) == WORTH_MOST, event.at_ms);
            bytes = bytes.saturating_sub(sizes::event(event));
            self.events.remove(index);
            if is_lost {
                self.inexact_until(at_ms.saturating_add(EVENT_AGE_MS));
            }
        }
    }

    fn trim_remembered(&mut self, now_ms: i64, remember_ms: i64) {
        let oldest_ms = now_ms.saturating_sub(remember_ms);
        self.remembered.retain(|intent| intent.at_ms > oldest_ms);
        let excess = self.remembered.len().saturating_sub(REMEMBERED_AT_MOST);
        if let Some(lost_ms) = self.remembered.drain(..excess).map(|intent| intent.at_ms).max() {
            self.inexact_until(lost_ms.saturating_add(remember_ms));
        }
    }

    fn inexact_until(&mut self, until_ms: i64) {
        self.overflow.inexact_until_ms = self.overflow.inexact_until_ms.max(Some(until_ms));
    }

    /// Cuts the profile to its bounds; that it was too large is remembered until everything that was cut is set again.
    pub(crate) fn bound_profile(&mut self, all_set_again: bool) {
        let profile = &mut self.profile;
        let fits = profile.segments.len() <= LIST_AT_MOST
            && profile.attributes.len() <= LIST_AT_MOST
            && text_bytes(profile) <= TEXT_BYTES_AT_MOST;
        if !fits {
            profile.segments = Vec::new();
            profile.attributes = Vec::new();
        }
        self.overflow.profile = !fits || (self.overflow.profile && !all_set_again);
    }

    /// Cuts the preferences to their bounds; that they were too large is remembered until everything that was cut is set
    /// again.
    pub(crate) fn bound_preferences(&mut self, all_set_again: bool) {
        let preferences = &mut self.preferences;
        let only_topics = preferences.only_topics.as_deref().unwrap_or_default();
        let lists = [
            &preferences.refused_topics[..],
            only_topics,
            &preferences.refused_channels[..],
        ];
        let bytes: usize = lists.iter().flat_map(|list| list.iter()).map(|name| name.len()).sum();
        let fits = lists.iter().all(|list| list.len() <= LIST_AT_MOST) && bytes <= TEXT_BYTES_AT_MOST;
        if !fits {
            *preferences = Preferences {
                max_per_week: preferences.max_per_week,
                paused_until_ms: preferences.paused_until_ms,
                ..Preferences::default()
            };
        }
        self.overflow.preferences = !fits || (self.overflow.preferences && !all_set_again);
    }
}

const WORTH_MOST: u8 = 3;

fn worth(event: &PastEvent) -> u8 {
    match event.kind {
        _ if event.machine => 0,
        EventKind::Opened => 1,
        EventKind::Clicked => 2,
        _ => WORTH_MOST,
    }
}

fn text_bytes(profile: &Profile) -> usize {
    let segments: usize = profile.segments.iter().map(|name| name.len()).sum();
    let value_bytes = |value: &AttributeValue| match value {
        AttributeValue::Text(text) => text.len(),
        AttributeValue::Number(_) | AttributeValue::Truth(_) => 8,
    };
    let attributes: usize = profile
        .attributes
        .iter()
        .map(|(name, value)| name.len() + value_bytes(value))
        .sum();
    let single = |name: &Option<Name>| name.as_ref().map_or(0, |name| name.len());
    segments + attributes + single(&profile.timezone) + single(&profile.jurisdiction)
}
