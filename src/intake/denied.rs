//! Inputs that may not be read for want of a right. The client tells once that one may not, and nobody that it may again: so it
//! is asked for now and then, as long as there are such inputs.

use crate::intake::rights::{self, Operation, no_right};
use crate::intake::source::{Inputs, SourceEvent, TopicIndex};
use rdkafka::client::{Client, ClientContext};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const ASKED_EVERY: Duration = Duration::from_secs(3);
/// Longest wait for an answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// Which inputs, as far as it is known.
#[derive(Default)]
pub struct Denied {
    topics: BTreeSet<TopicIndex>,
    asked_at: Option<Instant>,
}

impl Denied {
    /// This one could not be read.
    pub fn note(&mut self, topic: TopicIndex) {
        self.topics.insert(topic);
    }

    /// Asks for the rights again where that is due, and says how it stands. Where the brokers do not tell, the log has said what
    /// the client said, and that is all.
    pub fn look<C: ClientContext>(&mut self, client: &Client<C>, inputs: &Inputs) -> Option<SourceEvent> {
        let is_due = self.asked_at.is_none_or(|at| at.elapsed() > ASKED_EVERY);
        if self.topics.is_empty() || !is_due {
            return None;
        }
        let name = |topic: &TopicIndex| &*inputs.topics[usize::from(*topic)].0;
        let names: Vec<&str> = self.topics.iter().map(name).collect();
        let rights = rights::of_topics(client, &names, ANSWERED_WITHIN);
        let wanted = [Operation::Read];
        self.topics.retain(|topic| {
            let has = rights.get(name(topic));
            has.is_some_and(|has| !has.lack(&wanted).is_empty())
        });
        let missing = self
            .topics
            .iter()
            .map(|topic| no_right(&wanted, &format!("the topic {}", name(topic))));
        let missing: Vec<String> = missing.collect();
        self.asked_at = (!missing.is_empty()).then(Instant::now);
        let missing = (!missing.is_empty()).then(|| missing.join("; "));
        Some(SourceEvent::ReadingForbidden(missing))
    }
}
