//! InitProducerId 0-5: an identity for a producer that counts its batches (KIP-98, KIP-360). Source:
//! `KafkaApis.handleInitProducerIdRequest`, `TransactionCoordinator.handleInitProducerId`.
//!
//! - Without a transactional id every request gets a new producer id at epoch 0, whatever identity it brings.
//! - With one, the producer before it is fenced and its transaction aborted; meanwhile the answer is CONCURRENT_TRANSACTIONS.
//! - 3: a producer names the identity it goes on from. 4: PRODUCER_FENCED; before, INVALID_PRODUCER_EPOCH.
//!
//! Version 6, with the fields of KIP-939, is not stable in Kafka 4.3 and not announced there either.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::coordinator::transaction::{InitProducerId, ProducerIdAndEpoch};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: InitProducerIdRequest) -> InitProducerIdResponse {
    match init(broker, request).await {
        Ok(ProducerIdAndEpoch { producer_id, producer_epoch }) => {
            InitProducerIdResponse { producer_id, producer_epoch, ..Default::default() }
        }
        Err(error) => {
            let error = if ctx.api_version < 4 { error.before_producer_fenced() } else { error };
            InitProducerIdResponse { error_code: error.code(), producer_id: -1, producer_epoch: -1, ..Default::default() }
        }
    }
}

async fn init(broker: &Arc<Broker>, request: InitProducerIdRequest) -> Result<ProducerIdAndEpoch, ErrorCode> {
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Err(ErrorCode::InvalidRequest),
        (producer_id, producer_epoch) => Some(ProducerIdAndEpoch { producer_id, producer_epoch }),
    };
    let Some(transactional_id) = request.transactional_id else {
        let producer_id = broker.producer_ids.next(broker).await?;
        return Ok(ProducerIdAndEpoch { producer_id, producer_epoch: 0 });
    };
    broker.producer_ids.fetch(broker).await?;
    let request = InitProducerId {
        transactional_id,
        timeout_ms: request.transaction_timeout_ms,
        enable_two_phase_commit: request.enable2_pc,
        keep_prepared_transaction: request.keep_prepared_txn,
        expected,
    };
    broker.transactions.init_producer_id(request).await
}
