//! Facts about Kafka and its client that the commit protocol stands on, shown on a real broker; and that the harness can
//! see them. When an upgrade of either changes one of them, this is where it shows first.

mod harness;

use harness::{
    Broker, BrokerOptions, KafkaClient, Outgoing, TopicSpec, TransactionVersion, unique_name, wait_for, wait_until,
};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::Duration;

/// For a busy machine; nothing here is about speed.
const TIMEOUT: Duration = Duration::from_secs(120);

type TransactionalProducer = ThreadedProducer<DefaultProducerContext>;

fn new_topic(client: &KafkaClient, stem: &str, partitions: i32) -> String {
    let name = unique_name(stem);
    client.create_topics(&[TopicSpec::new(&name, partitions)]);
    name
}

fn send(producer: &TransactionalProducer, topic: &str, partition: i32, value: &str) {
    let record = BaseRecord::<str, str>::to(topic)
        .key("customer")
        .payload(value)
        .partition(partition);
    producer
        .send(record)
        .map_err(|(error, _)| error)
        .expect("the client takes the record");
}

fn subscribed(client: &KafkaClient, group: &str, instance: Option<&str>, topics: &[&str]) -> BaseConsumer {
    let mut settings = client.settings();
    settings.set("group.id", group).set("isolation.level", "read_committed");
    settings.set("partition.assignment.strategy", "cooperative-sticky");
    settings
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500");
    settings
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    if let Some(instance) = instance {
        settings.set("group.instance.id", instance);
    }
    let consumer: BaseConsumer = settings.create().expect("the client takes the settings");
    consumer.subscribe(topics).expect("a subscription");
    consumer
}

/// The partition numbers that a consumer holds. Serves its group meanwhile.
fn held(consumer: &BaseConsumer) -> BTreeSet<i32> {
    if let Some(Err(error)) = consumer.poll(Duration::from_millis(20)) {
        panic!("the group does not take the member: {error}");
    }
    let assignment = consumer.assignment().expect("an assignment");
    assignment
        .elements()
        .iter()
        .map(|element| element.partition())
        .collect()
}

#[test]
fn a_transaction_shows_its_records_in_two_topics_and_its_offsets_all_at_once() {
    require_broker!();
    let client = Broker::shared().client();
    let input = new_topic(&client, "input", 1);
    let (left, right) = (new_topic(&client, "left", 2), new_topic(&client, "right", 2));
    let group = unique_name("group");
    client.produce(&input, &[Outgoing::new("customer", "intent")]);
    let consumer = subscribed(&client, &group, None, &[&input]);
    wait_for("the member holds its partition", TIMEOUT, || {
        (!held(&consumer).is_empty()).then_some(())
    });

    let producer = client
        .transactional_producer(&unique_name("producer"))
        .expect("a producer");
    producer.begin_transaction().expect("a transaction");
    send(&producer, &left, 1, "approved");
    send(&producer, &right, 0, "changed");
    producer.flush(TIMEOUT).expect("both records reach the broker");
    let mut offsets = TopicPartitionList::new();
    let mut element = offsets.add_partition(&input, 0);
    element.set_offset(Offset::Offset(1)).expect("an offset");
    element.set_metadata("seq 7");
    let membership = consumer.group_metadata().expect("a membership");
    producer
        .send_offsets_to_transaction(&offsets, &membership, TIMEOUT)
        .expect("offsets in the transaction");

    assert_eq!(
        client.read_topic_uncommitted(&left).len(),
        1,
        "the record is on the broker"
    );
    assert!(
        client.read_topic(&left).is_empty() && client.read_topic(&right).is_empty(),
        "nothing shows before"
    );

    producer.commit_transaction(TIMEOUT).expect("the commit");
    assert_eq!(
        client.read_topic(&left)[0].value.as_deref(),
        Some(b"approved".as_slice())
    );
    assert_eq!(
        client.read_topic(&right)[0].value.as_deref(),
        Some(b"changed".as_slice())
    );
    let committed = client.committed(&group, &input)[0].clone().expect("a committed offset");
    assert_eq!((committed.offset, committed.metadata.as_str()), (1, "seq 7"));
    assert_eq!(client.lag(&group, &[&input]), 0);
}

