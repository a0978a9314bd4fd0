//! Writes batches of magic 2: what the producer client sends, and what coordinators and the metadata log append.
//!
//! Source: Kafka's `MemoryRecordsBuilder`, `DefaultRecord.writeTo`, `CompressionRatioEstimator`. Uncompressed batches are byte for
//! byte what Kafka writes.
//!
//! Records are kept uncompressed until [`BatchBuilder::finish`], so one builder holds at most as much as the caller appends; how full
//! a compressed batch is can only be estimated meanwhile.

use super::control::{ControlRecord, ControlRecordType};
use super::header::{
    BATCH_OVERHEAD, BatchHeader, LOG_OVERHEAD, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP,
    TimestampType, attributes_of,
};
use super::record::{Record, RecordHeader, put_varint, put_varlong, varint_size, varlong_size};
use super::{BatchError, RecordRef};
use crate::protocol::compression::Compression;
use bytes::Bytes;

/// What a compressed batch may become larger than estimated, as in Kafka.
const ESTIMATION_FACTOR: f32 = 1.05;

/// Builds one batch. Without further calls: base offset 0, create time, no producer id, no leader epoch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    level: Option<i32>,
    estimated_ratio: f32,
    base_offset: i64,
    partition_leader_epoch: i32,
    log_append_time: Option<i64>,
    delete_horizon_ms: Option<i64>,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    transactional: bool,
    control: bool,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    last_offset: Option<i64>,
    record_count: i32,
    /// Room for the header, then the records as written so far.
    batch: Vec<u8>,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> Self {
        BatchBuilder {
            compression,
            level: None,
            estimated_ratio: 1.0,
            base_offset: 0,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            log_append_time: None,
            delete_horizon_ms: None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            transactional: false,
            control: false,
            base_timestamp: None,
            max_timestamp: NO_TIMESTAMP,
            last_offset: None,
            record_count: 0,
            batch: vec![0; BATCH_OVERHEAD],
        }
    }

    /// A builder for another batch with the same header: offsets from the same base, the same epoch, producer state, flags,
    /// timestamp type and delete horizon. The cleaner's start; see [`BatchBuilder::override_last_offset`].
    pub fn like(header: &BatchHeader, compression: Compression) -> Self {
        let log_append_time = (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
        BatchBuilder {
            base_offset: header.base_offset,
            partition_leader_epoch: header.partition_leader_epoch,
            log_append_time,
            delete_horizon_ms: header.delete_horizon_ms(),
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            transactional: header.is_transactional(),
            control: header.is_control(),
            ..BatchBuilder::new(compression)
        }
    }

    /// The codec's level, `None` for its default. Levels out of [`Compression::level_range`] fail at the end.
    pub fn compression_level(mut self, level: Option<i32>) -> Self {
        self.level = level;
        self
    }

    /// Sets what part of their size records are expected to keep when compressed; see [`CompressionRatio`].
    pub fn estimated_compression_ratio(mut self, ratio: f32) -> Self {
        self.estimated_ratio = ratio;
        self
    }

    /// Makes room for so many bytes at once, which saves copies while the batch grows.
    pub fn reserve(mut self, bytes: usize) -> Self {
        self.batch.reserve(bytes.saturating_sub(self.batch.len()));
        self
    }

    /// The first record's offset. Set it before appending.
    pub fn base_offset(mut self, offset: i64) -> Self {
        self.base_offset = offset;
        self
    }

    pub fn partition_leader_epoch(mut self, epoch: i32) -> Self {
        self.partition_leader_epoch = epoch;
        self
    }

    /// Gives every record this timestamp, of type log-append time.
    pub fn log_append_time(mut self, now_ms: i64) -> Self {
        self.log_append_time = Some(now_ms);
        self
    }

    /// Stores when tombstones and markers in here may go (KIP-534). Set it before appending.
    pub fn delete_horizon_ms(mut self, horizon_ms: i64) -> Self {
        self.delete_horizon_ms = Some(horizon_ms);
        self
    }

    /// Producer id, epoch and the first record's sequence.
    pub fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.set_producer(producer_id, producer_epoch, base_sequence);
        self
    }

    /// As [`BatchBuilder::producer`], for a batch being filled: sequences are given out when it is about to be sent.
    pub fn set_producer(&mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (producer_id, producer_epoch, base_sequence);
    }

    pub fn transactional(mut self, transactional: bool) -> Self {
        self.transactional = transactional;
        self
    }

    /// Makes this a control batch, which takes [`BatchBuilder::append_control`] only.
    pub fn control(mut self, control: bool) -> Self {
        self.control = control;
        self
    }

    /// Appends a record at the next offset. `timestamp` is in ms since the epoch, or -1 for none. Returns the record's offset.
    ///
    /// Errors ([`BatchError::Unwritable`]) leave the batch as it was: a timestamp below -1, more than 2³¹-1 bytes or records, a
    /// control batch.
    #[inline]
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> Result<i64, BatchError> {
        let offset = self.next_offset();
        self.append_with_offset(offset, timestamp, key, value, headers)?;
        Ok(offset)
    }

    /// As [`BatchBuilder::append`], at an offset of the caller's choice behind the last one.
    #[inline]
    pub fn append_with_offset(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> Result<(), BatchError> {
        if self.control {
            return Err(BatchError::Unwritable("a control batch takes control records only"));
        }
        self.write(offset, timestamp, key, value, headers.iter().map(|header| (&header.key[..], header.value.as_deref())))
    }

    /// Appends a record as it is, with its own offset. In a control batch it must be a control record.
    pub fn append_record(&mut self, record: &Record) -> Result<(), BatchError> {
        let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref()));
        self.write(record.offset, record.timestamp, record.key.as_deref(), record.value.as_deref(), headers)
    }

    /// As [`BatchBuilder::append_record`], for a borrowed record.
    pub fn append_record_ref(&mut self, record: &RecordRef<'_>) -> Result<(), BatchError> {
        self.write(record.offset, record.timestamp, record.key, record.value, record.headers())
    }

    /// Appends a control record at the next offset, which it returns. Error: not a control batch, or a type Kafka does not know.
    pub fn append_control(&mut self, timestamp: i64, record: &ControlRecord) -> Result<i64, BatchError> {
        if !self.control {
            return Err(BatchError::Unwritable("control records can only be appended to control batches"));
        }
        if ControlRecordType::parse(&record.key).is_none() {
            return Err(BatchError::Unwritable("unknown control record type"));
        }
        let offset = self.next_offset();
        self.write(offset, timestamp, Some(&record.key), Some(&record.value), std::iter::empty())?;
        Ok(offset)
    }

    /// Makes the batch end at `offset` although its last record may be before: compaction keeps the range of offsets.
    pub fn override_last_offset(&mut self, offset: i64) {
        self.last_offset = Some(offset);
    }

    #[inline]
    fn write<'h>(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    ) -> Result<(), BatchError> {
        if timestamp < NO_TIMESTAMP {
            return Err(BatchError::Unwritable("invalid negative timestamp"));
        }
        if self.last_offset.is_some_and(|last| offset <= last) {
            return Err(BatchError::Unwritable("offsets must increase"));
        }
        let offset_delta = offset.checked_sub(self.base_offset).and_then(|delta| i32::try_from(delta).ok()).filter(|delta| *delta >= 0);
        let offset_delta = offset_delta.ok_or(BatchError::Unwritable("the offset is too far from the base offset"))?;
        let base_timestamp = self.base_timestamp.or(self.delete_horizon_ms).unwrap_or(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);
        let (body, header_count) = body_size(offset_delta, timestamp_delta, key, value, headers.clone());
        let (body_len, header_count) = match (i32::try_from(body), i32::try_from(header_count)) {
            (Ok(len), Ok(count)) if self.batch.len() + body + 5 - LOG_OVERHEAD <= i32::MAX as usize => (len, count),
            _ => return Err(BatchError::Unwritable("the batch would be larger than 2147483647 bytes")),
        };

        let out = &mut self.batch;
        out.reserve(body + 5);
        put_varint(out, body_len);
        let body_start = out.len();
        out.push(0); // attributes: no bit has a meaning yet
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, header_count);
        for (key, value) in headers {
            put_nullable(out, Some(key));
            put_nullable(out, value);
        }
        debug_assert_eq!(out.len() - body_start, body);

        self.base_timestamp = Some(base_timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset = Some(offset);
        // Every record takes more than a byte of a batch that stays below 2^31 of them.
        self.record_count += 1;
        Ok(())
    }

    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    pub fn compression(&self) -> Compression {
        self.compression
    }

    pub fn is_transactional(&self) -> bool {
        self.transactional
    }

    /// The offset the next [`BatchBuilder::append`] gives.
    #[inline]
    pub fn next_offset(&self) -> i64 {
        self.last_offset.map_or(self.base_offset, |last| last.saturating_add(1))
    }

    /// The largest timestamp of any record, -1 without one.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Bytes of the batch were it not compressed: exact, header included.
    pub fn uncompressed_size_bytes(&self) -> usize {
        self.batch.len()
    }

    /// Bytes the finished batch is expected to have: exact without compression.
    #[inline]
    pub fn estimated_size_bytes(&self) -> usize {
        match self.compression {
            Compression::None => self.batch.len(),
            _ => {
                let records = (self.batch.len() - BATCH_OVERHEAD) as f32;
                BATCH_OVERHEAD + (records * self.estimated_ratio * ESTIMATION_FACTOR) as usize
            }
        }
    }

    /// True when the record keeps the batch within `limit_bytes`, the record itself taken as uncompressed. An empty batch has room
    /// for any record.
    #[inline]
    pub fn has_room_for(
        &self,
        limit_bytes: usize,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> bool {
        if self.is_empty() {
            return true;
        }
        if self.is_full(limit_bytes) {
            return false;
        }
        let offset_delta = self.next_offset().wrapping_sub(self.base_offset) as i32;
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp.unwrap_or(timestamp));
        self.estimated_size_bytes() + record_size(offset_delta, timestamp_delta, key, value, headers) <= limit_bytes
    }

    /// True when no record fits any more within `limit_bytes`; never for an empty batch.
    #[inline]
    pub fn is_full(&self, limit_bytes: usize) -> bool {
        !self.is_empty() && limit_bytes <= self.estimated_size_bytes()
    }

    /// The batch, ready to send or append; no bytes at all when nothing was appended.
    ///
    /// Errors ([`BatchError::Unwritable`]): transactional without a producer id, a producer id without epoch or (but for control
    /// batches) sequence, a compression level out of range.
    pub fn finish(self) -> Result<Bytes, BatchError> {
        self.finish_vec().map(Bytes::from)
    }

    /// As [`BatchBuilder::finish`], as a buffer that may still be stamped ([`super::BatchViewMut`]).
    pub fn finish_vec(mut self) -> Result<Vec<u8>, BatchError> {
        if self.transactional && self.producer_id == NO_PRODUCER_ID {
            return Err(BatchError::Unwritable("cannot write transactional messages without a valid producer id"));
        }
        if self.producer_id != NO_PRODUCER_ID {
            if self.producer_epoch < 0 {
                return Err(BatchError::Unwritable("invalid negative producer epoch"));
            }
            if self.base_sequence < 0 && !self.control {
                return Err(BatchError::Unwritable("invalid negative sequence number"));
            }
        }
        let Some(last_offset) = self.last_offset.filter(|_| self.record_count > 0) else { return Ok(Vec::new()) };
        let last_offset_delta = i32::try_from(last_offset.wrapping_sub(self.base_offset))
            .map_err(|_| BatchError::Unwritable("the last offset is too far from the base offset"))?;

        let mut batch = match self.compression {
            Compression::None => std::mem::take(&mut self.batch),
            compression => {
                let mut compressed = Vec::with_capacity(self.estimated_size_bytes());
                compressed.resize(BATCH_OVERHEAD, 0);
                compression
                    .compress_into(self.level, &self.batch[BATCH_OVERHEAD..], &mut compressed)
                    .map_err(|_| BatchError::Unwritable("invalid compression level"))?;
                compressed
            }
        };
        let length =
            i32::try_from(batch.len() - LOG_OVERHEAD).map_err(|_| BatchError::Unwritable("the batch is larger than 2147483647 bytes"))?;
        let header = BatchHeader {
            base_offset: self.base_offset,
            length,
            partition_leader_epoch: self.partition_leader_epoch,
            crc: 0,
            attributes: attributes_of(
                self.compression,
                if self.log_append_time.is_some() { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
                self.transactional,
                self.control,
                self.delete_horizon_ms.is_some(),
            ),
            last_offset_delta,
            base_timestamp: self.base_timestamp.unwrap_or(NO_TIMESTAMP),
            max_timestamp: self.log_append_time.unwrap_or(self.max_timestamp),
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.record_count,
        };
        header.write(&mut batch);
        Ok(batch)
    }
}

