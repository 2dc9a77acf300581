//! An independent recomputation of the promises from the topics alone.
//!
//! It shares nothing with the engine: no parser, no ledger, no window code (a test reads these sources and keeps it so).
//! What a policy means is told to it by hand as [`facts::PolicyFacts`]. It is written against the public contract, and
//! wherever the contract leaves room it takes the side of the engine: every violation that it reports is one.
//!
//! A violation names promises and coordinates, never the content of a record.
#![allow(dead_code)]

mod capacity;
mod competitors;
mod consent;
pub mod facts;
mod ledger;
mod letters;
mod outcome;
pub mod reading;

use facts::PolicyFacts;
use reading::{Coordinates, Decision, Event, Intent};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// One record, as a `read_committed` consumer got it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicRecord {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The names of the topics, as the settings give them.
#[derive(Debug, Clone)]
pub struct TopicNames {
    pub intents: Vec<String>,
    pub engagement: Vec<String>,
    pub approved_prefix: String,
    pub suppressed_prefix: String,
    pub decisions: String,
    pub dead_letter: String,
    pub reroute: String,
    pub policies: String,
}

impl Default for TopicNames {
    fn default() -> Self {
        Self {
            intents: vec!["forbear.intents".into()],
            engagement: vec!["forbear.engagement".into()],
            approved_prefix: "approved.".into(),
            suppressed_prefix: "suppressed.".into(),
            decisions: "forbear.decisions".into(),
            dead_letter: "forbear.dead-letter".into(),
            reroute: "forbear.reroute".into(),
            policies: "forbear.policies".into(),
        }
    }
}

/// Everything that was read, and what is known about it.
#[derive(Debug, Clone)]
pub struct AuditInput {
    pub names: TopicNames,
    /// The one partition count of the inputs.
    pub partition_count: i32,
    /// Every record of every topic above, in any order.
    pub topics: BTreeMap<String, Vec<TopicRecord>>,
    /// By label (header `forbear-policy`).
    pub policies: BTreeMap<String, PolicyFacts>,
    /// True where the timestamps of the engagement topics are the times of the appends.
    pub engagement_has_append_times: bool,
    /// How far the clocks of processes and brokers may lie apart.
    pub clock_tolerance_ms: i64,
    /// What retention took before it was judged: topic, partition, offset.
    pub lost: BTreeSet<(String, i32, i64)>,
    /// When everything had come to rest: no queue may hold what was due before. None: still running.
    pub settled_at_ms: Option<i64>,
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// `P1` to `P6`, or `contract`.
    pub promise: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.promise, self.what)
    }
}

/// Reads everything once and reports every violation, sorted. An empty answer means that nothing was found.
pub fn audit(input: &AuditInput) -> Vec<Violation> {
    let mut findings = Findings::default();
    let evidence = Evidence::gather(input, &mut findings);
    outcome::check(&evidence, &mut findings);
    consent::check(&evidence, &mut findings);
    ledger::check(&evidence, &mut findings);
    capacity::check(&evidence, &mut findings);
    competitors::check(&evidence, &mut findings);
    let mut violations = findings.violations;
    violations.sort();
    violations
}

/// Where the checks write to.
#[derive(Debug, Default)]
pub struct Findings {
    violations: Vec<Violation>,
}

impl Findings {
    pub fn add(&mut self, promise: &'static str, what: String) {
        self.violations.push(Violation { promise, what });
    }
}

/// The topics, indexed.
pub struct Evidence<'a> {
    pub input: &'a AuditInput,
    /// Every record of the intents topics, with its body where it has one.
    pub sources: BTreeMap<Coordinates, (&'a TopicRecord, Option<Intent>)>,
    /// Every decision record, by partition of the decisions topic, in the order of the log.
    pub decisions: Vec<Decision>,
    /// Engagement by customer, as far as it lies where the customer is owned (or came there by the re-route topic).
    pub events: HashMap<String, Vec<Event>>,
    /// What was dead-lettered, and under which error.
    pub dead: BTreeMap<Coordinates, Vec<String>>,
    /// `event_id`s of one customer that stand in more than one topic: their order is not known.
    pub ambiguous_event_ids: BTreeSet<(String, String)>,
}

