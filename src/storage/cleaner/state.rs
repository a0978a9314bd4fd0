//! Where compaction of one log stands: how far it is clean, whether it runs now, is paused, or had to be given up. Source:
//! `LogCleanerManager`, `LogCleaningState`.
//!
//! ```text
//!   idle --begin--> running --end--> idle
//!                      | abort_and_pause (waits)
//!                      v
//!                   paused until every pause is over
//! ```
//!
//! Invariant: at most one thread cleans a log, and none while it is paused.
//! Invariant: the log is never clean beyond a truncation.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Default)]
struct State {
    is_running: bool,
    abort: bool,
    pauses: usize,
    /// `cleaner-offset-checkpoint`: everything below was compacted.
    cleaned_to: Option<i64>,
    /// `cleaned_to` changed outside of a compaction.
    is_checkpoint_stale: bool,
    uncleanable: bool,
}

/// Part of a log.
#[derive(Default)]
pub(in crate::storage) struct Cleaning {
    state: Mutex<State>,
    changed: Condvar,
}

/// This thread cleans the log; ends when dropped.
pub(in crate::storage) struct Running<'a>(&'a Cleaning);

/// Nobody cleans the log until this is dropped.
pub(in crate::storage) struct Paused<'a>(&'a Cleaning);

impl Cleaning {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None when another thread cleans the log or it is paused.
    pub(in crate::storage) fn begin(&self) -> Option<Running<'_>> {
        let mut state = self.state();
        if state.is_running || state.pauses > 0 {
            return None;
        }
        state.is_running = true;
        state.abort = false;
        Some(Running(self))
    }

    /// Could [`Cleaning::begin`] succeed?
    pub(in crate::storage) fn is_idle(&self) -> bool {
        let state = self.state();
        !state.is_running && state.pauses == 0
    }

    /// Must who cleans stop?
    pub(in crate::storage) fn is_aborted(&self) -> bool {
        self.state().abort
    }

    /// Asks who cleans to stop, without waiting.
    pub(in crate::storage) fn abort(&self) {
        self.state().abort = true;
        self.changed.notify_all();
    }

    /// Sleeps, less when the cleaning is aborted.
    pub(in crate::storage) fn sleep(&self, duration: Duration) {
        let state = self.state();
        drop(self.changed.wait_timeout_while(state, duration, |state| !state.abort));
    }

    /// Stops who cleans, waits until that is so, and lets nobody begin. The caller holds no lock that cleaning needs.
    pub(in crate::storage) fn abort_and_pause(&self) -> Paused<'_> {
        let mut state = self.state();
        state.pauses += 1;
        state.abort = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| state.is_running).unwrap_or_else(PoisonError::into_inner));
        Paused(self)
    }

    /// As [`Cleaning::abort_and_pause`], until [`Cleaning::resume`].
    pub(in crate::storage) fn pause(&self) {
        std::mem::forget(self.abort_and_pause());
    }

    /// Ends one [`Cleaning::pause`].
    pub(in crate::storage) fn resume(&self) {
        drop(Paused(self));
    }

    pub(in crate::storage) fn cleaned_to(&self) -> Option<i64> {
        self.state().cleaned_to
    }

    /// A round came to its end; unless the log was cut meanwhile, it is clean up to here.
    pub(in crate::storage) fn on_cleaned(&self, end_offset: i64) {
        let mut state = self.state();
        if !state.abort {
            state.cleaned_to = Some(end_offset);
        }
    }

    /// What the checkpoint says.
    pub(in crate::storage) fn set_cleaned_to(&self, offset: Option<i64>) {
        self.state().cleaned_to = offset;
    }

    /// The log was cut: who cleans it must begin again, and what follows was never compacted.
    pub(in crate::storage) fn on_truncated(&self, offset: i64) {
        let mut state = self.state();
        state.abort = true;
        if state.cleaned_to.is_some_and(|cleaned_to| cleaned_to > offset) {
            state.cleaned_to = Some(offset);
            state.is_checkpoint_stale = true;
        }
        self.changed.notify_all();
    }

    /// Once true after a truncation.
    pub(in crate::storage) fn take_checkpoint_is_stale(&self) -> bool {
        std::mem::take(&mut self.state().is_checkpoint_stale)
    }

    /// The log cannot be cleaned (a batch that cannot be read); nobody tries again until a restart.
    pub(in crate::storage) fn mark_uncleanable(&self) {
        self.state().uncleanable = true;
    }

    pub(in crate::storage) fn is_uncleanable(&self) -> bool {
        self.state().uncleanable
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_running = false;
        state.abort = false;
        self.0.changed.notify_all();
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.pauses = state.pauses.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_cleans() {
        let cleaning = Cleaning::default();
        let running = cleaning.begin().expect("idle");
        assert!(cleaning.begin().is_none());
        drop(running);
        assert!(cleaning.begin().is_some());
    }

    #[test]
    fn a_pause_waits_for_the_end_and_holds_until_it_is_over() {
        let cleaning = Cleaning::default();
        let (started, wait) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let running = cleaning.begin().expect("idle");
                started.send(()).expect("awaited");
                cleaning.sleep(Duration::from_secs(3600));
                assert!(cleaning.is_aborted());
                drop(running);
            });
            wait.recv().expect("started");
            let first = cleaning.abort_and_pause();
            let second = cleaning.abort_and_pause();
            drop(first);
            assert!(cleaning.begin().is_none());
            drop(second);
            let running = cleaning.begin().expect("no pause any more");
            assert!(!cleaning.is_aborted());
            drop(running);
        });
    }

    #[test]
    fn a_truncation_takes_the_clean_part_back() {
        let cleaning = Cleaning::default();
        cleaning.set_cleaned_to(Some(100));
        cleaning.on_truncated(200);
        assert_eq!((cleaning.cleaned_to(), cleaning.take_checkpoint_is_stale()), (Some(100), false));
        cleaning.on_truncated(40);
        assert_eq!((cleaning.cleaned_to(), cleaning.take_checkpoint_is_stale()), (Some(40), true));
        assert!(!cleaning.take_checkpoint_is_stale());
    }
}