#[test]
fn an_aborted_transaction_leaves_nothing_to_read_and_no_offset() {
    require_broker!();
    let client = Broker::shared().client();
    let output = new_topic(&client, "output", 1);
    let producer = client
        .transactional_producer(&unique_name("producer"))
        .expect("a producer");
    producer.begin_transaction().expect("a transaction");
    send(&producer, &output, 0, "half a truth");
    producer.flush(TIMEOUT).expect("the record reaches the broker");
    producer.abort_transaction(TIMEOUT).expect("the abort");
    assert!(client.read_topic(&output).is_empty());
    assert_eq!(client.read_topic_uncommitted(&output).len(), 1);
}

fn a_second_producer_fences_the_first(client: &KafkaClient) {
    let output = new_topic(client, "output", 1);
    let id = unique_name("producer");
    let first = client.transactional_producer(&id).expect("the first producer");
    first.begin_transaction().expect("a transaction");
    send(&first, &output, 0, "of the first");
    first.flush(TIMEOUT).expect("the record reaches the broker");

    let second = client.transactional_producer(&id).expect("the second producer");
    let error = first
        .commit_transaction(TIMEOUT)
        .expect_err("the first one has lost its identity");
    let code = error.rdkafka_error_code();
    let fenced = [
        RDKafkaErrorCode::Fenced,
        RDKafkaErrorCode::ProducerFenced,
        RDKafkaErrorCode::InvalidProducerEpoch,
    ];
    assert!(
        code.is_some_and(|code| fenced.contains(&code)),
        "no fencing error: {error:?}"
    );

    second.begin_transaction().expect("a transaction");
    send(&second, &output, 0, "of the second");
    second.commit_transaction(TIMEOUT).expect("the commit");
    let values: Vec<_> = client
        .read_topic(&output)
        .into_iter()
        .filter_map(|record| record.value)
        .collect();
    assert_eq!(values, [b"of the second".to_vec()]);
}

#[test]
fn a_second_producer_of_the_same_identity_fences_the_first_and_settles_its_transaction() {
    require_broker!();
    a_second_producer_fences_the_first(&Broker::shared().client());
}

#[test]
fn fencing_is_the_same_under_the_old_transaction_protocol() {
    require_broker!();
    let options = BrokerOptions {
        transaction_version: TransactionVersion::One,
        ..BrokerOptions::default()
    };
    a_second_producer_fences_the_first(&Broker::start(options).client());
}

#[test]
fn the_end_asked_for_by_time_is_the_last_stable_offset_for_one_isolation_and_the_high_watermark_for_the_other() {
    require_broker!();
    let client = Broker::shared().client();
    let topic = new_topic(&client, "topic", 2);
    client.produce(
        &topic,
        &[
            Outgoing::new("a", "1").on(0),
            Outgoing::new("b", "2").on(0),
            Outgoing::new("c", "3").on(1),
        ],
    );
    let producer = client
        .transactional_producer(&unique_name("producer"))
        .expect("a producer");
    producer.begin_transaction().expect("a transaction");
    (0..3).for_each(|_| send(&producer, &topic, 0, "open"));
    producer.flush(TIMEOUT).expect("the records reach the broker");

    assert_eq!(client.ends("read_committed", &topic).expect("the ends"), [2, 1]);
    assert_eq!(client.ends("read_uncommitted", &topic).expect("the ends"), [5, 1]);

    producer.commit_transaction(TIMEOUT).expect("the commit");
    // One control record at the end of the transaction.
    assert_eq!(client.ends("read_committed", &topic).expect("the ends"), [6, 1]);
}

