//! One transaction's batch, run again over the state before it.
//!
//! What a batch was made of is recorded but for three things: whom the time made due, whose queue a new policy timed anew, and
//! the order between topics. What the transaction changed tells the first two; where that is not enough, the answers that
//! are possible are tried, for the one customer that is concerned.

use super::orders::{ORDERS_AT_MOST, is_blocked_by_capacity, is_of, orders, pairs};
use crate::audit::facts::{Group, Received};
use crate::audit::log::LogRecord;
use crate::audit::reading::{Coordinates, header};
use crate::commit::log::Outgoing;
use crate::commit::marker::Marker;
use crate::customer::DecisionCoordinates;
use crate::customer::keys::{self, Key, parse_key};
use crate::intake::source::{InputKind, Inputs, Record};
use crate::message::Name;
use crate::policy::model::Policy;
use crate::policy::rules::capacity::capacities;
use crate::store::Store;
use crate::task::batch::{BatchContext, Culprit, Work, place, prepare};
use crate::verdict::TopicNames;
use crate::verdict::reroute::{StrayKind, read_stray};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

/// How many waiting intents a batch may have judged that had to be a small one, after a failure.
const LIMITS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

type Values = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A batch, as far as it is recorded.
pub struct Batch<'a, S> {
    /// As it was before.
    pub store: &'a S,
    pub topics: &'a TopicNames,
    pub inputs: &'a Inputs,
    pub max_intent_bytes: usize,
    pub partition: i32,
    pub marker: &'a Marker,
    /// What the transaction covers of the inputs, topic by topic.
    pub read: &'a [Record],
    /// What it changed, with the offsets at which that stands.
    pub recorded: &'a BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)>,
    /// Sources that ended as dead letters because their step failed.
    pub unprocessable: &'a BTreeSet<Coordinates>,
}

/// What follows.
#[derive(Debug, Default)]
pub struct Derived {
    pub outgoing: Vec<Outgoing>,
    /// Customers for whom nothing can be told.
    pub unresolved: BTreeSet<String>,
    /// Offsets in the state topic of what does not follow from the log.
    pub wrong: Vec<i64>,
}

/// One possible answer to what is not recorded.
#[derive(Clone)]
struct Guess {
    engagement: Vec<Record>,
    intents: Vec<Record>,
    due: Vec<String>,
    retime: Vec<String>,
    may_judge: bool,
    limit: usize,
    fails: bool,
}

struct Outcome {
    changes: Values,
    outgoing: Vec<Outgoing>,
}

