//! P3 for what all customers share: at every approval, what its partition had approved within the window was fewer than the
//! partition's share of the limit.

use super::facts::{PolicyFacts, RuleFacts, RuleTest, Traits};
use super::reading::{Decision, owner, text};
use super::{Evidence, Findings};
use std::collections::HashMap;

pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut used: HashMap<(i32, &str), Vec<i64>> = HashMap::new();
    for decision in evidence
        .decisions
        .iter()
        .filter(|decision| decision.verdict == "approved")
    {
        let partition = owner(decision.customer_id.as_bytes(), evidence.input.partition_count);
        let Some(policy) = evidence.input.policies.get(&decision.policy) else {
            continue;
        };
        for rule in &policy.rules {
            let RuleTest::Capacity { limit, window_ms } = rule.test else {
                continue;
            };
            if !fills(evidence, policy, rule, decision) {
                continue;
            }
            let uses = used.entry((partition, &rule.id)).or_default();
            let at_ms = decision.decided_at_ms;
            let held = uses
                .iter()
                .filter(|other_ms| **other_ms <= at_ms && **other_ms + window_ms > at_ms);
            let held = held.count();
            if held >= share(limit, partition, evidence.input.partition_count)
                && policy.obeys(&decision.class, "capacity", Some(&rule.id))
            {
                let what = format!(
                    "{} was approved against the capacity {} ({held} used)",
                    decision.id, rule.id
                );
                findings.add("P3", what);
            }
            uses.push(at_ms);
        }
    }
}

/// Whatever its class obeys: a class that counts uses up what others may send.
fn fills(evidence: &Evidence<'_>, policy: &PolicyFacts, rule: &RuleFacts, decision: &Decision) -> bool {
    let Some((_, Some(intent))) = evidence.sources.get(&decision.source) else {
        return false;
    };
    let member = |name: &str| text(&intent.body, name);
    let (division, campaign, category) = (member("division"), member("campaign"), member("category"));
    let traits = Traits {
        class: &decision.class,
        channel: &decision.channel,
        division: division.as_deref(),
        campaign: campaign.as_deref(),
        category: category.as_deref(),
    };
    policy.class(&decision.class).is_some_and(|class| class.counts) && rule.governs.without_class().matches(&traits)
}

/// An equal part of the limit; what remains goes to the lowest numbers.
fn share(limit: usize, partition: i32, partition_count: i32) -> usize {
    let (partition, count) = (
        usize::try_from(partition).unwrap_or(0),
        usize::try_from(partition_count).unwrap_or(1),
    );
    limit / count + usize::from(partition < limit % count)
}
