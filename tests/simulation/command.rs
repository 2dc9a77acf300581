//! What `forbear audit` says of a seed: the command's audit over the simulated topics, as far as retention and compaction have
//! left them. Whatever happened, it must find nothing, and derive again what can be.

use super::fleet::{Engine, Fleet, STATE_TOPIC};
use super::partition::Fate;
use crate::auditor::TopicNames;
use forbear::audit::log::{LogRecord, MemoryLogs};
use forbear::audit::report::{Promise, Report};
use forbear::audit::{From, Request, Topics, audit};
use forbear::store::memory::MemoryStores;
use std::sync::atomic::{AtomicU64, Ordering};

/// As the engine has it in these tests.
const MAX_INTENT_BYTES: usize = 983_040;

/// Audits.
///
/// # Errors
/// It could not be done.
pub fn audit_by_command<E: Engine>(fleet: &Fleet<E>, names: &TopicNames) -> Result<Report, String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = format!("forbear-simulated-audit-{}-{number}", std::process::id());
    let request = Request {
        topics: Topics {
            intents: names.intents.clone(),
            engagement: names.engagement.clone(),
            approved_prefix: names.approved_prefix.clone(),
            suppressed_prefix: names.suppressed_prefix.clone(),
            decisions: names.decisions.clone(),
            dead_letter: names.dead_letter.clone(),
            reroute: names.reroute.clone(),
            state: STATE_TOPIC.to_owned(),
            policies: names.policies.clone(),
        },
        max_intent_bytes: MAX_INTENT_BYTES,
        partitions: None,
        from: From::Beginning,
        until_ms: None,
        promises: Promise::ALL.into_iter().collect(),
        clock_tolerance_ms: fleet.clock_skew_ms,
        memory_bytes: 1 << 24,
        directory: std::env::temp_dir().join(directory),
    };
    let mut stores = MemoryStores::new(|_, _| None);
    audit(&mut topics(fleet), &mut stores, &request, &mut |_| true).map_err(|halt| halt.to_string())
}

fn topics<E: Engine>(fleet: &Fleet<E>) -> MemoryLogs {
    let shared = fleet.cluster.lock();
    let mut logs = MemoryLogs::default();
    for (name, topic) in &shared.broker.topics {
        let partitions = topic.partitions.iter().map(|log| {
            let readable = log.slots().filter(|slot| slot.fate == Fate::Committed);
            let records = readable.filter_map(|slot| {
                let data = slot.data.as_ref()?;
                Some(LogRecord {
                    offset: slot.offset,
                    timestamp_ms: data.timestamp_ms,
                    has_append_time: topic.append_time,
                    key: data.key.clone(),
                    value: data.value.clone(),
                    headers: data.headers.clone(),
                })
            });
            (log.start(), records.collect())
        });
        logs.topics.insert(name.clone(), partitions.collect());
    }
    logs
}
