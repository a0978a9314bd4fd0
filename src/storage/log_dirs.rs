//! Every log directory of a node. Sources: `LogManager`, `CleanShutdownFileHandler`, `LogDirFailureChannel`, KIP-858.
//!
//! Order at the start: [`LogDirs::open`] (locks, meta.properties, clean-shutdown file read and removed), then
//! [`LogDirs::load`] (all partition logs). Order at the end: [`LogDirs::shutdown`] (flush, producer snapshots, checkpoints,
//! clean-shutdown file last, locks).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;

use super::checkpoint::{
    self, CLEANER_OFFSET_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, LOG_START_OFFSET_CHECKPOINT, RECOVERY_POINT_CHECKPOINT,
};
use super::config::LogConfig;
use super::dir_health::DirHealth;
use super::errors::StorageError;
use super::fs;
use super::log::{Log, LogOptions, parse_topic_partition_name};
use super::meta_properties::MetaProperties;

mod cleaning;
mod moves;

pub use cleaning::CleanerMetrics;
use cleaning::Cleaners;
pub use moves::{FutureReplica, MoveError};

/// The metadata log's directory, which is not one of the partitions here.
pub const CLUSTER_METADATA_DIR: &str = "__cluster_metadata-0";
const LOCK_FILE: &str = ".lock";
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
const REMOTE_LOG_INDEX_CACHE: &str = "remote-log-index-cache";
const DELETE_DIR_SUFFIX: &str = "-delete";
const STRAY_DIR_SUFFIX: &str = "-stray";
const FUTURE_DIR_SUFFIX: &str = "-future";

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

/// One log directory's own state.
struct Dir {
    path: PathBuf,
    id: Uuid,
    health: Arc<DirHealth>,
    had_clean_shutdown: bool,
    /// Every log of the directory was loaded, so a clean stop may say so.
    loaded: AtomicBool,
    /// The recovery points and so on of deleted partitions are still in the checkpoints.
    checkpoints_are_stale: AtomicBool,
    /// The checkpoints as they were last written, by file name.
    written_checkpoints: Mutex<BTreeMap<&'static str, String>>,
    /// Held open for the lock on it.
    lock: Mutex<Option<File>>,
}

#[derive(Clone)]
struct Hosted {
    /// Index of the directory.
    dir: usize,
    log: Arc<Log>,
}

/// All log directories. Shared as `Arc<LogDirs>`.
pub struct LogDirs {
    options: LogDirsOptions,
    cluster_id: String,
    previous_broker_epoch: i64,
    dirs: Vec<Dir>,
    logs: RwLock<BTreeMap<TopicPartition, Hosted>>,
    /// Directories of deleted partitions and when they may go, ms.
    deleted: Mutex<Vec<(i64, PathBuf)>>,
    /// Replicas on their way to another directory; see [`moves`]. Locked after `logs`.
    futures: Mutex<BTreeMap<TopicPartition, Hosted>>,
    cleaners: Cleaners,
}

