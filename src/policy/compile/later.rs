//! What the language has and this version does not: refused with a sentence, never ignored. An entry goes when its part
//! comes.

/// Keys of the file.
pub(super) const TOP_LEVEL: &[&str] = &["score"];
