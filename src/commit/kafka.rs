//! [`Producer`] and [`Changelog`] on Kafka.
//!
//! A producer serves until the first call that errs or times out, and is dropped then, always: librdkafka retries the end of a
//! transaction silently, so after any doubt the only safe thing is a new producer, whose start settles what was open. That goes
//! for a commit that succeeded, too: where it took as long as a second request takes, a first one may still be on its way (a connection
//! that broke while the broker was slow) and would end a later transaction in the middle. The next transaction then begins with a new producer, whose epoch bars the old request.

use crate::commit::forbidden::{is_forbidden, missing_rights, no_group, no_identity};
use crate::commit::log::{
    Changelog, ChangelogEntry, ChangelogPolled, CommitError, Log, Outgoing, Producer, Transaction,
};
use crate::commit::raw::{self, RawError};
use crate::intake::answers::{bounds_of, transient};
use crate::intake::client::KafkaSettings;
use crate::intake::kafka::{KafkaSource, StatisticsSink};
use crate::intake::queue::{NativeClient, Queue};
use crate::intake::source::{Inputs, SourceError};
use rdkafka::bindings as sys;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one transactional call may take; a time-out that may be retried is retried until [`COMMIT_DEADLINE`].
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// After this long in one commit the outcome is treated as unknown.
const COMMIT_DEADLINE: Duration = Duration::from_secs(20);
/// Start of a producer: may wait for the coordinator to load and for a predecessor's transaction to be settled.
const INITIALISE_DEADLINE: Duration = Duration::from_secs(10);

/// Since when (milliseconds of the process's monotonic clock) a worker has been inside a transactional call; 0: it is not.
/// `send_offsets_to_transaction` ignores its time-out, so a watchdog outside looks at this and ends the process.
#[derive(Debug, Default)]
pub struct CallClock(AtomicU64);

impl CallClock {
    /// How long the worker has been inside one call.
    pub fn stuck_for(&self, origin: Instant) -> Duration {
        match self.0.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => origin.elapsed().saturating_sub(Duration::from_millis(since)),
        }
    }

    fn enter(&self, origin: Instant) {
        let now_ms = u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.store(now_ms.max(1), Ordering::Release);
    }

    fn leave(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// One worker's way to a Kafka cluster.
pub struct KafkaLog {
    pub settings: KafkaSettings,
    pub worker: usize,
    pub inputs: Inputs,
    pub state_topic: String,
    pub statistics: Option<StatisticsSink>,
    pub call_clock: Arc<CallClock>,
    /// The zero of `call_clock`.
    pub origin: Instant,
}

impl Log for KafkaLog {
    type Source = KafkaSource;
    type Producer = KafkaProducer;
    type Changelog = KafkaChangelog;

    fn source(&mut self) -> Result<KafkaSource, SourceError> {
        KafkaSource::new(
            &self.settings,
            self.worker,
            self.inputs.clone(),
            self.statistics.clone(),
        )
    }

    fn producer(&mut self) -> Result<KafkaProducer, CommitError> {
        self.call_clock.enter(self.origin);
        let producer = KafkaProducer::new(self);
        self.call_clock.leave();
        producer
    }

    fn changelog(&mut self) -> Result<KafkaChangelog, SourceError> {
        KafkaChangelog::new(&self.settings, self.state_topic.clone())
    }
}

/// Collects what the delivery reports of one transaction say. They arrive on the client's own thread.
#[derive(Default)]
pub struct Deliveries {
    state_topic: String,
    report: Mutex<Report>,
    statistics: Option<StatisticsSink>,
}

#[derive(Default)]
struct Report {
    /// Highest offset written for each partition of the state topic.
    state_offsets: BTreeMap<i32, i64>,
    first_failure: Option<(RDKafkaErrorCode, String)>,
}

impl ClientContext for Deliveries {
    fn stats_raw(&self, statistics: &[u8]) {
        if let (Some(sink), Ok(text)) = (&self.statistics, std::str::from_utf8(statistics)) {
            sink("producer", text);
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) if message.topic() == self.state_topic => {
                let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
                let highest = report.state_offsets.entry(message.partition()).or_insert(-1);
                *highest = (*highest).max(message.offset());
            }
            Ok(_) => {}
            Err((error, message)) => {
                let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                // Purged: the consequence of an abort, never the cause.
                let consequence = matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight);
                if !consequence && report.first_failure.is_none() {
                    report.first_failure = Some((code, format!("writing to {}: {code}", message.topic())));
                }
            }
        }
    }
}

