//! What is allowed and yet probably a slip: rules that never decide, channels and classes that nothing governs, windows that
//! never open together, windows that look further back than anything is kept.
//!
//! A finding here must be true whatever messages come: where the question cannot be answered (a `when`, an expression), nothing
//! is said.

mod stricter;

use super::file::{Diagnostic, Findings, Node, Span as Place};
use super::model::{Class, Obeys, Policy, Rule, RuleKindName};
use super::rules::{Memory, RuleKind, Trigger};
use super::selector::{Field, Pattern, Selector, Term};
use super::window::{Schedule, Shape, Span, Window, ZoneChoice};
use crate::customer::bounds::{EVENT_AGE_MS, EXACT_AGE_MS};
use crate::message::{EventKind, Name};
use stricter::is_same_zone;

const DAY_MS: i64 = 86_400_000;
/// Above this, pairs of rules are not compared: a file of that size was not written by hand.
const COMPARED_AT_MOST: usize = 500;

/// Adds the warnings about a policy that compiled. `today_ms`: an exception that is over then lifts nothing any more; none:
/// each may still hold.
pub fn lint(policy: &Policy, root: &Node, today_ms: Option<i64>, findings: &mut Findings) {
    let places = Places { root };
    rules_that_nobody_obeys(policy, &places, findings);
    if policy.rules.len() <= COMPARED_AT_MOST {
        stricter::rules_that_never_decide(policy, &places, today_ms, findings);
        windows_that_never_open_together(policy, &places, findings);
    }
    what_nothing_governs(policy, &places, findings);
    for rule in &policy.rules {
        looks_too_far_back(rule, &places, findings);
    }
}

/// Where the parts of a policy stand.
struct Places<'n> {
    root: &'n Node,
}

impl Places<'_> {
    fn of_rule(&self, rule: &Rule) -> Place {
        let rules = self.value("rules").map(Node::as_list).unwrap_or_default();
        let ids = rules
            .iter()
            .filter_map(|item| item.entries().iter().find(|entry| entry.key == "id"));
        let mut found = ids.filter(|entry| entry.value.text() == Some(&*rule.id));
        found.next().map_or(self.root.span, |entry| entry.value.span)
    }

    fn of_name(&self, key: &str, name: &str) -> Place {
        let entries = self.value(key).map(Node::entries).unwrap_or_default();
        let entry = entries.iter().find(|entry| entry.key == name);
        entry.map_or(self.root.span, |entry| entry.key_span)
    }

    fn value(&self, key: &str) -> Option<&Node> {
        let entry = self.root.entries().iter().find(|entry| entry.key == key);
        entry.map(|entry| &entry.value)
    }
}

fn warn(findings: &mut Findings, code: &'static str, place: Place, message: String, label: &str) {
    findings.push(Diagnostic::warning(code, place, message, label));
}

/// Whether a rule may govern a message of this class and channel, as far as these two can tell.
fn may_govern(rule: &Rule, class: Option<&Name>, channel: Option<&Name>) -> bool {
    may_select(&rule.governs, class, channel)
}

fn may_select(selector: &Selector, class: Option<&Name>, channel: Option<&Name>) -> bool {
    selector.terms.iter().all(|term| match term {
        Term::AnyOf { field, patterns } => match of_field(*field, class, channel) {
            Some(name) => patterns.iter().any(|pattern| pattern.matches(name)),
            None => true,
        },
        Term::AllTags(_) => true,
        Term::Not(inner) => !certainly_selects(inner, class, channel),
    })
}

/// Whether a selector selects whatever has this class and channel.
fn certainly_selects(selector: &Selector, class: Option<&Name>, channel: Option<&Name>) -> bool {
    selector.terms.iter().all(|term| match term {
        Term::AnyOf { field, patterns } => of_field(*field, class, channel)
            .is_some_and(|name| patterns.iter().any(|pattern: &Pattern| pattern.matches(name))),
        Term::AllTags(_) => false,
        Term::Not(inner) => !may_select(inner, class, channel),
    })
}

