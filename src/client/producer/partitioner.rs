//! Which partition a record goes to.
//!
//! By key: murmur2 of its bytes, as every Kafka client must agree on. Without one: a partition is kept for about a batch's worth of
//! bytes, then another is drawn, the fuller queues more rarely (KIP-794). Source: `BuiltInPartitioner`, `RoundRobinPartitioner`,
//! `Utils.murmur2`.

use crate::client::metadata::TopicMetadata;
use crate::common::random::Random;

/// Kafka's variant of MurmurHash2, 32 bits, with its seed.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut h = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * place);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of a key among `partitions`, which is at least 1.
pub fn partition_for_key(key: &[u8], partitions: usize) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)) as i32
}

/// Partitions in turn, those with a leader first.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    next: u32,
}

impl RoundRobin {
    pub(super) fn partition(&mut self, topic: &TopicMetadata) -> i32 {
        let turn = (self.next & 0x7fff_ffff) as usize;
        self.next = self.next.wrapping_add(1);
        choose(topic, turn)
    }
}

/// The partition number `turn` of those with a leader, or of all when none has one.
fn choose(topic: &TopicMetadata, turn: usize) -> i32 {
    let available: Vec<i32> = topic.partitions.iter().filter(|it| it.leader.is_some()).map(|it| it.partition).collect();
    match available.len() {
        0 => (turn % topic.partitions.len().max(1)) as i32,
        count => available[turn % count],
    }
}

/// The partition for records without a key, one for each topic.
#[derive(Debug, Default)]
pub(super) struct Sticky {
    current: Option<i32>,
    produced_bytes: usize,
    load: Option<Load>,
}

/// Partitions and the running sum of their weights.
#[derive(Debug, PartialEq)]
struct Load {
    cumulative: Vec<u64>,
    partitions: Vec<i32>,
}

impl Sticky {
    /// The current partition, drawn if there is none.
    pub(super) fn current(&mut self, topic: &TopicMetadata, random: &mut Random) -> i32 {
        if let Some(current) = self.current {
            return current;
        }
        let next = self.draw(topic, random);
        self.current = Some(next);
        self.produced_bytes = 0;
        next
    }

    fn draw(&self, topic: &TopicMetadata, random: &mut Random) -> i32 {
        match &self.load {
            None => choose(topic, random.below(1 << 31) as usize),
            Some(load) => {
                let place = random.below(load.cumulative.last().copied().unwrap_or(0));
                let index = load.cumulative.partition_point(|sum| *sum <= place);
                load.partitions.get(index).copied().unwrap_or_default()
            }
        }
    }

    /// Counts bytes that went to the current partition, and leaves it after `sticky_bytes`, if `may_switch` (there is no half-full
    /// batch to finish first), or after twice as many in any case.
    pub(super) fn produced(&mut self, bytes: usize, sticky_bytes: usize, may_switch: bool) {
        let sticky_bytes = sticky_bytes.max(1);
        self.produced_bytes += bytes;
        if (self.produced_bytes >= sticky_bytes && may_switch) || self.produced_bytes >= sticky_bytes * 2 {
            self.current = None;
        }
    }

    /// Learns how many batches wait for each partition that has a leader; `None` makes the draw uniform.
    pub(super) fn set_load(&mut self, queues: Option<&[(i32, usize)]>) {
        self.load = queues.and_then(Load::from_queues);
    }
}

