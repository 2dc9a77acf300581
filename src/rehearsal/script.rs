//! What a test says, read from YAML: a customer, steps in time, and what is expected of them.

mod customer;
mod expect;

pub use customer::customer;
pub use expect::{Expectation, Range, Wanted, WokeWanted};

use super::words::{self, EVENT, INTENT, Message, instant_ms, text_of, unknown_key, wrong};
use crate::message::{EventKind, Intent, decode_event, decode_intent};
use crate::policy::file::diagnostic::{nearest, shortened};
use crate::policy::file::{Diagnostic, Entry, Findings, Node, Span, Value};
use crate::policy::model::Policy;
use crate::rehearsal::stage::MAX_INTENT_BYTES;

/// Who is meant where a test names nobody.
pub const CUSTOMER: &str = "customer-1";
/// The division of what names none.
const DIVISION: &str = "test";
/// Tests of one file.
const TESTS_AT_MOST: usize = 10_000;

/// One test.
#[derive(Debug, Clone)]
pub struct Test {
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// Top-level keys of the policy that the test replaces from the beginning.
    pub policy: Vec<Entry>,
    /// In the order of their time, what the customer is first.
    pub steps: Vec<Step>,
}

/// One step of a timeline.
#[derive(Debug, Clone)]
pub struct Step {
    pub at_ms: i64,
    pub span: Span,
    pub act: Act,
    pub expect: Option<Expectation>,
}

/// What happens at a step.
#[derive(Debug, Clone)]
pub enum Act {
    Contact(Box<PastContact>),
    Event(Vec<u8>),
    Intent(Vec<u8>),
    Policy(Vec<Entry>),
    Tick,
}

/// A contact that was made before, described by the intent that it was.
#[derive(Debug, Clone)]
pub struct PastContact {
    pub intent: Intent,
    pub state: crate::customer::ContactState,
}

/// What the reader of a test knows.
pub struct Reader<'r> {
    pub(super) policy: &'r Policy,
    pub(super) findings: &'r mut Findings,
    pub(super) customer_id: String,
    intents: usize,
    events: usize,
}

/// The tests of a policy or of a file of tests: a list of tests, or a map with `tests:`.
pub fn read_tests(node: &Node, policy: &Policy, findings: &mut Findings) -> Vec<Test> {
    let mut listed = node;
    if let Value::Map(entries) = &node.value {
        let mut found = None;
        for entry in entries {
            match entry.key.as_str() {
                "tests" => found = Some(&entry.value),
                "forbear" | "name" | "about" | "why" | "source" => {}
                _ => unknown_key(entry, "a file of tests", ["tests", "name", "about"], findings),
            }
        }
        let Some(found) = found else {
            findings.error("missing-key", node.span, "a file of tests has `tests`", "it is missing");
            return Vec::new();
        };
        listed = found;
    }
    if listed.is_empty() {
        return Vec::new();
    }
    let Value::List(items) = &listed.value else {
        let message = format!("`tests` is a list, not {}", listed.described());
        findings.error(
            "type",
            listed.span,
            message,
            "expected `- { name: …, timeline: [ … ] }`",
        );
        return Vec::new();
    };
    if items.len() > TESTS_AT_MOST {
        let message = format!("more than {TESTS_AT_MOST} tests");
        findings.error("too-large", listed.span, message, "split the file");
        return Vec::new();
    }
    let read = items.iter().enumerate();
    read.filter_map(|(index, item)| test(item, index, policy, findings))
        .collect()
}

