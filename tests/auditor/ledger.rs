//! P3 and P4: the ledger of every customer, folded from the decisions in the order of the log, and the clock.

use super::competitors::{Queue, check_slot};
use super::facts::{PolicyFacts, RuleFacts, RuleTest, Traits, Zones};
use super::reading::{Decision, Event, text};
use super::{Evidence, Findings};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What the checks keep of one contact.
#[derive(Debug, Clone)]
pub struct Contact {
    pub at_ms: i64,
    pub class: String,
    channel: String,
    members: BTreeMap<&'static str, String>,
    released: bool,
}

/// An approval, with the contact that it made and the policy that it names.
#[derive(Clone, Copy)]
pub struct Approval<'a> {
    pub evidence: &'a Evidence<'a>,
    pub policy: &'a PolicyFacts,
    pub decision: &'a Decision,
    pub contact: &'a Contact,
}

const MEMBERS: &[&str] = &["division", "campaign", "category", "topic", "offer"];

pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut approved: HashMap<&str, Vec<(&str, Contact)>> = HashMap::new();
    let mut queues: HashMap<&str, Queue<'_>> = HashMap::new();
    let mut newest_ms: BTreeMap<i32, i64> = BTreeMap::new();
    for decision in &evidence.decisions {
        let contacts = approved.entry(&decision.customer_id).or_default();
        if decision.verdict == "released" {
            release(decision, contacts, findings);
            continue;
        }
        let owner = super::reading::owner(decision.customer_id.as_bytes(), evidence.input.partition_count);
        let newest_ms = newest_ms.entry(owner).or_insert(decision.decided_at_ms);
        if decision.decided_at_ms < *newest_ms {
            findings.add(
                "P5",
                format!(
                    "the time of partition {owner} goes back at the decision {}",
                    decision.id
                ),
            );
        }
        *newest_ms = (*newest_ms).max(decision.decided_at_ms);
        let queue = queues.entry(&decision.customer_id).or_default();
        if decision.verdict == "deferred" {
            queue.insert(&decision.source, decision);
        } else {
            queue.remove(&decision.source);
        }
        if decision.verdict != "approved" {
            continue;
        }
        let Some(contact) = contact_of(evidence, decision) else {
            continue;
        };
        match evidence.input.policies.get(&decision.policy) {
            None => findings.add("P6", format!("the decision {} names an unknown policy", decision.id)),
            Some(policy) => {
                let approval = Approval {
                    evidence,
                    policy,
                    decision,
                    contact: &contact,
                };
                check_rules(&approval, contacts, queue, findings);
            }
        }
        contacts.push((&decision.id, contact));
    }
}

fn release(decision: &Decision, contacts: &mut [(&str, Contact)], findings: &mut Findings) {
    let same_source = |id: &str| {
        super::reading::Coordinates::parse_decision_id(id).is_some_and(|(source, _)| source == decision.source)
    };
    match contacts.iter_mut().find(|(id, _)| same_source(id)) {
        Some((_, contact)) => contact.released = true,
        None => findings.add(
            "P1",
            format!("the release {} gives back what was not approved before", decision.id),
        ),
    }
}

pub fn contact_of(evidence: &Evidence<'_>, decision: &Decision) -> Option<Contact> {
    let intent = evidence.sources.get(&decision.source)?.1.as_ref()?;
    Some(Contact {
        at_ms: decision.decided_at_ms,
        class: decision.class.clone(),
        channel: decision.channel.clone(),
        members: members(&intent.body),
        released: false,
    })
}

fn members(body: &serde_json::Map<String, serde_json::Value>) -> BTreeMap<&'static str, String> {
    MEMBERS
        .iter()
        .filter_map(|member| Some((*member, text(body, member)?)))
        .collect()
}

/// What the customer heard from elsewhere, as far as the decision knew it.
fn elsewhere(events: &[Event], decision: &Decision) -> Vec<Contact> {
    // A repeat of an event counts nothing, in whichever topic it stands.
    let mut counted: BTreeSet<&str> = BTreeSet::new();
    let known = events
        .iter()
        .filter(|event| event.kind == "contacted_elsewhere" && decision.knew(event));
    known
        .filter(|event| counted.insert(&event.event_id))
        .filter_map(|event| {
            Some(Contact {
                at_ms: event.occurred_at_ms,
                class: "marketing".into(),
                channel: event.text("channel")?,
                members: members(&event.body),
                released: false,
            })
        })
        .collect()
}

