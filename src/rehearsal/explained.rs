//! One verdict for one customer, with every rule's working.

use super::compare::told;
use super::play::ledger_contact;
use super::script::{Act, Reader, customer, in_time};
use super::stage::{Decided, MAX_INTENT_BYTES, Stage};
use super::words::{snake, text_of};
use super::working::{as_json, local, sentence, table};
use crate::message::{Name, decode_intent};
use crate::policy::file::{Findings, Node, Value};
use crate::policy::judge::{self, Working};
use crate::policy::model::Policy;
use crate::policy::window::zone;
use jiff::tz::TimeZone;
use serde_json::json;
use std::rc::Rc;

/// A verdict and how it came about.
#[derive(Debug, Clone)]
pub struct Explained {
    pub at_ms: i64,
    pub policy: Name,
    pub decided: Decided,
    pub working: Vec<Working>,
    /// The customer's zone, else the company's.
    pub zone: String,
}

/// Judges an intent of a customer at an instant. None: the files cannot be used, and the findings say why.
///
/// # Errors
/// A sentence about what went wrong in the processor itself.
pub fn explain(
    policy: &Rc<Policy>,
    customer_node: &Node,
    intent_node: &Node,
    at_ms: i64,
    findings: &mut Findings,
) -> Result<Option<Explained>, String> {
    let mut reader = Reader::new(policy, findings);
    if let Some(named) = id_in(intent_node) {
        // The history is this customer's, or it would explain somebody without any.
        if let Some(other) = id_in(customer_node).filter(|other| other.text() != named.text()) {
            let message = "this is another customer than the intent's";
            let label = "the two files have to name the same one, or one of them none";
            reader.findings.error("customer", other.span, message, label);
            return Ok(None);
        }
        reader.customer_id = named.text().unwrap_or_default().to_owned();
    }
    let Some(first) = customer(customer_node, &mut reader) else {
        return Ok(None);
    };
    let Some(bytes) = reader.intent(intent_node, at_ms, false) else {
        return Ok(None);
    };
    if reader.findings.has_errors() {
        return Ok(None);
    }
    let mut stage = Stage::new(policy.clone())?;
    for step in in_time(first, Vec::new()) {
        if step.at_ms > at_ms {
            let message = "this is later than the instant at which the intent is judged";
            let label = format!("it is judged at {}", text_of(at_ms));
            findings.error("order", step.span, message, label);
            return Ok(None);
        }
        stage.pass_until(step.at_ms)?;
        match &step.act {
            Act::Contact(contact) => {
                let entered = ledger_contact(contact, policy, step.at_ms);
                stage.enter(step.at_ms, &contact.intent.customer_id, entered)?;
            }
            Act::Event(event) => drop(stage.engage(step.at_ms, std::slice::from_ref(event))?),
            Act::Intent(_) | Act::Policy(_) | Act::Tick => {}
        }
    }
    stage.pass_until(at_ms)?;
    stage.engage(at_ms, &[])?;
    let Ok(intent) = decode_intent(Some(&bytes), &[], at_ms, MAX_INTENT_BYTES, false) else {
        return Ok(None);
    };
    let before = stage.customer(&intent.customer_id)?;
    let capacity = stage.capacity()?;
    let scene = stage.arrive(at_ms, &bytes)?;
    let Some(decided) = scene.decided.into_iter().find(|decided| decided.attempt == 0) else {
        let (error, detail) = scene.dead_letters.into_iter().next().unwrap_or_default();
        return Err(format!("the intent would be a dead letter: {error} ({detail})"));
    };
    let company = policy.zone.iana_name().unwrap_or("UTC");
    Ok(Some(Explained {
        at_ms,
        policy: policy.label.clone(),
        working: judge::explain(policy, &before, &intent, at_ms, &capacity),
        zone: before.profile.timezone.as_deref().unwrap_or(company).to_owned(),
        decided,
    }))
}

/// Where a customer or an intent says whom it is about.
fn id_in(node: &Node) -> Option<&Node> {
    let Value::Map(entries) = &node.value else { return None };
    let is_id = |key: &str| matches!(snake(key).as_str(), "customer_id" | "id");
    let mut entries = entries.iter().filter(|entry| is_id(&entry.key));
    entries.find_map(|entry| entry.value.text().map(|_| &entry.value))
}

impl Explained {
    /// For a person: the verdict, the table, the sentence.
    pub fn text(&self) -> String {
        let zone = zone::named(&self.zone).unwrap_or(TimeZone::UTC);
        format!(
            "{}\nat {} ({}), by {}\n\n{}\n\n{}\n",
            told(&self.decided),
            local(self.at_ms, &zone),
            self.zone,
            self.policy,
            table(&self.working, Some(&self.zone)),
            self.sentence(),
        )
    }

    /// What can be read to the customer.
    pub fn sentence(&self) -> String {
        sentence(&self.decided, &self.working, Some(&self.zone))
    }

    /// For programs.
    pub fn as_json(&self) -> serde_json::Value {
        let decided = &self.decided;
        json!({
            "at": text_of(self.at_ms),
            "policy": &*self.policy,
            "intent_id": decided.intent_id,
            "customer_id": decided.customer_id,
            "verdict": decided.verdict,
            "requested_channel": decided.requested_channel,
            "channel": decided.channel,
            "class": decided.class,
            "reason": decided.reason,
            "rule": decided.rule,
            "wake_at": decided.wake_at,
            "next_eligible_at": decided.next_eligible_at,
            "valid_until": decided.valid_until,
            "groups": decided.groups,
            "zone": self.zone,
            "working": as_json(&self.working),
            "sentence": self.sentence(),
        })
    }
}
