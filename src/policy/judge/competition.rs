//! Competitors of one customer: the hold that collects them, and the slots that deferred ones keep.
//!
//! # Hold
//! The fixed order has competitors after everything that can block. So an arrival of a class with a `hold` is judged at once;
//! what is suppressed then stays suppressed, however short its block is: `suppress` means now, with or without a hold.
//! What would be approved waits for the end of the hold (`held`), and so does what would be deferred to an instant inside
//! it. What is blocked for longer, or waits for an event, is deferred by its rule as ever: when it wakes, the hold is over.
//!
//! - A customer's hold runs from the first held intent, for that one's `hold`. Whoever is held while it runs ends with it.
//!   All of them are due then, and judged in full, in the total order.
//! - A hold never lasts past an expiry: who would not outlive it leaves it half-way to its expiry, so that there is time
//!   left to send the message. Where that one is the first, the hold ends with it.
//! - An intent is held once: from its first judgement, or from the end of its `not_before` or `deliver_at` (`planned` goes
//!   before). One that an event makes due meanwhile is judged again: suppressed at once, or held to the same end.
//! - `held` is a deferral: `max-defer` runs from it, and ends it. Only `planned` is exempt.
//! - Other classes are judged at once while a hold runs.
//!
//! # Slots
//! A deferred intent of a class with `reserve` keeps its slot at the instant d at which it wakes, whether it was deferred by a
//! rule, is held or is planned; one that waits for an event has no d, and keeps none. For a candidate at t that is lower in
//! the total order:
//!
//! - from d on it is a contact at d: every rule of the candidate counts it, now and in the search for its wake;
//! - before d, a cap, gap, pressure or spend rule that governs the candidate passes only if the same rule would still let
//!   the reserved one pass at d, with the candidate approved at t. Else it is a hit of that rule (its id, its `on-hit`) with
//!   the reason `arbitration`: the rule has room, and the room is spoken for. Later is no better before d, so d is where
//!   the next look is taken.
//!
//! Only a slot that could be taken is kept: the reserved ones are entered one after the other, the highest first, and one
//! that would not be approved at its d (something else blocks it, or those above took the room) keeps nothing. What the
//! rules say of an imagined ledger is asked of the rules themselves, over a copy of the customer with more contacts, so that
//! every kind answers. An imagined contact is one that was sent: nothing is given back that a report may still keep.
//! Shadow rules keep no slots. Among those who are held together nothing is kept: the end of the hold compares them.

use super::Situation;
use super::case::{Case, Hit};
use super::zones::Zones;
use crate::customer::{Contact, ContactState, Customer};
use crate::message::{Intent, Name};
use crate::policy::judgement::Reason;
use crate::policy::model::{Policy, Rule, RuleKindName};
use crate::policy::rules::RuleOutcome;
use crate::policy::rules::spend::cost_micros;
use std::cell::RefCell;

/// What an intent meets of its customer's queue.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Competition {
    pub hold: Hold,
    /// Those above it in the total order that keep a slot, the highest first.
    pub reserved: Vec<Reserved>,
}

/// Whether an intent may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hold {
    /// No: it was judged before, or its hold is over.
    #[default]
    Over,
    /// It has not been judged yet. The customer's hold, where one runs, ends then.
    May { running_until_ms: Option<i64> },
    /// It is held until then.
    Until(i64),
}

/// A deferred intent of a class that reserves.
#[derive(Debug, Clone, PartialEq)]
pub struct Reserved {
    pub intent: Intent,
    /// When it wakes.
    pub at_ms: i64,
    pub is_held: bool,
}

/// The slots that are kept against one candidate.
pub(super) struct Slots<'a> {
    policy: &'a Policy,
    customer: &'a Customer,
    surroundings: Situation<'a>,
    zones: Zones<'a>,
    slots: Vec<Slot<'a>>,
    /// The customer without the queue, made when it is first needed. Between two questions it holds real contacts only.
    imagined: RefCell<Option<Customer>>,
}

struct Slot<'a> {
    intent: &'a Intent,
    channel: Name,
    contact: Contact,
}

impl<'a> Slots<'a> {
    /// No slots.
    pub fn none(policy: &'a Policy, customer: &'a Customer, surroundings: Situation<'a>) -> Self {
        Self {
            policy,
            customer,
            surroundings,
            zones: Zones::new(policy, customer),
            slots: Vec::new(),
            imagined: RefCell::new(None),
        }
    }

    /// Enters a reserved intent, if it would be approved at its time.
    pub fn enter(&mut self, intent: &'a Intent, at_ms: i64) {
        let Some(case) = Case::new(self, intent) else { return };
        let Some(channel) = case.channel_that_passes(at_ms).cloned() else {
            return;
        };
        let contact = case.imagined_contact(&channel, at_ms);
        self.slots.push(Slot {
            intent,
            channel,
            contact,
        });
    }

