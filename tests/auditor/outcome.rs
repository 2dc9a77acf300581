//! P1 and P6: one record in, one record out; its bytes, its headers, its decision records.

use super::reading::{Coordinates, Decision, Intent, REASONS, RULE_REASONS, header, instant_ms};
use super::{Evidence, Findings, TopicRecord, letters};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One record of `approved.*` or `suppressed.*`.
struct Terminal<'a> {
    approved: bool,
    channel: &'a str,
    at: Coordinates,
    record: &'a TopicRecord,
    id: String,
    attempt: u32,
    decided_at_ms: i64,
    reason: String,
}

pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let terminals = gather_terminals(evidence, findings);
    let mut history: BTreeMap<&Coordinates, Vec<&Decision>> = BTreeMap::new();
    for decision in &evidence.decisions {
        history.entry(&decision.source).or_default().push(decision);
    }
    check_sources(evidence, &terminals, &history, findings);
    check_strangers(evidence, &terminals, &history, findings);
    for (source, list) in &terminals {
        if let Some((record, Some(intent))) = evidence.sources.get(source) {
            for terminal in list {
                check_record(evidence, record, intent, terminal, findings);
            }
        }
    }
    check_histories(evidence, &history, &terminals, findings);
    check_repeats(evidence, &terminals, &history, findings);
    letters::check(evidence, findings);
    check_policy_texts(evidence, findings);
}

fn gather_terminals<'a>(evidence: &Evidence<'a>, findings: &mut Findings) -> BTreeMap<Coordinates, Vec<Terminal<'a>>> {
    let mut terminals: BTreeMap<Coordinates, Vec<Terminal<'_>>> = BTreeMap::new();
    let names = &evidence.input.names;
    for (approved, prefix) in [(true, &names.approved_prefix), (false, &names.suppressed_prefix)] {
        for (topic, channel) in evidence.channel_topics(prefix) {
            for record in evidence.records(topic) {
                let at = Coordinates::of(topic, record);
                let id = header(record, "forbear-decision-id").unwrap_or_default().to_owned();
                let decided_at = header(record, "forbear-decided-at").and_then(instant_ms);
                let (Some((source, attempt)), Some(decided_at_ms)) = (Coordinates::parse_decision_id(&id), decided_at)
                else {
                    findings.add("contract", format!("{at} lacks its decision id or its time"));
                    continue;
                };
                let reason = header(record, "forbear-reason").unwrap_or_default().to_owned();
                let terminal = Terminal {
                    approved,
                    channel,
                    at,
                    record,
                    id,
                    attempt,
                    decided_at_ms,
                    reason,
                };
                terminals.entry(source).or_default().push(terminal);
            }
        }
    }
    terminals
}

/// Each record of an intents topic ends once, or waits.
fn check_sources(
    evidence: &Evidence<'_>,
    terminals: &BTreeMap<Coordinates, Vec<Terminal<'_>>>,
    history: &BTreeMap<&Coordinates, Vec<&Decision>>,
    findings: &mut Findings,
) {
    for source in evidence.sources.keys() {
        let verdicts = terminals.get(source).map_or(0, Vec::len);
        let letters = evidence.dead.get(source).map_or(0, Vec::len);
        let ends = verdicts + letters;
        let newest = history
            .get(source)
            .and_then(|list| list.iter().rfind(|one| one.verdict != "released"));
        // What could be judged again neither in its queue nor be written ends as a dead letter, without a verdict.
        let waits = letters == 0 && newest.is_some_and(|decision| decision.verdict == "deferred");
        match (ends, waits) {
            (0, true) | (1, false) => {}
            (0, false) if evidence.is_lost(source) => {}
            (0, false) => findings.add(
                "P1",
                format!("{source} has no verdict, does not wait and is no dead letter"),
            ),
            (1, true) => findings.add("P1", format!("{source} has ended and still waits")),
            (more, _) => findings.add("P1", format!("{source} has ended {more} times")),
        }
        let overdue = newest.filter(|_| waits).zip(evidence.input.settled_at_ms);
        if let Some((decision, settled_at_ms)) = overdue
            && decision.wake_at_ms.is_some_and(|wake_ms| wake_ms < settled_at_ms)
        {
            findings.add(
                "P1",
                format!("{source} should have woken before everything came to rest"),
            );
        }
    }
}

