//! Who sends, to whom, and what follows: the numbers behind the generated records.

/// A business unit and its habits.
pub(super) struct Division {
    pub(super) name: &'static str,
    /// Of all intents, in percent.
    pub(super) share: u32,
    pub(super) class: &'static str,
    pub(super) message_type: &'static str,
    /// Most liked first.
    pub(super) channels: &'static [&'static str],
    pub(super) fallback: &'static [&'static str],
    pub(super) campaigns: &'static [&'static str],
    pub(super) category: &'static str,
    pub(super) priority: u16,
    /// Its offers are also made by others.
    pub(super) offers: &'static [&'static str],
    /// In tenths of a day; none: never.
    pub(super) expires_after_tenths: Option<i64>,
    pub(super) body_bytes: std::ops::Range<usize>,
}

pub(super) const DIVISIONS: &[Division] = &[
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

pub(super) const ZONES: &[&str] = &[
    "America/New_York",
    "America/Los_Angeles",
    "Europe/Berlin",
    "Europe/Lisbon",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
];
pub(super) const JURISDICTIONS: &[&str] = &["US", "US", "DE", "PT", "IN", "AU", "NZ"];

/// How often each kind of event follows an intent, in thousandths.
pub(super) const EVENT_KINDS: &[(&str, u32)] = &[
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
