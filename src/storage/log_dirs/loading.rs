//! Opening every log of every directory at a start: several directories at once, several logs of each
//! (`num.recovery.threads.per.data.dir`). Source: `LogManager.loadLogs`.
//!
//! Invariant: an error ends the loading of its directory, which goes offline, and of no other.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    CLEAN_SHUTDOWN_FILE, CLEANER_OFFSET_CHECKPOINT, CLUSTER_METADATA_DIR, DELETE_DIR_SUFFIX, Dir, FUTURE_DIR_SUFFIX,
    HIGH_WATERMARK_CHECKPOINT, Hosted, LOG_START_OFFSET_CHECKPOINT, LogDirs, RECOVERY_POINT_CHECKPOINT, REMOTE_LOG_INDEX_CACHE,
    STRAY_DIR_SUFFIX, checkpoint, moves, set_aside_name,
};
use crate::common::topic_partition::TopicPartition;
use crate::storage::config::LogConfig;
use crate::storage::errors::StorageError;
use crate::storage::fs;
use crate::storage::load_progress::LoadProgress;
use crate::storage::log::{Log, LogOptions, parse_topic_partition_name};

/// Time between two lines in the program's log while logs are loaded.
const SAY_EVERY_MS: u64 = 1000;

/// Gives the config of a topic.
pub(super) type Configs<'a> = &'a (dyn Fn(&str) -> Arc<LogConfig> + Sync);

/// What the checkpoints of a directory say.
struct Checkpoints {
    recovery_points: BTreeMap<TopicPartition, i64>,
    log_start_offsets: BTreeMap<TopicPartition, i64>,
    high_watermarks: BTreeMap<TopicPartition, i64>,
    cleaned_to: BTreeMap<TopicPartition, i64>,
}

impl Checkpoints {
    fn read(dir: &Dir) -> Result<Checkpoints, StorageError> {
        let read = |name| checkpoint::read_offsets_or_none(&dir.path.join(name));
        Ok(Checkpoints {
            recovery_points: read(RECOVERY_POINT_CHECKPOINT)?,
            log_start_offsets: read(LOG_START_OFFSET_CHECKPOINT)?,
            high_watermarks: read(HIGH_WATERMARK_CHECKPOINT)?,
            cleaned_to: read(CLEANER_OFFSET_CHECKPOINT)?,
        })
    }
}

/// Logs found in a directory.
type Found = Vec<(PathBuf, TopicPartition)>;

impl LogDirs {
    /// Loads every partition's log, in parallel. `config` gives a topic's config. A directory that fails goes offline.
    pub fn load(&self, config: Configs<'_>) {
        std::thread::scope(|scope| {
            for index in 0..self.dirs.len() {
                scope.spawn(move || {
                    let dir = &self.dirs[index];
                    // Here no space is an error like any other: what is loaded by half must not be written to.
                    if dir.health.check().is_ok() && dir.health.note(self.load_dir(index, config)).is_ok() {
                        dir.loaded.store(true, Ordering::Release);
                    }
                });
            }
        });
        let loaded = self.options.progress.now();
        if loaded.segments_recovered > 0 {
            tracing::info!("recovery read {} bytes of {} segments", loaded.bytes_recovered, loaded.segments_recovered);
        }
        for future in self.future_replicas() {
            if let Some(current) = self.log(&future.topic_partition) {
                current.cleaning().pause();
            }
        }
    }