impl<'a> Evidence<'a> {
    fn gather(input: &'a AuditInput, findings: &mut Findings) -> Self {
        let mut evidence = Self {
            input,
            sources: BTreeMap::new(),
            decisions: Vec::new(),
            events: HashMap::new(),
            dead: BTreeMap::new(),
            ambiguous_event_ids: BTreeSet::new(),
        };
        for topic in &input.names.intents {
            for record in evidence.records(topic) {
                let coordinates = Coordinates::of(topic, record);
                evidence.sources.insert(coordinates, (record, Intent::read(record)));
            }
        }
        evidence.gather_dead_letters(findings);
        evidence.gather_decisions(findings);
        evidence.gather_events();
        evidence
    }

    /// The records of one topic; none where it was not read.
    pub fn records(&self, topic: &str) -> &'a [TopicRecord] {
        self.input.topics.get(topic).map(Vec::as_slice).unwrap_or_default()
    }

    /// Retention took it before it was judged.
    pub fn is_lost(&self, source: &Coordinates) -> bool {
        let place = (source.topic.clone(), source.partition, source.offset);
        self.input.lost.contains(&place)
    }

    /// The topics `<prefix><channel>` with their channels.
    pub fn channel_topics(&self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        let matching = self
            .input
            .topics
            .keys()
            .filter_map(|name| Some((name.as_str(), name.strip_prefix(prefix)?)));
        matching.collect()
    }

    fn gather_dead_letters(&mut self, findings: &mut Findings) {
        let topic = &self.input.names.dead_letter;
        for record in self.records(topic) {
            let at = Coordinates::of(topic, record);
            let source = reading::header(record, "forbear-source").and_then(Coordinates::parse);
            let error = reading::header(record, "forbear-error");
            match (source, error) {
                (Some(source), Some(error)) => self.dead.entry(source).or_default().push(error.to_owned()),
                _ => findings.add(
                    "contract",
                    format!("the dead letter {at} lacks its source or its error"),
                ),
            }
        }
    }

    fn gather_decisions(&mut self, findings: &mut Findings) {
        let topic = &self.input.names.decisions;
        // A repair is told without a key; it is no verdict.
        for record in self.records(topic).iter().filter(|record| record.key.is_some()) {
            match Decision::read(record) {
                Ok(decision) => self.decisions.push(decision),
                Err(why) => {
                    findings.add(
                        "P6",
                        format!("the decision record {}: {why}", Coordinates::of(topic, record)),
                    );
                }
            }
        }
        self.decisions
            .sort_by_key(|decision| (decision.partition, decision.offset));
    }

    fn gather_events(&mut self) {
        let mut topics: Vec<&String> = self.input.names.engagement.iter().collect();
        topics.push(&self.input.names.reroute);
        let mut seen: HashMap<(String, String), BTreeSet<String>> = HashMap::new();
        for topic in topics {
            let mut records: Vec<&TopicRecord> = self.records(topic).iter().collect();
            records.sort_by_key(|record| (record.partition, record.offset));
            for record in records {
                let Some(event) = Event::read(topic, record) else {
                    continue;
                };
                let owner = reading::owner(event.customer_id.as_bytes(), self.input.partition_count);
                if owner != record.partition || self.dead.contains_key(&event.coordinates) {
                    continue;
                }
                let name = (event.customer_id.clone(), event.event_id.clone());
                let topics_of_id = seen.entry(name.clone()).or_default();
                if topics_of_id.contains(topic.as_str()) {
                    continue;
                }
                topics_of_id.insert(topic.clone());
                if topics_of_id.len() > 1 {
                    self.ambiguous_event_ids.insert(name);
                }
                self.events.entry(event.customer_id.clone()).or_default().push(event);
            }
        }
    }
}
