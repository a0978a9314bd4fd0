//! One segment: a `.log` file and its indexes. Sources: `LogSegment`, `FileRecords`.
//!
//! ```text
//!   00000000000000000100.log        batches, nothing else
//!   00000000000000000100.index      offset    -> position     an entry every index.interval.bytes
//!   00000000000000000100.timeindex  timestamp -> offset       with each of those, and one when the segment is rolled or closed
//!   00000000000000000100.txnindex   aborted transactions      only when there are some
//! ```
//!
//! Invariant: `size` is published after the bytes below it are in the file, so a reader that loads it may read up to it.
//! Invariant: only the owner of the log's writer lock appends and truncates.
//! Invariant: the files of a log's first segment are created with its first batch, so that a partition without records is a directory with
//! its topic id; those of every other segment, and all of one segment, at once.
//!
//! Invariant: an index only says where to begin. What it points to is looked at, and the segment scanned from its beginning when that is not
//! what the entry says, so a damaged index makes a lookup slow, not wrong. (Apache Kafka trusts every entry.)
//!
//! Differs: `preallocate` is not obeyed (files grow as they are written); a file that Kafka preallocated is cut at its last batch.

use std::borrow::Cow;
use std::fs::File;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::common::file_slice::FileSlice;
use crate::protocol::batch::{
    BATCH_OVERHEAD, BatchError, BatchHeader, BatchView, ControlRecord, ControlRecordType, HEADER_SIZE_UP_TO_MAGIC,
};
use crate::protocol::records::Records;

use super::config::LogConfig;
use super::epochs::LeaderEpochs;
use super::errors::StorageError;
use super::fs;
use super::index::OffsetIndex;
use super::inspect::{InspectError, LogEntry, LogFile};
use super::log::AppendOrigin;
use super::open_files::LazyFile;
use super::producer_state::{BatchKind, CompletedTxn, EndTxnMarker, ProducerBatch, ProducerState};
use super::scan::{Headers, Located, WholeBatches};
use super::time_index::{TimeIndex, TimestampOffset};
use super::txn_index::{AbortedTxn, TxnIndex};

/// A batch on its way to the file: its header, which is stamped, and its records, which are not touched.
pub(super) struct StampedBatch<'a> {
    pub(super) header: BatchHeader,
    pub(super) header_bytes: [u8; BATCH_OVERHEAD],
    pub(super) payload: Cow<'a, [u8]>,
}

impl<'a> StampedBatch<'a> {
    /// A batch as it is.
    pub(super) fn from_view(batch: &BatchView<'a>) -> StampedBatch<'a> {
        let header_bytes = batch.bytes()[..BATCH_OVERHEAD].try_into().expect("a parsed batch has a whole header");
        StampedBatch { header: *batch.header(), header_bytes, payload: Cow::Borrowed(batch.payload()) }
    }

    /// Both fields lie outside the checksum.
    pub(super) fn set_offset_and_epoch(&mut self, base_offset: i64, leader_epoch: i32) {
        self.header.base_offset = base_offset;
        self.header.partition_leader_epoch = leader_epoch;
        self.header_bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        self.header_bytes[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    }

    /// Sets attributes and maximum timestamp, and the checksum to match.
    pub(super) fn set_timestamps(&mut self, attributes: i16, max_timestamp: i64) {
        self.header.attributes = attributes;
        self.header.max_timestamp = max_timestamp;
        self.header_bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        self.header_bytes[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.header_bytes[21..]), &self.payload);
        self.header.crc = crc;
        self.header_bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }

    pub(super) fn size_bytes(&self) -> usize {
        BATCH_OVERHEAD + self.payload.len()
    }
}

/// What the producer state needs of a batch; None without a producer id. An error when a control record cannot be read.
pub(super) fn producer_batch(header: &BatchHeader, view: impl FnOnce() -> Option<EndTxnMarker>) -> Option<ProducerBatch> {
    header.has_producer_id().then(|| ProducerBatch {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
        base_offset: header.base_offset,
        last_offset: header.last_offset(),
        max_timestamp: header.max_timestamp,
        is_transactional: header.is_transactional(),
        kind: if header.is_control() { BatchKind::Control(view()) } else { BatchKind::Data },
    })
}

/// The transaction marker in a control batch; None when it is empty or holds another kind.
pub(super) fn end_txn_marker(batch: &BatchView<'_>) -> Option<EndTxnMarker> {
    let record = batch.records().next()?.ok()?;
    let commit = match ControlRecordType::parse(record.key.as_ref()?)? {
        ControlRecordType::Commit => true,
        ControlRecordType::Abort => false,
        _ => return None,
    };
    let coordinator_epoch = ControlRecord::coordinator_epoch(record.value.as_ref()?)?;
    Some(EndTxnMarker { commit, coordinator_epoch, timestamp: record.timestamp })
}

/// As [`end_txn_marker`], of a batch that is about to be written.
pub(super) fn end_txn_marker_of(batch: &StampedBatch<'_>) -> Option<EndTxnMarker> {
    let bytes = [&batch.header_bytes[..], &batch.payload].concat();
    end_txn_marker(&BatchView::parse(&bytes).ok()?)
}

/// A place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) base_offset: i64,
    pub(super) position: u64,
    pub(super) size_bytes: usize,
}

