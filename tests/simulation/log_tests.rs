//! The simulated log against what the real one promises: each of these is a fact that the protocol leans on.

use super::broker::{Broker, ProducerRefusal};
use super::group::{Group, Membership, Notice, Refusal};
use super::partition::{Data, Partition};
use forbear::intake::source::Committed;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn data(key: &str, value: Option<&str>) -> Data {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Data {
        timestamp_ms: 0,
        key: Some(bytes(key)),
        value: value.map(bytes),
        headers: Vec::new(),
    }
}

fn broker(members: &[&str]) -> (Broker, Vec<Membership>) {
    let mut group = Group::new(1, 10_000, 45_000);
    let ids: Vec<u64> = members.iter().map(|name| group.join(name, 0)).collect();
    let mut broker = Broker::new(ChaCha8Rng::seed_from_u64(1), group, 0, 10_000);
    broker.create_topic("in", 1, false, 100);
    broker.create_topic("out", 1, false, 100);
    let mut memberships = Vec::new();
    for _ in 0..10 {
        for id in &ids {
            match broker.group.poll(*id, 0) {
                Some(Notice::Assigned(given)) => memberships.extend(broker.group.answered_assigned(*id, &given)),
                Some(Notice::Revoked { partitions, .. }) => broker.group.answered_revoked(*id, &partitions),
                _ => {}
            }
        }
    }
    (broker, memberships)
}

fn offset(at: i64) -> Vec<(String, i32, Committed)> {
    vec![(
        "in".into(),
        0,
        Committed {
            offset: at,
            metadata: "1".into(),
        },
    )]
}

fn visible(broker: &mut Broker, topic: &str) -> Vec<i64> {
    let log = broker.partition(topic, 0).expect("the partition");
    log.read_committed(0, 100)
        .0
        .into_iter()
        .map(|(offset, _)| offset)
        .collect()
}

#[test]
fn an_open_transaction_holds_up_everything_behind_it() {
    let mut log = Partition::default();
    log.append(None, data("a", Some("1")));
    log.append(Some(7), data("b", Some("2")));
    log.append(None, data("c", Some("3")));
    assert_eq!((log.last_stable_offset(), log.high_watermark()), (1, 3));
    assert_eq!(log.read_committed(0, 10).0.len(), 1);
    log.end_transaction(7, true);
    assert_eq!((log.last_stable_offset(), log.high_watermark()), (4, 4));
    assert_eq!(log.read_committed(0, 10).0.len(), 3);
}

#[test]
fn an_aborted_record_is_never_read_and_the_position_passes_it() {
    let mut log = Partition::default();
    log.append(Some(7), data("a", Some("1")));
    log.end_transaction(7, false);
    let (records, position) = log.read_committed(0, 10);
    assert!(records.is_empty());
    assert_eq!(position, 2, "the record and the control record");
}

#[test]
fn cleaning_keeps_the_newest_of_each_key_and_the_offsets() {
    let mut log = Partition::default();
    for (key, value) in [
        ("a", Some("1")),
        ("b", Some("2")),
        ("a", Some("3")),
        ("b", None),
        ("z", Some("9")),
    ] {
        log.append(None, data(key, value));
    }
    let kept = |log: &Partition| {
        log.read_committed(0, 10)
            .0
            .iter()
            .map(|(offset, _)| *offset)
            .collect::<Vec<_>>()
    };
    log.compact(4, 1000, 50);
    assert_eq!(kept(&log), [2, 3, 4]);
    log.compact(4, 1050, 50);
    assert_eq!(kept(&log), [2, 4], "the tombstone goes later");
}

