//! The 61 bytes in front of every record batch of magic 2, and the few of them a broker changes in place.
//!
//! Source: Kafka's `DefaultRecordBatch` (layout, KIP-98), `ByteBufferLogInputStream` (what makes a length or a magic byte corrupt).
//!
//! Invariant: nothing here allocates, and nothing here looks past the batch's declared length.

use super::BatchError;
use crate::protocol::compression::Compression;

/// Bytes of a batch of magic 2 before its first record.
pub const BATCH_OVERHEAD: usize = 61;
/// Bytes in front of what the length field counts: the base offset and the length field.
pub const LOG_OVERHEAD: usize = 12;
/// Bytes that must be there to know a batch's size and magic.
pub const HEADER_SIZE_UP_TO_MAGIC: usize = 17;

/// `producer_id` of a batch without one.
pub const NO_PRODUCER_ID: i64 = -1;
/// `producer_epoch` of a batch without a producer id.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// `base_sequence` of a batch without sequence numbers.
pub const NO_SEQUENCE: i32 = -1;
/// Timestamp of a record without one.
pub const NO_TIMESTAMP: i64 = -1;
/// `partition_leader_epoch` before a leader has stamped it.
pub const NO_PARTITION_LEADER_EPOCH: i32 = -1;

/// The smallest length field any message format allows (a message of magic 0 without key and value).
const SMALLEST_LENGTH: i32 = 14;

const LENGTH: usize = 8;
const PARTITION_LEADER_EPOCH: usize = 12;
const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const RECORD_COUNT: usize = 57;

const COMPRESSION_MASK: i16 = 0x07;
const TIMESTAMP_TYPE_MASK: i16 = 0x08;
const TRANSACTIONAL_MASK: i16 = 0x10;
const CONTROL_MASK: i16 = 0x20;
const DELETE_HORIZON_MASK: i16 = 0x40;

/// Who set the timestamps of a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer, one per record.
    #[default]
    CreateTime,
    /// The broker, one for the whole batch: its max timestamp.
    LogAppendTime,
}

impl TimestampType {
    /// Kafka's name, as topic configurations and tools write it.
    pub fn name(self) -> &'static str {
        match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }
}

/// A batch's header, parsed. Offsets and sequences wrap as Java's do, so that no header makes arithmetic panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after the length field, as stored; never below 49 in a parsed header.
    pub length: i32,
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes to the end, as stored; [`super::BatchView::verify_crc`] compares.
    pub crc: u32,
    pub attributes: i16,
    /// Last offset minus base offset; also last sequence minus base sequence. Compaction leaves it as it was.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from; the delete horizon in a batch that has one.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    /// Records in the batch, as declared: not to be trusted for an allocation.
    pub record_count: i32,
}

