//! A group's committed offset, as everyone on the client's side knows it, and how it is written into a request.
//!
//! Source: `org.apache.kafka.clients.consumer.OffsetAndMetadata`.

use std::collections::BTreeMap;

use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};

/// A position, as it is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next record to read.
    pub offset: i64,
    /// Of the record before it.
    pub leader_epoch: Option<i32>,
    pub metadata: String,
}

impl From<i64> for OffsetAndMetadata {
    fn from(offset: i64) -> OffsetAndMetadata {
        OffsetAndMetadata { offset, ..OffsetAndMetadata::default() }
    }
}

/// The offsets as `OffsetCommit` has them, topics by name.
pub(super) fn offset_commit_topics(offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>) -> Vec<OffsetCommitRequestTopic> {
    let topics = by_topic(offsets.iter().map(|(partition, offset)| {
        let entry = OffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(offset.metadata.clone()),
            ..Default::default()
        };
        (&partition.topic, entry)
    }));
    topics.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic { name: name.clone(), partitions, ..Default::default() }).collect()
}
