//! A partition's first records of a transaction: are they expected? (KIP-890.) Sources: `ReplicaManager.handleProduceAppend`,
//! `AddPartitionsToTxnManager`.
//!
//! Older clients have said AddPartitionsToTxn before, and the transaction coordinator is asked whether they have. Newer ones say it by
//! producing: the coordinator is told on their behalf. Either way the append needs the guard that was given before the asking, so that a
//! transaction that ends meanwhile keeps the records out.
//!
//! Differs: while the transaction before is being completed Kafka asks again every `add.partitions.to.txn.retry.backoff.ms`; here it is
//! also asked as soon as a transaction is complete.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::server::Broker;
use crate::common::topic_partition::TopicPartition;
use crate::coordinator::transaction::ProducerIdAndEpoch;
use crate::coordinator::transaction::metadata::EPOCH_BUMP_VERSION;
use crate::protocol::error_code::ErrorCode;
use crate::storage::log::VerificationGuard;

/// What the version of a client's request says about its part in transactions. Source: `TransactionSupportedOperation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionSupport {
    /// It knows nothing newer than INVALID_TXN_STATE.
    DefaultError,
    /// It knows TRANSACTION_ABORTABLE.
    AbortableError,
    /// Its partitions join the transaction with their first records.
    AddPartition,
}

impl TransactionSupport {
    pub(crate) fn of_produce(version: i16) -> TransactionSupport {
        TransactionSupport::of(version, 11)
    }

    pub(crate) fn of_txn_offset_commit(version: i16) -> TransactionSupport {
        TransactionSupport::of(version, 4)
    }

    fn of(version: i16, first_with_abortable: i16) -> TransactionSupport {
        match version {
            _ if version > first_with_abortable => TransactionSupport::AddPartition,
            _ if version == first_with_abortable => TransactionSupport::AbortableError,
            _ => TransactionSupport::DefaultError,
        }
    }

    fn adds_partitions(self) -> bool {
        self == TransactionSupport::AddPartition
    }
}

/// What was found about one partition: the guard for the append, or `None` when the transaction is open there already.
pub(crate) type Verified = Result<Option<VerificationGuard>, ErrorCode>;

/// Must records of an unverified transaction be kept out? (`transaction.partition.verification.enable`)
pub(crate) fn is_required(broker: &Broker) -> bool {
    broker.config().value("transaction.partition.verification.enable").as_bool().unwrap_or(true)
}

/// Verifies that the partitions are in the producer's transaction, or adds them. Each partition is given with the sequence number of its
/// batch. Those that need no verification are not in the answer.
pub(crate) async fn verify(
    broker: &Broker,
    transactional_id: &str,
    producer: ProducerIdAndEpoch,
    partitions: &[(TopicPartition, i32)],
    support: TransactionSupport,
) -> HashMap<TopicPartition, Verified> {
    if !support.adds_partitions() && !is_required(broker) {
        return HashMap::new();
    }
    let config = broker.config();
    let millis = |name: &str| Duration::from_millis(u64::try_from(config.long(name)).unwrap_or(0));
    let backoff = millis("add.partitions.to.txn.retry.backoff.ms");
    let patience = millis("add.partitions.to.txn.retry.backoff.max.ms").min(millis("request.timeout.ms"));
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        // Before the question, so that what is completed meanwhile is not missed.
        let mut completed = std::pin::pin!(broker.transactions.completions().notified());
        completed.as_mut().enable();
        let verified = verify_once(broker, transactional_id, producer, partitions, support).await;
        let is_concurrent = verified.values().any(|outcome| *outcome == Err(ErrorCode::ConcurrentTransactions));
        if !is_concurrent || !support.adds_partitions() || tokio::time::Instant::now() >= deadline {
            return verified;
        }
        let _ = tokio::time::timeout(backoff, completed).await;
    }
}

async fn verify_once(
    broker: &Broker,
    transactional_id: &str,
    producer: ProducerIdAndEpoch,
    partitions: &[(TopicPartition, i32)],
    support: TransactionSupport,
) -> HashMap<TopicPartition, Verified> {
    let mut verified: HashMap<TopicPartition, Verified> = HashMap::with_capacity(partitions.len());
    let mut unverified = BTreeSet::new();
    for (it, sequence) in partitions {
        let ProducerIdAndEpoch { producer_id, producer_epoch } = producer;
        let begun = broker
            .replicas
            .partition(&it.topic, it.partition)
            .and_then(|partition| partition.maybe_begin_verification(producer_id, producer_epoch, *sequence, support.adds_partitions()));
        if matches!(begun, Ok(Some(_))) {
            unverified.insert(it.clone());
        }
        verified.insert(it.clone(), begun);
    }
    if unverified.is_empty() {
        return verified;
    }
    let coordinator = &broker.transactions;
    let errors = if support.adds_partitions() {
        let added = coordinator.add_partitions(transactional_id.to_owned(), producer, unverified.clone(), EPOCH_BUMP_VERSION).await;
        let error = added.err().unwrap_or(ErrorCode::None);
        unverified.into_iter().map(|partition| (partition, error)).collect()
    } else {
        coordinator.verify_partitions(transactional_id.to_owned(), producer, unverified).await
    };
    for (partition, error) in errors {
        let error = match error {
            ErrorCode::None => continue,
            // What producers expect here.
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            ErrorCode::TransactionAbortable if support == TransactionSupport::DefaultError => ErrorCode::InvalidTxnState,
            error => error,
        };
        verified.insert(partition, Err(error));
    }
    verified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_of_requests_have_kafkas_meaning() {
        use TransactionSupport::{AbortableError, AddPartition, DefaultError};
        for (version, support) in [(3, DefaultError), (10, DefaultError), (11, AbortableError), (12, AddPartition), (13, AddPartition)] {
            assert_eq!(TransactionSupport::of_produce(version), support);
        }
        for (version, support) in [(3, DefaultError), (4, AbortableError), (5, AddPartition)] {
            assert_eq!(TransactionSupport::of_txn_offset_commit(version), support);
        }
    }
}
