//! Producer ids, taken from the controller a block at a time. Source: `RPCProducerIdManager`.
//!
//! Invariant: an id is given out once in the life of a cluster. What is left of a block when the process ends is lost.

use std::ops::Range;

use tokio::sync::Mutex;

use super::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::AllocateProducerIdsRequest;

/// The rest of the current block. The lock is held while the next is fetched, so that one request fetches it for all.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// A new id; COORDINATOR_LOAD_IN_PROGRESS, which clients retry, when the controller has no block for us now.
    pub(crate) async fn next(&self, broker: &Broker) -> Result<i64, ErrorCode> {
        let mut block = self.block.lock().await;
        if let Some(id) = block.next() {
            return Ok(id);
        }
        let broker_epoch = broker.image().cluster.broker(broker.node_id()).map_or(-1, |registration| registration.epoch);
        let request = AllocateProducerIdsRequest { broker_id: broker.node_id(), broker_epoch, ..Default::default() };
        let response = broker.controller.allocate_producer_ids(request).await;
        if response.error_code != ErrorCode::None.code() {
            tracing::warn!("no producer ids from the controller: {}", ErrorCode::from_code(response.error_code).name());
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        let start = response.producer_id_start;
        *block = start..start.saturating_add(i64::from(response.producer_id_len));
        block.next().ok_or(ErrorCode::CoordinatorLoadInProgress)
    }
}
