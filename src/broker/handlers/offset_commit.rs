//! OffsetCommit 2-10: how far a group has come. Source: `KafkaApis.handleOffsetCommitRequest`.
//!
//! Topics and partitions that do not exist are answered for here; the group coordinator is asked for the others.
//!
//! - 2-4: a retention of the request's own.
//! - 7: static members (KIP-345).
//! - 9: an unknown group is GROUP_ID_NOT_FOUND; before, ILLEGAL_GENERATION.
//! - 10: topics by id (KIP-848).

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use crate::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
    let by_id = ctx.api_version >= 10;
    let image = broker.image();
    let mut response = OffsetCommitResponse::default();
    let mut known = Vec::with_capacity(request.topics.len());
    for mut topic in std::mem::take(&mut request.topics) {
        let found = if by_id { image.topics.topic_by_id(topic.topic_id) } else { image.topics.topic(&topic.name) };
        let Some(found) = found else {
            let error = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            topic.partitions.iter().for_each(|p| add(&mut response, &topic, p.partition_index, error));
            continue;
        };
        topic.name.clone_from(&found.name);
        topic.topic_id = found.id;
        let (exist, missing): (Vec<_>, Vec<_>) =
            std::mem::take(&mut topic.partitions).into_iter().partition(|p| found.partition(p.partition_index).is_some());
        missing.iter().for_each(|p| add(&mut response, &topic, p.partition_index, ErrorCode::UnknownTopicOrPartition));
        if !exist.is_empty() {
            topic.partitions = exist;
            known.push(topic);
        }
    }
    if known.is_empty() {
        return response;
    }
    let asked: Vec<OffsetCommitRequestTopic> = known.clone();
    request.topics = known;
    match broker.groups.commit_offsets(ctx, request).await {
        Ok(committed) => {
            for topic in committed.topics {
                match response.topics.iter_mut().find(|other| same_topic(other, &topic.name, topic.topic_id)) {
                    Some(other) => other.partitions.extend(topic.partitions),
                    None => response.topics.push(topic),
                }
            }
        }
        Err(error) => {
            for topic in &asked {
                topic.partitions.iter().for_each(|p| add(&mut response, topic, p.partition_index, error));
            }
        }
    }
    response
}

fn same_topic(topic: &OffsetCommitResponseTopic, name: &str, id: crate::common::uuid::Uuid) -> bool {
    topic.topic_id == id && topic.name == name
}

/// Puts one partition's error into the response, with its topic's other partitions.
fn add(response: &mut OffsetCommitResponse, topic: &OffsetCommitRequestTopic, partition_index: i32, error: ErrorCode) {
    let partition = OffsetCommitResponsePartition { partition_index, error_code: error.code(), ..Default::default() };
    match response.topics.iter_mut().find(|other| same_topic(other, &topic.name, topic.topic_id)) {
        Some(other) => other.partitions.push(partition),
        None => response.topics.push(OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: vec![partition],
            ..Default::default()
        }),
    }
}
