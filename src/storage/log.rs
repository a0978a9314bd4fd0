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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::common::clock::Clock;
use crate::common::file_slice::FileSlice;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::protocol::records::Records;

use super::config::LogConfig;
use super::dir_health::DirHealth;
use super::epochs::LeaderEpochs;
use super::errors::{AppendError, ReadError, StorageError};
use super::fs;
use super::loader::{self, Segments};
use super::partition_metadata;
use super::producer_state::{CompletedTxn, ProducerAppend, ProducerState};
use super::segment::{RollParams, Segment, StampedBatch, end_txn_marker_of, producer_batch};
use super::validator::{Validator, check_replicated};

mod retention;

/// Who appends, which says how much is checked. Source: `AppendOrigin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A produce request: everything is checked.
    Client,
    /// A coordinator of this broker: no sequence numbers, control batches allowed.
    Coordinator,
    /// A follower copying its leader.
    Replication,
    /// The Raft leader writing the metadata log.
    RaftLeader,
}

/// Which records a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchIsolation {
    /// All (a replica).
    LogEnd,
    /// Below the high watermark (a consumer, read_uncommitted).
    HighWatermark,
    /// Below the last stable offset (a consumer, read_committed).
    TransactionCommitted,
}

/// What an append did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of the first record; for a duplicate, the offset it got the first time. -1 when nothing was appended.
    pub first_offset: i64,
    pub last_offset: i64,
    pub last_leader_epoch: i32,
    /// -1 unless the topic's timestamp type is LogAppendTime.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    pub max_timestamp: i64,
    pub record_count: i64,
    pub size_bytes: usize,
    /// The batch was in the log already; nothing was written.
    pub duplicate: bool,
}

/// A transaction that was aborted inside the range that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// What a read gives: batches from the one that holds the fetch offset on, and the offsets at that moment. The last batch may be cut
/// at `max_bytes`, as in Kafka; its reader drops what is not whole.
#[derive(Clone, Debug)]
pub struct ReadInfo {
    pub records: Records,
    /// The first batch is larger than `max_bytes` and `min_one_message` was false, so it is cut (Kafka's `firstEntryIncomplete`).
    pub first_entry_incomplete: bool,
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub log_end_offset: i64,
    pub last_stable_offset: i64,
    /// Some only with [`FetchIsolation::TransactionCommitted`].
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
}

/// An offset found by timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampAndOffset {
    pub timestamp: i64,
    pub offset: i64,
    /// -1: not known.
    pub leader_epoch: i32,
}

/// ListOffsets' special timestamps.
pub const LATEST_TIMESTAMP: i64 = -1;
pub const EARLIEST_TIMESTAMP: i64 = -2;
pub const MAX_TIMESTAMP: i64 = -3;
pub const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;
pub const LATEST_TIERED_TIMESTAMP: i64 = -5;
pub const EARLIEST_PENDING_UPLOAD_TIMESTAMP: i64 = -6;

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
    /// Written to `partition.metadata`, before the first record, when that file is missing; None leaves it alone.
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
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// Of the log directory; a failed operation is reported there.
    pub dir_health: Arc<DirHealth>,
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
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
            dir_health: Arc::default(),
        }
    }
}

/// An offset and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OffsetMetadata {
    offset: i64,
    segment_base_offset: i64,
    /// In that segment, bytes.
    position: u64,
}

#[derive(Clone, Copy, Debug)]
struct Offsets {
    log_start_offset: i64,
    log_end: OffsetMetadata,
    high_watermark: OffsetMetadata,
    /// Of the producer state; holds the last stable offset back while it is below the high watermark.
    first_unstable: Option<OffsetMetadata>,
    recovery_point: i64,
    last_flush_time_ms: i64,
    /// Counts truncations, so that a flush that ran beside one does not move the recovery point.
    truncations: u64,
}

impl Offsets {
    fn last_stable(&self) -> OffsetMetadata {
        match self.first_unstable {
            Some(unstable) if unstable.offset < self.high_watermark.offset => unstable,
            _ => self.high_watermark,
        }
    }
}

/// What only one thread at a time may touch.
struct Writer {
    producers: ProducerState,
    /// Files waiting to be unlinked, with the time when they may be, ms.
    deleted: Vec<(i64, PathBuf)>,
    /// Producer snapshots that the next flush syncs.
    unsynced_snapshots: Vec<PathBuf>,
}

