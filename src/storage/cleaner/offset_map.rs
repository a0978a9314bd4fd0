//! Of each key the last offset, in a memory that is bounded. Source: `SkimpyOffsetMap`.
//!
//! Keys are known by 128 bits of two secret hashes, so an entry has 24 bytes however long its key is. The table is cut into parts that grow
//! one by one: a small log takes little memory, and growth never needs a second copy of everything.
//!
//! Invariant: what was put is found until the map is dropped; nothing is ever evicted.

use std::hash::{BuildHasher, RandomState};

const PARTS: usize = 256;
const ENTRY_BYTES: u64 = 24;
const SMALLEST_PART: usize = 8;

/// Hash, and the offset plus one (0: free).
type Slot = [u64; 3];

#[derive(Default)]
struct Part {
    slots: Vec<Slot>,
    len: usize,
}

impl Part {
    /// Where the entry is, or where it would go. The part has a free slot.
    fn place(&self, hash: (u64, u64)) -> usize {
        let mut n = ((u128::from(hash.1) * self.slots.len() as u128) >> 64) as usize;
        while self.slots[n][2] != 0 && (self.slots[n][0], self.slots[n][1]) != hash {
            n = if n + 1 == self.slots.len() { 0 } else { n + 1 };
        }
        n
    }

    /// True when the key is new.
    fn put(&mut self, hash: (u64, u64), offset: i64, limit: usize) -> bool {
        // At most nine of ten slots are taken.
        if (self.len + 1) * 10 > self.slots.len() * 9 {
            self.grow(limit);
        }
        let place = self.place(hash);
        let is_new = self.slots[place][2] == 0;
        self.slots[place] = [hash.0, hash.1, offset as u64 + 1];
        self.len += usize::from(is_new);
        is_new
    }

    fn grow(&mut self, limit: usize) {
        let now = self.slots.len();
        let half_more = (now + now / 2).max(SMALLEST_PART);
        // Beyond its share a part grows by little steps: chance has given it more keys than others.
        let wanted = if half_more <= limit { half_more } else { limit.max(now + now / 8 + 1) };
        let old = std::mem::replace(&mut self.slots, vec![[0; 3]; wanted]);
        for slot in old.into_iter().filter(|slot| slot[2] != 0) {
            let place = self.place((slot[0], slot[1]));
            self.slots[place] = slot;
        }
    }

    fn get(&self, hash: (u64, u64)) -> Option<i64> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = &self.slots[self.place(hash)];
        (slot[2] != 0).then(|| slot[2] as i64 - 1)
    }
}

/// Last offsets by key.
pub(super) struct OffsetMap {
    hashers: (RandomState, RandomState),
    parts: Vec<Part>,
    part_limit: usize,
    len: usize,
    max_len: usize,
    /// Every record up to here was looked at, none beyond; -1 at first.
    latest_offset: i64,
}

impl OffsetMap {
    /// A map for about `memory_bytes`, full when `load_factor` of its entries are taken.
    pub(super) fn new(memory_bytes: u64, load_factor: f64) -> OffsetMap {
        let slots = (memory_bytes / ENTRY_BYTES).max(1);
        OffsetMap {
            hashers: (RandomState::new(), RandomState::new()),
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            part_limit: (slots as usize / PARTS).max(SMALLEST_PART),
            len: 0,
            max_len: ((slots as f64 * load_factor.clamp(0.01, 1.0)) as usize).max(1),
            latest_offset: -1,
        }
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    pub(super) fn put(&mut self, key: &[u8], offset: i64) {
        let hash = self.hash(key);
        self.len += usize::from(self.parts[(hash.0 >> 56) as usize].put(hash, offset, self.part_limit));
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<i64> {
        let hash = self.hash(key);
        self.parts[(hash.0 >> 56) as usize].get(hash)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Could `more` further keys be too many?
    pub(super) fn is_full_with(&self, more: usize) -> bool {
        self.len + more > self.max_len
    }

    pub(super) fn latest_offset(&self) -> i64 {
        self.latest_offset
    }

    pub(super) fn set_latest_offset(&mut self, offset: i64) {
        self.latest_offset = self.latest_offset.max(offset);
    }

    /// Taken entries of those that may be, 0 to 1.
    pub(super) fn utilization(&self) -> f64 {
        self.len as f64 / self.max_len as f64
    }

    #[cfg(test)]
    fn memory_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.slots.len() as u64 * ENTRY_BYTES).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_each_key_is_found() {
        let mut map = OffsetMap::new(1 << 20, 0.9);
        for n in 0..30_000i64 {
            map.put(format!("key {}", n % 10_000).as_bytes(), n);
        }
        assert_eq!(map.len, 10_000);
        for n in 0..10_000 {
            assert_eq!(map.get(format!("key {n}").as_bytes()), Some(20_000 + n));
        }
        assert_eq!(map.get(b"unknown"), None);
    }

    #[test]
    fn offset_zero_and_an_empty_key_are_entries() {
        let mut map = OffsetMap::new(1 << 20, 0.9);
        map.put(b"", 0);
        assert_eq!((map.get(b""), map.get(b"x")), (Some(0), None));
    }

    #[test]
    fn memory_stays_within_the_budget_when_full() {
        for budget in [40_000, 1 << 20, 5 << 20] {
            let mut map = OffsetMap::new(budget, 0.9);
            let mut n = 0i64;
            while !map.is_full_with(1) {
                map.put(&n.to_be_bytes(), n);
                n += 1;
            }
            assert!(n as u64 >= budget / ENTRY_BYTES * 8 / 10, "{n} keys in {budget} bytes");
            assert!(map.memory_bytes() <= budget * 5 / 4 + 50_000, "{} of {budget}", map.memory_bytes());
        }
    }

    #[test]
    fn a_small_map_takes_little_memory() {
        let mut map = OffsetMap::new(128 << 20, 0.9);
        for n in 0..1000i64 {
            map.put(&n.to_be_bytes(), n);
        }
        assert!(map.memory_bytes() < 100_000, "{}", map.memory_bytes());
    }
}
