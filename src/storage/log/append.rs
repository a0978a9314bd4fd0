//! Appending: validation, offsets, leader epochs, the producer state's consent, the write. Source: `UnifiedLog.append`.
//!
//! Invariant: nothing is written unless every batch of the append is accepted.
//! Invariant: an append that found no space has changed nothing: the file ends where it did, and what is acknowledged later follows there.

use std::collections::BTreeMap;

use super::{Log, OffsetMetadata, Writer};
use crate::storage::config::LogConfig;
use crate::storage::errors::{AppendError, StorageError};
use crate::storage::producer_state::{BatchKind, CompletedTxn, ProducerAppend};
use crate::storage::segment::{RollParams, StampedBatch, end_txn_marker_of, producer_batch};
use crate::storage::validator::{Validator, check_replicated};
pub use crate::storage::verification::VerificationGuard;

/// Who appends, which says how much is checked. Source: `AppendOrigin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A produce request: everything is checked.
    Client,
    /// A coordinator of this broker: no sequence numbers, control batches allowed.
    Coordinator,
    /// A follower copying its leader.
    Replication,
    /// The Raft leader writing the metadata log.
    RaftLeader,
}

/// What an append that belongs to a transaction brings with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendTransaction {
    /// Records of a transaction that is not open here yet are refused unless the guard is that of their verification.
    pub verify: bool,
    /// From [`Log::maybe_begin_verification`].
    pub guard: Option<VerificationGuard>,
    /// The transaction.version of a marker's transaction; 2 and later make the checks stricter.
    pub version: i16,
}

/// What an append did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of the first record; for a duplicate, the offset it got the first time. -1 when nothing was appended.
    pub first_offset: i64,
    pub last_offset: i64,
    pub last_leader_epoch: i32,
    /// -1 unless the topic's timestamp type is LogAppendTime.
    pub log_append_time_ms: i64,
    pub log_start_offset: i64,
    pub max_timestamp: i64,
    pub record_count: i64,
    pub size_bytes: usize,
    /// The batch was in the log already; nothing was written.
    pub duplicate: bool,
}

impl Log {
    /// Validates `records` (magic 2 batches), gives them offsets and `leader_epoch`, appends. `records` itself is not changed, and is
    /// not copied unless it must be rewritten (recompression).
    pub fn append_as_leader(&self, records: &[u8], leader_epoch: i32, origin: AppendOrigin) -> Result<AppendInfo, AppendError> {
        self.append_in_transaction(records, leader_epoch, origin, AppendTransaction::default())
    }

    /// As [`Log::append_as_leader`], for records that may be part of a transaction, and for markers.
    pub fn append_in_transaction(
        &self,
        records: &[u8],
        leader_epoch: i32,
        origin: AppendOrigin,
        transaction: AppendTransaction,
    ) -> Result<AppendInfo, AppendError> {
        let config = self.config();
        let topic_partition = &self.topic_partition;
        let validator = Validator { topic_partition, config: &config, origin, leader_epoch, now_ms: self.clock.now_ms() };
        let mut validated = validator.validate(records)?;
        let mut writer = self.open_writer()?;
        let mut next_offset = self.log_end_offset();
        for batch in &mut validated.batches {
            batch.set_offset_and_epoch(next_offset, leader_epoch);
            next_offset = batch.header.next_offset();
        }
        self.append(&mut writer, &config, &validated.batches, origin, transaction, validated.log_append_time_ms)
    }

    /// Begins to verify that the producer's transaction includes this partition, and gives the guard that the append must bring; `None`
    /// when its transaction is open here already. `sequence` is that of the batch to come.
    pub fn maybe_begin_verification(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        sequence: i32,
        supports_epoch_bump: bool,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let mut writer = self.open_writer()?;
        check_epoch_is_current(&writer, producer_id, producer_epoch)?;
        if writer.producers.has_ongoing_transaction(producer_id, producer_epoch) {
            return Ok(None);
        }
        let now_ms = self.clock.now_ms();
        Ok(Some(writer.producers.verifications.begin(producer_id, producer_epoch, sequence, supports_epoch_bump, now_ms)))
    }

    /// Appends batches that carry their offsets and epochs already.
    pub fn append_as_follower(&self, records: &[u8]) -> Result<AppendInfo, AppendError> {
        let batches = check_replicated(records, &self.topic_partition)?;
        let mut writer = self.open_writer()?;
        let log_end_offset = self.log_end_offset();
        let Some(first) = batches.first() else {
            return Ok(AppendInfo {
                first_offset: -1,
                last_offset: -1,
                log_append_time_ms: -1,
                max_timestamp: -1,
                ..AppendInfo::default()
            });
        };
        let (base_offset, last_offset) = (first.header.base_offset, first.header.last_offset());
        if base_offset < log_end_offset {
            if self.log_start_offset() < log_end_offset || last_offset < log_end_offset {
                return Err(AppendError::UnexpectedAppendOffset(format!(
                    "Unexpected offset in append to {}. First offset {base_offset} is less than the next offset {log_end_offset}. \
                     Log start offset = {}",
                    self.topic_partition,
                    self.log_start_offset()
                )));
            }
            // A leader whose start lies inside a batch serves that whole batch, so an empty log begins with it.
            let emptied = self.start_at(&mut writer, base_offset);
            self.note(emptied)?;
        }
        self.append(&mut writer, &self.config(), &batches, AppendOrigin::Replication, AppendTransaction::default(), -1)
    }

