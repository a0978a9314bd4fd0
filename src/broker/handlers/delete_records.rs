//! DeleteRecords 0-2: moves the start of partitions' logs forward (KIP-107). Source: `ReplicaManager.deleteRecords`.
//!
//! Offset -1 is the high watermark. A topic that is only compacted is POLICY_VIOLATION; an internal topic is INVALID_TOPIC_EXCEPTION,
//! unless the client is Kafka's own admin client.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_name;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use crate::protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

/// The client that may delete records of internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let internal_allowed = ctx.client_id.as_deref() == Some(ADMIN_CLIENT_ID);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut result = DeleteRecordsTopicResult { name: topic.name, ..Default::default() };
        for wanted in topic.partitions {
            let deleted = match broker.replicas.partition(&result.name, wanted.partition_index) {
                Ok(_) if topic_name::is_internal(&result.name) && !internal_allowed => Err(ErrorCode::InvalidTopicException),
                found => found.and_then(|partition| partition.delete_records(wanted.offset)),
            };
            result.partitions.push(DeleteRecordsPartitionResult {
                partition_index: wanted.partition_index,
                low_watermark: *deleted.as_ref().unwrap_or(&-1),
                error_code: deleted.err().map_or(0, ErrorCode::code),
                ..Default::default()
            });
        }
        topics.push(result);
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}