/// Verdicts, decisions and dead letters speak of records that exist.
fn check_strangers(
    evidence: &Evidence<'_>,
    terminals: &BTreeMap<Coordinates, Vec<Terminal<'_>>>,
    history: &BTreeMap<&Coordinates, Vec<&Decision>>,
    findings: &mut Findings,
) {
    for source in terminals
        .keys()
        .filter(|source| !evidence.sources.contains_key(*source))
    {
        findings.add("P1", format!("there is a verdict about {source}, which is no intent"));
    }
    for source in history.keys().filter(|source| !evidence.sources.contains_key(**source)) {
        findings.add("P1", format!("there is a decision about {source}, which is no intent"));
    }
}

/// The output record against the record that it answers.
fn check_record(
    evidence: &Evidence<'_>,
    source: &TopicRecord,
    intent: &Intent,
    terminal: &Terminal<'_>,
    findings: &mut Findings,
) {
    let at = &terminal.at;
    let mut broken = |what: &str| findings.add("contract", format!("{at}: {what}"));
    if terminal.record.value != source.value {
        broken("the value is not the intent's, byte for byte");
    }
    if terminal.record.key.as_deref() != Some(intent.customer_id.as_bytes()) {
        broken("the key is not the customer's id");
    }
    if terminal.record.headers.len() < source.headers.len()
        || terminal.record.headers[..source.headers.len()] != source.headers[..]
    {
        broken("the headers of the input are not kept in front");
    } else if !terminal.record.headers[source.headers.len()..]
        .iter()
        .all(|(name, _)| name.starts_with("forbear-"))
    {
        broken("there are headers of nobody");
    }
    let expected = match terminal.approved {
        true => header(terminal.record, "forbear-channel").unwrap_or(&intent.channel),
        false => &intent.channel,
    };
    if expected != terminal.channel {
        broken("it lies in the topic of another channel");
    }
    if header(terminal.record, "forbear-policy").is_none_or(|label| !evidence.input.policies.contains_key(label)) {
        broken("it names no known policy");
    }
    let times = ["forbear-valid-until", "forbear-next-eligible-at"];
    for name in times {
        let given = terminal.record.headers.iter().any(|(other, _)| other == name);
        let instant = header(terminal.record, name).and_then(instant_ms);
        if given && instant.is_none_or(|instant_ms| instant_ms <= terminal.decided_at_ms) {
            broken(&format!("{name} is no instant after the decision"));
        }
    }
    if terminal.approved {
        let bounds = header(terminal.record, "forbear-valid-until").and_then(instant_ms);
        if intent
            .expires_at_ms
            .is_some_and(|end_ms| end_ms <= terminal.decided_at_ms)
        {
            broken("it had expired when it was approved");
        }
        if intent
            .planned_ms
            .is_some_and(|planned_ms| planned_ms > terminal.decided_at_ms)
        {
            broken("it was approved before its planned time");
        }
        if intent
            .expires_at_ms
            .is_some_and(|end_ms| bounds.is_none_or(|bound_ms| bound_ms > end_ms))
        {
            broken("it may be sent after it expires");
        }
        if header(terminal.record, "forbear-reason").is_some() {
            broken("an approval carries a reason");
        }
    } else {
        check_suppressed(evidence, intent, terminal, findings);
    }
}

fn check_suppressed(evidence: &Evidence<'_>, intent: &Intent, terminal: &Terminal<'_>, findings: &mut Findings) {
    let at = &terminal.at;
    let reason = terminal.reason.as_str();
    let mut broken = |what: &str| findings.add("P6", format!("{at}: {what}"));
    // `planned` ends an intent that would expire before it may be sent.
    let never_met = reason == "planned" && intent.expires_at_ms.is_some();
    let open = ["approved", "released", "planned", "held"].contains(&reason) && !never_met;
    if !REASONS.contains(&reason) || open {
        return broken("it gives no reason of the closed set");
    }
    let policy = header(terminal.record, "forbear-policy").and_then(|label| evidence.input.policies.get(label));
    let rule = header(terminal.record, "forbear-rule");
    let known = policy
        .zip(rule)
        .and_then(|(policy, rule)| policy.rules.iter().find(|known| known.id == rule));
    if RULE_REASONS.contains(&reason) {
        match (rule, known, policy) {
            (None, ..) => broken("a rule decided and is not named"),
            (Some(_), None, Some(_)) => broken("it names a rule that the policy does not have"),
            (Some(_), Some(known), _) if known.test.reason() != reason => broken("its rule is of another kind"),
            _ => {}
        }
    }
    if reason == "arbitration" && (rule.is_none() || (policy.is_some() && known.is_none())) {
        broken("the rule that was kept for another is not named");
    }
    let has_next = header(terminal.record, "forbear-next-eligible-at").is_some();
    let timed = match known.map(|known| &known.test) {
        Some(super::facts::RuleTest::Cap { limit, .. }) => *limit > 0,
        Some(super::facts::RuleTest::Gap { .. } | super::facts::RuleTest::Quiet { .. }) => true,
        Some(super::facts::RuleTest::Open { .. }) => true,
        _ => false,
    };
    if timed && RULE_REASONS.contains(&reason) && !has_next && intent.expires_at_ms.is_none() {
        broken("time cures it, and it does not say when");
    }
    if reason == "duplicate" && header(terminal.record, "forbear-duplicate-of").is_none() {
        broken("a duplicate does not say of what");
    }
}

