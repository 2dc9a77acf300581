//! P1 and P6: one record in, one record out; its bytes, its headers, its decision records.

use super::{Ended, Findings, Group, Promise};
use crate::audit::facts::Received;
use crate::audit::meaning::{Rule, Test};
use crate::audit::reading::{Coordinates, Decision, Intent, REASONS, RULE_REASONS, instant_ms};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type History<'a> = BTreeMap<&'a Coordinates, Vec<&'a Decision>>;

pub(super) fn check(group: &Group<'_>, findings: &mut Findings) {
    let mut history: History<'_> = BTreeMap::new();
    for decision in &group.decisions {
        history.entry(&decision.source).or_default().push(decision);
    }
    for (source, received) in &group.sources {
        check_source(group, source, received, &history, findings);
    }
    check_strangers(group, &history, findings);
    for (source, ends) in &group.terminals {
        let received = group.sources.get(source);
        for end in ends.iter().filter(|end| group.task.covers(end.decided_at_ms)) {
            match received.and_then(|received| Some((received, received.intent.as_ref()?))) {
                Some((received, intent)) => check_record(group, received, intent, end, findings),
                None => findings.not_checked(Promise::Contract, "verdicts about records that are not read"),
            }
        }
    }
    check_histories(group, &history, findings);
    check_repeats(group, &history, findings);
}

/// Each record of an intents topic ends once, or waits.
fn check_source(
    group: &Group<'_>,
    source: &Coordinates,
    received: &Received,
    history: &History<'_>,
    findings: &mut Findings,
) {
    let holder = group.survey.tasks.get(&source.partition);
    let Some(complete) = holder.and_then(|task| task.complete.as_ref()) else {
        findings.not_checked(
            Promise::P1,
            "intents so old that retention may have taken what they ended as",
        );
        return;
    };
    if source.offset < complete.position(&source.topic) {
        findings.not_checked(Promise::P1, "intents judged before the start of this audit");
        return;
    }
    if group.is_on_its_way(source) {
        findings.not_checked(Promise::P1, "strays that their owner has not reached yet");
        return;
    }
    findings.checked(Promise::P1, "intents that end exactly once, or wait");
    let letters = group.letters.get(source).map_or(0, Vec::len);
    let ends = group.terminals.get(source).map_or(0, Vec::len) + letters;
    let newest = history
        .get(source)
        .and_then(|list| list.iter().rfind(|one| one.verdict != "released"));
    // What could be judged again neither in its queue nor be written ends as a dead letter, without a verdict.
    let waiting = newest.filter(|decision| letters == 0 && decision.verdict == "deferred");
    let is_lost = match &received.intent {
        Some(_) if source.partition != group.owner && !group.rerouted.contains_key(source) => {
            "it is on a partition that does not own its customer, was not re-routed, has no verdict and is no dead letter"
        }
        _ => "it has no verdict, does not wait and is no dead letter",
    };
    match (ends, waiting.is_some()) {
        (0, true) | (1, false) => {}
        (0, false) => findings.violation(Promise::P1, source, is_lost),
        (1, true) => findings.violation(Promise::P1, source, "it has ended and still waits"),
        (more, _) => {
            let verdicts = group
                .terminals
                .get(source)
                .into_iter()
                .flatten()
                .map(|end| &end.record.at);
            let letters = group.letters.get(source).into_iter().flatten().map(|letter| &letter.at);
            let places: Vec<String> = verdicts.chain(letters).map(ToString::to_string).collect();
            findings.violation(
                Promise::P1,
                source,
                format!("it has ended {more} times: {}", places.join(", ")),
            );
        }
    }
    if let Some(decision) = waiting {
        findings.checked(Promise::P1, "intents that wait");
        if decision
            .wake_at_ms
            .is_some_and(|wake_ms| group.task.is_overdue(wake_ms))
        {
            findings.violation(
                Promise::P1,
                source,
                "it was to wake long ago, and others were judged since",
            );
        }
    }
}

/// Verdicts and decisions speak of records that exist.
fn check_strangers(group: &Group<'_>, history: &History<'_>, findings: &mut Findings) {
    let is_stranger = |source: &Coordinates| {
        let is_readable = group.sources.get(source).is_some_and(|source| source.intent.is_some());
        !is_readable && (group.should_know(source) || !group.request.topics.is_intents(&source.topic))
    };
    for (source, ends) in group.terminals.iter().filter(|(source, _)| is_stranger(source)) {
        for end in ends {
            findings.violation(
                Promise::P1,
                &end.record.at,
                format!("it is a verdict about {source}, which is no intent of its customer"),
            );
        }
    }
    for (source, list) in history.iter().filter(|(source, _)| is_stranger(source)) {
        for decision in list {
            findings.violation(
                Promise::P1,
                &decision.at,
                format!("it is a decision about {source}, which is no intent of its customer"),
            );
        }
    }
}