impl LogDirs {
    /// Locks the directories, checks that they belong together and to this node, and notes whether the last stop was clean. A directory
    /// that cannot be read is offline from the start.
    pub fn open(options: LogDirsOptions) -> Result<LogDirs, OpenError> {
        let (mut dirs, mut clusters, mut broker_epochs) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let mut ids = BTreeSet::new();
        for path in &options.dirs {
            match open_dir(path, &options) {
                Ok((dir, cluster_id, broker_epoch)) => {
                    if !ids.insert(dir.id) {
                        return Err(OpenError::Inconsistent(format!("duplicate directory id {} in {}", dir.id, path.display())));
                    }
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
                        checkpoints_are_stale: AtomicBool::new(false),
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
            dirs,
            logs: RwLock::default(),
            deleted: Mutex::default(),
            futures: Mutex::default(),
            cleaners: Cleaners::default(),
        })
    }

    fn hosted(&self) -> RwLockReadGuard<'_, BTreeMap<TopicPartition, Hosted>> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosted_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<TopicPartition, Hosted>> {
        self.logs.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn deleted(&self) -> MutexGuard<'_, Vec<(i64, PathBuf)>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Loads every partition's log, in parallel. `config` gives a topic's config. A directory that fails goes offline.
    pub fn load(&self, config: &(dyn Fn(&str) -> Arc<LogConfig> + Sync)) {
        std::thread::scope(|scope| {
            for index in 0..self.dirs.len() {
                scope.spawn(move || {
                    let dir = &self.dirs[index];
                    if dir.health.check().is_ok() && dir.health.note(self.load_dir(index, config)).is_ok() {
                        dir.loaded.store(true, Ordering::Release);
                    }
                });
            }
        });
        for future in self.future_replicas() {
            if let Some(current) = self.log(&future.topic_partition) {
                current.cleaning().pause();
            }
        }
    }

    fn load_dir(&self, index: usize, config: &(dyn Fn(&str) -> Arc<LogConfig> + Sync)) -> Result<(), StorageError> {
        let dir = &self.dirs[index];
        // From here on a crash leaves an unclean directory.
        fs::remove_file(&dir.path.join(CLEAN_SHUTDOWN_FILE))?;
        let recovery_points = checkpoint::read_offsets(&dir.path.join(RECOVERY_POINT_CHECKPOINT))?;
        let log_start_offsets = checkpoint::read_offsets(&dir.path.join(LOG_START_OFFSET_CHECKPOINT))?;
        let high_watermarks = checkpoint::read_offsets(&dir.path.join(HIGH_WATERMARK_CHECKPOINT))?;
        let cleaned_to = checkpoint::read_offsets(&dir.path.join(CLEANER_OFFSET_CHECKPOINT))?;
        let mut found: Vec<(PathBuf, TopicPartition)> = Vec::new();
        let mut futures: Vec<(PathBuf, TopicPartition)> = Vec::new();
        for path in fs::list(&dir.path)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            if !fs::is_dir(&path) || name == CLUSTER_METADATA_DIR || name == REMOTE_LOG_INDEX_CACHE {
                continue;
            }
            if name.ends_with(DELETE_DIR_SUFFIX) {
                self.deleted().push((self.options.clock.now_ms() + LogConfig::default().file_delete_delay_ms, path));
            } else if let Some(topic_partition) = moves::parse_future_name(&path) {
                futures.push((path, topic_partition));
            } else if name.ends_with(STRAY_DIR_SUFFIX) || name.ends_with(FUTURE_DIR_SUFFIX) {
                tracing::warn!(path = %path.display(), "leaving a stray or unfinished replica alone");
            } else if let Some(topic_partition) = parse_topic_partition_name(&path) {
                found.push((path, topic_partition));
            } else {
                tracing::warn!(path = %path.display(), "not the directory of a partition");
            }
        }
        let next = AtomicUsize::new(0);
        let threads = self.options.recovery_threads_per_data_dir.clamp(1, found.len().max(1));
        let (found, next) = (&found, &next);
        let work = || -> Result<(), StorageError> {
            while let Some((path, topic_partition)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                let log = Log::open(LogOptions {
                    log_start_offset: log_start_offsets.get(topic_partition).copied().unwrap_or(0),
                    recovery_point: recovery_points.get(topic_partition).copied().unwrap_or(0),
                    had_clean_shutdown: dir.had_clean_shutdown,
                    ..self.log_options(dir, path.clone(), topic_partition, config(&topic_partition.topic))
                })?;
                log.update_high_watermark(high_watermarks.get(topic_partition).copied().unwrap_or(0));
                log.cleaning().set_cleaned_to(cleaned_to.get(topic_partition).copied());
                let mut logs = self.hosted_mut();
                let mut loaded = Hosted { dir: index, log: Arc::new(log) };
                if let Some(other) = logs.remove(topic_partition) {
                    // A crash came in the middle of a move. The one that reaches less far has missed something.
                    if other.log.log_end_offset() > loaded.log.log_end_offset() {
                        logs.insert(topic_partition.clone(), other);
                    } else {
                        logs.insert(topic_partition.clone(), std::mem::replace(&mut loaded, other));
                    }
                    drop(logs);
                    let path = self.dirs[loaded.dir].path.join(set_aside_name(topic_partition, STRAY_DIR_SUFFIX));
                    let from = loaded.log.dir();
                    tracing::error!(%topic_partition, path = %from.display(), "the partition is in two log directories; setting one aside");
                    loaded.log.mark_closed(path.clone());
                    self.dirs[loaded.dir].health.note(fs::rename(&from, &path))?;
                    continue;
                }
                logs.insert(topic_partition.clone(), loaded);
            }
            Ok(())
        };
        let work = &work;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        for (path, topic_partition) in futures {
            let options = self.log_options(dir, path, &topic_partition, config(&topic_partition.topic));
            let log = Log::open(LogOptions { had_clean_shutdown: dir.had_clean_shutdown, ..options })?;
            self.futures.lock().unwrap_or_else(PoisonError::into_inner).insert(topic_partition, Hosted { dir: index, log: Arc::new(log) });
        }
        Ok(())
    }

