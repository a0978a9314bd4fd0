//! ListOffsets 1-11: offsets by time, and the special ones (latest, earliest, largest timestamp). Sources:
//! `KafkaApis.handleListOffsetRequest`, `Partition.fetchOffsetForTimestamp`, KIP-734, KIP-405, KIP-1005, KIP-1023.
//!
//! - A consumer sees offsets up to the high watermark, with `read_committed` up to the last stable offset.
//! - The special timestamps came with versions 7 (max), 8 (earliest local), 9 (latest tiered) and 11 (earliest pending upload);
//!   before, and for any other negative number, UNSUPPORTED_VERSION.
//! - A partition that is named twice is INVALID_REQUEST.
//!
//! There is no tiered storage here: what is in it is nothing, so earliest local is earliest, and the other two have no offset.

use std::collections::HashSet;
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::list_offsets_request::ListOffsetsPartition;
use crate::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use crate::storage::log::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP, LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP,
    MAX_TIMESTAMP, TimestampAndOffset,
};

/// The replica id of a consumer.
const CONSUMER: i32 = -1;
/// The replica id of a client that looks at a follower's log.
const DEBUGGING_CONSUMER: i32 = -2;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let duplicates = duplicates(&request);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut response = ListOffsetsTopicResponse { name: topic.name.clone(), ..Default::default() };
        let mut told = HashSet::new();
        for partition in &topic.partitions {
            let duplicate = duplicates.contains(&(topic.name.clone(), partition.partition_index));
            if duplicate && !told.insert(partition.partition_index) {
                continue;
            }
            let found = if duplicate {
                Err(ErrorCode::InvalidRequest)
            } else if !is_supported(partition.timestamp, ctx.api_version) {
                Err(ErrorCode::UnsupportedVersion)
            } else {
                list(broker, &topic.name, partition, request.replica_id, request.isolation_level)
            };
            let partition_index = partition.partition_index;
            response.partitions.push(match found {
                Ok(Some(found)) => ListOffsetsPartitionResponse {
                    partition_index,
                    timestamp: found.timestamp,
                    offset: found.offset,
                    leader_epoch: if ctx.api_version >= 4 { found.leader_epoch } else { -1 },
                    ..Default::default()
                },
                Ok(None) => ListOffsetsPartitionResponse { partition_index, ..Default::default() },
                Err(error) => ListOffsetsPartitionResponse { partition_index, error_code: error.code(), ..Default::default() },
            });
        }
        if !response.partitions.is_empty() {
            topics.push(response);
        }
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

fn list(
    broker: &Broker,
    topic: &str,
    wanted: &ListOffsetsPartition,
    replica_id: i32,
    isolation_level: i8,
) -> Result<Option<TimestampAndOffset>, ErrorCode> {
    let partition = broker.replicas.partition(topic, wanted.partition_index)?;
    let log = match replica_id {
        DEBUGGING_CONSUMER => partition.log()?,
        _ => partition.leader_log(wanted.current_leader_epoch)?,
    };
    let last_fetchable = match (replica_id, isolation_level) {
        (CONSUMER, 1) => log.last_stable_offset(),
        (CONSUMER, _) => log.high_watermark(),
        _ => log.log_end_offset(),
    };
    let found = match wanted.timestamp {
        LATEST_TIMESTAMP => {
            return Ok(Some(TimestampAndOffset { timestamp: -1, offset: last_fetchable, leader_epoch: partition.leader_epoch() }));
        }
        LATEST_TIERED_TIMESTAMP | EARLIEST_PENDING_UPLOAD_TIMESTAMP => return Ok(None),
        timestamp => log.offset_for_timestamp(timestamp).map_err(|_| ErrorCode::KafkaStorageError)?,
    };
    let always = [EARLIEST_TIMESTAMP, EARLIEST_LOCAL_TIMESTAMP].contains(&wanted.timestamp);
    Ok(found.filter(|found| always || found.offset < last_fetchable))
}

fn is_supported(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST_TIMESTAMP | EARLIEST_TIMESTAMP => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL_TIMESTAMP => version >= 8,
        LATEST_TIERED_TIMESTAMP => version >= 9,
        EARLIEST_PENDING_UPLOAD_TIMESTAMP => version >= 11,
        _ => false,
    }
}

fn duplicates(request: &ListOffsetsRequest) -> HashSet<(String, i32)> {
    let mut seen = HashSet::new();
    let all = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| (&topic.name, partition.partition_index)));
    all.filter(|&(topic, partition)| !seen.insert((topic, partition))).map(|(topic, partition)| (topic.clone(), partition)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_have_their_first_versions() {
        for (timestamp, first) in [(-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (-6, 11), (0, 1)] {
            assert!(is_supported(timestamp, first) && (first == 1 || !is_supported(timestamp, first - 1)), "{timestamp}");
        }
        assert!(!is_supported(-7, 11));
    }
}
