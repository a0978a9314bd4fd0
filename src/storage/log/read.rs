//! Reading: by offset and by timestamp. Sources: `UnifiedLog.read`, `UnifiedLog.fetchOffsetByTimestamp`.
//!
//! Invariant: takes no writer lock, so that reads run beside an append.

use std::sync::Arc;

use super::{Log, OffsetMetadata, Offsets};
use crate::protocol::records::Records;
use crate::storage::errors::{ReadError, StorageError};
use crate::storage::segment::Segment;

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

impl Log {
    /// Batches beginning with the one that holds `fetch_offset`, at most `max_bytes`, unless `min_one_message` and the first is larger.
    pub fn read(
        &self,
        fetch_offset: i64,
        max_bytes: usize,
        min_one_message: bool,
        isolation: FetchIsolation,
    ) -> Result<ReadInfo, ReadError> {
        loop {
            let offsets = *self.offsets();
            let info = self.read_at(offsets, fetch_offset, max_bytes, min_one_message, isolation)?;
            // Beside a swap the positions of one moment may have met the segments of another: batches that the reader must not see yet.
            if self.offsets().swaps == offsets.swaps {
                return Ok(info);
            }
        }
    }

    fn read_at(
        &self,
        offsets: Offsets,
        fetch_offset: i64,
        max_bytes: usize,
        min_one_message: bool,
        isolation: FetchIsolation,
    ) -> Result<ReadInfo, ReadError> {
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
        self.note(read)?;
        Ok(info)
    }

    pub(super) fn read_below(
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
            info.records = segment.records(start.position, len)?;
            if let Some(aborted) = &mut info.aborted_transactions {
                let next_segment = || self.higher_segment(base_offset).map(|next| next.base_offset());
                let upper_bound = segment.offset_after_position(start.position + len as u64)?.or_else(next_segment).unwrap_or(max.offset);
                *aborted = self.collect_aborted(segment, fetch_offset, upper_bound.min(max.offset))?;
            }
            return Ok(());
        }
        Ok(())
    }

    pub(super) fn collect_aborted(&self, first: Arc<Segment>, from: i64, to: i64) -> Result<Vec<AbortedTransaction>, StorageError> {
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

    /// The first offset whose timestamp is at least `timestamp` (or a special one) for ListOffsets; None when there is none.
    /// Does not look at isolation: the caller bounds LATEST and what is found.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampAndOffset>, StorageError> {
        self.dir_health.check()?;
        let found = self.find_offset_for_timestamp(timestamp);
        self.note(found)
    }

    pub(super) fn find_offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampAndOffset>, StorageError> {
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
}
