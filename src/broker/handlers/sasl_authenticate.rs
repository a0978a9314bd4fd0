//! SaslAuthenticate 0-2: refused, because this listener does not authenticate its clients. Source:
//! `KafkaApis.handleSaslAuthenticateRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};

pub(crate) async fn handle(_broker: &Arc<Broker>, _ctx: &RequestContext, _request: SaslAuthenticateRequest) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        error_message: Some("SaslAuthenticate request received after successful authentication".to_owned()),
        ..Default::default()
    }
}
