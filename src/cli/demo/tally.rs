//! What the demo's audience sees, counted: who asked for what, what became of it, and one customer's days. Pure: fed with
//! the records of the topics, asked for a summary.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How long a customer's story may be.
const STORY_LINES: usize = 20;

/// The members of a decision record that the demo looks at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Decision {
    pub decision_id: String,
    pub intent_id: String,
    pub customer_id: String,
    pub division: String,
    #[serde(default)]
    pub campaign: Option<String>,
    #[serde(default)]
    pub requested_channel: Option<String>,
    #[serde(default)]
    pub channel: Option<String>,
    pub verdict: String,
    pub reason: String,
    #[serde(default)]
    pub rule: Option<String>,
    pub decided_at: jiff::Timestamp,
}

/// Everything seen so far.
#[derive(Default)]
pub struct Tally {
    asked: BTreeMap<String, u64>,
    /// By the record that was judged: the newest decision about it.
    outcomes: HashMap<String, Decision>,
    dead_letters: u64,
    answers: BTreeMap<String, u64>,
    /// Decisions and answers of each customer, as they came.
    histories: HashMap<String, Vec<Moment>>,
}

/// Something that happened to a customer.
#[derive(Debug, Clone, PartialEq)]
enum Moment {
    Decided(Box<Decision>),
    Answered { at_ms: i64, kind: String },
}

/// The numbers that move while the demo runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    pub asked: u64,
    pub approved: u64,
    pub suppressed: u64,
    /// Deferred, and not yet judged again.
    pub waiting: u64,
    pub dead_letters: u64,
}

/// What the demo has to say at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub totals: Totals,
    pub divisions: Vec<DivisionLine>,
    pub reasons: Vec<ReasonLine>,
    pub courted: Option<CourtedLine>,
    /// Engagement by type.
    pub answers: BTreeMap<String, u64>,
    pub customer: Option<CustomerStory>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DivisionLine {
    pub division: String,
    pub asked: u64,
    pub approved: u64,
    pub waiting: u64,
    pub suppressed: u64,
}

/// The fifth of the customers that was asked for most, taken together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CourtedLine {
    pub customers: u64,
    pub asked: u64,
    pub approved: u64,
    /// For the one who would have got most.
    pub most_asked: u64,
    /// For the one who did get most.
    pub most_approved: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReasonLine {
    pub reason: String,
    pub rule: Option<String>,
    pub messages: u64,
}

/// The days of the customer whom most divisions wanted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CustomerStory {
    pub customer_id: String,
    pub asked: u64,
    pub approved: u64,
    pub moments: Vec<StoryLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoryLine {
    /// Milliseconds since the demo began.
    pub after_ms: i64,
    /// `approved`, `suppressed`, `deferred`, `released`, or an engagement type.
    pub what: String,
    pub division: Option<String>,
    pub campaign: Option<String>,
    pub channel: Option<String>,
    pub reason: Option<String>,
    pub rule: Option<String>,
}

impl Tally {
    /// A division asked.
    pub fn asked(&mut self, division: &str) {
        *self.asked.entry(division.to_owned()).or_default() += 1;
    }

    pub fn dead_letter(&mut self) {
        self.dead_letters += 1;
    }

    /// A decision record was read.
    pub fn decided(&mut self, decision: Decision) {
        let history = self.histories.entry(decision.customer_id.clone()).or_default();
        history.push(Moment::Decided(Box::new(decision.clone())));
        // A contact given back was approved all the same: the message did go out to the sender.
        if decision.verdict == "released" {
            return;
        }
        let record = decision
            .decision_id
            .rsplit_once('/')
            .map_or(decision.decision_id.as_str(), |(record, _)| record);
        self.outcomes.insert(record.to_owned(), decision);
    }

    /// A customer did something.
    pub fn answered(&mut self, customer_id: &str, kind: &str, at_ms: i64) {
        *self.answers.entry(kind.to_owned()).or_default() += 1;
        let history = self.histories.entry(customer_id.to_owned()).or_default();
        history.push(Moment::Answered {
            at_ms,
            kind: kind.to_owned(),
        });
    }

    pub fn totals(&self) -> Totals {
        let of = |verdict: &str| {
            self.outcomes
                .values()
                .filter(|outcome| outcome.verdict == verdict)
                .count() as u64
        };
        Totals {
            asked: self.asked.values().sum(),
            approved: of("approved"),
            suppressed: of("suppressed"),
            waiting: of("deferred"),
            dead_letters: self.dead_letters,
        }
    }

    /// Everything, with times counted from `start_ms`.
    pub fn summary(&self, start_ms: i64) -> Summary {
        Summary {
            totals: self.totals(),
            divisions: self.divisions(),
            reasons: self.reasons(),
            courted: self.courted(),
            answers: self.answers.clone(),
            customer: self.story(start_ms),
        }
    }

