//! One step: an input and a customer's state become the changed state and the records that say so. Pure.
//!
//! The same step runs in the processor, in policy tests and in the simulation. Invariants: an arrival ends in exactly one
//! of approved, suppressed, dead letter or the queue; what leaves the queue leaves it with exactly one terminal record; every
//! verdict has a decision record; the decision id names the original record and grows by one attempt a verdict.

mod competitors;
#[cfg(test)]
mod tests;
mod waiting;

pub use competitors::order_anew;
pub use waiting::give_up;

use super::headers::verdict_record;
use super::{Received, SourceCoordinates, Stamp, TopicNames, decision};
use crate::commit::log::Outgoing;
use crate::customer::{
    CapacityUse, Contact, Customer, DecisionCoordinates, LoadError, Released, Waiting, WaitingBody, apply, id_hash,
};
use crate::message::{EngagementEvent, EventKind, Intent, Name};
use crate::policy::judge::{Competition, Situation, judge_among};
use crate::policy::judgement::{Judgement, Reason, Verdict};
use crate::policy::model::{Policy, ReleaseCause};
use crate::policy::order::Place;
use crate::policy::rules::capacity::note_approval;
use waiting::{bound_the_queue, with_record};

/// What all steps of one task in one batch share.
#[derive(Clone, Copy)]
pub struct StepContext<'a> {
    pub policy: &'a Policy,
    pub topics: &'a TopicNames,
    pub stamp: Stamp<'a>,
    pub partition_count: i32,
    /// For arrivals. A waiting intent was within it when it came.
    pub max_intent_bytes: usize,
}

/// An intent that has just been read, by its owner.
pub struct Arrival<'a> {
    pub source: SourceCoordinates,
    pub timestamp_ms: i64,
    pub received: Received<'a>,
    pub intent: &'a Intent,
}

/// What a step wants done, in order.
#[derive(Debug, Default)]
pub struct Effects {
    pub outgoing: Vec<Outgoing>,
    /// For the metrics.
    pub counted: Vec<Counted>,
    /// What the partition has used of the capacities: put in before a step, with what the step used when it ends.
    pub capacity: CapacityUse,
}

/// One verdict, as it is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    pub division: Name,
    pub channel: Name,
    pub verdict: Verdict,
    pub reason: Reason,
    /// What the policy does not know of it: `class`, or `class-absent` where the intent names none.
    pub unknown_value: Option<&'static str>,
    /// Rules that blocked: (id, shadow).
    pub hits: Vec<(Name, bool)>,
    /// When the intent's record was appended; none for a release.
    pub appended_at_ms: Option<i64>,
}

/// Reads one value of the state.
pub type Read<'a, E> = &'a mut dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>;

/// Judges an intent that has just been read.
///
/// # Errors
/// Only where the state cannot be read: nothing may be assumed then, and the batch has to be dropped.
pub fn arrival<E>(
    context: &StepContext,
    customer: &mut Customer,
    arrival: &Arrival,
    read: Read<E>,
    effects: &mut Effects,
) -> Result<(), LoadError<E>> {
    let now_ms = context.stamp.decided_at_ms;
    // A contact that no longer counts has its release written before anything is approved in its place.
    if customer.next_due_ms().is_some_and(|due_ms| due_ms <= now_ms) || releases_unconfirmed(context.policy) {
        release_due(context, customer, effects);
    }
    let intent_hash = id_hash(&arrival.intent.intent_id);
    let decision = arrival.source.decision(0);
    let known = customer
        .recall(intent_hash, now_ms, context.policy.remember_intents_ms)
        .cloned();
    let subject = Subject {
        decision,
        timestamp_ms: arrival.timestamp_ms,
        received: arrival.received,
        intent: arrival.intent,
    };
    if let Some(first) = known {
        let judgement = plain(context.policy, arrival.intent, Reason::Duplicate);
        subject.publish(context, &judgement, Some(&first), effects);
        return Ok(());
    }
    // Engagement is read ahead of intents: a cancellation may come first.
    if customer.was_cancelled(&arrival.intent.intent_id) {
        let judgement = plain(context.policy, arrival.intent, Reason::Cancelled);
        subject.settle(context, customer, &judgement, effects);
        return Ok(());
    }
    let situation = Situation {
        first_deferred_ms: None,
        partition_count: context.partition_count,
        capacity: &effects.capacity,
    };
    let competition = competitors::met_by_arrival(context, customer, arrival.intent, read)?;
    let intent = arrival.intent;
    let judgement = judge_among(context.policy, customer, intent, now_ms, &situation, &competition);
    if judgement.verdict != Verdict::Deferred {
        subject.settle(context, customer, &judgement, effects);
        return Ok(());
    }
    subject.publish(context, &judgement, None, effects);
    customer.remember(
        intent_hash,
        now_ms,
        subject.decision.clone(),
        context.policy.remember_intents_ms,
    );
    let body = WaitingBody {
        timestamp_ms: arrival.timestamp_ms,
        value: arrival.received.value.unwrap_or_default().to_vec(),
        headers: arrival.received.headers.to_vec(),
    };
    let place = Place::of_intent(context.policy, customer, arrival.intent, now_ms);
    customer.add_waiting(subject.waiting(context, &judgement, None, place), body);
    bound_the_queue(context, customer, read, effects)
}

