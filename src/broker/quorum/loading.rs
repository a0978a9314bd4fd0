//! From what is on disk to an image, a controller and the history of the voters.
//!
//! Invariant: nothing here writes. The log is read from its files, up to what recovery would keep, before recovery touches them: a
//! directory that this build cannot serve stays as it was found.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::QuorumError;
use super::snapshot_files::SnapshotFiles;
use crate::controller::Controller;
use crate::metadata::image::{MetadataImage, Provenance};
use crate::metadata::loader::{CommittedBatch, Loader};
use crate::metadata::record::MetadataRecord;
use crate::raft::control::{BatchContent, LogBatch, RaftRecord, read_batches};
use crate::raft::snapshot::SnapshotId;
use crate::raft::voters::VoterHistory;
use crate::storage::errors::StorageError;
use crate::storage::fs;
use crate::storage::inspect::{InspectError, LogFile};

/// What was found on disk, on its way into an engine, a controller and a loader.
pub(super) struct Loading {
    pub(super) voters: VoterHistory,
    pub(super) controller: Controller,
    pub(super) loader: Loader,
}

/// What was read of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadLog {
    /// The first offset that is not in it.
    pub(super) end_offset: i64,
    /// Of the batches that were loaded.
    pub(super) size_bytes: u64,
}

impl Loading {
    pub(super) fn new(controller: Controller, loader: Loader) -> Loading {
        Loading { voters: VoterHistory::default(), controller, loader }
    }

    pub(super) fn load_snapshot(&mut self, snapshots: &SnapshotFiles, id: SnapshotId) -> Result<(), QuorumError> {
        let snapshot = snapshots.read(id)?;
        let mut records = Vec::with_capacity(snapshot.values.len());
        for value in snapshot.values {
            let record = MetadataRecord::from_value(value);
            records.push(record.map_err(|source| QuorumError::SnapshotRecord { file: id.file_name(), source })?.0);
        }
        let provenance = Provenance { offset: id.end_offset - 1, epoch: id.epoch, timestamp_ms: snapshot.last_contained_log_timestamp_ms };
        if id.end_offset > 0 {
            let loaded = self.loader.load_snapshot(&records, provenance);
            loaded.map_err(|source| QuorumError::ReplaySnapshot { file: id.file_name(), source })?;
        }
        let image = MetadataImage { provenance, ..self.loader.next().clone() };
        self.controller.load_snapshot(Arc::new(image), id.end_offset);
        self.voters.load_snapshot(id.end_offset, snapshot.kraft_version, snapshot.voters);
        Ok(())
    }

    /// Replays the log in `dir` from `start_offset` on.
    pub(super) fn load_log(&mut self, dir: &Path, start_offset: i64) -> Result<ReadLog, QuorumError> {
        let mut read = ReadLog { end_offset: start_offset, size_bytes: 0 };
        let segments = segments(dir)?;
        // Segments wholly before the start are not looked at.
        let first = segments.iter().rposition(|&(base_offset, _)| base_offset <= start_offset).unwrap_or(0);
        for (_, path) in &segments[first..] {
            let file = LogFile::open(path)?;
            let mut batches = file.batches(0, file.size_bytes());
            loop {
                let found = match batches.next_batch() {
                    Ok(Some(found)) if batches.is_valid(&found)? => found,
                    Err(InspectError::Storage(error)) => return Err(error.into()),
                    // What recovery cuts off, with everything behind it.
                    Err(_) | Ok(Some(_)) => return Ok(read),
                    Ok(None) if batches.position() < file.size_bytes() => return Ok(read),
                    Ok(None) => break,
                };
                if found.header.last_offset() < start_offset {
                    continue;
                }
                let bytes = match batches.bytes(&found) {
                    Ok(bytes) => Bytes::from(bytes),
                    Err(InspectError::Storage(error)) => return Err(error.into()),
                    Err(_) => return Ok(read),
                };
                for batch in read_batches(&bytes) {
                    let batch = batch?;
                    if read.end_offset > start_offset && batch.base_offset != read.end_offset {
                        return Ok(read);
                    }
                    read = ReadLog { end_offset: batch.last_offset + 1, size_bytes: read.size_bytes + batch.size_bytes as u64 };
                    self.load_batch(batch)?;
                }
            }
        }
        Ok(read)
    }

    fn load_batch(&mut self, batch: LogBatch) -> Result<(), QuorumError> {
        match batch.content {
            BatchContent::Control(records) => {
                for (record, at) in records.into_iter().zip(batch.base_offset..) {
                    match record {
                        RaftRecord::Voters(voters) => self.voters.add_voters(at, voters),
                        RaftRecord::KRaftVersion(version) => self.voters.add_kraft_version(at, version),
                        _ => {}
                    }
                }
                self.controller.set_next_offset(batch.last_offset + 1);
                self.loader.passed(batch.last_offset, batch.epoch, batch.timestamp_ms);
            }
            BatchContent::Data(values) => {
                let mut records = Vec::with_capacity(values.len());
                for (value, offset) in values.into_iter().zip(batch.base_offset..) {
                    let record = MetadataRecord::from_value(value);
                    records.push(record.map_err(|source| QuorumError::Record { offset, source })?.0);
                }
                let LogBatch { base_offset, epoch, timestamp_ms, .. } = batch;
                let committed = CommittedBatch { base_offset, epoch, timestamp_ms, records: &records };
                let loaded = self.loader.load(&committed).and_then(|()| self.controller.replay(base_offset, &records));
                loaded.map_err(|source| QuorumError::Replay { offset: base_offset, source })?;
            }
        }
        Ok(())
    }
}

/// The log's segments by base offset, oldest first.
fn segments(dir: &Path) -> Result<Vec<(i64, PathBuf)>, StorageError> {
    if !fs::is_dir(dir) {
        return Ok(Vec::new());
    }
    let base_offset = |path: &PathBuf| path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok();
    let mut segments: Vec<_> = fs::list(dir)?.into_iter().filter_map(|path| Some((base_offset(&path)?, path))).collect();
    segments.sort_unstable();
    Ok(segments)
}