/// When a segment must make way for the next one.
pub(super) struct RollParams {
    pub(super) max_segment_ms: i64,
    pub(super) max_segment_bytes: u64,
    pub(super) max_timestamp: i64,
    pub(super) last_offset: i64,
    pub(super) append_bytes: u64,
    pub(super) now_ms: i64,
}

struct Inner {
    offset_index: OffsetIndex,
    time_index: TimeIndex,
    txn_index: TxnIndex,
    /// The largest timestamp so far; None until someone asks.
    max_timestamp: Option<TimestampOffset>,
    /// Maximum timestamp of the first batch; None until someone asks or while there is none.
    first_batch_timestamp: Option<i64>,
    created_ms: i64,
    bytes_since_last_index_entry: u64,
}

impl Inner {
    /// The owner sees to it that it is known ([`Segment::know_max_timestamp`]) when the segment has batches.
    fn max_timestamp(&mut self) -> Result<TimestampOffset, StorageError> {
        match self.max_timestamp {
            Some(known) => Ok(known),
            None => Ok(*self.max_timestamp.insert(self.time_index.last()?)),
        }
    }

    /// Notes a batch that begins at `position`, with an index entry when it is due.
    fn note_batch(&mut self, header: &BatchHeader, position: u64, index_interval_bytes: u64) -> Result<(), StorageError> {
        if header.max_timestamp > self.max_timestamp()?.timestamp {
            self.max_timestamp = Some(TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() });
        }
        if self.bytes_since_last_index_entry > index_interval_bytes {
            self.offset_index.append(header.last_offset(), position)?;
            let max_timestamp = self.max_timestamp()?;
            self.time_index.maybe_append(max_timestamp)?;
            self.bytes_since_last_index_entry = 0;
        }
        self.bytes_since_last_index_entry += header.size_bytes() as u64;
        Ok(())
    }
}

/// One segment. Shared: reads run beside the one writer.
pub(super) struct Segment {
    base_offset: i64,
    /// The `.log` file.
    file: LazyFile,
    /// The files are there.
    is_created: AtomicBool,
    size: AtomicU64,
    index_interval_bytes: u64,
    roll_jitter_ms: i64,
    inner: Mutex<Inner>,
}

pub(super) const LOG_SUFFIX: &str = ".log";
pub(super) const INDEX_SUFFIX: &str = ".index";
pub(super) const TIME_INDEX_SUFFIX: &str = ".timeindex";
pub(super) const TXN_INDEX_SUFFIX: &str = ".txnindex";
pub(super) const DELETED_SUFFIX: &str = ".deleted";

/// So that segments that began together do not all end together.
fn roll_jitter_ms(config: &LogConfig) -> i64 {
    match config.segment_jitter_ms.min(config.segment_ms) {
        ..=0 => 0,
        bound => crate::common::random::Random::from_entropy().below(bound as u64) as i64,
    }
}

/// The path of a segment's file: 20 digits, `suffix`, and perhaps a second suffix (`.cleaned`, `.swap`).
pub(super) fn segment_path(dir: &Path, base_offset: i64, suffix: &str, second: &str) -> PathBuf {
    dir.join(format!("{base_offset:020}{suffix}{second}"))
}

impl Segment {
    /// An empty segment whose files are created when they are needed; there are none of its name.
    pub(super) fn begin(dir: &Path, base_offset: i64, config: &LogConfig, now_ms: i64) -> Segment {
        let path = |suffix| segment_path(dir, base_offset, suffix, "");
        Segment {
            base_offset,
            size: AtomicU64::new(0),
            file: LazyFile::new(path(LOG_SUFFIX)),
            is_created: AtomicBool::new(false),
            index_interval_bytes: config.index_interval_bytes.max(0) as u64,
            roll_jitter_ms: roll_jitter_ms(config),
            inner: Mutex::new(Inner {
                offset_index: OffsetIndex::missing(path(INDEX_SUFFIX), base_offset, config.segment_index_bytes),
                time_index: TimeIndex::missing(path(TIME_INDEX_SUFFIX), base_offset, config.segment_index_bytes),
                txn_index: TxnIndex::missing(path(TXN_INDEX_SUFFIX), base_offset),
                max_timestamp: None,
                first_batch_timestamp: None,
                created_ms: now_ms,
                bytes_since_last_index_entry: 0,
            }),
        }
    }

