//! The files that only the metadata log has, what its records say, and whether the other logs agree with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::common::topic_partition::TopicPartition;
use crate::metadata::image::{ConfigResource, MetadataImage, Provenance};
use crate::metadata::loader::{CommittedBatch, Loader};
use crate::metadata::record::MetadataRecord;
use crate::protocol::batch::BatchView;
use crate::raft::quorum_state::QuorumState;
use crate::raft::snapshot::{Snapshot, SnapshotId};
use crate::storage::check::{CheckedLog, Finding, Repair};
use crate::storage::errors::StorageError;
use crate::storage::fs;
use crate::storage::inspect::LogFile;
use crate::storage::log_dirs::CLUSTER_METADATA_DIR;
use crate::storage::partition_metadata;

/// A checkpoint has a partition that has no directory.
pub(super) fn without_log(checkpoint: &Path, partition: &TopicPartition) -> Finding {
    Finding { path: checkpoint.to_owned(), position: None, problem: format!("{partition} has no directory"), repair: Repair::None }
}

/// Looks through the directory of the metadata log, and holds `logs`, and partitions of which there is none, against what it says.
pub(super) fn check(
    dir: &Path,
    logs: &[CheckedLog],
    missing: &[(PathBuf, TopicPartition)],
    findings: &mut Vec<Finding>,
) -> Result<(), StorageError> {
    let mut metadata = Metadata { findings, loader: Loader::new(Arc::default()), is_whole: true, loaded_to: 0 };
    let paths = fs::list(dir)?;
    metadata.read_snapshots(&paths)?;
    for path in &paths {
        match path.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
            "quorum-state" => {
                if let Err(error) = QuorumState::parse(&String::from_utf8_lossy(&fs::read(path)?)) {
                    metadata.found(path, None, error.to_string());
                }
            }
            name if name.ends_with(".log") => metadata.read_segment(path)?,
            _ => {}
        }
    }
    if metadata.is_whole && metadata.loader.next().features.metadata_version.is_some() {
        let image = metadata.loader.next().clone();
        logs.iter().filter(|log| !log.dir.ends_with(CLUSTER_METADATA_DIR)).for_each(|log| metadata.check_log(&image, log));
        let exists = |partition: &TopicPartition| image.topics.partition(&partition.topic, partition.partition).is_some();
        let missing = missing.iter().filter(|(_, partition)| exists(partition));
        metadata.findings.extend(missing.map(|(checkpoint, partition)| without_log(checkpoint, partition)));
        logs.iter().filter(|log| !may_lack_offsets(&image, log)).for_each(|log| metadata.gap_found(log));
    }
    Ok(())
}

/// Is the log compacted, or may it have been once?
fn may_lack_offsets(image: &MetadataImage, log: &CheckedLog) -> bool {
    let compacts = |resource, name| image.configs.value(&resource, name).is_some_and(|value| value.contains("compact"));
    let topic = &log.topic_partition.topic;
    let is_known = log.dir.ends_with(CLUSTER_METADATA_DIR) || image.topics.topic(topic).is_some();
    log.was_compacted
        || !is_known
        || compacts(ConfigResource::topic(topic.clone()), "cleanup.policy")
        || compacts(ConfigResource::broker_default(), "log.cleanup.policy")
}

struct Metadata<'a> {
    findings: &'a mut Vec<Finding>,
    loader: Loader,
    /// All has been read, so that what is not there is not there.
    is_whole: bool,
    /// The offset after the newest snapshot.
    loaded_to: i64,
}

