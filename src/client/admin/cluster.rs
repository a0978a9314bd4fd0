//! The cluster itself: its brokers and their log directories.

use std::collections::BTreeMap;

use super::{Admin, Results, authorized_operations};
use crate::client::cluster::{AutoCreate, Topics};
use crate::client::error::{ApiError, ClientError};
use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::protocol::api_key::ApiKey;
use crate::protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use crate::protocol::messages::{DescribeClusterRequest, DescribeLogDirsRequest};

/// A cluster's identity and members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    pub cluster_id: Option<String>,
    pub controller_id: Option<i32>,
    /// By id.
    pub brokers: Vec<DescribedBroker>,
    pub authorized_operations: Option<i32>,
}

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedBroker {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
    /// Registered but not serving.
    pub is_fenced: bool,
}

/// A log directory of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirDescription {
    /// What is wrong with it, if anything.
    pub error: Option<ApiError>,
    pub replicas: BTreeMap<TopicPartition, ReplicaInfo>,
    /// Of the volume it is on, in bytes; `None` where the broker does not tell.
    pub total_bytes: Option<i64>,
    pub usable_bytes: Option<i64>,
    pub is_cordoned: bool,
}

/// A replica in a log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaInfo {
    /// Bytes of its segments.
    pub size: i64,
    pub offset_lag: i64,
    /// It will take the place of the replica in another directory.
    pub is_future: bool,
}

impl Admin {
    /// Brokers and controller. Fenced brokers are listed on request, by brokers that can (Kafka 4.0).
    pub async fn describe_cluster(&self, include_fenced_brokers: bool) -> Result<ClusterDescription, ClientError> {
        self.retried("describeCluster", || async {
            let connection = self.cluster.any_connection().await?;
            if !connection.served().serves(ApiKey::DescribeCluster) {
                self.cluster.refresh(Topics::None, AutoCreate::Never).await?;
                let metadata = self.cluster.metadata();
                let brokers = metadata.brokers.values().map(|broker| DescribedBroker {
                    id: broker.id,
                    host: broker.host.clone(),
                    port: broker.port,
                    rack: broker.rack.clone(),
                    is_fenced: false,
                });
                return Ok(ClusterDescription {
                    cluster_id: metadata.cluster_id.clone(),
                    controller_id: metadata.controller_id,
                    brokers: brokers.collect(),
                    authorized_operations: None,
                });
            }
            let version = connection.version_of::<DescribeClusterRequest>()?;
            let request = DescribeClusterRequest { include_fenced_brokers: include_fenced_brokers && version >= 2, ..Default::default() };
            let response = connection.send(&request).await?;
            ApiError::check(response.error_code, response.error_message)?;
            let mut brokers: Vec<DescribedBroker> = response
                .brokers
                .into_iter()
                .map(|it| DescribedBroker { id: it.broker_id, host: it.host, port: it.port, rack: it.rack, is_fenced: it.is_fenced })
                .collect();
            brokers.sort_by_key(|broker| broker.id);
            Ok(ClusterDescription {
                cluster_id: Some(response.cluster_id).filter(|id| !id.is_empty()),
                controller_id: (response.controller_id >= 0).then_some(response.controller_id),
                brokers,
                authorized_operations: authorized_operations(response.cluster_authorized_operations),
            })
        })
        .await
    }

    /// The log directories of brokers, by path; of all replicas, or of those of `partitions`.
    pub async fn describe_log_dirs(
        &self,
        brokers: &[i32],
        partitions: Option<&[TopicPartition]>,
    ) -> Results<i32, BTreeMap<String, LogDirDescription>> {
        let topics = partitions.map(|partitions| {
            let topics = by_topic(partitions.iter().map(|it| (it.topic.clone(), it.partition)));
            let topics = topics.into_iter().map(|(topic, partitions)| DescribableLogDirTopic { topic, partitions, ..Default::default() });
            topics.collect::<Vec<_>>()
        });
        let request = DescribeLogDirsRequest { topics, ..Default::default() };
        let mut results = BTreeMap::new();
        for broker in brokers {
            let outcome = self.retried("describeLogDirs", || async { self.cluster.send_to(*broker, &request).await }).await;
            let outcome = outcome.and_then(|response| {
                ApiError::check(response.error_code, None)?;
                let directories = response.results.into_iter().map(|directory| {
                    let error = match ApiError::check(directory.error_code, None) {
                        Err(ClientError::Api(error)) => Some(error),
                        _ => None,
                    };
                    let replicas = directory.topics.into_iter().flat_map(|topic| {
                        topic.partitions.into_iter().map(move |partition| {
                            let info = ReplicaInfo {
                                size: partition.partition_size,
                                offset_lag: partition.offset_lag,
                                is_future: partition.is_future_key,
                            };
                            (TopicPartition::new(topic.name.clone(), partition.partition_index), info)
                        })
                    });
                    let description = LogDirDescription {
                        error,
                        replicas: replicas.collect(),
                        total_bytes: (directory.total_bytes >= 0).then_some(directory.total_bytes),
                        usable_bytes: (directory.usable_bytes >= 0).then_some(directory.usable_bytes),
                        is_cordoned: directory.is_cordoned,
                    };
                    (directory.log_dir, description)
                });
                Ok(directories.collect())
            });
            results.insert(*broker, outcome);
        }
        results
    }
}
