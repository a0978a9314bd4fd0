//! DescribeDelegationToken 1-3: refused, because a token is for clients that have shown who they are, and a PLAINTEXT connection has not.
//! Source: `KafkaApis.handleDescribeTokensRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{DescribeDelegationTokenRequest, DescribeDelegationTokenResponse};

pub(crate) async fn handle(
    _broker: &Arc<Broker>,
    _ctx: &RequestContext,
    _request: DescribeDelegationTokenRequest,
) -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse { error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(), ..Default::default() }
}
