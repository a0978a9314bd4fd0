//! ReadShareGroupState 0: what a share group has done in partitions, for their new leader. Source: `KafkaApis.handleReadShareGroupStateRequest`, `ShareCoordinatorService`.
//!
//! A request between brokers: the leader of a partition, or the group's coordinator, to the share coordinator. A request without group,
//! topics or partitions is answered with nothing.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::coordinator::share::SharePartitionKey;
use crate::protocol::messages::read_share_group_state_response::{PartitionResult, ReadStateResult};
use crate::protocol::messages::{ReadShareGroupStateRequest, ReadShareGroupStateResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: ReadShareGroupStateRequest,
) -> ReadShareGroupStateResponse {
    let mut response = ReadShareGroupStateResponse::default();
    if request.group_id.is_empty() || request.topics.iter().any(|topic| topic.partitions.is_empty()) {
        return response;
    }
    for topic in request.topics {
        let mut result = ReadStateResult { topic_id: topic.topic_id, ..Default::default() };
        for it in topic.partitions {
            let key = SharePartitionKey { group_id: request.group_id.clone(), topic_id: topic.topic_id, partition: it.partition };
            let partition = it.partition;
            result.partitions.push(match broker.share_coordinator.read(key, it.leader_epoch).await {
                Ok(read) => PartitionResult {
                    partition,
                    state_epoch: read.state_epoch,
                    start_offset: read.start_offset,
                    state_batches: read.state_batches.iter().map(Into::into).collect(),
                    ..Default::default()
                },
                Err(error) => {
                    PartitionResult { partition, error_code: error.code.code(), error_message: Some(error.message), ..Default::default() }
                }
            });
        }
        response.results.push(result);
    }
    response
}
