//! ShareGroupDescribe 1: epochs, members and assignments of share groups (KIP-932). Source: `KafkaApis.handleShareGroupDescribe`.

use std::sync::Arc;

use super::describe_groups::GROUP_OPERATIONS;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::share_group_describe_response::DescribedGroup;
use crate::protocol::messages::{ShareGroupDescribeRequest, ShareGroupDescribeResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: ShareGroupDescribeRequest) -> ShareGroupDescribeResponse {
    if !broker.share_groups_enabled() {
        let error_code = ErrorCode::UnsupportedVersion.code();
        let groups = request.group_ids.into_iter().map(|group_id| DescribedGroup { group_id, error_code, ..Default::default() });
        return ShareGroupDescribeResponse { groups: groups.collect(), ..Default::default() };
    }
    let mut groups = broker.groups.describe_share_groups(request.group_ids).await;
    if request.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == 0) {
            group.authorized_operations = GROUP_OPERATIONS;
        }
    }
    ShareGroupDescribeResponse { groups, ..Default::default() }
}
