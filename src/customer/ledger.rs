//! What the step does with a customer: reserve, remember, wait, give back.
//!
//! Of an erased customer nothing may be kept: there these operations do nothing but end what still waits.

use crate::customer::apply::{ApplyPolicy, Released, ReleasedBy};
use crate::customer::record::{Contact, ContactState, DecisionCoordinates, RememberedIntent, Standing, Waiting};
use crate::customer::stored::StoredForm;
use crate::customer::{Customer, WaitingBody, endpoint_hash, id_hash};
use crate::message::{Intent, Name};

impl Contact {
    /// What an intent becomes by its approval on a channel, as a class, at an instant.
    pub fn of_intent(intent: &Intent, channel: &Name, class: &Name, cost_micros: i64, at_ms: i64) -> Contact {
        // An endpoint belongs to the requested channel: a fallback goes out without it.
        let endpoint = intent.endpoint.as_deref().filter(|_| *channel == intent.channel);
        Contact {
            at_ms,
            state: ContactState::Reserved,
            reported_at_ms: 0,
            intent_hash: id_hash(&intent.intent_id),
            decision: None,
            channel: channel.clone(),
            division: intent.division.clone(),
            class: class.clone(),
            message_type: intent.message_type.clone(),
            campaign: intent.campaign.clone(),
            category: intent.category.clone(),
            topic: intent.topic.clone(),
            offer: intent.offer.clone(),
            tags: intent.tags.clone(),
            cost_micros,
            endpoint_hash: endpoint.map(endpoint_hash),
        }
    }
}

impl Customer {
    /// What a policy looks at, to ask it what would be if the ledger held more: without the queue, and never stored.
    pub fn imagined(&self) -> Customer {
        Customer {
            id: self.id.clone(),
            standing: self.standing,
            profile: self.profile.clone(),
            consents: self.consents.clone(),
            suppressions: self.suppressions.clone(),
            preferences: self.preferences.clone(),
            contacts: self.contacts.clone(),
            events: self.events.clone(),
            waiting: Vec::new(),
            remembered: Vec::new(),
            recent_event_ids: Vec::new(),
            overflow: self.overflow,
            unconfirmed_due_ms: self.unconfirmed_due_ms,
            stored: StoredForm::default(),
        }
    }

    /// Enters an approved intent into the ledger, at its decision time.
    pub fn reserve(&mut self, contact: Contact, now_ms: i64, policy: &dyn ApplyPolicy) {
        if self.standing == Standing::Erased {
            return;
        }
        if let Some(due_ms) = unconfirmed_due_ms(&contact, policy) {
            self.unconfirmed_due_ms = Some(self.unconfirmed_due_ms.map_or(due_ms, |earlier| earlier.min(due_ms)));
        }
        self.insert_contact(contact);
        self.trim(now_ms, policy.remember_intents_ms());
    }

    /// Gives back the contacts that nobody reported on within the channel's `confirm-within`, where the policy says so.
    /// Decision records are due for them, and the queue is re-timed.
    pub fn release_unconfirmed(&mut self, now_ms: i64, policy: &dyn ApplyPolicy) -> Vec<Released> {
        let mut released = Vec::new();
        let mut next_due_ms: Option<i64> = None;
        for index in 0..self.contacts.len() {
            let Some(due_ms) = unconfirmed_due_ms(&self.contacts[index], policy) else {
                continue;
            };
            if due_ms > now_ms {
                next_due_ms = Some(next_due_ms.map_or(due_ms, |earlier| earlier.min(due_ms)));
                continue;
            }
            self.touch_contact(index);
            let contact = &mut self.contacts[index];
            contact.state = ContactState::Released;
            released.push(Released {
                contact: contact.clone(),
                by: ReleasedBy::Unconfirmed,
            });
        }
        self.unconfirmed_due_ms = next_due_ms;
        if !released.is_empty() {
            self.retime(now_ms);
        }
        released
    }

    /// Gives the newest contact of an intent the coordinates of the newest decision about it (its release).
    pub fn renumber_contact(&mut self, intent_hash: u64, decision: &DecisionCoordinates) {
        if let Some(index) = self.contact_index(intent_hash) {
            self.touch_contact(index);
            self.contacts[index].decision = Some(decision.clone());
        }
    }

    /// The newest contact that an intent made.
    pub fn contact_of(&self, intent_hash: u64) -> Option<&Contact> {
        self.contact_index(intent_hash).map(|index| &self.contacts[index])
    }

    pub(crate) fn contact_index(&self, intent_hash: u64) -> Option<usize> {
        // Contacts made elsewhere have no decision; a report about an intent never means them.
        let made = |contact: &Contact| contact.intent_hash == intent_hash && contact.decision.is_some();
        self.contacts.iter().rposition(made)
    }

    /// Remembers that an intent was judged, or which decision about it is now the newest.
    pub fn remember(&mut self, intent_hash: u64, at_ms: i64, decision: DecisionCoordinates, remember_ms: i64) {
        if self.standing == Standing::Erased {
            return;
        }
        if let Some(known) = self
            .remembered
            .iter_mut()
            .find(|known| known.intent_hash == intent_hash)
            && known.decision.same_origin(&decision)
        {
            known.decision = decision;
            return;
        }
        self.remembered.retain(|known| known.intent_hash != intent_hash);
        let place = self.remembered.partition_point(|known| known.at_ms <= at_ms);
        let intent = RememberedIntent {
            intent_hash,
            at_ms,
            decision,
        };
        self.remembered.insert(place, intent);
        self.trim(at_ms, remember_ms);
    }

