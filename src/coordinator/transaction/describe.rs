//! What operators see of transactions (KIP-664, KIP-994, KIP-1152). Source: `TransactionCoordinator.handleDescribeTransactions`,
//! `TransactionStateManager.listTransactionStates`.

use std::collections::BTreeSet;

use regex::Regex;

use super::TransactionShard;
use super::metadata::{TransactionMetadata, TransactionState};
use crate::common::topic_partition::by_topic;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_transactions_response::{TopicData, TransactionState as DescribedTransaction};
use crate::protocol::messages::list_transactions_response::TransactionState as ListedTransaction;

/// Which transactions to list; each part that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct TransactionFilter {
    pub producer_ids: BTreeSet<i64>,
    /// `None`: all.
    pub states: Option<BTreeSet<TransactionState>>,
    /// Only those open for longer, ms. Negative: all.
    pub duration_ms: i64,
    /// For the whole transactional id.
    pub transactional_id_pattern: Option<Regex>,
}

impl TransactionFilter {
    fn includes(&self, transactional_id: &str, metadata: &TransactionMetadata, now_ms: i64) -> bool {
        (self.producer_ids.is_empty() || self.producer_ids.contains(&metadata.producer_id))
            && self.states.as_ref().is_none_or(|states| states.contains(&metadata.state))
            && (self.duration_ms < 0 || now_ms.saturating_sub(metadata.start_timestamp_ms) > self.duration_ms)
            && self.transactional_id_pattern.as_ref().is_none_or(|pattern| pattern.is_match(transactional_id))
    }
}

impl TransactionShard {
    pub fn list_transactions(&self, filter: &TransactionFilter, now_ms: i64) -> Vec<ListedTransaction> {
        let listed = self.transactions.iter().filter(|(id, metadata)| filter.includes(id, metadata, now_ms));
        listed
            .map(|(id, metadata)| ListedTransaction {
                transactional_id: id.clone(),
                producer_id: metadata.producer_id,
                transaction_state: metadata.state.name().to_owned(),
                ..ListedTransaction::default()
            })
            .collect()
    }

    pub fn describe_transaction(&self, transactional_id: &str) -> DescribedTransaction {
        let id = transactional_id.to_owned();
        let Some(metadata) = self.transactions.get(transactional_id) else {
            let error_code = ErrorCode::TransactionalIdNotFound.code();
            return DescribedTransaction { transactional_id: id, error_code, ..DescribedTransaction::default() };
        };
        // Those that have their marker are no part of it any more.
        let partitions = self.awaiting_markers.get(transactional_id).unwrap_or(&metadata.partitions);
        let topics = by_topic(partitions.iter().map(|it| (&it.topic, it.partition))).into_iter();
        let topics = topics.map(|(topic, partitions)| TopicData { topic: topic.clone(), partitions, ..TopicData::default() });
        DescribedTransaction {
            transactional_id: id,
            transaction_state: metadata.state.name().to_owned(),
            transaction_timeout_ms: metadata.timeout_ms,
            transaction_start_time_ms: metadata.start_timestamp_ms,
            producer_id: metadata.producer_id,
            producer_epoch: metadata.producer_epoch,
            topics: topics.collect(),
            ..DescribedTransaction::default()
        }
    }
}
