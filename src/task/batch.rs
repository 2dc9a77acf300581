//! One task's share of a batch: what was read becomes the records and the changed state of one transaction. Nothing is
//! written here, and nothing is read but the store; dropping the result undoes everything.
//!
//! Order, at one decision time: engagement in the order of the log, then what is due, then arrivals in the order of the log.

use crate::commit::log::Outgoing;
use crate::commit::marker::Lineage;
use crate::customer::{Customer, LoadError};
use crate::intake::source::{InputKind, Inputs, Record, TopicIndex};
use crate::message::owner::owner;
use crate::message::{EventKind, Malformed, MalformedKind, Name, decode_event, decode_intent};
use crate::policy::model::Policy;
use crate::store::{Change, Store, StoreError};
use crate::verdict::dead_letter::dead_letter;
use crate::verdict::reroute::{Stray, StrayKind, read_stray, reroute};
use crate::verdict::step::{self, Arrival, Counted, Effects, StepContext};
use crate::verdict::{Received, SourceCoordinates, Stamp, TopicNames};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Where a record lies.
pub type Place = (TopicIndex, i32, i64);

/// What all tasks of one batch share.
pub struct BatchContext<'a> {
    pub policy: &'a Policy,
    pub topics: &'a TopicNames,
    pub inputs: &'a Inputs,
    pub max_intent_bytes: usize,
    /// Records that failed twice on their own: dead letters, unread.
    pub poisoned: &'a HashSet<Place>,
}

/// What one task contributes.
pub struct Work {
    pub partition: i32,
    pub lineage: Lineage,
    pub now_ms: i64,
    /// For each engagement and the re-route topic, the offset up to which it is applied in this batch.
    pub barrier: Vec<(Name, i64)>,
    pub engagement: Vec<Record>,
    pub intents: Vec<Record>,
    /// Due hints: (instant, customer id).
    pub due: Vec<(i64, String)>,
    /// Customers whose queue is timed anew, because the policy changed.
    pub retime: Vec<(i64, String)>,
    /// False while engagement is being caught up with: it is applied, and nothing is judged.
    pub may_judge: bool,
}

/// The task's share of the transaction, and what is to be counted once it is committed.
#[derive(Debug, Default)]
pub struct Prepared {
    pub outgoing: Vec<Outgoing>,
    pub changes: Vec<Change>,
    /// Due hints that are served by this.
    pub served: Vec<(i64, String)>,
    pub counted: Vec<Counted>,
    pub applied: Vec<EventKind>,
    pub dead_letters: Vec<MalformedKind>,
    pub strays: Vec<StrayKind>,
}

/// Why a batch has to be dropped.
#[derive(Debug)]
pub enum BatchError {
    Store(StoreError),
    /// A value of the state cannot be read.
    State(String),
    /// The step panicked on this record (none: on a waiting intent).
    Panicked(Option<Place>),
}

/// Steps through everything that the task has to do.
///
/// # Errors
/// The batch has to be dropped; nothing has happened.
pub fn prepare<S: Store>(context: &BatchContext, store: &S, work: &Work) -> Result<Prepared, BatchError> {
    let step_context = StepContext {
        policy: context.policy,
        topics: context.topics,
        stamp: Stamp { decided_at_ms: work.now_ms, policy: &context.policy.label, barrier: &work.barrier },
        partition_count: context.inputs.partition_count,
        max_intent_bytes: context.max_intent_bytes,
    };
    let mut batch = Batch { context, step_context, store, work, customers: BTreeMap::new(), prepared: Prepared::default() };
    let mut arrivals = Vec::new();
    for record in &work.engagement {
        batch.guarded(Some(place(record)), |batch| batch.engagement(record, &mut arrivals))?;
    }
    if !work.may_judge {
        debug_assert!(work.intents.is_empty() && work.due.is_empty());
        return batch.finish();
    }
    batch.guarded(None, Batch::due)?;
    for record in &work.intents {
        batch.guarded(Some(place(record)), |batch| {
            let source = batch.coordinates(record);
            let received = received(record);
            batch.intent(source, record.timestamp_ms, received, Found::In(place(record)))
        })?;
    }
    for stray in arrivals {
        let (place, stray): (Place, Stray) = stray;
        batch.guarded(Some(place), |batch| {
            batch.intent(stray.source.clone(), stray.timestamp_ms, stray.received, Found::Rerouted)
        })?;
    }
    batch.finish()
}

