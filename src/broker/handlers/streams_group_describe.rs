//! StreamsGroupDescribe 0: epochs, topology, members and tasks of streams groups (KIP-1071). Source: `KafkaApis.handleStreamsGroupDescribe`.

use std::sync::Arc;

use super::describe_groups::GROUP_OPERATIONS;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::streams_group_describe_response::DescribedGroup;
use crate::protocol::messages::{StreamsGroupDescribeRequest, StreamsGroupDescribeResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: StreamsGroupDescribeRequest,
) -> StreamsGroupDescribeResponse {
    let groups = if broker.groups.is_streams_protocol_enabled() {
        let mut groups = broker.groups.describe_streams_groups(request.group_ids).await;
        if request.include_authorized_operations {
            for group in groups.iter_mut().filter(|group| group.error_code == 0) {
                group.authorized_operations = GROUP_OPERATIONS;
            }
        }
        groups
    } else {
        let error_code = ErrorCode::UnsupportedVersion.code();
        request.group_ids.into_iter().map(|group_id| DescribedGroup { group_id, error_code, ..Default::default() }).collect()
    };
    StreamsGroupDescribeResponse { groups, ..Default::default() }
}
