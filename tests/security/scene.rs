//! One test's world on the secured broker: names of its own, and users with the rights of a command.

use crate::harness::secured::PASSWORD;
use crate::harness::{Acl, Launch, Outgoing, SecuredBroker, TopicSet, TopicSpec, os, unique_name};
use crate::rights;
use std::process::Output;
use std::sync::LazyLock;

/// The environment variable that brings the password.
const PASSWORD_VARIABLE: &str = "FORBEAR_KAFKA__CLIENT__SASL_PASSWORD";
pub const CHANNELS: &[&str] = &["email", "sms"];
const PARTITIONS: i32 = 2;

const POLICY: &str = "\
forbear: 1
name: security
timezone: UTC
channels:
  email: { consent: opt-out }
  sms: { consent: opt-out }
classes:
  marketing: { rank: 1, obeys: all, counts: true }
rules:
  - { id: week, cap: { limit: 2, window: 7d }, for: { class: marketing } }
";

/// The broker of all tests of this binary.
pub fn shared() -> &'static SecuredBroker {
    static SHARED: LazyLock<SecuredBroker> = LazyLock::new(SecuredBroker::start);
    &SHARED
}

pub struct Scene {
    pub name: String,
    pub topics: TopicSet,
    pub base: Launch,
}

impl Scene {
    /// Names; no topic exists yet.
    pub fn new(stem: &str) -> Self {
        let name = unique_name(stem);
        let topics = TopicSet {
            // As with the names of the README, the prefix of one kind is not that of another.
            approved_prefix: format!("approved-{name}."),
            suppressed_prefix: format!("suppressed-{name}."),
            ..TopicSet::new(&name)
        };
        let base = Launch::new(&shared().sasl_bootstrap(), &name, &topics, POLICY)
            .set("kafka.client.\"session.timeout.ms\"", "6000")
            .set("kafka.client.\"heartbeat.interval.ms\"", "1000")
            .set("kafka.client.\"reconnect.backoff.max.ms\"", "1000")
            .set("processing.workers", 1);
        Self { name, topics, base }
    }

    /// With topics, made by somebody who may do everything.
    pub fn with_topics(stem: &str) -> Self {
        let scene = Self::new(stem);
        scene.topics.create(&shared().broker.client(), PARTITIONS, CHANNELS);
        scene
    }

    /// With some of the topics.
    pub fn with_some_topics(stem: &str) -> Self {
        let scene = Self::new(stem);
        let names = [
            scene.topics.intents[0].clone(),
            scene.topics.approved("email"),
            scene.topics.suppressed("email"),
        ];
        let topics = names.map(|name| TopicSpec::new(name, PARTITIONS));
        shared().broker.client().create_topics(&topics);
        scene
    }

    /// The rights of the README for a command, on the names of this test.
    pub fn rights(&self, command: &str) -> Vec<Acl> {
        rights::of(command, &self.topics, &self.base.group_id)
    }

    /// Settings of a user that has these rights and no other; and the user's name.
    pub fn with_rights(&self, acls: &[Acl]) -> (Launch, String) {
        let user = shared().user(acls);
        (self.as_user(&user), user)
    }

    /// Settings of a user with the right password, which comes through the environment.
    pub fn as_user(&self, user: &str) -> Launch {
        let mut launch = with(self.base.clone(), shared().sasl_properties(user));
        launch = launch.with_own_state(&format!("{}-{user}", self.name));
        launch
            .environment
            .push((PASSWORD_VARIABLE.to_owned(), PASSWORD.to_owned()));
        launch
    }

    /// The same, with the password in a file.
    pub fn as_user_with_file(&self, user: &str) -> Launch {
        let file = os::new_directory("secret").join("password");
        std::fs::write(&file, format!("{PASSWORD}\n")).expect("a file");
        let mut launch = self.as_user(user);
        launch.environment.clear();
        with(launch, vec![("sasl.password", format!("file:{}", file.display()))])
    }

    /// Messages of these customers by e-mail, so many each, written by somebody who may do everything.
    pub fn ask_for(&self, prefix: &str, customers: u32, each: u32) {
        let numbers = (0..customers).flat_map(|customer| (0..each).map(move |number| (customer, number)));
        let intents: Vec<Outgoing> = numbers
            .map(|(customer, number)| {
                let customer = format!("{prefix}-{customer}");
                let intent = format!(
                    r#"{{"intent_id":"{customer}-{number}","customer_id":"{customer}","channel":"email","division":"cards","class":"marketing"}}"#
                );
                Outgoing::new(customer, intent)
            })
            .collect();
        shared().broker.client().produce(&self.topics.intents[0], &intents);
    }

    /// How many records a topic holds.
    pub fn count(&self, topic: &str) -> usize {
        shared().broker.client().read_topic(topic).len()
    }

    /// Whatever there is in an output topic, by the number of records.
    pub fn outputs(&self) -> usize {
        let channels = CHANNELS
            .iter()
            .flat_map(|channel| [self.topics.approved(channel), self.topics.suppressed(channel)]);
        let others = [self.topics.decisions.clone(), self.topics.dead_letter.clone()];
        channels.chain(others).map(|topic| self.count(&topic)).sum()
    }
}

/// With further properties of the client.
pub fn with(launch: Launch, properties: Vec<(&'static str, String)>) -> Launch {
    let set = |launch: Launch, (property, value): (&str, String)| launch.set(&client_path(property), value);
    properties.into_iter().fold(launch, set)
}

/// Where a property stands in the settings.
pub fn client_path(property: &str) -> String {
    format!("kafka.client.\"{property}\"")
}

/// Both outputs of a command.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Panics where a password is in a text.
pub fn assert_no_secret(text: &str) {
    assert!(!text.contains(PASSWORD), "the password is in\n{text}");
}
