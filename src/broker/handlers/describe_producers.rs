//! DescribeProducers 0: the producers a partition's log remembers (KIP-664). Source: `KafkaApis.handleDescribeProducersRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_name;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use crate::protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut response = TopicResponse { name: topic.name, ..Default::default() };
        for partition_index in topic.partition_indexes {
            // As in Kafka, an error of the topic has a text and one of a partition has none.
            let producers = match topic_name::validate(&response.name) {
                Err(message) => Err((ErrorCode::InvalidTopicException, Some(message))),
                Ok(()) if broker.image().topics.topic(&response.name).is_none() => {
                    let code = ErrorCode::UnknownTopicOrPartition;
                    Err((code, Some(code.message().to_owned())))
                }
                Ok(()) => producers(broker, &response.name, partition_index).map_err(|code| (code, None)),
            };
            response.partitions.push(match producers {
                Ok(active_producers) => PartitionResponse { partition_index, active_producers, ..Default::default() },
                Err((code, error_message)) => {
                    PartitionResponse { partition_index, error_code: code.code(), error_message, ..Default::default() }
                }
            });
        }
        topics.push(response);
    }
    DescribeProducersResponse { topics, ..Default::default() }
}

fn producers(broker: &Broker, topic: &str, partition: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    let log = broker.replicas.partition(topic, partition)?.log()?;
    let active = log.active_producers().into_iter();
    Ok(active
        .map(|it| ProducerState {
            producer_id: it.producer_id,
            producer_epoch: i32::from(it.producer_epoch),
            last_sequence: it.last_sequence,
            last_timestamp: it.last_timestamp,
            coordinator_epoch: it.coordinator_epoch,
            current_txn_start_offset: it.current_txn_start_offset,
            ..Default::default()
        })
        .collect())
}
