//! P3 and P4: the ledger of every customer, folded from the decisions in the order of the log, and the clock.

use super::{Findings, Group, Known, Promise};
use crate::audit::meaning::windows::Zones;
use crate::audit::meaning::{Policy, Rule, Test, Traits};
use crate::audit::reading::{Coordinates, Decision};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

/// What the checks keep of one contact.
struct Contact {
    /// What was approved; none: the contact was made elsewhere.
    source: Option<Coordinates>,
    at_ms: i64,
    class: String,
    /// By the names that selectors use, the class apart.
    fields: BTreeMap<String, String>,
    released: bool,
}

impl Contact {
    fn traits(&self) -> Traits<'_> {
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        fields.chain([("class", self.class.as_str())]).collect()
    }

    fn field(&self, name: &str) -> Option<&str> {
        match name {
            "class" => Some(&self.class),
            _ => self.fields.get(name).map(String::as_str),
        }
    }
}

pub(super) fn check(group: &Group<'_>, findings: &mut Findings) {
    let mut contacts: Vec<Contact> = Vec::new();
    for decision in &group.decisions {
        match decision.verdict.as_str() {
            "released" => release(group, decision, &mut contacts, findings),
            "approved" => {
                let Some(contact) = contact_of(group, decision) else {
                    findings.not_checked(Promise::P3, "approvals whose intent is not there, and what they fill");
                    continue;
                };
                if group.task.covers(decision.decided_at_ms)
                    && let Some(policy) = group.policies.of(&decision.policy)
                {
                    check_rules(group, policy, decision, &contact, &contacts, findings);
                }
                contacts.push(contact);
            }
            _ => {}
        }
    }
}

fn release(group: &Group<'_>, decision: &Decision, contacts: &mut [Contact], findings: &mut Findings) {
    let made = contacts
        .iter_mut()
        .rfind(|contact| contact.source.as_ref() == Some(&decision.source));
    match made {
        Some(contact) => contact.released = true,
        None if group.should_know(&decision.source) && !group.survey.is_cut(&group.request.topics.decisions) => {
            findings.violation(Promise::P1, &decision.id, "it gives back what was not approved before");
        }
        None => {}
    }
}

fn contact_of(group: &Group<'_>, decision: &Decision) -> Option<Contact> {
    let intent = group.sources.get(&decision.source)?.intent.as_ref()?;
    let mut fields = intent.members.clone();
    let kind = fields.remove("message_type").unwrap_or_else(|| "campaign".to_owned());
    fields.insert("type".to_owned(), kind);
    fields.insert("channel".to_owned(), decision.channel.clone());
    Some(Contact {
        source: Some(decision.source.clone()),
        at_ms: decision.decided_at_ms,
        class: decision.class.clone(),
        fields,
        released: false,
    })
}

/// What the customer heard from elsewhere, as far as the decision knew it. A repeat of an event counts nothing.
fn elsewhere(known: &[&Known]) -> Vec<Contact> {
    let mut counted: BTreeSet<&str> = BTreeSet::new();
    let told = known
        .iter()
        .map(|known| &known.event)
        .filter(|event| event.kind == "contacted_elsewhere");
    told.filter(|event| counted.insert(&event.event_id))
        .filter_map(|event| {
            let names = ["channel", "division", "campaign", "category", "topic", "offer"];
            let fields = names
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), event.text(name)?)));
            event.text("channel")?;
            Some(Contact {
                source: None,
                at_ms: event.occurred_at_ms,
                class: "marketing".to_owned(),
                fields: fields.collect(),
                released: false,
            })
        })
        .collect()
}

