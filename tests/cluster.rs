//! Processes of the real binary on a real Kafka, with faults: kill -9, frozen and fenced processes, a broker that dies, lost
//! and stale state, bad records, policies that change. Every test ends at rest: lag 0, every partition running, nothing
//! deferred, and the promises recomputed from the topics alone.

#[path = "cluster/audit.rs"]
mod audit;
#[path = "cluster/audit_command.rs"]
mod audit_command;
#[path = "auditor/mod.rs"]
mod auditor;
#[path = "cluster/changes.rs"]
mod changes;
#[path = "cluster/crashes.rs"]
mod crashes;
#[path = "cluster/disk.rs"]
mod disk;
#[path = "cluster/endings.rs"]
mod endings;
#[path = "cluster/groups.rs"]
mod groups;
mod harness;
#[path = "cluster/leaders.rs"]
mod leaders;
#[path = "cluster/load.rs"]
mod load;
#[path = "cluster/member.rs"]
mod member;
#[path = "cluster/operation.rs"]
mod operation;
#[path = "cluster/policies.rs"]
mod policies;
#[path = "cluster/privacy.rs"]
mod privacy;
#[path = "cluster/records.rs"]
mod records;
#[path = "cluster/scene.rs"]
mod scene;
#[path = "cluster/small_disk.rs"]
mod small_disk;
