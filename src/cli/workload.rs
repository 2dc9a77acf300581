//! Synthetic load as a pure, seeded iterator: divisions with characters of their own, customers some of whom everybody
//! courts, and a share of everything that goes wrong in practice. The same plan always gives the same bytes; `generate`,
//! `demo`, the simulation and the benches share it.
//!
//! A customer's profile and consents come right before the first intent for that customer.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

/// What is to be generated.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadPlan {
    pub seed: u64,
    /// At least one.
    pub customers: u32,
    /// Intents a second, for the times in the records; positive.
    pub rate: f64,
    /// Share of intents that cannot be read as one.
    pub malformed: f64,
    /// Share of records on a partition that does not own their customer.
    pub stray: f64,
    /// Share of intents (and events) that come a second time.
    pub repeat: f64,
    /// 0: everybody is courted alike; 1 and more: a few get most of it.
    pub skew: f64,
    /// Engagement events for each intent, beside profiles and consents.
    pub engagement: f64,
    /// UTC milliseconds of the first record.
    pub start_ms: i64,
    /// The channels that the policy knows; at least one.
    pub channels: Vec<String>,
    /// How long the deadlines of intents are, in terms of this: a day, unless time runs faster (as in the demo).
    pub day_ms: i64,
}

impl Default for WorkloadPlan {
    fn default() -> WorkloadPlan {
        WorkloadPlan {
            seed: 1,
            customers: 10_000,
            rate: 1_000.0,
            malformed: 0.0,
            stray: 0.0,
            repeat: 0.0,
            skew: 1.1,
            engagement: 0.5,
            start_ms: 0,
            channels: ["email", "push", "sms"].map(str::to_owned).to_vec(),
            day_ms: 86_400_000,
        }
    }
}

/// Which input a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    Intents,
    Engagement,
}

/// What is special about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Nature {
    Sound,
    Malformed,
    Repeated,
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    pub feed: Feed,
    pub nature: Nature,
    /// The division that asks; none for engagement.
    pub division: Option<&'static str>,
    /// When it is due, in milliseconds since the first record.
    pub after_ms: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// On a partition that does not own the key; the number chooses which one.
    pub astray: Option<u32>,
}

/// A business unit and its habits.
struct Division {
    name: &'static str,
    /// Of all intents, in percent.
    share: u32,
    class: &'static str,
    message_type: &'static str,
    /// Most liked first.
    channels: &'static [&'static str],
    fallback: &'static [&'static str],
    campaigns: &'static [&'static str],
    category: &'static str,
    priority: u16,
    /// Its offers are also made by others.
    offers: &'static [&'static str],
    /// In tenths of a day; none: never.
    expires_after_tenths: Option<i64>,
    body_bytes: std::ops::Range<usize>,
}

const DIVISIONS: &[Division] = &[
    Division {
        name: "newsletter",
        share: 40,
        class: "marketing",
        message_type: "campaign",
        channels: &["email"],
        fallback: &[],
        campaigns: &["daily-digest", "weekend-reading", "editors-choice"],
        category: "news",
        priority: 300,
        offers: &[],
        expires_after_tenths: Some(10),
        body_bytes: 600..1800,
    },
    Division {
        name: "cards",
        share: 22,
        class: "marketing",
        message_type: "campaign",
        channels: &["email", "push"],
        fallback: &["push"],
        campaigns: &["spring-cashback", "gold-upgrade"],
        category: "promo",
        priority: 500,
        offers: &["cashback-5", "gold-card", "travel-insurance"],
        expires_after_tenths: Some(30),
        body_bytes: 200..700,
    },
    Division {
        name: "loans",
        share: 14,
        class: "marketing",
        message_type: "event",
        channels: &["email", "sms"],
        fallback: &["sms", "push"],
        campaigns: &["rate-drop", "home-improvement"],
        category: "promo",
        priority: 600,
        offers: &["rate-drop-2", "bridge-loan"],
        expires_after_tenths: None,
        body_bytes: 150..500,
    },
    Division {
        name: "travel",
        share: 10,
        class: "marketing",
        message_type: "trigger",
        channels: &["push", "email"],
        fallback: &["email"],
        campaigns: &["abandoned-basket", "price-alert"],
        category: "promo",
        priority: 700,
        offers: &["travel-insurance", "city-weekend"],
        expires_after_tenths: Some(20),
        body_bytes: 100..400,
    },
    Division {
        name: "service",
        share: 10,
        class: "service",
        message_type: "event",
        channels: &["email", "sms"],
        fallback: &[],
        campaigns: &["statement-ready", "planned-maintenance"],
        category: "account",
        priority: 800,
        offers: &[],
        expires_after_tenths: None,
        body_bytes: 100..300,
    },
    Division {
        name: "security",
        share: 4,
        class: "transactional",
        message_type: "trigger",
        channels: &["sms", "push"],
        fallback: &[],
        campaigns: &["sign-in-code"],
        category: "account",
        priority: 1000,
        offers: &[],
        expires_after_tenths: Some(1),
        body_bytes: 60..120,
    },
];

