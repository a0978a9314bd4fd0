//! Transactions as their coordinators know them, and what an operator can do about one that hangs.
//!
//! Source: `ListTransactionsHandler`, `DescribeTransactionsHandler`, `AbortTransactionHandler`, `FenceProducersHandler`; KIP-664, KIP-939.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::named;
use super::{Admin, Item, Results, wire_millis};
use crate::client::cluster::CoordinatorKind;
use crate::client::error::{ApiError, ClientError};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use crate::protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, InitProducerIdRequest, ListTransactionsRequest, WriteTxnMarkersRequest,
};

named! {
    /// Where a transaction stands.
    TransactionState { Unknown, Ongoing, PrepareAbort, PrepareCommit, CompleteAbort, CompleteCommit, Empty, PrepareEpochFence }
}

/// Which transactions to list; what is empty or `None` lets all pass.
#[derive(Clone, Debug, Default)]
pub struct ListTransactionsFilter {
    pub states: Vec<TransactionState>,
    pub producer_ids: Vec<i64>,
    /// Only those that have been running for longer than this, in milliseconds.
    pub longer_than_ms: Option<i64>,
    /// A regular expression (RE2) that the transactional id matches as a whole.
    pub transactional_id_pattern: Option<String>,
}

/// A transactional id as its coordinator lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    pub transactional_id: String,
    pub producer_id: i64,
    pub state: TransactionState,
}

/// A transactional id and its last transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    pub coordinator_id: i32,
    pub state: TransactionState,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub transaction_timeout_ms: i64,
    /// `None` when no transaction is open.
    pub transaction_start_time_ms: Option<i64>,
    pub topic_partitions: BTreeSet<TopicPartition>,
}

/// A transaction in one partition, as `describe_producers` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbortTransactionSpec {
    pub topic_partition: TopicPartition,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub coordinator_epoch: i32,
}

/// A transactional id, as an item whose coordinator is to be found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TransactionalId(String);

impl Item for TransactionalId {
    fn coordinator(&self) -> Option<(CoordinatorKind, &str)> {
        Some((CoordinatorKind::Transaction, &self.0))
    }
}

fn ids(ids: &[String]) -> impl Iterator<Item = TransactionalId> {
    ids.iter().cloned().map(TransactionalId)
}

fn by_name<T>(results: Results<TransactionalId, T>) -> Results<String, T> {
    results.into_iter().map(|(id, outcome)| (id.0, outcome)).collect()
}

impl Admin {
    /// Asks every broker for the transactional ids it coordinates; one outcome for each broker.
    pub async fn list_transactions(&self, filter: &ListTransactionsFilter) -> Result<Results<i32, Vec<TransactionListing>>, ClientError> {
        self.describe_cluster(false).await?;
        let request = ListTransactionsRequest {
            state_filters: filter.states.iter().map(|state| state.name().to_owned()).collect(),
            producer_id_filters: filter.producer_ids.clone(),
            duration_filter: filter.longer_than_ms.unwrap_or(-1),
            transactional_id_pattern: filter.transactional_id_pattern.clone().filter(|pattern| !pattern.is_empty()),
            ..Default::default()
        };
        let mut results = BTreeMap::new();
        let metadata = self.cluster.metadata();
        for broker in metadata.brokers.keys() {
            let outcome = self
                .retried("listTransactions", || async {
                    let response = self.cluster.send_to(*broker, &request).await?;
                    ApiError::check(response.error_code, None)?;
                    Ok(response)
                })
                .await;
            let outcome = outcome.map(|response| {
                let listed = response.transaction_states.into_iter().map(|it| TransactionListing {
                    transactional_id: it.transactional_id,
                    producer_id: it.producer_id,
                    state: TransactionState::parse(&it.transaction_state),
                });
                listed.collect()
            });
            results.insert(*broker, outcome);
        }
        Ok(results)
    }

