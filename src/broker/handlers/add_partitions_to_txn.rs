//! AddPartitionsToTxn 0-5: partitions join a transaction, or are asked whether they are in it. Source:
//! `KafkaApis.handleAddPartitionsToTxnRequest`.
//!
//! Up to 3 a producer adds partitions; from 4 on a broker does it on a producer's behalf, for many transactions at once, or only verifies
//! (KIP-890). One partition that does not exist fails its whole transaction: the others are OPERATION_NOT_ATTEMPTED.
//!
//! - 2: PRODUCER_FENCED; before, INVALID_PRODUCER_EPOCH.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_name;
use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::coordinator::transaction::ProducerIdAndEpoch;
use crate::coordinator::transaction::metadata::EPOCH_BUMP_VERSION;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTransaction;
use crate::protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use crate::protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    if ctx.api_version < 4 {
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            topics: request.v3_and_below_topics,
            ..Default::default()
        };
        let result = add(broker, ctx, transaction).await;
        return AddPartitionsToTxnResponse { results_by_topic_v3_and_below: result.topic_results, ..Default::default() };
    }
    let mut response = AddPartitionsToTxnResponse::default();
    for transaction in request.transactions {
        response.results_by_transaction.push(add(broker, ctx, transaction).await);
    }
    response
}

async fn add(broker: &Broker, ctx: &RequestContext, transaction: AddPartitionsToTxnTransaction) -> AddPartitionsToTxnResult {
    let image = broker.image();
    let asked = transaction
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|&partition| TopicPartition::new(topic.name.clone(), partition)));
    let partitions: BTreeSet<TopicPartition> = asked.collect();
    let producer = ProducerIdAndEpoch { producer_id: transaction.producer_id, producer_epoch: transaction.producer_epoch };
    let id = transaction.transactional_id.clone();
    let exists = |it: &TopicPartition| image.topics.partition(&it.topic, it.partition).is_some();
    // A client's own records never belong into a topic that a coordinator writes.
    let forbidden = |it: &TopicPartition| ctx.api_version < 4 && topic_name::is_internal(&it.topic);
    let errors: Vec<(TopicPartition, ErrorCode)> = if partitions.iter().any(|it| !exists(it) || forbidden(it)) {
        let error = |it: &TopicPartition| match exists(it) {
            _ if forbidden(it) => ErrorCode::TopicAuthorizationFailed,
            true => ErrorCode::OperationNotAttempted,
            false => ErrorCode::UnknownTopicOrPartition,
        };
        partitions.into_iter().map(|it| (error(&it), it)).map(|(error, it)| (it, error)).collect()
    } else if transaction.verify_only {
        broker.transactions.verify_partitions(id, producer, partitions).await
    } else {
        let client_version = if ctx.api_version > 3 { EPOCH_BUMP_VERSION } else { 0 };
        let added = broker.transactions.add_partitions(id, producer, partitions.clone(), client_version).await;
        let error = added.err().unwrap_or(ErrorCode::None);
        let error = if ctx.api_version < 2 { error.before_producer_fenced() } else { error };
        partitions.into_iter().map(|it| (it, error)).collect()
    };
    AddPartitionsToTxnResult { transactional_id: transaction.transactional_id, topic_results: topic_results(errors), ..Default::default() }
}

fn topic_results(errors: Vec<(TopicPartition, ErrorCode)>) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = by_topic(errors.into_iter().map(|(TopicPartition { topic, partition }, error)| {
        let partition_error_code = error.code();
        (topic, AddPartitionsToTxnPartitionResult { partition_index: partition, partition_error_code, ..Default::default() })
    }));
    let topic = |(name, results_by_partition)| AddPartitionsToTxnTopicResult { name, results_by_partition, ..Default::default() };
    topics.into_iter().map(topic).collect()
}