/// What compaction leaves of a batch all of whose records went, while its producer's sequence must be remembered: the header alone.
pub fn empty_batch(header: &BatchHeader) -> Bytes {
    let attributes = attributes_of(Compression::None, header.timestamp_type(), header.is_transactional(), header.is_control(), false);
    let mut batch = vec![0; BATCH_OVERHEAD];
    let length = (BATCH_OVERHEAD - LOG_OVERHEAD) as i32;
    BatchHeader { length, attributes, base_timestamp: NO_TIMESTAMP, record_count: 0, ..*header }.write(&mut batch);
    Bytes::from(batch)
}

/// Bytes of one record in a batch, its own length field included. Deltas are those from the batch's base offset and timestamp.
#[inline]
pub fn record_size(offset_delta: i32, timestamp_delta: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[RecordHeader]) -> usize {
    let headers = headers.iter().map(|header| (&header.key[..], header.value.as_deref()));
    let (body, _) = body_size(offset_delta, timestamp_delta, key, value, headers);
    body + varint_size(i32::try_from(body).unwrap_or(i32::MAX))
}

/// The body's size in bytes and the number of headers.
#[inline]
fn body_size<'h>(
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
) -> (usize, usize) {
    let (mut size, mut count) = (0usize, 0usize);
    for (key, value) in headers {
        size += nullable_size(Some(key)) + nullable_size(value);
        count += 1;
    }
    size += 1 + varlong_size(timestamp_delta) + varint_size(offset_delta) + nullable_size(key) + nullable_size(value);
    (size + varint_size(i32::try_from(count).unwrap_or(i32::MAX)), count)
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_size(i32::try_from(bytes.len()).unwrap_or(i32::MAX)) + bytes.len())
}