#[test]
fn a_broker_killed_and_restarted_on_its_folder_keeps_what_was_committed() {
    require_broker!();
    let broker = Broker::start(BrokerOptions::default());
    let client = broker.client();
    let topic = new_topic(&client, "topic", 1);
    let producer = client
        .transactional_producer(&unique_name("producer"))
        .expect("a producer");
    producer.begin_transaction().expect("a transaction");
    send(&producer, &topic, 0, "committed");
    producer.commit_transaction(TIMEOUT).expect("the commit");

    // The coordinator answers a commit once it has it in its own log, and writes the marker of each partition afterwards. A
    // broker that dies in between may forget those markers (see `Broker::unless_it_forgot_markers`): not what is asked here.
    let readable = || Some(client.read_topic(&topic)).filter(|records| !records.is_empty());
    wait_for("what was committed can be read", TIMEOUT, readable);

    broker.kill9();
    assert_eq!(client.node_count(), None, "nothing answers");
    broker.restart();

    let records = wait_for("what was committed can be read again", TIMEOUT, readable);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].value.as_deref(), Some(b"committed".as_slice()));
    producer.begin_transaction().expect("the producer goes on");
    send(&producer, &topic, 0, "afterwards");
    producer.commit_transaction(TIMEOUT).expect("the commit");
    wait_for("both records can be read", TIMEOUT, || {
        (client.read_topic(&topic).len() == 2).then_some(())
    });
}

#[test]
fn three_nodes_lose_one_and_go_on() {
    require_broker!();
    let broker = Broker::start(BrokerOptions {
        nodes: 3,
        ..BrokerOptions::default()
    });
    let client = broker.client();
    let topic = new_topic(&client, "topic", 3);
    client.produce(
        &topic,
        &[Outgoing::new("a", "before").on(0), Outgoing::new("b", "before").on(1)],
    );
    broker.kill9_node(0);
    client.produce(
        &topic,
        &[Outgoing::new("a", "after").on(0), Outgoing::new("b", "after").on(2)],
    );
    assert_eq!(client.read_topic(&topic).len(), 4);
    broker.restart();
    assert_eq!(client.read_topic(&topic).len(), 4);
}

#[test]
fn a_static_identity_with_a_slash_in_it_joins_commits_and_keeps_its_seat() {
    require_broker!();
    let client = Broker::shared().client();
    let topic = new_topic(&client, "topic", 4);
    let group = unique_name("group");
    let join = || subscribed(&client, &group, Some("forbear-0/0"), &[&topic]);
    let first = join();
    wait_for("the member holds all partitions", TIMEOUT, || {
        (held(&first).len() == 4).then_some(())
    });
    let before = generation(&client, &group);
    drop(first);

    // A static member that closes keeps its seat: the next of the name gets the same partitions without a rebalance.
    let second = join();
    wait_for("the member is back in its seat", TIMEOUT, || {
        (held(&second).len() == 4).then_some(())
    });
    let offsets = [(topic.clone(), 0, Offset::Offset(0))].into_iter().collect();
    second
        .commit(&offsets, rdkafka::consumer::CommitMode::Sync)
        .expect("the broker takes its commit");
    assert_eq!(
        before,
        generation(&client, &group),
        "the members of the group are the same"
    );
}

/// Who is in the group, by the identities that the broker gave (`<instance id>-<uuid>`), without the uuid.
fn generation(client: &KafkaClient, group: &str) -> Vec<String> {
    let consumer: BaseConsumer = client
        .settings()
        .set("group.id", "harness-reader")
        .create()
        .expect("a consumer");
    let list = consumer.fetch_group_list(Some(group), TIMEOUT).expect("the group");
    let members = list
        .groups()
        .iter()
        .flat_map(|group| group.members().iter().map(|member| member.id().to_owned()));
    let instance = |id: String| {
        id.split_at_checked(id.len().saturating_sub(37))
            .map(|(name, _)| name.to_owned())
    };
    members.filter_map(instance).collect()
}

#[test]
fn static_members_under_cooperative_sticky_share_the_partitions_and_the_one_that_stays_keeps_its_own() {
    require_broker!();
    let client = Broker::shared().client();
    let topic = new_topic(&client, "topic", 4);
    let group = unique_name("group");
    let first = subscribed(&client, &group, Some("member/0"), &[&topic]);
    wait_for("the first member holds all partitions", TIMEOUT, || {
        (held(&first).len() == 4).then_some(())
    });

    let second = subscribed(&client, &group, Some("member/1"), &[&topic]);
    let (of_first, of_second) = wait_for("both members hold two partitions each", TIMEOUT, || {
        let (left, right) = (held(&first), held(&second));
        (left.len() == 2 && right.len() == 2).then_some((left, right))
    });
    assert!(of_first.is_disjoint(&of_second));

    // `unsubscribe` gives the seat up, unlike `close`: the partitions move at once, and only they.
    second.unsubscribe();
    wait_for("the first member has all partitions again", TIMEOUT, || {
        held(&second);
        (held(&first).len() == 4).then_some(())
    });
}

