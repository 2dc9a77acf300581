//! Slots that are kept for reserved intents, against brute force, over the random policies and ledgers of [`super::brute_force`].

use super::brute_force::{World, world};
use super::builder::*;
use crate::customer::{Contact, Customer};
use crate::message::Intent;
use crate::policy::judge::{Competition, Hold, Reserved, judge, judge_among};
use crate::policy::judgement::{Judgement, Reason, Verdict};
use crate::policy::model::RuleKindName;
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A world in which up to four intents above the candidate keep slots in the next days.
fn contested(seed: u64) -> (World, Competition) {
    let mut world = world(seed);
    let random = &mut ChaCha8Rng::seed_from_u64(seed ^ 0x5107);
    if random.random() {
        world.intent.channel = name("push");
        world.intent.fallback_channels.clear();
    }
    let reserved = (0..random.random_range(1..5)).map(|index| {
        let mut intent = intent(if random.random() { "email" } else { "push" });
        intent.intent_id = name(&format!("kept-{index}"));
        if random.random_range(0..3) == 0 {
            intent.fallback_channels = vec![name("push")];
        }
        let at_ms = world.now_ms + random.random_range(1..5 * DAY);
        Reserved {
            intent,
            at_ms,
            is_held: false,
        }
    });
    let competition = Competition {
        hold: Hold::Over,
        reserved: reserved.collect(),
    };
    (world, competition)
}

fn judged_at(world: &World, competition: &Competition, at_ms: i64) -> Judgement {
    judge_among(
        &world.policy,
        &world.customer,
        &world.intent,
        at_ms,
        &FRESH,
        competition,
    )
}

/// The customer with more contacts, each at its place.
fn with(customer: &Customer, more: &[Contact], until_ms: i64) -> Customer {
    let mut customer = customer.clone();
    customer
        .contacts
        .extend(more.iter().filter(|contact| contact.at_ms <= until_ms).cloned());
    customer.contacts.sort_by_key(|contact| contact.at_ms);
    customer
}

