//! Refusals and grants in the order of the log, and what they mean for one question.
//!
//! - A refusal takes effect when it is read, whatever its `occurred_at`. What it does not name it covers. It ends every
//!   grant inside what it covers.
//! - A grant lifts a refusal, for the questions that the grant covers, if it comes later in the log, its `occurred_at` is
//!   not older, it is in force, and it is more specific than the refusal or names exactly the same.
//! - So among later statements the most specific wins, and at equal specificity the refusal.
//! - A grant whose basis the policy does not count is no grant at all.
//!
//! Statements that can never matter again are dropped when a new one arrives: grants that a refusal ended, an older
//! refusal of the same scope (the newer keeps the later of both times), an older grant of the same scope and basis, a grant
//! that is older than a refusal around it. A refusal that a grant lifted stays, whatever the grant says of its end: how long
//! its basis lasts is the policy's, and the next policy's. If there are still too many, the oldest grants go (which can only
//! be stricter), and where only refusals are left, [`crate::customer::Overflow::consents`] suppresses the customer: no
//! refusal is ever forgotten.

use crate::customer::bounds::{CONSENT_BYTES_AT_MOST, CONSENTS_AT_MOST};
use crate::customer::{ConsentStatement, Customer, sizes};
use crate::message::Name;

/// What is asked: may this be sent? An absent purpose or division is one that no statement naming one covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsentQuestion<'a> {
    /// The channel judged.
    pub channel: &'a str,
    /// The intent's `category`.
    pub purpose: Option<&'a str>,
    /// The intent's division.
    pub division: Option<&'a str>,
}

/// What a grant is worth at an instant. Its `expires_at`, whether its basis counts and how long that lasts decide, and only
/// the policy knows all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantForce {
    InForce,
    /// It was in force once.
    Over,
    /// Its basis is none that the policy counts.
    NotCounted,
}

/// What the statements answer. `opt-in` passes on `Granted`; `opt-out` passes on everything that
/// [`ConsentStanding::refuses`] is false for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConsentStanding<'a> {
    /// Nothing was said about it.
    Silent,
    /// A refusal stands.
    Refused(&'a ConsentStatement),
    /// A grant in force: the most specific, of equals the latest. It carries basis, time and expiry.
    Granted(&'a ConsentStatement),
    /// There was a grant, and it is no longer in force. `refused`: it had lifted a refusal, which stands again.
    Expired { grant: &'a ConsentStatement, refused: bool },
}

impl ConsentStanding<'_> {
    /// Whether the customer said no.
    pub fn refuses(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Expired { refused: true, .. })
    }
}

/// What the statements (in log order) say to the question. `force` tells what a grant is worth.
pub fn consent_standing<'a>(
    statements: &'a [ConsentStatement],
    question: &ConsentQuestion<'_>,
    force: &dyn Fn(&ConsentStatement) -> GrantForce,
) -> ConsentStanding<'a> {
    let in_force = |grant: &ConsentStatement| force(grant) == GrantForce::InForce;
    let counted = |grant: &ConsentStatement| force(grant) != GrantForce::NotCounted;
    let covering = |statement: &&ConsentStatement| covers_question(statement, question);
    let standing_refusal = |lifting: &dyn Fn(&ConsentStatement) -> bool| {
        statements.iter().enumerate().find(|(position, refusal)| {
            let later = &statements[position + 1..];
            !refusal.granted
                && covering(refusal)
                && !later
                    .iter()
                    .any(|grant| covering(&grant) && lifts(grant, refusal) && lifting(grant))
        })
    };
    if let Some((_, refusal)) = standing_refusal(&counted) {
        return ConsentStanding::Refused(refusal);
    }
    let grants = || {
        let granted = statements.iter().filter(|statement| statement.granted);
        granted.filter(covering).filter(|grant| counted(grant))
    };
    let refused = standing_refusal(&in_force).is_some();
    // `max_by_key` takes the last of equals: the latest.
    if !refused
        && let Some(grant) = grants()
            .filter(|grant| in_force(grant))
            .max_by_key(|grant| specificity(grant))
    {
        return ConsentStanding::Granted(grant);
    }
    match grants().max_by_key(|grant| specificity(grant)) {
        Some(grant) => ConsentStanding::Expired { grant, refused },
        None => ConsentStanding::Silent,
    }
}

impl Customer {
    /// Appends a statement, and drops what it makes moot.
    pub fn state_consent(&mut self, statement: ConsentStatement) {
        if statement.granted {
            self.grant(statement);
        } else {
            self.refuse(statement);
        }
        let mut bytes: usize = self.consents.iter().map(sizes::consent).sum();
        while self.consents.len() > CONSENTS_AT_MOST || bytes > CONSENT_BYTES_AT_MOST {
            let oldest_grant = self.consents.iter().position(|statement| statement.granted);
            self.overflow.consents |= oldest_grant.is_none();
            let gone = self.consents.remove(oldest_grant.unwrap_or(self.consents.len() - 1));
            bytes = bytes.saturating_sub(sizes::consent(&gone));
        }
    }

    fn refuse(&mut self, mut refusal: ConsentStatement) {
        self.consents.retain(|earlier| {
            let moot = if earlier.granted {
                covers_scope(&refusal, earlier)
            } else {
                same_scope(&refusal, earlier)
            };
            if moot && !earlier.granted {
                refusal.occurred_at_ms = refusal.occurred_at_ms.max(earlier.occurred_at_ms);
            }
            !moot
        });
        self.consents.push(refusal);
    }

    fn grant(&mut self, grant: ConsentStatement) {
        let outdated = self.consents.iter().any(|earlier| {
            !earlier.granted && covers_scope(earlier, &grant) && earlier.occurred_at_ms > grant.occurred_at_ms
        });
        if outdated {
            return;
        }
        self.consents.retain(|earlier| {
            let moot = earlier.granted
                && earlier.basis == grant.basis
                && earlier.occurred_at_ms <= grant.occurred_at_ms
                && same_scope(&grant, earlier);
            !moot
        });
        self.consents.push(grant);
    }
}

/// Whether `grant`, which comes later in the log, lifts `refusal` for a question that both cover.
fn lifts(grant: &ConsentStatement, refusal: &ConsentStatement) -> bool {
    grant.granted
        && grant.occurred_at_ms >= refusal.occurred_at_ms
        && (specificity(grant) > specificity(refusal) || same_scope(grant, refusal))
}

fn scope(statement: &ConsentStatement) -> [&Option<Name>; 3] {
    [&statement.channel, &statement.purpose, &statement.division]
}

/// How many things the statement names.
fn specificity(statement: &ConsentStatement) -> usize {
    scope(statement).iter().filter(|named| named.is_some()).count()
}

fn same_scope(one: &ConsentStatement, other: &ConsentStatement) -> bool {
    scope(one) == scope(other)
}

/// Whether everything that `inner` covers is covered by `outer`.
fn covers_scope(outer: &ConsentStatement, inner: &ConsentStatement) -> bool {
    let both = scope(outer).into_iter().zip(scope(inner));
    both.into_iter().all(|(outer, inner)| outer.is_none() || outer == inner)
}

fn covers_question(statement: &ConsentStatement, question: &ConsentQuestion<'_>) -> bool {
    let asked = [Some(question.channel), question.purpose, question.division];
    let both = scope(statement).into_iter().zip(asked);
    both.into_iter()
        .all(|(named, asked)| named.is_none() || named.as_deref() == asked)
}
