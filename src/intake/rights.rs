//! What the Kafka user of a client may do with topics, as the brokers tell it: so that a right that is missing is named before
//! anything is judged, and not found out by a transaction that fails. Raw calls, because the Rust client has none for it.
//!
//! A broker without authorizer answers that everything is allowed. One that is too old to be asked answers nothing, and then
//! nothing is known: a missing right is found out by what fails.

#![allow(unsafe_code)]

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaRespErr;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::time::Duration;

/// An operation of Kafka's access rules, as far as Forbear needs it on topics. Read and Write contain Describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Read,
    Write,
    Describe,
    DescribeConfigs,
}

/// What a user may do with a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// Not even see it: it may not exist.
    Hidden,
    Told(BTreeSet<Operation>),
}

impl Rights {
    /// Which of these are missing for certain. Of a hidden topic nobody knows whether its settings might be read.
    pub fn lack(&self, wanted: &[Operation]) -> Vec<Operation> {
        let is_missing = |operation: &&Operation| match self {
            Rights::Hidden => **operation != Operation::DescribeConfigs,
            Rights::Told(allowed) => !allowed.contains(operation),
        };
        wanted.iter().filter(is_missing).copied().collect()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// The sentence about a right that is missing: `what` is a topic, a group or a transactional id, by its name.
pub fn no_right(operations: &[Operation], what: &str) -> String {
    let operations: Vec<String> = operations.iter().map(Operation::to_string).collect();
    format!("this Kafka user has no right to {} on {what}", operations.join(", "))
}

/// The rights on each of these topics; the ones of which nothing is told are left out. Waits at most so long.
pub fn of_topics<C: ClientContext>(client: &Client<C>, topics: &[&str], wait: Duration) -> BTreeMap<String, Rights> {
    let names: Vec<CString> = topics.iter().filter_map(|name| CString::new(*name).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let native = client.native_ptr();
    // SAFETY: the handle is live while `client` is borrowed, and admin calls may be made on any client from any thread. The names
    // outlive the call that copies them. Options, collection, queue and event are ours: each is destroyed once, after its last use.
    unsafe {
        let options =
            sys::rd_kafka_AdminOptions_new(native, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let mut text = [0 as c_char; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, text.as_mut_ptr(), text.len());
        let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
        if !refused.is_null() {
            sys::rd_kafka_error_destroy(refused);
        }
        let collection = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let queue = sys::rd_kafka_queue_new(native);
        sys::rd_kafka_DescribeTopics(native, collection, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, wait_ms);
        let rights = answers(event);
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_TopicCollection_destroy(collection);
        sys::rd_kafka_AdminOptions_destroy(options);
        rights
    }
}

/// # Safety
/// `event` is null or live.
unsafe fn answers(event: *mut sys::rd_kafka_event_t) -> BTreeMap<String, Rights> {
    let mut rights = BTreeMap::new();
    // SAFETY: what the event answers lives as long as the event, and is read here only; `count` is the length of the array.
    unsafe {
        if event.is_null() || sys::rd_kafka_event_error(event) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return rights;
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return rights;
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for index in 0..count {
            let topic = *topics.add(index);
            let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic));
            if let Some(of_topic) = of_description(topic) {
                rights.insert(name.to_string_lossy().into_owned(), of_topic);
            }
        }
    }
    rights
}

/// # Safety
/// `topic` is live.
unsafe fn of_description(topic: *const sys::rd_kafka_TopicDescription_t) -> Option<Rights> {
    use sys::rd_kafka_AclOperation_t as Acl;
    // SAFETY: as above; a null array has the length 0.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            return match sys::rd_kafka_error_code(error) {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => None,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => Some(Rights::Hidden),
                _ => None,
            };
        }
        let mut count = 0;
        let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        if operations.is_null() {
            return None;
        }
        let allowed = (0..count).filter_map(|index| match *operations.add(index) {
            Acl::RD_KAFKA_ACL_OPERATION_READ => Some(Operation::Read),
            Acl::RD_KAFKA_ACL_OPERATION_WRITE => Some(Operation::Write),
            Acl::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Operation::Describe),
            Acl::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(Operation::DescribeConfigs),
            _ => None,
        });
        Some(Rights::Told(allowed.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_what_was_told_or_cannot_be_seen() {
        let told = Rights::Told(BTreeSet::from([Operation::Read, Operation::Describe]));
        let wanted = [Operation::Read, Operation::Write, Operation::DescribeConfigs];
        assert_eq!(told.lack(&wanted), [Operation::Write, Operation::DescribeConfigs]);
        assert_eq!(Rights::Hidden.lack(&wanted), [Operation::Read, Operation::Write]);
        assert_eq!(
            no_right(&told.lack(&wanted), "the topic approved.email"),
            "this Kafka user has no right to Write, DescribeConfigs on the topic approved.email"
        );
    }
}
