//! ReadShareGroupStateSummary 0-1: how far a share group has come in partitions. 1: the delivery complete count (KIP-1226). Source: `KafkaApis.handleReadShareGroupStateSummaryRequest`, `ShareCoordinatorService`.
//!
//! A request between brokers: the leader of a partition, or the group's coordinator, to the share coordinator. A request without group,
//! topics or partitions is answered with nothing.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::coordinator::share::SharePartitionKey;
use crate::protocol::messages::read_share_group_state_summary_response::{PartitionResult, ReadStateSummaryResult};
use crate::protocol::messages::{ReadShareGroupStateSummaryRequest, ReadShareGroupStateSummaryResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: ReadShareGroupStateSummaryRequest,
) -> ReadShareGroupStateSummaryResponse {
    let mut response = ReadShareGroupStateSummaryResponse::default();
    if request.group_id.is_empty() || request.topics.iter().any(|topic| topic.partitions.is_empty()) {
        return response;
    }
    for topic in request.topics {
        let mut result = ReadStateSummaryResult { topic_id: topic.topic_id, ..Default::default() };
        for it in topic.partitions {
            let key = SharePartitionKey { group_id: request.group_id.clone(), topic_id: topic.topic_id, partition: it.partition };
            let partition = it.partition;
            result.partitions.push(match broker.share_coordinator.read_summary(key).await {
                Ok(summary) => PartitionResult {
                    partition,
                    state_epoch: summary.state_epoch,
                    leader_epoch: summary.leader_epoch,
                    start_offset: summary.start_offset,
                    delivery_complete_count: summary.delivery_complete_count,
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