const ZONES: &[&str] = &[
    "America/New_York",
    "America/Los_Angeles",
    "Europe/Berlin",
    "Europe/Lisbon",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
];
const JURISDICTIONS: &[&str] = &["US", "US", "DE", "PT", "IN", "AU", "NZ"];

/// How often each kind of event follows an intent, in thousandths.
const EVENT_KINDS: &[(&str, u32)] = &[
    ("delivered", 520),
    ("opened", 250),
    ("clicked", 110),
    ("converted", 25),
    ("bounced_soft", 30),
    ("bounced_hard", 10),
    ("unsubscribed", 25),
    ("complained", 10),
    ("declined", 20),
];

/// Records that are remembered for repeats, and intents for the events that follow them.
const REMEMBERED: usize = 64;

/// The iterator; it does not end.
pub struct Workload {
    plan: WorkloadPlan,
    random: ChaCha8Rng,
    /// Customer i has the weight between entries i − 1 and i.
    cumulative: Vec<f64>,
    introduced: Vec<bool>,
    pending: VecDeque<Generated>,
    recent: VecDeque<Generated>,
    recent_intents: VecDeque<(u32, u64, &'static str, String)>,
    intents: u64,
    events: u64,
    /// Events that are owed to the plan's ratio.
    owed_events: f64,
}

impl Workload {
    /// Out-of-range numbers of the plan are brought into range.
    pub fn new(mut plan: WorkloadPlan) -> Workload {
        plan.customers = plan.customers.max(1);
        plan.rate = if plan.rate.is_finite() && plan.rate > 0.0 {
            plan.rate
        } else {
            1.0
        };
        plan.skew = if plan.skew.is_finite() { plan.skew.max(0.0) } else { 0.0 };
        plan.engagement = if plan.engagement.is_finite() {
            plan.engagement.clamp(0.0, 100.0)
        } else {
            0.0
        };
        if plan.channels.is_empty() {
            plan.channels.push("email".to_owned());
        }
        let mut sum = 0.0;
        let cumulative = (1..=plan.customers)
            .map(|rank| {
                sum += f64::from(rank).powf(-plan.skew);
                sum
            })
            .collect();
        Workload {
            random: ChaCha8Rng::seed_from_u64(plan.seed),
            introduced: vec![false; plan.customers as usize],
            cumulative,
            pending: VecDeque::new(),
            recent: VecDeque::new(),
            recent_intents: VecDeque::new(),
            intents: 0,
            events: 0,
            owed_events: 0.0,
            plan,
        }
    }

    fn refill(&mut self) {
        if self.chance(self.plan.repeat) && !self.recent.is_empty() {
            let index = self.random.random_range(0..self.recent.len());
            let after_ms = self.after_ms();
            if let Some(earlier) = self.recent.get(index) {
                self.pending.push_back(Generated {
                    nature: Nature::Repeated,
                    after_ms,
                    ..earlier.clone()
                });
            }
            return;
        }
        let customer = self.customer();
        if !std::mem::replace(&mut self.introduced[customer as usize], true) {
            self.introduce(customer);
        }
        if self.chance(self.plan.malformed) {
            self.malformed(customer);
        } else {
            self.intent(customer);
        }
        self.intents += 1;
        self.owed_events += self.plan.engagement;
        while self.owed_events >= 1.0 {
            self.owed_events -= 1.0;
            self.engagement();
        }
    }

    /// Profile and consents of a customer that appears for the first time.
    fn introduce(&mut self, customer: u32) {
        let place = self.random.random_range(0..ZONES.len());
        let segments: &[&str] = if self.chance(0.1) { &["vip"] } else { &[] };
        let profile = json!({ "timezone": ZONES[place], "jurisdiction": JURISDICTIONS[place], "segments": segments });
        self.event(customer, "profile_set", profile);
        for channel in self.plan.channels.clone() {
            if channel != "email" && self.chance(0.6) {
                self.event(
                    customer,
                    "consent_granted",
                    json!({ "channel": channel, "basis": "express" }),
                );
            }
        }
        if self.chance(0.03) {
            self.event(customer, "unsubscribed", json!({ "channel": "email" }));
        }
    }

