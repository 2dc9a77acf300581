//! The raw calls that end a transaction: the only `unsafe` code of `commit`.
//!
//! Why: the Rust client's `commit_transaction` flushes first in steps of 100 ms, a floor under every commit; librdkafka's own call flushes by
//! itself and answers as soon as the broker does (2–6 ms on loopback). A delivery-report thread has to run meanwhile.

#![allow(unsafe_code)]

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::CStr;
use std::time::Duration;

/// What librdkafka says of a transactional call that failed.
#[derive(Debug, Clone)]
pub struct RawError {
    /// The error's code.
    pub code: RDKafkaErrorCode,
    /// The error in words.
    pub text: String,
    /// The producer can do nothing any more.
    pub fatal: bool,
    /// The same call may be made again.
    pub retriable: bool,
    /// The transaction can only be aborted.
    pub requires_abort: bool,
}

/// Waits until everything that was handed over has been written or has failed, at most so long. Whether it was, the commit tells.
pub fn flush<C: ClientContext>(client: &Client<C>, wait: Duration) {
    let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle is live while `client` is borrowed, and the call may be made from any thread.
    unsafe {
        sys::rd_kafka_flush(client.native_ptr(), wait_ms);
    }
}

/// Commits the open transaction of a producer. (A client that has none is told so by librdkafka, as an error.)
pub fn commit_transaction<C: ClientContext>(client: &Client<C>, wait: Duration) -> Result<(), RawError> {
    let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle is live while `client` is borrowed, and the call may be made from any thread; the error, if any,
    // is ours to read and to destroy, once.
    unsafe {
        let error = sys::rd_kafka_commit_transaction(client.native_ptr(), wait_ms);
        if error.is_null() {
            return Ok(());
        }
        let answer = RawError {
            code: sys::rd_kafka_error_code(error).into(),
            text: CStr::from_ptr(sys::rd_kafka_error_string(error))
                .to_string_lossy()
                .into_owned(),
            fatal: sys::rd_kafka_error_is_fatal(error) != 0,
            retriable: sys::rd_kafka_error_is_retriable(error) != 0,
            requires_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(answer)
    }
}
