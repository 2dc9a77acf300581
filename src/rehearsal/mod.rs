//! Policy tests and explanations: timelines played through the processor's own batch ([`crate::task::batch::prepare`]) over a
//! store in memory. No I/O and no clock: time is what the timeline says.
//!
//! | part | holds |
//! |---|---|
//! | [`stage`] | a processor in miniature: one partition, one policy at a time, a clock that is told |
//! | [`script`] | what a test says: customer, steps, expectations; read from YAML, with places |
//! | [`words`] | the fields of intents and events as YAML, made into the JSON that stands on the topics |
//! | [`play`] | a test on a stage, and what differed |
//! | [`compare`] | what was expected beside what came |
//! | [`explained`] | one verdict, for `policy explain` |
//! | [`working`] | every rule's working, as a table and as a sentence |
//! | [`report`] | results for people, for programs and for build servers |
//!
//! How a timeline is played. Steps go in the order of their time. Before each instant, whatever is due earlier is judged at the
//! instant at which it is due, as a processor does that is never late. At one instant contacts come first, then events, then what
//! waits and is due, then intents in the order in which they are written, each as an arrival of its own. A `policy` or `tick` at
//! that instant takes its turn where it is written.

pub mod compare;
pub mod explained;
pub mod play;
pub mod report;
pub mod script;
pub mod stage;
pub mod words;
pub mod working;

#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;

pub use play::{Failure, Played, play};
pub use script::{Test, read_tests};
