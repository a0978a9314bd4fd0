//! The share coordinator on this broker: its shards over the real `__share_group_state`, and what is done for them regularly. Source:
//! `ShareCoordinatorService`.
//!
//! Which shards are here follows the metadata ([`Publisher`]), as in the group coordinator. Register after [`Replicas`], whose partitions
//! are read.
//!
//! Every `share.coordinator.state.topic.prune.interval.ms` the log is cut below the last redundant offset of each partition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::config::BrokerConfig;
use super::coordinator_log::CoordinatorLog;
use crate::common::clock::Clock;
use crate::common::topic_name;
use crate::common::uuid::Uuid;
use crate::coordinator::runtime::{Effects, Runtime};
use crate::coordinator::share::{
    ReadState, ShareCoordinatorConfig, SharePartitionKey, ShareShard, ShareStateError, StateSummary, WriteState,
};
use crate::coordinator::timers::Now;
use crate::metadata::delta::MetadataDelta;
use crate::metadata::image::MetadataImage;
use crate::metadata::publisher::Publisher;
use crate::protocol::compression::Compression;
use crate::protocol::error_code::ErrorCode;
use crate::replication::replicas::Replicas;

/// How often a request that may succeed later is made, and how long to wait after the first time; then twice as long each.
const ATTEMPTS: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

type Answer<T> = Result<(T, crate::coordinator::share::Effects), ShareStateError>;

/// The share coordinator. Shared as an `Arc`.
pub(crate) struct ShareCoordinator {
    runtime: Arc<Runtime<ShareShard, CoordinatorLog>>,
    replicas: Arc<Replicas>,
    num_partitions: i32,
    writes: AtomicU64,
    /// Where each partition of the log was cut the last time.
    pruned: Mutex<BTreeMap<i32, i64>>,
    tasks: tokio::runtime::Handle,
}

impl ShareCoordinator {
    /// A coordinator without shards; they come with the first metadata. Must be called within a tokio runtime.
    pub(crate) fn new(config: &BrokerConfig, clock: Arc<dyn Clock>, replicas: Arc<Replicas>) -> Arc<ShareCoordinator> {
        let log = Arc::new(CoordinatorLog {
            topic: topic_name::SHARE_GROUP_STATE,
            replicas: Arc::clone(&replicas),
            clock: Arc::clone(&clock),
            compression: u8::try_from(config.long("share.coordinator.state.topic.compression.codec"))
                .ok()
                .and_then(Compression::from_id)
                .unwrap_or(Compression::None),
            load_buffer_bytes: usize::try_from(config.long("share.coordinator.load.buffer.size")).unwrap_or(1).max(1),
        });
        let shard_config = ShareCoordinatorConfig {
            update_records_per_snapshot: i32::try_from(config.long("share.coordinator.snapshot.update.records.per.snapshot"))
                .unwrap_or(i32::MAX),
            cold_partition_snapshot_interval_ms: config.long("share.coordinator.cold.partition.snapshot.interval.ms"),
        };
        let write_timeout_ms = u64::try_from(config.long("share.coordinator.write.timeout.ms")).unwrap_or(0);
        let new_shard = move |_| ShareShard::new(shard_config.clone());
        let coordinator = Arc::new(ShareCoordinator {
            runtime: Arc::new(Runtime::new(log, clock, write_timeout_ms, new_shard)),
            replicas,
            num_partitions: i32::try_from(config.long("share.coordinator.state.topic.num.partitions")).unwrap_or(i32::MAX),
            writes: AtomicU64::new(0),
            pruned: Mutex::default(),
            tasks: tokio::runtime::Handle::current(),
        });
        let interval_ms = u64::try_from(config.long("share.coordinator.state.topic.prune.interval.ms")).unwrap_or(u64::MAX);
        coordinator.tasks.spawn(prune_regularly(Arc::downgrade(&coordinator), Duration::from_millis(interval_ms)));
        coordinator
    }

    /// Has the topic of the states been created?
    pub(crate) fn topic_exists(&self) -> bool {
        self.replicas.image().topics.topic(topic_name::SHARE_GROUP_STATE).is_some()
    }

    fn partition_for(&self, key: &SharePartitionKey) -> i32 {
        let image = self.replicas.image();
        let count = image.topics.topic(topic_name::SHARE_GROUP_STATE).map(|topic| topic.partition_count());
        key.coordinator_partition(count.and_then(|count| i32::try_from(count).ok()).unwrap_or(self.num_partitions))
    }

    fn has_topic_partition(&self, key: &SharePartitionKey) -> bool {
        self.replicas.image().topics.topic_by_id(key.topic_id).is_some_and(|topic| topic.partition(key.partition).is_some())
    }

