//! Compaction: of each key the last record stays. Sources: `Cleaner`, `LogCleaner`, `LogCleanerManager`, KIP-354, KIP-534.
//!
//! ```text
//!   | clean (compacted before) | dirty                     | not yet: active segment, open transactions, min.compaction.lag.ms
//!   log start                  first dirty offset          end
//! ```
//!
//! A round: the keys of the dirty part are read into a map of last offsets ([`offset_map`], bounded by `log.cleaner.dedupe.buffer.size`: a
//! dirtier log takes several rounds); then all segments before its end are rewritten without what a later record replaces, small neighbours
//! into one. Which records stay is decided in [`survivors`] and [`transactions`], which are pure. A new segment is written as `.cleaned`,
//! renamed `.swap`, then in place of the originals; [`super::loader`] finishes or undoes what a crash leaves.
//!
//! Invariant: a crash at any moment leaves the old segments of a group or the new one, never a mixture: the new one reaches exactly as far
//! as the old ones, which is how the loader knows what it replaces.
//! Invariant: a record goes only when what it goes for is synced: the later one of its key, or the marker that aborted it. (Kafka does not wait.)
//! Invariant: nothing at or above the last stable offset is touched, nor the active segment.
//! Invariant: a log that was truncated since its cleaning began keeps its segments; the cleaning begins again later.
//! Invariant: what cannot be read is never written anew: the partition is marked uncleanable and left alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::clock::Clock;
use crate::protocol::batch::{BatchError, BatchView, Batches};

use super::errors::StorageError;
use super::fs;
use super::loader::{CLEANED_SUFFIX, segment_files};
use super::log::Log;
use super::segment::{Segment, StampedBatch};

mod offset_map;
mod selection;
pub(super) mod state;
mod survivors;
mod throttle;
mod transactions;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod swap_tests;
#[cfg(test)]
pub(super) mod tests;

use offset_map::OffsetMap;
pub(super) use selection::{Cleanable, cleanable};
use survivors::{Counts, LastRecord, Survivors};
pub(super) use throttle::Throttle;
use transactions::Transactions;

/// `log.cleaner.*`, for all threads together.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`.
    pub enable: bool,
    /// `log.cleaner.threads`.
    pub threads: usize,
    /// `log.cleaner.dedupe.buffer.size`.
    pub dedupe_buffer_size_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`.
    pub dedupe_buffer_load_factor: f64,
    /// `log.cleaner.io.buffer.size`.
    pub io_buffer_size_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`.
    pub io_max_bytes_per_second: f64,
}

impl Default for CleanerConfig {
    /// Kafka's defaults.
    fn default() -> CleanerConfig {
        CleanerConfig {
            enable: true,
            threads: 1,
            dedupe_buffer_size_bytes: 128 << 20,
            dedupe_buffer_load_factor: 0.9,
            io_buffer_size_bytes: 512 << 10,
            io_max_bytes_per_second: f64::MAX,
        }
    }
}

/// Why a round came to no end.
#[derive(Debug, thiserror::Error)]
pub(super) enum CleanError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the log is truncated, moved or deleted, or the broker stops")]
    Aborted,
    #[error("{path} cannot be read at byte {position}: {error}", path = .path.display())]
    Unreadable { path: PathBuf, position: u64, error: BatchError },
    #[error("the compacted segment {path} would be larger than 2147483647 bytes", path = .path.display())]
    TooLarge { path: PathBuf },
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Round {
    /// Everything below is clean now.
    pub(super) end_offset: i64,
    pub(super) counts: Counts,
    /// Bytes read to find the keys.
    pub(super) map_bytes_read: u64,
    /// How full the map was, 0 to 1.
    pub(super) buffer_utilization: f64,
}

/// What a thread cleans with.
pub(super) struct Cleaner<'a> {
    pub(super) config: &'a CleanerConfig,
    pub(super) throttle: &'a Throttle,
    pub(super) clock: &'a dyn Clock,
    /// The broker ends.
    pub(super) stopping: &'a AtomicBool,
}

