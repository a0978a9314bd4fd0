//! One partition's log: segments, indexes, leader epochs, producer state, high watermark. Source: `UnifiedLog`, `LocalLog`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::clock::Clock;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::protocol::records::Records;

use super::config::LogConfig;
use super::errors::{AppendError, ReadError, RecordError, StorageError};

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
    /// The leader's high watermark and so on may move: did the log end offset change?
    pub record_errors: Vec<RecordError>,
}

/// A transaction that was aborted inside the range that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// What a read gives: whole batches from the one that holds the fetch offset on, and the offsets at that moment.
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
    /// Written to `partition.metadata` when that file is missing; None leaves it alone.
    pub topic_id: Option<Uuid>,
    pub config: Arc<LogConfig>,
    pub clock: Arc<dyn Clock>,
    /// From `log-start-offset-checkpoint`; 0 when absent.
    pub log_start_offset: i64,
    /// From `recovery-point-offset-checkpoint`; 0 when absent: everything from here on is scanned unless the stop was clean.
    pub recovery_point: i64,
    pub had_clean_shutdown: bool,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
}

impl LogOptions {
    /// A log with defaults, opened as after an unclean stop.
    pub fn new(dir: impl Into<PathBuf>, topic_partition: TopicPartition, config: Arc<LogConfig>, clock: Arc<dyn Clock>) -> LogOptions {
        LogOptions {
            dir: dir.into(),
            topic_partition,
            topic_id: None,
            config,
            clock,
            log_start_offset: 0,
            recovery_point: 0,
            had_clean_shutdown: false,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
        }
    }
}

/// One partition's log. Shared as `Arc<Log>`: appends and other changes exclude each other inside, reads run beside them.
pub struct Log {
    options: LogOptions,
}

#[allow(unused_variables, clippy::unimplemented)]
impl Log {
    /// Opens or creates the log, recovering it when `had_clean_shutdown` is false.
    pub fn open(options: LogOptions) -> Result<Log, StorageError> {
        Ok(Log { options })
    }

    pub fn topic_partition(&self) -> &TopicPartition {
        &self.options.topic_partition
    }

    /// The id in `partition.metadata`.
    pub fn topic_id(&self) -> Option<Uuid> {
        unimplemented!()
    }

    pub fn dir(&self) -> PathBuf {
        unimplemented!()
    }

    pub fn config(&self) -> Arc<LogConfig> {
        unimplemented!()
    }

    pub fn update_config(&self, config: Arc<LogConfig>) {
        unimplemented!()
    }

    /// Validates `records` (magic 2 batches), gives them offsets and `leader_epoch`, appends. `records` itself is not changed, and is
    /// not copied unless it must be rewritten (recompression).
    pub fn append_as_leader(&self, records: &[u8], leader_epoch: i32, origin: AppendOrigin) -> Result<AppendInfo, AppendError> {
        unimplemented!()
    }

    /// Appends batches that carry their offsets and epochs already.
    pub fn append_as_follower(&self, records: &[u8]) -> Result<AppendInfo, AppendError> {
        unimplemented!()
    }

    /// Whole batches beginning with the one that holds `fetch_offset`, at most `max_bytes`, unless `min_one_message` and the first is larger.
    pub fn read(
        &self,
        fetch_offset: i64,
        max_bytes: usize,
        min_one_message: bool,
        isolation: FetchIsolation,
    ) -> Result<ReadInfo, ReadError> {
        unimplemented!()
    }

    pub fn log_start_offset(&self) -> i64 {
        unimplemented!()
    }

    pub fn log_end_offset(&self) -> i64 {
        unimplemented!()
    }

    pub fn high_watermark(&self) -> i64 {
        unimplemented!()
    }

    /// The offset below which every transaction is decided; never above the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        unimplemented!()
    }

    /// Moves the high watermark forward to `offset` (clipped to the log); true when it moved.
    pub fn maybe_increment_high_watermark(&self, offset: i64) -> bool {
        unimplemented!()
    }

    /// Sets the high watermark (clipped to the log), also backwards: becoming follower, start from the checkpoint.
    pub fn update_high_watermark(&self, offset: i64) {
        unimplemented!()
    }

    pub fn recovery_point(&self) -> i64 {
        unimplemented!()
    }

    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// The first offset whose timestamp is at least `timestamp` (or a special one) for ListOffsets; None when there is none.
    /// Does not look at isolation: the caller bounds LATEST and what is found.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampAndOffset>, StorageError> {
        unimplemented!()
    }

    /// The epoch of the last entry of the leader epoch file.
    pub fn latest_epoch(&self) -> Option<i32> {
        unimplemented!()
    }

    /// OffsetForLeaderEpoch: the largest epoch not above `leader_epoch` and where it ends; None when it is unknown.
    pub fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<(i32, i64)> {
        unimplemented!()
    }

    /// Becoming leader: `leader_epoch` begins at the log end offset.
    pub fn assign_epoch_start_offset(&self, leader_epoch: i32, start_offset: i64) -> Result<(), StorageError> {
        unimplemented!()
    }

    /// DeleteRecords: moves the log start offset to `offset`; OFFSET_OUT_OF_RANGE when it lies above the high watermark. Gives the log start offset.
    pub fn delete_records_before(&self, offset: i64) -> Result<i64, ReadError> {
        unimplemented!()
    }

    /// Moves the log start offset forward (a follower told by its leader, a Raft snapshot); true when it moved.
    pub fn maybe_increment_log_start_offset(&self, offset: i64) -> Result<bool, StorageError> {
        unimplemented!()
    }

    /// Cuts the log so that its end is at most `offset`; true when something was cut.
    pub fn truncate_to(&self, offset: i64) -> Result<bool, StorageError> {
        unimplemented!()
    }

    /// Empties the log; it goes on at `offset`.
    pub fn truncate_fully_and_start_at(&self, offset: i64) -> Result<(), StorageError> {
        unimplemented!()
    }

    /// Retention: by log start offset always, by time and size when the policy says delete. Gives the number of segments deleted.
    pub fn delete_old_segments(&self) -> Result<usize, StorageError> {
        unimplemented!()
    }

    /// Begins a new segment at the log end offset; does nothing when the active one is empty.
    pub fn roll(&self) -> Result<(), StorageError> {
        unimplemented!()
    }

    /// fsync of everything up to the log end offset; moves the recovery point.
    pub fn flush(&self) -> Result<(), StorageError> {
        unimplemented!()
    }

    /// Wall-clock time of the last flush, ms.
    pub fn last_flush_time_ms(&self) -> i64 {
        unimplemented!()
    }

    /// For a clean stop: producer snapshot, index files cut to size. Flush first. The log must not be used afterwards.
    pub fn close(&self) -> Result<(), StorageError> {
        unimplemented!()
    }

    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        unimplemented!()
    }

    pub fn remove_expired_producers(&self) {
        unimplemented!()
    }

    /// Paths of the segment files, oldest first (for tools and tests).
    pub fn segment_paths(&self) -> Vec<PathBuf> {
        unimplemented!()
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
