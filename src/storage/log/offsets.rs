//! The four offsets of a log: start, last stable, high watermark, end. Sources: `UnifiedLog`, `LogOffsetMetadata`.

use super::{Log, Writer};
use crate::storage::errors::StorageError;

/// An offset and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetMetadata {
    pub(super) offset: i64,
    pub(super) segment_base_offset: i64,
    /// In that segment, bytes.
    pub(super) position: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    pub(super) log_start_offset: i64,
    pub(super) log_end: OffsetMetadata,
    pub(super) high_watermark: OffsetMetadata,
    /// Of the producer state; holds the last stable offset back while it is below the high watermark.
    pub(super) first_unstable: Option<OffsetMetadata>,
    pub(super) recovery_point: i64,
    pub(super) last_flush_time_ms: u64,
    /// Counts truncations, so that a flush that ran beside one does not move the recovery point.
    pub(super) truncations: u64,
    /// Counts compacted segments that took the place of others, so that a read that ran beside one does not trust its positions.
    pub(super) swaps: u64,
}

impl Offsets {
    pub(super) fn last_stable(&self) -> OffsetMetadata {
        match self.first_unstable {
            Some(unstable) if unstable.offset < self.high_watermark.offset => unstable,
            _ => self.high_watermark,
        }
    }
}

impl Log {
    /// Where an offset is; the log's end for one beyond it.
    pub(super) fn resolve(&self, offset: i64) -> Result<OffsetMetadata, StorageError> {
        let log_end = self.offsets().log_end;
        if offset >= log_end.offset {
            return Ok(log_end);
        }
        let mut candidate = self.floor_segment(offset);
        if candidate.is_none() {
            candidate = self.segments().values().next().cloned();
        }
        while let Some(segment) = candidate {
            let segment_base_offset = segment.base_offset();
            if offset <= segment_base_offset && segment.size_bytes() > 0 {
                return Ok(OffsetMetadata { offset, segment_base_offset, position: 0 });
            }
            if let Some(found) = segment.translate_offset(offset, segment.size_bytes())? {
                return Ok(OffsetMetadata { offset, segment_base_offset, position: found.position });
            }
            candidate = self.higher_segment(segment_base_offset);
        }
        Ok(OffsetMetadata { offset, ..log_end })
    }

    pub fn log_start_offset(&self) -> i64 {
        self.offsets().log_start_offset
    }

    pub fn log_end_offset(&self) -> i64 {
        self.offsets().log_end.offset
    }

    pub fn high_watermark(&self) -> i64 {
        self.offsets().high_watermark.offset
    }

    /// The offset below which every transaction is decided; never above the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        self.offsets().last_stable().offset
    }

    /// Moves the high watermark forward to `offset` (clipped to the log); true when it moved.
    pub fn maybe_increment_high_watermark(&self, offset: i64) -> bool {
        let mut writer = self.writer();
        if offset <= self.high_watermark() {
            return false;
        }
        self.set_high_watermark(&mut writer, offset)
    }

    /// Sets the high watermark (clipped to the log), also backwards: becoming follower, start from the checkpoint.
    pub fn update_high_watermark(&self, offset: i64) {
        let mut writer = self.writer();
        self.set_high_watermark(&mut writer, offset);
    }

    pub(super) fn set_high_watermark(&self, writer: &mut Writer, offset: i64) -> bool {
        let before = self.high_watermark();
        let offset = offset.max(self.log_start_offset());
        // A place that cannot be read now is found again, or fails, when a reader wants it.
        let Ok(high_watermark) = self.note(self.resolve(offset)) else { return false };
        self.offsets().high_watermark = high_watermark;
        if high_watermark.offset != before {
            self.chores.note_high_watermark();
        }
        writer.producers.on_high_watermark_updated(high_watermark.offset);
        let _ = self.note(self.update_first_unstable(writer));
        high_watermark.offset != before
    }

    pub(super) fn update_first_unstable(&self, writer: &Writer) -> Result<(), StorageError> {
        let log_start_offset = self.log_start_offset();
        let offset = writer.producers.first_unstable_offset().map(|offset| offset.max(log_start_offset));
        if self.offsets().first_unstable.map(|known| known.offset) != offset {
            let first_unstable = match offset {
                Some(offset) => Some(self.resolve(offset)?),
                None => None,
            };
            self.offsets().first_unstable = first_unstable;
        }
        Ok(())
    }
}
