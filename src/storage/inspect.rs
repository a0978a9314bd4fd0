//! The files of a log, one by one, for those who look at them from outside: `kafka-dump-log`, `ottla check`.
//!
//! Everything here only reads, takes no lock and trusts nothing, so it works on damaged files and on a directory that a broker is using:
//! a file ends for its reader where it ended when it was opened.
//! Sources: `FileLogInputStream`, `OffsetIndex`, `TimeIndex`, `TransactionIndex`; the texts of [`InspectError::Corrupt`] are theirs.
//!
//! Invariant: no more memory than the largest batch that is asked for.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::protocol::batch::{BATCH_OVERHEAD, BatchError, BatchHeader, BatchView, HEADER_SIZE_UP_TO_MAGIC, LOG_OVERHEAD};

use super::errors::StorageError;
use super::fs;
pub use super::old_message::OldMessage;
pub use super::producer_state::{SnapshotProblem, SnapshotProducer, snapshot_producers};
use super::scan::Window;

const CHUNK: usize = 256 * 1024;
/// The smallest length field of any message format.
const SMALLEST_LENGTH: i32 = 14;
const MAGIC: usize = 16;
/// Where the bytes begin that a batch's checksum covers.
const CHECKED_FROM: u64 = 21;

/// Why a file cannot be read on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{0}")]
    Corrupt(String),
    #[error("{path} at position {position}: {source}", path = path.display())]
    Batch { path: PathBuf, position: u64, source: BatchError },
}

/// A `.log` or `.checkpoint` file.
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl LogFile {
    pub fn open(path: &Path) -> Result<LogFile, StorageError> {
        let file = fs::open(path)?;
        let size = file.metadata().map_err(|error| StorageError::new(path, error))?.len();
        Ok(LogFile { path: path.to_owned(), file, size })
    }

    /// Bytes of the file when it was opened.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// The batches that lie whole within `[from, end)`.
    pub fn batches(&self, from: u64, end: u64) -> LogBatches<'_> {
        let end = end.min(self.size);
        LogBatches { path: &self.path, window: Window::new(&self.file, &self.path, end, CHUNK), position: from, end }
    }
}

/// Walks from batch to batch.
pub struct LogBatches<'a> {
    path: &'a Path,
    window: Window<'a>,
    position: u64,
    end: u64,
}

/// A batch's header and where it is. Nothing in it has been checked but that the file holds as many bytes.
#[derive(Clone, Copy, Debug)]
pub struct LogBatch {
    pub position: u64,
    /// Bytes of the whole batch.
    pub size_bytes: u64,
    pub magic: i8,
    pub header: BatchHeader,
}

/// What stands in a log file.
pub enum LogEntry {
    Batch(LogBatch),
    /// Of a format before Kafka 0.11.
    Message(OldMessage),
}

