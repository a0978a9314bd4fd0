//! A disk that fails, in tests: operations that return an error, a disk that is full in the middle of a write, reads that come in pieces, bits
//! that flip, and a power cut that takes away what was not synced.
//!
//! The files are real. For each file that has news since its last sync [`Disk`] remembers what it held then; for each directory, which names
//! were created, renamed and removed since its own. [`Disk::cut_power`] leaves of both what chance wants: all, nothing, a part up to some
//! place, or any of the sectors; names in an order of their own, but never one that stands on another that is gone.
//!
//! Invariant: what was synced under a name that was synced is there after a power cut.
//! Invariant: what happens follows from what the thread does and the seed alone.
//!
//! Not done: a directory whose own entry was not synced does not vanish with the synced files in it. POSIX would allow that; file systems with
//! a journal write the entry no later than the first file in it.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StorageError;
use crate::common::random::Random;

/// Bytes that reach a disk together.
const SECTOR: usize = 512;

/// What can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// An operation has failed, as from a bad sector.
    IoError,
    /// An operation has found no space; a write may have come to a part of what it should.
    NoSpace,
    ShortRead,
    /// A power cut has taken away a file's news altogether.
    LostWrite,
    /// It has left a part of them.
    TornWrite,
    /// It has taken away a new name and left one that was given later.
    Reordered,
    FlippedBit,
}

impl Fault {
    pub(crate) const ALL: [Fault; 7] =
        [Fault::IoError, Fault::NoSpace, Fault::ShortRead, Fault::LostWrite, Fault::TornWrite, Fault::Reordered, Fault::FlippedBit];
}

thread_local! {
    /// How many operations succeed, and what every later one says.
    static COUNTDOWN: Cell<Option<(u64, ErrorKind)>> = const { Cell::new(None) };
    static AT_MOST: Cell<usize> = const { Cell::new(usize::MAX) };
    static SPACE: Cell<u64> = const { Cell::new(u64::MAX) };
    static INJECTED: Cell<[u64; Fault::ALL.len()]> = const { Cell::new([0; Fault::ALL.len()]) };
}

/// How often that has happened on this thread.
pub(crate) fn injected(fault: Fault) -> u64 {
    INJECTED.get()[fault as usize]
}

fn inject(fault: Fault) {
    let mut injected = INJECTED.get();
    injected[fault as usize] += 1;
    INJECTED.set(injected);
}

/// This thread can write so many bytes more; then there is no space for anything new, while everything else succeeds.
pub(crate) fn leave_space(bytes: u64) {
    SPACE.set(bytes);
}

/// How many of these bytes there is space for.
pub(super) fn grant(bytes: usize) -> usize {
    let space = SPACE.get();
    let granted = usize::try_from(space).map_or(bytes, |space| space.min(bytes));
    if space != u64::MAX {
        SPACE.set(space - granted as u64);
    }
    if granted < bytes {
        inject(Fault::NoSpace);
    }
    granted
}

/// Lets `operations` more operations of this thread succeed; every later one fails with "no space left on device" until [`clear`].
pub(crate) fn fail_after(operations: u64) {
    fail_with(operations, ErrorKind::StorageFull);
}

/// As [`fail_after`], with another error.
pub(crate) fn fail_with(operations: u64, error: ErrorKind) {
    COUNTDOWN.set(Some((operations, error)));
}

/// No system call of this thread reads more than so many bytes.
pub(crate) fn read_at_most(bytes: usize) {
    AT_MOST.set(bytes);
}

pub(crate) fn clear() {
    COUNTDOWN.set(None);
    AT_MOST.set(usize::MAX);
    SPACE.set(u64::MAX);
}

/// Inverts a bit of a file at rest.
pub(crate) fn flip_bit(path: &Path, byte: usize, bit: u32) {
    let mut content = fs::read(path).expect("read");
    content[byte] ^= 1 << bit;
    fs::write(path, content).expect("written");
    inject(Fault::FlippedBit);
}

