//! One task's share of a batch: what was read becomes the records and the changed state of one transaction. Nothing is
//! written here, and nothing is read but the store; dropping the result undoes everything.
//!
//! Order, at one decision time: engagement in the order of the log, then what is due, then arrivals in the order of the log.

mod due;

use crate::commit::log::Outgoing;
use crate::commit::marker::Lineage;
use crate::customer::{CapacityUse, Customer, DecisionCoordinates, LoadError};
use crate::intake::source::{InputKind, Inputs, Record, TopicIndex};
use crate::message::{EventKind, Malformed, MalformedKind, Name, decode_event, decode_intent, owner};
use crate::policy::model::Policy;
use crate::policy::rules::capacity::capacities;
use crate::store::{Change, Store, StoreError};
use crate::task::stopwatch::{StageTimes, Stopwatch};
use crate::verdict::dead_letter::dead_letter;
use crate::verdict::reroute::{Stray, StrayKind, read_stray, reroute};
use crate::verdict::step::{self, Arrival, Counted, Effects, StepContext};
use crate::verdict::{Received, SourceCoordinates, Stamp, TopicNames};
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Where a record lies.
pub type Place = (TopicIndex, i32, i64);

/// What cannot be processed, on its own, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Culprit {
    Record(Place),
    /// A waiting intent: partition that owns it, and where it was received.
    Waiting(i32, DecisionCoordinates),
    /// Whatever waits for a customer, where it is not known which of it: partition and customer id.
    Customer(i32, Name),
}

impl Culprit {
    /// The partition that it is of.
    pub fn partition(&self) -> i32 {
        match self {
            Self::Record((_, partition, _)) | Self::Waiting(partition, _) | Self::Customer(partition, _) => *partition,
        }
    }
}

/// What all tasks of one batch share.
pub struct BatchContext<'a> {
    pub policy: &'a Policy,
    pub topics: &'a TopicNames,
    pub inputs: &'a Inputs,
    pub max_intent_bytes: usize,
    /// What failed on its own: dead letters, unread.
    pub poisoned: &'a HashSet<Culprit>,
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
    /// The positions are committed again although they did not move, so that the group's offsets do not expire.
    pub renews_offsets: bool,
    /// So many of one customer's waiting intents are judged; the others stay due.
    pub due_at_most: usize,
    /// So many re-routed intents are judged; the others go round again, to the end of their topic.
    pub rerouted_at_most: usize,
}

impl Work {
    /// How many records (or due customers) the batch tries at once.
    pub fn size(&self) -> usize {
        self.engagement.len().min(self.rerouted_at_most) + self.intents.len() + self.due.len() + self.retime.len()
    }

    /// What a batch of one is about.
    pub fn first(&self) -> Option<Culprit> {
        let record = self.engagement.iter().chain(&self.intents).next();
        let customer = self.due.iter().chain(&self.retime).next();
        record
            .map(|record| Culprit::Record(place(record)))
            .or_else(|| customer.map(|(_, id)| Culprit::Customer(self.partition, id.as_str().into())))
    }
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
    /// The waiting intent that was judged first.
    pub judged_first: Option<Culprit>,
    /// Waiting intents (or all that is due of a customer) that ended as dead letters, because they fail on their own.
    pub given_up: Vec<Culprit>,
    /// Where the time went.
    pub times: StageTimes,
    /// By how much the deferred queue grew.
    pub deferred_growth: i64,
}

/// Why a batch has to be dropped.
#[derive(Debug)]
pub enum BatchError {
    Store(StoreError),
    /// A value of the state cannot be read.
    State(String),
    /// The step panicked on this.
    Panicked(Culprit),
    /// It panicked outside of any step, in a batch of so many, of which this is the first.
    PanickedSomewhere {
        size: usize,
        first: Option<Culprit>,
    },
}

/// Steps through everything that the task has to do.
///
/// # Errors
/// The batch has to be dropped; nothing has happened. That goes for a panic, too: what it left half changed is dropped here.
pub fn prepare<S: Store>(context: &BatchContext, store: &S, work: &Work) -> Result<Prepared, BatchError> {
    let somewhere = |_| {
        Err(BatchError::PanickedSomewhere {
            size: work.size(),
            first: work.first(),
        })
    };
    catch_unwind(AssertUnwindSafe(|| step_through(context, store, work))).unwrap_or_else(somewhere)
}

