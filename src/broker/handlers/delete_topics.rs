//! DeleteTopics 1-6: topics by name, from version 6 on by id too. The controller decides, unless `delete.topic.enable` forbids it all.
//! Source: `ControllerApis.deleteTopics`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::controller::refusal::Refuse;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

/// From this version on a client without quota left is refused (KIP-599).
const STRICT_QUOTA_SINCE: i16 = 5;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    if !broker.config().delete_topic_enable {
        // TOPIC_DELETION_DISABLED came with version 3.
        return request.refuse(if ctx.api_version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled });
    }
    let quota = broker.quotas.partition_changes(ctx, STRICT_QUOTA_SINCE);
    broker.controller.delete_topics_within(quota, request).await
}
