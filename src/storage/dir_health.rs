//! Is a log directory still usable? Source: `LogDirFailureChannel`.
//!
//! Invariant: the first I/O error takes the directory offline for good; a restart tries again.
//!
//! Differs: a full disk takes no directory offline where what could not be written can be left unwritten: appends are refused
//! (KAFKA_STORAGE_ERROR, which clients try again), reads are served, and once there is space appends succeed again. Kafka takes the
//! directory offline, and ends when it was the last one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::errors::StorageError;

/// The state of one log directory, shared by all its logs.
#[derive(Debug, Default)]
pub struct DirHealth {
    offline: AtomicBool,
    /// The last write found no space.
    full: AtomicBool,
    error: Mutex<Option<StorageError>>,
}

impl DirHealth {
    pub fn is_online(&self) -> bool {
        !self.offline.load(Ordering::Acquire)
    }

    /// The error that took the directory offline.
    pub fn error(&self) -> Option<StorageError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An error when the directory is offline.
    pub fn check(&self) -> Result<(), StorageError> {
        if self.is_online() { Ok(()) } else { self.error().map_or(Ok(()), Err) }
    }

    /// Passes a result on; an error takes the directory offline.
    pub fn note<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(error) = &result {
            self.fail(error);
        }
        result
    }

    /// As [`DirHealth::note`], of something that leaves all as it was when there is no space for it.
    pub fn note_unless_full<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        match &result {
            Err(error) if error.is_full() => {
                if !self.full.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error, "the disk is full: what needs space is refused until there is some");
                }
            }
            Err(error) => self.fail(error),
            Ok(_) => {}
        }
        result
    }

    /// An append has succeeded.
    pub fn has_space(&self) {
        if self.full.load(Ordering::Relaxed) && self.full.swap(false, Ordering::AcqRel) {
            tracing::info!("there is space on the disk again");
        }
    }

    /// Takes the directory offline.
    pub fn fail(&self, error: &StorageError) {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            tracing::error!(%error, "taking the log directory offline");
            *first = Some(error.clone());
        }
        self.offline.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fs;
    use super::*;

    #[test]
    fn want_of_space_is_no_failure_unless_a_sync_tells_of_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let health = DirHealth::default();
        let full = StorageError::new(dir.path(), std::io::ErrorKind::StorageFull.into());
        let _ = health.note_unless_full::<()>(Err(full));
        assert!(health.is_online());
        fs::faults::fail_after(0);
        let error = fs::sync_dir(dir.path()).expect_err("no sync");
        fs::faults::clear();
        assert!(!error.is_full(), "{error}");
        let _ = health.note_unless_full::<()>(Err(error));
        assert!(!health.is_online());
    }
}
