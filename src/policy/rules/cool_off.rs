//! `cool-off`: after something happened, silence for a time, or until it is settled.

use super::{RuleOutcome, View, tally};
use crate::customer::PastEvent;
use crate::customer::facts::delivered_at;
use crate::message::EventKind;
use crate::policy::model::Rule;
use crate::policy::selector::{Described, LedgerEvent, Selector, agree};
use crate::policy::window::{Bounds, Span, ZoneChoice, calendar};
use jiff::tz::TimeZone;

/// Blocks once `count` matching events lie within `within`.
#[derive(Debug)]
pub struct CoolOff {
    /// Any of these counts.
    pub after: Vec<Trigger>,
    /// At least 1.
    pub count: u32,
    /// None: however far apart the events lie.
    pub within: Option<Span>,
    pub block: Block,
    /// `events:` what is counted, beside the kind.
    pub events: Selector,
    /// In which months and local days are measured.
    pub zone: ZoneChoice,
}

/// What starts a cool-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    Event(EventKind),
    /// A delivered contact that had no response for so long; it happens at the end of that time.
    NoResponse(Span),
}

/// How a cool-off ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A time after the event that completed the count.
    For(Length),
    /// When the pairing event (by `issue_id`) is read; `max` ends it in any case, and is not a known end.
    Until { kind: EventKind, max: Option<Span> },
}

/// How long a cool-off lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Span(Span),
    /// The event's local day is the first; ends when the N-th ends. At least 1.
    CalendarDays(u32),
}

impl Length {
    fn after(self, start_ms: i64, zone: &TimeZone) -> i64 {
        match self {
            Self::Span(span) => span.after(start_ms, zone),
            Self::CalendarDays(days) => {
                let day = calendar::local_day(start_ms, zone);
                calendar::day_plus(day, i64::from(days.max(1)), zone)
            }
        }
    }
}

impl CoolOff {
    /// Is the customer left in peace now?
    pub fn evaluate(&self, rule: &Rule, view: &View, zone: &TimeZone) -> RuleOutcome {
        let mut times = Vec::new();
        for trigger in &self.after {
            match trigger {
                Trigger::Event(kind) => self.events_of(*kind, rule, view, zone, &mut times),
                Trigger::NoResponse(delay) => self.ignored_contacts(*delay, rule, view, zone, &mut times),
            }
        }
        times.sort_unstable();
        let completions = self.completions(&times, zone);
        let outcome = |passes, bounds: Option<Bounds>, free_at_ms| RuleOutcome {
            passes,
            count: Some(self.near(&times, bounds.map_or(view.at_ms, |bounds| bounds.start_ms), zone)),
            limit: Some(i64::from(self.count.max(1))),
            bounds,
            free_at_ms,
        };
        let Some(last_ms) = completions.last().copied() else {
            return outcome(true, None, None);
        };
        let free_at_ms = match &self.block {
            Block::Until { .. } => None,
            // Months are clamped at their ends: the last event need not be the one that blocks longest.
            Block::For(length) => completions.iter().map(|at_ms| length.after(*at_ms, zone)).max(),
        };
        if free_at_ms.is_some_and(|free_ms| free_ms <= view.at_ms) {
            return outcome(true, None, None);
        }
        let bounds = Bounds {
            start_ms: last_ms,
            end_ms: free_at_ms.unwrap_or(view.at_ms),
        };
        outcome(false, Some(bounds), free_at_ms)
    }

    /// How many of the events lie within `within` of an instant, for the record.
    fn near(&self, times: &[i64], end_ms: i64, zone: &TimeZone) -> i64 {
        let near = times.iter().filter(|at_ms| {
            let is_near = self.within.is_none_or(|within| within.after(**at_ms, zone) > end_ms);
            **at_ms <= end_ms && is_near
        });
        i64::try_from(near.count()).unwrap_or(i64::MAX)
    }

    /// The events that made the count complete, of the sorted times.
    fn completions(&self, times: &[i64], zone: &TimeZone) -> Vec<i64> {
        let count = usize::try_from(self.count.max(1)).unwrap_or(usize::MAX);
        let rows = times.windows(count);
        let complete = rows.filter(|row| match self.within {
            Some(within) => within.after(row[0], zone) > row[count - 1],
            None => true,
        });
        complete.map(|row| row[count - 1]).collect()
    }

    fn events_of(&self, kind: EventKind, rule: &Rule, view: &View, zone: &TimeZone, times: &mut Vec<i64>) {
        let customer = view.customer;
        for (index, event) in customer.events.iter().enumerate() {
            if event.kind != kind || event.machine {
                continue;
            }
            let seen = LedgerEvent {
                event,
                contact: event.intent_hash.and_then(|hash| customer.contact_of(hash)),
                profile: &customer.profile,
            };
            if self.counts(&seen, rule, view) && !self.is_settled(event, &customer.events[index + 1..], view, zone) {
                times.push(event.at_ms);
            }
        }
    }

    /// The next instant after this one at which a contact will have had no response for long enough.
    pub fn next_ignored(&self, rule: &Rule, view: &View, zone: &TimeZone) -> Option<i64> {
        let delays = self.after.iter().filter_map(|trigger| match trigger {
            Trigger::NoResponse(delay) => Some(*delay),
            Trigger::Event(_) => None,
        });
        let ignored = delays.flat_map(|delay| self.ignored(delay, rule, view, zone));
        let seen_from = ignored.map(|(at_ms, delivered_ms)| at_ms.max(delivered_ms));
        seen_from.filter(|from_ms| *from_ms > view.at_ms).min()
    }

    fn ignored_contacts(&self, delay: Span, rule: &Rule, view: &View, zone: &TimeZone, times: &mut Vec<i64>) {
        let ignored = self.ignored(delay, rule, view, zone);
        let past = ignored.filter(|(at_ms, delivered_ms)| at_ms.max(delivered_ms) <= &view.at_ms);
        times.extend(past.map(|(at_ms, _)| at_ms));
    }

    /// The contacts without a response that count: when each has been silent for long enough, and from when on it counts
    /// as delivered.
    fn ignored<'v>(
        &'v self,
        delay: Span,
        rule: &'v Rule,
        view: &'v View<'v>,
        zone: &'v TimeZone,
    ) -> impl Iterator<Item = (i64, i64)> + 'v {
        let contacts = tally::contacts(rule, view, i64::MIN).filter(move |contact| {
            self.counts(&tally::seen(view, contact), rule, view) && !view.customer.answered(contact, view.policy)
        });
        contacts.filter_map(move |contact| {
            let delivered_ms = delivered_at(contact, view.policy)?;
            Some((delay.after(contact.at_ms, zone), delivered_ms))
        })
    }

    fn counts(&self, seen: &impl Described, rule: &Rule, view: &View) -> bool {
        self.events.matches(seen) && agree(&rule.per, &view.subject, seen)
    }

    /// Whether the pairing event came, or the guard ended it. One without an id settles all.
    fn is_settled(&self, event: &PastEvent, later: &[PastEvent], view: &View, zone: &TimeZone) -> bool {
        let Block::Until { kind, max } = &self.block else {
            return false;
        };
        let over = max.is_some_and(|max| max.after(event.at_ms, zone) <= view.at_ms);
        let paired =
            |other: &PastEvent| other.kind == *kind && (other.issue_id.is_none() || other.issue_id == event.issue_id);
        over || later.iter().any(paired)
    }
}
