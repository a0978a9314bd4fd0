//! EndTxn 0-5: a producer commits or aborts its transaction. Source: `KafkaApis.handleEndTxnRequest`.
//!
//! The answer comes when the decision is in the log; the markers follow.
//!
//! - 2: PRODUCER_FENCED; before, INVALID_PRODUCER_EPOCH.
//! - 5: every transaction has an epoch of its own, and the answer tells the next one (KIP-890, transaction.version 2).

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::coordinator::transaction::metadata::EPOCH_BUMP_VERSION;
use crate::coordinator::transaction::{EndTransaction, ProducerIdAndEpoch};
use crate::protocol::messages::{EndTxnRequest, EndTxnResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: EndTxnRequest) -> EndTxnResponse {
    let end = EndTransaction {
        transactional_id: request.transactional_id,
        producer: ProducerIdAndEpoch { producer_id: request.producer_id, producer_epoch: request.producer_epoch },
        commit: request.committed,
        client_version: if ctx.api_version > 4 { EPOCH_BUMP_VERSION } else { 0 },
    };
    match broker.transactions.end_transaction(end).await {
        Ok(ProducerIdAndEpoch { producer_id, producer_epoch }) => EndTxnResponse { producer_id, producer_epoch, ..Default::default() },
        Err(error) => {
            let error = if ctx.api_version < 2 { error.before_producer_fenced() } else { error };
            EndTxnResponse { error_code: error.code(), producer_id: -1, producer_epoch: -1, ..Default::default() }
        }
    }
}
