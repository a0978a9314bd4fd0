//! The records of consumer groups. Source: `GroupCoordinatorRecordHelpers`.

use super::member::to_record;
use super::{ConsumerGroup, ConsumerGroupMember, ResolvedRegex};
use crate::common::uuid::Uuid;
use crate::coordinator::group::modern::TopicPartitions;
use crate::coordinator::group::records::GroupRecord;
use crate::protocol::messages::consumer_group_target_assignment_member_value::TopicPartition;
use crate::protocol::messages::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataKey,
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
};

pub(super) fn member_metadata(group_id: &str, member: &ConsumerGroupMember) -> GroupRecord {
    let value = ConsumerGroupMemberMetadataValue {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.subscribed_topic_names.iter().cloned().collect(),
        subscribed_topic_regex: member.subscribed_topic_regex.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: member.server_assignor.clone(),
        classic_member_metadata: member.classic.clone(),
        ..Default::default()
    };
    GroupRecord::ConsumerGroupMemberMetadata(member_metadata_key(group_id, &member.member_id), Some(value))
}

pub(super) fn member_metadata_tombstone(group_id: &str, member_id: &str) -> GroupRecord {
    GroupRecord::ConsumerGroupMemberMetadata(member_metadata_key(group_id, member_id), None)
}

fn member_metadata_key(group_id: &str, member_id: &str) -> ConsumerGroupMemberMetadataKey {
    ConsumerGroupMemberMetadataKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

/// The record of versions before 4.1, which is only ever removed.
pub(super) fn partition_metadata_tombstone(group_id: &str) -> GroupRecord {
    let key = ConsumerGroupPartitionMetadataKey { group_id: group_id.to_owned(), ..Default::default() };
    GroupRecord::ConsumerGroupPartitionMetadata(key, None)
}

pub(super) fn group_epoch(group_id: &str, epoch: i32, metadata_hash: i64) -> GroupRecord {
    let value = ConsumerGroupMetadataValue { epoch, metadata_hash, ..Default::default() };
    GroupRecord::ConsumerGroupMetadata(group_epoch_key(group_id), Some(value))
}

pub(super) fn group_epoch_tombstone(group_id: &str) -> GroupRecord {
    GroupRecord::ConsumerGroupMetadata(group_epoch_key(group_id), None)
}

fn group_epoch_key(group_id: &str) -> ConsumerGroupMetadataKey {
    ConsumerGroupMetadataKey { group_id: group_id.to_owned(), ..Default::default() }
}

pub(super) fn target_assignment(group_id: &str, member_id: &str, partitions: &TopicPartitions) -> GroupRecord {
    let topic = |(&topic_id, partitions): (&Uuid, &std::collections::BTreeSet<i32>)| TopicPartition {
        topic_id,
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    };
    let value = ConsumerGroupTargetAssignmentMemberValue { topic_partitions: partitions.iter().map(topic).collect(), ..Default::default() };
    GroupRecord::ConsumerGroupTargetAssignmentMember(target_assignment_key(group_id, member_id), Some(value))
}

pub(super) fn target_assignment_tombstone(group_id: &str, member_id: &str) -> GroupRecord {
    GroupRecord::ConsumerGroupTargetAssignmentMember(target_assignment_key(group_id, member_id), None)
}

fn target_assignment_key(group_id: &str, member_id: &str) -> ConsumerGroupTargetAssignmentMemberKey {
    ConsumerGroupTargetAssignmentMemberKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

pub(super) fn target_assignment_metadata(group_id: &str, assignment_epoch: i32, assignment_timestamp: i64) -> GroupRecord {
    let value = ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch, assignment_timestamp, ..Default::default() };
    GroupRecord::ConsumerGroupTargetAssignmentMetadata(target_assignment_metadata_key(group_id), Some(value))
}

pub(super) fn target_assignment_metadata_tombstone(group_id: &str) -> GroupRecord {
    GroupRecord::ConsumerGroupTargetAssignmentMetadata(target_assignment_metadata_key(group_id), None)
}

fn target_assignment_metadata_key(group_id: &str) -> ConsumerGroupTargetAssignmentMetadataKey {
    ConsumerGroupTargetAssignmentMetadataKey { group_id: group_id.to_owned(), ..Default::default() }
}

pub(super) fn current_assignment(group_id: &str, member: &ConsumerGroupMember) -> GroupRecord {
    let value = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: member.member_epoch,
        previous_member_epoch: member.previous_member_epoch,
        state: member.state.code(),
        assigned_partitions: to_record(&member.assigned_partitions),
        partitions_pending_revocation: to_record(&member.partitions_pending_revocation),
        ..Default::default()
    };
    GroupRecord::ConsumerGroupCurrentMemberAssignment(current_assignment_key(group_id, &member.member_id), Some(value))
}

