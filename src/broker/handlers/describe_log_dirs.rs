//! DescribeLogDirs 1-5: log directories, the partitions in them and their sizes (KIP-113, KIP-827). Source:
//! `ReplicaManager.describeLogDirs`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic};
use crate::protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use crate::storage::log::Log;
use crate::storage::log_dirs::{FutureReplica, LogDir};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let wanted: Option<HashSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|&partition| (topic.topic.as_str(), partition))).collect()
    });
    let logs = broker.replicas.log_dirs().logs();
    let wanted_logs: Vec<&Arc<Log>> = logs
        .iter()
        .filter(|log| {
            let name = log.topic_partition();
            wanted.as_ref().is_none_or(|wanted| wanted.contains(&(name.topic.as_str(), name.partition)))
        })
        .collect();
    let futures = broker.replicas.log_dirs().future_replicas();
    let wanted_futures: Vec<&FutureReplica> = futures
        .iter()
        .filter(|future| {
            let name = &future.topic_partition;
            wanted.as_ref().is_none_or(|wanted| wanted.contains(&(name.topic.as_str(), name.partition)))
        })
        .collect();
    let results = broker.replicas.log_dirs().directories().iter().map(|dir| describe(dir, &wanted_logs, &wanted_futures)).collect();
    DescribeLogDirsResponse { results, ..Default::default() }
}

fn describe(dir: &LogDir, logs: &[&Arc<Log>], futures: &[&FutureReplica]) -> DescribeLogDirsResult {
    let log_dir = absolute(&dir.path);
    if !dir.online {
        return DescribeLogDirsResult { log_dir, error_code: ErrorCode::KafkaStorageError.code(), ..Default::default() };
    }
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for log in logs.iter().filter(|log| log.dir().parent() == Some(&dir.path)) {
        let name = log.topic_partition();
        topics.entry(&name.topic).or_default().push(DescribeLogDirsPartition {
            partition_index: name.partition,
            partition_size: i64::try_from(log.size_bytes()).unwrap_or(i64::MAX),
            offset_lag: (log.high_watermark() - log.log_end_offset()).max(0),
            ..Default::default()
        });
    }
    for future in futures.iter().filter(|future| future.log.dir().parent() == Some(&dir.path)) {
        topics.entry(&future.topic_partition.topic).or_default().push(DescribeLogDirsPartition {
            partition_index: future.topic_partition.partition,
            partition_size: i64::try_from(future.log.size_bytes()).unwrap_or(i64::MAX),
            offset_lag: future.offset_lag,
            is_future_key: true,
            ..Default::default()
        });
    }
    let (total_bytes, usable_bytes) = volume(&dir.path).unwrap_or((-1, -1));
    DescribeLogDirsResult {
        log_dir,
        topics: topics
            .into_iter()
            .map(|(name, partitions)| DescribeLogDirsTopic { name: name.to_owned(), partitions, ..Default::default() })
            .collect(),
        total_bytes,
        usable_bytes,
        ..Default::default()
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The size of the volume that holds `path` and what of it may still be used, in bytes.
fn volume(path: &Path) -> Option<(i64, i64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    Some((bytes(stat.f_blocks), bytes(stat.f_bavail)))
}
