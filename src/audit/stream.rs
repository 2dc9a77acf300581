//! What the order of the decisions shows: times and barriers that never go back, barriers that were far enough, and capacities,
//! which all customers of a partition share.
//!
//! Decisions of one partition's task stand in their order where the decisions topic has one partition for each of the inputs.

use super::Request;
use super::gather::Policies;
use super::log::{Cursor, Halt, LogRecord, Logs};
use super::meaning::{Policy, Rule, Test, Traits};
use super::reading::Decision;
use super::report::{Findings, Promise};
use super::survey::Survey;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Looks at the decisions of one partition of their topic, one after the other.
pub struct InOrder<'a, L: Logs> {
    request: &'a Request,
    survey: &'a Survey,
    policies: &'a Policies,
    partition: i32,
    is_aligned: bool,
    newest_ms: i64,
    highest: BTreeMap<String, i64>,
    ahead: BTreeMap<String, Ahead<L::Cursor>>,
    /// Approvals under each capacity, oldest first.
    used: HashMap<String, VecDeque<i64>>,
    barriers_without_times: u64,
}

/// An engagement topic, read up to the newest barrier.
struct Ahead<C> {
    cursor: C,
    next: Option<LogRecord>,
}

impl<'a, L: Logs> InOrder<'a, L> {
    pub fn new(request: &'a Request, survey: &'a Survey, policies: &'a Policies, partition: i32) -> Self {
        Self {
            request,
            survey,
            policies,
            partition,
            is_aligned: survey.is_aligned(&request.topics.decisions),
            newest_ms: i64::MIN,
            highest: BTreeMap::new(),
            ahead: BTreeMap::new(),
            used: HashMap::new(),
            barriers_without_times: 0,
        }
    }

    /// The next one.
    ///
    /// # Errors
    /// An engagement topic cannot be read.
    pub fn decision(
        &mut self,
        logs: &mut L,
        decision: &Decision,
        owner: i32,
        findings: &mut Findings,
    ) -> Result<(), Halt> {
        let covered = self
            .survey
            .tasks
            .get(&owner)
            .is_some_and(|task| task.covers(decision.decided_at_ms));
        if self.is_aligned && owner != self.partition {
            findings.violation(
                Promise::Contract,
                &decision.at,
                "the decision lies in a partition that does not own its customer",
            );
            return Ok(());
        }
        if !self.is_aligned {
            if covered && decision.verdict == "approved" {
                let why = "the decisions topic has another partition count: the order over customers is not known";
                findings.not_checked(Promise::P2, why);
                findings.not_checked(Promise::P5, why);
            }
            return Ok(());
        }
        self.times(decision, covered, findings);
        self.barriers(logs, decision, covered, findings)?;
        if decision.verdict == "approved" {
            self.capacities(decision, covered, findings);
        }
        Ok(())
    }

    /// What is told once.
    pub fn finish(self, findings: &mut Findings) {
        findings.not_checked_times(
            Promise::P2,
            "whether the barrier covers what was appended before: the engagement topic carries the producers' times",
            self.barriers_without_times,
        );
    }

    fn times(&mut self, decision: &Decision, covered: bool, findings: &mut Findings) {
        if covered {
            findings.checked(Promise::P5, "decision times that do not go back");
            if decision.decided_at_ms < self.newest_ms {
                findings.violation(
                    Promise::P5,
                    &decision.id,
                    "its time lies before that of an earlier decision",
                );
            }
        }
        // One decision with a time of its own must not cast doubt on all that follow.
        if !self.survey.tasks[&self.partition].is_too_new(decision.decided_at_ms) {
            self.newest_ms = self.newest_ms.max(decision.decided_at_ms);
        }
    }

    fn barriers(
        &mut self,
        logs: &mut L,
        decision: &Decision,
        covered: bool,
        findings: &mut Findings,
    ) -> Result<(), Halt> {
        if covered {
            findings.checked(Promise::P2, "barriers");
        }
        let topics = self
            .request
            .topics
            .engagement
            .iter()
            .chain([&self.request.topics.reroute]);
        for topic in topics.cloned().collect::<Vec<_>>() {
            let Some(barrier) = decision.barrier.get(&topic).copied() else {
                // A topic may have been added since.
                if covered && self.highest.contains_key(&topic) {
                    findings.violation(Promise::P2, &decision.id, format!("it has no barrier for {topic}"));
                }
                continue;
            };
            let end = self.survey.tasks[&self.partition].end(&topic);
            if covered && barrier > end {
                findings.violation(
                    Promise::P2,
                    &decision.id,
                    format!("its barrier of {topic} lies behind everything that was ever applied"),
                );
                continue;
            }
            let highest = self.highest.entry(topic.clone()).or_insert(barrier);
            // A repair may set positions back.
            if barrier < *highest && covered && !self.survey.tasks[&self.partition].was_repaired {
                findings.violation(Promise::P2, &decision.id, format!("its barrier of {topic} goes back"));
            }
            *highest = (*highest).max(barrier);
            if covered && topic != self.request.topics.reroute && !applied_only(decision) {
                self.covers_what_was_there(logs, decision, &topic, barrier, findings)?;
            }
        }
        Ok(())
    }

