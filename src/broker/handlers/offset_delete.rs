//! OffsetDelete 0: forgets a group's offsets of topics that it does not read (KIP-496). Source: `KafkaApis.handleOffsetDeleteRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, mut request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let image = broker.image();
    let mut unknown: Vec<OffsetDeleteResponseTopic> = Vec::new();
    let mut known = Vec::with_capacity(request.topics.len());
    for mut topic in std::mem::take(&mut request.topics) {
        let exists = |index: i32| image.topics.partition(&topic.name, index).is_some();
        let (exist, missing): (Vec<_>, Vec<_>) = std::mem::take(&mut topic.partitions).into_iter().partition(|p| exists(p.partition_index));
        if !missing.is_empty() {
            let partition = |index: i32| OffsetDeleteResponsePartition {
                partition_index: index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                ..Default::default()
            };
            let partitions = missing.iter().map(|p| partition(p.partition_index)).collect();
            unknown.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions, ..Default::default() });
        }
        if !exist.is_empty() {
            topic.partitions = exist;
            known.push(topic);
        }
    }
    request.topics = known;
    let mut response = broker.groups.delete_offsets(request).await;
    if response.error_code != 0 {
        // An error of the whole group leaves no room for others.
        return response;
    }
    for topic in response.topics.drain(..) {
        match unknown.iter_mut().find(|other| other.name == topic.name) {
            Some(other) => other.partitions.extend(topic.partitions),
            None => unknown.push(topic),
        }
    }
    response.topics = unknown;
    response
}
