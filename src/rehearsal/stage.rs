//! A processor in miniature: one partition over a store in memory, with the batch of the real one. What it would write to Kafka
//! is read back as a consumer reads it, from the decision records and the headers.

use crate::commit::log::Outgoing;
use crate::commit::marker::Lineage;
use crate::customer::{CapacityUse, Contact, Customer, keys};
use crate::intake::source::{InputKind, Inputs, Record};
use crate::message::Name;
use crate::policy::model::Policy;
use crate::policy::rules::capacity::capacities;
use crate::store::memory::{MemoryStore, MemoryStores};
use crate::store::{Store, StoreIdentity, StoreMeta, Stores};
use crate::task::batch::{BatchContext, BatchError, Prepared, Work, prepare};
use crate::verdict::TopicNames;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

/// As the settings have it where they say nothing.
pub const MAX_INTENT_BYTES: usize = 983_040;
const INTENTS: &str = "forbear.intents";
const ENGAGEMENT: &str = "forbear.engagement";
const DECISIONS: &str = "forbear.decisions";
const DEAD_LETTER: &str = "forbear.dead-letter";
/// A timeline that wakes more often than this between two steps is not going anywhere.
const BATCHES_AT_MOST: usize = 100_000;
const LINEAGE: Lineage = [7; 16];

/// A processor with one partition.
pub struct Stage {
    policy: Rc<Policy>,
    store: MemoryStore,
    topics: TopicNames,
    inputs: Inputs,
    now_ms: i64,
    /// Records so far, of intents and of engagement.
    offsets: [i64; 2],
    writes: i64,
}

/// A verdict, as its decision record and its headers tell it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Decided {
    pub decision_id: String,
    pub intent_id: Option<String>,
    pub customer_id: String,
    pub division: String,
    pub requested_channel: Option<String>,
    pub channel: String,
    pub class: String,
    pub verdict: String,
    pub reason: String,
    pub rule: Option<String>,
    #[serde(default)]
    pub blocked_by: Vec<Blocked>,
    pub attempt: u32,
    pub decided_at: String,
    pub wake_at: Option<String>,
    pub next_eligible_at: Option<String>,
    #[serde(default)]
    pub groups: BTreeMap<String, String>,
    /// The header of that name.
    #[serde(skip)]
    pub valid_until: Option<String>,
}

/// One entry of `blocked_by`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Blocked {
    pub rule: Option<String>,
    pub reason: String,
    pub channel: String,
    pub free_at: Option<String>,
    #[serde(default)]
    pub shadow: bool,
}

/// What a batch brought.
#[derive(Debug, Default)]
pub struct Scene {
    pub decided: Vec<Decided>,
    /// Records that could not be used: error and detail.
    pub dead_letters: Vec<(String, String)>,
}

impl Stage {
    /// An empty store under a policy.
    ///
    /// # Errors
    /// A sentence, where even a store in memory cannot be opened.
    pub fn new(policy: Rc<Policy>) -> Result<Self, String> {
        let identity = StoreIdentity {
            cluster_id: "rehearsal".to_owned(),
            state_topic: "forbear.state".to_owned(),
            partition: 0,
            partition_count: 1,
        };
        let store = MemoryStores::new(keys::due_of).open(&identity, i64::MIN);
        Ok(Self {
            policy,
            store: store.map_err(|error| error.to_string())?,
            topics: TopicNames {
                approved_prefix: "approved.".into(),
                suppressed_prefix: "suppressed.".into(),
                decisions: Some(DECISIONS.into()),
                dead_letter: DEAD_LETTER.into(),
                reroute: "forbear.reroute".into(),
                state: "forbear.state".into(),
                policies: "forbear.policies".into(),
            },
            inputs: Inputs {
                topics: vec![
                    (INTENTS.into(), InputKind::Intents),
                    (ENGAGEMENT.into(), InputKind::Engagement),
                    ("forbear.reroute".into(), InputKind::Reroute),
                ],
                partition_count: 1,
            },
            now_ms: 0,
            offsets: [0, 0],
            writes: 0,
        })
    }

    /// The policy that judges now.
    pub fn policy(&self) -> &Rc<Policy> {
        &self.policy
    }

    /// Judges whatever is due before this instant, each at its own.
    ///
    /// # Errors
    /// A sentence about what went wrong in the processor itself.
    pub fn pass_until(&mut self, at_ms: i64) -> Result<Scene, String> {
        let mut scene = Scene::default();
        for _ in 0..BATCHES_AT_MOST {
            let next = self.store.due(at_ms.saturating_sub(1), 1).map_err(text_of)?;
            let Some((due_ms, _)) = next.first() else {
                return Ok(scene);
            };
            let due_ms = (*due_ms).max(self.now_ms);
            scene.append(self.batch(due_ms, Vec::new(), Vec::new(), Vec::new())?);
        }
        Err(format!("more than {BATCHES_AT_MOST} wakes before the next step"))
    }

    /// Applies events, then judges what is due.
    ///
    /// # Errors
    /// As for [`Self::pass_until`].
    pub fn engage(&mut self, at_ms: i64, events: &[Vec<u8>]) -> Result<Scene, String> {
        let records = events
            .iter()
            .map(|event| self.record(1, event.clone(), at_ms))
            .collect();
        self.batch(at_ms, records, Vec::new(), Vec::new())
    }

    /// Judges one intent that arrives.
    ///
    /// # Errors
    /// As for [`Self::pass_until`].
    pub fn arrive(&mut self, at_ms: i64, intent: &[u8]) -> Result<Scene, String> {
        let record = self.record(0, intent.to_vec(), at_ms);
        self.batch(at_ms, Vec::new(), vec![record], Vec::new())
    }

