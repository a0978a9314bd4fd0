//! JoinGroup 0-9: a member enters the next generation of its group; the answer comes when the generation stands. Source:
//! `KafkaApis.handleJoinGroupRequest`.
//!
//! - 0: no rebalance timeout; the session timeout stands for it.
//! - 4: a new member is told its id first and has to come again with it (KIP-394).
//! - 7: the protocol's name may be null; before, empty stands for null.
//! - 9: a static leader that returns is told to skip the assignment (KIP-814).

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{JoinGroupRequest, JoinGroupResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, mut request: JoinGroupRequest) -> JoinGroupResponse {
    if ctx.api_version == 0 {
        request.rebalance_timeout_ms = request.session_timeout_ms;
    }
    let mut response = broker.groups.join_group(ctx, request).await;
    let name = response.protocol_name.take().filter(|name| !name.is_empty());
    response.protocol_name = if ctx.api_version < 7 { Some(name.unwrap_or_default()) } else { name };
    response
}
