//! What the log remembers of its idempotent and transactional producers, and the `.snapshot` files that keep it (KIP-98, KIP-360).
//! Sources: `ProducerStateManager`, `ProducerStateEntry`, `ProducerAppendInfo`.
//!
//! For each producer id: epoch, the last five batches (to answer a retry with the offsets it got the first time), the open
//! transaction. A snapshot named by offset N holds the state before record N.
//!
//! Invariant: an append is checked and collected in a [`ProducerAppend`] first; [`ProducerState::update`] makes it true after the write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use crate::common::topic_partition::TopicPartition;

use super::errors::{AppendError, StorageError};
use super::fs;
use super::log::{ActiveProducer, AppendOrigin};
use super::verification::{Verification, Verifications};

const BATCHES_KEPT: usize = 5;
const SNAPSHOT_VERSION: i16 = 1;
const SNAPSHOT_HEADER: usize = 10;
const SNAPSHOT_ENTRY: usize = 46;

/// The control record of a transaction's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndTxnMarker {
    pub(super) commit: bool,
    pub(super) coordinator_epoch: i32,
    pub(super) timestamp: i64,
}

/// What the state needs to know of a batch that has a producer id.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProducerBatch {
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) base_sequence: i32,
    pub(super) last_sequence: i32,
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) max_timestamp: i64,
    pub(super) is_transactional: bool,
    pub(super) kind: BatchKind,
}

/// Data, or a control batch with the marker it holds; compaction may have emptied it.
#[derive(Clone, Copy, Debug)]
pub(super) enum BatchKind {
    Data,
    Control(Option<EndTxnMarker>),
}

/// A batch that a producer appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchMetadata {
    pub(super) last_sequence: i32,
    pub(super) last_offset: i64,
    pub(super) offset_delta: i32,
    pub(super) timestamp: i64,
}

impl BatchMetadata {
    fn first_sequence(&self) -> i32 {
        // Sequence numbers wrap from i32::MAX to 0.
        let first = i64::from(self.last_sequence) - i64::from(self.offset_delta);
        if first < 0 && self.last_sequence >= 0 { (first + (1 << 31)) as i32 } else { first as i32 }
    }

    pub(super) fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// One producer id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProducerEntry {
    producer_epoch: i16,
    coordinator_epoch: i32,
    last_timestamp: i64,
    current_txn_first_offset: Option<i64>,
    batches: VecDeque<BatchMetadata>,
}

impl ProducerEntry {
    fn empty() -> ProducerEntry {
        ProducerEntry {
            producer_epoch: -1,
            coordinator_epoch: -1,
            last_timestamp: -1,
            current_txn_first_offset: None,
            batches: VecDeque::new(),
        }
    }

    fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    pub(super) fn last_data_offset(&self) -> i64 {
        self.batches.back().map_or(-1, |batch| batch.last_offset)
    }

    fn set_epoch(&mut self, epoch: i16) {
        if self.producer_epoch != epoch {
            self.batches.clear();
            self.producer_epoch = epoch;
        }
    }