    pub(super) fn append(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        batches: &[StampedBatch<'_>],
        origin: AppendOrigin,
        transaction: AppendTransaction,
        log_append_time_ms: i64,
    ) -> Result<AppendInfo, AppendError> {
        let size_bytes: usize = batches.iter().map(StampedBatch::size_bytes).sum();
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return Ok(AppendInfo::default()) };
        let mut info = AppendInfo {
            first_offset: first.header.base_offset,
            last_offset: last.header.last_offset(),
            last_leader_epoch: last.header.partition_leader_epoch,
            log_append_time_ms,
            log_start_offset: self.log_start_offset(),
            max_timestamp: batches.iter().map(|batch| batch.header.max_timestamp).max().unwrap_or(-1),
            record_count: batches.iter().map(|batch| i64::from(batch.header.record_count)).sum(),
            size_bytes,
            duplicate: false,
        };
        if size_bytes as u64 > config.segment_bytes.max(0) as u64 {
            return Err(AppendError::RecordListTooLarge(format!(
                "Message batch size is {size_bytes} bytes in append to partition {}, which exceeds the maximum configured segment size of {}.",
                self.topic_partition, config.segment_bytes
            )));
        }
        let mut updates: BTreeMap<i64, ProducerAppend> = BTreeMap::new();
        let mut completed_txns: Vec<CompletedTxn> = Vec::new();
        for batch in batches {
            let Some(producer_batch) = producer_batch(&batch.header, || end_txn_marker_of(batch)) else { continue };
            if origin == AppendOrigin::Client
                && let Some(known) = writer.producers.find_duplicate(&producer_batch)
            {
                info.first_offset = known.first_offset();
                info.last_offset = known.last_offset;
                info.log_append_time_ms = known.timestamp;
                info.duplicate = true;
                return Ok(info);
            }
            let (producer_id, producers) = (producer_batch.producer_id, &writer.producers);
            if producer_batch.is_transactional
                && matches!(origin, AppendOrigin::Client | AppendOrigin::Coordinator)
                && !producers.has_ongoing_transaction(producer_id, producer_batch.producer_epoch)
            {
                check_epoch_is_current(writer, producer_id, producer_batch.producer_epoch)?;
                let is_data = matches!(producer_batch.kind, BatchKind::Data);
                if is_data && transaction.verify && !producers.verifications.matches(producer_id, transaction.guard) {
                    return Err(AppendError::InvalidTxnState("Record was not part of an ongoing transaction".to_owned()));
                }
            }
            let update = updates.entry(producer_id).or_insert_with(|| {
                producers.prepare_update(producer_id).by_rules_of(transaction.version, producers.verifications.get(producer_id))
            });
            completed_txns.extend(update.append(&producer_batch, origin, &self.topic_partition)?);
        }
        let written = self.write(writer, config, batches, &info, updates, &completed_txns);
        self.note_unless_full(written)?;
        self.dir_health.has_space();
        Ok(info)
    }

    pub(super) fn write(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        batches: &[StampedBatch<'_>],
        info: &AppendInfo,
        updates: BTreeMap<i64, ProducerAppend>,
        completed_txns: &[CompletedTxn],
    ) -> Result<(), StorageError> {
        {
            let mut epochs = self.epochs();
            for batch in batches {
                epochs.assign(batch.header.partition_leader_epoch, batch.header.base_offset);
            }
        }
        if !self.records_count_when_flushed {
            self.write_identity()?;
        }
        let mut segment = self.active();
        let roll = RollParams {
            max_segment_ms: config.max_segment_ms(),
            max_segment_bytes: config.segment_bytes.max(0) as u64,
            max_timestamp: info.max_timestamp,
            last_offset: info.last_offset,
            append_bytes: info.size_bytes as u64,
            now_ms: self.clock.now_ms(),
        };
        if segment.should_roll(&roll)? {
            self.roll_at(writer, config, info.first_offset)?;
            segment = self.active();
        }
        let position = segment.append(batches)?;
        let next_offset = info.last_offset + 1;
        {
            let mut offsets = self.offsets();
            offsets.log_end = OffsetMetadata {
                offset: next_offset,
                segment_base_offset: segment.base_offset(),
                position: position + info.size_bytes as u64,
            };
        }
        for update in updates.into_values() {
            writer.producers.update(update);
        }
        for header in batches.iter().map(|batch| &batch.header).filter(|header| header.is_transactional()) {
            writer.producers.verifications.on_append(header.producer_id, header.producer_epoch, header.is_control());
        }
        for completed in completed_txns {
            segment.append_completed_txn(completed, writer.producers.last_stable_offset_after(completed))?;
            writer.producers.complete_txn(completed);
        }
        writer.producers.set_map_end_offset(next_offset);
        self.update_first_unstable(writer)?;
        if next_offset - self.recovery_point() >= config.flush_messages {
            self.flush_segments(writer)?;
        }
        Ok(())
    }
}

/// A producer whose successor has written here is told that it is one.
fn check_epoch_is_current(writer: &Writer, producer_id: i64, producer_epoch: i16) -> Result<(), AppendError> {
    match writer.producers.producer_epoch(producer_id) {
        Some(known) if producer_epoch < known => Err(AppendError::InvalidProducerEpoch(format!(
            "Epoch of producer {producer_id} is {producer_epoch}, which is smaller than the last seen epoch {known}"
        ))),
        _ => Ok(()),
    }
}
