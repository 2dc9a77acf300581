//! Loading a customer from its values, and the values that changed since.
//!
//! The head holds the newest contacts; older ones lie in one segment a month. The first [`StoredForm::history_len`]
//! contacts of the ledger are the ones in segments; a month may lie partly in a segment and partly in the head. Values are
//! compared with a hash of what the store holds, so that a value that did not change is not written, and segments of
//! months that nothing touched are not even encoded.
//!
//! Erasure happens in two steps where intents wait: while they do, the head says `erased` and holds nothing but the
//! queue, which the step ends intent by intent; then the head goes too. From the first step on, the entry under the keyed
//! hash stands, and stays.

use crate::customer::bounds::{HEAD_CONTACT_BYTES_AT_MOST, HEAD_CONTACTS_AT_MOST, HEAD_CONTACTS_KEPT};
use crate::customer::codec::{self, CodecError, MonthCount};
use crate::customer::keys::{self, ErasureSecret, month_of};
use crate::customer::{Contact, Customer, DecisionCoordinates, Standing, WaitingBody, sizes};
use crate::message::Name;
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_128;

/// One value to be written; none deletes.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// How values are read: the store's overlay, or anything that answers a key with a value.
pub type ReadValue<'a, E> = dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>, E> + 'a;

/// Why a customer could not be loaded. Never answered with an empty record: nothing is judged from a guess.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError<E> {
    /// The store could not be read.
    #[error("{0}")]
    Read(E),
    /// A value is damaged, missing, or of a later format.
    #[error("{0}")]
    Codec(#[from] CodecError),
}

/// What the store holds of a customer. Compares equal to any other.
#[derive(Debug, Clone, Default)]
pub struct StoredForm {
    /// Hash of the head value; none: there is none.
    head: Option<u128>,
    months: Vec<StoredMonth>,
    /// Contacts, from the oldest, that lie in segments.
    pub(crate) history_len: usize,
    /// Months in which a contact changed since.
    pub(crate) touched: BTreeSet<i32>,
    /// The month of the ledger that was last found to need an exact measure, and what its segment takes at the most.
    pub(crate) month_bytes: Option<(i32, usize)>,
    /// Waiting bodies to be written (or, without body, removed), by origin.
    bodies: BTreeMap<DecisionCoordinates, Option<WaitingBody>>,
    /// Whether the entry under the keyed hash is there.
    erased_entry: bool,
}

impl PartialEq for StoredForm {
    fn eq(&self, _: &StoredForm) -> bool {
        true
    }
}

#[derive(Debug, Clone, PartialEq)]
struct StoredMonth {
    month: i32,
    count: u32,
    hash: u128,
}

impl Customer {
    /// Loads a customer. Without head value: an erased one where the keyed hash says so, else a fresh one.
    pub fn load<E>(id: Name, secret: &ErasureSecret, read: &mut ReadValue<'_, E>) -> Result<Customer, LoadError<E>> {
        let Some(head) = read(&keys::head_key(&id)).map_err(LoadError::Read)? else {
            let mut customer = Customer::new(id);
            if let Some(entry) = read(&keys::erased_key(secret, &customer.id)).map_err(LoadError::Read)? {
                codec::decode_erased(&entry)?;
                customer.standing = Standing::Erased;
                customer.stored.erased_entry = true;
            }
            return Ok(customer);
        };
        let (mut customer, months) = codec::decode_head(id, &head)?;
        customer.stored.head = Some(xxh3_128(&head));
        customer.stored.erased_entry = customer.standing == Standing::Erased;
        let mut history = Vec::new();
        for MonthCount { month, count } in months {
            let missing = CodecError::Corrupt("a segment of the ledger is missing");
            let segment = read(&keys::history_key(&customer.id, month)).map_err(LoadError::Read)?;
            let segment = segment.ok_or(missing)?;
            let hash = xxh3_128(&segment);
            let contacts = codec::decode_segment(&segment)?;
            if contacts.len() != count as usize || contacts.iter().any(|contact| month_of(contact.at_ms) != month) {
                return Err(CodecError::Corrupt("a segment that its head does not describe").into());
            }
            customer.stored.months.push(StoredMonth { month, count, hash });
            history.extend(contacts);
        }
        customer.stored.history_len = history.len();
        history.append(&mut customer.contacts);
        customer.contacts = history;
        if !customer.contacts.is_sorted_by_key(|contact| contact.at_ms) {
            return Err(CodecError::Corrupt("a ledger out of order").into());
        }
        Ok(customer)
    }

    /// The values that changed since the load (or since the last call), as they are to be; the customer then counts as
    /// stored. If they are not committed, the customer has to be dropped and loaded again.
    pub fn changes(&mut self, secret: &ErasureSecret) -> Vec<Change> {
        let mut changes = Vec::new();
        self.body_changes(&mut changes);
        if self.standing == Standing::Erased && !self.stored.erased_entry {
            changes.push((keys::erased_key(secret, &self.id), Some(codec::encode_erased())));
            self.stored.erased_entry = true;
        }
        self.move_to_history();
        self.segment_changes(&mut changes);
        self.head_change(&mut changes);
        changes
    }

    /// Keeps the record of an intent that begins to wait.
    pub fn put_waiting_body(&mut self, coordinates: &DecisionCoordinates, body: WaitingBody) {
        self.stored.bodies.insert(coordinates.origin(), Some(body));
    }