    fn divisions(&self) -> Vec<DivisionLine> {
        let mut lines: BTreeMap<&str, DivisionLine> = BTreeMap::new();
        for (division, asked) in &self.asked {
            lines.insert(division, line(division, *asked));
        }
        for outcome in self.outcomes.values() {
            let line = lines
                .entry(&outcome.division)
                .or_insert_with(|| line(&outcome.division, 0));
            match outcome.verdict.as_str() {
                "approved" => line.approved += 1,
                "deferred" => line.waiting += 1,
                _ => line.suppressed += 1,
            }
        }
        let mut lines: Vec<DivisionLine> = lines.into_values().collect();
        lines.sort_by(|left, right| {
            right
                .asked
                .cmp(&left.asked)
                .then_with(|| left.division.cmp(&right.division))
        });
        lines
    }

    fn reasons(&self) -> Vec<ReasonLine> {
        let mut counts: BTreeMap<(&str, Option<&str>), u64> = BTreeMap::new();
        for outcome in self.outcomes.values().filter(|outcome| outcome.verdict == "suppressed") {
            *counts.entry((&outcome.reason, outcome.rule.as_deref())).or_default() += 1;
        }
        let mut lines: Vec<ReasonLine> = counts
            .into_iter()
            .map(|((reason, rule), messages)| ReasonLine {
                reason: reason.to_owned(),
                rule: rule.map(str::to_owned),
                messages,
            })
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.messages));
        lines
    }

    fn courted(&self) -> Option<CourtedLine> {
        let mut customers: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for outcome in self.outcomes.values() {
            let (asked, approved) = customers.entry(&outcome.customer_id).or_default();
            *asked += 1;
            *approved += u64::from(outcome.verdict == "approved");
        }
        let mut counts: Vec<(u64, u64)> = customers.into_values().collect();
        counts.sort_unstable_by(|left, right| right.cmp(left));
        counts.truncate(counts.len().div_ceil(5));
        Some(CourtedLine {
            customers: counts.len() as u64,
            asked: counts.iter().map(|(asked, _)| asked).sum(),
            approved: counts.iter().map(|(_, approved)| approved).sum(),
            most_asked: counts.iter().map(|(asked, _)| *asked).max()?,
            most_approved: counts.iter().map(|(_, approved)| *approved).max()?,
        })
    }

    /// The customer for whom there is most to tell: many different things, on one screen.
    fn story(&self, start_ms: i64) -> Option<CustomerStory> {
        let worth = |moments: &[StoryLine]| {
            let kinds: BTreeSet<(&str, Option<&str>)> = moments
                .iter()
                .map(|moment| (moment.what.as_str(), moment.rule.as_deref()))
                .collect();
            let length = moments.len().min(STORY_LINES) as i64;
            3 * kinds.len() as i64 + length - 2 * (moments.len() as i64 - length)
        };
        let told = self
            .histories
            .iter()
            .map(|(customer_id, history)| (customer_id, moments(history, start_ms)));
        let (customer_id, moments) =
            told.max_by(|left, right| worth(&left.1).cmp(&worth(&right.1)).then_with(|| right.0.cmp(left.0)))?;
        let outcomes = self
            .outcomes
            .values()
            .filter(|outcome| outcome.customer_id == *customer_id);
        let approved = outcomes.clone().filter(|outcome| outcome.verdict == "approved").count() as u64;
        Some(CustomerStory {
            customer_id: customer_id.clone(),
            asked: outcomes.count() as u64,
            approved,
            moments,
        })
    }
}

/// A history as it is told: in the order of time, and that a message waits is said once.
fn moments(history: &[Moment], start_ms: i64) -> Vec<StoryLine> {
    let mut waiting: HashSet<&str> = HashSet::new();
    let mut moments: Vec<StoryLine> = history
        .iter()
        .filter(|moment| match moment {
            Moment::Decided(decision) if decision.verdict == "deferred" => waiting.insert(&decision.intent_id),
            _ => true,
        })
        .filter_map(|moment| story_line(moment, start_ms))
        .collect();
    moments.sort_by_key(|moment| moment.after_ms);
    moments
}

fn line(division: &str, asked: u64) -> DivisionLine {
    DivisionLine {
        division: division.to_owned(),
        asked,
        approved: 0,
        waiting: 0,
        suppressed: 0,
    }
}