/// Who writes: all that a producer is made from.
struct Identity {
    settings: KafkaSettings,
    worker: usize,
    state_topic: String,
    statistics: Option<StatisticsSink>,
}

impl Identity {
    /// The client asks again at the earliest after four fifths of its backoff (it takes a fifth off or adds it by chance), counted
    /// from the moment when the connection was lost: what is over before that was asked for once. A first request that got
    /// lost on its way may arrive at any time.
    fn asked_once_within(&self) -> Duration {
        let settings = self.settings.producer(self.worker);
        let backoff_ms = settings
            .get("retry.backoff.ms")
            .and_then(|value| value.parse::<u64>().ok());
        // Without one every transaction is doubted.
        Duration::from_millis(backoff_ms.unwrap_or(0).saturating_mul(7) / 10)
    }

    /// A new producer that has passed `init_transactions`.
    fn start(&self, call_clock: &CallClock, origin: Instant) -> Result<ThreadedProducer<Deliveries>, CommitError> {
        let deliveries = Deliveries {
            state_topic: self.state_topic.clone(),
            statistics: self.statistics.clone(),
            ..Deliveries::default()
        };
        let producer: ThreadedProducer<Deliveries> = self
            .settings
            .producer(self.worker)
            .create_with_context(deliveries)
            .map_err(|error| uncertain(&error))?;
        let started = Instant::now();
        loop {
            call_clock.enter(origin);
            match producer.init_transactions(CALL_TIMEOUT) {
                Ok(()) => return Ok(producer),
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && started.elapsed() < INITIALISE_DEADLINE => {}
                Err(error) => {
                    let fatal = producer.client().fatal_error().map(|(code, _)| code);
                    let codes = [error.rdkafka_error_code(), fatal];
                    if codes.contains(&Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed)) {
                        let id = self.settings.transactional_id(self.worker);
                        return Err(CommitError::Forbidden(no_identity(&id)));
                    }
                    return Err(uncertain(&error));
                }
            }
        }
    }
}

/// A transactional producer that has passed `init_transactions`.
pub struct KafkaProducer {
    producer: ThreadedProducer<Deliveries>,
    identity: Identity,
    /// The last commit took so long that the client may have asked more than once.
    doubtful: bool,
    /// A request to end a transaction that was answered sooner was made once only.
    asked_once_within: Duration,
    /// Of the newest transaction.
    handed_over_in: Duration,
    inputs: Inputs,
    call_clock: Arc<CallClock>,
    origin: Instant,
}

impl KafkaProducer {
    fn new(log: &KafkaLog) -> Result<Self, CommitError> {
        let identity = Identity {
            settings: log.settings.clone(),
            worker: log.worker,
            state_topic: log.state_topic.clone(),
            statistics: log.statistics.clone(),
        };
        Ok(Self {
            producer: identity.start(&log.call_clock, log.origin)?,
            asked_once_within: identity.asked_once_within(),
            identity,
            doubtful: false,
            handed_over_in: Duration::ZERO,
            inputs: log.inputs.clone(),
            call_clock: log.call_clock.clone(),
            origin: log.origin,
        })
    }

    /// One transaction, by a producer that nothing casts doubt on.
    fn transact_without_doubt(
        &mut self,
        transaction: &Transaction,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), CommitError> {
        if self.doubtful {
            tracing::debug!("the last commit may have been asked for twice: a new producer takes over");
            self.producer = self.identity.start(&self.call_clock, self.origin)?;
            self.doubtful = false;
        }
        self.transact(transaction, group)
    }

