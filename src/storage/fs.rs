//! The one door to the file system.
//!
//! Every function names the file in its error. Files that are replaced as a whole (checkpoints, properties) are written to `<name>.tmp`,
//! synced, renamed and their directory synced, so that after a crash either the old or the new content is there.
//!
//! Invariant: nothing outside this module calls `std::fs`, so that tests can make any operation fail, and take away what was not synced
//! ([`faults`]).

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use super::errors::StorageError;

fn failed<'a>(path: &'a Path) -> impl FnOnce(io::Error) -> StorageError + 'a {
    move |source| StorageError::new(path, source)
}

/// As [`failed`], of a sync. The system tells of what it could not write once, and whoever asks again is told that all is well, so that
/// even "no space left" is an error to give up at.
fn unsynced<'a>(path: &'a Path) -> impl FnOnce(io::Error) -> StorageError + 'a {
    move |source| StorageError::new(path, io::Error::other(source))
}

/// As `faults::check`, of a sync.
fn check_sync(path: &Path) -> Result<(), StorageError> {
    faults::check(path).map_err(|error| unsynced(path)(io::Error::other(error.reason)))
}

/// The whole content of a file.
pub fn read(path: &Path) -> Result<Vec<u8>, StorageError> {
    faults::check(path)?;
    fs::read(path).map_err(failed(path))
}

/// The whole content of a file, None when there is no such file.
pub fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, StorageError> {
    faults::check(path)?;
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::new(path, error)),
    }
}

/// Replaces the file's content so that a crash leaves the old or the new one.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), StorageError> {
    let tmp = with_suffix(path, ".tmp");
    write_synced(&tmp, content).inspect_err(|_| drop(remove_file(&tmp)))?;
    rename(&tmp, path)
}

/// Replaces several files' contents, each as [`write_atomically`] does, in the time that one of them takes; `written` are files that only
/// lack the sync.
pub fn write_all_atomically(files: &[(PathBuf, Vec<u8>)], written: &[PathBuf]) -> Result<(), StorageError> {
    let tmp: Vec<PathBuf> = files.iter().map(|(path, _)| with_suffix(path, ".tmp")).collect();
    for ((_, content), tmp) in files.iter().zip(&tmp) {
        write(tmp, content).inspect_err(|_| drop(remove_file(tmp)))?;
    }
    sync_together(&tmp.iter().chain(written).collect::<Vec<_>>())?;
    let mut dirs: Vec<&Path> = Vec::new();
    for path in files.iter().map(|(path, _)| path).chain(written) {
        dirs.extend(path.parent().filter(|parent| !parent.as_os_str().is_empty() && !dirs.contains(parent)));
    }
    for ((path, _), tmp) in files.iter().zip(&tmp) {
        rename_unsynced(tmp, path)?;
    }
    sync_together(&dirs)
}

/// Syncs files and directories at the same time: a file system with a journal commits once for all syncs that come together. Those that
/// are gone by then are no error.
pub fn sync_together(paths: &[impl AsRef<Path>]) -> Result<(), StorageError> {
    const THREADS: usize = 8;
    for path in paths {
        check_sync(path.as_ref())?;
    }
    let (sender, results) = mpsc::channel();
    let paths: Arc<[PathBuf]> = paths.iter().map(|path| path.as_ref().to_owned()).collect();
    let next = Arc::new(AtomicUsize::new(0));
    let work = {
        let (paths, sender) = (Arc::clone(&paths), sender);
        move || {
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                let _ = sender.send(sync_unless_gone(path));
            }
        }
    };
    for _ in 1..paths.len().min(THREADS) {
        // Without it there is only less help. It is not waited for: on a busy machine it may begin when all is done.
        let _ = std::thread::Builder::new().name("sync".to_owned()).spawn(work.clone());
    }
    work();
    drop(work);
    let lost = |path| StorageError::new(path, io::Error::other("a sync came to no end"));
    paths.iter().map(|path| results.recv().unwrap_or_else(|_| Err(lost(path)))).fold(Ok(()), Result::and)
}

/// Syncs everything in the file system that holds `path`: better than syncing very many files in it one by one.
pub fn sync_file_system(path: &Path) -> Result<(), StorageError> {
    check_sync(path)?;
    let dir = File::open(path).map_err(failed(path))?;
    rustix::fs::syncfs(&dir).map_err(|error| unsynced(path)(error.into()))
}

/// Writes a file that its reader checks, without syncing; [`sync_path`] follows.
pub fn write(path: &Path, content: &[u8]) -> Result<(), StorageError> {
    faults::check(path)?;
    faults::will_write(path);
    let granted = faults::grant(content.len());
    fs::write(path, &content[..granted]).map_err(failed(path))?;
    all_granted(path, granted, content.len())
}

/// Only tests grant less than is wanted: what a disk still took before it was full.
fn all_granted(path: &Path, granted: usize, wanted: usize) -> Result<(), StorageError> {
    if granted == wanted { Ok(()) } else { Err(StorageError::new(path, ErrorKind::StorageFull.into())) }
}

