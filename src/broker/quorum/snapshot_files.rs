//! The snapshots in the metadata log's directory.
//!
//! Invariant: a file with a snapshot's name is complete: it is written under another name, synced, then renamed.
//! Source: Kafka's `FileRawSnapshotWriter`, `Snapshots`.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::raft::snapshot::{Snapshot, SnapshotError, SnapshotId};
use crate::storage::errors::StorageError;
use crate::storage::fs;

/// The snapshots below one directory.
#[derive(Debug)]
pub(super) struct SnapshotFiles {
    dir: PathBuf,
}

/// What can go wrong with a snapshot's file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotFileError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{path}: {source}", path = path.display())]
    Malformed { path: PathBuf, source: SnapshotError },
}

impl SnapshotFiles {
    /// The snapshots in the directory of the metadata log, which need not be there yet.
    pub(super) fn new(dir: PathBuf) -> SnapshotFiles {
        SnapshotFiles { dir }
    }

    /// Removes the files that a crash left half done.
    pub(super) fn remove_unfinished(&self) -> Result<(), StorageError> {
        for path in fs::list(&self.dir)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".checkpoint.part") || name.ends_with(".checkpoint.deleted") {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// All snapshots, oldest first, with the sizes of their files.
    pub(super) fn list(&self) -> Result<Vec<(SnapshotId, u64)>, StorageError> {
        let mut snapshots = Vec::new();
        if !fs::is_dir(&self.dir) {
            return Ok(snapshots);
        }
        for path in fs::list(&self.dir)? {
            let id = path.file_name().and_then(|name| name.to_str()).and_then(SnapshotId::from_file_name);
            if let (Some(id), Some(size)) = (id, fs::size(&path)?) {
                snapshots.push((id, size));
            }
        }
        snapshots.sort_unstable();
        Ok(snapshots)
    }

    pub(super) fn read(&self, id: SnapshotId) -> Result<Snapshot, SnapshotFileError> {
        read_snapshot(&self.dir.join(id.file_name()))
    }

    /// The time of the last record that a snapshot covers, ms.
    pub(super) fn last_contained_log_timestamp_ms(&self, id: SnapshotId) -> Result<i64, SnapshotFileError> {
        Ok(self.read(id)?.last_contained_log_timestamp_ms)
    }

    /// Writes a snapshot; durable on return.
    pub(super) fn write(&self, id: SnapshotId, content: &[u8]) -> Result<(), StorageError> {
        let path = self.dir.join(id.file_name());
        let part = fs::with_suffix(&path, ".part");
        fs::write(&part, content).inspect_err(|_| drop(fs::remove_file(&part)))?;
        fs::make_read_only(&part)?;
        fs::sync_path(&part)?;
        fs::rename(&part, &path)
    }

    pub(super) fn delete(&self, id: SnapshotId) -> Result<(), StorageError> {
        fs::remove_file(&self.dir.join(id.file_name()))
    }
}

/// Reads a file in the form of a snapshot.
pub(super) fn read_snapshot(path: &Path) -> Result<Snapshot, SnapshotFileError> {
    let bytes = Bytes::from(fs::read(path)?);
    Snapshot::parse(&bytes).map_err(|source| SnapshotFileError::Malformed { path: path.to_owned(), source })
}
