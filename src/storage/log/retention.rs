//! How segments leave a log by retention, and how their files go. Sources: `UnifiedLog.deleteOldSegments`, `LocalLog.deleteSegmentFiles`.
//!
//! Invariant: files are renamed to `.deleted` first and unlinked after `file.delete.delay.ms`, so that reads in flight can finish.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Log, Writer};
use crate::storage::config::LogConfig;
use crate::storage::errors::StorageError;
use crate::storage::fs;
use crate::storage::segment::Segment;

impl Log {
    /// Renames the files of segments that are out of the map, and notes them for unlinking.
    pub(super) fn delete_files(&self, writer: &mut Writer, segments: Vec<Arc<Segment>>) -> Result<(), StorageError> {
        self.delete_segment_files(writer, &segments, true)
    }

    pub(super) fn delete_segment_files(
        &self,
        writer: &mut Writer,
        segments: &[Arc<Segment>],
        with_snapshots: bool,
    ) -> Result<(), StorageError> {
        let due_ms = self.due_ms();
        for segment in segments {
            for path in segment.mark_deleted()? {
                writer.deleted.push((due_ms, path));
            }
            self.chores.note_deletion(due_ms);
            if with_snapshots && let Some(path) = writer.producers.mark_snapshot_deleted(segment.base_offset())? {
                writer.deleted.push((due_ms, path));
            }
        }
        Ok(())
    }

    /// When what is deleted now may go, in monotonic time.
    fn due_ms(&self) -> u64 {
        self.clock.monotonic_ms().saturating_add_signed(self.config().file_delete_delay_ms.max(0))
    }

    /// Unlinks deleted files whose `file.delete.delay.ms` is over.
    pub fn remove_deleted_files(&self) -> Result<(), StorageError> {
        let due: Vec<PathBuf> = {
            let mut writer = self.writer();
            let now_ms = self.clock.monotonic_ms();
            let due = writer.deleted.extract_if(.., |(due_ms, _)| *due_ms <= now_ms).map(|(_, path)| path).collect();
            if let Some((later_ms, _)) = writer.deleted.iter().min() {
                self.chores.note_deletion(*later_ms);
            }
            due
        };
        due.iter().try_for_each(|path| fs::remove_file(path))
    }

    /// Retention: by log start offset always, by time and size when the policy says delete. Gives the number of segments deleted.
    pub fn delete_old_segments(&self) -> Result<usize, StorageError> {
        let mut writer = self.open_writer()?;
        let deleted = self.delete_breached(&mut writer);
        self.note_unless_full(deleted)
    }

    fn delete_breached(&self, writer: &mut Writer) -> Result<usize, StorageError> {
        let config = self.config();
        let log_start_offset = self.log_start_offset();
        let before_start = |_: &Segment, next: Option<i64>| Ok(next.is_some_and(|next| next <= log_start_offset));
        let mut deleted = self.delete_while(writer, &config, "log start offset", before_start)?;
        if !config.cleanup_policy.delete {
            return Ok(deleted);
        }
        if let Ok(limit) = u64::try_from(config.retention_bytes) {
            let mut surplus = self.size_bytes().saturating_sub(limit);
            deleted += self.delete_while(writer, &config, "retention.bytes", |segment, _| {
                let size = segment.size_bytes();
                let breached = surplus > 0 && surplus >= size;
                if breached {
                    surplus -= size;
                }
                Ok(breached)
            })?;
        }
        if config.retention_ms >= 0 {
            let now_ms = self.clock.now_ms();
            let expired = |segment: &Segment, _| Ok(now_ms - segment.largest_timestamp()? > config.retention_ms);
            deleted += self.delete_while(writer, &config, "retention.ms", expired)?;
        }
        Ok(deleted)
    }

    /// Deletes segments from the oldest on while `breached` holds, none that reaches beyond the high watermark. Told to the predicate: the next
    /// segment's base offset.
    fn delete_while(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        reason: &str,
        mut breached: impl FnMut(&Segment, Option<i64>) -> Result<bool, StorageError>,
    ) -> Result<usize, StorageError> {
        let high_watermark = self.high_watermark();
        let segments = self.all_segments();
        let mut deletable = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            let next = segments.get(n + 1).map(|next| next.base_offset());
            let upper_bound = next.unwrap_or_else(|| self.log_end_offset());
            let is_last_and_empty = next.is_none() && segment.size_bytes() == 0;
            if high_watermark < upper_bound || is_last_and_empty || !breached(segment, next)? {
                break;
            }
            deletable.push(segment.clone());
        }
        let count = deletable.len();
        let Some(last) = deletable.last() else { return Ok(0) };
        if count == segments.len() {
            self.roll_at(writer, config, self.log_end_offset())?;
        }
        let new_start = self.higher_segment(last.base_offset()).map_or(self.log_end_offset(), |next| next.base_offset());
        tracing::info!(topic_partition = %self.topic_partition, count, reason, new_start, "deleting old segments");
        self.increment_log_start_offset(writer, new_start)?;
        {
            let mut map = self.segments_mut();
            for segment in &deletable {
                map.remove(&segment.base_offset());
            }
        }
        self.delete_files(writer, deletable)?;
        Ok(count)
    }
}
