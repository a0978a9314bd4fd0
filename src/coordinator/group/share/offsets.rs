//! Offsets of a share group without members are set (AlterShareGroupOffsets) and removed (DeleteShareGroupOffsets), as far as the group
//! knows of them; the offsets themselves are the share coordinator's. Source: `alterShareGroupOffsets`,
//! `sharePartitionsEligibleForOffsetDeletion`, `completeDeleteShareGroupOffsets` of `GroupMetadataManager`.

use std::collections::{BTreeMap, BTreeSet};

use super::state_partitions::one_record;
use super::{InitTopic, ShareGroup, StateDeletion, StateInitialization, StatePartitions};
use crate::common::uuid::Uuid;
use crate::coordinator::group::modern::TopicPartitions;
use crate::coordinator::group::{Effects, Group, GroupError, GroupShard};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use crate::protocol::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use crate::protocol::messages::{AlterShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequest};

/// A deletion of offsets under way: what the share coordinator has to forget, and what is answered already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OffsetDeletion {
    pub deletion: Option<StateDeletion>,
    pub errors: Vec<DeleteShareGroupOffsetsResponseTopic>,
}

fn unknown(partition_index: i32) -> AlterShareGroupOffsetsResponsePartition {
    AlterShareGroupOffsetsResponsePartition {
        partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
        error_message: Some(ErrorCode::UnknownTopicOrPartition.message().to_owned()),
        ..Default::default()
    }
}

impl GroupShard {
    /// Begins to set offsets; a group that does not exist comes into being. The answer holds if the share coordinator agrees.
    pub fn alter_share_group_offsets(
        &mut self,
        now: Now,
        request: &AlterShareGroupOffsetsRequest,
    ) -> Result<((Vec<AlterShareGroupOffsetsResponseTopic>, StateInitialization), Effects), GroupError> {
        let group_id = &request.group_id;
        let group = match self.groups.get(group_id) {
            Some(Group::Share(group)) => (**group).clone(),
            Some(_) => return Err(GroupError::not_found(format!("Group {group_id} is not a share group."))),
            None => ShareGroup::new(group_id),
        };
        if !group.is_empty() {
            return Err(GroupError::new(ErrorCode::NonEmptyGroup, ErrorCode::NonEmptyGroup.message()));
        }
        let mut initializing: BTreeMap<Uuid, InitTopic> = BTreeMap::new();
        let mut offsets: BTreeMap<(Uuid, i32), i64> = BTreeMap::new();
        let mut responses = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut response = AlterShareGroupOffsetsResponseTopic { topic_name: topic.topic_name.clone(), ..Default::default() };
            let Some(image) = self.topics.topic(&topic.topic_name) else {
                response.partitions = topic.partitions.iter().map(|partition| unknown(partition.partition_index)).collect();
                responses.push(response);
                continue;
            };
            response.topic_id = image.id;
            let known = initializing.entry(image.id).or_insert_with(|| InitTopic { name: image.name.clone(), partitions: BTreeSet::new() });
            for partition in &topic.partitions {
                let partition_index = partition.partition_index;
                if image.partition(partition_index).is_none() {
                    response.partitions.push(unknown(partition_index));
                    continue;
                }
                known.partitions.insert(partition_index);
                offsets.insert((image.id, partition_index), partition.start_offset);
                response.partitions.push(AlterShareGroupOffsetsResponsePartition { partition_index, ..Default::default() });
            }
            responses.push(response);
        }
        let mut effects = Effects { replay: true, ..Effects::default() };
        self.add_initializing(now, &group, &initializing, &mut effects);
        let initialization = StateInitialization {
            group_id: group_id.clone(),
            state_epoch: group.common.group_epoch(),
            partitions: offsets.into_iter().map(|((topic, partition), offset)| (topic, partition, offset)).collect(),
        };
        Ok(((responses, initialization), effects))
    }

    /// Begins to remove the offsets of topics.
    pub fn begin_share_offset_deletion(
        &mut self,
        request: &DeleteShareGroupOffsetsRequest,
    ) -> Result<(OffsetDeletion, Effects), GroupError> {
        let group = self.share_group(&request.group_id)?;
        if !group.is_empty() {
            return Err(GroupError::new(ErrorCode::NonEmptyGroup, ErrorCode::NonEmptyGroup.message()));
        }
        let Some(state) = group.state_partitions.clone() else { return Ok((OffsetDeletion::default(), Effects::default())) };
        let StatePartitions { initializing, mut initialized, mut deleting } = state;
        let mut partitions = TopicPartitions::new();
        let mut errors = Vec::new();
        for topic in &request.topics {
            let mut failed = |message: &str| {
                errors.push(DeleteShareGroupOffsetsResponseTopic {
                    topic_name: topic.topic_name.clone(),
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    error_message: Some(message.to_owned()),
                    ..Default::default()
                });
            };
            let Some(image) = self.topics.topic(&topic.topic_name) else {
                failed(ErrorCode::UnknownTopicOrPartition.message());
                continue;
            };
            if let Some(known) = initialized.remove(&image.id) {
                partitions.insert(image.id, known.partitions);
                deleting.insert(image.id);
            } else if deleting.contains(&image.id) {
                partitions.insert(image.id, image.partitions.keys().copied().collect());
            } else {
                failed("There is no offset information to delete.");
            }
        }
        let state = StatePartitions { initializing, initialized, deleting };
        let effects = one_record(self.state_partitions_record(&request.group_id, &state));
        let deletion = (!partitions.is_empty()).then(|| StateDeletion { group_id: request.group_id.clone(), partitions });
        Ok((OffsetDeletion { deletion, errors }, effects))
    }

    /// The share coordinator has forgotten the states of these topics.
    pub fn complete_share_offset_deletion(&mut self, group_id: &str, topics: &BTreeSet<Uuid>) -> Effects {
        let state = self.share_group(group_id).ok().and_then(|group| group.state_partitions.clone());
        let Some(mut state) = state else { return Effects::default() };
        state.deleting.retain(|id| !topics.contains(id));
        one_record(self.state_partitions_record(group_id, &state))
    }
}