fn step_through<S: Store>(context: &BatchContext, store: &S, work: &Work) -> Result<Prepared, BatchError> {
    let timer = Instant::now();
    let step_context = StepContext {
        policy: context.policy,
        topics: context.topics,
        stamp: Stamp {
            decided_at_ms: work.now_ms,
            policy: &context.policy.label,
            barrier: &work.barrier,
        },
        partition_count: context.inputs.partition_count,
        max_intent_bytes: context.max_intent_bytes,
    };
    let capacity = CapacityUse::load(work.partition, capacities(context.policy), &mut |key| store.get(key));
    let mut batch = Batch {
        context,
        step_context,
        store,
        work,
        customers: BTreeMap::new(),
        capacity: capacity.map_err(load_error)?,
        prepared: Prepared::default(),
        watch: Stopwatch::default(),
    };
    let mut arrivals = Vec::new();
    for record in &work.engagement {
        batch.guarded(Culprit::Record(place(record)), |batch| {
            batch.engagement(record, &mut arrivals)
        })?;
    }
    if !work.may_judge {
        debug_assert!(work.intents.is_empty() && work.due.is_empty());
        return batch.finish(timer.elapsed());
    }
    batch.due()?;
    for record in &work.intents {
        batch.guarded(Culprit::Record(place(record)), |batch| {
            let source = batch.coordinates(record);
            let received = received(record);
            batch.intent(source, record.timestamp_ms, received, Found::In(place(record)))
        })?;
    }
    for (index, (record, stray)) in arrivals.into_iter().enumerate() {
        if index >= work.rerouted_at_most {
            batch.prepared.outgoing.push(round_again(context, record));
            continue;
        }
        let (
            place,
            Stray {
                source,
                timestamp_ms,
                received,
                ..
            },
        ) = (place(record), stray);
        batch.guarded(Culprit::Record(place), |batch| {
            batch.intent(source, timestamp_ms, received, Found::Rerouted(place))
        })?;
    }
    batch.finish(timer.elapsed())
}

/// The place of a record.
pub fn place(record: &Record) -> Place {
    (record.topic, record.partition, record.offset)
}

/// How an input came to this partition.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    In(Place),
    /// In the re-route topic, at that place.
    Rerouted(Place),
}

struct Batch<'a, S> {
    context: &'a BatchContext<'a>,
    step_context: StepContext<'a>,
    store: &'a S,
    work: &'a Work,
    /// Everybody whom the batch has looked at.
    customers: BTreeMap<Name, Customer>,
    capacity: CapacityUse,
    prepared: Prepared,
    watch: Stopwatch,
}

impl<'a, S: Store> Batch<'a, S> {
    /// A panic in a step is a fault of ours, but it must cost one record, not the partition.
    fn guarded<T>(
        &mut self,
        culprit: Culprit,
        step: impl FnOnce(&mut Self) -> Result<T, BatchError>,
    ) -> Result<T, BatchError> {
        catch_unwind(AssertUnwindSafe(|| step(self))).unwrap_or(Err(BatchError::Panicked(culprit)))
    }

