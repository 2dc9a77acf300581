//! Windows and weekly schedules.

use super::Context;
use crate::policy::file::diagnostic::{nearest, one_of, shortened};
use crate::policy::file::{Diagnostic, Fields, Node, scalar};
use crate::policy::rules::SendWindow;
use crate::policy::window::{DaySpan, Period, Polarity, Schedule, Shape, Span, Window, ZoneChoice};
use jiff::civil::Date;

const PERIODS: &[(&str, Period)] = &[
    ("calendar-hour", Period::Hour),
    ("calendar-day", Period::Day),
    ("calendar-week", Period::Week),
    ("calendar-month", Period::Month),
    ("calendar-quarter", Period::Quarter),
    ("calendar-year", Period::Year),
];
/// Local days in a window, as many as the history has.
const MOST_DAYS: u32 = 3_660;

/// `window`, and beside it `timezone` and `tumbling-from`.
pub(super) fn window(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<Window> {
    let node = fields.require("window", &mut context.findings);
    let zone = zone_beside(fields, context);
    let tumbling = fields.take("tumbling-from");
    let from = tumbling.map(|node| scalar::date(node, "`tumbling-from`", &mut context.findings));
    let shape = shape(node?, context)?;
    let shape = match (from, shape) {
        (None, shape) => shape,
        (Some(from), Shape::Rolling(span)) => Shape::Tumbling { from: from?, span },
        (Some(from), Shape::CalendarDays(days)) => Shape::TumblingDays { from: from?, days },
        (Some(_), _) => {
            let place = tumbling?.span;
            let label = "it goes with a window such as `7d` or `7 calendar-days`";
            context
                .findings
                .error("window", place, "`tumbling-from` does not fit this window", label);
            return None;
        }
    };
    Some(Window {
        shape,
        zone: zone?,
        week_start: context.week_start,
    })
}

/// `timezone`, where the company's is the default.
pub(super) fn zone_beside(fields: &mut Fields<'_>, context: &mut Context<'_>) -> Option<ZoneChoice> {
    fields.take("timezone").map_or(Some(ZoneChoice::Company), |node| {
        scalar::zone_choice(node, &mut context.findings)
    })
}

fn shape(node: &Node, context: &mut Context<'_>) -> Option<Shape> {
    let findings = &mut context.findings;
    let text = scalar::text(node, "a window", findings)?;
    if text == "ever" {
        return Some(Shape::Ever);
    }
    if let Some((_, period)) = PERIODS.iter().find(|(name, _)| *name == text) {
        return Some(Shape::Calendar(*period));
    }
    if let Some(days) = calendar_days(node, text, findings) {
        return days.map(Shape::CalendarDays);
    }
    if text.starts_with("fiscal") {
        let message = "fiscal calendars are not in version 1";
        findings.error(
            "not-in-version-1",
            node.span,
            message,
            "expected `tumbling-from` beside a length, or a `calendar-…`",
        );
        return None;
    }
    if text.contains("first") {
        let message = "windows that open at the first contact are not in version 1";
        let label = "expected a rolling length such as `7d`, or `tumbling-from` beside it for fixed periods";
        findings.error("not-in-version-1", node.span, message, label);
        return None;
    }
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        let known: Vec<&str> = PERIODS.iter().map(|(name, _)| *name).chain(["ever"]).collect();
        let period = known
            .iter()
            .copied()
            .find(|known| known.strip_prefix("calendar-") == Some(text));
        let near = period.or_else(|| nearest(text, known.iter().copied()));
        let label = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "expected a duration such as `7d`, `7 calendar-days`, {}",
                one_of(&known)
            ),
        };
        let message = format!("unknown window `{}`", shortened(text));
        findings.push(Diagnostic::error("window", node.span, message, label).suggest(near));
        return None;
    }
    // `7 calendar days`
    if let Some((number, rest)) = text.split_once(' ')
        && rest.starts_with("calendar")
    {
        let message = format!("unknown window `{}`", shortened(text));
        let meant = format!("{number} calendar-days");
        let label = format!("did you mean `{meant}`?");
        findings.push(Diagnostic::error("window", node.span, message, label).suggest(Some(meant)));
        return None;
    }
    scalar::positive_span(node, "a window", findings).map(Shape::Rolling)
}

