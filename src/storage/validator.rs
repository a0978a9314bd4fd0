//! What a leader checks and changes before it appends. Sources: `LogValidator`, `UnifiedLog.analyzeAndValidateRecords`.
//!
//! A client's batch: one, of magic 2, offsets from 0, whole checksum, as many records as it says, keys where the topic is compacted,
//! timestamps within bounds. It is kept as it is but for its header, unless the topic wants another codec or the records' offsets
//! have gaps; then it is written anew.
//!
//! A compressed batch is believed by its checksum and its header ([`Validator::header_suffices`]) and inflated only where the header
//! cannot tell: the topic is compacted or has another codec, or the header's timestamps are out of bounds or contradict each other.
//! Inflating is most of what a produce would cost: 4.5 s a GB with lz4 and 10 s with zstd or gzip, where all the rest is 1.4 s.
//!
//! Invariants: nothing here needs the log's lock; offsets and epoch are stamped later ([`StampedBatch::set_offset_and_epoch`]). What a
//! client's batch costs in memory and time is bounded, whatever it inflates to.
//!
//! Differs: what is in a compressed batch that its header describes well is not looked at, so a client that compresses nonsense is told by
//! nobody before a consumer is (whatever reads such a batch here reports it and goes on). A batch that inflates to more than [`Validator::limits`] is too large; only the first [`MAX_RECORD_ERRORS`] records at
//! fault are named. What this node itself writes (coordinators, the Raft leader) is checked as a whole, not record by record. A client's
//! uncompressed batch with gaps between its offsets is renumbered, as a compressed one is.

use std::borrow::Cow;

use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::{
    BATCH_OVERHEAD, BatchBuilder, BatchError, BatchHeader, BatchView, Batches, DecompressionLimits, TimestampType,
};
use crate::protocol::compression::Compression;

use super::config::LogConfig;
use super::errors::{AppendError, RecordError};
use super::log::AppendOrigin;
use super::segment::StampedBatch;

/// Records at fault that an answer names one by one. A compressed batch can have a thousand times more records than bytes.
const MAX_RECORD_ERRORS: usize = 10_000;
/// What any batch may inflate to, in bytes: some tenths of a second of a processor.
const INFLATED_BATCH_BYTES: u64 = 256 << 20;
/// Where `max.message.bytes` is large, a batch may inflate to this many times as much.
const INFLATED_BATCH_RATIO: u64 = 64;

/// Batches ready to be stamped and appended.
pub(super) struct Validated<'a> {
    pub(super) batches: Vec<StampedBatch<'a>>,
    /// -1 unless the topic stamps records with the time of their append.
    pub(super) log_append_time_ms: i64,
}

/// The circumstances of an append by a leader.
pub(super) struct Validator<'a> {
    pub(super) topic_partition: &'a TopicPartition,
    pub(super) config: &'a LogConfig,
    pub(super) origin: AppendOrigin,
    pub(super) leader_epoch: i32,
    pub(super) now_ms: i64,
}

