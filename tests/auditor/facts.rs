//! What a policy means, said by hand: only what the checks can recompute.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// One policy, as somebody who read it would describe it.
#[derive(Debug, Clone)]
pub struct PolicyFacts {
    pub company_zone: String,
    pub default_class: String,
    pub remember_intents_ms: i64,
    pub channels: Vec<ChannelFacts>,
    pub classes: Vec<ClassFacts>,
    pub rules: Vec<RuleFacts>,
}

#[derive(Debug, Clone)]
pub struct ChannelFacts {
    pub name: String,
    /// True: a grant is needed; false: no refusal is enough. A channel whose mode depends on the customer counts as false.
    pub opt_in: bool,
}

#[derive(Debug, Clone)]
pub struct ClassFacts {
    pub name: String,
    pub counts: bool,
    /// Kinds (`suppression-list`, `consent`, `cap`, …) and rule ids, or `all`.
    pub obeys: Vec<String>,
    /// Highest first among competitors.
    pub rank: u16,
    /// How long an intent waits for competitors at most; 0: not at all.
    pub hold_ms: i64,
    /// Whether a deferred one keeps its slot.
    pub reserve: bool,
}

/// Any of the listed values; an empty list is any value.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub classes: Vec<String>,
    pub channels: Vec<String>,
    pub divisions: Vec<String>,
    pub campaigns: Vec<String>,
    pub categories: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct RuleFacts {
    pub id: String,
    pub governs: Scope,
    /// What fills it; none: `governs` without its class part, the class's `counts` flag deciding.
    pub counts: Option<Scope>,
    /// Member names: `division`, `campaign`, `category`, `topic`, `offer`, `channel`, `class`.
    pub per: Vec<String>,
    pub test: RuleTest,
}

#[derive(Debug, Clone)]
pub enum RuleTest {
    /// `limit` is the loosest that any customer can have.
    Cap {
        limit: usize,
        window: Window,
    },
    Gap {
        gap_ms: i64,
    },
    /// Local spans that are quiet.
    Quiet {
        zone: Zone,
        spans: Vec<Span>,
    },
    /// Local spans that are open; everything else is quiet.
    Open {
        zone: Zone,
        spans: Vec<Span>,
    },
    /// Of all customers together.
    Capacity {
        limit: usize,
        window_ms: i64,
    },
    /// A kind that is only known by name: `cool-off`, …
    Other {
        kind: &'static str,
    },
}

impl RuleTest {
    /// The name that `obeys` uses.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cap { .. } => "cap",
            Self::Gap { .. } => "gap",
            Self::Quiet { .. } | Self::Open { .. } => "quiet-hours",
            Self::Capacity { .. } => "capacity",
            Self::Other { kind } => kind,
        }
    }

    /// The reason code that it gives.
    pub fn reason(&self) -> String {
        match self.kind() {
            "redundant" => "redundant_offer".into(),
            kind => kind.replace('-', "_"),
        }
    }
}

#[derive(Debug, Clone)]
pub enum Window {
    RollingMs(i64),
    CalendarDay(Zone),
    /// From Monday on.
    CalendarWeek(Zone),
    CalendarMonth(Zone),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    Customer,
    Company,
    Named(String),
}

/// `[from, to)` on the local wall clock, in minutes of the day; over midnight where `to` is smaller. It belongs to the
/// day on which it starts. Days: 0 is Monday; an empty list is every day.
#[derive(Debug, Clone)]
pub struct Span {
    pub days: Vec<i8>,
    pub from_minute: i32,
    pub to_minute: i32,
}

impl PolicyFacts {
    pub fn class(&self, name: &str) -> Option<&ClassFacts> {
        let found = self.classes.iter().find(|class| class.name == name);
        found.or_else(|| self.classes.iter().find(|class| class.name == self.default_class))
    }

    pub fn channel(&self, name: &str) -> Option<&ChannelFacts> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    pub fn obeys(&self, class: &str, kind: &str, rule: Option<&str>) -> bool {
        let Some(class) = self.class(class) else { return false };
        class
            .obeys
            .iter()
            .any(|name| name == "all" || name == kind || Some(name.as_str()) == rule)
    }
}