#[test]
fn a_new_producer_settles_and_fences_its_predecessor() {
    let (mut broker, _) = broker(&["a"]);
    let old = broker.initialise_producer("t");
    broker.produce(old, "out", 0, data("k", Some("1"))).expect("a record");
    let new = broker.initialise_producer("t");
    assert_eq!(
        broker.produce(old, "out", 0, data("k", Some("2"))),
        Err(ProducerRefusal::Fenced)
    );
    assert_eq!(broker.end_transaction(old, true), Err(ProducerRefusal::Fenced));
    assert!(visible(&mut broker, "out").is_empty());
    broker.produce(new, "out", 0, data("k", Some("3"))).expect("a record");
    broker.end_transaction(new, true).expect("an end");
    broker.tick(1.0);
    assert_eq!(visible(&mut broker, "out"), [2]);
}

#[test]
fn a_decided_transaction_is_settled_by_the_next_producer_as_it_was_decided() {
    let (mut broker, _) = broker(&["a"]);
    let old = broker.initialise_producer("t");
    broker.produce(old, "out", 0, data("k", Some("1"))).expect("a record");
    broker.end_transaction(old, true).expect("an end");
    assert!(
        visible(&mut broker, "out").is_empty(),
        "the control record is on its way"
    );
    broker.initialise_producer("t");
    assert_eq!(visible(&mut broker, "out"), [0]);
}

#[test]
fn a_late_end_reaches_a_later_transaction_of_the_same_epoch_and_none_of_a_newer_one() {
    for renewed in [false, true] {
        let (mut broker, _) = broker(&["a"]);
        let first = broker.initialise_producer("t");
        broker.end_transaction_later(first, true);
        let second = if renewed {
            broker.initialise_producer("t")
        } else {
            first
        };
        broker
            .produce(second, "out", 0, data("k", Some("1")))
            .expect("a record");
        broker.tick(1.0);
        broker.tick(1.0);
        assert_eq!(
            visible(&mut broker, "out").len(),
            usize::from(!renewed),
            "renewed: {renewed}"
        );
    }
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let (mut broker, _) = broker(&["a"]);
    let producer = broker.initialise_producer("t");
    broker
        .produce(producer, "out", 0, data("k", Some("1")))
        .expect("a record");
    broker.now_ms = 10_001;
    broker.tick(1.0);
    broker.tick(1.0);
    assert_eq!(broker.end_transaction(producer, true), Err(ProducerRefusal::Fenced));
    let log = broker.partition("out", 0).expect("the partition");
    assert_eq!(log.last_stable_offset(), log.high_watermark());
}

#[test]
fn offsets_are_unstable_until_their_transaction_has_ended() {
    let (mut broker, members) = broker(&["a"]);
    let producer = broker.initialise_producer("t");
    assert_eq!(broker.stable_committed("in", 0), Some(None));
    broker.send_offsets(producer, members[0], offset(5)).expect("offsets");
    assert_eq!(broker.stable_committed("in", 0), None);
    broker.end_transaction(producer, true).expect("an end");
    assert_eq!(broker.stable_committed("in", 0), None, "decided, not written");
    broker.tick(1.0);
    assert_eq!(
        broker
            .stable_committed("in", 0)
            .flatten()
            .map(|committed| committed.offset),
        Some(5)
    );
}

#[test]
fn offsets_of_an_older_generation_or_of_a_member_that_is_out_are_refused() {
    let (mut broker, members) = broker(&["a"]);
    let producer = broker.initialise_producer("t");
    broker.group.start_round(0);
    assert_eq!(
        broker.send_offsets(producer, members[0], offset(1)),
        Ok(()),
        "the old generation lasts until the new"
    );
    broker.group.poll(members[0].member, 0);
    let refused = |refusal| Err(ProducerRefusal::Group(refusal));
    assert_eq!(
        broker.send_offsets(producer, members[0], offset(1)),
        refused(Refusal::IllegalGeneration)
    );
    broker.group.evict(members[0].member, 0);
    assert_eq!(
        broker.send_offsets(producer, members[0], offset(1)),
        refused(Refusal::UnknownMember)
    );
}

