//! The records of waiting intents: read back to be judged again, bounded in number, ended where they cannot be judged.

use super::competitors::may_keep_a_slot;
use super::{Effects, Read, StepContext, Subject, next_attempt, plain};
use crate::customer::bounds::{WAITING_AT_MOST, WAITING_BYTES_AT_MOST};
use crate::customer::{Customer, LoadError, Waiting, WaitingBody};
use crate::message::{Malformed, MalformedKind, decode_intent};
use crate::policy::judgement::Reason;
use crate::verdict::dead_letter::dead_letter;
use crate::verdict::{Received, SourceCoordinates};

/// Ends a waiting intent as a dead letter: it was tried, and it cannot be judged or written.
///
/// # Errors
/// As for [`arrival`].
pub fn give_up<E>(
    context: &StepContext,
    customer: &mut Customer,
    waiting: &Waiting,
    reason: &Malformed,
    read: Read<E>,
    effects: &mut Effects,
) -> Result<(), LoadError<E>> {
    let body = customer.waiting_body(&waiting.decision, read)?;
    let body = body.unwrap_or_else(no_body);
    bury_waiting(context, customer, waiting, &body, reason, effects);
    Ok(())
}

/// The lowest go, until the queue is within its bounds; that may be the newcomer.
pub(super) fn bound_the_queue<E>(
    context: &StepContext,
    customer: &mut Customer,
    read: Read<E>,
    effects: &mut Effects,
) -> Result<(), LoadError<E>> {
    while customer.waiting.len() > WAITING_AT_MOST || customer.waiting_bytes() > WAITING_BYTES_AT_MOST {
        let Some(lowest) = customer.lowest_waiting().cloned() else {
            return Ok(());
        };
        with_record(
            context,
            customer,
            &lowest,
            read,
            effects,
            |subject, customer, effects| {
                let judgement = plain(context.policy, subject.intent, Reason::DeferralLimit);
                subject.settle(context, customer, &judgement, effects);
            },
        )?;
    }
    Ok(())
}

/// Runs `then` on a waiting intent's record, read back as it was received. One that today's decoder refuses (it was accepted
/// by an earlier version) ends as a dead letter: it is owed an end, and it cannot be judged.
pub(super) fn with_record<E>(
    context: &StepContext,
    customer: &mut Customer,
    waiting: &Waiting,
    read: Read<E>,
    effects: &mut Effects,
    then: impl FnOnce(Subject, &mut Customer, &mut Effects),
) -> Result<(), LoadError<E>> {
    let body = customer.waiting_body(&waiting.decision, read)?;
    let body = body.unwrap_or_else(no_body);
    let key = customer.id.clone();
    let received = Received {
        key: Some(key.as_bytes()),
        value: Some(&body.value),
        headers: &body.headers,
    };
    // Its size was within the limit when it was accepted; a smaller one of today does not concern it.
    let most = context.max_intent_bytes.max(body.value.len());
    match decode_intent(Some(&body.value), &body.headers, body.timestamp_ms, most, false) {
        Ok(intent) => {
            let decision = next_attempt(&waiting.decision);
            then(
                Subject {
                    decision,
                    timestamp_ms: body.timestamp_ms,
                    received,
                    intent: &intent,
                },
                customer,
                effects,
            );
        }
        Err(malformed) => bury_waiting(context, customer, waiting, &body, &unreadable(&malformed), effects),
    }
    Ok(())
}

/// The body is not there: what then stands in its place cannot be read.
fn no_body() -> WaitingBody {
    WaitingBody {
        timestamp_ms: 0,
        value: Vec::new(),
        headers: Vec::new(),
    }
}

/// A waiting intent's end as a dead letter.
fn bury_waiting(
    context: &StepContext,
    customer: &mut Customer,
    waiting: &Waiting,
    body: &WaitingBody,
    reason: &Malformed,
    effects: &mut Effects,
) {
    let received = Received {
        key: Some(customer.id.as_bytes()),
        value: Some(&body.value),
        headers: &body.headers,
    };
    let source = SourceCoordinates {
        topic: waiting.decision.topic.clone(),
        partition: waiting.decision.partition,
        offset: waiting.decision.offset,
    };
    effects
        .outgoing
        .push(dead_letter(context.topics, &received, &source, reason));
    customer.remove_waiting(&waiting.decision);
    if may_keep_a_slot(context.policy, waiting) {
        customer.retime_below(waiting, context.stamp.decided_at_ms);
    }
}

fn unreadable(malformed: &Malformed) -> Malformed {
    Malformed {
        kind: MalformedKind::BadField,
        detail: format!("while it waited: {}", malformed.detail),
    }
}