/// Judges again whatever of the customer's queue is due, in the total order of competitors, and gives back contacts that
/// nobody reported on in time.
///
/// # Errors
/// As for [`arrival`].
pub fn due<E>(
    context: &StepContext,
    customer: &mut Customer,
    read: Read<E>,
    effects: &mut Effects,
) -> Result<(), LoadError<E>> {
    release_due(context, customer, effects);
    let mut judged = Vec::new();
    while let Some(waiting) = customer.next_due_waiting(context.stamp.decided_at_ms, &judged) {
        judge_waiting(context, customer, &waiting, read, effects)?;
        judged.push(waiting.decision);
    }
    Ok(())
}

/// The first half of [`due`]: gives back contacts that nobody reported on in time. The queue may be due by it.
pub fn release_due(context: &StepContext, customer: &mut Customer, effects: &mut Effects) {
    let released = customer.release_unconfirmed(context.stamp.decided_at_ms, context.policy);
    publish_releases(context, customer, &released, None, effects);
}

/// The second half of [`due`], for one waiting intent.
///
/// # Errors
/// As for [`arrival`].
pub fn judge_waiting<E>(
    context: &StepContext,
    customer: &mut Customer,
    waiting: &Waiting,
    read: Read<E>,
    effects: &mut Effects,
) -> Result<(), LoadError<E>> {
    let competition = competitors::met_by_waiting(context, customer, waiting, read)?;
    with_record(
        context,
        customer,
        waiting,
        read,
        effects,
        |subject, customer, effects| {
            let has_moved = judge_again(context, customer, waiting, &subject, &competition, effects);
            // Those below were timed by the slot that it kept.
            if has_moved && competitors::keeps_a_slot(context.policy, subject.intent) {
                customer.retime_below(waiting, context.stamp.decided_at_ms);
            }
        },
    )
}

/// Applies an engagement event. What becomes due by it is judged by [`due`], in the same batch.
///
/// # Errors
/// As for [`arrival`].
pub fn engagement<E>(
    context: &StepContext,
    customer: &mut Customer,
    event: &EngagementEvent,
    read: Read<E>,
    effects: &mut Effects,
) -> Result<(), LoadError<E>> {
    let applied = apply(customer, event, context.stamp.decided_at_ms, context.policy);
    publish_releases(
        context,
        customer,
        &applied.released,
        event.intent_id.as_deref(),
        effects,
    );
    if applied.changed && matches!(event.kind, EventKind::ContactedElsewhere | EventKind::Delivered) {
        wake_what_needs_a_contact(context, customer);
    }
    let Some(cancelled) = applied.cancelled_waiting else {
        return Ok(());
    };
    let Some(waiting) = customer
        .waiting
        .iter()
        .find(|waiting| waiting.decision == cancelled)
        .cloned()
    else {
        return Ok(());
    };
    with_record(
        context,
        customer,
        &waiting,
        read,
        effects,
        |subject, customer, effects| {
            subject.settle(
                context,
                customer,
                &plain(context.policy, subject.intent, Reason::Cancelled),
                effects,
            );
        },
    )
}

