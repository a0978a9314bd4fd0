//! RenewDelegationToken 1-2: refused, because a token is for clients that have shown who they are, and a PLAINTEXT connection has not.
//! Source: `KafkaApis.handleRenewTokenRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{RenewDelegationTokenRequest, RenewDelegationTokenResponse};

/// Where a time would stand.
const NO_TIME: i64 = -1;

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    _ctx: &RequestContext,
    _request: RenewDelegationTokenRequest,
) -> RenewDelegationTokenResponse {
    RenewDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        expiry_timestamp_ms: NO_TIME,
        ..Default::default()
    }
}
