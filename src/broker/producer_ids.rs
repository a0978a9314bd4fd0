//! Producer ids, taken from the controller a block at a time. Source: `RPCProducerIdManager`.
//!
//! Invariant: an id is given out once in the life of a cluster. What is left of a block when the process ends is lost.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::AllocateProducerIdsRequest;

/// The rest of the current block.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    block: Mutex<Range<i64>>,
    /// Held while the next block is fetched, so that one request fetches it for all.
    fetching: tokio::sync::Mutex<()>,
    /// Somebody who cannot wait found no id.
    wanted: Notify,
}

impl ProducerIds {
    fn try_next(&self) -> Option<i64> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// A new id if there is one at hand; else COORDINATOR_LOAD_IN_PROGRESS, which clients retry, and the next block is sent for.
    pub(crate) fn take(&self) -> Result<i64, ErrorCode> {
        self.try_next().ok_or_else(|| {
            self.wanted.notify_one();
            ErrorCode::CoordinatorLoadInProgress
        })
    }

    /// A new id; COORDINATOR_LOAD_IN_PROGRESS when the controller has no block for us now.
    pub(crate) async fn next(&self, broker: &Broker) -> Result<i64, ErrorCode> {
        loop {
            if let Some(id) = self.try_next() {
                return Ok(id);
            }
            self.fetch(broker).await?;
        }
    }

    /// Makes sure that there is an id at hand for the moment.
    pub(crate) async fn fetch(&self, broker: &Broker) -> Result<(), ErrorCode> {
        let is_empty = || self.block.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if !is_empty() {
            return Ok(());
        }
        let _turn = self.fetching.lock().await;
        if !is_empty() {
            return Ok(());
        }
        let broker_epoch = broker.image().cluster.broker(broker.node_id()).map_or(-1, |registration| registration.epoch);
        let request = AllocateProducerIdsRequest { broker_id: broker.node_id(), broker_epoch, ..Default::default() };
        let response = broker.controller.allocate_producer_ids(request).await;
        if response.error_code != ErrorCode::None.code() || response.producer_id_len <= 0 {
            tracing::warn!("no producer ids from the controller: {}", ErrorCode::from_code(response.error_code).name());
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        let start = response.producer_id_start;
        let block = start..start.saturating_add(i64::from(response.producer_id_len));
        *self.block.lock().unwrap_or_else(PoisonError::into_inner) = block;
        Ok(())
    }

    /// Fetches a block whenever [`ProducerIds::take`] found none, until the broker stops.
    pub(crate) async fn keep_filled(broker: Arc<Broker>) {
        let mut shutdown = broker.shutdown_signal();
        loop {
            tokio::select! {
                biased;
                () = async { drop(shutdown.wait_for(|&stopping| stopping).await) } => return,
                () = broker.producer_ids.wanted.notified() => {}
            }
            // Whoever needs an id asks again.
            let _ = broker.producer_ids.fetch(&broker).await;
        }
    }
}