    /// The record of a waiting intent; none: none is kept.
    pub fn waiting_body<E>(
        &self,
        coordinates: &DecisionCoordinates,
        read: &mut ReadValue<'_, E>,
    ) -> Result<Option<WaitingBody>, LoadError<E>> {
        if let Some(body) = self.stored.bodies.get(&coordinates.origin()) {
            return Ok(body.clone());
        }
        match read(&keys::waiting_body_key(&self.id, coordinates)).map_err(LoadError::Read)? {
            Some(bytes) => Ok(Some(codec::decode_waiting_body(&bytes)?)),
            None => Ok(None),
        }
    }

    /// Forgets the record of an intent that left the queue.
    pub(crate) fn remove_waiting_body(&mut self, coordinates: &DecisionCoordinates) {
        self.stored.bodies.insert(coordinates.origin(), None);
    }

    /// Notes that a contact changed; its segment, if it lies in one, is written again.
    pub(crate) fn touch_contact(&mut self, index: usize) {
        if index < self.stored.history_len
            && let Some(contact) = self.contacts.get(index)
        {
            self.stored.touched.insert(month_of(contact.at_ms));
        }
    }

    /// Enters a contact at its place by time, after those of the same instant.
    pub(crate) fn insert_contact(&mut self, contact: Contact) {
        let index = self.contacts.partition_point(|earlier| earlier.at_ms <= contact.at_ms);
        let month = month_of(contact.at_ms);
        if index < self.stored.history_len {
            self.stored.history_len += 1;
            self.stored.touched.insert(month);
        }
        let bytes = sizes::contact(&contact);
        self.contacts.insert(index, contact);
        self.bound_month(month, bytes);
    }

    fn body_changes(&mut self, changes: &mut Vec<Change>) {
        for (origin, body) in std::mem::take(&mut self.stored.bodies) {
            let value = body.map(|body| codec::encode_waiting_body(&body));
            changes.push((keys::waiting_body_key(&self.id, &origin), value));
        }
    }

    /// Moves the oldest contacts of a head that grew too large to the segments of their months.
    fn move_to_history(&mut self) {
        let stored = &mut self.stored;
        stored.history_len = stored.history_len.min(self.contacts.len());
        let in_head = &self.contacts[stored.history_len..];
        let bytes: usize = in_head.iter().map(sizes::contact).sum();
        if in_head.len() > HEAD_CONTACTS_AT_MOST || bytes > HEAD_CONTACT_BYTES_AT_MOST {
            let history_len = self.contacts.len() - kept_in_head(in_head);
            let moved = &self.contacts[stored.history_len..history_len];
            stored
                .touched
                .extend(moved.iter().map(|contact| month_of(contact.at_ms)));
            stored.history_len = history_len;
        }
    }

    fn segment_changes(&mut self, changes: &mut Vec<Change>) {
        let touched = std::mem::take(&mut self.stored.touched);
        let before = std::mem::take(&mut self.stored.months);
        let mut months: Vec<StoredMonth> = Vec::with_capacity(before.len());
        let history = &self.contacts[..self.stored.history_len];
        for contacts in history.chunk_by(|one, next| month_of(one.at_ms) == month_of(next.at_ms)) {
            let month = month_of(contacts[0].at_ms);
            let count = contacts.len() as u32;
            let earlier = before.iter().find(|earlier| earlier.month == month);
            if let Some(earlier) = earlier.filter(|earlier| earlier.count == count && !touched.contains(&month)) {
                months.push(earlier.clone());
                continue;
            }
            let bytes = codec::encode_segment(contacts);
            let hash = xxh3_128(&bytes);
            if earlier.is_none_or(|earlier| earlier.hash != hash) {
                changes.push((keys::history_key(&self.id, month), Some(bytes)));
            }
            months.push(StoredMonth { month, count, hash });
        }
        for gone in before {
            if !months.iter().any(|month| month.month == gone.month) {
                changes.push((keys::history_key(&self.id, gone.month), None));
            }
        }
        self.stored.months = months;
    }

    fn head_change(&mut self, changes: &mut Vec<Change>) {
        let erased = self.standing == Standing::Erased && self.waiting.is_empty();
        let nothing = erased || (self.stored.head.is_none() && *self == Customer::new(self.id.clone()));
        if nothing {
            if self.stored.head.take().is_some() {
                changes.push((keys::head_key(&self.id), None));
            }
            return;
        }
        let months = self.stored.months.iter();
        let months: Vec<_> = months
            .map(|&StoredMonth { month, count, .. }| MonthCount { month, count })
            .collect();
        let bytes = codec::encode_head(self, &months, &self.contacts[self.stored.history_len..]);
        let hash = xxh3_128(&bytes);
        if self.stored.head != Some(hash) {
            self.stored.head = Some(hash);
            changes.push((keys::head_key(&self.id), Some(bytes)));
        }
    }
}

/// How many of the newest contacts stay in a head that grew too large: half of what may be there, so that the next few
/// do not move anything.
fn kept_in_head(in_head: &[Contact]) -> usize {
    let mut bytes = 0;
    let newest = in_head.iter().rev().take(HEAD_CONTACTS_KEPT);
    newest
        .take_while(|contact| {
            bytes += sizes::contact(contact);
            bytes <= HEAD_CONTACT_BYTES_AT_MOST / 2
        })
        .count()
}
