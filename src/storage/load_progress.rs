//! How far a start is with the logs, for whoever watches: numbers that loading threads count up and others read at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Of one start, over all log directories. Invariant: `logs_loaded` never exceeds `logs_found`.
#[derive(Debug, Default)]
pub struct LoadProgress {
    pub logs_found: AtomicU64,
    pub logs_loaded: AtomicU64,
    /// Segments that recovery looked into, after an unclean stop or because of a bad index.
    pub segments_recovered: AtomicU64,
    /// Bytes of batches that recovery has read.
    pub bytes_recovered: AtomicU64,
    /// Someone shows all this, so that the program's log need not.
    pub is_shown: AtomicBool,
}

/// [`LoadProgress`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub logs_found: u64,
    pub logs_loaded: u64,
    pub segments_recovered: u64,
    pub bytes_recovered: u64,
}

impl LoadProgress {
    pub fn now(&self) -> Loaded {
        let logs_loaded = self.logs_loaded.load(Ordering::Acquire);
        Loaded {
            logs_loaded,
            logs_found: self.logs_found.load(Ordering::Acquire),
            segments_recovered: self.segments_recovered.load(Ordering::Relaxed),
            bytes_recovered: self.bytes_recovered.load(Ordering::Relaxed),
        }
    }
}
