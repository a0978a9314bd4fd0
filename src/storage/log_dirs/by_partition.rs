//! Logs by partition, with the number of them in each directory at hand.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::common::topic_partition::TopicPartition;
use crate::storage::log::Log;

/// A log and where it is.
#[derive(Clone)]
pub(super) struct Hosted {
    /// Index of the directory.
    pub(super) dir: usize,
    pub(super) log: Arc<Log>,
}

/// Invariant: `counts` says how many of the logs are in each directory.
#[derive(Default)]
pub(super) struct LogsByPartition {
    logs: BTreeMap<TopicPartition, Hosted>,
    counts: BTreeMap<usize, usize>,
}

impl LogsByPartition {
    pub(super) fn insert(&mut self, topic_partition: TopicPartition, hosted: Hosted) {
        *self.counts.entry(hosted.dir).or_default() += 1;
        if let Some(old) = self.logs.insert(topic_partition, hosted) {
            self.count_out(&old);
        }
    }

    pub(super) fn remove(&mut self, topic_partition: &TopicPartition) -> Option<Hosted> {
        let removed = self.logs.remove(topic_partition)?;
        self.count_out(&removed);
        Some(removed)
    }

    fn count_out(&mut self, hosted: &Hosted) {
        *self.counts.get_mut(&hosted.dir).expect("each log was counted when it came") -= 1;
    }

    /// How many are in the directory with this index.
    pub(super) fn count_in(&self, dir: usize) -> usize {
        self.counts.get(&dir).copied().unwrap_or(0)
    }
}

impl Deref for LogsByPartition {
    type Target = BTreeMap<TopicPartition, Hosted>;

    fn deref(&self) -> &BTreeMap<TopicPartition, Hosted> {
        &self.logs
    }
}
