//! Tests of what the process shows of itself.

use super::catalogue::{CATALOGUE, Kind};
use super::http::{bind, parse_listen, serve_on};
use super::metrics::{Bounds, Metrics, Stage, TransactionOutcome};
use super::status::{HangingTransaction, PartitionState, PartitionStatus, Status};
use crate::store::StoreFigures;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// Touches every metric once.
fn touched() -> Arc<Metrics> {
    let metrics = Metrics::new();
    let mut worker = metrics.worker(Arc::new(Bounds::new(["cards"], ["email"])));
    worker.verdict("cards", "email", "approved", "approved");
    worker.rule_hit("email-day", true);
    worker.engagement("opened");
    worker.decision(Duration::from_micros(7));
    worker.end_to_end(Duration::from_millis(90));
    worker.flush();
    metrics.set_deferred(0, 3);
    metrics.set_lag("forbear.intents", 0, 5);
    metrics.unknown_value("class");
    metrics.lost_intents("forbear.intents", 2);
    metrics.store_set_aside("corrupt");
    metrics.stage(Stage::Judge, Duration::from_millis(1));
    metrics.transaction(TransactionOutcome::Committed);
    metrics.record_stores(
        &[StoreFigures {
            partition: 4,
            disk_bytes: 9,
            ..StoreFigures::default()
        }],
        1,
    );
    metrics.record_kafka(
        "consumer/0",
        r#"{"rxmsgs":12,"brokers":{"b":{"state":"UP","rtt":{"p99":2500}}}}"#,
    );
    let status = Status::new(metrics.clone());
    status.set_policy("acme@5f0c");
    let hanging = HangingTransaction {
        topic: "forbear.intents".to_string(),
        partition: 0,
        age_ms: 61_000,
    };
    let mut blocked = PartitionStatus::new(PartitionState::Blocked, 0);
    blocked.hanging_transaction = Some(hanging);
    status.set(0, blocked);
    metrics
}

#[test]
fn every_metric_of_the_catalogue_is_served_with_its_help_type_and_labels_and_nothing_else_is() {
    let text = touched().render();
    let mut served = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        served.insert(line.split(' ').nth(2).unwrap().to_string());
    }
    let documented: BTreeSet<String> = CATALOGUE.iter().map(|metric| metric.name.to_string()).collect();
    assert_eq!(served, documented);
    for metric in CATALOGUE {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert!(
            text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)),
            "{}",
            metric.name
        );
        assert!(
            text.contains(&format!("# TYPE {} {kind}\n", metric.name)),
            "{}",
            metric.name
        );
        let series = text
            .lines()
            .find(|line| line.starts_with(&format!("{}{{", metric.name)));
        for label in metric.labels {
            assert!(
                series.unwrap().contains(&format!("{label}=\"")),
                "{} {label}",
                metric.name
            );
        }
    }
}

