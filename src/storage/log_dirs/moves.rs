//! Moving a replica between the log directories of this node (KIP-113). Sources: `LogManager.replaceCurrentWithFutureLog`,
//! `ReplicaAlterLogDirsThread`.
//!
//! ```text
//!   A/t-0                         the current log, in use
//!   B/t-0.<unique>-future         the future log, filled from the current one
//!   B/t-0, A/t-0.<unique>-delete  when the future one has all and nobody appends: it is the current one
//! ```
//!
//! Invariant: a partition has at most one future log, and its current log is not compacted meanwhile: what was copied stays as it was.
//! Invariant: the future log takes the place of the current one only when it has every record of it and all of them are on disk.
//! Invariant: two current logs are what a crash between the two renames leaves; loading keeps the one that reaches further.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{DELETE_DIR_SUFFIX, FUTURE_DIR_SUFFIX, Hosted, LogDirs, LogDirsError, LogsByPartition, set_aside_name};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::records::Records;
use crate::storage::errors::{AppendError, ReadError, StorageError};
use crate::storage::fs;
use crate::storage::log::{FetchIsolation, Log, LogOptions, parse_topic_partition_name};

/// Why a replica cannot be moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error("{path} is not among the log directories", path = .0)]
    UnknownDirectory(String),
    #[error("the log directory is offline")]
    Offline,
    #[error("the name of the topic is too long for a directory that is marked as future")]
    NameTooLong,
    #[error("there is no replica of the partition here")]
    NoReplica,
    #[error(transparent)]
    LogDirs(#[from] LogDirsError),
    #[error("the future log cannot take what the current one has: {0}")]
    Copy(String),
}

impl From<StorageError> for MoveError {
    fn from(error: StorageError) -> MoveError {
        MoveError::LogDirs(LogDirsError::Storage(error))
    }
}

/// A replica on its way.
#[derive(Clone)]
pub struct FutureReplica {
    pub topic_partition: TopicPartition,
    pub log: Arc<Log>,
    /// Offsets that the current log has more.
    pub offset_lag: i64,
}

/// The partition of a directory named `<topic>-<partition>.<unique>-future`.
pub(super) fn parse_future_name(path: &Path) -> Option<TopicPartition> {
    let name = path.file_name()?.to_str()?.strip_suffix(FUTURE_DIR_SUFFIX)?;
    parse_topic_partition_name(Path::new(name.rsplit_once('.')?.0))
}

