use super::*;

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(text, [])
}

fn problems(text: &str) -> Vec<String> {
    parse(text).expect_err("settings that are wrong").problems
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

#[test]
fn an_empty_file_gives_the_documented_defaults() {
    let settings = parse("").expect("defaults");
    assert_eq!(settings.kafka.bootstrap_servers, "localhost:9092");
    assert_eq!(settings.kafka.group_id, "forbear");
    assert!(!settings.kafka.instance_id.is_empty());
    assert_eq!(settings.topics.intents, ["forbear.intents"]);
    assert_eq!(settings.topics.decisions.as_deref(), Some("forbear.decisions"));
    assert_eq!(settings.topics.approved("sms"), "approved.sms");
    assert_eq!(settings.topics.suppressed("sms"), "suppressed.sms");
    assert_eq!(settings.processing.commit_interval_ms, 100);
    assert_eq!(settings.processing.max_intent_bytes, 983_040);
    assert!((1..=64).contains(&settings.processing.workers));
    assert_eq!(settings.http.listen.port(), 9464);
}

#[test]
fn each_worker_has_its_own_identity() {
    let settings = parse("[kafka]\ngroup-id = \"g\"\ninstance-id = \"host-1\"").expect("settings");
    assert_eq!(settings.transactional_id(3), "g/host-1/3");
    assert_eq!(settings.instance_id(3), "host-1/3");
}

#[test]
fn an_unknown_key_is_an_error_that_suggests_the_nearest() {
    assert_eq!(
        problems("[processing]\ncommit-intervall-ms = 5"),
        ["processing.commit-intervall-ms is not a setting; did you mean processing.commit-interval-ms?"]
    );
    assert_eq!(
        problems("[proccessing]\nworkers = 2"),
        ["proccessing is not a setting; did you mean processing?"]
    );
    assert_eq!(
        problems("[kafka]\nworkers = 2"),
        ["kafka.workers is not a setting; did you mean processing.workers?"]
    );
    assert_eq!(problems("zzz = 1"), ["zzz is not a setting"]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text =
        "[processing]\nworkers = 0\ncommit-interval-ms = 10001\nmax-intent-bytes = 10\n[http]\nlisten = \"nowhere\"";
    assert_eq!(
        problems(text),
        [
            "processing.workers must be a whole number from 1 to 64",
            "processing.commit-interval-ms must be a whole number from 1 to 10000",
            "processing.max-intent-bytes must be a whole number from 1024 to 15000000",
            "http.listen must be an address and a port, as in \"127.0.0.1:9464\"",
        ]
    );
}

#[test]
fn wrong_types_are_named() {
    assert_eq!(
        problems("[kafka]\ngroup-id = 5"),
        ["kafka.group-id must be a text in quotes"]
    );
    assert_eq!(
        problems("[topics]\nintents = 5"),
        ["topics.intents must be a list of topic names"]
    );
    assert_eq!(
        problems("[processing]\nworkers = 1.5"),
        ["processing.workers must be a whole number from 1 to 64"]
    );
    assert_eq!(
        problems("[kafka]\nclient = 5"),
        ["kafka.client must be a table of client properties"]
    );
    assert_eq!(
        problems("[log]\nformat = \"xml\""),
        ["log.format must be \"text\" or \"json\""]
    );
    assert!(problems("[kafka\n")[0].starts_with("the settings are not valid TOML"));
}

#[test]
fn empty_names_are_refused_but_decisions_may_be_turned_off() {
    assert_eq!(
        problems("[kafka]\nbootstrap-servers = \"\""),
        ["kafka.bootstrap-servers must not be empty"]
    );
    assert_eq!(problems("[topics]\nstate = \" \"").len(), 2);
    assert_eq!(
        problems("[topics]\nintents = []"),
        ["topics.intents must name at least one topic, and no name may be empty"]
    );
    assert_eq!(
        problems("[topics]\nengagement = [\"\"]"),
        ["topics.engagement must name at least one topic, and no name may be empty"]
    );
    assert_eq!(
        parse("[topics]\ndecisions = \"\"").expect("settings").topics.decisions,
        None
    );
}

#[test]
fn topic_names_are_checked_and_no_topic_plays_two_parts() {
    assert_eq!(
        problems("[topics]\nstate = \"a b\""),
        ["topics.state: \"a b\" is not the name of a topic; expected 1 to 249 of a-z A-Z 0-9 . _ -"]
    );
    assert_eq!(
        problems("[topics]\nintents = [\"x\"]\nengagement = [\"x\"]"),
        ["topics.engagement: the topic \"x\" is already used by topics.intents"]
    );
    assert_eq!(
        problems("[topics]\nstate = \"approved.state\""),
        [
            "topics.state: the topic \"approved.state\" begins with topics.approved-prefix and could be an output topic of a channel"
        ]
    );
    assert_eq!(problems("[topics]\napproved-prefix = \"suppressed.\"").len(), 1);
    assert!(!is_topic_name("") && !is_topic_name("..") && !is_topic_name(&"x".repeat(250)));
}

#[test]
fn the_environment_goes_over_the_file() {
    let environment = variables(&[
        ("FORBEAR_KAFKA__BOOTSTRAP_SERVERS", "broker:1"),
        ("FORBEAR_TOPICS__INTENTS", "a, b"),
        ("FORBEAR_PROCESSING__WORKERS", "7"),
        ("FORBEAR_KAFKA__CLIENT__SASL_USERNAME", "somebody"),
        ("FORBEAR_KAFKA__CLIENT__SESSION_TIMEOUT_MS", "9000"),
        ("PATH", "/bin"),
    ]);
    let text = "[kafka]\nbootstrap-servers = \"other:1\"\n[kafka.client]\nsasl.username = \"nobody\"";
    let settings = Settings::parse(text, environment).expect("settings");
    assert_eq!(settings.kafka.bootstrap_servers, "broker:1");
    assert_eq!(settings.topics.intents, ["a", "b"]);
    assert_eq!(settings.processing.workers, 7);
    let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(settings.kafka.client.producer(), [of("sasl.username", "somebody")]);
    assert_eq!(
        settings.kafka.client.consumer(),
        [of("sasl.username", "somebody"), of("session.timeout.ms", "9000")]
    );
}

#[test]
fn an_unknown_variable_is_an_error_that_suggests_the_nearest() {
    let error = Settings::parse("", variables(&[("FORBEAR_KAFKA__BOOTSTRAP_SERVER", "x")])).expect_err("unknown");
    assert_eq!(
        error.problems,
        [
            "the environment variable FORBEAR_KAFKA__BOOTSTRAP_SERVER names no setting; did you mean FORBEAR_KAFKA__BOOTSTRAP_SERVERS?"
        ]
    );
}

#[test]
fn client_properties_may_be_quoted_or_dotted_and_go_to_the_client_that_knows_them() {
    let text = "[kafka.client]\n\"security.protocol\" = \"SASL_SSL\"\nsasl.mechanism = \"PLAIN\"\nlinger.ms = 3\nsocket.keepalive.enable = true\nfetch.min.bytes = 1";
    let client = parse(text).expect("settings").kafka.client;
    let names = |entries: Vec<(String, String)>| entries.into_iter().map(|entry| entry.0).collect::<Vec<_>>();
    let shared = ["sasl.mechanism", "security.protocol", "socket.keepalive.enable"];
    assert_eq!(names(client.admin()), shared);
    assert_eq!(
        names(client.consumer()),
        ["fetch.min.bytes", shared[0], shared[1], shared[2]]
    );
    assert_eq!(names(client.producer()), ["linger.ms", shared[0], shared[1], shared[2]]);
}

#[test]
fn a_property_that_a_promise_rests_on_is_refused_with_the_reason() {
    for name in [
        "isolation.level",
        "enable.auto.commit",
        "transactional.id",
        "enable.idempotence",
        "partitioner",
        "group.id",
        "group.instance.id",
        "client.rack",
        "auto.offset.reset",
        "enable.partition.eof",
    ] {
        let found = problems(&format!("[kafka.client]\n\"{name}\" = \"x\""));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with(&format!("kafka.client.\"{name}\" cannot be set: ")),
            "{found:?}"
        );
    }
}

#[test]
fn an_unknown_client_property_is_an_error_that_suggests_the_nearest() {
    assert_eq!(
        problems("[kafka.client]\n\"session.timout.ms\" = 5"),
        [
            "kafka.client.\"session.timout.ms\" is not a property of the Kafka client; did you mean \"session.timeout.ms\"?"
        ]
    );
    assert_eq!(
        problems("[kafka.client]\n\"linger.ms\" = [5]"),
        ["kafka.client.\"linger.ms\" must be a text, a number or true/false"]
    );
}

#[test]
fn a_secret_is_read_from_its_file_and_never_printed() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    std::fs::write(&file, "correct horse\n").expect("a file");
    let text = format!("[kafka.client]\nsasl.password = \"file:{}\"", file.display());
    let settings = parse(&text).expect("settings");
    assert_eq!(
        settings.kafka.client.producer(),
        [("sasl.password".to_owned(), "correct horse".to_owned())]
    );
    assert!(!format!("{settings:?}").contains("correct horse"));
    let found = problems("[kafka.client]\nsasl.password = \"file:/dev/zero\"");
    assert!(
        found[0].ends_with("cannot read the file /dev/zero: it is larger than 1 MiB"),
        "{found:?}"
    );
    let found = problems("[kafka.client]\nsasl.password = \"file:/nowhere/at/all\"");
    assert!(
        found[0].starts_with("kafka.client.\"sasl.password\": cannot read the file /nowhere/at/all"),
        "{found:?}"
    );
}
