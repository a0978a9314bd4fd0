//! The records of consumer groups become state. Source: the `replay` methods of `GroupMetadataManager`.
//!
//! A log that was compacted may hold tombstones without what they remove, and records of a member in another order than they were written
//! in: what does not fit is passed over, never a reason to fail.

use std::collections::BTreeSet;

use super::{ConsumerGroup, ConsumerGroupMember, LEAVE_GROUP_MEMBER_EPOCH, PartitionEpochs, ResolvedRegex};
use crate::coordinator::group::modern::TopicPartitions;
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{Group, GroupShard};

impl GroupShard {
    /// Makes one record of a consumer group part of the state; others are not for here.
    pub(in crate::coordinator::group) fn replay_consumer_group(&mut self, record: GroupRecord) {
        let (group_id, creates) = match &record {
            GroupRecord::ConsumerGroupMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ConsumerGroupPartitionMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ConsumerGroupMemberMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ConsumerGroupTargetAssignmentMember(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ConsumerGroupCurrentMemberAssignment(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::ConsumerGroupRegularExpression(key, value) => (key.group_id.clone(), value.is_some()),
            _ => return,
        };
        let Some(group) = self.persisted_consumer_group(&group_id, creates) else { return };
        if matches!(record, GroupRecord::ConsumerGroupMetadata(_, None)) {
            let old = topic_names(group);
            self.groups.remove(&group_id);
            self.subscriptions_changed(&group_id, &old, &BTreeSet::new());
            return;
        }
        let changes_topics =
            matches!(record, GroupRecord::ConsumerGroupMemberMetadata(..) | GroupRecord::ConsumerGroupRegularExpression(..));
        let old = if changes_topics { topic_names(group) } else { BTreeSet::new() };
        group.replay(record);
        if changes_topics {
            let new = topic_names(group);
            self.subscriptions_changed(&group_id, &old, &new);
        }
    }

    /// The consumer group that a record is about. One that only had offsets so far becomes one when it has to.
    fn persisted_consumer_group(&mut self, group_id: &str, create: bool) -> Option<&mut ConsumerGroup> {
        let may_create = match self.groups.get(group_id) {
            Some(Group::Classic(group)) => group.is_simple(),
            Some(_) => false,
            None => true,
        };
        if may_create && create {
            self.groups.insert(group_id.to_owned(), Group::Consumer(Box::new(ConsumerGroup::new(group_id))));
        }
        match self.groups.get_mut(group_id) {
            Some(Group::Consumer(group)) => Some(group),
            Some(_) if create => {
                tracing::error!(group = group_id, "a consumer group's record for a group of another type, skipped");
                None
            }
            _ => None,
        }
    }
}

fn topic_names(group: &ConsumerGroup) -> BTreeSet<String> {
    group.common.subscribed_topics().names().map(str::to_owned).collect()
}

impl ConsumerGroup {
    pub(super) fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::ConsumerGroupMetadata(_, Some(value)) => {
                self.common.group_epoch = value.epoch;
                self.common.metadata_hash = value.metadata_hash;
            }
            GroupRecord::ConsumerGroupPartitionMetadata(_, value) => self.has_subscription_metadata_record = value.is_some(),
            GroupRecord::ConsumerGroupMemberMetadata(key, Some(value)) => {
                let mut member = self.member(&key.member_id).cloned().unwrap_or_else(|| ConsumerGroupMember::new(&key.member_id));
                member.update_metadata(value);
                self.put_member(member);
            }
            GroupRecord::ConsumerGroupMemberMetadata(key, None) => self.remove_member(&key.member_id),
            GroupRecord::ConsumerGroupTargetAssignmentMetadata(_, Some(value)) => {
                self.common.assignment_epoch = value.assignment_epoch;
                self.common.assignment_timestamp_ms = value.assignment_timestamp;
            }
            GroupRecord::ConsumerGroupTargetAssignmentMetadata(_, None) => {
                self.common.assignment_epoch = -1;
                self.common.assignment_timestamp_ms = 0;
            }
            GroupRecord::ConsumerGroupTargetAssignmentMember(key, Some(value)) => {
                let topics = value.topic_partitions.into_iter().map(|topic| (topic.topic_id, topic.partitions.into_iter().collect()));
                self.common.put_target_assignment(&key.member_id, topics.collect::<TopicPartitions>());
            }
            GroupRecord::ConsumerGroupTargetAssignmentMember(key, None) => self.common.remove_target_assignment(&key.member_id),
            GroupRecord::ConsumerGroupCurrentMemberAssignment(key, Some(value)) => {
                let mut member = self.member(&key.member_id).cloned().unwrap_or_else(|| ConsumerGroupMember::new(&key.member_id));
                member.update_assignment(value);
                self.put_member(member);
            }
            GroupRecord::ConsumerGroupCurrentMemberAssignment(key, None) => {
                let Some(mut member) = self.member(&key.member_id).cloned() else { return };
                member.member_epoch = LEAVE_GROUP_MEMBER_EPOCH;
                member.previous_member_epoch = LEAVE_GROUP_MEMBER_EPOCH;
                member.assigned_partitions = PartitionEpochs::new();
                member.partitions_pending_revocation = PartitionEpochs::new();
                self.put_member(member);
            }
            GroupRecord::ConsumerGroupRegularExpression(key, Some(value)) => {
                let resolved =
                    ResolvedRegex { topics: value.topics.into_iter().collect(), version: value.version, timestamp_ms: value.timestamp };
                self.put_resolved_regex(&key.regular_expression, resolved);
            }
            GroupRecord::ConsumerGroupRegularExpression(key, None) => self.remove_resolved_regex(&key.regular_expression),
            _ => {}
        }
    }
}
