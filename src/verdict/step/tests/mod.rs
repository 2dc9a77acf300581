//! The step over one customer, in policies written as their owners write them.

mod hits;
mod hold;
mod slots;

use super::*;
use crate::message::{decode_event, decode_intent};
use crate::verdict::examples;
use serde_json::{Value, json};
use std::convert::Infallible;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A Wednesday, midnight in the company's zone.
const MIDNIGHT_MS: i64 = 1_781_049_600_000;

const HEAD: &str = "forbear: 1
name: test
timezone: UTC
defaults: { on-hit: defer, class: marketing, max-defer: 7d }
channels:
  email: { consent: opt-out }
  push: { consent: opt-out }
  sms: { consent: opt-in }
";

/// One customer, and everything that was said about its intents.
struct World {
    policy: Policy,
    customer: Customer,
    topics: TopicNames,
    now_ms: i64,
    next_offset: i64,
    decisions: Vec<Value>,
    outputs: Vec<Outgoing>,
}

impl World {
    /// The channels and defaults of [`HEAD`], and what the test is about.
    fn new(policy: &str) -> Self {
        Self {
            policy: load(&format!("{HEAD}{policy}")),
            customer: Customer::new("c-1".into()),
            topics: examples::topics(),
            now_ms: MIDNIGHT_MS,
            next_offset: 0,
            decisions: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Sets the clock to so long after midnight. It never goes back.
    fn at(&mut self, after_ms: i64) -> &mut Self {
        self.now_ms = self.now_ms.max(MIDNIGHT_MS + after_ms);
        self
    }

    fn step(
        &mut self,
        then: impl FnOnce(&StepContext, &mut Customer, Read<Infallible>, &mut Effects) -> Result<(), LoadError<Infallible>>,
    ) -> Vec<String> {
        let context = StepContext {
            policy: &self.policy,
            topics: &self.topics,
            stamp: Stamp {
                decided_at_ms: self.now_ms,
                policy: &self.policy.label,
                barrier: &[],
            },
            partition_count: 1,
            max_intent_bytes: 100_000,
        };
        let mut effects = Effects::default();
        // Bodies that were put lie in the customer until its changes are taken.
        then(&context, &mut self.customer, &mut |_| Ok(None), &mut effects).expect("a state that can be read");
        let (decisions, outputs): (Vec<_>, Vec<_>) = effects
            .outgoing
            .into_iter()
            .partition(|record| Some(&record.topic) == self.topics.decisions.as_ref());
        let decisions = decisions
            .iter()
            .map(|record| serde_json::from_slice(record.value.as_deref().unwrap_or_default()).expect("a decision"));
        let first = self.decisions.len();
        self.decisions.extend(decisions);
        self.outputs.extend(outputs);
        let said = |member: &Value| member.as_str().unwrap_or_default().to_owned();
        let line = |decision: &Value| {
            ["intent_id", "verdict", "reason"]
                .map(|name| said(&decision[name]))
                .join(" ")
        };
        self.decisions[first..].iter().map(line).collect()
    }

    /// An arrival, as `id verdict reason` for each decision.
    fn intent(&mut self, id: &str, more: Value) -> Vec<String> {
        let mut body = json!({"intent_id": id, "customer_id": "c-1", "channel": "email", "division": "cards"});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let value = body.to_string().into_bytes();
        let intent = decode_intent(Some(&value), &[], self.now_ms, 100_000, false).expect("an intent");
        let source = SourceCoordinates {
            topic: "forbear.intents".into(),
            partition: 0,
            offset: self.next_offset,
        };
        self.next_offset += 1;
        let timestamp_ms = self.now_ms;
        self.step(|context, customer, read, effects| {
            let received = Received {
                key: None,
                value: Some(&value),
                headers: &[],
            };
            let arrival_of = Arrival {
                source,
                timestamp_ms,
                received,
                intent: &intent,
            };
            arrival(context, customer, &arrival_of, read, effects)
        })
    }

    /// An event, and what it makes due, as a batch does it.
    fn event(&mut self, kind: &str, more: Value) -> Vec<String> {
        let mut body = json!({
            "event_id": format!("e-{}", self.next_offset), "customer_id": "c-1", "type": kind,
            "occurred_at": instant(self.now_ms),
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.next_offset += 1;
        let value = body.to_string().into_bytes();
        let event = decode_event(Some(&value), &[], 100_000, false).expect("an event");
        self.step(|context, customer, read, effects| {
            engagement(context, customer, &event, read, effects)?;
            due(context, customer, read, effects)
        })
    }

    /// Judges what is due.
    fn tick(&mut self) -> Vec<String> {
        self.step(|context, customer, read, effects| due(context, customer, read, effects))
    }

    /// Another policy, under which the queue is timed anew.
    fn replace(&mut self, policy: &str) -> Vec<String> {
        self.policy = load(&format!("{HEAD}{policy}"));
        self.step(|context, customer, read, effects| {
            order_anew(context, customer, read)?;
            customer.retime(context.stamp.decided_at_ms);
            due(context, customer, read, effects)
        })
    }

    /// When a waiting intent wakes, after midnight.
    fn wake(&self, id: &str) -> Option<i64> {
        let found = self.customer.waiting.iter().find(|waiting| &*waiting.intent_id == id);
        let waiting = found.unwrap_or_else(|| panic!("{id} does not wait"));
        waiting.wake_at_ms.map(|wake_ms| wake_ms - MIDNIGHT_MS)
    }

    /// The newest decision about an intent.
    fn newest(&self, id: &str) -> &Value {
        let found = self.decisions.iter().rfind(|decision| decision["intent_id"] == id);
        found.unwrap_or_else(|| panic!("nothing was said about {id}"))
    }
}

fn load(text: &str) -> Policy {
    match Policy::load(text.as_bytes(), "policy.yaml", None) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{errors}"),
    }
}

fn instant(at_ms: i64) -> String {
    String::from_utf8(crate::message::time::rfc3339(at_ms)).expect("ASCII")
}

/// So long after midnight, as a text.
fn after(after_ms: i64) -> String {
    instant(MIDNIGHT_MS + after_ms)
}
