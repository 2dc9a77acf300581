//! The channel senders and the customers behind them, played for the demo: every approved message is sent, most are
//! delivered, some are opened and clicked; people whom everybody writes to grow deaf and unsubscribe. What they do comes
//! back as engagement events. Which customer does what follows from a hash of the decision: pure, and the same each time.

use super::workload::time;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use xxhash_rust::xxh3::xxh3_64;

/// An approved message, as a sender sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    pub decision_id: String,
    pub customer_id: String,
    pub intent_id: String,
    pub channel: String,
}

/// One engagement event that is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    pub due_ms: i64,
    pub customer_id: String,
    /// The engagement type.
    pub kind: String,
    pub value: String,
}

/// What customers think of messages, and what they are going to do.
pub struct Senders {
    /// How long a day lasts: reactions take parts of it.
    day_ms: i64,
    contacts: HashMap<String, u32>,
    due: BinaryHeap<Reverse<Answer>>,
}

/// Contacts that everybody puts up with.
const PATIENCE_CONTACTS: u32 = 4;

impl Senders {
    pub fn new(day_ms: i64) -> Senders {
        Senders {
            day_ms: day_ms.max(1),
            contacts: HashMap::new(),
            due: BinaryHeap::new(),
        }
    }

    /// Sends a message; what comes back is due later.
    pub fn send(&mut self, message: &Approved, now_ms: i64) {
        let contacts = self.contacts.entry(message.customer_id.clone()).or_default();
        *contacts = contacts.saturating_add(1);
        let too_many = contacts.saturating_sub(PATIENCE_CONTACTS);
        for (kind, tenths) in reaction(message, too_many) {
            let due_ms = now_ms.saturating_add(self.day_ms.saturating_mul(tenths) / 10);
            let value = event(message, kind, due_ms).to_string();
            let answer = Answer {
                due_ms,
                customer_id: message.customer_id.clone(),
                kind: kind.to_owned(),
                value,
            };
            self.due.push(Reverse(answer));
        }
    }

    /// Takes the next answer that is due.
    pub fn next_due(&mut self, now_ms: i64) -> Option<Answer> {
        if self.due.peek()?.0.due_ms > now_ms {
            return None;
        }
        self.due.pop().map(|Reverse(answer)| answer)
    }
}

/// What happens to one message, with delays in tenths of a day.
fn reaction(message: &Approved, too_many: u32) -> Vec<(&'static str, i64)> {
    let chance = |salt: &str| xxh3_64(format!("{salt}/{}", message.decision_id).as_bytes()) % 1000;
    // One customer in five likes to hear from us, and one in four hardly ever looks.
    let interest = match xxh3_64(message.customer_id.as_bytes()) % 20 {
        0..=3 => 3,
        4..=8 => 1,
        _ => 2,
    };
    match chance("delivery") {
        0..=7 => return vec![("bounced_hard", 0)],
        8..=29 => return vec![("bounced_soft", 0)],
        _ => {}
    }
    let mut all = vec![("delivered", 0)];
    if chance("open") < 180 * interest {
        all.push(("opened", 1));
        if chance("click") < 110 * interest {
            all.push(("clicked", 2));
            if chance("buy") < 150 {
                all.push(("converted", 3));
            }
        }
    }
    let anger = u64::from(too_many).saturating_mul(25).min(400);
    if chance("leave") < 4 + anger {
        all.push(("unsubscribed", 2));
    } else if chance("complain") < 2 + anger / 5 {
        all.push(("complained", 2));
    }
    all
}

fn event(message: &Approved, kind: &str, occurred_ms: i64) -> Value {
    json!({
        "event_id": format!("{kind}/{}", message.decision_id),
        "customer_id": message.customer_id,
        "type": kind,
        "occurred_at": time(occurred_ms),
        "intent_id": message.intent_id,
        "channel": message.channel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u32) -> Approved {
        Approved {
            decision_id: format!("forbear.intents/0/{number}/0"),
            customer_id: format!("customer-{:06}", number % 100),
            intent_id: format!("intent-{number:09}"),
            channel: "email".to_owned(),
        }
    }

    fn count(kind: &str, messages: u32) -> usize {
        (0..messages)
            .filter(|number| reaction(&message(*number), 0).iter().any(|(found, _)| *found == kind))
            .count()
    }

    #[test]
    fn most_messages_arrive_some_are_read_and_few_offend() {
        let (delivered, opened, clicked) = (
            count("delivered", 2_000),
            count("opened", 2_000),
            count("clicked", 2_000),
        );
        assert!(delivered > 1_900 && delivered > opened && opened > clicked && clicked > 20);
        assert!(count("unsubscribed", 2_000) < 40);
    }

    #[test]
    fn whoever_hears_too_much_leaves_more_often() {
        let leaves = |too_many: u32| {
            (0..2_000)
                .filter(|number| reaction(&message(*number), too_many).contains(&("unsubscribed", 2)))
                .count()
        };
        assert!(leaves(10) > 5 * leaves(0).max(1));
    }

    #[test]
    fn answers_come_when_they_are_due_and_in_order() {
        let mut senders = Senders::new(1_000);
        for number in 0..50 {
            senders.send(&message(number), 10_000);
        }
        assert_eq!(senders.next_due(9_999), None);
        let answers: Vec<Answer> = std::iter::from_fn(|| senders.next_due(20_000)).collect();
        assert!(answers.len() >= 50);
        assert!(answers.windows(2).all(|pair| pair[0].due_ms <= pair[1].due_ms));
        let value: Value = serde_json::from_str(&answers[0].value).expect("JSON");
        assert!(value["event_id"].is_string() && value["occurred_at"].is_string());
    }
}
