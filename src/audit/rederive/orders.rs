//! The orders between topics that a batch may have had, and what shows that they matter.

use crate::commit::log::Outgoing;
use crate::intake::source::Record;
use std::collections::BTreeMap;

/// Orders that are tried for one customer, of each kind of input.
pub const ORDERS_AT_MOST: usize = 120;

/// In a decision record that tells of a capacity that blocked.
const CAPACITY_BLOCK: &[u8] = br#""reason":"capacity""#;

/// The decision tells of a capacity that blocked.
pub fn is_blocked_by_capacity(record: &Outgoing) -> bool {
    let value = record.value.as_deref().unwrap_or_default();
    value.windows(CAPACITY_BLOCK.len()).any(|part| part == CAPACITY_BLOCK)
}

/// The record is about that customer, by its key.
pub fn is_of(record: &Outgoing, customer: &str) -> bool {
    record.key.as_deref() == Some(customer.as_bytes())
}

/// Orders in which records of several topics may have been read, the order of each topic kept; and whether they are all.
pub fn orders(records: &[Record]) -> (Vec<Vec<Record>>, bool) {
    let mut topics: BTreeMap<u16, Vec<&Record>> = BTreeMap::new();
    for record in records {
        topics.entry(record.topic).or_default().push(record);
    }
    let topics: Vec<Vec<&Record>> = topics.into_values().collect();
    let mut found = Vec::new();
    let is_complete = merge(&topics, &mut vec![0; topics.len()], &mut Vec::new(), &mut found);
    (found, is_complete)
}

fn merge<'r>(
    topics: &[Vec<&'r Record>],
    taken: &mut Vec<usize>,
    order: &mut Vec<&'r Record>,
    found: &mut Vec<Vec<Record>>,
) -> bool {
    if found.len() >= ORDERS_AT_MOST {
        return false;
    }
    let mut is_over = true;
    let mut is_complete = true;
    for index in 0..topics.len() {
        if let Some(record) = topics[index].get(taken[index]) {
            is_over = false;
            taken[index] += 1;
            order.push(record);
            is_complete &= merge(topics, taken, order, found);
            order.pop();
            taken[index] -= 1;
        }
    }
    if is_over {
        found.push(order.iter().map(|record| (*record).clone()).collect());
    }
    is_complete
}

/// Every one with every other.
pub fn pairs<'r, A, B>(left: &'r [A], right: &'r [B]) -> impl Iterator<Item = (&'r A, &'r B)> {
    left.iter()
        .flat_map(move |left| right.iter().map(move |right| (left, right)))
}
