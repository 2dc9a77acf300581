//! [`Source`] on Kafka.
//!
//! The group hands out partition *numbers*: the consumer subscribes to the first intents topic alone, and every answer to an
//! assignment adds partition p of every other input by hand. So p of all inputs always lies with one worker, under any
//! assignor. Callbacks only report: a rebalance waits in [`GroupEvents`] until the worker, between two batches, answers it.

use crate::intake::answers::{CALL_TIMEOUT, bounds_of, committed_of, fatal, transient};
use crate::intake::client::KafkaSettings;
use crate::intake::denied::Denied;
use crate::intake::ends::Ends;
use crate::intake::queue::{Message, NativeClient, Queue};
pub use crate::intake::rebalance::StatisticsSink;
use crate::intake::rebalance::{GroupEvents, Rebalance};
use crate::intake::rights::{Operation, no_right};
use crate::intake::source::{
    Committed, InputKind, Inputs, Polled, Record, Source, SourceError, SourceEvent, StartAt, TopicIndex,
};
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shared consumer: queues hold it, so that it outlives them.
pub struct Client(BaseConsumer<GroupEvents>);

impl NativeClient for Client {
    fn native_handle(&self) -> *mut sys::rd_kafka_t {
        self.0.client().native_ptr()
    }
}

/// One worker's consumer.
pub struct KafkaSource {
    inputs: Inputs,
    group_id: String,
    /// Dropped before the client (declaration order).
    engagement: Queue<Client>,
    intents: Queue<Client>,
    client: Arc<Client>,
    ends: Ends,
    /// Answers that the next `hold`/`release` has to give.
    answering: Option<bool>,
    /// Snapshot taken when the newest assignment was answered.
    group: Option<Arc<ConsumerGroupMetadata>>,
    forwarded_at: Instant,
    held: Vec<i32>,
    /// Next offset of every input that is being read, as far as one is known.
    positions: BTreeMap<(TopicIndex, i32), i64>,
    /// The client has to be told the positions again before anything more is read.
    displaced: bool,
    denied: Denied,
}

impl KafkaSource {
    /// Joins the group of `settings` as worker `worker`.
    ///
    /// # Errors
    /// A configuration that librdkafka refuses, in its words.
    pub fn new(
        settings: &KafkaSettings,
        worker: usize,
        inputs: Inputs,
        statistics: Option<StatisticsSink>,
    ) -> Result<Self, SourceError> {
        let events = GroupEvents::new(statistics);
        let consumer: BaseConsumer<GroupEvents> =
            settings.consumer(worker).create_with_context(events).map_err(fatal)?;
        let subscribed = inputs
            .topics
            .first()
            .map(|(name, _)| name.to_string())
            .unwrap_or_default();
        consumer.subscribe(&[&subscribed]).map_err(fatal)?;
        let client = Arc::new(Client(consumer));
        Ok(Self {
            engagement: Queue::new(client.clone()),
            intents: Queue::new(client.clone()),
            client,
            ends: Ends::new(settings.watermarks().create().map_err(fatal)?, inputs.clone()),
            inputs,
            group_id: settings.group_id.clone(),
            answering: None,
            group: None,
            forwarded_at: Instant::now(),
            held: Vec::new(),
            positions: BTreeMap::new(),
            displaced: false,
            denied: Denied::default(),
        })
    }

    fn consumer(&self) -> &BaseConsumer<GroupEvents> {
        &self.client.0
    }

    fn every_input(&self, partitions: &[i32], offset: Offset) -> Result<TopicPartitionList, SourceError> {
        let mut list = TopicPartitionList::with_capacity(partitions.len() * self.inputs.topics.len());
        for (topic, _) in &self.inputs.topics {
            for &partition in partitions {
                list.add_partition_offset(topic, partition, offset).map_err(transient)?;
            }
        }
        Ok(list)
    }

    fn forward(&mut self, partitions: &[i32]) {
        for (topic, kind) in &self.inputs.topics {
            let queue = if *kind == InputKind::Intents {
                &self.intents
            } else {
                &self.engagement
            };
            for &partition in partitions {
                queue.forward(topic, partition);
            }
        }
        self.forwarded_at = Instant::now();
    }

    /// An unassignment that completes late takes a newer forward away: renewing it now and then costs microseconds, and
    /// what was fetched meanwhile is handed over by it.
    fn renew_forwards(&mut self) {
        if self.forwarded_at.elapsed() > Duration::from_secs(2) {
            let held = std::mem::take(&mut self.held);
            self.forward(&held);
            self.held = held;
        }
    }