impl Validator<'_> {
    /// Checks `records` and prepares its batches. Bytes after the last whole batch are ignored.
    pub(super) fn validate<'a>(&self, records: &'a [u8]) -> Result<Validated<'a>, AppendError> {
        let stamps_append_time = self.config.message_timestamp_type == TimestampType::LogAppendTime;
        let mut batches = Vec::new();
        for batch in Batches::new(records) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(BatchError::Truncated { .. }) if !batches.is_empty() => break,
                Err(error) => return Err(self.refused(error)),
            };
            if self.origin == AppendOrigin::Client && !batches.is_empty() {
                return Err(invalid_record("Compressed outer record has more than one batch".to_owned()));
            }
            batches.push(self.validate_batch(batch)?);
        }
        if batches.is_empty() {
            return Err(invalid_record("Record batch has no batches at all".to_owned()));
        }
        Ok(Validated { batches, log_append_time_ms: if stamps_append_time { self.now_ms } else { -1 } })
    }

    fn validate_batch<'a>(&self, batch: BatchView<'a>) -> Result<StampedBatch<'a>, AppendError> {
        let header = batch.header();
        let tp = self.topic_partition;
        let from_client = self.origin == AppendOrigin::Client;
        if self.origin == AppendOrigin::RaftLeader && header.partition_leader_epoch != self.leader_epoch {
            return Err(invalid_record(format!(
                "Append from Raft leader did not set the batch epoch correctly, expected {} but the batch has {}",
                self.leader_epoch, header.partition_leader_epoch
            )));
        }
        if from_client && header.base_offset != 0 {
            return Err(invalid_record(format!(
                "The baseOffset of the record batch in the append to {tp} should be 0, but it is {}",
                header.base_offset
            )));
        }
        let max_bytes = self.config.max_message_bytes.max(0) as usize;
        if self.origin != AppendOrigin::RaftLeader && header.size_bytes() > max_bytes {
            return Err(AppendError::MessageTooLarge(format!(
                "The record batch size in the append to {tp} is {} bytes which exceeds the maximum configured value of {max_bytes}).",
                header.size_bytes()
            )));
        }
        if batch.verify_crc().is_err() {
            return Err(AppendError::CorruptMessage(format!("Record is corrupt (stored crc = {}) in topic partition {tp}.", header.crc)));
        }
        if from_client {
            header.check_from_client().map_err(|error| invalid_record(format!("{error} in topic partition {tp}")))?;
        }
        let source = header.compression().map_err(|error| self.refused(error))?;
        let target =
            if header.is_control() && source == Compression::None { None } else { self.config.compression_type.recompress(source) };
        let records = if from_client && !(target.is_none() && source != Compression::None && self.header_suffices(header)) {
            self.validate_records(&batch, target)?
        } else {
            RecordsFound { max_timestamp: header.max_timestamp, offsets_are_dense: true }
        };
        if target.is_some() || !records.offsets_are_dense {
            let (compression, level) = target.unwrap_or((source, None));
            return self.rebuild(&batch, compression, level);
        }
        let mut stamped = StampedBatch::from_view(&batch);
        let (timestamp_type, max_timestamp) = match self.config.message_timestamp_type {
            TimestampType::LogAppendTime => (TimestampType::LogAppendTime, self.now_ms),
            TimestampType::CreateTime => (TimestampType::CreateTime, records.max_timestamp),
        };
        if header.timestamp_type() != timestamp_type || header.max_timestamp != max_timestamp {
            stamped.set_timestamps(with_timestamp_type(header, timestamp_type), max_timestamp);
        }
        Ok(stamped)
    }

    /// Can nothing be wrong with records that are as this header describes them? Their offsets are: the header's count was compared.
    fn header_suffices(&self, header: &BatchHeader) -> bool {
        let config = self.config;
        let times_are_fine = match config.message_timestamp_type {
            TimestampType::LogAppendTime => true,
            TimestampType::CreateTime => {
                // The first record's time and the latest one; times of records between, before the first, are not seen here.
                header.base_timestamp <= header.max_timestamp
                    && self.time_is_in_bounds(header.base_timestamp)
                    && self.time_is_in_bounds(header.max_timestamp)
            }
        };
        !config.cleanup_policy.compact && times_are_fine && header.timestamp_type() == TimestampType::CreateTime
    }

    /// Is this time of a record, in ms, within `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms` of now?
    fn time_is_in_bounds(&self, timestamp: i64) -> bool {
        let age = self.now_ms.wrapping_sub(timestamp);
        timestamp == -1
            || age <= self.config.message_timestamp_before_max_ms && age.wrapping_neg() <= self.config.message_timestamp_after_max_ms
    }

    /// What a batch may inflate to. A batch that is to be stored without compression is too large already when its records are.
    fn limits(&self, target: Option<Compression>) -> DecompressionLimits {
        let max_message_bytes = self.config.max_message_bytes.max(0) as u64;
        let max_batch_bytes = match target {
            Some(Compression::None) => max_message_bytes,
            _ => INFLATED_BATCH_BYTES.max(max_message_bytes.saturating_mul(INFLATED_BATCH_RATIO)),
        };
        let default = DecompressionLimits::default();
        let max_record_bytes = default.max_record_bytes.min(usize::try_from(max_batch_bytes).unwrap_or(usize::MAX));
        DecompressionLimits { max_record_bytes, max_batch_bytes }
    }

    /// Walks the records without keeping any: structure, keys, timestamps. `target`: what the batch is to be recompressed with.
    fn validate_records(&self, batch: &BatchView<'_>, target: Option<(Compression, Option<i32>)>) -> Result<RecordsFound, AppendError> {
        let (header, config) = (batch.header(), self.config);
        let compacted = config.cleanup_policy.compact;
        let creates_time = config.message_timestamp_type == TimestampType::CreateTime;
        let (before, after) = (config.message_timestamp_before_max_ms, config.message_timestamp_after_max_ms);
        let mut found = RecordsFound { max_timestamp: -1, offsets_are_dense: true };
        let mut errors: Vec<RecordError> = Vec::new();
        let mut error_count: usize = 0;
        let mut timestamp_is_at_fault = false;
        let limits = self.limits(target.map(|(codec, _)| codec));
        for (index, record) in batch.summaries(limits).enumerate() {
            let record = record.map_err(|error| self.refused(error))?;
            found.offsets_are_dense &= record.offset == header.base_offset + index as i64;
            found.max_timestamp = found.max_timestamp.max(record.timestamp);
            let without_key = compacted && record.key_len.is_none();
            let out_of_range = creates_time && !self.time_is_in_bounds(record.timestamp);
            let wrong_type = (!creates_time || record.timestamp == -1) && header.timestamp_type() == TimestampType::LogAppendTime;
            if !(without_key || out_of_range || wrong_type) {
                continue;
            }
            timestamp_is_at_fault |= !without_key;
            error_count += 1;
            if errors.len() == MAX_RECORD_ERRORS {
                continue;
            }
            let message = if without_key {
                format!("Compacted topic cannot accept message without key in topic partition {}", self.topic_partition)
            } else if out_of_range {
                format!(
                    "Timestamp {} of message with offset {} is out of range. The timestamp should be within [{}, {}]",
                    record.timestamp,
                    record.offset,
                    self.now_ms.wrapping_sub(before),
                    self.now_ms.wrapping_add(after)
                )
            } else {
                format!(
                    "Invalid timestamp type in message with offset {}. Producer should not set timestamp type to LogAppendTime.",
                    record.offset
                )
            };
            errors.push(RecordError { batch_index: index as i32, message });
        }
        if errors.is_empty() {
            return Ok(found);
        }
        if timestamp_is_at_fault {
            let message = "One or more records have been rejected due to invalid timestamp".to_owned();
            return Err(AppendError::InvalidTimestamp { message, record_errors: errors });
        }
        let shown: Vec<String> = errors
            .iter()
            .take(3)
            .map(|error| format!("RecordError(batchIndex={}, message='{}')", error.batch_index, error.message))
            .collect();
        let message = format!(
            "One or more records have been rejected due to {} record errors in total, and only showing the first three errors at most: [{}]",
            error_count,
            shown.join(", ")
        );
        Err(AppendError::InvalidRecord { message, record_errors: errors })
    }

    /// Writes the batch anew, with dense offsets from 0 on.
    fn rebuild<'a>(&self, batch: &BatchView<'a>, compression: Compression, level: Option<i32>) -> Result<StampedBatch<'a>, AppendError> {
        let header = batch.header();
        let mut builder = BatchBuilder::new(compression)
            .compression_level(level)
            .base_offset(header.base_offset)
            .producer(header.producer_id, header.producer_epoch, header.base_sequence)
            .transactional(header.is_transactional());
        if self.config.message_timestamp_type == TimestampType::LogAppendTime {
            builder = builder.log_append_time(self.now_ms);
        }
        for (offset, record) in (header.base_offset..).zip(batch.records_within(self.limits(Some(compression)))) {
            let mut record = record.map_err(|error| self.refused(error))?;
            record.offset = offset;
            builder.append_record(&record).map_err(|error| self.refused(error))?;
        }
        let bytes = builder.finish_vec().map_err(|error| self.refused(error))?;
        let max_bytes = self.config.max_message_bytes.max(0) as usize;
        if self.origin != AppendOrigin::RaftLeader && bytes.len() > max_bytes {
            return Err(AppendError::MessageTooLarge(format!(
                "Message batch size is {} bytes in append to partition {} which exceeds the maximum configured size of {max_bytes}.",
                bytes.len(),
                self.topic_partition
            )));
        }
        let header = BatchHeader::parse(&bytes).map_err(|error| self.refused(error))?;
        let header_bytes = bytes[..BATCH_OVERHEAD].try_into().expect("a parsed batch has a whole header");
        Ok(StampedBatch { header, header_bytes, payload: Cow::Owned(bytes[BATCH_OVERHEAD..].to_vec()) })
    }

    fn refused(&self, error: BatchError) -> AppendError {
        let message = format!("{error} in topic partition {}", self.topic_partition);
        match error {
            BatchError::OldMagic { .. } | BatchError::InvalidBatch(_) | BatchError::InvalidRecord { .. } | BatchError::Unwritable(_) => {
                invalid_record(message)
            }
            BatchError::UnknownCompression { .. } => AppendError::UnsupportedCompressionType(message),
            BatchError::TooLarge { .. } => AppendError::MessageTooLarge(message),
            BatchError::Truncated { .. }
            | BatchError::InvalidLength { .. }
            | BatchError::InvalidMagic { .. }
            | BatchError::CrcMismatch { .. }
            | BatchError::Decompression { .. } => AppendError::CorruptMessage(message),
        }
    }
}