/// What a selector looks at.
#[derive(Debug, Clone)]
pub struct Traits<'a> {
    pub class: &'a str,
    pub channel: &'a str,
    pub division: Option<&'a str>,
    pub campaign: Option<&'a str>,
    pub category: Option<&'a str>,
}

impl Scope {
    pub fn matches(&self, of: &Traits<'_>) -> bool {
        let any = |list: &[String], value: Option<&str>| {
            list.is_empty() || value.is_some_and(|value| list.iter().any(|other| other == value))
        };
        any(&self.classes, Some(of.class))
            && any(&self.channels, Some(of.channel))
            && any(&self.divisions, of.division)
            && any(&self.campaigns, of.campaign)
            && any(&self.categories, of.category)
    }

    pub fn without_class(&self) -> Self {
        Self {
            classes: Vec::new(),
            ..self.clone()
        }
    }
}

/// The zones of one customer at one decision.
#[derive(Debug, Clone)]
pub struct Zones {
    pub customer: TimeZone,
    pub company: TimeZone,
}

impl Zones {
    fn of(&self, zone: &Zone) -> Option<TimeZone> {
        match zone {
            Zone::Customer => Some(self.customer.clone()),
            Zone::Company => Some(self.company.clone()),
            Zone::Named(name) => TimeZone::get(name).ok(),
        }
    }
}

impl Window {
    /// True where a contact at `contact_ms` counts at `now_ms`. Contacts of the future never do.
    pub fn holds(&self, contact_ms: i64, now_ms: i64, zones: &Zones) -> bool {
        if contact_ms > now_ms {
            return false;
        }
        let dates = |zone: &Zone| {
            let zone = zones.of(zone)?;
            Some((local(contact_ms, &zone)?.date(), local(now_ms, &zone)?.date()))
        };
        match self {
            Self::RollingMs(length_ms) => contact_ms.saturating_add(*length_ms) > now_ms,
            Self::CalendarDay(zone) => dates(zone).is_some_and(|(contact, now)| contact == now),
            Self::CalendarWeek(zone) => dates(zone).is_some_and(|(contact, now)| monday(contact) == monday(now)),
            Self::CalendarMonth(zone) => {
                dates(zone).is_some_and(|(contact, now)| contact.first_of_month() == now.first_of_month())
            }
        }
    }
}

fn monday(date: jiff::civil::Date) -> Option<jiff::civil::Date> {
    let days = i64::from(date.weekday().to_monday_zero_offset());
    date.checked_sub(jiff::Span::new().days(days)).ok()
}

fn local(instant_ms: i64, zone: &TimeZone) -> Option<jiff::civil::DateTime> {
    Some(zone.to_datetime(Timestamp::from_millisecond(instant_ms).ok()?))
}

impl RuleTest {
    /// For the two clock kinds: true where the instant is quiet. Other kinds are never quiet.
    pub fn quiet_at(&self, instant_ms: i64, zones: &Zones) -> bool {
        let inside = |zone: &Zone, spans: &[Span]| {
            let wall = zones.of(zone).and_then(|zone| local(instant_ms, &zone))?;
            Some(spans.iter().any(|span| span.contains(wall)))
        };
        match self {
            Self::Quiet { zone, spans } => inside(zone, spans).unwrap_or(false),
            Self::Open { zone, spans } => !inside(zone, spans).unwrap_or(true),
            _ => false,
        }
    }
}

impl Span {
    fn contains(&self, wall: jiff::civil::DateTime) -> bool {
        let minute = i32::from(wall.hour()) * 60 + i32::from(wall.minute());
        let today = wall.weekday().to_monday_zero_offset();
        let on = |day: i8| self.days.is_empty() || self.days.contains(&day);
        if self.from_minute < self.to_minute {
            return on(today) && (self.from_minute..self.to_minute).contains(&minute);
        }
        (on(today) && minute >= self.from_minute) || (on((today + 6) % 7) && minute < self.to_minute)
    }
}
