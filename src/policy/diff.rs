//! What changed in meaning between two policies: for whoever reviews the change.
//!
//! Parts with a name (rules, exceptions, channels, classes, calendars, experiments) are compared by it, wherever they stand in the
//! file; a value that is written in another way (`7d`, `1w`) is no change. Each change says, where that can be known, whether
//! fewer messages go out by it (stricter) or more (looser).

mod direction;
#[cfg(test)]
mod tests;

use super::compile::RULE_KINDS;
use super::file::diagnostic::shortened;
use super::file::document::Document;
use super::file::scalar::parse_span;
use super::file::{Node, Value, emit};
use super::model::{OnHit, Policy, Rule};
use super::window::Span;
use std::fmt::Write;

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The top-level key: `rules`.
    pub section: String,
    /// The named part, where there is one: `company-week`.
    pub name: Option<String>,
    /// What of it, in words of the file: `cap.limit`; none: all of it.
    pub key: Option<String>,
    pub how: How,
    pub old: Option<String>,
    pub new: Option<String>,
    pub effect: Effect,
}

/// How something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Added,
    Removed,
    Raised,
    Lowered,
    Longer,
    Shorter,
    Widened,
    Narrowed,
    Changed,
}

/// What a change does to the number of messages that go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Stricter,
    Looser,
    /// Neither for certain.
    Different,
}

/// One version of a policy.
#[derive(Clone, Copy)]
pub struct Version<'v> {
    pub document: &'v Document,
    pub policy: &'v Policy,
}

/// Lists whose elements have a key that names them.
const NAMED: &[(&str, &str)] = &[
    ("rules", "id"),
    ("exceptions", "id"),
    ("experiments", "id"),
    ("stops", "why"),
];
/// Maps from a name to its settings.
const MAPS: &[&str] = &["channels", "classes", "calendars", "defaults"];

/// Everything that changed, section by section, in the order of the new policy, then what is gone.
pub fn diff(old: Version, new: Version) -> Vec<Change> {
    let mut changes = Vec::new();
    let entries = |version: Version| version.document.root.entries().to_vec();
    let (before, after) = (entries(old), entries(new));
    let mut keys: Vec<&str> = after.iter().chain(&before).map(|entry| entry.key.as_str()).collect();
    let mut seen = Vec::new();
    keys.retain(|key| {
        let first = !seen.contains(key) && *key != "tests";
        seen.push(*key);
        first
    });
    for key in keys {
        let of = |entries: &'_ [super::file::Entry]| {
            let entry = entries.iter().find(|entry| entry.key == key);
            entry.map(|entry| entry.value.clone()).filter(|value| !is_void(value))
        };
        let (one, other) = (of(&before), of(&after));
        if NAMED.iter().any(|(section, _)| *section == key) || MAPS.contains(&key) {
            parts(key, one.as_ref(), other.as_ref(), old, new, &mut changes);
        } else {
            values(key, None, None, one.as_ref(), other.as_ref(), &mut changes);
        }
    }
    changes
}

fn parts(
    section: &str,
    one: Option<&Node>,
    other: Option<&Node>,
    old: Version,
    new: Version,
    changes: &mut Vec<Change>,
) {
    let (before, after) = (named(section, one), named(section, other));
    for (name, value) in &after {
        match before.iter().find(|(other, _)| other == name) {
            None => changes.push(whole(section, name, How::Added, value)),
            Some((_, earlier)) if section == "rules" => {
                rule(name, earlier, value, old.policy, new.policy, changes);
            }
            Some((_, earlier)) => {
                let from = changes.len();
                values(section, Some(name), None, Some(earlier), Some(value), changes);
                direction::tell(section, name, old.policy, new.policy, &mut changes[from..]);
            }
        }
    }
    for (name, value) in &before {
        if after.iter().all(|(other, _)| other != name) {
            changes.push(whole(section, name, How::Removed, value));
        }
    }
}

