//! The transaction coordinator on this broker: its shards over the real `__transaction_state`, and the markers that end transactions in
//! this broker's partitions. Source: `TransactionCoordinator`, `TransactionMarkerChannelManager`, `KafkaApis.handleWriteTxnMarkersRequest`.
//!
//! Which shards are here follows the metadata, as the group coordinator's do. Register after [`Replicas`] and the group coordinator.
//!
//! Invariant: every marker that a shard hands out is reported back to it, as long as the shard is here.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::config::BrokerConfig;
use super::coordinator_log::{CoordinatorLog, marker_batch};
use super::group_coordinator::GroupCoordinator;
use super::producer_ids::ProducerIds;
use crate::common::clock::Clock;
use crate::common::topic_name;
use crate::common::topic_partition::TopicPartition;
use crate::coordinator::java_hash;
use crate::coordinator::runtime::{Runtime, TransactionMarker};
use crate::coordinator::transaction::config::TransactionCoordinatorConfig;
use crate::coordinator::transaction::{
    EndTransaction, Environment, InitProducerId, MarkersWritten, ProducerIdAndEpoch, TransactionFilter, TransactionMarkers,
    TransactionShard, validate_init_producer_id,
};
use crate::metadata::delta::MetadataDelta;
use crate::metadata::features::TRANSACTION_VERSION;
use crate::metadata::image::MetadataImage;
use crate::metadata::publisher::Publisher;
use crate::protocol::compression::Compression;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_transactions_response::TransactionState as DescribedTransaction;
use crate::protocol::messages::list_transactions_response::TransactionState as ListedTransaction;
use crate::replication::partition::Partition;
use crate::replication::replicas::Replicas;
use crate::replication::waiters::Waiter;
use crate::storage::log::{AppendOrigin, AppendTransaction};

/// How long a report waits for a shard that is still loading.
const LOADING_BACKOFF: Duration = Duration::from_millis(20);

type TransactionRuntime = Runtime<TransactionShard, CoordinatorLog>;

/// The transaction coordinator. Shared as an `Arc`.
pub(crate) struct TransactionCoordinator {
    runtime: Arc<TransactionRuntime>,
    config: TransactionCoordinatorConfig,
    replicas: Arc<Replicas>,
    markers: Arc<MarkerWriter>,
    /// Woken when a transaction is complete.
    completed: Arc<Notify>,
}

impl TransactionCoordinator {
    /// A coordinator without shards; they come with the first metadata. Must be called within a tokio runtime.
    pub(crate) fn new(
        config: &BrokerConfig,
        clock: Arc<dyn Clock>,
        replicas: Arc<Replicas>,
        groups: Arc<GroupCoordinator>,
        producer_ids: Arc<ProducerIds>,
    ) -> TransactionCoordinator {
        let transaction_config = transaction_config(config);
        let log = Arc::new(CoordinatorLog {
            topic: topic_name::TRANSACTION_STATE,
            replicas: Arc::clone(&replicas),
            clock: Arc::clone(&clock),
            compression: Compression::None,
            load_buffer_bytes: usize::try_from(config.long("transaction.state.log.load.buffer.size")).unwrap_or(1).max(1),
        });
        let markers = Arc::new(MarkerWriter {
            replicas: Arc::clone(&replicas),
            groups,
            clock: Arc::clone(&clock),
            timeout: Duration::from_millis(transaction_config.append_timeout_ms),
        });
        let (outbox, handed_out) = mpsc::unbounded_channel();
        let environment: Arc<dyn Environment> =
            Arc::new(BrokerEnvironment { producer_ids, replicas: Arc::clone(&replicas), markers: outbox });
        let shard_config = transaction_config.clone();
        let new_shard = move |_| TransactionShard::new(shard_config.clone(), Arc::clone(&environment));
        let runtime = Arc::new(Runtime::new(log, clock, transaction_config.append_timeout_ms, new_shard));
        let completed = Arc::new(Notify::new());
        let num_partitions = transaction_config.state_log_num_partitions;
        let (writer, reported_to) = (Arc::clone(&markers), Arc::downgrade(&runtime));
        tokio::spawn(write_handed_out(handed_out, writer, reported_to, Arc::clone(&completed), num_partitions));
        TransactionCoordinator { runtime, config: transaction_config, replicas, markers, completed }
    }

