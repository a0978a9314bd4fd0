//! The bytes that members of a group leave for each other in JoinGroup and SyncGroup.
//!
//! Invariant: whoever wrote them, a version above ours is read as ours, and what is broken is an error, never a panic.
//! Source: `ConsumerProtocol`, the schemas `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::assignors::Member;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::codec::{DecodeError, EncodeError, Message, Reader, Writer};
use crate::protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use crate::protocol::messages::{consumer_protocol_assignment as assignment, consumer_protocol_subscription as subscription};

fn versioned<M: Message>(message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(M::VERSIONS.max);
    message.encode(&mut writer, M::VERSIONS.max)?;
    Ok(writer.into_bytes())
}

fn read<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    // What newer members add follows what we know.
    M::decode(&mut reader, version.min(M::VERSIONS.max))
}

fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics
}

/// What a member says of itself when it joins.
pub(super) fn write_subscription(member: &Member) -> Result<Bytes, EncodeError> {
    let owned = by_topic(&member.owned_partitions).into_iter().map(|(topic, partitions)| subscription::TopicPartition {
        topic: topic.to_owned(),
        partitions,
        ..Default::default()
    });
    versioned(&ConsumerProtocolSubscription {
        topics: member.topics.clone(),
        user_data: member.user_data.clone(),
        owned_partitions: owned.collect(),
        generation_id: member.generation.unwrap_or(-1),
        rack_id: member.rack.clone(),
        ..Default::default()
    })
}

/// Reads what [`write_subscription`] wrote for the member of this id.
pub(super) fn read_subscription(id: String, group_instance_id: Option<String>, bytes: Bytes) -> Result<Member, DecodeError> {
    let read: ConsumerProtocolSubscription = read(bytes)?;
    let owned = read.owned_partitions.into_iter();
    Ok(Member {
        id,
        group_instance_id,
        topics: read.topics,
        user_data: read.user_data,
        owned_partitions: owned.flat_map(|it| it.partitions.into_iter().map(move |p| TopicPartition::new(it.topic.clone(), p))).collect(),
        generation: (read.generation_id >= 0).then_some(read.generation_id),
        rack: read.rack_id.filter(|rack| !rack.is_empty()),
    })
}

/// What the leader tells a member.
pub(super) fn write_assignment(partitions: &[TopicPartition]) -> Result<Bytes, EncodeError> {
    let assigned = by_topic(partitions).into_iter().map(|(topic, partitions)| assignment::TopicPartition {
        topic: topic.to_owned(),
        partitions,
        ..Default::default()
    });
    versioned(&ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), ..Default::default() })
}

/// Reads what [`write_assignment`] wrote. No bytes are no partitions.
pub(super) fn read_assignment(bytes: Bytes) -> Result<Vec<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let read: ConsumerProtocolAssignment = read(bytes)?;
    let assigned = read.assigned_partitions.into_iter();
    Ok(assigned.flat_map(|it| it.partitions.into_iter().map(move |p| TopicPartition::new(it.topic.clone(), p))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_comes_back_as_it_was_written() {
        let member = Member {
            id: "m".to_owned(),
            topics: vec!["a".to_owned(), "b".to_owned()],
            user_data: Some(Bytes::from_static(b"x")),
            owned_partitions: vec![TopicPartition::new("a", 1), TopicPartition::new("a", 2)],
            generation: Some(4),
            rack: Some("r".to_owned()),
            ..Member::default()
        };
        let bytes = write_subscription(&member).expect("encodes");
        assert_eq!(read_subscription("m".to_owned(), None, bytes), Ok(member));
    }

    #[test]
    fn a_version_from_the_future_is_read_as_the_last_known() {
        let mut bytes = write_assignment(&[TopicPartition::new("a", 1)]).expect("encodes").to_vec();
        bytes[1] = 9;
        bytes.extend_from_slice(b"news");
        assert_eq!(read_assignment(bytes.into()), Ok(vec![TopicPartition::new("a", 1)]));
        assert!(read_assignment(Bytes::from_static(&[0, 1, 0x7f, 0xff, 0xff, 0xff])).is_err());
    }
}