fn named<'n>(section: &str, node: Option<&'n Node>) -> Vec<(String, &'n Node)> {
    let Some(node) = node else { return Vec::new() };
    if let Some((_, id)) = NAMED.iter().find(|(key, _)| *key == section) {
        let items = node.as_list().iter();
        let name_of = |item: &Node| {
            let entry = item.entries().iter().find(|entry| entry.key == *id);
            entry.and_then(|entry| entry.value.text()).unwrap_or("?").to_owned()
        };
        return items.map(|item| (name_of(item), item)).collect();
    }
    let entries = node.entries().iter();
    entries.map(|entry| (entry.key.clone(), &entry.value)).collect()
}

fn whole(section: &str, name: &str, how: How, value: &Node) -> Change {
    let shadow = value
        .entries()
        .iter()
        .any(|entry| entry.key == "shadow" && entry.value.text() == Some("true"));
    let effect = match (section, how) {
        _ if shadow => Effect::Different,
        ("rules" | "stops", How::Added) | ("exceptions", How::Removed) => Effect::Stricter,
        ("rules" | "stops", How::Removed) | ("exceptions", How::Added) => Effect::Looser,
        _ => Effect::Different,
    };
    let text = Some(emit::flow(value));
    let (old, new) = if how == How::Added { (None, text) } else { (text, None) };
    Change {
        section: section.to_owned(),
        name: Some(name.to_owned()),
        key: None,
        how,
        old,
        new,
        effect,
    }
}

/// A rule that is in both: what it selects and what a hit does are compared by meaning, the rest as it is written.
fn rule(name: &str, before: &Node, after: &Node, old: &Policy, new: &Policy, changes: &mut Vec<Change>) {
    let find = |policy: &'_ Policy| policy.rules.iter().position(|rule| &*rule.id == name);
    let pair = find(old).zip(find(new));
    let Some((one, other)) = pair.map(|(one, other)| (&old.rules[one], &new.rules[other])) else {
        return;
    };
    let mut change = |key: &str, how, old: String, new: String, effect| {
        changes.push(Change {
            section: "rules".to_owned(),
            name: Some(name.to_owned()),
            key: Some(key.to_owned()),
            how,
            old: Some(old),
            new: Some(new),
            effect,
        });
    };
    let written = |node: &Node, key: &str| {
        let entry = node.entries().iter().find(|entry| entry.key == key);
        entry.map_or_else(|| "everything".to_owned(), |entry| emit::flow(&entry.value))
    };
    match scope(one, other) {
        None => {}
        Some((how, effect)) => change("for", how, written(before, "for"), written(after, "for"), effect),
    }
    if one.on_hit != other.on_hit {
        let effect = match (one.on_hit.only_suppresses(), other.on_hit.only_suppresses()) {
            (true, false) => Effect::Looser,
            (false, true) => Effect::Stricter,
            _ => Effect::Different,
        };
        let (old, new) = (actions(one.on_hit), actions(other.on_hit));
        change("on-hit", How::Changed, old, new, effect);
    }
    if one.shadow != other.shadow {
        let effect = if one.shadow { Effect::Stricter } else { Effect::Looser };
        let (old, new) = (one.shadow.to_string(), other.shadow.to_string());
        change("shadow", How::Changed, old, new, effect);
    }
    let mut said = vec!["id", "for", "on-hit", "shadow"];
    // What is compiled has no synonyms: `mon-fri` is five days, `1w` is `7d`.
    if format!("{:?}", one.kind) == format!("{:?}", other.kind) {
        said.extend(RULE_KINDS.iter().copied().chain(["limits"]));
    }
    let from = changes.len();
    values_but(&said, "rules", Some(name), None, Some(before), Some(after), changes);
    direction::of_rule(one, other, &mut changes[from..]);
}

/// None: it selects the same.
fn scope(one: &Rule, other: &Rule) -> Option<(How, Effect)> {
    let narrower = other.governs.is_within(&one.governs);
    let wider = one.governs.is_within(&other.governs);
    match (narrower, wider) {
        (true, true) => None,
        _ if one.governs == other.governs => None,
        (false, true) => Some((How::Widened, Effect::Stricter)),
        (true, false) => Some((How::Narrowed, Effect::Looser)),
        (false, false) => Some((How::Changed, Effect::Different)),
    }
}

