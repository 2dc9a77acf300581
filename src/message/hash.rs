//! Eight-byte hashes of ids that state keeps in place of the ids.
//!
//! All three are XXH3 (64 bit, seed 0) of the UTF-8 bytes. They are written to the store and to the changelog, so they
//! are part of the state format: another function would be another format.

use xxhash_rust::xxh3::xxh3_64;

/// Hash of an `intent_id`, for repeated intents and for reports about a contact.
pub fn intent_hash(intent_id: &str) -> u64 {
    xxh3_64(intent_id.as_bytes())
}

/// Hash of an `event_id`, for repeated events.
pub fn event_hash(event_id: &str) -> u64 {
    xxh3_64(event_id.as_bytes())
}

/// Hash of an address, for the suppression list. The address is taken as it is written: nothing is folded or trimmed.
pub fn endpoint_hash(endpoint: &str) -> u64 {
    xxh3_64(endpoint.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_xxh3_with_seed_zero_as_published() {
        // The published digest of the empty input.
        assert_eq!(intent_hash(""), 0x2d06_8005_38d3_94c2);
        assert_eq!(intent_hash("a"), event_hash("a"));
        assert_eq!(intent_hash("a"), endpoint_hash("a"));
        assert_ne!(intent_hash("a"), intent_hash("A"));
    }
}
