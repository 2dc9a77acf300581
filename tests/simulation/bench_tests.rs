//! Single troubles, each in a cluster that is calm otherwise.

use super::bench::{Bench, HOUR_MS, Member, RELAXED, SLOW};
use super::fleet::STATE_TOPIC;
use forbear::customer::keys::head_key;
use forbear::serve::status::PartitionState;
use forbear::store::StoreError;
use forbear::store::memory::MemoryCall;
use serde_json::json;
use std::collections::BTreeSet;

const ENGAGEMENT: &str = "forbear.engagement";

fn running(bench: &mut Bench, policy: &str) -> Member {
    let mut member = bench.start("process-0/0", policy);
    member.turn_until("every partition runs", |member| {
        (0..2).all(|partition| member.is_running(partition))
    });
    member
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn an_engagement_partition_without_a_leader_holds_up_its_own_intents_and_nobody_elses() {
    let mut bench = Bench::new(2);
    let mut member = running(&mut bench, RELAXED);
    bench.set_leader(ENGAGEMENT, 1, false);
    // More than fits into a batch: what waits must not take the room of the others.
    for number in 0..100 {
        bench.intent(1, &bench.customer(1, number), &format!("held-{number}"));
    }
    member.turns(50);
    let before_ms = bench.cluster.now_ms();
    for number in 0..30 {
        bench.intent(0, &bench.customer(0, number), &format!("free-{number}"));
        member.turns(1);
    }
    member.turns(2);
    let free: BTreeSet<String> = (0..30).map(|number| format!("free-{number}")).collect();
    assert_eq!(bench.approved(), free);
    let waited_ms = bench.cluster.now_ms() - before_ms - 32 * 100;
    assert!(waited_ms < 200, "the others waited {waited_ms} ms");
    assert!(member.is_running(0));
    assert_eq!(member.state(1), Some(PartitionState::Blocked));
    let reason = member.reason(1);
    assert!(
        reason.contains("forbear.engagement/1") && reason.contains("no leader"),
        "{reason}"
    );
    bench.set_leader(ENGAGEMENT, 1, true);
    member.turn_until("what was held up is judged", |_| bench.approved().len() == 130);
    member.turns(1);
    assert!(member.is_running(1), "{}", member.reason(1));
}

#[test]
fn nobody_is_approved_while_an_opt_out_may_stand_behind_an_open_transaction() {
    let mut bench = Bench::new(2);
    let mut member = running(&mut bench, RELAXED);
    let (customer, other) = (bench.customer(1, 0), bench.customer(0, 0));
    let open = {
        let body = bench.data(&customer, &bench.event_body(&customer, "e-1", "opened"));
        let mut shared = bench.cluster.lock();
        let open = shared.broker.initialise_producer("a-connector");
        shared
            .broker
            .produce(open, ENGAGEMENT, 1, body)
            .expect("a record in a transaction");
        open
    };
    bench.event(1, &customer, "e-2", "unsubscribed");
    bench.intent(1, &customer, "late");
    bench.intent(0, &other, "free");
    member.turns(60);
    assert_eq!(bench.approved(), ids(&["free"]));
    assert_eq!(member.state(1), Some(PartitionState::Blocked));
    assert!(
        member.reason(1).contains("a transaction is open"),
        "{}",
        member.reason(1)
    );
    bench
        .cluster
        .lock()
        .broker
        .end_transaction(open, false)
        .expect("the end of the transaction");
    member.turn_until("it is judged", |_| bench.suppressed() == ids(&["late"]));
    assert_eq!(bench.decision("late").expect("a decision")["reason"], "consent");
}

#[test]
fn engagement_that_is_always_in_some_open_transaction_delays_judging_and_does_not_stop_it() {
    let mut bench = Bench::new(2);
    let mut member = running(&mut bench, RELAXED);
    let customer = bench.customer(1, 0);
    bench.intent(1, &customer, "patient");
    let mut open = None;
    for number in 0..40 {
        let body = bench.data(
            &customer,
            &bench.event_body(&customer, &format!("e-{number}"), "opened"),
        );
        let next = {
            let mut shared = bench.cluster.lock();
            let next = shared.broker.initialise_producer(&format!("connector-{}", number % 2));
            shared
                .broker
                .produce(next, ENGAGEMENT, 1, body)
                .expect("a record in a transaction");
            next
        };
        if let Some(before) = open.replace(next) {
            bench
                .cluster
                .lock()
                .broker
                .end_transaction(before, true)
                .expect("the end of the transaction");
        }
        member.turns(10);
    }
    assert_eq!(bench.approved(), ids(&["patient"]));
}

#[test]
fn offsets_that_the_broker_would_forget_are_committed_again_by_a_partition_in_which_nothing_happens() {
    let mut bench = Bench::new(2);
    bench.cluster.lock().broker.offset_retention = Some((7 * 24 * HOUR_MS, "forbear.intents".into()));
    let mut member = running(&mut bench, RELAXED);
    for partition in 0..2 {
        bench.event(partition, &bench.customer(partition, 0), "e-1", "opened");
        bench.intent(partition, &bench.customer(partition, 0), &format!("before-{partition}"));
    }
    member.turn_until("both are judged", |_| bench.approved().len() == 2);
    let before = bench.values(STATE_TOPIC).len();
    for _ in 0..10 * 24 {
        bench.advance(HOUR_MS);
        member.turns(2);
    }
    let renewals = bench.values(STATE_TOPIC).len() - before;
    assert!(
        (20..=60).contains(&renewals),
        "{renewals} renewals in ten days of twelve hours each"
    );
    member.kill();
    let mut member = running(&mut bench, RELAXED);
    bench.intent(1, &bench.customer(1, 1), "after");
    member.turn_until("it is judged", |_| bench.approved().contains("after"));
}

#[test]
fn a_store_that_is_damaged_again_after_it_ran_well_is_rebuilt_again() {
    let mut bench = Bench::new(2);
    let mut member = running(&mut bench, RELAXED);
    for round in 0..3 {
        let customer = bench.customer(1, round);
        let damage = StoreError::Corrupt("a block checksum".into());
        member.disk.fail_next(1, MemoryCall::Read, damage);
        bench.intent(1, &customer, &format!("round-{round}"));
        member.turn_until("it is judged", |_| bench.approved().len() == round + 1);
        assert_eq!(member.disk.set_aside_so_far().len(), round + 1);
    }
}

/// Spoils the value of a customer on a disk, in the log, or on both.
fn spoil(bench: &Bench, member: &Member, customer: &str, bytes: &[u8], in_the_log: bool) {
    let mut snapshot = member.disk.snapshot(1).expect("a store");
    snapshot.values.insert(head_key(customer), bytes.to_vec());
    member.disk.put_back(1, snapshot);
    if in_the_log {
        let mut data = bench.data(customer, &json!({}));
        (data.key, data.value) = (Some(head_key(customer)), Some(bytes.to_vec()));
        let mut shared = bench.cluster.lock();
        shared
            .broker
            .partition(STATE_TOPIC, 1)
            .expect("the state")
            .append(None, data);
    }
}

fn with_one_contact(bench: &mut Bench) -> (Member, String) {
    let mut member = running(bench, RELAXED);
    let customer = bench.customer(1, 0);
    bench.intent(1, &customer, "first");
    member.turn_until("it is judged", |_| bench.approved() == ids(&["first"]));
    (member, customer)
}

#[test]
fn a_value_that_cannot_be_read_is_rebuilt_from_the_log_and_never_judged_from() {
    let mut bench = Bench::new(2);
    let (member, customer) = with_one_contact(&mut bench);
    spoil(&bench, &member, &customer, &[1, 1, 0xff, 0xff], false);
    let disk = member.kill();
    let mut member = bench.start_on(&disk, "process-0/0", RELAXED);
    bench.intent(1, &customer, "second");
    member.turn_until("it is judged", |_| bench.decision("second").is_some());
    assert_eq!(
        bench.decision("second").expect("a decision")["reason"],
        "gap",
        "the first contact is known"
    );
    assert_eq!(disk.set_aside_so_far().len(), 1);
}

#[test]
fn a_value_that_is_damaged_in_the_log_too_blocks_the_partition_after_one_rebuild() {
    let mut bench = Bench::new(2);
    let (member, customer) = with_one_contact(&mut bench);
    spoil(&bench, &member, &customer, &[1, 1, 0xff, 0xff], true);
    let disk = member.kill();
    let mut member = bench.start_on(&disk, "process-0/0", RELAXED);
    bench.intent(1, &bench.customer(1, 1), "of another");
    bench.intent(1, &customer, "second");
    bench.intent(0, &bench.customer(0, 0), "elsewhere");
    member.turn_until("it is blocked", |member| {
        member.state(1) == Some(PartitionState::Blocked)
    });
    member.turns(400);
    assert_eq!(bench.approved(), ids(&["first", "elsewhere"]));
    assert_eq!(disk.set_aside_so_far().len(), 1, "rebuilt once, not again and again");
}

#[test]
fn state_of_a_later_version_is_not_even_stored() {
    let mut bench = Bench::new(2);
    let (member, customer) = with_one_contact(&mut bench);
    spoil(&bench, &member, &customer, &[9, 9, 1, 2, 3], true);
    let disk = member.kill();
    disk.wipe(1);
    let mut member = bench.start_on(&disk, "process-0/0", RELAXED);
    bench.intent(1, &bench.customer(1, 1), "second");
    member.turn_until("it is blocked", |member| {
        member.state(1) == Some(PartitionState::Blocked)
    });
    member.turns(400);
    assert_eq!(bench.approved(), ids(&["first"]));
    assert!(
        member.reason(1).contains("run the version that wrote it"),
        "{}",
        member.reason(1)
    );
    assert_eq!(disk.set_aside_so_far().len(), 0, "no other store would help");
    let stored = disk
        .snapshot(1)
        .expect("a store")
        .values
        .get(&head_key(&customer))
        .cloned();
    assert_ne!(
        stored.as_deref(),
        Some(&[9, 9, 1, 2, 3][..]),
        "nothing would ever wake this customer"
    );
}

#[test]
fn a_process_that_starts_again_with_another_policy_times_what_waits_anew() {
    let mut bench = Bench::new(2);
    let (mut member, customer) = with_one_contact(&mut bench);
    bench.intent(1, &customer, "second");
    member.turn_until("it waits", |_| bench.decision("second").is_some());
    let wake = |bench: &Bench| bench.decision("second").expect("a decision")["wake_at"].clone();
    let before = wake(&bench);
    let disk = member.kill();
    let mut member = bench.start_on(&disk, "process-0/0", SLOW);
    member.turn_until("it is timed anew", |_| wake(&bench) != before);
    assert!(
        bench.decision("second").expect("a decision")["policy"]
            .as_str()
            .expect("a label")
            .starts_with("slow@")
    );
}

#[test]
fn what_another_process_judged_under_another_policy_is_timed_anew_even_where_its_walk_was_cut_off() {
    let mut bench = Bench::new(2);
    let (mut member, customer) = with_one_contact(&mut bench);
    let waiting = bench.customer(1, 1);
    for id in ["walked-1", "walked-2"] {
        bench.intent(1, &waiting, id);
    }
    member.turn_until("one waits", |_| bench.decision("walked-2").is_some());
    let home = member.kill();
    // The other process has its first batch, with this intent in it, and dies in the middle of its walk over the queue.
    bench.intent(1, &customer, "second");
    let mut other = bench.start("process-1/0", SLOW);
    other.turn_until("it waits", |_| bench.decision("second").is_some());
    let wake = |bench: &Bench| bench.decision("second").expect("a decision")["wake_at"].clone();
    let slow = wake(&bench);
    other.kill();
    let mut member = bench.start_on(&home, "process-0/0", RELAXED);
    member.turn_until("it is timed anew", |_| wake(&bench) != slow);
}

#[test]
fn an_intent_that_was_accepted_under_a_larger_limit_is_judged_when_it_wakes() {
    let mut bench = Bench::new(2);
    let (mut member, customer) = with_one_contact(&mut bench);
    bench.intent_with(1, &customer, "large", json!({ "payload": "x".repeat(5_000) }));
    member.turn_until("it waits", |_| bench.decision("large").is_some());
    let disk = member.kill();
    let mut member = bench
        .start_on(&disk, "process-0/0", RELAXED)
        .with(|settings| settings.max_intent_bytes = 2_000);
    member.turn_until("it runs", |member| member.is_running(1));
    bench.advance(5 * HOUR_MS);
    member.turn_until("it has ended", |_| {
        bench.approved().len() + bench.values("forbear.dead-letter").len() == 2
    });
    assert_eq!(bench.approved(), ids(&["first", "large"]));
}

#[test]
fn a_panic_about_one_record_costs_that_record_and_nothing_of_the_batch_is_left_half_done() {
    let mut bench = Bench::new(2);
    let (mut member, customer) = with_one_contact(&mut bench);
    let other = bench.customer(1, 1);
    bench.intent(1, &other, "before");
    bench.intent(1, &customer, "second");
    bench.intent(1, &other, "after");
    bench.cluster.lock().panics = Some((head_key(&customer), u32::MAX));
    member.turn_until("all have ended", |_| bench.decision("after").is_some());
    assert_eq!(bench.approved(), ids(&["first", "before"]));
    assert_eq!(
        bench.decision("after").expect("a decision")["reason"],
        "gap",
        "`before` counts, once"
    );
    assert_eq!(bench.intent_ids("forbear.dead-letter"), ids(&["second"]));
    assert_eq!(
        bench
            .values("forbear.decisions")
            .iter()
            .filter(|decision| decision["intent_id"] == "before")
            .count(),
        1
    );
}

#[test]
fn a_panic_in_looking_at_a_customer_whose_turn_it_is_ends_what_is_due_and_not_the_process() {
    let mut bench = Bench::new(2);
    let (mut member, customer) = with_one_contact(&mut bench);
    bench.intent(1, &customer, "second");
    member.turn_until("it waits", |_| bench.decision("second").is_some());
    bench.cluster.lock().panics = Some((head_key(&customer), 1));
    bench.advance(5 * HOUR_MS);
    member.turn_until("it has ended", |_| bench.values("forbear.dead-letter").len() == 1);
    bench.intent(1, &bench.customer(1, 1), "of another");
    member.turn_until("the partition goes on", |_| bench.approved().contains("of another"));
}

#[test]
fn a_customer_who_cannot_even_be_given_up_blocks_the_partition_and_not_the_process() {
    let mut bench = Bench::new(2);
    let (mut member, customer) = with_one_contact(&mut bench);
    bench.intent(1, &customer, "second");
    member.turn_until("it waits", |_| bench.decision("second").is_some());
    bench.cluster.lock().panics = Some((head_key(&customer), u32::MAX));
    bench.advance(5 * HOUR_MS);
    member.turn_until("it is blocked", |member| {
        member.state(1) == Some(PartitionState::Blocked)
    });
    assert!(member.reason(1).contains("panics"), "{}", member.reason(1));
    bench.intent(0, &bench.customer(0, 0), "elsewhere");
    member.turn_until("the others go on", |_| bench.approved().contains("elsewhere"));
}

#[test]
fn the_division_label_has_the_names_of_the_policy_of_now_and_no_other() {
    let naming =
        |division: &str| format!("{RELAXED}  - {{ id: of-{division}, gap: 1h, for: {{ division: {division} }} }}\n");
    let mut bench = Bench::new(2);
    let mut member = running(&mut bench, &naming("cards"));
    let count = |member: &Member, division: &str| {
        let metrics = member.worker.metrics.render();
        let label = format!("forbear_intents_total{{channel=\"email\",division=\"{division}\"");
        metrics.lines().filter(|line| line.starts_with(&label)).count()
    };
    bench.intent(1, &bench.customer(1, 0), "first");
    bench.intent_with(1, &bench.customer(1, 1), "second", json!({ "division": "nobody" }));
    member.turn_until("both are judged", |_| bench.approved().len() == 2);
    assert_eq!(
        ["cards", "other", "nobody", "loans"].map(|name| count(&member, name)),
        [1, 1, 0, 0]
    );
    member.worker.replace_policy(super::bench::policy(&naming("loans")));
    bench.intent_with(1, &bench.customer(1, 2), "third", json!({ "division": "loans" }));
    bench.intent_with(1, &bench.customer(1, 3), "fourth", json!({ "division": "travel" }));
    member.turn_until("both are judged", |_| bench.approved().len() == 4);
    assert_eq!(["loans", "travel"].map(|name| count(&member, name)), [1, 0]);
}

#[test]
fn every_stage_of_the_loop_has_its_time() {
    let mut bench = Bench::new(2);
    let mut member = running(&mut bench, RELAXED);
    for number in 0..40 {
        bench.intent(1, &bench.customer(1, number), &format!("intent-{number}"));
    }
    member.turn_until("all are judged", |_| bench.approved().len() == 40);
    let metrics = member.worker.metrics.render();
    for stage in ["consume", "decode", "lookup", "judge", "encode", "commit", "store"] {
        let label = format!("forbear_stage_seconds_total{{stage=\"{stage}\"}} ");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&label))
            .expect("a line");
        assert!(line.parse::<f64>().expect("a number") > 0.0, "{stage}: {line}");
    }
}
