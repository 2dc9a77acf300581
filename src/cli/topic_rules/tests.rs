//! What is wrong with topics, and what is only worth saying.

use super::*;
use crate::cli::settings::Settings;
use std::collections::BTreeSet;

fn expected_topics() -> Vec<ExpectedTopic> {
    let settings = Settings::parse("", []).expect("defaults");
    expected(&settings.topics, &["email".to_owned(), "sms".to_owned()])
}

/// A cluster made by the plan itself.
fn planned_cluster() -> Cluster {
    let mut cluster = Cluster {
        broker_count: 3,
        ..Cluster::default()
    };
    for topic in plan(&expected_topics(), &cluster, Some(6), Some(3)).expect("a plan") {
        let mut configs: BTreeMap<String, String> = topic.configs.into_iter().collect();
        configs.insert("min.insync.replicas".to_owned(), "2".to_owned());
        let description = TopicDescription {
            partition_count: topic.partition_count,
            replication_factor: 3,
            configs,
        };
        cluster.topics.insert(topic.name, description);
    }
    cluster
}

fn after(change: impl FnOnce(&mut Cluster)) -> Vec<Problem> {
    let mut cluster = planned_cluster();
    change(&mut cluster);
    verify(&expected_topics(), &cluster)
}

fn set(cluster: &mut Cluster, topic: &str, name: &str, value: &str) {
    cluster
        .topics
        .get_mut(topic)
        .expect("topic")
        .configs
        .insert(name.to_owned(), value.to_owned());
}

#[test]
fn what_create_makes_is_what_verify_wants() {
    assert_eq!(verify(&expected_topics(), &planned_cluster()), []);
    assert_eq!(plan(&expected_topics(), &planned_cluster(), None, None), Ok(vec![]));
}

#[test]
fn missing_topics_are_named_and_prevent_a_run() {
    let problems = verify(&expected_topics(), &Cluster::default());
    assert_eq!(problems.len(), expected_topics().len());
    assert!(
        problems
            .iter()
            .all(|problem| problem.prevents_run && problem.problem.starts_with(&problem.topic))
    );
}

#[test]
fn unequal_partition_counts_of_inputs_and_state_prevent_a_run() {
    for topic in ["forbear.engagement", "forbear.reroute", "forbear.state"] {
        let problems = after(|cluster| cluster.topics.get_mut(topic).expect("topic").partition_count = 4);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].prevents_run);
        assert!(
            problems[0]
                .problem
                .starts_with(&format!("{topic} has 4 partitions, but forbear.intents has 6"))
        );
    }
    assert_eq!(
        after(|cluster| cluster.topics.get_mut("approved.sms").expect("topic").partition_count = 4),
        []
    );
}

#[test]
fn a_state_topic_that_is_not_compacted_prevents_a_run() {
    for policy in ["delete", "compact,delete"] {
        let problems = after(|cluster| set(cluster, "forbear.state", "cleanup.policy", policy));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].prevents_run);
    }
    let problems = after(|cluster| set(cluster, "forbear.policies", "cleanup.policy", "delete"));
    assert_eq!(
        (problems.len(), problems[0].severity, problems[0].prevents_run),
        (1, Severity::Error, false)
    );
    assert_eq!(
        after(|cluster| set(cluster, "approved.email", "cleanup.policy", "compact")).len(),
        1
    );
}

#[test]
fn a_state_topic_that_keeps_erased_customers_too_long_is_an_error() {
    assert_eq!(
        after(|cluster| set(cluster, "forbear.state", "segment.ms", "604800000")).len(),
        1
    );
    let forever = "9223372036854775807";
    assert_eq!(
        after(|cluster| set(cluster, "forbear.state", "max.compaction.lag.ms", forever)).len(),
        1
    );
}

#[test]
fn outputs_must_accept_larger_records_than_the_inputs() {
    for topic in [
        "approved.email",
        "suppressed.sms",
        "forbear.dead-letter",
        "forbear.reroute",
        "forbear.state",
    ] {
        let problems = after(|cluster| set(cluster, topic, "max.message.bytes", "1048588"));
        assert_eq!(problems.len(), 1, "{topic}");
        assert_eq!(
            (problems[0].severity, problems[0].prevents_run),
            (Severity::Error, false)
        );
    }
    assert_eq!(
        after(|cluster| set(cluster, "forbear.intents", "max.message.bytes", "9000000")).len(),
        7
    );
}