    fn transact(&mut self, transaction: &Transaction, group: &ConsumerGroupMetadata) -> Result<(), CommitError> {
        *self.report() = Report::default();
        self.producer.begin_transaction().map_err(|error| self.judge(&error))?;
        let timer = Instant::now();
        let handed_over = transaction.records.iter().try_for_each(|record| self.send(record));
        self.handed_over_in = timer.elapsed();
        handed_over?;
        let mut offsets = TopicPartitionList::with_capacity(transaction.offsets.len());
        for commit in &transaction.offsets {
            let (topic, _) = &self.inputs.topics[usize::from(commit.topic)];
            let mut element = offsets.add_partition(topic, commit.partition);
            element
                .set_offset(Offset::Offset(commit.offset))
                .map_err(|error| self.judge(&error))?;
            element.set_metadata(commit.metadata.as_str());
        }
        // Everything is written first. So the partitions are in the transaction, and the coordinator does not answer that the one
        // before is still being completed, for which the client would wait its whole backoff; and what is timed below is the
        // asking and nothing else. What fails here, the commit says.
        self.call_clock.enter(self.origin);
        raw::flush(self.producer.client(), CALL_TIMEOUT);
        let asked = Instant::now();
        if offsets.count() > 0 {
            self.call_clock.enter(self.origin);
            self.producer
                .send_offsets_to_transaction(&offsets, group, CALL_TIMEOUT)
                .map_err(|error| self.judge(&error))?;
        }
        self.end()?;
        self.doubtful = asked.elapsed() > self.asked_once_within;
        Ok(())
    }

    fn send(&self, outgoing: &Outgoing) -> Result<(), CommitError> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&outgoing.topic);
        record.partition = outgoing.partition;
        record.key = outgoing.key.as_deref();
        record.payload = outgoing.value.as_deref();
        record.timestamp = outgoing.timestamp_ms;
        if !outgoing.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(outgoing.headers.len());
            for (name, value) in &outgoing.headers {
                headers = headers.insert(Header {
                    key: name,
                    value: value.as_ref(),
                });
            }
            record.headers = Some(headers);
        }
        let started = Instant::now();
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) => {
                    let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                    if !full || started.elapsed() > COMMIT_DEADLINE {
                        return Err(self.judge(&error));
                    }
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), CommitError> {
        let started = Instant::now();
        loop {
            self.call_clock.enter(self.origin);
            match raw::commit_transaction(self.producer.client(), CALL_TIMEOUT) {
                Ok(()) => return Ok(()),
                // The commit is under way: the same call again, never an abort.
                Err(error) if error.retriable && !error.fatal && started.elapsed() < COMMIT_DEADLINE => {}
                Err(error) => return Err(self.judge_raw(&error)),
            }
        }
    }

    fn judge(&self, error: &KafkaError) -> CommitError {
        let (code, text) = match error {
            KafkaError::Transaction(error) => (error.code(), error.string()),
            other => (
                other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown),
                other.to_string(),
            ),
        };
        match code {
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                CommitError::Forbidden(no_group(&self.identity.settings.group_id))
            }
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
                let id = self.identity.settings.transactional_id(self.identity.worker);
                CommitError::Forbidden(no_identity(&id))
            }
            _ => self.classify(code, text),
        }
    }

    fn judge_raw(&self, error: &RawError) -> CommitError {
        self.classify(error.code, error.text.clone())
    }

    fn classify(&self, code: RDKafkaErrorCode, text: String) -> CommitError {
        if is_fenced(code) || matches!(self.producer.client().fatal_error(), Some((code, _)) if is_fenced(code)) {
            return CommitError::Fenced(text);
        }
        if is_forbidden(code) {
            return CommitError::Forbidden(text);
        }
        if let Some((code, failure)) = &self.report().first_failure
            && is_forbidden(*code)
        {
            return CommitError::Forbidden(failure.clone());
        }
        if let Some((code, failure)) = &self.report().first_failure
            && is_refusal(*code)
        {
            return CommitError::Refused(failure.clone());
        }
        if is_refusal(code) {
            CommitError::Refused(text)
        } else {
            CommitError::Uncertain(text)
        }
    }

    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.producer
            .context()
            .report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer for KafkaProducer {
    type Group = Arc<ConsumerGroupMetadata>;

    fn commit(
        &mut self,
        transaction: &Transaction,
        group: &Self::Group,
        _state_topic: &str,
    ) -> Result<Vec<(i32, i64)>, CommitError> {
        self.call_clock.enter(self.origin);
        let outcome = self.transact_without_doubt(transaction, group);
        let outcome = outcome.map_err(|error| match error {
            CommitError::Forbidden(said) => {
                let client = self.producer.client();
                CommitError::Forbidden(missing_rights(client, &self.inputs, transaction, said))
            }
            other => other,
        });
        self.call_clock.leave();
        outcome?;
        Ok(self
            .report()
            .state_offsets
            .iter()
            .map(|(partition, offset)| (*partition, offset + 1))
            .collect())
    }

    fn handed_over_in(&self) -> Duration {
        self.handed_over_in
    }
}

