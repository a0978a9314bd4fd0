//! `.index`: where in a segment to begin looking for an offset. Source: `OffsetIndex`.
//!
//! 8-byte entries: last offset of a batch minus the base offset (i32), position of that batch (i32). Both grow strictly.

use std::path::PathBuf;

use super::entry_file::EntryFile;
use super::errors::StorageError;

const ENTRY_SIZE: usize = 8;

pub(super) struct OffsetIndex {
    base_offset: i64,
    max_entries: usize,
    pub(super) file: EntryFile<ENTRY_SIZE>,
}

impl OffsetIndex {
    pub(super) fn new(path: PathBuf, base_offset: i64, max_bytes: i32, create: bool) -> Result<OffsetIndex, StorageError> {
        let file = if create { EntryFile::create(path)? } else { EntryFile::existing(path)? };
        Ok(OffsetIndex { base_offset, max_entries: max_bytes.max(0) as usize / ENTRY_SIZE, file })
    }

    pub(super) fn missing(path: PathBuf, base_offset: i64, max_bytes: i32) -> OffsetIndex {
        OffsetIndex { base_offset, max_entries: max_bytes.max(0) as usize / ENTRY_SIZE, file: EntryFile::missing(path) }
    }

    fn parse(&self, entry: &[u8; ENTRY_SIZE]) -> (i64, u64) {
        let (offset, position) = entry.split_at(4);
        let offset = i32::from_be_bytes(offset.try_into().expect("four bytes"));
        let position = u32::from_be_bytes(position.try_into().expect("four bytes"));
        (self.base_offset + i64::from(offset), u64::from(position))
    }

    pub(super) fn is_full(&self) -> bool {
        self.file.len() >= self.max_entries
    }

    /// The last entry: `(offset, position)`; `(base_offset, 0)` when there is none.
    pub(super) fn last(&mut self) -> Result<(i64, u64), StorageError> {
        match self.file.len() {
            0 => Ok((self.base_offset, 0)),
            len => self.file.entry(len - 1).map(|entry| self.parse(&entry)),
        }
    }

    /// Where to scan from for `offset`: the last entry not above it, or `(base_offset, 0)`.
    pub(super) fn lookup(&mut self, offset: i64) -> Result<(i64, u64), StorageError> {
        let relative = offset - self.base_offset;
        match self.file.partition_point(|entry| relative_offset(entry) <= relative)? {
            0 => Ok((self.base_offset, 0)),
            n => self.file.entry(n - 1).map(|entry| self.parse(&entry)),
        }
    }

    /// The offset of the first entry whose position is at least `position`.
    pub(super) fn upper_bound(&mut self, position: u64) -> Result<Option<i64>, StorageError> {
        let before = |entry: &[u8; ENTRY_SIZE]| u64::from(u32::from_be_bytes(entry[4..].try_into().expect("four bytes"))) < position;
        match self.file.partition_point(before)? {
            n if n == self.file.len() => Ok(None),
            n => self.file.entry(n).map(|entry| Some(self.parse(&entry).0)),
        }
    }

    /// Adds an entry; nothing happens when the last one is not below it (a segment being rebuilt from overlapping batches).
    pub(super) fn append(&mut self, offset: i64, position: u64) -> Result<(), StorageError> {
        if self.file.len() > 0 && offset <= self.last()?.0 {
            return Ok(());
        }
        let mut entry = [0; ENTRY_SIZE];
        entry[..4].copy_from_slice(&((offset - self.base_offset) as i32).to_be_bytes());
        entry[4..].copy_from_slice(&(position as u32).to_be_bytes());
        self.file.push(entry)
    }

    /// Drops the entries at or above `offset`.
    pub(super) fn truncate_to(&mut self, offset: i64) -> Result<(), StorageError> {
        let relative = offset - self.base_offset;
        let kept = self.file.partition_point(|entry| relative_offset(entry) < relative)?;
        self.file.truncate(kept)
    }
}

fn relative_offset(entry: &[u8; ENTRY_SIZE]) -> i64 {
    i64::from(i32::from_be_bytes(entry[..4].try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_gives_the_floor_entry() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut index = OffsetIndex::new(dir.path().join("x.index"), 100, 80, true).expect("created");
        assert_eq!((index.lookup(100).expect("found"), index.last().expect("read")), ((100, 0), (100, 0)));
        for n in 1..=10i64 {
            assert!(!index.is_full());
            index.append(100 + n * 10, n as u64 * 1000).expect("appended");
        }
        assert!(index.is_full());
        assert_eq!(index.lookup(109).expect("found"), (100, 0));
        assert_eq!(index.lookup(110).expect("found"), (110, 1000));
        assert_eq!(index.lookup(125).expect("found"), (120, 2000));
        assert_eq!(index.last().expect("read"), (200, 10_000));
        index.truncate_to(150).expect("truncated");
        assert_eq!(index.last().expect("read"), (140, 4000));
    }
}