pub(super) fn current_assignment_tombstone(group_id: &str, member_id: &str) -> GroupRecord {
    GroupRecord::ConsumerGroupCurrentMemberAssignment(current_assignment_key(group_id, member_id), None)
}

fn current_assignment_key(group_id: &str, member_id: &str) -> ConsumerGroupCurrentMemberAssignmentKey {
    ConsumerGroupCurrentMemberAssignmentKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

pub(super) fn regular_expression(group_id: &str, regex: &str, resolved: &ResolvedRegex) -> GroupRecord {
    let value = ConsumerGroupRegularExpressionValue {
        topics: resolved.topics.iter().cloned().collect(),
        version: resolved.version,
        timestamp: resolved.timestamp_ms,
        ..Default::default()
    };
    GroupRecord::ConsumerGroupRegularExpression(regular_expression_key(group_id, regex), Some(value))
}

pub(super) fn regular_expression_tombstone(group_id: &str, regex: &str) -> GroupRecord {
    GroupRecord::ConsumerGroupRegularExpression(regular_expression_key(group_id, regex), None)
}

fn regular_expression_key(group_id: &str, regex: &str) -> ConsumerGroupRegularExpressionKey {
    ConsumerGroupRegularExpressionKey { group_id: group_id.to_owned(), regular_expression: regex.to_owned(), ..Default::default() }
}

/// Takes one member out of the group.
pub(super) fn remove_member(group_id: &str, member_id: &str, records: &mut Vec<GroupRecord>) {
    records.push(current_assignment_tombstone(group_id, member_id));
    records.push(target_assignment_tombstone(group_id, member_id));
    records.push(member_metadata_tombstone(group_id, member_id));
}

/// Removes the whole group. `replaced`: a member and the one that has taken its place by earlier records of the same batch.
pub(in crate::coordinator::group) fn group_tombstones(
    group: &ConsumerGroup,
    replaced: Option<(&str, &str)>,
    records: &mut Vec<GroupRecord>,
) {
    let group_id = group.group_id();
    let now_called = |id: &'_ str| match replaced {
        Some((old, new)) if old == id => new.to_owned(),
        _ => id.to_owned(),
    };
    let members: Vec<String> = group.members().map(|member| now_called(&member.member_id)).collect();
    records.extend(members.iter().map(|id| current_assignment_tombstone(group_id, id)));
    records.extend(members.iter().map(|id| target_assignment_tombstone(group_id, id)));
    records.push(target_assignment_metadata_tombstone(group_id));
    records.extend(members.iter().map(|id| member_metadata_tombstone(group_id, id)));
    records.extend(group.resolved_regexes.keys().map(|regex| regular_expression_tombstone(group_id, regex)));
    records.push(partition_metadata_tombstone(group_id));
    records.push(group_epoch_tombstone(group_id));
}

/// Writes down a whole group, one that other records of the same batch have made room for.
pub(super) fn whole_group(group: &ConsumerGroup, records: &mut Vec<GroupRecord>) {
    let group_id = group.group_id();
    let common = group.common();
    records.extend(group.members().map(|member| member_metadata(group_id, member)));
    records.push(group_epoch(group_id, common.group_epoch(), common.metadata_hash()));
    records
        .extend(group.members().map(|member| target_assignment(group_id, &member.member_id, &common.target_assignment(&member.member_id))));
    records.push(target_assignment_metadata(group_id, common.assignment_epoch(), common.assignment_timestamp_ms));
    records.extend(group.members().map(|member| current_assignment(group_id, member)));
}
