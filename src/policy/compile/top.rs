//! The top level of the file, in the order in which its parts need each other: names first, then what mentions them.

use super::{Calendar, Context, channel, class, holdout, rule, selector};
use crate::message::{EventKind, Name};
use crate::policy::file::{Diagnostic, Fields, Node, Span as Place, Value, fields, scalar};
use crate::policy::index::RuleIndex;
use crate::policy::model::{Exception, OnHit, Policy, Stop};
use crate::policy::window::calendar;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

const DAY_MS: i64 = 86_400_000;
/// What may be a response, and all of it is by default. `declined` is an answer, and never one.
const RESPONSES: &[(&str, EventKind)] = &[
    ("clicked", EventKind::Clicked),
    ("replied", EventKind::Replied),
    ("converted", EventKind::Converted),
    ("opened", EventKind::Opened),
];

/// `defaults:`, with what the language says for the keys that are left out.
pub(super) struct Defaults<'n> {
    pub on_hit: OnHit,
    class: (&'n str, Option<Place>),
    max_defer_ms: i64,
    remember_intents_ms: i64,
}

/// The policy; `None` after an error.
pub(super) fn policy<'n>(root: &'n Node, bytes: &[u8], context: &mut Context<'n>) -> Option<Policy> {
    let mut file = Fields::open(root, "a policy", &mut context.findings)?;
    if let Some(version) = file.require("forbear", &mut context.findings) {
        scalar::integer(
            version,
            "`forbear`, the version of the language,",
            1..=1,
            &mut context.findings,
        );
    }
    let name = name(&mut file, context);
    if let Some(zone) = file.require("timezone", &mut context.findings) {
        let zone = scalar::iana_zone(zone, "`timezone`", &mut context.findings);
        context.zone = zone.unwrap_or(TimeZone::UTC);
    }
    if let Some(day) = file.take("week-start") {
        context.week_start = scalar::weekday(day, "`week-start`", &mut context.findings).unwrap_or(context.week_start);
    }
    let timezone_unknown = zones(file.take("timezone-unknown"), context);
    let channels = file.require("channels", &mut context.findings);
    let classes = file.require("classes", &mut context.findings);
    let rules = file.take("rules");
    gather_names(channels, classes, rules, context);
    context.experiments = file
        .take("experiments")
        .map(|node| holdout::experiments(node, context))
        .unwrap_or_default();
    context.calendars = calendars(file.take("calendars"), context);
    let defaults = defaults(file.take("defaults"), context);
    let responses = responses(file.take("responses"), context);
    let channels = channels
        .map(|node| channel::channels(node, context))
        .unwrap_or_default();
    let classes = classes
        .map(|node| class::classes(node, defaults.max_defer_ms, context))
        .unwrap_or_default();
    let rules = rules
        .map(|node| rule::rules(node, &defaults, context))
        .unwrap_or_default();
    let score = file.take("score").map(|node| context.score(node));
    let stops = stops(file.take("stops"), context);
    let exceptions = exceptions(file.take("exceptions"), context);
    // Read by `forbear policy test`; what is included is merged before anything is compiled.
    file.take("tests");
    file.take("include");
    let head = file.head();
    file.close(&mut context.findings);
    unused_calendars(context);
    let default_class = default_class(&defaults, head, context);
    let name = name?;
    let sha256: [u8; 32] = Sha256::digest(bytes).into();
    let hex: String = sha256.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Some(Policy {
        label: Name::from(format!("{name}@{hex}")),
        name,
        sha256,
        text: bytes.to_vec(),
        zone: context.zone.clone(),
        week_start: context.week_start,
        timezone_unknown,
        default_class: default_class?,
        max_defer_ms: defaults.max_defer_ms,
        remember_intents_ms: defaults.remember_intents_ms,
        index: RuleIndex::new(&rules, &classes),
        channels,
        classes,
        responses,
        score: score.flatten(),
        rules,
        stops,
        exceptions,
        experiments: std::mem::take(&mut context.experiments),
    })
}

/// Included files that say until when they were looked into.
pub(super) fn reviews(reviews: &[(Place, jiff::civil::Date)], context: &mut Context<'_>) {
    for (place, date) in reviews {
        let end_ms = date
            .tomorrow()
            .map_or(i64::MAX, |next| calendar::day_plus(next, 0, &context.zone));
        if context.today_ms.is_some_and(|today_ms| end_ms <= today_ms) {
            let message = format!("what is included here was good until {date}");
            let label = "look whether its rules are still right, then move the date";
            context
                .findings
                .push(Diagnostic::warning("over", *place, message, label));
        }
    }
}

