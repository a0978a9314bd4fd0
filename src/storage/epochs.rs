//! Which leader epoch wrote which offsets (KIP-101, KIP-320). Source: `LeaderEpochFileCache`.
//!
//! Invariant: epochs and start offsets both grow strictly from entry to entry.
//! Invariant: a new epoch is on disk before a record of it is acknowledged; the log sees to it ([`LeaderEpochs::unwritten`]). Entries that truncation removes may come back after a crash;
//! loading truncates again.

use std::path::{Path, PathBuf};

use super::checkpoint;
use super::errors::StorageError;
use super::fs;

/// `leader-epoch-checkpoint` in memory.
#[derive(Debug)]
pub(super) struct LeaderEpochs {
    path: PathBuf,
    /// `(epoch, start offset)`.
    entries: Vec<(i32, i64)>,
    /// The file lacks an entry.
    is_unwritten: bool,
}

impl LeaderEpochs {
    /// Of a log that has no file yet.
    pub(super) fn new(dir: &Path) -> LeaderEpochs {
        LeaderEpochs { entries: Vec::new(), path: dir.join(checkpoint::LEADER_EPOCH_CHECKPOINT), is_unwritten: false }
    }

    pub(super) fn load(dir: &Path) -> Result<LeaderEpochs, StorageError> {
        let mut epochs = LeaderEpochs::new(dir);
        for (epoch, start_offset) in checkpoint::read_epochs(&epochs.path)? {
            epochs.insert(epoch, start_offset);
        }
        Ok(epochs)
    }

    pub(super) fn latest(&self) -> Option<(i32, i64)> {
        self.entries.last().copied()
    }

    pub(super) fn earliest(&self) -> Option<(i32, i64)> {
        self.entries.first().copied()
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> &[(i32, i64)] {
        &self.entries
    }

    /// True when the entry was news.
    fn insert(&mut self, epoch: i32, start_offset: i64) -> bool {
        if let Some((latest, latest_start)) = self.latest()
            && epoch == latest
            && start_offset >= latest_start
        {
            return false;
        }
        while let Some((last, last_start)) = self.latest()
            && (last >= epoch || last_start >= start_offset)
        {
            self.entries.pop();
        }
        self.entries.push((epoch, start_offset));
        true
    }

    /// Notes that `epoch` begins at `start_offset`.
    pub(super) fn assign(&mut self, epoch: i32, start_offset: i64) {
        self.is_unwritten |= epoch >= 0 && start_offset >= 0 && self.insert(epoch, start_offset);
    }

    /// The file and what it should hold, if it lacks an entry.
    pub(super) fn unwritten(&self) -> Option<(PathBuf, Vec<u8>)> {
        self.is_unwritten.then(|| (self.path.clone(), checkpoint::epochs_text(&self.entries).into_bytes()))
    }

    /// The file holds what [`LeaderEpochs::unwritten`] gave.
    pub(super) fn written(&mut self) {
        self.is_unwritten = false;
    }

    /// The epoch of an offset; None when it lies before the first entry.
    pub(super) fn epoch_of(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|&(_, start)| start <= offset);
        after.checked_sub(1).map(|n| self.entries[n].0)
    }

    /// The largest epoch not above `epoch` and where it ends; None when `epoch` is above all known ones (or negative).
    pub(super) fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        let (latest, _) = self.latest()?;
        if epoch < 0 || epoch > latest {
            return None;
        }
        if epoch == latest {
            return Some((epoch, log_end_offset));
        }
        let higher = self.entries.partition_point(|&(known, _)| known <= epoch);
        let end = self.entries[higher].1;
        // A request for an epoch before all known ones gets its own epoch back, so that the follower truncates to our start.
        Some((higher.checked_sub(1).map_or(epoch, |n| self.entries[n].0), end))
    }

    /// Drops the epochs that begin at or after `end_offset`.
    pub(super) fn truncate_from_end(&mut self, end_offset: i64) -> Result<(), StorageError> {
        let kept = self.entries.partition_point(|&(_, start)| start < end_offset);
        if kept == self.entries.len() {
            return Ok(());
        }
        self.entries.truncate(kept);
        self.write()
    }

    /// Drops the epochs that end before `start_offset`; the one that holds it begins there.
    pub(super) fn truncate_from_start(&mut self, start_offset: i64) -> Result<(), StorageError> {
        let begun = self.entries.partition_point(|&(_, start)| start <= start_offset);
        if begun == 0 || (begun == 1 && self.entries[0].1 == start_offset) {
            return Ok(());
        }
        self.entries.drain(..begun - 1);
        self.entries[0].1 = start_offset;
        self.is_unwritten = true;
        // Loading drops them again, so that it can wait: what makes space on a disk must not need any.
        self.write_news()
    }

    /// Writes what the file lacks, if there is space for it.
    pub(super) fn write_news(&mut self) -> Result<(), StorageError> {
        match self.is_unwritten.then(|| self.write()) {
            Some(Err(error)) if !error.is_full() => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn clear(&mut self) -> Result<(), StorageError> {
        self.entries.clear();
        self.write()
    }

    fn write(&mut self) -> Result<(), StorageError> {
        fs::write_atomically(&self.path, checkpoint::epochs_text(&self.entries).as_bytes())?;
        self.is_unwritten = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> (tempfile::TempDir, LeaderEpochs) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut epochs = LeaderEpochs::load(dir.path()).expect("loaded");
        for &(epoch, start) in entries {
            epochs.assign(epoch, start);
        }
        (dir, epochs)
    }

    #[test]
    fn end_offsets_follow_kip_101() {
        let (_dir, epochs) = epochs(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(epochs.end_offset_for(-1, 40), None);
        assert_eq!(epochs.end_offset_for(1, 40), Some((1, 10)));
        assert_eq!(epochs.end_offset_for(2, 40), Some((2, 20)));
        assert_eq!(epochs.end_offset_for(5, 40), Some((4, 30)));
        assert_eq!(epochs.end_offset_for(7, 40), Some((7, 40)));
        assert_eq!(epochs.end_offset_for(8, 40), None);
    }

    #[test]
    fn conflicting_entries_give_way() {
        let (dir, mut epochs) = epochs(&[(2, 10), (4, 20)]);
        epochs.assign(4, 25);
        assert_eq!(epochs.entries(), [(2, 10), (4, 20)]);
        epochs.assign(5, 20);
        assert_eq!(epochs.entries(), [(2, 10), (5, 20)]);
        epochs.assign(3, 15);
        assert_eq!(epochs.entries(), [(2, 10), (3, 15)]);
        let (path, content) = epochs.unwritten().expect("news");
        fs::write_all_atomically(&[(path, content)], &[]).expect("written");
        epochs.written();
        assert_eq!(epochs.unwritten(), None);
        assert_eq!(LeaderEpochs::load(dir.path()).expect("loaded").entries(), epochs.entries());
    }

    #[test]
    fn truncation_at_both_ends() {
        let (_dir, mut epochs) = epochs(&[(0, 0), (2, 10), (4, 20)]);
        epochs.truncate_from_start(12).expect("truncated");
        assert_eq!(epochs.entries(), [(2, 12), (4, 20)]);
        assert_eq!(epochs.epoch_of(11), None);
        assert_eq!(epochs.epoch_of(19), Some(2));
        epochs.truncate_from_end(20).expect("truncated");
        assert_eq!(epochs.entries(), [(2, 12)]);
        epochs.truncate_from_end(12).expect("truncated");
        assert_eq!(epochs.entries(), []);
    }
}
