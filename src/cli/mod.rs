//! Commands, settings, demo, generator.

pub mod policy;