/// Why an idle partition commits its positions again now and then.
#[test]
fn a_live_group_keeps_the_offsets_of_topics_that_it_subscribes_to_and_loses_those_of_others() {
    require_broker!();
    let settings = [
        ("offsets.retention.minutes", "1"),
        ("offsets.retention.check.interval.ms", "1000"),
    ];
    let broker = Broker::start(BrokerOptions {
        settings: settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        ..BrokerOptions::default()
    });
    let client = broker.client();
    let (own, other) = (new_topic(&client, "own", 1), new_topic(&client, "other", 1));
    let group = unique_name("group");
    let consumer = subscribed(&client, &group, None, &[&own]);
    wait_until("the group is stable", TIMEOUT, || !held(&consumer).is_empty());
    let mut offsets = TopicPartitionList::new();
    for topic in [&own, &other] {
        offsets
            .add_partition_offset(topic, 0, Offset::Offset(0))
            .expect("an offset");
    }
    consumer.commit(&offsets, CommitMode::Sync).expect("the commit");
    let committed = |topic: &str| client.committed(&group, topic)[0].is_some();
    assert!(committed(&own) && committed(&other));
    wait_until(
        "the offset of the other topic is gone",
        Duration::from_secs(180),
        || {
            held(&consumer);
            !committed(&other)
        },
    );
    assert!(committed(&own), "the offset of the subscribed topic is kept");
}

#[test]
fn crc32_and_murmur2_disagree_about_some_owners() {
    require_broker!();
    let client = Broker::shared().client();
    let topic = new_topic(&client, "topic", 8);
    let records: Vec<Outgoing> = (0..64).map(|n| Outgoing::new(format!("customer-{n}"), "x")).collect();
    let partitions = |places: Vec<(i32, i64)>| places.into_iter().map(|place| place.0).collect::<Vec<_>>();
    let owners = partitions(client.produce(&topic, &records));
    let strays = partitions(client.produce_by(harness::Partitioner::Crc32, &topic, &records));
    assert_ne!(owners, strays);
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    require_broker!();
    let client = Broker::shared().client();
    let topic = new_topic(&client, "topic", 2);
    let headers = vec![
        ("trace".to_owned(), Some(b"1".to_vec())),
        ("trace".to_owned(), Some(b"2".to_vec())),
        ("nothing".to_owned(), None),
        ("empty".to_owned(), Some(Vec::new())),
    ];
    let full = Outgoing {
        headers,
        timestamp_ms: Some(1_700_000_000_123),
        ..Outgoing::new("key", "value").on(1)
    };
    let tombstone = Outgoing {
        key: Some(b"key".to_vec()),
        partition: Some(0),
        ..Outgoing::default()
    };
    assert_eq!(client.produce(&topic, &[full.clone(), tombstone]), [(1, 0), (0, 0)]);

    let records = client.read_topic(&topic);
    assert_eq!(
        (records[0].key.as_deref(), records[0].value.as_deref()),
        (Some(b"key".as_slice()), None)
    );
    assert_eq!(
        (&records[1].headers, Some(records[1].timestamp_ms)),
        (&full.headers, full.timestamp_ms)
    );
    assert_eq!((&records[1].key, &records[1].value), (&full.key, &full.value));
    assert_eq!(records[1].header("trace"), Some("2"));
}

#[test]
fn a_scrape_is_read_with_its_labels() {
    let text = "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"q\\\"\\\\\\n,}\"} 2\na{x=\"2\",y=\"\"} 3.5\nplain 7\n";
    let metrics = harness::Metrics::parse(text);
    assert_eq!(metrics.sum("a", &[]), Some(5.5));
    assert_eq!(metrics.sum("a", &[("x", "1")]), Some(2.0));
    assert_eq!(metrics.samples[0].labels["y"], "q\"\\\n,}");
    assert_eq!(metrics.sum("plain", &[]), Some(7.0));
    assert_eq!(metrics.sum("absent", &[]), None);
}
