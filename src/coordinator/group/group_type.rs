//! A group of any type. Source: `Group`.

use super::consumer::CommitPermission;
use super::offsets::OffsetAndMetadata;
use super::share::SHARE_PROTOCOL_TYPE;
use super::streams::{self, StreamsGroup};
use super::{CONSUMER_PROTOCOL_TYPE, ClassicGroup, ClassicGroupState, ConsumerGroup, ShareGroup};
use crate::protocol::error_code::ErrorCode;

/// The protocol a group obeys. The text is what ListGroups says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupType {
    Classic,
    Consumer,
    Share,
    Streams,
}

impl GroupType {
    pub fn name(self) -> &'static str {
        match self {
            GroupType::Classic => "classic",
            GroupType::Consumer => "consumer",
            GroupType::Share => "share",
            GroupType::Streams => "streams",
        }
    }

    /// Does an empty group of this type make room for a classic one?
    pub(super) fn may_become_classic(self) -> bool {
        matches!(self, GroupType::Classic | GroupType::Consumer | GroupType::Streams)
    }
}

/// What is wrong with a request about a group, and what the client is told of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GroupError {
    pub error: ErrorCode,
    pub message: String,
}

impl GroupError {
    pub fn new(error: ErrorCode, message: impl Into<String>) -> GroupError {
        GroupError { error, message: message.into() }
    }

    /// GROUP_ID_NOT_FOUND.
    pub fn not_found(message: impl Into<String>) -> GroupError {
        GroupError::new(ErrorCode::GroupIdNotFound, message)
    }
}

/// One group. A further type is a variant here and an arm wherever the compiler asks for one.
#[derive(Clone, Debug)]
pub enum Group {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
    Share(Box<ShareGroup>),
    Streams(Box<StreamsGroup>),
}

impl Group {
    pub fn group_type(&self) -> GroupType {
        match self {
            Group::Classic(_) => GroupType::Classic,
            Group::Consumer(_) => GroupType::Consumer,
            Group::Share(_) => GroupType::Share,
            Group::Streams(_) => GroupType::Streams,
        }
    }

    pub fn group_id(&self) -> &str {
        match self {
            Group::Classic(group) => group.group_id(),
            Group::Consumer(group) => group.group_id(),
            Group::Share(group) => group.group_id(),
            Group::Streams(group) => &group.group_id,
        }
    }

    /// The state's name, as DescribeGroups and ListGroups say it.
    pub fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state().name(),
            Group::Consumer(group) => group.state().name(),
            Group::Share(group) => group.state_name(),
            Group::Streams(group) => group.state().name(),
        }
    }

    /// Has the group no members, nor is about to?
    pub fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_in(ClassicGroupState::Empty),
            Group::Consumer(group) => group.is_empty(),
            Group::Share(group) => group.is_empty(),
            Group::Streams(group) => group.is_empty(),
        }
    }

    pub fn protocol_type(&self) -> &str {
        match self {
            Group::Classic(group) => group.protocol_type().unwrap_or(""),
            Group::Consumer(_) => CONSUMER_PROTOCOL_TYPE,
            Group::Share(_) => SHARE_PROTOCOL_TYPE,
            Group::Streams(_) => streams::PROTOCOL_TYPE,
        }
    }

    /// Does a member read this topic?
    pub fn is_subscribed_to_topic(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to_topic(topic),
            Group::Consumer(group) => group.common().subscribed_topics().contains(topic),
            Group::Share(group) => group.common().subscribed_topics().contains(topic),
            Group::Streams(group) => group.is_subscribed_to(topic),
        }
    }

    /// The next heartbeat is to look at the metadata of the group's topics.
    pub(super) fn request_metadata_refresh(&mut self) {
        match self {
            // Classic members watch their topics themselves.
            Group::Classic(_) => {}
            Group::Consumer(group) => group.common.request_metadata_refresh(),
            Group::Share(group) => group.common.request_metadata_refresh(),
            Group::Streams(group) => group.request_metadata_refresh(),
        }
    }

    /// May this member, of this generation or member epoch, commit offsets?
    pub(super) fn validate_offset_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
        epoch: i32,
        is_transactional: bool,
        api_version: i16,
    ) -> Result<CommitPermission, ErrorCode> {
        match self {
            Group::Classic(group) => {
                group.validate_offset_commit(member_id, group_instance_id, epoch, is_transactional)?;
                Ok(CommitPermission::Everything)
            }
            Group::Consumer(group) => group.validate_offset_commit(member_id, group_instance_id, epoch, is_transactional, api_version),
            // Its offsets are the share coordinator's.
            Group::Share(_) => Err(ErrorCode::GroupIdNotFound),
            Group::Streams(group) => group.validate_offset_commit(member_id, group_instance_id, epoch, is_transactional, api_version),
        }
    }

    /// May whoever says it is this member, of this epoch, read offsets? Who says nothing may.
    pub(super) fn validate_offset_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), ErrorCode> {
        match self {
            // The classic protocol knows no members there; a dead group has nothing to read.
            Group::Classic(_) => Ok(()),
            Group::Consumer(group) => group.validate_offset_fetch(member_id, member_epoch),
            Group::Share(_) => Err(ErrorCode::GroupIdNotFound),
            Group::Streams(group) => group.validate_offset_fetch(member_id, member_epoch),
        }
    }

    /// May offsets of the group be deleted one by one? Those of topics that are read are protected beyond that.
    pub(super) fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        match self {
            Group::Classic(group) => group.validate_offset_delete(),
            Group::Consumer(_) | Group::Streams(_) => Ok(()),
            Group::Share(_) => Err(ErrorCode::GroupIdNotFound),
        }
    }

    /// May the whole group be deleted?
    pub(super) fn validate_delete(&self) -> Result<(), ErrorCode> {
        match self {
            Group::Classic(group) if group.is_in(ClassicGroupState::Dead) => Err(ErrorCode::GroupIdNotFound),
            group if group.is_empty() => Ok(()),
            _ => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// Is the offset of this topic past its retention? Offsets that are read are not.
    pub(super) fn is_offset_expired(&self, topic: &str, offset: &OffsetAndMetadata, now_ms: i64, retention_ms: i64) -> bool {
        match self {
            Group::Classic(group) => group.is_offset_expired(topic, offset, now_ms, retention_ms),
            Group::Consumer(_) | Group::Streams(_) => {
                !self.is_subscribed_to_topic(topic) && offset.has_expired(offset.commit_timestamp_ms, now_ms, retention_ms)
            }
            Group::Share(_) => false,
        }
    }

    /// Does the group go when it has neither members nor offsets? A share group has its offsets elsewhere.
    pub(super) fn should_expire(&self) -> bool {
        !matches!(self, Group::Share(_))
    }
}