fn test(node: &Node, index: usize, policy: &Policy, findings: &mut Findings) -> Option<Test> {
    const KEYS: [&str; 7] = ["name", "customer", "timeline", "policy", "about", "why", "source"];
    let Value::Map(entries) = &node.value else {
        let message = format!("a test is a map, not {}", node.described());
        findings.error("type", node.span, message, "expected `{ name: …, timeline: [ … ] }`");
        return None;
    };
    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
    for entry in entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
        unknown_key(entry, "a test", KEYS, findings);
    }
    let span = entries.first().map_or(node.span, |entry| entry.key_span);
    let name = match of("name") {
        Some(entry) => entry.value.text().map(str::to_owned),
        None => Some(format!("test {}", index + 1)),
    };
    if name.is_none() {
        findings.error("type", span, "`name` is a text", "expected a sentence");
    }
    let mut reader = Reader::new(policy, findings);
    let mut first = Vec::new();
    if let Some(entry) = of("customer") {
        first = customer(&entry.value, &mut reader)?;
    }
    let Some(timeline) = of("timeline") else {
        let message = "a test needs `timeline`";
        findings.error(
            "missing-key",
            span,
            message,
            "expected `timeline: [ { at: …, intent: { … } } ]`",
        );
        return None;
    };
    let steps = timeline_of(&timeline.value, &mut reader)?;
    if !steps.iter().any(|step| step.expect.is_some()) {
        let message = "this test expects nothing, so it cannot fail";
        let label = "add `expect:` to a step";
        findings.push(Diagnostic::warning("no-expectation", span, message, label));
    }
    let policy = match of("policy") {
        Some(entry) => top_level(&entry.value, findings)?,
        None => Vec::new(),
    };
    Some(Test {
        name: name?,
        span,
        policy,
        steps: in_time(first, steps),
    })
}

/// What holds from the beginning first, at the first instant of all, then the steps in the order of their time.
pub fn in_time(first: Vec<Step>, mut steps: Vec<Step>) -> Vec<Step> {
    let history = first.iter().filter(|step| step.at_ms != FROM_THE_BEGINNING);
    let begins_ms = history.chain(&steps).map(|step| step.at_ms).min().unwrap_or(0);
    let mut all = first;
    for step in &mut all {
        if step.at_ms == FROM_THE_BEGINNING {
            step.at_ms = begins_ms;
            if let Act::Event(event) = &mut step.act {
                *event = occurring_at(event, begins_ms);
            }
        }
    }
    all.append(&mut steps);
    all.sort_by_key(|step| step.at_ms);
    all
}

/// The time of a step that has no time of its own: what a customer is when the timeline begins.
pub(super) const FROM_THE_BEGINNING: i64 = i64::MIN;

/// The event with its `occurred_at` filled in, if it has none.
fn occurring_at(event: &[u8], at_ms: i64) -> Vec<u8> {
    match serde_json::from_slice::<Message>(event) {
        Ok(mut message) => {
            message.entry("occurred_at").or_insert_with(|| text_of(at_ms).into());
            bytes_of(&message)
        }
        Err(_) => event.to_vec(),
    }
}

/// A timeline: a list of steps.
pub(super) fn timeline_of(node: &Node, reader: &mut Reader) -> Option<Vec<Step>> {
    let Value::List(items) = &node.value else {
        let message = format!("a timeline is a list, not {}", node.described());
        reader
            .findings
            .error("type", node.span, message, "expected `- { at: …, intent: { … } }`");
        return None;
    };
    let mut steps = Vec::new();
    let mut complete = true;
    let mut before_ms: Option<i64> = None;
    for item in items {
        match step(item, before_ms, reader) {
            Some(step) => {
                if before_ms.is_some_and(|before_ms| step.at_ms < before_ms) {
                    let message = "this step is earlier than the one before it";
                    let label = "steps are played in the order of their time";
                    let warning = Diagnostic::warning("order", step.span, message, label);
                    reader.findings.push(warning);
                }
                before_ms = Some(step.at_ms);
                steps.push(step);
            }
            None => complete = false,
        }
    }
    complete.then_some(steps)
}

/// The acts that a step can be.
const ACTS: [&str; 5] = ["contact", "event", "intent", "policy", "tick"];

