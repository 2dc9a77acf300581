//! librdkafka's statistics as metrics: a bounded choice, summed over brokers and partitions, one series a client.

use super::catalogue::{self, Description};
use prometheus::GaugeVec;
use serde::Deserialize;
use std::collections::HashMap;

/// The gauges, in the order of [`DESCRIPTIONS`].
pub(super) struct KafkaMetrics {
    gauges: [GaugeVec; 13],
}

const DESCRIPTIONS: [Description; 13] = [
    catalogue::KAFKA_RECEIVED_MESSAGES,
    catalogue::KAFKA_RECEIVED_BYTES,
    catalogue::KAFKA_SENT_MESSAGES,
    catalogue::KAFKA_SENT_BYTES,
    catalogue::KAFKA_QUEUED_MESSAGES,
    catalogue::KAFKA_QUEUED_BYTES,
    catalogue::KAFKA_FETCHED_MESSAGES,
    catalogue::KAFKA_WAITING_REQUESTS,
    catalogue::KAFKA_REQUEST_ERRORS,
    catalogue::KAFKA_REQUEST_TIMEOUTS,
    catalogue::KAFKA_ROUND_TRIP_SECONDS,
    catalogue::KAFKA_BROKERS_UP,
    catalogue::KAFKA_REBALANCES,
];

#[derive(Deserialize, Default)]
#[serde(default)]
struct Statistics {
    rxmsgs: f64,
    rxmsg_bytes: f64,
    txmsgs: f64,
    txmsg_bytes: f64,
    msg_cnt: f64,
    msg_size: f64,
    brokers: HashMap<String, Broker>,
    topics: HashMap<String, Topic>,
    cgrp: Group,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Broker {
    state: String,
    outbuf_cnt: f64,
    waitresp_cnt: f64,
    txerrs: f64,
    rxerrs: f64,
    req_timeouts: f64,
    rtt: Window,
}

/// Microseconds.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Window {
    p99: f64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Topic {
    partitions: HashMap<String, Partition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Partition {
    fetchq_cnt: f64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Group {
    rebalance_cnt: f64,
}

impl KafkaMetrics {
    pub(super) fn new(build: impl Fn(&Description) -> GaugeVec) -> Self {
        KafkaMetrics {
            gauges: DESCRIPTIONS.map(|description| build(&description)),
        }
    }

    /// Statistics that cannot be read are left out: they steer nothing.
    pub(super) fn record(&self, client: &str, json: &str) {
        let Ok(statistics) = serde_json::from_str::<Statistics>(json) else {
            tracing::debug!(client, "statistics of the Kafka client are unreadable");
            return;
        };
        for (gauge, value) in self.gauges.iter().zip(statistics.values()) {
            gauge.with_label_values(&[client]).set(value);
        }
    }
}

impl Statistics {
    fn values(&self) -> [f64; 13] {
        let sum = |of: fn(&Broker) -> f64| self.brokers.values().map(of).sum::<f64>();
        let slowest_us = self.brokers.values().map(|broker| broker.rtt.p99).fold(0.0, f64::max);
        let up = self.brokers.values().filter(|broker| broker.state == "UP").count();
        let partitions = self.topics.values().flat_map(|topic| topic.partitions.values());
        [
            self.rxmsgs,
            self.rxmsg_bytes,
            self.txmsgs,
            self.txmsg_bytes,
            self.msg_cnt,
            self.msg_size,
            partitions.map(|partition| partition.fetchq_cnt).sum(),
            sum(|broker| broker.outbuf_cnt + broker.waitresp_cnt),
            sum(|broker| broker.txerrs + broker.rxerrs),
            sum(|broker| broker.req_timeouts),
            slowest_us / 1e6,
            up as f64,
            self.cgrp.rebalance_cnt,
        ]
    }
}
