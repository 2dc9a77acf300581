//! The whole task loop over an in-memory log with real transaction semantics, driven by a seed.

#[path = "auditor/mod.rs"]
mod auditor;
#[path = "auditor/tests.rs"]
mod auditor_tests;
