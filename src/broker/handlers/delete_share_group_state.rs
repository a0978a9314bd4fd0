//! DeleteShareGroupState 0: what a share group did in partitions is forgotten. Source: `KafkaApis.handleDeleteShareGroupStateRequest`, `ShareCoordinatorService`.
//!
//! A request between brokers: the leader of a partition, or the group's coordinator, to the share coordinator. A request without group,
//! topics or partitions is answered with nothing.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::coordinator::share::SharePartitionKey;
use crate::protocol::messages::delete_share_group_state_response::{DeleteStateResult, PartitionResult};
use crate::protocol::messages::{DeleteShareGroupStateRequest, DeleteShareGroupStateResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: DeleteShareGroupStateRequest,
) -> DeleteShareGroupStateResponse {
    let mut response = DeleteShareGroupStateResponse::default();
    if request.group_id.is_empty() || request.topics.iter().any(|topic| topic.partitions.is_empty()) {
        return response;
    }
    for topic in request.topics {
        let mut result = DeleteStateResult { topic_id: topic.topic_id, ..Default::default() };
        for it in topic.partitions {
            let key = SharePartitionKey { group_id: request.group_id.clone(), topic_id: topic.topic_id, partition: it.partition };
            let partition = it.partition;
            result.partitions.push(match broker.share_coordinator.delete(key).await {
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
