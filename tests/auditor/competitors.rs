//! Competitors: what was held, the order in which a hold ended, and the slots that deferred intents keep.
//!
//! A slot is only checked where nothing that these topics do not tell could have given it up: of the reserved intents above
//! an approved one the first in the order, deferred by a rule or held, without fallbacks, under the policy that judged.

use super::facts::{PolicyFacts, RuleTest, Zones};
use super::ledger::{Approval, Contact, broken, contact_of};
use super::reading::{Coordinates, Decision, RULE_REASONS, instant_ms, text};
use super::{Evidence, Findings};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Class rank, priority, score, expiry, creation, id: the least goes first.
type Place = (Reverse<u16>, Reverse<i64>, Reverse<u64>, i64, i64, String);

/// The newest decision about each intent of a customer that waits.
pub type Queue<'a> = BTreeMap<&'a Coordinates, &'a Decision>;

/// After these a waiting intent is judged again; whether it still could be sent is not recomputed here.
const UPSETTING: &[&str] = &[
    "bounced_hard",
    "complained",
    "unsubscribed",
    "resubscribed",
    "consent_granted",
    "consent_withdrawn",
    "preferences_set",
    "profile_set",
    "issue_opened",
    "issue_closed",
    "do_not_contact",
    "erased",
];

/// What holds of every decision by itself.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut newest: HashMap<&Coordinates, &Decision> = HashMap::new();
    let mut left: HashMap<(&str, i64, i64), Place> = HashMap::new();
    for decision in evidence
        .decisions
        .iter()
        .filter(|decision| decision.verdict != "released")
    {
        let before = newest.insert(&decision.source, decision);
        let Some(policy) = evidence.input.policies.get(&decision.policy) else {
            continue;
        };
        check_hold(evidence, policy, decision, findings);
        // Those that leave one hold at one time leave it in the total order.
        let held_until = before
            .filter(|before| before.reason == "held" && before.policy == decision.policy)
            .and_then(|before| before.wake_at_ms)
            .filter(|wake_ms| *wake_ms <= decision.decided_at_ms && was_compared(decision));
        if let Some((wake_ms, place)) = held_until.zip(place_of(evidence, policy, decision)) {
            let hold = (decision.customer_id.as_str(), wake_ms, decision.decided_at_ms);
            if left.get(&hold).is_some_and(|earlier| *earlier > place) {
                findings.add(
                    "contract",
                    format!("{} was judged after one that stands below it", decision.id),
                );
            }
            left.insert(hold, place);
        }
    }
}

fn was_compared(decision: &Decision) -> bool {
    decision.verdict == "approved"
        || RULE_REASONS.contains(&decision.reason.as_str())
        || decision.reason == "arbitration"
}

fn check_hold(evidence: &Evidence<'_>, policy: &PolicyFacts, decision: &Decision, findings: &mut Findings) {
    let mut broken = |what: &str| findings.add("contract", format!("the decision {} {what}", decision.id));
    let hold_ms = policy.class(&decision.class).map_or(0, |class| class.hold_ms);
    let intent = evidence
        .sources
        .get(&decision.source)
        .and_then(|(_, intent)| intent.as_ref());
    let expires_ms = intent.and_then(|intent| intent.expires_at_ms);
    if decision.reason == "held" {
        // A hold that another policy began may run on.
        let classes = evidence.input.policies.values().flat_map(|policy| &policy.classes);
        let longest_ms = classes.map(|class| class.hold_ms).max().unwrap_or(0);
        let latest_ms = decision.decided_at_ms.saturating_add(longest_ms);
        if decision.verdict != "deferred" || hold_ms == 0 {
            broken("holds what is not held");
        }
        if decision.wake_at_ms.is_none_or(|wake_ms| wake_ms > latest_ms) {
            broken("holds longer than any class");
        }
        if decision
            .wake_at_ms
            .zip(expires_ms)
            .is_some_and(|(wake_ms, end_ms)| wake_ms >= end_ms)
        {
            broken("holds past the expiry");
        }
    }
    let soon = expires_ms.is_some_and(|end_ms| end_ms <= decision.decided_at_ms.saturating_add(1));
    if hold_ms > 0 && decision.attempt == 0 && decision.verdict == "approved" && !soon {
        broken("approves without a hold");
    }
}

