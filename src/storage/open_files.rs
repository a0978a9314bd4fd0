//! Files that are opened when they are needed, of which only so many stay open: a node has more segments than it may have descriptors.
//!
//! The files that were not used for longest are closed first, by and large: whoever opens one too many looks at those opened earliest, gives
//! each that was used since a second chance, and closes another.
//!
//! Invariant: a file in use, which its user holds as `Arc<File>`, stays in its slot, so that the queue knows all that are open but those
//! that were pinned. Who holds files for long, as an answer on its way does, asks [`LazyFile::are_scarce`] first.
//! Invariant: a pinned file stays open as long as its [`LazyFile`] lives: its path may be that of no file, or of another one.
//!
//! Locks: a file's slot, then the queue. Whoever looks at the slots of others only tries their locks.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::errors::StorageError;
use super::fs;

/// Of all logs of the process: half of the descriptors that it may have.
#[cfg(not(test))]
fn open_files() -> &'static OpenFiles {
    const FEWEST: usize = 32;
    static OPEN_FILES: std::sync::LazyLock<OpenFiles> = std::sync::LazyLock::new(|| {
        let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        OpenFiles::new(usize::try_from(allowed / 2).unwrap_or(usize::MAX).max(FEWEST))
    });
    &OPEN_FILES
}

/// In tests so few that every path meets files that were closed; of each thread by itself, so that no test changes what happens in another.
#[cfg(test)]
fn open_files() -> &'static OpenFiles {
    thread_local! {
        static OPEN_FILES: &'static OpenFiles = Box::leak(Box::new(OpenFiles::new(8)));
    }
    OPEN_FILES.with(|files| *files)
}

/// The files that are open, oldest first, and how many may be.
struct OpenFiles {
    limit: usize,
    queue: Mutex<VecDeque<Weak<Slot>>>,
    /// The queue's length, for every fetch to look at without a lock.
    open: AtomicUsize,
}

/// A file that may be open.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    /// Since the slot was last looked at.
    used: AtomicBool,
}

#[derive(Default)]
struct State {
    file: Option<Arc<File>>,
    /// The slot is in the queue.
    queued: bool,
    pinned: bool,
}

impl OpenFiles {
    fn new(limit: usize) -> OpenFiles {
        OpenFiles { limit, queue: Mutex::default(), open: AtomicUsize::new(0) }
    }

    /// Enters a file that was opened, and closes another when there are too many.
    fn enter(&self, slot: &Arc<Slot>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(Arc::downgrade(slot));
        self.make_room(&mut queue);
        self.open.store(queue.len(), Ordering::Release);
    }

    fn make_room(&self, queue: &mut VecDeque<Weak<Slot>>) {
        // Each twice at most: the second time it has had its chance.
        for _ in 0..2 * queue.len() {
            if queue.len() <= self.limit {
                return;
            }
            let Some(oldest) = queue.pop_front() else { return };
            let Some(other) = oldest.upgrade() else { continue };
            if other.used.swap(false, Ordering::AcqRel) {
                queue.push_back(oldest);
                continue;
            }
            let Ok(mut state) = other.state.try_lock() else {
                queue.push_back(oldest);
                continue;
            };
            if !state.pinned && state.file.as_ref().is_some_and(|file| Arc::strong_count(file) > 1) {
                queue.push_back(oldest);
                continue;
            }
            state.queued = false;
            if !state.pinned {
                state.file = None;
            }
        }
    }

    fn are_scarce(&self) -> bool {
        self.open.load(Ordering::Acquire) > self.limit
    }
}

/// One file, opened when it is needed.
pub(super) struct LazyFile {
    path: PathBuf,
    slot: Arc<Slot>,
    all: &'static OpenFiles,
}

