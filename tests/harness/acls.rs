//! Access rules of a cluster, made and taken away through librdkafka's own calls: the Rust client has none, and Kafka's tool
//! would start a Java process for each.

#![allow(unsafe_code)]

use rdkafka::admin::AdminClient;
use rdkafka::bindings as sys;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::types::RDKafkaRespErr;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

const TIMEOUT_MS: i32 = 30_000;
const APPLIED_WITHIN: Duration = Duration::from_secs(30);

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Topic,
    Group,
    TransactionalId,
}

/// One permission of one user, from any host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    pub resource: Resource,
    pub name: String,
    /// All that begins with the name.
    pub is_prefix: bool,
    /// As Kafka spells it: `Read`, `Write`, `Create`, `Describe`, `DescribeConfigs`.
    pub operation: String,
}

/// Gives these rights to a principal (`User:name`).
pub fn allow(settings: &ClientConfig, principal: &str, acls: &[Acl]) {
    let client: AdminClient<DefaultClientContext> = settings.create().expect("an admin client");
    let native = client.inner().native_ptr();
    let mut bindings: Vec<_> = acls.iter().map(|acl| binding(principal, acl)).collect();
    // SAFETY: the client outlives every call; bindings, queue and event are ours, and destroyed once each, after their last use.
    unsafe {
        let queue = sys::rd_kafka_queue_new(native);
        sys::rd_kafka_CreateAcls(native, bindings.as_mut_ptr(), bindings.len(), ptr::null(), queue);
        let event = sys::rd_kafka_queue_poll(queue, TIMEOUT_MS);
        check(event);
        let result = sys::rd_kafka_event_CreateAcls_result(event);
        let mut count = 0;
        let results = sys::rd_kafka_CreateAcls_result_acls(result, &mut count);
        assert_eq!(count, acls.len(), "an answer for each rule");
        for index in 0..count {
            check_error(sys::rd_kafka_acl_result_error(*results.add(index)));
        }
        sys::rd_kafka_event_destroy(event);
        sys::rd_kafka_queue_destroy(queue);
        for binding in bindings {
            sys::rd_kafka_AclBinding_destroy(binding);
        }
    }
    // The broker answers before it goes by what it was told; it goes by it in order.
    if let Some(last) = acls.last() {
        super::wait_until("the rights hold", APPLIED_WITHIN, || holds(native, principal, last));
    }
}

/// Takes one right away again.
pub fn take_away(settings: &ClientConfig, principal: &str, acl: &Acl) {
    let client: AdminClient<DefaultClientContext> = settings.create().expect("an admin client");
    let native = client.inner().native_ptr();
    let mut filter = binding(principal, acl);
    // SAFETY: as above. A binding and a filter are the same type; this one matches the rule that it would make, and no other.
    unsafe {
        let queue = sys::rd_kafka_queue_new(native);
        sys::rd_kafka_DeleteAcls(native, &mut filter, 1, ptr::null(), queue);
        let event = sys::rd_kafka_queue_poll(queue, TIMEOUT_MS);
        check(event);
        let result = sys::rd_kafka_event_DeleteAcls_result(event);
        let mut count = 0;
        let responses = sys::rd_kafka_DeleteAcls_result_responses(result, &mut count);
        for index in 0..count {
            check_error(sys::rd_kafka_DeleteAcls_result_response_error(*responses.add(index)));
        }
        sys::rd_kafka_event_destroy(event);
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AclBinding_destroy(filter);
    }
    super::wait_until("a right is gone", APPLIED_WITHIN, || !holds(native, principal, acl));
}

/// Whether the broker goes by that rule.
fn holds(native: *mut sys::rd_kafka_t, principal: &str, acl: &Acl) -> bool {
    let filter = binding(principal, acl);
    // SAFETY: as above.
    unsafe {
        let queue = sys::rd_kafka_queue_new(native);
        sys::rd_kafka_DescribeAcls(native, filter, ptr::null(), queue);
        let event = sys::rd_kafka_queue_poll(queue, TIMEOUT_MS);
        check(event);
        let mut count = 0;
        sys::rd_kafka_DescribeAcls_result_acls(sys::rd_kafka_event_DescribeAcls_result(event), &mut count);
        sys::rd_kafka_event_destroy(event);
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AclBinding_destroy(filter);
        count > 0
    }
}

fn binding(principal: &str, acl: &Acl) -> *mut sys::rd_kafka_AclBinding_t {
    use sys::rd_kafka_AclOperation_t as Operation;
    use sys::rd_kafka_ResourcePatternType_t as Pattern;
    use sys::rd_kafka_ResourceType_t as Type;
    let kind = match acl.resource {
        Resource::Topic => Type::RD_KAFKA_RESOURCE_TOPIC,
        Resource::Group => Type::RD_KAFKA_RESOURCE_GROUP,
        Resource::TransactionalId => Type::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
    };
    let pattern = match acl.is_prefix {
        true => Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
        false => Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
    };
    let operation = match acl.operation.as_str() {
        "Read" => Operation::RD_KAFKA_ACL_OPERATION_READ,
        "Write" => Operation::RD_KAFKA_ACL_OPERATION_WRITE,
        "Create" => Operation::RD_KAFKA_ACL_OPERATION_CREATE,
        "Describe" => Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE,
        "DescribeConfigs" => Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        other => panic!("{other} is no operation that is known here"),
    };
    let text = |text: &str| CString::new(text).expect("a text without zero bytes");
    let (name, principal, host) = (text(&acl.name), text(principal), text("*"));
    let mut error = [0 as c_char; 512];
    // SAFETY: the texts outlive the call, which copies them; `error` has the size that is told.
    let binding = unsafe {
        sys::rd_kafka_AclBinding_new(
            kind,
            name.as_ptr(),
            pattern,
            principal.as_ptr(),
            host.as_ptr(),
            operation,
            sys::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
            error.as_mut_ptr(),
            error.len(),
        )
    };
    assert!(!binding.is_null(), "{acl:?} is no rule");
    binding
}

/// # Safety
/// `event` is null or a live event.
unsafe fn check(event: *mut sys::rd_kafka_event_t) {
    assert!(!event.is_null(), "no answer about access rules");
    // SAFETY: not null, and live as the caller says.
    let error = unsafe { sys::rd_kafka_event_error(event) };
    assert_eq!(error, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
}

/// # Safety
/// `error` is null or a live error.
unsafe fn check_error(error: *const sys::rd_kafka_error_t) {
    if !error.is_null() {
        // SAFETY: not null, and live as the caller says; the text lives as long.
        let text = unsafe { CStr::from_ptr(sys::rd_kafka_error_string(error)) };
        panic!("an access rule was refused: {}", text.to_string_lossy());
    }
}