impl LogBatches<'_> {
    /// Where the next batch begins: the end of what is readable, once there is none.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next batch; None where no whole one follows. An error, also for a message of an old format, leaves the position where it is.
    pub fn next_batch(&mut self) -> Result<Option<LogBatch>, InspectError> {
        let position = self.position;
        match self.next_entry()? {
            Some(LogEntry::Batch(batch)) => Ok(Some(batch)),
            Some(LogEntry::Message(message)) => {
                self.position = position;
                let source = BatchError::OldMagic { position: 0, magic: message.magic };
                Err(InspectError::Batch { path: self.path.to_owned(), position, source })
            }
            None => Ok(None),
        }
    }

    /// As [`LogBatches::next_batch`], but messages of old formats are no error.
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, InspectError> {
        let position = self.position;
        if position + HEADER_SIZE_UP_TO_MAGIC as u64 >= self.end {
            return Ok(None);
        }
        let bytes = self.window.bytes(position, HEADER_SIZE_UP_TO_MAGIC)?;
        // Shorter than when it was opened: someone cuts it.
        let Some(prefix) = bytes.first_chunk::<HEADER_SIZE_UP_TO_MAGIC>() else { return Ok(None) };
        let length = i32::from_be_bytes(prefix[8..12].try_into().expect("four bytes"));
        if length < SMALLEST_LENGTH {
            return Err(InspectError::Corrupt(format!(
                "Found record size {length} smaller than minimum record overhead ({SMALLEST_LENGTH}) in file {}.",
                self.path.display()
            )));
        }
        let size_bytes = LOG_OVERHEAD as u64 + length as u64;
        if position + size_bytes > self.end {
            return Ok(None);
        }
        let magic = prefix[MAGIC] as i8;
        if magic < 2 {
            let size = usize::try_from(size_bytes).unwrap_or(usize::MAX);
            let bytes = Bytes::copy_from_slice(self.window.bytes(position, size)?);
            let message = OldMessage::parse(&bytes).map_err(|reason| {
                InspectError::Corrupt(format!("the message at position {position} of {} is invalid: {reason}", self.path.display()))
            })?;
            self.position += size_bytes;
            return Ok(Some(LogEntry::Message(message)));
        }
        let Some(mut bytes) = self.window.bytes(position, BATCH_OVERHEAD)?.first_chunk::<BATCH_OVERHEAD>().copied() else {
            return Err(InspectError::Corrupt(format!(
                "Failed to load record batch header at position {position} of {}",
                self.path.display()
            )));
        };
        // Neither a later magic nor a length that is too small keeps the other fields from being shown.
        bytes[MAGIC] = 2;
        bytes[8..12].copy_from_slice(&length.max((BATCH_OVERHEAD - LOG_OVERHEAD) as i32).to_be_bytes());
        let mut header =
            BatchHeader::parse(&bytes).map_err(|source| InspectError::Batch { path: self.path.to_owned(), position, source })?;
        header.length = length;
        self.position += size_bytes;
        Ok(Some(LogEntry::Batch(LogBatch { position, size_bytes, magic, header })))
    }

    /// Is the batch long enough, and its checksum that of its bytes?
    pub fn is_valid(&mut self, batch: &LogBatch) -> Result<bool, StorageError> {
        if batch.size_bytes < BATCH_OVERHEAD as u64 {
            return Ok(false);
        }
        let end = batch.position + batch.size_bytes;
        let mut position = batch.position + CHECKED_FROM;
        let mut crc = 0;
        while position < end {
            let piece = self.window.bytes(position, usize::try_from(end - position).unwrap_or(CHUNK).min(CHUNK))?;
            if piece.is_empty() {
                return Ok(false);
            }
            crc = crc32c::crc32c_append(crc, piece);
            position += piece.len() as u64;
        }
        Ok(crc == batch.header.crc)
    }

    /// The bytes of a batch, as one of magic 2 whatever its magic says.
    pub fn bytes(&mut self, batch: &LogBatch) -> Result<Vec<u8>, InspectError> {
        let failed = |source| InspectError::Batch { path: self.path.to_owned(), position: batch.position, source };
        let too_large = || failed(BatchError::TooLarge { limit: isize::MAX as u64 });
        let size = usize::try_from(batch.size_bytes).map_err(|_| too_large())?;
        let mut bytes = self.window.bytes(batch.position, size)?.to_vec();
        if let Some(magic) = bytes.get_mut(MAGIC) {
            *magic = 2;
        }
        BatchView::parse(&bytes).map_err(failed)?;
        Ok(bytes)
    }
}

/// A file of fixed-size entries, read from front to back or at random.
struct Entries<const SIZE: usize> {
    path: PathBuf,
    file: File,
    size: u64,
    /// Entries from this one on are in `buffer`.
    first: u64,
    buffer: Vec<u8>,
}

impl<const SIZE: usize> Entries<SIZE> {
    fn open(path: &Path) -> Result<Entries<SIZE>, StorageError> {
        let LogFile { path, file, size } = LogFile::open(path)?;
        Ok(Entries { path, file, size, first: 0, buffer: Vec::new() })
    }

    fn len(&self) -> u64 {
        self.size / SIZE as u64
    }

    /// Entry `n`; zeroes where the file has become shorter.
    fn entry(&mut self, n: u64) -> Result<[u8; SIZE], StorageError> {
        let held = (self.buffer.len() / SIZE) as u64;
        if n < self.first || n >= self.first + held {
            let left = usize::try_from(self.size.saturating_sub(n * SIZE as u64)).unwrap_or(usize::MAX);
            self.buffer.resize((SIZE * 1024).min(left).max(SIZE), 0);
            let read = fs::read_at(&self.file, &self.path, &mut self.buffer, n * SIZE as u64)?;
            self.buffer.truncate((read - read % SIZE).max(SIZE));
            if read < SIZE {
                self.buffer.fill(0);
            }
            self.first = n;
        }
        let at = (n - self.first) as usize * SIZE;
        Ok(self.buffer[at..at + SIZE].try_into().expect("a whole entry"))
    }