impl BatchHeader {
    /// Parses the header at the start of `bytes`, of which the records need not be there.
    ///
    /// Errors: [`BatchError::Truncated`] when more bytes could make it valid, [`BatchError::OldMagic`] for the formats before
    /// KIP-98, else [`BatchError::InvalidLength`] or [`BatchError::InvalidMagic`]. All positions are 0.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let truncated = |needed| BatchError::Truncated { position: 0, needed, available: bytes.len() };
        if bytes.len() < LOG_OVERHEAD {
            return Err(truncated(LOG_OVERHEAD));
        }
        let length = i32_at(bytes, LENGTH);
        if length < SMALLEST_LENGTH {
            return Err(BatchError::InvalidLength { position: 0, length });
        }
        if bytes.len() < HEADER_SIZE_UP_TO_MAGIC {
            return Err(truncated(HEADER_SIZE_UP_TO_MAGIC));
        }
        match bytes[MAGIC] as i8 {
            2 => {}
            magic @ 0..=1 => return Err(BatchError::OldMagic { position: 0, magic }),
            magic => return Err(BatchError::InvalidMagic { position: 0, magic }),
        }
        if (length as usize) < BATCH_OVERHEAD - LOG_OVERHEAD {
            return Err(BatchError::InvalidLength { position: 0, length });
        }
        if bytes.len() < BATCH_OVERHEAD {
            return Err(truncated(BATCH_OVERHEAD));
        }
        Ok(BatchHeader {
            base_offset: i64_at(bytes, 0),
            length,
            partition_leader_epoch: i32_at(bytes, PARTITION_LEADER_EPOCH),
            crc: i32_at(bytes, CRC) as u32,
            attributes: i16_at(bytes, ATTRIBUTES),
            last_offset_delta: i32_at(bytes, LAST_OFFSET_DELTA),
            base_timestamp: i64_at(bytes, BASE_TIMESTAMP),
            max_timestamp: i64_at(bytes, MAX_TIMESTAMP),
            producer_id: i64_at(bytes, PRODUCER_ID),
            producer_epoch: i16_at(bytes, PRODUCER_EPOCH),
            base_sequence: i32_at(bytes, BASE_SEQUENCE),
            record_count: i32_at(bytes, RECORD_COUNT),
        })
    }

    /// Bytes of the whole batch, from its base offset to its end.
    pub fn size_bytes(&self) -> usize {
        LOG_OVERHEAD + self.length as usize
    }

    /// Offset of the last record the batch was written with.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// Sequence of the last record the batch was written with, [`NO_SEQUENCE`] without sequences.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE { NO_SEQUENCE } else { increment_sequence(self.base_sequence, self.last_offset_delta) }
    }

    /// How the records are compressed. Error: [`BatchError::UnknownCompression`].
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let id = (self.attributes & COMPRESSION_MASK) as u8;
        Compression::from_id(id).ok_or(BatchError::UnknownCompression { id })
    }

    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_MASK == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_MASK != 0
    }

    /// True when the one kind of records inside are control records: transaction markers, or KRaft's own.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_MASK != 0
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// When the cleaner may drop this batch's tombstones and markers (KIP-534), in ms since the epoch.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON_MASK != 0).then_some(self.base_timestamp)
    }

    /// The number of records the offsets say there are, in a batch no cleaner has touched.
    pub fn count_from_offsets(&self) -> i64 {
        i64::from(self.last_offset_delta) + 1
    }

    /// What `LogValidator.validateBatch` asks of a batch a client sends: a positive range of offsets, as many records, no control
    /// records, and a sequence with a producer id. Error: [`BatchError::InvalidBatch`] (INVALID_RECORD), Kafka's text up to
    /// "in topic partition".
    pub fn check_from_client(&self) -> Result<(), BatchError> {
        let (first, last) = (self.base_offset, self.last_offset());
        let count = self.record_count;
        let text = if self.count_from_offsets() <= 0 || last < first {
            format!("Batch has an invalid offset range: [{first}, {last}]")
        } else if count <= 0 {
            format!("Invalid reported count for record batch: {count}")
        } else if self.count_from_offsets() != i64::from(count) {
            format!("Inconsistent batch offset range [{first}, {last}] and count of records {count}")
        } else if self.is_control() {
            "Clients are not allowed to write control records".to_string()
        } else if self.has_producer_id() && self.base_sequence < 0 {
            format!("Invalid sequence number {} in record batch with producerId {}", self.base_sequence, self.producer_id)
        } else {
            return Ok(());
        };
        Err(BatchError::InvalidBatch(text))
    }

    /// Writes the header over the first [`BATCH_OVERHEAD`] bytes of a whole batch, and the CRC of all that follows it.
    pub(super) fn write(&self, batch: &mut [u8]) {
        batch[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        batch[LENGTH..][..4].copy_from_slice(&self.length.to_be_bytes());
        batch[PARTITION_LEADER_EPOCH..][..4].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        batch[MAGIC] = 2;
        batch[ATTRIBUTES..][..2].copy_from_slice(&self.attributes.to_be_bytes());
        batch[LAST_OFFSET_DELTA..][..4].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        batch[BASE_TIMESTAMP..][..8].copy_from_slice(&self.base_timestamp.to_be_bytes());
        batch[MAX_TIMESTAMP..][..8].copy_from_slice(&self.max_timestamp.to_be_bytes());
        batch[PRODUCER_ID..][..8].copy_from_slice(&self.producer_id.to_be_bytes());
        batch[PRODUCER_EPOCH..][..2].copy_from_slice(&self.producer_epoch.to_be_bytes());
        batch[BASE_SEQUENCE..][..4].copy_from_slice(&self.base_sequence.to_be_bytes());
        batch[RECORD_COUNT..][..4].copy_from_slice(&self.record_count.to_be_bytes());
        let crc = compute_crc(batch);
        batch[CRC..][..4].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The attribute bits of a new batch.
pub(super) fn attributes_of(
    compression: Compression,
    timestamp_type: TimestampType,
    transactional: bool,
    control: bool,
    delete_horizon: bool,
) -> i16 {
    let bit = |set: bool, mask: i16| if set { mask } else { 0 };
    i16::from(compression.id())
        | bit(timestamp_type == TimestampType::LogAppendTime, TIMESTAMP_TYPE_MASK)
        | bit(transactional, TRANSACTIONAL_MASK)
        | bit(control, CONTROL_MASK)
        | bit(delete_horizon, DELETE_HORIZON_MASK)
}

/// CRC-32C of a whole batch's covered part. `batch` holds at least a header.
pub(super) fn compute_crc(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[ATTRIBUTES..])
}

/// `sequence + increment`, where the number after `i32::MAX` is 0.
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(increment) {
        increment.wrapping_sub(i32::MAX.wrapping_sub(sequence)).wrapping_sub(1)
    } else {
        sequence.wrapping_add(increment)
    }
}

/// `sequence - decrement`, where the number before 0 is `i32::MAX`.
pub fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    if sequence < decrement {
        i32::MAX.wrapping_sub(decrement.wrapping_sub(sequence)).wrapping_add(1)
    } else {
        sequence.wrapping_sub(decrement)
    }
}

/// One whole batch whose header may be changed in place: what a leader stamps before it appends, and a producer before it sends.
pub struct BatchViewMut<'a> {
    batch: &'a mut [u8],
}