fn actions(on_hit: OnHit) -> String {
    let named = [
        (on_hit.fallback, "fallback"),
        (on_hit.defer, "defer"),
        (on_hit.suppress, "suppress"),
    ];
    let named: Vec<&str> = named.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    named.join(", ")
}

/// Compares two values, key by key where both are maps.
fn values(
    section: &str,
    name: Option<&str>,
    key: Option<&str>,
    one: Option<&Node>,
    other: Option<&Node>,
    changes: &mut Vec<Change>,
) {
    values_but(&[], section, name, key, one, other, changes);
}

fn values_but(
    said: &[&str],
    section: &str,
    name: Option<&str>,
    key: Option<&str>,
    one: Option<&Node>,
    other: Option<&Node>,
    changes: &mut Vec<Change>,
) {
    if let (Some(one), Some(other)) = (one, other) {
        if same(one, other) {
            return;
        }
        if let (Value::Map(before), Value::Map(after)) = (&one.value, &other.value) {
            let mut keys: Vec<&str> = after.iter().chain(before).map(|entry| entry.key.as_str()).collect();
            keys.sort_unstable();
            keys.dedup();
            for inner in keys.into_iter().filter(|inner| !said.contains(inner)) {
                let of = |node: &'_ Node| node.entries().iter().position(|entry| entry.key == inner);
                let path = key.map_or_else(|| inner.to_owned(), |key| format!("{key}.{inner}"));
                let one = of(one).map(|at| &before[at].value);
                let other = of(other).map(|at| &after[at].value);
                values(section, name, Some(&path), one, other, changes);
            }
            return;
        }
    }
    if one.is_none() && other.is_none()
        || one
            .zip(other)
            .is_some_and(|(one, other)| equal_numbers(key, one, other))
    {
        return;
    }
    let (how, effect) = judged(section, key, one, other);
    let text = |node: &Node| emit::flow(node);
    changes.push(Change {
        section: section.to_owned(),
        name: name.map(str::to_owned),
        key: key.map(str::to_owned),
        how,
        old: one.map(text),
        new: other.map(text),
        effect,
    });
}

/// What a changed value means, as far as its key tells.
fn judged(section: &str, key: Option<&str>, one: Option<&Node>, other: Option<&Node>) -> (How, Effect) {
    let (Some(one), Some(other)) = (one, other) else {
        let how = if one.is_none() { How::Added } else { How::Removed };
        return (how, Effect::Different);
    };
    let last = key.map_or(section, |key| key.rsplit('.').next().unwrap_or(key));
    let of_rule = section == "rules";
    // A salt is a text that may look like a number.
    if let Some((how, more)) = compared(one, other).filter(|_| last != "salt") {
        let stricter_when_more = match (of_rule, last) {
            // What is never sent after something is blocked longer; what is only sent after it is allowed longer.
            _ if key == Some("sequence.within") => None,
            (true, "limit" | "after" | "count" | "at-most") => Some(false),
            (true, "window" | "gap" | "for" | "within" | "max" | "factor" | "percent" | "half-life") => Some(true),
            _ => None,
        };
        let effect = match stricter_when_more {
            Some(direction) if direction == more => Effect::Stricter,
            Some(_) => Effect::Looser,
            None => Effect::Different,
        };
        return (how, effect);
    }
    let effect = match (last, one.text(), other.text()) {
        ("consent" | "mode", Some("opt-out"), Some("opt-in")) => Effect::Stricter,
        ("consent" | "mode", Some("opt-in"), Some("opt-out")) => Effect::Looser,
        _ => Effect::Different,
    };
    (How::Changed, effect)
}