    /// Everything that was appended before the decision's time lies below its barrier.
    fn covers_what_was_there(
        &mut self,
        logs: &mut L,
        decision: &Decision,
        topic: &str,
        barrier: i64,
        findings: &mut Findings,
    ) -> Result<(), Halt> {
        if !self.ahead.contains_key(topic) {
            let bounds = self.survey.bounds_of(topic, self.partition);
            let from = barrier.max(bounds.first);
            let mut cursor = logs.open(topic, self.partition, from, bounds.end.max(from))?;
            let next = cursor.next()?;
            self.ahead.insert(topic.to_owned(), Ahead { cursor, next });
        }
        let Some(ahead) = self.ahead.get_mut(topic) else {
            return Ok(());
        };
        while ahead.next.as_ref().is_some_and(|record| record.offset < barrier) {
            ahead.next = ahead.cursor.next()?;
        }
        let Some(missed) = &ahead.next else {
            findings.checked(Promise::P2, "barriers that cover what was appended before");
            return Ok(());
        };
        if !missed.has_append_time {
            self.barriers_without_times += 1;
            return Ok(());
        }
        findings.checked(Promise::P2, "barriers that cover what was appended before");
        let horizon_ms = decision.decided_at_ms.saturating_sub(self.request.clock_tolerance_ms);
        if missed.timestamp_ms < horizon_ms {
            let missed = format!("{topic}/{}/{}", self.partition, missed.offset);
            findings.violation(
                Promise::P2,
                &decision.id,
                format!("{missed} was appended before it, and it did not know it"),
            );
        }
        Ok(())
    }

    /// What the partition had approved within the window was fewer than its share of the limit.
    fn capacities(&mut self, decision: &Decision, covered: bool, findings: &mut Findings) {
        let Some(policy) = self.policies.of(&decision.policy) else {
            return;
        };
        for rule in &policy.rules {
            let Test::Capacity { limit, window_ms } = rule.test else {
                continue;
            };
            // The decision says no more of the message than this.
            if rule.governs.looks_beyond(&["class", "channel", "division", "campaign"]) {
                if covered {
                    findings.not_checked(Promise::P3, format!("capacity {}: its selector", rule.id));
                }
                continue;
            }
            if !uses(policy, rule, decision) {
                continue;
            }
            let at_ms = decision.decided_at_ms;
            let used = self
                .used
                .entry(format!("{}\u{0}{}", decision.policy, rule.id))
                .or_default();
            while used
                .front()
                .is_some_and(|other_ms| other_ms.saturating_add(window_ms) <= at_ms)
            {
                used.pop_front();
            }
            let share = share(limit, self.partition, self.survey.partition_count);
            if covered && policy.obeys(&decision.class, "capacity", Some(&rule.id)) {
                findings.checked(Promise::P3, "approvals under a capacity");
                if used.len() >= share {
                    findings.violation(
                        Promise::P3,
                        &decision.id,
                        format!("it was approved against the capacity {} ({} used)", rule.id, used.len()),
                    );
                }
            }
            // More than the share changes nothing.
            if used.len() <= share {
                used.push_back(at_ms);
            }
        }
    }
}

/// What engagement itself brings about is no judgement: it may stand before the barrier is reached.
fn applied_only(decision: &Decision) -> bool {
    decision.verdict == "released" || decision.reason == "cancelled"
}

/// Whatever its class obeys: a class that counts uses up what others may send.
fn uses(policy: &Policy, rule: &Rule, decision: &Decision) -> bool {
    let mut traits = Traits::from([
        ("class", decision.class.as_str()),
        ("channel", decision.channel.as_str()),
    ]);
    traits.extend(decision.division.as_deref().map(|division| ("division", division)));
    traits.extend(decision.campaign.as_deref().map(|campaign| ("campaign", campaign)));
    policy.class(&decision.class).is_some_and(|class| class.counts) && rule.governs.without_class().matches(&traits)
}

/// An equal part of the limit; what remains goes to the lowest numbers.
fn share(limit: usize, partition: i32, partition_count: i32) -> usize {
    let partition = usize::try_from(partition).unwrap_or(0);
    let count = usize::try_from(partition_count).unwrap_or(1).max(1);
    limit / count + usize::from(partition < limit % count)
}
