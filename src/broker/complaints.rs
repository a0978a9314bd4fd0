//! Warnings that a client can cause at will: a few at a time are told, the others counted, so that nobody can fill the log.

use std::sync::{Mutex, PoisonError};

/// How many warnings are told in one period.
const AT_ONCE: u32 = 10;
const PERIOD_MS: u64 = 10_000;

/// The warnings of one kind.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    period_start_ms: u64,
    told: u32,
    silenced: u64,
}

impl Complaints {
    /// May another warning be told now? Then with how many were not since the last one; `None` when it must not.
    pub(crate) fn admit(&self, now_ms: u64) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.saturating_sub(state.period_start_ms) >= PERIOD_MS {
            (state.period_start_ms, state.told) = (now_ms, 0);
        }
        if state.told >= AT_ONCE {
            state.silenced += 1;
            return None;
        }
        state.told += 1;
        Some(std::mem::take(&mut state.silenced))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_warnings_a_few_are_told_and_the_others_counted() {
        let complaints = Complaints::default();
        let told = (0..100).filter(|_| complaints.admit(5) == Some(0)).count();
        assert_eq!(told, 10);
        assert_eq!(complaints.admit(9_999), None);
        assert_eq!(complaints.admit(10_000), Some(91));
        assert_eq!(complaints.admit(10_000), Some(0));
    }
}
