//! DescribeGroups 0-6: state, protocol and members of classic groups. Source: `KafkaApis.handleDescribeGroupsRequest`.
//!
//! - 3: what the client may do with the group, when it asks for that.
//! - 6: an unknown group is GROUP_ID_NOT_FOUND (KIP-1043); before, it is a dead group without an error.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

/// Read, delete, describe, describe configs, alter configs: the bits of their codes.
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let mut groups = broker.groups.describe_groups(request.groups, ctx.api_version).await;
    if ctx.api_version >= 3 && request.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == 0) {
            group.authorized_operations = GROUP_OPERATIONS;
        }
    }
    DescribeGroupsResponse { groups, ..Default::default() }
}