impl<'a> BatchViewMut<'a> {
    /// The batch at the start of `bytes`, which may go on after it. Errors as [`super::BatchView::parse`].
    pub fn parse(bytes: &'a mut [u8]) -> Result<BatchViewMut<'a>, BatchError> {
        let size = super::BatchView::parse(bytes)?.header().size_bytes();
        Ok(BatchViewMut { batch: &mut bytes[..size] })
    }

    /// The header as it is now.
    pub fn header(&self) -> BatchHeader {
        BatchHeader::parse(self.batch).expect("no setter changes the length or the magic")
    }

    /// Not covered by the CRC.
    pub fn set_base_offset(&mut self, offset: i64) {
        self.batch[..8].copy_from_slice(&offset.to_be_bytes());
    }

    /// Sets the base offset so that the batch ends at `offset`.
    pub fn set_last_offset(&mut self, offset: i64) {
        let delta = i32_at(self.batch, LAST_OFFSET_DELTA);
        self.set_base_offset(offset.wrapping_sub(i64::from(delta)));
    }

    /// Not covered by the CRC, so that a leader need not read the whole batch again.
    pub fn set_partition_leader_epoch(&mut self, epoch: i32) {
        self.batch[PARTITION_LEADER_EPOCH..][..4].copy_from_slice(&epoch.to_be_bytes());
    }

    /// Sets the timestamp type and the max timestamp; computes the CRC anew only if one of them differs.
    pub fn set_max_timestamp(&mut self, timestamp_type: TimestampType, max_timestamp: i64) {
        let header = self.header();
        if header.timestamp_type() == timestamp_type && header.max_timestamp == max_timestamp {
            return;
        }
        // The high byte of the attributes has no meaning yet; Kafka clears it here too.
        let mut attributes = header.attributes & 0x77;
        if timestamp_type == TimestampType::LogAppendTime {
            attributes |= TIMESTAMP_TYPE_MASK;
        }
        self.batch[ATTRIBUTES..][..2].copy_from_slice(&attributes.to_be_bytes());
        self.batch[MAX_TIMESTAMP..][..8].copy_from_slice(&max_timestamp.to_be_bytes());
        self.update_crc();
    }

    /// Marks every record as appended at `now_ms`: log-append time.
    pub fn set_log_append_time(&mut self, now_ms: i64) {
        self.set_max_timestamp(TimestampType::LogAppendTime, now_ms);
    }

    /// Gives a batch that was built, and maybe sent, another producer id, epoch and first sequence; computes the CRC anew.
    pub fn set_producer_state(&mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32, transactional: bool) {
        let attributes = i16_at(self.batch, ATTRIBUTES);
        let attributes = if transactional { attributes | TRANSACTIONAL_MASK } else { attributes & !TRANSACTIONAL_MASK };
        self.batch[ATTRIBUTES..][..2].copy_from_slice(&attributes.to_be_bytes());
        self.batch[PRODUCER_ID..][..8].copy_from_slice(&producer_id.to_be_bytes());
        self.batch[PRODUCER_EPOCH..][..2].copy_from_slice(&producer_epoch.to_be_bytes());
        self.batch[BASE_SEQUENCE..][..4].copy_from_slice(&base_sequence.to_be_bytes());
        self.update_crc();
    }

    fn update_crc(&mut self) {
        let crc = compute_crc(self.batch);
        self.batch[CRC..][..4].copy_from_slice(&crc.to_be_bytes());
    }
}

fn array_at<const N: usize>(bytes: &[u8], position: usize) -> [u8; N] {
    bytes[position..position + N].try_into().expect("a slice of N bytes is an array of N")
}

fn i16_at(bytes: &[u8], position: usize) -> i16 {
    i16::from_be_bytes(array_at(bytes, position))
}

fn i32_at(bytes: &[u8], position: usize) -> i32 {
    i32::from_be_bytes(array_at(bytes, position))
}

fn i64_at(bytes: &[u8], position: usize) -> i64 {
    i64::from_be_bytes(array_at(bytes, position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 2, 5), 2);
        assert_eq!(increment_sequence(0, 7), 7);
        assert_eq!(decrement_sequence(0, 1), i32::MAX);
        assert_eq!(decrement_sequence(2, 5), i32::MAX - 2);
        assert_eq!(decrement_sequence(7, 7), 0);
    }

    #[test]
    fn a_length_below_the_smallest_message_is_invalid_before_more_bytes_arrive() {
        let mut bytes = [0u8; 12];
        bytes[11] = 13;
        assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::InvalidLength { position: 0, length: 13 }));
        bytes[11] = 14;
        assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::Truncated { position: 0, needed: 17, available: 12 }));
    }

    #[test]
    fn old_and_impossible_magic_are_told_apart() {
        let mut bytes = [0u8; 61];
        bytes[11] = 49;
        for magic in [0, 1] {
            bytes[16] = magic;
            assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::OldMagic { position: 0, magic: magic as i8 }));
        }
        for magic in [3, 0x80] {
            bytes[16] = magic;
            assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::InvalidMagic { position: 0, magic: magic as i8 }));
        }
        bytes[16] = 2;
        assert!(BatchHeader::parse(&bytes).is_ok());
        bytes[11] = 48;
        assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::InvalidLength { position: 0, length: 48 }));
    }
}
