//! What `judge` answers: one judgement with everything that the records must be able to say.

use crate::message::Name;

/// The closed set of reasons (contract.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    Approved = 0,
    Released = 1,
    Planned = 2,
    Held = 3,
    Duplicate = 4,
    Expired = 5,
    Cancelled = 6,
    Stopped = 7,
    SuppressionList = 8,
    Consent = 9,
    ConsentExpired = 10,
    Preference = 11,
    Holdout = 12,
    CoolOff = 13,
    RedundantOffer = 14,
    Sequence = 15,
    Cap = 16,
    Gap = 17,
    Pressure = 18,
    BackOff = 19,
    Mix = 20,
    Spend = 21,
    QuietHours = 22,
    Capacity = 23,
    Arbitration = 24,
    DeferralLimit = 25,
    PolicyError = 26,
}

impl Reason {
    /// The step of the fixed order in which an intent is judged: the first one that blocks decides.
    pub fn step(self) -> u8 {
        match self {
            Self::Duplicate | Self::Expired | Self::Stopped => 1,
            Self::SuppressionList => 2,
            Self::Consent | Self::ConsentExpired => 3,
            Self::Preference => 4,
            Self::Holdout => 5,
            Self::CoolOff => 6,
            Self::RedundantOffer | Self::Sequence => 7,
            Self::Cap | Self::Gap | Self::Pressure | Self::BackOff | Self::Mix => 8,
            Self::Spend => 9,
            Self::QuietHours => 10,
            Self::Capacity => 11,
            Self::Planned | Self::Held | Self::Arbitration | Self::DeferralLimit => 12,
            Self::PolicyError | Self::Approved | Self::Released | Self::Cancelled => 14,
        }
    }

    /// How many digits of a block's count and limit stand after the point: points and money are counted in millionths.
    pub fn decimals(self) -> u32 {
        match self {
            Self::Pressure | Self::Spend => 6,
            _ => 0,
        }
    }

    /// Whether time alone can cure it, so that the next eligible instant is reported.
    pub fn is_timed(self) -> bool {
        matches!(
            self,
            Self::Cap
                | Self::Gap
                | Self::Pressure
                | Self::BackOff
                | Self::Spend
                | Self::QuietHours
                | Self::Arbitration
                | Self::CoolOff
                | Self::Sequence
                | Self::RedundantOffer
                | Self::Preference
        )
    }
}

/// How an intent was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    Approved,
    Suppressed,
    /// Not terminal: it will be judged again.
    Deferred,
    /// A contact given back; appears in decision records only.
    Released,
}

/// One rule (or built-in step, then `rule` is none) that blocked on one channel, with its working.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub rule: Option<Name>,
    pub reason: Reason,
    pub channel: Name,
    /// In units of the reason ([`Reason::decimals`]).
    pub count: Option<i64>,
    pub limit: Option<i64>,
    pub window_start_ms: Option<i64>,
    pub window_end_ms: Option<i64>,
    /// When this rule alone would pass if nothing else were approved; none: no known end.
    pub free_at_ms: Option<i64>,
    pub shadow: bool,
}

/// The outcome for one intent at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The channel judged: a fallback's name where one was taken, else the requested one.
    pub channel: Name,
    pub reason: Reason,
    /// Id of the deciding rule.
    pub rule: Option<Name>,
    /// Every rule that blocked, on each channel tried.
    pub blocked_by: Vec<Block>,
    /// When this intent would pass if nothing else were approved meanwhile (without jitter; none where it expires first).
    pub next_eligible_at_ms: Option<i64>,
    /// For `Deferred`: when it is judged again (jitter included); none: waits for an event.
    pub wake_at_ms: Option<i64>,
    /// For `Approved`: header `forbear-valid-until`.
    pub valid_until_ms: Option<i64>,
    /// For `Approved`: what the ledger keeps of it.
    pub cost_micros: i64,
    /// The class it was judged as, and whether its class was missing or undeclared.
    pub class: Name,
    pub class_was_unknown: bool,
    /// Holdouts and experiment arms: (id, group), sorted.
    pub groups: Vec<(Name, Name)>,
}

impl Reason {
    /// Every reason, in the order of its code.
    pub const ALL: [Reason; 27] = [
        Reason::Approved,
        Reason::Released,
        Reason::Planned,
        Reason::Held,
        Reason::Duplicate,
        Reason::Expired,
        Reason::Cancelled,
        Reason::Stopped,
        Reason::SuppressionList,
        Reason::Consent,
        Reason::ConsentExpired,
        Reason::Preference,
        Reason::Holdout,
        Reason::CoolOff,
        Reason::RedundantOffer,
        Reason::Sequence,
        Reason::Cap,
        Reason::Gap,
        Reason::Pressure,
        Reason::BackOff,
        Reason::Mix,
        Reason::Spend,
        Reason::QuietHours,
        Reason::Capacity,
        Reason::Arbitration,
        Reason::DeferralLimit,
        Reason::PolicyError,
    ];

    /// The word in headers, decision records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Approved => "approved",
            Reason::Released => "released",
            Reason::Planned => "planned",
            Reason::Held => "held",
            Reason::Duplicate => "duplicate",
            Reason::Expired => "expired",
            Reason::Cancelled => "cancelled",
            Reason::Stopped => "stopped",
            Reason::SuppressionList => "suppression_list",
            Reason::Consent => "consent",
            Reason::ConsentExpired => "consent_expired",
            Reason::Preference => "preference",
            Reason::Holdout => "holdout",
            Reason::CoolOff => "cool_off",
            Reason::RedundantOffer => "redundant_offer",
            Reason::Sequence => "sequence",
            Reason::Cap => "cap",
            Reason::Gap => "gap",
            Reason::Pressure => "pressure",
            Reason::BackOff => "back_off",
            Reason::Mix => "mix",
            Reason::Spend => "spend",
            Reason::QuietHours => "quiet_hours",
            Reason::Capacity => "capacity",
            Reason::Arbitration => "arbitration",
            Reason::DeferralLimit => "deferral_limit",
            Reason::PolicyError => "policy_error",
        }
    }

    /// The reason that the word names.
    pub fn parse(word: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The reason of a stored code (`reason as u8`).
    pub fn from_code(code: u8) -> Option<Reason> {
        Reason::ALL.get(usize::from(code)).copied()
    }
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 4] = [
        Verdict::Approved,
        Verdict::Suppressed,
        Verdict::Deferred,
        Verdict::Released,
    ];

    /// The word in decision records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Approved => "approved",
            Verdict::Suppressed => "suppressed",
            Verdict::Deferred => "deferred",
            Verdict::Released => "released",
        }
    }

    /// The verdict that the word names.
    pub fn parse(word: &str) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }
}
