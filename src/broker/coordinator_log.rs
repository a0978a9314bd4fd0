//! The log of a coordinator over the real partitions of its internal topic: what [`Runtime`](crate::coordinator::runtime::Runtime) appends
//! to and loads from. Source: `CoordinatorLoaderImpl`, `CoordinatorPartitionWriter`.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::common::clock::Clock;
use crate::coordinator::runtime::{Loader, LogEntry, PartitionWriter, TransactionMarker, TransactionalProducer};
use crate::protocol::batch::{BatchBuilder, Batches, ControlRecord, ControlRecordType};
use crate::protocol::compression::Compression;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::records::Records;
use crate::replication::partition::Partition;
use crate::replication::replicas::Replicas;
use crate::replication::waiters::Waiter;
use crate::storage::fs;
use crate::storage::log::{AppendOrigin, AppendTransaction, FetchIsolation, VerificationGuard};

/// One internal topic as its coordinator's log.
pub(crate) struct CoordinatorLog {
    pub(crate) topic: &'static str,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Of the batches that are appended.
    pub(crate) compression: Compression,
    /// How much is read at a time while a partition is loaded.
    pub(crate) load_buffer_bytes: usize,
}

impl CoordinatorLog {
    fn partition(&self, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        self.replicas.partition(self.topic, partition)
    }

    fn filled(&self, mut builder: BatchBuilder, records: &[(Bytes, Option<Bytes>)]) -> Result<BatchBuilder, ErrorCode> {
        let now_ms = self.clock.now_ms();
        for (key, value) in records {
            builder.append(now_ms, Some(key), value.as_deref(), &[]).map_err(|error| error.error_code())?;
        }
        Ok(builder)
    }

    fn append_batch(
        &self,
        partition: i32,
        leader_epoch: i32,
        builder: BatchBuilder,
        transaction: AppendTransaction,
    ) -> Result<i64, ErrorCode> {
        let partition = self.partition(partition)?;
        if partition.leader_epoch() != leader_epoch {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let batch = builder.finish().map_err(|error| error.error_code())?;
        // All replicas, as every write of a coordinator: with fewer than the topic's minimum in sync it is refused here.
        let appended = partition.append_in_transaction(&batch, AppendOrigin::Coordinator, -1, transaction).map_err(|error| {
            tracing::debug!(topic = self.topic, %error, "append of a coordinator refused");
            error.error_code()
        })?;
        Ok(appended.first_offset)
    }
}

/// The control batch of a marker.
pub(crate) fn marker_batch(marker: &TransactionMarker, now_ms: i64) -> Result<BatchBuilder, ErrorCode> {
    let mut builder =
        BatchBuilder::new(Compression::None).producer(marker.producer_id, marker.producer_epoch, -1).transactional(true).control(true);
    let record = ControlRecord::end_transaction(marker.commit, marker.coordinator_epoch);
    builder.append_control(now_ms, &record).map_err(|error| error.error_code())?;
    Ok(builder)
}

impl PartitionWriter for CoordinatorLog {
    async fn append(&self, partition: i32, leader_epoch: i32, records: Vec<(Bytes, Option<Bytes>)>) -> Result<i64, ErrorCode> {
        let builder = self.filled(BatchBuilder::new(self.compression), &records)?;
        self.append_batch(partition, leader_epoch, builder, AppendTransaction::default())
    }

    async fn append_in_transaction(
        &self,
        partition: i32,
        leader_epoch: i32,
        producer: TransactionalProducer,
        records: Vec<(Bytes, Option<Bytes>)>,
    ) -> Result<i64, ErrorCode> {
        let TransactionalProducer { producer_id, producer_epoch, verify, guard } = producer;
        // Every batch has sequence 0, as in Kafka: the log does not check the sequences of coordinators.
        let builder = BatchBuilder::new(self.compression).producer(producer_id, producer_epoch, 0).transactional(true);
        let builder = self.filled(builder, &records)?;
        let transaction = AppendTransaction { verify, guard: guard.map(VerificationGuard), ..AppendTransaction::default() };
        self.append_batch(partition, leader_epoch, builder, transaction)
    }

    async fn append_marker(&self, partition: i32, leader_epoch: i32, marker: TransactionMarker) -> Result<i64, ErrorCode> {
        let builder = marker_batch(&marker, self.clock.now_ms())?;
        let transaction = AppendTransaction { version: marker.transaction_version, ..AppendTransaction::default() };
        self.append_batch(partition, leader_epoch, builder, transaction)
    }

