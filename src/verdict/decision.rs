//! The decision record: one JSON object for every verdict, deferrals and releases too.
//!
//! The keys stand in the order of the contract; members that are null or empty are left out, so that the plain approval,
//! which is nearly every record, stays small.

use super::{Stamp, TopicNames, decision_id, push_integer};
use crate::commit::log::Outgoing;
use crate::customer::{Contact, DecisionCoordinates};
use crate::message::time::push_rfc3339;
use crate::message::{Intent, Name};
use crate::policy::judgement::{Block, Judgement, Reason, Verdict};

/// A plain approval fits without growing.
const USUAL_BYTES: usize = 640;

/// The record for a judgement: approved, suppressed or deferred. None where decisions are turned off.
pub fn of_judgement(
    topics: &TopicNames,
    stamp: &Stamp,
    decision: &DecisionCoordinates,
    intent: &Intent,
    judgement: &Judgement,
) -> Option<Outgoing> {
    let facts = Facts {
        decision,
        intent_id: Some(&intent.intent_id),
        customer_id: &intent.customer_id,
        division: &intent.division,
        campaign: intent.campaign.as_deref(),
        class: &judgement.class,
        requested_channel: Some(&intent.channel),
        channel: &judgement.channel,
        verdict: judgement.verdict,
        reason: judgement.reason,
        rule: judgement.rule.as_deref(),
        blocked_by: &judgement.blocked_by,
        wake_at_ms: judgement.wake_at_ms.filter(|_| judgement.verdict == Verdict::Deferred),
        next_eligible_at_ms: judgement.next_eligible_at_ms,
        groups: &judgement.groups,
    };
    record(topics, stamp, &facts)
}

/// The record for a contact that is given back. None where decisions are turned off.
///
/// `decision` names the release: the original record, with an attempt of its own. `intent_id` is what the event named; a
/// release for want of a report names none, since the ledger keeps only its hash. The ledger does not keep the requested
/// channel: that member is left out.
pub fn of_release(
    topics: &TopicNames,
    stamp: &Stamp,
    decision: &DecisionCoordinates,
    customer_id: &str,
    intent_id: Option<&str>,
    contact: &Contact,
) -> Option<Outgoing> {
    let facts = Facts {
        decision,
        intent_id,
        customer_id,
        division: &contact.division,
        campaign: contact.campaign.as_deref(),
        class: &contact.class,
        requested_channel: None,
        channel: &contact.channel,
        verdict: Verdict::Released,
        reason: Reason::Released,
        rule: None,
        blocked_by: &[],
        wake_at_ms: None,
        next_eligible_at_ms: None,
        groups: &[],
    };
    record(topics, stamp, &facts)
}

/// What a decision record says, beside what its batch shares.
struct Facts<'a> {
    decision: &'a DecisionCoordinates,
    intent_id: Option<&'a str>,
    customer_id: &'a str,
    division: &'a str,
    campaign: Option<&'a str>,
    class: &'a str,
    requested_channel: Option<&'a str>,
    channel: &'a str,
    verdict: Verdict,
    reason: Reason,
    rule: Option<&'a str>,
    blocked_by: &'a [Block],
    wake_at_ms: Option<i64>,
    next_eligible_at_ms: Option<i64>,
    groups: &'a [(Name, Name)],
}

fn record(topics: &TopicNames, stamp: &Stamp, facts: &Facts) -> Option<Outgoing> {
    let topic = topics.decisions.clone()?;
    Some(Outgoing {
        topic,
        partition: None,
        key: Some(facts.customer_id.as_bytes().to_vec()),
        value: Some(value(stamp, facts)),
        headers: Vec::new(),
        timestamp_ms: None,
    })
}

fn value(stamp: &Stamp, facts: &Facts) -> Vec<u8> {
    let mut json = Json {
        bytes: Vec::with_capacity(USUAL_BYTES),
    };
    json.open(b'{');
    json.key("decision_id");
    json.bytes.push(b'"');
    // A topic name holds nothing that JSON escapes.
    json.bytes.extend_from_slice(&decision_id(facts.decision));
    json.bytes.push(b'"');
    json.optional_text("intent_id", facts.intent_id);
    json.text("customer_id", facts.customer_id);
    json.text("division", facts.division);
    json.optional_text("campaign", facts.campaign);
    json.text("class", facts.class);
    json.optional_text("requested_channel", facts.requested_channel);
    json.text("channel", facts.channel);
    json.text("verdict", facts.verdict.as_str());
    json.text("reason", facts.reason.as_str());
    json.optional_text("rule", facts.rule);
    blocks(&mut json, facts.blocked_by);
    json.integer("attempt", facts.decision.attempt.into());
    json.instant("decided_at", Some(stamp.decided_at_ms));
    json.instant("wake_at", facts.wake_at_ms);
    json.instant("next_eligible_at", facts.next_eligible_at_ms);
    json.text("policy", stamp.policy);
    if !facts.groups.is_empty() {
        json.key("groups");
        json.open(b'{');
        for (id, group) in facts.groups {
            json.own_key(id);
            json.string(group);
        }
        json.close(b'}');
    }
    json.key("source");
    json.open(b'{');
    json.text("topic", &facts.decision.topic);
    json.integer("partition", facts.decision.partition.into());
    json.integer("offset", facts.decision.offset);
    json.close(b'}');
    if !stamp.barrier.is_empty() {
        json.key("barrier");
        json.open(b'{');
        for (topic, offset) in stamp.barrier {
            json.own_key(topic);
            push_integer(&mut json.bytes, *offset);
        }
        json.close(b'}');
    }
    json.close(b'}');
    json.bytes
}

