//! A histogram with fixed bounds: two atomic additions an observation, no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in milliseconds, from what a page-cache hit takes to the longest wait a client allows itself.
pub(crate) const MILLISECONDS: [f64; 18] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0];

/// Durations.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One for each bound, and one for what is above all of them. Not cumulative.
    buckets: [AtomicU64; MILLISECONDS.len() + 1],
    sum_ns: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observations {
    pub(crate) count: u64,
    pub(crate) sum_ms: f64,
    /// Upper bound in milliseconds (the last is infinite), observations between it and the bound before.
    pub(crate) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let ms = duration.as_secs_f64() * 1000.0;
        let bucket = MILLISECONDS.partition_point(|&bound| bound < ms);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Observations {
        let bounds = MILLISECONDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(&self.buckets).map(|(bound, bucket)| (bound, bucket.load(Ordering::Relaxed))).collect();
        // The count is that of the buckets, so that both always agree.
        let count = buckets.iter().map(|(_, count)| count).sum();
        Observations { count, sum_ms: self.sum_ns.load(Ordering::Relaxed) as f64 / 1e6, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [50, 51, 1000, 60_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let read = histogram.read();
        let filled: Vec<(f64, u64)> = read.buckets.iter().copied().filter(|&(_, count)| count > 0).collect();
        assert_eq!(filled, [(0.05, 1), (0.1, 1), (1.0, 1), (f64::INFINITY, 1)]);
        assert_eq!(read.count, 4);
        assert!((read.sum_ms - 60_001.101).abs() < 1e-6, "{}", read.sum_ms);
    }
}
