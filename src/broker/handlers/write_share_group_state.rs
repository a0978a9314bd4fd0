//! WriteShareGroupState 0-1: what a share group has done in partitions, from their leader. 1: the delivery complete count (KIP-1226). Source: `KafkaApis.handleWriteShareGroupStateRequest`, `ShareCoordinatorService`.
//!
//! A request between brokers: the leader of a partition, or the group's coordinator, to the share coordinator. A request without group,
//! topics or partitions is answered with nothing.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::coordinator::share::{SharePartitionKey, WriteState};
use crate::protocol::messages::write_share_group_state_response::{PartitionResult, WriteStateResult};
use crate::protocol::messages::{WriteShareGroupStateRequest, WriteShareGroupStateResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: WriteShareGroupStateRequest,
) -> WriteShareGroupStateResponse {
    let mut response = WriteShareGroupStateResponse::default();
    if request.group_id.is_empty() || request.topics.iter().any(|topic| topic.partitions.is_empty()) {
        return response;
    }
    for topic in request.topics {
        let mut result = WriteStateResult { topic_id: topic.topic_id, ..Default::default() };
        for it in topic.partitions {
            let key = SharePartitionKey { group_id: request.group_id.clone(), topic_id: topic.topic_id, partition: it.partition };
            let partition = it.partition;
            let write = WriteState {
                state_epoch: it.state_epoch,
                leader_epoch: it.leader_epoch,
                start_offset: it.start_offset,
                delivery_complete_count: it.delivery_complete_count,
                state_batches: it.state_batches.iter().map(Into::into).collect(),
            };
            result.partitions.push(match broker.share_coordinator.write_state(key, write).await {
                Ok(()) => PartitionResult { partition, ..Default::default() },
                Err(error) => {
                    PartitionResult { partition, error_code: error.code.code(), error_message: Some(error.message), ..Default::default() }
                }
            });
        }
        response.results.push(result);
    }
    response
}