    fn load_dir(&self, index: usize, config: Configs<'_>) -> Result<(), StorageError> {
        let dir = &self.dirs[index];
        let began_ms = self.options.clock.monotonic_ms();
        // From here on a crash leaves an unclean directory.
        fs::remove_file(&dir.path.join(CLEAN_SHUTDOWN_FILE))?;
        let checkpoints = Checkpoints::read(dir)?;
        let (found, futures) = self.find_logs(dir)?;
        let (count, path, progress) = (found.len(), dir.path.display(), &self.options.progress);
        progress.logs_found.fetch_add((count + futures.len()) as u64, Ordering::AcqRel);
        if count > 0 {
            match dir.had_clean_shutdown {
                true => tracing::info!("skipping recovery of {count} logs from {path} since clean shutdown file was found"),
                false => tracing::info!("recovering {count} logs from {path} since no clean shutdown file was found"),
            }
        }
        let (next, loaded, said_ms) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(began_ms));
        let has_failed = AtomicBool::new(false);
        let work = || -> Result<(), StorageError> {
            while let Some((path, topic_partition)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                if has_failed.load(Ordering::Acquire) {
                    return Ok(());
                }
                self.load_log(index, path, topic_partition, &checkpoints, config)
                    .inspect_err(|_| has_failed.store(true, Ordering::Release))?;
                progress.logs_loaded.fetch_add(1, Ordering::AcqRel);
                self.say_how_far(dir, loaded.fetch_add(1, Ordering::Relaxed) + 1, count, &said_ms, progress);
            }
            Ok(())
        };
        let work = &work;
        let threads = self.options.recovery_threads_per_data_dir.clamp(1, count.max(1));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let results: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect();
            results.into_iter().collect::<Result<(), _>>()
        })?;
        for (path, topic_partition) in futures {
            let options = self.log_options(dir, path, &topic_partition, config(&topic_partition.topic));
            let log = Log::load(LogOptions { had_clean_shutdown: dir.had_clean_shutdown, ..options })?;
            self.futures().insert(topic_partition, Hosted { dir: index, log: Arc::new(log) });
            progress.logs_loaded.fetch_add(1, Ordering::AcqRel);
        }
        if count > 0 {
            tracing::info!("loaded {count} logs from {path} in {} ms", self.options.clock.monotonic_ms().saturating_sub(began_ms));
        }
        Ok(())
    }

    /// The logs in a directory, and the replicas on their way there; what is to be deleted is noted.
    fn find_logs(&self, dir: &Dir) -> Result<(Found, Found), StorageError> {
        let (mut found, mut futures) = (Found::new(), Found::new());
        for path in fs::list_dirs(&dir.path)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            if name == CLUSTER_METADATA_DIR || name == REMOTE_LOG_INDEX_CACHE {
                continue;
            }
            if name.ends_with(DELETE_DIR_SUFFIX) {
                self.deleted().push((self.due_ms(LogConfig::default().file_delete_delay_ms), path));
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
        Ok((found, futures))
    }

    fn load_log(
        &self,
        index: usize,
        path: &std::path::Path,
        topic_partition: &TopicPartition,
        checkpoints: &Checkpoints,
        config: Configs<'_>,
    ) -> Result<(), StorageError> {
        let dir = &self.dirs[index];
        let log = Log::load(LogOptions {
            log_start_offset: checkpoints.log_start_offsets.get(topic_partition).copied().unwrap_or(0),
            recovery_point: checkpoints.recovery_points.get(topic_partition).copied().unwrap_or(0),
            had_clean_shutdown: dir.had_clean_shutdown,
            was_compacted: checkpoints.cleaned_to.contains_key(topic_partition),
            ..self.log_options(dir, path.to_owned(), topic_partition, config(&topic_partition.topic))
        })?;
        log.update_high_watermark(checkpoints.high_watermarks.get(topic_partition).copied().unwrap_or(0));
        log.cleaning().set_cleaned_to(checkpoints.cleaned_to.get(topic_partition).copied());
        let mut logs = self.hosted_mut();
        let mut loaded = Hosted { dir: index, log: Arc::new(log) };
        let Some(other) = logs.remove(topic_partition) else {
            logs.insert(topic_partition.clone(), loaded);
            return Ok(());
        };
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
        self.dirs[loaded.dir].health.note(fs::rename(&from, &path))
    }

    /// A line now and then, where nobody is shown the same in another way.
    fn say_how_far(&self, dir: &Dir, loaded: usize, count: usize, said_ms: &Mutex<u64>, progress: &LoadProgress) {
        if progress.is_shown.load(Ordering::Relaxed) {
            return;
        }
        let now_ms = self.options.clock.monotonic_ms();
        let mut said_ms = said_ms.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.saturating_sub(*said_ms) >= SAY_EVERY_MS {
            *said_ms = now_ms;
            let what = if dir.had_clean_shutdown { "loaded" } else { "recovered" };
            tracing::info!("{what} {loaded} of {count} logs from {}", dir.path.display());
        }
    }
}