/// One partition's log. Shared as `Arc<Log>`: appends and other changes exclude each other inside, reads run beside them.
pub struct Log {
    topic_partition: TopicPartition,
    dir: RwLock<PathBuf>,
    clock: Arc<dyn Clock>,
    dir_health: Arc<DirHealth>,
    topic_id: OnceLock<Uuid>,
    /// `partition.metadata` is still to be written. Locked after `epochs`.
    topic_id_is_unwritten: Mutex<bool>,
    records_count_when_flushed: bool,
    config: RwLock<Arc<LogConfig>>,
    closed: AtomicBool,
    writer: Mutex<Writer>,
    segments: RwLock<Segments>,
    epochs: Mutex<LeaderEpochs>,
    offsets: Mutex<Offsets>,
}

impl Log {
    /// Opens or creates the log, recovering it when `had_clean_shutdown` is false.
    pub fn open(options: LogOptions) -> Result<Log, StorageError> {
        let opened = Log::open_inner(&options);
        options.dir_health.note(opened)
    }

    fn open_inner(options: &LogOptions) -> Result<Log, StorageError> {
        fs::create_dir_all(&options.dir)?;
        let found_id = partition_metadata::read(&options.dir)?;
        let topic_id = found_id.or(options.topic_id);
        let loaded = loader::load(options)?;
        let (&active_base_offset, active) = loaded.segments.iter().next_back().expect("loading leaves an active segment");
        let log_end =
            OffsetMetadata { offset: loaded.log_end_offset, segment_base_offset: active_base_offset, position: active.size_bytes() };
        let log = Log {
            topic_partition: options.topic_partition.clone(),
            dir: RwLock::new(options.dir.clone()),
            clock: options.clock.clone(),
            dir_health: options.dir_health.clone(),
            topic_id: topic_id.map_or_else(OnceLock::new, OnceLock::from),
            topic_id_is_unwritten: Mutex::new(topic_id != found_id),
            records_count_when_flushed: options.records_count_when_flushed,
            config: RwLock::new(options.config.clone()),
            closed: AtomicBool::new(false),
            offsets: Mutex::new(Offsets {
                log_start_offset: loaded.log_start_offset,
                log_end,
                high_watermark: log_end,
                first_unstable: None,
                recovery_point: loaded.recovery_point,
                last_flush_time_ms: options.clock.now_ms(),
                truncations: 0,
            }),
            writer: Mutex::new(Writer { producers: loaded.producers, deleted: Vec::new(), unsynced_snapshots: Vec::new() }),
            segments: RwLock::new(loaded.segments),
            epochs: Mutex::new(loaded.epochs),
        };
        // Until the owner tells more, nothing is known to be replicated.
        let high_watermark = log.resolve(loaded.log_start_offset)?;
        log.offsets().high_watermark = high_watermark;
        log.update_first_unstable(&log.writer())?;
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

    fn offsets(&self) -> MutexGuard<'_, Offsets> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epochs(&self) -> MutexGuard<'_, LeaderEpochs> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The id in `partition.metadata`, or what will be there with the first record.
    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic_id.get().copied()
    }

