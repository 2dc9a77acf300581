//! What the access rules of the cluster do not allow a transaction, in words.

use crate::commit::log::Transaction;
use crate::intake::rights::{self, Operation, no_right};
use crate::intake::source::Inputs;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for the rights on the topics of a transaction that is not allowed.
const RIGHTS_WITHIN: Duration = Duration::from_secs(2);

/// Whether an error says that a right is missing.
pub(super) fn is_forbidden(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

/// Which rights on topics the transaction needs and this user does not have; what the client said, where the brokers do not tell.
pub(super) fn missing_rights<C: ClientContext>(
    client: &Client<C>,
    inputs: &Inputs,
    transaction: &Transaction,
    said: String,
) -> String {
    let written = transaction
        .records
        .iter()
        .map(|record| (&*record.topic, Operation::Write));
    let committed = transaction.offsets.iter().map(|offset| {
        let (name, _) = &inputs.topics[usize::from(offset.topic)];
        (&**name, Operation::Read)
    });
    let mut wanted: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for (topic, operation) in written.chain(committed) {
        let operations = wanted.entry(topic).or_default();
        if !operations.contains(&operation) {
            operations.push(operation);
        }
    }
    let topics: Vec<&str> = wanted.keys().copied().collect();
    let rights = rights::of_topics(client, &topics, RIGHTS_WITHIN);
    let missing = wanted.iter().filter_map(|(topic, wanted)| {
        let lacks = rights.get(*topic)?.lack(wanted);
        (!lacks.is_empty()).then(|| no_right(&lacks, &format!("the topic {topic}")))
    });
    let missing: Vec<String> = missing.collect();
    match missing.is_empty() {
        true => said,
        false => missing.join("; "),
    }
}

/// The right that is missing on a group.
pub(super) fn no_group(group_id: &str) -> String {
    no_right(&[Operation::Read], &format!("the group {group_id}"))
}

/// The right that is missing on a transactional id.
pub(super) fn no_identity(transactional_id: &str) -> String {
    no_right(&[Operation::Write], &format!("the transactional id {transactional_id}"))
}
