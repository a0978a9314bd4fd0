//! Which records of a batch survive compaction, and what the batch looks like then. Sources: `Cleaner.shouldRetainRecord`,
//! `MemoryRecords.filterTo`, KIP-534.
//!
//! Pure: a batch comes in, what is left of it goes out.
//!
//! Invariant: the record with the largest offset of a key survives, unless it is a tombstone that is past its delete horizon or belongs to
//! an aborted transaction.
//! Invariant: offsets never change: what is left of a batch keeps its first and last offset.
//! Invariant: of each producer that the log knows, the batch with its last sequence number stays, if only as an empty one.
//! Invariant: tombstones, and markers of transactions of which nothing is left, get a delete horizon when they are met first, and stay
//! until then.

use std::collections::BTreeMap;

use crate::protocol::batch::{BatchBuilder, BatchError, BatchHeader, BatchView, DecompressionLimits, RecordRef, empty_batch};

use super::offset_map::OffsetMap;
use super::transactions::Transactions;

/// What a producer wrote last in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastRecord {
    pub(super) producer_epoch: i16,
    /// None: only a marker.
    pub(super) data_offset: Option<i64>,
}

/// What was looked at and what stayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Counts {
    pub(in crate::storage) records_read: u64,
    pub(in crate::storage) records_kept: u64,
    pub(in crate::storage) bytes_read: u64,
    pub(in crate::storage) bytes_kept: u64,
    /// Records without a key, which have no place in a compacted log.
    pub(in crate::storage) without_key: u64,
}

/// The judge of one round over a log.
pub(super) struct Survivors<'a> {
    pub(super) map: &'a OffsetMap,
    pub(super) transactions: Transactions,
    pub(super) last_records: BTreeMap<i64, LastRecord>,
    pub(super) now_ms: i64,
    pub(super) delete_retention_ms: i64,
    /// The batch that ends here stays, if only as an empty one, so that the new segment reaches as far as those it is made from.
    pub(super) keep_batch_before: i64,
    pub(super) counts: Counts,
}

/// Which records of a batch stay.
struct Verdict {
    /// One for each record.
    kept: Vec<bool>,
    kept_count: usize,
    has_tombstones: bool,
}

impl Survivors<'_> {
    /// Appends to `out` what is left of a batch. Batches come in the order of the log. An error: the batch cannot be read, so nothing may
    /// be decided about it.
    pub(super) fn filter(&mut self, batch: &BatchView<'_>, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let before = out.len();
        self.counts.bytes_read += batch.bytes().len() as u64;
        self.counts.records_read += u64::try_from(batch.header().record_count).unwrap_or(0);
        self.filter_batch(batch, out)?;
        self.counts.bytes_kept += (out.len() - before) as u64;
        Ok(())
    }

    fn filter_batch(&mut self, batch: &BatchView<'_>, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let header = batch.header();
        // Whatever is written anew gets a new checksum, which must not make good what was bad.
        batch.verify_crc()?;
        let is_useless =
            if header.is_control() { self.transactions.is_marker_of_nothing(batch) } else { self.transactions.is_aborted(header) };
        if header.base_offset > self.map.latest_offset() {
            // The round does not reach this far.
            self.keep_whole(batch, out);
            return Ok(());
        }
        if header.is_control() {
            return self.filter_control(batch, is_useless, out);
        }
        if is_useless {
            self.keep_empty_if_last(header, out);
            return Ok(());
        }
        let verdict = self.judge(batch)?;
        let needs_horizon = verdict.has_tombstones && header.delete_horizon_ms().is_none();
        if verdict.kept_count == 0 {
            self.keep_empty_if_last(header, out);
        } else if verdict.kept_count == verdict.kept.len() && !needs_horizon {
            self.keep_whole(batch, out);
        } else {
            self.counts.records_kept += verdict.kept_count as u64;
            self.rebuild(batch, &verdict.kept, needs_horizon, out)?;
        }
        Ok(())
    }

    fn filter_control(&mut self, batch: &BatchView<'_>, is_useless: bool, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let header = batch.header();
        match header.delete_horizon_ms() {
            _ if header.record_count == 0 => self.keep_empty_if_last(header, out),
            Some(horizon) if is_useless && horizon <= self.now_ms => self.keep_empty_if_last(header, out),
            None if is_useless => {
                self.counts.records_kept += header.record_count as u64;
                self.rebuild(batch, &vec![true; header.record_count as usize], true, out)?;
            }
            _ => self.keep_whole(batch, out),
        }
        Ok(())
    }

    fn keep_whole(&mut self, batch: &BatchView<'_>, out: &mut Vec<u8>) {
        self.counts.records_kept += u64::try_from(batch.header().record_count).unwrap_or(0);
        out.extend_from_slice(batch.bytes());
    }

    fn keep_empty_if_last(&self, header: &BatchHeader, out: &mut Vec<u8>) {
        if header.next_offset() == self.keep_batch_before || self.is_last_of_its_producer(header) {
            out.extend_from_slice(&empty_batch(header));
        }
    }

    fn is_last_of_its_producer(&self, header: &BatchHeader) -> bool {
        if !header.has_producer_id() {
            return false;
        }
        self.last_records.get(&header.producer_id).is_some_and(|last| match last.data_offset {
            Some(offset) => header.last_offset() == offset,
            // The marker has the last epoch, which fences older ones.
            None => header.is_control() && header.producer_epoch == last.producer_epoch,
        })
    }

    fn judge(&mut self, batch: &BatchView<'_>) -> Result<Verdict, BatchError> {
        let horizon = batch.header().delete_horizon_ms();
        let mut verdict = Verdict { kept: Vec::new(), kept_count: 0, has_tombstones: false };
        batch.visit_records::<BatchError>(DecompressionLimits::default(), |record| {
            let kept = self.keeps(&record, horizon);
            verdict.kept.push(kept);
            verdict.kept_count += usize::from(kept);
            verdict.has_tombstones |= kept && record.value.is_none();
            Ok(())
        })?;
        Ok(verdict)
    }

    fn keeps(&mut self, record: &RecordRef<'_>, delete_horizon_ms: Option<i64>) -> bool {
        if record.offset > self.map.latest_offset() {
            return true;
        }
        // A compacted topic takes no record without a key; those from before it was compacted go.
        let Some(key) = record.key else {
            self.counts.without_key += 1;
            return false;
        };
        let is_latest = self.map.get(key).is_none_or(|latest| record.offset >= latest);
        is_latest && (record.value.is_some() || delete_horizon_ms.is_none_or(|horizon| self.now_ms < horizon))
    }

    fn rebuild(&self, batch: &BatchView<'_>, kept: &[bool], needs_horizon: bool, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let header = batch.header();
        let mut builder = BatchBuilder::like(header, header.compression()?);
        if needs_horizon {
            builder = builder.delete_horizon_ms(self.now_ms.saturating_add(self.delete_retention_ms));
        }
        let mut kept = kept.iter();
        batch.visit_records::<BatchError>(DecompressionLimits::default(), |record| {
            if kept.next().copied().unwrap_or(true) { builder.append_record_ref(&record) } else { Ok(()) }
        })?;
        builder.override_last_offset(header.last_offset());
        out.extend_from_slice(&builder.finish_vec()?);
        Ok(())
    }
}
