//! AddOffsetsToTxn 0-4: a producer's transaction will hold offsets of a group. Source: `KafkaApis.handleAddOffsetsToTxnRequest`.
//!
//! The group's partition of `__consumer_offsets` joins the transaction like any other. From transaction.version 2 on clients do without
//! this request.
//!
//! - 2: PRODUCER_FENCED; before, INVALID_PRODUCER_EPOCH.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_name;
use crate::common::topic_partition::TopicPartition;
use crate::coordinator::transaction::ProducerIdAndEpoch;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let partition = TopicPartition::new(topic_name::CONSUMER_OFFSETS, broker.groups.partition_for(&request.group_id));
    let producer = ProducerIdAndEpoch { producer_id: request.producer_id, producer_epoch: request.producer_epoch };
    let added = broker.transactions.add_partitions(request.transactional_id, producer, [partition].into(), 0).await;
    let error = added.err().unwrap_or(ErrorCode::None);
    let error = if ctx.api_version < 2 { error.before_producer_fenced() } else { error };
    AddOffsetsToTxnResponse { error_code: error.code(), ..Default::default() }
}
