//! ExpireDelegationToken 1-2: refused, because a token is for clients that have shown who they are, and a PLAINTEXT connection has not.
//! Source: `KafkaApis.handleExpireTokenRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse};

/// Where a time would stand.
const NO_TIME: i64 = -1;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    _ctx: &RequestContext,
    _request: ExpireDelegationTokenRequest,
) -> ExpireDelegationTokenResponse {
    ExpireDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        expiry_timestamp_ms: NO_TIME,
        ..Default::default()
    }
}