fn step(node: &Node, before_ms: Option<i64>, reader: &mut Reader) -> Option<Step> {
    let Value::Map(entries) = &node.value else {
        let message = format!("a step is a map, not {}", node.described());
        let label = "expected `{ at: …, intent: { … }, expect: { … } }`";
        reader.findings.error("type", node.span, message, label);
        return None;
    };
    let span = entries.first().map_or(node.span, |entry| entry.key_span);
    for entry in entries {
        let key = entry.key.as_str();
        if !ACTS.contains(&key) && !matches!(key, "at" | "expect" | "why" | "about") {
            unknown_key(
                entry,
                "a step",
                ["at", "expect", "why"].into_iter().chain(ACTS),
                reader.findings,
            );
        }
    }
    let of = |key: &str| entries.iter().find(|entry| entry.key == key);
    let at_ms = match (of("at"), before_ms) {
        (Some(entry), _) => instant_ms(&entry.value, "at", reader.findings),
        (None, Some(before_ms)) => Some(before_ms),
        (None, None) => {
            let label = "expected `at: 2026-03-28T09:00:00Z`";
            reader.findings.error("missing-key", span, "a step needs `at`", label);
            None
        }
    };
    let acts: Vec<&Entry> = entries
        .iter()
        .filter(|entry| ACTS.contains(&entry.key.as_str()))
        .collect();
    let [act] = acts.as_slice() else {
        let (message, place) = match acts.as_slice() {
            [] => ("this step does nothing".to_owned(), span),
            [first, second, ..] => {
                let message = format!("a step is one thing: `{}` and `{}` are two", first.key, second.key);
                (message, second.key_span)
            }
            [_] => return None,
        };
        let label = "expected one of `contact`, `event`, `intent`, `policy`, `tick`";
        reader.findings.error("step", place, message, label);
        return None;
    };
    let at_ms = at_ms?;
    let expect = match of("expect") {
        Some(entry) => Some(expect::expectation(&entry.value, &act.key, reader)?),
        None => None,
    };
    let act = match act.key.as_str() {
        "contact" => Act::Contact(Box::new(reader.contact(&act.value, at_ms)?)),
        "event" => Act::Event(reader.event(&act.value, Some(at_ms))?),
        "intent" => {
            let is_letter = expect.as_ref().is_some_and(Expectation::is_of_a_dead_letter);
            Act::Intent(reader.intent(&act.value, at_ms, is_letter)?)
        }
        "policy" => Act::Policy(top_level(&act.value, reader.findings)?),
        _ => {
            let holds = matches!(act.value.text(), None | Some("true"));
            if !holds {
                return wrong(&act.value, "tick", "`true`", reader.findings);
            }
            Act::Tick
        }
    };
    Some(Step {
        at_ms,
        span,
        act,
        expect,
    })
}

/// The top-level keys that a `policy` step replaces.
fn top_level(node: &Node, findings: &mut Findings) -> Option<Vec<Entry>> {
    let Value::Map(entries) = &node.value else {
        let message = format!("`policy` is a map, not {}", node.described());
        findings.error(
            "type",
            node.span,
            message,
            "expected top-level keys of the policy, such as `rules:`",
        );
        return None;
    };
    let forbidden = entries
        .iter()
        .find(|entry| matches!(entry.key.as_str(), "include" | "tests"));
    if let Some(entry) = forbidden {
        let message = format!("a test cannot replace `{}`", entry.key);
        findings.error("value", entry.key_span, message, "expected a key such as `rules`");
        return None;
    }
    Some(entries.clone())
}

impl<'r> Reader<'r> {
    /// A reader for one test, or for one customer.
    pub fn new(policy: &'r Policy, findings: &'r mut Findings) -> Self {
        Self {
            policy,
            findings,
            customer_id: CUSTOMER.to_owned(),
            intents: 0,
            events: 0,
        }
    }

    /// The bytes of an intent, with what it leaves out filled in. `may_be_bad`: that it cannot be read is what is expected.
    pub fn intent(&mut self, node: &Node, at_ms: i64, may_be_bad: bool) -> Option<Vec<u8>> {
        let message = words::message(node, "an intent", INTENT, &[], self.findings)?;
        let message = self.complete(message, "intent");
        let bytes = bytes_of(&message);
        if !may_be_bad && let Err(malformed) = decode_intent(Some(&bytes), &[], at_ms, MAX_INTENT_BYTES, false) {
            self.refuse(node, "this intent would be a dead letter", malformed.detail);
            return None;
        }
        self.check_channels(node, &["fallback_channels", "fallback-channels"]);
        Some(bytes)
    }

