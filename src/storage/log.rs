//! One partition's log: segments, indexes, leader epochs, producer state, high watermark. Sources: `UnifiedLog`, `LocalLog`.
//!
//! ```text
//!   log start offset        last stable offset   high watermark     log end offset
//!          |                         |                 |                  |
//!   ----|--v------------|------------v----|------------v------------------v
//!      segment 0      segment 40        segment 90 (active: appended to, rolled when full or old)
//!
//!   truncate_to:                cuts at the end     (a follower that diverged)
//!   delete_records_before:      moves the start     (segments go later)
//!   delete_old_segments:        drops whole segments at the start
//! ```
//!
//! Locks, in this order: `writer` (everything that changes the log), `segments` (the map; held for moments), `epochs`, `offsets`
//! (plain numbers; held for moments). Reads take only the last three, so they run beside an append.
//!
//! Invariant: log start offset <= last stable offset <= high watermark <= log end offset.
//! Invariant: the log end offset moves after the bytes are in the file, so what is below it can be read.
//! Invariant: there is always an active segment, and it is never deleted or compacted.
//!
//! Here: what a log is made of, its locks, opening. The rest by concern: `append`, `read`, `offsets`, `truncation`, `retention`,
//! `flush`, `swap`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::common::clock::Clock;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;

use super::chores::Chores;
use super::cleaner::state::Cleaning;
use super::config::LogConfig;
use super::dir_health::DirHealth;
use super::epochs::LeaderEpochs;
use super::errors::StorageError;
use super::fs;
use super::load_progress::LoadProgress;
use super::loader::{self, Segments};
use super::partition_metadata;
use super::producer_state::ProducerState;
use super::segment::Segment;

mod append;
mod flush;
mod offsets;
mod read;
mod retention;
mod swap;
mod truncation;

pub use append::{AppendInfo, AppendOrigin, AppendTransaction, VerificationGuard};
use offsets::{OffsetMetadata, Offsets};
pub use read::{
    AbortedTransaction, EARLIEST_LOCAL_TIMESTAMP, EARLIEST_PENDING_UPLOAD_TIMESTAMP, EARLIEST_TIMESTAMP, FetchIsolation,
    LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, MAX_TIMESTAMP, ReadInfo, TimestampAndOffset,
};

/// A producer that the log remembers, as DescribeProducers shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub last_sequence: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    /// -1: no open transaction.
    pub current_txn_start_offset: i64,
}

/// How to open a log.
#[derive(Clone)]
pub struct LogOptions {
    /// The partition's directory; created when missing.
    pub dir: PathBuf,
    pub topic_partition: TopicPartition,
    /// Written to `partition.metadata` when that file is missing; None leaves it alone.
    pub topic_id: Option<Uuid>,
    /// A record counts only once [`Log::flush`] has returned (the metadata log), so what must be durable before it can wait until then.
    pub records_count_when_flushed: bool,
    pub config: Arc<LogConfig>,
    pub clock: Arc<dyn Clock>,
    /// From `log-start-offset-checkpoint`; 0 when absent.
    pub log_start_offset: i64,
    /// From `recovery-point-offset-checkpoint`; 0 when absent: everything from here on is scanned unless the stop was clean.
    pub recovery_point: i64,
    pub had_clean_shutdown: bool,
    /// It has been compacted, whatever `config` says now: offsets may be missing between segments.
    pub was_compacted: bool,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// Of the log directory; a failed operation is reported there.
    pub dir_health: Arc<DirHealth>,
    /// Is told what recovery reads.
    pub progress: Arc<LoadProgress>,
    /// What the log leaves to be done later.
    pub chores: Arc<Chores>,
}

