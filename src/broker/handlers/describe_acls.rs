//! DescribeAcls 1-3: refused, because no authorizer is configured. Source: `AclApis.handleDescribeAcls`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

pub(crate) async fn handle(_broker: &Arc<Broker>, _ctx: &RequestContext, _request: DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured on the broker".to_owned()),
        ..Default::default()
    }
}
