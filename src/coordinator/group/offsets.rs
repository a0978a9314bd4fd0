//! Committed offsets: commit, fetch, delete, and their replay. Source: `OffsetMetadataManager`, `OffsetAndMetadata`.
//!
//! Invariant: a commit inside a transaction is not visible before the transaction's marker; of a plain and a transactional commit of one
//! partition, the one later in the log wins, in whatever order they become visible.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::consumer::CommitPermission;
use super::records::{GroupRecord, offset_commit_record, offset_commit_tombstone};
use super::{ClassicGroup, ClassicGroupState, ClientContext, Effects, Group, GroupShard, MemberProtocol};
use crate::common::uuid::Uuid;
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use crate::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use crate::protocol::messages::{GroupMetadataValue, OffsetCommitRequest, OffsetCommitResponse, OffsetCommitValue};
use crate::protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

/// A committed offset and what came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// Where in `__consumer_offsets` the commit stands.
    pub record_offset: i64,
    pub committed_offset: i64,
    /// -1 when the client gave none.
    pub leader_epoch: i32,
    pub metadata: String,
    pub commit_timestamp_ms: i64,
    /// Only of commits that asked for a retention of their own (OffsetCommit up to 4).
    pub expire_timestamp_ms: Option<i64>,
    /// Zero in commits of before topic ids.
    pub topic_id: Uuid,
}

impl OffsetAndMetadata {
    fn from_record(record_offset: i64, value: OffsetCommitValue) -> OffsetAndMetadata {
        OffsetAndMetadata {
            record_offset,
            committed_offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata,
            commit_timestamp_ms: value.commit_timestamp,
            expire_timestamp_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
            topic_id: value.topic_id,
        }
    }
}

type PartitionOffsets = BTreeMap<i32, OffsetAndMetadata>;
type TopicOffsets = BTreeMap<String, PartitionOffsets>;

/// Offsets by group, topic and partition; no empty map inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OffsetMap(HashMap<String, TopicOffsets>);

impl OffsetMap {
    fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&OffsetAndMetadata> {
        self.0.get(group)?.get(topic)?.get(&partition)
    }

    fn put(&mut self, group: &str, topic: &str, partition: i32, offset: OffsetAndMetadata) {
        self.0.entry(group.to_owned()).or_default().entry(topic.to_owned()).or_default().insert(partition, offset);
    }

    fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        let Some(topics) = self.0.get_mut(group) else { return };
        if let Some(partitions) = topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                topics.remove(topic);
            }
        }
        if topics.is_empty() {
            self.0.remove(group);
        }
    }
}

/// Every offset of a shard: the committed ones, and those of transactions that are still open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    committed: OffsetMap,
    /// By producer id.
    pending: HashMap<i64, OffsetMap>,
    /// Which open transactions hold an offset of a group's topic's partition.
    open: HashMap<String, BTreeMap<(String, i32), BTreeSet<i64>>>,
}

impl Offsets {
    pub fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&OffsetAndMetadata> {
        self.committed.get(group, topic, partition)
    }

