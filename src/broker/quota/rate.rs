//! How much was used lately: a rate over windows of time, and a bucket of tokens. Pure: the time is passed in.
//!
//! Sources: Kafka's `SampledStat`, `WindowedSum`, `Rate`, `TokenBucket`, `QuotaUtils`. The numbers are theirs, oddities included, because
//! clients see them as throttle times.

/// The windows that usage is remembered in: `quota.window.num` of them, each `quota.window.size.seconds` long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) count: usize,
    pub(crate) size_ms: i64,
}

impl Windows {
    /// After this time without usage nothing is remembered.
    pub(crate) fn memory_ms(self) -> i64 {
        self.size_ms.saturating_mul(self.count as i64)
    }

    /// The most that can be used at once without being over `limit` for sure.
    pub(crate) fn burst(self, limit: f64) -> f64 {
        limit * self.count.saturating_sub(1) as f64 * seconds(self.size_ms)
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// What was used in one window.
#[derive(Debug, Clone, Copy)]
struct Sample {
    start_ms: i64,
    last_ms: i64,
    sum: f64,
}

impl Sample {
    fn new(now_ms: i64) -> Sample {
        Sample { start_ms: now_ms, last_ms: now_ms, sum: 0.0 }
    }
}

/// Usage per second, over the last windows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    /// One more than there are windows, since the oldest may reach into the time that counts.
    samples: Vec<Sample>,
    current: usize,
}

impl Rate {
    /// Adds usage; a negative amount takes it back.
    pub(crate) fn record(&mut self, windows: Windows, amount: f64, now_ms: i64) {
        if self.samples.is_empty() {
            self.samples.push(Sample::new(now_ms));
        }
        if now_ms - self.samples[self.current].start_ms >= windows.size_ms {
            self.current = (self.current + 1) % (windows.count + 1);
            match self.samples.get_mut(self.current) {
                Some(sample) => *sample = Sample::new(now_ms),
                None => {
                    self.current = self.samples.len();
                    self.samples.push(Sample::new(now_ms));
                }
            }
        }
        let sample = &mut self.samples[self.current];
        sample.sum += amount;
        sample.last_ms = now_ms;
    }

    /// The usage per second.
    pub(crate) fn measure(&mut self, windows: Windows, now_ms: i64) -> f64 {
        self.forget(windows, now_ms);
        let total: f64 = self.samples.iter().map(|sample| sample.sum).sum();
        total / seconds(self.span_ms(windows, now_ms))
    }

    /// The time that the usage is spread over: never less than all windows but the current one.
    pub(crate) fn span_ms(&mut self, windows: Windows, now_ms: i64) -> i64 {
        self.forget(windows, now_ms);
        let oldest_ms = self.samples.iter().map(|sample| sample.start_ms).min().unwrap_or(now_ms);
        let elapsed_ms = now_ms - oldest_ms;
        let missing = windows.count as i64 - 1 - elapsed_ms / windows.size_ms;
        (elapsed_ms + missing.max(0) * windows.size_ms).max(1)
    }

    fn forget(&mut self, windows: Windows, now_ms: i64) {
        for sample in &mut self.samples {
            if now_ms - sample.last_ms >= windows.memory_ms() {
                *sample = Sample::new(now_ms);
            }
        }
    }

    /// For how long nothing more may be used so that the rate is back at `limit`, in milliseconds; 0 within the limit.
    pub(crate) fn throttle_ms(&mut self, windows: Windows, limit: f64, now_ms: i64) -> i64 {
        let rate = self.measure(windows, now_ms);
        if rate <= limit {
            return 0;
        }
        rounded((rate - limit) / limit * self.span_ms(windows, now_ms) as f64)
    }
}

/// Tokens that come back with time, up to a burst of all windows; they may be overdrawn.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenBucket {
    /// The tokens at a moment; full before the first.
    state: Option<(f64, i64)>,
}

impl TokenBucket {
    fn refill(&mut self, windows: Windows, limit: f64, now_ms: i64) -> f64 {
        let burst = windows.count as f64 * seconds(windows.size_ms) * limit;
        let tokens = self.state.map_or(burst, |(tokens, at_ms)| burst.min(tokens + limit * seconds(now_ms - at_ms)));
        self.state = Some((tokens, now_ms));
        tokens
    }

    /// Takes tokens, more than there are if need be.
    pub(crate) fn take(&mut self, windows: Windows, limit: f64, amount: f64, now_ms: i64) {
        let tokens = self.refill(windows, limit, now_ms);
        self.state = Some((tokens - amount, now_ms));
    }