impl Contact {
    pub fn traits(&self) -> Traits<'_> {
        let member = |name: &str| self.members.get(name).map(String::as_str);
        Traits {
            class: &self.class,
            channel: &self.channel,
            division: member("division"),
            campaign: member("campaign"),
            category: member("category"),
        }
    }

    fn member(&self, name: &str) -> Option<&str> {
        match name {
            "class" => Some(&self.class),
            "channel" => Some(&self.channel),
            other => self.members.get(other).map(String::as_str),
        }
    }
}

fn check_rules(approval: &Approval<'_>, earlier: &[(&str, Contact)], queue: &Queue<'_>, findings: &mut Findings) {
    let Approval {
        evidence,
        policy,
        decision,
        contact,
    } = *approval;
    let events = evidence
        .events
        .get(&decision.customer_id)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let outside = elsewhere(events, decision);
    let ledger: Vec<&Contact> = earlier
        .iter()
        .map(|(_, contact)| contact)
        .chain(&outside)
        .filter(|contact| !contact.released)
        .collect();
    let candidates = zones(evidence, policy, decision, events);
    check_slot(approval, &ledger, &candidates, queue, findings);
    for rule in &policy.rules {
        let governed = rule.governs.matches(&contact.traits());
        if !governed || !policy.obeys(&decision.class, rule.test.kind(), Some(&rule.id)) {
            continue;
        }
        // Where the zone is not certain, a rule is broken only if it is broken in every zone that it may have been.
        if let Some(counted) = candidates
            .iter()
            .map(|zones| broken(policy, rule, contact, &ledger, zones))
            .min()
            .flatten()
        {
            let promise = if rule.test.kind() == "quiet-hours" { "P4" } else { "P3" };
            findings.add(
                promise,
                format!(
                    "{} was approved against the rule {} ({counted} counted)",
                    decision.id, rule.id
                ),
            );
        }
    }
}

/// How many contacts counted where the rule forbids the approval.
pub fn broken(
    policy: &PolicyFacts,
    rule: &RuleFacts,
    contact: &Contact,
    ledger: &[&Contact],
    zones: &Zones,
) -> Option<usize> {
    let scope = rule.counts.clone().unwrap_or_else(|| rule.governs.without_class());
    let fills = |other: &&&Contact| {
        let by_class = rule.counts.is_some() || policy.class(&other.class).is_some_and(|class| class.counts);
        by_class
            && scope.matches(&other.traits())
            && rule
                .per
                .iter()
                .all(|member| other.member(member) == contact.member(member))
    };
    let now_ms = contact.at_ms;
    match &rule.test {
        RuleTest::Cap { limit, window } => {
            let held = ledger
                .iter()
                .filter(fills)
                .filter(|other| window.holds(other.at_ms, now_ms, zones))
                .count();
            (held >= *limit).then_some(held)
        }
        RuleTest::Gap { gap_ms } => {
            let near = |other: &&&Contact| other.at_ms <= now_ms && other.at_ms.saturating_add(*gap_ms) > now_ms;
            let held = ledger.iter().filter(fills).filter(near).count();
            (held > 0).then_some(held)
        }
        RuleTest::Quiet { .. } | RuleTest::Open { .. } => rule.test.quiet_at(now_ms, zones).then_some(0),
        RuleTest::Capacity { .. } | RuleTest::Other { .. } => None,
    }
}

/// The zone of the newest profile that was read; every zone that it may have been where several topics speak. Of an event that
/// stands in two topics only the first one read took effect, and nobody knows which that was: the newest without it counts
/// as well.
fn zones(evidence: &Evidence<'_>, policy: &PolicyFacts, decision: &Decision, events: &[Event]) -> Vec<Zones> {
    let company = TimeZone::get(&policy.company_zone).unwrap_or(TimeZone::UTC);
    let mut newest: BTreeMap<(&str, bool), &Event> = BTreeMap::new();
    for event in events {
        let speaks = matches!(event.kind.as_str(), "profile_set" if event.body.contains_key("timezone"));
        if !(speaks || event.kind == "erased") || !decision.knew(event) {
            continue;
        }
        let name = (event.customer_id.clone(), event.event_id.clone());
        let is_certain = !evidence.ambiguous_event_ids.contains(&name);
        for certain_only in [false, true] {
            if is_certain || !certain_only {
                let known = newest.entry((&event.coordinates.topic, certain_only)).or_insert(event);
                if event.coordinates.offset > known.coordinates.offset {
                    *known = event;
                }
            }
        }
    }
    let named = newest
        .values()
        .map(|event| event.text("timezone").and_then(|name| TimeZone::get(&name).ok()));
    let mut found: Vec<Zones> = named
        .map(|zone| Zones {
            customer: zone.unwrap_or_else(|| company.clone()),
            company: company.clone(),
        })
        .collect();
    if found.is_empty() {
        found.push(Zones {
            customer: company.clone(),
            company,
        });
    }
    found
}