    /// A group's committed offsets, by topic and partition.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = (&str, i32, &OffsetAndMetadata)> {
        let topics = self.committed.0.get(group).into_iter().flatten();
        topics.flat_map(|(topic, partitions)| partitions.iter().map(|(&partition, offset)| (topic.as_str(), partition, offset)))
    }

    /// Every committed offset, with its group, topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, i32, &OffsetAndMetadata)> {
        self.committed
            .0
            .keys()
            .flat_map(|group| self.of_group(group).map(move |(topic, partition, offset)| (group.as_str(), topic, partition, offset)))
    }

    pub fn has_any(&self, group: &str) -> bool {
        self.committed.0.contains_key(group)
    }

    pub(super) fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.open.get(group).is_some_and(|open| open.contains_key(&(topic.to_owned(), partition)))
    }

    pub(super) fn has_pending(&self, group: &str) -> bool {
        self.open.contains_key(group)
    }

    fn pending_of_group(&self, group: &str) -> impl Iterator<Item = (&str, i32)> {
        self.open.get(group).into_iter().flatten().map(|((topic, partition), _)| (topic.as_str(), *partition))
    }

    fn close(&mut self, group: &str, topic: &str, partition: i32, producer_id: Option<i64>) {
        let Some(open) = self.open.get_mut(group) else { return };
        let key = (topic.to_owned(), partition);
        match producer_id {
            Some(producer_id) => {
                if let Some(producers) = open.get_mut(&key) {
                    producers.remove(&producer_id);
                    if producers.is_empty() {
                        open.remove(&key);
                    }
                }
            }
            None => {
                for producer_id in open.remove(&key).unwrap_or_default() {
                    if let Some(pending) = self.pending.get_mut(&producer_id) {
                        pending.remove(group, topic, partition);
                    }
                }
            }
        }
        if open.is_empty() {
            self.open.remove(group);
        }
    }

    /// `producer_id`: of the transaction the record belongs to, if any.
    fn replay(
        &mut self,
        record_offset: i64,
        producer_id: Option<i64>,
        group: &str,
        topic: &str,
        partition: i32,
        value: Option<OffsetCommitValue>,
    ) {
        match (value.map(|value| OffsetAndMetadata::from_record(record_offset, value)), producer_id) {
            (Some(offset), None) => self.committed.put(group, topic, partition, offset),
            (Some(offset), Some(producer_id)) => {
                self.pending.entry(producer_id).or_default().put(group, topic, partition, offset);
                let open = self.open.entry(group.to_owned()).or_default();
                open.entry((topic.to_owned(), partition)).or_default().insert(producer_id);
            }
            (None, _) => {
                self.committed.remove(group, topic, partition);
                self.close(group, topic, partition, None);
            }
        }
    }

    pub(super) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        let Some(pending) = self.pending.remove(&producer_id) else { return };
        for (group, topics) in pending.0 {
            for (topic, partitions) in topics {
                for (partition, offset) in partitions {
                    self.close(&group, &topic, partition, Some(producer_id));
                    let is_latest = self.get(&group, &topic, partition).is_none_or(|old| offset.record_offset > old.record_offset);
                    if commit && is_latest {
                        self.committed.put(&group, &topic, partition, offset);
                    }
                }
            }
        }
    }
}

impl GroupShard {
    /// Makes a record of the log part of the state: the one way in which offsets and groups come to be and go. `producer_id` is that of
    /// the record's transaction, if it is in one.
    pub fn replay_record(&mut self, record_offset: i64, producer_id: Option<i64>, record: GroupRecord) {
        match record {
            GroupRecord::OffsetCommit(key, value) => {
                if value.is_some() && !self.groups.contains_key(&key.group) {
                    // A consumer that only commits has a group without members or protocol, a "simple" one.
                    self.groups.insert(key.group.clone(), Group::Classic(Box::new(ClassicGroup::empty(&key.group, None))));
                }
                self.offsets.replay(record_offset, producer_id, &key.group, &key.topic, key.partition, value);
            }
            GroupRecord::GroupMetadata(key, None) => {
                if self.classic_group(&key.group).is_some()
                    && let Some(Group::Classic(group)) = self.groups.remove(&key.group)
                {
                    self.cancel_timers(&group);
                }
            }
            GroupRecord::GroupMetadata(key, Some(value)) => {
                let group = Group::Classic(Box::new(loaded_group(&key.group, value)));
                self.groups.insert(key.group, group);
            }
            GroupRecord::ConsumerGroupMetadata(..)
            | GroupRecord::ConsumerGroupPartitionMetadata(..)
            | GroupRecord::ConsumerGroupMemberMetadata(..)
            | GroupRecord::ConsumerGroupTargetAssignmentMetadata(..)
            | GroupRecord::ConsumerGroupTargetAssignmentMember(..)
            | GroupRecord::ConsumerGroupCurrentMemberAssignment(..)
            | GroupRecord::ConsumerGroupRegularExpression(..) => self.replay_consumer_group(record),
            GroupRecord::ShareGroupMemberMetadata(..)
            | GroupRecord::ShareGroupMetadata(..)
            | GroupRecord::ShareGroupTargetAssignmentMetadata(..)
            | GroupRecord::ShareGroupTargetAssignmentMember(..)
            | GroupRecord::ShareGroupCurrentMemberAssignment(..)
            | GroupRecord::ShareGroupStatePartitionMetadata(..) => self.replay_share_group(record),
            GroupRecord::StreamsGroupMetadata(..)
            | GroupRecord::StreamsGroupMemberMetadata(..)
            | GroupRecord::StreamsGroupTargetAssignmentMetadata(..)
            | GroupRecord::StreamsGroupTargetAssignmentMember(..)
            | GroupRecord::StreamsGroupCurrentMemberAssignment(..)
            | GroupRecord::StreamsGroupTopology(..) => self.replay_streams_group(record),
        }
    }