impl Cleaner<'_> {
    /// One round over a log. The caller holds [`state::Running`].
    pub(super) fn clean(&self, log: &Log, cleanable: &Cleanable) -> Result<Round, CleanError> {
        match self.run(log, cleanable) {
            // A segment that was cut or taken away under the reader looks torn.
            Err(_) if self.is_aborted(log) => Err(CleanError::Aborted),
            result => result,
        }
    }

    fn run(&self, log: &Log, cleanable: &Cleanable) -> Result<Round, CleanError> {
        let truncations = log.truncations();
        let segments = log.all_segments();
        let mut aborted = Vec::new();
        for segment in &segments {
            segment.collect_aborted(i64::MIN, i64::MAX, &mut aborted)?;
        }
        // The active segment is never among them.
        let whole = |segment: &&Arc<Segment>| segment.base_offset() < cleanable.end_offset;
        let inactive: Vec<Arc<Segment>> = segments[..segments.len().saturating_sub(1)].iter().filter(whole).cloned().collect();
        let mut round = Round { end_offset: cleanable.first_dirty_offset, ..Round::default() };
        let map = self.read_keys(log, &inactive, cleanable, Transactions::new(aborted.clone()), &mut round)?;
        if map.latest_offset() < cleanable.first_dirty_offset {
            return Ok(round);
        }
        // What replaces a record, or decided about it, may lie in a segment that is not synced yet.
        log.flush()?;
        let config = log.config();
        let mut survivors = Survivors {
            map: &map,
            transactions: Transactions::new(aborted),
            last_records: Default::default(),
            now_ms: self.clock.now_ms(),
            delete_retention_ms: config.delete_retention_ms,
            keep_batch_before: 0,
            counts: Counts::default(),
        };
        let rewritten: Vec<Arc<Segment>> =
            inactive.iter().filter(|segment| segment.base_offset() <= map.latest_offset()).cloned().collect();
        let (max_bytes, max_index_bytes) = (config.segment_bytes.max(0) as u64, config.segment_index_bytes.max(0) as u64);
        for group in groups(&rewritten, max_bytes, max_index_bytes, cleanable.end_offset) {
            self.clean_group(log, &group, &mut survivors, truncations)?;
        }
        round.end_offset = map.latest_offset() + 1;
        round.counts = survivors.counts;
        round.buffer_utilization = map.utilization();
        Ok(round)
    }

    fn is_aborted(&self, log: &Log) -> bool {
        self.stopping.load(Ordering::Acquire) || log.cleaning().is_aborted()
    }

    /// Between two pieces of work of `bytes`: waits for the budget, and ends when it must.
    fn pause(&self, log: &Log, bytes: usize) -> Result<(), CleanError> {
        let wait_ms = self.throttle.observe(bytes as u64, self.config.io_max_bytes_per_second, self.clock.monotonic_ms());
        if wait_ms > 0 && !self.is_aborted(log) {
            log.cleaning().sleep(Duration::from_millis(wait_ms));
        }
        if self.is_aborted(log) { Err(CleanError::Aborted) } else { Ok(()) }
    }

    /// Calls `visit` with each batch of `[from, to)`; an error when there is something else.
    fn visit(
        &self,
        log: &Log,
        segment: &Segment,
        (from, to): (u64, u64),
        mut visit: impl FnMut(&BatchView<'_>) -> Result<bool, CleanError>,
    ) -> Result<(), CleanError> {
        segment.visit_whole_batches(from, to, |batch, position| {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Err(CleanError::Unreadable { path: segment.path().to_owned(), position, error }),
            };
            self.pause(log, batch.bytes().len())?;
            visit(&batch).map_err(|error| match error {
                CleanError::Unreadable { path, error, .. } => CleanError::Unreadable { path, position, error },
                other => other,
            })
        })
    }

    /// The dirty part's keys, as many as fit.
    fn read_keys(
        &self,
        log: &Log,
        segments: &[Arc<Segment>],
        cleanable: &Cleanable,
        mut transactions: Transactions,
        round: &mut Round,
    ) -> Result<OffsetMap, CleanError> {
        let memory_bytes = self.config.dedupe_buffer_size_bytes / self.config.threads.max(1) as u64;
        let mut map = OffsetMap::new(memory_bytes, self.config.dedupe_buffer_load_factor);
        for (n, segment) in segments.iter().enumerate() {
            let next = segments.get(n + 1).map_or(cleanable.end_offset, |next| next.base_offset());
            if next <= cleanable.first_dirty_offset {
                continue;
            }
            let size = segment.size_bytes();
            let mut is_full = false;
            if let Some(start) = segment.translate_offset(cleanable.first_dirty_offset, size)? {
                self.visit(log, segment, (start.position, size), |batch| {
                    let header = batch.header();
                    round.map_bytes_read += batch.bytes().len() as u64;
                    if header.is_control() {
                        transactions.is_marker_of_nothing(batch);
                    } else if !transactions.is_aborted(header) {
                        // Differs: a batch is taken whole or not at all, and the first one always, so that each round gets ahead.
                        if !map.is_empty() && map.is_full_with(usize::try_from(header.record_count).unwrap_or(0)) {
                            is_full = true;
                            return Ok(false);
                        }
                        let keyed = batch.visit_records::<BatchError>(Default::default(), |record| {
                            if let Some(key) = record.key.filter(|_| record.offset >= cleanable.first_dirty_offset) {
                                map.put(key, record.offset);
                            }
                            Ok(())
                        });
                        keyed.map_err(|error| CleanError::Unreadable { path: segment.path().to_owned(), position: 0, error })?;
                    }
                    map.set_latest_offset(header.last_offset());
                    Ok(true)
                })?;
            }
            if is_full {
                break;
            }
            // Offsets that an earlier round or a log start left empty.
            map.set_latest_offset(next - 1);
        }
        Ok(map)
    }

    /// Rewrites neighbouring segments as one.
    fn clean_group(&self, log: &Log, group: &[Arc<Segment>], survivors: &mut Survivors<'_>, truncations: u64) -> Result<(), CleanError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        let (dir, base_offset) = (log.dir(), first.base_offset());
        survivors.keep_batch_before = last.read_next_offset()?;
        survivors.last_records = log
            .last_data_offsets()
            .into_iter()
            .map(|(id, (producer_epoch, offset))| (id, LastRecord { producer_epoch, data_offset: (offset >= 0).then_some(offset) }))
            .collect();
        remove_left_over(&dir, base_offset)?;
        let cleaned = Segment::open(&dir, base_offset, &log.config(), self.clock.now_ms(), true, CLEANED_SUFFIX)
            .map_err(|error| self.give_up(&dir, base_offset, error.into()))?;
        let written = self.write_group(log, group, survivors, &cleaned).and_then(|()| {
            fs::set_modified_ms(cleaned.path(), fs::modified_ms(last.path())?)?;
            Ok(log.replace_segments(group, &cleaned, truncations)?)
        });
        match written {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.give_up(&dir, base_offset, CleanError::Aborted)),
            // After a failed file operation the directory is offline; loading it tidies up.
            Err(CleanError::Storage(error)) if !error.is_full() && !self.is_aborted(log) => Err(CleanError::Storage(error)),
            Err(error) => Err(self.give_up(&dir, base_offset, error)),
        }
    }

    fn give_up(&self, dir: &std::path::Path, base_offset: i64, error: CleanError) -> CleanError {
        // A directory that is gone has nothing left over.
        let _ = remove_left_over(dir, base_offset);
        error
    }

    fn write_group(&self, log: &Log, group: &[Arc<Segment>], survivors: &mut Survivors<'_>, cleaned: &Segment) -> Result<(), CleanError> {
        let chunk = (self.config.io_buffer_size_bytes / self.config.threads.max(1) / 2).clamp(16 << 10, 1 << 20);
        let mut pending = Vec::new();
        for segment in group {
            self.visit(log, segment, (0, segment.size_bytes()), |batch| {
                survivors.filter(batch, &mut pending).map_err(|error| CleanError::Unreadable {
                    path: segment.path().to_owned(),
                    position: 0,
                    error,
                })?;
                if pending.len() >= chunk { self.write(log, cleaned, &mut pending) } else { Ok(()) }?;
                Ok(true)
            })?;
        }
        self.write(log, cleaned, &mut pending)?;
        cleaned.append_aborted(&survivors.transactions.take_retained())?;
        cleaned.on_become_inactive()?;
        cleaned.flush()?;
        Ok(())
    }

    fn write(&self, log: &Log, segment: &Segment, pending: &mut Vec<u8>) -> Result<(), CleanError> {
        if segment.size_bytes() + pending.len() as u64 > i32::MAX as u64 {
            return Err(CleanError::TooLarge { path: segment.path().to_owned() });
        }
        let batches: Vec<StampedBatch<'_>> =
            Batches::new(pending).map_while(Result::ok).map(|batch| StampedBatch::from_view(&batch)).collect();
        if !batches.is_empty() {
            segment.append(&batches)?;
        }
        let bytes = pending.len();
        drop(batches);
        pending.clear();
        self.pause(log, bytes)
    }
}