fn name(file: &mut Fields<'_>, context: &mut Context<'_>) -> Option<String> {
    let node = file.require("name", &mut context.findings)?;
    let name = scalar::text(node, "`name`", &mut context.findings)?;
    scalar::check_name(name, "the name of a policy", "-_.", node.span, &mut context.findings).then(|| name.to_owned())
}

fn zones(node: Option<&Node>, context: &mut Context<'_>) -> Vec<TimeZone> {
    let items = node.map(Node::as_list).unwrap_or_default();
    let findings = &mut context.findings;
    items
        .iter()
        .filter_map(|item| scalar::iana_zone(item, "`timezone-unknown`", findings))
        .collect()
}

/// The names that other parts of the file may mention, before any of them is read.
fn gather_names<'n>(
    channels: Option<&'n Node>,
    classes: Option<&'n Node>,
    rules: Option<&'n Node>,
    context: &mut Context<'n>,
) {
    let keys = |node: Option<&'n Node>| match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    };
    context.channels = keys(channels);
    context.classes = keys(classes);
    let Some(Value::List(rules)) = rules.map(|node| &node.value) else {
        return;
    };
    for rule in rules {
        if let Value::Map(entries) = &rule.value {
            let id = entries.iter().find(|entry| entry.key == "id");
            context.rules.extend(id.and_then(|entry| entry.value.text()));
        }
    }
}

fn defaults<'n>(node: Option<&'n Node>, context: &mut Context<'n>) -> Defaults<'n> {
    let mut defaults = Defaults {
        on_hit: rule::SUPPRESS,
        class: ("marketing", None),
        max_defer_ms: 7 * DAY_MS,
        remember_intents_ms: 35 * DAY_MS,
    };
    let Some(node) = node else { return defaults };
    let Some(mut fields) = Fields::open(node, "`defaults`", &mut context.findings) else {
        return defaults;
    };
    if let Some(on_hit) = fields.take("on-hit").and_then(|node| rule::on_hit(node, context)) {
        defaults.on_hit = on_hit;
    }
    if let Some(class) = fields.take("class")
        && let Some(name) = scalar::text(class, "`class`", &mut context.findings)
    {
        defaults.class = (name, Some(class.span));
    }
    if let Some(ms) = fields
        .take("max-defer")
        .and_then(|node| scalar::exact_ms(node, "`max-defer`", &mut context.findings))
    {
        defaults.max_defer_ms = ms;
    }
    let remember = fields.take("remember-intents");
    if let Some(ms) = remember.and_then(|node| scalar::exact_ms(node, "`remember-intents`", &mut context.findings)) {
        defaults.remember_intents_ms = ms;
    }
    fields.close(&mut context.findings);
    defaults
}

fn default_class(defaults: &Defaults<'_>, head: Place, context: &mut Context<'_>) -> Option<usize> {
    let (name, place) = defaults.class;
    let found = context.classes.iter().position(|class| *class == name);
    if found.is_none() && !context.classes.is_empty() {
        match place {
            Some(place) => context
                .findings
                .unknown("class", name, place, context.classes.iter().copied()),
            None => {
                let message = "there is no class `marketing`, and `defaults` names no other";
                let label = "expected `defaults: { class: … }`: an intent without class is judged as it";
                context.findings.error("missing-key", head, message, label);
            }
        }
    }
    found
}

fn responses(node: Option<&Node>, context: &mut Context<'_>) -> Vec<EventKind> {
    match node {
        None => RESPONSES.iter().map(|(_, kind)| *kind).collect(),
        Some(node) => {
            let findings = &mut context.findings;
            node.as_list()
                .iter()
                .filter_map(|item| scalar::word(item, "response", RESPONSES, findings))
                .collect()
        }
    }
}

fn calendars<'n>(node: Option<&'n Node>, context: &mut Context<'n>) -> Vec<Calendar<'n>> {
    let Some(node) = node else { return Vec::new() };
    let mut calendars = Vec::new();
    for entry in fields::entries(node, "`calendars`", &mut context.findings) {
        let items = if entry.value.is_empty() {
            &[]
        } else {
            entry.value.as_list()
        };
        let dates = items
            .iter()
            .filter_map(|item| scalar::date(item, "a date of a calendar", &mut context.findings));
        calendars.push(Calendar {
            name: &entry.key,
            place: entry.key_span,
            dates: dates.collect(),
            used: false,
        });
    }
    calendars
}

