//! CreateAcls 1-3: each refused, because no authorizer is configured. Sources: `AclApis.handleCreateAcls`,
//! `CreateAclsRequest.getErrorResponse`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::create_acls_response::AclCreationResult;
use crate::protocol::messages::{CreateAclsRequest, CreateAclsResponse};

pub(crate) async fn handle(_broker: &Arc<Broker>, _ctx: &RequestContext, request: CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured.".to_owned()),
        ..Default::default()
    };
    CreateAclsResponse { results: vec![refused; request.creations.len()], ..Default::default() }
}