#[test]
fn replication_that_stops_writes_is_an_error_and_weak_replication_a_warning() {
    let severity = |name: &str, value: &str| {
        let problems = after(|cluster| set(cluster, "forbear.state", name, value));
        (problems.len(), problems[0].severity)
    };
    assert_eq!(severity("min.insync.replicas", "4"), (1, Severity::Error));
    assert_eq!(severity("min.insync.replicas", "3"), (1, Severity::Warning));
    assert_eq!(severity("min.insync.replicas", "1"), (1, Severity::Warning));
    let problems = after(|cluster| {
        cluster
            .topics
            .get_mut("forbear.state")
            .expect("topic")
            .replication_factor = 2
    });
    assert_eq!((problems.len(), problems[0].severity), (2, Severity::Warning));
}

#[test]
fn one_broker_alone_needs_no_replicas() {
    let problems = after(|cluster| {
        cluster.broker_count = 1;
        for topic in cluster.topics.values_mut() {
            topic.replication_factor = 1;
            topic.configs.insert("min.insync.replicas".to_owned(), "1".to_owned());
        }
    });
    assert_eq!(problems, []);
}

#[test]
fn new_topics_follow_the_partition_count_and_the_size_of_the_inputs_that_exist() {
    let configs = BTreeMap::from([("max.message.bytes".to_owned(), "3000000".to_owned())]);
    let intents = TopicDescription {
        partition_count: 5,
        replication_factor: 1,
        configs,
    };
    let topics = BTreeMap::from([("forbear.intents".to_owned(), intents)]);
    let cluster = Cluster {
        cluster_id: None,
        broker_count: 1,
        topics,
        ..Cluster::default()
    };
    let new = plan(&expected_topics(), &cluster, None, None).expect("a plan");
    assert!(new.iter().all(|topic| topic.name != "forbear.intents"));
    for topic in &new {
        assert_eq!(topic.partition_count, if topic.role == Role::Policies { 1 } else { 5 });
    }
    let approved = new.iter().find(|topic| topic.role == Role::Approved).expect("approved");
    assert!(
        approved
            .configs
            .contains(&("max.message.bytes".to_owned(), "6000000".to_owned()))
    );
    let error = plan(&expected_topics(), &cluster, Some(7), None).expect_err("another count");
    assert!(error.starts_with("forbear.intents exists with 5 partitions"), "{error}");
}

#[test]
fn a_topic_name_that_kafka_refuses_is_refused_before() {
    let settings = Settings::parse("", []).expect("defaults");
    let topics = expected(&settings.topics, &["e mail".to_owned()]);
    assert!(plan(&topics, &Cluster::default(), None, None).is_err());
}

#[test]
fn a_right_that_is_missing_is_named_with_topic_and_operation() {
    let all = BTreeSet::from([
        Operation::Read,
        Operation::Write,
        Operation::Describe,
        Operation::DescribeConfigs,
    ]);
    let mut cluster = planned_cluster();
    for topic in expected_topics() {
        cluster.rights.insert(topic.name, Rights::Told(all.clone()));
    }
    assert_eq!(verify(&expected_topics(), &cluster), []);
    assert_eq!(forbidden(&expected_topics(), &cluster), []);
    assert_eq!(unknown(&expected_topics(), &cluster), Vec::<String>::new());
    let mut lose = |topic: &str, operation: Operation| {
        let mut left = all.clone();
        left.remove(&operation);
        cluster.rights.insert(topic.to_owned(), Rights::Told(left));
    };
    lose("approved.sms", Operation::Write);
    lose("forbear.engagement", Operation::Read);
    lose("forbear.state", Operation::DescribeConfigs);
    // An input is not written to.
    lose("forbear.intents", Operation::Write);
    cluster.rights.insert("forbear.policies".to_owned(), Rights::Hidden);
    cluster.topics.remove("forbear.policies");
    let said = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.problem).collect::<Vec<_>>();
    assert_eq!(
        said(forbidden(&expected_topics(), &cluster)),
        [
            "forbear.engagement cannot be used: this Kafka user has no right to Read on it",
            "approved.sms cannot be used: this Kafka user has no right to Write on it",
            "forbear.policies cannot be used: this Kafka user has no right to Write on it",
        ]
    );
    let unseen = [
        "forbear.state cannot be checked: this Kafka user has no right to DescribeConfigs on it",
        "forbear.policies cannot be seen: it does not exist, or this Kafka user has no right to Describe on it",
    ];
    assert_eq!(unknown(&expected_topics(), &cluster), unseen);
    let problems = verify(&expected_topics(), &cluster);
    assert!(problems.iter().all(|problem| problem.prevents_run));
    assert_eq!(said(problems), unseen);
}
