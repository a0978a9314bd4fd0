//! The batches in what was read of a log, by their headers alone: where each begins and ends, and whether its transaction was aborted.
//! Source: `SharePartition.fetchAbortedTransactionRecordBatches`, `ShareFetchUtils.maybeSliceFetchRecords`.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;

use super::share_partition::LogBatch;
use crate::common::file_slice::FileSlice;
use crate::protocol::batch::{BATCH_OVERHEAD, BatchHeader, BatchView, ControlRecordType};
use crate::protocol::records::Records;
use crate::storage::errors::StorageError;
use crate::storage::fs;
use crate::storage::log::AbortedTransaction;

/// Headers that lie close together are read at once. Bytes.
const WINDOW: usize = 16 * 1024;

/// A batch and where it is in the records that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlacedBatch {
    pub(super) batch: LogBatch,
    pub(super) position: usize,
    pub(super) size_bytes: usize,
}

/// Bytes of the records from a position on.
struct Window<'a> {
    records: &'a Records,
    dir: &'a Path,
    bytes: Bytes,
    start: usize,
}

impl Window<'_> {
    /// At least `len` bytes at `position`, or what there is of them.
    fn at(&mut self, position: usize, len: usize) -> Result<&[u8], StorageError> {
        let slice = match self.records {
            Records::Bytes(bytes) => return Ok(bytes.get(position..).unwrap_or_default()),
            Records::File(slice) => slice,
        };
        let end = position.saturating_add(len).min(slice.len);
        let held = self.start..self.start + self.bytes.len();
        if !(held.contains(&position) && end <= held.end) {
            let wanted = len.max(WINDOW).min(slice.len.saturating_sub(position));
            let mut buffer = vec![0; wanted];
            let read = fs::read_at(&slice.file, self.dir, &mut buffer, slice.position + position as u64)?;
            buffer.truncate(read);
            self.bytes = Bytes::from(buffer);
            self.start = position;
        }
        Ok(self.bytes.get(position - self.start..).unwrap_or_default())
    }
}

/// The whole batches of `records` that begin before offset `bound`. `dir` is the log's, for its health.
pub(super) fn read(
    records: &Records,
    dir: &Path,
    bound: i64,
    aborted: Option<&[AbortedTransaction]>,
) -> Result<Vec<PlacedBatch>, StorageError> {
    let mut pending: Vec<&AbortedTransaction> = aborted.unwrap_or_default().iter().collect();
    // The earliest is taken from the end.
    pending.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
    let mut aborted_producers = HashSet::new();
    let mut window = Window { records, dir, bytes: Bytes::new(), start: 0 };
    let mut batches = Vec::new();
    let mut position = 0;
    while position < records.len() {
        let Ok(header) = BatchHeader::parse(window.at(position, BATCH_OVERHEAD)?) else { break };
        let size_bytes = header.size_bytes();
        if position + size_bytes > records.len() || header.base_offset >= bound {
            break;
        }
        let mut is_aborted = false;
        if header.has_producer_id() && aborted.is_some() {
            while let Some(transaction) = pending.pop_if(|transaction| transaction.first_offset <= header.last_offset()) {
                aborted_producers.insert(transaction.producer_id);
            }
            if header.is_control() {
                if is_abort_marker(window.at(position, size_bytes)?) {
                    aborted_producers.remove(&header.producer_id);
                }
            } else {
                is_aborted = header.is_transactional() && aborted_producers.contains(&header.producer_id);
            }
        }
        let batch = LogBatch { base_offset: header.base_offset, last_offset: header.last_offset(), aborted: is_aborted };
        batches.push(PlacedBatch { batch, position, size_bytes });
        position += size_bytes;
    }
    Ok(batches)
}

fn is_abort_marker(bytes: &[u8]) -> bool {
    let Ok(view) = BatchView::parse(bytes) else { return false };
    let first = view.records().next().and_then(Result::ok).and_then(|record| record.key);
    first.as_deref().and_then(ControlRecordType::parse) == Some(ControlRecordType::Abort)
}

/// The part of `records` that holds the offsets from `first` to `last`, in whole batches.
pub(super) fn slice(records: &Records, batches: &[PlacedBatch], first: i64, last: i64) -> Records {
    let mut within = batches.iter().filter(|it| it.batch.last_offset >= first && it.batch.base_offset <= last);
    let Some(begin) = within.next() else { return Records::default() };
    let end = within.next_back().unwrap_or(begin);
    let (from, to) = (begin.position, end.position + end.size_bytes);
    match records {
        Records::Bytes(bytes) => Records::Bytes(bytes.slice(from..to)),
        Records::File(slice) => {
            Records::File(FileSlice { file: slice.file.clone(), position: slice.position + from as u64, len: to - from })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;
    use crate::protocol::batch::{BatchBuilder, BatchViewMut, ControlRecord};
    use crate::protocol::compression::Compression;

    fn batch(base_offset: i64, count: usize, producer_id: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..count {
            builder.append(1, None, Some(&[7; 300]), &[]).expect("a small record");
        }
        let mut bytes = builder.finish().expect("a batch").to_vec();
        let mut view = BatchViewMut::parse(&mut bytes).expect("a batch");
        view.set_base_offset(base_offset);
        if producer_id >= 0 {
            view.set_producer_state(producer_id, 0, 0, true);
        }
        bytes
    }

    /// The same bytes in memory and in a file, some way into it.
    fn both(bytes: &[u8]) -> [Records; 2] {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"before").expect("written");
        file.write_all(bytes).expect("written");
        let slice = FileSlice { file: Arc::new(file), position: 6, len: bytes.len() };
        [Records::Bytes(Bytes::copy_from_slice(bytes)), Records::File(slice)]
    }

    #[test]
    fn whole_batches_are_found_with_their_offsets() {
        let mut bytes = Vec::new();
        for at in 0..40 {
            bytes.extend(batch(at * 10, 5, -1));
        }
        let cut = bytes.len() - 10;
        for records in both(&bytes[..cut]) {
            let found = read(&records, Path::new("log"), i64::MAX, None).expect("read");
            assert_eq!(found.len(), 39);
            assert_eq!(found[38].batch, LogBatch { base_offset: 380, last_offset: 384, aborted: false });
            assert_eq!(read(&records, Path::new("log"), 21, None).expect("read").len(), 3);
            let part = slice(&records, &found, 12, 23);
            let again = read(&part, Path::new("log"), i64::MAX, None).expect("read");
            assert_eq!(again.iter().map(|it| it.batch.base_offset).collect::<Vec<_>>(), [10, 20]);
            assert!(slice(&records, &found, 5, 9).is_empty());
        }
    }

    #[test]
    fn batches_of_aborted_transactions_are_known_until_their_marker() {
        let mut bytes = batch(0, 1, 7);
        bytes.extend(batch(1, 1, 8));
        let mut builder = BatchBuilder::new(Compression::None).control(true);
        builder.append_control(1, &ControlRecord::end_transaction(false, 1)).expect("a marker");
        let mut marker = builder.finish().expect("a batch").to_vec();
        let mut view = BatchViewMut::parse(&mut marker).expect("a batch");
        view.set_base_offset(2);
        view.set_producer_state(7, 0, -1, true);
        bytes.extend(marker);
        bytes.extend(batch(3, 1, 7));
        let aborted = [AbortedTransaction { producer_id: 7, first_offset: 0 }];
        for records in both(&bytes) {
            let found = read(&records, Path::new("log"), i64::MAX, Some(&aborted)).expect("read");
            assert_eq!(found.iter().map(|it| it.batch.aborted).collect::<Vec<_>>(), [true, false, false, false]);
        }
    }
}