    /// Removes the files that a failed [`Segment::open`] of a new segment has left: with records after its base offset in the segment
    /// before, it would hide them from the next start.
    pub(super) fn remove_begun(dir: &Path, base_offset: i64) -> Result<(), StorageError> {
        let mut paths = [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX].iter().map(|suffix| segment_path(dir, base_offset, suffix, ""));
        // Not even for want of space may they stay.
        paths
            .try_for_each(|path| fs::remove_file(&path))
            .map_err(|error| StorageError::new(error.path, std::io::Error::other(error.reason)))
    }

    /// Opens the segment whose `.log` is there, or begins a new one. `second` is "" but for the cleaner.
    pub(super) fn open(
        dir: &Path,
        base_offset: i64,
        config: &LogConfig,
        now_ms: i64,
        create: bool,
        second: &str,
    ) -> Result<Segment, StorageError> {
        let path = |suffix| segment_path(dir, base_offset, suffix, second);
        let file = LazyFile::new(path(LOG_SUFFIX));
        if create {
            fs::set_len(&*file.open_or_create()?, file.path(), 0)?;
        }
        let inner = Inner {
            offset_index: OffsetIndex::new(path(INDEX_SUFFIX), base_offset, config.segment_index_bytes, create)?,
            time_index: TimeIndex::new(path(TIME_INDEX_SUFFIX), base_offset, config.segment_index_bytes, create)?,
            txn_index: TxnIndex::new(path(TXN_INDEX_SUFFIX), base_offset)?,
            max_timestamp: None,
            first_batch_timestamp: None,
            created_ms: now_ms,
            bytes_since_last_index_entry: 0,
        };
        Ok(Segment {
            base_offset,
            size: AtomicU64::new(fs::size(file.path())?.unwrap_or(0)),
            file,
            is_created: AtomicBool::new(true),
            index_interval_bytes: config.index_interval_bytes.max(0) as u64,
            roll_jitter_ms: roll_jitter_ms(config),
            inner: Mutex::new(inner),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The `.log` file, which exists.
    pub(super) fn file(&self) -> Result<Arc<File>, StorageError> {
        self.file.open()
    }

    /// `[position, position + len)` of the file, to be read by whoever sends it; or its bytes, when too many files are in use already.
    pub(super) fn records(&self, position: u64, len: usize) -> Result<Records, StorageError> {
        let file = self.file()?;
        if !self.file.are_scarce() {
            return Ok(Records::File(FileSlice { file, position, len }));
        }
        let mut bytes = vec![0; len];
        let read = fs::read_at(&file, self.path(), &mut bytes, position)?;
        bytes.truncate(read);
        Ok(Records::Bytes(bytes.into()))
    }

    pub(super) fn is_created(&self) -> bool {
        self.is_created.load(Ordering::Acquire)
    }

    /// Opens every file for good, so that whoever holds the segment can read on when it, or the directory, is renamed.
    pub(super) fn pin_files(&self) -> Result<(), StorageError> {
        if !self.is_created() {
            return Ok(());
        }
        self.file.pin()?;
        let inner = self.inner();
        inner.offset_index.file.pin()?;
        inner.time_index.file.pin()?;
        if fs::exists(inner.txn_index.file.path()) {
            inner.txn_index.file.pin()?;
        }
        Ok(())
    }

    /// Gives the descriptors back until someone needs them again.
    pub(super) fn release_files(&self) -> Result<(), StorageError> {
        let mut inner = self.inner();
        inner.offset_index.file.write_out()?;
        inner.time_index.file.write_out()?;
        inner.txn_index.file.write_out()?;
        inner.offset_index.file.release();
        inner.time_index.file.release();
        inner.txn_index.file.release();
        self.file.close();
        Ok(())
    }

    fn is_relative(&self, offset: i64) -> bool {
        (0..=i64::from(i32::MAX)).contains(&offset.wrapping_sub(self.base_offset))
    }

    /// Must an append with these properties go to a new segment?
    pub(super) fn should_roll(&self, params: &RollParams) -> Result<bool, StorageError> {
        let size = self.size_bytes();
        if size + params.append_bytes > params.max_segment_bytes || !self.is_relative(params.last_offset) {
            return Ok(true);
        }
        {
            let inner = self.inner();
            if inner.offset_index.is_full() || inner.time_index.is_full() {
                return Ok(true);
            }
        }
        if size == 0 {
            return Ok(false);
        }
        let waited = match self.first_batch_timestamp()? {
            Some(first) if first >= 0 => params.max_timestamp.saturating_sub(first),
            _ => params.now_ms - self.inner().created_ms,
        };
        Ok(waited > params.max_segment_ms - self.roll_jitter_ms)
    }

    /// The maximum timestamp of the first batch.
    pub(super) fn first_batch_timestamp(&self) -> Result<Option<i64>, StorageError> {
        if let Some(known) = self.inner().first_batch_timestamp {
            return Ok(Some(known));
        }
        let first = self.first_header_from(0)?.map(|located| located.header.max_timestamp);
        self.inner().first_batch_timestamp = first;
        Ok(first)
    }

    fn first_header_from(&self, position: u64) -> Result<Option<Located>, StorageError> {
        let size = self.size_bytes();
        if position >= size {
            return Ok(None);
        }
        Headers::new(&*self.file()?, self.path(), position, size).next()
    }

    /// Appends batches in one write and gives the position of the first.
    pub(super) fn append(&self, batches: &[StampedBatch<'_>]) -> Result<u64, StorageError> {
        let start = self.size_bytes();
        let file = self.file.open_or_create()?;
        if !self.is_created() {
            let mut inner = self.inner();
            inner.offset_index.file.ensure()?;
            inner.time_index.file.ensure()?;
            self.is_created.store(true, Ordering::Release);
        }
        let bytes: usize = batches.iter().map(StampedBatch::size_bytes).sum();
        let written = if let [batch] = batches {
            fs::write_vectored_at(&file, self.path(), &mut [IoSlice::new(&batch.header_bytes), IoSlice::new(&batch.payload)], start)
        } else {
            let parts = batches.iter().flat_map(|batch| [IoSlice::new(&batch.header_bytes), IoSlice::new(&batch.payload)]);
            fs::write_vectored_at(&file, self.path(), &mut parts.collect::<Vec<_>>(), start)
        };
        if let Err(error) = written {
            // What was written of it must not look like a torn tail of something acknowledged; recovery would cut it anyway.
            fs::set_len(&file, self.path(), start)?;
            return Err(error);
        }
        self.size.store(start + bytes as u64, Ordering::Release);
        let mut inner = self.inner();
        self.know_max_timestamp(&mut inner)?;
        let mut position = start;
        for batch in batches {
            inner.note_batch(&batch.header, position, self.index_interval_bytes)?;
            position += batch.size_bytes() as u64;
        }
        Ok(start)
    }

    /// Enters an aborted transaction; nothing for a committed one.
    pub(super) fn append_completed_txn(&self, completed: &CompletedTxn, last_stable_offset: i64) -> Result<(), StorageError> {
        if !completed.is_aborted {
            return Ok(());
        }
        let CompletedTxn { producer_id, first_offset, last_offset, .. } = *completed;
        self.inner().txn_index.append(AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset })
    }

    /// Enters transactions that another segment held.
    pub(super) fn append_aborted(&self, txns: &[AbortedTxn]) -> Result<(), StorageError> {
        let mut inner = self.inner();
        txns.iter().try_for_each(|txn| inner.txn_index.append(*txn))
    }

    /// As [`TxnIndex::collect`].
    pub(super) fn collect_aborted(&self, from: i64, to: i64, found: &mut Vec<AbortedTxn>) -> Result<bool, StorageError> {
        self.inner().txn_index.collect(from, to, found)
    }

    /// The first batch whose last offset is at least `offset`, below byte `end`.
    pub(super) fn translate_offset(&self, offset: i64, end: u64) -> Result<Option<Position>, StorageError> {
        if end == 0 {
            return Ok(None);
        }
        let entry = self.inner().offset_index.lookup(offset)?;
        let file = self.file()?;
        let found = self.first_reaching(&file, entry, offset, end)?;
        Ok(found.map(|Located { header, position }| Position {
            base_offset: header.base_offset,
            position,
            size_bytes: header.size_bytes(),
        }))
    }

    /// The headers from an offset index entry on, below byte `end`; from the beginning when no batch is where the entry says, or a later one.
    fn headers_from<'a>(&'a self, file: &'a File, (offset, position): (i64, u64), end: u64) -> Result<Headers<'a>, StorageError> {
        if position > 0 {
            let mut headers = Headers::new(file, self.path(), position, end);
            let is_right = |header: &BatchHeader| header.base_offset >= self.base_offset && header.last_offset() <= offset;
            if headers.peek()?.is_some_and(|located| is_right(&located.header)) {
                return Ok(headers);
            }
            tracing::debug!(path = %self.path().display(), position, offset, "an index entry is wrong, or its batch is being cut off");
        }
        Ok(Headers::new(file, self.path(), 0, end))
    }

    /// The first batch from `entry` on whose last offset is at least `offset`.
    fn first_reaching(&self, file: &File, entry: (i64, u64), offset: i64, end: u64) -> Result<Option<Located>, StorageError> {
        let mut headers = self.headers_from(file, entry, end)?;
        while let Some(located) = headers.next()? {
            if located.header.last_offset() >= offset {
                return Ok(Some(located));
            }
        }
        Ok(None)
    }

    /// Does the batch of a time index entry have its timestamp?
    fn is_true(&self, inner: &mut Inner, entry: TimestampOffset) -> Result<bool, StorageError> {
        let from = inner.offset_index.lookup(entry.offset)?;
        let found = self.first_reaching(&*self.file()?, from, entry.offset, self.size_bytes())?;
        let is_it = |header: BatchHeader| header.base_offset <= entry.offset && header.max_timestamp == entry.timestamp;
        Ok(found.is_some_and(|located| is_it(located.header)))
    }

    /// Takes the largest timestamp from the last entry of the time index, if that is true, or else from the batches.
    fn know_max_timestamp(&self, inner: &mut Inner) -> Result<(), StorageError> {
        if inner.max_timestamp.is_some() {
            return Ok(());
        }
        let mut max = inner.time_index.last()?;
        let size = self.size_bytes();
        let is_empty = inner.time_index.file.len() == 0;
        if !is_empty && size > 0 && !self.is_true(inner, max)? {
            tracing::warn!(path = %inner.time_index.file.path().display(), "the last entry is not true; looking for the largest timestamp");
            max = TimestampOffset { timestamp: -1, offset: self.base_offset };
            let file = self.file()?;
            let mut headers = Headers::new(&file, self.path(), 0, size);
            while let Some(Located { header, .. }) = headers.next()? {
                if header.max_timestamp > max.timestamp {
                    max = TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
                }
            }
        }
        inner.max_timestamp = Some(max);
        Ok(())
    }

    /// The offset of the first index entry at or after a byte; None beyond the last.
    pub(super) fn offset_after_position(&self, position: u64) -> Result<Option<i64>, StorageError> {
        self.inner().offset_index.upper_bound(position)
    }

    /// The offset after the last batch.
    pub(super) fn read_next_offset(&self) -> Result<i64, StorageError> {
        self.read_end().map(|(next_offset, _)| next_offset)
    }

    /// The offset after the last batch, and the byte after it: the segment's size, unless something there is no batch.
    pub(super) fn read_end(&self) -> Result<(i64, u64), StorageError> {
        let size = self.size_bytes();
        if size == 0 {
            return Ok((self.base_offset, 0));
        }
        let last = self.inner().offset_index.last()?;
        let file = self.file()?;
        let (mut next_offset, mut end) = (self.base_offset, 0);
        let mut headers = self.headers_from(&file, last, size)?;
        while let Some(Located { header, position }) = headers.next()? {
            (next_offset, end) = (header.next_offset(), position + header.size_bytes() as u64);
        }
        Ok((next_offset, end))
    }

    /// The first record at or after `starting_offset` whose timestamp is at least `timestamp`: its timestamp, offset and leader epoch.
    pub(super) fn find_offset_by_timestamp(&self, timestamp: i64, starting_offset: i64) -> Result<Option<(i64, i64, i32)>, StorageError> {
        let from = {
            let mut inner = self.inner();
            let entry = inner.time_index.lookup(timestamp)?;
            let floor = if entry.timestamp >= 0 && self.is_true(&mut inner, entry)? { entry.offset } else { self.base_offset };
            inner.offset_index.lookup(floor.max(starting_offset))?
        };
        self.find_record(from, |header| header.max_timestamp >= timestamp, |at, offset| at >= timestamp && offset >= starting_offset)
    }

    /// The first record that has the segment's largest timestamp, as [`Segment::find_offset_by_timestamp`].
    pub(super) fn find_max_timestamp(&self) -> Result<Option<(i64, i64, i32)>, StorageError> {
        let (max, from) = {
            let mut inner = self.inner();
            self.know_max_timestamp(&mut inner)?;
            let max = inner.max_timestamp()?;
            (max.timestamp, inner.offset_index.lookup(max.offset)?)
        };
        self.find_record(from, |header| header.max_timestamp == max, |at, _| at == max)
    }

    fn find_record(
        &self,
        from: (i64, u64),
        in_batch: impl Fn(&BatchHeader) -> bool,
        is_it: impl Fn(i64, i64) -> bool,
    ) -> Result<Option<(i64, i64, i32)>, StorageError> {
        let size = self.size_bytes();
        if size == 0 {
            return Ok(None);
        }
        let file = self.file()?;
        let mut headers = self.headers_from(&file, from, size)?;
        while let Some(Located { header, position }) = headers.next()? {
            if !in_batch(&header) {
                continue;
            }
            let mut batches = WholeBatches::new(&file, self.path(), position, size);
            let Some(Ok(batch)) = batches.next()? else { break };
            // An unreadable record ends the search in its batch, as if it held no such record.
            let mut summaries = batch.summaries(Default::default()).map_while(Result::ok);
            if let Some(record) = summaries.find(|record| is_it(record.timestamp, record.offset)) {
                return Ok(Some((record.timestamp, record.offset, header.partition_leader_epoch)));
            }
        }
        Ok(None)
    }

    /// The largest timestamp, -1 when there is none.
    pub(super) fn max_timestamp(&self) -> Result<i64, StorageError> {
        let mut inner = self.inner();
        self.know_max_timestamp(&mut inner)?;
        Ok(inner.max_timestamp()?.timestamp)
    }

    /// The largest timestamp, or when the file was changed last.
    pub(super) fn largest_timestamp(&self) -> Result<i64, StorageError> {
        match self.max_timestamp()? {
            timestamp @ 0.. => Ok(timestamp),
            _ if !self.is_created() => Ok(self.inner().created_ms),
            _ => fs::modified_ms(self.path()),
        }
    }

    /// Calls `visit` with the header of each whole batch from byte `from` on, and with the batch itself when it is a control batch, until it
    /// gives false.
    pub(super) fn visit_headers(
        &self,
        from: u64,
        mut visit: impl FnMut(&BatchHeader, Option<&BatchView<'_>>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let size = self.size_bytes();
        let file = self.file()?;
        let mut headers = Headers::new(&file, self.path(), from, size);
        while let Some(Located { header, position }) = headers.next()? {
            let goes_on = if header.is_control() {
                match WholeBatches::new(&file, self.path(), position, position + header.size_bytes() as u64).next()? {
                    Some(Ok(batch)) => visit(&header, Some(&batch))?,
                    _ => return Ok(()),
                }
            } else {
                visit(&header, None)?
            };
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Calls `visit` with each batch in `[from, to)`, also with what is no whole batch, where the walk ends, until it gives false.
    pub(super) fn visit_whole_batches<E: From<StorageError>>(
        &self,
        from: u64,
        to: u64,
        mut visit: impl FnMut(Result<BatchView<'_>, BatchError>, u64) -> Result<bool, E>,
    ) -> Result<(), E> {
        if from >= to {
            return Ok(());
        }
        let file = self.file()?;
        let mut batches = WholeBatches::new(&file, self.path(), from, to);
        loop {
            let position = batches.position();
            let Some(batch) = batches.next()? else { return Ok(()) };
            let is_last = batch.is_err();
            if !visit(batch, position)? || is_last {
                return Ok(());
            }
        }
    }

    /// Sizes of the offset index and the time index.
    pub(super) fn index_sizes_bytes(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.offset_index.file.size_bytes(), inner.time_index.file.size_bytes())
    }

    /// Notes where the leader epochs of its batches begin.
    pub(super) fn collect_epochs(&self, epochs: &mut LeaderEpochs) -> Result<(), StorageError> {
        let size = self.size_bytes();
        if size == 0 {
            return Ok(());
        }
        let file = self.file()?;
        let mut headers = Headers::new(&file, self.path(), 0, size);
        while let Some(Located { header, .. }) = headers.next()? {
            if epochs.latest().is_none_or(|(latest, _)| header.partition_leader_epoch > latest) {
                epochs.assign(header.partition_leader_epoch, header.base_offset);
            }
        }
        Ok(())
    }

    /// Reads the whole segment, cuts it at the first batch that is not whole and valid, rebuilds its indexes, and brings `producers` and
    /// `epochs` up to its end; the size of each batch is told to `read`. False: a batch that was taken turned out to be wrong and is cut off
    /// too, so that what was built is not right; to be done again with the same `producers` as before.
    ///
    /// No checksum covers a batch's base offset. One that begins later than it should and reaches into the next is the wrong one of the two.
    pub(super) fn recover(
        &self,
        producers: &mut ProducerState,
        epochs: &mut LeaderEpochs,
        read: &dyn Fn(u64),
    ) -> Result<bool, StorageError> {
        let size = self.size_bytes();
        let file = self.file()?;
        self.refuse_old_messages(&file, size)?;
        let mut inner = self.inner();
        inner.offset_index.file.reset()?;
        inner.time_index.reset()?;
        inner.txn_index.reset()?;
        inner.max_timestamp = None;
        inner.first_batch_timestamp = None;
        inner.bytes_since_last_index_entry = 0;
        let mut batches = WholeBatches::new(&file, self.path(), 0, size);
        let mut next_offset = self.base_offset;
        // Where the batch before begins, if offsets are missing before it.
        let mut late = None;
        let mut is_right = true;
        let valid = loop {
            let position = batches.position();
            let batch = match batches.next()? {
                None => break position,
                Some(batch) => batch.and_then(|batch| self.check_recovered(&batch, next_offset).map(|()| batch)),
            };
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    let overlaps = matches!(error, BatchError::InvalidBatch(_));
                    let position = if overlaps && let Some(late) = late { late } else { position };
                    is_right = !(overlaps && late.is_some());
                    tracing::warn!(path = %self.path().display(), position, %error, "found an invalid batch; the log is cut here");
                    break position;
                }
            };
            let header = batch.header();
            late = (header.base_offset > next_offset).then_some(position);
            inner.note_batch(header, position, self.index_interval_bytes)?;
            if epochs.latest().is_none_or(|(latest, _)| header.partition_leader_epoch > latest) {
                epochs.assign(header.partition_leader_epoch, header.base_offset);
            }
            if let Some(producer_batch) = producer_batch(header, || end_txn_marker(&batch)) {
                let mut append = producers.prepare_update(producer_batch.producer_id);
                // A replica takes what its leader has accepted, so only an impossible transaction state is left to refuse.
                if let Ok(completed) = append.append(&producer_batch, AppendOrigin::Replication, producers.topic_partition()) {
                    producers.update(append);
                    if let Some(completed) = completed {
                        if completed.is_aborted {
                            let CompletedTxn { producer_id, first_offset, last_offset, .. } = completed;
                            let last_stable_offset = producers.last_stable_offset_after(&completed);
                            inner.txn_index.append(AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset })?;
                        }
                        producers.complete_txn(&completed);
                    }
                }
            }
            producers.set_map_end_offset(header.next_offset());
            next_offset = header.next_offset();
            read(header.size_bytes() as u64);
        };
        if valid < size {
            fs::set_len(&file, self.path(), valid)?;
            // The end may be that of the last flush, and then no other follows.
            fs::sync(&file, self.path())?;
            self.size.store(valid, Ordering::Release);
        }
        let max_timestamp = inner.max_timestamp()?;
        inner.time_index.maybe_append(max_timestamp)?;
        inner.offset_index.file.write_out()?;
        inner.time_index.file.write_out()?;
        Ok(is_right)
    }

    /// What Apache Kafka before 0.11 wrote is not torn: to cut it would be to lose it. Such messages come before all others, and their
    /// checksum tells them from damage.
    fn refuse_old_messages(&self, file: &File, size: u64) -> Result<(), StorageError> {
        const MOST_BYTES: u64 = 256 << 20;
        let path = self.path();
        let mut begin = [0; HEADER_SIZE_UP_TO_MAGIC];
        if fs::read_at(file, path, &mut begin, 0)? < begin.len() || begin[HEADER_SIZE_UP_TO_MAGIC - 1] > 1 {
            return Ok(());
        }
        match LogFile::open(path)?.batches(0, size.min(MOST_BYTES)).next_entry() {
            Ok(Some(LogEntry::Message(message))) if message.is_valid => {
                let reason = format!(
                    "holds messages of the format before Kafka 0.11 (magic {}), which cannot be recovered here after an unclean stop; \
                     it is left as it is",
                    message.magic
                );
                Err(StorageError::new(path, std::io::Error::other(reason)))
            }
            Err(InspectError::Storage(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn check_recovered(&self, batch: &BatchView<'_>, next_offset: i64) -> Result<(), BatchError> {
        batch.verify_crc()?;
        let header = batch.header();
        let ascending = header.base_offset >= next_offset && header.last_offset() >= header.base_offset;
        if ascending && self.is_relative(header.last_offset()) {
            Ok(())
        } else {
            let (first, last) = (header.base_offset, header.last_offset());
            Err(BatchError::InvalidBatch(format!("offsets {first} to {last} do not follow {next_offset}")))
        }
    }

    /// Cuts everything from `offset` on, beginning with the batch that holds it.
    pub(super) fn truncate_to(&self, offset: i64, now_ms: i64) -> Result<(), StorageError> {
        let mapping = self.translate_offset(offset, self.size_bytes())?;
        let file = self.file()?;
        let mut inner = self.inner();
        inner.offset_index.truncate_to(offset)?;
        inner.time_index.truncate_to(offset)?;
        inner.txn_index.truncate_to(offset)?;
        if let Some(mapping) = mapping {
            self.size.store(mapping.position, Ordering::Release);
            fs::set_len(&file, self.path(), mapping.position)?;
        }
        let size = self.size_bytes();
        if size == 0 {
            inner.created_ms = now_ms;
            inner.first_batch_timestamp = None;
        }
        inner.bytes_since_last_index_entry = 0;
        // The largest timestamp may have been cut off: take the last index entry's, or a larger one from the batches after it.
        let mut max = inner.time_index.last()?;
        let mut headers = self.headers_from(&file, inner.offset_index.lookup(max.offset)?, size)?;
        while let Some(Located { header, .. }) = headers.next()? {
            if header.max_timestamp > max.timestamp {
                max = TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
            }
        }
        inner.max_timestamp = Some(max);
        Ok(())
    }

    /// The last entry of the time index, and the index files complete on disk: before the next segment begins, and at a clean stop.
    pub(super) fn on_become_inactive(&self) -> Result<(), StorageError> {
        let mut inner = self.inner();
        self.know_max_timestamp(&mut inner)?;
        let max_timestamp = inner.max_timestamp()?;
        inner.time_index.maybe_append(max_timestamp)?;
        inner.offset_index.file.write_out()?;
        inner.time_index.file.write_out()?;
        inner.txn_index.file.write_out()
    }

    /// Has a file got its name since this was asked last? The directory is to be synced then.
    pub(super) fn take_has_new_name(&self) -> bool {
        self.inner().txn_index.take_has_new_name()
    }

    /// fsync of the log and then its indexes. When there is no space for these the log is synced all the same.
    pub(super) fn flush(&self) -> Result<(), StorageError> {
        let file = self.file()?;
        fs::sync(&file, self.path())?;
        let mut inner = self.inner();
        inner.offset_index.file.flush()?;
        inner.time_index.file.flush()?;
        inner.txn_index.file.flush()
    }

    /// Does the transaction index belong to this segment, and are the others there and well-formed? Else they are rebuilt.
    pub(super) fn indexes_are_sane(&self) -> Result<bool, StorageError> {
        let mut inner = self.inner();
        let index_size = fs::size(inner.offset_index.file.path())?;
        let time_index_size = fs::size(inner.time_index.file.path())?;
        let (Some(index_size), Some(time_index_size)) = (index_size, time_index_size) else { return Ok(false) };
        // A preallocated index ends with entries of zeroes, which lie before its first one.
        let sane = index_size % 8 == 0
            && time_index_size % 12 == 0
            && (index_size == 0 || inner.offset_index.last()?.0 > self.base_offset)
            && inner.offset_index.last()?.1 < self.size_bytes().max(1)
            && (time_index_size == 0 || inner.time_index.last()?.timestamp > 0 || time_index_size == 12);
        Ok(sane && self.txn_index_is_sane(&mut inner)?)
    }

    /// Do the indexes tell of nothing from `end` on? If so the largest timestamp is looked for behind them, because an unclean stop has not
    /// entered it.
    pub(super) fn indexes_end_below(&self, end: i64) -> Result<bool, StorageError> {
        let size = self.size_bytes();
        let mut inner = self.inner();
        let time_is_below = inner.time_index.file.len() == 0 || inner.time_index.last()?.offset < end;
        if !time_is_below || inner.offset_index.last()?.0 >= end {
            return Ok(false);
        }
        for n in 0..inner.txn_index.file.len() {
            if inner.txn_index.entry(n)?.last_offset >= end {
                return Ok(false);
            }
        }
        self.know_max_timestamp(&mut inner)?;
        let mut max = inner.max_timestamp()?;
        let file = self.file()?;
        let mut headers = self.headers_from(&file, inner.offset_index.lookup(max.offset)?, size)?;
        while let Some(Located { header, .. }) = headers.next()? {
            if header.max_timestamp > max.timestamp {
                max = TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
            }
        }
        inner.max_timestamp = Some(max);
        Ok(true)
    }

    /// Nothing else says which transactions were aborted, so each entry is held against its marker, and its first batch where that is here.
    fn txn_index_is_sane(&self, inner: &mut Inner) -> Result<bool, StorageError> {
        if inner.txn_index.file.len() == 0 {
            return Ok(true);
        }
        if !inner.txn_index.is_sane()? {
            return Ok(false);
        }
        let (file, size) = (self.file()?, self.size_bytes());
        for n in 0..inner.txn_index.file.len() {
            let txn = inner.txn_index.entry(n)?;
            let mut batch_at = |offset| {
                let from = inner.offset_index.lookup(offset)?;
                self.first_reaching(&file, from, offset, size).map(|found| found.map(|located| located.header))
            };
            let is_of_it = |header: &BatchHeader| header.producer_id == txn.producer_id && header.is_transactional();
            let marker = batch_at(txn.last_offset)?;
            if !marker.is_some_and(|header| header.base_offset <= txn.last_offset && header.is_control() && is_of_it(&header)) {
                return Ok(false);
            }
            // Compaction may have taken the first batch away.
            let is_first = |header: BatchHeader| {
                header.base_offset > txn.first_offset || (header.base_offset == txn.first_offset && is_of_it(&header))
            };
            if txn.first_offset >= self.base_offset && !batch_at(txn.first_offset)?.is_some_and(is_first) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Renames the files to `.deleted` and gives their new paths, for unlinking later. Readers that hold the segment can finish.
    pub(super) fn mark_deleted(&self) -> Result<Vec<PathBuf>, StorageError> {
        self.rename_files(|path| fs::with_suffix(path, DELETED_SUFFIX))
    }

    /// Renames the files; those who use them must hold this segment. Gives the new paths.
    pub(super) fn rename_files(&self, rename: impl Fn(&Path) -> PathBuf) -> Result<Vec<PathBuf>, StorageError> {
        if !self.is_created() {
            return Ok(Vec::new());
        }
        self.pin_files()?;
        let inner = self.inner();
        let mut paths = vec![self.path().to_owned(), inner.offset_index.file.path().to_owned(), inner.time_index.file.path().to_owned()];
        if fs::exists(inner.txn_index.file.path()) {
            paths.push(inner.txn_index.file.path().to_owned());
        }
        for path in &mut paths {
            let renamed = rename(path);
            fs::rename_unsynced(path, &renamed)?;
            *path = renamed;
        }
        if let Some(dir) = self.path().parent() {
            fs::sync_dir(dir)?;
        }
        Ok(paths)
    }
}
