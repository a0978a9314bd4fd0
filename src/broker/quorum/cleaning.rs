//! Which snapshots go, and with them the beginning of the log.
//!
//! Invariant: the log begins at or before the end of the oldest snapshot, and the newest snapshot stays.
//! Source: `KafkaRaftLog.maybeClean`.

use super::QuorumError;
use super::snapshot_files::SnapshotFiles;
use crate::raft::log::RaftLog;
use crate::raft::snapshot::{SnapshotPolicy, StoredSnapshot};

/// Deletes the snapshots that the policy does not keep, oldest first, each with the segments that it was needed for.
pub(super) fn clean<L: RaftLog + ?Sized>(
    policy: &SnapshotPolicy,
    snapshots: &SnapshotFiles,
    log: &mut L,
    now_ms: i64,
) -> Result<(), QuorumError> {
    let mut stored = Vec::new();
    for (id, size_bytes) in snapshots.list()? {
        stored.push(StoredSnapshot { id, size_bytes, last_timestamp_ms: 0 });
    }
    while let [oldest, next, ..] = &mut stored[..] {
        oldest.last_timestamp_ms = match snapshots.last_contained_log_timestamp_ms(oldest.id) {
            Ok(timestamp_ms) => timestamp_ms,
            Err(error) => {
                tracing::warn!(%error, "an old metadata snapshot cannot be read; its age is not known");
                i64::MAX
            }
        };
        let (oldest, next) = (oldest.id, next.id);
        if !policy.is_surplus(&stored, log.size_bytes(), now_ms) {
            break;
        }
        snapshots.delete(oldest)?;
        if next.end_offset > log.start_offset() {
            log.delete_before(next.end_offset)?;
        }
        stored.remove(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::broker::quorum::metadata_log::{METADATA_DIR, MetadataLog, MetadataLogConfig};
    use crate::common::clock::{Clock, ManualClock, SystemClock};
    use crate::raft::control::data_batch;
    use crate::raft::snapshot::{Snapshot, SnapshotId};

    /// A log of forty batches of about 1100 bytes in segments of four, with a snapshot, covering records up to that second, at every tenth.
    fn log(dir: &Path) -> (MetadataLog, SnapshotFiles) {
        log_with(dir, SystemClock::shared())
    }

    fn log_with(dir: &Path, clock: Arc<dyn Clock>) -> (MetadataLog, SnapshotFiles) {
        let config = MetadataLogConfig { segment_bytes: 4600, ..MetadataLogConfig::default() };
        let mut log = MetadataLog::open(dir, 0, &config, clock).expect("opened");
        for offset in 0..40 {
            let batch = data_batch(offset, 1, offset * 1000, [Bytes::from(vec![0; 1000])]).expect("a batch");
            log.append(&batch).expect("appended");
        }
        log.flush().expect("flushed");
        let snapshots = SnapshotFiles::new(dir.join(METADATA_DIR));
        for end_offset in [10, 20, 30, 40] {
            let snapshot = Snapshot { last_contained_log_timestamp_ms: (end_offset - 1) * 1000, ..Snapshot::default() };
            let id = SnapshotId { end_offset, epoch: 1 };
            snapshots.write(id, &snapshot.to_bytes(1, 0).expect("bytes")).expect("written");
        }
        (log, snapshots)
    }

    fn ends(snapshots: &SnapshotFiles) -> Vec<i64> {
        snapshots.list().expect("listed").iter().map(|(id, _)| id.end_offset).collect()
    }

    #[test]
    fn only_as_much_goes_as_the_size_asks_for() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (mut log, snapshots) = log(dir.path());
        let whole = log.size_bytes();
        let policy = |retention_bytes| SnapshotPolicy { retention_bytes, retention_ms: -1, ..SnapshotPolicy::default() };
        clean(&policy(whole as i64 * 2), &snapshots, &mut log, 0).expect("cleaned");
        assert_eq!((ends(&snapshots), log.start_offset()), (vec![10, 20, 30, 40], 0));
        // One snapshot and the segments before the next are enough.
        clean(&policy(whole as i64 - 5000), &snapshots, &mut log, 0).expect("cleaned");
        assert_eq!((ends(&snapshots), log.start_offset()), (vec![20, 30, 40], 20));
        assert!(log.size_bytes() < whole - 5000, "{} of {whole}", log.size_bytes());
        clean(&policy(0), &snapshots, &mut log, 0).expect("cleaned");
        assert_eq!((ends(&snapshots), log.start_offset()), (vec![40], 40));
    }

    #[test]
    fn old_snapshots_go_but_the_newest_stays() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (mut log, snapshots) = log(dir.path());
        let policy = SnapshotPolicy { retention_bytes: -1, retention_ms: 5000, ..SnapshotPolicy::default() };
        clean(&policy, &snapshots, &mut log, 25_000).expect("cleaned");
        assert_eq!((ends(&snapshots), log.start_offset()), (vec![30, 40], 30));
        clean(&policy, &snapshots, &mut log, 1_000_000).expect("cleaned");
        assert_eq!((ends(&snapshots), log.start_offset()), (vec![40], 40));
    }

    #[test]
    fn the_files_of_deleted_segments_go_after_their_delay() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let (mut log, snapshots) = log_with(dir.path(), clock.clone());
        let policy = SnapshotPolicy { retention_bytes: 0, ..SnapshotPolicy::default() };
        clean(&policy, &snapshots, &mut log, 0).expect("cleaned");
        let left = || {
            let files = std::fs::read_dir(dir.path().join(METADATA_DIR)).expect("listed");
            files.filter(|file| file.as_ref().expect("a file").path().extension().is_some_and(|extension| extension == "deleted")).count()
        };
        log.remove_deleted_files().expect("removed");
        assert!(left() > 0, "reads may be under way");
        clock.advance(60_001);
        log.remove_deleted_files().expect("removed");
        assert_eq!(left(), 0);
    }

    #[test]
    fn an_old_snapshot_that_cannot_be_read_stops_nobody() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (mut log, snapshots) = log(dir.path());
        let path = dir.path().join(METADATA_DIR).join(SnapshotId { end_offset: 10, epoch: 1 }.file_name());
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, b"damaged").expect("written");
        let policy = SnapshotPolicy { retention_bytes: -1, retention_ms: 0, ..SnapshotPolicy::default() };
        clean(&policy, &snapshots, &mut log, 1_000_000).expect("cleaned");
        assert_eq!(ends(&snapshots), [10, 20, 30, 40]);
    }
}