    /// How long it takes until the bucket is not overdrawn, in milliseconds; 0 when it is not.
    pub(crate) fn throttle_ms(&mut self, windows: Windows, limit: f64, now_ms: i64) -> i64 {
        let tokens = self.refill(windows, limit, now_ms);
        if tokens < 0.0 { rounded(-tokens / limit * 1000.0) } else { 0 }
    }
}

/// As Java rounds.
fn rounded(ms: f64) -> i64 {
    (ms + 0.5).floor() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows { count: 11, size_ms: 1000 };

    #[test]
    fn a_rate_is_spread_over_all_windows_but_the_current_one() {
        let mut rate = Rate::default();
        rate.record(WINDOWS, 4000.0, 0);
        assert_eq!(rate.measure(WINDOWS, 0), 400.0);
        assert_eq!(rate.measure(WINDOWS, 500), 4000.0 / 10.5);
        assert_eq!(rate.measure(WINDOWS, 1000), 400.0);
    }

    #[test]
    fn throttle_times_are_those_of_kafkas_own_test() {
        // ClientQuotaManagerTest.testQuotaViolation: a quota of 500, ten windows of 400, half a window, then a spike of 2300.
        let mut rate = Rate::default();
        let mut now_ms = 0;
        for _ in 0..10 {
            rate.record(WINDOWS, 400.0, now_ms);
            assert_eq!(rate.throttle_ms(WINDOWS, 500.0, now_ms), 0);
            now_ms += 1000;
        }
        now_ms += 500;
        rate.record(WINDOWS, 2300.0, now_ms);
        // 10.5 seconds: 600 per second, so (600 - 500) / 500 * 10.5 seconds.
        assert_eq!(rate.throttle_ms(WINDOWS, 500.0, now_ms), 2100);
        now_ms += 1000;
        for _ in 0..10 {
            rate.record(WINDOWS, 400.0, now_ms);
            rate.throttle_ms(WINDOWS, 500.0, now_ms);
            now_ms += 1000;
        }
        // The spike has been forgotten.
        rate.record(WINDOWS, 0.0, now_ms);
        assert_eq!(rate.throttle_ms(WINDOWS, 500.0, now_ms), 0);
    }

    #[test]
    fn what_is_taken_back_was_never_used() {
        let mut rate = Rate::default();
        rate.record(WINDOWS, 10_000.0, 5);
        assert!(rate.throttle_ms(WINDOWS, 1.0, 5) > 0);
        rate.record(WINDOWS, -10_000.0, 5);
        assert_eq!(rate.throttle_ms(WINDOWS, 1.0, 5), 0);
    }

    #[test]
    fn a_rate_forgets_after_all_windows() {
        let mut rate = Rate::default();
        rate.record(WINDOWS, 11_000.0, 0);
        assert!(rate.measure(WINDOWS, 10_999) > 0.0);
        assert_eq!(rate.measure(WINDOWS, 11_000), 0.0);
    }

    #[test]
    fn one_window_is_enough() {
        let windows = Windows { count: 1, size_ms: 1000 };
        let mut rate = Rate::default();
        rate.record(windows, 5.0, 0);
        // A window that has just begun is taken to be a millisecond old.
        assert_eq!(rate.measure(windows, 0), 5000.0);
        for now_ms in [1000, 2000, 3500] {
            rate.record(windows, 5.0, now_ms);
        }
        assert!(rate.measure(windows, 3500) > 0.0);
    }

    #[test]
    fn tokens_come_back_at_the_rate_of_the_quota() {
        // The example in the documentation of Kafka's TokenBucket: 5 a second, 100 windows; 560 at once overdraw by 60.
        let windows = Windows { count: 100, size_ms: 1000 };
        let mut bucket = TokenBucket::default();
        bucket.take(windows, 5.0, 560.0, 7);
        assert_eq!(bucket.throttle_ms(windows, 5.0, 7), 12_000);
        assert_eq!(bucket.throttle_ms(windows, 5.0, 6007), 6000);
        assert_eq!(bucket.throttle_ms(windows, 5.0, 12_007), 0);
        // Never more than the burst.
        bucket.take(windows, 5.0, 500.0, 1_000_000);
        assert_eq!(bucket.throttle_ms(windows, 5.0, 1_000_000), 0);
        bucket.take(windows, 5.0, 1.0, 1_000_000);
        assert_eq!(bucket.throttle_ms(windows, 5.0, 1_000_000), 200);
    }
}
