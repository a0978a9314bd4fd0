//! Record batches of magic 2 (KIP-98): a view over bytes for those who store and serve them, records for those who read them, a
//! builder for those who write them.
//!
//! - [`Batches`] walks concatenated batches; each is a [`BatchView`]: its parsed [`BatchHeader`], its CRC, its records.
//! - Records come four ways, cheapest first: [`BatchView::summaries`] (sizes, offsets and timestamps: what a leader validates),
//!   [`BatchView::visit_records`] (borrowed, one buffer for all), [`BatchView::records_shared`] (owned, slices of a `Bytes` that
//!   holds the batch) and [`BatchView::records`] (owned).
//! - [`BatchViewMut`] stamps offsets, epochs and timestamps in place.
//! - [`BatchBuilder`] writes batches; [`ControlRecord`] is what control batches hold.
//!
//! Sources: Kafka's `DefaultRecordBatch`, `DefaultRecord`, `MemoryRecordsBuilder`, `ByteBufferLogInputStream`, `ControlRecordType`.
//!
//! Invariant: no byte of a batch makes this module panic. No declared length or count is allocated for before its bytes are there;
//! what decompression may yield is bounded by [`DecompressionLimits`].

use crate::protocol::error_code::ErrorCode;

mod builder;
mod control;
mod header;
mod record;
mod view;

pub use builder::{BatchBuilder, CompressionRatio, empty_batch, record_size};
pub use control::{ControlRecord, ControlRecordType};
pub use header::{
    BATCH_OVERHEAD, BatchHeader, BatchViewMut, HEADER_SIZE_UP_TO_MAGIC, LOG_OVERHEAD, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType, decrement_sequence, increment_sequence,
};
pub use record::{HeaderRefs, Record, RecordHeader, RecordRef, RecordSummary};
pub use view::{BatchView, Batches, RecordIter, Summaries};

/// How much a compressed batch may yield. What is beyond is [`BatchError::TooLarge`], found while it streams: a record's buffer grows
/// with the bytes that really come out of the decompressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressionLimits {
    /// The largest record, in bytes; no limit on those that are only summed up ([`BatchView::summaries`]).
    pub max_record_bytes: usize,
    /// All records of one batch together, in bytes.
    pub max_batch_bytes: u64,
}

impl Default for DecompressionLimits {
    /// 256 MiB a record, 1 GiB a batch: far above what `message.max.bytes` and usual compression ratios give, far below what a
    /// megabyte of crafted zstd can expand to.
    fn default() -> Self {
        DecompressionLimits { max_record_bytes: 256 << 20, max_batch_bytes: 1 << 30 }
    }
}

/// What is wrong with bytes that should be a batch, or with what a builder was asked to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More bytes could make it valid: the usual end of a fetch response, a torn write at the end of a log, or a short request
    /// (CORRUPT_MESSAGE there).
    #[error("the batch at position {position} needs {needed} bytes, but only {available} are there")]
    Truncated { position: usize, needed: usize, available: usize },
    /// CORRUPT_MESSAGE.
    #[error("the batch at position {position} declares an impossible length of {length}")]
    InvalidLength { position: usize, length: i32 },
    /// The message formats before Kafka 0.11 (KIP-896 and KIP-724 ended them): UNSUPPORTED_FOR_MESSAGE_FORMAT, or INVALID_RECORD in
    /// Produce.
    #[error("the batch at position {position} has the old message format {magic}")]
    OldMagic { position: usize, magic: i8 },
    /// CORRUPT_MESSAGE.
    #[error("invalid magic {magic} in the batch at position {position}")]
    InvalidMagic { position: usize, magic: i8 },
    /// CORRUPT_MESSAGE.
    #[error("Record is corrupt (stored crc = {stored}, computed crc = {computed})")]
    CrcMismatch { stored: u32, computed: u32 },
    /// UNSUPPORTED_COMPRESSION_TYPE.
    #[error("Unknown compression type id: {id}")]
    UnknownCompression { id: u8 },
    /// The header contradicts itself: INVALID_RECORD. Kafka's text.
    #[error("{0}")]
    InvalidBatch(String),
    /// INVALID_RECORD.
    #[error("record {index} of the batch is invalid: {reason}")]
    InvalidRecord { index: usize, reason: &'static str },
    /// The compressed stream is broken: CORRUPT_MESSAGE.
    #[error("failed to decompress record {index} of the batch: {reason}")]
    Decompression { index: usize, reason: String },
    /// More than [`DecompressionLimits`] allow: MESSAGE_TOO_LARGE.
    #[error("the batch expands beyond the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    /// A builder cannot write this record or this header.
    #[error("{0}")]
    Unwritable(&'static str),
}

impl BatchError {
    /// The code a broker answers with. Produce gives INVALID_RECORD for [`BatchError::OldMagic`].
    pub fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::Truncated { .. }
            | BatchError::InvalidLength { .. }
            | BatchError::InvalidMagic { .. }
            | BatchError::CrcMismatch { .. }
            | BatchError::Decompression { .. } => ErrorCode::CorruptMessage,
            BatchError::OldMagic { .. } => ErrorCode::UnsupportedForMessageFormat,
            BatchError::UnknownCompression { .. } => ErrorCode::UnsupportedCompressionType,
            BatchError::InvalidBatch(_) | BatchError::InvalidRecord { .. } => ErrorCode::InvalidRecord,
            BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            BatchError::Unwritable(_) => ErrorCode::UnknownServerError,
        }
    }

    /// The same error of a batch that starts `offset` bytes later.
    pub(crate) fn at(self, offset: usize) -> BatchError {
        match self {
            BatchError::Truncated { position, needed, available } => {
                BatchError::Truncated { position: position + offset, needed, available }
            }
            BatchError::InvalidLength { position, length } => BatchError::InvalidLength { position: position + offset, length },
            BatchError::OldMagic { position, magic } => BatchError::OldMagic { position: position + offset, magic },
            BatchError::InvalidMagic { position, magic } => BatchError::InvalidMagic { position: position + offset, magic },
            other => other,
        }
    }
}

impl From<BatchError> for ErrorCode {
    fn from(error: BatchError) -> ErrorCode {
        error.error_code()
    }
}

#[cfg(test)]
mod tests;
