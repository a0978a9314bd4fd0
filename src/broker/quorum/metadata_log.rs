//! The metadata log on disk: a partition's log like any other, `__cluster_metadata-0`, under Raft's rules.
//!
//! Invariant: it is opened as after a crash, always: every batch is checked before it is believed.
//! Source: Kafka's `KafkaMetadataLog` (`KafkaRaftLog` in 4.3).

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::common::clock::Clock;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::protocol::records::Records;
use crate::raft::log::{RaftLog, RaftLogError};
use crate::storage::config::LogConfig;
use crate::storage::errors::AppendError;
use crate::storage::log::{FetchIsolation, Log, LogOptions};

/// The name of the metadata log's directory.
pub const METADATA_DIR: &str = "__cluster_metadata-0";

/// The metadata log's topic ID.
pub const METADATA_TOPIC_ID: Uuid = Uuid::from_u128(1);

/// How the metadata log is cut into segments.
#[derive(Debug, Clone, Copy)]
pub struct MetadataLogConfig {
    /// `metadata.log.segment.bytes`.
    pub segment_bytes: i32,
    /// `metadata.log.segment.ms`.
    pub segment_ms: i64,
}

impl Default for MetadataLogConfig {
    fn default() -> MetadataLogConfig {
        let LogConfig { segment_bytes, segment_ms, .. } = LogConfig::default();
        MetadataLogConfig { segment_bytes, segment_ms }
    }
}

/// The metadata log over [`crate::storage`].
pub(super) struct MetadataLog {
    log: Log,
}

fn failed(error: impl std::fmt::Display) -> RaftLogError {
    RaftLogError::Failed(format!("metadata log: {error}"))
}

impl MetadataLog {
    /// Opens or creates the log below `metadata_log_dir`; the log begins at `start_offset` at the earliest.
    pub(super) fn open(
        metadata_log_dir: &Path,
        start_offset: i64,
        config: &MetadataLogConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<MetadataLog, RaftLogError> {
        let config = LogConfig {
            segment_bytes: config.segment_bytes,
            segment_ms: config.segment_ms,
            retention_ms: -1,
            max_message_bytes: i32::MAX,
            message_timestamp_after_max_ms: i64::MAX,
            ..LogConfig::default()
        };
        let topic_partition = TopicPartition { topic: crate::common::topic_name::CLUSTER_METADATA.to_owned(), partition: 0 };
        let options = LogOptions {
            topic_id: Some(METADATA_TOPIC_ID),
            records_count_when_flushed: true,
            log_start_offset: start_offset,
            ..LogOptions::new(metadata_log_dir.join(METADATA_DIR), topic_partition, Arc::new(config), clock)
        };
        let log = Log::open(options).map_err(failed)?;
        log.update_high_watermark(log.log_end_offset());
        Ok(MetadataLog { log })
    }

    /// Unlinks the files of segments that were deleted a while ago.
    pub(super) fn remove_deleted_files(&mut self) -> Result<(), RaftLogError> {
        self.log.remove_deleted_files().map_err(failed)
    }

    /// A clean stop.
    pub(super) fn close(&mut self) -> Result<(), RaftLogError> {
        self.log.flush().map_err(failed)?;
        self.log.close().map_err(failed)
    }
}

impl RaftLog for MetadataLog {
    fn append(&mut self, batches: &[u8]) -> Result<(), RaftLogError> {
        self.log.append_as_follower(batches).map(drop).map_err(|error| match error {
            AppendError::Storage(storage) if storage.is_full() && self.log.is_online() => {
                RaftLogError::Full(format!("metadata log: {storage}"))
            }
            other => failed(other),
        })
    }

    fn flush(&mut self) -> Result<(), RaftLogError> {
        self.log.flush().map_err(failed)?;
        // Only segments below the high watermark may be deleted later.
        self.log.maybe_increment_high_watermark(self.log.log_end_offset());
        Ok(())
    }

    fn read(&self, offset: i64, max_bytes: usize) -> Result<Bytes, RaftLogError> {
        let read = self.log.read(offset, max_bytes, true, FetchIsolation::LogEnd).map_err(failed)?;
        match read.records {
            Records::Bytes(bytes) => Ok(bytes),
            Records::File(slice) => {
                let mut bytes = vec![0; slice.len];
                std::os::unix::fs::FileExt::read_exact_at(&*slice.file, &mut bytes, slice.position).map_err(failed)?;
                Ok(bytes.into())
            }
        }
    }

    fn start_offset(&self) -> i64 {
        self.log.log_start_offset()
    }

    fn end_offset(&self) -> i64 {
        self.log.log_end_offset()
    }

    fn last_epoch(&self) -> i32 {
        self.log.latest_epoch().unwrap_or(0)
    }

    fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.log.end_offset_for_epoch(epoch)
    }

    fn truncate_to(&mut self, offset: i64) -> Result<(), RaftLogError> {
        self.log.truncate_to(offset).map(drop).map_err(failed)
    }

    fn truncate_fully_and_start_at(&mut self, offset: i64) -> Result<(), RaftLogError> {
        self.log.truncate_fully_and_start_at(offset).map_err(failed)
    }

    fn delete_before(&mut self, offset: i64) -> Result<(), RaftLogError> {
        self.log.maybe_increment_log_start_offset(offset).map_err(failed)?;
        self.log.delete_old_segments().map(drop).map_err(failed)
    }

    fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }
}
