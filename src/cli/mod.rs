//! Commands, settings, demo, generator.
pub mod settings;
pub mod topic_rules;