/// The place of a record.
pub fn place(record: &Record) -> Place {
    (record.topic, record.partition, record.offset)
}

/// How an input came to this partition.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    In(Place),
    Rerouted,
}

struct Batch<'a, S> {
    context: &'a BatchContext<'a>,
    step_context: StepContext<'a>,
    store: &'a S,
    work: &'a Work,
    /// Everybody whom the batch has looked at.
    customers: BTreeMap<Name, Customer>,
    prepared: Prepared,
}

impl<'a, S: Store> Batch<'a, S> {
    /// A panic in a step is a fault of ours, but it must cost one record, not the partition.
    fn guarded(
        &mut self,
        place: Option<Place>,
        step: impl FnOnce(&mut Self) -> Result<(), BatchError>,
    ) -> Result<(), BatchError> {
        catch_unwind(AssertUnwindSafe(|| step(self))).unwrap_or(Err(BatchError::Panicked(place)))
    }

    fn engagement(&mut self, record: &'a Record, arrivals: &mut Vec<(Place, Stray<'a>)>) -> Result<(), BatchError> {
        let source = self.coordinates(record);
        if self.context.inputs.topics[usize::from(record.topic)].1 != InputKind::Reroute {
            return self.event(source, record.timestamp_ms, received(record), Found::In(place(record)));
        }
        match read_stray(record.value.as_deref(), &record.headers) {
            Err(malformed) => self.bury(&received(record), &source, &malformed),
            // Judging waits until all engagement of the batch is applied.
            Ok(stray) if stray.kind == StrayKind::Intent => arrivals.push((place(record), stray)),
            Ok(stray) => {
                self.event(stray.source, stray.timestamp_ms, stray.received, Found::Rerouted)?;
            }
        }
        Ok(())
    }

    fn event(
        &mut self,
        source: SourceCoordinates,
        timestamp_ms: i64,
        received: Received,
        found: Found,
    ) -> Result<(), BatchError> {
        if self.is_poisoned(found) {
            self.bury(&received, &source, &unprocessable());
            return Ok(());
        }
        let event = match decode_event(received.value, received.headers, self.context.max_intent_bytes, false) {
            Ok(event) => event,
            Err(malformed) => {
                self.bury(&received, &source, &malformed);
                return Ok(());
            }
        };
        let stray = Stray { kind: StrayKind::Engagement, source, timestamp_ms, received };
        if self.belongs_elsewhere(&event.customer_id, &stray, found) {
            return Ok(());
        }
        self.with_customer(&event.customer_id, |context, customer, read, effects| {
            step::engagement(context, customer, &event, read, effects)
        })?;
        self.prepared.applied.push(event.kind);
        Ok(())
    }

    fn intent(
        &mut self,
        source: SourceCoordinates,
        timestamp_ms: i64,
        received: Received,
        found: Found,
    ) -> Result<(), BatchError> {
        if self.is_poisoned(found) {
            self.bury(&received, &source, &unprocessable());
            return Ok(());
        }
        let most = self.context.max_intent_bytes;
        let intent = match decode_intent(received.value, received.headers, timestamp_ms, most, false) {
            Ok(intent) => intent,
            Err(malformed) => {
                self.bury(&received, &source, &malformed);
                return Ok(());
            }
        };
        if self.context.policy.channel(&intent.channel).is_none() {
            self.bury(&received, &source, &Malformed::unknown_channel());
            return Ok(());
        }
        let stray = Stray { kind: StrayKind::Intent, source, timestamp_ms, received };
        if self.belongs_elsewhere(&intent.customer_id, &stray, found) {
            return Ok(());
        }
        let arrival = Arrival { source: stray.source, timestamp_ms, received, intent: &intent };
        self.with_customer(&intent.customer_id, |context, customer, read, effects| {
            step::arrival(context, customer, &arrival, read, effects)
        })
    }

    /// Judges again: whose hint is due, whose queue an event has timed anew, and whose turn it is after a policy change.
    fn due(&mut self) -> Result<(), BatchError> {
        let work = self.work;
        let mut ids: BTreeSet<Name> = work.due.iter().map(|(_, id)| id.as_str().into()).collect();
        let now_ms = work.now_ms;
        let touched = self.customers.values().filter(|customer| customer.next_due_ms().is_some_and(|due| due <= now_ms));
        ids.extend(touched.map(|customer| customer.id.clone()));
        let retimed: BTreeSet<Name> = work.retime.iter().map(|(_, id)| id.as_str().into()).collect();
        for id in ids.union(&retimed) {
            let retime = retimed.contains(id);
            self.with_customer(id, |context, customer, read, effects| {
                if retime {
                    customer.retime(now_ms);
                }
                step::due(context, customer, read, effects)
            })?;
        }
        for hint in work.due.iter().chain(&work.retime) {
            let still_true = self.customers.get(hint.1.as_str()).and_then(Customer::next_due_ms) == Some(hint.0);
            if !still_true {
                self.prepared.served.push(hint.clone());
            }
        }
        Ok(())
    }

    /// Sends a stray on its way to its owner, once.
    fn belongs_elsewhere(&mut self, customer_id: &str, stray: &Stray, found: Found) -> bool {
        let owner = owner(customer_id, self.context.inputs.partition_count);
        if owner == self.work.partition {
            return false;
        }
        if found == Found::Rerouted {
            self.bury(&stray.received, &stray.source, &Malformed::stray_again());
        } else {
            self.prepared.outgoing.push(reroute(self.context.topics, stray, customer_id, owner));
            self.prepared.strays.push(stray.kind);
        }
        true
    }

    fn with_customer(
        &mut self,
        id: &Name,
        step: impl FnOnce(
            &StepContext,
            &mut Customer,
            step::Read<StoreError>,
            &mut Effects,
        ) -> Result<(), LoadError<StoreError>>,
    ) -> Result<(), BatchError> {
        let store = self.store;
        let mut read = |key: &[u8]| store.get(key);
        if !self.customers.contains_key(id) {
            let customer = Customer::load(id.clone(), &self.work.lineage, &mut read).map_err(load_error)?;
            self.customers.insert(id.clone(), customer);
        }
        let Some(customer) = self.customers.get_mut(id) else { return Ok(()) };
        let mut effects = Effects::default();
        step(&self.step_context, customer, &mut read, &mut effects).map_err(load_error)?;
        self.prepared.outgoing.append(&mut effects.outgoing);
        self.prepared.counted.append(&mut effects.counted);
        Ok(())
    }

    fn bury(&mut self, received: &Received, source: &SourceCoordinates, malformed: &Malformed) {
        self.prepared.outgoing.push(dead_letter(self.context.topics, received, source, malformed));
        self.prepared.dead_letters.push(malformed.kind);
    }

    fn is_poisoned(&self, found: Found) -> bool {
        matches!(found, Found::In(place) if self.context.poisoned.contains(&place))
    }

    fn coordinates(&self, record: &Record) -> SourceCoordinates {
        SourceCoordinates {
            topic: self.context.inputs.topics[usize::from(record.topic)].0.clone(),
            partition: record.partition,
            offset: record.offset,
        }
    }

    fn finish(mut self) -> Result<Prepared, BatchError> {
        for customer in self.customers.values_mut() {
            self.prepared.changes.append(&mut customer.changes(&self.work.lineage));
        }
        Ok(self.prepared)
    }
}

fn received(record: &Record) -> Received<'_> {
    Received { key: record.key.as_deref(), value: record.value.as_deref(), headers: &record.headers }
}

fn unprocessable() -> Malformed {
    Malformed { kind: MalformedKind::BadField, detail: "the record could not be processed on its own, twice".into() }
}

fn load_error(error: LoadError<StoreError>) -> BatchError {
    match error {
        LoadError::Read(error) => BatchError::Store(error),
        LoadError::Codec(error) => BatchError::State(error.to_string()),
    }
}
