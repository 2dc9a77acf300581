//! The writing half of the simulated client: one transaction, with everything that may become of it.

use super::broker::{ProducerIdentity, ProducerRefusal};
use super::client::{Connection, GONE, Gone, SimulatedCrash};
use super::group::Membership;
use super::partition::Data;
use crate::auditor::TopicNames;
use crate::auditor::reading::owner;
use forbear::commit::log::{CommitError, Outgoing, Producer, Transaction};
use forbear::intake::source::{Committed, TopicIndex};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// [`Producer`] on the simulated cluster.
pub struct SimulatedProducer {
    to: Connection,
    identity: ProducerIdentity,
    /// Anything but a clean commit: using it again is the mistake that the protocol forbids.
    poisoned: bool,
}

impl SimulatedProducer {
    pub fn new(to: Connection, identity: ProducerIdentity) -> Self {
        Self {
            to,
            identity,
            poisoned: false,
        }
    }

    fn step(&self) -> Result<(), CommitError> {
        self.to
            .step(|chances| chances.crash_in_commit)
            .map_err(|Gone| CommitError::Uncertain(GONE.into()))?;
        let mut shared = self.to.cluster.lock();
        let uncertain = shared.chances.uncertain;
        match shared.strikes(uncertain, "uncertain") {
            true => Err(CommitError::Uncertain("the request timed out".into())),
            false => Ok(()),
        }
    }

    fn produce(&self, outgoing: &Outgoing) -> Result<(i32, i64), CommitError> {
        let mut shared = self.to.cluster.lock();
        let now_ms = shared.broker.now_ms;
        let count = shared
            .broker
            .topics
            .get(&*outgoing.topic)
            .map_or(1, |topic| topic.partitions.len() as i32);
        let by_key = || outgoing.key.as_deref().map_or(0, |key| owner(key, count));
        let partition = outgoing.partition.unwrap_or_else(by_key);
        let data = Data {
            timestamp_ms: outgoing.timestamp_ms.unwrap_or(now_ms),
            key: outgoing.key.clone(),
            value: outgoing.value.clone(),
            headers: outgoing.headers.clone(),
        };
        let offset = shared
            .broker
            .produce(self.identity, &outgoing.topic, partition, data)
            .map_err(refused)?;
        Ok((partition, offset))
    }

    fn try_commit(
        &self,
        transaction: &Transaction,
        group: Membership,
        state_topic: &str,
    ) -> Result<Vec<(i32, i64)>, CommitError> {
        self.step()?;
        let mut changelog: BTreeMap<i32, i64> = BTreeMap::new();
        for outgoing in &transaction.records {
            self.step()?;
            let (partition, offset) = self.produce(outgoing)?;
            if &*outgoing.topic == state_topic {
                changelog.insert(partition, offset + 1);
            }
        }
        if transaction.records.is_empty() && transaction.offsets.is_empty() {
            return Ok(Vec::new());
        }
        self.step()?;
        let name = |index: TopicIndex| self.to.topic(index).to_owned();
        let offsets = transaction.offsets.iter().map(|commit| {
            let committed = Committed {
                offset: commit.offset,
                metadata: commit.metadata.clone(),
            };
            (name(commit.topic), commit.partition, committed)
        });
        let offsets = offsets.collect();
        self.to
            .cluster
            .lock()
            .broker
            .send_offsets(self.identity, group, offsets)
            .map_err(refused)?;
        self.step()?;
        self.end()?;
        self.look_for_policy_texts(transaction);
        self.step()?;
        Ok(changelog.into_iter().collect())
    }

    /// A verdict may be read as soon as its transaction is committed: by then the text of its policy has to be there.
    fn look_for_policy_texts(&self, transaction: &Transaction) {
        let mut shared = self.to.cluster.lock();
        let names = TopicNames::default();
        let mut told: BTreeSet<String> = BTreeSet::new();
        let log = shared.broker.partition(&names.policies, 0);
        let known = log.into_iter().flat_map(|log| log.keys()).collect::<Vec<_>>();
        let own = transaction
            .records
            .iter()
            .filter(|record| *record.topic == *names.policies);
        let own = own.filter_map(|record| record.key.clone());
        for key in known.into_iter().chain(own) {
            told.insert(String::from_utf8_lossy(&key).chars().take(12).collect());
        }
        for record in transaction
            .records
            .iter()
            .filter(|record| *record.topic == *names.decisions)
        {
            let value = record.value.as_deref().unwrap_or_default();
            let decision: serde_json::Value = serde_json::from_slice(value).unwrap_or_default();
            let label = decision["policy"].as_str().unwrap_or_default();
            let hash = label.rsplit_once('@').map_or("", |(_, hash)| hash);
            if !told.contains(hash) {
                shared.untold_policies.insert(label.to_owned());
            }
        }
    }

    /// EndTxn, with everything that may become of it.
    fn end(&self) -> Result<(), CommitError> {
        let mut shared = self.to.cluster.lock();
        let lost = shared.chances.lost_answer;
        if !shared.strikes(lost, "lost answer") {
            return shared.broker.end_transaction(self.identity, true).map_err(refused);
        }
        match shared.broker.random.random_range(0..3) {
            0 => {
                let _ = shared.broker.end_transaction(self.identity, true);
            }
            1 => shared.broker.end_transaction_later(self.identity, true),
            _ => {}
        }
        if shared.broker.random.random_bool(0.5) {
            shared.bury(self.to.worker, "death");
            drop(shared);
            std::panic::resume_unwind(Box::new(SimulatedCrash));
        }
        Err(CommitError::Uncertain("no answer to the end of the transaction".into()))
    }
}

fn refused(refusal: ProducerRefusal) -> CommitError {
    match refusal {
        ProducerRefusal::Fenced => CommitError::Fenced("a newer epoch holds the transactional id".into()),
        ProducerRefusal::Record(why) => CommitError::Refused(why.into()),
        ProducerRefusal::Group(why) => CommitError::Uncertain(format!("the group refuses the offsets: {why:?}")),
        ProducerRefusal::InvalidState => CommitError::Uncertain("the transaction is not in that state".into()),
    }
}

impl Producer for SimulatedProducer {
    type Group = Membership;

    fn commit(
        &mut self,
        transaction: &Transaction,
        group: &Membership,
        state_topic: &str,
    ) -> Result<Vec<(i32, i64)>, CommitError> {
        assert!(!self.poisoned, "a producer was used again after an error");
        self.poisoned = true;
        let outcome = self.try_commit(transaction, *group, state_topic);
        self.poisoned = outcome.is_err();
        let mut shared = self.to.cluster.lock();
        // A client that can still talk aborts; one that cannot leaves it open.
        if outcome.is_err() && !shared.dead.contains(&self.to.worker) && shared.broker.random.random_bool(0.5) {
            let _ = shared.broker.end_transaction(self.identity, false);
        }
        outcome
    }
}
