//! Which log is compacted next, by whom, and how far each is. Source: `LogCleanerManager`.
//!
//! Invariant: two threads never choose the same log; the choice itself is made by one at a time.
//! Invariant: `cleaner-offset-checkpoint` never says more than is compacted and durable.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{Hosted, LogDirs};
use crate::common::topic_partition::TopicPartition;
use crate::storage::checkpoint::CLEANER_OFFSET_CHECKPOINT;
use crate::storage::cleaner::{self, CleanError, Cleanable, Cleaner, CleanerConfig, Throttle};
use crate::storage::errors::StorageError;
use crate::storage::log::Log;

/// What the cleaner's metrics tell (`kafka.log:type=LogCleaner` and `LogCleanerManager`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CleanerMetrics {
    /// `max-dirty-percent`: of the dirtiest log.
    pub max_dirty_percent: f64,
    /// Wall-clock time of the last choice, ms; 0 before the first.
    pub last_run_ms: i64,
    /// Of the last round: bytes written of bytes read, percent.
    pub recopy_percent: f64,
    /// Of the last round: how long it took, ms.
    pub clean_time_ms: u64,
    /// Of the last round: how full the offset map was, percent.
    pub buffer_utilization_percent: f64,
    /// How far a log is behind `max.compaction.lag.ms`, ms.
    pub max_compaction_delay_ms: i64,
    /// Partitions that cannot be cleaned, by directory.
    pub uncleanable: Vec<(std::path::PathBuf, Vec<TopicPartition>)>,
}

/// What the cleaning threads share.
pub(super) struct Cleaners {
    config: RwLock<Arc<CleanerConfig>>,
    throttle: Throttle,
    choosing: Mutex<()>,
    stopping: AtomicBool,
    metrics: Mutex<CleanerMetrics>,
}

impl Default for Cleaners {
    fn default() -> Cleaners {
        Cleaners {
            config: RwLock::default(),
            throttle: Throttle::new(),
            choosing: Mutex::default(),
            stopping: AtomicBool::new(false),
            metrics: Mutex::default(),
        }
    }
}

impl LogDirs {
    /// Sets `log.cleaner.*`; what runs goes on as it began.
    pub fn configure_cleaner(&self, config: CleanerConfig) {
        let mut current = self.cleaners.config.write().unwrap_or_else(PoisonError::into_inner);
        if **current != config {
            *current = Arc::new(config);
        }
    }