pub(super) fn check(path: &Path) -> Result<(), StorageError> {
    match COUNTDOWN.get() {
        Some((0, error)) => {
            inject(if error == ErrorKind::StorageFull { Fault::NoSpace } else { Fault::IoError });
            Err(StorageError::new(path, error.into()))
        }
        Some((left, error)) => {
            COUNTDOWN.set(Some((left - 1, error)));
            Ok(())
        }
        None => Ok(()),
    }
}

pub(super) fn at_most(wanted: usize) -> usize {
    let most = AT_MOST.get();
    if wanted > most {
        inject(Fault::ShortRead);
    }
    wanted.min(most)
}

pub(super) fn will_create(path: &Path) {
    if let Some(disk) = disk_of(path)
        && !path.exists()
    {
        disk.lock().creates(path);
    }
}

pub(super) fn will_write(path: &Path) {
    if let Some(disk) = disk_of(path) {
        disk.lock().writes(path);
    }
}

pub(super) fn will_rename(from: &Path, to: &Path) {
    if let Some(disk) = disk_of(to) {
        disk.lock().renames(from, to);
    }
}

pub(super) fn will_remove(path: &Path) {
    if let Some(disk) = disk_of(path) {
        disk.lock().removes(path);
    }
}

pub(super) fn has_synced(path: &Path) {
    if let Some(disk) = disk_of(path) {
        disk.lock().synced(path);
    }
}

/// The disks there are, by the directory that each holds: a log's operations may be done by threads of its own.
static DISKS: Mutex<Vec<(PathBuf, Arc<Mutex<Unsynced>>)>> = Mutex::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn disks() -> MutexGuard<'static, Vec<(PathBuf, Arc<Mutex<Unsynced>>)>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Found(Arc<Mutex<Unsynced>>);

impl Found {
    fn lock(&self) -> MutexGuard<'_, Unsynced> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn disk_of(path: &Path) -> Option<Found> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    disks().iter().find(|(root, _)| path.starts_with(root)).map(|(_, disk)| Found(Arc::clone(disk)))
}

/// A temporary directory, in memory where the system has a place for that.
pub(crate) fn dir_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("temporary directory")
}

/// The directory below which a power cut may come.
pub(crate) struct Disk {
    root: tempfile::TempDir,
    unsynced: Arc<Mutex<Unsynced>>,
}

impl Disk {
    /// In memory where the system has a place for that: what a sync really costs is no matter here.
    pub(crate) fn new() -> Disk {
        let root = dir_in_memory();
        let unsynced = Unsynced { aside: root.path().join("aside"), ..Unsynced::default() };
        fs::create_dir(&unsynced.aside).expect("created");
        let unsynced = Arc::new(Mutex::new(unsynced));
        let disk = Disk { root, unsynced };
        fs::create_dir(disk.dir()).expect("created");
        disks().push((disk.dir(), Arc::clone(&disk.unsynced)));
        COUNT.fetch_add(1, Ordering::Release);
        disk
    }

    /// The directory to be used.
    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("disk")
    }

    /// Takes away some of what was not synced. Nothing may have files open here that are used afterwards.
    pub(crate) fn cut_power(&self, random: &mut Random) {
        Found(Arc::clone(&self.unsynced)).lock().cut(random);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        disks().retain(|(root, _)| *root != self.dir());
        COUNT.fetch_sub(1, Ordering::Release);
    }
}

/// What happened to a directory since it was synced.
enum Change {
    Created(PathBuf),
    /// What had the name `to` before is kept aside.
    Renamed {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<PathBuf>,
    },
    Removed {
        path: PathBuf,
        aside: PathBuf,
    },
}

impl Change {
    fn names(&self) -> Vec<&Path> {
        match self {
            Change::Created(path) | Change::Removed { path, .. } => vec![path],
            Change::Renamed { from, to, .. } => vec![from, to],
        }
    }
}

#[derive(Default)]
struct Unsynced {
    /// Inode, the file, and what it held when it was synced; in an order that follows from what was done, so that a seed is all there is.
    files: Vec<(u64, File, Vec<u8>)>,
    /// The names of such files, as far as they are known: most writes go to files that are in `files` already.
    known: HashSet<PathBuf>,
    changes: Vec<Change>,
    /// Where that is kept which may come back.
    aside: PathBuf,
    numbers: u64,
}

