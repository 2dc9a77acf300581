//! P2: nobody is approved against an opt-out that Kafka held, and the barrier that proves it was far enough.

use super::facts::PolicyFacts;
use super::reading::{Coordinates, Decision, Event, Intent};
use super::{Evidence, Findings, TopicRecord};
use std::collections::BTreeMap;

pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    check_barriers(evidence, findings);
    for decision in evidence
        .decisions
        .iter()
        .filter(|decision| decision.verdict == "approved")
    {
        let Some(policy) = evidence.input.policies.get(&decision.policy) else {
            continue;
        };
        let Some((_, Some(intent))) = evidence.sources.get(&decision.source) else {
            continue;
        };
        let events = evidence
            .events
            .get(&decision.customer_id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let known: Vec<&Event> = events.iter().filter(|event| decision.knew(event)).collect();
        if policy.obeys(&decision.class, "suppression-list", None) {
            check_suppression_list(decision, intent, &known, findings);
        }
        if policy.obeys(&decision.class, "consent", None) {
            check_consent(evidence, policy, decision, intent, &known, findings);
        }
        if policy.obeys(&decision.class, "preferences", None) {
            check_preferences(evidence, decision, intent, &known, findings);
        }
    }
}

/// Each decision names how far engagement had been applied; that never goes back, and it covers everything that was
/// appended before the decision's time.
fn check_barriers(evidence: &Evidence<'_>, findings: &mut Findings) {
    let names = &evidence.input.names;
    let logs: BTreeMap<&str, Log<'_>> = names
        .engagement
        .iter()
        .chain([&names.reroute])
        .map(|topic| (topic.as_str(), Log::of(evidence.records(topic))))
        .collect();
    let mut highest: BTreeMap<(i32, &str), i64> = BTreeMap::new();
    for decision in &evidence.decisions {
        let owner = super::reading::owner(decision.customer_id.as_bytes(), evidence.input.partition_count);
        for (topic, log) in &logs {
            let Some(barrier) = decision.barrier.get(*topic) else {
                findings.add("P2", format!("the decision {} has no barrier for {topic}", decision.id));
                continue;
            };
            let highest = highest.entry((owner, topic)).or_insert(*barrier);
            if *barrier < *highest {
                let what = format!(
                    "the barrier of {topic} goes back to {barrier} at the decision {}",
                    decision.id
                );
                findings.add("P2", what);
            }
            *highest = (*highest).max(*barrier);
            let is_input = names.engagement.iter().any(|name| name == topic);
            if !is_input || !evidence.input.engagement_has_append_times || applied_only(decision) {
                continue;
            }
            let horizon_ms = decision.decided_at_ms.saturating_sub(evidence.input.clock_tolerance_ms);
            if let Some(missed) = log
                .first_from(owner, *barrier)
                .filter(|record| record.timestamp_ms < horizon_ms)
            {
                let at = Coordinates::of(topic, missed);
                findings.add(
                    "P2",
                    format!(
                        "{at} was appended before the decision {}, which did not know it",
                        decision.id
                    ),
                );
            }
        }
    }
}

/// What engagement itself brings about is no judgement: it may stand before the barrier is reached.
fn applied_only(decision: &Decision) -> bool {
    decision.verdict == "released" || decision.reason == "cancelled"
}

/// Records by partition, in order.
struct Log<'a>(BTreeMap<i32, Vec<&'a TopicRecord>>);

impl<'a> Log<'a> {
    fn of(records: &'a [TopicRecord]) -> Self {
        let mut partitions: BTreeMap<i32, Vec<&TopicRecord>> = BTreeMap::new();
        for record in records {
            partitions.entry(record.partition).or_default().push(record);
        }
        partitions
            .values_mut()
            .for_each(|records| records.sort_by_key(|record| record.offset));
        Self(partitions)
    }

    fn first_from(&self, partition: i32, offset: i64) -> Option<&'a TopicRecord> {
        let records = self.0.get(&partition)?;
        records
            .get(records.partition_point(|record| record.offset < offset))
            .copied()
    }
}

fn check_suppression_list(decision: &Decision, intent: &Intent, known: &[&Event], findings: &mut Findings) {
    for event in known {
        let about_channel = |event: &Event| event.text("channel").is_some_and(|channel| channel == decision.channel);
        let forbidden = match event.kind.as_str() {
            "do_not_contact" | "erased" => true,
            "complained" => decision.class == "marketing" && about_channel(event),
            "bounced_hard" => {
                decision.channel == intent.channel
                    && about_channel(event)
                    && event.text("endpoint").is_some()
                    && event.text("endpoint") == intent.endpoint
            }
            _ => false,
        };
        if forbidden {
            let what = format!(
                "{} was approved although {} ({}) had been read",
                decision.id, event.coordinates, event.kind
            );
            findings.add("P2", what);
        }
    }
}

