//! Every log directory of a node. Sources: `LogManager`, `CleanShutdownFileHandler`, `LogDirFailureChannel`, KIP-858.
//!
//! Order at the start: [`LogDirs::open`] (locks, meta.properties, clean-shutdown file read and removed), then
//! [`LogDirs::load`] (all partition logs). Order at the end: [`LogDirs::shutdown`] (flush, producer snapshots, checkpoints,
//! clean-shutdown file last, locks).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;

use super::checkpoint::{
    self, CLEANER_OFFSET_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, LOG_START_OFFSET_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
};
use super::chores::Chores;
use super::config::LogConfig;
use super::dir_health::DirHealth;
use super::errors::StorageError;
use super::fs;
use super::load_progress::LoadProgress;
use super::log::{Log, LogOptions};
use super::meta_properties::MetaProperties;

mod by_partition;
mod cleaning;
mod loading;
mod moves;
mod partitions;

use by_partition::{Hosted, LogsByPartition};
pub use cleaning::CleanerMetrics;
use cleaning::Cleaners;
pub use moves::{FutureReplica, MoveError};
use partitions::set_aside_name;
pub(super) use partitions::stray_name;

/// The metadata log's directory, which is not one of the partitions here.
pub const CLUSTER_METADATA_DIR: &str = "__cluster_metadata-0";
const LOCK_FILE: &str = ".lock";
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
const REMOTE_LOG_INDEX_CACHE: &str = "remote-log-index-cache";
const DELETE_DIR_SUFFIX: &str = "-delete";
const STRAY_DIR_SUFFIX: &str = "-stray";
const FUTURE_DIR_SUFFIX: &str = "-future";
/// The first values of a directory's id stand for something else (KIP-858).
const RESERVED_IDS: u128 = 100;
/// From here on the file system is synced as a whole, rather than file by file.
const MANY_FILES: usize = 64;

