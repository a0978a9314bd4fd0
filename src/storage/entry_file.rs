//! A file of fixed-size entries that only grows or is cut: what the offset and time indexes are made of. Source: `AbstractIndex`.
//!
//! Entries are appended in memory and written out in runs; the newest stay in memory, because most lookups are near the end of the log.
//! An index that lost its last entries in a crash is rebuilt with its segment, so nothing here is synced before [`EntryFile::flush`].
//!
//! Invariant: what `flush` returned for is in the file, even if the descriptor was given back in between.
//!
//! Differs: Kafka maps a preallocated file into memory; here the file is as long as its entries. Both programs read both.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::errors::StorageError;
use super::fs;
use super::open_files::LazyFile;

/// Entries kept in memory after they were written.
const KEPT: usize = 256;
/// Unwritten entries that trigger a write.
const WRITE_AT: usize = 512;

pub(super) struct EntryFile<const SIZE: usize> {
    file: LazyFile,
    /// The file holds what a power cut could take. Known here because the descriptor may be given back before a sync.
    is_dirty: bool,
    /// Entries `[0, written)` are in the file.
    written: usize,
    /// Entries `[cached_from, len)` are in `cache`; `cached_from <= written`.
    cached_from: usize,
    cache: Vec<[u8; SIZE]>,
}

impl<const SIZE: usize> EntryFile<SIZE> {
    /// The file of a segment that exists already; it is opened at the first use.
    pub(super) fn existing(path: PathBuf) -> Result<EntryFile<SIZE>, StorageError> {
        let len = fs::size(&path)?.unwrap_or(0) as usize / SIZE;
        Ok(EntryFile { file: LazyFile::new(path), is_dirty: false, written: len, cached_from: len, cache: Vec::new() })
    }

    /// A file that is not there yet; [`EntryFile::ensure`] or the first entries create it.
    pub(super) fn missing(path: PathBuf) -> EntryFile<SIZE> {
        EntryFile { file: LazyFile::new(path), is_dirty: false, written: 0, cached_from: 0, cache: Vec::new() }
    }

    /// Creates the file if it is missing.
    pub(super) fn ensure(&mut self) -> Result<(), StorageError> {
        self.writable().map(|_| ())
    }

    /// The file, created when it is missing, and to be synced.
    fn writable(&mut self) -> Result<Arc<File>, StorageError> {
        self.is_dirty = true;
        self.file.open_or_create()
    }