impl Metadata<'_> {
    fn found(&mut self, path: &Path, position: Option<u64>, problem: String) {
        self.is_whole = false;
        self.findings.push(Finding { path: path.to_owned(), position, problem, repair: Repair::None });
    }

    fn read_snapshots(&mut self, paths: &[PathBuf]) -> Result<(), StorageError> {
        let id_of = |path: &PathBuf| SnapshotId::from_file_name(path.file_name()?.to_str()?);
        let mut newest: Option<(SnapshotId, Vec<MetadataRecord>)> = None;
        for path in paths {
            let Some(id) = id_of(path) else { continue };
            let snapshot = match Snapshot::parse(&Bytes::from(fs::read(path)?)) {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    self.found(path, None, error.to_string());
                    continue;
                }
            };
            let records: Result<Vec<_>, _> =
                snapshot.values.into_iter().map(|value| MetadataRecord::from_value(value).map(|(record, _)| record)).collect();
            match records {
                Ok(records) => newest = newest.filter(|(newest, _)| *newest > id).or(Some((id, records))),
                Err(error) => self.found(path, None, error.to_string()),
            }
        }
        if let Some((id, records)) = newest {
            self.loaded_to = id.end_offset;
            let provenance = Provenance { offset: id.end_offset - 1, epoch: id.epoch, timestamp_ms: 0 };
            self.is_whole &= self.loader.load_snapshot(&records, provenance).is_ok();
        }
        Ok(())
    }

    fn read_segment(&mut self, path: &Path) -> Result<(), StorageError> {
        let log = LogFile::open(path)?;
        let mut batches = log.batches(0, u64::MAX);
        // What is no whole and valid batch has been told already.
        while let Ok(Some(batch)) = batches.next_batch() {
            if !batches.is_valid(&batch)? {
                self.is_whole = false;
                break;
            }
            if batch.header.is_control() {
                continue;
            }
            let Ok(bytes) = batches.bytes(&batch) else { break };
            let Ok(view) = BatchView::parse(&bytes) else { break };
            let mut records = Vec::new();
            for record in view.records().map_while(Result::ok) {
                match record.value.map(MetadataRecord::from_value) {
                    Some(Ok((record, _))) => records.push(record),
                    Some(Err(error)) => {
                        let problem = format!("the record at offset {} cannot be read: {error}", record.offset);
                        self.found(path, Some(batch.position), problem);
                    }
                    None => {}
                }
            }
            if batch.header.base_offset >= self.loaded_to && self.is_whole {
                let (base_offset, epoch) = (batch.header.base_offset, batch.header.partition_leader_epoch);
                let batch_of = CommittedBatch { base_offset, epoch, timestamp_ms: batch.header.max_timestamp, records: &records };
                if let Err(error) = self.loader.load(&batch_of) {
                    self.found(path, Some(batch.position), format!("the records from offset {base_offset} on do not fit: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Of a log whose offsets are to be dense.
    fn gap_found(&mut self, log: &CheckedLog) {
        let Some((gap, count)) = &log.gap else { return };
        let more = if *count > 1 { format!(" (and {} more such places)", count - 1) } else { String::new() };
        let problem =
            format!("offsets {} to {} are missing before it{more}, in a log that is not compacted", gap.first_offset, gap.last_offset);
        self.findings.push(Finding { path: gap.path.clone(), position: Some(gap.position), problem, repair: Repair::None });
    }

    /// Is the log of a partition that there is?
    fn check_log(&mut self, image: &MetadataImage, log: &CheckedLog) {
        let (topic, partition) = (&log.topic_partition.topic, log.topic_partition.partition);
        let id = partition_metadata::read(&log.dir).ok().flatten();
        let problem = match image.topics.topic(topic) {
            None => "the metadata knows no topic of this name".to_owned(),
            Some(known) if id.is_some_and(|id| id != known.id) => {
                format!("it belongs to a topic of the same name that is gone: the metadata's has the id {}", known.id)
            }
            Some(known) if known.partition(partition).is_none() => {
                format!("the metadata's topic has {} partitions only", known.partition_count())
            }
            Some(_) => return,
        };
        self.findings.push(Finding { path: log.dir.clone(), position: None, problem, repair: Repair::SetAside });
    }
}