    async fn wait_until_committed(&self, partition: i32, leader_epoch: i32, offset: i64) -> Result<(), ErrorCode> {
        let partition = self.partition(partition)?;
        if partition.is_replicated(offset - 1, leader_epoch)? {
            return Ok(());
        }
        let waiter = Waiter::new();
        let _registration = partition.register(&waiter);
        while !partition.is_replicated(offset - 1, leader_epoch)? {
            waiter.woken().await;
        }
        Ok(())
    }
}

impl Loader for CoordinatorLog {
    fn load(&self, partition: i32, visit: &mut dyn FnMut(LogEntry)) -> Result<(), ErrorCode> {
        let log = self.partition(partition)?.leader_log(-1)?;
        let end_offset = log.log_end_offset();
        let mut offset = log.log_start_offset();
        while offset < end_offset {
            let read = log.read(offset, self.load_buffer_bytes, true, FetchIsolation::LogEnd).map_err(|error| {
                tracing::error!(topic = self.topic, partition, offset, %error, "a coordinator's topic cannot be read");
                ErrorCode::KafkaStorageError
            })?;
            let bytes = match read.records {
                Records::Bytes(bytes) => bytes,
                Records::File(slice) => {
                    let mut buffer = vec![0; slice.len];
                    let read = fs::read_at(&slice.file, &log.dir(), &mut buffer, slice.position).map_err(|error| {
                        tracing::error!(topic = self.topic, partition, offset, %error, "a coordinator's topic cannot be read");
                        ErrorCode::KafkaStorageError
                    })?;
                    buffer.truncate(read);
                    Bytes::from(buffer)
                }
            };
            if bytes.is_empty() {
                // What compaction leaves at the end of a log may be less than an offset range says.
                break;
            }
            offset = visit_batches(&bytes, offset..end_offset, visit).inspect_err(|error| {
                let dir = log.dir();
                tracing::error!(dir = %dir.display(), offset, %error, "a coordinator's log is damaged at or after this offset");
            })?;
        }
        Ok(())
    }
}

/// Visits the records of whole batches, of which there must be one; gives the offset that follows them, which is in `range` or its end.
///
/// Differs: Kafka takes what is there for whole if it can be parsed. Here a batch that was changed since it was written ends the load, and
/// nobody is told an offset that nobody committed.
fn visit_batches(bytes: &[u8], range: Range<i64>, visit: &mut dyn FnMut(LogEntry)) -> Result<i64, ErrorCode> {
    let from = range.start;
    let mut next = from;
    for batch in Batches::new(bytes) {
        // The last batch of a read may be cut short; it comes again, whole.
        let Ok(batch) = batch else { break };
        let header = batch.header();
        let is_first = next == from;
        let is_in_place = if is_first { header.last_offset() >= from } else { header.base_offset >= next };
        if !is_in_place || header.last_offset() >= range.end || batch.verify_crc().is_err() {
            return Err(ErrorCode::CorruptMessage);
        }
        if header.is_control() {
            for record in batch.records() {
                let record = record.map_err(|error| error.error_code())?;
                let kind = record.key.as_deref().and_then(ControlRecordType::parse);
                if let Some(kind @ (ControlRecordType::Commit | ControlRecordType::Abort)) = kind {
                    let commit = kind == ControlRecordType::Commit;
                    visit(LogEntry::EndTransaction { producer_id: header.producer_id, commit });
                }
            }
        } else {
            let producer_id = header.is_transactional().then_some(header.producer_id);
            for record in batch.records() {
                let record = record.map_err(|error| error.error_code())?;
                // A read starts at the batch that holds its offset.
                if record.offset >= from
                    && let Some(key) = record.key
                {
                    visit(LogEntry::Record { offset: record.offset, producer_id, key, value: record.value });
                }
            }
        }
        next = header.next_offset();
    }
    if next > from { Ok(next) } else { Err(ErrorCode::CorruptMessage) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::BatchBuilder;
    use crate::protocol::compression::Compression;

    const END: i64 = 9;

    /// As a load reads a log; the value and offset of each record.
    fn load(mut bytes: &[u8]) -> Result<Vec<(i64, Option<Bytes>)>, ErrorCode> {
        let (mut found, mut offset) = (Vec::new(), 0);
        while offset < END {
            let next = visit_batches(bytes, offset..END, &mut |entry| {
                let LogEntry::Record { offset, value, .. } = entry else { panic!("no marker was written") };
                found.push((offset, value));
            })?;
            let read: usize = Batches::new(bytes).map_while(Result::ok).map(|batch| batch.header().size_bytes()).sum();
            (bytes, offset) = (&bytes[read..], next);
        }
        Ok(found)
    }

    #[test]
    fn a_flipped_bit_ends_the_load_and_changes_nothing_that_was_written() {
        let mut bytes = Vec::new();
        for base_offset in [0i64, 3, 6] {
            let mut builder = BatchBuilder::new(Compression::None);
            for n in 0..3 {
                let value = (base_offset + n).to_string();
                builder.append(1_700_000_000_000, Some(b"key"), Some(value.as_bytes()), &[]).expect("small");
            }
            let mut batch = builder.finish_vec().expect("a batch");
            batch[..8].copy_from_slice(&base_offset.to_be_bytes());
            bytes.extend(batch);
        }
        let whole = load(&bytes).expect("whole");
        assert_eq!(whole.len() as i64, END);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            match load(&bytes) {
                Ok(found) => assert_eq!(found, whole, "bit {bit}"),
                Err(error) => assert_eq!(error, ErrorCode::CorruptMessage, "bit {bit}"),
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