fn of_field<'a>(field: Field, class: Option<&'a Name>, channel: Option<&'a Name>) -> Option<&'a Name> {
    match field {
        Field::Class => class,
        Field::Channel => channel,
        _ => None,
    }
}

fn rules_that_nobody_obeys(policy: &Policy, places: &Places, findings: &mut Findings) {
    for rule in &policy.rules {
        let mut subject = policy.classes.iter().filter(|class| class.obeys.rule(rule));
        if !subject.any(|class| may_govern(rule, Some(&class.name), None)) {
            let message = format!("the rule `{}` can never hit", rule.id);
            let label = "no class that it governs obeys it";
            warn(findings, "never-hits", places.of_rule(rule), message, label);
        }
    }
}

/// A channel on which nothing but consent is asked, and a class for which the kinds of rules that it obeys are there, but
/// govern others.
fn what_nothing_governs(policy: &Policy, places: &Places, findings: &mut Findings) {
    if policy.rules.is_empty() {
        return;
    }
    for channel in &policy.channels {
        let governed = policy
            .rules
            .iter()
            .any(|rule| may_govern(rule, None, Some(&channel.name)));
        if !governed {
            let message = format!("no rule governs the channel `{}`", channel.name);
            let label = "whatever is allowed by consent goes out";
            let place = places.of_name("channels", &channel.name);
            warn(findings, "unused-channel", place, message, label);
        }
    }
    for class in &policy.classes {
        if obeys_in_vain(class, policy) {
            let message = format!("no rule governs the class `{}`", class.name);
            let label = "it obeys kinds of rules that are all for other messages";
            let place = places.of_name("classes", &class.name);
            warn(findings, "unused-class", place, message, label);
        }
    }
}

fn obeys_in_vain(class: &Class, policy: &Policy) -> bool {
    const BUILT_IN: [RuleKindName; 3] = [
        RuleKindName::SuppressionList,
        RuleKindName::Consent,
        RuleKindName::Preferences,
    ];
    if let Obeys::Only { kinds, rules } = &class.obeys
        && rules.is_empty()
        && kinds.iter().all(|kind| BUILT_IN.contains(kind))
    {
        return false;
    }
    let mut obeyed = policy.rules.iter().filter(|rule| class.obeys.rule(rule)).peekable();
    obeyed.peek().is_some() && !obeyed.any(|rule| may_govern(rule, Some(&class.name), None))
}

/// For each channel and class: do the windows that always apply ever open together?
fn windows_that_never_open_together(policy: &Policy, places: &Places, findings: &mut Findings) {
    let mut said: Vec<Vec<&Name>> = Vec::new();
    for channel in &policy.channels {
        for class in &policy.classes {
            let mut all: Vec<(&Rule, &ZoneChoice, &Schedule)> = Vec::new();
            for rule in policy.rules.iter().filter(|rule| class.obeys.rule(rule)) {
                let always = rule.when.is_none()
                    && !rule.shadow
                    && certainly_selects(&rule.governs, Some(&class.name), Some(&channel.name));
                if let RuleKind::SendWindow(window) = &rule.kind
                    && always
                {
                    all.push((rule, &window.zone, &window.schedule));
                }
            }
            // Only what reads one clock can be compared: the zone in which most windows stand.
            let beside = |zone: &ZoneChoice| all.iter().filter(|(_, other, _)| is_same_zone(other, zone)).count();
            let Some((_, zone, _)) = all.iter().max_by_key(|(_, zone, _)| beside(zone)) else {
                continue;
            };
            let on_one_clock = all.iter().filter(|(_, other, _)| is_same_zone(other, zone));
            let windows: Vec<(&Rule, &Schedule)> = on_one_clock.map(|(rule, _, schedule)| (*rule, *schedule)).collect();
            let schedules: Vec<&Schedule> = windows.iter().map(|(_, schedule)| *schedule).collect();
            let ids: Vec<&Name> = windows.iter().map(|(rule, _)| &rule.id).collect();
            if schedules.len() > 1 && !Schedule::ever_open_together(&schedules) && !said.contains(&ids) {
                let listed: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
                let message = format!(
                    "a {} message on `{}` can never go out: {} are never open together",
                    class.name,
                    channel.name,
                    listed.join(" and ")
                );
                let place = windows
                    .last()
                    .map_or(places.root.span, |(rule, _)| places.of_rule(rule));
                warn(
                    findings,
                    "never-open",
                    place,
                    message,
                    "with this one, no hour of the week is left",
                );
                said.push(ids);
            }
        }
    }
}