    fn log_options(&self, dir: &Dir, path: PathBuf, topic_partition: &TopicPartition, config: Arc<LogConfig>) -> LogOptions {
        LogOptions {
            producer_id_expiration_ms: self.options.producer_id_expiration_ms,
            dir_health: dir.health.clone(),
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

    /// The log of a partition, created when it is missing, in `directory` when that id names an online directory, else in the online one with the fewest logs.
    pub fn create(
        &self,
        topic_partition: &TopicPartition,
        topic_id: Uuid,
        directory: Option<Uuid>,
        config: Arc<LogConfig>,
    ) -> Result<Arc<Log>, LogDirsError> {
        let mut logs = self.hosted_mut();
        if let Some(hosted) = logs.get(topic_partition) {
            self.dirs[hosted.dir].health.check()?;
            return match hosted.log.topic_id() {
                Some(found) if found != topic_id => {
                    Err(LogDirsError::InconsistentTopicId { topic_partition: topic_partition.clone(), found, wanted: topic_id })
                }
                Some(_) => Ok(hosted.log.clone()),
                None => {
                    hosted.log.adopt_topic_id(topic_id);
                    Ok(hosted.log.clone())
                }
            };
        }
        let online = || (0..self.dirs.len()).filter(|&index| self.dirs[index].health.is_online());
        let wanted = directory.and_then(|id| online().find(|&index| self.dirs[index].id == id));
        let emptiest = || online().min_by_key(|&index| logs.values().filter(|hosted| hosted.dir == index).count());
        let index = wanted.or_else(emptiest).ok_or(LogDirsError::AllOffline)?;
        let dir = &self.dirs[index];
        if dir.checkpoints_are_stale.load(Ordering::Acquire) {
            // Else a crash could lend the old partition's recovery point to the new one.
            drop(logs);
            self.checkpoint_dir(index);
            logs = self.hosted_mut();
        }
        let path = dir.path.join(topic_partition.to_string());
        let had_clean_shutdown = !fs::exists(&path);
        let options = LogOptions { topic_id: Some(topic_id), had_clean_shutdown, ..self.log_options(dir, path, topic_partition, config) };
        let log = Arc::new(Log::open(options)?);
        logs.insert(topic_partition.clone(), Hosted { dir: index, log: log.clone() });
        Ok(log)
    }

    /// Which directory holds the log of a partition.
    pub fn directory_of(&self, topic_partition: &TopicPartition) -> Option<Uuid> {
        self.hosted().get(topic_partition).map(|hosted| self.dirs[hosted.dir].id)
    }

    /// Takes the log away at once (directory renamed `…-delete`); its files are removed by [`LogDirs::remove_deleted`] after `file.delete.delay.ms`.
    pub fn delete(&self, topic_partition: &TopicPartition) -> Result<(), LogDirsError> {
        if let Some((hosted, path)) = self.set_aside(topic_partition, DELETE_DIR_SUFFIX)? {
            let due_ms = self.options.clock.now_ms().saturating_add(hosted.log.config().file_delete_delay_ms);
            self.deleted().push((due_ms, path));
        }
        Ok(())
    }

    /// Sets a log aside whose topic or replica the cluster does not know (directory renamed `…-stray`).
    pub fn mark_stray(&self, topic_partition: &TopicPartition) -> Result<(), LogDirsError> {
        self.set_aside(topic_partition, STRAY_DIR_SUFFIX).map(|_| ())
    }

    fn set_aside(&self, topic_partition: &TopicPartition, suffix: &str) -> Result<Option<(Hosted, PathBuf)>, LogDirsError> {
        if let Err(error) = self.cancel_move(topic_partition) {
            tracing::warn!(%topic_partition, %error, "a replica on its way could not be removed");
        }
        let Some(hosted) = self.hosted_mut().remove(topic_partition) else { return Ok(None) };
        let dir = &self.dirs[hosted.dir];
        dir.health.check()?;
        dir.checkpoints_are_stale.store(true, Ordering::Release);
        let log = hosted.log.clone();
        let _paused = log.cleaning().abort_and_pause();
        let path = dir.path.join(set_aside_name(topic_partition, suffix));
        let from = hosted.log.dir();
        hosted.log.mark_closed(path.clone());
        dir.health.note(fs::rename(&from, &path))?;
        Ok(Some((hosted, path)))
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

    /// Unlinks deleted segments and partitions whose delay is over. Call about once a second.
    pub fn remove_deleted(&self) {
        for log in self.logs() {
            if let Err(error) = log.remove_deleted_files() {
                tracing::warn!(%error, "cannot remove a deleted segment");
            }
        }
        let now_ms = self.options.clock.now_ms();
        let due: Vec<PathBuf> = self.deleted().extract_if(.., |(due_ms, _)| *due_ms <= now_ms).map(|(_, path)| path).collect();
        for path in due {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, "cannot remove a deleted partition");
            }
        }
        for (index, dir) in self.dirs.iter().enumerate() {
            if dir.checkpoints_are_stale.load(Ordering::Acquire) {
                self.checkpoint_dir(index);
            }
        }
        self.checkpoint_truncated();
    }

    /// Flushes what a roll left to be flushed, and logs whose `flush.ms` is over (`log.flush.scheduler.interval.ms`).
    pub fn flush_dirty_logs(&self) {
        for log in self.logs() {
            let overdue = log.recovery_point() < log.log_end_offset()
                && self.options.clock.now_ms() - log.last_flush_time_ms() >= log.config().flush_ms;
            // A failure has taken its directory offline.
            let _ = if overdue { log.flush() } else { log.flush_rolled() };
        }
    }

    /// `recovery-point-offset-checkpoint` and `log-start-offset-checkpoint` (every minute), after flushing what rolls left to be flushed.
    pub fn checkpoint_offsets(&self) {
        // A failure has taken its directory offline.
        self.logs().iter().for_each(|log| drop(log.flush_rolled()));
        for index in 0..self.dirs.len() {
            self.checkpoint_dir_offsets(index);
        }
    }

    /// `replication-offset-checkpoint` (`replica.high.watermark.checkpoint.interval.ms`, 5 s).
    pub fn checkpoint_high_watermarks(&self) {
        for index in 0..self.dirs.len() {
            self.checkpoint_dir_high_watermarks(index);
        }
    }

    fn checkpoint_dir(&self, index: usize) {
        self.dirs[index].checkpoints_are_stale.store(false, Ordering::Release);
        self.checkpoint_dir_offsets(index);
        self.checkpoint_dir_high_watermarks(index);
        self.checkpoint_dir_cleaned(index);
    }

    fn checkpoint_dir_offsets(&self, index: usize) {
        let logs = self.logs_in(index);
        self.write_checkpoint(index, RECOVERY_POINT_CHECKPOINT, logs.iter().map(|(tp, log)| (tp, log.recovery_point())));
        let moved = logs.iter().filter(|(_, log)| log.log_start_offset() > log.first_segment_base_offset());
        self.write_checkpoint(index, LOG_START_OFFSET_CHECKPOINT, moved.map(|(tp, log)| (tp, log.log_start_offset())));
    }

    fn checkpoint_dir_high_watermarks(&self, index: usize) {
        let logs = self.logs_in(index);
        self.write_checkpoint(index, HIGH_WATERMARK_CHECKPOINT, logs.iter().map(|(tp, log)| (tp, log.high_watermark())));
    }

    /// An idle node writes nothing: a checkpoint that would say the same is left as it is.
    fn write_checkpoint<'a>(&self, index: usize, name: &'static str, offsets: impl Iterator<Item = (&'a TopicPartition, i64)>) {
        let dir = &self.dirs[index];
        if !dir.health.is_online() {
            return;
        }
        let text = checkpoint::offsets_text(offsets);
        let mut written = dir.written_checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if written.get(name) != Some(&text) && dir.health.note(fs::write_atomically(&dir.path.join(name), text.as_bytes())).is_ok() {
            written.insert(name, text);
        }
    }

    /// Clean stop: flushes and closes every log, writes the checkpoints and last the clean-shutdown file. Appends must have stopped.
    pub fn shutdown(&self, broker_epoch: i64) {
        self.stop_cleaning();
        std::thread::scope(|scope| {
            for index in 0..self.dirs.len() {
                scope.spawn(move || self.shutdown_dir(index, broker_epoch));
            }
        });
    }

    fn shutdown_dir(&self, index: usize, broker_epoch: i64) {
        let dir = &self.dirs[index];
        if dir.health.is_online() {
            let logs = self.logs_in(index);
            let futures = self.future_replicas().into_iter().filter(|future| future.log.dir().parent() == Some(&dir.path));
            let logs: Vec<_> = logs.into_iter().chain(futures.map(|future| (future.topic_partition, future.log))).collect();
            let closed = logs.iter().try_for_each(|(_, log)| {
                let _paused = log.cleaning().abort_and_pause();
                log.flush().and_then(|()| log.close())
            });
            let was_loaded = dir.loaded.load(Ordering::Acquire);
            if closed.is_ok() && was_loaded {
                self.checkpoint_dir(index);
                if dir.health.is_online() {
                    let content = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
                    let _ = dir.health.note(fs::write_atomically(&dir.path.join(CLEAN_SHUTDOWN_FILE), content.as_bytes()));
                }
            }
        }
        dir.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
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
    if properties.node_id != options.node_id {
        return Err(OpenError::Inconsistent(format!(
            "stored node id {} doesn't match node.id {} in {}",
            properties.node_id,
            options.node_id,
            path.display()
        )));
    }
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
        checkpoints_are_stale: AtomicBool::new(false),
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

/// `<topic>-<partition>.<32 hex digits><suffix>`, the topic cut so that it fits a file name.
fn set_aside_name(topic_partition: &TopicPartition, suffix: &str) -> String {
    let mut random = Random::from_entropy();
    let unique = format!("{:016x}{:016x}", random.next_u64(), random.next_u64());
    let rest = format!("-{}.{unique}{suffix}", topic_partition.partition);
    let topic = &topic_partition.topic;
    // Topic names are ASCII; a foreign one is cut where it may be.
    let cut = (0..=topic.len().min(255 - rest.len())).rev().find(|&at| topic.is_char_boundary(at)).unwrap_or(0);
    format!("{}{rest}", &topic[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::clock::ManualClock;
    use crate::storage::log::tests::{START_MS, plain_batch, produce};

    struct Node {
        dirs: Vec<tempfile::TempDir>,
        clock: Arc<ManualClock>,
    }

    impl Node {
        fn new(count: u64) -> Node {
            let dirs: Vec<_> = (0..count).map(|_| tempfile::tempdir().expect("temporary directory")).collect();
            for (n, dir) in dirs.iter().enumerate() {
                let directory_id = Some(Uuid::from_u128(1000 + n as u128));
                let properties = MetaProperties { cluster_id: "cluster".to_owned(), node_id: 1, directory_id };
                properties.write(dir.path(), &java_date(0)).expect("written");
            }
            Node { dirs, clock: Arc::new(ManualClock::new(START_MS)) }
        }

        fn options(&self) -> LogDirsOptions {
            LogDirsOptions {
                dirs: self.dirs.iter().map(|dir| dir.path().to_owned()).collect(),
                node_id: 1,
                clock: self.clock.clone(),
                recovery_threads_per_data_dir: 2,
                producer_id_expiration_ms: 86_400_000,
            }
        }

        fn start(&self) -> LogDirs {
            let dirs = LogDirs::open(self.options()).expect("opened");
            dirs.load(&|_| Arc::new(LogConfig::default()));
            dirs
        }

        fn create(&self, dirs: &LogDirs, partition: i32) -> Arc<Log> {
            dirs.create(&tp(partition), Uuid::from_u128(5), None, Arc::new(LogConfig::default())).expect("created")
        }
    }

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    #[test]
    fn logs_survive_clean_and_unclean_stops() {
        let node = Node::new(2);
        let dirs = node.start();
        assert_eq!((dirs.cluster_id(), dirs.previous_broker_epoch()), ("cluster", -1));
        for partition in 0..4 {
            produce(&node.create(&dirs, partition), &plain_batch(START_MS, &["a", "b"]));
        }
        dirs.shutdown(42);
        drop(dirs);
        let checkpoint = fs::read(&node.dirs[0].path().join(RECOVERY_POINT_CHECKPOINT)).expect("read");
        assert_eq!(checkpoint, b"0\n2\nt 0 2\nt 2 2\n");
        let marker = fs::read(&node.dirs[1].path().join(CLEAN_SHUTDOWN_FILE)).expect("read");
        assert_eq!(marker, br#"{"version":0,"brokerEpoch":42}"#);

        let dirs = node.start();
        assert_eq!(dirs.previous_broker_epoch(), 42);
        assert!(dirs.had_clean_shutdown(node.dirs[0].path()));
        assert!(!fs::exists(&node.dirs[0].path().join(CLEAN_SHUTDOWN_FILE)));
        assert_eq!(dirs.logs().len(), 4);
        let log = dirs.log(&tp(3)).expect("loaded");
        assert_eq!((log.log_end_offset(), log.high_watermark(), log.topic_id()), (2, 2, Some(Uuid::from_u128(5))));
        produce(&log, &plain_batch(START_MS, &["c"]));
        drop((dirs, log));

        let dirs = node.start();
        assert_eq!((dirs.previous_broker_epoch(), dirs.had_clean_shutdown(node.dirs[0].path())), (-1, false));
        assert_eq!(dirs.log(&tp(3)).expect("recovered").log_end_offset(), 3);
    }

    #[test]
    fn a_partition_goes_to_the_directory_asked_for_or_the_emptiest() {
        let node = Node::new(2);
        let dirs = node.start();
        let second = Uuid::from_u128(1001);
        let config = || Arc::new(LogConfig::default());
        dirs.create(&tp(0), Uuid::from_u128(5), Some(second), config()).expect("created");
        assert_eq!(dirs.directory_of(&tp(0)), Some(second));
        node.create(&dirs, 1);
        assert_eq!(dirs.directory_of(&tp(1)), Some(Uuid::from_u128(1000)));
        let again = dirs.create(&tp(0), Uuid::from_u128(5), None, config()).expect("the same");
        assert!(Arc::ptr_eq(&again, &dirs.log(&tp(0)).expect("known")));
        let other = dirs.create(&tp(0), Uuid::from_u128(6), None, config());
        assert!(matches!(other, Err(LogDirsError::InconsistentTopicId { .. })));
    }

    #[test]
    fn a_deleted_partition_can_be_created_anew_at_once() {
        let node = Node::new(1);
        let dirs = node.start();
        produce(&node.create(&dirs, 0), &plain_batch(START_MS, &["old"]));
        let old = dirs.log(&tp(0)).expect("known");
        dirs.delete(&tp(0)).expect("deleted");
        assert!(dirs.log(&tp(0)).is_none());
        assert!(old.append_as_leader(&plain_batch(START_MS, &["late"]), 0, crate::storage::log::AppendOrigin::Client).is_err());
        assert_eq!(node.create(&dirs, 0).log_end_offset(), 0);
        let set_aside = || {
            let paths = fs::list(node.dirs[0].path()).expect("listed");
            paths.iter().filter(|path| path.to_str().is_some_and(|path| path.ends_with(DELETE_DIR_SUFFIX))).count()
        };
        dirs.remove_deleted();
        assert_eq!(set_aside(), 1);
        drop(dirs);
        let dirs = node.start();
        assert_eq!(dirs.logs().len(), 1);
        node.clock.advance(60_000);
        dirs.remove_deleted();
        assert_eq!(set_aside(), 0);
    }

    #[test]
    fn an_io_error_takes_one_directory_offline() {
        let node = Node::new(2);
        let dirs = node.start();
        (0..4).for_each(|partition| drop(node.create(&dirs, partition)));
        let log = dirs.log(&tp(0)).expect("known");
        fs::faults::fail_after(0);
        let failed = log.append_as_leader(&plain_batch(START_MS, &["a"]), 0, crate::storage::log::AppendOrigin::Client);
        fs::faults::clear();
        assert!(failed.is_err());
        assert_eq!(dirs.directories().iter().map(|dir| dir.online).collect::<Vec<_>>(), [false, true]);
        assert_eq!(dirs.logs().len(), 2);
        assert!(dirs.log(&tp(0)).is_none() && dirs.log(&tp(1)).is_some());
        dirs.shutdown(1);
        assert!(!fs::exists(&node.dirs[0].path().join(CLEAN_SHUTDOWN_FILE)));
        assert!(fs::exists(&node.dirs[1].path().join(CLEAN_SHUTDOWN_FILE)));
    }

    #[test]
    fn directories_of_others_are_refused() {
        let node = Node::new(1);
        let other_node = LogDirs::open(LogDirsOptions { node_id: 2, ..node.options() });
        assert!(matches!(other_node, Err(OpenError::Inconsistent(_))));
        fs::remove_file(&node.dirs[0].path().join("meta.properties")).expect("removed");
        assert!(matches!(LogDirs::open(node.options()), Err(OpenError::NotFormatted { .. })));
    }

    fn move_all(dirs: &LogDirs, partition: i32) -> Arc<Log> {
        while dirs.copy_to_future(&tp(partition), 300).expect("copied") > 0 {}
        dirs.promote_future(&tp(partition)).expect("promoted").expect("it has caught up")
    }

    #[test]
    fn a_replica_moves_to_another_directory_with_everything_it_has() {
        let node = Node::new(2);
        let dirs = node.start();
        let log = node.create(&dirs, 0);
        for n in 0..20 {
            produce(&log, &plain_batch(START_MS + n, &["a value"]));
        }
        log.delete_records_before(3).expect("deleted");
        let (from, to) = (node.dirs[0].path(), node.dirs[1].path());
        assert!(dirs.begin_move(&tp(0), to).expect("begun"));
        assert_eq!(dirs.copy_to_future(&tp(0), 100).expect("copied"), 100);
        let future = dirs.future_replicas().remove(0);
        assert!(future.offset_lag > 0 && future.log.dir().to_string_lossy().ends_with("-future"));
        assert!(dirs.promote_future(&tp(0)).expect("looked at").is_none());
        // What comes meanwhile is copied too, and who reads the old log is not disturbed.
        produce(&log, &plain_batch(START_MS, &["the last"]));
        let moved = move_all(&dirs, 0);
        assert_eq!((moved.log_start_offset(), moved.log_end_offset(), moved.high_watermark()), (3, 21, 21));
        assert_eq!((moved.dir(), moved.topic_id()), (to.join("t-0"), Some(Uuid::from_u128(5))));
        let read = |log: &Log| crate::storage::log::tests::records_from(log, 3, 500, crate::storage::log::FetchIsolation::LogEnd).len();
        assert_eq!((read(&log), read(&moved)), (18, 18));
        assert!(!fs::exists(&from.join("t-0")) && dirs.future_replicas().is_empty());
        assert!(dirs.directories().iter().all(|dir| dir.online));
        produce(&moved, &plain_batch(START_MS, &["after"]));
        dirs.shutdown(1);
        let dirs = node.start();
        assert_eq!((dirs.log(&tp(0)).expect("there").log_end_offset(), dirs.directory_of(&tp(0))), (22, Some(Uuid::from_u128(1001))));
    }

    #[test]
    fn a_move_goes_on_after_a_restart_and_ends_where_the_replica_is() {
        let node = Node::new(2);
        let dirs = node.start();
        let log = node.create(&dirs, 0);
        for n in 0..20 {
            produce(&log, &plain_batch(START_MS + n, &["a value"]));
        }
        assert!(dirs.begin_move(&tp(0), node.dirs[1].path()).expect("begun"));
        dirs.copy_to_future(&tp(0), 300).expect("copied");
        let copied = dirs.future_replicas()[0].log.log_end_offset();
        dirs.shutdown(1);
        let dirs = node.start();
        dirs.log(&tp(0)).expect("there").update_high_watermark(20);
        assert_eq!(dirs.future_replicas()[0].log.log_end_offset(), copied);
        assert_eq!(move_all(&dirs, 0).log_end_offset(), 20);
        // Back, and then not.
        assert!(dirs.begin_move(&tp(0), node.dirs[0].path()).expect("begun"));
        assert!(!dirs.begin_move(&tp(0), node.dirs[1].path()).expect("it is there"));
        assert!(dirs.future_replicas().is_empty() && dirs.log(&tp(0)).expect("there").cleaning().is_idle());
        let unknown = dirs.begin_move(&tp(0), Path::new("/nowhere"));
        assert!(matches!(unknown, Err(MoveError::UnknownDirectory(_))));
        assert!(matches!(dirs.begin_move(&tp(7), node.dirs[0].path()), Err(MoveError::NoReplica)));
    }

    #[test]
    fn of_two_logs_of_a_partition_the_longer_is_kept() {
        let node = Node::new(2);
        {
            let dirs = node.start();
            let log = node.create(&dirs, 0);
            produce(&log, &plain_batch(START_MS, &["a", "b"]));
            dirs.shutdown(1);
        }
        // What a crash between the two renames of a move leaves.
        let (from, to) = (node.dirs[0].path().join("t-0"), node.dirs[1].path().join("t-0"));
        fs::create_dir_all(&to).expect("created");
        fs::write(&to.join("partition.metadata"), &fs::read(&from.join("partition.metadata")).expect("read")).expect("written");
        let dirs = node.start();
        assert_eq!(dirs.log(&tp(0)).expect("there").log_end_offset(), 2);
        assert!(!fs::exists(&to));
    }

    #[test]
    fn names_set_aside_fit_a_file_name() {
        let name = set_aside_name(&TopicPartition::new("x".repeat(249), 7), DELETE_DIR_SUFFIX);
        assert_eq!(name.len(), 255);
        assert!(name.ends_with(DELETE_DIR_SUFFIX) && name.contains("-7."));
    }
}
