//! Opening a log: finishing interrupted swaps, rebuilding what is missing, cutting what is torn. Source: `LogLoader`.
//!
//! 1. `.deleted` and `.cleaned` files go; complete `.swap` files replace the segments they were made from.
//! 2. Indexes without a log go; a segment with missing or malformed indexes is recovered.
//! 3. After an unclean stop every segment from the recovery point on is read, but one that ends at the recovery point: the log is cut at the
//!    first batch that is not whole and valid, later segments go, indexes are rebuilt.
//! 4. Leader epochs that are missing or damaged are read from the batches; those beyond the end or before the start go; producer state is
//!    rebuilt from the newest snapshot and what follows it.
//!
//! Invariant: the same code runs after clean and unclean stops; a clean one only skips step 3.
//! Invariant: a log to which nothing was written since its last sync is opened as after a clean stop, so that a start takes as long as it
//! takes to read what was not synced.
//!
//! Differs: after a kill, Kafka reads again the last segment of every partition, synced or not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::checkpoint;
use super::epochs::LeaderEpochs;
use super::errors::StorageError;
use super::fs;
use super::log::{AppendOrigin, LogOptions};
use super::producer_state::ProducerState;
use super::segment::{
    DELETED_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, Segment, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, end_txn_marker, producer_batch, segment_path,
};

pub(super) const CLEANED_SUFFIX: &str = ".cleaned";
pub(super) const SWAP_SUFFIX: &str = ".swap";
/// KRaft snapshots marked for deletion are the metadata log's own affair.
const SNAPSHOT_DELETED_SUFFIX: &str = ".checkpoint.deleted";

pub(super) type Segments = BTreeMap<i64, Arc<Segment>>;

/// A log as it was found and put right.
pub(super) struct Loaded {
    pub(super) segments: Segments,
    pub(super) log_start_offset: i64,
    pub(super) recovery_point: i64,
    pub(super) log_end_offset: i64,
    pub(super) producers: ProducerState,
    pub(super) epochs: LeaderEpochs,
}

/// A log in a directory that was created just now: nothing needs to be looked for.
pub(super) fn begin(options: &LogOptions) -> Loaded {
    let base_offset = options.log_start_offset;
    let segment = Segment::begin(&options.dir, base_offset, &options.config, options.clock.now_ms());
    let mut producers = ProducerState::new(&options.dir, options.topic_partition.clone(), options.producer_id_expiration_ms);
    producers.set_map_end_offset(base_offset);
    Loaded {
        segments: Segments::from([(base_offset, Arc::new(segment))]),
        log_start_offset: base_offset,
        recovery_point: options.recovery_point.min(base_offset),
        log_end_offset: base_offset,
        producers,
        epochs: LeaderEpochs::new(&options.dir),
    }
}

/// Opens the log in `options.dir`, which exists.
pub(super) fn load(options: &LogOptions) -> Result<Loaded, StorageError> {
    let now_ms = options.clock.now_ms();
    let found = fs::list(&options.dir)?;
    let (unsynced_snapshots, recovered) = (RefCell::default(), RefCell::default());
    Loader { options, now_ms, found, listing_is_stale: false.into(), unsynced_snapshots, recovered }.load()
}

struct Loader<'a> {
    options: &'a LogOptions,
    now_ms: i64,
    /// What the directory held.
    found: Vec<PathBuf>,
    /// Producer snapshots have come or gone since.
    listing_is_stale: Cell<bool>,
    /// Of segments that were recovered: after a crash of many logs they are not synced one by one.
    unsynced_snapshots: RefCell<Vec<PathBuf>>,
    /// The segments that were recovered, by base offset: was something cut off?
    recovered: RefCell<BTreeMap<i64, bool>>,
}

