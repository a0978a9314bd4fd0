//! Partitions join a transaction, and a partition's leader asks whether it belongs to one (KIP-890). Source:
//! `TransactionCoordinator.handleAddPartitionsToTransaction`, `handleVerifyPartitionsInTransaction`.

use std::collections::BTreeSet;

use super::metadata::{ProducerIdAndEpoch, TransactionMetadata, TransactionState};
use super::{Effects, TransactionShard};
use crate::common::topic_partition::TopicPartition;
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;

impl TransactionShard {
    /// Adds partitions to the producer's transaction; the first begin it. `client_version`: the transaction.version that the client
    /// shows.
    pub fn add_partitions(
        &mut self,
        now: Now,
        transactional_id: &str,
        producer: ProducerIdAndEpoch,
        partitions: &BTreeSet<TopicPartition>,
        client_version: i16,
    ) -> Result<((), Effects), ErrorCode> {
        let metadata = self.find(transactional_id)?;
        if metadata.state.is_prepared() {
            // First of all: with the end of this transaction the producer may have got a new id, which is not in force yet.
            return Err(ErrorCode::ConcurrentTransactions);
        }
        check_producer(metadata, producer)?;
        if metadata.state == TransactionState::Ongoing && partitions.is_subset(&metadata.partitions) {
            return Ok(((), Effects::default()));
        }
        Ok(((), self.step(transactional_id, metadata.with_partitions(partitions, client_version, now.wall_ms))))
    }

    /// Are these partitions in the producer's transaction? One error code each.
    pub fn verify_partitions(
        &self,
        transactional_id: &str,
        producer: ProducerIdAndEpoch,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        let all = |error: ErrorCode| partitions.iter().map(|partition| (partition.clone(), error)).collect();
        let metadata = match self.find(transactional_id) {
            Ok(metadata) => metadata,
            Err(error) => return all(error),
        };
        if let Err(error) = check_producer(metadata, producer) {
            return all(error);
        }
        if metadata.state.is_prepared() {
            return all(ErrorCode::ConcurrentTransactions);
        }
        let error = |partition| if metadata.partitions.contains(partition) { ErrorCode::None } else { ErrorCode::TransactionAbortable };
        partitions.iter().map(|partition| (partition.clone(), error(partition))).collect()
    }
}

fn check_producer(metadata: &TransactionMetadata, producer: ProducerIdAndEpoch) -> Result<(), ErrorCode> {
    if metadata.producer_id != producer.producer_id {
        Err(ErrorCode::InvalidProducerIdMapping)
    } else if metadata.producer_epoch != producer.producer_epoch {
        Err(ErrorCode::ProducerFenced)
    } else {
        Ok(())
    }
}