/// The output record against the record that it answers.
fn check_record(group: &Group<'_>, received: &Received, intent: &Intent, end: &Ended, findings: &mut Findings) {
    findings.checked(
        Promise::Contract,
        "verdicts against the bytes and headers of their intents",
    );
    let record = &end.record;
    let mut broken = |what: &str| findings.violation(Promise::Contract, &record.at, what);
    if record.value != received.value {
        broken("the value is not the intent's, byte for byte");
    }
    if record.key.as_deref() != Some(&intent.customer_id) {
        broken("the key is not the customer's id");
    }
    if record.received != received.headers {
        broken("the headers of the input are not kept, in order and in front");
    }
    let mut names = BTreeSet::new();
    for (name, _) in &record.own {
        if !OWN_HEADERS.contains(&name.as_str()) || !names.insert(name) {
            broken("it has headers of nobody, or one twice");
        }
    }
    let expected = match record.approved {
        true => record.header("forbear-channel").unwrap_or(&intent.channel),
        false => &intent.channel,
    };
    if expected != record.channel {
        broken("it lies in the topic of another channel");
    }
    if record
        .header("forbear-policy")
        .is_none_or(|label| group.policies.of(label).is_none())
    {
        broken("it names no known policy");
    }
    for name in ["forbear-valid-until", "forbear-next-eligible-at"] {
        let instant = record.header(name).map(instant_ms);
        if instant.is_some_and(|instant| instant.is_none_or(|instant_ms| instant_ms <= end.decided_at_ms)) {
            broken(&format!("{name} is no instant after the decision"));
        }
    }
    if !record.approved {
        check_suppressed(group, intent, end, findings);
        return;
    }
    if intent
        .planned_ms
        .is_some_and(|planned_ms| planned_ms > end.decided_at_ms)
    {
        broken("it was approved before its planned time");
    }
    let bound_ms = record.header("forbear-valid-until").and_then(instant_ms);
    if let Some(expires_ms) = intent.expires_at_ms {
        if expires_ms <= end.decided_at_ms {
            broken("it had expired when it was approved");
        } else if bound_ms.is_none_or(|bound_ms| bound_ms > expires_ms) {
            broken("it may be sent after it expires");
        }
    }
    if record.header("forbear-reason").is_some() {
        broken("an approval carries a reason");
    }
}

const OWN_HEADERS: &[&str] = &[
    "forbear-decision-id",
    "forbear-decided-at",
    "forbear-policy",
    "forbear-channel",
    "forbear-valid-until",
    "forbear-reason",
    "forbear-rule",
    "forbear-next-eligible-at",
    "forbear-duplicate-of",
];

fn check_suppressed(group: &Group<'_>, intent: &Intent, end: &Ended, findings: &mut Findings) {
    findings.checked(Promise::P6, "suppressions that say why");
    let record = &end.record;
    let reason = end.reason.as_str();
    let mut broken = |what: &str| findings.violation(Promise::P6, &record.at, what);
    // `planned` ends an intent that would expire before it may be sent.
    let never_met = reason == "planned" && intent.expires_at_ms.is_some();
    let is_open = ["approved", "released", "planned", "held"].contains(&reason) && !never_met;
    if !REASONS.contains(&reason) || is_open {
        return broken("it gives no reason of the closed set");
    }
    let policy = record
        .header("forbear-policy")
        .and_then(|label| group.policies.of(label));
    let rule = record.header("forbear-rule");
    let known = policy
        .zip(rule)
        .and_then(|(policy, rule)| policy.rules.iter().find(|known| known.id == rule));
    if RULE_REASONS.contains(&reason) {
        match (rule, known, policy) {
            (None, ..) => broken("a rule decided and is not named"),
            (Some(_), None, Some(_)) => broken("it names a rule that the policy does not have"),
            (Some(_), Some(known), _) if known.reason() != reason => broken("its rule is of another kind"),
            _ => {}
        }
    }
    if reason == "arbitration" && (rule.is_none() || (policy.is_some() && known.is_none())) {
        broken("the rule that was kept for another is not named");
    }
    let has_next = record.header("forbear-next-eligible-at").is_some();
    let decision = group.decisions.iter().find(|decision| decision.id == end.id);
    let is_curable = known.is_some_and(is_cured_by_time) && decision.is_some_and(all_blocks_end);
    if is_curable && RULE_REASONS.contains(&reason) && !has_next && intent.expires_at_ms.is_none() {
        broken("time cures it, and it does not say when");
    }
    if reason == "duplicate" && record.header("forbear-duplicate-of").is_none() {
        broken("a duplicate does not say of what");
    }
}

