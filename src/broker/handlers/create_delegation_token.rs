//! CreateDelegationToken 1-3: refused, because a token is for clients that have shown who they are, and a PLAINTEXT connection has not.
//! Source: `KafkaApis.handleCreateTokenRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{CreateDelegationTokenRequest, CreateDelegationTokenResponse};

/// Where a time would stand.
const NO_TIME: i64 = -1;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    let owner = match request.owner_principal_name.as_deref() {
        None | Some("") => (ctx.principal.principal_type.clone(), ctx.principal.name.clone()),
        Some(name) => (request.owner_principal_type.clone().unwrap_or_default(), name.to_owned()),
    };
    // Version 3 names who asked.
    let requester = (ctx.api_version >= 3).then(|| ctx.principal.clone());
    CreateDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        principal_type: owner.0,
        principal_name: owner.1,
        token_requester_principal_type: requester.as_ref().map(|it| it.principal_type.clone()).unwrap_or_default(),
        token_requester_principal_name: requester.as_ref().map(|it| it.name.clone()).unwrap_or_default(),
        issue_timestamp_ms: NO_TIME,
        expiry_timestamp_ms: NO_TIME,
        max_timestamp_ms: NO_TIME,
        ..Default::default()
    }
}
