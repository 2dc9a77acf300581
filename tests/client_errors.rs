//! What every error of a transactional call leads to, on librdkafka's mock broker: exactly one recovery for each.
//!
//! Four answers exist. *Fenced*: another process holds the identity, this one ends. *Forbidden*: a right is missing, which is no
//! record's fault: everything waits until it is there. *Refused*: a record of the transaction will be refused again as it is, so
//! it has to be found and taken out. *Uncertain*: everything else that the client does not settle
//! by itself; the producer is dropped, and a new one (whose start settles what was open) commits.

use forbear::commit::kafka::{CallClock, KafkaLog, KafkaProducer};
use forbear::commit::log::{CommitError, Log, OffsetCommit, Outgoing, Producer, Transaction};
use forbear::intake::answers::Onlooker;
use forbear::intake::client::KafkaSettings;
use forbear::intake::source::{InputKind, Inputs};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Request, RDKafkaRespErr as Code};
use std::sync::Arc;
use std::time::Instant;

const INTENTS: &str = "intents";
const STATE: &str = "state";

/// A transactional client in front of a broker of its own.
struct Bench {
    broker: MockCluster<'static, DefaultProducerContext>,
    log: KafkaLog,
    group: Arc<ConsumerGroupMetadata>,
}

/// What the loop does next.
#[derive(Debug, PartialEq)]
enum Answer {
    Committed,
    Fenced,
    Forbidden,
    Refused,
    Uncertain,
}

use Answer::{Committed, Fenced, Forbidden, Refused, Uncertain};

impl Bench {
    fn new() -> Self {
        Self::with_properties(&[])
    }

    fn with_properties(producer_properties: &[(&str, &str)]) -> Self {
        let broker = MockCluster::new(1).expect("a mock broker");
        for topic in [INTENTS, STATE] {
            broker.create_topic(topic, 1, 1).expect("a topic");
        }
        let settings = KafkaSettings {
            bootstrap_servers: broker.bootstrap_servers(),
            group_id: "forbear".into(),
            instance_id: "one".into(),
            consumer_properties: Vec::new(),
            producer_properties: producer_properties
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            embedded_broker: true,
        };
        let inputs = Inputs {
            topics: vec![(INTENTS.into(), InputKind::Intents)],
            partition_count: 1,
        };
        let onlooker = Onlooker::new(&settings, inputs.clone()).expect("a consumer");
        let group = onlooker.group().expect("a group");
        let log = KafkaLog {
            settings,
            worker: 0,
            inputs,
            state_topic: STATE.into(),
            statistics: None,
            call_clock: Arc::new(CallClock::default()),
            origin: Instant::now(),
        };
        Self { broker, log, group }
    }

    fn producer(&mut self) -> KafkaProducer {
        self.log.producer().expect("a producer that has settled what was open")
    }

    /// One record and one position, as every transaction has.
    fn commit(&self, producer: &mut KafkaProducer) -> Answer {
        self.commit_record_of(producer, 10)
    }

    fn commit_record_of(&self, producer: &mut KafkaProducer, bytes: usize) -> Answer {
        let transaction = Transaction {
            records: vec![Outgoing {
                topic: STATE.into(),
                partition: Some(0),
                key: Some(b"key".to_vec()),
                value: Some(vec![b'x'; bytes]),
                headers: Vec::new(),
                timestamp_ms: None,
            }],
            offsets: vec![OffsetCommit {
                topic: 0,
                partition: 0,
                offset: 1,
                metadata: "7".into(),
            }],
        };
        let outcome = producer.commit(&transaction, &self.group, STATE);
        println!("{outcome:?}");
        match outcome {
            Ok(state) => {
                assert!(matches!(state[..], [(0, 1..)]), "the record has an offset: {state:?}");
                Committed
            }
            Err(CommitError::Fenced(_)) => Fenced,
            Err(CommitError::Forbidden(_)) => Forbidden,
            Err(CommitError::Refused(_)) => Refused,
            Err(CommitError::Uncertain(_)) => Uncertain,
        }
    }

    /// What a transaction comes to when requests of a kind are answered with these errors, one after the other.
    fn answer_to(&mut self, request: Request, errors: &[Code]) -> Answer {
        let mut producer = self.producer();
        self.broker.request_errors(request, errors);
        println!("{request:?} {errors:?}");
        let answer = self.commit(&mut producer);
        drop(producer);
        self.broker.clear_request_errors(request);
        answer
    }
}

fn expect_everywhere(rows: &[(Request, &[Code])], expected: &Answer) {
    for (request, codes) in rows {
        for code in *codes {
            let mut bench = Bench::new();
            let answer = bench.answer_to(*request, &[*code]);
            assert_eq!(answer, *expected, "{request:?} answered with {code:?}");
            if *expected != Fenced {
                let mut next = bench.producer();
                assert_eq!(
                    bench.commit(&mut next),
                    Committed,
                    "after {request:?} answered with {code:?}"
                );
            }
        }
    }
}

#[test]
fn a_transaction_that_meets_no_error_commits_again_and_again() {
    let mut bench = Bench::new();
    let mut producer = bench.producer();
    for _ in 0..3 {
        assert_eq!(bench.commit(&mut producer), Committed);
    }
}

