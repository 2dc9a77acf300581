//! The checks that look at one customer at a time (or at one record that is of no customer).

mod consent;
mod derived;
mod ledger;
mod letters;
mod outcome;

use super::Request;
use super::facts::{Fact, Letter, Received, Stored, Terminal};
use super::gather::Policies;
use super::reading::{Coordinates, Decision, Event, instant_ms, owner};
use super::report::{Findings, Promise};
use super::survey::{Survey, Task};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that was read about one customer.
pub struct Group<'a> {
    request: &'a Request,
    survey: &'a Survey,
    policies: &'a Policies,
    /// Of the partition that owns the customer, or holds the record that is of nobody.
    task: &'a Task,
    owner: i32,
    /// Records of the intents topics.
    sources: BTreeMap<Coordinates, Received>,
    /// Records of the engagement topics.
    engagement: BTreeMap<Coordinates, Received>,
    /// Events as far as they lie where the customer is owned, in the order of each topic.
    events: Vec<Known>,
    /// Verdicts that have an id, by what they answer.
    terminals: BTreeMap<Coordinates, Vec<Ended>>,
    /// In the order of their topic.
    decisions: Vec<Decision>,
    /// By what they hold.
    letters: BTreeMap<Coordinates, Vec<Letter>>,
    /// Strays: from where, and where they went.
    rerouted: BTreeMap<Coordinates, Coordinates>,
}

/// An event, and whether it is certain that it had an effect.
struct Known {
    event: Event,
    /// The same id came before, or stands in another topic too.
    is_repeat: bool,
}

/// A verdict's record with what its headers say.
struct Ended {
    record: Terminal,
    id: String,
    decided_at_ms: i64,
    reason: String,
}

/// Checks everything about one group.
pub fn group(
    request: &Request,
    survey: &Survey,
    policies: &Policies,
    group: &str,
    facts: Vec<Fact>,
    findings: &mut Findings,
) {
    let owner = match group.strip_prefix('\u{0}') {
        None => owner(group, survey.partition_count),
        // Where it lies: whatever cannot be read is dealt with there.
        Some(place) => Coordinates::parse(place).map_or(0, |at| at.partition),
    };
    let Some(task) = survey.tasks.get(&owner) else {
        let strays = facts.iter().filter(|fact| matches!(fact, Fact::Source(_))).count() as u64;
        findings.not_checked_times(
            Promise::P1,
            "the partition that owns the customer is not audited",
            strays,
        );
        return;
    };
    let mut gathered = Group {
        request,
        survey,
        policies,
        task,
        owner,
        sources: BTreeMap::new(),
        engagement: BTreeMap::new(),
        events: Vec::new(),
        terminals: BTreeMap::new(),
        decisions: Vec::new(),
        letters: BTreeMap::new(),
        rerouted: BTreeMap::new(),
    };
    let mut again = derived::Again::default();
    for fact in facts {
        gathered.take(fact, &mut again, findings);
    }
    gathered.order();
    outcome::check(&gathered, findings);
    letters::check(&gathered, findings);
    consent::check(&gathered, findings);
    ledger::check(&gathered, findings);
    derived::check(&gathered, &again, findings);
}

