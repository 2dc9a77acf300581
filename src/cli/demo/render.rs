//! The demo's words and tables, as pure functions of what was counted.

use super::tally::{CourtedLine, ReasonLine, StoryLine, Summary, Totals};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, TableComponent, presets};

/// One line of counters.
pub fn counters(elapsed_seconds: u64, totals: &Totals) -> String {
    format!(
        "{elapsed_seconds:>3} s   asked {:>6}   approved {:>5}   suppressed {:>6}   waiting {:>4}   dead letters {}",
        totals.asked, totals.approved, totals.suppressed, totals.waiting, totals.dead_letters
    )
}

/// A table without frame.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    for line in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
        TableComponent::LeftBorderIntersections,
        TableComponent::RightBorderIntersections,
    ] {
        table.remove_style(line);
    }
    table.set_header(head.iter().copied());
    table
}

/// The summary as a person reads it. A day lasts `day_ms`.
pub fn summary(summary: &Summary, day_ms: i64) -> String {
    let totals = &summary.totals;
    if totals.asked == 0 {
        return "Stopped before the first division had asked for anything.".to_owned();
    }
    let dead_letters = match totals.dead_letters {
        0 => String::new(),
        1 => " 1 could not be read: it is in the dead-letter topic.".to_owned(),
        count => format!(" {count} could not be read: they are in the dead-letter topic."),
    };
    let were = |count: u64| if count == 1 { "was" } else { "were" };
    let mut parts = vec![format!(
        "The divisions asked for {} messages. {} reached a sender, {} {} held back.\n\
         {} {} still waiting for a better moment when the demo ended.{dead_letters}",
        totals.asked,
        totals.approved,
        totals.suppressed,
        were(totals.suppressed),
        totals.waiting,
        were(totals.waiting),
    )];
    parts.extend(summary.courted.as_ref().map(courted));
    parts.push(divisions(summary));
    if !summary.reasons.is_empty() {
        parts.push("Why the rest did not go out:".to_owned());
        parts.push(reasons(summary));
    }
    if let Some(story) = &summary.customer {
        parts.push(format!(
            "One customer's days, {}: {} messages were meant for this customer, {} came through.",
            story.customer_id, story.asked, story.approved
        ));
        parts.push(
            story
                .moments
                .iter()
                .map(|moment| story_line(moment, day_ms))
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    parts.join("\n\n")
}

/// What Forbear is for, in two sentences.
fn courted(line: &CourtedLine) -> String {
    let mean = |sum: u64| sum as f64 / line.customers.max(1) as f64;
    format!(
        "The {} customers whom everybody courts would have got {:.0} messages each; {:.0} came through.\n\
         Nobody got more than {}, sign-in codes included; without a policy, somebody would have got {}.",
        line.customers,
        mean(line.asked),
        mean(line.approved),
        line.most_approved,
        line.most_asked,
    )
}

fn divisions(summary: &Summary) -> String {
    let mut table = table(&[
        "division",
        "asked for",
        "went out",
        "waiting",
        "held back",
        "share that went out",
    ]);
    for line in &summary.divisions {
        let share = line.approved.saturating_mul(100).checked_div(line.asked).unwrap_or(0);
        table.add_row([
            line.division.clone(),
            line.asked.to_string(),
            line.approved.to_string(),
            line.waiting.to_string(),
            line.suppressed.to_string(),
            format!("{share} %"),
        ]);
    }
    align_numbers(&mut table, 1..6);
    keep_whole(&mut table, 0..1);
    table.to_string()
}

fn reasons(summary: &Summary) -> String {
    let mut table = table(&["messages", "reason", "rule", "in words"]);
    for line in &summary.reasons {
        let ReasonLine { reason, rule, messages } = line;
        table.add_row([
            messages.to_string(),
            reason.clone(),
            rule.clone().unwrap_or_default(),
            in_words(reason).to_owned(),
        ]);
    }
    align_numbers(&mut table, 0..1);
    keep_whole(&mut table, 0..3);
    table.to_string()
}

fn align_numbers(table: &mut Table, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Names are not broken, however narrow the terminal is; the other columns give way.
fn keep_whole(table: &mut Table, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

/// `day 3 09:36  ✓ cards (spring) by push`.
fn story_line(line: &StoryLine, day_ms: i64) -> String {
    let when = clock(line.after_ms, day_ms);
    let who = || {
        let campaign = line
            .campaign
            .as_ref()
            .map(|campaign| format!(" ({campaign})"))
            .unwrap_or_default();
        format!("{}{campaign}", line.division.as_deref().unwrap_or("somebody"))
    };
    let channel = line.channel.as_deref().unwrap_or("?");
    let why = || {
        let rule = line
            .rule
            .as_ref()
            .map(|rule| format!(", rule {rule}"))
            .unwrap_or_default();
        let reason = line.reason.as_deref().unwrap_or_default();
        format!(
            "{}{rule}",
            if in_words(reason).is_empty() {
                reason
            } else {
                in_words(reason)
            }
        )
    };
    match line.what.as_str() {
        "approved" => format!("  {when}  ✓ {} by {channel}", who()),
        "suppressed" => format!("  {when}  ✗ {} by {channel}: {}", who(), why()),
        "deferred" => format!("  {when}  … {} by {channel} waits: {}", who(), why()),
        "released" => format!("  {when}  ↺ {} by {channel} did not arrive, and counts no more", who()),
        other => format!("  {when}    the customer: {}", other.replace('_', " ")),
    }
}

/// The time of the demo's own calendar, in which a day lasts `day_ms`.
fn clock(after_ms: i64, day_ms: i64) -> String {
    let (after_ms, day_ms) = (after_ms.max(0), day_ms.max(1));
    let minutes = (after_ms % day_ms).saturating_mul(1440) / day_ms;
    format!("day {} {:02}:{:02}", after_ms / day_ms + 1, minutes / 60, minutes % 60)
}

/// A reason as one would say it.
fn in_words(reason: &str) -> &'static str {
    match reason {
        "cap" => "had enough messages already",
        "gap" => "too soon after the last one",
        "pressure" => "too much, by the weight of the channels",
        "back_off" => "does not answer, so we write less",
        "cool_off" => "left in peace after what happened",
        "consent" => "did not agree to it, or said no",
        "consent_expired" => "agreed once, too long ago",
        "preference" => "asked not to get this",
        "suppression_list" => "complained, or cannot be reached there",
        "quiet_hours" => "it is night where the customer lives",
        "duplicate" => "the same message, sent twice",
        "expired" => "its time was over before the customer was free",
        "cancelled" => "called back by the division",
        "redundant_offer" => "another division made the same offer",
        "mix" => "too much of one kind lately",
        "spend" => "the money for this customer is spent",
        "capacity" => "more than can be sent at this time",
        "sequence" => "the order of messages forbids it",
        "deferral_limit" => "too many messages waiting already",
        "stopped" => "an emergency stop",
        "holdout" => "in the group that is left alone, to compare",
        "policy_error" => "a rule could not be evaluated, so it counts as a hit",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::{Tally, tests::decision};
    use super::*;

    #[test]
    fn the_clock_of_the_demo_runs_through_a_day_in_the_given_time() {
        assert_eq!(clock(0, 4_000), "day 1 00:00");
        assert_eq!(clock(3_999, 4_000), "day 1 23:59");
        assert_eq!(clock(6_000, 4_000), "day 2 12:00");
        assert_eq!(clock(-5, 0), "day 1 00:00");
    }

    #[test]
    fn the_summary_names_divisions_reasons_and_the_days_of_a_customer() {
        let mut tally = Tally::default();
        for _ in 0..4 {
            tally.asked("cards");
        }
        tally.decided(decision(1, 0, "approved", None));
        tally.decided(decision(2, 0, "suppressed", Some("four-a-week")));
        tally.decided(decision(3, 0, "deferred", Some("one-email-a-day")));
        tally.answered("customer-1", "unsubscribed", 15_000);
        tally.dead_letter();
        let text = summary(&tally.summary(10_000), 4_000);
        for expected in [
            "asked for 4 messages. 1 reached a sender, 1 was held back.",
            "1 was still waiting for a better moment when the demo ended. 1 could not be read: it is",
            "The 1 customers whom everybody courts would have got 3 messages each; 1 came through.",
            "25 %",
            "four-a-week",
            "had enough messages already",
            "day 1 06:00  ✓ cards (spring) by push",
            "day 1 12:00  ✗ cards (spring) by email: had enough messages already, rule four-a-week",
            "day 2 06:00    the customer: unsubscribed",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_demo_that_was_stopped_at_once_has_no_tables() {
        let text = summary(&Tally::default().summary(0), 4_000);
        assert_eq!(text, "Stopped before the first division had asked for anything.");
    }

    #[test]
    fn the_counters_fit_on_one_line() {
        let totals = Totals {
            asked: 1_200,
            approved: 300,
            suppressed: 800,
            waiting: 99,
            dead_letters: 1,
        };
        let line = counters(12, &totals);
        assert!(!line.contains('\n') && line.contains("1200") && line.contains("dead letters 1"));
    }
}
