//! The delivery states of ranges of offsets, as they are persisted, and how new ones go over old ones. Source: `PersisterStateBatch`,
//! `PersisterStateBatchCombiner`.
//!
//! Invariant of [`combine`]: the result is sorted, without overlaps, and neighbours of the same state are one batch; of batches that
//! overlap, the one delivered more often counts, and of two delivered equally often the one further on its way.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::protocol::messages::{
    read_share_group_state_response, share_snapshot_value, share_update_value, write_share_group_state_request,
};

/// The wire's numbers of [`StateBatch::delivery_state`]. An acquired record is never persisted: to whoever reads the state it is available.
pub mod delivery_state {
    pub const AVAILABLE: i8 = 0;
    pub const ACQUIRED: i8 = 1;
    pub const ACKNOWLEDGED: i8 = 2;
    pub const ARCHIVED: i8 = 4;

    /// Is the delivery of such records over?
    pub fn is_terminal(state: i8) -> bool {
        matches!(state, ACKNOWLEDGED | ARCHIVED)
    }
}

/// The state of every record from `first_offset` to `last_offset`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    /// One of [`delivery_state`].
    pub delivery_state: i8,
    pub delivery_count: i16,
}

impl StateBatch {
    fn rank(&self) -> (i16, i8) {
        (self.delivery_count, self.delivery_state)
    }
}

/// Every message that carries such batches has a type of its own for them.
macro_rules! state_batch_of {
    ($($message:ident),*) => {$(
        impl From<&$message::StateBatch> for StateBatch {
            fn from(batch: &$message::StateBatch) -> StateBatch {
                let &$message::StateBatch { first_offset, last_offset, delivery_state, delivery_count, .. } = batch;
                StateBatch { first_offset, last_offset, delivery_state, delivery_count }
            }
        }

        impl From<&StateBatch> for $message::StateBatch {
            fn from(batch: &StateBatch) -> $message::StateBatch {
                let &StateBatch { first_offset, last_offset, delivery_state, delivery_count } = batch;
                $message::StateBatch { first_offset, last_offset, delivery_state, delivery_count, ..Default::default() }
            }
        }
    )*};
}

state_batch_of!(share_snapshot_value, share_update_value, read_share_group_state_response, write_share_group_state_request);

/// A batch that covers the place where [`combine`] stands; the greatest counts.
struct Open(StateBatch);

impl Ord for Open {
    fn cmp(&self, other: &Open) -> Ordering {
        (self.0.rank(), self.0.last_offset).cmp(&(other.0.rank(), other.0.last_offset))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Open) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Open) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}

