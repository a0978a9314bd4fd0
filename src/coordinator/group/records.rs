//! The records of `__consumer_offsets` and their bytes: a key of the record type and the key's fields,
//! a value of the version and the value's fields, or no value, which is a tombstone. Source: `GroupCoordinatorRecordHelpers`,
//! `GroupCoordinatorRecordSerde`.

use bytes::Bytes;

use super::{ClassicGroup, ClassicGroupMember, Group, OffsetAndMetadata};
use crate::protocol::codec::{DecodeError, EncodeError, Message, Reader, Writer};
use crate::protocol::messages::group_metadata_value::MemberMetadata;
use crate::protocol::messages::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataKey,
    ConsumerGroupPartitionMetadataValue, ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, GroupMetadataKey, GroupMetadataValue, LegacyOffsetCommitKey, LegacyOffsetCommitValue,
    OffsetCommitKey, OffsetCommitValue, ShareGroupCurrentMemberAssignmentKey, ShareGroupCurrentMemberAssignmentValue,
    ShareGroupMemberMetadataKey, ShareGroupMemberMetadataValue, ShareGroupMetadataKey, ShareGroupMetadataValue,
    ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataValue, ShareGroupTargetAssignmentMemberKey,
    ShareGroupTargetAssignmentMemberValue, ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue,
    StreamsGroupCurrentMemberAssignmentKey, StreamsGroupCurrentMemberAssignmentValue, StreamsGroupMemberMetadataKey,
    StreamsGroupMemberMetadataValue, StreamsGroupMetadataKey, StreamsGroupMetadataValue, StreamsGroupTargetAssignmentMemberKey,
    StreamsGroupTargetAssignmentMemberValue, StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue,
    StreamsGroupTopologyKey, StreamsGroupTopologyValue,
};

const LEGACY_OFFSET_COMMIT: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const OFFSET_COMMIT_VALUE_VERSION: i16 = 4;
/// The only version with a time of expiry, which clients up to OffsetCommit 4 may ask for.
const OFFSET_COMMIT_VALUE_VERSION_WITH_EXPIRY: i16 = 1;

/// `Variant(Key, Value) = record type, version of the value that is written;`, one record a line, in the order of the types.
macro_rules! group_records {
    ($($variant:ident($key:ident, $value:ident) = $type:literal, $version:literal;)*) => {
        /// One record of a group's state. Without a value it removes what its key names.
        #[derive(Clone, Debug, PartialEq)]
        pub enum GroupRecord {
            OffsetCommit(OffsetCommitKey, Option<OffsetCommitValue>),
            $($variant($key, Option<$value>),)*
        }

        impl GroupRecord {
            /// The record's key and value as they stand in the log.
            pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
                match self {
                    GroupRecord::OffsetCommit(key, value) => {
                        let version = |value: &OffsetCommitValue| match value.expire_timestamp {
                            -1 => OFFSET_COMMIT_VALUE_VERSION,
                            _ => OFFSET_COMMIT_VALUE_VERSION_WITH_EXPIRY,
                        };
                        let value = value.as_ref().map(|value| prefixed(version(value), value, version(value))).transpose()?;
                        Ok((prefixed(OFFSET_COMMIT, key, 0)?, value))
                    }
                    $(GroupRecord::$variant(key, value) => {
                        let value = value.as_ref().map(|value| prefixed($version, value, $version)).transpose()?;
                        Ok((prefixed($type, key, 0)?, value))
                    })*
                }
            }

            /// Reads a record of the log; `None` for types this coordinator does not know, which other versions of Kafka may have written.
            pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<GroupRecord>, DecodeError> {
                let mut key = Reader::new(key);
                let record_type = key.i16()?;
                Ok(match record_type {
                    LEGACY_OFFSET_COMMIT => Some(legacy_offset_commit(LegacyOffsetCommitKey::decode(&mut key, 0)?, value)?),
                    OFFSET_COMMIT => {
                        Some(GroupRecord::OffsetCommit(OffsetCommitKey::decode(&mut key, 0)?, value.map(versioned).transpose()?))
                    }
                    $($type => Some(GroupRecord::$variant($key::decode(&mut key, 0)?, value.map(versioned).transpose()?)),)*
                    _ => None,
                })
            }
        }
    };
}