    fn intent(&mut self, customer: u32) {
        let division = self.division();
        let liked = if self.chance(0.7) {
            0
        } else {
            self.random.random_range(0..division.channels.len())
        };
        let channel = self.known_channel(division.channels[liked]);
        let now_ms = self.now_ms();
        let number = self.intents;
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        set("intent_id", json!(intent_id(self.plan.seed, number)));
        set("customer_id", json!(customer_id(customer)));
        set("channel", json!(channel));
        set("division", json!(division.name));
        set("class", json!(division.class));
        set("message_type", json!(division.message_type));
        set(
            "campaign",
            json!(division.campaigns[self.random.random_range(0..division.campaigns.len())]),
        );
        set("category", json!(division.category));
        set("priority", json!(division.priority));
        set("created_at", json!(time(now_ms)));
        let fallback: Vec<&str> = division
            .fallback
            .iter()
            .copied()
            .filter(|name| *name != channel && self.plan.channels.iter().any(|known| known == name))
            .collect();
        if !fallback.is_empty() {
            set("fallback_channels", json!(fallback));
        }
        if !division.offers.is_empty() && self.random.random_bool(0.5) {
            set(
                "offer",
                json!(division.offers[self.random.random_range(0..division.offers.len())]),
            );
        }
        if let Some(tenths) = division.expires_after_tenths {
            set(
                "expires_at",
                json!(time(
                    now_ms.saturating_add(tenths.saturating_mul(self.plan.day_ms) / 10)
                )),
            );
        }
        set("value", json!(self.random.random_range(1..500)));
        set("propensity", json!(f64::from(self.random.random_range(0..100)) / 100.0));
        let size = self.random.random_range(division.body_bytes.clone());
        set(
            "payload",
            json!({ "template": division.campaigns[0], "text": "x".repeat(size) }),
        );
        let astray = self.astray();
        self.recent_intents
            .push_back((customer, number, division.name, channel));
        if self.recent_intents.len() > REMEMBERED {
            self.recent_intents.pop_front();
        }
        self.push(
            Feed::Intents,
            Nature::Sound,
            Some(division.name),
            customer,
            Value::Object(body).to_string(),
            astray,
        );
    }

    /// One of the ways in which a producer gets it wrong.
    fn malformed(&mut self, customer: u32) {
        let division = self.division().name;
        let (intent, customer_name) = (intent_id(self.plan.seed, self.intents), customer_id(customer));
        let sound =
            json!({ "intent_id": intent, "customer_id": customer_name, "channel": "email", "division": division });
        let with = |name: &str, value: Value| {
            let mut body = sound.clone();
            body[name] = value;
            body.to_string()
        };
        let value = match self.random.random_range(0..6) {
            0 => format!("{{\"intent_id\": \"{intent}\", \"customer_id\": "),
            1 => json!({ "intent_id": intent, "customer_id": customer_name, "channel": "email" }).to_string(),
            2 => with("priority", json!(5000)),
            3 => with("channel", json!("carrier-pigeon")),
            4 => with("expires_at", json!("next Tuesday")),
            _ => "[]".to_owned(),
        };
        self.push(Feed::Intents, Nature::Malformed, Some(division), customer, value, None);
    }

    /// Something that a customer does with an earlier intent.
    fn engagement(&mut self) {
        if self.recent_intents.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.recent_intents.len());
        let Some((customer, intent, _, channel)) = self.recent_intents.get(index).cloned() else {
            return;
        };
        let mut left = self
            .random
            .random_range(0..EVENT_KINDS.iter().map(|(_, weight)| weight).sum());
        let kind = EVENT_KINDS
            .iter()
            .find(|(_, weight)| {
                let found = left < *weight;
                left = left.saturating_sub(*weight);
                found
            })
            .map_or("delivered", |(kind, _)| kind);
        let machine = kind == "opened" && self.chance(0.2);
        let mut fields = json!({ "channel": channel });
        if kind != "unsubscribed" {
            fields["intent_id"] = json!(intent_id(self.plan.seed, intent));
        }
        if machine {
            fields["machine"] = json!(true);
        }
        self.event(customer, kind, fields);
    }

