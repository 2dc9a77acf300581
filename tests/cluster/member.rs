//! A member of the group as an operator's supervisor keeps it: started again when it ends with "start me again".

// Two test binaries compile this module, and each uses a part of it.
#![allow(dead_code)]

use crate::harness::{Launch, Process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The exit code that asks for a restart.
const RESTART: i32 = 75;

/// A process, and how to start it again.
pub struct Member {
    pub launch: Launch,
    pub process: Process,
    /// How often it asked to be started again.
    pub restarts: usize,
    /// Logs of the processes before this one.
    earlier: String,
}

impl Member {
    pub fn start(launch: &Launch) -> Self {
        Self {
            launch: launch.clone(),
            process: Process::start(launch),
            restarts: 0,
            earlier: String::new(),
        }
    }

    /// Starts a process that was ended.
    pub fn start_again(&mut self) {
        self.earlier.push_str(&self.process.log());
        self.process = Process::start(&self.launch);
    }

    /// Kills it and says when.
    pub fn kill9(&mut self) -> Instant {
        self.process.kill9();
        Instant::now()
    }

    /// Asks it to end, and expects it to, cleanly and in time.
    pub fn stop(&mut self) {
        self.process.sigterm();
        let asked = Instant::now();
        let code = self.process.wait_exit(Duration::from_secs(15));
        assert_eq!(code, 0, "a clean end\n{}", self.process.log());
        assert!(
            asked.elapsed() < Duration::from_secs(11),
            "the end took {:?}",
            asked.elapsed()
        );
    }

    /// Starts it again where it asked for that. Any other end is a failure.
    pub fn tend(&mut self) {
        if !self.process.is_running() {
            let code = self.process.wait_exit(Duration::ZERO);
            assert_eq!(code, RESTART, "forbear ended\n{}", self.process.log());
            self.restarts += 1;
            self.start_again();
        }
    }

    /// The log of this process and of those before it.
    pub fn whole_log(&self) -> String {
        format!("{}{}", self.earlier, self.process.log())
    }

    /// `/readyz` as JSON; none while it does not answer.
    pub fn readiness(&self) -> Option<Value> {
        serde_json::from_str(&self.process.get("/readyz").ok()?.body).ok()
    }

    /// Its partitions and their states.
    pub fn partitions(&self) -> BTreeMap<i64, String> {
        let body = self.readiness().unwrap_or_default();
        let listed = body["partitions"].as_array().cloned().unwrap_or_default();
        let state = |entry: &Value| Some((entry["partition"].as_i64()?, entry["state"].as_str()?.to_owned()));
        listed.iter().filter_map(state).collect()
    }

    /// One metric, summed over its labels; 0 where there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let metrics = self.process.metrics();
        metrics.and_then(|metrics| metrics.sum(name, labels)).unwrap_or(0.0)
    }
}
