//! Which partition a device's records go to: Kafka's own default for keyed records, so that a record written by any
//! Kafka client with the same key lands beside ours.
//!
//! Both backends use it; it knows no log.

/// The partition of `key` among `num_partitions`: `toPositive(murmur2(key)) % num_partitions`, as the Java client does.
///
/// # Panics
/// If there is no partition.
pub fn partition_for(key: &[u8], num_partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % num_partitions
}

/// Kafka's variant of MurmurHash2: 32 bits, seed `0x9747b28c`, little-endian words.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    let (words, rest) = data.as_chunks::<4>();
    // The length is mixed in as 32 bits, as in the original.
    let mut hash = SEED ^ data.len() as u32;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (position, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * position);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of `UtilsTest.testMurmur2` in Kafka's own sources.
    #[test]
    fn test_murmur2_agrees_with_kafka() {
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, expected) in vectors {
            assert_eq!(murmur2(key.as_bytes()) as i32, expected, "{key}");
        }
    }

    #[test]
    fn test_partition_is_positive_and_in_range() {
        assert_eq!(partition_for(b"21", 8), ((-973_932_308_i32) as u32 & 0x7fff_ffff) % 8);
        for device in 0..1_000u32 {
            assert!(partition_for(&device.to_le_bytes(), 7) < 7);
        }
    }
}