#[test]
fn the_second_on_an_instance_id_takes_the_seat_and_the_first_is_fenced() {
    let (mut broker, members) = broker(&["a"]);
    let producer = broker.initialise_producer("t");
    let second = broker.group.join("a", 0);
    assert_eq!(broker.group.poll(members[0].member, 0), Some(Notice::Fenced));
    let refused = Err(ProducerRefusal::Group(Refusal::FencedInstance));
    assert_eq!(broker.send_offsets(producer, members[0], offset(1)), refused);
    assert_eq!(
        broker.group.poll(second, 0),
        Some(Notice::Assigned(vec![0])),
        "without a round"
    );
}

#[test]
fn what_moves_is_revoked_and_answered_before_it_is_assigned() {
    let mut group = Group::new(2, 10_000, 45_000);
    let first = group.join("a", 0);
    assert_eq!(group.poll(first, 0), Some(Notice::Assigned(vec![0, 1])));
    group.answered_assigned(first, &[0, 1]);
    let second = group.join("b", 0);
    assert_eq!(group.poll(first, 0), None, "it comes back to the round");
    let Some(Notice::Revoked {
        partitions,
        lost: false,
    }) = group.poll(first, 0)
    else {
        panic!("nothing is revoked")
    };
    assert_eq!(group.poll(second, 0), Some(Notice::Assigned(Vec::new())));
    group.answered_assigned(second, &[]);
    assert_eq!(group.poll(second, 0), None);
    group.answered_revoked(first, &partitions);
    assert_eq!(group.poll(first, 0), None);
    assert_eq!(group.poll(second, 0), None);
    assert_eq!(group.poll(second, 0), Some(Notice::Assigned(partitions)));
}

#[test]
fn what_is_given_back_by_a_member_that_dies_before_it_asks_for_a_round_is_nobodys_until_one_leaves() {
    let mut group = Group::new(2, 10_000, 45_000);
    let first = group.join("a", 0);
    assert_eq!(group.poll(first, 0), Some(Notice::Assigned(vec![0, 1])));
    group.answered_assigned(first, &[0, 1]);
    let second = group.join("b", 0);
    assert_eq!(group.poll(first, 0), None, "it comes back to the round");
    assert!(matches!(group.poll(first, 0), Some(Notice::Revoked { .. })));
    assert_eq!(group.poll(second, 0), Some(Notice::Assigned(Vec::new())));
    group.answered_assigned(second, &[]);
    let first_again = group.join("a", 0);
    assert_eq!(group.poll(first_again, 0), Some(Notice::Assigned(vec![0])));
    group.answered_assigned(first_again, &[0]);
    assert_eq!((group.poll(first_again, 0), group.poll(second, 0)), (None, None));
    assert!(group.forgets_a_partition() && !group.is_settled());
    group.evict(second, 0);
    assert_eq!(group.poll(first_again, 0), None);
    assert_eq!(group.poll(first_again, 0), Some(Notice::Assigned(vec![1])));
    assert!(!group.forgets_a_partition());
}

#[test]
fn a_silent_member_is_out_after_its_session() {
    let mut group = Group::new(1, 10_000, 45_000);
    let member = group.join("a", 0);
    group.expire(10_000);
    assert_ne!(group.poll(member, 0), Some(Notice::Out));
    group.expire(10_001);
    assert_eq!(group.poll(member, 10_001), Some(Notice::Out));
}

#[test]
fn a_record_that_is_too_large_or_has_no_topic_is_refused() {
    let (mut broker, _) = broker(&["a"]);
    let producer = broker.initialise_producer("t");
    let large = data("k", Some(&"x".repeat(200)));
    assert!(matches!(
        broker.produce(producer, "out", 0, large),
        Err(ProducerRefusal::Record(_))
    ));
    assert!(matches!(
        broker.produce(producer, "no", 0, data("k", None)),
        Err(ProducerRefusal::Record(_))
    ));
}
