//! LeaveGroup 0-5: members leave their group, or an operator removes them. Source: `KafkaApis.handleLeaveGroupRequest`.
//!
//! - 0-2: one member; its error is the response's.
//! - 3: many, by member id or by instance id alone (KIP-345).

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, mut request: LeaveGroupRequest) -> LeaveGroupResponse {
    if ctx.api_version >= 3 {
        return broker.groups.leave_group(request).await;
    }
    let member_id = std::mem::take(&mut request.member_id);
    request.members = vec![MemberIdentity { member_id, ..Default::default() }];
    let response = broker.groups.leave_group(request).await;
    let member_error = response.members.first().map_or(0, |member| member.error_code);
    let error_code = if response.error_code != 0 { response.error_code } else { member_error };
    LeaveGroupResponse { error_code, ..Default::default() }
}
