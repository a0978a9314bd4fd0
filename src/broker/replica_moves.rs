//! Replicas on their way from one log directory to another: filling the future logs, and putting them in place when they have caught up.
//! Source: `ReplicaAlterLogDirsManager`, `ReplicaAlterLogDirsThread`.
//!
//! Invariant: the swap is made while nobody appends to the partition, and the controller hears of it before the next one.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::server::Broker;
use crate::common::topic_partition::TopicPartition;
use crate::metadata::image::{ConfigResource, ConfigResourceType};
use crate::protocol::error_code::ErrorCode;
use crate::storage::log_dirs::{FutureReplica, MoveError};

/// What is copied at a time (`replica.fetch.max.bytes`); less under a low limit, so that a change of it is noticed soon.
const STEP_BYTES: usize = 1 << 20;
const SMALLEST_STEP_BYTES: usize = 64 << 10;
const LIMIT_CONFIG: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
/// From this lag on the rest is copied while appends wait.
const SMALL_LAG: i64 = 1000;
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// Moves what is to be moved until the broker stops.
pub(super) async fn run(broker: Arc<Broker>) {
    let mut shutdown = broker.shutdown_signal();
    loop {
        let futures = broker.replicas.log_dirs().future_replicas();
        if futures.is_empty() {
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|&stopping| stopping) => return,
                () = broker.replica_moves.notified() => {}
            }
        }
        for future in futures {
            let pause = step(&broker, future).await;
            if tokio::time::timeout(pause, shutdown.wait_for(|&stopping| stopping)).await.is_ok() {
                return;
            }
        }
    }
}

/// One piece of one replica; gives how long to wait for the sake of `replica.alter.log.dirs.io.max.bytes.per.second`.
async fn step(broker: &Arc<Broker>, future: FutureReplica) -> Duration {
    let topic_partition = future.topic_partition;
    let bytes_per_second = limit(broker);
    let step_bytes = usize::try_from(bytes_per_second).unwrap_or(STEP_BYTES).clamp(SMALLEST_STEP_BYTES, STEP_BYTES);
    let copied = {
        let (broker, topic_partition) = (Arc::clone(broker), topic_partition.clone());
        tokio::task::spawn_blocking(move || copy(&broker, &topic_partition, future.offset_lag, step_bytes)).await
    };
    match copied {
        Ok(Ok(Copied { bytes, moved })) => {
            if moved {
                assign(broker, &topic_partition).await;
            }
            Duration::from_millis((bytes as u64).saturating_mul(1000) / bytes_per_second)
        }
        Ok(Err(failure)) => {
            warn!(%topic_partition, "moving the replica failed and is tried again: {failure}");
            FAILURE_PAUSE
        }
        Err(failure) => {
            error!(%topic_partition, "moving the replica failed: {failure}");
            FAILURE_PAUSE
        }
    }
}

struct Copied {
    bytes: usize,
    moved: bool,
}

/// Bytes a second that may be copied. Like the other replication quotas it is set in the metadata only.
fn limit(broker: &Broker) -> u64 {
    let image = broker.image();
    let set_on = |resource: &ConfigResource| image.configs.resource(resource).and_then(|set| set.get(LIMIT_CONFIG).cloned());
    let own = ConfigResource { type_: ConfigResourceType::Broker, name: broker.node_id().to_string() };
    let set = set_on(&own).or_else(|| set_on(&ConfigResource::broker_default()));
    set.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX).max(1)
}

fn copy(broker: &Broker, topic_partition: &TopicPartition, offset_lag: i64, step_bytes: usize) -> Result<Copied, MoveError> {
    let log_dirs = broker.replicas.log_dirs();
    let bytes = log_dirs.copy_to_future(topic_partition, step_bytes)?;
    if offset_lag > SMALL_LAG && bytes > 0 {
        return Ok(Copied { bytes, moved: false });
    }
    let Ok(partition) = broker.replicas.partition(&topic_partition.topic, topic_partition.partition) else {
        // Not known yet (the first image is still to come), or deleted, which ends the move.
        return Ok(Copied { bytes, moved: false });
    };
    let moved = partition.replace_log(|| {
        while log_dirs.copy_to_future(topic_partition, STEP_BYTES)? > 0 {}
        log_dirs.promote_future(topic_partition)
    })?;
    Ok(Copied { bytes, moved })
}

/// Tells the controller where the replica is now.
async fn assign(broker: &Arc<Broker>, topic_partition: &TopicPartition) {
    let Some(directory) = broker.replicas.log_dirs().directory_of(topic_partition) else { return };
    let Ok(partition) = broker.replicas.partition(&topic_partition.topic, topic_partition.partition) else { return };
    let replica = (partition.topic_id(), topic_partition.partition, directory);
    let response = broker.controller.assign_directories(&[replica]).await;
    if response.error_code != ErrorCode::None.code() {
        warn!(%topic_partition, "the controller does not take the new directory: {}", ErrorCode::from_code(response.error_code).name());
    }
}
