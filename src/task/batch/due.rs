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
            let due = self.guarded(culprit, |batch| batch.what_is_due(id, retime))?;
            self.judge_due(id, due)?;
        }
        Ok(())
    }

    /// The waiting intents of a customer whose turn it is; contacts that nobody reported on in time are given back first.
    fn what_is_due(&mut self, id: &Name, retime: bool) -> Result<Vec<Waiting>, BatchError> {
        let now_ms = self.work.now_ms;
        let mut due = Vec::new();
        self.with_customer(id, |context, customer, _, effects| {
            if retime {
                customer.retime(now_ms);
            }
            step::release_due(context, customer, effects);
            due = customer.due_waiting(now_ms);
            Ok(())
        })?;
        Ok(due)
    }

    /// To look at this customer fails, whatever of the queue it is: what is due ends as dead letters, unread.
    fn give_up_what_is_due(&mut self, id: &Name, retime: bool) -> Result<(), BatchError> {
        let now_ms = self.work.now_ms;
        let mut due = Vec::new();
        self.with_customer(id, |_, customer, _, _| {
            due = match retime {
                true => customer.waiting.clone(),
                false => customer.due_waiting(now_ms),
            };
            Ok(())
        })?;
        due.iter().try_for_each(|waiting| self.give_up(id, waiting))
    }

    fn judge_due(&mut self, id: &Name, due: Vec<Waiting>) -> Result<(), BatchError> {
        for waiting in due.into_iter().take(self.work.due_at_most) {
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
