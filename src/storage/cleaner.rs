//! Compaction: of each key the last record stays. Sources: `Cleaner`, `LogCleanerManager`, `MemoryRecords.filterTo`, KIP-534.
//!
//! ```text
//!   | clean (compacted before) | dirty                     | not yet: active segment, open transactions, min.compaction.lag.ms
//!   log start                  first dirty offset          end
//! ```
//!
//! The dirty part's keys are read into a map of last offsets; then all segments before its end are rewritten without the records that
//! a later one replaces, small neighbours into one, first as `.cleaned`, then `.swap`, then in place of the originals (see [`super::loader`]
//! for what a crash leaves).
//!
//! Invariant: offsets never change: a rewritten batch keeps its first and last offset even when their records are gone.
//! Invariant: a tombstone stays for `delete.retention.ms` after the first compaction that met it.
//! Invariant: the last batch of each known producer stays, if only as an empty one, so that sequence checks go on.
//!
//! Differs: transaction markers are never dropped, records of aborted transactions are.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::protocol::batch::{BatchBuilder, BatchView, Batches, Record, empty_batch};

use super::config::LogConfig;
use super::errors::StorageError;
use super::fs;
use super::loader::{CLEANED_SUFFIX, SWAP_SUFFIX, segment_files};
use super::log::Log;
use super::segment::{Segment, StampedBatch};
use super::txn_index::AbortedTxn;

/// Keys in one pass; about what Kafka's default dedupe buffer holds. A dirtier log takes several passes.
const MAX_KEYS: usize = 4_000_000;
const WRITE_CHUNK: usize = 1 << 20;

/// Last offsets by key. Keys are known by 128 bits of two secret hashes, so that memory does not grow with their length.
struct OffsetMap {
    hashers: (RandomState, RandomState),
    offsets: HashMap<(u64, u64), i64>,
    /// No record beyond this offset was looked at.
    latest_offset: i64,
}

