//! SaslHandshake 0-1: refused, because this listener does not authenticate its clients. Source:
//! `KafkaApis.handleSaslHandshakeRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};

pub(crate) async fn handle(_broker: &Arc<Broker>, _ctx: &RequestContext, _request: SaslHandshakeRequest) -> SaslHandshakeResponse {
    SaslHandshakeResponse { error_code: ErrorCode::IllegalSaslState.code(), ..Default::default() }
}
