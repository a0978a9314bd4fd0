//! The controllers' quorum, and brokers that are gone for good. Source: `KafkaAdminClient`; KIP-595, KIP-853, KIP-500 (UnregisterBroker).

use std::collections::BTreeMap;

use super::Admin;
use crate::client::error::{ApiError, ClientError};
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use crate::protocol::messages::describe_quorum_response::ReplicaState;
use crate::protocol::messages::{DescribeQuorumRequest, UnregisterBrokerRequest};

const METADATA_TOPIC: &str = "__cluster_metadata";

/// The state of the metadata log's quorum, as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumInfo {
    pub leader_id: i32,
    pub leader_epoch: i64,
    pub high_watermark: i64,
    pub voters: Vec<QuorumReplica>,
    pub observers: Vec<QuorumReplica>,
    /// Where voters listen, by node id.
    pub nodes: BTreeMap<i32, Vec<QuorumListener>>,
}

/// A replica of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    pub replica_id: i32,
    /// Zero where the broker does not tell.
    pub replica_directory_id: Uuid,
    pub log_end_offset: i64,
    /// Milliseconds since the epoch.
    pub last_fetch_timestamp: Option<i64>,
    /// Milliseconds since the epoch.
    pub last_caught_up_timestamp: Option<i64>,
}

/// An address of a voter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumListener {
    pub name: String,
    pub host: String,
    pub port: u16,
}

fn replica(state: ReplicaState) -> QuorumReplica {
    QuorumReplica {
        replica_id: state.replica_id,
        replica_directory_id: state.replica_directory_id,
        log_end_offset: state.log_end_offset,
        last_fetch_timestamp: (state.last_fetch_timestamp >= 0).then_some(state.last_fetch_timestamp),
        last_caught_up_timestamp: (state.last_caught_up_timestamp >= 0).then_some(state.last_caught_up_timestamp),
    }
}

impl Admin {
    /// Describes the quorum of the metadata log.
    pub async fn describe_metadata_quorum(&self) -> Result<QuorumInfo, ClientError> {
        let topic = TopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![PartitionData { partition_index: 0, ..Default::default() }],
            ..Default::default()
        };
        let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
        self.retried("describeMetadataQuorum", || async {
            let response = self.cluster.send_to_controller(&request).await?;
            ApiError::check(response.error_code, response.error_message)?;
            let odd = |what: &str| ClientError::Api(ApiError::new(ErrorCode::UnknownServerError, Some(what.to_owned())));
            let mut partitions = response.topics.into_iter().filter(|it| it.topic_name == METADATA_TOPIC).flat_map(|it| it.partitions);
            let partition = partitions.next().ok_or_else(|| odd("the answer does not describe the metadata log"))?;
            ApiError::check(partition.error_code, partition.error_message)?;
            let nodes = response.nodes.into_iter().map(|node| {
                let listeners = node.listeners.into_iter();
                (node.node_id, listeners.map(|it| QuorumListener { name: it.name, host: it.host, port: it.port }).collect())
            });
            Ok(QuorumInfo {
                leader_id: partition.leader_id,
                leader_epoch: i64::from(partition.leader_epoch),
                high_watermark: partition.high_watermark,
                voters: partition.current_voters.into_iter().map(replica).collect(),
                observers: partition.observers.into_iter().map(replica).collect(),
                nodes: nodes.collect(),
            })
        })
        .await
    }

    /// Forgets a broker that will not come back.
    pub async fn unregister_broker(&self, broker_id: i32) -> Result<(), ClientError> {
        let request = UnregisterBrokerRequest { broker_id, ..Default::default() };
        self.retried("unregisterBroker", || async {
            let response = self.cluster.send_to_controller(&request).await?;
            ApiError::check(response.error_code, response.error_message)
        })
        .await
    }
}