    /// Gives a log without topic id this one: a crash came before its first record.
    pub(super) fn adopt_topic_id(&self, topic_id: Uuid) {
        let _epochs = self.epochs();
        if self.topic_id.set(topic_id).is_ok() {
            *self.topic_id_is_unwritten.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
    }

    /// Writes `partition.metadata` and the leader epochs if they have news. Both must be durable before a record counts: the id so that
    /// records are never taken for another topic's, the epoch so that a follower finds where it diverged.
    fn write_identity(&self) -> Result<(), StorageError> {
        let mut epochs = self.epochs();
        let mut id_is_unwritten = self.topic_id_is_unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files: Vec<(PathBuf, Vec<u8>)> = epochs.unwritten().into_iter().collect();
        if let Some(&topic_id) = self.topic_id.get().filter(|_| *id_is_unwritten) {
            files.push((self.dir().join(partition_metadata::PARTITION_METADATA), partition_metadata::content(topic_id)));
        }
        if files.is_empty() {
            return Ok(());
        }
        fs::write_all_atomically(&files)?;
        epochs.written();
        *id_is_unwritten = false;
        Ok(())
    }

    fn identity_is_unwritten(&self) -> bool {
        let epochs = self.epochs();
        epochs.unwritten().is_some() || *self.topic_id_is_unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn config(&self) -> Arc<LogConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn update_config(&self, config: Arc<LogConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Validates `records` (magic 2 batches), gives them offsets and `leader_epoch`, appends. `records` itself is not changed, and is
    /// not copied unless it must be rewritten (recompression).
    pub fn append_as_leader(&self, records: &[u8], leader_epoch: i32, origin: AppendOrigin) -> Result<AppendInfo, AppendError> {
        let config = self.config();
        let topic_partition = &self.topic_partition;
        let validator = Validator { topic_partition, config: &config, origin, leader_epoch, now_ms: self.clock.now_ms() };
        let mut validated = validator.validate(records)?;
        let mut writer = self.open_writer()?;
        let mut next_offset = self.log_end_offset();
        for batch in &mut validated.batches {
            batch.set_offset_and_epoch(next_offset, leader_epoch);
            next_offset = batch.header.next_offset();
        }
        self.append(&mut writer, &config, &validated.batches, origin, validated.log_append_time_ms)
    }

    /// Appends batches that carry their offsets and epochs already.
    pub fn append_as_follower(&self, records: &[u8]) -> Result<AppendInfo, AppendError> {
        let batches = check_replicated(records, &self.topic_partition)?;
        let mut writer = self.open_writer()?;
        let log_end_offset = self.log_end_offset();
        let Some(first) = batches.first() else {
            return Ok(AppendInfo {
                first_offset: -1,
                last_offset: -1,
                log_append_time_ms: -1,
                max_timestamp: -1,
                ..AppendInfo::default()
            });
        };
        let (base_offset, last_offset) = (first.header.base_offset, first.header.last_offset());
        if base_offset < log_end_offset {
            if self.log_start_offset() < log_end_offset || last_offset < log_end_offset {
                return Err(AppendError::UnexpectedAppendOffset(format!(
                    "Unexpected offset in append to {}. First offset {base_offset} is less than the next offset {log_end_offset}. \
                     Log start offset = {}",
                    self.topic_partition,
                    self.log_start_offset()
                )));
            }
            // A leader whose start lies inside a batch serves that whole batch, so an empty log begins with it.
            let emptied = self.start_at(&mut writer, base_offset);
            self.dir_health.note(emptied)?;
        }
        self.append(&mut writer, &self.config(), &batches, AppendOrigin::Replication, -1)
    }

    fn append(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        batches: &[StampedBatch<'_>],
        origin: AppendOrigin,
        log_append_time_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        let size_bytes: usize = batches.iter().map(StampedBatch::size_bytes).sum();
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return Ok(AppendInfo::default()) };
        let mut info = AppendInfo {
            first_offset: first.header.base_offset,
            last_offset: last.header.last_offset(),
            last_leader_epoch: last.header.partition_leader_epoch,
            log_append_time_ms,
            log_start_offset: self.log_start_offset(),
            max_timestamp: batches.iter().map(|batch| batch.header.max_timestamp).max().unwrap_or(-1),
            record_count: batches.iter().map(|batch| i64::from(batch.header.record_count)).sum(),
            size_bytes,
            duplicate: false,
        };
        if size_bytes as u64 > config.segment_bytes.max(0) as u64 {
            return Err(AppendError::RecordListTooLarge(format!(
                "Message batch size is {size_bytes} bytes in append to partition {}, which exceeds the maximum configured segment size of {}.",
                self.topic_partition, config.segment_bytes
            )));
        }
        let mut updates: BTreeMap<i64, ProducerAppend> = BTreeMap::new();
        let mut completed_txns: Vec<CompletedTxn> = Vec::new();
        for batch in batches {
            let Some(producer_batch) = producer_batch(&batch.header, || end_txn_marker_of(batch)) else { continue };
            if origin == AppendOrigin::Client
                && let Some(known) = writer.producers.find_duplicate(&producer_batch)
            {
                info.first_offset = known.first_offset();
                info.last_offset = known.last_offset;
                info.log_append_time_ms = known.timestamp;
                info.duplicate = true;
                return Ok(info);
            }
            let update =
                updates.entry(producer_batch.producer_id).or_insert_with(|| writer.producers.prepare_update(producer_batch.producer_id));
            completed_txns.extend(update.append(&producer_batch, origin, &self.topic_partition)?);
        }
        let written = self.write(writer, config, batches, &info, updates, &completed_txns);
        self.dir_health.note(written)?;
        Ok(info)
    }

    fn write(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        batches: &[StampedBatch<'_>],
        info: &AppendInfo,
        updates: BTreeMap<i64, ProducerAppend>,
        completed_txns: &[CompletedTxn],
    ) -> Result<(), StorageError> {
        {
            let mut epochs = self.epochs();
            for batch in batches {
                epochs.assign(batch.header.partition_leader_epoch, batch.header.base_offset);
            }
        }
        if !self.records_count_when_flushed {
            self.write_identity()?;
        }
        let mut segment = self.active();
        let roll = RollParams {
            max_segment_ms: config.max_segment_ms(),
            max_segment_bytes: config.segment_bytes.max(0) as u64,
            max_timestamp: info.max_timestamp,
            last_offset: info.last_offset,
            append_bytes: info.size_bytes as u64,
            now_ms: self.clock.now_ms(),
        };
        if segment.should_roll(&roll)? {
            self.roll_at(writer, config, info.first_offset)?;
            segment = self.active();
        }
        let position = segment.append(batches)?;
        let next_offset = info.last_offset + 1;
        {
            let mut offsets = self.offsets();
            offsets.log_end = OffsetMetadata {
                offset: next_offset,
                segment_base_offset: segment.base_offset(),
                position: position + info.size_bytes as u64,
            };
        }
        for update in updates.into_values() {
            writer.producers.update(update);
        }
        for completed in completed_txns {
            segment.append_completed_txn(completed, writer.producers.last_stable_offset_after(completed))?;
            writer.producers.complete_txn(completed);
        }
        writer.producers.set_map_end_offset(next_offset);
        self.update_first_unstable(writer)?;
        if next_offset - self.recovery_point() >= config.flush_messages {
            self.flush_segments(writer)?;
        }
        Ok(())
    }

    /// Batches beginning with the one that holds `fetch_offset`, at most `max_bytes`, unless `min_one_message` and the first is larger.
    pub fn read(
        &self,
        fetch_offset: i64,
        max_bytes: usize,
        min_one_message: bool,
        isolation: FetchIsolation,
    ) -> Result<ReadInfo, ReadError> {
        let offsets = *self.offsets();
        let log_end_offset = offsets.log_end.offset;
        let mut info = ReadInfo {
            records: Records::default(),
            first_entry_incomplete: false,
            high_watermark: offsets.high_watermark.offset,
            log_start_offset: offsets.log_start_offset,
            log_end_offset,
            last_stable_offset: offsets.last_stable().offset,
            aborted_transactions: (isolation == FetchIsolation::TransactionCommitted).then(Vec::new),
        };
        if fetch_offset < offsets.log_start_offset || fetch_offset > log_end_offset {
            return Err(ReadError::OffsetOutOfRange { offset: fetch_offset, log_start_offset: offsets.log_start_offset, log_end_offset });
        }
        let max = match isolation {
            FetchIsolation::LogEnd => offsets.log_end,
            FetchIsolation::HighWatermark => offsets.high_watermark,
            FetchIsolation::TransactionCommitted => offsets.last_stable(),
        };
        if fetch_offset >= max.offset {
            return Ok(info);
        }
        self.dir_health.check()?;
        let read = self.read_below(fetch_offset, max_bytes, min_one_message, max, &mut info);
        self.dir_health.note(read)?;
        Ok(info)
    }

    fn read_below(
        &self,
        fetch_offset: i64,
        max_bytes: usize,
        min_one_message: bool,
        max: OffsetMetadata,
        info: &mut ReadInfo,
    ) -> Result<(), StorageError> {
        let mut candidate = self.floor_segment(fetch_offset);
        while let Some(segment) = candidate {
            let base_offset = segment.base_offset();
            let end = match base_offset.cmp(&max.segment_base_offset) {
                std::cmp::Ordering::Less => segment.size_bytes(),
                std::cmp::Ordering::Equal => max.position,
                std::cmp::Ordering::Greater => return Ok(()),
            };
            let Some(start) = segment.translate_offset(fetch_offset, end)? else {
                candidate = self.higher_segment(base_offset);
                continue;
            };
            let wanted = if min_one_message { max_bytes.max(start.size_bytes) } else { max_bytes };
            let len = wanted.min((end - start.position) as usize);
            if len == 0 {
                return Ok(());
            }
            info.first_entry_incomplete = wanted < start.size_bytes;
            info.records = Records::File(FileSlice { file: segment.file()?, position: start.position, len });
            if let Some(aborted) = &mut info.aborted_transactions {
                let next_segment = || self.higher_segment(base_offset).map(|next| next.base_offset());
                let upper_bound = segment.offset_after_position(start.position + len as u64)?.or_else(next_segment).unwrap_or(max.offset);
                *aborted = self.collect_aborted(segment, fetch_offset, upper_bound.min(max.offset))?;
            }
            return Ok(());
        }
        Ok(())
    }

    fn collect_aborted(&self, first: Arc<Segment>, from: i64, to: i64) -> Result<Vec<AbortedTransaction>, StorageError> {
        let mut found = Vec::new();
        let mut candidate = Some(first);
        while let Some(segment) = candidate {
            if segment.collect_aborted(from, to, &mut found)? {
                break;
            }
            candidate = self.higher_segment(segment.base_offset());
        }
        Ok(found.iter().map(|txn| AbortedTransaction { producer_id: txn.producer_id, first_offset: txn.first_offset }).collect())
    }

    /// Where an offset is; the log's end for one beyond it.
    fn resolve(&self, offset: i64) -> Result<OffsetMetadata, StorageError> {
        let log_end = self.offsets().log_end;
        if offset >= log_end.offset {
            return Ok(log_end);
        }
        let mut candidate = self.floor_segment(offset);
        if candidate.is_none() {
            candidate = self.segments().values().next().cloned();
        }
        while let Some(segment) = candidate {
            let segment_base_offset = segment.base_offset();
            if let Some(found) = segment.translate_offset(offset, segment.size_bytes())? {
                return Ok(OffsetMetadata { offset, segment_base_offset, position: found.position });
            }
            candidate = self.higher_segment(segment_base_offset);
        }
        Ok(OffsetMetadata { offset, ..log_end })
    }

    pub fn log_start_offset(&self) -> i64 {
        self.offsets().log_start_offset
    }

    pub fn log_end_offset(&self) -> i64 {
        self.offsets().log_end.offset
    }

    pub fn high_watermark(&self) -> i64 {
        self.offsets().high_watermark.offset
    }

    /// The offset below which every transaction is decided; never above the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        self.offsets().last_stable().offset
    }

    /// Moves the high watermark forward to `offset` (clipped to the log); true when it moved.
    pub fn maybe_increment_high_watermark(&self, offset: i64) -> bool {
        let mut writer = self.writer();
        if offset <= self.high_watermark() {
            return false;
        }
        self.set_high_watermark(&mut writer, offset)
    }

    /// Sets the high watermark (clipped to the log), also backwards: becoming follower, start from the checkpoint.
    pub fn update_high_watermark(&self, offset: i64) {
        let mut writer = self.writer();
        self.set_high_watermark(&mut writer, offset);
    }

    fn set_high_watermark(&self, writer: &mut Writer, offset: i64) -> bool {
        let before = self.high_watermark();
        let offset = offset.max(self.log_start_offset());
        // A place that cannot be read now is found again, or fails, when a reader wants it.
        let Ok(high_watermark) = self.dir_health.note(self.resolve(offset)) else { return false };
        self.offsets().high_watermark = high_watermark;
        writer.producers.on_high_watermark_updated(high_watermark.offset);
        let _ = self.dir_health.note(self.update_first_unstable(writer));
        high_watermark.offset != before
    }

    fn update_first_unstable(&self, writer: &Writer) -> Result<(), StorageError> {
        let log_start_offset = self.log_start_offset();
        let offset = writer.producers.first_unstable_offset().map(|offset| offset.max(log_start_offset));
        if self.offsets().first_unstable.map(|known| known.offset) != offset {
            let first_unstable = match offset {
                Some(offset) => Some(self.resolve(offset)?),
                None => None,
            };
            self.offsets().first_unstable = first_unstable;
        }
        Ok(())
    }

    pub fn recovery_point(&self) -> i64 {
        self.offsets().recovery_point
    }

    pub fn size_bytes(&self) -> u64 {
        self.segments().values().map(|segment| segment.size_bytes()).sum()
    }

    /// The first offset whose timestamp is at least `timestamp` (or a special one) for ListOffsets; None when there is none.
    /// Does not look at isolation: the caller bounds LATEST and what is found.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampAndOffset>, StorageError> {
        self.dir_health.check()?;
        let found = self.find_offset_for_timestamp(timestamp);
        self.dir_health.note(found)
    }

    fn find_offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampAndOffset>, StorageError> {
        let offsets = *self.offsets();
        let without_time = |offset, leader_epoch: Option<i32>| {
            Ok(Some(TimestampAndOffset { timestamp: -1, offset, leader_epoch: leader_epoch.unwrap_or(-1) }))
        };
        let record = |found: Option<(i64, i64, i32)>| {
            Ok(found.map(|(timestamp, offset, leader_epoch)| TimestampAndOffset { timestamp, offset, leader_epoch }))
        };
        match timestamp {
            EARLIEST_TIMESTAMP | EARLIEST_LOCAL_TIMESTAMP => {
                let start = offsets.log_start_offset;
                let epoch = self.epochs().earliest().filter(|&(_, begins)| begins <= start).map(|(epoch, _)| epoch);
                without_time(start, epoch)
            }
            LATEST_TIMESTAMP => without_time(offsets.log_end.offset, self.latest_epoch()),
            LATEST_TIERED_TIMESTAMP | EARLIEST_PENDING_UPLOAD_TIMESTAMP => without_time(-1, None),
            MAX_TIMESTAMP => {
                let mut latest: Option<(i64, Arc<Segment>)> = None;
                for segment in self.all_segments() {
                    let max_timestamp = segment.max_timestamp()?;
                    if latest.as_ref().is_none_or(|(known, _)| max_timestamp > *known) {
                        latest = Some((max_timestamp, segment));
                    }
                }
                match latest {
                    Some((_, segment)) => record(segment.find_max_timestamp()?),
                    None => Ok(None),
                }
            }
            _ => {
                // Differs: Kafka stops at the first segment whose largest timestamp will do, and finds nothing when all of it lies before
                // the log start offset.
                for segment in self.all_segments() {
                    if segment.largest_timestamp()? >= timestamp
                        && let Some(found) = segment.find_offset_by_timestamp(timestamp, offsets.log_start_offset)?
                    {
                        return record(Some(found));
                    }
                }
                Ok(None)
            }
        }
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

    /// DeleteRecords: moves the log start offset to `offset`; OFFSET_OUT_OF_RANGE when it lies above the high watermark. Gives the log start offset.
    pub fn delete_records_before(&self, offset: i64) -> Result<i64, ReadError> {
        let mut writer = self.open_writer()?;
        let offsets = *self.offsets();
        if offset < 0 || offset > offsets.high_watermark.offset {
            let log_end_offset = offsets.log_end.offset;
            return Err(ReadError::OffsetOutOfRange { offset, log_start_offset: offsets.log_start_offset, log_end_offset });
        }
        let moved = self.increment_log_start_offset(&mut writer, offset);
        self.dir_health.note(moved)?;
        Ok(self.log_start_offset())
    }

    /// Moves the log start offset forward (a follower told by its leader, a Raft snapshot), at most to the high watermark; true when it moved.
    pub fn maybe_increment_log_start_offset(&self, offset: i64) -> Result<bool, StorageError> {
        let mut writer = self.open_writer()?;
        let offset = offset.min(self.high_watermark());
        let moved = self.increment_log_start_offset(&mut writer, offset);
        self.dir_health.note(moved)
    }

    fn increment_log_start_offset(&self, writer: &mut Writer, offset: i64) -> Result<bool, StorageError> {
        if offset <= self.log_start_offset() {
            return Ok(false);
        }
        self.offsets().log_start_offset = offset;
        self.epochs().truncate_from_start(offset)?;
        writer.producers.on_log_start_offset_incremented(offset);
        self.update_first_unstable(writer)?;
        Ok(true)
    }

    /// Cuts the log so that its end is at most `offset`; true when something was cut.
    pub fn truncate_to(&self, offset: i64) -> Result<bool, StorageError> {
        let mut writer = self.open_writer()?;
        let cut = self.truncate(&mut writer, offset);
        self.dir_health.note(cut)
    }

    fn truncate(&self, writer: &mut Writer, offset: i64) -> Result<bool, StorageError> {
        let log_end_offset = self.log_end_offset();
        if offset >= log_end_offset {
            // There may be an epoch that began at the end and never wrote a record.
            self.epochs().truncate_from_end(log_end_offset)?;
            return Ok(false);
        }
        let first = self.segments().keys().next().copied().unwrap_or(0);
        if first > offset {
            self.start_at(writer, offset)?;
            return Ok(true);
        }
        tracing::info!(topic_partition = %self.topic_partition, offset, "truncating the log");
        self.offsets().truncations += 1;
        let later = self.segments_mut().split_off(&(offset + 1));
        self.delete_files(writer, later.into_values().collect())?;
        let active = self.active();
        // Readers must not follow the high watermark beyond the cut while it is made.
        let log_end = {
            let end = active.translate_offset(offset, active.size_bytes())?.map_or(active.size_bytes(), |found| found.position);
            OffsetMetadata { offset, segment_base_offset: active.base_offset(), position: end }
        };
        {
            let mut offsets = self.offsets();
            offsets.log_end = log_end;
            offsets.recovery_point = offsets.recovery_point.min(offset);
            offsets.log_start_offset = offsets.log_start_offset.min(offset);
            if offsets.high_watermark.offset >= offset {
                offsets.high_watermark = log_end;
            }
        }
        active.truncate_to(offset, self.clock.now_ms())?;
        self.epochs().truncate_from_end(offset)?;
        let segments = self.segments().clone();
        loader::rebuild_producer_state(&mut writer.producers, &segments, self.log_start_offset(), offset, self.clock.now_ms(), false)?;
        self.offsets().first_unstable = None;
        self.update_first_unstable(writer)?;
        Ok(true)
    }

    /// Empties the log; it goes on at `offset`.
    pub fn truncate_fully_and_start_at(&self, offset: i64) -> Result<(), StorageError> {
        let mut writer = self.open_writer()?;
        let emptied = self.start_at(&mut writer, offset);
        self.dir_health.note(emptied)
    }

    fn start_at(&self, writer: &mut Writer, offset: i64) -> Result<(), StorageError> {
        tracing::info!(topic_partition = %self.topic_partition, offset, "truncating the log fully");
        let old = self.segments_mut().split_off(&i64::MIN);
        // Between here and the insertion readers find no segment, which reads as an empty log.
        self.delete_files(writer, old.into_values().collect())?;
        let segment = Arc::new(Segment::open(&self.dir(), offset, &self.config(), self.clock.now_ms(), true, "")?);
        self.segments_mut().insert(offset, segment);
        self.epochs().clear()?;
        writer.producers.truncate_fully_and_start_at(offset)?;
        let start = OffsetMetadata { offset, segment_base_offset: offset, position: 0 };
        let mut offsets = self.offsets();
        offsets.log_start_offset = offset;
        offsets.log_end = start;
        offsets.high_watermark = start;
        offsets.first_unstable = None;
        offsets.recovery_point = offsets.recovery_point.min(offset);
        offsets.truncations += 1;
        Ok(())
    }

    /// Begins a new segment at the log end offset; does nothing when the active one is empty.
    pub fn roll(&self) -> Result<(), StorageError> {
        let mut writer = self.open_writer()?;
        let rolled = self.roll_at(&mut writer, &self.config(), self.log_end_offset());
        self.dir_health.note(rolled)
    }

    fn roll_at(&self, writer: &mut Writer, config: &LogConfig, expected_next_offset: i64) -> Result<(), StorageError> {
        let log_end_offset = self.log_end_offset();
        let base_offset = expected_next_offset.max(log_end_offset);
        let active = self.active();
        if active.base_offset() == base_offset {
            return Ok(());
        }
        active.on_become_inactive()?;
        let segment = Arc::new(Segment::open(&self.dir(), base_offset, config, self.clock.now_ms(), true, "")?);
        self.segments_mut().insert(base_offset, segment);
        // The snapshot that recovery of the new segment begins with.
        writer.producers.set_map_end_offset(base_offset);
        let snapshot = writer.producers.take_snapshot(false)?;
        writer.unsynced_snapshots.extend(snapshot);
        let mut offsets = self.offsets();
        offsets.log_end = OffsetMetadata { offset: log_end_offset, segment_base_offset: base_offset, position: 0 };
        if offsets.high_watermark.offset >= log_end_offset {
            offsets.high_watermark = offsets.log_end;
        }
        Ok(())
    }

    /// fsync of everything up to the log end offset; moves the recovery point.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.dir_health.check()?;
        self.flush_below(i64::MAX)
    }

    /// fsync of the segments before the active one, which a roll leaves to be done.
    pub fn flush_rolled(&self) -> Result<(), StorageError> {
        let active_base_offset = {
            let _writer = self.open_writer()?;
            self.active().base_offset()
        };
        if self.recovery_point() >= active_base_offset { Ok(()) } else { self.flush_below(active_base_offset) }
    }

    /// Does not hold the writer lock while it syncs, so that appends go on.
    fn flush_below(&self, limit: i64) -> Result<(), StorageError> {
        let snapshots = std::mem::take(&mut self.writer().unsynced_snapshots);
        let flushed = snapshots.iter().try_for_each(|path| fs::sync_path(path)).and_then(|()| self.sync(limit));
        self.dir_health.note(flushed)
    }

    fn flush_segments(&self, writer: &mut Writer) -> Result<(), StorageError> {
        std::mem::take(&mut writer.unsynced_snapshots).iter().try_for_each(|path| fs::sync_path(path))?;
        self.sync(i64::MAX)
    }

    /// What the records rest on and the records themselves, side by side.
    fn sync(&self, limit: i64) -> Result<(), StorageError> {
        if self.closed.load(Ordering::Acquire) || !self.identity_is_unwritten() {
            return self.sync_segments(limit);
        }
        std::thread::scope(|scope| {
            let identity = std::thread::Builder::new().spawn_scoped(scope, || self.write_identity());
            let synced = self.sync_segments(limit);
            let written = match identity {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => self.write_identity(),
            };
            written.and(synced)
        })
    }

    fn sync_segments(&self, limit: i64) -> Result<(), StorageError> {
        let before = *self.offsets();
        let end = before.log_end.offset.min(limit);
        if end <= before.recovery_point {
            return Ok(());
        }
        let unflushed: Vec<Arc<Segment>> = {
            let segments = self.segments();
            let from = segments.range(..=before.recovery_point).next_back().map_or(i64::MIN, |(base, _)| *base);
            segments.range(from..end).map(|(_, segment)| segment.clone()).collect()
        };
        for segment in &unflushed {
            segment.flush()?;
        }
        if unflushed.iter().any(|segment| segment.base_offset() >= before.recovery_point) {
            fs::sync_dir(&self.dir())?;
        }
        let now_ms = self.clock.now_ms();
        let mut offsets = self.offsets();
        offsets.last_flush_time_ms = now_ms;
        if offsets.truncations == before.truncations {
            offsets.recovery_point = offsets.recovery_point.max(end);
        }
        Ok(())
    }

    /// Wall-clock time of the last flush, ms.
    pub fn last_flush_time_ms(&self) -> i64 {
        self.offsets().last_flush_time_ms
    }

    /// For a clean stop: producer snapshot, index files cut to size. Flush first. The log must not be used afterwards.
    pub fn close(&self) -> Result<(), StorageError> {
        let mut writer = self.open_writer()?;
        self.closed.store(true, Ordering::Release);
        let closed = writer.producers.take_snapshot(true).and_then(|_| {
            let active = self.active();
            active.on_become_inactive()?;
            active.release_files()
        });
        self.dir_health.note(closed.map(|_| ()))
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

    pub fn remove_expired_producers(&self) {
        self.writer().producers.remove_expired(self.clock.now_ms());
    }

    /// Base offset of the oldest segment.
    pub fn first_segment_base_offset(&self) -> i64 {
        self.segments().keys().next().copied().unwrap_or(0)
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
