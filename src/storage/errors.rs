//! Why a log operation fails. The wire's error codes are assigned in one place, [`AppendError::error_code`] and its like.

use std::path::PathBuf;
use std::sync::Arc;

/// A failed file operation: which file and why. It has already taken the file's log directory offline when this is seen, unless there was
/// no space ([`StorageError::is_full`]).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct StorageError {
    pub path: PathBuf,
    /// Not called `source`: the text above says it, and whoever prints the chain of causes would say it twice.
    pub reason: Arc<std::io::Error>,
}

impl StorageError {
    pub fn new(path: impl Into<PathBuf>, reason: std::io::Error) -> StorageError {
        StorageError { path: path.into(), reason: Arc::new(reason) }
    }

    /// There was no space. Unlike every other error this one says nothing about the disk's health, and what was to be written may be
    /// written later. Of a sync it is never said: what a failed sync leaves, nobody knows.
    pub fn is_full(&self) -> bool {
        matches!(self.reason.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    }
}

/// One record that a produce request may not append. `batch_index` counts the records of the partition's data from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    pub batch_index: i32,
    pub message: String,
}

/// Why an append was refused; nothing of it was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// CORRUPT_MESSAGE.
    #[error("{0}")]
    CorruptMessage(String),
    /// INVALID_RECORD, with the records at fault when they are known.
    #[error("{message}")]
    InvalidRecord { message: String, record_errors: Vec<RecordError> },
    /// INVALID_TIMESTAMP, with the records at fault.
    #[error("{message}")]
    InvalidTimestamp { message: String, record_errors: Vec<RecordError> },
    /// MESSAGE_TOO_LARGE: a batch exceeds `max.message.bytes`.
    #[error("{0}")]
    MessageTooLarge(String),
    /// RECORD_LIST_TOO_LARGE: the whole append exceeds `segment.bytes`.
    #[error("{0}")]
    RecordListTooLarge(String),
    /// UNSUPPORTED_FOR_MESSAGE_FORMAT.
    #[error("{0}")]
    UnsupportedForMessageFormat(String),
    /// UNSUPPORTED_COMPRESSION_TYPE.
    #[error("{0}")]
    UnsupportedCompressionType(String),
    /// OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error("{0}")]
    OutOfOrderSequence(String),
    /// INVALID_PRODUCER_EPOCH.
    #[error("{0}")]
    InvalidProducerEpoch(String),
    /// INVALID_TXN_STATE.
    #[error("{0}")]
    InvalidTxnState(String),
    /// TRANSACTION_COORDINATOR_FENCED.
    #[error("{0}")]
    TransactionCoordinatorFenced(String),
    /// A follower was given batches that do not continue its log.
    #[error("{0}")]
    UnexpectedAppendOffset(String),
}

/// Why a read was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// OFFSET_OUT_OF_RANGE.
    #[error("offset {offset} is outside the log, which holds {log_start_offset} up to {log_end_offset}")]
    OffsetOutOfRange { offset: i64, log_start_offset: i64, log_end_offset: i64 },
}