/// The slots that are kept, found by judging one reserved intent after the other as if its time had come.
fn kept(world: &World, competition: &Competition) -> Vec<(Intent, Contact)> {
    let mut kept: Vec<(Intent, Contact)> = Vec::new();
    let mut above: Vec<Reserved> = Vec::new();
    for reserved in &competition.reserved {
        let contacts: Vec<Contact> = kept.iter().map(|(_, contact)| contact.clone()).collect();
        let ledger = with(&world.customer, &contacts, reserved.at_ms);
        let later = above.iter().filter(|other| other.at_ms > reserved.at_ms).cloned();
        let competition = Competition {
            hold: Hold::Over,
            reserved: later.collect(),
        };
        let judgement = judge_among(
            &world.policy,
            &ledger,
            &reserved.intent,
            reserved.at_ms,
            &FRESH,
            &competition,
        );
        if judgement.verdict == Verdict::Approved {
            kept.push((reserved.intent.clone(), contact(&judgement.channel, reserved.at_ms)));
            above.push(reserved.clone());
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(120), max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn an_approval_leaves_every_slot_that_is_kept_above_it_as_it_was(seed in any::<u64>(), later_ms in 0..4 * DAY) {
        let (world, competition) = contested(seed);
        let at_ms = world.now_ms + later_ms;
        let judgement = judged_at(&world, &competition, at_ms);
        if judgement.verdict != Verdict::Approved {
            return Ok(());
        }
        let slots = kept(&world, &competition);
        let mut contacts: Vec<Contact> = slots.iter().map(|(_, contact)| contact.clone()).collect();
        contacts.push(contact(&judgement.channel, at_ms));
        for (intent, slot) in slots.iter().filter(|(_, slot)| slot.at_ms > at_ms) {
            let others: Vec<Contact> = contacts.iter().filter(|other| *other != slot).cloned().collect();
            let ledger = with(&world.customer, &others, slot.at_ms);
            let mut on_its_channel = intent.clone();
            on_its_channel.channel = slot.channel.clone();
            on_its_channel.fallback_channels.clear();
            let again = judge(&world.policy, &ledger, &on_its_channel, slot.at_ms, &FRESH);
            for block in &again.blocked_by {
                let rule = world.policy.rules.iter().find(|rule| Some(&rule.id) == block.rule.as_ref());
                let Some(rule) = rule else { continue };
                let governs = rule.governs.terms.is_empty()
                    || rule.governs == selector(crate::policy::selector::Field::Channel, &judgement.channel);
                let contested = matches!(rule.kind.name(), RuleKindName::Cap | RuleKindName::Gap);
                prop_assert!(!(governs && contested), "{} took the slot at {}", rule.id, slot.at_ms);
            }
        }
    }

    #[test]
    fn the_wake_is_the_earliest_instant_at_which_neither_a_rule_nor_a_slot_is_in_the_way(seed in any::<u64>()) {
        let (mut world, competition) = contested(seed);
        world.intent.fallback_channels.clear();
        let judgement = judged_at(&world, &competition, world.now_ms);
        let approved = |at_ms| judged_at(&world, &competition, at_ms).verdict == Verdict::Approved;
        let last_ms = world.now_ms + world.policy.max_defer_ms;
        let expires_ms = world.intent.expires_at_ms.unwrap_or(i64::MAX);
        let end_ms = match judgement.verdict {
            Verdict::Approved => return Ok(()),
            Verdict::Deferred if judgement.wake_at_ms.is_some() => {
                let wake_ms = judgement.wake_at_ms.expect("just looked");
                prop_assert!(wake_ms > world.now_ms && wake_ms <= last_ms && wake_ms < expires_ms);
                prop_assert!(approved(wake_ms), "not approved at its wake");
                prop_assert!(!approved(wake_ms - 1), "approved a millisecond before its wake");
                prop_assert!(judgement.next_eligible_at_ms.is_none_or(|free_ms| free_ms == wake_ms));
                wake_ms
            }
            // Nothing in reach may be approved: suppressed, or what blocks has no known end.
            _ => (last_ms + 1).min(expires_ms),
        };
        for instant in instants(&world, &competition, end_ms, seed) {
            prop_assert!(!approved(instant), "approved at {instant}, before {end_ms}");
        }
    }

    #[test]
    fn what_is_deferred_among_competitors_is_approved_at_its_wake_on_whatever_channel(seed in any::<u64>()) {
        let (world, competition) = contested(seed);
        if let Some(wake_ms) = judged_at(&world, &competition, world.now_ms).wake_at_ms {
            prop_assert_eq!(judged_at(&world, &competition, wake_ms).verdict, Verdict::Approved);
        }
    }

    #[test]
    fn slots_only_ever_take_approvals_away_and_say_so(seed in any::<u64>()) {
        let (mut world, competition) = contested(seed);
        // Where a fallback is what a slot takes away, the requested channel's reason stands.
        world.intent.fallback_channels.clear();
        let alone = judged(&world.policy, &world.customer, &world.intent, world.now_ms);
        let among = judged_at(&world, &competition, world.now_ms);
        if alone.verdict != Verdict::Approved {
            prop_assert_ne!(among.verdict, Verdict::Approved);
        } else if among.verdict != Verdict::Approved {
            prop_assert_eq!(among.reason, Reason::Arbitration);
            let rule = among.rule.as_deref();
            prop_assert!(world.policy.rules.iter().any(|known| Some(&*known.id) == rule));
        }
    }
}

/// Half hours, and instants around those at which a contact or a slot begins or ends to be in the way of whole hours: as
/// many as can be judged in a test, drawn.
fn instants(world: &World, competition: &Competition, end_ms: i64, seed: u64) -> Vec<i64> {
    let slots = competition.reserved.iter().map(|reserved| reserved.at_ms);
    let contacts = world.customer.contacts.iter().map(|contact| contact.at_ms);
    let starts: Vec<i64> = slots.chain(contacts).collect();
    let around = (-100..=100).flat_map(|hours| [hours * HOUR - 1, hours * HOUR, hours * HOUR + 1]);
    let mut instants: Vec<i64> = around
        .flat_map(|distance_ms| starts.iter().map(move |start_ms| start_ms + distance_ms))
        .chain((world.now_ms..end_ms).step_by(30 * 60_000))
        .filter(|instant| (world.now_ms..end_ms).contains(instant))
        .collect();
    instants.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    instants.truncate(300);
    instants
}
