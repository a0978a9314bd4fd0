//! Moving partitions to other replicas.
//!
//! A change first adds the new replicas to the old ones; [`super::partition_change`] drops the old ones once the new ones are in sync,
//! which is at once where all that changes is the order, or where replicas only go.
//! Sources: Kafka's `ReplicationControlManager`, `PartitionReassignmentReplicas`, `PartitionReassignmentRevert`.

use super::api_error::{ApiError, error_of};
use super::partition_change::{Election, PartitionChange};
use super::{Controller, MAX_RECORDS_PER_OPERATION, Outcome, topics};
use crate::metadata::image::{MetadataImage, TopicImage};
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use crate::protocol::messages::alter_partition_reassignments_response::{ReassignablePartitionResponse, ReassignableTopicResponse};
use crate::protocol::messages::list_partition_reassignments_response::{OngoingPartitionReassignment, OngoingTopicReassignment};
use crate::protocol::messages::*;

impl Controller {
    /// AlterPartitionReassignments: partitions get other replicas, or keep those that they had.
    pub fn alter_partition_reassignments(
        &mut self,
        request: &AlterPartitionReassignmentsRequest,
    ) -> Outcome<AlterPartitionReassignmentsResponse> {
        let mut records = Vec::new();
        let responses = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let changed = self.reassign(&topic.name, partition, request.allow_replication_factor_change).and_then(|record| {
                    if records.len() >= MAX_RECORDS_PER_OPERATION {
                        return Err(ApiError::new(ErrorCode::PolicyViolation, topics::TOO_LARGE));
                    }
                    records.extend(record);
                    Ok(())
                });
                let error = error_of(changed);
                ReassignablePartitionResponse {
                    partition_index: partition.partition_index,
                    error_code: error.code.code(),
                    error_message: error.message,
                    ..Default::default()
                }
            });
            ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect(), ..Default::default() }
        });
        let response = AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            responses: responses.collect(),
            error_message: request.topics.is_empty().then(String::new),
            ..Default::default()
        };
        Outcome { records, response }
    }

    fn reassign(
        &self,
        name: &str,
        wanted: &ReassignablePartition,
        allow_replication_factor_change: bool,
    ) -> Result<Option<VersionedRecord>, ApiError> {
        let unknown = |text: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, text);
        let topic = self.image.topics.topic(name).ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
        let index = wanted.partition_index;
        let partition = topic.partition(index).ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
        let acceptable = |id: i32| self.image.cluster.is_active(id) && self.has_online_replica(partition, id);
        let default_directory = |id: i32| self.default_directory(id);
        let change = self.change_of(topic, index, partition, &acceptable, &default_directory, self.min_isr(topic));
        match &wanted.replicas {
            None => self.cancel(topic, change),
            Some(replicas) => self.change_replicas(replicas, allow_replication_factor_change, change),
        }
    }

    /// Back to the replicas from before the reassignment.
    fn cancel(&self, topic: &TopicImage, change: PartitionChange<'_>) -> Result<Option<VersionedRecord>, ApiError> {
        let partition = change.partition;
        if !partition.is_reassigning() {
            return Err(ApiError { code: ErrorCode::NoReassignmentInProgress, message: None });
        }
        let stays = |id: &i32| !partition.adding_replicas.contains(id);
        let replicas: Vec<i32> = partition.replicas.iter().copied().filter(stays).collect();
        let mut isr: Vec<i32> = partition.isr.iter().copied().filter(stays).collect();
        let unclean = self.unclean_election(&topic.name);
        if isr.is_empty() {
            if !unclean {
                let text = format!(
                    "Unable to revert partition assignment for {}:{} because it would require an unclean leader election.",
                    topic.name, change.partition_id
                );
                return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
            }
            isr.extend(replicas.first());
        }
        let change = PartitionChange {
            election: if unclean { Election::Unclean } else { Election::Online },
            target_isr: isr,
            target_replicas: replicas,
            target_removing: Vec::new(),
            target_adding: Vec::new(),
            ..change
        };
        Ok(change.build())
    }

    fn change_replicas(
        &self,
        replicas: &[i32],
        allow_replication_factor_change: bool,
        change: PartitionChange<'_>,
    ) -> Result<Option<VersionedRecord>, ApiError> {
        self.validate_assignment(replicas, None)?;
        let partition = change.partition;
        let current = partition.replicas.iter().filter(|id| !partition.removing_replicas.contains(id)).count();
        if !allow_replication_factor_change && current != replicas.len() {
            let text = format!("The replication factor is changed from {current} to {}", replicas.len());
            return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, text));
        }
        let sorted = |mut ids: Vec<i32>| {
            ids.sort_unstable();
            ids
        };
        let removing = sorted(partition.replicas.iter().copied().filter(|id| !replicas.contains(id)).collect());
        let adding = sorted(replicas.iter().copied().filter(|id| !partition.replicas.contains(id)).collect());
        let all = replicas.iter().chain(&removing).copied().collect();
        // Without any to add or remove, those of a reassignment before this one stay, as in Kafka.
        let change = PartitionChange {
            target_replicas: all,
            target_removing: if removing.is_empty() { change.target_removing } else { removing },
            target_adding: if adding.is_empty() { change.target_adding } else { adding },
            ..change
        };
        Ok(change.build())
    }
}

/// ListPartitionReassignments: the named partitions that are being moved, or all that are.
pub fn list_partition_reassignments(
    image: &MetadataImage,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let ongoing = |topic: &TopicImage, indexes: &mut dyn Iterator<Item = i32>| {
        let partitions = indexes.filter_map(|index| {
            let partition = topic.partition(index).filter(|partition| partition.is_reassigning())?;
            Some(OngoingPartitionReassignment {
                partition_index: index,
                replicas: partition.replicas.clone(),
                adding_replicas: partition.adding_replicas.clone(),
                removing_replicas: partition.removing_replicas.clone(),
                ..Default::default()
            })
        });
        let partitions: Vec<_> = partitions.collect();
        (!partitions.is_empty()).then(|| OngoingTopicReassignment { name: topic.name.clone(), partitions, ..Default::default() })
    };
    let topics = match &request.topics {
        None => image.topics.iter().filter_map(|topic| ongoing(topic, &mut topic.partitions.keys().copied())).collect(),
        Some(topics) => topics
            .iter()
            .filter_map(|wanted| ongoing(image.topics.topic(&wanted.name)?, &mut wanted.partition_indexes.iter().copied()))
            .collect(),
    };
    ListPartitionReassignmentsResponse { topics, error_message: None, ..Default::default() }
}
