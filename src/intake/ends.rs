//! The ends of input partitions, asked of their leaders.
//!
//! While all is well that is one call for all of them. The client answers such a call only as a whole: one partition without
//! a leader, or one broker that does not answer, and nobody's end is known. So when a call fails, the partitions are asked
//! leader by leader; those that stay silent are left out of the common call and asked again on their own, now and then and
//! for a moment only.
//!
//! The consent barrier asks by a client that reads uncommitted: what counts is everything that was appended. A last stable
//! offset would hide records that stand behind an open transaction, and they may be opt-outs.

use crate::intake::answers::list_of;
use crate::intake::source::{Inputs, TopicIndex};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longest wait for the common call.
const TOGETHER_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for one leader, when the common call has failed.
const LEADER_WITHIN: Duration = Duration::from_secs(1);
/// Longest wait for a leader that was silent before: it costs the others this much, once in [`ASK_AGAIN_AFTER`].
const SILENT_WITHIN: Duration = Duration::from_millis(250);
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// An input topic and a partition number.
type Place = (TopicIndex, i32);
type Answers = BTreeMap<Place, Result<i64, String>>;

/// Asks, and remembers who does not answer.
pub struct Ends {
    client: BaseConsumer,
    inputs: Inputs,
    silent: BTreeMap<Place, Silent>,
}

struct Silent {
    why: String,
    again_at: Instant,
}

impl Ends {
    /// The ends as that client sees them: uncommitted, everything that was appended; committed, the last stable offsets.
    pub fn new(client: BaseConsumer, inputs: Inputs) -> Self {
        Self {
            client,
            inputs,
            silent: BTreeMap::new(),
        }
    }

    /// One answer for each, in their order.
    pub fn ask(&mut self, of: &[Place]) -> Vec<Result<i64, String>> {
        // What the client has to say besides (a connection that broke) must not pile up.
        while self.client.poll(Duration::ZERO).is_some() {}
        let mut answers = Answers::new();
        let (silent, common): (Vec<Place>, Vec<Place>) = of.iter().partition(|place| self.silent.contains_key(place));
        if !common.is_empty() {
            match self.ask_together(&common, TOGETHER_WITHIN) {
                Ok(ends) => answers.extend(common.iter().copied().zip(ends.into_iter().map(Ok))),
                Err(why) => self.ask_each_leader(&common, &why, LEADER_WITHIN, &mut answers),
            }
        }
        let now = Instant::now();
        let due = |place: &Place| self.silent.get(place).is_some_and(|silent| silent.again_at <= now);
        let again: Vec<Place> = silent.into_iter().filter(due).collect();
        if !again.is_empty() {
            self.ask_each_leader(&again, "it does not answer", SILENT_WITHIN, &mut answers);
        }
        of.iter()
            .map(|place| match (answers.remove(place), self.silent.get(place)) {
                (Some(answer), _) => answer,
                (None, Some(silent)) => Err(silent.why.clone()),
                (None, None) => Err("it was not answered".into()),
            })
            .collect()
    }

    fn ask_together(&self, places: &[Place], within: Duration) -> Result<Vec<i64>, String> {
        let list = list_of(&self.inputs, places, Offset::End).map_err(|error| error.to_string())?;
        let answer = self.client.offsets_for_times(list, within);
        let answer = answer.map_err(|error| error.to_string())?;
        let end = |&(topic, partition): &Place| {
            let (name, _) = &self.inputs.topics[usize::from(topic)];
            let element = answer.find_partition(name, partition).ok_or("it was not answered")?;
            element.error().map_err(|error| error.to_string())?;
            match element.offset() {
                Offset::Offset(offset) => Ok(offset),
                other => Err(format!("no end known yet ({other:?})")),
            }
        };
        places.iter().map(end).collect()
    }

    /// Finds out whose silence made the common call fail. Where nobody answers, that is nobody's fault: it is asked again
    /// together.
    fn ask_each_leader(&mut self, places: &[Place], why: &str, within: Duration, answers: &mut Answers) {
        let leaders = self.leaders(places, within);
        let mut silent: BTreeMap<Place, String> = BTreeMap::new();
        let mut answered = false;
        for (leader, of_leader) in leaders {
            let started = Instant::now();
            let why = match leader {
                Leader::Is(_) => match self.ask_together(&of_leader, within) {
                    Ok(ends) => {
                        answered = true;
                        answers.extend(of_leader.into_iter().zip(ends.into_iter().map(Ok)));
                        continue;
                    }
                    Err(why) => why,
                },
                Leader::None => {
                    answered = true;
                    "it has no leader".to_owned()
                }
                Leader::Unknown => why.to_owned(),
            };
            // An answer that comes at once and is an error may be about one of them only.
            let alone = of_leader.len() > 1 && matches!(leader, Leader::Is(_)) && started.elapsed() < within / 2;
            for place in of_leader {
                match alone.then(|| self.ask_together(&[place], within)) {
                    Some(Ok(ends)) => {
                        answered = true;
                        answers.extend(ends.into_iter().map(|end| (place, Ok(end))));
                    }
                    Some(Err(why)) => drop(silent.insert(place, why)),
                    None => drop(silent.insert(place, why.clone())),
                }
            }
        }
        let again_at = Instant::now() + ASK_AGAIN_AFTER;
        for place in places {
            let before = self.silent.remove(place);
            let Some(why) = silent.remove(place) else { continue };
            answers.insert(*place, Err(why.clone()));
            if answered || before.is_some() {
                self.silent.insert(*place, Silent { why, again_at });
            }
        }
    }

    /// The places by their leader.
    fn leaders(&self, places: &[Place], within: Duration) -> BTreeMap<Leader, Vec<Place>> {
        let mut by_leader: BTreeMap<Leader, Vec<Place>> = BTreeMap::new();
        let mut topics: BTreeMap<TopicIndex, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in places {
            topics.entry(*topic).or_default().push(*partition);
        }
        let mut is_away = false;
        for (topic, partitions) in topics {
            let (name, _) = &self.inputs.topics[usize::from(topic)];
            // A cluster that does not answer for one topic is not waited for once more for the next.
            let known = (!is_away)
                .then(|| self.client.fetch_metadata(Some(name), within).ok())
                .flatten();
            is_away |= known.is_none();
            for partition in partitions {
                let found = known
                    .iter()
                    .flat_map(|known| known.topics())
                    .flat_map(|of| of.partitions());
                let leader = found
                    .into_iter()
                    .find(|found| found.id() == partition)
                    .map(|found| found.leader());
                let leader = match leader {
                    Some(leader @ 0..) => Leader::Is(leader),
                    Some(_) => Leader::None,
                    None => Leader::Unknown,
                };
                by_leader.entry(leader).or_default().push((topic, partition));
            }
        }
        by_leader
    }
}

/// Who leads a partition, by the metadata of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leader {
    Is(i32),
    None,
    /// Nobody told in time.
    Unknown,
}
