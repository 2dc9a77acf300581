//! What was expected beside what came.

use super::script::{Expectation, Wanted, WokeWanted};
use super::stage::{Blocked, Decided};
use super::words::{instant_of, text_of};
use crate::rehearsal::script::Range;

/// One field that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    pub field: String,
    pub expected: String,
    pub got: String,
}

/// What became of the intent of a step.
#[derive(Debug, Clone)]
pub enum Ended {
    Decided(Box<Decided>),
    /// Error and detail.
    DeadLetter(String, String),
}

/// How a verdict differs from what was expected.
pub fn of_verdict(wanted: &[Wanted], ended: &Ended) -> Vec<Mismatch> {
    match ended {
        Ended::Decided(decided) => wanted.iter().filter_map(|wanted| of_field(wanted, decided)).collect(),
        Ended::DeadLetter(error, detail) => {
            let said = wanted.iter().any(|wanted| matches!(wanted, Wanted::Verdict(_)));
            let unsaid = Wanted::Verdict("a verdict".to_owned());
            let wanted = wanted.iter().chain((!said).then_some(&unsaid));
            wanted.filter_map(|wanted| of_letter(wanted, error, detail)).collect()
        }
    }
}

fn of_letter(wanted: &Wanted, error: &str, detail: &str) -> Option<Mismatch> {
    match wanted {
        Wanted::Verdict(word) if word == "dead-letter" => None,
        Wanted::Verdict(word) => different("verdict", word, &format!("dead-letter ({error}: {detail})")),
        Wanted::Reason(word) if word == error => None,
        Wanted::Reason(word) => different("reason", word, error),
        other => {
            let (field, expected) = described(other);
            different(field, &expected, "nothing: the intent was a dead letter")
        }
    }
}

fn of_field(wanted: &Wanted, got: &Decided) -> Option<Mismatch> {
    let (field, expected) = described(wanted);
    let (same, came) = match wanted {
        Wanted::Verdict(word) => (*word == got.verdict, got.verdict.clone()),
        Wanted::Channel(word) => (*word == got.channel, got.channel.clone()),
        Wanted::Reason(word) => (*word == got.reason, got.reason.clone()),
        Wanted::Rule(rule) => (*rule == got.rule, or_none(got.rule.as_deref())),
        Wanted::BlockedBy(names) => (is_exactly(names, &got.blocked_by), listed(&got.blocked_by)),
        Wanted::NextEligible(range) => instants(*range, got.next_eligible_at.as_deref()),
        Wanted::Wake(range) => instants(*range, got.wake_at.as_deref()),
        Wanted::ValidUntil(range) => instants(*range, got.valid_until.as_deref()),
        Wanted::Groups(groups) => {
            let same = groups.iter().all(|(id, group)| got.groups.get(id) == Some(group));
            let came: Vec<String> = got.groups.iter().map(|(id, group)| format!("{id}: {group}")).collect();
            (same, came.join(", "))
        }
    };
    if same { None } else { different(field, &expected, &came) }
}

/// How what woke differs from what was expected: in number, in order, in any field.
pub fn of_woke(wanted: &[WokeWanted], woke: &[Decided]) -> Vec<Mismatch> {
    let order = |ids: Vec<&str>| format!("[{}]", ids.join(", "));
    let expected: Vec<&str> = wanted.iter().map(|woke| woke.intent.as_str()).collect();
    let came: Vec<&str> = woke
        .iter()
        .map(|woke| woke.intent_id.as_deref().unwrap_or_default())
        .collect();
    if expected != came {
        let came = woke.iter().map(told).collect::<Vec<_>>().join("; ");
        let came = if came.is_empty() { "[]".to_owned() } else { came };
        return different("woke", &order(expected), &came).into_iter().collect();
    }
    let pairs = wanted.iter().zip(woke);
    pairs
        .flat_map(|(wanted, woke)| {
            let fields = wanted.fields.iter().filter_map(|field| of_field(field, woke));
            fields.map(|mismatch| Mismatch {
                field: format!("woke {}: {}", wanted.intent, mismatch.field),
                ..mismatch
            })
        })
        .collect()
}

