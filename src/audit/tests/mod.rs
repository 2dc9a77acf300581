//! A right run is clean; and whatever is changed in its topics is found, and named with its coordinates.

mod records;
mod world;

use super::From;
use super::log::LogRecord;
use super::report::{Promise, Report};
use world::{START_MS, World};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// Approvals, suppressions, deferrals that wake, dead letters, strays, duplicates, releases, an erasure.
fn right_run() -> World {
    let mut world = World::new();
    for customer in 0..12 {
        let id = format!("c{customer}");
        world.event(
            &format!("e{customer}"),
            &id,
            "profile_set",
            r#","timezone":"Europe/Lisbon""#,
        );
        world.event(&format!("g{customer}"), &id, "consent_granted", r#","channel":"sms""#);
    }
    world.judge(MINUTE_MS);
    for round in 0..4 {
        for customer in 0..12 {
            let channel = if customer % 3 == 0 { "sms" } else { "email" };
            world.intent(&format!("i{customer}-{round}"), &format!("c{customer}"), channel, "");
        }
        world.judge(MINUTE_MS);
    }
    // A duplicate, a stray, records that cannot be read, an opt-out, a contact given back, somebody forgotten.
    world.intent("i1-0", "c1", "email", "");
    let stray = r#"{"intent_id":"stray","customer_id":"c2","channel":"email","division":"loans"}"#;
    let elsewhere = 1 - super::reading::owner("c2", world::PARTITIONS);
    world.send("forbear.intents", elsewhere, "c2", stray);
    world.send("forbear.intents", 0, "x", "not even JSON");
    world.send("forbear.engagement", 1, "x", "[1]");
    world.event("u4", "c4", "unsubscribed", r#","channel":"email""#);
    world.event("f5", "c5", "failed", r#","intent_id":"i5-0","channel":"email""#);
    world.event("z7", "c7", "erased", "");
    world.judge(MINUTE_MS);
    world.intent("late", "c4", "email", "");
    world.intent("legal", "c8", "email", r#","class":"legal""#);
    world.judge(MINUTE_MS);
    // Everything that was deferred wakes.
    for _ in 0..10 {
        world.judge(DAY_MS);
    }
    world
}

fn assert_names(report: &Report, promise: Promise, at: &str, what: &str) {
    let found = report
        .violations
        .iter()
        .any(|violation| violation.promise == promise && violation.at.contains(at) && violation.what.contains(what));
    assert!(
        found,
        "{promise:?} at {at} ({what}) is not among {:#?}",
        report.violations
    );
}

fn header<'r>(record: &'r mut LogRecord, name: &str) -> &'r mut Option<Vec<u8>> {
    let found = record.headers.iter_mut().find(|(other, _)| other == name);
    &mut found.expect("a header").1
}

fn decision_id(record: &mut LogRecord) -> String {
    let value = header(record, "forbear-decision-id").clone();
    String::from_utf8(value.expect("a value")).expect("a text")
}

/// Replaces a text in the first decision record that has it; answers its id.
fn change_decision(world: &mut World, with: &[&str], from: &str, to: &str) -> String {
    for (_, record) in world.records("forbear.decisions") {
        let text = String::from_utf8(record.value.clone().expect("a value")).expect("a text");
        if with.iter().all(|with| text.contains(with)) && text.contains(from) {
            record.value = Some(text.replacen(from, to, 1).into_bytes());
            let id = text.split('"').nth(3).expect("an id");
            return id.to_owned();
        }
    }
    panic!("no decision has {with:?} and {from}");
}

#[test]
fn a_right_run_is_clean_and_everything_is_derived_again() {
    let mut world = right_run();
    let report = world.audit();
    assert_eq!(report.violations, []);
    assert!(report.is_clean());
    let times = |promise: Promise, what: &str| {
        let found = report
            .checked
            .iter()
            .find(|count| count.promise == promise && count.what.contains(what));
        found.map_or(0, |count| count.count)
    };
    let decisions = world.records("forbear.decisions").count() as u64;
    assert_eq!(times(Promise::P5, "member by member"), decisions);
    assert_eq!(times(Promise::P1, "intents that end exactly once"), 12 * 4 + 5);
    for (promise, what) in [
        (Promise::P2, "approvals"),
        (Promise::P2, "barriers that cover"),
        (Promise::P3, "approvals under a cap"),
        (Promise::P3, "approvals under a capacity"),
        (Promise::P4, "approvals"),
        (Promise::P5, "dead letters"),
        (Promise::P6, "suppressions"),
        (Promise::P1, "duplicates"),
    ] {
        assert!(times(promise, what) > 0, "{promise:?} {what} was never checked");
    }
    for verdict in ["approved", "suppressed", "deferred", "released"] {
        let said = format!(r#""verdict":"{verdict}""#).into_bytes();
        let mut decisions = world.records("forbear.decisions");
        let is_there = decisions.any(|(_, record)| {
            let value = record.value.as_deref().unwrap_or_default();
            value.windows(said.len()).any(|window| window == said)
        });
        assert!(is_there, "nothing was {verdict}");
    }
}

#[test]
fn a_lost_verdict_is_found() {
    let mut world = right_run();
    let (_, records) = &mut world.logs.topics.get_mut("approved.email").expect("a topic")[0];
    let mut lost = records.remove(1);
    let id = decision_id(&mut lost);
    let source = id.rsplit_once('/').expect("an attempt").0.to_owned();
    let report = world.audit();
    assert_names(&report, Promise::P1, &source, "has no verdict");
    assert_names(&report, Promise::P1, &id, "no record in its topic");
    assert_names(&report, Promise::P5, &id, "is not in approved.email");
}

#[test]
fn a_verdict_that_stands_twice_is_found() {
    let mut world = right_run();
    let (_, record) = world.records("suppressed.email").next().expect("a suppression");
    let mut copy = record.clone();
    let id = decision_id(&mut copy);
    let offset = world.logs.append("suppressed.email", 1, copy).expect("an offset");
    let report = world.audit();
    let source = id.rsplit_once('/').expect("an attempt").0;
    assert_names(&report, Promise::P1, source, &format!("suppressed.email/1/{offset}"));
    assert_eq!(report.violation_counts["P1"], 1);
}

#[test]
fn a_verdict_about_nothing_is_found() {
    let mut world = right_run();
    let (partition, record) = world.records("approved.sms").next().expect("an approval");
    *header(record, "forbear-decision-id") = Some(b"forbear.engagement/0/0/0".to_vec());
    let at = format!("approved.sms/{partition}/{}", record.offset);
    assert_names(&world.audit(), Promise::P1, &at, "which is no intent");
}

#[test]
fn a_changed_member_of_a_decision_is_found_and_named() {
    for (with, from, to, member) in [
        (
            r#""verdict":"deferred""#,
            r#""wake_at":"2026"#,
            r#""wake_at":"2027"#,
            "wake_at",
        ),
        (r#""reason":"cap""#, r#""count":2"#, r#""count":3"#, "blocked_by"),
        (
            r#""verdict":"approved""#,
            r#""division":"cards""#,
            r#""division":"loans""#,
            "division",
        ),
        (
            r#""verdict":"suppressed""#,
            r#""reason":"cap""#,
            r#""reason":"gap""#,
            "reason",
        ),
    ] {
        let mut world = right_run();
        let with = if member == "reason" {
            r#""verdict":"deferred""#
        } else {
            with
        };
        let id = change_decision(&mut world, &[with], from, to);
        assert_names(&world.audit(), Promise::P5, &id, &format!("other {member}"));
    }
}

#[test]
fn a_reason_that_its_rule_does_not_give_is_found() {
    let mut world = right_run();
    let id = change_decision(
        &mut world,
        &[r#""verdict":"deferred""#],
        r#""reason":"cap""#,
        r#""reason":"gap""#,
    );
    assert_names(&world.audit(), Promise::P6, &id, "working of the rule");
    let mut world = right_run();
    let (partition, record) = world.records("suppressed.email").next().expect("a suppression");
    *header(record, "forbear-reason") = Some(b"mood".to_vec());
    let at = format!("suppressed.email/{partition}/{}", record.offset);
    let report = world.audit();
    assert_names(&report, Promise::P6, &at, "closed set");
    assert_names(&report, Promise::P6, &at, "disagree");
    assert_names(&report, Promise::P5, &at, "other forbear-reason");
}

#[test]
fn an_approval_past_an_opt_out_is_found() {
    // The barrier of an approval is moved behind an opt-out that came later.
    let mut world = right_run();
    let customer = "c4";
    let partition = super::reading::owner(customer, world::PARTITIONS);
    let (_, events) = &world.logs.topics["forbear.engagement"][partition as usize];
    let is_opt_out = |record: &&LogRecord| {
        let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        text.contains("unsubscribed") && text.contains(customer)
    };
    let opt_out = events.iter().find(is_opt_out).expect("an opt-out").offset;
    let id = change_decision(
        &mut world,
        &[r#""customer_id":"c4""#, r#""verdict":"approved""#],
        r#""barrier":{"forbear.engagement":"#,
        &format!(r#""barrier":{{"forbear.engagement":{}"#, opt_out + 1),
    );
    let report = world.audit();
    assert_names(&report, Promise::P5, &id, "barrier");

    // An opt-out is slipped into the log before an approval that covers its place.
    let mut world = right_run();
    let (_, events) = &mut world.logs.topics.get_mut("forbear.engagement").expect("a topic")[partition as usize];
    let profile = events
        .iter_mut()
        .find(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).contains(r#""e4""#))
        .expect("a profile");
    let text = String::from_utf8(profile.value.clone().expect("a value")).expect("a text");
    let text = text
        .replace("profile_set", "unsubscribed")
        .replace(r#","timezone":"Europe/Lisbon""#, "");
    profile.value = Some(text.into_bytes());
    let at = format!("forbear.engagement/{partition}/{}", profile.offset);
    assert_names(&world.audit(), Promise::P2, "forbear.intents", &at);
}

#[test]
fn an_opt_out_that_was_there_before_the_decision_and_below_no_barrier_is_found() {
    let mut world = World::new();
    world.intent("a", "c1", "email", "");
    world.judge(MINUTE_MS);
    world.event("u", "c1", "unsubscribed", "");
    world.intent("b", "c2", "email", "");
    world.judge(MINUTE_MS);
    assert_eq!(world.audit().violations, []);
    for (_, record) in world.records("forbear.engagement") {
        record.timestamp_ms = START_MS;
    }
    let report = world.audit();
    assert_names(&report, Promise::P2, "forbear.intents", "was appended before it");
}

#[test]
fn one_contact_more_than_the_limit_is_found() {
    // The third intent of a week is said to have been approved.
    let mut world = right_run();
    let ids: Vec<String> = (0..3).map(|round| format!(r#""intent_id":"i2-{round}""#)).collect();
    let id = change_decision(
        &mut world,
        &[&ids[2], r#""verdict":"deferred""#],
        r#""verdict":"deferred","reason":"cap""#,
        r#""verdict":"approved","reason":"approved""#,
    );
    let report = world.audit();
    assert_names(&report, Promise::P3, &id, "against rule week (2 counted)");
    assert_names(&report, Promise::P1, &id, "no record in its topic");
    assert_names(&report, Promise::P5, &id, "reason");
}

#[test]
fn one_more_than_the_share_of_a_capacity_is_found() {
    let mut world = World::new();
    for customer in 0..60 {
        world.intent(&format!("i{customer}"), &format!("c{customer}"), "email", "");
    }
    world.judge(MINUTE_MS);
    assert_eq!(world.audit().violations, []);
    let id = change_decision(
        &mut world,
        &[r#""rule":"gateway""#],
        r#""verdict":"suppressed","reason":"capacity""#,
        r#""verdict":"approved","reason":"approved""#,
    );
    assert_names(
        &world.audit(),
        Promise::P3,
        &id,
        "against the capacity gateway (20 used)",
    );
}

#[test]
fn an_approval_in_the_night_is_found() {
    // A profile says in hindsight that the customer lives where it was night.
    let mut world = World::new();
    world.event("g", "c1", "consent_granted", r#","channel":"sms""#);
    world.event("p", "c1", "profile_set", r#","timezone":"Europe/Lisbon""#);
    world.judge(MINUTE_MS);
    world.intent("a", "c1", "sms", "");
    world.judge(MINUTE_MS);
    assert_eq!(world.audit().violations, []);
    for (_, record) in world.records("forbear.engagement") {
        let text = String::from_utf8(record.value.clone().expect("a value")).expect("a text");
        record.value = Some(text.replace("Europe/Lisbon", "Asia/Tokyo").into_bytes());
    }
    let report = world.audit();
    assert_names(&report, Promise::P4, "forbear.intents", "quiet hours of rule nights");
    assert_names(&report, Promise::P5, "forbear.state", "does not follow from the log");
}

#[test]
fn a_dead_letter_that_is_lost_and_one_of_a_good_record_are_found() {
    let mut world = right_run();
    for (_, records) in world.logs.topics.get_mut("forbear.dead-letter").expect("a topic") {
        records.clear();
    }
    let report = world.audit();
    assert_names(&report, Promise::P1, "forbear.intents", "no dead letter");
    assert_names(&report, Promise::P1, "forbear.engagement", "no dead letter");
    assert_names(&report, Promise::P5, "forbear.intents", "there is none");

    let mut world = right_run();
    let good = world.logs.topics["forbear.intents"][0].1[0].clone();
    let mut letter = good.clone();
    for (name, value) in [
        ("forbear-error", "bad_field"),
        ("forbear-error-detail", "none"),
        ("forbear-source", "forbear.intents/0/0"),
    ] {
        letter.headers.push((name.to_owned(), Some(value.as_bytes().to_vec())));
    }
    world.logs.append("forbear.dead-letter", 0, letter);
    let report = world.audit();
    assert_names(
        &report,
        Promise::P1,
        "forbear.intents/0/0",
        "although it is well formed",
    );
    assert_names(&report, Promise::P1, "forbear.intents/0/0", "has ended 2 times");
    assert_names(&report, Promise::P5, "forbear.dead-letter/0/", "no such dead letter");
}

#[test]
fn a_repeat_that_was_judged_is_found() {
    let mut world = right_run();
    let (_, intents) = &mut world.logs.topics.get_mut("forbear.intents").expect("a topic")[0];
    let mut texts = intents.iter_mut().filter_map(|record| {
        let text = String::from_utf8(record.value.clone()?).ok()?;
        text.contains(r#""intent_id":"i"#).then_some((text, record))
    });
    let (first, _) = texts.next().expect("an intent");
    let customer = first.split('"').nth(7).expect("a customer").to_owned();
    let (other, record) = texts
        .find(|(text, _)| text.contains(&format!(r#""{customer}""#)))
        .expect("another of the same customer");
    let id = |text: &str| text.split('"').nth(3).expect("an id").to_owned();
    record.value = Some(other.replace(&id(&other), &id(&first)).into_bytes());
    let at = format!("forbear.intents/0/{}", record.offset);
    assert_names(&world.audit(), Promise::P1, &at, "was judged as if it did not");
}

#[test]
fn a_time_and_a_barrier_that_go_back_are_found() {
    let mut world = right_run();
    let id = change_decision(
        &mut world,
        &[r#""intent_id":"late""#],
        r#""decided_at":"2026-0"#,
        r#""decided_at":"2025-0"#,
    );
    assert_names(&world.audit(), Promise::P5, &id, "before that of an earlier decision");
    let mut world = right_run();
    let id = change_decision(
        &mut world,
        &[r#""intent_id":"late""#],
        r#""barrier":{"forbear.engagement":1"#,
        r#""barrier":{"forbear.engagement":"#,
    );
    assert_names(&world.audit(), Promise::P2, &id, "goes back");
}

#[test]
fn state_that_does_not_follow_from_the_log_is_found_once() {
    let mut world = right_run();
    let partition = super::reading::owner("c1", world::PARTITIONS) as usize;
    let (_, records) = &mut world.logs.topics.get_mut("forbear.state").expect("a topic")[partition];
    let key = crate::customer::keys::head_key("c1");
    let mut heads = records.iter_mut().filter(|record| record.key.as_ref() == Some(&key));
    let old = heads.next().expect("a head").value.clone();
    let next = heads.next().expect("the next one");
    next.value = old;
    let at = format!("forbear.state/{partition}/{}", next.offset);
    assert_names(
        &world.audit(),
        Promise::P5,
        &at,
        "this state does not follow from the log",
    );
}

#[test]
fn a_policy_whose_text_is_gone_is_not_passed_over() {
    let mut world = right_run();
    for (_, records) in world.logs.topics.get_mut("forbear.policies").expect("a topic") {
        records.clear();
    }
    let report = world.audit();
    assert!(!report.is_clean());
    let mut world = right_run();
    for (_, record) in world.records("forbear.policies") {
        record.value.as_mut().expect("a text").push(b'\n');
    }
    assert_names(&world.audit(), Promise::P5, "forbear.policies/0/0", "is the hash of");
}

#[test]
fn an_audit_can_start_in_the_middle_with_the_state_of_then() {
    let mut world = right_run();
    let report = world.audit_with(|request| request.from = From::Instant(START_MS + 4 * MINUTE_MS));
    assert_eq!(report.violations, []);
    assert!(
        report
            .partitions
            .iter()
            .all(|stretch| stretch.after_seq > 0 && stretch.batches > 0)
    );
    let report = world.audit_with(|request| request.from = From::Offset(10));
    assert_eq!(report.violations, []);
    assert!(report.partitions.iter().any(|stretch| stretch.after_seq > 0));
    let report = world.audit_with(|request| request.until_ms = Some(START_MS + 4 * MINUTE_MS));
    assert_eq!(report.violations, []);
    assert!(report.partitions.iter().all(|stretch| stretch.until_seq < Some(7)));

    // What was broken before the start is not told.
    let (_, record) = world.records("approved.email").next().expect("an approval");
    record.value.as_mut().expect("a value").push(b' ');
    let report = world.audit_with(|request| request.from = From::Instant(START_MS + 4 * MINUTE_MS));
    assert_eq!(report.violations, []);
}

#[test]
fn what_compaction_and_retention_took_is_not_called_a_violation() {
    let mut world = right_run();
    for partition in 0..world::PARTITIONS as usize {
        // Compaction keeps the newest value of each key below the middle.
        let (_, state) = &mut world.logs.topics.get_mut("forbear.state").expect("a topic")[partition];
        let middle = state[state.len() / 2].offset;
        let newer: Vec<(i64, Option<Vec<u8>>)> = state
            .iter()
            .filter(|record| record.offset < middle)
            .map(|record| (record.offset, record.key.clone()))
            .collect();
        state.retain(|record| {
            record.offset >= middle
                || !newer
                    .iter()
                    .any(|(offset, key)| *offset > record.offset && *key == record.key)
        });
    }
    let report = world.audit();
    assert_eq!(report.violations, []);
    assert!(
        report
            .partitions
            .iter()
            .all(|stretch| stretch.after_seq > 0 && stretch.batches > 0)
    );
    let too_old = "verdicts older than the state";
    assert!(report.not_checked.iter().any(|count| count.what.contains(too_old)));

    // Retention takes the beginning of everything else.
    for topic in [
        "forbear.intents",
        "forbear.engagement",
        "approved.email",
        "suppressed.email",
        "forbear.decisions",
    ] {
        for (first, records) in world.logs.topics.get_mut(topic).expect("a topic") {
            records.drain(..records.len() / 3);
            *first = records.first().map_or(0, |record| record.offset);
        }
    }
    assert_eq!(world.audit().violations, []);
}

#[test]
fn one_partition_can_be_audited_alone() {
    let mut world = right_run();
    let report = world.audit_with(|request| request.partitions = Some(vec![1]));
    assert_eq!(report.violations, []);
    assert_eq!(report.partitions.len(), 1);
}

#[test]
fn an_audit_ends_when_it_is_told_to_and_leaves_nothing_behind() {
    use crate::store::memory::MemoryStores;
    let mut world = right_run();
    let mut directory = None;
    world.audit_with(|request| directory = Some(request.directory.clone()));
    assert!(!directory.expect("a directory").exists());
    let mut stores = MemoryStores::new(|_, _| None);
    let mut request = None;
    world.audit_with(|wanted| request = Some(wanted.clone()));
    let request = request.expect("a request");
    let outcome = super::audit(&mut world.logs, &mut stores, &request, &mut |_| false);
    assert_eq!(outcome, Err(super::log::Halt::Interrupted));
    assert!(!request.directory.exists());
}
