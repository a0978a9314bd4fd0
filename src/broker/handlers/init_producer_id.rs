//! InitProducerId 0-5: an identity for a producer that counts its batches (KIP-98, KIP-360). Source:
//! `TransactionCoordinator.handleInitProducerId`.
//!
//! Without a transactional id every request gets a new producer id at epoch 0, whatever identity it brings.
//!
//! Differs: transactions are not served yet; a transactional id is answered with UNSUPPORTED_VERSION, which clients take for final.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refuse =
        |error: ErrorCode| InitProducerIdResponse { error_code: error.code(), producer_id: -1, producer_epoch: -1, ..Default::default() };
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return refuse(ErrorCode::InvalidRequest);
    }
    match request.transactional_id.as_deref() {
        None => {}
        Some("") => return refuse(ErrorCode::InvalidRequest),
        Some(_) => return refuse(ErrorCode::UnsupportedVersion),
    }
    match broker.producer_ids.next(broker).await {
        Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
        Err(error) => refuse(error),
    }
}
