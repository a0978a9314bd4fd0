//! The records of share groups become state. Source: the `replay` methods of `GroupMetadataManager`.
//!
//! What does not fit, after compaction, is passed over, never a reason to fail.

use std::collections::BTreeSet;

use super::{InitTopic, ShareGroup, ShareGroupMember, StatePartitions};
use crate::coordinator::group::modern::{LEAVE_GROUP_MEMBER_EPOCH, TopicPartitions};
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{Group, GroupShard};
use crate::protocol::messages::share_group_state_partition_metadata_value::TopicPartitionsInfo;

impl GroupShard {
    /// Makes one record of a share group part of the state; others are not for here.
    pub(in crate::coordinator::group) fn replay_share_group(&mut self, record: GroupRecord) {
        let (group_id, creates) = match &record {
            GroupRecord::ShareGroupMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ShareGroupMemberMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ShareGroupTargetAssignmentMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ShareGroupTargetAssignmentMember(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ShareGroupCurrentMemberAssignment(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ShareGroupStatePartitionMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            _ => return,
        };
        let Some(group) = self.persisted_share_group(&group_id, creates) else { return };
        if matches!(record, GroupRecord::ShareGroupMetadata(_, None)) {
            let old = topic_names(group);
            self.groups.remove(&group_id);
            self.share_initializing.remove(&group_id);
            self.subscriptions_changed(&group_id, &old, &BTreeSet::new());
            return;
        }
        let changes_topics = matches!(record, GroupRecord::ShareGroupMemberMetadata(..));
        let old = if changes_topics { topic_names(group) } else { BTreeSet::new() };
        group.replay(record);
        if changes_topics {
            let new = topic_names(group);
            self.subscriptions_changed(&group_id, &old, &new);
        }
    }

    fn persisted_share_group(&mut self, group_id: &str, create: bool) -> Option<&mut ShareGroup> {
        if create && !self.groups.contains_key(group_id) {
            self.groups.insert(group_id.to_owned(), Group::Share(Box::new(ShareGroup::new(group_id))));
        }
        match self.groups.get_mut(group_id) {
            Some(Group::Share(group)) => Some(group),
            Some(_) if create => {
                tracing::error!(group = group_id, "a share group's record for a group of another type, skipped");
                None
            }
            _ => None,
        }
    }
}

fn topic_names(group: &ShareGroup) -> BTreeSet<String> {
    group.common.subscribed_topics().names().map(str::to_owned).collect()
}

impl ShareGroup {
    fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::ShareGroupMetadata(_, Some(value)) => {
                self.common.group_epoch = value.epoch;
                self.common.metadata_hash = value.metadata_hash;
            }
            GroupRecord::ShareGroupMemberMetadata(key, Some(value)) => {
                let mut member = self.member(&key.member_id).cloned().unwrap_or_else(|| ShareGroupMember::new(&key.member_id));
                member.update_metadata(value);
                self.common.put_member(member);
            }
            GroupRecord::ShareGroupMemberMetadata(key, None) => {
                self.common.remove_member(&key.member_id);
            }
            GroupRecord::ShareGroupTargetAssignmentMetadata(_, Some(value)) => {
                self.common.assignment_epoch = value.assignment_epoch;
                self.common.assignment_timestamp_ms = value.assignment_timestamp;
            }
            GroupRecord::ShareGroupTargetAssignmentMetadata(_, None) => {
                self.common.assignment_epoch = -1;
                self.common.assignment_timestamp_ms = 0;
            }
            GroupRecord::ShareGroupTargetAssignmentMember(key, Some(value)) => {
                let topics = value.topic_partitions.into_iter().map(|topic| (topic.topic_id, topic.partitions.into_iter().collect()));
                self.common.put_target_assignment(&key.member_id, topics.collect::<TopicPartitions>());
            }
            GroupRecord::ShareGroupTargetAssignmentMember(key, None) => self.common.remove_target_assignment(&key.member_id),
            GroupRecord::ShareGroupCurrentMemberAssignment(key, Some(value)) => {
                let mut member = self.member(&key.member_id).cloned().unwrap_or_else(|| ShareGroupMember::new(&key.member_id));
                member.update_assignment(value);
                self.common.put_member(member);
            }
            GroupRecord::ShareGroupCurrentMemberAssignment(key, None) => {
                let Some(mut member) = self.member(&key.member_id).cloned() else { return };
                member.member_epoch = LEAVE_GROUP_MEMBER_EPOCH;
                member.previous_member_epoch = LEAVE_GROUP_MEMBER_EPOCH;
                member.assigned_partitions = TopicPartitions::new();
                self.common.put_member(member);
            }
            GroupRecord::ShareGroupStatePartitionMetadata(_, value) => {
                let topics = |topics: Vec<TopicPartitionsInfo>| {
                    let topic = |topic: TopicPartitionsInfo| {
                        (topic.topic_id, InitTopic { name: topic.topic_name, partitions: topic.partitions.into_iter().collect() })
                    };
                    topics.into_iter().map(topic).collect()
                };
                self.state_partitions = value.map(|value| StatePartitions {
                    initializing: topics(value.initializing_topics),
                    initialized: topics(value.initialized_topics),
                    deleting: value.deleting_topics.into_iter().map(|topic| topic.topic_id).collect(),
                });
            }
            _ => {}
        }
    }
}