    fn add_batch(&mut self, batch: BatchMetadata) {
        if self.batches.len() == BATCHES_KEPT {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    fn merge(&mut self, next: ProducerEntry) {
        self.set_epoch(next.producer_epoch);
        for batch in next.batches {
            self.add_batch(batch);
        }
        self.coordinator_epoch = next.coordinator_epoch;
        self.current_txn_first_offset = next.current_txn_first_offset;
        self.last_timestamp = next.last_timestamp;
    }

    fn is_expired(&self, now_ms: i64, expiration_ms: i64) -> bool {
        self.current_txn_first_offset.is_none() && now_ms - self.last_timestamp >= expiration_ms
    }
}

/// A transaction that a marker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompletedTxn {
    pub(super) producer_id: i64,
    pub(super) first_offset: i64,
    /// The marker's offset.
    pub(super) last_offset: i64,
    pub(super) is_aborted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Txn {
    producer_id: i64,
    /// The marker's offset, once there is one.
    last_offset: Option<i64>,
}

/// The changes that one append makes to one producer, checked but not yet true.
#[derive(Debug)]
pub(super) struct ProducerAppend {
    producer_id: i64,
    /// Of the entry before this append.
    known_epoch: i16,
    known_last_sequence: i32,
    known_has_batches: bool,
    updated: ProducerEntry,
    started: Vec<i64>,
    /// Of markers; 0 is the most permissive.
    transaction_version: i16,
    verification: Option<Verification>,
}

impl ProducerAppend {
    /// Has markers checked by the rules of this transaction.version, and sequence numbers against a verification that is under way.
    pub(super) fn by_rules_of(mut self, transaction_version: i16, verification: Option<Verification>) -> ProducerAppend {
        self.transaction_version = transaction_version;
        self.verification = verification;
        self
    }

    /// Checks one more batch and collects what it changes.
    pub(super) fn append(
        &mut self,
        batch: &ProducerBatch,
        origin: AppendOrigin,
        topic_partition: &TopicPartition,
    ) -> Result<Option<CompletedTxn>, AppendError> {
        match batch.kind {
            BatchKind::Data => self.append_data(batch, origin, topic_partition).map(|()| None),
            BatchKind::Control(Some(marker)) => self.append_marker(batch, marker, origin, topic_partition),
            // Compaction removed the whole transaction and its marker.
            BatchKind::Control(None) => Ok(None),
        }
    }

    fn append_data(&mut self, batch: &ProducerBatch, origin: AppendOrigin, tp: &TopicPartition) -> Result<(), AppendError> {
        self.check_epoch(batch, origin, tp)?;
        if origin == AppendOrigin::Client {
            self.check_sequence(batch, tp)?;
        }
        if self.updated.current_txn_first_offset.is_some() && !batch.is_transactional {
            return Err(AppendError::InvalidTxnState(format!(
                "Expected transactional write from producer {} at offset {} in partition {tp}",
                self.producer_id, batch.base_offset
            )));
        }
        self.updated.set_epoch(batch.producer_epoch);
        self.updated.add_batch(BatchMetadata {
            last_sequence: batch.last_sequence,
            last_offset: batch.last_offset,
            offset_delta: (batch.last_offset - batch.base_offset) as i32,
            timestamp: batch.max_timestamp,
        });
        self.updated.last_timestamp = batch.max_timestamp;
        if self.updated.current_txn_first_offset.is_none() && batch.is_transactional {
            self.updated.current_txn_first_offset = Some(batch.base_offset);
            self.started.push(batch.base_offset);
        }
        Ok(())
    }

    fn append_marker(
        &mut self,
        batch: &ProducerBatch,
        marker: EndTxnMarker,
        origin: AppendOrigin,
        tp: &TopicPartition,
    ) -> Result<Option<CompletedTxn>, AppendError> {
        self.check_marker_epoch(batch, origin, tp)?;
        if self.updated.coordinator_epoch > marker.coordinator_epoch && origin != AppendOrigin::Replication {
            return Err(AppendError::TransactionCoordinatorFenced(format!(
                "Invalid coordinator epoch for producerId {} at offset {} in partition {tp}: {} (zombie), {} (current)",
                self.producer_id, batch.base_offset, marker.coordinator_epoch, self.updated.coordinator_epoch
            )));
        }
        // A marker without data has no effect on the last stable offset and is not entered in the transaction index.
        let completed = self.updated.current_txn_first_offset.map(|first_offset| CompletedTxn {
            producer_id: self.producer_id,
            first_offset,
            last_offset: batch.base_offset,
            is_aborted: !marker.commit,
        });
        self.updated.set_epoch(batch.producer_epoch);
        self.updated.coordinator_epoch = marker.coordinator_epoch;
        self.updated.last_timestamp = marker.timestamp;
        self.updated.current_txn_first_offset = None;
        Ok(completed)
    }

    fn check_epoch(&self, batch: &ProducerBatch, origin: AppendOrigin, tp: &TopicPartition) -> Result<(), AppendError> {
        let current = self.updated.producer_epoch;
        if batch.producer_epoch >= current || origin == AppendOrigin::Replication {
            return Ok(());
        }
        Err(AppendError::InvalidProducerEpoch(format!(
            "Epoch of producer {} at offset {} in {tp} is {}, which is smaller than the last seen epoch {current}",
            self.producer_id, batch.base_offset, batch.producer_epoch
        )))
    }

    /// From transaction.version 2 on the coordinator raises the epoch before it writes a marker, so that one with the epoch of the data is
    /// late: it would end the transaction after its own. Only a repetition (the coordinator has not seen our answer) has the log's epoch,
    /// and finds no transaction open.
    fn check_marker_epoch(&self, batch: &ProducerBatch, origin: AppendOrigin, tp: &TopicPartition) -> Result<(), AppendError> {
        let current = self.updated.producer_epoch;
        let is_open = self.updated.current_txn_first_offset.is_some();
        let is_late = self.transaction_version >= 2 && batch.producer_epoch == current && is_open && current != i16::MAX;
        if is_late && origin != AppendOrigin::Replication {
            return Err(AppendError::InvalidProducerEpoch(format!(
                "Epoch of producer {} at offset {} in {tp} is {}, which is <= the last seen epoch {current} (TV{})",
                self.producer_id, batch.base_offset, batch.producer_epoch, self.transaction_version
            )));
        }
        self.check_epoch(batch, origin, tp)
    }

    fn check_sequence(&self, batch: &ProducerBatch, tp: &TopicPartition) -> Result<(), AppendError> {
        let (first, epoch, current_epoch) = (batch.base_sequence, batch.producer_epoch, self.updated.producer_epoch);
        if let Some(verification) = &self.verification {
            if verification.supports_epoch_bump && first != 0 && !self.known_has_batches {
                return Err(AppendError::OutOfOrderSequence(format!(
                    "Invalid sequence number for producer {} at offset {} in partition {tp}: {first} (incoming seq. number). Expected \
                     sequence 0 for transactions v2 idempotent producer with no existing state.",
                    self.producer_id, batch.base_offset
                )));
            }
            if first > verification.lowest_sequence {
                return Err(AppendError::OutOfOrderSequence(format!(
                    "Out of order sequence number for producer {} at offset {} in partition {tp}: {first} (incoming seq. number), {} \
                     (earliest seen sequence)",
                    self.producer_id, batch.base_offset, verification.lowest_sequence
                )));
            }
        }
        if epoch != current_epoch {
            if first != 0 && current_epoch != -1 {
                return Err(AppendError::OutOfOrderSequence(format!(
                    "Invalid sequence number for new epoch of producer {} at offset {} in partition {tp}: {epoch} (request epoch), \
                     {first} (seq. number), {current_epoch} (current producer epoch)",
                    self.producer_id, batch.base_offset
                )));
            }
            return Ok(());
        }
        let last = if !self.updated.batches.is_empty() {
            self.updated.last_sequence()
        } else if epoch == self.known_epoch {
            self.known_last_sequence
        } else {
            -1
        };
        let follows = i64::from(first) == i64::from(last) + 1 || (first == 0 && last == i32::MAX);
        // Without a known epoch (all its records were deleted) a producer may go on with any sequence number.
        if self.known_epoch == -1 || follows {
            return Ok(());
        }
        Err(AppendError::OutOfOrderSequence(format!(
            "Out of order sequence number for producer {} at offset {} in partition {tp}: {first} (incoming seq. number), \
             {last} (current end sequence number)",
            self.producer_id, batch.base_offset
        )))
    }
}

/// The producers of one log.
#[derive(Debug)]
pub(super) struct ProducerState {
    dir: PathBuf,
    topic_partition: TopicPartition,
    expiration_ms: i64,
    producers: BTreeMap<i64, ProducerEntry>,
    pub(super) verifications: Verifications,
    /// Open transactions by first offset.
    ongoing: BTreeMap<i64, Txn>,
    /// Ended transactions, by first offset, whose marker is not below the high watermark yet.
    unreplicated: BTreeMap<i64, Txn>,
    /// Offsets of the snapshot files.
    snapshots: BTreeSet<i64>,
    /// The state covers the records before this offset.
    map_end_offset: i64,
    last_snapshot_offset: i64,
    /// Snapshots that were written or removed, to be synced, with the directory, before the recovery point moves. One that was removed
    /// would otherwise come back beside the records that have taken the place of those it knows.
    pub(super) unsynced_snapshots: Vec<PathBuf>,
}

impl ProducerState {
    /// Of a log that has no snapshots.
    pub(super) fn new(dir: &Path, topic_partition: TopicPartition, expiration_ms: i64) -> ProducerState {
        ProducerState {
            dir: dir.to_owned(),
            topic_partition,
            expiration_ms,
            producers: BTreeMap::new(),
            verifications: Verifications::default(),
            ongoing: BTreeMap::new(),
            unreplicated: BTreeMap::new(),
            snapshots: BTreeSet::new(),
            map_end_offset: 0,
            last_snapshot_offset: 0,
            unsynced_snapshots: Vec::new(),
        }
    }

    /// Without producers yet, but aware of the snapshots among the directory's files.
    pub(super) fn with_snapshots(dir: &Path, topic_partition: TopicPartition, expiration_ms: i64, files: &[PathBuf]) -> ProducerState {
        let mut state = ProducerState::new(dir, topic_partition, expiration_ms);
        state.snapshots = files
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "snapshot"))
            .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
            .collect();
        state
    }