impl LazyFile {
    pub(super) fn new(path: PathBuf) -> LazyFile {
        LazyFile { path, slot: Arc::default(), all: open_files() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, which exists.
    pub(super) fn open(&self) -> Result<Arc<File>, StorageError> {
        self.file(fs::open_for_writing)
    }

    /// The file, created when it is missing.
    pub(super) fn open_or_create(&self) -> Result<Arc<File>, StorageError> {
        self.file(fs::open_or_create)
    }

    fn file(&self, open: impl FnOnce(&Path) -> Result<File, StorageError>) -> Result<Arc<File>, StorageError> {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.slot.used.store(true, Ordering::Release);
        if let Some(file) = &state.file {
            return Ok(file.clone());
        }
        let file = Arc::new(open(&self.path)?);
        state.file = Some(file.clone());
        if !state.pinned && !std::mem::replace(&mut state.queued, true) {
            drop(state);
            self.all.enter(&self.slot);
        }
        Ok(file)
    }

    /// Are more files open than there should be, because they are in use?
    pub(super) fn are_scarce(&self) -> bool {
        self.all.are_scarce()
    }

    /// Opens the file for good: it can be used on when it is renamed.
    pub(super) fn pin(&self) -> Result<(), StorageError> {
        self.slot.state.lock().unwrap_or_else(PoisonError::into_inner).pinned = true;
        self.open_or_create().map(|_| ())
    }

    /// Closes the file until someone needs it again.
    pub(super) fn close(&self) {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.pinned {
            state.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        _dir: tempfile::TempDir,
        all: &'static OpenFiles,
        files: Vec<LazyFile>,
    }

    fn files(count: usize, limit: usize) -> Fixture {
        let dir = tempfile::tempdir().expect("temporary directory");
        let all: &'static OpenFiles = Box::leak(Box::new(OpenFiles::new(limit)));
        let file = |n: usize| {
            let path = dir.path().join(n.to_string());
            fs::write(&path, b"content").expect("written");
            LazyFile { path, slot: Arc::default(), all }
        };
        Fixture { files: (0..count).map(file).collect(), _dir: dir, all }
    }

    impl Fixture {
        fn open_now(&self) -> Vec<usize> {
            let is_open = |file: &LazyFile| file.slot.state.lock().expect("not poisoned").file.is_some();
            (0..self.files.len()).filter(|&n| is_open(&self.files[n])).collect()
        }
    }

    #[test]
    fn only_so_many_stay_open_and_those_in_use_rather_than_others() {
        let it = files(6, 3);
        for n in [0, 1, 2, 3] {
            it.files[n].open().expect("opened");
        }
        assert_eq!(it.open_now().len(), 3);
        it.files[3].open().expect("open");
        for n in [4, 5, 0, 1] {
            it.files[n].open().expect("opened");
            it.files[3].open().expect("opened");
            assert_eq!(it.open_now().len(), 3);
        }
        assert!(it.open_now().contains(&3));
        assert!(it.all.queue.lock().expect("not poisoned").len() <= 3);
    }

    #[test]
    fn files_in_use_are_counted_and_not_closed() {
        let it = files(5, 2);
        let held: Vec<_> = it.files[..3].iter().map(|file| file.open().expect("opened")).collect();
        assert_eq!(it.open_now(), [0, 1, 2]);
        assert!(it.files[0].are_scarce());
        drop(held);
        it.files[3].open().expect("opened");
        assert_eq!(it.open_now().len(), 2);
        assert!(!it.files[0].are_scarce());
    }

    #[test]
    fn a_pinned_file_is_readable_under_another_name() {
        let it = files(5, 2);
        it.files[0].pin().expect("opened");
        fs::rename_unsynced(it.files[0].path(), &fs::with_suffix(it.files[0].path(), ".deleted")).expect("renamed");
        for n in 1..5 {
            it.files[n].open().expect("opened");
        }
        let file = it.files[0].open().expect("still open");
        let mut found = [0; 7];
        fs::read_at(&file, it.files[0].path(), &mut found, 0).expect("read");
        assert_eq!(&found, b"content");
        it.files[0].close();
        assert!(it.open_now().contains(&0) && it.open_now().len() <= 3);
        assert!(it.files[1].open().is_ok());
    }

    #[test]
    fn a_missing_file_is_created_only_on_demand() {
        let it = files(1, 2);
        fs::remove_file(it.files[0].path()).expect("removed");
        assert!(it.files[0].open().is_err());
        it.files[0].open_or_create().expect("created");
        it.files[0].close();
        assert!(it.open_now().is_empty());
        it.files[0].open().expect("there now");
    }
}
