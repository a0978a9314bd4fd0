//! InitProducerId with a transactional id: who has it last is the producer, all before are fenced. Source:
//! `TransactionCoordinator.handleInitProducerId`, KIP-360.

use super::config::TransactionCoordinatorConfig;
use super::metadata::{NO_PRODUCER_EPOCH, ProducerIdAndEpoch, TransactionMetadata, TransactionState, is_epoch_exhausted};
use super::{Effects, TransactionShard};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;

/// A producer's wish for an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerId {
    pub transactional_id: String,
    pub timeout_ms: i32,
    /// The transaction is prepared and decided by somebody else, whenever that may be (KIP-939).
    pub enable_two_phase_commit: bool,
    pub keep_prepared_transaction: bool,
    /// The identity it has and wants to go on from.
    pub expected: Option<ProducerIdAndEpoch>,
}

/// Checks what does not depend on the transactional id's state.
pub fn validate_init_producer_id(config: &TransactionCoordinatorConfig, request: &InitProducerId) -> Result<(), ErrorCode> {
    if request.transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    if request.enable_two_phase_commit && !config.two_phase_commit_enable {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    if request.keep_prepared_transaction {
        return Err(ErrorCode::UnsupportedVersion);
    }
    if !request.enable_two_phase_commit && !(1..=config.max_timeout_ms).contains(&request.timeout_ms) {
        return Err(ErrorCode::InvalidTransactionTimeout);
    }
    Ok(())
}

impl TransactionShard {
    /// Gives a producer its identity. An open transaction of the producer before is aborted first; then the answer is
    /// CONCURRENT_TRANSACTIONS, with effects, and the producer asks again.
    pub fn init_producer_id(
        &mut self,
        now: Now,
        request: &InitProducerId,
    ) -> Result<(Result<ProducerIdAndEpoch, ErrorCode>, Effects), ErrorCode> {
        let id = request.transactional_id.as_str();
        let timeout_ms = if request.enable_two_phase_commit { i32::MAX } else { request.timeout_ms };
        let created;
        let metadata = match self.transactions.get(id) {
            Some(metadata) => metadata,
            None => {
                created = TransactionMetadata::new(self.environment.next_producer_id()?, timeout_ms, now.wall_ms);
                &created
            }
        };
        if metadata.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        if !request.expected.is_none_or(|expected| may_go_on(metadata, expected)) {
            return Err(ErrorCode::ProducerFenced);
        }
        if metadata.state == TransactionState::Ongoing {
            let aborted = self.fenced(metadata, now)?;
            return Ok((Err(ErrorCode::ConcurrentTransactions), self.step(id, aborted)));
        }
        let expected_epoch = request.expected.map(|expected| expected.producer_epoch);
        let next = if metadata.is_epoch_exhausted() && expected_epoch.is_none_or(|epoch| epoch == metadata.producer_epoch) {
            let producer_id = self.environment.next_producer_id()?;
            metadata.with_new_producer_id(producer_id, timeout_ms, expected_epoch.is_some(), now.wall_ms)
        } else if metadata.is_epoch_exhausted() {
            // Kafka fails here too: there is no epoch left to give, and the one that is named is not the last.
            return Err(ErrorCode::UnknownServerError);
        } else {
            metadata.with_next_epoch(timeout_ms, expected_epoch, now.wall_ms).ok_or(ErrorCode::ProducerFenced)?
        };
        Ok((Ok(next.producer()), self.step(id, next)))
    }
}

/// May the producer that names this identity go on with the transactional id? The epoch is checked when it is raised.
fn may_go_on(metadata: &TransactionMetadata, expected: ProducerIdAndEpoch) -> bool {
    // Just created: a producer whose id was forgotten, which may have a new one.
    metadata.producer_epoch == NO_PRODUCER_EPOCH
        || expected.producer_id == metadata.producer_id
        // It asks again for the producer id that followed the one it names.
        || (expected.producer_id == metadata.previous_producer_id && is_epoch_exhausted(expected.producer_epoch))
}
