//! The README's table of rights, read: what the tests give to their users is what stands there.

use crate::harness::{Acl, Resource, TopicSet};
use std::path::Path;

/// One row: a command, and one right that it needs.
#[derive(Debug, Clone)]
pub struct Right {
    pub command: String,
    pub acl: Acl,
}

/// Every right of the table, in its order, with the default names of the settings.
pub fn table() -> Vec<Right> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(readme).expect("the README");
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| command | on | operations |"));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let rights: Vec<Right> = rows.flat_map(rights_of).collect();
    assert!(
        rights.len() > 30,
        "the README's table of rights has {} rights",
        rights.len()
    );
    rights
}

/// The rights of one command, for these names.
pub fn of(command: &str, topics: &TopicSet, group: &str) -> Vec<Acl> {
    let rights = table().into_iter().filter(|right| right.command == command);
    let acls: Vec<Acl> = rights.map(|right| named(right.acl, topics, group)).collect();
    assert!(!acls.is_empty(), "the README names no right for `forbear {command}`");
    acls
}

/// `| run | topics `a`, `b.*` | Read, Write | why |`
fn rights_of(row: &str) -> Vec<Right> {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    let [commands, on, operations, _] = cells[..] else {
        panic!("a row of another shape: {row}");
    };
    let (kind, _) = on.split_once(' ').unwrap_or_else(|| panic!("no resource in {row}"));
    let resource = match kind {
        "topics" => Resource::Topic,
        "group" => Resource::Group,
        "transactional" => Resource::TransactionalId,
        other => panic!("{other} is no resource: {row}"),
    };
    let mut rights = Vec::new();
    for command in quoted(commands) {
        for name in quoted(on) {
            for operation in operations.split(", ") {
                let acl = Acl {
                    resource,
                    name: name.trim_end_matches('*').to_owned(),
                    is_prefix: name.ends_with('*'),
                    operation: operation.to_owned(),
                };
                let command = command.to_owned();
                rights.push(Right { command, acl });
            }
        }
    }
    assert!(!rights.is_empty(), "nothing in {row}");
    rights
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The same right, on the names of a test.
fn named(acl: Acl, topics: &TopicSet, group: &str) -> Acl {
    let name = match (acl.resource, acl.name.as_str()) {
        (Resource::Topic, "forbear.intents") => topics.intents[0].clone(),
        (Resource::Topic, "forbear.engagement") => topics.engagement[0].clone(),
        (Resource::Topic, "forbear.reroute") => topics.reroute.clone(),
        (Resource::Topic, "forbear.state") => topics.state.clone(),
        (Resource::Topic, "forbear.decisions") => topics.decisions.clone(),
        (Resource::Topic, "forbear.dead-letter") => topics.dead_letter.clone(),
        (Resource::Topic, "forbear.policies") => topics.policies.clone(),
        // In the tests, the names of all topics begin with the name of the test.
        (Resource::Topic, "forbear.") => format!("{group}."),
        (Resource::Topic, "approved.") => topics.approved_prefix.clone(),
        (Resource::Topic, "suppressed.") => topics.suppressed_prefix.clone(),
        (Resource::Group, "forbear") => group.to_owned(),
        (Resource::TransactionalId, "forbear/") => format!("{group}/"),
        other => panic!("the README names what no settings have: {other:?}"),
    };
    Acl { name, ..acl }
}