struct RecordsFound {
    max_timestamp: i64,
    /// Offsets go up by one from record to record.
    offsets_are_dense: bool,
}

fn with_timestamp_type(header: &BatchHeader, timestamp_type: TimestampType) -> i16 {
    const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
    match timestamp_type {
        TimestampType::CreateTime => header.attributes & !TIMESTAMP_TYPE_BIT,
        TimestampType::LogAppendTime => header.attributes | TIMESTAMP_TYPE_BIT,
    }
}

fn invalid_record(message: String) -> AppendError {
    AppendError::InvalidRecord { message, record_errors: Vec::new() }
}

/// What a follower checks of its leader's batches: checksums, and offsets that go up. Bytes after the last whole batch are ignored.
pub(super) fn check_replicated<'a>(records: &'a [u8], topic_partition: &TopicPartition) -> Result<Vec<StampedBatch<'a>>, AppendError> {
    let mut batches: Vec<StampedBatch<'a>> = Vec::new();
    for batch in Batches::new(records) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(BatchError::Truncated { .. }) => break,
            Err(error) => return Err(AppendError::CorruptMessage(format!("{error} in topic partition {topic_partition}"))),
        };
        batch.verify_crc().map_err(|error| AppendError::CorruptMessage(format!("{error} in topic partition {topic_partition}")))?;
        let header = batch.header();
        let ascending = batches.last().is_none_or(|last| header.base_offset > last.header.last_offset());
        if !ascending || header.last_offset() < header.base_offset {
            return Err(AppendError::UnexpectedAppendOffset(format!(
                "Out of order offsets found in append to {topic_partition}: {} to {}",
                header.base_offset,
                header.last_offset()
            )));
        }
        batches.push(StampedBatch::from_view(&batch));
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::config::{CleanupPolicy, CompressionType};

    const NOW_MS: i64 = 1_000_000_000;

    fn batch(compression: Compression, records: &[(i64, Option<&str>)]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(compression);
        for (timestamp, key) in records {
            builder.append(*timestamp, key.map(str::as_bytes), Some(b"value"), &[]).expect("appended");
        }
        builder.finish_vec().expect("finished")
    }

    fn validate<'a>(records: &'a [u8], config: &LogConfig) -> Result<Validated<'a>, AppendError> {
        let topic_partition = TopicPartition::new("t", 0);
        let validator =
            Validator { topic_partition: &topic_partition, config, origin: AppendOrigin::Client, leader_epoch: 3, now_ms: NOW_MS };
        validator.validate(records)
    }

    fn whole(batch: &StampedBatch<'_>) -> Vec<u8> {
        [&batch.header_bytes[..], &batch.payload].concat()
    }

    #[test]
    fn a_good_batch_is_borrowed_not_copied() {
        for compression in Compression::ALL {
            let bytes = batch(compression, &[(NOW_MS, None), (NOW_MS + 5, Some("k"))]);
            let validated = validate(&bytes, &LogConfig::default()).expect("valid");
            assert!(matches!(validated.batches[0].payload, Cow::Borrowed(_)));
            assert_eq!(whole(&validated.batches[0]), bytes);
            assert_eq!(validated.log_append_time_ms, -1);
        }
    }

    #[test]
    fn damaged_bytes_are_corrupt_messages() {
        let bytes = batch(Compression::None, &[(NOW_MS, None)]);
        for at in 17..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let error = validate(&damaged, &LogConfig::default()).err();
            assert!(matches!(error, Some(AppendError::CorruptMessage(_))), "{at}: {error:?}");
        }
        let error = validate(&bytes[..bytes.len() - 1], &LogConfig::default()).err();
        assert!(matches!(error, Some(AppendError::CorruptMessage(_))), "{error:?}");
    }

    #[test]
    fn two_batches_and_foreign_offsets_are_refused() {
        let bytes = batch(Compression::None, &[(NOW_MS, None)]);
        let error = validate(&[&bytes[..], &bytes[..]].concat(), &LogConfig::default()).err();
        assert!(matches!(error, Some(AppendError::InvalidRecord { .. })), "{error:?}");
        let mut shifted = bytes.clone();
        shifted[7] = 1;
        let error = validate(&shifted, &LogConfig::default()).err();
        assert!(matches!(error, Some(AppendError::InvalidRecord { .. })), "{error:?}");
        assert!(matches!(validate(&[], &LogConfig::default()).err(), Some(AppendError::InvalidRecord { .. })));
    }

    #[test]
    fn large_batches_are_refused() {
        let bytes = batch(Compression::None, &[(NOW_MS, None)]);
        let config = LogConfig { max_message_bytes: bytes.len() as i32 - 1, ..LogConfig::default() };
        assert!(matches!(validate(&bytes, &config).err(), Some(AppendError::MessageTooLarge(_))));
        let config = LogConfig { max_message_bytes: bytes.len() as i32, ..LogConfig::default() };
        assert!(validate(&bytes, &config).is_ok());
    }

    #[test]
    fn timestamps_out_of_bounds_are_named_record_by_record() {
        let hour = 3_600_000;
        let config = LogConfig { message_timestamp_before_max_ms: 1000, ..LogConfig::default() };
        for compression in [Compression::None, Compression::Zstd] {
            let bytes =
                batch(compression, &[(NOW_MS, None), (NOW_MS + hour + 1, None), (NOW_MS - 1001, None), (-1, None), (NOW_MS - 1000, None)]);
            let Err(AppendError::InvalidTimestamp { record_errors, message }) = validate(&bytes, &config) else { panic!("accepted") };
            assert_eq!(message, "One or more records have been rejected due to invalid timestamp");
            assert_eq!(record_errors.iter().map(|error| error.batch_index).collect::<Vec<_>>(), [1, 2]);
            assert_eq!(
                record_errors[0].message,
                "Timestamp 1003600001 of message with offset 1 is out of range. The timestamp should be within [999999000, 1003600000]"
            );
        }
    }

    #[test]
    fn a_compacted_topic_needs_keys() {
        let bytes = batch(Compression::Gzip, &[(NOW_MS, Some("k")), (NOW_MS, None)]);
        let Err(AppendError::InvalidRecord { record_errors, message }) = validate(&bytes, &compacted()) else { panic!("accepted") };
        assert_eq!(record_errors.len(), 1);
        assert_eq!(
            message,
            "One or more records have been rejected due to 1 record errors in total, and only showing the first three errors at most: \
             [RecordError(batchIndex=1, message='Compacted topic cannot accept message without key in topic partition t-0')]"
        );
    }

    #[test]
    fn the_time_of_the_append_is_stamped_with_a_new_checksum() {
        let config = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
        let bytes = batch(Compression::Lz4, &[(5, None), (6, None)]);
        let validated = validate(&bytes, &config).expect("valid");
        assert_eq!(validated.log_append_time_ms, NOW_MS);
        let stamped = whole(&validated.batches[0]);
        let view = BatchView::parse(&stamped).expect("a batch");
        view.verify_crc().expect("whole");
        assert!(view.records().all(|record| record.expect("readable").timestamp == NOW_MS));
    }

    #[test]
    fn a_wrong_maximum_timestamp_is_put_right() {
        let view = crate::protocol::batch::BatchViewMut::parse;
        let mut bytes = batch(Compression::None, &[(NOW_MS, None), (NOW_MS - 5, None)]);
        view(&mut bytes).expect("a batch").set_max_timestamp(TimestampType::CreateTime, NOW_MS + 9);
        let validated = validate(&bytes, &LogConfig::default()).expect("valid");
        assert_eq!(validated.batches[0].header.max_timestamp, NOW_MS);
        BatchView::parse(&whole(&validated.batches[0])).expect("a batch").verify_crc().expect("whole");
    }

    #[test]
    fn another_codec_of_the_topic_is_applied() {
        for source in Compression::ALL {
            for (target, codec) in
                [(CompressionType::Uncompressed, Compression::None), (CompressionType::Zstd { level: 3 }, Compression::Zstd)]
            {
                let config = LogConfig { compression_type: target, ..LogConfig::default() };
                let bytes = batch(source, &[(NOW_MS, Some("a")), (NOW_MS + 1, None)]);
                let validated = validate(&bytes, &config).expect("valid");
                let stored = whole(&validated.batches[0]);
                let view = BatchView::parse(&stored).expect("a batch");
                view.verify_crc().expect("whole");
                assert_eq!(view.header().compression().expect("known"), codec);
                let original = BatchView::parse(&bytes).expect("a batch");
                assert!(view.records().map(Result::unwrap).eq(original.records().map(Result::unwrap)));
                assert_eq!(view.header().max_timestamp, NOW_MS + 1);
            }
        }
    }

    /// A batch whose payload is `records` as zstd, with a count and a whole checksum.
    fn zstd_batch(records: &[u8], count: i32) -> Vec<u8> {
        let mut bytes = batch(Compression::Zstd, &[(NOW_MS, None)]);
        bytes.truncate(BATCH_OVERHEAD);
        Compression::Zstd.compress_into(None, records, &mut bytes).expect("compressed");
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// A topic whose batches are looked into.
    fn compacted() -> LogConfig {
        LogConfig { cleanup_policy: CleanupPolicy { compact: true, delete: false }, ..LogConfig::default() }
    }

    #[test]
    fn a_compressed_batch_is_inflated_only_where_its_header_cannot_tell() {
        let nonsense = zstd_batch(b"nonsense", 3);
        assert!(validate(&nonsense, &LogConfig::default()).is_ok());
        let append_time = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
        assert!(validate(&nonsense, &append_time).is_ok());
        let recompressed = LogConfig { compression_type: CompressionType::Uncompressed, ..LogConfig::default() };
        let too_new = LogConfig { message_timestamp_after_max_ms: -1, ..LogConfig::default() };
        for config in [compacted(), recompressed, too_new] {
            assert!(matches!(validate(&nonsense, &config).err(), Some(AppendError::InvalidRecord { .. })));
        }
        let mut contradiction = nonsense;
        contradiction[35..43].copy_from_slice(&(NOW_MS - 1).to_be_bytes());
        let crc = crc32c::crc32c(&contradiction[21..]);
        contradiction[17..21].copy_from_slice(&crc.to_be_bytes());
        assert!(validate(&contradiction, &LogConfig::default()).is_err(), "the latest time is before the first");
    }

    #[test]
    fn a_batch_that_inflates_beyond_all_measure_is_too_large() {
        // One record of 300 MB, in some tens of kilobytes.
        let mut records = Vec::new();
        let body = 300_000_000_u32;
        let mut zigzag = body * 2;
        while zigzag >= 0x80 {
            records.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        records.push(zigzag as u8);
        // Attributes, timestamp, offset, an empty key; then a value that is almost all of the body.
        records.extend_from_slice(&[0, 0, 0, 0]);
        let mut zigzag = (body - 4 - 5 - 1) * 2;
        while zigzag >= 0x80 {
            records.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        records.push(zigzag as u8);
        records.resize(records.len() + (body - 4 - 5) as usize, 0);
        let bytes = zstd_batch(&records, 1);
        drop(records);
        assert!(bytes.len() < 100_000);
        let error = validate(&bytes, &compacted()).err();
        assert!(matches!(error, Some(AppendError::MessageTooLarge(_))), "{error:?}");
        let config = LogConfig { max_message_bytes: 8 << 20, ..compacted() };
        assert!(validate(&bytes, &config).is_ok(), "a larger max.message.bytes allows more");
        let config = LogConfig { compression_type: CompressionType::Uncompressed, ..config };
        let error = validate(&bytes, &config).err();
        assert!(matches!(error, Some(AppendError::MessageTooLarge(_))), "{error:?}");
    }

    #[test]
    fn of_very_many_records_at_fault_only_the_first_are_named() {
        let count = 50_000;
        let mut records = Vec::new();
        for offset in 0..count {
            // Length, attributes, timestamp, offset (three bytes), no key, no value, no headers.
            let zigzag = offset * 2;
            records.extend_from_slice(&[16, 0, 0, zigzag as u8 | 0x80, (zigzag >> 7) as u8 | 0x80, (zigzag >> 14) as u8, 1, 1, 0]);
        }
        let bytes = zstd_batch(&records, count);
        let Err(AppendError::InvalidRecord { record_errors, message }) = validate(&bytes, &compacted()) else { panic!("accepted") };
        assert_eq!(record_errors.len(), MAX_RECORD_ERRORS);
        assert!(message.contains("due to 50000 record errors in total"), "{message}");
    }

    #[test]
    fn control_batches_of_clients_are_refused() {
        let mut bytes = batch(Compression::None, &[(NOW_MS, None)]);
        bytes[22] |= 1 << 5;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(validate(&bytes, &LogConfig::default()).err(), Some(AppendError::InvalidRecord { .. })));
    }
}