/// Callers have checked that the whole record is below 2^31 bytes.
#[inline]
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}

/// What part of their size records keep when compressed, learned from one finished batch after the other: the producer has one per
/// topic and codec.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompressionRatio(f32);

impl Default for CompressionRatio {
    fn default() -> Self {
        CompressionRatio(1.0)
    }
}

impl CompressionRatio {
    /// For [`BatchBuilder::estimated_compression_ratio`].
    pub fn estimate(self) -> f32 {
        self.0
    }

    /// Learns from a finished batch, given its sizes with and without compression: quick to expect worse, slow to expect better,
    /// since a batch that turns out too large must be split and sent again.
    pub fn observe(&mut self, compressed_bytes: usize, uncompressed_bytes: usize) {
        const IMPROVING_STEP: f32 = 0.005;
        const DETERIORATE_STEP: f32 = 0.05;
        let (compressed, uncompressed) =
            (compressed_bytes.saturating_sub(BATCH_OVERHEAD), uncompressed_bytes.saturating_sub(BATCH_OVERHEAD));
        if uncompressed == 0 {
            return;
        }
        let observed = compressed as f32 / uncompressed as f32;
        if observed > self.0 {
            self.0 = (self.0 + DETERIORATE_STEP).max(observed);
        } else if observed < self.0 {
            self.0 = (self.0 - IMPROVING_STEP).max(observed);
        }
    }
}