    /// Forgets the zeroes after the last entry, if the file ends with such.
    fn trim_padding(&mut self) -> Result<(), StorageError> {
        let is_padding = |entry: &[u8; SIZE]| *entry == [0; SIZE];
        if let Some(last) = self.len().checked_sub(1)
            && is_padding(&self.entry(last)?)
        {
            self.size = self.partition_point(|entry| !is_padding(entry))? * SIZE as u64;
        }
        Ok(())
    }

    /// How many entries at the front satisfy `pred`, which holds for a prefix of them.
    fn partition_point(&mut self, pred: impl Fn(&[u8; SIZE]) -> bool) -> Result<u64, StorageError> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if pred(&self.entry(middle)?) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// An `.index` file.
pub struct OffsetIndexFile {
    base_offset: i64,
    entries: Entries<8>,
}

/// An entry of an offset index: the last offset of a batch and where in the file the batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetPosition {
    pub offset: i64,
    /// Negative only when the file is damaged.
    pub position: i32,
}

impl OffsetIndexFile {
    pub fn open(path: &Path, base_offset: i64) -> Result<OffsetIndexFile, StorageError> {
        Ok(OffsetIndexFile { base_offset, entries: Entries::open(path)? })
    }

    /// Leaves out the zeroes that Kafka puts after the last entry of an index that it is still writing (or was, when it was killed).
    pub fn trim_padding(&mut self) -> Result<(), StorageError> {
        self.entries.trim_padding()
    }

    pub fn len(&self) -> u64 {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entry `n`, which must be below [`OffsetIndexFile::len`].
    pub fn entry(&mut self, n: u64) -> Result<OffsetPosition, StorageError> {
        let bytes = self.entries.entry(n)?;
        Ok(OffsetPosition { offset: self.base_offset.wrapping_add(i64::from(i32_at(&bytes, 0))), position: i32_at(&bytes, 4) })
    }

    /// The last entry that is not above `offset`; the beginning of the log when there is none.
    pub fn lookup(&mut self, offset: i64) -> Result<OffsetPosition, StorageError> {
        let base = self.base_offset;
        match self.entries.partition_point(|entry| base.wrapping_add(i64::from(i32_at(entry, 0))) <= offset)? {
            0 => Ok(OffsetPosition { offset: base, position: 0 }),
            n => self.entry(n - 1),
        }
    }

    /// What a broker asks of an index before it relies on it. Error: [`InspectError::Corrupt`].
    pub fn sanity_check(&mut self) -> Result<(), InspectError> {
        let path = absolute(&self.entries.path);
        if let Some(last) = self.len().checked_sub(1) {
            let (last, base) = (self.entry(last)?.offset, self.base_offset);
            if last < base {
                return Err(InspectError::Corrupt(format!(
                    "Corrupt index found, index file {path} has non-zero size but the last offset is {last} which is less than the base \
                     offset {base}"
                )));
            }
        }
        whole_entries::<8>("Index file", &path, self.entries.size)
    }
}

fn whole_entries<const SIZE: u64>(what: &str, path: &str, size: u64) -> Result<(), InspectError> {
    if size.is_multiple_of(SIZE) {
        return Ok(());
    }
    Err(InspectError::Corrupt(format!("{what} {path} is corrupt, found {size} bytes which is neither positive nor a multiple of {SIZE}")))
}

/// A `.timeindex` file.
pub struct TimeIndexFile {
    base_offset: i64,
    entries: Entries<12>,
}

/// An entry of a time index: the largest timestamp so far, and the last offset of the batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    pub offset: i64,
}

impl TimeIndexFile {
    pub fn open(path: &Path, base_offset: i64) -> Result<TimeIndexFile, StorageError> {
        Ok(TimeIndexFile { base_offset, entries: Entries::open(path)? })
    }

    /// Leaves out the zeroes that Kafka puts after the last entry of an index that it is still writing (or was, when it was killed).
    pub fn trim_padding(&mut self) -> Result<(), StorageError> {
        self.entries.trim_padding()
    }