    /// Describes transactional ids.
    pub async fn describe_transactions(&self, transactional_ids: &[String]) -> Results<String, TransactionDescription> {
        let request = |ids: &[TransactionalId]| {
            let transactional_ids = ids.iter().map(|id| id.0.clone()).collect();
            DescribeTransactionsRequest { transactional_ids, ..Default::default() }
        };
        let read = |coordinator_id, response: DescribeTransactionsResponse| {
            let described = response.transaction_states.into_iter().map(|it| {
                let outcome = ApiError::check(it.error_code, None);
                let topics = it.topics.into_iter();
                let partitions = topics.flat_map(|it| it.partitions.into_iter().map(move |p| TopicPartition::new(it.topic.clone(), p)));
                let description = TransactionDescription {
                    coordinator_id,
                    state: TransactionState::parse(&it.transaction_state),
                    producer_id: it.producer_id,
                    producer_epoch: it.producer_epoch,
                    transaction_timeout_ms: i64::from(it.transaction_timeout_ms),
                    transaction_start_time_ms: (it.transaction_start_time_ms >= 0).then_some(it.transaction_start_time_ms),
                    topic_partitions: partitions.collect(),
                };
                (TransactionalId(it.transactional_id), outcome.map(|()| description))
            });
            described.collect()
        };
        by_name(self.ask_coordinators("describeTransactions", ids(transactional_ids), request, read).await)
    }

    /// Writes an abort marker into one partition, past the coordinator: the way out when a transaction hangs.
    pub async fn abort_transaction(&self, spec: &AbortTransactionSpec) -> Result<(), ClientError> {
        let partition = &spec.topic_partition;
        let mut results = self
            .rounds("abortTransaction", [partition.clone()], |pending: Vec<TopicPartition>| async move {
                let (leaders, mut results) = self.by_leader(&pending).await;
                let answers = self.to_brokers(leaders, |connection, _: &[(TopicPartition, i32)]| {
                    let topic = WritableTxnMarkerTopic {
                        name: partition.topic.clone(),
                        partition_indexes: vec![partition.partition],
                        ..Default::default()
                    };
                    let marker = WritableTxnMarker {
                        producer_id: spec.producer_id,
                        producer_epoch: spec.producer_epoch,
                        transaction_result: false,
                        topics: vec![topic],
                        coordinator_epoch: spec.coordinator_epoch,
                        ..Default::default()
                    };
                    let request = WriteTxnMarkersRequest { markers: vec![marker], ..Default::default() };
                    Ok((request, connection.version_of::<WriteTxnMarkersRequest>()?))
                });
                for (_, _, answer) in answers.await {
                    let outcome = match answer {
                        Err(error) => Err(error),
                        Ok((response, _)) => {
                            let partitions = response.markers.into_iter().flat_map(|it| it.topics).flat_map(|it| it.partitions);
                            let code = partitions.map(|it| it.error_code).next().unwrap_or(ErrorCode::UnknownServerError.code());
                            ApiError::check(code, None)
                        }
                    };
                    results.insert(partition.clone(), outcome);
                }
                results
            })
            .await;
        results.remove(partition).unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into()))
    }

    /// Ends what producers with these transactional ids have open, and shuts them out. Gives the producer id and epoch that newly hold each.
    pub async fn fence_producers(&self, transactional_ids: &[String]) -> Results<String, (i64, i16)> {
        let timeout = wire_millis(self.cluster.request_timeout());
        let results = self.rounds("fenceProducers", ids(transactional_ids), |pending: Vec<TransactionalId>| async move {
            let (coordinators, mut results) = self.by_coordinator(&pending).await;
            for (broker, ids) in coordinators {
                for id in ids {
                    let request = InitProducerIdRequest {
                        transactional_id: Some(id.0.clone()),
                        transaction_timeout_ms: timeout,
                        ..Default::default()
                    };
                    let outcome = self.cluster.send_to(broker, &request).await.and_then(|response| {
                        ApiError::check(response.error_code, None)?;
                        Ok((response.producer_id, response.producer_epoch))
                    });
                    results.insert(id, outcome);
                }
            }
            results
        });
        by_name(results.await)
    }

    /// Ends the open transaction of a producer that takes part in a two-phase commit, whatever it had prepared.
    pub async fn force_terminate_transaction(&self, transactional_id: &str) -> Result<(), ClientError> {
        let mut results = self.fence_producers(&[transactional_id.to_owned()]).await;
        results.remove(transactional_id).unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into())).map(drop)
    }
}
