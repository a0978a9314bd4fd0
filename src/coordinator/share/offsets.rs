//! Which part of a partition of `__share_group_state` nobody needs any more. Source: `ShareCoordinatorOffsetsManager`.
//!
//! Every state is whole from its last snapshot on; so what lies before the oldest of the last snapshots is superseded.

use std::collections::{BTreeSet, HashMap};

use super::SharePartitionKey;

/// Where the last snapshot of each state is.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    by_key: HashMap<SharePartitionKey, i64>,
    ordered: BTreeSet<i64>,
    last_redundant_offset: Option<i64>,
}

impl Offsets {
    /// A snapshot, or a tombstone, of `key` is at `offset`.
    pub(super) fn update(&mut self, key: &SharePartitionKey, offset: i64, is_delete: bool) {
        if let Some(before) = self.by_key.insert(key.clone(), offset) {
            self.ordered.remove(&before);
        }
        self.ordered.insert(offset);
        self.last_redundant_offset = self.ordered.first().copied();
        if is_delete {
            self.by_key.remove(key);
            self.ordered.remove(&offset);
        }
    }

    pub(super) fn last_redundant_offset(&self) -> Option<i64> {
        self.last_redundant_offset.filter(|&offset| offset > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::uuid::Uuid;

    fn key(partition: i32) -> SharePartitionKey {
        SharePartitionKey { group_id: "g".to_owned(), topic_id: Uuid::from_u128(1), partition }
    }

    #[test]
    fn the_oldest_of_the_last_snapshots_decides() {
        let mut offsets = Offsets::default();
        offsets.update(&key(0), 0, false);
        offsets.update(&key(1), 10, false);
        assert_eq!(offsets.last_redundant_offset(), None);
        offsets.update(&key(0), 20, false);
        assert_eq!(offsets.last_redundant_offset(), Some(10));
        offsets.update(&key(1), 30, false);
        assert_eq!(offsets.last_redundant_offset(), Some(20));
    }

    #[test]
    fn a_deleted_state_holds_nothing() {
        let mut offsets = Offsets::default();
        offsets.update(&key(0), 5, false);
        offsets.update(&key(1), 10, false);
        offsets.update(&key(0), 15, true);
        assert_eq!(offsets.last_redundant_offset(), Some(10));
        offsets.update(&key(1), 20, true);
        assert_eq!(offsets.last_redundant_offset(), Some(20));
    }
}