/// The decision records of one intent: attempts in order, one end, and the end is the one in the topics.
fn check_histories(
    evidence: &Evidence<'_>,
    history: &BTreeMap<&Coordinates, Vec<&Decision>>,
    terminals: &BTreeMap<Coordinates, Vec<Terminal<'_>>>,
    findings: &mut Findings,
) {
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    for decision in evidence.decisions.iter().filter(|decision| !ids.insert(&decision.id)) {
        findings.add("P1", format!("the decision id {} stands twice", decision.id));
    }
    for (source, list) in history {
        let mut next_attempt = 0;
        let mut ended = false;
        for decision in list.iter().filter(|decision| decision.verdict != "released") {
            check_decision(evidence, decision, findings);
            if ended {
                findings.add(
                    "P1",
                    format!("{source} was judged again after its end, as {}", decision.id),
                );
            } else if decision.attempt != next_attempt {
                findings.add(
                    "P1",
                    format!("the decision {} is not attempt {next_attempt}", decision.id),
                );
            }
            next_attempt = decision.attempt.saturating_add(1);
            ended |= decision.verdict != "deferred";
        }
    }
    for (source, list) in terminals {
        for terminal in list {
            let decisions = history.get(source).map(Vec::as_slice).unwrap_or_default();
            let verdict = if terminal.approved { "approved" } else { "suppressed" };
            let twin = decisions
                .iter()
                .find(|decision| decision.id == terminal.id && decision.verdict == verdict);
            let Some(twin) = twin else {
                findings.add(
                    "P6",
                    format!("{} has no decision record that says the same", terminal.at),
                );
                continue;
            };
            let same_channel = !terminal.approved || twin.channel == terminal.channel;
            let same_reason = terminal.approved || twin.reason == terminal.reason;
            if twin.decided_at_ms != terminal.decided_at_ms || !same_channel || !same_reason {
                findings.add("P6", format!("{} and its decision record disagree", terminal.at));
            }
        }
    }
    for decision in &evidence.decisions {
        let verdict = decision.verdict.as_str();
        let ends = terminals.get(&decision.source).map(Vec::as_slice).unwrap_or_default();
        let terminal = matches!(verdict, "approved" | "suppressed");
        if terminal
            && !ends
                .iter()
                .any(|end| end.id == decision.id && end.approved == (verdict == "approved"))
        {
            findings.add(
                "P1",
                format!("the decision {} ({verdict}) has no record in its topic", decision.id),
            );
        }
    }
}

