//! Finds transactions that never end: the last stable offset of a partition stands still while records lie behind it.
//!
//! Seen after kill -9 of a broker: nothing that reads committed records gets past such a place, and nothing says so. The
//! probe compares what a read-committed and a read-uncommitted client are told about the ends of the same partitions.

use crate::intake::answers::transient;
use crate::intake::client::KafkaSettings;
use crate::intake::ends::Ends;
use crate::intake::source::{InputKind, Inputs, SourceError, TopicIndex};
use crate::message::Name;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A place that has not moved although records lie behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub topic: Name,
    pub partition: i32,
    pub age: Duration,
}

/// Looks at the ends of the inputs and of the state topic.
pub struct HangingProbe {
    committed: Ends,
    uncommitted: Ends,
    /// The inputs, and the state topic behind them.
    topics: Inputs,
    since: HashMap<(TopicIndex, i32), (i64, Instant)>,
}

impl HangingProbe {
    /// Does not connect yet.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses.
    pub fn new(settings: &KafkaSettings, inputs: &Inputs, state_topic: &Name) -> Result<Self, SourceError> {
        let mut topics = inputs.clone();
        topics.topics.push((state_topic.clone(), InputKind::Engagement));
        Ok(Self {
            committed: Ends::new(settings.changelog().create().map_err(transient)?, topics.clone()),
            uncommitted: Ends::new(settings.watermarks().create().map_err(transient)?, topics.clone()),
            topics,
            since: HashMap::new(),
        })
    }

    /// What has been held back for at least `at_least` in these partition numbers, the oldest first. No answer is no news: the
    /// loop itself complains about a leader that is away.
    pub fn look(&mut self, partitions: &[i32], at_least: Duration) -> Vec<Held> {
        let of: Vec<(TopicIndex, i32)> = (0..self.topics.topics.len())
            .flat_map(|topic| {
                partitions
                    .iter()
                    .map(move |partition| (topic as TopicIndex, *partition))
            })
            .collect();
        let stable = self.committed.ask(&of);
        let high = self.uncommitted.ask(&of);
        let mut held = Vec::new();
        let mut since = HashMap::new();
        for ((place, stable), high) in of.into_iter().zip(stable).zip(high) {
            let (Ok(stable), Ok(high)) = (stable, high) else {
                continue;
            };
            if stable >= high {
                continue;
            }
            let seen = self.since.get(&place).filter(|(offset, _)| *offset == stable);
            let first = seen.map_or_else(Instant::now, |(_, first)| *first);
            since.insert(place, (stable, first));
            if first.elapsed() >= at_least {
                let (topic, _) = self.topics.topics[usize::from(place.0)].clone();
                held.push(Held {
                    topic,
                    partition: place.1,
                    age: first.elapsed(),
                });
            }
        }
        self.since = since;
        held.sort_by_key(|held| std::cmp::Reverse(held.age));
        held
    }
}
