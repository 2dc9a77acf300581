//! What a policy means, read from its text by a reader of the audit's own: only what the checks can recompute.
//!
//! What is not understood (conditions, segments, kinds with a memory of their own) is [`Test::Other`] with a reason, and told
//! in the report: such a rule is checked by deriving the verdict again, and by nothing else.

pub mod windows;
mod yaml;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use windows::{Hours, Shape, Span, Window, Zone};

const DAY_MS: i64 = 86_400_000;

/// One policy.
#[derive(Debug, Clone)]
pub struct Policy {
    pub company: TimeZone,
    /// A customer without a zone may be in any of these; empty: in the company's.
    pub unknown_zones: Vec<TimeZone>,
    pub default_class: String,
    pub remember_intents_ms: i64,
    /// By name: whether a grant is needed. None: it depends on the customer.
    pub channels: BTreeMap<String, Option<bool>>,
    pub classes: BTreeMap<String, Class>,
    pub rules: Vec<Rule>,
    exceptions: Vec<Exception>,
}

/// A class of messages.
#[derive(Debug, Clone)]
pub struct Class {
    pub counts: bool,
    /// Kinds and rule ids, or `all`.
    obeys: BTreeSet<String>,
}

/// A rule that has an effect.
#[derive(Debug, Clone)]
pub struct Rule {
    pub id: String,
    /// The key of its kind.
    pub kind: String,
    pub governs: Scope,
    /// What fills it; none: `governs` without its class part, the class's `counts` flag deciding.
    pub counts: Option<Scope>,
    pub per: Vec<String>,
    pub test: Test,
}

/// What a rule tests.
#[derive(Debug, Clone)]
pub enum Test {
    /// Fewer contacts in the window than the loosest limit that any customer can have.
    Cap {
        limit: usize,
        window: Window,
        is_plain: bool,
    },
    /// No contact in the last so many milliseconds.
    Gap { gap_ms: i64 },
    /// Not outside of the hours.
    Hours(Hours),
    /// Of all customers together.
    Capacity { limit: usize, window_ms: i64 },
    /// Not recomputed, and why.
    Other(&'static str),
}

impl Test {
    /// Whether it has another answer in another zone.
    pub fn depends_on_the_customers_zone(&self) -> bool {
        match self {
            Self::Hours(hours) => hours.zone == Zone::Customer,
            Self::Cap { window, .. } => {
                window.zone == Zone::Customer && !matches!(window.shape, Shape::RollingMs(_) | Shape::Ever)
            }
            _ => false,
        }
    }
}

#[derive(Debug, Clone)]
struct Exception {
    /// None: it selects by something that is not recomputed.
    governs: Option<Scope>,
    rules: BTreeSet<String>,
}

/// Selectors, as far as they look at messages: key to patterns, of which any may match. Without terms it matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope(BTreeMap<String, Vec<String>>);

/// What a selector looks at: the fields of a message by the name that selectors use.
pub type Traits<'a> = BTreeMap<&'a str, &'a str>;

impl Scope {
    pub fn matches(&self, traits: &Traits<'_>) -> bool {
        self.0.iter().all(|(key, patterns)| {
            traits.get(key.as_str()).is_some_and(|value| {
                let fits = |pattern: &String| match pattern.strip_suffix('*') {
                    Some(prefix) => value.starts_with(prefix),
                    None => value == pattern,
                };
                patterns.iter().any(fits)
            })
        })
    }

    pub fn without_class(&self) -> Self {
        let mut terms = self.0.clone();
        terms.remove("class");
        Self(terms)
    }

