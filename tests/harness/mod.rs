//! Test support: a real Kafka broker, the real binary, and what one needs to watch them.
//!
//! An integration test writes `mod harness;` and begins with [`require_broker!`] where it needs a broker. The parts:
//! [`Broker`] (ordinary Java processes on loopback ports, to be killed and restarted), [`KafkaClient`] (topics, records,
//! offsets), [`Process`] (the `forbear` binary with generated settings), [`wait_until`] and [`http::get`].
//!
//! Invariants: everything listens on 127.0.0.1 only; every child ends with the test binary, however that ends (see
//! [`os::spawn`]); files live in one folder per test binary under Cargo's temporary folder, and are swept by a later run.
//! Everything that can go wrong panics with a sentence that says what was expected: this is test code.

// Every test binary compiles this module for itself and uses a part of it.
#![allow(dead_code, unused_imports, unused_macros)]

pub mod acls;
pub mod broker;
pub mod client;
pub mod http;
pub mod installation;
pub mod os;
pub mod process;
pub mod secured;

pub use acls::{Acl, Resource};
pub use broker::{Broker, BrokerOptions, TransactionVersion};
pub use client::{Committed, KafkaClient, Outgoing, Partitioner, ReadRecord, TopicSpec};
pub use http::{Metrics, Response};
pub use process::{Launch, Process, TopicSet};
pub use secured::SecuredBroker;

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often [`wait_until`] looks.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The environment variable that turns a missing broker into a failure.
const REQUIRE_BROKER: &str = "FORBEAR_REQUIRE_BROKER";

/// Polls until the closure answers with a value, and returns it. Panics with `what` in the sentence when it does not.
pub fn wait_for<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(
            start.elapsed() < timeout,
            "waited {} s in vain until {what}",
            timeout.as_secs()
        );
        thread::sleep(POLL_INTERVAL);
    }
}

/// Polls until the closure says yes. Panics with `what` in the sentence when it does not.
pub fn wait_until(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) {
    wait_for(what, timeout, || holds().then_some(()));
}

/// A name that no other test uses, in this binary or in one that runs beside it: for topics, groups, identities.
pub fn unique_name(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether a test that needs a broker can run. Says so past the capture of the test runner when it cannot, so that a run
/// without a broker never looks like one with it; panics where a broker is required.
pub fn broker_is_there(test: &str) -> bool {
    let Err(why) = Broker::available() else { return true };
    let required = std::env::var(REQUIRE_BROKER).is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    assert!(!required, "{REQUIRE_BROKER} is set and there is no Kafka broker: {why}");
    // The print macros are captured for tests that pass; the stream itself is not.
    let _ = writeln!(std::io::stderr(), "SKIPPED: no Kafka broker ({why}): {test}");
    false
}

/// Returns from the test, after one line that says so, where no broker can be started; fails it where
/// `FORBEAR_REQUIRE_BROKER=1`.
#[macro_export]
macro_rules! require_broker {
    () => {
        if !$crate::harness::broker_is_there(std::thread::current().name().unwrap_or("a test")) {
            return;
        }
    };
}
