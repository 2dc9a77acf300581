//! The working of the rules that let a message pass: what they counted, up to which limit, over which time.

use super::builder::*;
use crate::message::Intent;
use crate::policy::judge::{Bearing, Working, explain};

const NOON: &str = "2026-06-10T16:00:00Z";

fn working(rules: &str, contacts: &[(&str, i64)], intent: &Intent) -> Working {
    let policy = written(&format!("rules: [ {{ id: r, {rules} }} ]"));
    let capacity = crate::customer::CapacityUse::new(0);
    let mut customer = contacted(contacts);
    for contact in &mut customer.contacts {
        contact.category = Some(name("promo"));
    }
    let workings = explain(&policy, &customer, intent, at(NOON), &capacity);
    let of_the_rule = workings
        .into_iter()
        .find(|working| working.rule.as_deref() == Some("r"));
    of_the_rule.expect("the rule has a working")
}

#[test]
fn every_kind_that_counts_tells_what_it_counted_also_where_it_passes() {
    let now_ms = at(NOON);
    let day = Some((now_ms - DAY, now_ms));
    let week = Some((now_ms - 7 * DAY, now_ms));
    let before = [("email", now_ms - 3 * DAY), ("mail", now_ms - 2 * DAY)];
    let mut promo = intent("email");
    promo.category = Some(name("promo"));
    promo.offer = Some(name("card"));
    for (rule, count, limit, window) in [
        ("cap: { limit: 4, window: 7d }", 2, Some(4), week),
        ("gap: 1d", 0, Some(1), day),
        ("pressure: { limit: 12, window: 7d }", 5_000_000, Some(12_000_000), week),
        ("spend: { limit: 3, window: 7d }", 0, Some(3_000_000), week),
        ("back-off: { after: 5, gap: 7d, factor: 2, max: 90d }", 2, Some(5), None),
        (
            "mix: { of: { category: promo }, at-most: 70%, last: 10 }",
            3,
            Some(7),
            None,
        ),
        ("redundant: { key: offer, within: 7d }", 0, Some(1), week),
        (
            "cool-off: { after: complained, count: 2, within: 7d, for: 30d }",
            0,
            Some(2),
            week,
        ),
        ("capacity: { limit: 9, window: 7d }", 0, Some(9), week),
        (
            "sequence: { never: { channel: email }, after: { channel: phone }, within: 7d }",
            0,
            Some(1),
            week,
        ),
        (
            "sequence: { only: { channel: email }, if: { channel: mail }, within: 7d }",
            1,
            None,
            week,
        ),
        (
            "sequence: { never-together: [ { channel: email }, { channel: phone } ], within: 7d }",
            0,
            Some(1),
            week,
        ),
    ] {
        let told = working(rule, &before, &promo);
        assert_eq!(told.bearing, Bearing::Passes, "{rule}");
        assert_eq!((told.count, told.limit), (Some(count), limit), "{rule}");
        assert_eq!(told.window_start_ms.zip(told.window_end_ms), window, "{rule}");
        assert_eq!(told.free_at_ms, None, "{rule}");
    }
}

#[test]
fn a_wait_that_is_over_tells_from_when_to_when_it_was() {
    let now_ms = at(NOON);
    let told = working(
        "back-off: { after: 1, gap: 1d, factor: 2, max: 90d }",
        &[("email", now_ms - 3 * DAY)],
        &intent("email"),
    );
    assert_eq!(told.bearing, Bearing::Passes);
    assert_eq!((told.count, told.limit), (Some(1), Some(1)));
    assert_eq!(
        told.window_start_ms.zip(told.window_end_ms),
        Some((now_ms - 3 * DAY, now_ms - 2 * DAY))
    );
}

#[test]
fn a_window_that_is_open_tells_until_when() {
    let told = working(
        "send-window: { open: { days: mon-sun, from: '08:00', to: '21:00' } }",
        &[],
        &intent("email"),
    );
    assert_eq!(
        (told.window_start_ms, told.window_end_ms),
        (None, Some(at("2026-06-11T01:00:00Z")))
    );
}

#[test]
fn only_what_lies_within_the_time_is_counted_towards_a_rest() {
    let policy = written("rules: [ { id: r, cool-off: { after: complained, count: 1, within: 1d, for: 30d } } ]");
    let mut customer = contacted(&[]);
    for days in [200, 100, 3] {
        let complaint = event(crate::message::EventKind::Complained, at(NOON) - days * DAY);
        customer.events.push(complaint);
    }
    let judgement = judged(&policy, &customer, &intent("email"), at(NOON));
    assert_eq!(
        (judgement.blocked_by[0].count, judgement.blocked_by[0].limit),
        (Some(1), Some(1))
    );
}
