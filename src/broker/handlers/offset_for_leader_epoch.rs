//! OffsetForLeaderEpoch 2-4: where a leader epoch ends, so that a reader finds out whether its log left ours (KIP-101, KIP-320).
//! Source: `ReplicaManager.lastOffsetForLeaderEpoch`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use crate::protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut result = OffsetForLeaderTopicResult { topic: topic.topic, ..Default::default() };
        for wanted in topic.partitions {
            let log = broker
                .replicas
                .partition(&result.topic, wanted.partition)
                .and_then(|partition| partition.leader_log(wanted.current_leader_epoch));
            let unknown = EpochEndOffset { partition: wanted.partition, leader_epoch: -1, end_offset: -1, ..Default::default() };
            result.partitions.push(match log.map(|log| log.end_offset_for_epoch(wanted.leader_epoch)) {
                Ok(Some((leader_epoch, end_offset))) => EpochEndOffset { leader_epoch, end_offset, ..unknown },
                Ok(None) => unknown,
                Err(error) => EpochEndOffset { error_code: error.code(), ..unknown },
            });
        }
        topics.push(result);
    }
    OffsetForLeaderEpochResponse { topics, ..Default::default() }
}