/// Whether an approval took what was kept for somebody above it.
pub fn check_slot(
    approval: &Approval<'_>,
    ledger: &[&Contact],
    candidates: &[Zones],
    queue: &Queue<'_>,
    findings: &mut Findings,
) {
    let Approval {
        evidence,
        policy,
        decision,
        contact,
    } = *approval;
    let Some(own) = place_of(evidence, policy, decision) else {
        return;
    };
    let reserves = |waiting: &&&Decision| policy.class(&waiting.class).is_some_and(|class| class.reserve);
    let others = queue.iter().filter(|(source, _)| **source != &decision.source);
    let above = others
        .map(|(_, waiting)| waiting)
        .filter(reserves)
        .filter_map(|waiting| Some((place_of(evidence, policy, waiting)?, *waiting)))
        .filter(|(place, _)| *place < own);
    let Some((_, kept)) = above.min_by(|one, other| one.0.cmp(&other.0)) else {
        return;
    };
    let Some(slot) = slot_of(evidence, decision, kept) else {
        return;
    };
    let governs = |rule: &super::facts::RuleFacts, contact: &Contact| {
        rule.governs.matches(&contact.traits()) && policy.obeys(&contact.class, rule.test.kind(), Some(&rule.id))
    };
    let mut with = ledger.to_vec();
    with.push(contact);
    let mut shared = Vec::new();
    for rule in policy.rules.iter().filter(|rule| governs(rule, &slot)) {
        let known = !matches!(rule.test, RuleTest::Other { .. });
        let passes = |zones: &Zones| broken(policy, rule, &slot, ledger, zones).is_none();
        if !known || !candidates.iter().all(passes) {
            return;
        }
        if matches!(rule.test, RuleTest::Cap { .. } | RuleTest::Gap { .. }) && governs(rule, contact) {
            shared.push(rule);
        }
    }
    for rule in shared {
        let taken = |zones: &Zones| broken(policy, rule, &slot, &with, zones).is_some();
        if candidates.iter().all(taken) {
            findings.add(
                "contract",
                format!(
                    "{} took what the rule {} had room for, and {} had kept",
                    decision.id, rule.id, kept.id
                ),
            );
        }
    }
}

/// The contact that a reserved intent would become, where that is certain.
fn slot_of(evidence: &Evidence<'_>, decision: &Decision, kept: &Decision) -> Option<Contact> {
    let certain = kept.policy == decision.policy
        && (kept.reason == "held" || kept.reason == "arbitration" || RULE_REASONS.contains(&kept.reason.as_str()));
    let wake_ms = kept
        .wake_at_ms
        .filter(|wake_ms| certain && *wake_ms > decision.decided_at_ms)?;
    let intent = evidence.sources.get(&kept.source)?.1.as_ref()?;
    // One that the log would not take has ended without a verdict.
    if intent.body.contains_key("fallback_channels") || evidence.dead.contains_key(&kept.source) {
        return None;
    }
    let events = evidence
        .events
        .get(&kept.customer_id)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut since = events.iter().filter(|event| decision.knew(event) && !kept.knew(event));
    if since.any(|event| UPSETTING.contains(&event.kind.as_str())) {
        return None;
    }
    let mut contact = contact_of(evidence, kept)?;
    contact.at_ms = wake_ms;
    Some(contact)
}

fn place_of(evidence: &Evidence<'_>, policy: &PolicyFacts, decision: &Decision) -> Option<Place> {
    let (record, intent) = evidence.sources.get(&decision.source)?;
    let body = &intent.as_ref()?.body;
    let number = |member: &str| body.get(member).and_then(serde_json::Value::as_f64);
    let score = number("propensity").unwrap_or(0.0) * number("value").unwrap_or(0.0) + 0.0;
    let created_ms = text(body, "created_at").and_then(|at| instant_ms(&at));
    Some((
        Reverse(policy.class(&decision.class)?.rank),
        Reverse(body.get("priority").and_then(serde_json::Value::as_i64).unwrap_or(500)),
        // The workload's values are not negative: their bits sort as they do.
        Reverse(score.to_bits()),
        text(body, "expires_at")
            .and_then(|at| instant_ms(&at))
            .unwrap_or(i64::MAX),
        created_ms.unwrap_or(record.timestamp_ms.max(0)),
        text(body, "intent_id")?,
    ))
}