    /// Handles an OffsetCommit whose topics and partitions exist.
    pub fn commit_offsets(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: &OffsetCommitRequest,
    ) -> Result<(OffsetCommitResponse, Effects), ErrorCode> {
        let permission = self.validate_offset_commit(now, client, request)?;
        // The sentinel -1 leaves it to the broker's retention.
        let expire_timestamp_ms = (request.retention_time_ms != -1).then(|| now.wall_ms.saturating_add(request.retention_time_ms));
        let mut response = OffsetCommitResponse::default();
        let mut effects = Effects { replay: true, ..Effects::default() };
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let offset = OffsetAndMetadata {
                    record_offset: -1,
                    committed_offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.clone().unwrap_or_default(),
                    commit_timestamp_ms: now.wall_ms,
                    expire_timestamp_ms,
                    topic_id: topic.topic_id,
                };
                let commit = (topic.name.as_str(), topic.topic_id, partition.partition_index);
                let error = self.commit_offset(&permission, &request.group_id, commit, &offset, &mut effects.records)?;
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: error.code(),
                    ..OffsetCommitResponsePartition::default()
                });
            }
            response.topics.push(OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions,
                ..OffsetCommitResponseTopic::default()
            });
        }
        Ok((response, effects))
    }

    /// One partition of a commit: its record, or the error that concerns it alone. A partition that the member may not commit (`Err`)
    /// refuses the whole request, as in Kafka. `partition`: the topic, its id as far as it is known, and the number.
    pub(super) fn commit_offset(
        &self,
        permission: &CommitPermission,
        group_id: &str,
        (topic, topic_id, partition): (&str, Uuid, i32),
        offset: &OffsetAndMetadata,
        records: &mut Vec<GroupRecord>,
    ) -> Result<ErrorCode, ErrorCode> {
        if utf16_len_exceeds(&offset.metadata, self.config.offset_metadata_max_size) {
            return Ok(ErrorCode::OffsetMetadataTooLarge);
        }
        permission.check(topic, topic_id, partition)?;
        records.push(offset_commit_record(group_id, topic, partition, offset));
        Ok(ErrorCode::None)
    }

    fn validate_offset_commit(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: &OffsetCommitRequest,
    ) -> Result<CommitPermission, ErrorCode> {
        let (member_id, instance) = (request.member_id.as_str(), request.group_instance_id.as_deref());
        let epoch = request.generation_id_or_member_epoch;
        match self.groups.get(&request.group_id) {
            // A negative generation comes from a tool or from a consumer that assigns itself: its group begins with the commit.
            None => match epoch {
                ..0 => Ok(CommitPermission::Everything),
                _ if client.api_version >= 9 => Err(ErrorCode::GroupIdNotFound),
                _ => Err(ErrorCode::IllegalGeneration),
            },
            Some(group) => {
                let permission = group.validate_offset_commit(member_id, instance, epoch, false, client.api_version)?;
                // In the classic protocol a commit is also a sign of life.
                self.with_group(now, &request.group_id, |group, step| {
                    if matches!(group.state, ClassicGroupState::Stable | ClassicGroupState::PreparingRebalance) {
                        group.renew_session(member_id, step);
                    }
                });
                Ok(permission)
            }
        }
    }

    /// Looks up the offsets of a group. With `require_stable`, partitions with a commit in an open transaction answer
    /// UNSTABLE_OFFSET_COMMIT. `topics: None` means all. Whoever says as which member it asks has to be that member, of that epoch.
    pub fn fetch_offsets(&self, request: &OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
        let group_id = &request.group_id;
        let group = self.groups.get(group_id);
        if let Some(Err(error)) = group.map(|group| group.validate_offset_fetch(request.member_id.as_deref(), request.member_epoch)) {
            return OffsetFetchResponseGroup {
                group_id: group_id.clone(),
                error_code: error.code(),
                ..OffsetFetchResponseGroup::default()
            };
        }
        let exists = group.is_some_and(|group| !matches!(group, Group::Classic(group) if group.is_in(ClassicGroupState::Dead)));
        let response = |partition: i32, topic: &str, offset: Option<&OffsetAndMetadata>| {
            let unstable = require_stable && self.offsets.is_pending(group_id, topic, partition);
            let error = if unstable { ErrorCode::UnstableOffsetCommit } else { ErrorCode::None };
            let offset = offset.filter(|_| !unstable);
            OffsetFetchResponsePartitions {
                partition_index: partition,
                committed_offset: offset.map_or(-1, |o| o.committed_offset),
                committed_leader_epoch: offset.map_or(-1, |o| o.leader_epoch),
                metadata: Some(offset.map_or_else(String::new, |o| o.metadata.clone())),
                error_code: error.code(),
                ..OffsetFetchResponsePartitions::default()
            }
        };
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| OffsetFetchResponseTopics {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic
                        .partition_indexes
                        .iter()
                        .map(|&partition| {
                            let offset = if exists { self.offsets.get(group_id, &topic.name, partition) } else { None };
                            // A topic of the same name that was created anew has no offsets yet.
                            let offset =
                                offset.filter(|o| o.topic_id.is_zero() || topic.topic_id.is_zero() || o.topic_id == topic.topic_id);
                            response(partition, &topic.name, offset)
                        })
                        .collect(),
                    ..OffsetFetchResponseTopics::default()
                })
                .collect(),
            None if exists => {
                let topics = self.offsets.committed.0.get(group_id).into_iter().flatten();
                topics
                    .map(|(name, partitions)| OffsetFetchResponseTopics {
                        name: name.clone(),
                        partitions: partitions.iter().map(|(&partition, offset)| response(partition, name, Some(offset))).collect(),
                        ..OffsetFetchResponseTopics::default()
                    })
                    .collect()
            }
            None => Vec::new(),
        };
        OffsetFetchResponseGroup { group_id: group_id.clone(), topics, ..OffsetFetchResponseGroup::default() }
    }

    /// Handles an OffsetDelete whose topics and partitions exist.
    pub fn delete_offsets(&mut self, request: &OffsetDeleteRequest) -> Result<(OffsetDeleteResponse, Effects), ErrorCode> {
        let group = self.groups.get(&request.group_id).ok_or(ErrorCode::GroupIdNotFound)?;
        group.validate_offset_delete()?;
        let mut response = OffsetDeleteResponse::default();
        let mut effects = Effects { replay: true, ..Effects::default() };
        for topic in &request.topics {
            let subscribed = group.is_subscribed_to_topic(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let exists = self.offsets.get(&request.group_id, &topic.name, index).is_some()
                    || self.offsets.is_pending(&request.group_id, &topic.name, index);
                if !subscribed && exists {
                    effects.records.push(offset_commit_tombstone(&request.group_id, &topic.name, index));
                }
                let error = if subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
                partitions.push(OffsetDeleteResponsePartition {
                    partition_index: index,
                    error_code: error.code(),
                    ..OffsetDeleteResponsePartition::default()
                });
            }
            response.topics.push(OffsetDeleteResponseTopic {
                name: topic.name.clone(),
                partitions,
                ..OffsetDeleteResponseTopic::default()
            });
        }
        Ok((response, effects))
    }

    /// Tombstones for everything a group has committed, in transactions too.
    pub(super) fn delete_all_offsets(&self, group_id: &str, records: &mut Vec<GroupRecord>) {
        let committed = self.offsets.of_group(group_id).map(|(topic, partition, _)| (topic, partition));
        let pending =
            self.offsets.pending_of_group(group_id).filter(|&(topic, partition)| self.offsets.get(group_id, topic, partition).is_none());
        records.extend(committed.chain(pending).map(|(topic, partition)| offset_commit_tombstone(group_id, topic, partition)));
    }

    /// Forgets the offsets and share partitions of topics that were deleted, given as name and id.
    pub fn on_topics_deleted(&mut self, deleted: &[(String, Uuid)]) -> Effects {
        let mut gone = BTreeSet::new();
        for map in std::iter::once(&self.offsets.committed).chain(self.offsets.pending.values()) {
            for (group_id, topics) in &map.0 {
                for (name, id) in deleted {
                    for (&partition, offset) in topics.get(name).into_iter().flatten() {
                        // Commits of before topic ids can only be told by name.
                        if offset.topic_id.is_zero() || offset.topic_id == *id {
                            gone.insert((group_id.as_str(), name.as_str(), partition));
                        }
                    }
                }
            }
        }
        let mut records: Vec<GroupRecord> =
            gone.into_iter().map(|(group, topic, partition)| offset_commit_tombstone(group, topic, partition)).collect();
        records.extend(self.forget_share_partitions(&deleted.iter().map(|(_, id)| *id).collect()));
        Effects { records, replay: true, divisible: true, ..Effects::default() }
    }
}