    fn snapshot_path(&self, offset: i64) -> PathBuf {
        self.dir.join(format!("{offset:020}.snapshot"))
    }

    /// Removes snapshots that belong to no segment, except the newest one when it lies beyond all segments (a clean stop wrote it).
    pub(super) fn remove_stray_snapshots(&mut self, base_offsets: &[i64]) -> Result<(), StorageError> {
        let stray: Vec<i64> = self.snapshots.iter().copied().filter(|offset| !base_offsets.contains(offset)).collect();
        let newest_base = base_offsets.iter().max().copied().unwrap_or(i64::MIN);
        for (n, offset) in stray.iter().enumerate() {
            if n + 1 < stray.len() || *offset < newest_base {
                self.remove_snapshot(*offset)?;
            }
        }
        Ok(())
    }

    fn remove_snapshot(&mut self, offset: i64) -> Result<(), StorageError> {
        self.snapshots.remove(&offset);
        self.unsynced_snapshots.push(self.snapshot_path(offset));
        fs::remove_file(&self.snapshot_path(offset))
    }

    /// Renames the snapshot of a deleted segment; gives the new path, for unlinking later.
    pub(super) fn mark_snapshot_deleted(&mut self, offset: i64) -> Result<Option<PathBuf>, StorageError> {
        let path = self.snapshot_path(offset);
        if !self.snapshots.remove(&offset) || !fs::exists(&path) {
            return Ok(None);
        }
        let deleted = fs::with_suffix(&path, ".deleted");
        fs::rename(&path, &deleted)?;
        Ok(Some(deleted))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.producers.is_empty() && self.unreplicated.is_empty()
    }

