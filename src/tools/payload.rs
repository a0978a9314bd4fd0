//! What the benchmarks send: the same bytes as Kafka's tools, which draw them from Java's generators with the seed 0.
//!
//! Invariant: equal calls make equal sequences. Source: `java.util.SplittableRandom`, `java.util.Random`, `ProducerPerformance`.

/// Java's `SplittableRandom`.
#[derive(Clone, Debug)]
pub(crate) struct SplittableRandom {
    seed: u64,
}

impl SplittableRandom {
    pub(crate) fn new(seed: u64) -> SplittableRandom {
        SplittableRandom { seed }
    }

    fn next_u32(&mut self) -> u32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 33)).wrapping_mul(0x62a9_d9ed_7997_05f5);
        ((z ^ (z >> 28)).wrapping_mul(0xcb24_d0a5_c88c_35b3) >> 32) as u32
    }

    /// A number in `0..bound`; `bound` is 1 at least and 2^31 at most.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        if bound.is_power_of_two() {
            return self.next_u32() & (bound - 1);
        }
        loop {
            let drawn = self.next_u32() >> 1;
            let number = drawn % bound;
            // The last, incomplete run of `bound` numbers below 2^31 would favour the small ones.
            if drawn - number <= (1 << 31) - bound {
                return number;
            }
        }
    }

    /// Fills `bytes` with capital letters.
    pub(crate) fn letters(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = b'A' + self.below(26) as u8;
        }
    }
}

/// Java's `java.util.Random`.
#[derive(Clone, Debug)]
pub(crate) struct JavaRandom {
    seed: u64,
}

impl JavaRandom {
    const MULTIPLIER: u64 = 0x5_deec_e66d;
    const MASK: u64 = (1 << 48) - 1;

    pub(crate) fn new(seed: u64) -> JavaRandom {
        JavaRandom { seed: (seed ^ JavaRandom::MULTIPLIER) & JavaRandom::MASK }
    }

    /// A capital letter.
    fn letter(&mut self) -> u8 {
        loop {
            self.seed = self.seed.wrapping_mul(JavaRandom::MULTIPLIER).wrapping_add(0xb) & JavaRandom::MASK;
            let drawn = (self.seed >> 17) as u32;
            let number = drawn % 26;
            if drawn - number <= (1 << 31) - 26 {
                return b'A' + number as u8;
            }
        }
    }

    /// So many times one letter, which is how `EndToEndLatency` makes its payloads.
    pub(crate) fn one_letter(&mut self, len: usize) -> Vec<u8> {
        vec![self.letter(); len]
    }
}

/// Random letters as records of one size.
///
/// To draw each byte costs more than all else that is done for a record, so after [`Letters::POOL`] bytes the records come again in the same
/// order: far more than any batch holds, so that compression finds as little as in fresh ones.
pub(crate) struct Letters {
    random: SplittableRandom,
    size: usize,
    records: Vec<u8>,
    /// How many different records there are to be; 0 for no end of them.
    distinct: usize,
    next: usize,
}

impl Letters {
    const POOL: usize = 4 << 20;

    /// Records of `size` bytes; never the same twice when `fresh`. `batch_size` is that of the producer.
    pub(crate) fn new(seed: u64, size: usize, batch_size: usize, fresh: bool) -> Letters {
        let pool = Letters::POOL.max(batch_size.saturating_mul(2));
        let distinct = if fresh { 0 } else { pool.div_ceil(size.max(1)) };
        Letters { random: SplittableRandom::new(seed), size, records: Vec::new(), distinct, next: 0 }
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        if self.distinct == 0 {
            self.records.resize(self.size, 0);
            self.random.letters(&mut self.records);
            return &self.records;
        }
        let from = self.next * self.size;
        if self.records.len() == from {
            self.records.resize(from + self.size, 0);
            self.random.letters(&mut self.records[from..]);
        }
        self.next = (self.next + 1) % self.distinct;
        &self.records[from..from + self.size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sent by Kafka's own tool.
    #[test]
    fn letters_are_those_of_kafkas_tool() {
        let mut letters = Letters::new(0, 20, 16384, false);
        let records: Vec<String> = (0..3).map(|_| String::from_utf8_lossy(letters.next()).into_owned()).collect();
        assert_eq!(records, GOLDEN);
        let mut fresh = Letters::new(0, 20, 16384, true);
        assert!((0..3).all(|at| fresh.next() == GOLDEN[at].as_bytes()));
    }

    const GOLDEN: [&str; 3] = ["YQHHNEBSEPDNSEIFGAMS", "UJXKOLTXSPLGHDIOYZJF", "NIDSPWHZMKVJAXDBZFCO"];

    #[test]
    fn records_come_again_after_the_pool_only() {
        let mut letters = Letters::new(0, 1 << 20, 16384, false);
        let first = letters.next().to_vec();
        for _ in 0..3 {
            assert!(letters.next() != first);
        }
        assert!(letters.next() == first);
        let mut empty = Letters::new(0, 0, 16384, false);
        assert!((0..10).all(|_| empty.next().is_empty()));
    }

    #[test]
    fn payloads_are_chosen_as_by_kafkas_tool() {
        let mut random = SplittableRandom::new(0);
        let chosen: Vec<&str> = (0..10).map(|_| ["a", "", "b", ""][random.below(4) as usize]).collect();
        assert_eq!(chosen, ["", "", "", "b", "b", "", "", "", "", ""]);
    }

    /// A key of no bytes and a value of one, three times.
    #[test]
    fn one_letter_is_that_of_kafkas_tool() {
        let mut random = JavaRandom::new(0);
        let drawn: Vec<Vec<u8>> = (0..6).map(|at| random.one_letter(at % 2)).collect();
        assert_eq!(drawn, [&b""[..], b"S", b"", b"V", b"", b"J"]);
    }
}