fn check_rules(
    group: &Group<'_>,
    policy: &Policy,
    decision: &Decision,
    contact: &Contact,
    earlier: &[Contact],
    findings: &mut Findings,
) {
    let known: Vec<&Known> = group.known_to(decision).collect();
    if known.iter().any(|known| known.event.kind == "erased") {
        findings.not_checked(
            Promise::P3,
            "approvals for somebody who was erased: the ledger begins anew",
        );
        return;
    }
    let outside = elsewhere(&known);
    let ledger: Vec<&Contact> = earlier.iter().chain(&outside).filter(|other| !other.released).collect();
    let mut zones = zones(group, policy, &known);
    let is_unknown = zones.is_empty();
    if is_unknown {
        // For what does not depend on it.
        zones.push(Zones {
            customer: policy.company.clone(),
            company: policy.company.clone(),
        });
    }
    let traits = contact.traits();
    for rule in &policy.rules {
        let is_blind = matches!(rule.test, Test::Other(_));
        let is_governed = is_blind || rule.governs.matches(&traits);
        if !is_governed || !policy.obeys(&decision.class, &rule.kind, Some(&rule.id)) {
            continue;
        }
        let promise = match rule.kind.as_str() {
            "send-window" | "quiet-hours" => Promise::P4,
            _ => Promise::P3,
        };
        let why = match &rule.test {
            // In the order of the partition, elsewhere.
            Test::Capacity { .. } => continue,
            Test::Other(why) => Some(*why),
            _ if policy.may_except(rule, &traits) => Some("an exception may apply"),
            test if is_unknown && test.depends_on_the_customers_zone() => {
                Some("the customer's zone is not known: the beginning of engagement is gone")
            }
            _ => None,
        };
        if let Some(why) = why {
            findings.not_checked(
                promise,
                format!("approvals under rule {} ({}): {why}", rule.id, rule.kind),
            );
            continue;
        }
        findings.checked(
            promise,
            match promise {
                Promise::P4 => "approvals within the hours",
                _ => "approvals under a cap or gap",
            },
        );
        // Where the zone is not certain, a rule is broken only if it is broken in every zone that it may have been.
        let counted = zones.iter().map(|zones| broken(policy, rule, contact, &ledger, zones));
        if let Some(counted) = counted.min().flatten() {
            let what = match promise {
                Promise::P4 => format!("it was approved within the quiet hours of rule {}", rule.id),
                _ => format!("it was approved against rule {} ({counted} counted)", rule.id),
            };
            findings.violation(promise, &decision.id, what);
        }
    }
}

/// How many contacts counted where the rule forbids the approval.
fn broken(policy: &Policy, rule: &Rule, contact: &Contact, ledger: &[&Contact], zones: &Zones) -> Option<usize> {
    let scope = rule.counts.clone().unwrap_or_else(|| rule.governs.without_class());
    let agrees = |other: &Contact, field: &String| match field.as_str() {
        "jurisdiction" | "segment" => true,
        field => other.field(field) == contact.field(field),
    };
    let fills = |other: &&&Contact| {
        let by_class = rule.counts.is_some() || policy.class(&other.class).is_some_and(|class| class.counts);
        by_class && scope.matches(&other.traits()) && rule.per.iter().all(|field| agrees(other, field))
    };
    let now_ms = contact.at_ms;
    match &rule.test {
        Test::Cap { limit, window, .. } => {
            let filling = ledger.iter().filter(fills);
            let held = filling.filter(|other| window.holds(other.at_ms, now_ms, zones)).count();
            (held >= *limit).then_some(held)
        }
        Test::Gap { gap_ms } => {
            let is_near = |other: &&&Contact| other.at_ms <= now_ms && other.at_ms.saturating_add(*gap_ms) > now_ms;
            let held = ledger.iter().filter(fills).filter(is_near).count();
            (held > 0).then_some(held)
        }
        Test::Hours(hours) => hours.are_quiet_at(now_ms, zones).then_some(0),
        Test::Capacity { .. } | Test::Other(_) => None,
    }
}

/// The zone of the newest profile that was read; every zone that it may have been where that is not certain. Empty: it is not
/// known at all.
fn zones(group: &Group<'_>, policy: &Policy, known: &[&Known]) -> Vec<Zones> {
    let mut newest: BTreeMap<(&str, bool), &Known> = BTreeMap::new();
    for known in known {
        let event = &known.event;
        if event.kind != "profile_set" || !event.body.contains_key("timezone") {
            continue;
        }
        // One that repeats an id may have had no effect: the newest without those counts as well.
        for with_repeats in [true, false] {
            if with_repeats || !known.is_repeat {
                let newest = newest.entry((&event.at.topic, with_repeats)).or_insert(known);
                if event.at.offset > newest.event.at.offset {
                    *newest = known;
                }
            }
        }
    }
    let of = |customer: TimeZone| Zones {
        customer,
        company: policy.company.clone(),
    };
    let unknown = || match policy.unknown_zones.is_empty() {
        true => vec![policy.company.clone()],
        false => policy.unknown_zones.clone(),
    };
    let mut found: Vec<Zones> = Vec::new();
    for known in newest.values() {
        let zone = known.event.text("timezone").and_then(|name| TimeZone::get(&name).ok());
        found.extend(zone.map_or_else(unknown, |zone| vec![zone]).into_iter().map(of));
    }
    // Only repeats, or nothing at all.
    let is_certain = newest.keys().any(|(_, with_repeats)| !with_repeats);
    if !is_certain && !group.engagement_is_cut("") {
        found.extend(unknown().into_iter().map(of));
    }
    found
}
