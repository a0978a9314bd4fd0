//! What lies in partitions: offsets by place or time, deletion of old records, active producers. Asked of each partition's leader.

use std::collections::BTreeMap;

use super::{Admin, Results, all_failed, wire_millis};
use crate::client::conn::RequestError;
use crate::client::error::ApiError;
use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::protocol::codec::Request;
use crate::protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use crate::protocol::messages::describe_producers_request::TopicRequest;
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::{DeleteRecordsRequest, DescribeProducersRequest, ListOffsetsRequest};

/// Which offset is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    Earliest,
    Latest,
    /// Of the record with the largest timestamp.
    MaxTimestamp,
    /// The first on the broker's own disk, where there is tiered storage.
    EarliestLocal,
    /// The last in tiered storage.
    LatestTiered,
    /// The first that is not yet in tiered storage.
    EarliestPendingUpload,
    /// Of the first record with this timestamp (ms) or a later one.
    Timestamp(i64),
}

impl OffsetSpec {
    fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::EarliestLocal => -4,
            OffsetSpec::LatestTiered => -5,
            OffsetSpec::EarliestPendingUpload => -6,
            OffsetSpec::Timestamp(timestamp) => timestamp,
        }
    }

    /// The first version of ListOffsets that knows the question.
    fn first_version(self) -> i16 {
        match self {
            OffsetSpec::Latest | OffsetSpec::Earliest | OffsetSpec::Timestamp(_) => 0,
            OffsetSpec::MaxTimestamp => 7,
            OffsetSpec::EarliestLocal => 8,
            OffsetSpec::LatestTiered => 9,
            OffsetSpec::EarliestPendingUpload => 11,
        }
    }
}

/// Whether records of open and aborted transactions count. The numbers are the wire's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    #[default]
    ReadUncommitted = 0,
    ReadCommitted = 1,
}

/// An offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// -1 when there is no such record.
    pub offset: i64,
    /// Of the record found by time, or -1.
    pub timestamp: i64,
    pub leader_epoch: Option<i32>,
}

/// A producer that writes to a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i32,
    pub last_sequence: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: Option<i32>,
    pub current_transaction_start_offset: Option<i64>,
}

