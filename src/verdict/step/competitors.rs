//! What an intent meets of its customer's queue: the hold that runs, and the slots that are kept above it.

use super::{Read, StepContext};
use crate::customer::{Customer, LoadError, Waiting, WaitingBody};
use crate::message::{Intent, decode_intent};
use crate::policy::judge::{Competition, Hold, Reserved};
use crate::policy::judgement::Reason;
use crate::policy::model::Policy;
use crate::policy::order::Place;

/// What an arrival meets.
///
/// # Errors
/// As for [`super::arrival`].
pub(super) fn met_by_arrival<E>(
    context: &StepContext,
    customer: &Customer,
    intent: &Intent,
    read: Read<E>,
) -> Result<Competition, LoadError<E>> {
    if customer.waiting.is_empty() {
        let hold = Hold::May { running_until_ms: None };
        return Ok(Competition {
            hold,
            reserved: Vec::new(),
        });
    }
    let now_ms = context.stamp.decided_at_ms;
    let place = Place::of_intent(context.policy, customer, intent, now_ms);
    let others: Vec<&Waiting> = customer.waiting.iter().collect();
    Ok(Competition {
        hold: may_be_held(&others, now_ms),
        reserved: reserved_above(context, customer, &place, &others, read)?,
    })
}

/// What a waiting intent meets when it is judged again.
///
/// # Errors
/// As for [`super::arrival`].
pub(super) fn met_by_waiting<E>(
    context: &StepContext,
    customer: &Customer,
    waiting: &Waiting,
    read: Read<E>,
) -> Result<Competition, LoadError<E>> {
    let now_ms = context.stamp.decided_at_ms;
    let others = customer.waiting.iter();
    let others: Vec<&Waiting> = others
        .filter(|other| !other.decision.same_origin(&waiting.decision))
        .collect();
    let hold = match Reason::from_code(waiting.reason) {
        Some(Reason::Planned) => may_be_held(&others, now_ms),
        Some(Reason::Held) => waiting.wake_at_ms.map_or(Hold::Over, Hold::Until),
        _ => Hold::Over,
    };
    let place = Place::of_waiting(waiting);
    Ok(Competition {
        hold,
        reserved: reserved_above(context, customer, &place, &others, read)?,
    })
}

/// Puts the queue in the order of the policy of now: ranks and scores are those of the policy that an intent was last judged
/// under.
///
/// # Errors
/// As for [`super::arrival`].
pub fn order_anew<E>(context: &StepContext, customer: &mut Customer, read: Read<E>) -> Result<(), LoadError<E>> {
    for index in 0..customer.waiting.len() {
        let Some(intent) = intent_of(customer, &customer.waiting[index], read)? else {
            continue;
        };
        let place = Place::of_intent(context.policy, customer, &intent, context.stamp.decided_at_ms);
        let waiting = &mut customer.waiting[index];
        (waiting.class_rank, waiting.score) = (place.class_rank, place.score);
    }
    Ok(())
}

/// Whether the class that the intent is judged as reserves.
pub(super) fn keeps_a_slot(policy: &Policy, intent: &Intent) -> bool {
    policy
        .class_of(intent.class.as_deref())
        .is_some_and(|class| class.reserve)
}

/// Whether a waiting intent may be of a class that reserves, as far as the queue tells.
pub(super) fn may_keep_a_slot(policy: &Policy, waiting: &Waiting) -> bool {
    let mut classes = policy.classes.iter();
    classes.any(|class| class.reserve && class.rank == waiting.class_rank)
}

fn may_be_held(others: &[&Waiting], now_ms: i64) -> Hold {
    let held = others.iter().filter(|other| is_held(other));
    let ends = held
        .filter_map(|held| held.wake_at_ms)
        .filter(|end_ms| *end_ms > now_ms);
    Hold::May {
        running_until_ms: ends.max(),
    }
}

fn reserved_above<E>(
    context: &StepContext,
    customer: &Customer,
    place: &Place,
    others: &[&Waiting],
    read: Read<E>,
) -> Result<Vec<Reserved>, LoadError<E>> {
    let mut above: Vec<(Place, &Waiting, i64)> = others
        .iter()
        .filter(|waiting| may_keep_a_slot(context.policy, waiting))
        .filter_map(|waiting| Some((Place::of_waiting(waiting), *waiting, waiting.wake_at_ms?)))
        .filter(|(other, ..)| other < place)
        .collect();
    above.sort_by(|one, other| one.0.cmp(&other.0));
    let mut reserved = Vec::new();
    for (_, waiting, at_ms) in above {
        let intent = intent_of(customer, waiting, read)?;
        if let Some(intent) = intent.filter(|intent| keeps_a_slot(context.policy, intent)) {
            reserved.push(Reserved {
                intent,
                at_ms,
                is_held: is_held(waiting),
            });
        }
    }
    Ok(reserved)
}

fn is_held(waiting: &Waiting) -> bool {
    Reason::from_code(waiting.reason) == Some(Reason::Held)
}

/// The intent of a waiting record; none: it cannot be read, and ends when it is judged.
fn intent_of<E>(customer: &Customer, waiting: &Waiting, read: Read<E>) -> Result<Option<Intent>, LoadError<E>> {
    let Some(body) = customer.waiting_body(&waiting.decision, read)? else {
        return Ok(None);
    };
    let WaitingBody {
        timestamp_ms,
        value,
        headers,
    } = &body;
    Ok(decode_intent(Some(value), headers, *timestamp_ms, value.len(), false).ok())
}
