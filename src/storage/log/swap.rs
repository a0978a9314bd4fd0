//! A compacted segment takes the place of those it was made from. Source: `LocalLog.replaceSegments`.
//!
//! ```text
//!   x.log.cleaned --1--> x.log.swap --3--> x.log
//!   x.log, y.log  --2--> x.log.deleted, y.log.deleted
//! ```
//!
//! Invariant: once `.log.swap` is there for good, loading finishes the replacement; before, it undoes it.
//! Invariant: the map of segments and the positions of high watermark and last stable offset change in one step, which `swaps` counts: a
//! reader that has seen only half of it reads again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Log, OffsetMetadata, Writer};
use crate::storage::errors::StorageError;
use crate::storage::fs;
use crate::storage::loader::{CLEANED_SUFFIX, SWAP_SUFFIX, segment_files};
use crate::storage::segment::Segment;

impl Log {
    /// As [`ProducerState::last_data_offsets`](crate::storage::producer_state::ProducerState::last_data_offsets).
    pub(in crate::storage) fn last_data_offsets(&self) -> BTreeMap<i64, (i16, i64)> {
        self.writer().producers.last_data_offsets()
    }

    /// Puts `new`, whose files end with `.cleaned`, in the place of `old`; false, with nothing changed, when the log was truncated since it
    /// counted `truncations`, or `old` is not all there any more.
    pub(in crate::storage) fn replace_segments(&self, old: &[Arc<Segment>], new: &Segment, truncations: u64) -> Result<bool, StorageError> {
        let mut writer = self.open_writer()?;
        let is_untouched = {
            let segments = self.segments();
            let is_known = |segment: &Arc<Segment>| segments.get(&segment.base_offset()).is_some_and(|known| Arc::ptr_eq(known, segment));
            self.offsets().truncations == truncations && old.iter().all(is_known)
        };
        if !is_untouched {
            return Ok(false);
        }
        let replaced = self.replace(&mut writer, old, new);
        self.note(replaced).map(|()| true)
    }

    fn replace(&self, writer: &mut Writer, old: &[Arc<Segment>], new: &Segment) -> Result<(), StorageError> {
        let (dir, base_offset) = (self.dir(), new.base_offset());
        // The log last: a lone index with `.swap` is dropped or rebuilt, a log with `.swap` but half its indexes as `.cleaned` is undone.
        let swapped = |path: &Path| fs::with_suffix(&path.with_extension(""), SWAP_SUFFIX);
        for path in segment_files(&dir, base_offset, CLEANED_SUFFIX).iter().rev() {
            fs::rename_unsynced(path, &swapped(path))?;
        }
        fs::sync_dir(&dir)?;
        self.delete_segment_files(writer, old, false)?;
        for path in segment_files(&dir, base_offset, SWAP_SUFFIX) {
            fs::rename_unsynced(&path, &path.with_extension(""))?;
        }
        fs::sync_dir(&dir)?;
        let segment = Arc::new(Segment::open(&dir, base_offset, &self.config(), self.clock.now_ms(), false, "")?);

        let is_old = |base_offset: i64| old.iter().any(|segment| segment.base_offset() == base_offset);
        let place_now = |known: OffsetMetadata| -> Result<OffsetMetadata, StorageError> {
            if !is_old(known.segment_base_offset) {
                return Ok(known);
            }
            if let Some(found) = segment.translate_offset(known.offset, segment.size_bytes())? {
                return Ok(OffsetMetadata { segment_base_offset: base_offset, position: found.position, ..known });
            }
            // Beyond the last batch: where the next segment begins, since the active one is never replaced.
            let last_old = old.last().map_or(base_offset, |last| last.base_offset());
            let next = self.higher_segment(last_old).map_or(base_offset, |next| next.base_offset());
            Ok(OffsetMetadata { segment_base_offset: next, position: 0, ..known })
        };
        // Both stand still while the writer lock is held.
        let before = *self.offsets();
        let high_watermark = place_now(before.high_watermark)?;
        let first_unstable = before.first_unstable.map(place_now).transpose()?;
        {
            let mut segments = self.segments_mut();
            let mut offsets = self.offsets();
            for segment in old {
                segments.remove(&segment.base_offset());
            }
            segments.insert(base_offset, segment);
            offsets.high_watermark = high_watermark;
            offsets.first_unstable = first_unstable;
            offsets.swaps += 1;
        }
        // Snapshots stay only where a segment begins.
        for segment in old.iter().filter(|segment| segment.base_offset() != base_offset) {
            if let Some(path) = writer.producers.mark_snapshot_deleted(segment.base_offset())? {
                let now_ms = self.clock.monotonic_ms();
                writer.deleted.push((now_ms, path));
                self.chores.note_deletion(now_ms);
            }
        }
        Ok(())
    }
}
