//! Latencies, every one of them counted (Kafka's tools keep half a million samples at most), to three significant digits.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::java_number::fixed;

/// Latencies beyond are counted as this, in microseconds: a day.
const LONGEST_US: u64 = 86_400_000_000;
/// The error of a percentile is below one in a thousand.
const DIGITS: u8 = 3;

/// Latencies in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    sum_us: u64,
    max_us: u64,
}

impl Latencies {
    pub(crate) fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds are good ones");
        Latencies { histogram, sum_us: 0, max_us: 0 }
    }

    pub(crate) fn record(&mut self, us: u64) {
        self.histogram.saturating_record(us);
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    pub(crate) fn clear(&mut self) {
        self.histogram.reset();
        (self.sum_us, self.max_us) = (0, 0);
    }

    /// In milliseconds; NaN of no records.
    pub(crate) fn mean_ms(&self) -> f64 {
        self.sum_us as f64 / self.histogram.len() as f64 / 1e3
    }

    pub(crate) fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1e3
    }

    /// The latency that `percent` of the records do not exceed, in microseconds; 0 of no records.
    pub(crate) fn percentile_us(&self, percent: f64) -> u64 {
        // The histogram answers with the upper end of a bucket, which may be beyond anything that happened.
        self.histogram.value_at_percentile(percent).min(self.max_us)
    }

    /// What `--output json` says about them, in milliseconds.
    pub(crate) fn to_json(&self) -> Value {
        let ms = |us: u64| json!(us as f64 / 1e3);
        let mut object = serde_json::Map::new();
        object.insert("mean".to_owned(), rounded(self.mean_ms()));
        for percent in ["50", "90", "95", "99", "99.9", "99.99"] {
            object.insert(format!("p{percent}"), ms(self.percentile_us(percent.parse().unwrap_or_default())));
        }
        object.insert("max".to_owned(), ms(self.max_us));
        Value::Object(object)
    }
}

/// A percentile as it is printed: whole milliseconds as by Kafka's tools, or with what is below them.
pub(crate) fn milliseconds(us: u64, whole: bool) -> String {
    if whole { (us / 1000).to_string() } else { fixed(us as f64 / 1e3, 3) }
}

/// A number with three places behind the point; null where there is none.
pub(crate) fn rounded(value: f64) -> Value {
    if value.is_finite() { json!((value * 1e3).round() / 1e3) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_counts_and_percentiles_never_exceed_the_longest() {
        let mut latencies = Latencies::new();
        for us in 1..=100_000 {
            latencies.record(us);
        }
        assert_eq!((latencies.mean_ms(), latencies.max_ms()), (50.0005, 100.0));
        for (percent, exact) in [(50.0, 50_000_u64), (99.0, 99_000), (99.9, 99_900), (100.0, 100_000)] {
            let found = latencies.percentile_us(percent);
            assert!(found <= 100_000 && found.abs_diff(exact) <= exact / 1000, "{percent}: {found}");
        }
        latencies.clear();
        assert!(latencies.mean_ms().is_nan());
        assert_eq!(latencies.to_json()["mean"], Value::Null);
        latencies.record(0);
        latencies.record(u64::MAX);
        assert_eq!(latencies.percentile_us(50.0), 0);
    }

    #[test]
    fn whole_milliseconds_are_what_kafka_prints() {
        assert_eq!((milliseconds(1999, true), milliseconds(1999, false)), ("1".to_owned(), "1.999".to_owned()));
    }
}