    pub(super) fn map_end_offset(&self) -> i64 {
        self.map_end_offset
    }

    pub(super) fn set_map_end_offset(&mut self, offset: i64) {
        self.map_end_offset = offset;
    }

    pub(super) fn latest_snapshot_offset(&self) -> Option<i64> {
        self.snapshots.last().copied()
    }

    /// The first offset whose transaction is undecided, or decided by a marker that is not below the high watermark.
    pub(super) fn first_unstable_offset(&self) -> Option<i64> {
        let ongoing = self.ongoing.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        ongoing.into_iter().chain(unreplicated).min().copied()
    }

    pub(super) fn on_high_watermark_updated(&mut self, high_watermark: i64) {
        self.unreplicated.retain(|_, txn| txn.last_offset.is_none_or(|last| last >= high_watermark));
    }

    pub(super) fn on_log_start_offset_incremented(&mut self, log_start_offset: i64) {
        self.on_high_watermark_updated(log_start_offset);
        self.map_end_offset = self.map_end_offset.max(log_start_offset);
        self.last_snapshot_offset = self.latest_snapshot_offset().unwrap_or(log_start_offset);
    }

    /// The batch with this exact epoch and sequence range, when it is among the last five of its producer.
    pub(super) fn find_duplicate(&self, batch: &ProducerBatch) -> Option<BatchMetadata> {
        let entry = self.producers.get(&batch.producer_id)?;
        if entry.producer_epoch != batch.producer_epoch {
            return None;
        }
        let same = |known: &&BatchMetadata| known.first_sequence() == batch.base_sequence && known.last_sequence == batch.last_sequence;
        entry.batches.iter().find(same).copied()
    }

    /// Has the producer an open transaction under this epoch? One of an earlier epoch may have ended unheard.
    pub(super) fn has_ongoing_transaction(&self, producer_id: i64, producer_epoch: i16) -> bool {
        let entry = self.producers.get(&producer_id);
        entry.is_some_and(|entry| entry.current_txn_first_offset.is_some() && entry.producer_epoch == producer_epoch)
    }

    /// The newest epoch that the producer has written with.
    pub(super) fn producer_epoch(&self, producer_id: i64) -> Option<i16> {
        self.producers.get(&producer_id).map(|entry| entry.producer_epoch)
    }

    pub(super) fn prepare_update(&self, producer_id: i64) -> ProducerAppend {
        let known = self.producers.get(&producer_id);
        let empty = ProducerEntry::empty();
        let known = known.unwrap_or(&empty);
        ProducerAppend {
            producer_id,
            known_epoch: known.producer_epoch,
            known_last_sequence: known.last_sequence(),
            known_has_batches: !known.batches.is_empty(),
            updated: ProducerEntry { batches: VecDeque::new(), ..*known },
            started: Vec::new(),
            transaction_version: 0,
            verification: None,
        }
    }