    /// Whether it looks at anything but these keys.
    pub fn looks_beyond(&self, keys: &[&str]) -> bool {
        self.0.keys().any(|key| !keys.contains(&key.as_str()))
    }
}

impl Policy {
    /// The meaning of a text. None: it is no policy.
    pub fn read(text: &[u8]) -> Option<Self> {
        let root = yaml::parse(std::str::from_utf8(text).ok()?)?;
        let root = root.as_object()?;
        let company = TimeZone::get(root.get("timezone")?.as_str()?).ok()?;
        let unknown_zones = list(root.get("timezone-unknown"))
            .filter_map(|zone| TimeZone::get(zone.as_str()?).ok())
            .collect();
        let defaults = root.get("defaults").and_then(Value::as_object);
        let default_of = |key: &str| defaults.and_then(|defaults| defaults.get(key)?.as_str());
        let classes = named(root, "classes").map(|(name, class)| (name.clone(), Class::read(class)));
        let week_start = root
            .get("week-start")
            .and_then(|day| weekday(day.as_str()?))
            .unwrap_or(Weekday::Monday);
        let calendars: BTreeMap<&str, Vec<Date>> = named(root, "calendars")
            .map(|(name, dates)| (name.as_str(), list(Some(dates)).filter_map(date).collect()))
            .collect();
        let reader = RuleReader { week_start, calendars };
        let exceptions = list(root.get("exceptions")).filter_map(Value::as_object);
        Some(Self {
            company,
            unknown_zones,
            default_class: default_of("class").unwrap_or("marketing").to_owned(),
            remember_intents_ms: default_of("remember-intents")
                .and_then(length_ms)
                .unwrap_or(35 * DAY_MS),
            channels: named(root, "channels")
                .map(|(name, channel)| (name.clone(), needs_grant(channel)))
                .collect(),
            classes: classes.collect(),
            rules: list(root.get("rules"))
                .filter_map(|rule| reader.rule(rule.as_object()?))
                .collect(),
            exceptions: exceptions
                .map(|exception| Exception {
                    governs: exception.get("for").and_then(scope),
                    rules: texts(exception.get("rules")).collect(),
                })
                .collect(),
        })
    }

    /// The hash part of the label that verdicts under this text carry.
    pub fn hash_of(text: &[u8]) -> String {
        let digest = Sha256::digest(text);
        digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn class(&self, name: &str) -> Option<&Class> {
        self.classes.get(name).or_else(|| self.classes.get(&self.default_class))
    }

    pub fn obeys(&self, class: &str, kind: &str, rule: Option<&str>) -> bool {
        // `obeys: [quiet-hours]` covers send windows.
        let kind = if kind == "send-window" { "quiet-hours" } else { kind };
        self.class(class).is_some_and(|class| {
            let names = ["all", kind].into_iter().chain(rule);
            names.into_iter().any(|name| class.obeys.contains(name))
        })
    }

    /// Whether an exception may let this message pass this rule.
    pub fn may_except(&self, rule: &Rule, traits: &Traits<'_>) -> bool {
        self.exceptions.iter().any(|exception| {
            let names = [rule.id.as_str(), rule.kind.as_str(), "all"];
            names.iter().any(|name| exception.rules.contains(*name))
                && exception.governs.as_ref().is_none_or(|scope| scope.matches(traits))
        })
    }
}

impl Class {
    fn read(class: &Value) -> Self {
        Self {
            counts: class.get("counts").and_then(Value::as_str) != Some("false"),
            obeys: texts(class.get("obeys")).filter(|name| name != "none").collect(),
        }
    }
}

impl Rule {
    /// The reason code that it gives.
    pub fn reason(&self) -> String {
        match self.kind.as_str() {
            "redundant" => "redundant_offer".to_owned(),
            "send-window" | "quiet-hours" => "quiet_hours".to_owned(),
            kind => kind.replace('-', "_"),
        }
    }
}

const KINDS: &[&str] = &[
    "cap",
    "gap",
    "pressure",
    "back-off",
    "cool-off",
    "redundant",
    "sequence",
    "mix",
    "spend",
    "send-window",
    "quiet-hours",
    "capacity",
    "holdout",
];

struct RuleReader<'a> {
    week_start: Weekday,
    calendars: BTreeMap<&'a str, Vec<Date>>,
}

impl RuleReader<'_> {
    /// None: it has no effect, or it is no rule.
    fn rule(&self, rule: &Map<String, Value>) -> Option<Rule> {
        if rule.get("shadow").and_then(Value::as_str) == Some("true") {
            return None;
        }
        let kind = *KINDS.iter().find(|kind| rule.contains_key(**kind))?;
        let governs = rule.get("for").map_or(Some(Scope::default()), scope);
        let counts = rule.get("counts").map(scope);
        let per: Vec<String> = texts(rule.get("per")).collect();
        let is_blind = governs.is_none() || matches!(counts, Some(None));
        let test = if rule.contains_key("when") {
            Test::Other("it has a condition")
        } else if is_blind || per.iter().any(|field| field == "tags") {
            Test::Other("it selects by tags, by what is known of the customer, or by exclusion")
        } else {
            self.test(kind, rule)
                .unwrap_or(Test::Other("its form is not recomputed"))
        };
        Some(Rule {
            id: rule.get("id")?.as_str()?.to_owned(),
            kind: kind.to_owned(),
            governs: governs.unwrap_or_default(),
            counts: counts.flatten(),
            per,
            test,
        })
    }

