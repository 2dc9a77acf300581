//! Which way a change goes where the text alone does not tell: by comparing what was compiled.

use super::{Change, Effect, How};
use crate::policy::model::{Obeys, Policy, Rule, RuleKindName};
use crate::policy::rules::RuleKind;
use crate::policy::window::{Polarity, Schedule};

/// Of a named part that is no rule.
pub(super) fn tell(section: &str, name: &str, old: &Policy, new: &Policy, changes: &mut [Change]) {
    for change in changes {
        let key = first_part(change);
        let found = match (section, key.as_str()) {
            ("classes", "obeys") => obeys(name, old, new),
            ("exceptions", "for" | "rules" | "until") => exception(name, &key, old, new),
            ("stops", "for" | "until") => stop(name, &key, old, new),
            // Dates close windows: more of them, fewer messages.
            ("calendars", "") => listed(change, Effect::Stricter),
            ("channels", "release-on") => listed(change, Effect::Looser),
            _ => None,
        };
        if let Some((how, effect)) = found {
            (change.how, change.effect) = (how, effect);
        }
    }
}

/// Of a rule: its hours, the days on which it is closed, and what it counts.
pub(super) fn of_rule(one: &Rule, other: &Rule, changes: &mut [Change]) {
    for change in changes {
        let key = change.key.clone().unwrap_or_default();
        let found = match (&one.kind, &other.kind, key.as_str()) {
            _ if first_part(change) == "counts" => compared(
                other.counts.is_within(&one.counts),
                one.counts.is_within(&other.counts),
                Effect::Stricter,
            ),
            (RuleKind::SendWindow(one), RuleKind::SendWindow(other), "send-window.open") => {
                hours(&one.schedule, &other.schedule, Polarity::Open)
            }
            (RuleKind::SendWindow(one), RuleKind::SendWindow(other), "quiet-hours.quiet") => {
                hours(&one.schedule, &other.schedule, Polarity::Quiet)
            }
            (
                RuleKind::SendWindow(one),
                RuleKind::SendWindow(other),
                "send-window.closed-on" | "quiet-hours.closed-on",
            ) => more_or_fewer(one.schedule.closed_on(), other.schedule.closed_on(), Effect::Stricter)
                .map(|(_, effect)| (change.how, effect)),
            // What is counted in parts fills slower.
            (_, _, "per") => {
                more_or_fewer(&one.per, &other.per, Effect::Looser).map(|(_, effect)| (change.how, effect))
            }
            _ => None,
        };
        if let Some((how, effect)) = found {
            (change.how, change.effect) = (how, effect);
        }
    }
}

/// The key of the part that a change lies in.
fn first_part(change: &Change) -> String {
    let key = change.key.as_deref().unwrap_or_default();
    key.split('.').next().unwrap_or_default().to_owned()
}

/// `widened` is what more of it does. None: neither is within the other, or they are the same.
fn compared(narrower: bool, wider: bool, widened: Effect) -> Option<(How, Effect)> {
    match (narrower, wider) {
        (false, true) => Some((How::Widened, widened)),
        (true, false) => Some((How::Narrowed, opposite(widened))),
        (true, true) | (false, false) => None,
    }
}

fn opposite(effect: Effect) -> Effect {
    match effect {
        Effect::Stricter => Effect::Looser,
        Effect::Looser => Effect::Stricter,
        Effect::Different => Effect::Different,
    }
}

fn more_or_fewer<T: PartialEq>(one: &[T], other: &[T], more: Effect) -> Option<(How, Effect)> {
    let holds = |within: &[T], all: &[T]| all.iter().all(|item| within.contains(item));
    compared(holds(one, other), holds(other, one), more)
}

fn hours(one: &Schedule, other: &Schedule, written: Polarity) -> Option<(How, Effect)> {
    let (fewer, more) = (other.is_within_week(one), one.is_within_week(other));
    match written {
        Polarity::Open => compared(fewer, more, Effect::Looser),
        // What is quiet is the rest.
        Polarity::Quiet => compared(more, fewer, Effect::Stricter),
    }
}

fn obeys(name: &str, old: &Policy, new: &Policy) -> Option<(How, Effect)> {
    let find = |policy: &'_ Policy| policy.classes.iter().position(|class| &*class.name == name);
    let (one, other) = (&old.classes[find(old)?].obeys, &new.classes[find(new)?].obeys);
    let narrower = obeys_at_most(other, one, new);
    compared(narrower, obeys_at_most(one, other, old), Effect::Stricter)
}

/// Whether what the first obeys is obeyed by the second too. A rule is named by its id or covered by its kind.
fn obeys_at_most(first: &Obeys, second: &Obeys, of_first: &Policy) -> bool {
    match (first, second) {
        (_, Obeys::All) | (Obeys::Nothing, _) => true,
        (Obeys::All, _) => false,
        (Obeys::Only { kinds, rules }, second) => {
            let kind_of = |id: &str| -> Option<RuleKindName> {
                let rule = of_first.rules.iter().find(|rule| &*rule.id == id)?;
                Some(rule.kind.name())
            };
            let named = |id| matches!(second, Obeys::Only { rules, .. } if rules.contains(id));
            kinds.iter().all(|kind| second.kind(*kind))
                && rules
                    .iter()
                    .all(|id| named(id) || kind_of(id).is_some_and(|kind| second.kind(kind)))
        }
    }
}

fn exception(name: &str, key: &str, old: &Policy, new: &Policy) -> Option<(How, Effect)> {
    let find = |policy: &'_ Policy| policy.exceptions.iter().position(|exception| &*exception.id == name);
    let (one, other) = (&old.exceptions[find(old)?], &new.exceptions[find(new)?]);
    match key {
        "for" => compared(
            other.governs.is_within(&one.governs),
            one.governs.is_within(&other.governs),
            Effect::Looser,
        ),
        "rules" => more_or_fewer(&one.rules, &other.rules, Effect::Looser),
        _ => later(one.until_ms, other.until_ms, Effect::Looser),
    }
}

fn stop(why: &str, key: &str, old: &Policy, new: &Policy) -> Option<(How, Effect)> {
    let find = |policy: &'_ Policy| policy.stops.iter().position(|stop| stop.why == why);
    let (one, other) = (&old.stops[find(old)?], &new.stops[find(new)?]);
    match key {
        "for" => compared(
            other.governs.is_within(&one.governs),
            one.governs.is_within(&other.governs),
            Effect::Stricter,
        ),
        _ => later(
            one.until_ms.unwrap_or(i64::MAX),
            other.until_ms.unwrap_or(i64::MAX),
            Effect::Stricter,
        ),
    }
}

fn later(one_ms: i64, other_ms: i64, later: Effect) -> Option<(How, Effect)> {
    match one_ms.cmp(&other_ms) {
        std::cmp::Ordering::Less => Some((How::Longer, later)),
        std::cmp::Ordering::Greater => Some((How::Shorter, opposite(later))),
        std::cmp::Ordering::Equal => None,
    }
}

/// Names or dates, as they are written.
fn listed(change: &Change, more: Effect) -> Option<(How, Effect)> {
    let items = |text: &Option<String>| -> Vec<String> {
        let text = text.as_deref().unwrap_or_default();
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let items = inner.unwrap_or(text).split(',').map(|item| item.trim().to_owned());
        items.filter(|item| !item.is_empty()).collect()
    };
    more_or_fewer(&items(&change.old), &items(&change.new), more)
}
