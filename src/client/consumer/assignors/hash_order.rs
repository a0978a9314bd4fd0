//! The order in which Java's `HashMap` and `HashSet` go through their keys, which the sticky assignor's results depend on.

use crate::common::topic_partition::TopicPartition;

/// Java's `hashCode` of a key.
pub(super) trait JavaHash {
    fn java_hash(&self) -> i32;
}

impl JavaHash for str {
    fn java_hash(&self) -> i32 {
        self.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
    }
}

impl JavaHash for TopicPartition {
    fn java_hash(&self) -> i32 {
        (31 + self.partition).wrapping_mul(31).wrapping_add(self.topic.java_hash())
    }
}

/// The table size of a map that was made without one and has held `len` keys.
pub(super) fn capacity(len: usize) -> usize {
    let mut capacity = 16;
    while len * 4 > capacity * 3 {
        capacity *= 2;
    }
    capacity
}

/// Where in a table of this size a key's bucket is.
pub(super) fn bucket<K: JavaHash + ?Sized>(key: &K, capacity: usize) -> usize {
    let hash = key.java_hash() as u32;
    (hash ^ (hash >> 16)) as usize & (capacity - 1)
}

/// Sorts keys that stand in the order of their insertion as a map goes through them.
pub(super) fn sort_as_map<T, K: JavaHash + ?Sized>(items: &mut [T], key: impl Fn(&T) -> &K) {
    let capacity = capacity(items.len());
    items.sort_by_key(|item| bucket(key(item), capacity));
}
