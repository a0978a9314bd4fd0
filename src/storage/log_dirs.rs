//! Every log directory of a node. Sources: `LogManager`, `CleanShutdownFileHandler`, `LogDirFailureChannel`, KIP-858.
//!
//! Order at the start: [`LogDirs::open`] (locks, meta.properties, clean-shutdown file read and removed), then
//! [`LogDirs::load`] (all partition logs). Order at the end: [`LogDirs::shutdown`] (flush, producer snapshots, checkpoints,
//! clean-shutdown file last, locks).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::clock::Clock;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;

use super::config::LogConfig;
use super::errors::StorageError;
use super::log::Log;

/// What a node's log directories are opened with.
#[derive(Clone)]
pub struct LogDirsOptions {
    /// `log.dirs`. Each must be formatted (have a meta.properties).
    pub dirs: Vec<PathBuf>,
    pub node_id: i32,
    pub clock: Arc<dyn Clock>,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads_per_data_dir: usize,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
}

/// Why the directories cannot be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("failed to acquire lock on file {path}: another process is using the directory", path = path.display())]
    Locked { path: PathBuf },
    #[error("no meta.properties file in {path}: the directory is not formatted", path = path.display())]
    NotFormatted { path: PathBuf },
    #[error("{0}")]
    Inconsistent(String),
}

/// Why a partition has no log here.
#[derive(Debug, thiserror::Error)]
pub enum LogDirsError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("no log directory is online")]
    AllOffline,
    #[error("the log of {topic_partition} belongs to topic id {found}, not {wanted}")]
    InconsistentTopicId { topic_partition: TopicPartition, found: Uuid, wanted: Uuid },
}

/// One log directory, for DescribeLogDirs and registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    pub path: PathBuf,
    pub id: Uuid,
    pub online: bool,
}

/// All log directories. Shared as `Arc<LogDirs>`.
pub struct LogDirs {
    options: LogDirsOptions,
}

#[allow(unused_variables, clippy::unimplemented)]
impl LogDirs {
    /// Locks the directories, checks that they belong together and to this node, and notes whether the last stop was clean.
    pub fn open(options: LogDirsOptions) -> Result<LogDirs, OpenError> {
        Ok(LogDirs { options })
    }

    pub fn cluster_id(&self) -> &str {
        unimplemented!()
    }

    /// The broker epoch at the last clean stop, -1 when it was not clean (BrokerRegistration's PreviousBrokerEpoch).
    pub fn previous_broker_epoch(&self) -> i64 {
        unimplemented!()
    }

    pub fn directories(&self) -> Vec<LogDir> {
        unimplemented!()
    }

    /// Did this directory's last stop leave a clean-shutdown file? (The metadata log ignores it.)
    pub fn had_clean_shutdown(&self, dir: &Path) -> bool {
        unimplemented!()
    }

    /// Loads every partition's log, in parallel. `config` gives a topic's config. A directory that fails goes offline.
    pub fn load(&self, config: &(dyn Fn(&str) -> Arc<LogConfig> + Sync)) {
        unimplemented!()
    }

    pub fn log(&self, topic_partition: &TopicPartition) -> Option<Arc<Log>> {
        unimplemented!()
    }

    /// All logs, sorted by partition.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        unimplemented!()
    }

    /// The log of a partition, created when it is missing, in `directory` when that id names an online directory, else in the online one with the fewest logs.
    pub fn create(
        &self,
        topic_partition: &TopicPartition,
        topic_id: Uuid,
        directory: Option<Uuid>,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>, LogDirsError> {
        unimplemented!()
    }

    /// Which directory holds the log of a partition.
    pub fn directory_of(&self, topic_partition: &TopicPartition) -> Option<Uuid> {
        unimplemented!()
    }

    /// Takes the log away at once (directory renamed `…-delete`); its files are removed by [`LogDirs::remove_deleted`] after `file.delete.delay.ms`.
    pub fn delete(&self, topic_partition: &TopicPartition) -> Result<(), LogDirsError> {
        unimplemented!()
    }

    /// Sets a log aside whose topic or replica the cluster does not know (directory renamed `…-stray`).
    pub fn mark_stray(&self, topic_partition: &TopicPartition) -> Result<(), LogDirsError> {
        unimplemented!()
    }

    /// Takes a directory offline after an I/O error; its logs vanish from [`LogDirs::log`].
    pub fn fail(&self, dir: &Path, error: &StorageError) {
        unimplemented!()
    }

    /// Retention of all logs (`log.retention.check.interval.ms`); gives the number of segments deleted.
    pub fn delete_old_segments(&self) -> usize {
        unimplemented!()
    }

    /// Unlinks deleted segments and partitions whose delay is over. Call about once a second.
    pub fn remove_deleted(&self) {
        unimplemented!()
    }

    /// Flushes logs whose `flush.ms` is over.
    pub fn flush_dirty_logs(&self) {
        unimplemented!()
    }

    /// `recovery-point-offset-checkpoint` and `log-start-offset-checkpoint` (every minute).
    pub fn checkpoint_offsets(&self) {
        unimplemented!()
    }

    /// `replication-offset-checkpoint` (`replica.high.watermark.checkpoint.interval.ms`, 5 s).
    pub fn checkpoint_high_watermarks(&self) {
        unimplemented!()
    }

    /// Compacts the dirtiest compacted logs; true when something was done.
    pub fn clean(&self) -> bool {
        unimplemented!()
    }

    /// Clean stop: flushes and closes every log, writes the checkpoints and last the clean-shutdown file. Appends must have stopped.
    pub fn shutdown(&self, broker_epoch: i64) {
        unimplemented!()
    }
}