/// Syncs a file by name; it is no error when it is gone.
pub fn sync_path(path: &Path) -> Result<(), StorageError> {
    check_sync(path)?;
    sync_unless_gone(path)
}

fn sync_unless_gone(path: &Path) -> Result<(), StorageError> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Ok(()) => faults::has_synced(path),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(unsynced(path)(error)),
    }
    Ok(())
}

/// Writes a file that need not survive a crash as a whole (its reader checks it), and syncs it.
pub fn write_synced(path: &Path, content: &[u8]) -> Result<(), StorageError> {
    write(path, content)?;
    sync_path(path)
}

/// Renames a file or directory and syncs the directory that holds it.
pub fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    rename_unsynced(from, to)?;
    match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Renames a file; [`sync_dir`] follows.
pub fn rename_unsynced(from: &Path, to: &Path) -> Result<(), StorageError> {
    faults::check(to)?;
    faults::will_rename(from, to);
    fs::rename(from, to).map_err(failed(from))
}

/// Syncs a directory: what was created, renamed or removed in it is then durable.
pub fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    check_sync(dir)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(unsynced(dir))?;
    faults::has_synced(dir);
    Ok(())
}

/// Creates a directory, with those above it; false when it is there already.
pub fn create_dir(dir: &Path) -> Result<bool, StorageError> {
    faults::check(dir)?;
    match fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir_all(dir).map(|()| true).map_err(failed(dir)),
        Err(error) => Err(StorageError::new(dir, error)),
    }
}

pub fn create_dir_all(dir: &Path) -> Result<(), StorageError> {
    faults::check(dir)?;
    fs::create_dir_all(dir).map_err(failed(dir))
}

/// Removes a file; it is no error when there is none.
pub fn remove_file(path: &Path) -> Result<(), StorageError> {
    faults::check(path)?;
    faults::will_remove(path);
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::new(path, error)),
        _ => Ok(()),
    }
}

/// Removes a directory and all that is in it; it is no error when there is none.
pub fn remove_dir_all(path: &Path) -> Result<(), StorageError> {
    faults::check(path)?;
    faults::will_remove(path);
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StorageError::new(path, error)),
        _ => Ok(()),
    }
}

pub fn exists(path: &Path) -> bool {
    path.exists()
}

pub fn is_dir(path: &Path) -> bool {
    path.is_dir()
}

/// A file's size in bytes, None when there is no such file.
pub fn size(path: &Path) -> Result<Option<u64>, StorageError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::new(path, error)),
    }
}

/// When a file was last changed, in milliseconds since 1970.
pub fn modified_ms(path: &Path) -> Result<i64, StorageError> {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(failed(path))?;
    Ok(modified.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
}

/// Says that a file was last changed then, in milliseconds since 1970.
pub fn set_modified_ms(path: &Path, modified_ms: i64) -> Result<(), StorageError> {
    faults::check(path)?;
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(modified_ms).unwrap_or(0));
    OpenOptions::new().write(true).open(path).and_then(|file| file.set_modified(modified)).map_err(failed(path))
}

/// Keeps everyone but the superuser from writing to a file.
pub fn make_read_only(path: &Path) -> Result<(), StorageError> {
    faults::check(path)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).map_err(failed(path))
}

/// What a directory holds, sorted by name.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
    list_with(dir, |_, _| true)
}

/// The directories in a directory, sorted by name.
pub fn list_dirs(dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
    use rustix::fs::FileType;
    list_with(dir, |path, type_| match type_ {
        FileType::Directory => true,
        // The file system does not say, or it may be a link to one.
        FileType::Unknown | FileType::Symlink => path.is_dir(),
        _ => false,
    })
}

/// Without the 32 KB for entries that the standard library takes for each directory: a node begins with a look into every partition's.
fn list_with(dir: &Path, wanted: impl Fn(&Path, rustix::fs::FileType) -> bool) -> Result<Vec<PathBuf>, StorageError> {
    faults::check(dir)?;
    let opened = File::open(dir).map_err(failed(dir))?;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut entries = rustix::fs::RawDir::new(&opened, &mut buffer);
    let mut paths = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| StorageError::new(dir, error.into()))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let path = dir.join(name);
        if wanted(&path, entry.file_type()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Opens a file for reading and writing, creating it when it is missing.
pub fn open_or_create(path: &Path) -> Result<File, StorageError> {
    faults::check(path)?;
    if faults::grant(1) == 0 && !path.exists() {
        return Err(StorageError::new(path, ErrorKind::StorageFull.into()));
    }
    faults::will_create(path);
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed(path))
}

/// Opens an existing file for reading and writing.
pub fn open_for_writing(path: &Path) -> Result<File, StorageError> {
    faults::check(path)?;
    OpenOptions::new().read(true).write(true).open(path).map_err(failed(path))
}

