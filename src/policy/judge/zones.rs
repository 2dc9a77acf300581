//! The zones of one customer: the known one, or those in which an intent for a customer without a known zone must pass.

use crate::customer::Customer;
use crate::policy::model::Policy;
use crate::policy::window::{ZoneChoice, zone};
use jiff::tz::TimeZone;
use std::cell::OnceCell;

/// Looks the customer's zone up when a rule first asks for it.
#[derive(Clone)]
pub(super) struct Zones<'a> {
    policy: &'a Policy,
    customer: &'a Customer,
    known: OnceCell<Option<TimeZone>>,
}

impl<'a> Zones<'a> {
    /// The zones of this customer under this policy.
    pub fn new(policy: &'a Policy, customer: &'a Customer) -> Self {
        Self {
            policy,
            customer,
            known: OnceCell::new(),
        }
    }

    /// In which zones a rule must pass. Never empty.
    pub fn of<'z>(&'z self, choice: &'z ZoneChoice) -> &'z [TimeZone] {
        match choice {
            ZoneChoice::Fixed(zone) => std::slice::from_ref(zone),
            ZoneChoice::Company => std::slice::from_ref(&self.policy.zone),
            ZoneChoice::Customer => match self.known.get_or_init(|| self.look_up()) {
                Some(zone) => std::slice::from_ref(zone),
                None if self.policy.timezone_unknown.is_empty() => std::slice::from_ref(&self.policy.zone),
                None => &self.policy.timezone_unknown,
            },
        }
    }

    fn look_up(&self) -> Option<TimeZone> {
        self.customer.profile.timezone.as_deref().and_then(zone::named)
    }
}
