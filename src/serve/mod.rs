//! Metrics, health, HTTP. Reads status, never drives.