impl Loader<'_> {
    fn dir(&self) -> &Path {
        &self.options.dir
    }

    fn new_producer_state(&self) -> Result<ProducerState, StorageError> {
        let listed = if self.listing_is_stale.get() { &fs::list(self.dir())? } else { &self.found };
        let (topic_partition, expiration_ms) = (self.options.topic_partition.clone(), self.options.producer_id_expiration_ms);
        Ok(ProducerState::with_snapshots(self.dir(), topic_partition, expiration_ms, listed))
    }

    fn has(&self, name: &str) -> bool {
        self.found.iter().any(|path| file_name(path) == name)
    }

    fn load(&self) -> Result<Loaded, StorageError> {
        let found = self.finish_swaps(self.found.clone())?;
        let has_epochs = self.has(checkpoint::LEADER_EPOCH_CHECKPOINT);
        let mut epochs = match if has_epochs { LeaderEpochs::load(self.dir()) } else { Ok(LeaderEpochs::new(self.dir())) } {
            Err(error) if error.reason.kind() == std::io::ErrorKind::InvalidData => {
                tracing::warn!(%error, "damaged leader epochs are made anew from the log");
                LeaderEpochs::new(self.dir())
            }
            loaded => loaded?,
        };
        let had_epochs = epochs.latest().is_some();
        let mut segments = self.open_segments(found, &mut epochs)?;
        if !had_epochs {
            epochs = LeaderEpochs::new(self.dir());
            segments.values().try_for_each(|segment| segment.collect_epochs(&mut epochs))?;
        }
        if !self.options.had_clean_shutdown {
            self.recover_unflushed(&mut segments, &mut epochs)?;
        } else if let Some(last) = segments.values().next_back().cloned()
            && last.read_end()?.1 < last.size_bytes()
        {
            tracing::warn!(path = %last.path().display(), "what was stopped cleanly does not end with a batch");
            let before = segments.range(..last.base_offset()).map(|(base, segment)| (*base, segment.clone())).collect();
            self.recover_segment(&last, &before, &mut epochs)?;
        }
        let mut log_end_offset = None;
        if let Some(last) = segments.values().next_back() {
            let end = last.read_next_offset()?;
            if end >= self.options.log_start_offset {
                log_end_offset = Some(end);
            } else {
                let start = self.options.log_start_offset;
                tracing::warn!(dir = %self.dir().display(), end, start, "the log ends before its start offset: deleting all segments");
                for segment in std::mem::take(&mut segments).values() {
                    self.delete(segment)?;
                }
                fs::sync_dir(self.dir())?;
                self.listing_is_stale.set(true);
                epochs.clear()?;
                self.new_producer_state()?.truncate_fully_and_start_at(self.options.log_start_offset)?;
            }
        }
        if segments.is_empty() {
            let base_offset = self.options.log_start_offset;
            let segment = Segment::begin(self.dir(), base_offset, &self.options.config, self.now_ms);
            segments.insert(base_offset, Arc::new(segment));
        }
        let recovery_point = match log_end_offset {
            Some(end) if self.options.had_clean_shutdown => end,
            // Not beyond the checkpoint: only a flush may advance it.
            Some(end) => self.options.recovery_point.min(end),
            None => self.options.recovery_point.min(self.options.log_start_offset),
        };
        let log_end_offset = log_end_offset.unwrap_or(self.options.log_start_offset);
        let first_base_offset = segments.keys().next().copied().unwrap_or(0);
        let log_start_offset = self.options.log_start_offset.max(first_base_offset);
        epochs.truncate_from_end(log_end_offset)?;
        epochs.truncate_from_start(self.options.log_start_offset)?;
        epochs.write_news()?;
        let mut producers = self.new_producer_state()?;
        let was_cut = producers.latest_snapshot_offset().is_some_and(|offset| offset > log_end_offset);
        producers.remove_stray_snapshots(&segments.keys().copied().collect::<Vec<_>>())?;
        // What was recovered, for its indexes' sake, has taken the snapshots of what comes after it away.
        let clean = self.options.had_clean_shutdown && self.recovered.borrow().is_empty();
        rebuild_producer_state(&mut producers, &segments, log_start_offset, log_end_offset, self.now_ms, clean)?;
        producers.unsynced_snapshots.append(&mut self.unsynced_snapshots.borrow_mut());
        if was_cut {
            fs::sync_dir(self.dir())?;
        }
        Ok(Loaded { segments, log_start_offset, recovery_point, log_end_offset, producers, epochs })
    }

    /// Gives what the directory holds afterwards of what was found.
    fn finish_swaps(&self, found: Vec<PathBuf>) -> Result<Vec<PathBuf>, StorageError> {
        let (mut cleaned, mut swaps, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for path in found {
            match file_name(&path) {
                name if name.ends_with(DELETED_SUFFIX) && !name.ends_with(SNAPSHOT_DELETED_SUFFIX) => fs::remove_file(&path)?,
                name if name.ends_with(CLEANED_SUFFIX) => cleaned.push(path),
                name if name.ends_with(SWAP_SUFFIX) => swaps.push(path),
                _ => others.push(path),
            }
        }
        // Swap files at or after the first cleaned one belong to a set that was not complete.
        let first_cleaned = cleaned.iter().filter_map(|path| base_offset_of(path)).min().unwrap_or(i64::MAX);
        for path in cleaned {
            fs::remove_file(&path)?;
        }
        let (invalid, swaps): (Vec<_>, Vec<_>) =
            swaps.into_iter().partition(|path| base_offset_of(path).is_none_or(|base| base >= first_cleaned));
        for path in invalid {
            fs::remove_file(&path)?;
        }
        let (mut first, mut end) = (i64::MAX, i64::MIN);
        for path in &swaps {
            let name = file_name(path);
            if let (Some(base_offset), true) = (base_offset_of(path), name.ends_with(".log.swap")) {
                let segment = Segment::open(self.dir(), base_offset, &self.options.config, self.now_ms, false, SWAP_SUFFIX)?;
                first = first.min(base_offset);
                end = end.max(segment.read_next_offset()?);
            }
        }
        if swaps.is_empty() {
            return Ok(others);
        }
        self.listing_is_stale.set(true);
        // The segments that the swap files replace.
        for path in fs::list(self.dir())? {
            if !file_name(&path).ends_with(SWAP_SUFFIX) && base_offset_of(&path).is_some_and(|base| (first..end).contains(&base)) {
                fs::remove_file(&path)?;
            }
        }
        for path in swaps {
            let target = path.with_extension("");
            tracing::info!(path = %target.display(), "finishing an interrupted swap");
            fs::rename_unsynced(&path, &target)?;
        }
        fs::sync_dir(self.dir())?;
        fs::list(self.dir())
    }

    fn open_segments(&self, found: Vec<PathBuf>, epochs: &mut LeaderEpochs) -> Result<Segments, StorageError> {
        let mut segments = Segments::new();
        let bases = || found.iter().filter(|path| file_name(path).ends_with(LOG_SUFFIX)).filter_map(|path| base_offset_of(path));
        // From here on all are recovered anyway.
        let unflushed_from = match self.options.had_clean_shutdown {
            true => i64::MAX,
            false => bases().filter(|&base| base <= self.options.recovery_point).max().unwrap_or(i64::MIN),
        };
        for path in &found {
            let Some(base_offset) = base_offset_of(path) else { continue };
            let name = file_name(path);
            if [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX].iter().any(|suffix| name.ends_with(suffix)) {
                if !fs::exists(&segment_path(self.dir(), base_offset, LOG_SUFFIX, "")) {
                    tracing::warn!(path = %path.display(), "removing an index without its log");
                    fs::remove_file(path)?;
                }
            } else if name.ends_with(LOG_SUFFIX) {
                let segment = Arc::new(Segment::open(self.dir(), base_offset, &self.options.config, self.now_ms, false, "")?);
                if base_offset < unflushed_from && !segment.indexes_are_sane()? {
                    // Apache Kafka leaves segments without batches so when it is killed.
                    let is_empty = segment.size_bytes() == 0;
                    if !is_empty {
                        tracing::warn!(path = %path.display(), "rebuilding missing or malformed indexes");
                    }
                    self.recover_segment(&segment, &segments, epochs)?;
                    if !is_empty {
                        // Most often it lies before the recovery point, and nobody looks at it again.
                        segment.flush()?;
                    }
                }
                segments.insert(base_offset, segment);
            }
        }
        Ok(segments)
    }

    fn recover_segment(&self, segment: &Segment, before: &Segments, epochs: &mut LeaderEpochs) -> Result<(), StorageError> {
        let size = segment.size_bytes();
        let progress = &self.options.progress;
        progress.segments_recovered.fetch_add(1, Ordering::Relaxed);
        let read = |bytes| {
            progress.bytes_recovered.fetch_add(bytes, Ordering::Relaxed);
        };
        let mut producers;
        loop {
            producers = self.new_producer_state()?;
            self.listing_is_stale.set(true);
            rebuild_producer_state(&mut producers, before, self.options.log_start_offset, segment.base_offset(), self.now_ms, false)?;
            if segment.recover(&mut producers, epochs, &read)? {
                break;
            }
        }
        let is_cut = segment.size_bytes() < size;
        *self.recovered.borrow_mut().entry(segment.base_offset()).or_default() |= is_cut;
        // So that this segment need not be read again to recover another.
        producers.take_snapshot(false)?;
        self.unsynced_snapshots.borrow_mut().append(&mut producers.unsynced_snapshots);
        Ok(())
    }

    /// Does the segment end, by its indexes and whole batches, where the last sync ended? Then it is as after a clean stop.
    fn is_synced(&self, segment: &Segment, epochs: &LeaderEpochs) -> Result<bool, StorageError> {
        // An epoch is synced before its records; a log without any has lost them.
        if segment.base_offset() >= self.options.recovery_point || epochs.latest().is_none() || !segment.indexes_are_sane()? {
            return Ok(false);
        }
        let ends_there = segment.read_end()? == (self.options.recovery_point, segment.size_bytes());
        Ok(ends_there && segment.indexes_end_below(self.options.recovery_point)?)
    }

    fn recover_unflushed(&self, segments: &mut Segments, epochs: &mut LeaderEpochs) -> Result<(), StorageError> {
        let from = segments.range(..=self.options.recovery_point).next_back().map_or(i64::MIN, |(base, _)| *base);
        let unflushed: Vec<i64> = segments.range(from..).map(|(base, _)| *base).collect();
        for (n, base_offset) in unflushed.iter().enumerate() {
            let segment = segments[base_offset].clone();
            if n == 0 && self.is_synced(&segment, epochs)? {
                continue;
            }
            let before: Segments = segments.range(..base_offset).map(|(base, segment)| (*base, segment.clone())).collect();
            let end_before = before.values().next_back().map(|segment| segment.read_next_offset()).transpose()?;
            let is_next = match end_before {
                Some(end) if !self.follows(end, *base_offset) => {
                    tracing::warn!(path = %segment.path().display(), end, "the segment before ends elsewhere; the log is cut there");
                    false
                }
                _ => {
                    self.recover_segment(&segment, &before, epochs)?;
                    true
                }
            };
            // Also when it was cut already, for its indexes' sake.
            if !is_next || self.recovered.borrow().get(base_offset).is_some_and(|is_cut| *is_cut) {
                for gone in &unflushed[n + usize::from(is_next)..] {
                    if let Some(segment) = segments.remove(gone) {
                        self.delete(&segment)?;
                    }
                }
                // Or they come back one day, after records that took the place of those before them.
                fs::sync_dir(self.dir())?;
                break;
            }
        }
        Ok(())
    }

    /// May a segment begin here after one that ends there? A power cut may take a segment, or its content, and leave a later one. Only
    /// compaction makes gaps of its own.
    fn follows(&self, end: i64, base_offset: i64) -> bool {
        base_offset == end || (base_offset > end && (self.options.was_compacted || self.options.config.cleanup_policy.compact))
    }

    /// At load nobody reads the segment, so it goes at once.
    fn delete(&self, segment: &Segment) -> Result<(), StorageError> {
        tracing::info!(path = %segment.path().display(), "deleting a segment as part of recovery");
        self.listing_is_stale.set(true);
        for suffix in [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, ".snapshot"] {
            fs::remove_file(&segment_path(self.dir(), segment.base_offset(), suffix, ""))?;
        }
        Ok(())
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}

/// The base offset in the name of a segment's file, whatever its suffixes; None for other files.
fn base_offset_of(path: &Path) -> Option<i64> {
    let (digits, rest) = file_name(path).split_at_checked(20)?;
    let known = [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, ".snapshot"];
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) || !known.iter().any(|suffix| rest.starts_with(suffix)) {
        return None;
    }
    digits.parse().ok()
}

