//! `[kafka.client]`: properties handed to librdkafka as they are, each to the client that knows it. The ones that a
//! promise rests on are Forbear's own and are refused with the reason; secrets are read from files and never printed.

use super::properties::{self, Scope};
use std::fmt;

/// Properties of the operator, sorted by name.
#[derive(Clone, PartialEq, Default)]
pub struct ClientProperties {
    entries: Vec<(String, String)>,
}

/// Properties that are not the operator's to set, and why.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "it is set by kafka.bootstrap-servers"),
    ("metadata.broker.list", "it is set by kafka.bootstrap-servers"),
    ("group.id", "it is set by kafka.group-id"),
    (
        "group.instance.id",
        "each worker has its own, made of kafka.instance-id",
    ),
    (
        "group.protocol",
        "an assignment is answered by hand, under the classic protocol",
    ),
    (
        "group.remote.assignor",
        "an assignment is answered by hand, under the classic protocol",
    ),
    (
        "transactional.id",
        "each worker has its own, made of kafka.group-id and kafka.instance-id",
    ),
    (
        "transaction.timeout.ms",
        "the watchdog and the takeover after a crash rest on it",
    ),
    (
        "isolation.level",
        "records of a transaction that was aborted must never be judged",
    ),
    (
        "enable.auto.commit",
        "positions are committed in the transaction that carries the verdicts, and nowhere else",
    ),
    (
        "auto.commit.enable",
        "positions are committed in the transaction that carries the verdicts, and nowhere else",
    ),
    (
        "auto.commit.interval.ms",
        "positions are committed in the transaction that carries the verdicts, and nowhere else",
    ),
    (
        "enable.auto.offset.store",
        "positions are committed in the transaction that carries the verdicts, and nowhere else",
    ),
    (
        "offset.store.method",
        "positions are committed in the transaction that carries the verdicts, and nowhere else",
    ),
    (
        "auto.offset.reset",
        "a position outside the log has to block its partition; a silent jump would lose records",
    ),
    (
        "enable.partition.eof",
        "the consent barrier needs to see the end of each partition",
    ),
    ("enable.idempotence", "exactly once needs it to be on"),
    (
        "enable.gapless.guarantee",
        "exactly once decides what happens to a record that cannot be delivered",
    ),
    ("acks", "a verdict counts once all replicas in sync have it"),
    (
        "request.required.acks",
        "a verdict counts once all replicas in sync have it",
    ),
    ("max.in.flight", "the order of records in a partition rests on it"),
    (
        "max.in.flight.requests.per.connection",
        "the order of records in a partition rests on it",
    ),
    (
        "retries",
        "a record that is not delivered must end its transaction, by time and not by count",
    ),
    (
        "message.send.max.retries",
        "a record that is not delivered must end its transaction, by time and not by count",
    ),
    (
        "delivery.report.only.error",
        "the changelog positions are taken from the delivery reports",
    ),
    (
        "partitioner",
        "a customer must have one owner: murmur2 of the customer id",
    ),
    (
        "client.rack",
        "a follower may be behind, and an opt-out could be missed: inputs are read from the leaders",
    ),
    (
        "allow.auto.create.topics",
        "topics have to be made with the right settings: `forbear topics create`",
    ),
    ("check.crcs", "damaged records have to be seen"),
    (
        "plugin.library.paths",
        "foreign code in the client could change what is read and written",
    ),
];

impl ClientProperties {
    /// Checks names, resolves `file:` references; every problem is one sentence that never contains a value.
    pub(super) fn from_entries(given: Vec<(String, String)>) -> Result<ClientProperties, Vec<String>> {
        let mut problems = Vec::new();
        let mut entries = Vec::new();
        for (name, value) in given {
            if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
                problems.push(format!("kafka.client.\"{name}\" cannot be set: {why}"));
            } else if properties::scope_of(&name).is_none() {
                let suggestion = super::read::nearest(&name, properties::names())
                    .map(|near| format!("; did you mean \"{near}\"?"))
                    .unwrap_or_default();
                problems.push(format!(
                    "kafka.client.\"{name}\" is not a property of the Kafka client{suggestion}"
                ));
            } else {
                match resolve(&name, value) {
                    Ok(value) => entries.push((name, value)),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        entries.sort();
        if problems.is_empty() {
            Ok(ClientProperties { entries })
        } else {
            Err(problems)
        }
    }

    /// For a consumer: all but the producer's own.
    pub fn consumer(&self) -> Vec<(String, String)> {
        self.without(Scope::Producer)
    }

    /// For a producer: all but the consumer's own.
    pub fn producer(&self) -> Vec<(String, String)> {
        self.without(Scope::Consumer)
    }

    /// For a client that neither consumes nor produces.
    pub fn admin(&self) -> Vec<(String, String)> {
        self.entries
            .iter()
            .filter(|(name, _)| properties::scope_of(name) == Some(Scope::Both))
            .cloned()
            .collect()
    }

    fn without(&self, excluded: Scope) -> Vec<(String, String)> {
        self.entries
            .iter()
            .filter(|(name, _)| properties::scope_of(name) != Some(excluded))
            .cloned()
            .collect()
    }
}

/// Names only: a value may be a secret.
impl fmt::Debug for ClientProperties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_map()
            .entries(self.entries.iter().map(|(name, _)| (name, "…")))
            .finish()
    }
}

/// A `file:` reference becomes the file's text without the line break at its end.
fn resolve(name: &str, value: String) -> Result<String, String> {
    let Some(path) = value.strip_prefix("file:") else {
        return Ok(value);
    };
    match super::read_bounded(std::path::Path::new(path)) {
        Ok(text) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
        Err(error) => Err(format!("kafka.client.\"{name}\": cannot read the file {path}: {error}")),
    }
}
