//! The working of every rule as a table, and a verdict as a sentence that can be read to a customer.

use super::stage::{Blocked, Decided};
use super::words::{instant_of, text_of};
use crate::policy::judge::{Bearing, Working};
use crate::policy::judgement::Reason;
use crate::policy::window::zone;
use comfy_table::{Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

/// The table; times are local to the zone.
pub fn table(workings: &[Working], zone_name: Option<&str>) -> String {
    let zone = zone_name.and_then(zone::named).unwrap_or(TimeZone::UTC);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["channel", "rule", "what", "answer", "count", "window", "free"]);
    for working in workings {
        table.add_row([
            working.channel.to_string(),
            working.rule.as_deref().unwrap_or("–").to_owned(),
            working.reason.as_str().to_owned(),
            answer(working),
            count(working),
            window(working, &zone),
            free(working, &zone),
        ]);
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Marks the rules that have room, but whose room is kept for a message above this one: the rules alone cannot tell, the
/// decision record does.
pub fn mark_reserved(workings: &mut [Working], blocked_by: &[Blocked]) {
    for block in blocked_by
        .iter()
        .filter(|block| block.reason == Reason::Arbitration.as_str())
    {
        let same = |working: &&mut Working| {
            working.rule.as_deref() == block.rule.as_deref() && *working.channel == *block.channel
        };
        if let Some(working) = workings.iter_mut().find(same) {
            working.reason = Reason::Arbitration;
            working.bearing = Bearing::Blocks;
            working.free_at_ms = block.free_at.as_deref().and_then(instant_of);
        }
    }
}

/// The same for programs.
pub fn as_json(workings: &[Working]) -> serde_json::Value {
    let rows = workings.iter().map(|working| {
        let instant = |ms: Option<i64>| ms.map(text_of);
        let number = |units: Option<i64>| {
            units.and_then(|units| amount(working.reason, units).parse::<serde_json::Number>().ok())
        };
        json!({
            "channel": &*working.channel,
            "rule": working.rule.as_deref(),
            "reason": working.reason.as_str(),
            "answer": answer_word(&working.bearing),
            "lifted_by": match &working.bearing { Bearing::Lifted(exception) => Some(&**exception), _ => None },
            "shadow": working.shadow,
            "count": number(working.count),
            "limit": number(working.limit),
            "window_start": instant(working.window_start_ms),
            "window_end": instant(working.window_end_ms),
            "free_at": instant(working.free_at_ms),
        })
    });
    rows.collect()
}

fn answer(working: &Working) -> String {
    let mut text = match &working.bearing {
        Bearing::Passes => "passes".to_owned(),
        Bearing::Blocks if working.reason == Reason::Arbitration => "BLOCKS: what is left is kept".to_owned(),
        Bearing::Blocks => "BLOCKS".to_owned(),
        Bearing::NotObeyed => "not obeyed by the class".to_owned(),
        Bearing::NotSelected => "governs other messages".to_owned(),
        Bearing::NotNow => "its `when` is false".to_owned(),
        Bearing::Lifted(exception) => format!("lifted by {exception}"),
    };
    if working.shadow {
        text.push_str(" (shadow)");
    }
    text
}

fn answer_word(bearing: &Bearing) -> &'static str {
    match bearing {
        Bearing::Passes => "passes",
        Bearing::Blocks => "blocks",
        Bearing::NotObeyed => "not-obeyed",
        Bearing::NotSelected => "not-selected",
        Bearing::NotNow => "when-is-false",
        Bearing::Lifted(_) => "lifted",
    }
}

fn count(working: &Working) -> String {
    let told = |units: Option<i64>| units.map(|units| amount(working.reason, units));
    match (told(working.count), told(working.limit)) {
        (Some(count), Some(limit)) => format!("{count} of {limit}"),
        (Some(count), None) => count,
        (None, Some(limit)) => format!("at most {limit}"),
        (None, None) => String::new(),
    }
}

/// A count or a limit as it is written in a policy: points and money have digits after the point, messages have none.
fn amount(reason: Reason, units: i64) -> String {
    let digits = reason.decimals();
    let scale = 10_u64.pow(digits);
    let sign = if units < 0 { "-" } else { "" };
    let (whole, part) = (units.unsigned_abs() / scale, units.unsigned_abs() % scale);
    if part == 0 {
        return format!("{sign}{whole}");
    }
    let part = format!("{part:0width$}", width = digits as usize);
    format!("{sign}{whole}.{}", part.trim_end_matches('0'))
}

fn window(working: &Working, zone: &TimeZone) -> String {
    match (working.window_start_ms, working.window_end_ms) {
        (Some(start_ms), Some(end_ms)) => format!("{} – {}", local(start_ms, zone), local(end_ms, zone)),
        (Some(start_ms), None) => format!("since {}", local(start_ms, zone)),
        (None, Some(end_ms)) => format!("until {}", local(end_ms, zone)),
        (None, None) => String::new(),
    }
}

fn free(working: &Working, zone: &TimeZone) -> String {
    match (&working.bearing, working.free_at_ms) {
        (Bearing::Blocks, Some(free_ms)) => local(free_ms, zone),
        (Bearing::Blocks, None) => "no known end".to_owned(),
        (Bearing::Passes, _) => "now".to_owned(),
        _ => String::new(),
    }
}

/// `2026-03-28 20:30 +01:00`
pub fn local(instant_ms: i64, zone: &TimeZone) -> String {
    let Ok(instant) = Timestamp::from_millisecond(instant_ms) else {
        return text_of(instant_ms);
    };
    let zoned = instant.to_zoned_datetime(zone.clone());
    zoned.strftime("%Y-%m-%d %H:%M %:z").to_string()
}

/// What can be said to the customer about a verdict.
pub fn sentence(decided: &Decided, workings: &[Working], zone_name: Option<&str>) -> String {
    let zone = zone_name.and_then(zone::named).unwrap_or(TimeZone::UTC);
    let on = |instant: &str| {
        let instant = instant_of(instant).and_then(|ms| Timestamp::from_millisecond(ms).ok());
        instant.map_or_else(String::new, |instant| {
            let zoned = instant.to_zoned_datetime(zone.clone());
            let place = zone.iana_name().unwrap_or("UTC");
            format!("{} ({place})", zoned.strftime("%A, %-d %B %Y, %H:%M"))
        })
    };
    let channel = &decided.channel;
    if decided.verdict == "approved" {
        let asked = decided.requested_channel.as_ref().filter(|asked| *asked != channel);
        return match asked {
            Some(asked) => format!("We may send you this message now, by {channel} instead of {asked}."),
            None => format!("We may send you this message now, by {channel}."),
        };
    }
    let because = because(decided, workings);
    match (decided.verdict.as_str(), &decided.wake_at, &decided.next_eligible_at) {
        ("deferred", Some(wake), _) => {
            format!("This message waits until {}, because {because}.", on(wake))
        }
        ("deferred", None, _) => format!("This message waits, because {because}."),
        (_, _, Some(next)) => {
            let next = on(next);
            format!("We did not send you this message, because {because}; we may send one like it from {next}.")
        }
        _ => format!("We did not send you this message, because {because}."),
    }
}

fn because(decided: &Decided, workings: &[Working]) -> String {
    let deciding = workings.iter().find(|working| {
        working.bearing == Bearing::Blocks
            && !working.shadow
            && working.rule.as_deref() == decided.rule.as_deref()
            && working.reason.as_str() == decided.reason
    });
    let numbers = deciding.and_then(|working| working.count.zip(working.limit));
    let channel = decided.requested_channel.as_ref().unwrap_or(&decided.channel);
    let messages = |count: i64| if count == 1 { "message" } else { "messages" };
    match Reason::parse(&decided.reason) {
        Some(Reason::Cap) => match numbers {
            Some((count, limit)) => {
                let noun = messages(count);
                format!(
                    "you have already had {count} {noun} of this kind from us lately and {limit} is the most we allow"
                )
            }
            None => "you have already had as many messages of this kind from us as we allow".to_owned(),
        },
        Some(Reason::Gap) => "we had sent you another message only a short time before".to_owned(),
        Some(Reason::Consent) => {
            format!("you have not agreed to messages like it by {channel}, or have told us to stop")
        }
        Some(Reason::ConsentExpired) => format!("your agreement to messages by {channel} has run out"),
        Some(Reason::Preference) => match numbers {
            Some((count, limit)) => {
                format!("you asked us for at most {limit} a week and have already had {count}")
            }
            None => "it does not fit the wishes that you gave us".to_owned(),
        },
        Some(Reason::SuppressionList) => {
            "you asked us to leave you alone, or what we sent to this address came back".to_owned()
        }
        Some(Reason::CoolOff) => "we are leaving you in peace for a while after what happened lately".to_owned(),
        Some(Reason::RedundantOffer) => "you have had the same offer from us lately".to_owned(),
        Some(Reason::Sequence) => "it does not go together with something else that we sent you".to_owned(),
        Some(Reason::Pressure) => {
            "you have had a lot of messages from us lately, all of them taken together".to_owned()
        }
        Some(Reason::BackOff) => "you have not responded to our last messages, so we write less often".to_owned(),
        Some(Reason::Mix) => "most of our last messages to you were of the same kind".to_owned(),
        Some(Reason::Spend) => "we have reached what we spend on messages to one customer".to_owned(),
        Some(Reason::QuietHours) => "it came at an hour at which we do not disturb you".to_owned(),
        Some(Reason::Capacity) => "too many messages were to go out at the same time".to_owned(),
        Some(Reason::Holdout) => "you are in the small group of customers to whom we send fewer messages".to_owned(),
        Some(Reason::Stopped) => "messages like it are stopped at the moment".to_owned(),
        Some(Reason::Expired) => "it was no longer valid".to_owned(),
        Some(Reason::Planned) => "it is planned for later".to_owned(),
        Some(Reason::Duplicate) => "it is one that we had already dealt with".to_owned(),
        Some(Reason::Cancelled) => "it was cancelled".to_owned(),
        Some(Reason::Held | Reason::Arbitration) => "another message for you comes first".to_owned(),
        Some(Reason::DeferralLimit) => "too many other messages for you were waiting".to_owned(),
        Some(Reason::PolicyError) => {
            "one of our rules could not be worked out, and then we rather send nothing".to_owned()
        }
        Some(Reason::Approved | Reason::Released) | None => "our rules say so".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_money_are_told_with_their_decimals_and_messages_are_whole() {
        assert_eq!(amount(Reason::Cap, 1_000_000), "1000000");
        assert_eq!(amount(Reason::Pressure, 12_000_000), "12");
        assert_eq!(amount(Reason::Pressure, 1_500_000), "1.5");
        assert_eq!(amount(Reason::Spend, 8_802_000), "8.802");
        assert_eq!(amount(Reason::Spend, 1), "0.000001");
        assert_eq!(amount(Reason::Spend, -50_000), "-0.05");
    }
}