    fn event(&mut self, customer: u32, kind: &str, fields: Value) {
        let mut body = fields;
        body["event_id"] = json!(format!("event-{}-{:08}", self.plan.seed, self.events));
        body["customer_id"] = json!(customer_id(customer));
        body["type"] = json!(kind);
        body["occurred_at"] = json!(time(self.now_ms()));
        self.events += 1;
        let astray = self.astray();
        self.push(
            Feed::Engagement,
            Nature::Sound,
            None,
            customer,
            body.to_string(),
            astray,
        );
    }

    fn push(
        &mut self,
        feed: Feed,
        nature: Nature,
        division: Option<&'static str>,
        customer: u32,
        value: String,
        astray: Option<u32>,
    ) {
        let after_ms = self.after_ms();
        let key = customer_id(customer).into_bytes();
        let record = Generated {
            feed,
            nature,
            division,
            after_ms,
            key,
            value: value.into_bytes(),
            astray,
        };
        if nature == Nature::Sound && self.plan.repeat > 0.0 {
            self.recent.push_back(record.clone());
            if self.recent.len() > REMEMBERED {
                self.recent.pop_front();
            }
        }
        self.pending.push_back(record);
    }

    fn customer(&mut self) -> u32 {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let drawn = self.random.random::<f64>() * total;
        let rank = self.cumulative.partition_point(|sum| *sum <= drawn);
        (rank as u32).min(self.plan.customers - 1)
    }

    fn division(&mut self) -> &'static Division {
        let mut left = self
            .random
            .random_range(0..DIVISIONS.iter().map(|division| division.share).sum());
        for division in DIVISIONS {
            if left < division.share {
                return division;
            }
            left -= division.share;
        }
        &DIVISIONS[0]
    }

    fn known_channel(&self, wanted: &str) -> String {
        let known = self.plan.channels.iter().find(|channel| *channel == wanted);
        known
            .or(self.plan.channels.first())
            .cloned()
            .unwrap_or_else(|| wanted.to_owned())
    }

    fn astray(&mut self) -> Option<u32> {
        self.chance(self.plan.stray).then(|| self.random.random())
    }

    /// True in this share of the calls; draws in any case, so that one share does not shift the others.
    fn chance(&mut self, share: f64) -> bool {
        self.random.random::<f64>() < share
    }

    fn after_ms(&self) -> i64 {
        (self.intents as f64 * 1000.0 / self.plan.rate) as i64
    }

    fn now_ms(&self) -> i64 {
        self.plan.start_ms.saturating_add(self.after_ms())
    }
}

impl Iterator for Workload {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        while self.pending.is_empty() {
            self.refill();
        }
        self.pending.pop_front()
    }
}

/// The names of all divisions, in the order of their share.
pub fn division_names() -> impl Iterator<Item = &'static str> {
    DIVISIONS.iter().map(|division| division.name)
}

/// RFC 3339 in UTC; what lies outside the calendar becomes its beginning.
pub fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default().to_string()
}

fn customer_id(customer: u32) -> String {
    format!("customer-{customer:06}")
}