/// Answers whether it will not be sent when it was to wake: it wakes at another time, or never.
fn judge_again(
    context: &StepContext,
    customer: &mut Customer,
    waiting: &Waiting,
    subject: &Subject,
    competition: &Competition,
    effects: &mut Effects,
) -> bool {
    let situation = Situation {
        first_deferred_ms: waiting.first_deferred_ms,
        partition_count: context.partition_count,
        capacity: &effects.capacity,
    };
    let judgement = judge_among(
        context.policy,
        customer,
        subject.intent,
        context.stamp.decided_at_ms,
        &situation,
        competition,
    );
    if judgement.verdict != Verdict::Deferred {
        subject.settle(context, customer, &judgement, effects);
        return judgement.verdict == Verdict::Suppressed;
    }
    let now_ms = context.stamp.decided_at_ms;
    let place = Place::of_intent(context.policy, customer, subject.intent, now_ms);
    let mut renewed = subject.waiting(context, &judgement, waiting.first_deferred_ms, place);
    let said = |waiting: &Waiting| (waiting.reason, waiting.rule.clone(), waiting.wake_at_ms);
    if said(&renewed) == said(waiting) {
        // Nothing that a reader would want to know: the same decision stands.
        renewed.decision = waiting.decision.clone();
    } else {
        subject.publish(context, &judgement, None, effects);
        let remember_ms = context.policy.remember_intents_ms;
        customer.remember(
            waiting.intent_hash,
            context.stamp.decided_at_ms,
            subject.decision.clone(),
            remember_ms,
        );
    }
    if let Some(place) = customer.waiting_mut(&waiting.decision) {
        *place = renewed;
    }
    judgement.wake_at_ms != waiting.wake_at_ms
}

fn next_attempt(decision: &DecisionCoordinates) -> DecisionCoordinates {
    DecisionCoordinates {
        attempt: decision.attempt.saturating_add(1),
        ..decision.clone()
    }
}

/// Contacts that were given back, each with an attempt of its own that the ledger and the memory of the id keep.
fn publish_releases(
    context: &StepContext,
    customer: &mut Customer,
    released: &[Released],
    intent_id: Option<&str>,
    effects: &mut Effects,
) {
    for Released { contact, .. } in released {
        let Some(before) = &contact.decision else { continue };
        let decision = next_attempt(before);
        customer.renumber_contact(contact.intent_hash, &decision);
        effects.outgoing.extend(decision::of_release(
            context.topics,
            &context.stamp,
            &decision,
            &customer.id,
            intent_id,
            contact,
        ));
        effects.counted.push(Counted {
            division: contact.division.clone(),
            channel: contact.channel.clone(),
            verdict: Verdict::Released,
            reason: Reason::Released,
            unknown_value: None,
            hits: Vec::new(),
            appended_at_ms: None,
        });
        let remember_ms = context.policy.remember_intents_ms;
        customer.remember(contact.intent_hash, context.stamp.decided_at_ms, decision, remember_ms);
    }
}

/// One intent with the decision that is being made about it.
struct Subject<'a> {
    decision: DecisionCoordinates,
    timestamp_ms: i64,
    received: Received<'a>,
    intent: &'a Intent,
}

