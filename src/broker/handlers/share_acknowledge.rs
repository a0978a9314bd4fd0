//! ShareAcknowledge 1-2: what a member of a share group says of the records it has (KIP-932). Source:
//! `KafkaApis.handleShareAcknowledgeRequest`.
//!
//! - It is answered when everything is persisted. A session that ends gives back what its member still has.
//! - 2: renewed locks (KIP-1222).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::leader_endpoints;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::share::{AcknowledgementBatch, FINAL_EPOCH};
use crate::broker::share_acknowledgements::{self, AcknowledgementRules};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::share_acknowledge_response::{LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeTopicResponse};
use crate::protocol::messages::{ShareAcknowledgeRequest, ShareAcknowledgeResponse};

fn failed(error: ErrorCode) -> ShareAcknowledgeResponse {
    ShareAcknowledgeResponse { error_code: error.code(), ..Default::default() }
}

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: ShareAcknowledgeRequest) -> ShareAcknowledgeResponse {
    if !broker.share_groups_enabled() {
        return failed(ErrorCode::UnsupportedVersion);
    }
    let key = match share_acknowledgements::session_key(request.group_id, request.member_id) {
        Ok(key) => key,
        Err(error) => return failed(error),
    };
    if let Err(error) = broker.shares.sessions.acknowledge(&key, request.share_session_epoch) {
        return failed(error);
    }
    let batches = request.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |it| {
            let batches = it.acknowledgement_batches.into_iter().map(|batch| AcknowledgementBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                acknowledge_types: batch.acknowledge_types,
            });
            ((topic.topic_id, it.partition_index), batches.collect())
        })
    });
    let rules = AcknowledgementRules { supports_renew: ctx.api_version >= 2, is_renew: request.is_renew_ack };
    let acknowledged = share_acknowledgements::begin(broker, &key, rules, batches.collect()).finish().await;
    if request.share_session_epoch == FINAL_EPOCH {
        broker.shares.release_session(&key);
    }

    let image = broker.image();
    let mut leaders = Vec::new();
    let mut topics: BTreeMap<_, Vec<PartitionData>> = BTreeMap::new();
    for ((topic_id, partition_index), result) in acknowledged {
        let mut data = PartitionData { partition_index, ..Default::default() };
        if let Err(error) = result {
            data.error_code = error.code.code();
            data.error_message = error.message;
            if matches!(error.code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
                && let Some(partition) = image.topics.topic_by_id(topic_id).and_then(|topic| topic.partition(partition_index))
            {
                data.current_leader =
                    LeaderIdAndEpoch { leader_id: partition.leader, leader_epoch: partition.leader_epoch, ..Default::default() };
                leaders.push(partition.leader);
            }
        }
        topics.entry(topic_id).or_default().push(data);
    }
    ShareAcknowledgeResponse {
        acquisition_lock_timeout_ms: broker.shares.lock_duration_ms(&key.group_id),
        responses: topics
            .into_iter()
            .map(|(topic_id, partitions)| ShareAcknowledgeTopicResponse { topic_id, partitions, ..Default::default() })
            .collect(),
        node_endpoints: leader_endpoints::of(&image, &ctx.listener_name, leaders, |node_id, host, port, rack| NodeEndpoint {
            node_id,
            host,
            port,
            rack,
            ..Default::default()
        }),
        ..Default::default()
    }
}
