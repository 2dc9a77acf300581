//! `capacity`: what a partition's share lets through.

use super::builder::*;
use crate::customer::CapacityUse;
use crate::customer::capacity::Bucket;
use crate::policy::judge::{Situation, judge};
use crate::policy::judgement::{Judgement, Reason, Verdict};
use crate::policy::model::Policy;
use crate::policy::rules::capacity::note_approval;
use proptest::prelude::*;

const NOON: &str = "2026-06-10T16:00:00Z";
const GATEWAY: &str = "rules: [ { id: gateway, capacity: { limit: 7, window: 100min }, for: { class: marketing, channel: sms }, on-hit: defer } ]";

fn approve(policy: &Policy, used: &mut CapacityUse, channel: &str, class: &str, at_ms: i64) {
    let mut contact = contact(channel, at_ms);
    contact.class = name(class);
    note_approval(policy, &customer("UTC").profile, &contact, used);
}

fn asked(policy: &Policy, used: &CapacityUse, partition_count: i32, at_ms: i64) -> Judgement {
    let situation = Situation {
        partition_count,
        capacity: used,
        ..FRESH
    };
    judge(policy, &customer("UTC"), &intent("sms"), at_ms, &situation)
}

#[test]
fn a_partition_lets_its_share_through_and_the_first_ones_take_the_remainder() {
    let policy = written(GATEWAY);
    // Seven over three partitions: three, two and two.
    for (partition, share) in [(0, 3), (1, 2), (2, 2)] {
        let mut used = CapacityUse::new(partition);
        for _ in 0..share {
            assert_eq!(asked(&policy, &used, 3, at(NOON)).verdict, Verdict::Approved);
            approve(&policy, &mut used, "sms", "marketing", at(NOON));
        }
        let judgement = asked(&policy, &used, 3, at(NOON));
        assert_eq!(
            (judgement.verdict, judgement.reason),
            (Verdict::Deferred, Reason::Capacity)
        );
        assert_eq!(
            (judgement.blocked_by[0].count, judgement.blocked_by[0].limit),
            (Some(share), Some(share))
        );
        assert_eq!(judgement.wake_at_ms, Some(at(NOON) + 100 * MINUTE));
        assert_eq!(
            judgement.next_eligible_at_ms, None,
            "no time is promised where others compete"
        );
    }
}

#[test]
fn a_share_of_nothing_waits_without_a_known_end() {
    let judgement = asked(&written(GATEWAY), &CapacityUse::new(9), 10, at(NOON));
    assert_eq!((judgement.verdict, judgement.wake_at_ms), (Verdict::Deferred, None));
}

#[test]
fn a_bucket_leaves_as_a_whole_when_its_newest_approval_is_over() {
    let policy = written(GATEWAY);
    let mut used = CapacityUse::new(0);
    for at_ms in [0, 20_000, 59_999, 60_000, 60_000, 60_000, 60_000] {
        approve(&policy, &mut used, "sms", "marketing", at(NOON) + at_ms);
    }
    let bucket = |first_ms, last_ms, count| Bucket {
        first_ms: at(NOON) + first_ms,
        last_ms: at(NOON) + last_ms,
        count,
    };
    assert_eq!(used.of("gateway"), [bucket(0, 59_999, 3), bucket(60_000, 60_000, 4)]);
    let window = 100 * MINUTE;
    let free_ms = at(NOON) + 59_999 + window;
    assert_eq!(asked(&policy, &used, 1, at(NOON) + 61_000).wake_at_ms, Some(free_ms));
    assert_eq!(asked(&policy, &used, 1, free_ms - 1).verdict, Verdict::Deferred);
    assert_eq!(asked(&policy, &used, 1, free_ms).verdict, Verdict::Approved);
    // What is over is not kept.
    approve(&policy, &mut used, "sms", "marketing", free_ms);
    assert_eq!(used.of("gateway").len(), 2);
}

#[test]
fn what_counts_fills_a_capacity_without_obeying_it_and_the_rest_does_not() {
    let policy = written(GATEWAY);
    let mut used = CapacityUse::new(0);
    for (channel, class) in [("sms", "service"), ("sms", "legal"), ("email", "marketing")] {
        approve(&policy, &mut used, channel, class, at(NOON));
    }
    assert_eq!(used.of("gateway").iter().map(|bucket| bucket.count).sum::<i64>(), 1);
}

#[test]
fn the_use_of_a_capacity_is_read_back_as_it_was_written_and_only_when_it_changed() {
    let policy = written(GATEWAY);
    let mut used = CapacityUse::new(4);
    approve(&policy, &mut used, "sms", "marketing", at(NOON));
    let changes = used.changes();
    assert_eq!((changes.len(), used.changes().len()), (1, 0));
    let mut read = |key: &[u8]| -> Result<Option<Vec<u8>>, std::convert::Infallible> {
        Ok(changes
            .iter()
            .find(|(known, _)| known == key)
            .and_then(|(_, value)| value.clone()))
    };
    let id = name("gateway");
    let loaded = CapacityUse::load(4, [&id].into_iter(), &mut read).expect("it was just written");
    assert_eq!(loaded, used);
    let elsewhere = CapacityUse::load(5, [&id].into_iter(), &mut read).expect("nothing is there");
    assert!(elsewhere.of("gateway").is_empty());
    let mut damaged = |_: &[u8]| -> Result<Option<Vec<u8>>, std::convert::Infallible> { Ok(Some(vec![1, 1, 0x82, 0])) };
    assert!(CapacityUse::load(4, [&id].into_iter(), &mut damaged).is_err());
    let mut later = |_: &[u8]| -> Result<Option<Vec<u8>>, std::convert::Infallible> { Ok(Some(vec![9, 9, 0x80])) };
    assert!(CapacityUse::load(4, [&id].into_iter(), &mut later).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), ..ProptestConfig::default() })]

    #[test]
    fn a_capacity_is_never_exceeded_and_at_most_one_bucket_waits_too_long(
        steps in prop::collection::vec(0..900_000_i64, 1..60), calendar in any::<bool>(),
    ) {
        let window = if calendar { "calendar-hour" } else { "100min" };
        let policy = written(&format!("rules: [ {{ id: gateway, capacity: {{ limit: 7, window: {window} }} }} ]"));
        let leaves = |at_ms: i64| if calendar { (at_ms.div_euclid(HOUR) + 1) * HOUR } else { at_ms + 100 * MINUTE };
        let mut used = CapacityUse::new(0);
        let (mut approved, mut now_ms): (Vec<i64>, _) = (Vec::new(), at(NOON));
        for step in steps {
            now_ms += step / 3;
            let verdict = asked(&policy, &used, 1, now_ms).verdict;
            let counting = |at_ms: i64| approved.iter().filter(|one| leaves(**one) > at_ms).count();
            if verdict == Verdict::Approved {
                prop_assert!(counting(now_ms) < 7);
                approved.push(now_ms);
                approve(&policy, &mut used, "sms", "marketing", now_ms);
            } else {
                prop_assert!(counting(now_ms - MINUTE) >= 7, "room for longer than a bucket");
            }
        }
    }
}