    /// A new, empty file.
    pub(super) fn create(path: PathBuf) -> Result<EntryFile<SIZE>, StorageError> {
        let mut created = EntryFile::missing(path);
        fs::set_len(&*created.writable()?, created.path(), 0)?;
        Ok(created)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn len(&self) -> usize {
        self.cached_from + self.cache.len()
    }

    /// Bytes of all entries.
    pub(super) fn size_bytes(&self) -> u64 {
        (self.len() * SIZE) as u64
    }

    /// Opens the file for good, so that it stays readable after it was renamed.
    pub(super) fn pin(&self) -> Result<(), StorageError> {
        self.file.pin()
    }

    /// Gives the descriptor and the cached entries back; only for a file that is written out.
    pub(super) fn release(&mut self) {
        if self.written == self.len() {
            self.cached_from = self.written;
            self.cache = Vec::new();
            self.file.close();
        }
    }

    /// Entry `n`, which must exist.
    pub(super) fn entry(&mut self, n: usize) -> Result<[u8; SIZE], StorageError> {
        debug_assert!(n < self.len());
        if n >= self.cached_from {
            return Ok(self.cache[n - self.cached_from]);
        }
        let mut entry = [0; SIZE];
        // A short read means that someone cut the file below us; zeroes then read as an entry before all others, and the scan
        // that follows every lookup starts at the beginning of the segment.
        fs::read_at(&*self.file.open()?, self.path(), &mut entry, (n * SIZE) as u64)?;
        Ok(entry)
    }

    /// How many entries at the front satisfy `pred`, which holds for a prefix of them.
    pub(super) fn partition_point(&mut self, pred: impl Fn(&[u8; SIZE]) -> bool) -> Result<usize, StorageError> {
        if let Some(first) = self.cache.first()
            && pred(first)
        {
            return Ok(self.cached_from + self.cache.partition_point(pred));
        }
        let (mut low, mut high) = (0, self.cached_from);
        while low < high {
            let middle = low + (high - low) / 2;
            if pred(&self.entry(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    pub(super) fn push(&mut self, entry: [u8; SIZE]) -> Result<(), StorageError> {
        self.cache.push(entry);
        match self.len() - self.written >= WRITE_AT {
            true => self.write_out_if_there_is_space(),
            false => Ok(()),
        }
    }

    /// Keeps the first `len` entries.
    pub(super) fn truncate(&mut self, len: usize) -> Result<(), StorageError> {
        if len >= self.len() {
            return Ok(());
        }
        if len <= self.cached_from {
            self.cached_from = len;
            self.cache.clear();
        } else {
            self.cache.truncate(len - self.cached_from);
        }
        if len < self.written {
            fs::set_len(&*self.writable()?, self.path(), (len * SIZE) as u64)?;
            self.written = len;
        }
        Ok(())
    }

    /// Empties the file whatever its length is (it may be preallocated, or not a multiple of the entry size).
    pub(super) fn reset(&mut self) -> Result<(), StorageError> {
        fs::set_len(&*self.writable()?, self.path(), 0)?;
        (self.written, self.cached_from) = (0, 0);
        self.cache.clear();
        Ok(())
    }

    /// As [`EntryFile::write_out`], but what there is no space for stays in memory.
    pub(super) fn write_out_if_there_is_space(&mut self) -> Result<(), StorageError> {
        match self.write_out() {
            Err(error) if error.is_full() => Ok(()),
            written => written,
        }
    }

    /// Writes what is only in memory, without syncing.
    pub(super) fn write_out(&mut self) -> Result<(), StorageError> {
        if self.written < self.len() {
            let (from, position) = (self.written - self.cached_from, (self.written * SIZE) as u64);
            let bytes = self.cache[from..].concat();
            fs::write_at(&*self.writable()?, self.path(), &bytes, position)?;
            self.written = self.len();
        }
        if self.cache.len() > KEPT + WRITE_AT {
            let dropped = self.cache.len() - KEPT;
            self.cache.drain(..dropped);
            self.cached_from += dropped;
        }
        Ok(())
    }

    /// Writes and syncs.
    pub(super) fn flush(&mut self) -> Result<(), StorageError> {
        self.write_out()?;
        if self.is_dirty {
            fs::sync(&*self.file.open()?, self.path())?;
            self.is_dirty = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize) -> [u8; 4] {
        (n as u32).to_be_bytes()
    }

    #[test]
    fn entries_are_found_in_memory_and_in_the_file() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("index");
        let mut file = EntryFile::<4>::create(path.clone()).expect("created");
        for n in 0..3000 {
            file.push(numbered(n)).expect("pushed");
        }
        assert_eq!(file.len(), 3000);
        for target in [0, 1, 700, 1500, 2990, 2999, 4000] {
            let found = file.partition_point(|entry| *entry <= numbered(target)).expect("searched");
            assert_eq!(found, (target + 1).min(3000));
        }
        assert_eq!(file.entry(5).expect("read"), numbered(5));
        file.flush().expect("flushed");
        file.release();
        assert_eq!(file.partition_point(|entry| *entry < numbered(2999)).expect("searched"), 2999);
        let mut again = EntryFile::<4>::existing(path).expect("opened");
        assert_eq!((again.len(), again.entry(2999).expect("read")), (3000, numbered(2999)));
    }

    #[test]
    fn truncation_reaches_the_file_and_the_memory() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("index");
        let mut file = EntryFile::<4>::create(path.clone()).expect("created");
        for n in 0..1000 {
            file.push(numbered(n)).expect("pushed");
        }
        for len in [900, 600, 100] {
            file.truncate(len).expect("truncated");
            assert_eq!(file.len(), len);
        }
        file.push(numbered(100)).expect("pushed");
        file.flush().expect("flushed");
        assert_eq!(fs::size(&path).expect("size"), Some(101 * 4));
    }
}
