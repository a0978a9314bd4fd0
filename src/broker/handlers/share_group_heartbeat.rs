//! ShareGroupHeartbeat 1: a member of a share group (KIP-932) joins, lives, is told its partitions, leaves. Source:
//! `KafkaApis.handleShareGroupHeartbeat`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::share_acknowledgements::is_member_id_valid;
use crate::broker::share_groups;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: ShareGroupHeartbeatRequest) -> ShareGroupHeartbeatResponse {
    let failed = |error: ErrorCode| ShareGroupHeartbeatResponse { error_code: error.code(), ..Default::default() };
    if !broker.share_groups_enabled() {
        return failed(ErrorCode::UnsupportedVersion);
    }
    if !is_member_id_valid(&request.member_id) {
        return failed(ErrorCode::InvalidRequest);
    }
    let (response, initialization) = broker.groups.share_group_heartbeat(ctx, request).await;
    if let Some(initialization) = initialization {
        share_groups::initialize_in_background(broker, ctx, initialization);
    }
    response
}