impl LogDirs {
    pub(super) fn futures(&self) -> MutexGuard<'_, LogsByPartition> {
        self.futures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn preferred(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, usize>> {
        self.preferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every replica on its way.
    pub fn future_replicas(&self) -> Vec<FutureReplica> {
        let futures: Vec<(TopicPartition, Arc<Log>)> =
            self.futures().iter().map(|(topic_partition, hosted)| (topic_partition.clone(), hosted.log.clone())).collect();
        let lag = |topic_partition: &TopicPartition, log: &Log| {
            self.log(topic_partition).map_or(0, |current| (current.log_end_offset() - log.log_end_offset()).max(0))
        };
        futures
            .into_iter()
            .map(|(topic_partition, log)| FutureReplica { offset_lag: lag(&topic_partition, &log), topic_partition, log })
            .collect()
    }

    /// Begins to move a replica to the log directory at `path`; true when there is something to copy. Where it is already, a move to
    /// another directory ends. A replica that is not here yet is created there when it comes, and is no replica until then.
    pub fn begin_move(&self, topic_partition: &TopicPartition, path: &Path) -> Result<bool, MoveError> {
        const LONGEST_UNIQUE: usize = 1 + 32;
        // Of replicas that may never come.
        const MOST_PREFERRED: usize = 100_000;
        let name_len = topic_partition.to_string().len() + LONGEST_UNIQUE + FUTURE_DIR_SUFFIX.len();
        if name_len > 255 {
            return Err(MoveError::NameTooLong);
        }
        let same = |known: &Path| known == path || std::path::absolute(known).is_ok_and(|known| known == path);
        let Some(wanted) = self.dirs.iter().position(|dir| same(&dir.path)) else {
            return Err(MoveError::UnknownDirectory(path.display().to_string()));
        };
        if !self.dirs[wanted].health.is_online() {
            return Err(MoveError::Offline);
        }
        let current = {
            let logs = self.hosted();
            let Some(current) = logs.get(topic_partition) else {
                let mut preferred = self.preferred();
                if preferred.len() < MOST_PREFERRED {
                    preferred.insert(topic_partition.clone(), wanted);
                }
                return Err(MoveError::NoReplica);
            };
            current.clone()
        };
        if !self.is_online(&current) {
            return Err(MoveError::Offline);
        }
        if self.futures().get(topic_partition).is_some_and(|future| future.dir == wanted) {
            return Ok(true);
        }
        self.cancel_move(topic_partition)?;
        if current.dir == wanted {
            return Ok(false);
        }
        // A future log elsewhere that cannot be seen now would come back with its directory.
        if self.dirs.iter().any(|dir| !dir.health.is_online()) {
            return Err(MoveError::Offline);
        }
        let dir = &self.dirs[wanted];
        let future_path = dir.path.join(set_aside_name(topic_partition, FUTURE_DIR_SUFFIX));
        let options = self.log_options(dir, future_path, topic_partition, current.log.config());
        let log = Arc::new(Log::open(LogOptions { topic_id: current.log.topic_id(), had_clean_shutdown: true, ..options })?);
        self.adopt_future(topic_partition, Hosted { dir: wanted, log });
        Ok(true)
    }

    /// Makes `future` known and keeps the cleaner away from what it is a copy of.
    pub(super) fn adopt_future(&self, topic_partition: &TopicPartition, future: Hosted) {
        if let Some(current) = self.log(topic_partition) {
            current.cleaning().pause();
        }
        self.futures().insert(topic_partition.clone(), future);
    }

    /// Ends a move that is not done; what was copied goes.
    pub fn cancel_move(&self, topic_partition: &TopicPartition) -> Result<(), MoveError> {
        let Some(future) = self.futures().remove(topic_partition) else { return Ok(()) };
        if let Some(current) = self.log(topic_partition) {
            current.cleaning().resume();
        }
        self.discard(topic_partition, &future)
    }

    /// Renames a log's directory for deletion.
    fn discard(&self, topic_partition: &TopicPartition, hosted: &Hosted) -> Result<(), MoveError> {
        let dir = &self.dirs[hosted.dir];
        let from = hosted.log.dir();
        let path = dir.path.join(set_aside_name(topic_partition, DELETE_DIR_SUFFIX));
        hosted.log.mark_closed(path.clone());
        dir.health.note(fs::rename(&from, &path))?;
        dir.gone().insert(topic_partition.clone());
        let due_ms = self.due_ms(hosted.log.config().file_delete_delay_ms);
        self.deleted().push((due_ms, path));
        Ok(())
    }

    /// Copies up to about `max_bytes` from the current log to the future one; gives how many, 0 when there is nothing more.
    pub fn copy_to_future(&self, topic_partition: &TopicPartition, max_bytes: usize) -> Result<usize, MoveError> {
        let Some(future) = self.futures().get(topic_partition).map(|hosted| hosted.log.clone()) else { return Ok(0) };
        let Some(current) = self.log(topic_partition) else {
            self.cancel_move(topic_partition)?;
            return Ok(0);
        };
        let (start, end) = (current.log_start_offset(), current.log_end_offset());
        if future.log_end_offset() > end {
            // The current log was cut, as a follower's may be.
            future.truncate_to(end)?;
        }
        if future.log_end_offset() < start {
            future.truncate_fully_and_start_at(start)?;
        }
        let offset = future.log_end_offset();
        let read = match current.read(offset, max_bytes, true, FetchIsolation::LogEnd) {
            Ok(read) => read,
            Err(ReadError::OffsetOutOfRange { .. }) => return Ok(1),
            Err(ReadError::Storage(error)) => return Err(error.into()),
        };
        let bytes = match read.records {
            Records::Bytes(bytes) => bytes.to_vec(),
            Records::File(slice) => {
                let mut bytes = vec![0; slice.len];
                let read = fs::read_at(&slice.file, &current.dir(), &mut bytes, slice.position)?;
                bytes.truncate(read);
                bytes
            }
        };
        if !bytes.is_empty() {
            // The last batch may be cut; what the read began with is whole.
            match future.append_as_follower(&bytes) {
                Ok(_) => {}
                Err(AppendError::Storage(error)) => return Err(error.into()),
                Err(error) => return Err(MoveError::Copy(error.to_string())),
            }
        }
        future.maybe_increment_high_watermark(current.high_watermark());
        future.maybe_increment_log_start_offset(start)?;
        Ok(bytes.len())
    }

    /// Puts the future log in the place of the current one if it has everything. The caller keeps appends away. Gives the new current
    /// log.
    pub fn promote_future(&self, topic_partition: &TopicPartition) -> Result<Option<Arc<Log>>, MoveError> {
        let Some(future) = self.futures().get(topic_partition).cloned() else { return Ok(None) };
        let Some(current) = self.hosted().get(topic_partition).cloned() else { return Ok(None) };
        if future.log.log_end_offset() != current.log.log_end_offset() {
            return Ok(None);
        }
        let dir = &self.dirs[future.dir];
        future.log.flush()?;
        let (high_watermark, cleaned_to) = (current.log.high_watermark(), current.log.cleaning().cleaned_to());
        let log_start_offset = current.log.log_start_offset();
        let config = current.log.config();
        future.log.close()?;
        // Who reads the current log may go on with the files that are open.
        current.log.pin_files()?;
        let path = dir.path.join(topic_partition.to_string());
        dir.health.note(fs::rename(&future.log.dir(), &path))?;
        let options = LogOptions {
            log_start_offset,
            recovery_point: future.log.recovery_point(),
            had_clean_shutdown: true,
            ..self.log_options(dir, path, topic_partition, config)
        };
        let log = Arc::new(Log::open(options)?);
        log.update_high_watermark(high_watermark);
        log.cleaning().set_cleaned_to(cleaned_to);
        self.hosted_mut().insert(topic_partition.clone(), Hosted { dir: future.dir, log: log.clone() });
        self.futures().remove(topic_partition);
        self.discard(topic_partition, &current)?;
        // Its checkpoints are to tell of the partition soon.
        dir.gone().insert(topic_partition.clone());
        tracing::info!(%topic_partition, from = %self.dirs[current.dir].path.display(), to = %dir.path.display(), "moved the replica");
        Ok(Some(log))
    }
}