fn remove_left_over(dir: &std::path::Path, base_offset: i64) -> Result<(), StorageError> {
    segment_files(dir, base_offset, CLEANED_SUFFIX).iter().try_for_each(|path| fs::remove_file(path))
}

/// Neighbours that fit one segment together. `end_offset`: where the last one ends at most.
fn groups(segments: &[Arc<Segment>], max_bytes: u64, max_index_bytes: u64, end_offset: i64) -> Vec<Vec<Arc<Segment>>> {
    let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
    let (mut bytes, mut index_bytes, mut first) = (0, (0, 0), 0);
    for (n, segment) in segments.iter().enumerate() {
        let size = segment.size_bytes();
        let (index, time_index) = segment.index_sizes_bytes();
        // Relative offsets are 31 bits; what comes next bounds what this one holds.
        let last = segments.get(n + 1).map_or(end_offset, |next| next.base_offset()) - 1;
        let fits = bytes + size <= max_bytes
            && index_bytes.0 + index <= max_index_bytes
            && index_bytes.1 + time_index <= max_index_bytes
            && (size == 0 || last - first <= i64::from(i32::MAX));
        match groups.last_mut() {
            Some(group) if fits => group.push(segment.clone()),
            _ => {
                groups.push(vec![segment.clone()]);
                (bytes, index_bytes, first) = (0, (0, 0), segment.base_offset());
            }
        }
        bytes += size;
        index_bytes = (index_bytes.0 + index, index_bytes.1 + time_index);
    }
    groups
}
