//! What logs leave to be done later, so that the periodic work of a node with very many of them need not ask each one.
//!
//! Invariant: who takes a note sees all that the logs left before it was made. (It is made after what it is about.)

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Notes of all logs of a node.
#[derive(Debug)]
pub struct Chores {
    /// The earliest time that a deleted file may be unlinked, ms of the monotonic clock; `u64::MAX`: there is none.
    deletion_due_ms: AtomicU64,
    high_watermark_moved: AtomicBool,
    was_truncated: AtomicBool,
}

impl Default for Chores {
    fn default() -> Chores {
        Chores {
            deletion_due_ms: AtomicU64::new(u64::MAX),
            high_watermark_moved: AtomicBool::new(false),
            was_truncated: AtomicBool::new(false),
        }
    }
}

fn note(flag: &AtomicBool) {
    // Most often it is there already; a look does not take the cache line from others.
    if !flag.load(Ordering::Acquire) {
        flag.store(true, Ordering::Release);
    }
}

impl Chores {
    /// A file waits to be unlinked at `due_ms`.
    pub(super) fn note_deletion(&self, due_ms: u64) {
        self.deletion_due_ms.fetch_min(due_ms, Ordering::AcqRel);
    }

    /// True when files may be unlinked now; who unlinks notes what must still wait.
    pub(super) fn take_deletion(&self, now_ms: u64) -> bool {
        let is_due = self.deletion_due_ms.load(Ordering::Acquire) <= now_ms;
        if is_due {
            self.deletion_due_ms.store(u64::MAX, Ordering::Release);
        }
        is_due
    }

    /// The checkpoint of high watermarks is behind.
    pub(super) fn note_high_watermark(&self) {
        note(&self.high_watermark_moved);
    }

    /// Once true after notes.
    pub(super) fn take_high_watermark(&self) -> bool {
        self.high_watermark_moved.swap(false, Ordering::AcqRel)
    }

    /// The cleaner's checkpoint may say too much.
    pub(super) fn note_truncation(&self) {
        note(&self.was_truncated);
    }

    /// Once true after notes.
    pub(super) fn take_truncation(&self) -> bool {
        self.was_truncated.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deletion_counts() {
        let chores = Chores::default();
        assert!(!chores.take_deletion(u64::MAX - 1));
        chores.note_deletion(20);
        chores.note_deletion(10);
        chores.note_deletion(30);
        assert!(!chores.take_deletion(9));
        assert!(chores.take_deletion(10));
        assert!(!chores.take_deletion(1000), "who took it notes the others");
    }

    #[test]
    fn a_note_is_taken_once() {
        let chores = Chores::default();
        chores.note_high_watermark();
        chores.note_high_watermark();
        assert_eq!((chores.take_high_watermark(), chores.take_high_watermark(), chores.take_truncation()), (true, false, false));
    }
}