    fn test(&self, kind: &str, rule: &Map<String, Value>) -> Option<Test> {
        let body = rule.get(kind)?;
        match kind {
            "cap" => {
                if body.get("distinct").is_some() {
                    return None;
                }
                let rows = list(rule.get("limits")).map(|row| row.get("limit"));
                let limits: Option<Vec<usize>> = [body.get("limit")].into_iter().chain(rows).map(number).collect();
                let limits = limits?;
                let window = self.window(body)?;
                Some(Test::Cap {
                    limit: limits.iter().copied().max()?,
                    is_plain: limits.len() == 1 && limits[0] > 0 && window.shape != Shape::Ever,
                    window,
                })
            }
            "gap" => Some(Test::Gap {
                gap_ms: length_ms(body.as_str()?)?,
            }),
            "send-window" | "quiet-hours" => self.hours(kind, body).map(Test::Hours),
            "capacity" => Some(Test::Capacity {
                limit: number(body.get("limit"))?,
                window_ms: length_ms(body.get("window")?.as_str()?)?,
            }),
            _ => Some(Test::Other("its kind is not recomputed")),
        }
    }

    fn window(&self, body: &Value) -> Option<Window> {
        if body.get("tumbling-from").is_some() {
            return None;
        }
        let text = body.get("window")?.as_str()?;
        let days = text
            .strip_suffix(" calendar-days")
            .or_else(|| text.strip_suffix(" calendar-day"));
        let shape = match text {
            "ever" => Shape::Ever,
            "calendar-hour" => Shape::Hour,
            "calendar-day" => Shape::Day,
            "calendar-week" => Shape::Week,
            "calendar-month" => Shape::Month,
            "calendar-quarter" => Shape::Quarter,
            "calendar-year" => Shape::Year,
            _ => match days {
                Some(days) => Shape::Days(days.trim().parse().ok()?),
                None => match length_ms(text) {
                    Some(length_ms) => Shape::RollingMs(length_ms),
                    None => Shape::RollingMonths(months(text)?),
                },
            },
        };
        Some(Window {
            shape,
            zone: zone(body.get("timezone"), Zone::Company)?,
            week_start: self.week_start,
        })
    }

    fn hours(&self, kind: &str, body: &Value) -> Option<Hours> {
        let (spans_are_open, key) = match kind {
            "send-window" => (true, "open"),
            _ => (false, "quiet"),
        };
        let spans: Option<Vec<Span>> = list(body.get(key)).map(span).collect();
        let mut closed = Vec::new();
        for name in texts(body.get("closed-on")) {
            match name.parse() {
                Ok(date) => closed.push(date),
                Err(_) => closed.extend(self.calendars.get(name.as_str())?),
            }
        }
        Some(Hours {
            zone: zone(body.get("timezone"), Zone::Customer)?,
            spans_are_open,
            spans: spans?,
            closed,
        })
    }
}

/// The terms of a selector; none: it looks at something that a message does not say by itself.
fn scope(selector: &Value) -> Option<Scope> {
    const KEYS: &[&str] = &[
        "channel", "division", "campaign", "category", "topic", "class", "type", "offer",
    ];
    let mut terms = BTreeMap::new();
    for (key, value) in selector.as_object()? {
        if !KEYS.contains(&key.as_str()) || value.is_object() {
            return None;
        }
        terms.insert(key.clone(), texts(Some(value)).collect());
    }
    Some(Scope(terms))
}

