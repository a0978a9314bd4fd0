//! Share groups (KIP-932): members that share the records of partitions, any number of members to a partition. Source:
//! `modern.share.ShareGroup`, the share parts of `GroupMetadataManager`.
//!
//! - `heartbeat`: ShareGroupHeartbeat, which is joining, leaving, being led to the target assignment.
//! - `state_partitions`: the share partitions whose state the share coordinator holds; only those are assigned.
//! - `offsets`: offsets of a group without members are set and deleted, through the share coordinator.
//! - `describe`: ShareGroupDescribe.
//!
//! A member gives nothing up before another gets it, so that it goes to its target in one step.
//!
//! What concerns the share coordinator is two steps with its answer between them: the first writes down what is about to happen and says
//! what to ask ([`StateInitialization`], [`StateDeletion`]), the second writes down what came of it.

mod describe;
mod heartbeat;
mod member;
mod offsets;
pub(super) mod records;
mod replay;
mod state_partitions;

#[cfg(test)]
mod tests;

pub use heartbeat::validate_share_group_heartbeat;
pub use member::ShareGroupMember;
pub use offsets::OffsetDeletion;
pub use state_partitions::{InitTopic, StateDeletion, StateInitialization, StatePartitions};

use super::modern::ModernGroup;
use super::{GroupError, GroupShard};
use crate::coordinator::group::Group;
use crate::protocol::error_code::ErrorCode;

/// What ListGroups says of the protocol.
pub const SHARE_PROTOCOL_TYPE: &str = "share";

/// One share group.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareGroup {
    pub(super) common: ModernGroup<ShareGroupMember>,
    /// `None` until the first share partition is about to be initialized.
    state_partitions: Option<StatePartitions>,
}

impl ShareGroup {
    pub(super) fn new(group_id: &str) -> ShareGroup {
        ShareGroup { common: ModernGroup::new(group_id), state_partitions: None }
    }

    pub fn group_id(&self) -> &str {
        self.common.group_id()
    }

    pub fn common(&self) -> &ModernGroup<ShareGroupMember> {
        &self.common
    }

    /// The share partitions with a state, or on the way to or from one.
    pub fn state_partitions(&self) -> Option<&StatePartitions> {
        self.state_partitions.as_ref()
    }

    pub fn members(&self) -> impl Iterator<Item = &ShareGroupMember> {
        self.common.members().values()
    }

    pub fn member(&self, member_id: &str) -> Option<&ShareGroupMember> {
        self.common.member(member_id)
    }

    fn known_member(&self, member_id: &str) -> Result<&ShareGroupMember, GroupError> {
        self.member(member_id).ok_or_else(|| {
            GroupError::new(ErrorCode::UnknownMemberId, format!("Member {member_id} is not a member of group {}.", self.group_id()))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.common.members().is_empty()
    }

    pub fn state_name(&self) -> &'static str {
        if self.is_empty() { "Empty" } else { "Stable" }
    }
}

impl GroupShard {
    /// The share group of this id, or the error that says there is none.
    pub fn share_group(&self, group_id: &str) -> Result<&ShareGroup, GroupError> {
        match self.group(group_id) {
            Some(Group::Share(group)) => Ok(group),
            Some(_) => Err(GroupError::not_found(format!("Group {group_id} is not a share group."))),
            None => Err(GroupError::not_found(format!("Group {group_id} not found."))),
        }
    }
}