fn check_consent(
    evidence: &Evidence<'_>,
    policy: &PolicyFacts,
    decision: &Decision,
    intent: &Intent,
    known: &[&Event],
    findings: &mut Findings,
) {
    let ambiguous = |event: &Event| {
        evidence
            .ambiguous_event_ids
            .contains(&(event.customer_id.clone(), event.event_id.clone()))
    };
    let concerning: Vec<&&Event> = known.iter().filter(|event| concerns(event, decision, intent)).collect();
    for refusal in concerning.iter().filter(|event| is_refusal(event) && !ambiguous(event)) {
        let lifted = concerning
            .iter()
            .any(|grant| is_grant(grant) && may_lift(grant, refusal) || ambiguous(grant));
        if !lifted {
            let what = format!(
                "{} was approved although the refusal {} had been read",
                decision.id, refusal.coordinates
            );
            findings.add("P2", what);
        }
    }
    if policy.channel(&decision.channel).is_some_and(|channel| channel.opt_in) {
        let in_force = |event: &Event| {
            let ends = event.text("expires_at").and_then(|at| super::reading::instant_ms(&at));
            is_grant(event) && ends.is_none_or(|end_ms| end_ms > decision.decided_at_ms)
        };
        if !concerning.iter().any(|event| in_force(event)) {
            let what = format!(
                "{} was approved on an opt-in channel without a grant in force",
                decision.id
            );
            findings.add("P2", what);
        }
    }
}

fn is_refusal(event: &Event) -> bool {
    matches!(event.kind.as_str(), "unsubscribed" | "consent_withdrawn")
}

fn is_grant(event: &Event) -> bool {
    matches!(event.kind.as_str(), "resubscribed" | "consent_granted")
}

/// Later in the log (in another topic the order is not known), not older, and specific enough.
fn may_lift(grant: &Event, refusal: &Event) -> bool {
    let later =
        grant.coordinates.topic != refusal.coordinates.topic || grant.coordinates.offset > refusal.coordinates.offset;
    later && grant.occurred_at_ms >= refusal.occurred_at_ms && is_specific_enough(grant, refusal)
}

/// What the statement names; what it does not name it covers.
fn scope(statement: &Event) -> [Option<String>; 3] {
    ["channel", "purpose", "division"].map(|member| statement.text(member))
}

/// Among later statements the most specific wins; at equal specificity, the refusal.
fn is_specific_enough(grant: &Event, refusal: &Event) -> bool {
    let named = |statement| scope(statement).iter().flatten().count();
    named(grant) > named(refusal) || scope(grant) == scope(refusal)
}

/// True where the statement covers channel, purpose and division of what was approved.
fn concerns(event: &Event, decision: &Decision, intent: &Intent) -> bool {
    if !is_refusal(event) && !is_grant(event) {
        return false;
    }
    let covers = |scope: Option<String>, value: Option<String>| scope.is_none() || scope == value;
    let of_intent = |member: &str| super::reading::text(&intent.body, member);
    covers(event.text("channel"), Some(decision.channel.clone()))
        && covers(event.text("purpose"), of_intent("category"))
        && covers(event.text("division"), of_intent("division"))
}

/// The newest word on refused channels and on a pause; where two topics speak, none is taken.
fn check_preferences(
    evidence: &Evidence<'_>,
    decision: &Decision,
    intent: &Intent,
    known: &[&Event],
    findings: &mut Findings,
) {
    let newest = |member: &str| -> Option<&Event> {
        let mut speaking = known
            .iter()
            .filter(|event| event.kind == "preferences_set" && event.body.contains_key(member));
        let first = speaking.next()?;
        let mut newest: &Event = first;
        for event in speaking {
            if event.coordinates.topic != first.coordinates.topic {
                return None;
            }
            if event.coordinates.offset > newest.coordinates.offset {
                newest = event;
            }
        }
        let name = (newest.customer_id.clone(), newest.event_id.clone());
        (!evidence.ambiguous_event_ids.contains(&name)).then_some(newest)
    };
    let lists = |event: &Event, member: &str, value: &str| {
        let values = event.body.get(member).and_then(serde_json::Value::as_array);
        values.is_some_and(|values| values.iter().any(|other| other.as_str() == Some(value)))
    };
    let refused_channel =
        newest("refused_channels").filter(|event| lists(event, "refused_channels", &decision.channel));
    let refused_topic = super::reading::text(&intent.body, "topic")
        .and_then(|topic| newest("refused_topics").filter(|event| lists(event, "refused_topics", &topic)));
    let paused = newest("paused_until").filter(|event| {
        let until = event
            .text("paused_until")
            .and_then(|at| super::reading::instant_ms(&at));
        until.is_some_and(|until_ms| until_ms > decision.decided_at_ms)
    });
    for event in [refused_channel, refused_topic, paused].into_iter().flatten() {
        let what = format!(
            "{} was approved against the preference {}",
            decision.id, event.coordinates
        );
        findings.add("P2", what);
    }
}