    pub(super) fn cleaner_config(&self) -> Arc<CleanerConfig> {
        self.cleaners.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes every cleaning end soon, and no other begin.
    pub fn stop_cleaning(&self) {
        self.cleaners.stopping.store(true, Ordering::Release);
        for hosted in self.hosted().values() {
            hosted.log.cleaning().abort();
        }
    }

    /// Compacts the log that needs it most; false when none does, or it cannot be done now. Call again until false, then after
    /// `log.cleaner.backoff.ms`. Up to `log.cleaner.threads` callers at a time.
    pub fn clean(&self) -> bool {
        let cleaned = !self.cleaners.stopping.load(Ordering::Acquire) && self.clean_filthiest();
        self.delete_old_segments_of_compacted();
        cleaned
    }

    fn clean_filthiest(&self) -> bool {
        let choosing = self.cleaners.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((hosted, cleanable)) = self.filthiest() else { return false };
        let Some(running) = hosted.log.cleaning().begin() else { return false };
        drop(choosing);
        let gets_ahead = self.clean_log(&hosted, &cleanable);
        drop(running);
        // What it does not say is compacted once more.
        let _ = self.checkpoint_dir_cleaned(hosted.dir);
        gets_ahead
    }

    fn filthiest(&self) -> Option<(Hosted, Cleanable)> {
        let now_ms = self.options.clock.now_ms();
        let compacted: Vec<Hosted> = {
            let wanted = |hosted: &&Hosted| {
                let cleaning = hosted.log.cleaning();
                self.is_online(hosted) && hosted.log.config().cleanup_policy.compact && cleaning.is_idle() && !cleaning.is_uncleanable()
            };
            self.hosted().values().filter(wanted).cloned().collect()
        };
        let (mut filthiest, mut max_ratio, mut max_overdue_ms) = (None::<(f64, Hosted, Cleanable)>, 0.0f64, 0);
        for hosted in compacted {
            let Ok(found) = self.dirs[hosted.dir].health.note(cleaner::cleanable(&hosted.log, now_ms)) else { continue };
            if found.checkpoint_is_invalid {
                let start = found.first_dirty_offset;
                tracing::warn!(topic_partition = %hosted.log.topic_partition(), start, "the cleaner's checkpoint lies outside the log");
                hosted.log.cleaning().set_cleaned_to(Some(start));
            }
            let ratio = found.dirty_ratio();
            (max_ratio, max_overdue_ms) = (max_ratio.max(ratio), max_overdue_ms.max(found.overdue_ms));
            let is_wanted = found.is_wanted(hosted.log.config().min_cleanable_dirty_ratio);
            if is_wanted && filthiest.as_ref().is_none_or(|(known, ..)| ratio > *known) {
                filthiest = Some((ratio, hosted, found));
            }
        }
        self.metrics(|metrics| {
            metrics.max_dirty_percent = 100.0 * max_ratio;
            metrics.max_compaction_delay_ms = max_overdue_ms;
            metrics.last_run_ms = now_ms;
        });
        filthiest.map(|(_, hosted, found)| (hosted, found))
    }

    /// True when more of the log is clean than before.
    fn clean_log(&self, hosted: &Hosted, cleanable: &Cleanable) -> bool {
        let (log, clock) = (&hosted.log, &self.options.clock);
        let topic_partition = log.topic_partition();
        let (config, began_ms) = (self.cleaner_config(), clock.monotonic_ms());
        let cleaner = Cleaner { config: &config, throttle: &self.cleaners.throttle, clock: &**clock, stopping: &self.cleaners.stopping };
        match cleaner.clean(log, cleanable) {
            Ok(round) => {
                log.cleaning().on_cleaned(round.end_offset);
                let (counts, clean_time_ms) = (round.counts, clock.monotonic_ms() - began_ms);
                tracing::info!(
                    %topic_partition,
                    from = cleanable.first_dirty_offset,
                    to = round.end_offset,
                    bytes_before = counts.bytes_read,
                    bytes_after = counts.bytes_kept,
                    records_before = counts.records_read,
                    records_after = counts.records_kept,
                    map_bytes = round.map_bytes_read,
                    ms = clean_time_ms,
                    "compacted the log"
                );
                if counts.without_key > 0 {
                    tracing::info!(%topic_partition, count = counts.without_key, "records without a key were removed");
                }
                self.metrics(|metrics| {
                    metrics.recopy_percent = 100.0 * counts.bytes_kept as f64 / counts.bytes_read.max(1) as f64;
                    metrics.clean_time_ms = clean_time_ms;
                    metrics.buffer_utilization_percent = 100.0 * round.buffer_utilization;
                });
                round.end_offset > cleanable.first_dirty_offset
            }
            Err(CleanError::Aborted) => {
                tracing::info!(%topic_partition, "the cleaning of the log was given up");
                false
            }
            Err(CleanError::Storage(error)) => {
                if error.is_full() {
                    tracing::warn!(%topic_partition, %error, "no space to compact the log; it is tried again later");
                }
                // Takes the directory offline.
                let _: Result<(), _> = self.dirs[hosted.dir].health.note_unless_full(Err(error));
                false
            }
            Err(error @ (CleanError::Unreadable { .. } | CleanError::TooLarge { .. })) => {
                tracing::error!(%topic_partition, %error, "the log cannot be compacted; it is left alone until a restart");
                log.cleaning().mark_uncleanable();
                false
            }
        }
    }

    /// Retention of the logs that the cleaner has nothing to do with (`log.retention.check.interval.ms`); gives the number of segments
    /// deleted.
    pub fn delete_old_segments(&self) -> usize {
        let cleaner_deletes = self.cleaner_config().enable;
        let mine = |log: &&Arc<Log>| !(cleaner_deletes && log.config().cleanup_policy.compact);
        // A failure has taken its directory offline, which is all there is to do about it.
        self.logs().iter().filter(mine).filter_map(|log| log.delete_old_segments().ok()).sum()
    }

    /// As the cleaner goes along: a log that it works on keeps its segments until it is done.
    fn delete_old_segments_of_compacted(&self) {
        for log in self.logs().iter().filter(|log| log.config().cleanup_policy.compact) {
            if self.cleaners.stopping.load(Ordering::Acquire) {
                return;
            }
            if let Some(_running) = log.cleaning().begin() {
                // A failure has taken its directory offline.
                let _ = log.delete_old_segments();
            }
        }
    }

    /// Who was truncated is less clean than the checkpoint says.
    pub(super) fn checkpoint_truncated(&self) {
        if !self.chores.take_truncation() {
            return;
        }
        let is_stale = |hosted: &&Hosted| hosted.log.cleaning().take_checkpoint_is_stale();
        let stale: std::collections::BTreeSet<usize> = self.hosted().values().filter(is_stale).map(|hosted| hosted.dir).collect();
        stale.into_iter().for_each(|index| drop(self.checkpoint_dir_cleaned(index)));
    }

    pub(super) fn checkpoint_dir_cleaned(&self, index: usize) -> Result<(), StorageError> {
        let logs = self.logs_in(index);
        let cleaned = logs.iter().filter_map(|(topic_partition, log)| Some((topic_partition, log.cleaning().cleaned_to()?)));
        self.write_checkpoint(index, CLEANER_OFFSET_CHECKPOINT, cleaned)
    }

    fn metrics(&self, update: impl FnOnce(&mut CleanerMetrics)) {
        update(&mut self.cleaners.metrics.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// For the metrics endpoint.
    pub fn cleaner_metrics(&self) -> CleanerMetrics {
        let mut metrics = self.cleaners.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone();
        metrics.uncleanable = self
            .dirs
            .iter()
            .enumerate()
            .map(|(index, dir)| {
                let logs = self.logs_in(index).into_iter().filter(|(_, log)| log.cleaning().is_uncleanable());
                (dir.path.clone(), logs.map(|(topic_partition, _)| topic_partition).collect())
            })
            .collect();
        metrics
    }
}