fn check_decision(evidence: &Evidence<'_>, decision: &Decision, findings: &mut Findings) {
    let mut broken = |what: &str| findings.add("P6", format!("the decision {} {what}", decision.id));
    if !matches!(decision.verdict.as_str(), "approved" | "suppressed" | "deferred") {
        broken("gives no verdict of the closed set");
    }
    if !REASONS.contains(&decision.reason.as_str()) {
        broken("gives no reason of the closed set");
    }
    if (decision.verdict == "approved") != (decision.reason == "approved") {
        broken("gives a reason that does not fit its verdict");
    }
    if !evidence.input.policies.contains_key(&decision.policy) {
        broken("names no known policy");
    }
    for (name, instant) in [
        ("wake_at", decision.wake_at_ms),
        ("next_eligible_at", decision.next_eligible_at_ms),
    ] {
        if instant.is_some_and(|instant_ms| instant_ms <= decision.decided_at_ms) {
            broken(&format!("has a {name} that is not later than its time"));
        }
    }
    if decision.wake_at_ms.is_some() && decision.verdict != "deferred" {
        broken("ends its intent and wakes it");
    }
    // What is kept for somebody else is kept by a rule, too.
    if RULE_REASONS.contains(&decision.reason.as_str()) || decision.reason == "arbitration" {
        let named = |block: &serde_json::Value| {
            block.get("rule").and_then(serde_json::Value::as_str) == decision.rule.as_deref()
                && block.get("reason").and_then(serde_json::Value::as_str) == Some(&decision.reason)
        };
        if decision.rule.is_none() || !decision.blocked_by.iter().any(named) {
            broken("does not show the working of the rule that decided");
        }
    }
    if let Some((_, Some(intent))) = evidence.sources.get(&decision.source)
        && (intent.customer_id != decision.customer_id || intent.channel != decision.requested_channel)
    {
        broken("speaks of another customer or channel than its intent");
    }
}

/// A repeated id is `duplicate`, and only a repeated id is.
fn check_repeats(
    evidence: &Evidence<'_>,
    terminals: &BTreeMap<Coordinates, Vec<Terminal<'_>>>,
    history: &BTreeMap<&Coordinates, Vec<&Decision>>,
    findings: &mut Findings,
) {
    let mut groups: HashMap<(&str, &str), Vec<&Coordinates>> = HashMap::new();
    for (source, (_, intent)) in &evidence.sources {
        if let Some(intent) = intent.as_ref().filter(|_| !evidence.dead.contains_key(source)) {
            groups
                .entry((&intent.customer_id, &intent.identity))
                .or_default()
                .push(source);
        }
    }
    for ((customer, _), sources) in &groups {
        let events = evidence.events.get(*customer).map(Vec::as_slice).unwrap_or_default();
        let forgotten = events.iter().any(|event| event.kind == "erased");
        let is_duplicate = |source: &Coordinates| {
            terminals
                .get(source)
                .is_some_and(|list| list.iter().any(|one| !one.approved && one.reason == "duplicate"))
        };
        let members: BTreeSet<&Coordinates> = sources.iter().copied().collect();
        for source in sources.iter().filter(|source| is_duplicate(source)) {
            let named = terminals[*source]
                .iter()
                .find_map(|one| header(one.record, "forbear-duplicate-of"));
            let original = named
                .and_then(Coordinates::parse_decision_id)
                .map(|(original, _)| original);
            let fits = original
                .as_ref()
                .is_some_and(|original| original != *source && members.contains(original));
            if !fits {
                findings.add(
                    "P1",
                    format!("{source} is called a duplicate of what it does not repeat"),
                );
            }
        }
        let mut judged: Vec<(i64, &Coordinates)> = sources
            .iter()
            .filter(|source| !is_duplicate(source))
            .filter_map(|source| Some((history.get(*source)?.first()?.decided_at_ms, *source)))
            .collect();
        judged.sort();
        for pair in judged.windows(2) {
            let remember_ms = evidence
                .input
                .policies
                .values()
                .map(|policy| policy.remember_intents_ms)
                .min()
                .unwrap_or(0);
            if !forgotten && pair[1].0 < pair[0].0.saturating_add(remember_ms) {
                findings.add(
                    "P1",
                    format!("{} repeats {} and was judged as if it did not", pair[1].1, pair[0].1),
                );
            }
        }
    }
}

/// P5: the text of every policy that judged is there, and it is the text that its label is the hash of.
fn check_policy_texts(evidence: &Evidence<'_>, findings: &mut Findings) {
    let texts = evidence.records(&evidence.input.names.policies);
    let hashes: BTreeSet<String> = texts
        .iter()
        .filter_map(|record| record.value.as_deref())
        .map(|text| {
            Sha256::digest(text)
                .iter()
                .take(6)
                .map(|byte| format!("{byte:02x}"))
                .collect()
        })
        .collect();
    let used: BTreeSet<&str> = evidence
        .decisions
        .iter()
        .map(|decision| decision.policy.as_str())
        .collect();
    for label in used {
        if !label.rsplit_once('@').is_some_and(|(_, hash)| hashes.contains(hash)) {
            findings.add("P5", format!("the text of the policy {label} is not in its topic"));
        }
    }
}