/// Numbers and durations: how they differ, and whether the new one is more.
fn compared(one: &Node, other: &Node) -> Option<(How, bool)> {
    let (one, other) = (one.text()?, other.text()?);
    if let (Some(one), Some(other)) = (length_ms(one), length_ms(other)) {
        let how = if other > one { How::Longer } else { How::Shorter };
        return (one != other).then_some((how, other > one));
    }
    let number = |text: &str| match text {
        "unlimited" => Some(f64::INFINITY),
        text => text
            .trim_end_matches('%')
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite()),
    };
    let (one, other) = (number(one)?, number(other)?);
    let how = if other > one { How::Raised } else { How::Lowered };
    (one != other).then_some((how, other > one))
}

/// `0.5` and `0.50` where a number is asked for; elsewhere they are two texts.
fn equal_numbers(key: Option<&str>, one: &Node, other: &Node) -> bool {
    let last = key.and_then(|key| key.rsplit('.').next());
    let is_number = matches!(last, Some("cost" | "pressure" | "rank"));
    let number = |node: &Node| node.text().and_then(|text| text.parse::<f64>().ok());
    is_number && number(one).is_some() && number(one) == number(other)
}

fn length_ms(text: &str) -> Option<i64> {
    match parse_span(text).ok()? {
        Span::Exact { ms } => Some(ms),
        Span::Months(months) => Some(i64::from(months) * 2_629_746_000),
    }
}

/// Whether two values mean the same: a list of one is its element, a duration is its length. Order matters in lists of maps
/// only, where the first match wins: names, days and dates are sets.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Map(before), Value::Map(after)) => {
            before.len() == after.len()
                && before.iter().all(|entry| {
                    let there = after.iter().find(|other| other.key == entry.key);
                    there.is_some_and(|there| same(&entry.value, &there.value))
                })
        }
        (Value::List(_), _) | (_, Value::List(_)) => {
            let (before, after) = (one.as_list(), other.as_list());
            let scalars = before.iter().chain(after).all(|item| item.text().is_some());
            let holds = |within: &[Node], item: &Node| within.iter().any(|other| same(item, other));
            match scalars {
                true => before.iter().all(|item| holds(after, item)) && after.iter().all(|item| holds(before, item)),
                false => before.len() == after.len() && before.iter().zip(after).all(|(one, other)| same(one, other)),
            }
        }
        _ => match (one.text(), other.text()) {
            (Some(one), Some(other)) => {
                let spans = parse_span(one).ok().zip(parse_span(other).ok());
                one == other || spans.is_some_and(|(one, other)| one == other)
            }
            (one, other) => one == other,
        },
    }
}

fn is_void(node: &Node) -> bool {
    node.is_empty() || matches!(&node.value, Value::List(items) if items.is_empty())
}

impl How {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Raised => "raised",
            Self::Lowered => "lowered",
            Self::Longer => "longer",
            Self::Shorter => "shorter",
            Self::Widened => "widened",
            Self::Narrowed => "narrowed",
            Self::Changed => "changed",
        }
    }
}

impl Effect {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stricter => "stricter",
            Self::Looser => "looser",
            Self::Different => "different",
        }
    }
}

/// The changes for a person, section by section.
pub fn text(changes: &[Change]) -> String {
    let mut text = String::new();
    let mut section = "";
    for change in changes {
        if change.section != section {
            section = &change.section;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{section}");
        }
        let subject = [change.name.as_deref(), change.key.as_deref()];
        let subject: Vec<&str> = subject.into_iter().flatten().collect();
        let subject = if subject.is_empty() {
            section
        } else {
            &subject.join(": ")
        };
        let mark = match change.how {
            How::Added => '+',
            How::Removed => '-',
            _ => '~',
        };
        let shown = |value: &Option<String>| shortened(value.as_deref().unwrap_or("nothing"));
        let said = match change.how {
            How::Added => format!("{subject} {}", shown(&change.new)),
            How::Removed => format!("{subject} {}", shown(&change.old)),
            how => format!(
                "{subject} {}: {} → {}",
                how.as_str(),
                shown(&change.old),
                shown(&change.new)
            ),
        };
        let effect = match change.effect {
            Effect::Different => String::new(),
            effect => format!("  ({})", effect.as_str()),
        };
        let _ = writeln!(text, "  {mark} {said}{effect}");
    }
    text
}
