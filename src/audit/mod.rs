//! `forbear audit`: the promises, recomputed from the topics of a cluster that runs or has stopped.
//!
//! # What each promise means here
//!
//! | promise | check |
//! |---|---|
//! | P1 | each record of an intents topic that a task has passed ends in exactly one record of `approved.*`, `suppressed.*` or the dead-letter topic, or its newest decision says that it waits (and not for longer than it could); no verdict is about anything else; attempts count up; repeats, and only they, are duplicates |
//! | P2 | at each approval, no refusal, complaint, bounce, pause or erasure that lay below its barrier stands against it; barriers never go back, and cover what was appended before the decision time |
//! | P3 | at each approval, the contacts of the customer that then counted leave room under each cap, gap and capacity of the policy that it names, as far as the text can be read without the customer's conditions |
//! | P4 | no approval lies in the quiet hours of the customer's zone, in which daylight-saving time is the calendar's |
//! | P5 | decision times never go back; the text of every policy is there; and the verdict follows again, member by member, from the log (below) |
//! | P6 | every verdict gives a reason of the closed set, the rule, its working, the next eligible time; header and decision record say the same |
//! | contract | key, bytes and headers are the intent's own; what is bad is a dead letter, and what is plainly good is none |
//!
//! All but the re-derivation is an independent recomputation: it shares no code with `policy`, `customer`, `message`,
//! `verdict` or `task` (`tests/architecture.rs` keeps it so). [`meaning`] reads the policy's text with a reader of its own, and
//! says of each rule that it cannot recompute why not. Wherever the topics leave room, the processor is believed: a
//! violation that is reported is one. What could not be checked is counted and told with its reason, never passed over.
//!
//! # Deriving again
//!
//! [`rederive`] walks the state topic of a partition. Between two position markers stands what one transaction changed; the
//! marker says the decision time, the barrier and which records of the inputs the transaction covers. The batch is put
//! together from that and run through the processor's own `prepare` over the state before it; its verdicts, its dead letters
//! and the changed state must be what the topics hold. Then the *recorded* state is taken over, so that one wrong verdict
//! is one violation and not the first of thousands. Who was looked at because of the time, and the order between several
//! engagement topics, are not recorded: what was changed says it, and where several answers are possible they are tried.
//!
//! The state topic is compacted. What is whole in it begins where the markers follow each other without a gap: the state of
//! then is what compaction kept below, and from there on everything is derived. A start in between (`From`) works the same
//! way. Older verdicts have the independent checks alone, and the report says so.
//!
//! # Memory
//!
//! One pass over the topics keeps a few hundred bytes of each record in files, in as many buckets (by customer) as keep one
//! bucket within [`Request::memory_bytes`]; then one bucket at a time is checked. A customer's facts lie in one bucket, so a
//! single customer with more facts than that exceeds the bound. The re-derivation holds one batch and a store on disk. Beside
//! that stand: the policies, one entry a thousand batches, the approvals within the windows of capacities, and what the
//! Kafka client fetches ahead.

pub mod checks;
mod facts;
mod gather;
pub mod log;
pub mod meaning;
pub mod reading;
pub mod rederive;
pub mod report;
mod spill;
mod stream;
pub mod survey;
#[cfg(test)]
mod tests;

use log::{Halt, Logs};
use report::{Findings, Promise, Report, Stretch};
use spill::Spill;
use std::collections::BTreeSet;
use std::path::PathBuf;
use survey::Survey;

/// What one record's facts take in memory, about.
const FACT_BYTES: u64 = 1_200;
/// Files that are open at a time.
const BUCKETS_AT_MOST: u64 = 400;

/// The names of the topics, as the settings give them.
#[derive(Debug, Clone)]
pub struct Topics {
    pub intents: Vec<String>,
    pub engagement: Vec<String>,
    pub approved_prefix: String,
    pub suppressed_prefix: String,
    pub decisions: String,
    pub dead_letter: String,
    pub reroute: String,
    pub state: String,
    pub policies: String,
}

impl Topics {
    /// Everything that the processor reads, in its order.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        let engagement = self.engagement.iter().chain([&self.reroute]);
        self.intents.iter().chain(engagement).map(String::as_str)
    }

    /// Everything that it writes for others; the policies apart.
    pub fn outputs(&self, channels: &[String]) -> Vec<String> {
        let verdicts = channels
            .iter()
            .flat_map(|channel| [self.approved(channel), self.suppressed(channel)]);
        verdicts
            .chain([self.decisions.clone(), self.dead_letter.clone()])
            .collect()
    }

    pub fn approved(&self, channel: &str) -> String {
        format!("{}{channel}", self.approved_prefix)
    }

    pub fn suppressed(&self, channel: &str) -> String {
        format!("{}{channel}", self.suppressed_prefix)
    }

    pub fn is_intents(&self, topic: &str) -> bool {
        self.intents.iter().any(|name| name == topic)
    }
}

/// From where on verdicts are looked at. What came before is read all the same: it is the state of then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Beginning,
    /// Decisions of this instant (UTC milliseconds) and later.
    Instant(i64),
    /// Of the transaction that judged this offset of the first intents topic, in every partition, and later.
    Offset(i64),
}

