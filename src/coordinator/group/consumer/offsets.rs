//! May a member of a consumer group commit and read offsets? Source: `validateOffsetCommit`, `validateOffsetFetch` of `ConsumerGroup`.

use std::collections::BTreeMap;

use super::{ConsumerGroup, ConsumerGroupMember};
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;

/// A commit that is allowed, all of it or each partition only when the member has had it since the epoch it commits in: then the commit of a
/// member that has gone to a newer epoch meanwhile does no harm (KIP-1251).
#[derive(Clone, Debug)]
pub enum CommitPermission {
    Everything,
    /// What the member has, since when.
    SinceEpoch {
        member: Box<ConsumerGroupMember>,
        member_epoch: i32,
    },
    /// What a member of a streams group has, by the topics its tasks read.
    SinceTaskEpoch {
        since: BTreeMap<String, BTreeMap<i32, i32>>,
        member_epoch: i32,
    },
}

impl CommitPermission {
    pub fn check(&self, topic: &str, topic_id: Uuid, partition: i32) -> Result<(), ErrorCode> {
        let (since, member_epoch, error) = match self {
            CommitPermission::Everything => return Ok(()),
            CommitPermission::SinceEpoch { member, member_epoch } => {
                (member.partition_epoch(topic_id, partition), member_epoch, stale(member))
            }
            CommitPermission::SinceTaskEpoch { since, member_epoch } => {
                let since = since.get(topic).and_then(|partitions| partitions.get(&partition)).copied();
                (since, member_epoch, ErrorCode::StaleMemberEpoch)
            }
        };
        if since.is_some_and(|since| *member_epoch >= since) { Ok(()) } else { Err(error) }
    }
}

/// What a member of either protocol is told when its epoch is not the right one.
fn stale(member: &ConsumerGroupMember) -> ErrorCode {
    if member.uses_classic_protocol() { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
}

impl ConsumerGroup {
    /// May this member, of this epoch, commit? The order of the checks is Kafka's.
    pub(in crate::coordinator::group) fn validate_offset_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
        member_epoch: i32,
        is_transactional: bool,
        api_version: i16,
    ) -> Result<CommitPermission, ErrorCode> {
        // Tools and members of nothing, as long as there is nobody to disturb.
        if member_epoch < 0 && self.is_empty() {
            return Ok(CommitPermission::Everything);
        }
        // Producers that tell nothing of the group: they are fenced by their epoch.
        if is_transactional && member_epoch == -1 && member_id.is_empty() && group_instance_id.is_none() {
            return Ok(CommitPermission::Everything);
        }
        let member = self.member(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if !is_transactional && !member.uses_classic_protocol() && api_version < 9 {
            return Err(ErrorCode::UnsupportedVersion);
        }
        match member_epoch.cmp(&member.member_epoch) {
            std::cmp::Ordering::Equal => Ok(CommitPermission::Everything),
            std::cmp::Ordering::Greater => Err(stale(member)),
            std::cmp::Ordering::Less => Ok(CommitPermission::SinceEpoch { member: Box::new(member.clone()), member_epoch }),
        }
    }

    pub(in crate::coordinator::group) fn validate_offset_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), ErrorCode> {
        let member_id = match member_id {
            None if member_epoch < 0 => return Ok(()),
            other => other.unwrap_or(""),
        };
        let member = self.member(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if member.member_epoch == member_epoch { Ok(()) } else { Err(stale(member)) }
    }
}