    fn engagement(
        &mut self,
        record: &'a Record,
        arrivals: &mut Vec<(&'a Record, Stray<'a>)>,
    ) -> Result<(), BatchError> {
        let source = self.coordinates(record);
        if self.context.inputs.topics[usize::from(record.topic)].1 != InputKind::Reroute {
            return self.event(source, record.timestamp_ms, received(record), Found::In(place(record)));
        }
        match read_stray(record.value.as_deref(), &record.headers) {
            Err(malformed) => self.bury(&received(record), &source, &malformed),
            // Judging waits until all engagement of the batch is applied.
            Ok(stray) if stray.kind == StrayKind::Intent => arrivals.push((record, stray)),
            Ok(stray) => {
                self.event(
                    stray.source,
                    stray.timestamp_ms,
                    stray.received,
                    Found::Rerouted(place(record)),
                )?;
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
        self.watch.begin();
        let event = decode_event(received.value, received.headers, self.context.max_intent_bytes, false);
        self.watch.lap(|times| &mut times.decode);
        let event = match event {
            Ok(event) => event,
            Err(malformed) => {
                self.bury(&received, &source, &malformed);
                return Ok(());
            }
        };
        let stray = Stray {
            kind: StrayKind::Engagement,
            source,
            timestamp_ms,
            received,
        };
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
        self.watch.begin();
        let intent = decode_intent(received.value, received.headers, timestamp_ms, most, false);
        self.watch.lap(|times| &mut times.decode);
        let intent = match intent {
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
        let stray = Stray {
            kind: StrayKind::Intent,
            source,
            timestamp_ms,
            received,
        };
        if self.belongs_elsewhere(&intent.customer_id, &stray, found) {
            return Ok(());
        }
        let arrival = Arrival {
            source: stray.source,
            timestamp_ms,
            received,
            intent: &intent,
        };
        self.with_customer(&intent.customer_id, |context, customer, read, effects| {
            step::arrival(context, customer, &arrival, read, effects)
        })
    }

    /// Sends a stray on its way to its owner, once.
    fn belongs_elsewhere(&mut self, customer_id: &str, stray: &Stray, found: Found) -> bool {
        let owner = owner(customer_id, self.context.inputs.partition_count);
        if owner == self.work.partition {
            return false;
        }
        if matches!(found, Found::Rerouted(_)) {
            self.bury(&stray.received, &stray.source, &Malformed::stray_again());
        } else {
            self.prepared
                .outgoing
                .push(reroute(self.context.topics, stray, customer_id, owner));
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
            self.prepared.deferred_growth -= customer.waiting.len() as i64;
            self.customers.insert(id.clone(), customer);
        }
        self.watch.lap(|times| &mut times.lookup);
        let Some(customer) = self.customers.get_mut(id) else {
            return Ok(());
        };
        let mut effects = Effects {
            capacity: std::mem::take(&mut self.capacity),
            ..Effects::default()
        };
        step(&self.step_context, customer, &mut read, &mut effects).map_err(load_error)?;
        self.capacity = effects.capacity;
        self.prepared.outgoing.append(&mut effects.outgoing);
        self.prepared.counted.append(&mut effects.counted);
        self.watch.lap(|times| &mut times.judge);
        Ok(())
    }

    fn bury(&mut self, received: &Received, source: &SourceCoordinates, malformed: &Malformed) {
        self.prepared
            .outgoing
            .push(dead_letter(self.context.topics, received, source, malformed));
        self.prepared.dead_letters.push(malformed.kind);
    }

    fn is_poisoned(&self, found: Found) -> bool {
        let (Found::In(place) | Found::Rerouted(place)) = found;
        self.context.poisoned.contains(&Culprit::Record(place))
    }

    fn coordinates(&self, record: &Record) -> SourceCoordinates {
        SourceCoordinates {
            topic: self.context.inputs.topics[usize::from(record.topic)].0.clone(),
            partition: record.partition,
            offset: record.offset,
        }
    }

    /// Hints are told true from stale ones only here: an arrival may have made one true again. One that leads to a customer who
    /// was given up is served, or it would lead there again and again.
    fn finish(mut self, spent: Duration) -> Result<Prepared, BatchError> {
        let timer = Instant::now();
        let given_up = |id: &str| {
            let mut culprits = self.prepared.given_up.iter();
            culprits.any(|culprit| matches!(culprit, Culprit::Customer(_, of) if **of == *id))
        };
        let hints = self.work.due.iter().chain(&self.work.retime);
        let stale = hints.filter(|(due_ms, id)| {
            let next_due_ms = self.customers.get(id.as_str()).and_then(Customer::next_due_ms);
            next_due_ms != Some(*due_ms) || given_up(id)
        });
        let stale: Vec<(i64, String)> = stale.cloned().collect();
        self.prepared.served.extend(stale);
        for customer in self.customers.values_mut() {
            self.prepared.deferred_growth += customer.waiting.len() as i64;
            self.prepared.changes.append(&mut customer.changes(&self.work.lineage));
        }
        self.prepared.changes.append(&mut self.capacity.changes());
        self.prepared.times = StageTimes {
            encode: timer.elapsed(),
            ..self.watch.divide(spent)
        };
        Ok(self.prepared)
    }
}

fn round_again(context: &BatchContext, record: &Record) -> Outgoing {
    Outgoing {
        topic: context.topics.reroute.clone(),
        partition: Some(record.partition),
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
        timestamp_ms: Some(record.timestamp_ms),
    }
}

fn received(record: &Record) -> Received<'_> {
    Received {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
    }
}

/// The detail of a dead letter that is one because its step failed, whatever the record says.
pub const UNPROCESSABLE: &str = "the record could not be processed on its own, twice";

fn unprocessable() -> Malformed {
    Malformed {
        kind: MalformedKind::BadField,
        detail: UNPROCESSABLE.into(),
    }
}

fn load_error(error: LoadError<StoreError>) -> BatchError {
    match error {
        LoadError::Read(error) => BatchError::Store(error),
        LoadError::Codec(error) => BatchError::State(error.to_string()),
    }
}