    /// The newest decision about an intent that was judged within `remember_ms`, or that still waits.
    pub fn recall(&self, intent_hash: u64, now_ms: i64, remember_ms: i64) -> Option<&DecisionCoordinates> {
        if let Some(waiting) = self.waiting.iter().find(|waiting| waiting.intent_hash == intent_hash) {
            return Some(&waiting.decision);
        }
        let oldest_ms = now_ms.saturating_sub(remember_ms);
        let known = self.remembered.iter().rev();
        let mut known = known.filter(|known| known.intent_hash == intent_hash && known.at_ms > oldest_ms);
        known.next().map(|known| &known.decision)
    }

    /// Puts an intent into the queue, with the record that it came in.
    pub fn add_waiting(&mut self, waiting: Waiting, body: WaitingBody) {
        if self.standing == Standing::Erased {
            return;
        }
        self.put_waiting_body(&waiting.decision, body);
        match self.waiting_index(&waiting.decision) {
            Some(index) => self.waiting[index] = waiting,
            None => self.waiting.push(waiting),
        }
    }

    /// The waiting intent that was received at these coordinates, to be changed in place.
    pub fn waiting_mut(&mut self, coordinates: &DecisionCoordinates) -> Option<&mut Waiting> {
        self.waiting_index(coordinates).map(|index| &mut self.waiting[index])
    }

    /// The waiting intent with this id.
    pub fn waiting_of(&self, intent_hash: u64) -> Option<&Waiting> {
        self.waiting.iter().find(|waiting| waiting.intent_hash == intent_hash)
    }

    /// Takes an intent out of the queue, and forgets its record.
    pub fn remove_waiting(&mut self, coordinates: &DecisionCoordinates) -> Option<Waiting> {
        let index = self.waiting_index(coordinates)?;
        let waiting = self.waiting.remove(index);
        self.remove_waiting_body(&waiting.decision);
        Some(waiting)
    }

    /// Bytes of the records in the queue, for its bound.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.iter().map(|waiting| u64::from(waiting.size_bytes)).sum()
    }

    /// The lowest of the queue in the order of competitors: the one that goes when the queue is too long.
    pub fn lowest_waiting(&self) -> Option<&Waiting> {
        self.waiting.iter().max_by(|one, other| one.precedence(other))
    }

    /// The first, in the order of competitors, of what is due and not among `judged`. What is judged may make others due:
    /// whoever works through the queue asks again each time.
    pub fn next_due_waiting(&self, now_ms: i64, judged: &[DecisionCoordinates]) -> Option<Waiting> {
        let is_due = |waiting: &&Waiting| waiting.due_at_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let due = self.waiting.iter().filter(is_due);
        let left = due.filter(|waiting| !judged.iter().any(|judged| judged.same_origin(&waiting.decision)));
        left.min_by(|one, other| one.precedence(other)).cloned()
    }

    /// When the customer has to be looked at without any input: the earliest waiting intent, or a contact to give back.
    pub fn next_due_ms(&self) -> Option<i64> {
        let waiting = self.waiting.iter().filter_map(|waiting| waiting.due_at_ms);
        waiting.chain(self.unconfirmed_due_ms).min()
    }

    /// Makes the whole queue due now.
    pub fn retime(&mut self, now_ms: i64) {
        for waiting in &mut self.waiting {
            waiting.due_at_ms = Some(waiting.due_at_ms.map_or(now_ms, |due_ms| due_ms.min(now_ms)));
        }
    }

    /// Makes due now what has no known wake: it waits for something to happen, and a contact may be that.
    pub fn retime_what_waits_for_events(&mut self, now_ms: i64) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.wake_at_ms.is_none()) {
            waiting.due_at_ms = Some(waiting.due_at_ms.map_or(now_ms, |due_ms| due_ms.min(now_ms)));
        }
    }

    /// Makes what stands below this one in the order of competitors due now.
    pub fn retime_below(&mut self, above: &Waiting, now_ms: i64) {
        for waiting in &mut self.waiting {
            if above.precedence(waiting).is_lt() {
                waiting.due_at_ms = Some(waiting.due_at_ms.map_or(now_ms, |due_ms| due_ms.min(now_ms)));
            }
        }
    }

    fn waiting_index(&self, coordinates: &DecisionCoordinates) -> Option<usize> {
        self.waiting
            .iter()
            .position(|waiting| waiting.decision.same_origin(coordinates))
    }
}

/// When a contact without report is given back; none: never, or it was reported on.
fn unconfirmed_due_ms(contact: &Contact, policy: &dyn ApplyPolicy) -> Option<i64> {
    let open = contact.state == ContactState::Reserved && contact.reported_at_ms == 0;
    if !open || !policy.release_on(&contact.channel, ReleasedBy::Unconfirmed) {
        return None;
    }
    Some(contact.at_ms.saturating_add(policy.confirm_within_ms(&contact.channel)))
}
