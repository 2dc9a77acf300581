//! The built-in steps, which come before the company's rules: stops, suppression list, consent, preferences.

use super::case::{Case, Hit};
use crate::customer::{
    ConsentQuestion, ConsentStanding, ConsentStatement, GrantForce, Standing, Suppression, consent_standing,
    endpoint_hash,
};
use crate::message::{Basis, Name};
use crate::policy::condition::ConditionError;
use crate::policy::judgement::Reason;
use crate::policy::model::{ConsentClause, ConsentMode, Obeys, OnHit, RuleKindName};
use crate::policy::rules::{RuleOutcome, View, tally};
use crate::policy::window::{Bounds, free_at};

const WEEK_MS: i64 = 7 * 86_400_000;

/// The word for what a complaint stops.
const MARKETING: &str = "marketing";

/// What of the built-in steps blocks, in their order.
pub(super) fn hits<'a>(case: &Case<'a>, view: &View, hits: &mut Vec<Hit<'a>>) {
    stops(view, hits);
    standing(view, hits);
    if case.class.obeys.kind(RuleKindName::SuppressionList) {
        suppression_list(case, view, hits);
    }
    if case.class.obeys.kind(RuleKindName::Consent) {
        consent(view, hits);
    }
    if case.class.obeys.kind(RuleKindName::Preferences) {
        preferences(view, hits);
    }
}

fn stops(view: &View, hits: &mut Vec<Hit>) {
    for stop in &view.policy.stops {
        let is_past = stop.until_ms.is_some_and(|until_ms| until_ms <= view.at_ms);
        if !is_past && stop.governs.matches(&view.subject) {
            let outcome = RuleOutcome::blocked_until(stop.until_ms);
            hits.push(Hit::builtin(Reason::Stopped, OnHit::SUPPRESS, outcome));
        }
    }
}

/// What stops everything, whatever the class obeys. A customer of whom something was lost that a verdict may need is one
/// of them: nobody can say that a message is allowed.
fn standing(view: &View, hits: &mut Vec<Hit>) {
    if view.customer.standing != Standing::Active || view.customer.overflowed() {
        let outcome = RuleOutcome::blocked_until(None);
        hits.push(Hit::builtin(Reason::SuppressionList, OnHit::SUPPRESS, outcome));
    }
}

fn suppression_list(case: &Case, view: &View, hits: &mut Vec<Hit>) {
    let channel = view.subject.channel;
    // An endpoint belongs to the requested channel; a fallback is judged without it.
    let endpoint = (case.intent.channel == *channel)
        .then(|| case.intent.endpoint.as_deref().map(endpoint_hash))
        .flatten();
    let stops = |entry: &Suppression| match entry {
        Suppression::Complaint { channel: scope, .. } => {
            is_marketing(case) && scope.as_ref().is_none_or(|scope| scope == channel)
        }
        Suppression::Endpoint {
            channel: scope,
            endpoint_hash,
            ..
        } => endpoint == Some(*endpoint_hash) && scope.as_ref().is_none_or(|scope| scope == channel),
        Suppression::Channel {
            channel: scope,
            known_endpoint_hash,
            ..
        } => scope == channel && (endpoint.is_none() || endpoint == *known_endpoint_hash),
    };
    if view.customer.suppressions.iter().any(stops) {
        let outcome = RuleOutcome::blocked_until(None);
        hits.push(Hit::builtin(Reason::SuppressionList, OnHit::CHANNEL_BOUND, outcome));
    }
}

/// A complaint stops marketing: the class of that name, and every class that is subject to everything.
fn is_marketing(case: &Case) -> bool {
    &*case.class.name == MARKETING || matches!(case.class.obeys, Obeys::All)
}

fn consent(view: &View, hits: &mut Vec<Hit>) {
    let clauses = view
        .policy
        .channel(view.subject.channel)
        .map_or(&[][..], |channel| channel.consent.as_slice());
    let depends_on_time = clauses
        .iter()
        .any(|clause| clause.when.as_ref().is_some_and(|when| when.depends_on_time()));
    let reason = match clause_that_holds(clauses, view) {
        Ok(clause) => refusal(clause, view),
        Err(_) => Some(Reason::PolicyError),
    };
    if let Some(reason) = reason {
        let mut hit = Hit::builtin(reason, OnHit::CHANNEL_BOUND, RuleOutcome::blocked_until(None));
        hit.step = Reason::Consent.step();
        hit.depends_on_time = depends_on_time;
        hits.push(hit);
    }
}

fn clause_that_holds<'v>(
    clauses: &'v [ConsentClause],
    view: &View,
) -> Result<Option<&'v ConsentClause>, ConditionError> {
    for clause in clauses {
        if clause.when.as_ref().map_or(Ok(true), |when| when.test(&view.facts))? {
            return Ok(Some(clause));
        }
    }
    Ok(None)
}