/// Brings the producer state to `end_offset`: from the newest snapshot at or below it, and the batches after that.
pub(super) fn rebuild_producer_state(
    producers: &mut ProducerState,
    segments: &Segments,
    log_start_offset: i64,
    end_offset: i64,
    now_ms: i64,
    from_clean_shutdown: bool,
) -> Result<(), StorageError> {
    let mut snapshots_at: Vec<i64> = segments.keys().rev().take(2).copied().collect();
    snapshots_at.reverse();
    snapshots_at.push(end_offset);
    if producers.latest_snapshot_offset().is_none() && from_clean_shutdown {
        // A clean stop without snapshots is a log without producers; empty snapshots save a scan if the log is truncated.
        for offset in snapshots_at {
            producers.set_map_end_offset(offset);
            producers.take_snapshot(false)?;
        }
        return Ok(());
    }
    let was_empty = producers.is_empty() && producers.map_end_offset() >= end_offset;
    producers.truncate_and_reload(log_start_offset, end_offset, now_ms)?;
    if !was_empty {
        advance_producer_state(producers, segments, log_start_offset, end_offset, &snapshots_at)?;
    }
    producers.set_map_end_offset(end_offset);
    producers.take_snapshot(false)?;
    Ok(())
}

/// Reads on from where the producer state ends to `end_offset`, with a snapshot at each of `snapshots_at` on the way.
fn advance_producer_state(
    producers: &mut ProducerState,
    segments: &Segments,
    log_start_offset: i64,
    end_offset: i64,
    snapshots_at: &[i64],
) -> Result<(), StorageError> {
    if end_offset > producers.map_end_offset() {
        let from = segments.range(..=producers.map_end_offset()).next_back().map_or(i64::MIN, |(base, _)| *base);
        for (&base_offset, segment) in segments.range(from..end_offset.max(from)) {
            let start = base_offset.max(producers.map_end_offset()).max(log_start_offset);
            producers.set_map_end_offset(start);
            if snapshots_at.contains(&base_offset) {
                producers.take_snapshot(false)?;
            }
            let size = segment.size_bytes();
            let Some(position) = segment.translate_offset(start, size)? else { continue };
            segment.visit_headers(position.position, |header, control_batch| {
                if header.base_offset >= end_offset {
                    return Ok(false);
                }
                if let Some(producer_batch) = producer_batch(header, || control_batch.and_then(end_txn_marker)) {
                    let mut append = producers.prepare_update(producer_batch.producer_id);
                    if let Ok(completed) = append.append(&producer_batch, AppendOrigin::Replication, producers.topic_partition()) {
                        producers.update(append);
                        if let Some(completed) = completed {
                            producers.complete_txn(&completed);
                        }
                    }
                }
                Ok(true)
            })?;
        }
    }
    Ok(())
}

/// For the cleaner and for tests: the files of a segment that exist, with their second suffix.
pub(super) fn segment_files(dir: &Path, base_offset: i64, second: &str) -> Vec<PathBuf> {
    [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX]
        .iter()
        .map(|suffix| segment_path(dir, base_offset, suffix, second))
        .filter(|path| fs::exists(path))
        .collect()
}
