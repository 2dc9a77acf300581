//! What is known of one customer: profile, consent, ledger, waiting intents; how each event changes it; its bytes. Pure.
//!
//! | part | holds |
//! |---|---|
//! | [`record`] | the records themselves |
//! | [`apply`], `reports` | how an engagement event changes them |
//! | [`ledger`] | what the step does: reserve, remember, wait, release |
//! | [`consent`] | refusals and grants in the order of the log, and what they mean for one question |
//! | [`facts`] | counts that conditions and rules ask for |
//! | [`bounds`], `sizes` | how much is kept, and what happens at the bound |
//! | [`stored`], [`codec`], [`keys`] | loading, the changed values, bytes, keys |
//! | [`capacity`] | what the partition has used of what all customers share |
//!
//! Invariants: contacts are sorted by time; a contact lies in exactly one value, the head or the segment of its month;
//! a value is written only when it changed; where a bound would cost exactness, [`Customer::overflowed`] says so and the
//! judge suppresses; nothing here panics, whatever the bytes and events are. Contacts of a loaded customer are changed by
//! the methods of this room only, because they note which segments have to be written again.

pub mod apply;
pub mod bounds;
pub mod capacity;
pub mod codec;
pub mod consent;
pub mod facts;
pub mod keys;
pub mod ledger;
pub mod record;
mod reports;
mod sizes;
pub mod stored;
#[cfg(test)]
mod tests;

pub use apply::{Applied, ApplyPolicy, Released, ReleasedBy, apply};
pub use bounds::Overflow;
pub use capacity::CapacityUse;
pub use codec::CodecError;
pub use consent::{ConsentQuestion, ConsentStanding, GrantForce, consent_standing};
pub use record::{
    ConsentStatement, Contact, ContactState, DecisionCoordinates, PastEvent, Preferences, Profile, RememberedIntent,
    Standing, Suppression, Waiting, WaitingBody, endpoint_hash, id_hash,
};
pub use stored::{Change, LoadError, ReadValue};

use crate::message::Name;

/// Everything that the policy may look at. Loaded from the store by [`Customer::load`], changed by [`apply()`] and by
/// the operations of [`ledger`], written back as the values that [`Customer::changes`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Customer {
    /// The body's `customer_id`.
    pub id: Name,
    /// Active, stopped or erased.
    pub standing: Standing,
    /// What divisions told about the customer.
    pub profile: Profile,
    /// Newest last, in the order in which Kafka held them; statements that later ones made moot are gone.
    pub consents: Vec<ConsentStatement>,
    /// Complaints and hard bounces.
    pub suppressions: Vec<Suppression>,
    /// What the customer asked for.
    pub preferences: Preferences,
    /// The ledger: exact contacts, sorted by `at_ms`, newest last.
    pub contacts: Vec<Contact>,
    /// What the customer did, for cool-offs and responses; sorted by `at_ms`, newest last; bounded by age and number.
    pub events: Vec<PastEvent>,
    /// The deferred queue.
    pub waiting: Vec<Waiting>,
    /// Intents seen within `remember-intents`, oldest first.
    pub remembered: Vec<RememberedIntent>,
    /// Hashes of the last 64 `event_id`s, oldest first.
    pub recent_event_ids: Vec<u64>,
    /// Which bounds were hit, and what was lost by it.
    pub overflow: Overflow,
    /// When a contact without report has to be looked at (`release-on: [unconfirmed]`); none: there is none.
    pub unconfirmed_due_ms: Option<i64>,
    /// What the store holds of this; equal to any other, because it is no knowledge about the customer.
    pub(crate) stored: stored::StoredForm,
}

impl Customer {
    /// A customer of whom nothing is known.
    pub fn new(id: Name) -> Customer {
        Customer {
            id,
            standing: Standing::Active,
            profile: Profile::default(),
            consents: Vec::new(),
            suppressions: Vec::new(),
            preferences: Preferences::default(),
            contacts: Vec::new(),
            events: Vec::new(),
            waiting: Vec::new(),
            remembered: Vec::new(),
            recent_event_ids: Vec::new(),
            overflow: Overflow::default(),
            unconfirmed_due_ms: None,
            stored: stored::StoredForm::default(),
        }
    }
}
