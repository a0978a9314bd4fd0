//! Is a log directory still usable? Source: `LogDirFailureChannel`.
//!
//! Invariant: the first I/O error takes the directory offline for good; a restart tries again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::errors::StorageError;

/// The state of one log directory, shared by all its logs.
#[derive(Debug, Default)]
pub struct DirHealth {
    offline: AtomicBool,
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
