//! Rules that never decide, because another one is at least as strict for everything that they govern.

use super::{Places, least_ms, most_ms, warn};
use crate::policy::file::Findings;
use crate::policy::model::{Policy, Rule};
use crate::policy::rules::{Cap, Limit, RuleKind};
use crate::policy::window::{Period, Shape, Span, Window, ZoneChoice};

const DAY_MS: i64 = 86_400_000;

pub(super) fn rules_that_never_decide(
    policy: &Policy,
    places: &Places,
    today_ms: Option<i64>,
    findings: &mut Findings,
) {
    let is_excepted = |rule: &Rule| {
        let holding = policy
            .exceptions
            .iter()
            .filter(|exception| today_ms.is_none_or(|today_ms| exception.until_ms > today_ms));
        holding.flat_map(|exception| &exception.rules).any(|id| *id == rule.id)
    };
    for (index, rule) in policy.rules.iter().enumerate() {
        let mut others = policy.rules.iter().enumerate();
        let stricter = others.find(|(other_index, other)| {
            let covers = *other_index != index && !is_excepted(other) && is_covered(rule, other, policy);
            // Of two that are the same, the first one stays.
            covers && (*other_index < index || is_excepted(rule) || !is_covered(other, rule, policy))
        });
        if let Some((_, stricter)) = stricter {
            let message = format!("the rule `{}` never decides anything", rule.id);
            let label = format!("whatever it blocks, `{}` blocks as well", stricter.id);
            warn(findings, "never-decides", places.of_rule(rule), message, &label);
        }
    }
}

/// Whether `wide` blocks whenever `narrow` does, and with no milder end.
fn is_covered(narrow: &Rule, wide: &Rule, policy: &Policy) -> bool {
    let always = wide.when.is_none() && !wide.shadow && !narrow.shadow;
    let same_end = wide.on_hit == narrow.on_hit || wide.on_hit.only_suppresses();
    let obeyed = policy
        .classes
        .iter()
        .all(|class| !class.obeys.rule(narrow) || class.obeys.rule(wide));
    let counts_as_much = !wide.counts_by_class || narrow.counts_by_class;
    let split = wide.per.iter().all(|field| narrow.per.contains(field));
    always
        && same_end
        && obeyed
        && counts_as_much
        && split
        && narrow.governs.is_within(&wide.governs)
        && narrow.counts.is_within(&wide.counts)
        && is_as_strict(&narrow.kind, &wide.kind)
}

fn is_as_strict(narrow: &RuleKind, wide: &RuleKind) -> bool {
    match (narrow, wide) {
        (RuleKind::Cap(narrow), RuleKind::Cap(wide)) => is_smaller_cap(narrow, wide),
        (RuleKind::Gap(narrow), RuleKind::Gap(wide)) => {
            let same_end = matches!(narrow.length, Span::Exact { .. }) || is_same_zone(&narrow.zone, &wide.zone);
            narrow.length == wide.length && same_end || most_ms(narrow.length) <= least_ms(wide.length)
        }
        _ => false,
    }
}

fn is_smaller_cap(narrow: &Cap, wide: &Cap) -> bool {
    let plain = |cap: &Cap| cap.limits.rows.is_empty() && cap.distinct.is_none();
    let (Limit::Number(most), Limit::Number(least)) = (&narrow.limits.otherwise, &wide.limits.otherwise) else {
        return false;
    };
    plain(narrow) && plain(wide) && least <= most && reaches(&wide.window, &narrow.window)
}

/// Whether every contact that one window sees is seen by the other.
fn reaches(wide: &Window, narrow: &Window) -> bool {
    let same_zone = is_same_zone(&wide.zone, &narrow.zone);
    match (&wide.shape, &narrow.shape) {
        (Shape::Ever, _) => true,
        // Months are added in the zone: at their ends, another zone has another day.
        (wide, narrow) if wide == narrow => same_zone || matches!(wide, Shape::Rolling(Span::Exact { .. })),
        (Shape::CalendarDays(more), Shape::CalendarDays(fewer)) => same_zone && more >= fewer,
        (Shape::Rolling(span), narrow) => longest_ms(narrow).is_some_and(|most_ms| most_ms <= least_ms(*span)),
        _ => false,
    }
}

pub(super) fn is_same_zone(one: &ZoneChoice, other: &ZoneChoice) -> bool {
    match (one, other) {
        (ZoneChoice::Customer, ZoneChoice::Customer) | (ZoneChoice::Company, ZoneChoice::Company) => true,
        (ZoneChoice::Fixed(one), ZoneChoice::Fixed(other)) => one == other,
        _ => false,
    }
}

/// The longest that a contact can stay in a window, changes of the clock included.
fn longest_ms(shape: &Shape) -> Option<i64> {
    let days = match shape {
        Shape::Rolling(span) => return Some(most_ms(*span)),
        Shape::Calendar(Period::Hour | Period::Day) => 2,
        Shape::Calendar(Period::Week) => 8,
        Shape::Calendar(Period::Month) => 32,
        Shape::Calendar(Period::Quarter) => 94,
        Shape::Calendar(Period::Year) => 368,
        Shape::CalendarDays(days) | Shape::TumblingDays { days, .. } => i64::from(*days) + 1,
        Shape::Tumbling { span, .. } => return Some(most_ms(*span)),
        Shape::Ever => return None,
    };
    Some(days * DAY_MS)
}
