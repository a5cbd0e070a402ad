//! Which partition a key goes to: as Kafka's Java clients do, so that theirs and ours agree.

/// The partition of `key` among `partitions`, which is at least 1
/// (Apache Kafka 4.3, `BuiltInPartitioner.partitionForKey`).
#[must_use]
#[inline]
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    if partitions <= 1 { 0 } else { (murmur2(key) & 0x7fff_ffff) % partitions }
}

/// MurmurHash2 with Kafka's seed (Apache Kafka 4.3, `Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // The Java code's length is an int of 32 bits; keys are far shorter.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
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

    /// Apache Kafka 4.3, `UtilsTest.testMurmur2`.
    #[test]
    fn kafkas_own_cases_hold() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_partition_is_always_there() {
        for partitions in 1..20 {
            assert!(partition_of(b"key", partitions) < partitions);
        }
    }
}