    /// A contact.
    fn contact(&mut self, node: &Node, at_ms: i64) -> Option<PastContact> {
        use crate::customer::ContactState;
        const STATES: &[(&str, ContactState)] = &[
            ("delivered", ContactState::Delivered),
            ("sent", ContactState::Sent),
            ("reserved", ContactState::Reserved),
            ("failed", ContactState::Failed),
            ("released", ContactState::Released),
        ];
        let message = words::message(node, "a contact", INTENT, &["state"], self.findings)?;
        let message = self.complete(message, "contact");
        let bytes = bytes_of(&message);
        let state = node.entries().iter().find(|entry| entry.key == "state");
        let state = match state {
            Some(entry) => {
                crate::policy::file::scalar::word(&entry.value, "state of a contact", STATES, self.findings)?
            }
            None => ContactState::Delivered,
        };
        match decode_intent(Some(&bytes), &[], at_ms, MAX_INTENT_BYTES, false) {
            Ok(intent) => {
                self.check_channels(node, &["channel"]);
                Some(PastContact { intent, state })
            }
            Err(malformed) => {
                self.refuse(node, "this is no contact", malformed.detail);
                None
            }
        }
    }

    /// The bytes of an event. `at_ms`: none: when the timeline begins.
    pub fn event(&mut self, node: &Node, at_ms: Option<i64>) -> Option<Vec<u8>> {
        let mut message = match node.text() {
            Some(kind) => Message::from_iter([("type".to_owned(), kind.into())]),
            None => words::message(node, "an event", EVENT, &[], self.findings)?,
        };
        let kind = message.get("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        if EventKind::parse(kind).is_none() && kind != "identity_merged" {
            let entry = node.entries().iter().find(|entry| entry.key == "type");
            let place = entry.map_or(node.span, |entry| entry.value.span);
            let known = EventKind::ALL.map(EventKind::as_str);
            self.findings.unknown("type of event", kind, place, known);
            return None;
        }
        if let Some(at_ms) = at_ms {
            message.entry("occurred_at").or_insert_with(|| text_of(at_ms).into());
        }
        self.told(message, node)
    }

    /// The bytes of an event that is complete but for its ids.
    pub fn told(&mut self, mut message: Message, node: &Node) -> Option<Vec<u8>> {
        self.events += 1;
        message
            .entry("event_id")
            .or_insert_with(|| format!("event-{}", self.events).into());
        message
            .entry("customer_id")
            .or_insert_with(|| self.customer_id.as_str().into());
        let bytes = bytes_of(&message);
        let checked = occurring_at(&bytes, 0);
        match decode_event(Some(&checked), &[], MAX_INTENT_BYTES, false) {
            Ok(_) => Some(bytes),
            Err(malformed) => {
                self.refuse(node, "this event would be a dead letter", malformed.detail);
                None
            }
        }
    }

    fn complete(&mut self, mut message: Message, what: &str) -> Message {
        self.intents += 1;
        let defaults = [
            ("intent_id", format!("{what}-{}", self.intents)),
            ("customer_id", self.customer_id.clone()),
            ("division", DIVISION.to_owned()),
        ];
        for (name, value) in defaults {
            message.entry(name).or_insert_with(|| value.into());
        }
        // Where there is one channel only, nobody has to name it.
        if let [only] = self.policy.channels.as_slice() {
            message.entry("channel").or_insert_with(|| (&*only.name).into());
        }
        message
    }

    /// A channel that the policy does not have is mostly a slip.
    pub fn check_channels(&mut self, node: &Node, keys: &[&str]) {
        let named = node.entries().iter().filter(|entry| keys.contains(&entry.key.as_str()));
        for item in named.flat_map(|entry| entry.value.as_list()) {
            let Some(name) = item.text() else { continue };
            if self.policy.channel(name).is_some() {
                continue;
            }
            let known = self.policy.channels.iter().map(|channel| &*channel.name);
            let label = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "only what has no channel in particular governs it".to_owned(),
            };
            let message = format!("the policy has no channel `{}`", shortened(name));
            self.findings
                .push(Diagnostic::warning("unknown-name", item.span, message, label));
        }
    }

    fn refuse(&mut self, node: &Node, message: &str, detail: String) {
        let place = node.entries().first().map_or(node.span, |entry| entry.key_span);
        self.findings.error("message", place, message, detail);
    }
}

fn bytes_of(message: &Message) -> Vec<u8> {
    // A map of texts, numbers and lists can always be written.
    serde_json::to_vec(message).unwrap_or_default()
}
