//! What makes a log durable: syncs, the recovery point, `partition.metadata` and leader epochs, the clean close.
//! Source: `UnifiedLog.flush`.
//!
//! Invariant: the recovery point moves only over what is synced.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Log, Writer};
use crate::storage::errors::StorageError;
use crate::storage::fs;
use crate::storage::partition_metadata;
use crate::storage::segment::Segment;

impl Log {
    /// Makes `partition.metadata` and the leader epochs durable if they have news. Both must be before a record counts: the id so that
    /// records are never taken for another topic's, the epoch so that a follower finds where it diverged.
    pub(super) fn write_identity(&self) -> Result<(), StorageError> {
        let mut epochs = self.epochs();
        let mut id_is_unsynced = self.topic_id_is_unsynced();
        let unwritten: Option<(PathBuf, Vec<u8>)> = epochs.unwritten();
        let unsynced = id_is_unsynced.then(|| self.topic_id_path());
        if unwritten.is_none() && unsynced.is_none() {
            return Ok(());
        }
        fs::write_all_atomically(unwritten.as_slice(), unsynced.as_slice())?;
        epochs.written();
        *id_is_unsynced = false;
        Ok(())
    }

    /// Is there anything that records rest on and that is not on disk for good? An epoch without a record is nothing.
    pub(super) fn identity_is_unwritten(&self) -> bool {
        let epochs = self.epochs();
        let has_records = || epochs.latest().is_some_and(|(_, start_offset)| start_offset < self.log_end_offset());
        *self.topic_id_is_unsynced() || (epochs.unwritten().is_some() && has_records())
    }

    fn topic_id_path(&self) -> PathBuf {
        self.dir().join(partition_metadata::PARTITION_METADATA)
    }

    /// Where `partition.metadata` is, when it is written but not synced.
    pub(in crate::storage) fn unsynced_topic_id(&self) -> Option<PathBuf> {
        self.topic_id_is_unsynced().then(|| self.topic_id_path())
    }

    /// The file that [`Log::unsynced_topic_id`] gave is synced.
    pub(in crate::storage) fn topic_id_is_synced(&self) {
        *self.topic_id_is_unsynced() = false;
    }

    /// Opens the files of all segments for good, before the directory is renamed under those who read.
    pub(in crate::storage) fn pin_files(&self) -> Result<(), StorageError> {
        self.all_segments().iter().try_for_each(|segment| segment.pin_files())
    }

    /// fsync of everything up to the log end offset; moves the recovery point.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.dir_health.check()?;
        self.flush_below(i64::MAX)
    }

    /// fsync of the segments before the active one, which a roll leaves to be done.
    pub fn flush_rolled(&self) -> Result<(), StorageError> {
        let active_base_offset = {
            let _writer = self.open_writer()?;
            self.active().base_offset()
        };
        if self.recovery_point() >= active_base_offset { Ok(()) } else { self.flush_below(active_base_offset) }
    }

    /// Does not hold the writer lock while it syncs, so that appends go on.
    pub(super) fn flush_below(&self, limit: i64) -> Result<(), StorageError> {
        let snapshots = std::mem::take(&mut self.writer().producers.unsynced_snapshots);
        let flushed = self.sync(limit, &snapshots);
        self.note_unless_full(flushed)
    }

    pub(super) fn flush_segments(&self, writer: &mut Writer) -> Result<(), StorageError> {
        let snapshots = std::mem::take(&mut writer.producers.unsynced_snapshots);
        self.sync(i64::MAX, &snapshots)
    }

    /// What the records rest on and the records themselves, side by side.
    pub(super) fn sync(&self, limit: i64, snapshots: &[PathBuf]) -> Result<(), StorageError> {
        snapshots.iter().try_for_each(|path| fs::sync_path(path))?;
        let has_new_names = !snapshots.is_empty();
        if self.closed.load(Ordering::Acquire) || !self.identity_is_unwritten() {
            return self.sync_segments(limit, has_new_names);
        }
        std::thread::scope(|scope| {
            let identity = std::thread::Builder::new().spawn_scoped(scope, || self.write_identity());
            let synced = self.sync_segments(limit, has_new_names);
            let written = match identity {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => self.write_identity(),
            };
            written.and(synced)
        })
    }

    /// `has_new_names`: the directory is to be synced in any case.
    pub(super) fn sync_segments(&self, limit: i64, mut has_new_names: bool) -> Result<(), StorageError> {
        let before = *self.offsets();
        let end = before.log_end.offset.min(limit);
        if end <= before.recovery_point {
            return if has_new_names { fs::sync_dir(&self.dir()) } else { Ok(()) };
        }
        let unflushed: Vec<Arc<Segment>> = {
            let segments = self.segments();
            let from = segments.range(..=before.recovery_point).next_back().map_or(i64::MIN, |(base, _)| *base);
            segments.range(from..end).map(|(_, segment)| segment.clone()).collect()
        };
        let mut indexes_are_complete = true;
        for segment in &unflushed {
            // The first aborted transaction of a segment creates a file, long after the others.
            has_new_names |= segment.base_offset() >= before.recovery_point || segment.take_has_new_name();
            match segment.flush() {
                // What recovery needs is there. It must then look at this segment again, to write its indexes.
                Err(error) if error.is_full() => indexes_are_complete = false,
                flushed => flushed?,
            }
        }
        if has_new_names {
            fs::sync_dir(&self.dir())?;
        }
        let now_ms = self.clock.monotonic_ms();
        let mut offsets = self.offsets();
        offsets.last_flush_time_ms = now_ms;
        if indexes_are_complete && offsets.truncations == before.truncations {
            offsets.recovery_point = offsets.recovery_point.max(end);
        }
        Ok(())
    }

    /// Monotonic time of the last flush, ms.
    pub fn last_flush_time_ms(&self) -> u64 {
        self.offsets().last_flush_time_ms
    }

    /// For a clean stop: producer snapshot and indexes complete and durable. Flush first. The log must not be used afterwards.
    pub fn close(&self) -> Result<(), StorageError> {
        self.close_files(true)
    }

    /// As flush and close, without the syncs: the caller syncs the file system, and then tells [`Log::is_synced`].
    pub(in crate::storage) fn close_unsynced(&self) -> Result<(), StorageError> {
        if self.identity_is_unwritten() {
            self.dir_health.note(self.write_identity())?;
        }
        self.close_files(false)
    }

    fn close_files(&self, sync: bool) -> Result<(), StorageError> {
        let mut writer = self.open_writer()?;
        self.closed.store(true, Ordering::Release);
        let closed = writer.producers.take_snapshot(sync).and_then(|_| {
            let active = self.active();
            active.on_become_inactive()?;
            // After a clean stop nothing is verified, so nothing may be missing: neither index entries nor names.
            if sync && active.is_created() {
                active.flush()?;
                fs::sync_dir(&self.dir())?;
            }
            self.all_segments().iter().try_for_each(|segment| segment.release_files())
        });
        self.dir_health.note(closed.map(|_| ()))
    }

    /// Everything up to the end of a closed log is synced.
    pub(in crate::storage) fn is_synced(&self) {
        let mut offsets = self.offsets();
        offsets.recovery_point = offsets.log_end.offset;
    }

    /// Has it records that are not synced?
    pub(in crate::storage) fn is_dirty(&self) -> bool {
        self.recovery_point() < self.log_end_offset()
    }
}