#[test]
fn a_division_or_channel_that_the_policy_does_not_know_is_other() {
    let metrics = Metrics::new();
    let mut worker = metrics.worker(Arc::new(Bounds::new(["cards"], ["email"])));
    worker.verdict("cards", "somebody@example.com", "suppressed", "cap");
    worker.verdict("made up", "email", "suppressed", "cap");
    worker.flush();
    let text = metrics.render();
    assert!(
        text.contains(r#"{channel="other",division="cards",reason="cap",verdict="suppressed"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"{channel="email",division="other",reason="cap",verdict="suppressed"} 1"#));
    assert!(!text.contains("somebody") && !text.contains("made up"));
}

#[test]
fn a_dropped_batch_counts_nothing() {
    let metrics = Metrics::new();
    let mut worker = metrics.worker(Arc::new(Bounds::new(["cards"], ["email"])));
    worker.verdict("cards", "email", "approved", "approved");
    worker.decision(Duration::from_secs(1));
    worker.discard();
    worker.flush();
    let text = metrics.render();
    let counted = text.lines().filter(|line| line.starts_with("forbear_intents_total{"));
    assert!(counted.clone().all(|line| line.ends_with("} 0")), "{counted:?}");
    assert!(text.contains("forbear_decision_seconds_count 0"));
}

#[test]
fn only_the_newest_policy_and_only_open_stores_have_series() {
    let metrics = touched();
    metrics.set_policy("acme@0000");
    metrics.record_stores(&[], 0);
    let text = metrics.render();
    assert!(text.contains(r#"forbear_policy_info{version="acme@0000"} 1"#));
    assert!(!text.contains("acme@5f0c") && !text.contains("forbear_rocksdb_disk_bytes{"));
}

#[test]
fn unreadable_statistics_change_nothing() {
    let metrics = touched();
    for statistics in ["", "{", "7", "{\"rxmsgs\":\"x\"}"] {
        metrics.record_kafka("consumer/0", statistics);
    }
    let text = metrics.render();
    assert!(text.contains("forbear_kafka_received_messages{client=\"consumer/0\"} 12"));
    assert!(text.contains("forbear_kafka_round_trip_seconds{client=\"consumer/0\"} 0.0025"));
}

#[test]
fn ready_is_every_owned_partition_running_or_a_standby_that_owns_none() {
    let status = Status::new(Metrics::new());
    assert_eq!(
        (status.readiness().ready, status.readiness().status),
        (false, "starting")
    );
    status.set_started();
    assert_eq!(status.readiness().status, "not ready");
    status.set_standby(1, false);
    status.set_standby(0, true);
    assert_eq!(status.readiness().status, "not ready", "one worker is no member yet");
    status.set_standby(1, true);
    assert_eq!((status.readiness().ready, status.readiness().status), (true, "standby"));
    status.set(1, PartitionStatus::new(PartitionState::Running, 0));
    status.set(0, PartitionStatus::new(PartitionState::Closed, 0));
    assert_eq!((status.readiness().ready, status.readiness().status), (true, "ready"));
    let mut blocked = PartitionStatus::new(PartitionState::Blocked, 1);
    blocked.reason = Some("marker and committed offset differ".to_string());
    status.set(2, blocked);
    assert!(!status.readiness().ready);
    let order: Vec<i32> = status
        .readiness()
        .partitions
        .iter()
        .map(|entry| entry.partition)
        .collect();
    assert_eq!(order, [0, 1, 2]);
    status.remove(2);
    assert!(status.readiness().ready);
}

#[test]
fn a_partition_is_in_one_state_and_its_series_go_with_it() {
    let metrics = Metrics::new();
    let status = Status::new(metrics.clone());
    status.set(7, PartitionStatus::new(PartitionState::Restoring, 0));
    status.set(7, PartitionStatus::new(PartitionState::Running, 0));
    let text = metrics.render();
    assert!(text.contains(r#"forbear_task_state{partition="7",state="running"} 1"#));
    assert!(text.contains(r#"forbear_task_state{partition="7",state="restoring"} 0"#));
    status.remove(7);
    assert!(!metrics.render().contains("forbear_task_state{"));
}

#[test]
fn a_hanging_transaction_that_was_aborted_leaves_no_series() {
    let metrics = touched();
    assert!(
        metrics
            .render()
            .contains(r#"forbear_hanging_transaction_seconds{partition="0",topic="forbear.intents"} 61"#)
    );
    let status = Status::new(metrics.clone());
    let mut blocked = PartitionStatus::new(PartitionState::Blocked, 0);
    blocked.hanging_transaction = Some(HangingTransaction {
        topic: "forbear.intents".to_string(),
        partition: 0,
        age_ms: 62_000,
    });
    status.set(0, blocked);
    status.set(0, PartitionStatus::new(PartitionState::Running, 0));
    assert!(!metrics.render().contains("forbear_hanging_transaction_seconds{"));
}

async fn request(port: u16, path: &'static str) -> String {
    let exchange = move || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

#[tokio::test]
async fn the_server_answers_metrics_health_and_readiness_and_stops_when_told() {
    let metrics = touched();
    let status = Status::new(metrics.clone());
    let listener = bind(parse_listen("127.0.0.1:0").unwrap()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let server = tokio::spawn(serve_on(listener, metrics, status.clone(), shutdown));
    let answer = request(port, "/metrics").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(answer.contains("forbear_policy_info"));
    assert!(request(port, "/").await.contains("/readyz"));
    assert!(request(port, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(request(port, "/nothing").await.starts_with("HTTP/1.1 404"));
    assert!(request(port, "/readyz").await.starts_with("HTTP/1.1 503"));
    status.set_started();
    status.set(3, PartitionStatus::new(PartitionState::Running, 1));
    let answer = request(port, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains(r#"{"partition":3,"state":"running","worker":1,"lag_records":0}"#),
        "{answer}"
    );
    status.trip("a transaction did not end");
    let answer = request(port, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("did not end"));
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_bad_or_taken_address_is_a_sentence_with_the_address() {
    assert!(parse_listen("localhost").unwrap_err().contains("\"localhost\""));
    let taken = bind(parse_listen("127.0.0.1:0").unwrap()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(address).await.unwrap_err().to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("http.listen"),
        "{error}"
    );
}
