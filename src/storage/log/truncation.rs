//! Moving the ends inwards: truncation at the end, the log start offset at the beginning. Source: `UnifiedLog.truncateTo`.

use std::sync::Arc;

use super::{Log, OffsetMetadata, Writer};
use crate::storage::errors::{ReadError, StorageError};
use crate::storage::fs;
use crate::storage::loader;
use crate::storage::segment::Segment;

impl Log {
    /// DeleteRecords: moves the log start offset to `offset`; OFFSET_OUT_OF_RANGE when it lies above the high watermark. Gives the log start offset.
    pub fn delete_records_before(&self, offset: i64) -> Result<i64, ReadError> {
        let mut writer = self.open_writer()?;
        let offsets = *self.offsets();
        if offset < 0 || offset > offsets.high_watermark.offset {
            let log_end_offset = offsets.log_end.offset;
            return Err(ReadError::OffsetOutOfRange { offset, log_start_offset: offsets.log_start_offset, log_end_offset });
        }
        let moved = self.increment_log_start_offset(&mut writer, offset);
        self.note_unless_full(moved)?;
        Ok(self.log_start_offset())
    }

    /// Moves the log start offset forward (a follower told by its leader, a Raft snapshot), at most to the high watermark; true when it moved.
    pub fn maybe_increment_log_start_offset(&self, offset: i64) -> Result<bool, StorageError> {
        let mut writer = self.open_writer()?;
        let offset = offset.min(self.high_watermark());
        let moved = self.increment_log_start_offset(&mut writer, offset);
        self.note_unless_full(moved)
    }

    pub(super) fn increment_log_start_offset(&self, writer: &mut Writer, offset: i64) -> Result<bool, StorageError> {
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
        self.note(cut)
    }

    pub(super) fn truncate(&self, writer: &mut Writer, offset: i64) -> Result<bool, StorageError> {
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
        self.cleaning.on_truncated(offset);
        self.chores.note_truncation();
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
                self.chores.note_high_watermark();
            }
        }
        active.truncate_to(offset, self.clock.now_ms())?;
        // What was cut must not come back with a later flush below it that finds nothing to do.
        active.flush()?;
        self.epochs().truncate_from_end(offset)?;
        let segments = self.segments().clone();
        loader::rebuild_producer_state(&mut writer.producers, &segments, self.log_start_offset(), offset, self.clock.now_ms(), false)?;
        // A snapshot of what was cut must not come back either, or recovery takes it for one of what comes next.
        fs::sync_dir(&self.dir())?;
        // Markers that the scan has met again are replicated if they were before.
        writer.producers.on_high_watermark_updated(self.high_watermark());
        self.offsets().first_unstable = None;
        self.update_first_unstable(writer)?;
        Ok(true)
    }

    /// Empties the log; it goes on at `offset`.
    pub fn truncate_fully_and_start_at(&self, offset: i64) -> Result<(), StorageError> {
        let mut writer = self.open_writer()?;
        let emptied = self.start_at(&mut writer, offset);
        self.note(emptied)
    }

    pub(super) fn start_at(&self, writer: &mut Writer, offset: i64) -> Result<(), StorageError> {
        tracing::info!(topic_partition = %self.topic_partition, offset, "truncating the log fully");
        self.offsets().truncations += 1;
        self.cleaning.on_truncated(offset);
        self.chores.note_truncation();
        let old = self.segments_mut().split_off(&i64::MIN);
        // Between here and the insertion readers find no segment, which reads as an empty log.
        self.delete_files(writer, old.into_values().collect())?;
        let segment = Arc::new(Segment::open(&self.dir(), offset, &self.config(), self.clock.now_ms(), true, "")?);
        self.segments_mut().insert(offset, segment);
        self.epochs().clear()?;
        writer.producers.truncate_fully_and_start_at(offset)?;
        fs::sync_dir(&self.dir())?;
        let start = OffsetMetadata { offset, segment_base_offset: offset, position: 0 };
        let mut offsets = self.offsets();
        offsets.log_start_offset = offset;
        offsets.log_end = start;
        offsets.high_watermark = start;
        self.chores.note_high_watermark();
        offsets.first_unstable = None;
        offsets.recovery_point = offsets.recovery_point.min(offset);
        Ok(())
    }
}
