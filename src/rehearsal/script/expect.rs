//! `expect:`: what a test says about a verdict, or about what woke.

use super::Reader;
use crate::policy::file::{Findings, Node, Span, Value};
use crate::policy::judgement::Reason;
use crate::rehearsal::words::{instant_ms, unknown_key, wrong};

/// What is expected of a step.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    pub span: Span,
    /// Of the verdict about the intent of the step.
    pub verdict: Vec<Wanted>,
    /// Of what got a new verdict since the last tick, in order.
    pub woke: Option<Vec<WokeWanted>>,
}

/// What is expected of one waiting intent that got a new verdict.
#[derive(Debug, Clone)]
pub struct WokeWanted {
    pub intent: String,
    pub fields: Vec<Wanted>,
}

/// One field and what it should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    Verdict(String),
    Channel(String),
    Reason(String),
    Rule(Option<String>),
    /// The exact set, over all channels tried.
    BlockedBy(Vec<String>),
    /// None: there is none.
    NextEligible(Option<Range>),
    Wake(Option<Range>),
    ValidUntil(Option<Range>),
    /// Group by holdout or experiment; those that are named.
    Groups(Vec<(String, String)>),
}

/// Instants, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub from_ms: i64,
    pub to_ms: i64,
}

/// The verdict of an intent that could not be read, or that names an unknown channel.
pub const DEAD_LETTER: &str = "dead-letter";

const VERDICTS: [&str; 4] = ["approved", "suppressed", "deferred", DEAD_LETTER];
const OF_A_VERDICT: [&str; 9] = [
    "verdict",
    "channel",
    "reason",
    "rule",
    "blocked-by",
    "next-eligible",
    "wake",
    "valid-until",
    "groups",
];

impl Expectation {
    /// Whether the intent is expected to be a dead letter.
    pub fn is_of_a_dead_letter(&self) -> bool {
        self.verdict.contains(&Wanted::Verdict(DEAD_LETTER.to_owned()))
    }
}

/// What is expected of a step that does `act`.
pub(super) fn expectation(node: &Node, act: &str, reader: &mut Reader) -> Option<Expectation> {
    let findings = &mut *reader.findings;
    if act == "intent" && matches!(node.value, Value::Scalar { .. }) {
        // `expect: approved`
        let verdict = verdict(node, findings)?;
        return Some(Expectation {
            span: node.span,
            verdict: vec![verdict],
            woke: None,
        });
    }
    let Value::Map(entries) = &node.value else {
        return wrong(node, "expect", "a map such as `{ verdict: approved }`", findings);
    };
    let mut expectation = Expectation {
        span: node.span,
        ..Expectation::default()
    };
    let mut complete = true;
    for entry in entries {
        let key = kebab(&entry.key);
        if key == "woke" {
            match woke(&entry.value, findings) {
                Some(woke) => expectation.woke = Some(woke),
                None => complete = false,
            }
        } else if !OF_A_VERDICT.contains(&key.as_str()) {
            unknown_key(entry, "`expect`", OF_A_VERDICT.into_iter().chain(["woke"]), findings);
            complete = false;
        } else if act != "intent" {
            let message = format!("`{key}` is of a verdict, and a step with `{act}` has none");
            let label = "expected `woke: [ { intent: …, verdict: … } ]`";
            findings.error("value", entry.key_span, message, label);
            complete = false;
        } else {
            match wanted(&key, &entry.value, findings) {
                Some(wanted) => expectation.verdict.push(wanted),
                None => complete = false,
            }
        }
    }
    complete.then_some(expectation)
}

/// A key as the policy spells it: `next_eligible_at`, the word of the decision record, is `next-eligible`.
fn kebab(key: &str) -> String {
    let key = key.replace('_', "-");
    match key.strip_suffix("-at") {
        Some(short @ ("next-eligible" | "wake")) => short.to_owned(),
        _ => key,
    }
}