    /// The partition of `__transaction_state` that a transactional id belongs to; by the number the topic will have when it does not
    /// exist yet.
    pub(crate) fn partition_for(&self, transactional_id: &str) -> i32 {
        partition_for(&self.replicas.image(), self.config.state_log_num_partitions, transactional_id)
    }

    /// InitProducerId with a transactional id. Have a producer id at hand.
    pub(crate) async fn init_producer_id(&self, request: InitProducerId) -> Result<ProducerIdAndEpoch, ErrorCode> {
        validate_init_producer_id(&self.config, &request)?;
        let partition = self.partition_for(&request.transactional_id);
        self.runtime.write(partition, move |shard, now| shard.init_producer_id(now, &request)).await?
    }

    /// Adds partitions to a transaction. `client_version`: the transaction.version that the client shows.
    pub(crate) async fn add_partitions(
        &self,
        transactional_id: String,
        producer: ProducerIdAndEpoch,
        partitions: BTreeSet<TopicPartition>,
        client_version: i16,
    ) -> Result<(), ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let partition = self.partition_for(&transactional_id);
        let add =
            move |shard: &mut TransactionShard, now| shard.add_partitions(now, &transactional_id, producer, &partitions, client_version);
        self.runtime.write(partition, add).await
    }

    /// Are the partitions in the producer's transaction? One error code each.
    pub(crate) async fn verify_partitions(
        &self,
        transactional_id: String,
        producer: ProducerIdAndEpoch,
        partitions: BTreeSet<TopicPartition>,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        let all: Vec<TopicPartition> = partitions.iter().cloned().collect();
        let partition = self.partition_for(&transactional_id);
        let verified = self.runtime.read(partition, move |shard| shard.verify_partitions(&transactional_id, producer, &partitions)).await;
        verified.unwrap_or_else(|error| all.into_iter().map(|partition| (partition, error)).collect())
    }

    /// EndTxn. Gives the producer's identity for its next transaction, if it is told one.
    pub(crate) async fn end_transaction(&self, request: EndTransaction) -> Result<ProducerIdAndEpoch, ErrorCode> {
        if request.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let partition = self.partition_for(&request.transactional_id);
        self.runtime.write(partition, move |shard, now| shard.end_transaction(now, &request)).await
    }

    pub(crate) async fn list_transactions(&self, filter: TransactionFilter, now_ms: i64) -> Result<Vec<ListedTransaction>, ErrorCode> {
        let filter = Arc::new(filter);
        let mut listed = Vec::new();
        for partition in self.runtime.partitions() {
            let filter = Arc::clone(&filter);
            match self.runtime.read(partition, move |shard| shard.list_transactions(&filter, now_ms)).await {
                Ok(transactions) => listed.extend(transactions),
                // They are another broker's to list.
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
    }

    pub(crate) async fn describe_transaction(&self, transactional_id: String) -> DescribedTransaction {
        let failed = |transactional_id: String, error: ErrorCode| DescribedTransaction {
            transactional_id,
            error_code: error.code(),
            ..DescribedTransaction::default()
        };
        if transactional_id.is_empty() {
            return failed(transactional_id, ErrorCode::InvalidRequest);
        }
        let partition = self.partition_for(&transactional_id);
        let id = transactional_id.clone();
        let described = self.runtime.read(partition, move |shard| shard.describe_transaction(&id)).await;
        described.unwrap_or_else(|error| failed(transactional_id, error))
    }

    /// Writes a marker to this broker's partitions. One error code each.
    pub(crate) async fn write_marker(
        &self,
        marker: TransactionMarker,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        self.markers.write(marker, partitions).await
    }

    /// Woken whenever some transaction is complete. What waits for a certain one looks again.
    pub(crate) fn completions(&self) -> &Notify {
        &self.completed
    }
}

impl Publisher for TransactionCoordinator {
    fn name(&self) -> &str {
        "TransactionCoordinator"
    }

    fn publish(&self, delta: &MetadataDelta, _image: &Arc<MetadataImage>) {
        for topic in delta.deleted_topics().filter(|topic| topic.name == topic_name::TRANSACTION_STATE) {
            topic.partitions.keys().for_each(|&partition| self.runtime.unload(partition));
        }
        for (topic, changes) in delta.changed_topics().filter(|(topic, _)| topic.name == topic_name::TRANSACTION_STATE) {
            for &partition in &changes.partitions {
                match topic.partition(partition) {
                    Some(registration) if registration.leader == self.replicas.broker_id() => {
                        self.runtime.load(partition, registration.leader_epoch);
                    }
                    _ => self.runtime.unload(partition),
                }
            }
        }
    }
}

fn partition_for(image: &MetadataImage, state_log_num_partitions: i32, transactional_id: &str) -> i32 {
    let count = image.topics.topic(topic_name::TRANSACTION_STATE).map(|topic| topic.partition_count());
    let count = count.and_then(|count| i32::try_from(count).ok()).unwrap_or(state_log_num_partitions);
    java_hash::partition_for(transactional_id, count)
}

fn transaction_config(config: &BrokerConfig) -> TransactionCoordinatorConfig {
    TransactionCoordinatorConfig {
        max_timeout_ms: config.transaction_max_timeout_ms,
        transactional_id_expiration_ms: i64::from(config.transactional_id_expiration_ms),
        abort_timed_out_interval_ms: config.long("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
        remove_expired_interval_ms: config.long("transaction.remove.expired.transaction.cleanup.interval.ms"),
        two_phase_commit_enable: config.value("transaction.two.phase.commit.enable").as_bool().unwrap_or(false),
        state_log_num_partitions: config.transaction_state_log_num_partitions,
        append_timeout_ms: u64::try_from(config.request_timeout_ms).unwrap_or(0),
    }
}

/// What shards ask of this broker.
struct BrokerEnvironment {
    producer_ids: Arc<ProducerIds>,
    replicas: Arc<Replicas>,
    markers: mpsc::UnboundedSender<TransactionMarkers>,
}

impl Environment for BrokerEnvironment {
    fn next_producer_id(&self) -> Result<i64, ErrorCode> {
        self.producer_ids.take()
    }

    fn transaction_version(&self) -> i16 {
        self.replicas.image().features.level(TRANSACTION_VERSION)
    }

    fn write_markers(&self, markers: TransactionMarkers) {
        // Fails only when the coordinator is no more, and its shards with it.
        let _ = self.markers.send(markers);
    }
}

/// Writes the markers that shards hand out, each transaction's beside the others', and reports. Ends with the shards.
async fn write_handed_out(
    mut handed_out: mpsc::UnboundedReceiver<TransactionMarkers>,
    writer: Arc<MarkerWriter>,
    runtime: Weak<TransactionRuntime>,
    completed: Arc<Notify>,
    state_log_num_partitions: i32,
) {
    while let Some(markers) = handed_out.recv().await {
        let (writer, runtime, completed) = (Arc::clone(&writer), Weak::clone(&runtime), Arc::clone(&completed));
        tokio::spawn(async move {
            let TransactionMarkers { transactional_id, marker, partitions } = markers;
            let image = writer.replicas.image();
            // A partition that was deleted needs no marker.
            let (exist, gone): (BTreeSet<_>, BTreeSet<_>) =
                partitions.into_iter().partition(|it| image.topics.partition(&it.topic, it.partition).is_some());
            let mut results = writer.write(marker, exist).await;
            results.extend(gone.into_iter().map(|partition| (partition, ErrorCode::None)));
            let partition = partition_for(&image, state_log_num_partitions, &transactional_id);
            report(&runtime, partition, MarkersWritten { transactional_id, marker, results }).await;
            completed.notify_waiters();
        });
    }
}

async fn report(runtime: &Weak<TransactionRuntime>, partition: i32, report: MarkersWritten) {
    let report = Arc::new(report);
    loop {
        let Some(runtime) = runtime.upgrade() else { return };
        let told = Arc::clone(&report);
        let answer = runtime.write(partition, move |shard, now| Ok(((), shard.markers_written(now, &told)))).await;
        drop(runtime);
        match answer {
            // The load that handed the markers out is not quite over.
            Err(ErrorCode::CoordinatorLoadInProgress) => tokio::time::sleep(LOADING_BACKOFF).await,
            Err(error) => {
                tracing::debug!(transactional_id = report.transactional_id, %error, "a report of markers did not arrive or changed nothing");
                return;
            }
            Ok(()) => return,
        }
    }
}

/// Writes markers to partitions of this broker.
struct MarkerWriter {
    replicas: Arc<Replicas>,
    groups: Arc<GroupCoordinator>,
    clock: Arc<dyn Clock>,
    /// How long a marker may take to be replicated.
    timeout: Duration,
}

impl MarkerWriter {
    async fn write(
        &self,
        marker: TransactionMarker,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        let mut results = Vec::new();
        let mut appended = Vec::new();
        let mut of_groups = Vec::new();
        for it in partitions {
            if it.topic == topic_name::CONSUMER_OFFSETS {
                of_groups.push(it);
                continue;
            }
            match self.append(&marker, &it) {
                Ok((partition, leader_epoch, offset)) => appended.push((it, partition, leader_epoch, offset)),
                Err(error) => results.push((it, error)),
            }
        }
        for it in of_groups {
            let ended = self.groups.end_transaction(it.partition, marker).await;
            results.push((it, ended.err().unwrap_or(ErrorCode::None)));
        }
        let deadline = tokio::time::Instant::now() + self.timeout;
        for (it, partition, leader_epoch, offset) in appended {
            let replicated = tokio::time::timeout_at(deadline, replicated(&partition, leader_epoch, offset)).await;
            let outcome = replicated.unwrap_or(Err(ErrorCode::RequestTimedOut));
            results.push((it, outcome.err().unwrap_or(ErrorCode::None)));
        }
        results
    }

    fn append(&self, marker: &TransactionMarker, it: &TopicPartition) -> Result<(Arc<Partition>, i32, i64), ErrorCode> {
        let partition = self.replicas.partition(&it.topic, it.partition)?;
        let leader_epoch = partition.leader_epoch();
        let batch = marker_batch(marker, self.clock.now_ms())?.finish().map_err(|error| error.error_code())?;
        let transaction = AppendTransaction { version: marker.transaction_version, ..AppendTransaction::default() };
        let appended = partition.append_in_transaction(&batch, AppendOrigin::Coordinator, -1, transaction).map_err(|error| {
            tracing::info!(partition = %it, %error, "a transaction marker was refused");
            error.error_code()
        })?;
        Ok((partition, leader_epoch, appended.last_offset))
    }
}

/// Waits until every in-sync replica has the record at `offset`.
async fn replicated(partition: &Partition, leader_epoch: i32, offset: i64) -> Result<(), ErrorCode> {
    if partition.is_replicated(offset, leader_epoch)? {
        return Ok(());
    }
    let waiter = Waiter::new();
    let _registration = partition.register(&waiter);
    while !partition.is_replicated(offset, leader_epoch)? {
        waiter.woken().await;
    }
    Ok(())
}