    /// Makes a checked append true.
    pub(super) fn update(&mut self, append: ProducerAppend) {
        for first_offset in append.started {
            self.ongoing.insert(first_offset, Txn { producer_id: append.producer_id, last_offset: None });
        }
        self.producers.entry(append.producer_id).or_insert_with(ProducerEntry::empty).merge(append.updated);
    }

    /// Where the last stable offset will be once `completed` is.
    pub(super) fn last_stable_offset_after(&self, completed: &CompletedTxn) -> i64 {
        let next = self.ongoing.iter().find(|(_, txn)| txn.producer_id != completed.producer_id);
        next.map_or(completed.last_offset + 1, |(first_offset, _)| *first_offset)
    }

    /// The transaction is decided; it stays unstable until its marker is below the high watermark.
    pub(super) fn complete_txn(&mut self, completed: &CompletedTxn) {
        self.ongoing.remove(&completed.first_offset);
        let txn = Txn { producer_id: completed.producer_id, last_offset: Some(completed.last_offset) };
        self.unreplicated.insert(completed.first_offset, txn);
    }

    pub(super) fn remove_expired(&mut self, now_ms: i64) {
        let expiration_ms = self.expiration_ms;
        self.producers.retain(|_, entry| !entry.is_expired(now_ms, expiration_ms));
        self.verifications.remove_expired(now_ms, expiration_ms);
    }

    pub(super) fn producer_id_count(&self) -> usize {
        self.producers.len()
    }

    pub(super) fn active_producers(&self) -> Vec<ActiveProducer> {
        let active = |(&producer_id, entry): (&i64, &ProducerEntry)| ActiveProducer {
            producer_id,
            producer_epoch: entry.producer_epoch,
            last_sequence: entry.last_sequence(),
            last_timestamp: entry.last_timestamp,
            coordinator_epoch: entry.coordinator_epoch,
            current_txn_start_offset: entry.current_txn_first_offset.unwrap_or(-1),
        };
        self.producers.iter().map(active).collect()
    }

    /// The offset of the last data batch of each producer: compaction keeps those batches, so that sequence checks survive it.
    pub(super) fn last_data_offsets(&self) -> BTreeMap<i64, (i16, i64)> {
        self.producers.iter().map(|(&id, entry)| (id, (entry.producer_epoch, entry.last_data_offset()))).collect()
    }

    /// Goes back to the newest snapshot inside `(log_start_offset, log_end_offset]`, unless the state ends at `log_end_offset` already.
    pub(super) fn truncate_and_reload(&mut self, log_start_offset: i64, log_end_offset: i64, now_ms: i64) -> Result<(), StorageError> {
        let outside = |&offset: &i64| offset > log_end_offset || offset <= log_start_offset;
        for offset in self.snapshots.iter().copied().filter(outside).collect::<Vec<_>>() {
            self.remove_snapshot(offset)?;
        }
        if log_end_offset == self.map_end_offset {
            self.on_log_start_offset_incremented(log_start_offset);
            return Ok(());
        }
        self.producers.clear();
        self.ongoing.clear();
        self.unreplicated.clear();
        while let Some(offset) = self.latest_snapshot_offset() {
            let path = self.snapshot_path(offset);
            let Ok(producers) = parse_snapshot(&fs::read(&path)?) else {
                tracing::warn!(path = %path.display(), "removing a corrupt producer snapshot");
                self.remove_snapshot(offset)?;
                continue;
            };
            for (producer_id, entry) in producers {
                if !entry.is_expired(now_ms, self.expiration_ms) {
                    if let Some(first_offset) = entry.current_txn_first_offset {
                        self.ongoing.insert(first_offset, Txn { producer_id, last_offset: None });
                    }
                    self.producers.insert(producer_id, entry);
                }
            }
            (self.last_snapshot_offset, self.map_end_offset) = (offset, offset);
            return Ok(());
        }
        (self.last_snapshot_offset, self.map_end_offset) = (log_start_offset, log_start_offset);
        Ok(())
    }

