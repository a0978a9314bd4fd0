//! SyncGroup 0-5: the leader hands in the assignment of its generation, and every member gets its own. Source:
//! `KafkaApis.handleSyncGroupRequest`.
//!
//! - 5: the protocol's type and name are mandatory, and have to be the group's.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{SyncGroupRequest, SyncGroupResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: SyncGroupRequest) -> SyncGroupResponse {
    if ctx.api_version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return SyncGroupResponse { error_code: ErrorCode::InconsistentGroupProtocol.code(), ..Default::default() };
    }
    broker.groups.sync_group(request).await
}