    pub fn len(&self) -> u64 {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entry `n`, which must be below [`TimeIndexFile::len`].
    pub fn entry(&mut self, n: u64) -> Result<TimestampOffset, StorageError> {
        let bytes = self.entries.entry(n)?;
        Ok(TimestampOffset { timestamp: i64_at(&bytes, 0), offset: self.base_offset.wrapping_add(i64::from(i32_at(&bytes, 8))) })
    }

    /// As [`OffsetIndexFile::sanity_check`].
    pub fn sanity_check(&mut self) -> Result<(), InspectError> {
        let path = absolute(&self.entries.path);
        let corrupt = |what: String| {
            InspectError::Corrupt(format!("Corrupt time index found, time index file ({path}) has non-zero size but the last {what}"))
        };
        if let Some(last) = self.len().checked_sub(1) {
            let (first, last, base) = (self.entry(0)?, self.entry(last)?, self.base_offset);
            if last.timestamp < first.timestamp {
                let (last, first) = (last.timestamp, first.timestamp);
                return Err(corrupt(format!("timestamp is {last} which is less than the first timestamp {first}")));
            }
            if last.offset < base {
                return Err(corrupt(format!("offset is {} which is less than the first offset {base}", last.offset)));
            }
        }
        whole_entries::<12>("Time index file", &path, self.entries.size)
    }
}

/// A `.txnindex` file.
pub struct TxnIndexFile {
    entries: Entries<34>,
}

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub version: i16,
    pub producer_id: i64,
    pub first_offset: i64,
    /// Of its marker.
    pub last_offset: i64,
    /// The log's, when the marker was appended.
    pub last_stable_offset: i64,
}

impl TxnIndexFile {
    pub fn open(path: &Path) -> Result<TxnIndexFile, StorageError> {
        Ok(TxnIndexFile { entries: Entries::open(path)? })
    }

    pub fn len(&self) -> u64 {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes after the last whole entry.
    pub fn trailing_bytes(&self) -> u64 {
        self.entries.size % 34
    }

    /// Entry `n`, which must be below [`TxnIndexFile::len`].
    pub fn entry(&mut self, n: u64) -> Result<AbortedTransaction, InspectError> {
        let bytes = self.entries.entry(n)?;
        let version = i16::from_be_bytes([bytes[0], bytes[1]]);
        if version > 0 {
            return Err(InspectError::Corrupt(format!(
                "Unexpected aborted transaction version {version} in transaction index {}, current version is 0",
                absolute(&self.entries.path)
            )));
        }
        Ok(AbortedTransaction {
            version,
            producer_id: i64_at(&bytes, 2),
            first_offset: i64_at(&bytes, 10),
            last_offset: i64_at(&bytes, 18),
            last_stable_offset: i64_at(&bytes, 26),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join(name);
        fs::write(&path, content).expect("written");
        (dir, path)
    }

    #[test]
    fn a_length_of_zero_is_named_with_its_file() {
        let (_dir, path) = written("00000000000000000000.log", &[0; 100]);
        let log = LogFile::open(&path).expect("opened");
        let error = log.batches(0, u64::MAX).next_batch().expect_err("no batch").to_string();
        assert_eq!(error, format!("Found record size 0 smaller than minimum record overhead (14) in file {}.", path.display()));
    }

    #[test]
    fn index_entries_are_found_and_checked() {
        let entries = [(3i32, 0i32), (7, 100), (9, 220)];
        let content: Vec<u8> =
            entries.iter().flat_map(|(offset, position)| [offset.to_be_bytes(), position.to_be_bytes()].concat()).collect();
        let (_dir, path) = written("00000000000000000010.index", &content);
        let mut index = OffsetIndexFile::open(&path, 10).expect("opened");
        assert_eq!(index.len(), 3);
        assert_eq!(index.entry(1).expect("read"), OffsetPosition { offset: 17, position: 100 });
        assert_eq!(index.lookup(12).expect("read"), OffsetPosition { offset: 10, position: 0 });
        assert_eq!(index.lookup(18).expect("read"), OffsetPosition { offset: 17, position: 100 });
        index.sanity_check().expect("sane");
        let (_dir, path) = written("00000000000000000010.index", &content[..23]);
        let error = OffsetIndexFile::open(&path, 10).expect("opened").sanity_check().expect_err("torn").to_string();
        assert!(error.ends_with("is corrupt, found 23 bytes which is neither positive nor a multiple of 8"), "{error}");
    }

    #[test]
    fn a_large_index_is_read_entry_by_entry() {
        let content: Vec<u8> = (0..5000i64).flat_map(|n| [&n.to_be_bytes()[..], &(n as i32).to_be_bytes()].concat()).collect();
        let (_dir, path) = written("00000000000000000000.timeindex", &content);
        let mut index = TimeIndexFile::open(&path, 0).expect("opened");
        for n in [0, 4999, 1023, 1024, 17] {
            assert_eq!(index.entry(n).expect("read"), TimestampOffset { timestamp: n as i64, offset: n as i64 });
        }
    }
}
