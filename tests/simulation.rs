//! The whole task loop over an in-memory log with real transaction semantics, driven by a seed.

#[path = "auditor/mod.rs"]
mod auditor;
#[path = "auditor/tests.rs"]
mod auditor_tests;
#[path = "simulation/broker.rs"]
mod broker;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/group.rs"]
mod group;
#[path = "simulation/partition.rs"]
mod partition;
