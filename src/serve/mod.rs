//! Metrics, health, HTTP, logging. Reads status, never drives.

pub mod catalogue;
pub mod http;
pub mod kafka_statistics;
pub mod logging;
pub mod metrics;
pub mod status;