impl LogOptions {
    /// A log with defaults, opened as after an unclean stop.
    pub fn new(dir: impl Into<PathBuf>, topic_partition: TopicPartition, config: Arc<LogConfig>, clock: Arc<dyn Clock>) -> LogOptions {
        LogOptions {
            dir: dir.into(),
            topic_partition,
            topic_id: None,
            records_count_when_flushed: false,
            config,
            clock,
            log_start_offset: 0,
            recovery_point: 0,
            had_clean_shutdown: false,
            was_compacted: false,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
            dir_health: Arc::default(),
            progress: Arc::default(),
            chores: Arc::default(),
        }
    }
}

/// What only one thread at a time may touch.
struct Writer {
    producers: ProducerState,
    /// Files waiting to be unlinked, with the monotonic time when they may be, ms.
    deleted: Vec<(u64, PathBuf)>,
}

/// One partition's log. Shared as `Arc<Log>`: appends and other changes exclude each other inside, reads run beside them.
pub struct Log {
    topic_partition: TopicPartition,
    dir: RwLock<PathBuf>,
    clock: Arc<dyn Clock>,
    dir_health: Arc<DirHealth>,
    chores: Arc<Chores>,
    topic_id: OnceLock<Uuid>,
    /// A crash of the machine could still take what `partition.metadata` says. Locked after `epochs`.
    topic_id_is_unsynced: Mutex<bool>,
    records_count_when_flushed: bool,
    config: RwLock<Arc<LogConfig>>,
    closed: AtomicBool,
    writer: Mutex<Writer>,
    segments: RwLock<Segments>,
    epochs: Mutex<LeaderEpochs>,
    offsets: Mutex<Offsets>,
    cleaning: Cleaning,
}

impl Log {
    /// Opens or creates the log, recovering it when `had_clean_shutdown` is false.
    pub fn open(options: LogOptions) -> Result<Log, StorageError> {
        let opened = fs::create_dir(&options.dir).and_then(|is_new| Log::open_inner(&options, is_new));
        options.dir_health.note_unless_full(opened)
    }

    /// As [`Log::open`], of a log whose directory is known to be there.
    pub(super) fn load(options: LogOptions) -> Result<Log, StorageError> {
        let loaded = Log::open_inner(&options, false);
        options.dir_health.note(loaded)
    }

    fn open_inner(options: &LogOptions, is_new: bool) -> Result<Log, StorageError> {
        let found_id = if is_new { None } else { partition_metadata::read(&options.dir)? };
        let given_id = options.topic_id.filter(|_| found_id.is_none());
        if let Some(topic_id) = given_id {
            // At once, because Apache Kafka takes a partition without it for a stray one.
            let written = partition_metadata::write(&options.dir, topic_id);
            // Without its id a partition is as good as none.
            written.inspect_err(|_| drop(is_new.then(|| fs::remove_dir_all(&options.dir))))?;
        }
        let topic_id = found_id.or(given_id);
        let loaded = if is_new { loader::begin(options) } else { loader::load(options)? };
        let (&active_base_offset, active) = loaded.segments.iter().next_back().expect("loading leaves an active segment");
        let log_end =
            OffsetMetadata { offset: loaded.log_end_offset, segment_base_offset: active_base_offset, position: active.size_bytes() };
        let log = Log {
            topic_partition: options.topic_partition.clone(),
            dir: RwLock::new(options.dir.clone()),
            clock: options.clock.clone(),
            dir_health: options.dir_health.clone(),
            chores: options.chores.clone(),
            topic_id: topic_id.map_or_else(OnceLock::new, OnceLock::from),
            topic_id_is_unsynced: Mutex::new(given_id.is_some()),
            records_count_when_flushed: options.records_count_when_flushed,
            config: RwLock::new(options.config.clone()),
            closed: AtomicBool::new(false),
            offsets: Mutex::new(Offsets {
                log_start_offset: loaded.log_start_offset,
                log_end,
                high_watermark: log_end,
                first_unstable: None,
                recovery_point: loaded.recovery_point,
                last_flush_time_ms: options.clock.monotonic_ms(),
                truncations: 0,
                swaps: 0,
            }),
            writer: Mutex::new(Writer { producers: loaded.producers, deleted: Vec::new() }),
            segments: RwLock::new(loaded.segments),
            epochs: Mutex::new(loaded.epochs),
            cleaning: Cleaning::default(),
        };
        // Until the owner tells more, nothing is known to be replicated.
        let high_watermark = log.resolve(loaded.log_start_offset)?;
        log.offsets().high_watermark = high_watermark;
        log.chores.note_high_watermark();
        log.update_first_unstable(&log.writer())?;
        // Thousands are opened one after the other; most of them nobody uses soon.
        log.all_segments().iter().try_for_each(|segment| segment.release_files())?;
        Ok(log)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer of a log that is open.
    fn open_writer(&self) -> Result<MutexGuard<'_, Writer>, StorageError> {
        let writer = self.writer();
        if self.closed.load(Ordering::Acquire) {
            return Err(StorageError::new(self.dir(), std::io::Error::other("the log is closed")));
        }
        self.dir_health.check()?;
        Ok(writer)
    }

