//! The policy file as text: YAML into a tree in which every node knows where it stands, readers for the small values
//! (durations, dates, hours), and findings that point at the line and say what was expected.
//!
//! Nothing here knows what a rule means; `policy::compile` does. A file is hostile until proven otherwise: size, depth,
//! number of nodes, aliases and the number of findings are bounded.

pub mod diagnostic;
pub mod document;
pub mod emit;
pub mod fields;
mod hints;
pub mod render;
pub mod scalar;
pub mod sources;
mod syntax;
pub mod tree;

pub use diagnostic::{Diagnostic, Diagnostics, Findings, Severity, Span};
pub use document::Document;
pub use fields::Fields;
pub use sources::Sources;
pub use tree::{Entry, Node, Value, parse};