/// Opens an existing file for reading.
pub fn open(path: &Path) -> Result<File, StorageError> {
    faults::check(path)?;
    File::open(path).map_err(failed(path))
}

/// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file.
pub fn read_at(file: &File, path: &Path, buffer: &mut [u8], position: u64) -> Result<usize, StorageError> {
    faults::check(path)?;
    let mut done = 0;
    while done < buffer.len() {
        let end = done + faults::at_most(buffer.len() - done);
        match file.read_at(&mut buffer[done..end], position + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(StorageError::new(path, error)),
        }
    }
    Ok(done)
}

pub fn write_at(file: &File, path: &Path, content: &[u8], position: u64) -> Result<(), StorageError> {
    faults::check(path)?;
    faults::will_write(path);
    let granted = faults::grant(content.len());
    file.write_all_at(&content[..granted], position).map_err(failed(path))?;
    all_granted(path, granted, content.len())
}

/// Writes `slices` one after the other at `position`: one system call where the system takes them all.
pub fn write_vectored_at(file: &File, path: &Path, mut slices: &mut [IoSlice<'_>], mut position: u64) -> Result<(), StorageError> {
    const IOV_MAX: usize = 1024;
    faults::check(path)?;
    faults::will_write(path);
    let wanted = slices.iter().map(|slice| slice.len()).sum();
    let granted = faults::grant(wanted);
    if granted < wanted {
        let content: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(granted).collect();
        file.write_all_at(&content, position).map_err(failed(path))?;
        return all_granted(path, granted, wanted);
    }
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match rustix::io::pwritev(file, &slices[..slices.len().min(IOV_MAX)], position) {
            Ok(0) => return Err(StorageError::new(path, ErrorKind::WriteZero.into())),
            Ok(written) => {
                IoSlice::advance_slices(&mut slices, written);
                position += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(StorageError::new(path, error.into())),
        }
    }
    Ok(())
}

pub fn set_len(file: &File, path: &Path, len: u64) -> Result<(), StorageError> {
    faults::check(path)?;
    faults::will_write(path);
    file.set_len(len).map_err(failed(path))
}

/// fsync of content and size.
pub fn sync(file: &File, path: &Path) -> Result<(), StorageError> {
    check_sync(path)?;
    file.sync_data().map_err(unsynced(path))?;
    faults::has_synced(path);
    Ok(())
}

/// Takes the whole-file write lock that the JVM's `FileChannel.tryLock` takes (POSIX `fcntl`): false when another process holds it.
/// It ends with the process, or when any descriptor of the file is closed.
pub fn try_lock(file: &File, path: &Path) -> Result<bool, StorageError> {
    match rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => Ok(false),
        Err(error) => Err(StorageError::new(path, error.into())),
    }
}

/// Bytes of the file system that holds `path`: in all, and free for this process.
pub fn space(path: &Path) -> Result<(u64, u64), StorageError> {
    let stat = rustix::fs::statvfs(path).map_err(|error| StorageError::new(path, error.into()))?;
    Ok((stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// `path` with `suffix` appended to its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
pub(crate) mod faults;

/// Where tests step in; nothing here for everybody else.
#[cfg(not(test))]
mod faults {
    use std::path::Path;

    use super::StorageError;

    #[inline(always)]
    pub(super) fn check(_: &Path) -> Result<(), StorageError> {
        Ok(())
    }

    #[inline(always)]
    pub(super) fn at_most(wanted: usize) -> usize {
        wanted
    }

    #[inline(always)]
    pub(super) fn grant(wanted: usize) -> usize {
        wanted
    }

    #[inline(always)]
    pub(super) fn will_create(_: &Path) {}

    #[inline(always)]
    pub(super) fn will_write(_: &Path) {}

    #[inline(always)]
    pub(super) fn will_rename(_: &Path, _: &Path) {}

    #[inline(always)]
    pub(super) fn will_remove(_: &Path) {}

    #[inline(always)]
    pub(super) fn has_synced(_: &Path) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_the_whole_file() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("checkpoint");
        write_atomically(&path, b"a longer text").expect("written");
        write_atomically(&path, b"short").expect("written");
        assert_eq!(read(&path).expect("read"), b"short");
        assert_eq!(list(dir.path()).expect("listed"), [path]);
    }

    #[test]
    fn a_failed_atomic_write_leaves_the_old_content() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("checkpoint");
        write_atomically(&path, b"old").expect("written");
        faults::fail_after(1);
        assert!(write_atomically(&path, b"new").is_err());
        faults::clear();
        assert_eq!(read(&path).expect("read"), b"old");
    }

    #[test]
    fn vectored_writes_of_many_slices_arrive_whole() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("log");
        let file = open_or_create(&path).expect("opened");
        let parts: Vec<[u8; 3]> = (0..3000u32).map(|i| [i as u8, (i >> 8) as u8, 7]).collect();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        write_vectored_at(&file, &path, &mut slices, 5).expect("written");
        let content = read(&path).expect("read");
        assert_eq!(content[5..], parts.concat());
    }
}
