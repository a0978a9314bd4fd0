//! Offsets that are committed with a producer's transaction (KIP-98, KIP-447). Source: `OffsetMetadataManager.commitTransactionalOffset`.
//!
//! The records are appended within the transaction and stay pending until its marker comes; see [`super::Offsets`].

use super::consumer::CommitPermission;
use super::{Effects, GroupShard, OffsetAndMetadata};
use crate::common::uuid::Uuid;
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use crate::protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

impl GroupShard {
    /// Handles a TxnOffsetCommit whose topics and partitions exist; the records are to be appended within the producer's transaction.
    /// `api_version`: of the request.
    pub fn commit_transactional_offsets(
        &mut self,
        now: Now,
        api_version: i16,
        request: &TxnOffsetCommitRequest,
    ) -> Result<(TxnOffsetCommitResponse, Effects), ErrorCode> {
        let permission = self.validate_transactional_offset_commit(api_version, request)?;
        let mut response = TxnOffsetCommitResponse::default();
        let mut effects = Effects { replay: true, ..Effects::default() };
        for topic in &request.topics {
            let topic_id = self.topics.topic(&topic.name).map_or(Uuid::ZERO, |topic| topic.id);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let offset = OffsetAndMetadata {
                    record_offset: -1,
                    committed_offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.clone().unwrap_or_default(),
                    commit_timestamp_ms: now.wall_ms,
                    expire_timestamp_ms: None,
                    // The request names topics only.
                    topic_id: Uuid::ZERO,
                };
                let commit = (topic.name.as_str(), topic_id, partition.partition_index);
                let committed = self.commit_offset(&permission, &request.group_id, commit, &offset, &mut effects.records);
                let error = committed.map_err(illegal_generation)?;
                partitions.push(TxnOffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: error.code(),
                    ..TxnOffsetCommitResponsePartition::default()
                });
            }
            response.topics.push(TxnOffsetCommitResponseTopic {
                name: topic.name.clone(),
                partitions,
                ..TxnOffsetCommitResponseTopic::default()
            });
        }
        Ok((response, effects))
    }

    fn validate_transactional_offset_commit(
        &self,
        api_version: i16,
        request: &TxnOffsetCommitRequest,
    ) -> Result<CommitPermission, ErrorCode> {
        let (member_id, instance) = (request.member_id.as_str(), request.group_instance_id.as_deref());
        match self.groups.get(&request.group_id) {
            // A producer that is no member of the group: the group begins with the commit.
            None if request.generation_id < 0 => Ok(CommitPermission::Everything),
            None => Err(ErrorCode::IllegalGeneration),
            Some(group) => {
                group.validate_offset_commit(member_id, instance, request.generation_id, true, api_version).map_err(illegal_generation)
            }
        }
    }
}

/// Producers know one error for all that can be wrong with a generation or member epoch.
fn illegal_generation(error: ErrorCode) -> ErrorCode {
    if error == ErrorCode::StaleMemberEpoch { ErrorCode::IllegalGeneration } else { error }
}