    /// Passes a result on; an error takes the directory offline, unless it is that the log is gone from there.
    fn note<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if self.closed.load(Ordering::Acquire) { result } else { self.dir_health.note(result) }
    }

    /// As [`Log::note`], of something that leaves the log as it was when there is no space for it.
    fn note_unless_full<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if self.closed.load(Ordering::Acquire) { result } else { self.dir_health.note_unless_full(result) }
    }

    /// Is the log's directory still in use?
    pub fn is_online(&self) -> bool {
        self.dir_health.is_online()
    }

    fn offsets(&self) -> MutexGuard<'_, Offsets> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epochs(&self) -> MutexGuard<'_, LeaderEpochs> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic_id_is_unsynced(&self) -> MutexGuard<'_, bool> {
        self.topic_id_is_unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments(&self) -> RwLockReadGuard<'_, Segments> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments_mut(&self) -> RwLockWriteGuard<'_, Segments> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn active(&self) -> Arc<Segment> {
        self.segments().values().next_back().expect("there is always an active segment").clone()
    }

    /// All segments, oldest first.
    pub(super) fn all_segments(&self) -> Vec<Arc<Segment>> {
        self.segments().values().cloned().collect()
    }

    fn floor_segment(&self, offset: i64) -> Option<Arc<Segment>> {
        self.segments().range(..=offset).next_back().map(|(_, segment)| segment.clone())
    }

    fn higher_segment(&self, base_offset: i64) -> Option<Arc<Segment>> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.segments().range((Excluded(base_offset), Unbounded)).next().map(|(_, segment)| segment.clone())
    }

    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The id in `partition.metadata`.
    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic_id.get().copied()
    }

    /// Gives a log without topic id this one: a crash came before its first record.
    pub(super) fn adopt_topic_id(&self, topic_id: Uuid) -> Result<(), StorageError> {
        let mut unsynced = self.topic_id_is_unsynced();
        if self.topic_id.set(topic_id).is_ok() {
            self.note(partition_metadata::write(&self.dir(), topic_id))?;
            *unsynced = true;
        }
        Ok(())
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where compaction of this log stands.
    pub(super) fn cleaning(&self) -> &Cleaning {
        &self.cleaning
    }

    /// How often the log was cut at its end.
    pub(super) fn truncations(&self) -> u64 {
        self.offsets().truncations
    }

    pub fn config(&self) -> Arc<LogConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn update_config(&self, config: Arc<LogConfig>) {
        if !config.cleanup_policy.compact {
            self.cleaning.abort();
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub fn recovery_point(&self) -> i64 {
        self.offsets().recovery_point
    }

    pub fn size_bytes(&self) -> u64 {
        self.segments().values().map(|segment| segment.size_bytes()).sum()
    }

    /// The epoch of the last entry of the leader epoch file.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs().latest().map(|(epoch, _)| epoch)
    }

    /// The leader epoch that wrote `offset`.
    pub fn epoch_of(&self, offset: i64) -> Option<i32> {
        self.epochs().epoch_of(offset)
    }

    /// OffsetForLeaderEpoch: the largest epoch not above `leader_epoch` and where it ends; None when it is unknown.
    pub fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        let log_end_offset = self.log_end_offset();
        self.epochs().end_offset_for(leader_epoch, log_end_offset)
    }

    /// Becoming leader: `leader_epoch` begins at the log end offset. The file hears of it with the first record.
    pub fn assign_epoch_start_offset(&self, leader_epoch: i32, start_offset: i64) -> Result<(), StorageError> {
        let _writer = self.open_writer()?;
        self.epochs().assign(leader_epoch, start_offset);
        Ok(())
    }

    /// Begins a new segment at the log end offset; does nothing when the active one is empty.
    pub fn roll(&self) -> Result<(), StorageError> {
        let mut writer = self.open_writer()?;
        let rolled = self.roll_at(&mut writer, &self.config(), self.log_end_offset());
        self.note_unless_full(rolled)
    }

    fn roll_at(&self, writer: &mut Writer, config: &LogConfig, expected_next_offset: i64) -> Result<(), StorageError> {
        let log_end_offset = self.log_end_offset();
        let base_offset = expected_next_offset.max(log_end_offset);
        let active = self.active();
        if active.base_offset() == base_offset {
            return Ok(());
        }
        active.on_become_inactive()?;
        if self.recovery_point() >= log_end_offset {
            // No flush comes back to it, and no recovery.
            active.flush()?;
        }
        // The snapshot that recovery of the new segment begins with.
        writer.producers.set_map_end_offset(base_offset);
        let opened = writer.producers.take_snapshot(false).and_then(|_| {
            let opened = Segment::open(&self.dir(), base_offset, config, self.clock.now_ms(), true, "");
            opened.or_else(|error| Segment::remove_begun(&self.dir(), base_offset).and(Err(error)))
        });
        self.segments_mut().insert(base_offset, Arc::new(opened?));
        let mut offsets = self.offsets();
        offsets.log_end = OffsetMetadata { offset: log_end_offset, segment_base_offset: base_offset, position: 0 };
        if offsets.high_watermark.offset >= log_end_offset {
            offsets.high_watermark = offsets.log_end;
        }
        Ok(())
    }

    /// The log's directory was renamed and nothing of it may be used any more.
    pub(super) fn mark_closed(&self, dir: PathBuf) {
        let _writer = self.writer();
        self.closed.store(true, Ordering::Release);
        *self.dir.write().unwrap_or_else(PoisonError::into_inner) = dir;
    }

    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.writer().producers.active_producers()
    }

    /// Producers whose last batches are remembered.
    pub fn producer_id_count(&self) -> usize {
        self.writer().producers.producer_id_count()
    }

    pub fn remove_expired_producers(&self) {
        self.writer().producers.remove_expired(self.clock.now_ms());
    }

    /// Base offset of the oldest segment.
    pub fn first_segment_base_offset(&self) -> i64 {
        self.segments().keys().next().copied().unwrap_or(0)
    }

    pub fn segment_count(&self) -> usize {
        self.segments().len()
    }

    /// Paths of the segment files, oldest first (for tools and tests).
    pub fn segment_paths(&self) -> Vec<PathBuf> {
        self.segments().values().map(|segment| segment.path().to_owned()).collect()
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("topic_partition", &self.topic_partition).field("offsets", &*self.offsets()).finish_non_exhaustive()
    }
}

/// `<topic>-<partition>` of a directory's name; None when it is not a partition's directory.
pub fn parse_topic_partition_name(dir: &Path) -> Option<TopicPartition> {
    let name = dir.file_name()?.to_str()?;
    let (topic, partition) = name.rsplit_once('-')?;
    if topic.is_empty() {
        return None;
    }
    Some(TopicPartition::new(topic, partition.parse().ok().filter(|&p: &i32| p >= 0)?))
}

#[cfg(test)]
#[path = "log_tests.rs"]
pub(crate) mod tests;