/// `new` over `old`, without what lies before `start_offset` (-1: nothing is cut). Batches that end before they begin are left out.
pub fn combine(old: &[StateBatch], new: &[StateBatch], start_offset: i64) -> Vec<StateBatch> {
    let mut batches: Vec<StateBatch> = old.iter().chain(new).copied().filter(|it| it.first_offset <= it.last_offset).collect();
    if start_offset != -1 {
        batches.retain(|batch| batch.last_offset >= start_offset);
        for batch in &mut batches {
            batch.first_offset = batch.first_offset.max(start_offset);
        }
    }
    batches.sort_by_key(|batch| batch.first_offset);

    let mut combined: Vec<StateBatch> = Vec::with_capacity(batches.len());
    let mut open: BinaryHeap<Open> = BinaryHeap::new();
    let mut next = 0;
    let mut at = i64::MIN;
    loop {
        while open.peek().is_some_and(|top| top.0.last_offset < at) {
            open.pop();
        }
        if open.is_empty() {
            match batches.get(next) {
                Some(batch) => at = batch.first_offset.max(at),
                None => return combined,
            }
        }
        while let Some(batch) = batches.get(next).filter(|batch| batch.first_offset <= at) {
            open.push(Open(*batch));
            next += 1;
        }
        while open.peek().is_some_and(|top| top.0.last_offset < at) {
            open.pop();
        }
        let Some(Open(top)) = open.peek() else { continue };
        let end = batches.get(next).map_or(top.last_offset, |batch| top.last_offset.min(batch.first_offset - 1));
        match combined.last_mut() {
            Some(last) if last.last_offset + 1 == at && last.rank() == top.rank() => last.last_offset = end,
            _ => combined.push(StateBatch { first_offset: at, last_offset: end, ..*top }),
        }
        match end.checked_add(1) {
            Some(after) => at = after,
            None => return combined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::random::Random;

    fn batch(first_offset: i64, last_offset: i64, delivery_state: i8, delivery_count: i16) -> StateBatch {
        StateBatch { first_offset, last_offset, delivery_state, delivery_count }
    }

    #[test]
    fn neighbours_of_the_same_state_become_one() {
        assert_eq!(combine(&[batch(0, 4, 0, 1)], &[batch(5, 9, 0, 1)], -1), [batch(0, 9, 0, 1)]);
        assert_eq!(combine(&[batch(0, 4, 0, 1)], &[batch(6, 9, 0, 1)], -1), [batch(0, 4, 0, 1), batch(6, 9, 0, 1)]);
        assert_eq!(combine(&[batch(0, 4, 0, 1)], &[batch(5, 9, 2, 1)], -1), [batch(0, 4, 0, 1), batch(5, 9, 2, 1)]);
    }

    #[test]
    fn what_was_delivered_more_often_counts() {
        assert_eq!(combine(&[batch(0, 9, 0, 1)], &[batch(3, 5, 2, 2)], -1), [batch(0, 2, 0, 1), batch(3, 5, 2, 2), batch(6, 9, 0, 1)]);
        assert_eq!(combine(&[batch(0, 9, 0, 2)], &[batch(3, 5, 2, 1)], -1), [batch(0, 9, 0, 2)]);
        assert_eq!(combine(&[batch(0, 9, 0, 1)], &[batch(0, 9, 2, 1)], -1), [batch(0, 9, 2, 1)]);
        assert_eq!(combine(&[batch(0, 3, 0, 3)], &[batch(0, 9, 2, 1)], -1), [batch(0, 3, 0, 3), batch(4, 9, 2, 1)]);
    }

    #[test]
    fn what_lies_before_the_start_offset_is_cut() {
        assert_eq!(combine(&[batch(0, 4, 2, 1), batch(5, 9, 0, 1)], &[], 7), [batch(7, 9, 0, 1)]);
        assert_eq!(combine(&[batch(0, 4, 2, 1)], &[], 5), []);
        assert_eq!(combine(&[batch(4, 3, 2, 1)], &[], -1), []);
        assert_eq!(combine(&[batch(0, i64::MAX, 2, 1)], &[batch(5, i64::MAX, 2, 1)], 1), [batch(1, i64::MAX, 2, 1)]);
    }

    #[test]
    fn every_offset_has_the_greatest_state_that_covers_it() {
        for seed in 0..500 {
            let mut random = Random::new(seed);
            let mut some = |count: u64| -> Vec<StateBatch> {
                (0..random.below(count))
                    .map(|_| {
                        let first = random.below(40) as i64;
                        let state = [0, 2, 4][random.below(3) as usize];
                        batch(first, first + random.below(12) as i64, state, random.below(4) as i16)
                    })
                    .collect()
            };
            let (old, new) = (some(8), some(8));
            let start_offset = if seed % 3 == 0 { -1 } else { random.below(20) as i64 };
            let combined = combine(&old, &new, start_offset);
            assert!(combined.windows(2).all(|pair| pair[0].last_offset < pair[1].first_offset), "seed {seed}");
            for offset in 0..60 {
                let covering = |batches: &[StateBatch]| -> Vec<(i16, i8)> {
                    batches.iter().filter(|it| (it.first_offset..=it.last_offset).contains(&offset)).map(StateBatch::rank).collect()
                };
                let expected = covering(&old).into_iter().chain(covering(&new)).max().filter(|_| offset >= start_offset);
                assert_eq!(covering(&combined).into_iter().next(), expected, "seed {seed}, offset {offset}");
            }
        }
    }
}