    pub fn policy(&self) -> &'a Policy {
        self.policy
    }

    pub fn customer(&self) -> &'a Customer {
        self.customer
    }

    /// What is shared with other customers.
    pub fn surroundings(&self) -> &Situation<'a> {
        &self.surroundings
    }

    pub fn zones(&self) -> &Zones<'a> {
        &self.zones
    }

    /// Whether a slot is kept for later than this instant.
    pub fn any_after(&self, at_ms: i64) -> bool {
        self.next_after(at_ms).is_some()
    }

    /// The first slot after this instant.
    pub fn next_after(&self, at_ms: i64) -> Option<i64> {
        let times = self.slots.iter().map(|slot| slot.contact.at_ms);
        times.filter(|slot_ms| *slot_ms > at_ms).min()
    }

    /// Asks a question about the customer as it would be at this instant: what was reserved until then has become a contact.
    pub fn with_ledger<R>(&self, until_ms: i64, then: impl FnOnce(&Customer) -> R) -> R {
        let kept = self.slots.iter().map(|slot| &slot.contact);
        self.with_contacts(kept.filter(|contact| contact.at_ms <= until_ms), then)
    }

    /// The same, as a reserved intent finds it at its time. Those above it go first where they wake together.
    fn with_ledger_of<R>(&self, index: usize, more: Option<&Contact>, then: impl FnOnce(&Customer) -> R) -> R {
        let at_ms = self.slots[index].contact.at_ms;
        let before = self.slots.iter().enumerate().filter(|(other, slot)| {
            let other_ms = slot.contact.at_ms;
            other_ms < at_ms || (other_ms == at_ms && *other < index)
        });
        self.with_contacts(before.map(|(_, slot)| &slot.contact).chain(more), then)
    }

    fn with_contacts<'c, R>(&self, added: impl Iterator<Item = &'c Contact>, then: impl FnOnce(&Customer) -> R) -> R {
        let mut added = added.peekable();
        if added.peek().is_none() {
            return then(self.customer);
        }
        let mut imagined = self.imagined.borrow_mut();
        let imagined = imagined.get_or_insert_with(|| self.customer.imagined());
        let mut places = Vec::new();
        for contact in added {
            let contacts = &mut imagined.contacts;
            let place = contacts.partition_point(|earlier| earlier.at_ms <= contact.at_ms);
            contacts.insert(place, contact.clone());
            places.push(place);
        }
        let answer = then(imagined);
        for place in places.into_iter().rev() {
            imagined.contacts.remove(place);
        }
        answer
    }

    /// Which of these rules, that pass for a candidate, would let a reserved intent pass at its time, and would not if the
    /// candidate became this contact.
    pub fn taken_by<'r>(&self, contact: &Contact, rules: &[&'r Rule]) -> Vec<Hit<'r>> {
        let mut hits: Vec<Hit<'r>> = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let slot_ms = slot.contact.at_ms;
            if slot_ms <= contact.at_ms {
                continue;
            }
            let taken = self.blocked_at(index, Some(contact), rules);
            if taken.is_empty() {
                continue;
            }
            let asked: Vec<&Rule> = taken.iter().map(|(rule, _)| *rule).collect();
            let anyway = self.blocked_at(index, None, &asked);
            for (rule, outcome) in taken {
                if !anyway.iter().any(|(other, _)| std::ptr::eq(*other, rule)) {
                    keep_latest(&mut hits, rule, outcome, slot_ms);
                }
            }
        }
        hits
    }

    /// Which of these rules block a reserved intent at its time.
    fn blocked_at<'r>(&self, index: usize, more: Option<&Contact>, rules: &[&'r Rule]) -> Vec<(&'r Rule, RuleOutcome)> {
        let slot = &self.slots[index];
        let mut blocked = Vec::new();
        let Some(case) = Case::new(self, slot.intent) else {
            return blocked;
        };
        self.with_ledger_of(index, more, |ledger| {
            case.with_view_of(ledger, &slot.channel, slot.contact.at_ms, |view| {
                let outcomes = rules.iter().map(|rule| (*rule, case.blocked_by(rule, view)));
                blocked.extend(outcomes.filter_map(|(rule, outcome)| Some((rule, outcome?))));
            });
        });
        blocked
    }
}

impl<'a> Case<'a> {
    /// The contact that an approval would make, as one that stays: it was sent.
    pub fn imagined_contact(&self, channel: &Name, at_ms: i64) -> Contact {
        let cost_micros = cost_micros(self.policy, self.intent, channel);
        Contact {
            state: ContactState::Sent,
            ..Contact::of_intent(self.intent, channel, &self.class.name, cost_micros, at_ms)
        }
    }
}

/// Whether what the rule has room for can be kept for somebody.
pub(super) fn is_contested(rule: &Rule) -> bool {
    use RuleKindName::{Cap, Gap, Pressure, Spend};
    !rule.shadow && matches!(rule.kind.name(), Cap | Gap | Pressure | Spend)
}

/// One hit a rule. It blocks up to the last slot that would be taken: as long as the candidate comes before a slot, coming
/// later only brings it nearer.
fn keep_latest<'r>(hits: &mut Vec<Hit<'r>>, rule: &'r Rule, outcome: RuleOutcome, slot_ms: i64) {
    let hit = Hit {
        rule: Some(rule),
        reason: Reason::Arbitration,
        step: Reason::Arbitration.step(),
        on_hit: rule.on_hit,
        outcome: RuleOutcome {
            free_at_ms: Some(slot_ms),
            ..outcome
        },
        depends_on_time: rule.depends_on_time(),
    };
    let same = |other: &Hit| other.rule.is_some_and(|other| other.id == rule.id);
    match hits.iter_mut().find(|other| same(other)) {
        Some(known) if known.outcome.free_at_ms < Some(slot_ms) => *known = hit,
        Some(_) => {}
        None => hits.push(hit),
    }
}