/// `N calendar-days`: none where the text is something else, `Some(None)` where N is wrong.
pub(super) fn calendar_days(
    node: &Node,
    text: &str,
    findings: &mut crate::policy::file::Findings,
) -> Option<Option<u32>> {
    let number = text
        .strip_suffix(" calendar-days")
        .or_else(|| text.strip_suffix(" calendar-day"))?;
    let days = number
        .trim()
        .parse::<u32>()
        .ok()
        .filter(|days| (1..=MOST_DAYS).contains(days));
    if days.is_none() {
        let label = format!("expected a number from 1 to {MOST_DAYS}");
        findings.error(
            "window",
            node.span,
            format!("`{}` is not a window", shortened(text)),
            label,
        );
    }
    Some(days)
}

/// `send-window` and `quiet-hours`.
pub(super) fn send_window(node: &Node, polarity: Polarity, context: &mut Context<'_>) -> Option<SendWindow> {
    let (what, key) = match polarity {
        Polarity::Open => ("`send-window`", "open"),
        Polarity::Quiet => ("`quiet-hours`", "quiet"),
    };
    let mut fields = Fields::open(node, what, &mut context.findings)?;
    let zone = fields.take("timezone").map_or(Some(ZoneChoice::Customer), |node| {
        scalar::zone_choice(node, &mut context.findings)
    });
    let listed = fields.require(key, &mut context.findings);
    let spans: Option<Vec<DaySpan>> = listed.and_then(|listed| {
        let spans: Vec<_> = listed.as_list().iter().map(|item| day_span(item, context)).collect();
        spans.into_iter().collect()
    });
    let closed_on = fields
        .take("closed-on")
        .map(|node| dates(node, context))
        .unwrap_or_default();
    let jitter = fields.take("jitter").map_or(Some(0), |node| {
        scalar::exact_ms(node, "`jitter`", &mut context.findings)
    });
    fields.close(&mut context.findings);
    let schedule = Schedule::new(&spans?, polarity, &closed_on);
    if schedule.never_opens() {
        let label = "nothing can be sent, ever";
        context
            .findings
            .error("schedule", listed?.span, format!("{what} leaves no hour open"), label);
    }
    Some(SendWindow {
        schedule,
        zone: zone?,
        jitter_ms: jitter?,
    })
}

fn day_span(node: &Node, context: &mut Context<'_>) -> Option<DaySpan> {
    let findings = &mut context.findings;
    let mut fields = Fields::open(node, "a span of hours", findings)?;
    let days = fields
        .take("days")
        .map_or(Some(0x7f), |node| scalar::days(node, findings));
    let from_node = fields.require("from", findings);
    let from = from_node.and_then(|node| scalar::time_of_day(node, "`from`", false, findings));
    let to_node = fields.require("to", findings);
    let to = to_node.and_then(|node| scalar::time_of_day(node, "`to`", true, findings));
    fields.close(findings);
    let (from_s, to_s) = from.zip(to)?;
    if from_s == to_s {
        let label = "for a whole day, write `from: \"00:00\", to: \"24:00\"`";
        findings.error("schedule", to_node?.span, "`from` and `to` are equal", label);
        return None;
    }
    Some(DaySpan {
        days: days?,
        from_s,
        to_s,
    })
}

fn dates(node: &Node, context: &mut Context<'_>) -> Vec<Date> {
    let mut dates = Vec::new();
    for item in node.as_list() {
        let Some(name) = scalar::text(item, "the name of a calendar", &mut context.findings) else {
            continue;
        };
        match context.calendars.iter_mut().find(|calendar| calendar.name == name) {
            Some(calendar) => {
                calendar.used = true;
                dates.extend_from_slice(&calendar.dates);
            }
            None => {
                let known = context.calendars.iter().map(|calendar| calendar.name);
                context.findings.unknown("calendar", name, item.span, known);
            }
        }
    }
    dates
}

/// The length of a gap.
pub(super) fn gap(node: &Node, context: &mut Context<'_>) -> Option<Span> {
    scalar::positive_span(node, "a gap", &mut context.findings)
}
