//! The coordinators' records in `__consumer_offsets`, `__transaction_state` and `__share_group_state`, as JSON.
//!
//! A key starts with its type, a value with its version, both 16 bits.
//! Source: `CoordinatorRecordSerde`, the generated `CoordinatorRecordType` and `CoordinatorRecordJsonConverters` of each coordinator.

use bytes::Bytes;
use serde_json::Value;

use crate::protocol::codec::{DecodeError, Message, Reader, VersionRange};
use crate::protocol::messages::*;

/// A topic of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coordinator {
    Group,
    Transaction,
    Share,
}

/// A type of record: its key, and its value in a version, to JSON.
#[derive(Clone, Copy)]
pub(crate) struct RecordType {
    pub(crate) key: fn(Bytes) -> Result<Value, DecodeError>,
    pub(crate) value: fn(Bytes, i16) -> Result<Value, DecodeError>,
    pub(crate) value_versions: VersionRange,
}

/// What follows the message is no error, as in Kafka.
fn body<M: Message>(bytes: Bytes, version: i16) -> Result<Value, DecodeError> {
    M::decode(&mut Reader::new(bytes), version).map(|message| message.to_json(version))
}

fn of<K: Message, V: Message>() -> Option<RecordType> {
    Some(RecordType { key: |bytes| body::<K>(bytes, 0), value: body::<V>, value_versions: V::VERSIONS })
}

impl Coordinator {
    /// The type of this number; `None` for one of a later release.
    pub(crate) fn record_type(self, number: i16) -> Option<RecordType> {
        match (self, number) {
            (Coordinator::Group, 0) => of::<LegacyOffsetCommitKey, LegacyOffsetCommitValue>(),
            (Coordinator::Group, 1) => of::<OffsetCommitKey, OffsetCommitValue>(),
            (Coordinator::Group, 2) => of::<GroupMetadataKey, GroupMetadataValue>(),
            (Coordinator::Group, 3) => of::<ConsumerGroupMetadataKey, ConsumerGroupMetadataValue>(),
            (Coordinator::Group, 4) => of::<ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue>(),
            (Coordinator::Group, 5) => of::<ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue>(),
            (Coordinator::Group, 6) => of::<ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue>(),
            (Coordinator::Group, 7) => of::<ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue>(),
            (Coordinator::Group, 8) => of::<ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue>(),
            (Coordinator::Group, 10) => of::<ShareGroupMemberMetadataKey, ShareGroupMemberMetadataValue>(),
            (Coordinator::Group, 11) => of::<ShareGroupMetadataKey, ShareGroupMetadataValue>(),
            (Coordinator::Group, 12) => of::<ShareGroupTargetAssignmentMetadataKey, ShareGroupTargetAssignmentMetadataValue>(),
            (Coordinator::Group, 13) => of::<ShareGroupTargetAssignmentMemberKey, ShareGroupTargetAssignmentMemberValue>(),
            (Coordinator::Group, 14) => of::<ShareGroupCurrentMemberAssignmentKey, ShareGroupCurrentMemberAssignmentValue>(),
            (Coordinator::Group, 15) => of::<ShareGroupStatePartitionMetadataKey, ShareGroupStatePartitionMetadataValue>(),
            (Coordinator::Group, 16) => of::<ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue>(),
            (Coordinator::Group, 17) => of::<StreamsGroupMetadataKey, StreamsGroupMetadataValue>(),
            (Coordinator::Group, 19) => of::<StreamsGroupMemberMetadataKey, StreamsGroupMemberMetadataValue>(),
            (Coordinator::Group, 20) => of::<StreamsGroupTargetAssignmentMetadataKey, StreamsGroupTargetAssignmentMetadataValue>(),
            (Coordinator::Group, 21) => of::<StreamsGroupTargetAssignmentMemberKey, StreamsGroupTargetAssignmentMemberValue>(),
            (Coordinator::Group, 22) => of::<StreamsGroupCurrentMemberAssignmentKey, StreamsGroupCurrentMemberAssignmentValue>(),
            (Coordinator::Group, 23) => of::<StreamsGroupTopologyKey, StreamsGroupTopologyValue>(),
            (Coordinator::Transaction, 0) => of::<TransactionLogKey, TransactionLogValue>(),
            (Coordinator::Share, 0) => of::<ShareSnapshotKey, ShareSnapshotValue>(),
            (Coordinator::Share, 1) => of::<ShareUpdateKey, ShareUpdateValue>(),
            _ => None,
        }
    }
}

/// The 16 bits in front, and the rest.
pub(crate) fn split(bytes: &Bytes) -> Option<(i16, Bytes)> {
    let (number, _) = bytes.split_first_chunk::<2>()?;
    Some((i16::from_be_bytes(*number), bytes.slice(2..)))
}
