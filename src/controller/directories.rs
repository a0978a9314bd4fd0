//! In which log directory of its broker each replica lies (KIP-858). Source: Kafka's `ReplicationControlManager`.

use super::partition_change::PartitionChange;
use super::{Controller, MAX_RECORDS_PER_OPERATION, Outcome};
use crate::common::uuid::Uuid;
use crate::metadata::image::BrokerRegistration;
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::assign_replicas_to_dirs_response::{DirectoryData, PartitionData, TopicData};
use crate::protocol::messages::*;

impl Controller {
    /// AssignReplicasToDirs: a broker says where its replicas lie. Who lies in a directory that is offline leads nothing any more.
    pub fn assign_replicas_to_directories(&mut self, request: &AssignReplicasToDirsRequest) -> Outcome<AssignReplicasToDirsResponse> {
        let refuse =
            |code: ErrorCode| Outcome::without_records(AssignReplicasToDirsResponse { error_code: code.code(), ..Default::default() });
        if !self.metadata_version().has_directories() {
            return refuse(ErrorCode::UnsupportedVersion);
        }
        let broker = self.image.cluster.broker(request.broker_id).filter(|broker| broker.epoch == request.broker_epoch).cloned();
        let Some(broker) = broker else { return refuse(ErrorCode::StaleBrokerEpoch) };
        let mut records = Vec::new();
        let directories = request.directories.iter().map(|directory| DirectoryData {
            id: directory.id,
            topics: directory
                .topics
                .iter()
                .map(|topic| TopicData {
                    topic_id: topic.topic_id,
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|partition| PartitionData {
                            partition_index: partition.partition_index,
                            error_code: self
                                .assign(&broker, directory.id, topic.topic_id, partition.partition_index, &mut records)
                                .err()
                                .unwrap_or(ErrorCode::None)
                                .code(),
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        let response = AssignReplicasToDirsResponse { directories: directories.collect(), ..Default::default() };
        Outcome { records, response }
    }

    fn assign(
        &self,
        broker: &BrokerRegistration,
        directory: Uuid,
        topic_id: Uuid,
        index: i32,
        records: &mut Vec<VersionedRecord>,
    ) -> Result<(), ErrorCode> {
        let topic = self.image.topics.topic_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !partition.replicas.contains(&broker.id) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if records.len() >= MAX_RECORDS_PER_OPERATION {
            return Err(ErrorCode::PolicyViolation);
        }
        let is_online = broker.has_online_directory(directory);
        let acceptable = |id: i32| match id == broker.id {
            true => is_online && broker.is_active(),
            false => self.image.cluster.is_active(id) && self.has_online_replica(partition, id),
        };
        let default_directory = |id: i32| self.default_directory(id);
        let change = self.change_of(topic, index, partition, &acceptable, &default_directory, self.min_isr(topic));
        let change = PartitionChange {
            target_isr: partition.isr.iter().copied().filter(|&id| is_online || id != broker.id).collect(),
            target_directory: Some((broker.id, directory)),
            ..change
        };
        records.extend(change.build());
        Ok(())
    }
}