fn blocks(json: &mut Json, blocked_by: &[Block]) {
    if blocked_by.is_empty() {
        return;
    }
    json.key("blocked_by");
    json.open(b'[');
    for block in blocked_by {
        json.separate();
        json.open(b'{');
        json.optional_text("rule", block.rule.as_deref());
        json.text("reason", block.reason.as_str());
        json.text("channel", &block.channel);
        json.optional_decimal("count", block.count, block.reason.decimals());
        json.optional_decimal("limit", block.limit, block.reason.decimals());
        json.instant("window_start", block.window_start_ms);
        json.instant("window_end", block.window_end_ms);
        json.instant("free_at", block.free_at_ms);
        if block.shadow {
            json.key("shadow");
            json.bytes.extend_from_slice(b"true");
        }
        json.close(b'}');
    }
    json.close(b']');
}

/// Writes JSON front to back, without spaces. The caller keeps the brackets in pairs.
struct Json {
    bytes: Vec<u8>,
}

impl Json {
    fn open(&mut self, bracket: u8) {
        self.bytes.push(bracket);
    }

    fn close(&mut self, bracket: u8) {
        self.bytes.push(bracket);
    }

    /// A comma, except for the first member or element.
    fn separate(&mut self) {
        if !matches!(self.bytes.last(), Some(b'{' | b'[')) {
            self.bytes.push(b',');
        }
    }

    /// A key of the contract: nothing in it is escaped.
    fn key(&mut self, key: &'static str) {
        self.separate();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    /// A key that is a name of somebody's own.
    fn own_key(&mut self, key: &str) {
        self.separate();
        self.string(key);
        self.bytes.push(b':');
    }

    fn string(&mut self, text: &str) {
        // Writing a text to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.bytes, text);
    }

    fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        self.string(text);
    }

