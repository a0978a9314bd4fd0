//! How fast the cleaner may read and write (`log.cleaner.io.max.bytes.per.second`), all its threads together. Source: `Throttler`.

use std::sync::{Mutex, PoisonError};

/// Waits shorter than this are saved up.
const SHORTEST_WAIT_MS: f64 = 50.0;

/// The budget. Shared by all threads.
pub(in crate::storage) struct Throttle {
    /// When the bytes so far are paid for, ms on the monotonic clock.
    paid_until_ms: Mutex<f64>,
}

impl Throttle {
    pub(in crate::storage) fn new() -> Throttle {
        Throttle { paid_until_ms: Mutex::new(0.0) }
    }

    /// `bytes` were read or written at `now_ms`; gives how long to wait, ms, so that the rate stays at `bytes_per_second`.
    pub(in crate::storage) fn observe(&self, bytes: u64, bytes_per_second: f64, now_ms: u64) -> u64 {
        let cost_ms = bytes as f64 / bytes_per_second * 1000.0;
        if cost_ms.is_nan() || cost_ms <= 0.0 {
            return 0;
        }
        let mut paid_until_ms = self.paid_until_ms.lock().unwrap_or_else(PoisonError::into_inner);
        *paid_until_ms = paid_until_ms.max(now_ms as f64) + cost_ms;
        let wait_ms = *paid_until_ms - now_ms as f64;
        if wait_ms < SHORTEST_WAIT_MS { 0 } else { wait_ms as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept() {
        let throttle = Throttle::new();
        let mut now_ms = 1000;
        for _ in 0..1000 {
            now_ms += throttle.observe(1000, 100_000.0, now_ms);
        }
        // A million bytes at a hundred thousand a second.
        assert!((9_900..=10_100).contains(&(now_ms - 1000)), "{now_ms}");
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let throttle = Throttle::new();
        throttle.observe(1, 1000.0, 0);
        assert_eq!(throttle.observe(1000, 1000.0, 60_000), 1000);
    }

    #[test]
    fn the_default_is_no_limit() {
        let throttle = Throttle::new();
        assert_eq!((0..1000).map(|n| throttle.observe(1 << 30, f64::MAX, n)).sum::<u64>(), 0);
    }
}
