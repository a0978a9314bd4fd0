//! Heartbeat 0-4: a member of a group lives. Source: `KafkaApis.handleHeartbeatRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{HeartbeatRequest, HeartbeatResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: HeartbeatRequest) -> HeartbeatResponse {
    let error = broker.groups.heartbeat(request).await.err().unwrap_or(ErrorCode::None);
    HeartbeatResponse { error_code: error.code(), ..Default::default() }
}