impl OffsetMap {
    fn new() -> OffsetMap {
        OffsetMap { hashers: (RandomState::new(), RandomState::new()), offsets: HashMap::new(), latest_offset: -1 }
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    fn put(&mut self, key: &[u8], offset: i64) {
        self.offsets.insert(self.hash(key), offset);
    }

    fn get(&self, key: &[u8]) -> Option<i64> {
        self.offsets.get(&self.hash(key)).copied()
    }
}

/// What of a log could be compacted now.
pub(super) struct Cleanable {
    pub(super) first_dirty_offset: i64,
    pub(super) end_offset: i64,
    pub(super) clean_bytes: u64,
    pub(super) dirty_bytes: u64,
    /// The oldest dirty record has waited longer than `max.compaction.lag.ms`.
    pub(super) must_clean: bool,
}

impl Cleanable {
    /// Dirty bytes of all bytes.
    pub(super) fn dirty_ratio(&self) -> f64 {
        self.dirty_bytes as f64 / (self.clean_bytes + self.dirty_bytes).max(1) as f64
    }
}

/// Looks at a log without changing it. `checkpointed` is where the last compaction ended.
pub(super) fn cleanable(log: &Log, checkpointed: Option<i64>, now_ms: i64) -> Result<Cleanable, StorageError> {
    let config = log.config();
    let segments = log.all_segments();
    let log_start_offset = log.log_start_offset();
    let active_base_offset = segments.last().map_or(log_start_offset, |active| active.base_offset());
    // A checkpoint outside the log is one from before a truncation or a deletion.
    let first_dirty_offset =
        checkpointed.filter(|offset| (log_start_offset..=log.log_end_offset()).contains(offset)).unwrap_or(log_start_offset);
    let mut end_offset = active_base_offset.min(log.last_stable_offset());
    let mut must_clean = false;
    for segment in
        segments.iter().filter(|segment| segment.base_offset() >= first_dirty_offset && segment.base_offset() < active_base_offset)
    {
        if config.min_compaction_lag_ms > 0 && segment.largest_timestamp()? > now_ms - config.min_compaction_lag_ms {
            end_offset = end_offset.min(segment.base_offset());
            break;
        }
        if let Some(first) = segment.first_batch_timestamp()? {
            must_clean |= first >= 0 && now_ms.saturating_sub(first) > config.max_compaction_lag_ms;
        }
    }
    let bytes = |from: i64, to: i64| {
        let inside = segments.iter().filter(|segment| (from..to).contains(&segment.base_offset()));
        inside.map(|segment| segment.size_bytes()).sum()
    };
    Ok(Cleanable {
        first_dirty_offset,
        end_offset: end_offset.max(first_dirty_offset),
        clean_bytes: bytes(i64::MIN, first_dirty_offset),
        dirty_bytes: bytes(first_dirty_offset, end_offset),
        must_clean,
    })
}

/// Compacts a log; gives the offset up to which it is clean now.
pub(super) fn clean(log: &Log, cleanable: &Cleanable, now_ms: i64) -> Result<i64, StorageError> {
    let segments = log.all_segments();
    let mut aborted = Vec::new();
    for segment in &segments {
        segment.collect_aborted(i64::MIN, i64::MAX, &mut aborted)?;
    }
    let map = read_keys(&segments, cleanable, &aborted)?;
    if map.latest_offset < cleanable.first_dirty_offset {
        return Ok(cleanable.first_dirty_offset);
    }
    let end_offset = map.latest_offset + 1;
    let pass = Pass { log, config: log.config(), map, aborted, last_data_offsets: log.last_data_offsets(), now_ms };
    // The active segment is never among them; the one that holds the end is rewritten with what lies beyond it kept.
    let inactive = &segments[..segments.len().saturating_sub(1)];
    let old: Vec<Arc<Segment>> = inactive.iter().filter(|segment| segment.base_offset() < end_offset).cloned().collect();
    for group in groups(&old, pass.config.segment_bytes.max(0) as u64) {
        if !pass.clean_group(&group)? {
            tracing::info!(topic_partition = %log.topic_partition(), "the log changed under compaction, which starts again later");
            return Ok(cleanable.first_dirty_offset);
        }
    }
    Ok(end_offset)
}

fn read_keys(segments: &[Arc<Segment>], cleanable: &Cleanable, aborted: &[AbortedTxn]) -> Result<OffsetMap, StorageError> {
    let mut map = OffsetMap::new();
    for (n, segment) in segments.iter().enumerate() {
        let next = segments.get(n + 1).map_or(i64::MAX, |next| next.base_offset());
        if next <= cleanable.first_dirty_offset || segment.base_offset() >= cleanable.end_offset {
            continue;
        }
        let size = segment.size_bytes();
        let Some(start) = segment.translate_offset(cleanable.first_dirty_offset, size)? else { continue };
        let mut full = false;
        segment.visit_batches(start.position, size, |batch, _| {
            let header = batch.header();
            if header.last_offset() >= cleanable.end_offset || map.offsets.len() >= MAX_KEYS {
                full = true;
                return Ok(false);
            }
            if !header.is_control() && !is_aborted(batch, aborted) {
                for record in batch.records().map_while(Result::ok).filter(|record| record.offset >= cleanable.first_dirty_offset) {
                    if let Some(key) = &record.key {
                        map.put(key, record.offset);
                    }
                }
            }
            map.latest_offset = header.last_offset();
            Ok(true)
        })?;
        if full {
            break;
        }
    }
    Ok(map)
}

fn is_aborted(batch: &BatchView<'_>, aborted: &[AbortedTxn]) -> bool {
    let header = batch.header();
    let holds =
        |txn: &AbortedTxn| txn.producer_id == header.producer_id && (txn.first_offset..=txn.last_offset).contains(&header.base_offset);
    header.is_transactional() && aborted.iter().any(holds)
}

/// Neighbours that fit one segment together.
fn groups(segments: &[Arc<Segment>], segment_bytes: u64) -> Vec<Vec<Arc<Segment>>> {
    let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
    let (mut bytes, mut first) = (0, 0);
    for (n, segment) in segments.iter().enumerate() {
        // Relative offsets are 31 bits; the next segment's base bounds this one's.
        let last = segments.get(n + 1).map_or(segment.base_offset(), |next| next.base_offset());
        let fits = bytes + segment.size_bytes() <= segment_bytes && last.max(segment.base_offset()) - first < i64::from(i32::MAX);
        match groups.last_mut() {
            Some(group) if fits && n + 1 < segments.len() => group.push(segment.clone()),
            _ => {
                groups.push(vec![segment.clone()]);
                (bytes, first) = (0, segment.base_offset());
            }
        }
        bytes += segment.size_bytes();
    }
    groups
}

struct Pass<'a> {
    log: &'a Log,
    config: Arc<LogConfig>,
    map: OffsetMap,
    aborted: Vec<AbortedTxn>,
    /// Producer id -> epoch and offset of its last data batch.
    last_data_offsets: std::collections::BTreeMap<i64, (i16, i64)>,
    now_ms: i64,
}

