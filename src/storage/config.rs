//! The configs of one topic that its logs obey. Source: `LogConfig`.

/// `message.timestamp.type`.
pub use crate::protocol::batch::TimestampType;
use crate::protocol::compression::Compression;

/// How a topic's data is limited; both may hold, and neither (an empty `cleanup.policy`) keeps everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub compact: bool,
    pub delete: bool,
}

/// `compression.type` of a topic, levels included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// Keep what the producer sent.
    Producer,
    Uncompressed,
    Gzip {
        level: i32,
    },
    Snappy,
    Lz4 {
        level: i32,
    },
    Zstd {
        level: i32,
    },
}

impl CompressionType {
    /// The codec to store with when it differs from `source`, and its level; None keeps the batch as it is.
    pub fn recompress(self, source: Compression) -> Option<(Compression, Option<i32>)> {
        let (target, level) = match self {
            CompressionType::Producer => return None,
            CompressionType::Uncompressed => (Compression::None, None),
            CompressionType::Gzip { level } => (Compression::Gzip, Some(level)),
            CompressionType::Snappy => (Compression::Snappy, None),
            CompressionType::Lz4 { level } => (Compression::Lz4, Some(level)),
            CompressionType::Zstd { level } => (Compression::Zstd, Some(level)),
        };
        (target != source).then_some((target, level))
    }
}

/// Typed topic configs, every field named as the config with `.` as `_`. Times are milliseconds, sizes bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    pub segment_bytes: i32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: i32,
    pub flush_messages: i64,
    pub flush_ms: i64,
    /// Negative: no limit.
    pub retention_bytes: i64,
    /// Negative: no limit.
    pub retention_ms: i64,
    pub max_message_bytes: i32,
    pub index_interval_bytes: i32,
    pub file_delete_delay_ms: i64,
    pub delete_retention_ms: i64,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    pub cleanup_policy: CleanupPolicy,
    pub unclean_leader_election_enable: bool,
    pub min_insync_replicas: i32,
    pub compression_type: CompressionType,
    pub preallocate: bool,
    pub message_timestamp_type: TimestampType,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_after_max_ms: i64,
}

impl LogConfig {
    /// The time after which the active segment rolls.
    pub fn max_segment_ms(&self) -> i64 {
        if self.cleanup_policy.compact && self.max_compaction_lag_ms > 0 {
            self.max_compaction_lag_ms.min(self.segment_ms)
        } else {
            self.segment_ms
        }
    }
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 * 1024 * 1024,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            retention_bytes: -1,
            retention_ms: 7 * DAY_MS,
            max_message_bytes: 1024 * 1024 + 12,
            index_interval_bytes: 4096,
            file_delete_delay_ms: 60_000,
            delete_retention_ms: DAY_MS,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            cleanup_policy: CleanupPolicy { compact: false, delete: true },
            unclean_leader_election_enable: false,
            min_insync_replicas: 1,
            compression_type: CompressionType::Producer,
            preallocate: false,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 60 * 60 * 1000,
        }
    }
}