fn unused_calendars(context: &mut Context<'_>) {
    for calendar in context.calendars.iter().filter(|calendar| !calendar.used) {
        let message = format!("the calendar `{}` is not used", calendar.name);
        let label = "no `closed-on` names it";
        context
            .findings
            .push(Diagnostic::warning("unused-calendar", calendar.place, message, label));
    }
}

fn list<'n>(node: Option<&'n Node>, what: &str, context: &mut Context<'_>) -> &'n [Node] {
    match node {
        None => &[],
        Some(node) if node.is_empty() => &[],
        Some(Node {
            value: Value::List(items),
            ..
        }) => items,
        Some(node) => {
            let message = format!("{what} is a list, not {}", node.described());
            context
                .findings
                .error("type", node.span, message, "expected `- { … }` or `[ { … } ]`");
            &[]
        }
    }
}

fn stops(node: Option<&Node>, context: &mut Context<'_>) -> Vec<Stop> {
    let mut stops = Vec::new();
    for item in list(node, "`stops`", context) {
        let Some(mut fields) = Fields::open(item, "a stop", &mut context.findings) else {
            continue;
        };
        let governs = fields
            .require("for", &mut context.findings)
            .and_then(|node| selector::selector(node, context));
        let until = fields.take("until").map(|node| until(node, "this stop", context));
        let why = fields.require("why", &mut context.findings);
        let why = why.and_then(|node| scalar::text(node, "`why`", &mut context.findings));
        fields.close(&mut context.findings);
        if let (Some(governs), Some(why)) = (governs, why)
            && until != Some(None)
        {
            stops.push(Stop {
                governs,
                until_ms: until.flatten(),
                why: why.to_owned(),
            });
        }
    }
    stops
}

fn exceptions(node: Option<&Node>, context: &mut Context<'_>) -> Vec<Exception> {
    let mut exceptions: Vec<Exception> = Vec::new();
    let mut seen = Vec::new();
    for item in list(node, "`exceptions`", context) {
        let Some(mut fields) = Fields::open(item, "an exception", &mut context.findings) else {
            continue;
        };
        let id_node = fields.require("id", &mut context.findings);
        let id = id_node.and_then(|node| scalar::text(node, "`id`", &mut context.findings));
        if let (Some(id), Some(node)) = (id, id_node) {
            match seen.iter().find(|(other, _)| *other == id) {
                Some((_, first)) => {
                    let what = format!("the exception `{id}`");
                    context.findings.twice("repeated-id", &what, *first, node.span);
                }
                None => seen.push((id, node.span)),
            }
        }
        let governs = fields
            .require("for", &mut context.findings)
            .and_then(|node| selector::selector(node, context));
        let rules = fields
            .require("rules", &mut context.findings)
            .map(|node| rule_ids(node, context));
        let until = fields
            .require("until", &mut context.findings)
            .and_then(|node| until(node, "this exception", context));
        for key in ["owner", "why"] {
            if let Some(node) = fields.require(key, &mut context.findings) {
                scalar::text(node, key, &mut context.findings);
            }
        }
        fields.close(&mut context.findings);
        if let (Some(id), Some(governs), Some(rules), Some(until_ms)) = (id, governs, rules, until) {
            exceptions.push(Exception {
                id: id.into(),
                governs,
                rules,
                until_ms,
            });
        }
    }
    exceptions
}

fn rule_ids(node: &Node, context: &mut Context<'_>) -> Vec<Name> {
    let mut ids = Vec::new();
    for item in node.as_list() {
        let Some(id) = scalar::text(item, "the id of a rule", &mut context.findings) else {
            continue;
        };
        if context.rules.contains(&id) {
            ids.push(id.into());
        } else {
            context
                .findings
                .unknown("rule", id, item.span, context.rules.iter().copied());
        }
    }
    ids
}

fn until(node: &Node, what: &str, context: &mut Context<'_>) -> Option<i64> {
    let zone = context.zone.clone();
    let until_ms = scalar::until_ms(node, "`until`", &zone, &mut context.findings)?;
    if context.today_ms.is_some_and(|today_ms| until_ms <= today_ms) {
        let message = format!("{what} is over");
        context.findings.push(Diagnostic::warning(
            "over",
            node.span,
            message,
            "it has no effect any more",
        ));
    }
    Some(until_ms)
}
