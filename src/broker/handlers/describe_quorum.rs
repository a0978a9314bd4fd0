//! DescribeQuorum 0-2: leader, voters and observers of the metadata log, the only log with a quorum. Sources:
//! `KafkaRaftClient.handleDescribeQuorumRequest`, `RaftUtil.singletonDescribeQuorumResponse`.

use std::sync::Arc;

use crate::broker::quorum::QuorumDescription;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_name;
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use crate::protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let asks_for_the_log = match &request.topics[..] {
        [topic] => topic.topic_name == topic_name::CLUSTER_METADATA && matches!(&topic.partitions[..], [only] if only.partition_index == 0),
        _ => false,
    };
    if !asks_for_the_log {
        let refused = |topic: &crate::protocol::messages::describe_quorum_request::TopicData| TopicData {
            topic_name: topic.topic_name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|partition| PartitionData {
                    partition_index: partition.partition_index,
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    error_message: (ctx.api_version >= 2).then(|| ErrorCode::UnknownTopicOrPartition.message().to_owned()),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        return DescribeQuorumResponse { topics: request.topics.iter().map(refused).collect(), ..Default::default() };
    }
    match broker.controller.describe_quorum().await {
        Some(description) => describe(&description, ctx.api_version),
        None => DescribeQuorumResponse { error_code: ErrorCode::BrokerNotAvailable.code(), ..Default::default() },
    }
}

fn describe(quorum: &QuorumDescription, version: i16) -> DescribeQuorumResponse {
    let voters = quorum.voters.iter().map(|voter| {
        let leads = voter.key.id == quorum.leader_id;
        ReplicaState {
            replica_id: voter.key.id,
            replica_directory_id: if version >= 2 { voter.key.directory_id } else { Uuid::ZERO },
            log_end_offset: if leads { quorum.log_end_offset } else { -1 },
            // The leader is as far as the leader is.
            last_fetch_timestamp: if leads { quorum.now_ms } else { -1 },
            last_caught_up_timestamp: if leads { quorum.now_ms } else { -1 },
            ..Default::default()
        }
    });
    let partition = PartitionData {
        leader_id: quorum.leader_id,
        leader_epoch: quorum.leader_epoch,
        high_watermark: quorum.high_watermark,
        current_voters: voters.collect(),
        error_message: Some(String::new()),
        ..Default::default()
    };
    let nodes = quorum.voters.iter().filter(|_| version >= 2).map(|voter| Node {
        node_id: voter.key.id,
        listeners: voter
            .endpoints
            .iter()
            .map(|endpoint| Listener {
                name: endpoint.name.clone(),
                host: endpoint.host.clone(),
                port: endpoint.port,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let topic = TopicData { topic_name: topic_name::CLUSTER_METADATA.to_owned(), partitions: vec![partition], ..Default::default() };
    DescribeQuorumResponse { topics: vec![topic], nodes: nodes.collect(), error_message: Some(String::new()), ..Default::default() }
}