impl<S: Store> Batch<'_, S> {
    /// Everybody whom the batch may concern.
    fn customers(&self) -> BTreeSet<String> {
        let read = self.read.iter().filter_map(|record| self.customer_of(record));
        read.chain(self.changed()).collect()
    }

    /// The same, with the records that are of nobody.
    pub fn groups(&self) -> BTreeSet<Group> {
        let read = self.read.iter().map(|record| self.group_of(record));
        read.chain(self.changed()).collect()
    }

    /// Runs it again. `candidates`: the policies that may have judged, the most likely first, at least one; decisions of that
    /// very time name the first `named` of them.
    pub fn derive(&mut self, candidates: &[Rc<Policy>], named: usize) -> Derived {
        let recorded: Values = self
            .recorded
            .iter()
            .map(|(key, (_, value))| (key.clone(), value.clone()))
            .collect();
        let names = self.names();
        let mut right: Option<(&Rc<Policy>, Outcome)> = None;
        let mut best: Option<(usize, &Rc<Policy>, Outcome, BTreeSet<Owner>)> = None;
        for (index, policy) in candidates.iter().enumerate() {
            if right.is_some() && index >= named {
                break;
            }
            let Some(outcome) = self.run(policy, &self.base()) else {
                continue;
            };
            let differing = differing(&recorded, &outcome.changes, &names);
            if !differing.is_empty() {
                if best.as_ref().is_none_or(|(least, ..)| differing.len() < *least) {
                    best = Some((differing.len(), policy, outcome, differing));
                }
            } else if right
                .as_ref()
                .is_some_and(|(_, right)| right.outgoing != outcome.outgoing)
            {
                // Two policies met within one millisecond, and the state does not tell which of them judged here.
                return self.nothing();
            } else {
                right = Some((policy, outcome));
            }
        }
        match (right, best) {
            (Some((policy, outcome)), _) => self.resolve(policy, outcome, &BTreeSet::new(), &recorded, &names),
            (None, Some((_, policy, outcome, differing))) => {
                self.resolve(policy, outcome, &differing, &recorded, &names)
            }
            (None, None) => self.nothing(),
        }
    }

    fn nothing(&self) -> Derived {
        Derived {
            unresolved: self.groups(),
            ..Derived::default()
        }
    }

    /// Looks for the answers under which what differs does not differ any more, customer by customer.
    fn resolve(
        &self,
        policy: &Policy,
        base: Outcome,
        differing: &BTreeSet<Owner>,
        recorded: &Values,
        names: &BTreeMap<[u8; 16], String>,
    ) -> Derived {
        let shares = capacities(policy).next().is_some();
        let is_order_shared = shares && self.topics_of(true) > 1;
        let mut derived = Derived {
            unresolved: self.doubtful(policy, &base, recorded, names),
            ..Derived::default()
        };
        let mut base = base;
        // What somebody used of a capacity counts for everybody: the answers are put into one batch.
        let mut batch = shares.then(|| self.base());
        for owner in differing {
            let Owner::Customer(customer) = owner else { continue };
            let own: Values = values_of(recorded, owner, names);
            if derived.unresolved.contains(customer) || values_of(&base.changes, owner, names) == own {
                continue;
            }
            let (found, is_certain, is_complete) = self.answer(policy, batch.as_ref(), owner, &own, names);
            match found.filter(|_| is_certain) {
                Some((guess, outcome)) if batch.is_some() => (batch, base) = (Some(guess), outcome),
                Some((_, outcome)) => {
                    // A dead letter keeps whatever key it came with: it may be of nobody.
                    let is_letter = |record: &Outgoing| record.topic == self.topics.dead_letter;
                    base.outgoing
                        .retain(|record| is_letter(record) || !is_of(record, customer));
                    for record in outcome.outgoing {
                        let is_wanted = match is_letter(&record) {
                            true => !base.outgoing.contains(&record),
                            false => is_of(&record, customer),
                        };
                        if is_wanted {
                            base.outgoing.push(record);
                        }
                    }
                }
                None if is_complete && is_certain && !is_order_shared => {
                    derived.wrong.extend(self.offset_of(owner, names));
                }
                None => drop(derived.unresolved.insert(customer.clone())),
            }
        }
        if shares && !derived.unresolved.is_empty() && base.outgoing.iter().any(is_blocked_by_capacity) {
            derived.unresolved = self.customers();
        }
        // What the customers share was counted with what was wrong of them.
        let is_only_shared = differing.iter().all(|owner| !matches!(owner, Owner::Customer(_)));
        if is_only_shared && !is_order_shared {
            let shared = differing.iter().filter_map(|owner| self.offset_of(owner, names));
            derived.wrong.extend(shared);
        }
        let is_open = |record: &Outgoing| {
            let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
            // A dead letter keeps whatever key it came with.
            let is_letter = record.topic == self.topics.dead_letter;
            !is_letter && key.is_some_and(|key| derived.unresolved.contains(key))
        };
        derived.outgoing = base.outgoing.into_iter().filter(|record| !is_open(record)).collect();
        derived
    }

    /// An answer under which one customer's state is what was recorded, with what follows from it; whether all such answers give
    /// the same verdicts; and whether there are no others. `batch`: everybody else, where that matters.
    fn answer(
        &self,
        policy: &Policy,
        batch: Option<&Guess>,
        owner: &Owner,
        own: &Values,
        names: &BTreeMap<[u8; 16], String>,
    ) -> (Option<(Guess, Outcome)>, bool, bool) {
        let Owner::Customer(customer) = owner else {
            return (None, true, true);
        };
        let (guesses, is_complete) = self.guesses(customer);
        let mut found: Option<(Guess, Outcome)> = None;
        for guess in guesses {
            if found.is_some() && guess.limit != usize::MAX {
                break;
            }
            let guess = match batch {
                Some(batch) => self.among_all(batch, customer, guess),
                None => guess,
            };
            let Some(outcome) = self.run(policy, &guess) else {
                continue;
            };
            if values_of(&outcome.changes, owner, names) != *own {
                continue;
            }
            let verdicts = |outcome: &Outcome| -> Vec<Outgoing> {
                let own = outcome.outgoing.iter().filter(|record| is_of(record, customer));
                own.cloned().collect()
            };
            match &found {
                Some((_, before)) if verdicts(before) != verdicts(&outcome) => return (found, false, is_complete),
                Some(_) => {}
                None => found = Some((guess, outcome)),
            }
        }
        (found, true, is_complete)
    }

    /// Customers for whom another order between topics, which is not recorded, gives other verdicts and the same state. Where a
    /// capacity is nearly used up, each one's share depends on everybody who came before: then it is all of them.
    fn doubtful(
        &self,
        policy: &Policy,
        base: &Outcome,
        recorded: &Values,
        names: &BTreeMap<[u8; 16], String>,
    ) -> BTreeSet<String> {
        if self.topics_of(true) < 2 && self.topics_of(false) < 2 {
            return BTreeSet::new();
        }
        let mut reversed = self.base();
        // The order within each topic stays.
        reversed
            .engagement
            .sort_by_key(|record| std::cmp::Reverse(record.topic));
        reversed.intents.sort_by_key(|record| std::cmp::Reverse(record.topic));
        let Some(other) = self.run(policy, &reversed) else {
            return self.customers();
        };
        let shares = capacities(policy).next().is_some();
        if shares && base.outgoing.iter().chain(&other.outgoing).any(is_blocked_by_capacity) {
            return self.customers();
        }
        let verdicts = |outcome: &Outcome, customer: &str| -> Vec<Outgoing> {
            let own = outcome.outgoing.iter().filter(|record| is_of(record, customer));
            own.cloned().collect()
        };
        let mut doubtful = self.customers();
        doubtful.retain(|customer| {
            let owner = Owner::Customer(customer.clone());
            let is_possible = values_of(&other.changes, &owner, names) == values_of(recorded, &owner, names);
            is_possible && verdicts(base, customer) != verdicts(&other, customer)
        });
        doubtful
    }

    /// How many topics of intents, or of what is read ahead of them, the batch has records of.
    fn topics_of(&self, intents: bool) -> usize {
        let is_wanted = |record: &&Record| {
            let kind = self.inputs.topics[usize::from(record.topic)].1;
            (kind == InputKind::Intents) == intents
        };
        let topics: BTreeSet<u16> = self.read.iter().filter(is_wanted).map(|record| record.topic).collect();
        topics.len()
    }

    /// The guess about one customer, among what is believed of everybody else.
    fn among_all(&self, batch: &Guess, customer: &str, guess: Guess) -> Guess {
        let base = batch.clone();
        let place = |all: Vec<Record>, own: Vec<Record>| -> Vec<Record> {
            let mut own = own.into_iter();
            let placed = all.into_iter().map(|record| {
                let is_own = self.customer_of(&record).as_deref() == Some(customer);
                is_own.then(|| own.next()).flatten().unwrap_or(record)
            });
            placed.collect()
        };
        let others = base.due.into_iter().filter(|id| id != customer && guess.may_judge);
        let walked = base.retime.into_iter().filter(|id| id != customer && guess.may_judge);
        Guess {
            engagement: place(base.engagement, guess.engagement),
            intents: place(base.intents, guess.intents),
            due: others.chain(guess.due).collect(),
            retime: walked.chain(guess.retime).collect(),
            ..guess
        }
    }

    /// The usual answer: topic by topic, and whoever was changed was due.
    fn base(&self) -> Guess {
        let (engagement, intents) = self.split(self.read.iter().cloned());
        Guess {
            engagement,
            intents,
            due: self.changed().into_iter().collect(),
            retime: Vec::new(),
            may_judge: true,
            limit: usize::MAX,
            fails: true,
        }
    }

    /// What may have happened to one customer; and whether that is all that may.
    fn guesses(&self, customer: &str) -> (Vec<Guess>, bool) {
        let own = self
            .read
            .iter()
            .filter(|record| self.customer_of(record).as_deref() == Some(customer));
        let (engagement, intents) = self.split(own.cloned());
        let (engagement_orders, all_engagement) = orders(&engagement);
        let (intent_orders, all_intents) = orders(&intents);
        let has_intents = self.read.iter().any(|record| self.is_judged(record));
        let judges: &[bool] = if has_intents { &[true] } else { &[true, false] };
        let fails: &[bool] = if self.unprocessable.is_empty() {
            &[true]
        } else {
            &[true, false]
        };
        let mut guesses = Vec::new();
        // A batch that had to be small is not large.
        let limits = LIMITS
            .into_iter()
            .filter(|_| self.read.len() <= 2 * LIMITS[LIMITS.len() - 1]);
        for limit in [usize::MAX, 0].into_iter().chain(limits) {
            // Small batches are rare: they are tried in one order only.
            let orders_at_most = if limit == usize::MAX { ORDERS_AT_MOST } else { 1 };
            for (engagement, intents) in pairs(&engagement_orders, &intent_orders).take(orders_at_most) {
                for (retime, is_due) in pairs(&[false, true], &[true, false]) {
                    for (may_judge, fails) in pairs(judges, fails) {
                        let named = |is_wanted: bool| match is_wanted && *may_judge {
                            true => vec![customer.to_owned()],
                            false => Vec::new(),
                        };
                        guesses.push(Guess {
                            engagement: engagement.clone(),
                            intents: intents.clone(),
                            due: named(*is_due),
                            retime: named(*retime),
                            may_judge: *may_judge,
                            limit,
                            fails: *fails,
                        });
                    }
                }
            }
        }
        let all_orders = engagement_orders.len() * intent_orders.len() <= ORDERS_AT_MOST;
        let is_failing = self
            .unprocessable
            .iter()
            .any(|source| source.partition == self.partition);
        (guesses, all_engagement && all_intents && all_orders && !is_failing)
    }

    fn run(&self, policy: &Policy, guess: &Guess) -> Option<Outcome> {
        let now_ms = self.marker.now_ms;
        let hints = |ids: &[String]| ids.iter().map(|id| (now_ms, id.clone())).collect();
        let barrier = self
            .inputs
            .topics
            .iter()
            .filter(|(_, kind)| *kind != InputKind::Intents)
            .map(|(topic, _)| {
                let position = self.marker.positions.iter().find(|(name, _)| **name == **topic);
                (topic.clone(), position.map_or(0, |(_, position)| *position))
            });
        let work = Work {
            partition: self.partition,
            lineage: self.marker.lineage,
            now_ms,
            barrier: barrier.collect(),
            engagement: guess.engagement.clone(),
            intents: guess.intents.clone(),
            due: hints(&guess.due),
            retime: hints(&guess.retime),
            may_judge: guess.may_judge,
            renews_offsets: false,
            due_at_most: guess.limit,
            rerouted_at_most: if guess.limit == 0 { usize::MAX } else { guess.limit },
        };
        let poisoned = if guess.fails { self.poisoned() } else { HashSet::new() };
        let context = BatchContext {
            policy,
            topics: self.topics,
            inputs: self.inputs,
            max_intent_bytes: self.max_intent_bytes,
            poisoned: &poisoned,
        };
        let prepared = prepare(&context, self.store, &work).ok()?;
        Some(Outcome {
            changes: prepared.changes.into_iter().collect(),
            outgoing: prepared.outgoing,
        })
    }

    fn poisoned(&self) -> HashSet<Culprit> {
        let mut poisoned = HashSet::new();
        if self.unprocessable.is_empty() {
            return poisoned;
        }
        for record in self.read {
            if self.unprocessable.contains(&self.source_of(record)) {
                poisoned.insert(Culprit::Record(place(record)));
            }
        }
        for source in self.unprocessable {
            let origin = DecisionCoordinates {
                topic: Name::from(source.topic.as_str()),
                partition: source.partition,
                offset: source.offset,
                attempt: 0,
            };
            poisoned.insert(Culprit::Waiting(self.partition, origin));
        }
        poisoned
    }

    fn source_of(&self, record: &Record) -> Coordinates {
        let (topic, kind) = &self.inputs.topics[usize::from(record.topic)];
        let origin = header(&record.headers, "forbear-source").filter(|_| *kind == InputKind::Reroute);
        origin.and_then(Coordinates::parse).unwrap_or_else(|| Coordinates {
            topic: topic.to_string(),
            partition: record.partition,
            offset: record.offset,
        })
    }

    fn split(&self, records: impl Iterator<Item = Record>) -> (Vec<Record>, Vec<Record>) {
        records.partition(|record| self.inputs.topics[usize::from(record.topic)].1 != InputKind::Intents)
    }

    /// An intent, wherever it stands: somebody was judged.
    fn is_judged(&self, record: &Record) -> bool {
        match self.inputs.topics[usize::from(record.topic)].1 {
            InputKind::Intents => true,
            InputKind::Engagement => false,
            InputKind::Reroute => {
                read_stray(record.value.as_deref(), &record.headers).is_ok_and(|stray| stray.kind == StrayKind::Intent)
            }
        }
    }

    fn customer_of(&self, record: &Record) -> Option<String> {
        Some(self.group_of(record)).filter(|group| !group.starts_with('\u{0}'))
    }

    fn group_of(&self, record: &Record) -> Group {
        let mut headers = record.headers.clone();
        if self.inputs.topics[usize::from(record.topic)].1 == InputKind::Reroute {
            headers.truncate(headers.len().saturating_sub(4));
        }
        let as_received = LogRecord {
            value: record.value.clone(),
            headers,
            ..LogRecord::default()
        };
        let (group, _) = match self.is_judged(record) {
            true => Received::intent(self.source_of(record), &as_received),
            false => Received::engagement(self.source_of(record), &as_received),
        };
        group
    }

    /// Customers of whom something was changed.
    fn changed(&self) -> BTreeSet<String> {
        let keys = self.recorded.keys().filter_map(|key| match parse_key(key)? {
            Key::Head { customer_id } | Key::History { customer_id, .. } | Key::WaitingBody { customer_id, .. } => {
                Some(customer_id.to_owned())
            }
            Key::Marker { .. } | Key::Erased { .. } | Key::Capacity { .. } => None,
        });
        keys.collect()
    }

    /// What an erased customer's entry is kept under, for everybody concerned.
    fn names(&self) -> BTreeMap<[u8; 16], String> {
        let lineage = &self.marker.lineage;
        let named = self.customers().into_iter();
        named.map(|id| (keys::erased_hash(lineage, &id), id)).collect()
    }

    fn offset_of(&self, owner: &Owner, names: &BTreeMap<[u8; 16], String>) -> Option<i64> {
        let own = self.recorded.iter().find(|(key, _)| owner_of(key, names) == *owner);
        // Where nothing was changed that should have been, the marker's neighbour tells where.
        own.or_else(|| self.recorded.iter().next())
            .map(|(_, (offset, _))| *offset)
    }
}

/// Of whom a value is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Customer(String),
    /// Of the partition, or of somebody who is not known.
    Other(Vec<u8>),
}

fn owner_of(key: &[u8], names: &BTreeMap<[u8; 16], String>) -> Owner {
    match parse_key(key) {
        Some(Key::Head { customer_id } | Key::History { customer_id, .. } | Key::WaitingBody { customer_id, .. }) => {
            Owner::Customer(customer_id.to_owned())
        }
        Some(Key::Erased { hash }) if names.contains_key(&hash) => Owner::Customer(names[&hash].clone()),
        _ => Owner::Other(key.to_vec()),
    }
}

fn values_of(values: &Values, owner: &Owner, names: &BTreeMap<[u8; 16], String>) -> Values {
    let own = values.iter().filter(|(key, _)| owner_of(key, names) == *owner);
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Whose values differ.
fn differing(recorded: &Values, derived: &Values, names: &BTreeMap<[u8; 16], String>) -> BTreeSet<Owner> {
    let keys: BTreeSet<&Vec<u8>> = recorded.keys().chain(derived.keys()).collect();
    let differing = keys.into_iter().filter(|key| recorded.get(*key) != derived.get(*key));
    differing.map(|key| owner_of(key, names)).collect()
}