fn story_line(moment: &Moment, start_ms: i64) -> Option<StoryLine> {
    match moment {
        // That a message arrived is no news.
        Moment::Answered { kind, .. } if kind == "delivered" => None,
        Moment::Answered { at_ms, kind } => Some(StoryLine {
            after_ms: at_ms.saturating_sub(start_ms),
            what: kind.clone(),
            division: None,
            campaign: None,
            channel: None,
            reason: None,
            rule: None,
        }),
        Moment::Decided(decision) => Some(StoryLine {
            after_ms: decision.decided_at.as_millisecond().saturating_sub(start_ms),
            what: decision.verdict.clone(),
            division: Some(decision.division.clone()),
            campaign: decision.campaign.clone(),
            channel: decision.channel.clone().or_else(|| decision.requested_channel.clone()),
            reason: Some(decision.reason.clone()),
            rule: decision.rule.clone(),
        }),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::demo) fn decision(record: u32, attempt: u32, verdict: &str, rule: Option<&str>) -> Decision {
        Decision {
            decision_id: format!("forbear.intents/0/{record}/{attempt}"),
            intent_id: format!("intent-{record}"),
            customer_id: "customer-1".to_owned(),
            division: "cards".to_owned(),
            campaign: Some("spring".to_owned()),
            requested_channel: Some("email".to_owned()),
            channel: (verdict == "approved").then(|| "push".to_owned()),
            verdict: verdict.to_owned(),
            reason: if rule.is_some() { "cap" } else { verdict }.to_owned(),
            rule: rule.map(str::to_owned),
            decided_at: jiff::Timestamp::from_millisecond(10_000 + i64::from(record) * 1_000).expect("a time"),
        }
    }

    #[test]
    fn the_newest_decision_about_a_record_is_its_outcome() {
        let mut tally = Tally::default();
        tally.asked("cards");
        tally.decided(decision(1, 0, "deferred", Some("day")));
        assert_eq!(
            tally.totals(),
            Totals {
                asked: 1,
                waiting: 1,
                ..Totals::default()
            }
        );
        tally.decided(decision(1, 1, "approved", None));
        assert_eq!(
            tally.totals(),
            Totals {
                asked: 1,
                approved: 1,
                ..Totals::default()
            }
        );
    }

    #[test]
    fn a_contact_that_is_given_back_was_approved_all_the_same() {
        let mut tally = Tally::default();
        tally.decided(decision(1, 0, "approved", None));
        tally.decided(decision(1, 0, "released", None));
        assert_eq!(tally.totals().approved, 1);
    }

    #[test]
    fn reasons_are_counted_by_rule_and_the_most_frequent_comes_first() {
        let mut tally = Tally::default();
        for record in 0..3 {
            tally.decided(decision(record, 0, "suppressed", Some("week")));
        }
        tally.decided(decision(9, 0, "suppressed", Some("day")));
        let reasons = tally.summary(0).reasons;
        assert_eq!((reasons[0].rule.as_deref(), reasons[0].messages), (Some("week"), 3));
        assert_eq!((reasons[1].rule.as_deref(), reasons[1].messages), (Some("day"), 1));
    }

    #[test]
    fn the_story_is_in_the_order_of_time_and_leaves_out_deliveries() {
        let mut tally = Tally::default();
        tally.decided(decision(5, 0, "suppressed", Some("week")));
        tally.decided(decision(1, 0, "approved", None));
        tally.answered("customer-1", "delivered", 11_100);
        tally.answered("customer-1", "clicked", 12_000);
        let story = tally.summary(10_000).customer.expect("a story");
        let told: Vec<(i64, &str)> = story
            .moments
            .iter()
            .map(|moment| (moment.after_ms, moment.what.as_str()))
            .collect();
        assert_eq!(told, [(1_000, "approved"), (2_000, "clicked"), (5_000, "suppressed")]);
        assert_eq!((story.asked, story.approved), (2, 1));
    }

    #[test]
    fn that_a_message_waits_is_told_once() {
        let mut tally = Tally::default();
        for attempt in 0..3 {
            tally.decided(decision(1, attempt, "deferred", Some("week")));
        }
        tally.decided(decision(1, 3, "approved", None));
        let story = tally.summary(0).customer.expect("a story");
        let told: Vec<&str> = story.moments.iter().map(|moment| moment.what.as_str()).collect();
        assert_eq!(told, ["deferred", "approved"]);
    }

    #[test]
    fn the_most_courted_fifth_is_counted_by_what_was_asked() {
        let mut tally = Tally::default();
        for customer in 0..5 {
            for record in 0..=customer {
                let mut one = decision(customer * 10 + record, 0, "suppressed", Some("week"));
                one.customer_id = format!("customer-{customer}");
                if record < 2 {
                    one.verdict = "approved".to_owned();
                }
                tally.decided(one);
            }
        }
        let courted = tally.summary(0).courted.expect("somebody");
        assert_eq!((courted.customers, courted.asked, courted.approved), (1, 5, 2));
        assert_eq!((courted.most_asked, courted.most_approved), (5, 2));
        assert_eq!(Tally::default().summary(0).courted, None);
    }

    #[test]
    fn a_decision_record_is_read_without_its_optional_members() {
        let text = r#"{"decision_id":"t/0/1/0","intent_id":"i","customer_id":"c","division":"d","verdict":"approved","reason":"approved","decided_at":"2026-01-01T00:00:00.000Z","more":1}"#;
        assert!(serde_json::from_str::<Decision>(text).is_ok());
    }
}
