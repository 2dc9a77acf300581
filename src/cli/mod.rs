//! Commands, settings, demo, generator.
