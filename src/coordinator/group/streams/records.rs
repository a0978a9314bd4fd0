//! The records of streams groups. Source: `StreamsCoordinatorRecordHelpers`.

use std::collections::BTreeMap;

use super::StreamsGroup;
use super::member::StreamsGroupMember;
use super::tasks::Tasks;
use crate::coordinator::group::records::GroupRecord;
use crate::protocol::messages::streams_group_metadata_value::LastAssignmentConfig;
use crate::protocol::messages::{
    StreamsGroupCurrentMemberAssignmentKey, StreamsGroupMemberMetadataKey, StreamsGroupMetadataKey, StreamsGroupMetadataValue,
    StreamsGroupTargetAssignmentMemberKey, StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue,
    StreamsGroupTopologyKey, StreamsGroupTopologyValue,
};

pub(super) fn group_metadata(
    group_id: &str,
    epoch: i32,
    metadata_hash: i64,
    validated_topology_epoch: i32,
    assignment_configs: &BTreeMap<String, String>,
) -> GroupRecord {
    let config = |(key, value): (&String, &String)| LastAssignmentConfig { key: key.clone(), value: value.clone(), ..Default::default() };
    let value = StreamsGroupMetadataValue {
        epoch,
        metadata_hash,
        validated_topology_epoch,
        last_assignment_configs: Some(assignment_configs.iter().map(config).collect()),
        ..Default::default()
    };
    GroupRecord::StreamsGroupMetadata(group_key(group_id), Some(value))
}

fn group_key(group_id: &str) -> StreamsGroupMetadataKey {
    StreamsGroupMetadataKey { group_id: group_id.to_owned(), ..Default::default() }
}

pub(super) fn topology(group_id: &str, value: StreamsGroupTopologyValue) -> GroupRecord {
    GroupRecord::StreamsGroupTopology(topology_key(group_id), Some(value))
}

fn topology_key(group_id: &str) -> StreamsGroupTopologyKey {
    StreamsGroupTopologyKey { group_id: group_id.to_owned(), ..Default::default() }
}

pub(super) fn member_metadata(group_id: &str, member: &StreamsGroupMember) -> GroupRecord {
    GroupRecord::StreamsGroupMemberMetadata(member_key(group_id, &member.member_id), Some(member.metadata_value()))
}

fn member_key(group_id: &str, member_id: &str) -> StreamsGroupMemberMetadataKey {
    StreamsGroupMemberMetadataKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

pub(super) fn target_assignment(group_id: &str, member_id: &str, tasks: &Tasks) -> GroupRecord {
    GroupRecord::StreamsGroupTargetAssignmentMember(target_key(group_id, member_id), Some(tasks.to_record()))
}

fn target_key(group_id: &str, member_id: &str) -> StreamsGroupTargetAssignmentMemberKey {
    StreamsGroupTargetAssignmentMemberKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

pub(super) fn target_assignment_metadata(group_id: &str, assignment_epoch: i32, assignment_timestamp: i64) -> GroupRecord {
    let value = StreamsGroupTargetAssignmentMetadataValue { assignment_epoch, assignment_timestamp, ..Default::default() };
    GroupRecord::StreamsGroupTargetAssignmentMetadata(target_metadata_key(group_id), Some(value))
}

fn target_metadata_key(group_id: &str) -> StreamsGroupTargetAssignmentMetadataKey {
    StreamsGroupTargetAssignmentMetadataKey { group_id: group_id.to_owned(), ..Default::default() }
}

pub(super) fn current_assignment(group_id: &str, member: &StreamsGroupMember) -> GroupRecord {
    GroupRecord::StreamsGroupCurrentMemberAssignment(current_key(group_id, &member.member_id), Some(member.current_assignment_value()))
}

fn current_key(group_id: &str, member_id: &str) -> StreamsGroupCurrentMemberAssignmentKey {
    StreamsGroupCurrentMemberAssignmentKey { group_id: group_id.to_owned(), member_id: member_id.to_owned(), ..Default::default() }
}

/// Everything about a member goes.
pub(super) fn remove_member(group_id: &str, member_id: &str) -> [GroupRecord; 3] {
    [
        GroupRecord::StreamsGroupCurrentMemberAssignment(current_key(group_id, member_id), None),
        GroupRecord::StreamsGroupTargetAssignmentMember(target_key(group_id, member_id), None),
        GroupRecord::StreamsGroupMemberMetadata(member_key(group_id, member_id), None),
    ]
}

/// Everything about a group goes.
pub(in crate::coordinator::group) fn remove_group(group: &StreamsGroup) -> Vec<GroupRecord> {
    let id = group.group_id.as_str();
    let members = || group.members().keys();
    let mut records = Vec::new();
    records.extend(members().map(|member| GroupRecord::StreamsGroupCurrentMemberAssignment(current_key(id, member), None)));
    records.extend(members().map(|member| GroupRecord::StreamsGroupTargetAssignmentMember(target_key(id, member), None)));
    records.push(GroupRecord::StreamsGroupTargetAssignmentMetadata(target_metadata_key(id), None));
    records.extend(members().map(|member| GroupRecord::StreamsGroupMemberMetadata(member_key(id, member), None)));
    records.push(GroupRecord::StreamsGroupMetadata(group_key(id), None));
    records.push(GroupRecord::StreamsGroupTopology(topology_key(id), None));
    records
}