impl Unsynced {
    fn creates(&mut self, path: &Path) {
        if let Ok(file) = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path) {
            self.changes.push(Change::Created(path.to_owned()));
            self.remember(file, Vec::new());
            self.known.insert(path.to_owned());
        }
    }

    fn writes(&mut self, path: &Path) {
        if self.known.contains(path) {
            return;
        }
        let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else { return self.creates(path) };
        if self.files.iter().all(|(known, ..)| *known != inode(&file)) {
            self.remember(file, fs::read(path).expect("read"));
        }
        self.known.insert(path.to_owned());
    }

    fn remember(&mut self, file: File, synced: Vec<u8>) {
        self.files.push((inode(&file), file, synced));
    }

    fn next_aside(&mut self) -> PathBuf {
        self.numbers += 1;
        self.aside.join(self.numbers.to_string())
    }

    fn renames(&mut self, from: &Path, to: &Path) {
        if !from.exists() {
            return;
        }
        let is_dirty = self.known.remove(from);
        if is_dirty {
            self.known.insert(to.to_owned());
        } else {
            // A directory takes its files with it.
            self.known.retain(|known| !known.starts_with(from) && known != to);
        }
        let replaced = to.is_file().then(|| self.next_aside());
        if let Some(aside) = &replaced {
            fs::hard_link(to, aside).expect("linked");
        }
        self.changes.push(Change::Renamed { from: from.to_owned(), to: to.to_owned(), replaced });
    }

    /// Takes it away by a rename; who asked for it finds it gone, which is no error.
    fn removes(&mut self, path: &Path) {
        if path.exists() {
            self.known.retain(|known| !known.starts_with(path));
            let aside = self.next_aside();
            fs::rename(path, &aside).expect("renamed");
            self.changes.push(Change::Removed { path: path.to_owned(), aside });
        }
    }

    fn synced(&mut self, path: &Path) {
        let Ok(metadata) = fs::metadata(path) else { return };
        if metadata.is_dir() {
            self.changes.retain(|change| change.names().iter().all(|name| name.parent() != Some(path)));
        } else {
            self.known.remove(path);
            self.files.retain(|(known, ..)| *known != metadata.ino());
        }
    }

    fn cut(&mut self, random: &mut Random) {
        let nothing_survives_unsynced = random.one_in(4);
        let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
        for change in std::mem::take(&mut self.changes).into_iter().rev() {
            let names: Vec<PathBuf> = change.names().into_iter().map(Path::to_owned).collect();
            let is_stood_on = names.iter().any(|name| kept.iter().any(|kept| kept.starts_with(name) || name.starts_with(kept)));
            if is_stood_on || (!nothing_survives_unsynced && random.one_in(2)) {
                kept.extend(names);
            } else {
                if !kept.is_empty() {
                    inject(Fault::Reordered);
                }
                undo(change);
            }
        }
        self.known.clear();
        for (_, file, synced) in self.files.drain(..) {
            tear(&file, &synced, if nothing_survives_unsynced { 0 } else { random.below(4) }, random);
        }
        fs::remove_dir_all(&self.aside).and_then(|()| fs::create_dir(&self.aside)).expect("emptied");
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().expect("an open file").ino()
}

fn undo(change: Change) {
    match change {
        Change::Created(path) => fs::remove_file(path),
        Change::Renamed { from, to, replaced } => {
            fs::rename(&to, from).and_then(|()| replaced.map_or(Ok(()), |aside| fs::rename(aside, to)))
        }
        Change::Removed { path, aside } => fs::rename(aside, path),
    }
    .expect("undone");
}

