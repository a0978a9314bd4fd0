//! ConsumerGroupHeartbeat 0-1: a member of a consumer group (KIP-848) joins, lives, is told its partitions, leaves. Source:
//! `KafkaApis.handleConsumerGroupHeartbeat`.
//!
//! - 1: subscriptions by regular expression; members make their own ids.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if !broker.groups.is_consumer_protocol_enabled() {
        let error = ErrorCode::UnsupportedVersion;
        let error_message = Some(error.message().to_owned());
        return ConsumerGroupHeartbeatResponse { error_code: error.code(), error_message, ..Default::default() };
    }
    broker.groups.consumer_group_heartbeat(ctx, request).await
}
