//! How a partition's log comes and goes. Sources: `LogManager.getOrCreateLog`, `LogManager.asyncDelete`.
//!
//! Many come and go at once, so each costs a few system calls and no sync: what must be durable is synced for all of them together, within
//! a second ([`LogDirs::remove_deleted`]).
//!
//! Invariant: a new partition never gets the recovery point or the high watermark of an older one of its name: the checkpoints are written
//! without the old one before the new one is there.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{DELETE_DIR_SUFFIX, Hosted, LogDirs, LogDirsError, MANY_FILES, STRAY_DIR_SUFFIX};
use crate::common::random::Random;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::storage::config::LogConfig;
use crate::storage::fs;
use crate::storage::log::{Log, LogOptions};

impl LogDirs {
    fn new_logs(&self) -> MutexGuard<'_, Vec<Arc<Log>>> {
        self.new_logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of a partition, created when it is missing: in the directory that [`LogDirs::begin_move`] was told, else in `directory` when
    /// that id names an online one, else in the online one with the fewest logs.
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
                    hosted.log.adopt_topic_id(topic_id)?;
                    self.new_logs().push(hosted.log.clone());
                    Ok(hosted.log.clone())
                }
            };
        }
        let online = || (0..self.dirs.len()).filter(|&index| self.dirs[index].health.is_online());
        let preferred = self.preferred().remove(topic_partition).filter(|&index| self.dirs[index].health.is_online());
        let wanted = || directory.and_then(|id| online().find(|&index| self.dirs[index].id == id));
        let emptiest = || {
            let futures = self.futures();
            online().min_by_key(|&index| logs.count_in(index) + futures.count_in(index))
        };
        let index = preferred.or_else(wanted).or_else(emptiest).ok_or(LogDirsError::AllOffline)?;
        let dir = &self.dirs[index];
        if dir.gone().contains(topic_partition) {
            drop(logs);
            self.checkpoint_dir(index)?;
            logs = self.hosted_mut();
        }
        let path = dir.path.join(topic_partition.to_string());
        // What is there already, if anything, nobody knows.
        let options = LogOptions { topic_id: Some(topic_id), ..self.log_options(dir, path, topic_partition, config) };
        let log = Arc::new(Log::open(options)?);
        self.new_logs().push(log.clone());
        logs.insert(topic_partition.clone(), Hosted { dir: index, log: log.clone() });
        Ok(log)
    }

    /// May a log that is missing be created? Not when there is one in a directory that has failed, or its directory has.
    pub fn can_create(&self, topic_partition: &TopicPartition, directory: Option<Uuid>) -> bool {
        let offline = |dir: &super::Dir| directory == Some(dir.id) && !dir.health.is_online();
        self.hosted().get(topic_partition).is_none() && !self.dirs.iter().any(offline) && self.dirs.iter().any(|dir| dir.health.is_online())
    }

    /// Takes the log away at once (directory renamed `…-delete`); its files are removed by [`LogDirs::remove_deleted`] after `file.delete.delay.ms`.
    pub fn delete(&self, topic_partition: &TopicPartition) -> Result<(), LogDirsError> {
        if let Some((hosted, path)) = self.set_aside(topic_partition, DELETE_DIR_SUFFIX)? {
            let due_ms = self.due_ms(hosted.log.config().file_delete_delay_ms);
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
        dir.gone().insert(topic_partition.clone());
        let log = hosted.log.clone();
        let _paused = log.cleaning().abort_and_pause();
        let path = dir.path.join(set_aside_name(topic_partition, suffix));
        let from = hosted.log.dir();
        hosted.log.mark_closed(path.clone());
        dir.health.note(fs::rename_unsynced(&from, &path))?;
        dir.renames_are_unsynced.store(true, Ordering::Release);
        Ok(Some((hosted, path)))
    }

    /// Unlinks deleted segments and partitions whose delay is over, and makes durable what partitions that came and went have left to be.
    /// Call about once a second.
    pub fn remove_deleted(&self) {
        let now_ms = self.options.clock.monotonic_ms();
        if self.chores.take_deletion(now_ms) {
            for log in self.logs() {
                if let Err(error) = log.remove_deleted_files() {
                    tracing::warn!(%error, "cannot remove a deleted segment");
                }
            }
        }
        let due: Vec<PathBuf> = self.deleted().extract_if(.., |(due_ms, _)| *due_ms <= now_ms).map(|(_, path)| path).collect();
        for path in due {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, "cannot remove a deleted partition");
            }
        }
        for (index, dir) in self.dirs.iter().enumerate() {
            self.sync_new(index);
            if !dir.gone().is_empty() {
                // What failed for want of space is tried again the next time.
                let _ = self.checkpoint_dir(index);
            }
        }
        self.checkpoint_truncated();
    }

    /// Syncs the topic ids of new partitions and the renames of deleted ones.
    pub(super) fn sync_new(&self, index: usize) {
        let dir = &self.dirs[index];
        let new_logs: Vec<Arc<Log>> = self.new_logs().extract_if(.., |log| log.dir().parent() == Some(&*dir.path)).collect();
        let (logs, mut paths): (Vec<_>, Vec<_>) = new_logs.iter().filter_map(|log| log.unsynced_topic_id().map(|path| (log, path))).unzip();
        if dir.renames_are_unsynced.swap(false, Ordering::AcqRel) {
            paths.push(dir.path.clone());
        }
        // A failure takes the directory offline.
        let sync = || if paths.len() > MANY_FILES { fs::sync_file_system(&dir.path) } else { fs::sync_together(&paths) };
        if !paths.is_empty() && dir.health.is_online() && dir.health.note(sync()).is_ok() {
            logs.iter().for_each(|log| log.topic_id_is_synced());
        }
    }
}

/// The name under which the log of a partition that the cluster does not have is set aside; another one each time.
pub(in crate::storage) fn stray_name(topic_partition: &TopicPartition) -> String {
    set_aside_name(topic_partition, STRAY_DIR_SUFFIX)
}

/// `<topic>-<partition>.<32 hex digits><suffix>`, the topic cut so that it fits a file name.
pub(super) fn set_aside_name(topic_partition: &TopicPartition, suffix: &str) -> String {
    let mut random = Random::from_entropy();
    let unique = format!("{:016x}{:016x}", random.next_u64(), random.next_u64());
    let rest = format!("-{}.{unique}{suffix}", topic_partition.partition);
    let topic = &topic_partition.topic;
    // Topic names are ASCII; a foreign one is cut where it may be.
    let cut = (0..=topic.len().min(255 - rest.len())).rev().find(|&at| topic.is_char_boundary(at)).unwrap_or(0);
    format!("{}{rest}", &topic[..cut])
}
