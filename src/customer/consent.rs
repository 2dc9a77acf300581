//! Refusals and grants in the order of the log, and what they mean for one question.
//!
//! - A refusal takes effect when it is read, whatever its `occurred_at`. What it does not name it covers. It ends every
//!   grant inside what it covers.
//! - A grant lifts a refusal, for the questions that the grant covers, if it comes later in the log, its `occurred_at` is
//!   not older, it is in force, and it is more specific than the refusal or names exactly the same.
//! - So among later statements the most specific wins, and at equal specificity the refusal.
//!
//! Statements that can never matter again are dropped when a new one arrives: grants that a refusal ended, an older
//! refusal of the same scope (the newer keeps the later of both times), a refusal that an unlimited grant of the same
//! scope lifted, an older grant of the same scope and basis, a grant that is older than a refusal around it. If there are
//! still too many, the oldest grants go (which can only be stricter), and where only refusals are left,
//! [`crate::customer::Overflow::consents`] suppresses the customer: no refusal is ever forgotten.

use crate::customer::bounds::CONSENTS_AT_MOST;
use crate::customer::{ConsentStatement, Customer};
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

/// What the statements (in log order) say to the question. `in_force` tells whether a grant still holds: its
/// `expires_at`, and how long its basis lasts, which only the policy knows.
pub fn consent_standing<'a>(
    statements: &'a [ConsentStatement],
    question: &ConsentQuestion<'_>,
    in_force: &dyn Fn(&ConsentStatement) -> bool,
) -> ConsentStanding<'a> {
    let covering = |statement: &&ConsentStatement| covers_question(statement, question);
    let standing_refusal = |counts: &dyn Fn(&ConsentStatement) -> bool| {
        statements.iter().enumerate().find(|(position, refusal)| {
            let later = &statements[position + 1..];
            !refusal.granted
                && covering(refusal)
                && !later
                    .iter()
                    .any(|grant| covering(&grant) && counts(grant) && lifts(grant, refusal))
        })
    };
    if let Some((_, refusal)) = standing_refusal(&|_| true) {
        return ConsentStanding::Refused(refusal);
    }
    let grants = || statements.iter().filter(|statement| statement.granted).filter(covering);
    let refused = standing_refusal(in_force).is_some();
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
        if self.consents.len() <= CONSENTS_AT_MOST {
            return;
        }
        match self.consents.iter().position(|statement| statement.granted) {
            Some(oldest_grant) => {
                self.consents.remove(oldest_grant);
            }
            None => {
                self.consents.pop();
                self.overflow.consents = true;
            }
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
        let unlimited = grant.expires_at_ms.is_none() && grant.basis.is_none();
        self.consents.retain(|earlier| {
            let moot = if earlier.granted {
                earlier.basis == grant.basis && earlier.occurred_at_ms <= grant.occurred_at_ms
            } else {
                unlimited
            };
            !(moot && same_scope(&grant, earlier))
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