impl ClassicGroup {
    /// May this member, of this generation, commit? The order of the checks is Kafka's.
    pub(super) fn validate_offset_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
        generation_id: i32,
        is_transactional: bool,
    ) -> Result<(), ErrorCode> {
        if self.is_in(ClassicGroupState::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if generation_id < 0 && self.is_in(ClassicGroupState::Empty) {
            return Ok(());
        }
        if generation_id >= 0 || !member_id.is_empty() || group_instance_id.is_some() {
            self.validate_member(member_id, group_instance_id)?;
            if generation_id != self.generation_id {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !is_transactional && !self.is_in(ClassicGroupState::Empty) {
            return Err(ErrorCode::UnknownMemberId);
        }
        if !is_transactional && self.is_in(ClassicGroupState::CompletingRebalance) {
            // The member is of the new generation but has no assignment yet: it has nothing of its own to commit.
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    pub(super) fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        match self.state {
            ClassicGroupState::Dead => Err(ErrorCode::GroupIdNotFound),
            ClassicGroupState::Empty => Ok(()),
            _ if self.uses_consumer_group_protocol() => Ok(()),
            _ => Err(ErrorCode::NonEmptyGroup),
        }
    }
}

/// Is `text` longer than `limit` in Java's count of characters?
fn utf16_len_exceeds(text: &str, limit: usize) -> bool {
    // A string has at least as many bytes as UTF-16 units, so that most need not be counted.
    text.len() > limit && text.encode_utf16().count() > limit
}

/// The group that a record tells of.
fn loaded_group(group_id: &str, value: GroupMetadataValue) -> ClassicGroup {
    let mut group = ClassicGroup::empty(group_id, (value.current_state_timestamp != -1).then_some(value.current_state_timestamp));
    group.state = if value.members.is_empty() { ClassicGroupState::Empty } else { ClassicGroupState::Stable };
    group.generation_id = value.generation;
    group.protocol_type = Some(value.protocol_type).filter(|t| !t.is_empty());
    group.leader_id = value.leader;
    let protocol = value.protocol.clone().unwrap_or_default();
    group.protocol_name = value.protocol;
    let protocol_type = group.protocol_type.clone().unwrap_or_default();
    for member in value.members {
        group.add(super::ClassicGroupMember {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            // Records of version 0 have no rebalance timeout.
            rebalance_timeout_ms: if member.rebalance_timeout == -1 { member.session_timeout } else { member.rebalance_timeout },
            session_timeout_ms: member.session_timeout,
            protocol_type: protocol_type.clone(),
            protocols: vec![MemberProtocol { name: protocol.clone(), metadata: member.subscription }],
            assignment: member.assignment,
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        });
    }
    group.compute_subscribed_topics();
    group
}