fn needs_grant(channel: &Value) -> Option<bool> {
    match channel.get("consent")? {
        Value::String(mode) => Some(mode == "opt-in"),
        Value::Object(row) if !row.contains_key("when") => Some(row.get("mode")?.as_str()? == "opt-in"),
        Value::Array(rows) => {
            let modes: BTreeSet<&str> = rows.iter().filter_map(|row| row.get("mode")?.as_str()).collect();
            (modes.len() == 1).then(|| modes.contains("opt-in"))
        }
        _ => None,
    }
}

fn span(span: &Value) -> Option<Span> {
    let minute = |key: &str| {
        let (hour, minute) = span.get(key)?.as_str()?.split_once(':')?;
        Some(hour.parse::<i32>().ok()? * 60 + minute.parse::<i32>().ok()?)
    };
    let mut days = Vec::new();
    for text in texts(span.get("days")) {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let first = weekday(first)?.to_monday_zero_offset();
        let last = weekday(last)?.to_monday_zero_offset();
        days.extend((0..=(last + 7 - first) % 7).map(|step| (first + step) % 7));
    }
    Some(Span {
        days,
        from_minute: minute("from")?,
        to_minute: minute("to")?,
    })
}

fn zone(value: Option<&Value>, default: Zone) -> Option<Zone> {
    Some(match value.map(Value::as_str) {
        None => default,
        Some(Some("customer")) => Zone::Customer,
        Some(Some("company")) => Zone::Company,
        Some(name) => Zone::Named(name?.to_owned()),
    })
}

fn weekday(name: &str) -> Option<Weekday> {
    let days = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    days.iter()
        .find(|(short, _)| name.starts_with(short))
        .map(|(_, day)| *day)
}

fn date(value: &Value) -> Option<Date> {
    value.as_str()?.parse().ok()
}

fn number(value: Option<&Value>) -> Option<usize> {
    value?.as_str()?.parse().ok()
}

/// An exact length.
fn length_ms(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        "w" => 7 * DAY_MS,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms)
}

fn months(text: &str) -> Option<i32> {
    match (text.strip_suffix("mo"), text.strip_suffix('y')) {
        (Some(months), _) => months.parse().ok(),
        (None, Some(years)) => years.parse::<i32>().ok()?.checked_mul(12),
        (None, None) => None,
    }
}

fn named<'a>(root: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    root.get(key).and_then(Value::as_object).into_iter().flatten()
}

/// The items of a list; anything else is a list of one, and nothing an empty one.
fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    let items = match value {
        Some(Value::Array(items)) => items.as_slice(),
        Some(Value::Null) | None => &[],
        Some(other) => std::slice::from_ref(other),
    };
    items.iter()
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = String> {
    list(value).filter_map(|item| item.as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: &[u8] = include_bytes!("../../../deploy/policies/acme.yaml");

    #[test]
    fn the_large_example_is_read_and_what_is_not_recomputed_is_known() {
        let policy = Policy::read(ACME).unwrap();
        assert_eq!(policy.channels["email"], Some(false));
        assert_eq!(policy.channels["sms"], Some(true));
        assert_eq!(policy.channels["phone"], None);
        assert_eq!(policy.remember_intents_ms, 35 * DAY_MS);
        let recomputed = policy.rules.iter().filter(|rule| !matches!(rule.test, Test::Other(_)));
        let recomputed: Vec<&str> = recomputed.map(|rule| rule.id.as_str()).collect();
        assert_eq!(
            recomputed,
            [
                "corporate-week",
                "email-day",
                "spacing",
                "division-share",
                "nights",
                "no-lunch-calls",
                "sms-gateway"
            ]
        );
        let week = policy.rules.iter().find(|rule| rule.id == "corporate-week");
        assert!(
            matches!(
                week.unwrap().test,
                Test::Cap {
                    limit: 8,
                    is_plain: false,
                    ..
                }
            ),
            "the loosest limit"
        );
    }
}
