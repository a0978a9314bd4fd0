//! `sticky` and `cooperative-sticky`.
use bytes::{BufMut, Bytes, BytesMut};

use super::{Assignment, Member, TopicRacks};
use crate::common::topic_partition::TopicPartition;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Eager,
    Cooperative,
}

pub(super) fn assign(topics: &TopicRacks, members: &[Member], _kind: Kind) -> Assignment {
    super::round_robin::assign(topics, members)
}

pub(super) fn write_user_data(_partitions: &[TopicPartition], generation: i32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i32(0);
    bytes.put_i32(generation);
    bytes.freeze()
}