/// Another seed gives other ids: a second load on one cluster is not a repetition of the first.
fn intent_id(seed: u64, number: u64) -> String {
    format!("intent-{seed}-{number:09}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn records(plan: WorkloadPlan, count: usize) -> Vec<Generated> {
        Workload::new(plan).take(count).collect()
    }

    fn field(record: &Generated, name: &str) -> Value {
        serde_json::from_slice::<Value>(&record.value).expect("JSON")[name].clone()
    }

    #[test]
    fn the_same_plan_gives_the_same_bytes_and_another_seed_gives_others() {
        let plan = WorkloadPlan {
            malformed: 0.01,
            stray: 0.01,
            repeat: 0.01,
            ..WorkloadPlan::default()
        };
        assert_eq!(records(plan.clone(), 5_000), records(plan.clone(), 5_000));
        assert_ne!(
            records(plan.clone(), 100),
            records(WorkloadPlan { seed: 2, ..plan }, 100)
        );
    }

    #[test]
    fn the_shares_of_the_plan_are_met() {
        let plan = WorkloadPlan {
            malformed: 0.02,
            stray: 0.05,
            repeat: 0.03,
            ..WorkloadPlan::default()
        };
        let all = records(plan, 100_000);
        let intents = all.iter().filter(|record| record.feed == Feed::Intents).count() as f64;
        let share = |count: usize, of: f64| count as f64 / of;
        let malformed = all.iter().filter(|record| record.nature == Nature::Malformed).count();
        assert!(
            (0.015..0.025).contains(&share(malformed, intents)),
            "{malformed} of {intents}"
        );
        let repeated = all.iter().filter(|record| record.nature == Nature::Repeated).count();
        assert!((0.01..0.04).contains(&share(repeated, 100_000.0)), "{repeated}");
        let astray = all.iter().filter(|record| record.astray.is_some()).count();
        assert!((0.04..0.06).contains(&share(astray, 100_000.0)), "{astray}");
    }

    #[test]
    fn without_shares_everything_is_sound_and_every_id_is_new() {
        let all = records(WorkloadPlan::default(), 20_000);
        assert!(
            all.iter()
                .all(|record| record.nature == Nature::Sound && record.astray.is_none())
        );
        let ids: HashSet<String> = all
            .iter()
            .map(|record| {
                field(
                    record,
                    if record.feed == Feed::Intents {
                        "intent_id"
                    } else {
                        "event_id"
                    },
                )
                .to_string()
            })
            .collect();
        assert_eq!(ids.len(), all.len());
        assert!(
            all.iter()
                .all(|record| field(record, "customer_id").as_str().map(str::as_bytes) == Some(&record.key))
        );
    }

    #[test]
    fn a_repeat_is_the_same_bytes_under_the_same_key() {
        let all = records(
            WorkloadPlan {
                repeat: 0.1,
                ..WorkloadPlan::default()
            },
            2_000,
        );
        for (index, record) in all
            .iter()
            .enumerate()
            .filter(|(_, record)| record.nature == Nature::Repeated)
        {
            assert!(
                all[..index]
                    .iter()
                    .any(|earlier| earlier.value == record.value && earlier.key == record.key)
            );
        }
    }

    #[test]
    fn skew_gives_a_few_customers_most_of_the_messages() {
        let share_of_first_tenth = |skew: f64| {
            let all = records(
                WorkloadPlan {
                    customers: 1_000,
                    skew,
                    ..WorkloadPlan::default()
                },
                50_000,
            );
            let intents: Vec<_> = all.iter().filter(|record| record.feed == Feed::Intents).collect();
            let first = intents
                .iter()
                .filter(|record| record.key.as_slice() < b"customer-000100".as_slice())
                .count();
            first as f64 / intents.len() as f64
        };
        assert!((0.08..0.12).contains(&share_of_first_tenth(0.0)));
        assert!(share_of_first_tenth(1.1) > 0.6);
    }

    #[test]
    fn a_profile_comes_before_the_first_intent_of_its_customer() {
        let mut introduced = HashSet::new();
        for record in records(
            WorkloadPlan {
                customers: 50,
                ..WorkloadPlan::default()
            },
            3_000,
        ) {
            match record.feed {
                Feed::Engagement => _ = introduced.insert(record.key.clone()),
                Feed::Intents => assert!(introduced.contains(&record.key), "an intent before the profile"),
            }
        }
        assert!(introduced.len() > 10);
    }

    #[test]
    fn times_follow_the_rate() {
        let plan = WorkloadPlan {
            rate: 100.0,
            engagement: 0.0,
            ..WorkloadPlan::default()
        };
        let all = records(plan, 5_000);
        let intents: Vec<_> = all.iter().filter(|record| record.feed == Feed::Intents).collect();
        assert_eq!(intents[200].after_ms, 2_000);
        assert!(all.windows(2).all(|pair| pair[0].after_ms <= pair[1].after_ms));
    }

    #[test]
    fn only_channels_of_the_policy_are_asked_for() {
        let plan = WorkloadPlan {
            channels: vec!["fax".to_owned()],
            ..WorkloadPlan::default()
        };
        for record in records(plan, 500).iter().filter(|record| record.feed == Feed::Intents) {
            assert_eq!(field(record, "channel"), "fax");
        }
    }

    #[test]
    fn a_plan_out_of_range_still_gives_records() {
        let plan = WorkloadPlan {
            customers: 0,
            rate: f64::NAN,
            skew: f64::INFINITY,
            engagement: -1.0,
            start_ms: i64::MAX,
            channels: vec![],
            ..WorkloadPlan::default()
        };
        assert_eq!(records(plan, 100).len(), 100);
    }
}
