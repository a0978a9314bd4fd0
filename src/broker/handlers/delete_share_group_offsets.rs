//! DeleteShareGroupOffsets 0: a share group without members forgets topics (KIP-932). Source:
//! `KafkaApis.handleDeleteShareGroupOffsetsRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::share_groups;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: DeleteShareGroupOffsetsRequest,
) -> DeleteShareGroupOffsetsResponse {
    let failed = |error: ErrorCode, message: String| DeleteShareGroupOffsetsResponse {
        error_code: error.code(),
        error_message: Some(message),
        ..Default::default()
    };
    if !broker.share_groups_enabled() {
        return failed(ErrorCode::UnsupportedVersion, ErrorCode::UnsupportedVersion.message().to_owned());
    }
    match share_groups::delete_offsets(broker, request).await {
        Ok(responses) => DeleteShareGroupOffsetsResponse { responses, ..Default::default() },
        Err(error) => failed(error.error, error.message),
    }
}