    /// Forgets everything and removes all snapshots; the log goes on at `offset`.
    pub(super) fn truncate_fully_and_start_at(&mut self, offset: i64) -> Result<(), StorageError> {
        self.producers.clear();
        self.ongoing.clear();
        self.unreplicated.clear();
        for offset in std::mem::take(&mut self.snapshots) {
            fs::remove_file(&self.snapshot_path(offset))?;
        }
        (self.last_snapshot_offset, self.map_end_offset) = (0, offset);
        Ok(())
    }

    /// Writes a snapshot at the map's end unless the last one is there; gives its path when one was written.
    pub(super) fn take_snapshot(&mut self, sync: bool) -> Result<Option<PathBuf>, StorageError> {
        if self.map_end_offset <= self.last_snapshot_offset {
            return Ok(None);
        }
        let path = self.snapshot_path(self.map_end_offset);
        let content = snapshot_bytes(&self.producers);
        let written = if sync { fs::write_synced(&path, &content) } else { fs::write(&path, &content) };
        if let Err(error) = written {
            // A part of it would be told from a whole one, but takes space.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        if !sync {
            self.unsynced_snapshots.push(path.clone());
        }
        self.snapshots.insert(self.map_end_offset);
        self.last_snapshot_offset = self.map_end_offset;
        Ok(Some(path))
    }

    pub(super) fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }
}

fn snapshot_bytes(producers: &BTreeMap<i64, ProducerEntry>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SNAPSHOT_HEADER + producers.len() * SNAPSHOT_ENTRY);
    bytes.extend_from_slice(&SNAPSHOT_VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(producers.len() as i32).to_be_bytes());
    for (producer_id, entry) in producers {
        let last = entry.batches.back();
        bytes.extend_from_slice(&producer_id.to_be_bytes());
        bytes.extend_from_slice(&entry.producer_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.last_sequence().to_be_bytes());
        bytes.extend_from_slice(&entry.last_data_offset().to_be_bytes());
        bytes.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        bytes.extend_from_slice(&entry.last_timestamp.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.current_txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Why a snapshot cannot be read. Source of the texts: `ProducerStateManager.readSnapshot`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotProblem {
    #[error("Snapshot failed schema validation: Snapshot contained an unknown file version {0}")]
    UnknownVersion(i16),
    #[error("Snapshot failed schema validation: the file ends too early")]
    Truncated,
    #[error("Snapshot is corrupt (CRC is no longer valid). Stored crc: {stored}. Computed crc: {computed}")]
    Crc { stored: u32, computed: u32 },
    #[error("Snapshot holds {0} bytes after its last entry")]
    Trailing(usize),
}

fn parse_snapshot(bytes: &[u8]) -> Result<Vec<(i64, ProducerEntry)>, SnapshotProblem> {
    fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], SnapshotProblem> {
        let (head, tail) = rest.split_first_chunk::<N>().ok_or(SnapshotProblem::Truncated)?;
        *rest = tail;
        Ok(head)
    }
    let mut rest = bytes;
    let version = i16::from_be_bytes(*take(&mut rest)?);
    if version != SNAPSHOT_VERSION {
        return Err(SnapshotProblem::UnknownVersion(version));
    }
    let stored = u32::from_be_bytes(*take(&mut rest)?);
    let count = usize::try_from(i32::from_be_bytes(*take(&mut rest)?)).map_err(|_| SnapshotProblem::Truncated)?;
    let size = count.checked_mul(SNAPSHOT_ENTRY).filter(|size| *size <= rest.len()).ok_or(SnapshotProblem::Truncated)?;
    let computed = crc32c::crc32c(&bytes[6..]);
    if stored != computed {
        return Err(SnapshotProblem::Crc { stored, computed });
    }
    if rest.len() > size {
        return Err(SnapshotProblem::Trailing(rest.len() - size));
    }
    let mut producers = Vec::with_capacity(count);
    while !rest.is_empty() {
        let producer_id = i64::from_be_bytes(*take(&mut rest)?);
        let producer_epoch = i16::from_be_bytes(*take(&mut rest)?);
        let last_sequence = i32::from_be_bytes(*take(&mut rest)?);
        let last_offset = i64::from_be_bytes(*take(&mut rest)?);
        let offset_delta = i32::from_be_bytes(*take(&mut rest)?);
        let last_timestamp = i64::from_be_bytes(*take(&mut rest)?);
        let coordinator_epoch = i32::from_be_bytes(*take(&mut rest)?);
        let first_offset = i64::from_be_bytes(*take(&mut rest)?);
        let mut batches = VecDeque::new();
        if last_offset >= 0 {
            batches.push_back(BatchMetadata { last_sequence, last_offset, offset_delta, timestamp: last_timestamp });
        }
        let current_txn_first_offset = (first_offset >= 0).then_some(first_offset);
        producers
            .push((producer_id, ProducerEntry { producer_epoch, coordinator_epoch, last_timestamp, current_txn_first_offset, batches }));
    }
    Ok(producers)
}

/// One producer in a snapshot, for those who look at the file and not at the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotProducer {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub coordinator_epoch: i32,
    pub current_txn_first_offset: Option<i64>,
    /// Milliseconds since 1970.
    pub last_timestamp: i64,
    /// Its last batch, if it wrote any: first sequence, last sequence, last offset, last offset minus first offset.
    pub last_batch: Option<(i32, i32, i64, i32)>,
}