impl Subject<'_> {
    /// The records of a judgement.
    fn publish(
        &self,
        context: &StepContext,
        judgement: &Judgement,
        duplicate_of: Option<&DecisionCoordinates>,
        effects: &mut Effects,
    ) {
        effects.outgoing.extend(verdict_record(
            context.topics,
            &context.stamp,
            &self.decision,
            self.intent,
            &self.received,
            judgement,
            duplicate_of,
        ));
        effects.outgoing.extend(decision::of_judgement(
            context.topics,
            &context.stamp,
            &self.decision,
            self.intent,
            judgement,
        ));
        let hits = judgement
            .blocked_by
            .iter()
            .filter_map(|block| Some((block.rule.clone()?, block.shadow)));
        effects.counted.push(Counted {
            division: self.intent.division.clone(),
            channel: judgement.channel.clone(),
            verdict: judgement.verdict,
            reason: judgement.reason,
            unknown_value: match &self.intent.class {
                _ if !judgement.class_was_unknown => None,
                Some(_) => Some("class"),
                None => Some("class-absent"),
            },
            hits: hits.collect(),
            // One that waited tells nothing about how long Forbear took.
            appended_at_ms: (self.decision.attempt == 0).then_some(self.timestamp_ms),
        });
    }

    /// A terminal judgement: its records, the ledger, the memory of the id; out of the queue, if it was there.
    fn settle(&self, context: &StepContext, customer: &mut Customer, judgement: &Judgement, effects: &mut Effects) {
        let now_ms = context.stamp.decided_at_ms;
        self.publish(context, judgement, None, effects);
        customer.remove_waiting(&self.decision);
        if judgement.verdict == Verdict::Approved {
            let Judgement {
                channel,
                class,
                cost_micros,
                ..
            } = judgement;
            let contact = Contact {
                decision: Some(self.decision.clone()),
                ..Contact::of_intent(self.intent, channel, class, *cost_micros, now_ms)
            };
            note_approval(context.policy, &customer.profile, &contact, &mut effects.capacity);
            customer.reserve(contact, now_ms, context.policy);
            wake_what_needs_a_contact(context, customer);
        }
        let remember_ms = context.policy.remember_intents_ms;
        let intent_hash = id_hash(&self.intent.intent_id);
        customer.remember(intent_hash, now_ms, self.decision.clone(), remember_ms);
    }

    fn waiting(
        &self,
        context: &StepContext,
        judgement: &Judgement,
        first_deferred_ms: Option<i64>,
        place: Place,
    ) -> Waiting {
        let now_ms = context.stamp.decided_at_ms;
        let planned = judgement.reason == Reason::Planned;
        let first_deferred_ms = first_deferred_ms.or((!planned).then_some(now_ms));
        let given_up_ms = first_deferred_ms.map(|first_ms| first_ms.saturating_add(context.policy.max_defer_ms));
        let ends = [judgement.wake_at_ms, self.intent.expires_at_ms, given_up_ms];
        let header_bytes = |(name, value): &(String, Option<Vec<u8>>)| name.len() + value.as_ref().map_or(0, Vec::len);
        let size =
            self.received.value.map_or(0, <[u8]>::len) + self.received.headers.iter().map(header_bytes).sum::<usize>();
        Waiting {
            decision: self.decision.clone(),
            intent_hash: id_hash(&self.intent.intent_id),
            first_deferred_ms,
            wake_at_ms: judgement.wake_at_ms,
            due_at_ms: ends.into_iter().flatten().min(),
            reason: judgement.reason as u8,
            rule: judgement.rule.clone(),
            size_bytes: u32::try_from(size).unwrap_or(u32::MAX),
            class_rank: place.class_rank,
            priority: place.priority,
            score: place.score,
            expires_at_ms: place.expires_at_ms,
            created_at_ms: place.created_at_ms,
            intent_id: place.intent_id,
        }
    }
}

/// A contact was made: what waits for one is looked at again.
fn wake_what_needs_a_contact(context: &StepContext, customer: &mut Customer) {
    if context.policy.rules.iter().any(|rule| rule.kind.a_contact_may_free()) {
        customer.retime_what_waits_for_events(context.stamp.decided_at_ms);
    }
}

fn releases_unconfirmed(policy: &Policy) -> bool {
    let mut channels = policy.channels.iter();
    channels.any(|channel| channel.release_on.contains(&ReleaseCause::Unconfirmed))
}

/// A judgement that no rule made.
fn plain(policy: &Policy, intent: &Intent, reason: Reason) -> Judgement {
    let class = policy.classes.get(policy.class_index(intent.class.as_deref()));
    Judgement {
        verdict: Verdict::Suppressed,
        channel: intent.channel.clone(),
        reason,
        rule: None,
        blocked_by: Vec::new(),
        next_eligible_at_ms: None,
        wake_at_ms: None,
        valid_until_ms: None,
        cost_micros: 0,
        class: class.map_or_else(|| Name::from(""), |class| class.name.clone()),
        class_was_unknown: false,
        groups: Vec::new(),
    }
}
