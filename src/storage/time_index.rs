//! `.timeindex`: where in a segment to begin looking for a timestamp. Source: `TimeIndex`.
//!
//! 12-byte entries: the largest timestamp so far (i64), the offset that has it minus the base offset (i32). Timestamps grow strictly.

use std::path::PathBuf;

use super::entry_file::EntryFile;
use super::errors::StorageError;

const ENTRY_SIZE: usize = 12;

/// The largest timestamp of a segment and the last offset of the batch that has it. No timestamp is -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimestampOffset {
    pub(super) timestamp: i64,
    pub(super) offset: i64,
}

pub(super) struct TimeIndex {
    base_offset: i64,
    max_entries: usize,
    last: Option<TimestampOffset>,
    pub(super) file: EntryFile<ENTRY_SIZE>,
}

impl TimeIndex {
    pub(super) fn new(path: PathBuf, base_offset: i64, max_bytes: i32, create: bool) -> Result<TimeIndex, StorageError> {
        let file = if create { EntryFile::create(path)? } else { EntryFile::existing(path)? };
        Ok(TimeIndex { base_offset, max_entries: max_bytes.max(0) as usize / ENTRY_SIZE, last: None, file })
    }

    pub(super) fn missing(path: PathBuf, base_offset: i64, max_bytes: i32) -> TimeIndex {
        let max_entries = max_bytes.max(0) as usize / ENTRY_SIZE;
        TimeIndex { base_offset, max_entries, last: None, file: EntryFile::missing(path) }
    }

    fn parse(&self, entry: &[u8; ENTRY_SIZE]) -> TimestampOffset {
        let relative = i32::from_be_bytes(entry[8..].try_into().expect("four bytes"));
        TimestampOffset { timestamp: timestamp(entry), offset: self.base_offset + i64::from(relative) }
    }

    /// One slot is kept for the entry that is added when the segment is rolled.
    pub(super) fn is_full(&self) -> bool {
        self.file.len() + 1 >= self.max_entries
    }

    /// The last entry; timestamp -1 at the base offset when there is none.
    pub(super) fn last(&mut self) -> Result<TimestampOffset, StorageError> {
        if let Some(last) = self.last {
            return Ok(last);
        }
        let last = match self.file.len() {
            0 => TimestampOffset { timestamp: -1, offset: self.base_offset },
            len => self.file.entry(len - 1).map(|entry| self.parse(&entry))?,
        };
        self.last = Some(last);
        Ok(last)
    }

    /// The last entry whose timestamp is at most `target`; timestamp -1 at the base offset when there is none.
    pub(super) fn lookup(&mut self, target: i64) -> Result<TimestampOffset, StorageError> {
        match self.file.partition_point(|entry| timestamp(entry) <= target)? {
            0 => Ok(TimestampOffset { timestamp: -1, offset: self.base_offset }),
            n => self.file.entry(n - 1).map(|entry| self.parse(&entry)),
        }
    }

    /// Adds an entry when its timestamp is above the last one's.
    pub(super) fn maybe_append(&mut self, new: TimestampOffset) -> Result<(), StorageError> {
        if new.timestamp <= self.last()?.timestamp {
            return Ok(());
        }
        let mut entry = [0; ENTRY_SIZE];
        entry[..8].copy_from_slice(&new.timestamp.to_be_bytes());
        entry[8..].copy_from_slice(&((new.offset - self.base_offset) as i32).to_be_bytes());
        self.last = Some(new);
        self.file.push(entry)
    }

    /// Drops the entries at or above `offset`.
    pub(super) fn truncate_to(&mut self, offset: i64) -> Result<(), StorageError> {
        let relative = offset - self.base_offset;
        let below = |entry: &[u8; ENTRY_SIZE]| i64::from(i32::from_be_bytes(entry[8..].try_into().expect("four bytes"))) < relative;
        let kept = self.file.partition_point(below)?;
        self.last = None;
        self.file.truncate(kept)
    }

    pub(super) fn reset(&mut self) -> Result<(), StorageError> {
        self.last = None;
        self.file.reset()
    }
}

fn timestamp(entry: &[u8; ENTRY_SIZE]) -> i64 {
    i64::from_be_bytes(entry[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timestamp: i64, offset: i64) -> TimestampOffset {
        TimestampOffset { timestamp, offset }
    }

    #[test]
    fn only_growing_timestamps_are_entered() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut index = TimeIndex::new(dir.path().join("x.timeindex"), 10, 1200, true).expect("created");
        assert_eq!(index.last().expect("read"), at(-1, 10));
        for entry in [at(100, 12), at(100, 14), at(90, 15), at(200, 16)] {
            index.maybe_append(entry).expect("appended");
        }
        assert_eq!(index.file.len(), 2);
        assert_eq!(index.lookup(99).expect("found"), at(-1, 10));
        assert_eq!(index.lookup(199).expect("found"), at(100, 12));
        assert_eq!(index.lookup(200).expect("found"), at(200, 16));
        index.truncate_to(16).expect("truncated");
        assert_eq!(index.last().expect("read"), at(100, 12));
    }
}
