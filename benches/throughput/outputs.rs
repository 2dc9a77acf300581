//! What a program has written, counted: every intent exactly once in approved or suppressed, and a decision for each.

use crate::backlog::{Backlog, number_of};
use crate::harness::KafkaClient;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::Duration;

/// Means over a program's records, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sizes {
    pub verdict_bytes: usize,
    /// Names and values of the headers of one verdict.
    pub header_bytes: usize,
    pub headers: usize,
    pub decision_bytes: usize,
    pub state_bytes: usize,
}

impl Sizes {
    /// For a run of the bare loop without Forbear.
    pub const MEASURED_BEFORE: Self = Self {
        verdict_bytes: 400,
        header_bytes: 150,
        headers: 3,
        decision_bytes: 350,
        state_bytes: 150,
    };
}

pub struct Found {
    pub approved: u64,
    pub sizes: Sizes,
}

/// Panics where something is missing or there twice.
pub fn check(client: &KafkaClient, prefix: &str, backlog: &Backlog) -> Found {
    let count = usize::try_from(backlog.intents).expect("a number of intents");
    let mut seen = vec![false; count];
    let mut verdicts = Sum::default();
    let mut headers = (0, 0);
    let mut approved = 0;
    for verdict in ["approved.email", "suppressed.email"] {
        read(client, &format!("{prefix}{verdict}"), |message| {
            let number = message.payload().and_then(number_of).expect("an intent of the backlog");
            let number = usize::try_from(number).expect("a number");
            assert!(!seen[number], "{prefix}: intent {number} has two verdicts");
            seen[number] = true;
            approved += u64::from(verdict == "approved.email");
            verdicts.add(message.payload_len());
            for header in message.headers().iter().flat_map(|headers| headers.iter()) {
                headers.0 += 1;
                headers.1 += header.key.len() + header.value.map_or(0, <[u8]>::len);
            }
        });
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    assert_eq!(missing, 0, "{prefix}: so many intents have no verdict");
    let mut decisions = Sum::default();
    read(client, &format!("{prefix}decisions"), |message| {
        decisions.add(message.payload_len())
    });
    assert_eq!(decisions.count, count, "{prefix}: a decision for each intent");
    let mut state = Sum::default();
    read(client, &format!("{prefix}state"), |message| {
        state.add(message.payload_len())
    });
    Found {
        approved,
        sizes: Sizes {
            verdict_bytes: verdicts.mean(),
            header_bytes: headers.1 / count.max(1),
            headers: (headers.0 + count / 2) / count.max(1),
            decision_bytes: decisions.mean(),
            state_bytes: state.mean(),
        },
    }
}

#[derive(Default)]
struct Sum {
    count: usize,
    bytes: usize,
}

impl Sum {
    fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn mean(&self) -> usize {
        self.bytes / self.count.max(1)
    }
}

/// Hands every committed record of a topic to `take`.
fn read(client: &KafkaClient, topic: &str, mut take: impl FnMut(&BorrowedMessage)) {
    let partitions = client.partition_count(topic).expect("a topic");
    let mut settings = client.settings();
    settings
        .set("group.id", "bench-check")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "5");
    let consumer: BaseConsumer = settings.create().expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&assignment).expect("an assignment");
    let mut open: BTreeSet<i32> = (0..partitions).collect();
    while !open.is_empty() {
        match consumer.poll(Duration::from_secs(30)) {
            Some(Ok(message)) => take(&message),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => panic!("{topic} cannot be read: {error}"),
            None => panic!("{topic} is not read to its end: {open:?}"),
        }
    }
}