    /// Tells the client the positions again after a rebalance. It pauses what it keeps meanwhile and goes on behind the
    /// newest message that it handed out; but a batch call counts the end of a partition as a message too, so that it would
    /// go on one record too late: lose a record, or ask for one beyond the end. A seek also makes everything outdated that
    /// was fetched in between.
    fn reposition(&mut self) -> Result<(), SourceError> {
        if !self.displaced {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(self.positions.len());
        for ((topic, partition), offset) in &self.positions {
            let (name, _) = &self.inputs.topics[usize::from(*topic)];
            list.add_partition_offset(name, *partition, Offset::Offset(*offset))
                .map_err(transient)?;
        }
        if list.count() > 0 {
            self.seek(list)?;
        }
        self.displaced = false;
        Ok(())
    }

    /// Moves the client to these positions; partitions that it has given up are assigned anew.
    fn seek(&mut self, list: TopicPartitionList) -> Result<(), SourceError> {
        let wanted = list.clone();
        let sought = self.consumer().seek_partitions(list, CALL_TIMEOUT).map_err(transient)?;
        let mut given_up = TopicPartitionList::new();
        for element in sought.elements() {
            let Err(error) = element.error() else { continue };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::State) {
                return Err(transient(error));
            }
            let Some(place) = wanted.find_partition(element.topic(), element.partition()) else {
                continue;
            };
            given_up
                .add_partition_offset(place.topic(), place.partition(), place.offset())
                .map_err(transient)?;
        }
        if given_up.count() == 0 {
            return Ok(());
        }
        tracing::info!(
            count = given_up.count(),
            "inputs that the client had given up are assigned anew"
        );
        let consumer = self.consumer();
        consumer.incremental_unassign(&given_up).map_err(transient)?;
        consumer.incremental_assign(&given_up).map_err(transient)?;
        let held = self.held.clone();
        self.forward(&held);
        Ok(())
    }

