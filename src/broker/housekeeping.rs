//! What the broker does from time to time without being asked: retention, checkpoints, flushes, compaction. Source: `LogManager.startup`.
//!
//! Invariant: each kind of work runs beside the others but never twice at once, on the pool for work that may block.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{debug, error};

use super::config::BrokerConfig;
use super::producer_ids::ProducerIds;
use super::replica_moves;
use super::server::Broker;
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;
use crate::storage::cleaner::CleanerConfig;

/// How often deleted files are unlinked and failed directories noticed.
const SWEEP_INTERVAL_MS: i64 = 1000;

/// Starts the periodic work. It ends when the broker stops; what runs at that moment first comes to its end.
pub(super) fn start(config: &BrokerConfig, broker: &Arc<Broker>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(report_failed_directories(Arc::clone(broker)));
    tasks.spawn(report_assignments(Arc::clone(broker)));
    tasks.spawn(replica_moves::run(Arc::clone(broker)));
    tasks.spawn(ProducerIds::keep_filled(Arc::clone(broker)));
    let mut every = |first_ms: i64, interval_ms: i64, work: fn(&Broker)| {
        // An interval of centuries is Kafka's way to say never.
        if let Some(interval) = u64::try_from(interval_ms).ok().filter(|&ms| ms > 0 && ms < u64::from(u32::MAX) * 1000) {
            let first = Duration::from_millis(u64::try_from(first_ms).unwrap_or(0));
            tasks.spawn(repeat(first, Duration::from_millis(interval), Arc::clone(broker), work));
        }
    };
    let initial = config.log_initial_task_delay_ms;
    every(SWEEP_INTERVAL_MS, SWEEP_INTERVAL_MS, |broker| {
        broker.replicas.take_failed_logs_offline();
        broker.replicas.open_missing_logs();
        broker.replicas.log_dirs().remove_deleted();
    });
    every(initial, config.log_retention_check_interval_ms, |broker| {
        broker.replicas.log_dirs().delete_old_segments();
    });
    every(initial, config.log_flush_scheduler_interval_ms, |broker| broker.replicas.log_dirs().flush_dirty_logs());
    let checkpoint_ms = config.log_flush_offset_checkpoint_interval_ms.min(config.log_flush_start_offset_checkpoint_interval_ms);
    every(initial, i64::from(checkpoint_ms), |broker| broker.replicas.log_dirs().checkpoint_offsets());
    let high_watermark_ms = config.replica_high_watermark_checkpoint_interval_ms;
    every(high_watermark_ms, high_watermark_ms, |broker| broker.replicas.log_dirs().checkpoint_high_watermarks());
    every(initial, i64::from(config.producer_id_expiration_check_interval_ms), |broker| {
        broker.replicas.log_dirs().remove_expired_producers()
    });
    broker.replicas.log_dirs().configure_cleaner(cleaner_config(config));
    if config.log_cleaner_enable {
        tasks.spawn(cleaners(Arc::clone(broker), Duration::from_millis(u64::try_from(initial).unwrap_or(0))));
    }
    tasks
}

fn cleaner_config(config: &BrokerConfig) -> CleanerConfig {
    let number = |key| config.value(key).as_f64();
    let defaults = CleanerConfig::default();
    CleanerConfig {
        enable: config.log_cleaner_enable,
        threads: usize::try_from(config.log_cleaner_threads).unwrap_or(0),
        dedupe_buffer_size_bytes: u64::try_from(config.log_cleaner_dedupe_buffer_size).unwrap_or(0),
        dedupe_buffer_load_factor: number("log.cleaner.io.buffer.load.factor").unwrap_or(defaults.dedupe_buffer_load_factor),
        io_buffer_size_bytes: usize::try_from(config.long("log.cleaner.io.buffer.size")).unwrap_or(0),
        io_max_bytes_per_second: number("log.cleaner.io.max.bytes.per.second").unwrap_or(defaults.io_max_bytes_per_second),
    }
}

