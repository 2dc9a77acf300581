//! When an intent that is blocked now would pass if nothing else were approved meanwhile.
//!
//! Each blocking rule says until when it blocks at least. The greatest of these bounds is an instant before which the
//! intent cannot pass; there all rules are asked again, because a gap may end inside quiet hours that open on another
//! calendar day. So the search only ever jumps over instants that are proven to be blocked, and the first instant at which
//! nothing blocks is the earliest there is.

use super::case::{Case, Hit};
use crate::message::Name;
use crate::policy::judgement::Reason;
use crate::policy::rules::RuleKind;
use sha2::{Digest, Sha256};

/// Jumps before a search gives up: windows that never open together would go on for ever.
const ROUNDS_AT_MOST: u32 = 400;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// The earliest instant at which nothing blocks, and by how much windows ask to spread what wakes there.
    Passes { at_ms: i64, jitter_ms: i64 },
    /// Blocked by something that time alone does not end.
    NoKnownEnd,
    /// Blocked at least until the end of what was asked for.
    Beyond,
    /// Gave up: blocked at least until this instant.
    Unsettled { from_ms: i64 },
}

impl Search {
    /// The instant at which the intent passes.
    pub fn instant(self) -> Option<i64> {
        match self {
            Self::Passes { at_ms, .. } => Some(at_ms),
            _ => None,
        }
    }
}

impl<'a> Case<'a> {
    /// The earliest instant in `[from_ms, end_ms)` at which the channel passes.
    pub fn earliest_pass(&self, channel: &'a Name, from_ms: i64, end_ms: i64) -> Search {
        let mut at_ms = from_ms;
        let mut jitter_ms = 0;
        for _ in 0..ROUNDS_AT_MOST {
            if at_ms >= end_ms {
                return Search::Beyond;
            }
            let hits = self.hits(channel, at_ms);
            let mut blocked_until_ms = None;
            for hit in hits.iter().filter(|hit| !hit.is_shadow()) {
                let Some(until_ms) = self.blocked_at_least_until(hit, at_ms) else {
                    return Search::NoKnownEnd;
                };
                blocked_until_ms = blocked_until_ms.max(Some(until_ms));
            }
            let Some(until_ms) = blocked_until_ms else {
                return Search::Passes { at_ms, jitter_ms };
            };
            jitter_ms = jitter_of(&hits, until_ms);
            // An answer that is not later would be a defect of a rule; time goes on nevertheless.
            at_ms = until_ms.max(at_ms.saturating_add(1));
        }
        Search::Unsettled { from_ms: at_ms }
    }

    /// The earliest instant in `[from_ms, end_ms)` at which the verdict would be approved, on the requested channel or on
    /// a fallback.
    pub fn earliest_approval(&self, requested: Search, from_ms: i64, end_ms: i64) -> Search {
        let mut best = requested;
        for channel in self.fallbacks() {
            let end_ms = best.instant().map_or(end_ms, |at_ms| at_ms.min(end_ms));
            let found = self.earliest_fallback(channel, from_ms, end_ms);
            if found.instant().is_some() {
                best = found;
            }
        }
        best
    }

    /// The earliest instant at which the fallback passes while the requested channel hands over to it.
    fn earliest_fallback(&self, channel: &'a Name, from_ms: i64, end_ms: i64) -> Search {
        let mut from_ms = from_ms;
        for _ in 0..ROUNDS_AT_MOST {
            let found = self.earliest_pass(channel, from_ms, end_ms);
            let Search::Passes { at_ms, .. } = found else {
                return found;
            };
            let hits = self.hits(&self.intent.channel, at_ms);
            if hands_over(&hits) {
                return found;
            }
            // Whether it hands over can change only when a hit ends, when another begins or when a fact changes.
            let ends = hits.iter().filter_map(|hit| hit.outcome.free_at_ms);
            let changes = [
                self.may_block_from(&self.intent.channel, at_ms),
                self.next_change(at_ms),
                self.slots.next_after(at_ms),
            ];
            let next_ms = ends.chain(changes.into_iter().flatten()).filter(|next| *next > at_ms);
            match next_ms.min() {
                Some(next_ms) => from_ms = next_ms,
                None => return Search::NoKnownEnd,
            }
        }
        Search::Unsettled { from_ms }
    }