/// What is to be audited.
#[derive(Debug, Clone)]
pub struct Request {
    pub topics: Topics,
    /// As the processor's settings have it.
    pub max_intent_bytes: usize,
    /// None: all.
    pub partitions: Option<Vec<i32>>,
    pub from: From,
    /// Decisions after this instant are not looked at.
    pub until_ms: Option<i64>,
    pub promises: BTreeSet<Promise>,
    /// How far the clocks of brokers and processes may lie apart.
    pub clock_tolerance_ms: i64,
    /// See the module's page.
    pub memory_bytes: u64,
    /// For facts; made here, and removed at the end.
    pub directory: PathBuf,
}

/// How far an audit has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many records will be read, about.
    Total(u64),
    /// So many more were read.
    Read(u64),
    /// Buckets that are to be checked.
    Buckets(u64),
    /// One of them was.
    Bucket,
}

/// Told how it goes; answers whether it is to go on.
pub type Watch<'a> = &'a mut dyn FnMut(Progress) -> bool;

/// Audits. `stores` are empty, and hold the state that verdicts are derived from.
///
/// # Errors
/// It could not be done: the cluster does not answer, a topic is missing, the disk is full, or it was interrupted. What was
/// found until then is lost.
pub fn audit<L: Logs, S: crate::store::Stores>(
    logs: &mut L,
    stores: &mut S,
    request: &Request,
    watch: Watch<'_>,
) -> Result<Report, Halt> {
    let mut findings = Findings::new(request.promises.clone());
    let policies = gather::policies(logs, request, &mut findings)?;
    let survey = survey::survey(logs, request, policies.channels())?;
    let derives = findings.wants(Promise::P5);
    let total = total_records(request, &survey, derives);
    tell(watch, Progress::Total(total))?;
    let wanted = total.saturating_mul(FACT_BYTES).div_ceil(request.memory_bytes.max(1));
    let mut spill = Spill::new(&request.directory, wanted.clamp(1, BUCKETS_AT_MOST) as usize)?;
    let mut read = Counter { watch, records: 0 };
    let runs = gather::gather(logs, request, &survey, &policies, &mut spill, &mut findings, &mut read)?;
    let mut stretches = Vec::new();
    for (partition, task) in &survey.tasks {
        let batches = match derives {
            true => rederive::partition(
                &mut rederive::Scene {
                    logs,
                    request,
                    survey: &survey,
                    policies: &policies,
                    runs: &runs,
                    spill: &mut spill,
                    findings: &mut findings,
                    read: &mut read,
                },
                stores,
                *partition,
            )?,
            false => 0,
        };
        stretches.push(stretch(request, &survey, *partition, task, batches));
    }
    let records = read.records;
    let buckets = spill.len();
    tell(watch, Progress::Buckets(buckets as u64))?;
    for index in 0..buckets {
        for (group, facts) in spill.take(index)? {
            checks::group(request, &survey, &policies, &group, facts, &mut findings);
        }
        tell(watch, Progress::Bucket)?;
    }
    Ok(findings.report(stretches, records))
}

/// Counts what is read, and tells it.
pub struct Counter<'a> {
    watch: Watch<'a>,
    records: u64,
}

impl Counter<'_> {
    /// One more record.
    ///
    /// # Errors
    /// Whoever watches wants it to end.
    pub fn count(&mut self) -> Result<(), Halt> {
        self.records += 1;
        if self.records.is_multiple_of(1_000) {
            return tell(self.watch, Progress::Read(1_000));
        }
        Ok(())
    }
}

fn tell(watch: Watch<'_>, progress: Progress) -> Result<(), Halt> {
    watch(progress).then_some(()).ok_or(Halt::Interrupted)
}

fn total_records(request: &Request, survey: &Survey, derives: bool) -> u64 {
    let mut total = 0;
    for topic in request.topics.inputs() {
        for (partition, task) in &survey.tasks {
            let length = task.end(topic) - survey.bounds_of(topic, *partition).first;
            total += length.max(0) * if derives { 2 } else { 1 };
        }
    }
    for topic in request.topics.outputs(&survey.channels) {
        for partition in survey.partitions_of(&topic) {
            let bounds = survey.bounds_of(&topic, partition);
            total += (bounds.end - bounds.first).max(0);
        }
    }
    if derives {
        total += survey
            .tasks
            .values()
            .map(|task| task.state.end - task.state.first)
            .sum::<i64>();
    }
    u64::try_from(total).unwrap_or(0)
}

fn stretch(request: &Request, survey: &Survey, partition: i32, task: &survey::Task, batches: u64) -> Stretch {
    let pending = request.topics.intents.iter().map(|topic| {
        let bounds = survey.bounds_of(topic, partition);
        (bounds.end - task.end(topic).max(bounds.first)).max(0)
    });
    Stretch {
        partition,
        batches,
        after_seq: task.derivable.as_ref().map_or(0, |mark| mark.seq),
        until_seq: task.last.as_ref().map(|last| last.seq),
        until: task.last.as_ref().and_then(|last| {
            let at = jiff::Timestamp::from_millisecond(last.now_ms).ok()?;
            Some(at.to_string())
        }),
        pending_intents: pending.sum(),
    }
}