group_records! {
    // Kafka writes this version of the group metadata value since 2.3.
    GroupMetadata(GroupMetadataKey, GroupMetadataValue) = 2, 3;
    ConsumerGroupMetadata(ConsumerGroupMetadataKey, ConsumerGroupMetadataValue) = 3, 0;
    ConsumerGroupPartitionMetadata(ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue) = 4, 0;
    ConsumerGroupMemberMetadata(ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue) = 5, 0;
    ConsumerGroupTargetAssignmentMetadata(ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue) = 6, 0;
    ConsumerGroupTargetAssignmentMember(ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue) = 7, 0;
    ConsumerGroupCurrentMemberAssignment(ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue) = 8, 0;
    ShareGroupMemberMetadata(ShareGroupMemberMetadataKey, ShareGroupMemberMetadataValue) = 10, 0;
    ShareGroupMetadata(ShareGroupMetadataKey, ShareGroupMetadataValue) = 11, 0;
    ShareGroupTargetAssignmentMetadata(ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue) = 12, 0;
    ShareGroupTargetAssignmentMember(ShareGroupTargetAssignmentMemberKey, ShareGroupTargetAssignmentMemberValue) = 13, 0;
    ShareGroupCurrentMemberAssignment(ShareGroupCurrentMemberAssignmentKey, ShareGroupCurrentMemberAssignmentValue) = 14, 0;
    ShareGroupStatePartitionMetadata(ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataValue) = 15, 0;
    ConsumerGroupRegularExpression(ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue) = 16, 0;
    StreamsGroupMetadata(StreamsGroupMetadataKey, StreamsGroupMetadataValue) = 17, 0;
    StreamsGroupMemberMetadata(StreamsGroupMemberMetadataKey, StreamsGroupMemberMetadataValue) = 19, 0;
    StreamsGroupTargetAssignmentMetadata(StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue) = 20, 0;
    StreamsGroupTargetAssignmentMember(StreamsGroupTargetAssignmentMemberKey, StreamsGroupTargetAssignmentMemberValue) = 21, 0;
    StreamsGroupCurrentMemberAssignment(StreamsGroupCurrentMemberAssignmentKey, StreamsGroupCurrentMemberAssignmentValue) = 22, 0;
    StreamsGroupTopology(StreamsGroupTopologyKey, StreamsGroupTopologyValue) = 23, 0;
}

fn legacy_offset_commit(key: LegacyOffsetCommitKey, value: Option<Bytes>) -> Result<GroupRecord, DecodeError> {
    let value = value.map(versioned::<LegacyOffsetCommitValue>).transpose()?;
    let key = OffsetCommitKey { group: key.group, topic: key.topic, partition: key.partition, ..OffsetCommitKey::default() };
    let value = value.map(|value| OffsetCommitValue {
        offset: value.offset,
        metadata: value.metadata,
        commit_timestamp: value.commit_timestamp,
        ..OffsetCommitValue::default()
    });
    Ok(GroupRecord::OffsetCommit(key, value))
}

fn prefixed<M: Message>(prefix: i16, message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(prefix);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

fn versioned<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    M::decode(&mut reader, version)
}

/// A classic group as it is, each member with the assignment `assignment` names.
pub(super) fn group_metadata_record(group: &ClassicGroup, assignment: impl Fn(&ClassicGroupMember) -> Bytes) -> GroupRecord {
    let protocol = group.protocol_name.as_deref().unwrap_or("");
    let members = group
        .members
        .values()
        .map(|member| MemberMetadata {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(protocol).cloned().unwrap_or_default(),
            assignment: assignment(member),
            ..MemberMetadata::default()
        })
        .collect();
    let value = GroupMetadataValue {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation_id,
        protocol: group.protocol_name.clone(),
        leader: group.leader_id.clone(),
        current_state_timestamp: group.current_state_timestamp.unwrap_or(-1),
        members,
        ..GroupMetadataValue::default()
    };
    GroupRecord::GroupMetadata(group_key(&group.group_id), Some(value))
}

/// A group that has just come into being.
pub(super) fn empty_group_metadata_record(group_id: &str, current_state_timestamp: Option<i64>) -> GroupRecord {
    let value = GroupMetadataValue {
        protocol_type: String::new(),
        generation: 0,
        protocol: None,
        leader: None,
        current_state_timestamp: current_state_timestamp.unwrap_or(-1),
        ..GroupMetadataValue::default()
    };
    GroupRecord::GroupMetadata(group_key(group_id), Some(value))
}

/// Removes a group of whatever type; not its offsets.
pub(super) fn group_tombstones(group: &Group, records: &mut Vec<GroupRecord>) {
    match group {
        Group::Classic(group) => records.push(group_metadata_tombstone(group.group_id())),
        Group::Consumer(group) => super::consumer::records::group_tombstones(group, None, records),
        Group::Share(group) => super::share::records::group_tombstones(group, records),
        Group::Streams(group) => records.extend(super::streams::records::remove_group(group)),
    }
}

pub(super) fn group_metadata_tombstone(group_id: &str) -> GroupRecord {
    GroupRecord::GroupMetadata(group_key(group_id), None)
}

pub(super) fn offset_commit_record(group_id: &str, topic: &str, partition: i32, offset: &OffsetAndMetadata) -> GroupRecord {
    let value = OffsetCommitValue {
        offset: offset.committed_offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.clone(),
        commit_timestamp: offset.commit_timestamp_ms,
        expire_timestamp: offset.expire_timestamp_ms.unwrap_or(-1),
        topic_id: offset.topic_id,
        ..OffsetCommitValue::default()
    };
    GroupRecord::OffsetCommit(offset_key(group_id, topic, partition), Some(value))
}

pub(super) fn offset_commit_tombstone(group_id: &str, topic: &str, partition: i32) -> GroupRecord {
    GroupRecord::OffsetCommit(offset_key(group_id, topic, partition), None)
}

fn group_key(group_id: &str) -> GroupMetadataKey {
    GroupMetadataKey { group: group_id.to_owned(), ..GroupMetadataKey::default() }
}

fn offset_key(group_id: &str, topic: &str, partition: i32) -> OffsetCommitKey {
    OffsetCommitKey { group: group_id.to_owned(), topic: topic.to_owned(), partition, ..OffsetCommitKey::default() }
}