fn is_cured_by_time(rule: &Rule) -> bool {
    match rule.test {
        Test::Cap { is_plain, .. } => is_plain,
        Test::Gap { .. } | Test::Hours(_) => true,
        Test::Capacity { .. } | Test::Other(_) => false,
    }
}

/// Whether each block says when it ends.
fn all_blocks_end(decision: &Decision) -> bool {
    let has_effect = |block: &&Value| block.get("shadow").and_then(Value::as_bool) != Some(true);
    let mut blocks = decision.blocked_by.iter().filter(has_effect);
    blocks.all(|block| block.get("free_at").is_some())
}

/// The decision records of one intent: attempts in order, one end, and the end is the one in the topics.
fn check_histories(group: &Group<'_>, history: &History<'_>, findings: &mut Findings) {
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    for decision in group.decisions.iter().filter(|decision| !ids.insert(&decision.id)) {
        findings.violation(
            Promise::P1,
            &decision.at,
            format!("the decision id {} stands twice", decision.id),
        );
    }
    let is_cut = group.survey.is_cut(&group.request.topics.decisions);
    for list in history.values() {
        let mut next_attempt = (!is_cut).then_some(0);
        let mut has_ended = false;
        for decision in list {
            if group.task.covers(decision.decided_at_ms) {
                check_decision(group, decision, findings);
                let is_verdict = decision.verdict != "released";
                if has_ended && is_verdict {
                    findings.violation(Promise::P1, &decision.id, "it was judged again after its end");
                } else if next_attempt.is_some_and(|attempt| attempt != decision.attempt) {
                    findings.violation(Promise::P1, &decision.id, "its attempt does not follow the one before");
                }
            }
            next_attempt = Some(decision.attempt.saturating_add(1));
            has_ended |= decision.verdict == "approved" || decision.verdict == "suppressed";
        }
    }
    for (source, ends) in &group.terminals {
        for end in ends.iter().filter(|end| group.task.covers(end.decided_at_ms)) {
            let decisions = history.get(source).map(Vec::as_slice).unwrap_or_default();
            check_twin(end, decisions, is_cut, findings);
        }
    }
    let outputs_are_cut = |decision: &Decision| {
        let topics = &group.request.topics;
        let topic = match decision.verdict.as_str() {
            "approved" => topics.approved(&decision.channel),
            _ => topics.suppressed(&decision.requested_channel),
        };
        group.survey.is_cut(&topic)
    };
    for decision in &group.decisions {
        let is_approved = decision.verdict == "approved";
        let ends = group
            .terminals
            .get(&decision.source)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let has_record = ends
            .iter()
            .any(|end| end.id == decision.id && end.record.approved == is_approved);
        let is_end = is_approved || decision.verdict == "suppressed";
        if is_end && !has_record && group.task.covers(decision.decided_at_ms) && !outputs_are_cut(decision) {
            findings.violation(
                Promise::P1,
                &decision.id,
                format!("its decision ({}) has no record in its topic", decision.verdict),
            );
        }
    }
}

fn check_twin(end: &Ended, decisions: &[&Decision], is_cut: bool, findings: &mut Findings) {
    let record = &end.record;
    let verdict = if record.approved { "approved" } else { "suppressed" };
    let twin = decisions
        .iter()
        .find(|decision| decision.id == end.id && decision.verdict == verdict);
    let Some(twin) = twin else {
        if is_cut {
            findings.not_checked(Promise::P6, "verdicts whose decision record retention may have taken");
        } else {
            findings.violation(Promise::P6, &record.at, "it has no decision record that says the same");
        }
        return;
    };
    findings.checked(Promise::P6, "verdicts against their decision records");
    let told = record.header("forbear-next-eligible-at").and_then(instant_ms);
    let agrees = [
        twin.decided_at_ms == end.decided_at_ms,
        Some(twin.policy.as_str()) == record.header("forbear-policy"),
        match record.approved {
            true => twin.channel == record.channel,
            false => {
                twin.reason == end.reason
                    && twin.rule.as_deref() == record.header("forbear-rule")
                    && (told.is_none() || told == twin.next_eligible_at_ms)
            }
        },
    ];
    if agrees.contains(&false) {
        findings.violation(Promise::P6, &record.at, "it and its decision record disagree");
    }
}