/// Somebody else holds the identity, or the broker gave the transaction up and raised the epoch itself.
fn is_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::FencedInstanceId
    )
}

/// A record that will be refused again as it is.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
    )
}

fn uncertain(error: &KafkaError) -> CommitError {
    match error {
        KafkaError::Transaction(inner) if is_fenced(inner.code()) => CommitError::Fenced(inner.string()),
        other => CommitError::Uncertain(other.to_string()),
    }
}

struct ChangelogClient(BaseConsumer);

impl NativeClient for ChangelogClient {
    fn native_handle(&self) -> *mut sys::rd_kafka_t {
        self.0.client().native_ptr()
    }
}

/// Reads changelog partitions for restores, outside the group.
pub struct KafkaChangelog {
    topic: String,
    /// Dropped before the client (declaration order).
    queue: Queue<ChangelogClient>,
    client: Arc<ChangelogClient>,
    watermarks: BaseConsumer,
    open: Vec<i32>,
}

impl KafkaChangelog {
    fn new(settings: &KafkaSettings, topic: String) -> Result<Self, SourceError> {
        let client: BaseConsumer = settings.changelog().create().map_err(transient)?;
        let client = Arc::new(ChangelogClient(client));
        let watermarks = settings.watermarks().create().map_err(transient)?;
        Ok(Self {
            topic,
            queue: Queue::new(client.clone()),
            client,
            watermarks,
            open: Vec::new(),
        })
    }
}

impl Changelog for KafkaChangelog {
    fn bounds(&mut self, partition: i32) -> Result<(i64, i64), SourceError> {
        bounds_of(&self.watermarks, &self.topic, partition)
    }

    fn open(&mut self, partition: i32, from: i64) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(from))
            .map_err(transient)?;
        self.queue.forward(&self.topic, partition);
        if self.open.contains(&partition) {
            self.client.0.seek_partitions(list, CALL_TIMEOUT).map_err(transient)?;
            return Ok(());
        }
        self.client.0.incremental_assign(&list).map_err(transient)?;
        self.open.push(partition);
        Ok(())
    }

    fn close(&mut self, partition: i32) {
        if !self.open.contains(&partition) {
            return;
        }
        self.open.retain(|open| *open != partition);
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        if let Err(error) = self.client.0.incremental_unassign(&list) {
            tracing::warn!(partition, %error, "the changelog could not be closed");
        }
    }

    fn poll(&mut self, into: &mut Vec<(i32, ChangelogPolled)>, most: usize, wait: Duration) -> Result<(), SourceError> {
        // Serves the client's own events; records come through the queue.
        if let Some(Err(error)) = self.client.0.poll(Duration::ZERO) {
            tracing::warn!(%error, "reading the changelog failed; the client goes on trying");
        }
        // An unassignment that completes late takes a newer forward away: see `intake::queue`.
        for partition in &self.open {
            self.queue.forward(&self.topic, *partition);
        }
        self.queue.poll(most, wait, |message| {
            let partition = message.partition();
            let polled = match message.error() {
                None => ChangelogPolled::Entry(ChangelogEntry {
                    offset: message.offset(),
                    key: message.key().unwrap_or_default().to_vec(),
                    value: message.value().map(<[u8]>::to_vec),
                }),
                Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF) => ChangelogPolled::End(message.offset()),
                Some(
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
                    | RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
                ) => ChangelogPolled::OutOfRange,
                Some(error) => {
                    let error = RDKafkaErrorCode::from(error);
                    tracing::warn!(partition, %error, "reading the changelog failed; the client goes on trying");
                    return;
                }
            };
            into.push((partition, polled));
        });
        Ok(())
    }
}