/// The producers in the bytes of a snapshot.
pub fn snapshot_producers(bytes: &[u8]) -> Result<Vec<SnapshotProducer>, SnapshotProblem> {
    let producers = parse_snapshot(bytes)?.into_iter().map(|(producer_id, entry)| SnapshotProducer {
        producer_id,
        producer_epoch: entry.producer_epoch,
        coordinator_epoch: entry.coordinator_epoch,
        current_txn_first_offset: entry.current_txn_first_offset,
        last_timestamp: entry.last_timestamp,
        last_batch: entry.batches.back().map(|batch| (batch.first_sequence(), batch.last_sequence, batch.last_offset, batch.offset_delta)),
    });
    Ok(producers.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(dir: &Path) -> ProducerState {
        ProducerState::with_snapshots(dir, TopicPartition::new("t", 0), 1000, &fs::list(dir).expect("listed"))
    }

    fn batch(epoch: i16, base_sequence: i32, base_offset: i64, count: i32) -> ProducerBatch {
        ProducerBatch {
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence,
            last_sequence: base_sequence.wrapping_add(count - 1) & i32::MAX,
            base_offset,
            last_offset: base_offset + i64::from(count) - 1,
            max_timestamp: 5,
            is_transactional: false,
            kind: BatchKind::Data,
        }
    }

    fn marker(epoch: i16, offset: i64, commit: bool, coordinator_epoch: i32) -> ProducerBatch {
        let kind = BatchKind::Control(Some(EndTxnMarker { commit, coordinator_epoch, timestamp: 6 }));
        ProducerBatch { base_sequence: -1, last_sequence: -1, is_transactional: true, kind, ..batch(epoch, 0, offset, 1) }
    }

    fn append(state: &mut ProducerState, batch: ProducerBatch, origin: AppendOrigin) -> Result<Option<CompletedTxn>, AppendError> {
        let mut append = state.prepare_update(batch.producer_id);
        let completed = append.append(&batch, origin, &TopicPartition::new("t", 0))?;
        state.update(append);
        state.set_map_end_offset(batch.last_offset + 1);
        Ok(completed)
    }

    #[test]
    fn sequences_must_follow_and_wrap() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut state = state(dir.path());
        // Nothing is known of the producer, so any sequence will do.
        append(&mut state, batch(0, i32::MAX - 1, 0, 2), AppendOrigin::Client).expect("appended");
        append(&mut state, batch(0, 0, 2, 3), AppendOrigin::Client).expect("wraps to 0");
        let gap = append(&mut state, batch(0, 4, 5, 1), AppendOrigin::Client);
        assert!(matches!(gap, Err(AppendError::OutOfOrderSequence(_))), "{gap:?}");
        append(&mut state, batch(0, 4, 5, 1), AppendOrigin::Replication).expect("followers do not check");
    }

    #[test]
    fn a_new_epoch_starts_at_sequence_0_and_fences_the_old() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut state = state(dir.path());
        append(&mut state, batch(3, 0, 0, 2), AppendOrigin::Client).expect("appended");
        let wrong = append(&mut state, batch(4, 2, 2, 1), AppendOrigin::Client);
        assert!(matches!(wrong, Err(AppendError::OutOfOrderSequence(_))), "{wrong:?}");
        append(&mut state, batch(4, 0, 2, 1), AppendOrigin::Client).expect("appended");
        let old = append(&mut state, batch(3, 2, 3, 1), AppendOrigin::Client);
        assert!(matches!(old, Err(AppendError::InvalidProducerEpoch(_))), "{old:?}");
    }

    #[test]
    fn the_last_five_batches_are_known_duplicates() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut state = state(dir.path());
        for n in 0..7 {
            append(&mut state, batch(0, n * 2, i64::from(n) * 2, 2), AppendOrigin::Client).expect("appended");
        }
        assert_eq!(state.find_duplicate(&batch(0, 2, 99, 2)), None);
        let known = state.find_duplicate(&batch(0, 4, 99, 2)).expect("still known");
        assert_eq!((known.first_offset(), known.last_offset), (4, 5));
        assert_eq!(state.find_duplicate(&batch(0, 4, 99, 3)), None);
        assert_eq!(state.find_duplicate(&batch(1, 4, 99, 2)), None);
    }

    #[test]
    fn a_duplicate_is_recognised_across_the_wrap() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut state = state(dir.path());
        append(&mut state, batch(0, i32::MAX, 0, 4), AppendOrigin::Client).expect("appended");
        assert!(state.find_duplicate(&batch(0, i32::MAX, 50, 4)).is_some());
    }

    #[test]
    fn transactions_hold_the_first_unstable_offset_until_the_marker_is_replicated() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut state = state(dir.path());
        let data = ProducerBatch { is_transactional: true, ..batch(0, 0, 10, 2) };
        append(&mut state, data, AppendOrigin::Client).expect("appended");
        let plain = append(&mut state, batch(0, 2, 12, 1), AppendOrigin::Client);
        assert!(matches!(plain, Err(AppendError::InvalidTxnState(_))), "{plain:?}");
        assert_eq!(state.first_unstable_offset(), Some(10));
        let completed = append(&mut state, marker(0, 12, false, 3), AppendOrigin::Coordinator).expect("appended").expect("completed");
        assert_eq!(completed, CompletedTxn { producer_id: 7, first_offset: 10, last_offset: 12, is_aborted: true });
        assert_eq!(state.last_stable_offset_after(&completed), 13);
        state.complete_txn(&completed);
        state.on_high_watermark_updated(12);
        assert_eq!(state.first_unstable_offset(), Some(10));
        state.on_high_watermark_updated(13);
        assert_eq!(state.first_unstable_offset(), None);
        let zombie = append(&mut state, marker(0, 13, false, 2), AppendOrigin::Coordinator);
        assert!(matches!(zombie, Err(AppendError::TransactionCoordinatorFenced(_))), "{zombie:?}");
    }

    #[test]
    fn a_snapshot_has_kafkas_bytes() {
        let mut entry = ProducerEntry::empty();
        entry.producer_epoch = 2;
        entry.last_timestamp = 0x0000_01a2_05c0_2cf0;
        entry.coordinator_epoch = 0;
        let bytes = snapshot_bytes(&BTreeMap::from([(1000, entry.clone())]));
        let expected = "00011957e6770000000100000000000003e80002ffffffffffffffffffffffff00000000000001a205c02cf000000000ffffffffffffffff";
        assert_eq!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>(), expected);
        assert_eq!(parse_snapshot(&bytes), Ok(vec![(1000, entry)]));
        for cut in 0..bytes.len() {
            assert!(parse_snapshot(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn state_comes_back_from_the_newest_whole_snapshot() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut before = state(dir.path());
        append(&mut before, batch(0, 0, 0, 3), AppendOrigin::Client).expect("appended");
        before.take_snapshot(true).expect("written");
        append(&mut before, batch(0, 3, 3, 3), AppendOrigin::Client).expect("appended");
        let torn = before.take_snapshot(true).expect("written").expect("new");
        fs::write_synced(&torn, b"torn").expect("written");
        let mut after = state(dir.path());
        after.truncate_and_reload(-1, 6, 5).expect("reloaded");
        assert_eq!((after.map_end_offset(), after.active_producers()[0].last_sequence), (3, 2));
        assert!(!fs::exists(&torn));
        let mut later = state(dir.path());
        later.truncate_and_reload(-1, 6, 5 + 1000).expect("reloaded");
        assert!(later.is_empty());
    }

    #[test]
    fn stray_snapshots_go_but_a_clean_stops_newest_stays() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for offset in [0, 5, 10, 15, 20, 25] {
            fs::write_synced(&dir.path().join(format!("{offset:020}.snapshot")), b"").expect("written");
        }
        let mut state = state(dir.path());
        state.remove_stray_snapshots(&[0, 10, 20]).expect("removed");
        assert_eq!(state.snapshots, BTreeSet::from([0, 10, 20, 25]));
        state.remove_stray_snapshots(&[0, 10, 30]).expect("removed");
        assert_eq!(state.snapshots, BTreeSet::from([0, 10]));
    }
}
