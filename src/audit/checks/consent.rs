//! P2: nobody is approved against an opt-out that the decision's barrier covers.

use super::{Findings, Group, Known, Promise};
use crate::audit::meaning::Policy;
use crate::audit::reading::{Decision, Event, Intent, instant_ms};
use serde_json::Value;

pub(super) fn check(group: &Group<'_>, findings: &mut Findings) {
    for decision in &group.decisions {
        if decision.verdict != "approved" || !group.task.covers(decision.decided_at_ms) {
            continue;
        }
        let policy = group.policies.of(&decision.policy);
        let source = group.sources.get(&decision.source);
        let Some((policy, intent)) = policy.zip(source.and_then(|source| source.intent.as_ref())) else {
            findings.not_checked(Promise::P2, "approvals whose policy or intent is not there");
            continue;
        };
        findings.checked(Promise::P2, "approvals against consent, suppression and preferences");
        let approval = Approval {
            group,
            policy,
            decision,
            intent,
            known: group.known_to(decision).collect(),
        };
        if policy.obeys(&decision.class, "suppression-list", None) {
            approval.check_suppression_list(findings);
        }
        if policy.obeys(&decision.class, "consent", None) {
            approval.check_consent(findings);
        }
        if policy.obeys(&decision.class, "preferences", None) {
            approval.check_preferences(findings);
        }
    }
}

/// An approval, with all that was known when it was given.
struct Approval<'a> {
    group: &'a Group<'a>,
    policy: &'a Policy,
    decision: &'a Decision,
    intent: &'a Intent,
    known: Vec<&'a Known>,
}

impl Approval<'_> {
    fn broken(&self, event: &Event, what: &str, findings: &mut Findings) {
        let at = &event.at;
        findings.violation(
            Promise::P2,
            &self.decision.id,
            format!("it was approved although {at} had been read: {what}"),
        );
    }

    fn check_suppression_list(&self, findings: &mut Findings) {
        for Known { event, is_repeat } in self.known.iter().copied() {
            let is_about_channel = event
                .text("channel")
                .is_some_and(|channel| channel == self.decision.channel);
            let forbidden = match event.kind.as_str() {
                "do_not_contact" | "erased" => true,
                "complained" => self.decision.class == "marketing" && is_about_channel,
                "bounced_hard" => {
                    self.decision.channel == self.intent.channel
                        && is_about_channel
                        && event.text("endpoint").is_some()
                        && event.text("endpoint") == self.intent.endpoint
                }
                _ => false,
            };
            if forbidden && !is_repeat {
                self.broken(event, &event.kind, findings);
            }
        }
    }

    fn check_consent(&self, findings: &mut Findings) {
        let concerning: Vec<&&Known> = self.known.iter().filter(|known| self.concerns(&known.event)).collect();
        let refusals = concerning
            .iter()
            .filter(|known| is_refusal(&known.event) && !known.is_repeat);
        for refusal in refusals.map(|known| &known.event) {
            // What counts again after it was forgotten cannot be told: a repeated grant is believed.
            let is_lifted = concerning.iter().any(|known| {
                let grant = &known.event;
                is_grant(grant) && (may_lift(grant, refusal) || known.is_repeat)
            });
            if !is_lifted && !self.group.engagement_is_cut(&refusal.at.topic) {
                self.broken(refusal, "a refusal that nothing lifts", findings);
            }
        }
        if self.policy.channels.get(&self.decision.channel).copied().flatten() != Some(true) {
            return;
        }
        if self.group.engagement_is_cut("") {
            findings.not_checked(
                Promise::P2,
                "grants on opt-in channels: the beginning of engagement is gone",
            );
            return;
        }
        let is_in_force = |event: &Event| {
            let ends = event.text("expires_at").and_then(|at| instant_ms(&at));
            is_grant(event) && ends.is_none_or(|end_ms| end_ms > self.decision.decided_at_ms)
        };
        if !concerning.iter().any(|known| is_in_force(&known.event)) {
            findings.violation(
                Promise::P2,
                &self.decision.id,
                "it was approved on an opt-in channel without a grant in force",
            );
        }
    }

    /// True where the statement covers channel, purpose and division of what was approved.
    fn concerns(&self, event: &Event) -> bool {
        let covers = |scope: Option<String>, value: Option<&String>| scope.is_none() || scope.as_ref() == value;
        (is_refusal(event) || is_grant(event))
            && covers(event.text("channel"), Some(&self.decision.channel))
            && covers(event.text("purpose"), self.intent.members.get("category"))
            && covers(event.text("division"), self.intent.members.get("division"))
    }

    /// The newest word on refused channels and topics, and on a pause; where two topics speak, none is taken.
    fn check_preferences(&self, findings: &mut Findings) {
        let lists = |event: &Event, member: &str, value: &str| {
            let values = event.body.get(member).and_then(Value::as_array);
            values.is_some_and(|values| values.iter().any(|other| other.as_str() == Some(value)))
        };
        let refused_channel = self
            .newest("refused_channels")
            .filter(|event| lists(event, "refused_channels", &self.decision.channel));
        let topic = self.intent.members.get("topic");
        let refused_topic = topic.and_then(|topic| {
            self.newest("refused_topics")
                .filter(|event| lists(event, "refused_topics", topic))
        });
        let paused = self.newest("paused_until").filter(|event| {
            let until = event.text("paused_until").and_then(|at| instant_ms(&at));
            until.is_some_and(|until_ms| until_ms > self.decision.decided_at_ms)
        });
        for event in [refused_channel, refused_topic, paused].into_iter().flatten() {
            self.broken(event, "a preference against it", findings);
        }
    }

    fn newest(&self, member: &str) -> Option<&Event> {
        let speaking = self
            .known
            .iter()
            .filter(|known| known.event.kind == "preferences_set" && known.event.body.contains_key(member));
        let mut newest: Option<&Known> = None;
        for known in speaking {
            let before = newest.map(|before| &before.event.at);
            if before.is_some_and(|before| before.topic != known.event.at.topic) {
                return None;
            }
            if before.is_none_or(|before| before.offset < known.event.at.offset) {
                newest = Some(known);
            }
        }
        newest.filter(|known| !known.is_repeat).map(|known| &known.event)
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
    let is_later = grant.at.topic != refusal.at.topic || grant.at.offset > refusal.at.offset;
    is_later && grant.occurred_at_ms >= refusal.occurred_at_ms && is_specific_enough(grant, refusal)
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