fn woke(node: &Node, findings: &mut Findings) -> Option<Vec<WokeWanted>> {
    if node.is_empty() {
        return Some(Vec::new());
    }
    let mut all = Vec::new();
    for item in node.as_list() {
        if let Some(id) = item.text() {
            all.push(WokeWanted {
                intent: id.to_owned(),
                fields: Vec::new(),
            });
            continue;
        }
        let Value::Map(entries) = &item.value else {
            return wrong(item, "woke", "a list of `{ intent: …, verdict: … }`", findings);
        };
        let (mut intent, mut fields) = (None, Vec::new());
        for entry in entries {
            let key = kebab(&entry.key);
            match key.as_str() {
                "intent" | "intent-id" => intent = entry.value.text().map(str::to_owned),
                key if OF_A_VERDICT.contains(&key) => fields.push(wanted(key, &entry.value, findings)?),
                _ => {
                    let known = ["intent"].into_iter().chain(OF_A_VERDICT);
                    unknown_key(entry, "what woke", known, findings);
                    return None;
                }
            }
        }
        let Some(intent) = intent else {
            let message = "what woke needs `intent`";
            findings.error("missing-key", item.span, message, "expected the id of the intent");
            return None;
        };
        all.push(WokeWanted { intent, fields });
    }
    Some(all)
}

fn wanted(key: &str, node: &Node, findings: &mut Findings) -> Option<Wanted> {
    let nothing = node.is_empty();
    let text = |findings: &mut Findings| match node.text() {
        Some(text) => Some(text.to_owned()),
        None => wrong(node, key, "a text", findings),
    };
    Some(match key {
        "verdict" => verdict(node, findings)?,
        "channel" => Wanted::Channel(text(findings)?),
        "reason" => Wanted::Reason(reason(node, findings)?),
        "rule" if nothing => Wanted::Rule(None),
        "rule" => Wanted::Rule(Some(text(findings)?)),
        "blocked-by" if nothing => Wanted::BlockedBy(Vec::new()),
        "blocked-by" => {
            let items = node.as_list().iter();
            let names = items.map(|item| match item.text() {
                Some(text) => Some(text.to_owned()),
                None => wrong(item, key, "rules, and reasons of built-in steps", findings),
            });
            Wanted::BlockedBy(names.collect::<Option<_>>()?)
        }
        "next-eligible" => Wanted::NextEligible(range(key, node, findings)?),
        "wake" => Wanted::Wake(range(key, node, findings)?),
        "valid-until" => Wanted::ValidUntil(range(key, node, findings)?),
        _ => {
            let groups = node.entries().iter().map(|entry| match entry.value.text() {
                Some(group) => Some((entry.key.clone(), group.to_owned())),
                None => wrong(&entry.value, &entry.key, "the name of a group", findings),
            });
            Wanted::Groups(groups.collect::<Option<_>>()?)
        }
    })
}

fn verdict(node: &Node, findings: &mut Findings) -> Option<Wanted> {
    let Some(word) = node.text() else {
        return wrong(node, "verdict", "`approved`, `suppressed` or `deferred`", findings);
    };
    let word = word.replace('_', "-");
    if VERDICTS.contains(&word.as_str()) {
        return Some(Wanted::Verdict(word));
    }
    findings.unknown("verdict", &word, node.span, VERDICTS);
    None
}

fn reason(node: &Node, findings: &mut Findings) -> Option<String> {
    let word = node.text().unwrap_or_default().replace('-', "_");
    let letters = crate::message::MalformedKind::ALL.map(crate::message::MalformedKind::as_str);
    let reasons = Reason::ALL.map(Reason::as_str);
    if reasons.contains(&word.as_str()) || letters.contains(&word.as_str()) {
        return Some(word);
    }
    findings.unknown("reason", &word, node.span, reasons);
    None
}

/// An instant, `null`, or `{ from: …, to: … }` for a time that is spread by jitter.
fn range(key: &str, node: &Node, findings: &mut Findings) -> Option<Option<Range>> {
    if node.is_empty() {
        return Some(None);
    }
    let Value::Map(entries) = &node.value else {
        let at_ms = instant_ms(node, key, findings)?;
        return Some(Some(Range {
            from_ms: at_ms,
            to_ms: at_ms,
        }));
    };
    let mut range = Range {
        from_ms: i64::MIN,
        to_ms: i64::MAX,
    };
    for entry in entries {
        match entry.key.as_str() {
            "from" => range.from_ms = instant_ms(&entry.value, "from", findings)?,
            "to" => range.to_ms = instant_ms(&entry.value, "to", findings)?,
            _ => {
                unknown_key(entry, key, ["from", "to"], findings);
                return None;
            }
        }
    }
    Some(Some(range))
}