impl Pass<'_> {
    /// Rewrites neighbouring segments as one; false when the log has changed meanwhile.
    fn clean_group(&self, group: &[Arc<Segment>]) -> Result<bool, StorageError> {
        let Some(base_offset) = group.first().map(|segment| segment.base_offset()) else { return Ok(true) };
        let dir = self.log.dir();
        for left_over in segment_files(&dir, base_offset, CLEANED_SUFFIX) {
            fs::remove_file(&left_over)?;
        }
        let cleaned = Segment::open(&dir, base_offset, &self.config, self.now_ms, true, CLEANED_SUFFIX)?;
        for segment in group {
            let mut pending = Vec::new();
            segment.visit_batches(0, segment.size_bytes(), |batch, _| {
                self.filter(batch, &mut pending);
                if pending.len() >= WRITE_CHUNK {
                    append_all(&cleaned, &pending)?;
                    pending.clear();
                }
                Ok(true)
            })?;
            append_all(&cleaned, &pending)?;
            let mut own = Vec::new();
            segment.collect_aborted(i64::MIN, i64::MAX, &mut own)?;
            cleaned.append_aborted(&own)?;
        }
        cleaned.on_become_inactive()?;
        cleaned.flush()?;
        self.log.replace_segments(group, &cleaned, CLEANED_SUFFIX, SWAP_SUFFIX)
    }

    /// Appends to `out` what remains of a batch.
    fn filter(&self, batch: &BatchView<'_>, out: &mut Vec<u8>) {
        let header = batch.header();
        if header.is_control() || header.base_offset > self.map.latest_offset {
            out.extend_from_slice(batch.bytes());
            return;
        }
        let aborted = is_aborted(batch, &self.aborted);
        let (mut kept, mut has_tombstones, mut all) = (Vec::<Record>::new(), false, true);
        for record in batch.records() {
            let Ok(record) = record else {
                // What cannot be read cannot be judged.
                out.extend_from_slice(batch.bytes());
                return;
            };
            if !aborted && self.keeps(&record, header.delete_horizon_ms()) {
                has_tombstones |= record.value.is_none();
                kept.push(record);
            } else {
                all = false;
            }
        }
        let needs_horizon = has_tombstones && header.delete_horizon_ms().is_none();
        if all && !needs_horizon && !kept.is_empty() {
            out.extend_from_slice(batch.bytes());
        } else if kept.is_empty() {
            let is_last_of_producer = header.has_producer_id()
                && self.last_data_offsets.get(&header.producer_id).is_some_and(|&(_, last)| last == header.last_offset());
            if is_last_of_producer {
                out.extend_from_slice(&empty_batch(header));
            }
        } else {
            match self.rebuild(batch, &kept, needs_horizon) {
                Some(bytes) => out.extend_from_slice(&bytes),
                None => out.extend_from_slice(batch.bytes()),
            }
        }
    }

    fn keeps(&self, record: &Record, delete_horizon_ms: Option<i64>) -> bool {
        if record.offset > self.map.latest_offset {
            return true;
        }
        // A compacted topic takes no record without a key; those from before it was compacted go.
        let Some(key) = &record.key else { return false };
        let is_latest = self.map.get(key).is_none_or(|latest| record.offset >= latest);
        let keeps_tombstones = delete_horizon_ms.is_none_or(|horizon| self.now_ms < horizon);
        is_latest && (record.value.is_some() || keeps_tombstones)
    }

    fn rebuild(&self, batch: &BatchView<'_>, kept: &[Record], needs_horizon: bool) -> Option<Vec<u8>> {
        let header = batch.header();
        let mut builder = BatchBuilder::like(header, header.compression().ok()?);
        if needs_horizon {
            builder = builder.delete_horizon_ms(self.now_ms.saturating_add(self.config.delete_retention_ms));
        }
        for record in kept {
            builder.append_record(record).ok()?;
        }
        builder.override_last_offset(header.last_offset());
        builder.finish_vec().ok()
    }
}