/// The ledger is exact for 400 days, and opens and clicks are kept that long.
fn looks_too_far_back(rule: &Rule, places: &Places, findings: &mut Findings) {
    let days = |ms: i64| ms / DAY_MS;
    if looks_back_ms(&rule.kind) > EXACT_AGE_MS {
        let message = format!(
            "the window of `{}` is longer than the history that is always whole",
            rule.id
        );
        let label = format!(
            "{} days are; of a customer with very many contacts, older ones may be gone, and then the rule blocks",
            days(EXACT_AGE_MS)
        );
        warn(findings, "beyond-history", places.of_rule(rule), message, &label);
    }
    if let RuleKind::CoolOff(cool_off) = &rule.kind {
        let forgotten = |trigger: &Trigger| matches!(trigger, Trigger::Event(EventKind::Opened | EventKind::Clicked));
        let within_ms = cool_off.within.map_or(0, most_ms);
        if cool_off.after.iter().any(forgotten) && within_ms > EVENT_AGE_MS {
            let message = format!("`{}` looks further back than opens and clicks are kept", rule.id);
            let label = format!("they are kept for {} days", days(EVENT_AGE_MS));
            warn(findings, "beyond-history", places.of_rule(rule), message, &label);
        }
    }
}

/// How old the contacts may be that a rule counts.
fn looks_back_ms(kind: &RuleKind) -> i64 {
    let of_window = |window: &Window| match &window.shape {
        Shape::Rolling(span) | Shape::Tumbling { span, .. } => most_ms(*span),
        Shape::CalendarDays(days) | Shape::TumblingDays { days, .. } => i64::from(*days) * DAY_MS,
        // `ever` says itself that it reaches as far as the history.
        Shape::Calendar(_) | Shape::Ever => 0,
    };
    match kind {
        RuleKind::Cap(cap) => of_window(&cap.window),
        RuleKind::Spend(spend) => of_window(&spend.window),
        RuleKind::Pressure(pressure) => match &pressure.memory {
            Memory::Window(window) => of_window(window),
            Memory::HalfLife { .. } => 0,
        },
        RuleKind::Gap(gap) => most_ms(gap.length),
        RuleKind::Redundant(redundant) => most_ms(redundant.within),
        RuleKind::Sequence(sequence) => most_ms(sequence.within),
        // A capacity counts by itself, the others count events, or have no window.
        RuleKind::Holdout(_)
        | RuleKind::CoolOff(_)
        | RuleKind::BackOff(_)
        | RuleKind::Mix(_)
        | RuleKind::SendWindow(_)
        | RuleKind::Capacity(_) => 0,
    }
}

/// The longest that a span can be.
fn most_ms(span: Span) -> i64 {
    match span {
        Span::Exact { ms } => ms,
        Span::Months(months) => i64::from(months) * 31 * DAY_MS,
    }
}

/// The shortest that a span can be.
fn least_ms(span: Span) -> i64 {
    match span {
        Span::Exact { ms } => ms,
        Span::Months(months) => i64::from(months) * 28 * DAY_MS - DAY_MS,
    }
}