/// Why the customer's word does not allow it. Without a clause the channel asks for a grant.
fn refusal(clause: Option<&ConsentClause>, view: &View) -> Option<Reason> {
    let question = ConsentQuestion {
        channel: view.subject.channel,
        purpose: view.subject.intent.category.as_deref(),
        division: Some(&view.subject.intent.division),
    };
    let force = |grant: &ConsentStatement| force(grant, clause, view);
    let standing = consent_standing(&view.customer.consents, &question, &force);
    let allowed = match clause.map(|clause| clause.mode) {
        Some(ConsentMode::OptOut) => !standing.refuses(),
        Some(ConsentMode::OptIn) | None => matches!(standing, ConsentStanding::Granted(_)),
    };
    match standing {
        _ if allowed => None,
        ConsentStanding::Expired { .. } => Some(Reason::ConsentExpired),
        _ => Some(Reason::Consent),
    }
}

/// What a grant is worth: until the earlier of its `expires_at` and of what its basis lasts. A basis that a table does not
/// name does not count; but what the customer said expressly is implied by nothing, and needs no row.
fn force(grant: &ConsentStatement, clause: Option<&ConsentClause>, view: &View) -> GrantForce {
    let implied = clause.map_or(&[][..], |clause| clause.implied.as_slice());
    let basis = grant.basis.unwrap_or(Basis::Express);
    let row = implied.iter().find(|(named, _)| *named == basis);
    if row.is_none() && !implied.is_empty() && basis != Basis::Express {
        return GrantForce::NotCounted;
    }
    let lasts_until_ms = row.map(|(_, lasts)| lasts.after(grant.occurred_at_ms, &view.policy.zone));
    let mut ends = grant.expires_at_ms.into_iter().chain(lasts_until_ms);
    match ends.all(|end_ms| end_ms > view.at_ms) {
        true => GrantForce::InForce,
        false => GrantForce::Over,
    }
}

fn preferences(view: &View, hits: &mut Vec<Hit>) {
    let wishes = &view.customer.preferences;
    let topic = view.subject.intent.topic.as_ref();
    let refused = topic.is_some_and(|topic| wishes.refused_topics.contains(topic));
    let unwanted = wishes
        .only_topics
        .as_ref()
        .is_some_and(|only| !topic.is_some_and(|topic| only.contains(topic)));
    let mut block = |on_hit, outcome| hits.push(Hit::builtin(Reason::Preference, on_hit, outcome));
    if refused || unwanted {
        block(OnHit::SUPPRESS, RuleOutcome::blocked_until(None));
    }
    if wishes.refused_channels.contains(view.subject.channel) {
        block(OnHit::CHANNEL_BOUND, RuleOutcome::blocked_until(None));
    }
    if let Some(until_ms) = wishes.paused_until_ms.filter(|until_ms| *until_ms > view.at_ms) {
        block(OnHit::SUPPRESS, RuleOutcome::blocked_until(Some(until_ms)));
    }
    if let Some(outcome) = wishes.max_per_week.and_then(|limit| most_per_week(limit, view)) {
        block(OnHit::SUPPRESS, outcome);
    }
}

/// The customer's own most per week: a rolling week over every contact whose class counts.
fn most_per_week(limit: u32, view: &View) -> Option<RuleOutcome> {
    let limit = i64::from(limit);
    let from_ms = view.at_ms.saturating_sub(WEEK_MS);
    let recent = view.customer.contacts.iter().rev();
    let mut leaves: Vec<i64> = recent
        .take_while(|contact| contact.at_ms > from_ms)
        .filter(|contact| view.policy.class_counts(&contact.class))
        .map(|contact| {
            let old_ms = contact.at_ms.saturating_add(WEEK_MS);
            old_ms.min(tally::given_back_at(view.policy, contact))
        })
        .filter(|leaves_ms| *leaves_ms > view.at_ms)
        .collect();
    let count = i64::try_from(leaves.len()).unwrap_or(i64::MAX);
    (count >= limit).then(|| RuleOutcome {
        passes: false,
        count: Some(count),
        limit: Some(limit),
        bounds: Some(Bounds {
            start_ms: from_ms,
            end_ms: view.at_ms,
        }),
        free_at_ms: free_at(&mut leaves, limit),
    })
}

/// Whether the customer was forgotten: the only one of these steps that ends a planned intent.
pub(super) fn is_erased(case: &Case) -> bool {
    case.customer.standing == Standing::Erased
}

/// The name of a channel that the policy knows.
pub(super) fn is_known(case: &Case, channel: &Name) -> bool {
    case.policy.channel(channel).is_some()
}