/// Everything that is expected of a step beside what came.
pub fn of_step(expect: &Expectation, ended: Option<&Ended>, woke: &[Decided]) -> Vec<Mismatch> {
    let mut mismatches = ended.map_or_else(Vec::new, |ended| of_verdict(&expect.verdict, ended));
    if let Some(wanted) = &expect.woke {
        mismatches.extend(of_woke(wanted, woke));
    }
    mismatches
}

/// One verdict in a line.
pub fn told(decided: &Decided) -> String {
    let id = decided.intent_id.as_deref().unwrap_or("?");
    let mut text = format!("{id} {} on {}", decided.verdict, decided.channel);
    if decided.reason != decided.verdict {
        text.push_str(&format!(", {}", decided.reason));
    }
    if let Some(rule) = &decided.rule {
        text.push_str(&format!(" by {rule}"));
    }
    if let Some(wake) = &decided.wake_at {
        text.push_str(&format!(", wakes at {wake}"));
    }
    text
}

/// The blocking rules and steps are those named, each at least once. A shadow rule has no effect: it may be named or left
/// out.
fn is_exactly(names: &[String], blocked: &[Blocked]) -> bool {
    let is = |name: &String, block: &Blocked| match &block.rule {
        Some(rule) => rule == name,
        None => block.reason == name.replace('-', "_"),
    };
    let effective = blocked.iter().filter(|block| !block.shadow);
    let all_named = effective.clone().all(|block| names.iter().any(|name| is(name, block)));
    all_named && names.iter().all(|name| blocked.iter().any(|block| is(name, block)))
}

fn listed(blocked: &[Blocked]) -> String {
    let mut names: Vec<String> = Vec::new();
    for block in blocked {
        let mut name = block.rule.clone().unwrap_or_else(|| block.reason.clone());
        if block.shadow {
            name.push_str(" (shadow)");
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    format!("[{}]", names.join(", "))
}

fn instants(range: Option<Range>, came: Option<&str>) -> (bool, String) {
    let came_ms = came.and_then(instant_of);
    let same = match (range, came_ms) {
        (None, None) => true,
        (Some(range), Some(came_ms)) => (range.from_ms..=range.to_ms).contains(&came_ms),
        _ => false,
    };
    (same, or_none(came))
}

fn described(wanted: &Wanted) -> (&'static str, String) {
    match wanted {
        Wanted::Verdict(word) => ("verdict", word.clone()),
        Wanted::Channel(word) => ("channel", word.clone()),
        Wanted::Reason(word) => ("reason", word.clone()),
        Wanted::Rule(rule) => ("rule", or_none(rule.as_deref())),
        Wanted::BlockedBy(names) => ("blocked-by", format!("[{}]", names.join(", "))),
        Wanted::NextEligible(range) => ("next-eligible", ranged(*range)),
        Wanted::Wake(range) => ("wake", ranged(*range)),
        Wanted::ValidUntil(range) => ("valid-until", ranged(*range)),
        Wanted::Groups(groups) => {
            let groups: Vec<String> = groups.iter().map(|(id, group)| format!("{id}: {group}")).collect();
            ("groups", groups.join(", "))
        }
    }
}

fn ranged(range: Option<Range>) -> String {
    match range {
        None => "null".to_owned(),
        Some(Range { from_ms, to_ms }) if from_ms == to_ms => text_of(from_ms),
        Some(Range { from_ms, to_ms }) => {
            let end = |ms: i64, open: i64| if ms == open { "…".to_owned() } else { text_of(ms) };
            format!("{} to {}", end(from_ms, i64::MIN), end(to_ms, i64::MAX))
        }
    }
}

fn or_none(text: Option<&str>) -> String {
    text.unwrap_or("null").to_owned()
}

fn different(field: &str, expected: &str, got: &str) -> Option<Mismatch> {
    Some(Mismatch {
        field: field.to_owned(),
        expected: expected.to_owned(),
        got: got.to_owned(),
    })
}