    /// Notes how far the inputs were read. Answers whether the position of one is lost indeed: the client says so, too,
    /// after a rebalance and of a partition that is whole.
    fn note(&mut self, polled: &Polled) -> Result<bool, SourceError> {
        let (Polled::Record(Record { partition, .. })
        | Polled::End { partition, .. }
        | Polled::OutOfRange { partition, .. }) = polled;
        // Of a partition that was given up something may still arrive: its position is nobody's business here any more.
        if !self.held.contains(partition) {
            return Ok(false);
        }
        match polled {
            Polled::Record(record) => {
                let next = record.offset.saturating_add(1);
                self.positions.insert((record.topic, record.partition), next);
            }
            Polled::End {
                topic,
                partition,
                offset,
            } => {
                let next = self.positions.entry((*topic, *partition)).or_insert(*offset);
                *next = (*next).max(*offset);
            }
            Polled::OutOfRange { topic, partition } => {
                let Some(next) = self.positions.get(&(*topic, *partition)).copied() else {
                    return Ok(true);
                };
                let (name, _) = &self.inputs.topics[usize::from(*topic)];
                let bounds = bounds_of(self.consumer(), name, *partition);
                // Without an answer: read there again, and be told again.
                if bounds.is_ok_and(|(low, high)| next < low || next > high) {
                    return Ok(true);
                }
                self.displaced = true;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// An unanswered rebalance would hold the end of the membership up for ever.
    fn answer_what_is_pending(&self) {
        for rebalance in self.consumer().context().take() {
            let (Rebalance::Assign { eager, .. } | Rebalance::Revoke { eager, .. }) = rebalance;
            let answer = if eager {
                self.consumer().unassign()
            } else {
                self.consumer().incremental_unassign(&TopicPartitionList::new())
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "unanswered rebalance while leaving");
            }
        }
    }

    fn client_event(&self, error: &KafkaError) -> Option<SourceEvent> {
        let fatal = self.consumer().client().fatal_error();
        match (error.rdkafka_error_code(), fatal) {
            (Some(RDKafkaErrorCode::FencedInstanceId), _) | (_, Some((RDKafkaErrorCode::FencedInstanceId, _))) => Some(
                SourceEvent::Fenced("another process joined the group with this instance-id".into()),
            ),
            (_, Some((code, reason))) => Some(SourceEvent::Fatal(format!("{code}: {reason}"))),
            (Some(RDKafkaErrorCode::GroupAuthorizationFailed), None) => {
                let group = format!("the group {}", self.group_id);
                Some(SourceEvent::Forbidden(no_right(&[Operation::Read], &group)))
            }
            (Some(RDKafkaErrorCode::InvalidSessionTimeout), None) => Some(SourceEvent::Forbidden(
                "the brokers do not allow this session.timeout.ms: it has to lie between their group.min.session.timeout.ms \
                 and group.max.session.timeout.ms"
                    .into(),
            )),
            // It is subscribed to the first input alone.
            (Some(RDKafkaErrorCode::TopicAuthorizationFailed), None) => {
                let topic = self.inputs.topics.first().map_or("", |(name, _)| name);
                let right = no_right(&[Operation::Read], &format!("the topic {topic}"));
                Some(SourceEvent::Forbidden(right))
            }
            (_, None) => {
                tracing::warn!(%error, "consumer error; the client goes on trying");
                None
            }
        }
    }

    fn take(&mut self, messages: Vec<Polled>, into: &mut Vec<Polled>) -> Result<(), SourceError> {
        for polled in messages {
            if self.note(&polled)? {
                into.push(polled);
            }
        }
        Ok(())
    }
}

impl Source for KafkaSource {
    type Group = Arc<ConsumerGroupMetadata>;

    fn events(&mut self, wait: Duration) -> Vec<SourceEvent> {
        self.renew_forwards();
        let mut events = Vec::new();
        // The consumer's own queue carries the group's decisions and client errors; records come through our queues.
        match self.consumer().poll(wait) {
            Some(Err(error)) => events.extend(self.client_event(&error)),
            Some(Ok(message)) => {
                let place = format!("{}/{}", message.topic(), message.partition());
                events.push(SourceEvent::Fatal(format!("a record of {place} came past the queues")));
            }
            None => {}
        }
        events.extend(self.denied.look(self.client.0.client(), &self.inputs));
        let pending = self.consumer().context().take();
        for rebalance in pending {
            events.push(match rebalance {
                Rebalance::Assign { partitions, eager } => {
                    self.answering = Some(eager);
                    SourceEvent::Assigned(partitions)
                }
                Rebalance::Revoke {
                    partitions,
                    lost,
                    eager,
                } => {
                    self.answering = Some(eager);
                    SourceEvent::Revoked { partitions, lost }
                }
            });
        }
        events
    }

    fn hold(&mut self, partitions: &[i32]) -> Result<(), SourceError> {
        self.forward(partitions);
        // Paused before it is assigned, and at a number: a logical offset would send the client asking for it, and an answer
        // that comes after the seek of `start` would move the partition to the end of the log, silently.
        let list = self.every_input(partitions, Offset::Offset(0))?;
        if !partitions.is_empty() {
            self.consumer().pause(&list).map_err(fatal)?;
        }
        let answer = match self.answering {
            Some(true) => self.consumer().assign(&list),
            _ => self.consumer().incremental_assign(&list),
        };
        // An assignment that is not answered would hold the whole group up, with heartbeats going on.
        answer.map_err(fatal)?;
        self.held.extend_from_slice(partitions);
        self.displaced = true;
        self.group = self.consumer().group_metadata().map(Arc::new);
        Ok(())
    }

    fn release(&mut self, partitions: &[i32]) -> Result<(), SourceError> {
        self.held.retain(|held| !partitions.contains(held));
        self.positions.retain(|(_, held), _| !partitions.contains(held));
        self.displaced = true;
        let answer = match self.answering {
            Some(true) => {
                self.held.clear();
                self.positions.clear();
                self.consumer().unassign()
            }
            _ => {
                let list = self.every_input(partitions, Offset::Invalid)?;
                self.consumer().incremental_unassign(&list)
            }
        };
        answer.map_err(fatal)
    }

    fn group(&mut self) -> Result<Self::Group, SourceError> {
        // Deliberately not asked anew: a fresh membership with an old assignment would let two owners commit.
        self.group
            .clone()
            .ok_or_else(|| SourceError::Transient("not a member of the group yet".into()))
    }

    fn start(&mut self, partition: i32, positions: &[StartAt]) -> Result<(), SourceError> {
        self.forward(&[partition]);
        let mut list = TopicPartitionList::new();
        let mut concrete = Vec::with_capacity(positions.len());
        for ((topic, _), position) in self.inputs.topics.iter().zip(positions) {
            // Never a logical offset: see `hold`.
            let offset = match position {
                StartAt::Beginning => bounds_of(self.consumer(), topic, partition)?.0,
                StartAt::Offset(offset) => *offset,
            };
            concrete.push(offset);
            list.add_partition_offset(topic, partition, Offset::Offset(offset))
                .map_err(transient)?;
        }
        self.seek(list)?;
        for (topic, offset) in concrete.into_iter().enumerate() {
            self.positions.insert((topic as TopicIndex, partition), offset);
        }
        let list = self.every_input(&[partition], Offset::Invalid)?;
        self.consumer().resume(&list).map_err(transient)
    }

    fn stop(&mut self, partition: i32) -> Result<(), SourceError> {
        self.positions.retain(|(_, stopped), _| *stopped != partition);
        let list = self.every_input(&[partition], Offset::Invalid)?;
        self.consumer().pause(&list).map_err(transient)
    }

    fn poll_engagement(&mut self, into: &mut Vec<Polled>, most: usize, wait: Duration) -> Result<(), SourceError> {
        self.reposition()?;
        let mut polled = Vec::new();
        poll(
            &mut self.engagement,
            &self.inputs,
            &mut self.denied,
            &mut polled,
            most,
            wait,
        )?;
        self.take(polled, into)
    }

    fn poll_intents(&mut self, into: &mut Vec<Polled>, most: usize, wait: Duration) -> Result<(), SourceError> {
        self.reposition()?;
        let mut polled = Vec::new();
        poll(
            &mut self.intents,
            &self.inputs,
            &mut self.denied,
            &mut polled,
            most,
            wait,
        )?;
        self.take(polled, into)
    }

    fn ends(&mut self, of: &[(TopicIndex, i32)]) -> Result<Vec<Result<i64, String>>, SourceError> {
        Ok(self.ends.ask(of))
    }

    fn pause_intents(&mut self, partition: i32, paused: bool) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        for (topic, (name, kind)) in self.inputs.topics.iter().enumerate() {
            if let (InputKind::Intents, Some(next)) = (kind, self.positions.get(&(topic as TopicIndex, partition))) {
                list.add_partition_offset(name, partition, Offset::Offset(*next))
                    .map_err(transient)?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        if paused {
            return self.consumer().pause(&list).map_err(transient);
        }
        // A pause forgets what was fetched and goes on one record too late: see `reposition`.
        self.seek(list.clone())?;
        self.consumer().resume(&list).map_err(transient)
    }

    fn committed(&mut self, of: &[(TopicIndex, i32)]) -> Result<Vec<Option<Committed>>, SourceError> {
        committed_of(self.consumer(), &self.inputs, of)
    }

    fn leave(&mut self) {
        // A static member that only closes keeps its seat for the session's time-out; to unsubscribe leaves.
        self.consumer().context().close();
        self.answer_what_is_pending();
        self.consumer().unsubscribe();
        for _ in 0..20 {
            let _ = self.consumer().poll(Duration::from_millis(50));
            if self
                .consumer()
                .assignment()
                .is_ok_and(|assignment| assignment.count() == 0)
            {
                return;
            }
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.consumer().context().close();
        self.answer_what_is_pending();
    }
}

fn poll(
    queue: &mut Queue<Client>,
    inputs: &Inputs,
    denied: &mut Denied,
    into: &mut Vec<Polled>,
    most: usize,
    wait: Duration,
) -> Result<(), SourceError> {
    let mut failed = None;
    queue.poll(most, wait, |message| match polled(inputs, denied, &message) {
        Ok(Some(polled)) => into.push(polled),
        Ok(None) => {}
        Err(error) => failed = Some(error),
    });
    failed.map_or(Ok(()), Err)
}

fn polled(inputs: &Inputs, denied: &mut Denied, message: &Message) -> Result<Option<Polled>, SourceError> {
    let name = message.topic();
    let Some(topic) = inputs.topics.iter().position(|(topic, _)| &**topic == name) else {
        return Ok(None);
    };
    let topic = topic as TopicIndex;
    let partition = message.partition();
    match message.error() {
        None => Ok(Some(Polled::Record(Record {
            topic,
            partition,
            offset: message.offset(),
            timestamp_ms: message.timestamp_ms(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.value().map(<[u8]>::to_vec),
            headers: message.headers(),
        }))),
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF) => Ok(Some(Polled::End {
            topic,
            partition,
            offset: message.offset(),
        })),
        Some(
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
            | RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
        ) => {
            // On an event, the value is librdkafka's own text.
            let reason = message.value().map(String::from_utf8_lossy).unwrap_or_default();
            // The client says so after a rebalance, too, of a partition that is whole: the task tells of a true loss.
            tracing::debug!(topic = name, partition, %reason, "the client asks where to read on");
            Ok(Some(Polled::OutOfRange { topic, partition }))
        }
        Some(error) => {
            let code = RDKafkaErrorCode::from(error);
            if code == RDKafkaErrorCode::TopicAuthorizationFailed {
                denied.note(topic);
            }
            tracing::warn!(topic = name, partition, error = %code, "reading an input failed; the client goes on trying");
            Ok(None)
        }
    }
}
