//! Blocks of producer IDs. Source: Kafka's `ProducerIdControlManager`.

use super::{Controller, Outcome};
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::*;

/// How many IDs a block has.
pub const BLOCK_SIZE: i32 = 1000;

impl Controller {
    /// AllocateProducerIds.
    pub fn allocate_producer_ids(&mut self, request: &AllocateProducerIdsRequest) -> Outcome<AllocateProducerIdsResponse> {
        let refuse =
            |code: ErrorCode| Outcome::without_records(AllocateProducerIdsResponse { error_code: code.code(), ..Default::default() });
        let broker = self.image.cluster.broker(request.broker_id);
        if broker.is_none_or(|broker| broker.epoch != request.broker_epoch) {
            return refuse(ErrorCode::StaleBrokerEpoch);
        }
        let first = self.image.producer_ids.next_producer_id.unwrap_or(0);
        let Some(next) = first.checked_add(i64::from(BLOCK_SIZE)) else { return refuse(ErrorCode::UnknownServerError) };
        let record = ProducerIdsRecord {
            broker_id: request.broker_id,
            broker_epoch: request.broker_epoch,
            next_producer_id: next,
            ..Default::default()
        };
        let response = AllocateProducerIdsResponse { producer_id_start: first, producer_id_len: BLOCK_SIZE, ..Default::default() };
        Outcome { records: vec![VersionedRecord::new(record, 0)], response }
    }
}