/// Makes of what a file holds now and held when it was synced what a power cut may leave.
fn tear(file: &File, synced: &[u8], how: u64, random: &mut Random) {
    use std::os::unix::fs::FileExt;

    let mut now = vec![0; file.metadata().expect("an open file").len() as usize];
    file.read_exact_at(&mut now, 0).expect("read");
    let left = match how {
        0 => synced.to_vec(),
        1 => return,
        // Up to some byte.
        2 => {
            let end = random.below(now.len() as u64 + 1) as usize;
            let mut left = now[..end].to_vec();
            left.extend(synced.iter().skip(end));
            left
        }
        // Any of the sectors; the new length with what never came to be zero.
        _ => {
            let mut left = synced.to_vec();
            left.resize(now.len(), 0);
            for (sector, new) in left.chunks_mut(SECTOR).zip(now.chunks(SECTOR)) {
                if random.one_in(2) {
                    sector.copy_from_slice(new);
                }
            }
            left
        }
    };
    if left != now {
        inject(if left == synced { Fault::LostWrite } else { Fault::TornWrite });
    }
    file.set_len(left.len() as u64).and_then(|()| file.write_all_at(&left, 0)).expect("written");
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    /// What chance leaves of `run`, over some seeds.
    fn outcomes(run: impl Fn(&Path), look: impl Fn(&Path) -> String) -> BTreeSet<String> {
        (0..60)
            .map(|seed| {
                let disk = Disk::new();
                run(&disk.dir());
                disk.cut_power(&mut Random::new(seed));
                look(&disk.dir())
            })
            .collect()
    }

    fn content(dir: &Path) -> String {
        read_if_exists(&dir.join("file")).expect("read").map_or("none".to_owned(), |it| String::from_utf8_lossy(&it).into_owned())
    }

    #[test]
    fn what_is_synced_under_a_synced_name_survives() {
        let run = |dir: &Path| {
            write_synced(&dir.join("file"), b"synced").expect("written");
            sync_dir(dir).expect("synced");
        };
        assert_eq!(outcomes(run, content), ["synced".to_owned()].into());
    }

    #[test]
    fn what_is_not_synced_may_be_lost_in_part_or_whole() {
        let run = |dir: &Path| {
            write_synced(&dir.join("file"), b"ab").expect("written");
            sync_dir(dir).expect("synced");
            let file = open_or_create(&dir.join("file")).expect("opened");
            write_at(&file, &dir.join("file"), b"cd", 2).expect("written");
        };
        let found = outcomes(run, content);
        assert!(["ab", "abc", "abcd", "ab\0\0"].iter().all(|text| found.contains(*text)), "{found:?}");
    }

    #[test]
    fn an_atomic_write_leaves_the_old_or_the_new_content() {
        let run = |dir: &Path| {
            write_atomically(&dir.join("file"), b"old").expect("written");
            write_synced(&dir.join("file.tmp"), b"new").expect("written");
            rename_unsynced(&dir.join("file.tmp"), &dir.join("file")).expect("renamed");
        };
        assert_eq!(outcomes(run, content), ["old".to_owned(), "new".to_owned()].into());
    }

    #[test]
    fn a_removed_file_may_come_back_and_a_new_one_vanish() {
        let run = |dir: &Path| {
            write_atomically(&dir.join("old"), b"").expect("written");
            remove_file(&dir.join("old")).expect("removed");
            write_synced(&dir.join("new"), b"").expect("written");
        };
        let look = |dir: &Path| format!("{} {}", exists(&dir.join("old")), exists(&dir.join("new")));
        assert_eq!(outcomes(run, look).len(), 4);
    }

    #[test]
    fn a_full_disk_takes_a_part_and_then_nothing_but_can_be_read() {
        let disk = Disk::new();
        let path = disk.dir().join("file");
        write(&path, b"old").expect("written");
        let file = open_or_create(&path).expect("opened");
        leave_space(4);
        write_at(&file, &path, b"one", 3).expect("there is space");
        write_at(&file, &path, b"two", 6).expect_err("full");
        write_at(&file, &path, b"three", 7).expect_err("full");
        open_or_create(&disk.dir().join("new")).expect_err("full");
        assert_eq!(read(&path).expect("read"), b"oldonet");
        clear();
        assert_eq!((injected(Fault::NoSpace), injected(Fault::IoError)), (3, 0));
    }

    #[test]
    fn reads_in_pieces_are_put_together() {
        let disk = Disk::new();
        let path = disk.dir().join("file");
        write(&path, b"0123456789").expect("written");
        let file = open(&path).expect("opened");
        read_at_most(3);
        let mut buffer = [0; 12];
        let read = read_at(&file, &path, &mut buffer, 1).expect("read");
        clear();
        assert_eq!(&buffer[..read], b"123456789");
    }
}
