//! The middle of a batch: customers whose queue has to be looked at again.

use super::{Batch, BatchError, Culprit, unprocessable};
use crate::customer::Waiting;
use crate::message::Name;
use crate::store::Store;
use crate::verdict::step;
use std::collections::BTreeSet;

impl<S: Store> Batch<'_, S> {
    /// Judges again: whose hint is due, whose queue an event has timed anew, and whose turn it is after a policy change.
    pub(super) fn due(&mut self) -> Result<(), BatchError> {
        let work = self.work;
        let mut ids: BTreeSet<Name> = work.due.iter().map(|(_, id)| id.as_str().into()).collect();
        let now_ms = work.now_ms;
        let touched = self
            .customers
            .values()
            .filter(|customer| customer.next_due_ms().is_some_and(|due| due <= now_ms));
        ids.extend(touched.map(|customer| customer.id.clone()));
        let retimed: BTreeSet<Name> = work.retime.iter().map(|(_, id)| id.as_str().into()).collect();
        for id in ids.union(&retimed) {
            self.watch.begin();
            let retime = retimed.contains(id);
            let culprit = Culprit::Customer(work.partition, id.clone());
            if self.context.poisoned.contains(&culprit) {
                self.guarded(culprit.clone(), |batch| batch.give_up_what_is_due(id, retime))?;
                self.prepared.given_up.push(culprit);
                continue;
            }
            self.guarded(culprit, |batch| batch.look_at(id, retime))?;
            self.judge_due(id)?;
        }
        Ok(())
    }

    /// A customer whose turn it is: the queue in the order of the policy of now, contacts that nobody reported on in time
    /// given back.
    fn look_at(&mut self, id: &Name, retime: bool) -> Result<(), BatchError> {
        let now_ms = self.work.now_ms;
        self.with_customer(id, |context, customer, read, effects| {
            if retime {
                step::order_anew(context, customer, read)?;
                customer.retime(now_ms);
            }
            step::release_due(context, customer, effects);
            Ok(())
        })
    }

    /// To look at this customer fails, whatever of the queue it is: what is due ends as dead letters, unread.
    fn give_up_what_is_due(&mut self, id: &Name, retime: bool) -> Result<(), BatchError> {
        let now_ms = self.work.now_ms;
        let mut due = Vec::new();
        self.with_customer(id, |_, customer, _, _| {
            let is_due = |waiting: &&Waiting| retime || waiting.due_at_ms.is_some_and(|due_ms| due_ms <= now_ms);
            due = customer.waiting.iter().filter(is_due).cloned().collect();
            Ok(())
        })?;
        due.iter().try_for_each(|waiting| self.give_up(id, waiting))
    }

    /// In the order of competitors. What is judged may make others due: it is asked again each time.
    fn judge_due(&mut self, id: &Name) -> Result<(), BatchError> {
        let mut judged = Vec::new();
        while judged.len() < self.work.due_at_most {
            let customer = self.customers.get(id);
            let next = customer.and_then(|customer| customer.next_due_waiting(self.work.now_ms, &judged));
            let Some(waiting) = next else { return Ok(()) };
            judged.push(waiting.decision.clone());
            let culprit = Culprit::Waiting(self.work.partition, waiting.decision.origin());
            if self.context.poisoned.contains(&culprit) {
                self.guarded(culprit.clone(), |batch| batch.give_up(id, &waiting))?;
                self.prepared.given_up.push(culprit);
                continue;
            }
            self.prepared.judged_first.get_or_insert_with(|| culprit.clone());
            self.guarded(culprit, |batch| {
                batch.with_customer(id, |context, customer, read, effects| {
                    step::judge_waiting(context, customer, &waiting, read, effects)
                })
            })?;
        }
        Ok(())
    }

    /// It fails on its own, again and again: it ends as a dead letter.
    fn give_up(&mut self, id: &Name, waiting: &Waiting) -> Result<(), BatchError> {
        let reason = unprocessable();
        self.with_customer(id, |context, customer, read, effects| {
            step::give_up(context, customer, waiting, &reason, read, effects)
        })?;
        self.prepared.dead_letters.push(reason.kind);
        Ok(())
    }
}
