//! AlterReplicaLogDirs 1-2: moves replicas of this broker to other log directories of it (KIP-113). Source:
//! `ReplicaManager.alterReplicaLogDirs`.
//!
//! The answer says that a move has begun (or ended, where the replica is already); [`crate::broker::replica_moves`] does the work. A
//! replica that is not here yet is answered with an error, but the directory is remembered and the replica is created there when it comes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_replica_log_dirs_response::{AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult};
use crate::protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use crate::storage::log_dirs::MoveError;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let broker = Arc::clone(broker);
    // A move that begins waits for the cleaner to let go.
    let results = tokio::task::spawn_blocking(move || {
        let mut results: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
        for dir in request.dirs {
            for topic in dir.topics {
                let partitions = results.entry(topic.name.clone()).or_default();
                for partition_index in topic.partitions {
                    let error_code = begin(&broker, TopicPartition::new(topic.name.clone(), partition_index), Path::new(&dir.path)).code();
                    partitions.push(AlterReplicaLogDirPartitionResult { partition_index, error_code, ..Default::default() });
                }
            }
        }
        broker.replica_moves.notify_one();
        results
    });
    let results = results.await.unwrap_or_default().into_iter();
    let results = results.map(|(topic_name, partitions)| AlterReplicaLogDirTopicResult { topic_name, partitions, ..Default::default() });
    AlterReplicaLogDirsResponse { results: results.collect(), ..Default::default() }
}

fn begin(broker: &Broker, topic_partition: TopicPartition, path: &Path) -> ErrorCode {
    let known = broker.replicas.partition(&topic_partition.topic, topic_partition.partition);
    let begun = broker.replicas.log_dirs().begin_move(&topic_partition, path);
    match (begun, known) {
        (Ok(_), Ok(_)) => ErrorCode::None,
        (Ok(_) | Err(MoveError::NoReplica), Err(ErrorCode::NotLeaderOrFollower)) => ErrorCode::ReplicaNotAvailable,
        (Ok(_) | Err(MoveError::NoReplica), Err(error_code)) => error_code,
        (Err(error), _) => {
            warn!(%topic_partition, path = %path.display(), "a replica cannot be moved: {error}");
            match error {
                MoveError::UnknownDirectory(_) => ErrorCode::LogDirNotFound,
                MoveError::NameTooLong => ErrorCode::InvalidTopicException,
                MoveError::NoReplica => ErrorCode::ReplicaNotAvailable,
                MoveError::Offline | MoveError::LogDirs(_) => ErrorCode::KafkaStorageError,
                MoveError::Copy(_) => ErrorCode::UnknownServerError,
            }
        }
    }
}