    fn optional_text(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn integer(&mut self, key: &'static str, number: i64) {
        self.key(key);
        push_integer(&mut self.bytes, number);
    }

    /// A number of which so many digits stand after the point; those at the end that are zero are left out.
    fn optional_decimal(&mut self, key: &'static str, number: Option<i64>, decimals: u32) {
        let Some(number) = number else { return };
        let unit = 10_i64.saturating_pow(decimals);
        self.integer(key, number / unit);
        let mut rest = (number % unit).unsigned_abs();
        let mut digit = unit.unsigned_abs() / 10;
        if rest > 0 {
            self.bytes.push(b'.');
        }
        while rest > 0 {
            push_integer(&mut self.bytes, i64::try_from(rest / digit).unwrap_or(0));
            rest %= digit;
            digit /= 10;
        }
    }

    fn instant(&mut self, key: &'static str, instant_ms: Option<i64>) {
        if let Some(instant_ms) = instant_ms {
            self.key(key);
            self.bytes.push(b'"');
            push_rfc3339(&mut self.bytes, instant_ms);
            self.bytes.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::*;
    use super::*;
    use crate::customer::ContactState;

    fn barrier() -> Vec<(Name, i64)> {
        vec![("forbear.engagement".into(), 5512), ("forbear.reroute".into(), 17)]
    }

    fn text(record: Option<Outgoing>) -> String {
        let record = record.unwrap();
        assert_eq!(&*record.topic, "forbear.decisions");
        assert_eq!(record.key.as_deref(), Some(&b"c-1"[..]));
        assert!(record.headers.is_empty());
        String::from_utf8(record.value.unwrap()).unwrap()
    }

    #[test]
    fn a_plain_approval_leaves_out_what_is_null_or_empty() {
        let record = of_judgement(
            &topics(),
            &stamp(&barrier()),
            &source().decision(0),
            &intent(),
            &approved(),
        );
        assert_eq!(
            text(record),
            concat!(
                r#"{"decision_id":"forbear.intents/3/81723/0","intent_id":"i-1","customer_id":"c-1","division":"cards","#,
                r#""campaign":"spring","class":"marketing","requested_channel":"email","channel":"email","#,
                r#""verdict":"approved","reason":"approved","attempt":0,"decided_at":"2026-03-28T20:30:00.007Z","#,
                r#""policy":"acme-contact-policy@5f0c12345678","#,
                r#""source":{"topic":"forbear.intents","partition":3,"offset":81723},"#,
                r#""barrier":{"forbear.engagement":5512,"forbear.reroute":17}}"#
            )
        );
    }

    #[test]
    fn a_deferral_says_every_rule_that_blocked_and_when_it_wakes() {
        let mut judgement = Judgement {
            verdict: Verdict::Deferred,
            wake_at_ms: Some(DECIDED_AT_MS + 1500),
            groups: vec![("universal-holdout".into(), "treated".into())],
            ..suppressed_by_a_cap()
        };
        judgement.blocked_by.push(Block {
            rule: None,
            reason: Reason::Consent,
            channel: "push".into(),
            count: None,
            limit: None,
            window_start_ms: None,
            window_end_ms: None,
            free_at_ms: None,
            shadow: true,
        });
        let record = of_judgement(&topics(), &stamp(&[]), &source().decision(1), &intent(), &judgement);
        assert_eq!(
            text(record),
            concat!(
                r#"{"decision_id":"forbear.intents/3/81723/1","intent_id":"i-1","customer_id":"c-1","division":"cards","#,
                r#""campaign":"spring","class":"marketing","requested_channel":"email","channel":"email","#,
                r#""verdict":"deferred","reason":"cap","rule":"email-day","#,
                r#""blocked_by":[{"rule":"email-day","reason":"cap","channel":"email","count":1,"limit":1,"#,
                r#""window_start":"2026-03-28T20:29:59.007Z","window_end":"2026-03-28T20:30:01.007Z","#,
                r#""free_at":"2026-03-28T20:30:01.007Z"},{"reason":"consent","channel":"push","shadow":true}],"#,
                r#""attempt":1,"decided_at":"2026-03-28T20:30:00.007Z","wake_at":"2026-03-28T20:30:01.507Z","#,
                r#""next_eligible_at":"2026-03-28T20:30:01.007Z","policy":"acme-contact-policy@5f0c12345678","#,
                r#""groups":{"universal-holdout":"treated"},"#,
                r#""source":{"topic":"forbear.intents","partition":3,"offset":81723}}"#
            )
        );
    }

    #[test]
    fn points_and_money_are_told_with_their_decimals() {
        let told = |reason, count, limit| {
            let mut judgement = suppressed_by_a_cap();
            let block = &mut judgement.blocked_by[0];
            (block.reason, block.count, block.limit) = (reason, Some(count), Some(limit));
            let record = of_judgement(&topics(), &stamp(&[]), &source().decision(0), &intent(), &judgement);
            let text = text(record);
            let told = text.split_once("\"channel\":\"email\",\"count\":").unwrap().1;
            told.split_once(",\"window_start\"").unwrap().0.to_owned()
        };
        assert_eq!(told(Reason::Pressure, 12_500_000, 12_000_000), r#"12.5,"limit":12"#);
        assert_eq!(told(Reason::Spend, 1, 1_100_010), r#"0.000001,"limit":1.10001"#);
        assert_eq!(told(Reason::BackOff, 12, 5), r#"12,"limit":5"#);
    }

    #[test]
    fn a_release_says_what_the_ledger_knows_of_the_contact() {
        let contact = Contact {
            at_ms: 1,
            state: ContactState::Released,
            reported_at_ms: 2,
            intent_hash: 3,
            decision: Some(source().decision(0)),
            channel: "push".into(),
            division: "cards".into(),
            class: "marketing".into(),
            message_type: "campaign".into(),
            campaign: None,
            category: None,
            topic: None,
            offer: None,
            tags: Vec::new(),
            cost_micros: 0,
            endpoint_hash: None,
        };
        let record = of_release(
            &topics(),
            &stamp(&[]),
            &source().decision(1),
            "c-1",
            Some("i-1"),
            &contact,
        );
        assert_eq!(
            text(record),
            concat!(
                r#"{"decision_id":"forbear.intents/3/81723/1","intent_id":"i-1","customer_id":"c-1","division":"cards","#,
                r#""class":"marketing","channel":"push","verdict":"released","reason":"released","attempt":1,"#,
                r#""decided_at":"2026-03-28T20:30:00.007Z","policy":"acme-contact-policy@5f0c12345678","#,
                r#""source":{"topic":"forbear.intents","partition":3,"offset":81723}}"#
            )
        );
    }

    #[test]
    fn texts_of_a_record_are_escaped() {
        let mut intent = intent();
        intent.campaign = Some("a\"b\\c\n\u{1}é{".into());
        let record = of_judgement(&topics(), &stamp(&[]), &source().decision(0), &intent, &approved());
        let parsed: serde_json::Value = serde_json::from_str(&text(record)).unwrap();
        assert_eq!(parsed["campaign"], "a\"b\\c\n\u{1}é{");
    }

    #[test]
    fn nothing_is_written_where_decisions_are_turned_off() {
        let topics = TopicNames {
            decisions: None,
            ..topics()
        };
        assert_eq!(
            of_judgement(&topics, &stamp(&[]), &source().decision(0), &intent(), &approved()),
            None
        );
    }
}
