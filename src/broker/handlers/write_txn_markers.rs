//! WriteTxnMarkers 1-2: a transaction coordinator, or an operator who ends a hanging transaction, has markers written to the partitions
//! that this broker leads. Source: `KafkaApis.handleWriteTxnMarkersRequest`.
//!
//! - 2: the transaction.version of the marker's producer (KIP-1228); before, 0.
//!
//! Markers of one producer id are answered together, as in Kafka.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_partition::TopicPartition;
use crate::coordinator::runtime::TransactionMarker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use crate::protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let mut response = WriteTxnMarkersResponse::default();
    for it in request.markers {
        let marker = TransactionMarker {
            producer_id: it.producer_id,
            producer_epoch: it.producer_epoch,
            coordinator_epoch: it.coordinator_epoch,
            commit: it.transaction_result,
            transaction_version: i16::from(it.transaction_version),
        };
        let topics = it.topics.into_iter();
        let partitions =
            topics.flat_map(|topic| topic.partition_indexes.into_iter().map(move |it| TopicPartition::new(topic.name.clone(), it)));
        let results = broker.transactions.write_marker(marker, partitions).await;
        let at = response.markers.iter().position(|known| known.producer_id == marker.producer_id).unwrap_or_else(|| {
            response.markers.push(WritableTxnMarkerResult { producer_id: marker.producer_id, ..Default::default() });
            response.markers.len() - 1
        });
        results.into_iter().for_each(|(partition, error)| add(&mut response.markers[at], partition, error));
    }
    response
}

fn add(result: &mut WritableTxnMarkerResult, partition: TopicPartition, error: ErrorCode) {
    let at = result.topics.iter().position(|topic| topic.name == partition.topic).unwrap_or_else(|| {
        result.topics.push(WritableTxnMarkerTopicResult { name: partition.topic.clone(), ..Default::default() });
        result.topics.len() - 1
    });
    let partitions = &mut result.topics[at].partitions;
    // Of two markers for one partition the later is told.
    partitions.retain(|known| known.partition_index != partition.partition);
    let partition_index = partition.partition;
    partitions.push(WritableTxnMarkerPartitionResult { partition_index, error_code: error.code(), ..Default::default() });
}