#[test]
fn a_process_whose_identity_another_one_holds_ends() {
    expect_everywhere(
        &[
            (
                Request::TxnOffsetCommit,
                &[
                    Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
                    Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
                ],
            ),
            (
                Request::AddOffsetsToTxn,
                &[
                    Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
                    Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
                ],
            ),
            (
                Request::AddPartitionsToTxn,
                &[
                    Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
                    Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
                ],
            ),
            (
                Request::EndTxn,
                &[
                    Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
                    Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
                ],
            ),
            (
                Request::Produce,
                &[
                    Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
                    Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
                ],
            ),
        ],
        &Fenced,
    );
}

#[test]
fn a_member_that_the_group_has_left_behind_recovers_with_a_new_producer() {
    expect_everywhere(
        &[(
            Request::TxnOffsetCommit,
            &[
                Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
                Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
                Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            ],
        )],
        &Uncertain,
    );
}

#[test]
fn a_producer_in_a_state_of_its_own_is_replaced() {
    expect_everywhere(
        &[
            (Request::AddOffsetsToTxn, &[Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]),
            (
                Request::AddPartitionsToTxn,
                &[Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE],
            ),
            (
                Request::EndTxn,
                &[
                    Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
                    Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
                    Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
                ],
            ),
            (
                Request::Produce,
                &[Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
            ),
        ],
        &Uncertain,
    );
}

#[test]
fn a_record_that_the_broker_will_not_take_is_refused() {
    expect_everywhere(
        &[(Request::Produce, &[Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE])],
        &Refused,
    );
}

#[test]
fn a_right_that_is_missing_is_blamed_on_no_record() {
    const NOT_THE_TOPIC: Code = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    const NOT_THE_GROUP: Code = Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    const NOT_THE_IDENTITY: Code = Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    expect_everywhere(
        &[
            (Request::Produce, &[NOT_THE_TOPIC]),
            (Request::AddPartitionsToTxn, &[NOT_THE_TOPIC, NOT_THE_IDENTITY]),
            (Request::AddOffsetsToTxn, &[NOT_THE_GROUP, NOT_THE_IDENTITY]),
            (
                Request::TxnOffsetCommit,
                &[NOT_THE_TOPIC, NOT_THE_GROUP, NOT_THE_IDENTITY],
            ),
            (Request::EndTxn, &[NOT_THE_IDENTITY]),
        ],
        &Forbidden,
    );
    let mut bench = Bench::new();
    bench
        .broker
        .request_errors(Request::InitProducerId, &[NOT_THE_IDENTITY]);
    let Some(CommitError::Forbidden(said)) = bench.log.producer().err() else {
        panic!("a producer without the right to be one");
    };
    assert_eq!(
        said,
        "this Kafka user has no right to Write on the transactional id forbear/one/0"
    );
}

#[test]
fn a_record_that_the_client_will_not_take_is_refused() {
    let mut bench = Bench::with_properties(&[("message.max.bytes", "1500")]);
    let mut producer = bench.producer();
    assert_eq!(bench.commit_record_of(&mut producer, 2000), Refused);
    drop(producer);
    let mut next = bench.producer();
    assert_eq!(bench.commit(&mut next), Committed);
}

/// The same request again, inside the client: seen by a second error that only a second request can meet.
#[test]
fn what_passes_is_tried_again_by_the_client_itself() {
    const RETRIED: [(Request, &[Code], Code); 5] = [
        (
            Request::TxnOffsetCommit,
            &[
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                Code::RD_KAFKA_RESP_ERR__TRANSPORT,
            ],
            Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        ),
        (
            Request::AddPartitionsToTxn,
            &[Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS],
            Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
        ),
        (
            Request::AddOffsetsToTxn,
            &[Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS],
            Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
        ),
        (
            Request::EndTxn,
            &[
                Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
                Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                Code::RD_KAFKA_RESP_ERR__TRANSPORT,
            ],
            Code::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
        ),
        (
            Request::Produce,
            &[
                Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                Code::RD_KAFKA_RESP_ERR__TRANSPORT,
            ],
            Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        ),
    ];
    for (request, codes, seen_by_the_second) in RETRIED {
        for code in codes {
            let mut bench = Bench::new();
            let answer = bench.answer_to(request, &[*code]);
            assert_eq!(answer, Committed, "{request:?} answered once with {code:?}");
            let answer = bench.answer_to(request, &[*code, seen_by_the_second]);
            assert_eq!(
                answer, Uncertain,
                "{request:?} answered with {code:?} and was not sent again"
            );
        }
    }
}

/// The client has repeated the request, half a second later each time, and reports success; one of them may still be on its way.
#[test]
fn a_commit_that_was_asked_for_again_and_again_is_followed_by_a_new_producer() {
    for (start, expected) in [
        (Code::RD_KAFKA_RESP_ERR_NO_ERROR, Committed),
        // Only a producer that starts would meet this one.
        (Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED, Fenced),
    ] {
        let mut bench = Bench::new();
        let mut producer = bench.producer();
        bench
            .broker
            .request_errors(Request::EndTxn, &[Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR; 4]);
        assert_eq!(bench.commit(&mut producer), Committed);
        bench.broker.request_errors(Request::InitProducerId, &[start]);
        assert_eq!(bench.commit(&mut producer), expected, "a start answered with {start:?}");
    }
}

#[test]
fn a_producer_that_is_fenced_at_its_start_ends_the_process() {
    let mut bench = Bench::new();
    bench
        .broker
        .request_errors(Request::InitProducerId, &[Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED]);
    let refused = bench.log.producer().err();
    assert!(matches!(refused, Some(CommitError::Fenced(_))), "{refused:?}");
}
