//! DescribeShareGroupOffsets 0-1: how far share groups have come (KIP-932). Source: `KafkaApis.handleDescribeShareGroupOffsetsRequest`,
//! `describeShareGroupOffsets` of `GroupCoordinatorService`.
//!
//! - Without topics: every partition the group has a state of.
//! - 1: the lag, which counts out what was delivered ahead (KIP-1226); -1 when the start offset is not yet chosen.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::share_coordinator::with_retries;
use crate::common::uuid::Uuid;
use crate::coordinator::share::{SharePartitionKey, UNINITIALIZED_DELIVERY_COMPLETE_COUNT, UNINITIALIZED_START_OFFSET};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use crate::protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition, DescribeShareGroupOffsetsResponseTopic,
};
use crate::protocol::messages::{DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse};

/// The lag of a partition without start offset.
const UNINITIALIZED_LAG: i64 = -1;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: DescribeShareGroupOffsetsRequest,
) -> DescribeShareGroupOffsetsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let group_id = group.group_id.clone();
        let described = match broker.share_groups_enabled() {
            true => describe(broker, group).await,
            false => Err(ErrorCode::UnsupportedVersion),
        };
        groups.push(match described {
            Ok(topics) => DescribeShareGroupOffsetsResponseGroup { group_id, topics, ..Default::default() },
            Err(error) => DescribeShareGroupOffsetsResponseGroup {
                group_id,
                error_code: error.code(),
                error_message: Some(error.message().to_owned()),
                ..Default::default()
            },
        });
    }
    DescribeShareGroupOffsetsResponse { groups, ..Default::default() }
}

async fn describe(
    broker: &Arc<Broker>,
    group: DescribeShareGroupOffsetsRequestGroup,
) -> Result<Vec<DescribeShareGroupOffsetsResponseTopic>, ErrorCode> {
    let image = broker.image();
    let mut wanted: BTreeMap<Uuid, (String, Vec<i32>)> = BTreeMap::new();
    let mut unknown = Vec::new();
    match group.topics {
        None => {
            for (topic_id, partitions) in broker.groups.initialized_share_partitions(&group.group_id).await? {
                if let Some(topic) = image.topics.topic_by_id(topic_id) {
                    wanted.insert(topic_id, (topic.name.clone(), partitions.into_iter().collect()));
                }
            }
        }
        Some(topics) => {
            for topic in topics {
                match image.topics.topic(&topic.topic_name) {
                    Some(known) => {
                        wanted.insert(known.id, (topic.topic_name, topic.partitions));
                    }
                    None => unknown.push(DescribeShareGroupOffsetsResponseTopic {
                        topic_name: topic.topic_name,
                        partitions: topic.partitions.into_iter().map(without_offset).collect(),
                        ..Default::default()
                    }),
                }
            }
        }
    }
    let mut described = Vec::with_capacity(wanted.len() + unknown.len());
    for (topic_id, (topic_name, indexes)) in wanted {
        let mut partitions = Vec::with_capacity(indexes.len());
        for partition in indexes {
            let key = SharePartitionKey { group_id: group.group_id.clone(), topic_id, partition };
            partitions.push(describe_partition(broker, &topic_name, key).await);
        }
        described.push(DescribeShareGroupOffsetsResponseTopic { topic_name, topic_id, partitions, ..Default::default() });
    }
    described.extend(unknown);
    Ok(described)
}

fn without_offset(partition_index: i32) -> DescribeShareGroupOffsetsResponsePartition {
    DescribeShareGroupOffsetsResponsePartition {
        partition_index,
        start_offset: UNINITIALIZED_START_OFFSET,
        lag: UNINITIALIZED_LAG,
        ..Default::default()
    }
}

async fn describe_partition(broker: &Arc<Broker>, topic_name: &str, key: SharePartitionKey) -> DescribeShareGroupOffsetsResponsePartition {
    let partition_index = key.partition;
    // Before any share group there is no topic of states, and so no state.
    if !broker.share_coordinator.topic_exists() {
        return without_offset(partition_index);
    }
    let Ok(summary) = with_retries(|| broker.share_coordinator.read_summary(key.clone())).await else {
        return without_offset(partition_index);
    };
    let described = DescribeShareGroupOffsetsResponsePartition {
        partition_index,
        start_offset: summary.start_offset,
        leader_epoch: summary.leader_epoch,
        lag: UNINITIALIZED_LAG,
        ..Default::default()
    };
    if summary.start_offset == UNINITIALIZED_START_OFFSET || summary.delivery_complete_count == UNINITIALIZED_DELIVERY_COMPLETE_COUNT {
        return described;
    }
    let log = broker.replicas.partition(topic_name, partition_index).and_then(|partition| partition.leader_log(-1));
    match log {
        Ok(log) => DescribeShareGroupOffsetsResponsePartition {
            lag: log.high_watermark() - summary.start_offset - i64::from(summary.delivery_complete_count),
            ..described
        },
        Err(error) => DescribeShareGroupOffsetsResponsePartition {
            partition_index,
            error_code: error.code(),
            error_message: Some(error.message().to_owned()),
            ..Default::default()
        },
    }
}
