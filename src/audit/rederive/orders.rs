//! The orders between topics that a batch may have had.

use crate::intake::source::Record;
use std::collections::BTreeMap;

/// Orders that are tried for one customer, of each kind of input.
pub const ORDERS_AT_MOST: usize = 120;

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