    /// The instant moved by the jitter of the windows that it waited for: only ever later, never past the end of a window
    /// or `end_ms`, never to an instant at which it would not be approved.
    pub fn with_jitter(&self, at_ms: i64, jitter_ms: i64, end_ms: i64) -> i64 {
        if jitter_ms <= 0 {
            return at_ms;
        }
        let Some(channel) = self.channel_that_passes(at_ms) else {
            return at_ms;
        };
        let closes_ms = self.open_until(channel, at_ms).unwrap_or(i64::MAX).min(end_ms);
        let room_ms = closes_ms.saturating_sub(1).saturating_sub(at_ms).min(jitter_ms).max(0);
        let spread = u64::try_from(room_ms).unwrap_or(0).saturating_add(1);
        let moved_ms = at_ms.saturating_add(i64::try_from(self.jitter_seed() % spread).unwrap_or(0));
        match self.channel_that_passes(moved_ms) {
            Some(_) => moved_ms,
            None => at_ms,
        }
    }

    /// On which channel the verdict would be approved.
    pub fn channel_that_passes(&self, at_ms: i64) -> Option<&'a Name> {
        let requested = &self.intent.channel;
        let hits = self.hits(requested, at_ms);
        if hits.iter().all(Hit::is_shadow) {
            return Some(requested);
        }
        let mut fallbacks = self.fallbacks();
        hands_over(&hits)
            .then(|| fallbacks.find(|channel| self.passes(channel, at_ms)))
            .flatten()
    }

    /// Whether nothing blocks the channel.
    fn passes(&self, channel: &'a Name, at_ms: i64) -> bool {
        self.hits(channel, at_ms).iter().all(Hit::is_shadow)
    }

    /// The fallback channels in order, each once, that the policy knows and that were not asked for in the first place.
    pub fn fallbacks(&self) -> impl Iterator<Item = &'a Name> {
        let intent = self.intent;
        let policy = self.policy;
        let named = intent.fallback_channels.iter().enumerate();
        named
            .filter(move |(position, channel)| {
                **channel != intent.channel
                    && !intent.fallback_channels[..*position].contains(channel)
                    && policy.channel(channel).is_some()
            })
            .map(|(_, channel)| channel)
    }

    fn blocked_at_least_until(&self, hit: &Hit, at_ms: i64) -> Option<i64> {
        let changes_ms = hit.depends_on_time.then(|| self.next_change(at_ms)).flatten();
        // What is reserved is a contact from its slot on, and some rules wait for one.
        let may_free = hit.rule.is_some_and(|rule| rule.kind.a_contact_may_free());
        let slot_ms = may_free.then(|| self.slots.next_after(at_ms)).flatten();
        [hit.outcome.free_at_ms, changes_ms, slot_ms]
            .into_iter()
            .flatten()
            .min()
    }

    fn jitter_seed(&self) -> u64 {
        let digest = Sha256::digest(self.intent.intent_id.as_bytes());
        digest
            .iter()
            .take(8)
            .fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
    }
}

/// Whether what blocks the requested channel lets a fallback be tried: something asks for it, nothing ends it.
pub(super) fn hands_over(hits: &[Hit]) -> bool {
    let mut effective = hits.iter().filter(|hit| !hit.is_shadow());
    effective.clone().all(|hit| !hit.on_hit.only_suppresses()) && effective.any(|hit| hit.on_hit.fallback)
}

/// The widest jitter of the windows that end the wait.
fn jitter_of(hits: &[Hit], until_ms: i64) -> i64 {
    let waited_for = hits
        .iter()
        .filter(|hit| hit.reason == Reason::QuietHours && !hit.is_shadow() && hit.outcome.free_at_ms == Some(until_ms));
    let jitters = waited_for.filter_map(|hit| match hit.rule.map(|rule| &rule.kind) {
        Some(RuleKind::SendWindow(window)) => Some(window.jitter_ms),
        _ => None,
    });
    jitters.max().unwrap_or(0)
}