fn check_decision(group: &Group<'_>, decision: &Decision, findings: &mut Findings) {
    findings.checked(Promise::P6, "decision records");
    let mut broken = |what: &str| findings.violation(Promise::P6, &decision.id, format!("its decision {what}"));
    let is_release = decision.verdict == "released";
    if !matches!(
        decision.verdict.as_str(),
        "approved" | "suppressed" | "deferred" | "released"
    ) {
        broken("gives no verdict of the closed set");
    }
    if !REASONS.contains(&decision.reason.as_str()) {
        broken("gives no reason of the closed set");
    }
    if (decision.verdict == "approved") != (decision.reason == "approved")
        || is_release != (decision.reason == "released")
    {
        broken("gives a reason that does not fit its verdict");
    }
    if group.policies.of(&decision.policy).is_none() {
        broken("names no known policy");
    }
    let instants = [
        ("wake_at", decision.wake_at_ms),
        ("next_eligible_at", decision.next_eligible_at_ms),
    ];
    for (name, instant) in instants {
        if instant.is_some_and(|instant_ms| instant_ms <= decision.decided_at_ms) {
            broken(&format!("has a {name} that is not later than its time"));
        }
    }
    if decision.wake_at_ms.is_some() && decision.verdict != "deferred" {
        broken("ends its intent and wakes it");
    }
    // What is kept for somebody else is kept by a rule, too.
    if RULE_REASONS.contains(&decision.reason.as_str()) || decision.reason == "arbitration" {
        let is_named = |block: &Value| {
            block.get("rule").and_then(Value::as_str) == decision.rule.as_deref()
                && block.get("reason").and_then(Value::as_str) == Some(&decision.reason)
        };
        if decision.rule.is_none() || !decision.blocked_by.iter().any(is_named) {
            broken("does not show the working of the rule that decided");
        }
    }
    let source = group.sources.get(&decision.source);
    if let Some(intent) = source.and_then(|source| source.intent.as_ref())
        && !is_release
        && (intent.customer_id != decision.customer_id || intent.channel != decision.requested_channel)
    {
        broken("speaks of another customer or channel than its intent");
    }
}

/// So many ids of one customer are surely remembered.
const REMEMBERED_AT_MOST: usize = 4_000;

/// A repeated id is `duplicate`, and only a repeated id is.
fn check_repeats(group: &Group<'_>, history: &History<'_>, findings: &mut Findings) {
    let mut alike: BTreeMap<&str, Vec<&Coordinates>> = BTreeMap::new();
    for (source, received) in &group.sources {
        if let Some(intent) = received.intent.as_ref().filter(|_| !group.letters.contains_key(source)) {
            alike.entry(&intent.identity).or_default().push(source);
        }
    }
    if group.sources.len() > REMEMBERED_AT_MOST {
        findings.not_checked(
            Promise::P1,
            "repeats of customers with so many intents that ids may be forgotten",
        );
        return;
    }
    let is_forgotten = group.events.iter().any(|known| known.event.kind == "erased");
    let remember_ms = group
        .policies
        .all()
        .map(|policy| policy.remember_intents_ms)
        .min()
        .unwrap_or(0);
    for sources in alike.values() {
        let duplicate = |source: &Coordinates| {
            let ends = group.terminals.get(source)?;
            ends.iter()
                .find(|end| !end.record.approved && end.reason == "duplicate")
        };
        let members: BTreeSet<&Coordinates> = sources.iter().copied().collect();
        for source in sources {
            let Some(end) = duplicate(source).filter(|end| group.task.covers(end.decided_at_ms)) else {
                continue;
            };
            let named = end.record.header("forbear-duplicate-of");
            let Some((original, _)) = named.and_then(Coordinates::parse_decision_id) else {
                continue;
            };
            if !group.sources.contains_key(&original) && !group.should_know(&original) {
                findings.not_checked(Promise::P1, "duplicates of what is not read");
            } else if original == **source || !members.contains(&original) {
                findings.violation(
                    Promise::P1,
                    source,
                    "it is called a duplicate of what it does not repeat",
                );
            } else {
                findings.checked(Promise::P1, "duplicates");
            }
        }
        // An erasure that retention took may have made the processor forget the ids.
        if group.engagement_is_cut("") {
            findings.not_checked(
                Promise::P1,
                "repeats that were judged: the beginning of engagement is gone",
            );
            continue;
        }
        let mut judged: Vec<(i64, &Coordinates)> = sources
            .iter()
            .filter(|source| duplicate(source).is_none())
            .filter_map(|source| Some((history.get(*source)?.first()?.decided_at_ms, *source)))
            .collect();
        judged.sort();
        for pair in judged.windows(2) {
            let is_remembered = pair[1].0 < pair[0].0.saturating_add(remember_ms);
            if !is_forgotten && is_remembered && group.task.covers(pair[1].0) {
                findings.violation(
                    Promise::P1,
                    pair[1].1,
                    format!("it repeats {} and was judged as if it did not", pair[0].1),
                );
            }
        }
    }
}
