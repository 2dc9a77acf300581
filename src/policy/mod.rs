//! The policy: file → check → compile; windows; one file for each rule kind; `judge`. Pure.

pub mod compile;
pub mod condition;
pub mod file;
pub mod judgement;
pub mod model;
pub mod rules;
pub mod selector;
pub mod window;