/// What a node's log directories are opened with.
#[derive(Clone)]
pub struct LogDirsOptions {
    /// `log.dirs`. Each must be formatted (have a meta.properties).
    pub dirs: Vec<PathBuf>,
    /// `metadata.log.dir` where it is none of `dirs`: formatted, checked and locked like them, but not for partitions.
    pub metadata_only_dir: Option<PathBuf>,
    pub node_id: i32,
    pub clock: Arc<dyn Clock>,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads_per_data_dir: usize,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// Is told how far loading is.
    pub progress: Arc<LoadProgress>,
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
    #[error("{path} is a ZooKeeper broker's (meta.properties is of version 0): migrate to KRaft with Kafka 3.9 first", path = path.display())]
    OfZooKeeper { path: PathBuf },
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

/// One log directory's own state.
struct Dir {
    path: PathBuf,
    id: Uuid,
    health: Arc<DirHealth>,
    had_clean_shutdown: bool,
    /// Every log of the directory was loaded, so a clean stop may say so.
    loaded: AtomicBool,
    /// Partitions that were deleted or moved away since the checkpoints were written, which still tell their recovery points and so on.
    gone: Mutex<BTreeSet<TopicPartition>>,
    /// Directories of partitions were renamed, and that is not synced.
    renames_are_unsynced: AtomicBool,
    /// The checkpoints as they were last written, by file name.
    written_checkpoints: Mutex<BTreeMap<&'static str, String>>,
    /// Held open for the lock on it.
    lock: Mutex<Option<File>>,
}

impl Dir {
    fn gone(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All log directories. Shared as `Arc<LogDirs>`.
pub struct LogDirs {
    options: LogDirsOptions,
    cluster_id: String,
    previous_broker_epoch: i64,
    /// Held for its lock.
    metadata_only_dir: Mutex<Option<Dir>>,
    dirs: Vec<Dir>,
    logs: RwLock<LogsByPartition>,
    /// Directories of deleted partitions and the monotonic time when they may go, ms.
    deleted: Mutex<Vec<(u64, PathBuf)>>,
    /// Replicas on their way to another directory; see [`moves`]. Locked after `logs`.
    futures: Mutex<LogsByPartition>,
    /// Logs whose `partition.metadata` is not synced.
    new_logs: Mutex<Vec<Arc<Log>>>,
    /// The directory that a replica is to be created in when it comes, by index.
    preferred: Mutex<BTreeMap<TopicPartition, usize>>,
    cleaners: Cleaners,
    chores: Arc<Chores>,
}

impl LogDirs {
    /// Locks the directories, checks that they belong together and to this node, and notes whether the last stop was clean. A directory
    /// that cannot be read is offline from the start.
    pub fn open(options: LogDirsOptions) -> Result<LogDirs, OpenError> {
        check_identities(&options)?;
        let metadata_only_dir = match &options.metadata_only_dir {
            Some(path) => Some(open_dir(path, &options)?.0),
            None => None,
        };
        let (mut dirs, mut clusters, mut broker_epochs) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for path in &options.dirs {
            match open_dir(path, &options) {
                Ok((dir, cluster_id, broker_epoch)) => {
                    clusters.insert(cluster_id);
                    broker_epochs.insert(broker_epoch);
                    dirs.push(dir);
                }
                Err(OpenError::Storage(error)) if options.dirs.len() > 1 => {
                    let health = Arc::new(DirHealth::default());
                    health.fail(&error);
                    dirs.push(Dir {
                        path: path.clone(),
                        id: Uuid::ZERO,
                        health,
                        had_clean_shutdown: false,
                        loaded: AtomicBool::new(false),
                        gone: Mutex::default(),
                        renames_are_unsynced: AtomicBool::new(false),
                        written_checkpoints: Mutex::default(),
                        lock: Mutex::new(None),
                    });
                }
                Err(error) => return Err(error),
            }
        }
        let mut clusters = clusters.into_iter();
        let (Some(cluster_id), None) = (clusters.next(), clusters.next()) else {
            return Err(OpenError::Inconsistent("the log directories belong to no or to several clusters".to_owned()));
        };
        let mut broker_epochs = broker_epochs.into_iter();
        let previous_broker_epoch = match (broker_epochs.next(), broker_epochs.next()) {
            (Some(epoch), None) => epoch,
            _ => -1,
        };
        Ok(LogDirs {
            options,
            cluster_id,
            previous_broker_epoch,
            metadata_only_dir: Mutex::new(metadata_only_dir),
            dirs,
            logs: RwLock::default(),
            deleted: Mutex::default(),
            futures: Mutex::default(),
            new_logs: Mutex::default(),
            preferred: Mutex::default(),
            cleaners: Cleaners::default(),
            chores: Arc::default(),
        })
    }

    fn hosted(&self) -> RwLockReadGuard<'_, LogsByPartition> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosted_mut(&self) -> RwLockWriteGuard<'_, LogsByPartition> {
        self.logs.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn deleted(&self) -> MutexGuard<'_, Vec<(u64, PathBuf)>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The monotonic time after so many milliseconds.
    fn due_ms(&self, delay_ms: i64) -> u64 {
        self.options.clock.monotonic_ms().saturating_add_signed(delay_ms.max(0))
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The broker epoch at the last clean stop, -1 when it was not clean (BrokerRegistration's PreviousBrokerEpoch).
    pub fn previous_broker_epoch(&self) -> i64 {
        self.previous_broker_epoch
    }

    pub fn directories(&self) -> Vec<LogDir> {
        self.dirs.iter().map(|dir| LogDir { path: dir.path.clone(), id: dir.id, online: dir.health.is_online() }).collect()
    }

    /// Did this directory's last stop leave a clean-shutdown file? (The metadata log ignores it.)
    pub fn had_clean_shutdown(&self, dir: &Path) -> bool {
        self.dirs.iter().any(|known| known.path == dir && known.had_clean_shutdown)
    }

    /// The health that logs outside this collection, such as the metadata log, share with their directory.
    pub fn health(&self, dir: &Path) -> Option<Arc<DirHealth>> {
        self.dirs.iter().find(|known| known.path == dir).map(|known| known.health.clone())
    }

    /// Why the node cannot go on: the directory of its metadata has failed, or every directory.
    pub fn fatal_failure(&self, metadata_dir: &Path) -> Option<String> {
        let failed = |dir: &&Dir| !dir.health.is_online();
        let reason = |dir: &Dir| dir.health.error().map_or_else(String::new, |error| format!(": {error}"));
        if let Some(dir) = self.dirs.iter().filter(failed).find(|dir| dir.path == metadata_dir) {
            return Some(format!("the metadata log directory {} has failed{}", dir.path.display(), reason(dir)));
        }
        let last = self.dirs.last().filter(|_| self.dirs.iter().all(|dir| failed(&dir)))?;
        Some(format!("every log directory has failed, the last {}{}", last.path.display(), reason(last)))
    }

    fn log_options(&self, dir: &Dir, path: PathBuf, topic_partition: &TopicPartition, config: Arc<LogConfig>) -> LogOptions {
        LogOptions {
            producer_id_expiration_ms: self.options.producer_id_expiration_ms,
            dir_health: dir.health.clone(),
            progress: self.options.progress.clone(),
            chores: self.chores.clone(),
            ..LogOptions::new(path, topic_partition.clone(), config, self.options.clock.clone())
        }
    }

    fn is_online(&self, hosted: &Hosted) -> bool {
        self.dirs[hosted.dir].health.is_online()
    }

    /// The log of a partition; None when there is none or its directory is offline.
    pub fn log(&self, topic_partition: &TopicPartition) -> Option<Arc<Log>> {
        self.hosted().get(topic_partition).filter(|hosted| self.is_online(hosted)).map(|hosted| hosted.log.clone())
    }

    /// All logs of online directories, sorted by partition.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.hosted().values().filter(|hosted| self.is_online(hosted)).map(|hosted| hosted.log.clone()).collect()
    }

    fn logs_in(&self, dir: usize) -> Vec<(TopicPartition, Arc<Log>)> {
        let logs = self.hosted();
        logs.iter().filter(|(_, hosted)| hosted.dir == dir).map(|(tp, hosted)| (tp.clone(), hosted.log.clone())).collect()
    }

    /// Which directory holds the log of a partition.
    pub fn directory_of(&self, topic_partition: &TopicPartition) -> Option<Uuid> {
        self.hosted().get(topic_partition).map(|hosted| self.dirs[hosted.dir].id)
    }

    /// Takes a directory offline after an I/O error; its logs vanish from [`LogDirs::log`].
    pub fn fail(&self, dir: &Path, error: &StorageError) {
        if let Some(health) = self.health(dir) {
            health.fail(error);
        }
    }

    /// Forgets idle producers (`producer.id.expiration.check.interval.ms`).
    pub fn remove_expired_producers(&self) {
        self.logs().iter().for_each(|log| log.remove_expired_producers());
    }

    /// Flushes what a roll left to be flushed, and logs whose `flush.ms` is over (`log.flush.scheduler.interval.ms`).
    pub fn flush_dirty_logs(&self) {
        for log in self.logs() {
            let overdue = log.recovery_point() < log.log_end_offset()
                && self.options.clock.monotonic_ms().saturating_sub(log.last_flush_time_ms())
                    >= log.config().flush_ms.max(0).cast_unsigned();
            // A failure has taken its directory offline.
            let _ = if overdue { log.flush() } else { log.flush_rolled() };
        }
    }

    /// `recovery-point-offset-checkpoint` and `log-start-offset-checkpoint` (every minute), after flushing what rolls left to be flushed.
    pub fn checkpoint_offsets(&self) {
        // A failure has taken its directory offline.
        self.logs().iter().for_each(|log| drop(log.flush_rolled()));
        // A failure has taken the directory offline, or there is no space and the next time may be better.
        (0..self.dirs.len()).for_each(|index| drop(self.checkpoint_dir_offsets(index)));
    }

    /// `replication-offset-checkpoint` (`replica.high.watermark.checkpoint.interval.ms`, 5 s).
    pub fn checkpoint_high_watermarks(&self) {
        if !self.chores.take_high_watermark() {
            return;
        }
        for index in 0..self.dirs.len() {
            if self.checkpoint_dir_high_watermarks(index).is_err() {
                // There may be space the next time.
                self.chores.note_high_watermark();
            }
        }
    }

    /// All checkpoints; those who are gone tell nothing any more, if there was space to say so.
    fn checkpoint_dir(&self, index: usize) -> Result<(), StorageError> {
        let gone = std::mem::take(&mut *self.dirs[index].gone());
        let results = [self.checkpoint_dir_offsets(index), self.checkpoint_dir_high_watermarks(index), self.checkpoint_dir_cleaned(index)];
        let written: Result<(), StorageError> = results.into_iter().collect();
        if written.is_err() {
            self.dirs[index].gone().extend(gone);
        }
        written
    }

    fn checkpoint_dir_offsets(&self, index: usize) -> Result<(), StorageError> {
        let logs = self.logs_in(index);
        self.write_checkpoint(index, RECOVERY_POINT_CHECKPOINT, logs.iter().map(|(tp, log)| (tp, log.recovery_point())))?;
        let moved = logs.iter().filter(|(_, log)| log.log_start_offset() > log.first_segment_base_offset());
        self.write_checkpoint(index, LOG_START_OFFSET_CHECKPOINT, moved.map(|(tp, log)| (tp, log.log_start_offset())))
    }

    fn checkpoint_dir_high_watermarks(&self, index: usize) -> Result<(), StorageError> {
        let logs = self.logs_in(index);
        self.write_checkpoint(index, HIGH_WATERMARK_CHECKPOINT, logs.iter().map(|(tp, log)| (tp, log.high_watermark())))
    }

    /// An idle node writes nothing: a checkpoint that would say the same is left as it is.
    fn write_checkpoint<'a>(
        &self,
        index: usize,
        name: &'static str,
        offsets: impl Iterator<Item = (&'a TopicPartition, i64)>,
    ) -> Result<(), StorageError> {
        let dir = &self.dirs[index];
        dir.health.check()?;
        let text = checkpoint::offsets_text(offsets);
        let mut written = dir.written_checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if written.get(name) != Some(&text) {
            dir.health.note_unless_full(fs::write_atomically(&dir.path.join(name), text.as_bytes()))?;
            written.insert(name, text);
        }
        Ok(())
    }

    /// Clean stop: flushes and closes every log, writes the checkpoints and last the clean-shutdown file. Appends must have stopped.
    pub fn shutdown(&self, broker_epoch: i64) {
        self.stop_cleaning();
        std::thread::scope(|scope| {
            for index in 0..self.dirs.len() {
                scope.spawn(move || self.shutdown_dir(index, broker_epoch));
            }
        });
        self.metadata_only_dir.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn shutdown_dir(&self, index: usize, broker_epoch: i64) {
        let dir = &self.dirs[index];
        if dir.health.is_online() {
            self.sync_new(index);
            let logs = self.logs_in(index);
            let futures = self.future_replicas().into_iter().filter(|future| future.log.dir().parent() == Some(&dir.path));
            let logs: Vec<_> = logs.into_iter().chain(futures.map(|future| (future.topic_partition, future.log))).collect();
            let all_at_once = logs.iter().filter(|(_, log)| log.is_dirty()).count() > MANY_FILES;
            let closed = logs.iter().try_for_each(|(_, log)| {
                let _paused = log.cleaning().abort_and_pause();
                if all_at_once { log.close_unsynced() } else { log.flush().and_then(|()| log.close()) }
            });
            let closed = match all_at_once {
                true => closed.and_then(|()| dir.health.note(fs::sync_file_system(&dir.path))),
                false => closed,
            };
            if all_at_once && closed.is_ok() {
                logs.iter().for_each(|(_, log)| log.is_synced());
            }
            let was_loaded = dir.loaded.load(Ordering::Acquire);
            if closed.is_ok() && was_loaded && self.checkpoint_dir(index).is_ok() {
                let content = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
                let _ = dir.health.note(fs::write_atomically(&dir.path.join(CLEAN_SHUTDOWN_FILE), content.as_bytes()));
            }
        }
        dir.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Do the directories that can be read belong to this node, and to each other? Looked at before anything is locked, so that those of
/// others stay as they are. Source: `MetaPropertiesEnsemble.verify`.
fn check_identities(options: &LogDirsOptions) -> Result<(), OpenError> {
    let (mut cluster, mut ids) = (None::<(String, &Path)>, BTreeMap::new());
    for path in options.dirs.iter().chain(&options.metadata_only_dir) {
        if MetaProperties::is_of_zookeeper(path) {
            return Err(OpenError::OfZooKeeper { path: path.clone() });
        }
        // What cannot be read is offline, which is for later.
        let Ok(Some(properties)) = MetaProperties::read(path) else { continue };
        let inconsistent = |text: String| Err(OpenError::Inconsistent(text));
        if properties.node_id != options.node_id {
            let (found, wanted) = (properties.node_id, options.node_id);
            return inconsistent(format!("stored node id {found} doesn't match node.id {wanted} in {}", path.display()));
        }
        match &cluster {
            Some((id, _)) if *id == properties.cluster_id => {}
            Some((id, first)) => {
                let (found, first, path) = (properties.cluster_id, first.display(), path.display());
                return inconsistent(format!("cluster id {found} in {path} is not that in {first}, {id}"));
            }
            None => cluster = Some((properties.cluster_id, path)),
        }
        let Some(id) = properties.directory_id else { continue };
        if u128::from_be_bytes(id.0) < RESERVED_IDS {
            return inconsistent(format!("directory id {id} in {} is reserved", path.display()));
        }
        if let Some(first) = ids.insert(id, path) {
            return inconsistent(format!("duplicate directory id {id} in {} and {}", first.display(), path.display()));
        }
    }
    Ok(())
}

/// Locks one directory; gives its cluster id and the broker epoch of its last clean stop.
fn open_dir(path: &Path, options: &LogDirsOptions) -> Result<(Dir, String, i64), OpenError> {
    if !fs::is_dir(path) {
        return Err(OpenError::NotFormatted { path: path.to_owned() });
    }
    let lock_path = path.join(LOCK_FILE);
    let lock = fs::open_or_create(&lock_path)?;
    if !fs::try_lock(&lock, &lock_path)? {
        return Err(OpenError::Locked { path: lock_path });
    }
    let mut properties = MetaProperties::read(path)?.ok_or_else(|| OpenError::NotFormatted { path: path.to_owned() })?;
    let id = match properties.directory_id {
        Some(id) => id,
        None => {
            let id = Uuid::random(&mut Random::from_entropy());
            properties.directory_id = Some(id);
            properties.write(path, &java_date(options.clock.now_ms()))?;
            id
        }
    };
    let clean_shutdown = fs::read_if_exists(&path.join(CLEAN_SHUTDOWN_FILE))?;
    let dir = Dir {
        path: path.to_owned(),
        id,
        health: Arc::default(),
        had_clean_shutdown: clean_shutdown.is_some(),
        loaded: AtomicBool::new(false),
        gone: Mutex::default(),
        renames_are_unsynced: AtomicBool::new(false),
        written_checkpoints: Mutex::default(),
        lock: Mutex::new(Some(lock)),
    };
    // Older releases leave an empty file: a clean stop of an unknown epoch.
    let json: Option<serde_json::Value> = clean_shutdown.and_then(|content| serde_json::from_slice(&content).ok());
    let broker_epoch = json.and_then(|json| json.get("brokerEpoch")?.as_i64()).unwrap_or(-1);
    Ok((dir, properties.cluster_id, broker_epoch))
}

/// The date in the comment of a properties file, as Java writes it.
pub fn java_date(now_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
    time.strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
}

#[cfg(test)]
mod tests;
