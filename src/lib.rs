//! Forbear: an event-stream suppression processor. This page is the map for whoever works on it; the README is for whoever
//! uses it.
//!
//! # The way of the data
//!
//! The rooms stand in the order in which a record walks through them. Nothing flows backwards, and the rooms in the middle are
//! pure: no I/O, no clock, no client; `(state, input, now, policy)` in, `(state, effects)` out.
//!
//! ```text
//!  forbear.engagement ─┐                      ┌─ customer::apply (events) ─┐                       ┌─► approved.<channel>
//!  forbear.reroute ────┼─► intake ─► message ─┤                            ├─► verdict ─► commit ──┼─► suppressed.<channel>
//!  forbear.intents ────┘   bytes     decoded  └─ policy::judge (intents) ──┘    records     │      ├─► forbear.decisions
//!                                                                                           │      ├─► forbear.dead-letter
//!                                    ╰────────────────── pure ───────────────────────╯      ▼      └─► forbear.state
//!                                                                                   store: RocksDB, after the commit
//! ```
//!
//! | room | one sentence | touches |
//! |---|---|---|
//! | [`message`] | what stands on the inputs: intents and events, their decoders, the owner of a customer | pure |
//! | [`intake`] | bytes from Kafka: the group, the consumer, the ends of engagement | rdkafka |
//! | [`customer`] | what is known of one customer, how each event changes it, its bytes | pure |
//! | [`policy`] | file → check → compile; windows; one file for each rule kind; `judge` | pure |
//! | [`verdict`] | one step: an input and a customer become changed state and records | pure |
//! | [`commit`] | the transaction, the position marker, the changelog written and read | rdkafka |
//! | [`store`] | one RocksDB for each partition, its identity, the due index | rocksdb |
//! | [`task`] | one partition's life, the worker's loop, recovery, repair | all above |
//! | [`rehearsal`] | policy tests and explanations: timelines played through the processor's batch, over a store in memory | no I/O, no clock |
//! | [`audit`] | the promises recomputed from the topics, by code of its own; verdicts derived again | files for facts |
//! | [`serve`] | metrics, health, log: reads status, never drives | axum, prometheus |
//! | [`cli`] | commands, settings, demo, generator | all |
//!
//! To read the code, begin with `task/worker.rs` (`Worker::turn`), and follow one batch: `task/reading.rs`, `task/barrier.rs`,
//! `task/batch.rs`, `verdict/step.rs`, `commit/kafka.rs`, `task/closing.rs`; or `task/recovery.rs`, where it was not clean.
//! The interfaces to the world are three traits: [`intake::source::Source`], [`commit::log::Producer`] with
//! [`commit::log::Changelog`], and [`store::Store`]. Kafka and RocksDB implement them, and so do an in-memory log and store in
//! `tests/simulation`: the loop is the same code on both.
//!
//! # The unit of work
//!
//! A *task* is one partition number p of every input topic, with a database of its own. A *worker* is one thread that owns by
//! value a consumer, a transactional producer and its tasks. Workers share nothing on the hot path. The group hands out the
//! partitions of the first intents topic alone; partition p of every other input is added by hand, so that p of all inputs
//! always lies with one worker.
//!
//! # The commit protocol
//!
//! 1. Poll. What is read waits in the tasks' buffers; nothing is judged yet.
//! 2. Read the decision time, once for the batch. *After* that, ask the leaders for the ends of engagement and re-route.
//! 3. Apply engagement up to those ends: the consent barrier. Each partition has its own; where it cannot be reached, nothing
//!    is judged there, and the same ends (with the decision time before them) are waited for in the next batches.
//! 4. Judge what is due, then what arrived, against the store as it is. Everything stays in memory.
//! 5. Begin a transaction; write the outputs, the changed state to the changelog, and a marker for each task.
//! 6. Send the offsets of *every* task touched, those of timers too, so that each is fenced. Marker and offsets carry the same
//!    `seq` (+1 a transaction of the task) and the lineage.
//! 7. Commit. Until here nothing is true; from here all of it is.
//! 8. Write state and changelog position to the store, in one batch. Only now count the metrics.
//! 9. Anything but a clean commit: drop the batch *and the producer*, and recover every task of the worker.
//! 10. Recovery is also the start, and the only one: new producer (its start settles what was open), committed offsets, the
//!     changelog's tail up to its high watermark, marker against offsets, seek.
//!
//! # Invariants
//!
//! - A store is never ahead of the committed log. It may lag by any amount: the tail of the changelog brings it up.
//! - State is complete only if the marker's `seq` and lineage are those of the committed offsets. Whatever does not match is
//!   refused (`task/reconcile.rs`), never guessed.
//! - No transaction is open across a poll, so nothing is revoked in the middle of one.
//! - An arrival ends in exactly one of approved, suppressed, dead letter or the queue; what leaves the queue leaves it with
//!   exactly one terminal record. Each verdict has a decision record, and its id names the original record.
//! - The decision time of a partition never goes back, over restarts and moves: the marker remembers it.
//! - One policy a batch; its text is in `forbear.policies` before, or with, the first verdict that names it.
//! - No text of ours (error, log line, label) repeats what a record says.
//!
//! # When something fails
//!
//! | what | what happens |
//! |---|---|
//! | kill -9, power loss | the next holder recovers: the transaction that was open is aborted; the store replays the tail |
//! | a transactional call errs, times out or is unclear | new producer, every task of the worker recovers; the marker tells what was committed |
//! | the end of a transaction takes so long that the client may have asked twice | it counts; the next transaction has a new producer, whose epoch bars a first request that comes late |
//! | a right is missing on the cluster | nothing is judged and no record is blamed; tried again |
//! | a transactional call never returns | the watchdog ends the process with 75 |
//! | fenced (a second process of one name) | the older one exits with 75 |
//! | revoked in the middle of a batch | cannot happen: rebalances are answered between batches; a lost assignment drops buffers and tasks |
//! | a kill after a partition was given back and before it was handed on | nobody owns it until, 20 to 30 s later, a member joins anew because of it (`intake/membership.rs`) |
//! | a zombie wakes up | its commit is refused by member and generation; it recovers |
//! | the end of an engagement partition is not known, or not reached | engagement that was read is applied, nothing is judged in *that* partition; named in `/readyz` and the log after 3 s; the others neither wait nor lose room |
//! | an engagement position that retention has passed | the partition is blocked: an opt-out may be missing |
//! | an intents position that retention has passed | goes on behind it; logged and counted |
//! | a store that is corrupt, foreign, too old or ahead | set aside, rebuilt from the changelog, once; then blocked |
//! | marker and offsets disagree | rebuilt once; then blocked, and `forbear repair` is the way out |
//! | disk full | that store fails and is opened again until it works; nothing is judged for it |
//! | the log refuses a batch | batches are halved until one record is refused on its own, twice: that one becomes a dead letter |
//! | a panic in a step | what it was about becomes a dead letter: the record, or what waits for that customer; where even that panics, the partition is blocked |
//! | state of a later version | refused while it is replayed: the partition is blocked until that version runs |
//! | nothing happens in a partition for a day | its positions are committed again: the group's offsets would expire |
//! | the wall clock jumps more than 5 s | nothing is judged until it is set back or the process is restarted |
//! | a right on the cluster is missing | named at the start (topics: exit 1) or when it shows, in the log and in `/readyz`; judging stops, no record is blamed, and it is tried again |
//! | a hanging transaction | named in `/readyz` and in a metric; the partitions behind it wait, the others go on |
//! | the partition count changes | the process exits with 1; the marker refuses a later start |
//! | a bad policy | at the start: exit 1; on reload: the old one stays |
//!
//! # What is deliberately absent
//!
//! - Exactly once beyond Kafka. A sender that calls an outside service deduplicates on `forbear-decision-id`.
//! - Counters for each rule. Rules are evaluated over the exact ledger, so a new limit or window applies to the past at once.
//!   The exception is `capacity`, which no single customer's ledger can answer: its use is counted by partition
//!   (`customer/capacity.rs`), for as long as its window was when the count was made.
//! - Floating point in verdicts. Points, money and what decays are whole numbers (`policy/decay.rs`); only conditions and the
//!   order of competitors know decimals, as the messages bring them.
//! - File notifications. The policy's files are read each second and compared: that works for editors, mounted configuration maps
//!   and network file systems alike.
//! - A pool of restore threads. A restore runs on the worker's thread in bounded steps, between batches, so that the group is
//!   always served and the simulation can drive it.
//! - An open transaction that fills while records arrive. A batch is complete before its transaction begins: it is open for
//!   milliseconds, and readers of committed records are not held up.
//! - A cache of decoded customers, and write-behind. The store is written after each commit; measure before adding either.
//! - A scheduler. What is due is an index in the store, looked at once a batch; entries are hints, checked against the record.
//! - Standby replicas of the state. A partition that moves to a process without its store replays the changelog.
//!
//! # Known issues
//!
//! - One transaction covers all tasks of a worker: while a partition of an *output* topic (or of the state topic) has no leader,
//!   the tasks that share the worker with whoever writes there cannot commit either. Replication of the outputs is the answer;
//!   only the inputs are isolated partition by partition.
//! - Between several engagement topics there is no order within one batch: each topic's own order holds.
//! - librdkafka has no transaction protocol version 2 (KIP-890). See the row on it in the table above, and the README.
//! - The secret under which erased customer ids are hashed is the lineage of the partition, which stands in the state topic
//!   itself: who may read that topic can test whether an id was erased.
//! - `identity_merged` is a dead letter: merging two customers is not built yet.
//! - `forbear audit` puts batches together again from markers and changes. What is not recorded (the order between topics, how a
//!   batch was cut after a failure) it guesses, and where no guess fits it may call a right verdict underivable.

pub mod audit;
pub mod cli;
pub mod commit;
pub mod customer;
pub mod intake;
pub mod message;
pub mod policy;
pub mod rehearsal;
pub mod serve;
pub mod store;
pub mod task;
pub mod verdict;
