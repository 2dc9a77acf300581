//! What the language has and this version does not: refused with a sentence, never ignored. An entry goes when its kind
//! comes.

/// Kinds of rules.
pub(super) const RULE_KINDS: &[&str] = &[
    "pressure",
    "back-off",
    "redundant",
    "sequence",
    "mix",
    "spend",
    "capacity",
    "holdout",
];
/// Keys of the file.
pub(super) const TOP_LEVEL: &[&str] = &["experiments", "include", "score"];
