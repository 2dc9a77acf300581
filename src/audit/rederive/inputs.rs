//! The inputs of one partition, read batch by batch: as far as each transaction's marker says.

use crate::audit::log::{Cursor, Halt, LogRecord, Logs};
use crate::audit::survey::{Mark, Survey};
use crate::audit::{Counter, Request};
use crate::intake::source::{InputKind, Inputs, Record, TopicIndex};
use crate::message::Name;

/// Reads the inputs of one partition.
pub struct InputReader<L: Logs> {
    partition: i32,
    inputs: Inputs,
    readers: Vec<Reader<L::Cursor>>,
}

struct Reader<C> {
    /// Next offset that was not handed out.
    position: i64,
    first: i64,
    end: i64,
    cursor: Option<C>,
    held: Option<LogRecord>,
}

impl<L: Logs> InputReader<L> {
    /// From a mark on.
    pub fn new(request: &Request, survey: &Survey, partition: i32, start: &Mark) -> Self {
        let topics = request.topics.inputs().map(|topic| {
            let kind = if request.topics.is_intents(topic) {
                InputKind::Intents
            } else if topic == request.topics.reroute {
                InputKind::Reroute
            } else {
                InputKind::Engagement
            };
            (Name::from(topic), kind)
        });
        let topics: Vec<(Name, InputKind)> = topics.collect();
        let task = &survey.tasks[&partition];
        let readers = topics.iter().map(|(topic, _)| {
            let bounds = survey.bounds_of(topic, partition);
            Reader {
                position: start.position(topic),
                first: bounds.first,
                end: task.end(topic).min(bounds.end),
                cursor: None,
                held: None,
            }
        });
        Self {
            partition,
            readers: readers.collect(),
            inputs: Inputs {
                topics: topics.clone(),
                partition_count: survey.partition_count,
            },
        }
    }

    /// The inputs, in the order of the settings.
    pub fn topics(&self) -> &Inputs {
        &self.inputs
    }

    /// Goes on from other positions.
    pub fn go_to(&mut self, positions: &[(String, i64)]) {
        for ((topic, _), reader) in self.inputs.topics.iter().zip(&mut self.readers) {
            if let Some(position) = position_of(positions, topic) {
                reader.position = position;
                (reader.cursor, reader.held) = (None, None);
            }
        }
    }

    /// Everything below those positions that was not handed out, topic by topic.
    ///
    /// # Errors
    /// A topic cannot be read.
    pub fn read_up_to(
        &mut self,
        logs: &mut L,
        positions: &[(String, i64)],
        read: &mut Counter<'_>,
    ) -> Result<Vec<Record>, Halt> {
        let mut records = Vec::new();
        for (index, reader) in self.readers.iter_mut().enumerate() {
            let (topic, _) = &self.inputs.topics[index];
            let Some(until) = position_of(positions, topic).filter(|until| *until > reader.position) else {
                continue;
            };
            let from = reader.position.max(reader.first);
            if reader.cursor.is_none() && reader.end > from {
                reader.cursor = Some(logs.open(topic, self.partition, from, reader.end)?);
            }
            reader.position = until;
            let Some(cursor) = &mut reader.cursor else { continue };
            while let Some(record) = match reader.held.take() {
                Some(record) => Some(record),
                None => cursor.next()?,
            } {
                if record.offset >= until {
                    reader.held = Some(record);
                    break;
                }
                read.count()?;
                records.push(Record {
                    topic: index as TopicIndex,
                    partition: self.partition,
                    offset: record.offset,
                    timestamp_ms: record.timestamp_ms,
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                });
            }
        }
        Ok(records)
    }
}

fn position_of(positions: &[(String, i64)], topic: &str) -> Option<i64> {
    let found = positions.iter().find(|(name, _)| name == topic)?;
    Some(found.1)
}
