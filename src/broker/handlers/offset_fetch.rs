//! OffsetFetch 1-10: where groups have come to. Source: `KafkaApis.handleOffsetFetchRequest`, `OffsetFetchResponse`.
//!
//! - 1: errors of the group stand at every partition.
//! - 2: null topics mean all; errors of the group stand at the top.
//! - 7: `require_stable` (KIP-447).
//! - 8: many groups (KIP-709).
//! - 10: topics by id (KIP-848).

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if ctx.api_version >= 8 {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            groups.push(fetch_group(broker, ctx, group, request.require_stable).await);
        }
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    let topics = request.topics.map(|topics| {
        let topic = |t: crate::protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| OffsetFetchRequestTopics {
            name: t.name,
            partition_indexes: t.partition_indexes,
            ..Default::default()
        };
        topics.into_iter().map(topic).collect()
    });
    let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() };
    let group = fetch_group(broker, ctx, group, request.require_stable).await;
    OffsetFetchResponse {
        error_code: group.error_code,
        topics: group.topics.into_iter().map(single_group_topic).collect(),
        ..Default::default()
    }
}

/// A topic in the form of the versions with one group.
fn single_group_topic(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partition = |p: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: p.partition_index,
        committed_offset: p.committed_offset,
        committed_leader_epoch: p.committed_leader_epoch,
        metadata: p.metadata,
        error_code: p.error_code,
        ..Default::default()
    };
    OffsetFetchResponseTopic { name: topic.name, partitions: topic.partitions.into_iter().map(partition).collect(), ..Default::default() }
}

async fn fetch_group(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    mut group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let by_id = ctx.api_version >= 10;
    let image = broker.image();
    let asked = group.clone();
    let mut unknown = Vec::new();
    if by_id && let Some(topics) = group.topics.take() {
        let mut known = Vec::with_capacity(topics.len());
        for mut topic in topics {
            match image.topics.topic_by_id(topic.topic_id) {
                Some(found) => {
                    topic.name.clone_from(&found.name);
                    known.push(topic);
                }
                None => unknown.push(topic_error(&topic, ErrorCode::UnknownTopicId)),
            }
        }
        group.topics = Some(known);
    }
    let all = group.topics.is_none();
    let mut response = match broker.groups.fetch_offsets(group, require_stable).await {
        Ok(response) => response,
        Err(error) => return group_error(&asked, error, ctx.api_version),
    };
    if by_id && all {
        // Commits are kept by name; a topic that is no more cannot be told by id.
        response.topics.retain_mut(|topic| {
            topic.topic_id = image.topics.topic(&topic.name).map_or(Uuid::ZERO, |found| found.id);
            !topic.topic_id.is_zero()
        });
    }
    response.topics.extend(unknown);
    response
}

fn group_error(group: &OffsetFetchRequestGroup, error: ErrorCode, api_version: i16) -> OffsetFetchResponseGroup {
    let group_id = group.group_id.clone();
    if api_version >= 2 {
        return OffsetFetchResponseGroup { group_id, error_code: error.code(), ..Default::default() };
    }
    let topics = group.topics.iter().flatten().map(|topic| topic_error(topic, error)).collect();
    OffsetFetchResponseGroup { group_id, topics, ..Default::default() }
}

fn topic_error(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let partition = |&partition_index: &i32| OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        metadata: Some(String::new()),
        error_code: error.code(),
        ..Default::default()
    };
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(partition).collect(),
        ..Default::default()
    }
}