/// As many compactions beside each other as `log.cleaner.threads` says now, each looking for the next when it is done. Source: `LogCleaner`.
async fn cleaners(broker: Arc<Broker>, first: Duration) {
    let mut shutdown = broker.shutdown_signal();
    let mut running = JoinSet::new();
    let mut pause = first;
    while tokio::time::timeout(pause, shutdown.wait_for(|&stopping| stopping)).await.is_err() {
        let config = broker.config();
        broker.replicas.log_dirs().configure_cleaner(cleaner_config(&config));
        while running.try_join_next().is_some() {}
        while running.len() < usize::try_from(config.log_cleaner_threads).unwrap_or(0) {
            let broker = Arc::clone(&broker);
            running.spawn_blocking(move || while broker.replicas.log_dirs().clean() {});
        }
        pause = Duration::from_millis(u64::try_from(config.log_cleaner_backoff_ms).unwrap_or(0).max(1));
    }
    broker.replicas.log_dirs().stop_cleaning();
    while let Some(ended) = running.join_next().await {
        if let Err(failure) = ended {
            error!("a compaction failed: {failure}");
        }
    }
}

/// Tells the controller in which directory each replica lies, where it cannot know: in a node with several. Else a directory that fails
/// would leave the partitions in it with a leader that cannot serve them. Source: `AssignmentsManager`.
async fn report_assignments(broker: Arc<Broker>) {
    /// As many as fit a request of Kafka's.
    const AT_ONCE: usize = 2250;
    let mut shutdown = broker.shutdown_signal();
    let pause = Duration::from_millis(SWEEP_INTERVAL_MS as u64);
    while tokio::time::timeout(pause, shutdown.wait_for(|&stopping| stopping)).await.is_err() {
        let sweeping = Arc::clone(&broker);
        let unknown = tokio::task::spawn_blocking(move || unknown_assignments(&sweeping)).await.unwrap_or_default();
        for replicas in unknown.chunks(AT_ONCE) {
            let response = broker.controller.assign_directories(replicas).await;
            if response.error_code != ErrorCode::None.code() {
                debug!("the directories of {} replicas could not be told: {}", replicas.len(), ErrorCode::from_code(response.error_code));
            }
        }
    }
}

/// The replicas that lie elsewhere than the metadata says, as `(topic, partition, directory)`.
fn unknown_assignments(broker: &Broker) -> Vec<(Uuid, i32, Uuid)> {
    let (image, log_dirs, id) = (broker.image(), broker.replicas.log_dirs(), broker.node_id());
    if image.topics.is_empty() || log_dirs.directories().iter().filter(|dir| !dir.id.is_zero()).count() < 2 {
        return Vec::new();
    }
    let partitions = broker.replicas.partitions().into_iter();
    let elsewhere = partitions.filter_map(|partition| {
        let topic_partition = partition.topic_partition();
        let registration = image.topics.topic_by_id(partition.topic_id())?.partition(topic_partition.partition)?;
        let lies_in = log_dirs.directory_of(topic_partition).filter(|directory| !directory.is_zero())?;
        let told = registration.directory(id)?;
        (told != lies_in).then_some((partition.topic_id(), topic_partition.partition, lies_in))
    });
    elsewhere.collect()
}

/// Tells the controller of log directories that have failed, so that it takes the leadership of what is in them away from us.
async fn report_failed_directories(broker: Arc<Broker>) {
    let offline = || {
        broker
            .replicas
            .log_dirs()
            .directories()
            .into_iter()
            .filter(|dir| !dir.online && !dir.id.is_zero())
            .map(|dir| dir.id)
            .collect::<Vec<_>>()
    };
    // What was offline at the start was never registered.
    let mut known = offline();
    let mut shutdown = broker.shutdown_signal();
    let pause = Duration::from_millis(SWEEP_INTERVAL_MS as u64);
    while tokio::time::timeout(pause, shutdown.wait_for(|&stopping| stopping)).await.is_err() {
        let now = offline();
        if now.len() > known.len() {
            let response = broker.controller.report_offline_directories(now.clone()).await;
            if response.error_code == ErrorCode::None.code() {
                known = now;
            }
        }
    }
}

async fn repeat(first: Duration, interval: Duration, broker: Arc<Broker>, work: fn(&Broker)) {
    let mut shutdown = broker.shutdown_signal();
    let mut pause = first;
    while tokio::time::timeout(pause, shutdown.wait_for(|&stopping| stopping)).await.is_err() {
        let broker = Arc::clone(&broker);
        if let Err(failure) = tokio::task::spawn_blocking(move || work(&broker)).await {
            error!("periodic work on the logs failed: {failure}");
        }
        pause = interval;
    }
}
