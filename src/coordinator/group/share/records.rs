//! The records of share groups. Source: `GroupCoordinatorRecordHelpers`.

use crate::common::uuid::Uuid;
use crate::coordinator::group::modern::TopicPartitions;
use crate::coordinator::group::records::GroupRecord;
use crate::protocol::messages::{
    ShareGroupCurrentMemberAssignmentKey, ShareGroupCurrentMemberAssignmentValue, ShareGroupMemberMetadataKey,
    ShareGroupMemberMetadataValue, ShareGroupMetadataKey, ShareGroupMetadataValue, ShareGroupStatePartitionMetadataKey,
    ShareGroupStatePartitionMetadataValue, ShareGroupTargetAssignmentMemberKey, ShareGroupTargetAssignmentMemberValue,
    ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue, share_group_current_member_assignment_value,
    share_group_state_partition_metadata_value, share_group_target_assignment_member_value,
};

use super::{InitTopic, ShareGroup, ShareGroupMember, StatePartitions};

pub(super) fn member_metadata(group_id: &str, member: &ShareGroupMember) -> GroupRecord {
    let value = ShareGroupMemberMetadataValue {
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.subscribed_topic_names.iter().cloned().collect(),
        ..Default::default()
    };
    GroupRecord::ShareGroupMemberMetadata(member_key(group_id, &member.member_id), Some(value))
}

fn member_metadata_tombstone(group_id: &str, member_id: &str) -> GroupRecord {
    GroupRecord::ShareGroupMemberMetadata(member_key(group_id, member_id), None)
}

fn member_key(group_id: &str, member_id: &str) -> ShareGroupMemberMetadataKey {
    ShareGroupMemberMetadataKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

pub(super) fn group_epoch(group_id: &str, epoch: i32, metadata_hash: i64) -> GroupRecord {
    let value = ShareGroupMetadataValue { epoch, metadata_hash, ..Default::default() };
    GroupRecord::ShareGroupMetadata(group_key(group_id), Some(value))
}

fn group_key(group_id: &str) -> ShareGroupMetadataKey {
    ShareGroupMetadataKey { group_id: group_id.to_owned(), ..Default::default() }
}

pub(super) fn target_assignment(group_id: &str, member_id: &str, partitions: &TopicPartitions) -> GroupRecord {
    let topic =
        |(&topic_id, partitions): (&Uuid, &std::collections::BTreeSet<i32>)| share_group_target_assignment_member_value::TopicPartition {
            topic_id,
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        };
    let value = ShareGroupTargetAssignmentMemberValue { topic_partitions: partitions.iter().map(topic).collect(), ..Default::default() };
    GroupRecord::ShareGroupTargetAssignmentMember(target_assignment_key(group_id, member_id), Some(value))
}

fn target_assignment_tombstone(group_id: &str, member_id: &str) -> GroupRecord {
    GroupRecord::ShareGroupTargetAssignmentMember(target_assignment_key(group_id, member_id), None)
}

fn target_assignment_key(group_id: &str, member_id: &str) -> ShareGroupTargetAssignmentMemberKey {
    ShareGroupTargetAssignmentMemberKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

pub(super) fn target_assignment_metadata(group_id: &str, assignment_epoch: i32, assignment_timestamp: i64) -> GroupRecord {
    let value = ShareGroupTargetAssignmentMetadataValue { assignment_epoch, assignment_timestamp, ..Default::default() };
    GroupRecord::ShareGroupTargetAssignmentMetadata(target_assignment_metadata_key(group_id), Some(value))
}

fn target_assignment_metadata_key(group_id: &str) -> ShareGroupTargetAssignmentMetadataKey {
    ShareGroupTargetAssignmentMetadataKey { group_id: group_id.to_owned(), ..Default::default() }
}

pub(super) fn current_assignment(group_id: &str, member: &ShareGroupMember) -> GroupRecord {
    let topic =
        |(&topic_id, partitions): (&Uuid, &std::collections::BTreeSet<i32>)| share_group_current_member_assignment_value::TopicPartitions {
            topic_id,
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        };
    let value = ShareGroupCurrentMemberAssignmentValue {
        member_epoch: member.member_epoch,
        previous_member_epoch: member.previous_member_epoch,
        state: member.state.code(),
        assigned_partitions: member.assigned_partitions.iter().map(topic).collect(),
        ..Default::default()
    };
    GroupRecord::ShareGroupCurrentMemberAssignment(current_assignment_key(group_id, &member.member_id), Some(value))
}

fn current_assignment_tombstone(group_id: &str, member_id: &str) -> GroupRecord {
    GroupRecord::ShareGroupCurrentMemberAssignment(current_assignment_key(group_id, member_id), None)
}

fn current_assignment_key(group_id: &str, member_id: &str) -> ShareGroupCurrentMemberAssignmentKey {
    ShareGroupCurrentMemberAssignmentKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

/// `topic_name` names the topics in deletion, of which only the ids are kept.
pub(super) fn state_partition_metadata(group_id: &str, state: &StatePartitions, topic_name: impl Fn(Uuid) -> String) -> GroupRecord {
    use share_group_state_partition_metadata_value::{TopicInfo, TopicPartitionsInfo};
    let topic = |(&topic_id, topic): (&Uuid, &InitTopic)| TopicPartitionsInfo {
        topic_id,
        topic_name: topic.name.clone(),
        partitions: topic.partitions.iter().copied().collect(),
        ..Default::default()
    };
    let value = ShareGroupStatePartitionMetadataValue {
        initializing_topics: state.initializing.iter().map(topic).collect(),
        initialized_topics: state.initialized.iter().map(topic).collect(),
        deleting_topics: state
            .deleting
            .iter()
            .map(|&topic_id| TopicInfo { topic_id, topic_name: topic_name(topic_id), ..Default::default() })
            .collect(),
        ..Default::default()
    };
    GroupRecord::ShareGroupStatePartitionMetadata(state_partition_metadata_key(group_id), Some(value))
}

fn state_partition_metadata_key(group_id: &str) -> ShareGroupStatePartitionMetadataKey {
    ShareGroupStatePartitionMetadataKey { group_id: group_id.to_owned(), ..Default::default() }
}

/// Takes one member out of the group.
pub(super) fn remove_member(group_id: &str, member_id: &str, records: &mut Vec<GroupRecord>) {
    records.push(current_assignment_tombstone(group_id, member_id));
    records.push(target_assignment_tombstone(group_id, member_id));
    records.push(member_metadata_tombstone(group_id, member_id));
}

/// Removes the whole group.
pub(in crate::coordinator::group) fn group_tombstones(group: &ShareGroup, records: &mut Vec<GroupRecord>) {
    let group_id = group.group_id();
    let members = || group.members().map(|member| member.member_id.as_str());
    records.extend(members().map(|id| current_assignment_tombstone(group_id, id)));
    records.extend(members().map(|id| target_assignment_tombstone(group_id, id)));
    records.push(GroupRecord::ShareGroupTargetAssignmentMetadata(target_assignment_metadata_key(group_id), None));
    records.extend(members().map(|id| member_metadata_tombstone(group_id, id)));
    records.push(GroupRecord::ShareGroupStatePartitionMetadata(state_partition_metadata_key(group_id), None));
    records.push(GroupRecord::ShareGroupMetadata(group_key(group_id), None));
}
