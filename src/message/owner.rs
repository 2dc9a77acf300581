//! Which partition owns a customer: the one that Kafka's Java producer would choose for the customer id as the key.
//!
//! Producers hash differently (librdkafka's default is CRC32), so the owner is computed here from the body's
//! `customer_id`; a record that lies elsewhere is a stray. The function is fixed for ever: with another one every ledger
//! would lie on another partition.

/// Seed of the Java client's murmur2.
const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;
const ROTATION: u32 = 24;

/// The partition that owns the customer: `(murmur2(customer_id) & 0x7fffffff) % partition_count`.
///
/// `partition_count` is at least 1; a smaller one is taken as 1.
pub fn owner(customer_id: &str, partition_count: i32) -> i32 {
    (murmur2(customer_id.as_bytes()) & i32::MAX) % partition_count.max(1)
}

/// Murmur2 as Kafka's Java client computes it.
pub fn murmur2(bytes: &[u8]) -> i32 {
    // The client mixes in the length as a 32-bit integer.
    let mut hash = SEED ^ (bytes.len() as u32);
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        let mut word = u32::from_le_bytes(*block).wrapping_mul(MULTIPLIER);
        word ^= word >> ROTATION;
        hash = hash.wrapping_mul(MULTIPLIER) ^ word.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^= hash >> 15;
    hash as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn murmur2_agrees_with_the_test_vectors_of_the_java_client() {
        let vectors = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, expected) in vectors {
            assert_eq!(murmur2(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn the_owner_of_a_negative_hash_drops_its_sign_bit() {
        assert_eq!(owner("21", 12), (-973_932_308 & 0x7fff_ffff) % 12);
        assert_eq!(owner("abc", 12), 479_470_107 % 12);
    }

    proptest! {
        #[test]
        fn the_owner_is_always_one_of_the_partitions(id in ".{0,40}", count in 1..5000i32) {
            prop_assert!((0..count).contains(&owner(&id, count)));
        }
    }
}
