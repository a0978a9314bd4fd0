//! FindCoordinator 0-6: which broker coordinates a group, a transactional id or a share partition. Source:
//! `KafkaApis.handleFindCoordinatorRequest`.
//!
//! The first request creates the coordinator's topic. Kafka answers it with COORDINATOR_NOT_AVAILABLE and lets the client ask again; here
//! it waits for the topic.
//!
//! - 1: a type of key; before, a group.
//! - 4: many keys, each with its own answer (KIP-699).
//! - 6: share partitions, as `group:topic id:partition` (KIP-932).

use std::sync::Arc;

use crate::broker::auto_topic_creation;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_name;
use crate::common::uuid::Uuid;
use crate::coordinator::java_hash;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::find_coordinator_response::Coordinator;
use crate::protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    if ctx.api_version >= 4 {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in request.coordinator_keys {
            let found = find(broker, ctx, request.key_type, &key).await;
            let error = found.as_ref().err().copied().unwrap_or(ErrorCode::None);
            let (node_id, host, port) = found.unwrap_or_else(|_| no_node());
            // Only a type that nobody knows comes with a text.
            let known = [GROUP, TRANSACTION, SHARE].contains(&request.key_type);
            let error_message = Some(if known { String::new() } else { error.message().to_owned() });
            coordinators.push(Coordinator { key, node_id, host, port, error_code: error.code(), error_message, ..Default::default() });
        }
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    let found = find(broker, ctx, request.key_type, &request.key).await;
    let error = found.as_ref().err().copied().unwrap_or(ErrorCode::None);
    let (node_id, host, port) = found.unwrap_or_else(|_| no_node());
    // What Java prints for an error without a message is its name.
    let message = if error == ErrorCode::None { "NONE" } else { error.message() };
    FindCoordinatorResponse { error_code: error.code(), error_message: Some(message.to_owned()), node_id, host, port, ..Default::default() }
}

fn no_node() -> (i32, String, i32) {
    (-1, String::new(), -1)
}

async fn find(broker: &Arc<Broker>, ctx: &RequestContext, key_type: i8, key: &str) -> Result<(i32, String, i32), ErrorCode> {
    let topic = match key_type {
        GROUP => topic_name::CONSUMER_OFFSETS,
        TRANSACTION => topic_name::TRANSACTION_STATE,
        SHARE if ctx.api_version >= 6 && is_share_partition(key) => topic_name::SHARE_GROUP_STATE,
        _ => return Err(ErrorCode::InvalidRequest),
    };
    if broker.image().topics.topic(topic).is_none() {
        auto_topic_creation::create(broker, ctx, &[topic]).await;
    }
    let image = broker.image();
    let topic = image.topics.topic(topic).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let partitions = i32::try_from(topic.partition_count()).unwrap_or(i32::MAX);
    let partition = topic.partition(java_hash::partition_for(key, partitions)).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let leader = image.cluster.broker(partition.leader).filter(|leader| !leader.fenced).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let endpoint = leader.listener(&ctx.listener_name).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    Ok((leader.id, endpoint.host.clone(), i32::from(endpoint.port)))
}

/// `group:topic id:partition`, where the group may hold colons itself. Source: `SharePartitionKey.validate`.
fn is_share_partition(key: &str) -> bool {
    let mut parts = key.rsplitn(3, ':');
    let (Some(partition), Some(topic_id), Some(group)) = (parts.next(), parts.next(), parts.next()) else { return false };
    !group.is_empty() && topic_id.parse::<Uuid>().is_ok() && partition.parse::<i32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_share_partitions_have_three_parts() {
        for key in ["g:AAAAAAAAAAAAAAAAAAAAAQ:0", "a:b:AAAAAAAAAAAAAAAAAAAAAQ:12"] {
            assert!(is_share_partition(key), "{key}");
        }
        for key in ["", "g", "g:0", "g:nope:0", ":AAAAAAAAAAAAAAAAAAAAAQ:0", "g:AAAAAAAAAAAAAAAAAAAAAQ:x"] {
            assert!(!is_share_partition(key), "{key}");
        }
    }
}
