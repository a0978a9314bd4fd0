//! TxnOffsetCommit 0-5: how far a group has come, if the producer's transaction is committed. Source:
//! `KafkaApis.handleTxnOffsetCommitRequest`.
//!
//! - Before 2, a coordinator that is loading answers COORDINATOR_NOT_AVAILABLE, as old clients do not expect more.
//! - 3: the consumer's group membership, which fences zombies (KIP-447). 4: TRANSACTION_ABORTABLE.
//! - 5: the group's partition joins the transaction with this request (KIP-890).

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::transaction_verification::{self, TransactionSupport};
use crate::common::topic_name;
use crate::common::topic_partition::TopicPartition;
use crate::coordinator::runtime::{TransactionalProducer, operation_error};
use crate::coordinator::transaction::ProducerIdAndEpoch;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use crate::protocol::messages::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use crate::protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

/// "No sequence": a coordinator's batches have none to be checked.
const NO_SEQUENCE: i32 = -1;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, mut request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let image = broker.image();
    let mut response = TxnOffsetCommitResponse::default();
    let mut known = Vec::with_capacity(request.topics.len());
    for mut topic in std::mem::take(&mut request.topics) {
        let found = image.topics.topic(&topic.name);
        let (exist, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions)
            .into_iter()
            .partition(|it| found.is_some_and(|found| found.partition(it.partition_index).is_some()));
        missing.iter().for_each(|it| add(&mut response, &topic.name, it.partition_index, ErrorCode::UnknownTopicOrPartition));
        if !exist.is_empty() {
            topic.partitions = exist;
            known.push(topic);
        }
    }
    if known.is_empty() {
        return response;
    }
    let asked: Vec<TxnOffsetCommitRequestTopic> = known.clone();
    request.topics = known;
    match commit(broker, ctx, request).await {
        Ok(committed) => {
            for topic in committed.topics {
                topic.partitions.iter().for_each(|it| {
                    add(&mut response, &topic.name, it.partition_index, ErrorCode::from_code(it.error_code));
                });
            }
        }
        Err(error) => {
            let error = match error {
                ErrorCode::CoordinatorLoadInProgress if ctx.api_version < 2 => ErrorCode::CoordinatorNotAvailable,
                error => error,
            };
            for topic in &asked {
                topic.partitions.iter().for_each(|it| add(&mut response, &topic.name, it.partition_index, error));
            }
        }
    }
    response
}

async fn commit(broker: &Arc<Broker>, ctx: &RequestContext, request: TxnOffsetCommitRequest) -> Result<TxnOffsetCommitResponse, ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let partition = TopicPartition::new(topic_name::CONSUMER_OFFSETS, broker.groups.partition_for(&request.group_id));
    let ProducerIdAndEpoch { producer_id, producer_epoch } =
        ProducerIdAndEpoch { producer_id: request.producer_id, producer_epoch: request.producer_epoch };
    let verified = transaction_verification::verify(
        broker,
        &request.transactional_id,
        ProducerIdAndEpoch { producer_id, producer_epoch },
        &[(partition.clone(), NO_SEQUENCE)],
        TransactionSupport::of_txn_offset_commit(ctx.api_version),
    )
    .await;
    let guard = verified.get(&partition).copied().unwrap_or(Ok(None)).map_err(|error| match error {
        // Older clients do not expect it; this one makes them ask again without looking for the coordinator.
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        error => operation_error(error),
    })?;
    let producer = TransactionalProducer {
        producer_id,
        producer_epoch,
        verify: transaction_verification::is_required(broker),
        guard: guard.map(|guard| guard.0),
    };
    broker.groups.commit_transactional_offsets(ctx, producer, request).await
}

/// Puts one partition into the response, with its topic's other partitions.
fn add(response: &mut TxnOffsetCommitResponse, topic: &str, partition_index: i32, error: ErrorCode) {
    let partition = TxnOffsetCommitResponsePartition { partition_index, error_code: error.code(), ..Default::default() };
    match response.topics.iter_mut().find(|other| other.name == topic) {
        Some(other) => other.partitions.push(partition),
        None => {
            response.topics.push(TxnOffsetCommitResponseTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() })
        }
    }
}