impl Admin {
    /// Offsets of partitions.
    pub async fn list_offsets(
        &self,
        specs: &BTreeMap<TopicPartition, OffsetSpec>,
        isolation_level: IsolationLevel,
    ) -> Results<TopicPartition, ListedOffset> {
        self.rounds("listOffsets", specs.keys().cloned(), |pending: Vec<TopicPartition>| async move {
            let (leaders, mut results) = self.by_leader(&pending).await;
            let timeout_ms = wire_millis(self.cluster.request_timeout());
            let answers = self.to_brokers(leaders, |connection, partitions: &[(TopicPartition, i32)]| {
                let version = connection.version_of::<ListOffsetsRequest>()?;
                let needed = partitions.iter().filter_map(|(partition, _)| specs.get(partition)).map(|spec| spec.first_version()).max();
                let with_isolation = isolation_level != IsolationLevel::ReadUncommitted;
                if version < needed.unwrap_or(0) || (with_isolation && version < 2) {
                    let theirs = connection.served().range(ListOffsetsRequest::KEY);
                    let mut ours = ListOffsetsRequest::KEY.versions();
                    ours.min = needed.unwrap_or(0).max(ours.min);
                    return Err(
                        RequestError::UnsupportedVersion { peer: connection.peer(), api: ListOffsetsRequest::KEY, ours, theirs }.into()
                    );
                }
                let topics = by_topic(partitions.iter().map(|(partition, current_leader_epoch)| {
                    let entry = ListOffsetsPartition {
                        partition_index: partition.partition,
                        current_leader_epoch: *current_leader_epoch,
                        timestamp: specs.get(partition).map_or(-1, |spec| spec.timestamp()),
                        ..Default::default()
                    };
                    (partition.topic.clone(), entry)
                }));
                let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name, partitions, ..Default::default() });
                let request = ListOffsetsRequest {
                    replica_id: -1,
                    isolation_level: isolation_level as i8,
                    topics: topics.collect(),
                    timeout_ms,
                    ..Default::default()
                };
                Ok((request, version))
            });
            for (_, partitions, answer) in answers.await {
                match answer {
                    Err(error) => results.extend(all_failed(partitions.into_iter().map(|(partition, _)| partition), &error)),
                    Ok((response, _)) => {
                        for topic in response.topics {
                            for partition in topic.partitions {
                                let listed = ListedOffset {
                                    offset: partition.offset,
                                    timestamp: partition.timestamp,
                                    leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
                                };
                                let outcome = ApiError::check(partition.error_code, None).map(|()| listed);
                                results.insert(TopicPartition::new(topic.name.clone(), partition.partition_index), outcome);
                            }
                        }
                    }
                }
            }
            results
        })
        .await
    }

    /// Deletes the records before an offset (-1: all so far). Gives each partition's new first offset.
    pub async fn delete_records(&self, before: &BTreeMap<TopicPartition, i64>) -> Results<TopicPartition, i64> {
        self.rounds("deleteRecords", before.keys().cloned(), |pending: Vec<TopicPartition>| async move {
            let (leaders, mut results) = self.by_leader(&pending).await;
            let timeout_ms = wire_millis(self.cluster.request_timeout());
            let answers = self.to_brokers(leaders, |connection, partitions: &[(TopicPartition, i32)]| {
                let topics = by_topic(partitions.iter().filter_map(|(partition, _)| {
                    let (partition_index, offset) = (partition.partition, *before.get(partition)?);
                    Some((partition.topic.clone(), DeleteRecordsPartition { partition_index, offset, ..Default::default() }))
                }));
                let topics = topics.into_iter().map(|(name, partitions)| DeleteRecordsTopic { name, partitions, ..Default::default() });
                let request = DeleteRecordsRequest { topics: topics.collect(), timeout_ms, ..Default::default() };
                Ok((request, connection.version_of::<DeleteRecordsRequest>()?))
            });
            for (_, partitions, answer) in answers.await {
                match answer {
                    Err(error) => results.extend(all_failed(partitions.into_iter().map(|(partition, _)| partition), &error)),
                    Ok((response, _)) => {
                        for topic in response.topics {
                            for partition in topic.partitions {
                                let outcome = ApiError::check(partition.error_code, None).map(|()| partition.low_watermark);
                                results.insert(TopicPartition::new(topic.name.clone(), partition.partition_index), outcome);
                            }
                        }
                    }
                }
            }
            results
        })
        .await
    }

    /// The producers that a partition's leader remembers.
    pub async fn describe_producers(&self, partitions: &[TopicPartition]) -> Results<TopicPartition, Vec<ProducerState>> {
        self.rounds("describeProducers", partitions.iter().cloned(), |pending: Vec<TopicPartition>| async move {
            let (leaders, mut results) = self.by_leader(&pending).await;
            let answers = self.to_brokers(leaders, |connection, partitions: &[(TopicPartition, i32)]| {
                let topics = by_topic(partitions.iter().map(|(it, _)| (it.topic.clone(), it.partition)));
                let topics = topics.into_iter();
                let topics = topics.map(|(name, partition_indexes)| TopicRequest { name, partition_indexes, ..Default::default() });
                let request = DescribeProducersRequest { topics: topics.collect(), ..Default::default() };
                Ok((request, connection.version_of::<DescribeProducersRequest>()?))
            });
            for (_, partitions, answer) in answers.await {
                match answer {
                    Err(error) => results.extend(all_failed(partitions.into_iter().map(|(partition, _)| partition), &error)),
                    Ok((response, _)) => {
                        for topic in response.topics {
                            for partition in topic.partitions {
                                let producers = partition.active_producers.into_iter().map(|producer| ProducerState {
                                    producer_id: producer.producer_id,
                                    producer_epoch: producer.producer_epoch,
                                    last_sequence: producer.last_sequence,
                                    last_timestamp: producer.last_timestamp,
                                    coordinator_epoch: (producer.coordinator_epoch >= 0).then_some(producer.coordinator_epoch),
                                    current_transaction_start_offset: (producer.current_txn_start_offset >= 0)
                                        .then_some(producer.current_txn_start_offset),
                                });
                                let producers = producers.collect();
                                let outcome = ApiError::check(partition.error_code, partition.error_message).map(|()| producers);
                                results.insert(TopicPartition::new(topic.name.clone(), partition.partition_index), outcome);
                            }
                        }
                    }
                }
            }
            results
        })
        .await
    }
}