impl Group<'_> {
    fn take(&mut self, fact: Fact, again: &mut derived::Again, findings: &mut Findings) {
        match fact {
            Fact::Source(received) => drop(self.sources.insert(received.at.clone(), received)),
            Fact::Engagement(received) => drop(self.engagement.insert(received.at.clone(), received)),
            Fact::Rerouted { at, origin } => {
                let newest = self.rerouted.entry(origin).or_insert_with(|| at.clone());
                if newest.offset < at.offset {
                    *newest = at;
                }
            }
            Fact::Terminal(record) => self.terminal(record, findings),
            Fact::Decision(stored) => self.decision(stored, again),
            Fact::Letter(letter) => {
                if let Some(source) = letter.source.clone().filter(|_| letter.error.is_some()) {
                    self.letters.entry(source).or_default().push(letter);
                } else {
                    findings.violation(
                        Promise::Contract,
                        &letter.at,
                        "the dead letter lacks its source or its error",
                    );
                }
            }
            Fact::DerivedDecision(stored) => again.decision(stored),
            Fact::DerivedTerminal(terminal) => again.terminal(terminal),
            Fact::DerivedLetter(letter) => again.letter(letter),
            Fact::Unresolved(at_ms) => again.unresolved(at_ms),
        }
    }

    fn terminal(&mut self, record: Terminal, findings: &mut Findings) {
        let id = record.header("forbear-decision-id").unwrap_or_default().to_owned();
        let decided_at_ms = record.header("forbear-decided-at").and_then(instant_ms);
        let (Some((source, _)), Some(decided_at_ms)) = (Coordinates::parse_decision_id(&id), decided_at_ms) else {
            findings.violation(Promise::Contract, &record.at, "it lacks its decision id or its time");
            return;
        };
        // A verdict of a transaction behind the end of this audit; one that only says so speaks of what was judged before.
        let is_ahead = !self.should_know(&source) || self.is_on_its_way(&source);
        if self.task.is_too_new(decided_at_ms) && is_ahead {
            findings.not_checked(Promise::P1, "verdicts that are newer than the end of this audit");
            return;
        }
        let reason = record.header("forbear-reason").unwrap_or_default().to_owned();
        self.terminals.entry(source).or_default().push(Ended {
            record,
            id,
            decided_at_ms,
            reason,
        });
    }

    /// A stray that its owner has not reached yet.
    fn is_on_its_way(&self, source: &Coordinates) -> bool {
        let reroute = &self.request.topics.reroute;
        self.rerouted
            .get(source)
            .is_some_and(|at| at.offset >= self.task.end(reroute))
    }

    fn decision(&mut self, stored: Stored, again: &mut derived::Again) {
        // What is wrong with one that cannot be read was told when it was read first.
        let read = Decision::read(stored.at.clone(), stored.key.as_deref(), stored.value.as_deref());
        if let Ok(decision) = read.as_ref()
            && !self.task.is_too_new(decision.decided_at_ms)
        {
            again.recorded(decision, &stored);
        }
        self.decisions.extend(
            read.ok()
                .filter(|decision| !self.task.is_too_new(decision.decided_at_ms)),
        );
    }

    /// Brings what was gathered into its order.
    fn order(&mut self) {
        self.decisions
            .sort_by_key(|decision| (decision.at.partition, decision.at.offset));
        // One that ended after the end of this audit waits as far as the audit is concerned.
        let mut newest: BTreeMap<&Coordinates, &str> = BTreeMap::new();
        for decision in self.decisions.iter().filter(|decision| decision.verdict != "released") {
            newest.insert(&decision.source, &decision.verdict);
        }
        let task = self.task;
        self.terminals.retain(|source, ends| {
            if newest.get(source) == Some(&"deferred") {
                ends.retain(|end| !task.is_too_new(end.decided_at_ms));
            }
            !ends.is_empty()
        });
        let mut topics_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut events: Vec<Event> = Vec::new();
        for received in self.engagement.values() {
            if received.at.partition == self.owner
                && !self.letters.contains_key(&received.at)
                && let Some(event) = received.as_event()
            {
                let topics = topics_of.entry(event.event_id.clone()).or_default();
                topics.insert(event.at.topic.clone());
                events.push(event);
            }
        }
        let mut seen = BTreeSet::new();
        for event in events {
            let is_repeat = !seen.insert(event.event_id.clone()) || topics_of[&event.event_id].len() > 1;
            self.events.push(Known { event, is_repeat });
        }
    }

    /// Whether the record should be among what was read.
    fn should_know(&self, at: &Coordinates) -> bool {
        self.survey.knows(&at.topic, at.partition, at.offset)
    }

    /// What the decision knew of the customer.
    fn known_to<'s>(&'s self, decision: &'s Decision) -> impl Iterator<Item = &'s Known> {
        self.events.iter().filter(|known| decision.knew(&known.event))
    }

    /// Retention took the beginning of an engagement topic, other than this one.
    fn engagement_is_cut(&self, but_for: &str) -> bool {
        let topics = self
            .request
            .topics
            .engagement
            .iter()
            .chain([&self.request.topics.reroute]);
        topics
            .filter(|topic| *topic != but_for)
            .any(|topic| self.survey.bounds_of(topic, self.owner).first > 0)
    }
}
