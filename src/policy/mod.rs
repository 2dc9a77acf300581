//! The policy: file → check → compile; windows; one file for each rule kind; `judge`. Pure.

pub mod judgement;
pub mod model;