impl Load {
    fn from_queues(queues: &[(i32, usize)]) -> Option<Load> {
        let longest = queues.iter().map(|(_, length)| *length).max()?;
        if queues.len() < 2 || queues.iter().all(|(_, length)| *length == longest) {
            return None;
        }
        let mut sum = 0;
        let weights = queues.iter().map(|(_, length)| {
            sum += (longest + 1 - length) as u64;
            sum
        });
        Some(Load { cumulative: weights.collect(), partitions: queues.iter().map(|(partition, _)| *partition).collect() })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::client::metadata::PartitionMetadata;
    use crate::common::uuid::Uuid;
    use crate::protocol::error_code::ErrorCode;

    fn topic(leaders: &[Option<i32>]) -> TopicMetadata {
        let partitions = leaders.iter().enumerate().map(|(partition, leader)| PartitionMetadata {
            partition: partition as i32,
            error: ErrorCode::None,
            leader: *leader,
            leader_epoch: None,
            replicas: Vec::new(),
            isr: Vec::new(),
            offline_replicas: Vec::new(),
        });
        TopicMetadata {
            name: "t".to_owned(),
            id: Uuid::ZERO,
            is_internal: false,
            partitions: partitions.collect(),
            fetched: Instant::now(),
        }
    }

    /// The values are what Kafka's `Utils.murmur2` gives, and the remainders by 3 and 7 of its non-negative form.
    #[test]
    fn hashes_are_javas() {
        let golden = [
            ("", 0x106e_08d9, 0, 2),
            ("a", 0xa2d0_b27c, 1, 5),
            ("ab", 0x12d8_262a, 2, 0),
            ("abc", 0x1c94_221b, 0, 4),
            ("abcd", 0xb11a_b5f4, 2, 5),
            ("abcde", 0x1b89_7edd, 1, 4),
            ("UA", 0xdac8_76fa, 1, 1),
            ("B6", 0x9fda_81d8, 0, 2),
            ("kafka", 0xd067_cf64, 1, 3),
            ("the quick brown fox jumps over the lazy dog", 0xcaf2_a908, 1, 3),
            ("é中😀", 0x6cb9_b9c7, 2, 3),
            ("00000000000000000", 0xbea8_637e, 2, 3),
        ];
        for (key, hash, of_3, of_7) in golden {
            let key = key.as_bytes();
            assert_eq!((murmur2(key), partition_for_key(key, 3), partition_for_key(key, 7)), (hash, of_3, of_7), "{key:?}");
        }
        let all: Vec<u8> = (0..=255).collect();
        let sum = (0..=256).fold(0u32, |sum, len| sum.wrapping_mul(31).wrapping_add(murmur2(&all[..len])));
        assert_eq!(sum, 0xb248_5885);
    }

    #[test]
    fn round_robin_leaves_out_partitions_without_a_leader() {
        let mut partitioner = RoundRobin::default();
        let some = topic(&[Some(1), None, Some(1)]);
        assert_eq!([0; 4].map(|_| partitioner.partition(&some)), [0, 2, 0, 2]);
        let none = topic(&[None, None, None]);
        assert_eq!([0; 3].map(|_| partitioner.partition(&none)), [1, 2, 0]);
    }

    #[test]
    fn a_sticky_partition_lasts_for_a_batch_and_at_most_for_two() {
        let (mut sticky, mut random, topic) = (Sticky::default(), Random::new(1), topic(&[Some(1); 100]));
        let first = sticky.current(&topic, &mut random);
        sticky.produced(99, 100, true);
        assert_eq!(sticky.current(&topic, &mut random), first);
        sticky.produced(1, 100, false);
        assert_eq!(sticky.current(&topic, &mut random), first, "a half-full batch keeps it");
        sticky.produced(100, 100, false);
        assert_ne!(sticky.current(&topic, &mut random), first);
    }

    #[test]
    fn longer_queues_get_fewer_records() {
        let load = Load::from_queues(&[(7, 0), (8, 3), (9, 1)]).expect("they differ");
        assert_eq!(load, Load { cumulative: vec![4, 5, 8], partitions: vec![7, 8, 9] });
        assert_eq!(Load::from_queues(&[(7, 2), (8, 2)]), None);
        assert_eq!(Load::from_queues(&[(7, 2)]), None);
        let mut sticky = Sticky::default();
        sticky.set_load(Some(&[(0, 0), (1, 1000)]));
        let (mut random, topic) = (Random::new(1), topic(&[Some(1); 2]));
        let drawn = (0..1000).filter(|_| sticky.draw(&topic, &mut random) == 1).count();
        assert!(drawn < 10, "{drawn}");
    }
}
