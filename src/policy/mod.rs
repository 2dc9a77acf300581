//! The policy: file → check → compile; windows; one file for each rule kind; `judge`. Pure.

pub mod compile;
pub mod condition;
pub mod decay;
pub mod diff;
pub mod facts;
pub mod file;
pub mod index;
pub mod judge;
pub mod judgement;
pub mod lint;
pub mod model;
pub mod order;
pub mod rules;
pub mod schema;
pub mod selector;
pub mod window;
