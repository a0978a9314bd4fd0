//! Moving replicas between brokers.

use std::collections::BTreeMap;

use super::{Admin, Results, spread, wire_millis};
use crate::client::error::{ApiError, ClientError};
use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use crate::protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use crate::protocol::messages::{AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest};

/// A reassignment under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReassignment {
    /// The brokers now and until it is finished, added and removed ones included.
    pub replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    pub removing_replicas: Vec<i32>,
}

impl Admin {
    /// Reassignments under way, of all partitions or of those given.
    pub async fn list_partition_reassignments(
        &self,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, PartitionReassignment>, ClientError> {
        let topics = partitions.map(|partitions| {
            let topics = by_topic(partitions.iter().map(|it| (it.topic.clone(), it.partition)));
            let topics = topics.into_iter().map(|(name, partition_indexes)| ListPartitionReassignmentsTopics {
                name,
                partition_indexes,
                ..Default::default()
            });
            topics.collect::<Vec<_>>()
        });
        let request =
            ListPartitionReassignmentsRequest { timeout_ms: wire_millis(self.cluster.request_timeout()), topics, ..Default::default() };
        let code = |response: &crate::protocol::messages::ListPartitionReassignmentsResponse| ErrorCode::from_code(response.error_code);
        let response = self.on_controller("listPartitionReassignments", &request, code).await?;
        ApiError::check(response.error_code, response.error_message)?;
        let reassignments = response.topics.into_iter().flat_map(|topic| {
            topic.partitions.into_iter().map(move |partition| {
                let reassignment = PartitionReassignment {
                    replicas: partition.replicas,
                    adding_replicas: partition.adding_replicas,
                    removing_replicas: partition.removing_replicas,
                };
                (TopicPartition::new(topic.name.clone(), partition.partition_index), reassignment)
            })
        });
        Ok(reassignments.collect())
    }

    /// Starts reassignments to the given brokers; `None` cancels the one under way.
    pub async fn alter_partition_reassignments(&self, targets: &BTreeMap<TopicPartition, Option<Vec<i32>>>) -> Results<TopicPartition, ()> {
        let topics = by_topic(targets.iter().map(|(partition, replicas)| {
            let (partition_index, replicas) = (partition.partition, replicas.clone());
            (partition.topic.clone(), ReassignablePartition { partition_index, replicas, ..Default::default() })
        }));
        let topics = topics.into_iter().map(|(name, partitions)| ReassignableTopic { name, partitions, ..Default::default() });
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: wire_millis(self.cluster.request_timeout()),
            topics: topics.collect(),
            ..Default::default()
        };
        let code = |response: &crate::protocol::messages::AlterPartitionReassignmentsResponse| ErrorCode::from_code(response.error_code);
        let outcome = self.on_controller("alterPartitionReassignments", &request, code).await.and_then(|response| {
            ApiError::check(response.error_code, response.error_message)?;
            let results = response.responses.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |partition| {
                    let outcome = ApiError::check(partition.error_code, partition.error_message);
                    (TopicPartition::new(topic.name.clone(), partition.partition_index), outcome)
                })
            });
            Ok(results.collect())
        });
        spread(targets.keys().cloned(), outcome)
    }
}