fn append_all(segment: &Segment, bytes: &[u8]) -> Result<(), StorageError> {
    let batches: Vec<StampedBatch<'_>> = Batches::new(bytes).map_while(Result::ok).map(|batch| StampedBatch::from_view(&batch)).collect();
    if batches.is_empty() { Ok(()) } else { segment.append(&batches).map(|_| ()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::compression::Compression;
    use crate::storage::config::CleanupPolicy;
    use crate::storage::log::tests::{Fixture, START_MS, produce, records_from};
    use crate::storage::log::{FetchIsolation, LogOptions};

    fn compacted() -> Fixture {
        Fixture::new(LogConfig {
            segment_bytes: 400,
            index_interval_bytes: 0,
            cleanup_policy: CleanupPolicy { compact: true, delete: false },
            ..LogConfig::default()
        })
    }

    fn put(log: &Log, sequence: i32, records: &[(&str, Option<&str>)]) {
        let mut builder = BatchBuilder::new(Compression::None).producer(1, 0, sequence);
        for (key, value) in records {
            builder.append(START_MS, Some(key.as_bytes()), value.map(str::as_bytes), &[]).expect("appended");
        }
        produce(log, &builder.finish_vec().expect("finished"));
    }

    fn compact(log: &Log, checkpointed: Option<i64>, now_ms: i64) -> i64 {
        let found = cleanable(log, checkpointed, now_ms).expect("looked at");
        clean(log, &found, now_ms).expect("cleaned")
    }

    fn contents(log: &Log) -> Vec<(i64, String, Option<String>)> {
        let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        let records = records_from(log, log.log_start_offset(), 10_000, FetchIsolation::LogEnd);
        records.iter().map(|record| (record.offset, text(record.key.as_ref().expect("a key")), record.value.as_ref().map(text))).collect()
    }

    /// The last value of each key, and tombstones.
    fn last_values(log: &Log) -> std::collections::BTreeMap<String, Option<String>> {
        contents(log).into_iter().map(|(_, key, value)| (key, value)).collect()
    }

    #[test]
    fn the_last_record_of_each_key_stays_at_its_offset() {
        let fixture = compacted();
        let log = fixture.open();
        for n in 0..40 {
            let long_value = format!("v{n} {}", "x".repeat(60));
            put(&log, n * 2, &[(&format!("k{}", n % 3), Some(&long_value)), (&format!("unique{n}"), Some("u"))]);
        }
        let before = last_values(&log);
        let segments_before = log.segment_paths().len();
        let clean_to = compact(&log, None, START_MS);
        assert!(clean_to > 60, "{clean_to}");
        assert_eq!(last_values(&log), before);
        assert!(contents(&log).len() < 60, "{}", contents(&log).len());
        assert!(contents(&log).iter().filter(|(_, key, _)| key.starts_with("unique")).count() == 40);
        assert_eq!(log.log_end_offset(), 80);
        // What the first pass has shrunk the next one joins.
        let clean_to = compact(&log, None, START_MS).max(clean_to);
        assert!(log.segment_paths().len() < segments_before);
        assert_eq!(last_values(&log), before);
        let after = contents(&log);
        // Nothing is left of the old files but what waits for its deletion, and a restart finds the same log.
        drop(log);
        let log = fixture.open();
        assert_eq!(contents(&log), after);
        assert_eq!(log.active_producers()[0].last_sequence, 79);
        assert_eq!(compact(&log, Some(clean_to), START_MS), clean_to);
    }

    #[test]
    fn tombstones_stay_for_their_time_then_go() {
        let fixture = compacted();
        let log = fixture.open();
        put(&log, 0, &[("gone", Some("value")), ("kept", Some("value"))]);
        put(&log, 2, &[("gone", None)]);
        log.roll().expect("rolled");
        put(&log, 3, &[("other", Some("value"))]);
        compact(&log, None, START_MS);
        assert_eq!(contents(&log).iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), [1, 2, 3]);
        let day_ms = 24 * 60 * 60 * 1000;
        log.roll().expect("rolled");
        put(&log, 4, &[("more", Some("value"))]);
        compact(&log, Some(3), START_MS + day_ms - 1);
        assert!(last_values(&log).contains_key("gone"));
        log.roll().expect("rolled");
        put(&log, 5, &[("yet more", Some("value"))]);
        compact(&log, Some(4), START_MS + day_ms);
        assert!(!last_values(&log).contains_key("gone"));
        assert_eq!(last_values(&log).len(), 4);
    }

    #[test]
    fn an_emptied_last_batch_still_remembers_its_producer() {
        let fixture = compacted();
        let log = fixture.open();
        let mut builder = BatchBuilder::new(Compression::None).producer(9, 0, 0);
        builder.append(START_MS, Some(b"k"), Some(b"old"), &[]).expect("appended");
        produce(&log, &builder.finish_vec().expect("finished"));
        put(&log, 0, &[("k", Some("new"))]);
        log.roll().expect("rolled");
        put(&log, 1, &[("x", Some("y"))]);
        compact(&log, None, START_MS);
        assert_eq!(contents(&log).len(), 2);
        let log_dir = log.dir();
        drop(log);
        for path in fs::list(&log_dir).expect("listed") {
            if path.extension().is_some_and(|extension| extension == "snapshot") {
                fs::remove_file(&path).expect("removed");
            }
        }
        let log = fixture.open();
        assert!(log.active_producers().iter().any(|producer| producer.producer_id == 9 && producer.last_sequence == 0));
    }

    #[test]
    fn the_active_segment_and_young_segments_are_left_alone() {
        let fixture = compacted();
        let log = fixture.open();
        put(&log, 0, &[("k", Some("1"))]);
        put(&log, 1, &[("k", Some("2"))]);
        assert_eq!(compact(&log, None, START_MS), 0);
        assert_eq!(contents(&log).len(), 2);
        log.roll().expect("rolled");
        put(&log, 2, &[("k", Some("3"))]);
        log.update_config(Arc::new(LogConfig { min_compaction_lag_ms: 1000, ..fixture.config.clone() }));
        compact(&log, None, START_MS);
        assert_eq!(contents(&log).len(), 3);
        compact(&log, None, START_MS + 1001);
        assert_eq!(contents(&log).iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_crash_between_any_two_file_operations_loses_nothing() {
        for failing in 0.. {
            let fixture = compacted();
            let log = fixture.open();
            for n in 0..12 {
                put(&log, n, &[(&format!("k{}", n % 3), Some(&format!("v{n}")))]);
            }
            let before = last_values(&log);
            let found = cleanable(&log, None, START_MS).expect("looked at");
            fs::faults::fail_after(failing);
            let done = clean(&log, &found, START_MS).is_ok();
            fs::faults::clear();
            drop(log);
            let log = Log::open(LogOptions { had_clean_shutdown: false, ..fixture.options() }).expect("opened");
            assert_eq!(last_values(&log), before, "failure after {failing} operations");
            assert_eq!(log.log_end_offset(), 12);
            if done {
                assert!(failing > 20);
                break;
            }
        }
    }
}
