//! Java's hash of a string: Kafka places groups by it, and breaks ties between assignors by it.

/// `String.hashCode`: over UTF-16 units, in wrapping 32-bit arithmetic.
pub fn hash_code(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// Where a `HashMap` of Java's default size keeps this key: the order in which it is iterated.
pub fn bucket(text: &str) -> u32 {
    let hash = hash_code(text) as u32;
    (hash ^ (hash >> 16)) & 15
}

/// The partition of `__consumer_offsets` (or of another coordinator's topic) that owns `key`.
pub fn partition_for(key: &str, partitions: i32) -> i32 {
    // Kafka's Utils.abs maps the one number without a positive counterpart to 0.
    hash_code(key).checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_live_where_kafka_puts_them() {
        for (group, partition) in [("g1", 42), ("my-group", 12), ("console-consumer-1", 24), ("kr-txn", 44)] {
            assert_eq!(partition_for(group, 50), partition, "{group}");
        }
    }

    #[test]
    fn hashes_are_javas() {
        assert_eq!(hash_code(""), 0);
        assert_eq!(hash_code("hello"), 99_162_322);
        assert_eq!(hash_code("é😀"), "é😀".encode_utf16().fold(0i32, |h, u| h.wrapping_mul(31).wrapping_add(i32::from(u))));
        // The text whose hash is the smallest number.
        assert_eq!(hash_code("polygenelubricants"), i32::MIN);
        assert_eq!(partition_for("polygenelubricants", 50), 0);
    }
}
