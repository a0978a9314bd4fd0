//! InitializeShareGroupState 0: a share group begins in partitions, or begins anew. Source: `KafkaApis.handleInitializeShareGroupStateRequest`, `ShareCoordinatorService`.
//!
//! A request between brokers: the leader of a partition, or the group's coordinator, to the share coordinator. A request without group,
//! topics or partitions is answered with nothing.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::coordinator::share::SharePartitionKey;
use crate::protocol::messages::initialize_share_group_state_response::{InitializeStateResult, PartitionResult};
use crate::protocol::messages::{InitializeShareGroupStateRequest, InitializeShareGroupStateResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: InitializeShareGroupStateRequest,
) -> InitializeShareGroupStateResponse {
    let mut response = InitializeShareGroupStateResponse::default();
    if request.group_id.is_empty() || request.topics.iter().any(|topic| topic.partitions.is_empty()) {
        return response;
    }
    for topic in request.topics {
        let mut result = InitializeStateResult { topic_id: topic.topic_id, ..Default::default() };
        for it in topic.partitions {
            let key = SharePartitionKey { group_id: request.group_id.clone(), topic_id: topic.topic_id, partition: it.partition };
            let partition = it.partition;
            result.partitions.push(match broker.share_coordinator.initialize(key, it.state_epoch, it.start_offset).await {
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