    /// Puts another policy in force, and times every queue anew.
    ///
    /// # Errors
    /// As for [`Self::pass_until`].
    pub fn replace_policy(&mut self, at_ms: i64, policy: Rc<Policy>) -> Result<Scene, String> {
        self.policy = policy;
        let hints = self.store.hints_after(None, usize::MAX).map_err(text_of)?;
        self.batch(at_ms, Vec::new(), Vec::new(), hints)
    }

    /// Enters a contact into a customer's ledger, and its intent into the memory of ids.
    ///
    /// # Errors
    /// As for [`Self::pass_until`].
    pub fn enter(&mut self, at_ms: i64, customer_id: &str, mut contact: Contact) -> Result<(), String> {
        let mut customer = self.customer(customer_id)?;
        let decision = crate::verdict::SourceCoordinates {
            topic: INTENTS.into(),
            partition: 0,
            offset: self.offsets[0],
        };
        self.offsets[0] += 1;
        contact.decision = Some(decision.decision(0));
        customer.remember(
            contact.intent_hash,
            at_ms,
            decision.decision(0),
            self.policy.remember_intents_ms,
        );
        customer.reserve(contact, at_ms, &*self.policy);
        let changes = customer.changes(&LINEAGE);
        self.write(&changes, &[], at_ms)
    }

    /// What is known of a customer now.
    ///
    /// # Errors
    /// As for [`Self::pass_until`].
    pub fn customer(&self, id: &str) -> Result<Customer, String> {
        let mut read = |key: &[u8]| self.store.get(key);
        Customer::load(Name::from(id), &LINEAGE, &mut read).map_err(|error| error.to_string())
    }

    /// What has been used of the capacities.
    ///
    /// # Errors
    /// As for [`Self::pass_until`].
    pub fn capacity(&self) -> Result<CapacityUse, String> {
        let mut read = |key: &[u8]| self.store.get(key);
        CapacityUse::load(0, capacities(&self.policy), &mut read).map_err(|error| error.to_string())
    }

    fn record(&mut self, topic: u16, value: Vec<u8>, at_ms: i64) -> Record {
        let offset = &mut self.offsets[usize::from(topic)];
        *offset += 1;
        Record {
            topic,
            partition: 0,
            offset: *offset - 1,
            timestamp_ms: at_ms,
            key: None,
            value: Some(value),
            headers: Vec::new(),
        }
    }

    fn batch(
        &mut self,
        at_ms: i64,
        engagement: Vec<Record>,
        intents: Vec<Record>,
        retime: Vec<(i64, String)>,
    ) -> Result<Scene, String> {
        self.now_ms = self.now_ms.max(at_ms);
        let work = Work {
            partition: 0,
            lineage: LINEAGE,
            now_ms: self.now_ms,
            barrier: Vec::new(),
            engagement,
            intents,
            due: self.store.due(self.now_ms, usize::MAX).map_err(text_of)?,
            retime,
            may_judge: true,
            due_at_most: usize::MAX,
            rerouted_at_most: usize::MAX,
            renews_offsets: false,
        };
        let context = BatchContext {
            policy: &self.policy,
            topics: &self.topics,
            inputs: &self.inputs,
            max_intent_bytes: MAX_INTENT_BYTES,
            poisoned: &HashSet::new(),
        };
        let prepared: Prepared = prepare(&context, &self.store, &work).map_err(|error| match error {
            BatchError::Store(error) => error.to_string(),
            BatchError::State(problem) => problem,
            BatchError::Panicked(culprit) => format!("the step panicked on {culprit:?}"),
            BatchError::PanickedSomewhere { .. } => "the batch panicked".to_owned(),
        })?;
        self.write(&prepared.changes, &prepared.served, at_ms)?;
        Scene::read(&prepared.outgoing)
    }

    fn write(&mut self, changes: &[crate::store::Change], served: &[(i64, String)], at_ms: i64) -> Result<(), String> {
        self.writes += 1;
        let meta = StoreMeta {
            changelog_position: self.writes,
            last_applied_ms: at_ms,
        };
        self.store.write(changes, &meta).map_err(text_of)?;
        self.store.forget_due(served).map_err(text_of)
    }
}

impl Scene {
    /// Adds what a later batch brought.
    pub fn append(&mut self, mut later: Scene) {
        self.decided.append(&mut later.decided);
        self.dead_letters.append(&mut later.dead_letters);
    }

    fn read(outgoing: &[Outgoing]) -> Result<Scene, String> {
        let mut scene = Scene::default();
        let mut valid_until: BTreeMap<String, String> = BTreeMap::new();
        for record in outgoing {
            let header = |name: &str| {
                let found = record.headers.iter().rev().find(|(other, _)| other == name);
                let value = found.and_then(|(_, value)| value.as_deref()).unwrap_or_default();
                String::from_utf8_lossy(value).into_owned()
            };
            if &*record.topic == DECISIONS {
                let value = record.value.as_deref().unwrap_or_default();
                let mut decided: Decided = serde_json::from_slice(value).map_err(text_of)?;
                decided.valid_until = valid_until.remove(&decided.decision_id);
                scene.decided.push(decided);
            } else if &*record.topic == DEAD_LETTER {
                let letter = (header("forbear-error"), header("forbear-error-detail"));
                scene.dead_letters.push(letter);
            } else if !header("forbear-valid-until").is_empty() {
                valid_until.insert(header("forbear-decision-id"), header("forbear-valid-until"));
            }
        }
        Ok(scene)
    }
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}
