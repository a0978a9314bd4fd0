//! DeleteAcls 1-3: each refused, because no authorizer is configured. Sources: `AclApis.handleDeleteAcls`,
//! `DeleteAclsRequest.getErrorResponse`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use crate::protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

pub(crate) async fn handle(_broker: &Arc<Broker>, _ctx: &RequestContext, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured.".to_owned()),
        ..Default::default()
    };
    DeleteAclsResponse { filter_results: vec![refused; request.filters.len()], ..Default::default() }
}