    /// Runs an operation of a shard. `what` begins the text of an error that is the runtime's.
    async fn write<T: Send + 'static>(
        &self,
        key: SharePartitionKey,
        what: &str,
        operation: impl FnOnce(&mut ShareShard, Now, SharePartitionKey, bool) -> Answer<T> + Send + 'static,
    ) -> Result<T, ShareStateError> {
        let partition = self.partition_for(&key);
        let topic_exists = self.has_topic_partition(&key);
        let answer = self.runtime.write(partition, move |shard, now| match operation(shard, now, key, topic_exists) {
            Ok((answer, effects)) => Ok((Ok(answer), effects)),
            Err(refused) => Ok((Err(refused), Effects::default())),
        });
        answer.await.unwrap_or_else(|code| {
            Err(ShareStateError { code, message: format!("Unable to {what} share group state: {}", code.message()) })
        })
    }

    /// See [`ShareShard::initialize_state`].
    pub(crate) async fn initialize(&self, key: SharePartitionKey, state_epoch: i32, start_offset: i64) -> Result<(), ShareStateError> {
        let operation = move |shard: &mut ShareShard, now, key, exists| {
            shard.initialize_state(now, key, state_epoch, start_offset, exists).map(|effects| ((), effects))
        };
        self.write(key, "initialize", operation).await
    }

    /// See [`ShareShard::read_state`].
    pub(crate) async fn read(&self, key: SharePartitionKey, leader_epoch: i32) -> Result<ReadState, ShareStateError> {
        self.write(key, "read", move |shard, now, key, exists| shard.read_state(now, key, leader_epoch, exists)).await
    }

    /// See [`ShareShard::write_state`].
    pub(crate) async fn write_state(&self, key: SharePartitionKey, write: WriteState) -> Result<(), ShareStateError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let operation =
            move |shard: &mut ShareShard, now, key, exists| shard.write_state(now, key, write, exists).map(|effects| ((), effects));
        self.write(key, "write", operation).await
    }

    /// See [`ShareShard::delete_state`].
    pub(crate) async fn delete(&self, key: SharePartitionKey) -> Result<(), ShareStateError> {
        let operation = move |shard: &mut ShareShard, _, key, exists| shard.delete_state(key, exists).map(|effects| ((), effects));
        self.write(key, "delete", operation).await
    }

    /// See [`ShareShard::read_state_summary`].
    pub(crate) async fn read_summary(&self, key: SharePartitionKey) -> Result<StateSummary, ShareStateError> {
        let operation = move |shard: &mut ShareShard, _, key: SharePartitionKey, exists| {
            shard.read_state_summary(&key, exists).map(|summary| (summary, Effects::default()))
        };
        self.write(key, "read", operation).await
    }

    /// Removes the states of topics that are no more, in the background.
    fn forget_topics(&self, topic_ids: Vec<Uuid>) {
        let topic_ids = Arc::new(topic_ids);
        for partition in self.runtime.partitions() {
            let (runtime, topic_ids) = (Arc::clone(&self.runtime), Arc::clone(&topic_ids));
            self.tasks.spawn(async move {
                let forgotten = runtime.write(partition, move |shard, _| Ok(((), shard.on_topics_deleted(&topic_ids)))).await;
                if let Err(error) = forgotten {
                    tracing::warn!(partition, %error, "share group states of deleted topics stay behind");
                }
            });
        }
    }

    /// How often states were to be written since the start.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Up to which offset each partition of the log was cut the last time.
    pub(crate) fn pruned(&self) -> BTreeMap<i32, i64> {
        self.pruned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cuts the log of each partition below what is superseded.
    async fn prune(&self) {
        let pruned = self.pruned();
        for partition in self.runtime.partitions() {
            let Ok(Some(offset)) = self.runtime.read(partition, ShareShard::last_redundant_offset).await else { continue };
            if pruned.get(&partition) == Some(&offset) {
                continue;
            }
            let log = self.replicas.partition(topic_name::SHARE_GROUP_STATE, partition);
            match log.and_then(|log| log.delete_records(offset)) {
                Ok(_) => {
                    self.pruned.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, offset);
                }
                Err(error) => tracing::warn!(partition, offset, %error, "the share group state could not be pruned"),
            }
        }
    }
}

async fn prune_regularly(coordinator: Weak<ShareCoordinator>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(coordinator) = coordinator.upgrade() else { return };
        coordinator.prune().await;
    }
}

impl Publisher for ShareCoordinator {
    fn name(&self) -> &str {
        "ShareCoordinator"
    }

    fn publish(&self, delta: &MetadataDelta, _image: &Arc<MetadataImage>) {
        let mut deleted = Vec::new();
        for topic in delta.deleted_topics() {
            if topic.name == topic_name::SHARE_GROUP_STATE {
                topic.partitions.keys().for_each(|&partition| self.runtime.unload(partition));
            } else {
                deleted.push(topic.id);
            }
        }
        for (topic, changes) in delta.changed_topics().filter(|(topic, _)| topic.name == topic_name::SHARE_GROUP_STATE) {
            for &partition in &changes.partitions {
                match topic.partition(partition) {
                    Some(registration) if registration.leader == self.replicas.broker_id() => {
                        self.runtime.load(partition, registration.leader_epoch);
                    }
                    _ => self.runtime.unload(partition),
                }
            }
        }
        if !deleted.is_empty() {
            self.forget_topics(deleted);
        }
    }
}

/// Repeats a request to the coordinator while that says "not now": its partition may be being created or loaded.
pub(crate) async fn with_retries<T, F: Future<Output = Result<T, ShareStateError>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, ShareStateError> {
    let is_retriable =
        |code| matches!(code, ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator);
    let mut backoff = FIRST_BACKOFF;
    for _ in 1..ATTEMPTS {
        match request().await {
            Err(error) if is_retriable(error.code) => tokio::time::sleep(backoff).await,
            other => return other,
        }
        backoff *= 2;
    }
    request().await
}
