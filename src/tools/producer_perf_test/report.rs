//! What was delivered and how long it took: counted on the producer's task, printed by the tool's.
//!
//! Invariant: a record is counted once in the total, once in the steady state if it was sent in that, and in one window at most.
//! Source: `ProducerPerformance.Stats`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::tools::java_number::fixed;
use crate::tools::latencies::{Latencies, milliseconds, rounded};

/// What is remembered of a record while it is on its way, in the 64 bits that the producer keeps for us.
///
/// From the top: was it sent in the steady state (1 bit), which of the sizes it has (23), when it was due in microseconds of the test (40,
/// twelve days; a difference is right beyond that too).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub(super) u64);

impl Tag {
    const TIME_BITS: u32 = 40;
    const TIME: u64 = (1 << Tag::TIME_BITS) - 1;
    const SIZE: u64 = (1 << 23) - 1;

    pub(super) fn new(steady: bool, size: u32, due_us: u64) -> Tag {
        Tag(u64::from(steady) << 63 | (u64::from(size) & Tag::SIZE) << Tag::TIME_BITS | due_us & Tag::TIME)
    }

    fn is_steady(self) -> bool {
        self.0 >> 63 == 1
    }

    fn size(self) -> usize {
        (self.0 >> Tag::TIME_BITS & Tag::SIZE) as usize
    }

    fn latency_us(self, now_us: u64) -> u64 {
        now_us.wrapping_sub(self.0) & Tag::TIME
    }
}

/// Records and their latencies since a moment.
struct Tally {
    since: Instant,
    records: u64,
    bytes: u64,
    latencies: Latencies,
}

impl Tally {
    fn new(since: Instant) -> Tally {
        Tally { since, records: 0, bytes: 0, latencies: Latencies::new() }
    }

    fn record(&mut self, bytes: u64, latency_us: u64) {
        self.records += 1;
        self.bytes += bytes;
        self.latencies.record(latency_us);
    }
}

/// All that is counted.
pub(super) struct Report {
    started: Instant,
    /// The sizes in bytes that tags refer to.
    sizes: Vec<u64>,
    total: Tally,
    /// Begun with the first record after the warm-up.
    steady: Option<Tally>,
    window: Tally,
    /// Windows of the steady state that were printed.
    steady_windows: u64,
}

/// A summary, as Kafka's line or as JSON.
pub(super) struct Summary<'a> {
    kind: Kind,
    tally: &'a Tally,
    elapsed: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Window { steady: bool },
    Total,
    Steady,
}

impl Report {
    pub(super) fn new(started: Instant, sizes: Vec<u64>) -> Report {
        Report { started, sizes, total: Tally::new(started), steady: None, window: Tally::new(started), steady_windows: 0 }
    }

    /// Counts a batch's records, delivered now.
    pub(super) fn delivered(&mut self, now: Instant, tags: &mut dyn Iterator<Item = u64>) {
        let now_us = now.duration_since(self.started).as_micros() as u64;
        for tag in tags.map(Tag) {
            let (bytes, latency_us) = (self.sizes.get(tag.size()).copied().unwrap_or_default(), tag.latency_us(now_us));
            self.total.record(bytes, latency_us);
            match &mut self.steady {
                Some(steady) if tag.is_steady() => {
                    steady.record(bytes, latency_us);
                    self.window.record(bytes, latency_us);
                }
                // What is left of the warm-up belongs to no window.
                Some(_) => {}
                None => self.window.record(bytes, latency_us),
            }
        }
    }

    /// The warm-up is over.
    pub(super) fn begin_steady_state(&mut self, now: Instant) {
        self.steady = Some(Tally::new(now));
        self.new_window(now);
    }

    fn new_window(&mut self, now: Instant) {
        (self.window.since, self.window.records, self.window.bytes) = (now, 0, 0);
        self.window.latencies.clear();
    }

    pub(super) fn records(&self) -> u64 {
        self.total.records
    }

    /// How many records were delivered, and how fast of late.
    pub(super) fn speed(&self, now: Instant) -> (u64, String) {
        let elapsed = now.saturating_duration_since(self.window.since);
        let (per_second, mib) = Summary { kind: Kind::Total, tally: &self.window, elapsed }.rates();
        (self.total.records, format!("{} records/s, {} MB/s", fixed(per_second, 0), fixed(mib, 1)))
    }

    /// Gives the window to `print`, with whether it is the first of the steady state, if it has lasted for `interval` and has records.
    pub(super) fn end_window<E>(
        &mut self,
        now: Instant,
        interval: Duration,
        print: impl FnOnce(&Summary<'_>, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        let elapsed = now.saturating_duration_since(self.window.since);
        if elapsed < interval || self.window.records == 0 {
            return Ok(());
        }
        let steady = self.steady.is_some();
        let first = steady && self.steady_windows == 0;
        self.steady_windows += u64::from(steady);
        let outcome = print(&Summary { kind: Kind::Window { steady }, tally: &self.window, elapsed }, first);
        self.new_window(now);
        outcome
    }

    /// The last lines: of all records, and of those after the warm-up.
    pub(super) fn summaries(&self, now: Instant) -> impl Iterator<Item = Summary<'_>> {
        let total = (Kind::Total, &self.total);
        let steady = self.steady.as_ref().map(|steady| (Kind::Steady, steady));
        [Some(total), steady].into_iter().flatten().map(move |(kind, tally)| {
            let elapsed = now.saturating_duration_since(tally.since);
            Summary { kind, tally, elapsed }
        })
    }
}

impl Summary<'_> {
    /// Records and mebibytes a second. Kafka divides by whole milliseconds, so by less than one only where there is nothing to divide.
    fn rates(&self) -> (f64, f64) {
        let seconds = self.elapsed.as_secs_f64();
        (self.tally.records as f64 / seconds, self.tally.bytes as f64 / seconds / f64::from(1 << 20))
    }

    /// Kafka's line. Percentiles are whole milliseconds there.
    pub(super) fn line(&self, whole_milliseconds: bool) -> String {
        let Tally { records, latencies, .. } = self.tally;
        let (per_second, mib) = self.rates();
        let (mean, max) = (latencies.mean_ms(), latencies.max_ms());
        if let Kind::Window { .. } = self.kind {
            return format!(
                "{records} records sent, {} records/sec ({} MB/sec), {} ms avg latency, {} ms max latency.",
                fixed(per_second, 1),
                fixed(mib, 2),
                fixed(mean, 1),
                fixed(max, 1)
            );
        }
        let steady = if self.kind == Kind::Steady { " steady state" } else { "" };
        let [p50, p95, p99, p999] =
            [50.0, 95.0, 99.0, 99.9].map(|percent| milliseconds(latencies.percentile_us(percent), whole_milliseconds));
        format!(
            "{records}{steady} records sent, {} records/sec ({} MB/sec), {} ms avg latency, {} ms max latency, \
             {p50} ms 50th, {p95} ms 95th, {p99} ms 99th, {p999} ms 99.9th.",
            fixed(per_second, 6),
            fixed(mib, 2),
            fixed(mean, 2),
            fixed(max, 2)
        )
    }

    /// The same for programs. `failed` is how many records were not delivered.
    pub(super) fn to_json(&self, failed: u64) -> Value {
        let Tally { records, bytes, latencies, .. } = self.tally;
        let (per_second, mib) = self.rates();
        let (kind, steady) = match self.kind {
            Kind::Window { steady } => ("window", steady),
            Kind::Total => ("total", false),
            Kind::Steady => ("total", true),
        };
        let mut object = json!({
            "type": kind,
            "steadyState": steady,
            "records": records,
            "bytes": bytes,
            "seconds": rounded(self.elapsed.as_secs_f64()),
            "recordsPerSecond": rounded(per_second),
            "mebibytesPerSecond": rounded(mib),
            "latencyMs": latencies.to_json(),
        });
        if self.kind == Kind::Total {
            object["failedRecords"] = json!(failed);
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(report: &Report, now: Instant) -> Vec<String> {
        report.summaries(now).map(|summary| summary.line(true)).collect()
    }

    #[test]
    fn lines_are_kafkas() {
        let started = Instant::now();
        let at = |ms| started + Duration::from_millis(ms);
        let mut report = Report::new(started, vec![1 << 20, 0]);
        let tags = [Tag::new(false, 0, 0), Tag::new(false, 0, 1_000_000), Tag::new(false, 1, 1_987_500)];
        report.delivered(at(2000), &mut tags.iter().map(|tag| tag.0));
        let mut window = String::new();
        report.end_window(at(2000), Duration::from_secs(5), |_, _| Err("too early")).unwrap();
        let print = |summary: &Summary<'_>, first: bool| {
            window = format!("{} {first}", summary.line(true));
            Ok::<_, &str>(())
        };
        report.end_window(at(6000), Duration::from_secs(5), print).unwrap();
        assert_eq!(window, "3 records sent, 0.5 records/sec (0.33 MB/sec), 1004.2 ms avg latency, 2000.0 ms max latency. false");
        report.end_window(at(20_000), Duration::from_secs(5), |_, _| Err("without a record")).unwrap();
        let total = "3 records sent, 0.300000 records/sec (0.20 MB/sec), 1004.17 ms avg latency, 2000.00 ms max latency, \
                     1000 ms 50th, 2000 ms 95th, 2000 ms 99th, 2000 ms 99.9th.";
        assert_eq!(lines(&report, at(10_000)), [total]);
        let empty = Report::new(started, Vec::new());
        let nothing = "0 records sent, 0.000000 records/sec (0.00 MB/sec), NaN ms avg latency, 0.00 ms max latency, \
                       0 ms 50th, 0 ms 95th, 0 ms 99th, 0 ms 99.9th.";
        assert_eq!(lines(&empty, at(10)), [nothing]);
    }

    #[test]
    fn the_steady_state_counts_what_was_sent_in_it() {
        let started = Instant::now();
        let at = |ms| started + Duration::from_millis(ms);
        let mut report = Report::new(started, vec![10]);
        report.delivered(at(100), &mut [Tag::new(false, 0, 0).0].into_iter());
        report.begin_steady_state(at(200));
        report.delivered(at(300), &mut [Tag::new(false, 0, 0).0, Tag::new(true, 0, 290_000).0].into_iter());
        let printed = |report: &mut Report, ms| {
            let mut printed = String::new();
            let print = |summary: &Summary<'_>, first: bool| {
                printed = format!("{} {first}", summary.to_json(0));
                Ok::<_, ()>(())
            };
            report.end_window(at(ms), Duration::from_millis(500), print).unwrap();
            printed
        };
        let first = printed(&mut report, 700);
        assert!(first.starts_with(r#"{"type":"window","steadyState":true,"records":1,"bytes":10,"seconds":0.5,"#), "{first}");
        assert!(first.ends_with(r#""max":10.0}} true"#), "{first}");
        report.delivered(at(800), &mut [Tag::new(true, 0, 790_000).0].into_iter());
        assert!(printed(&mut report, 1200).ends_with(" false"));
        let totals: Vec<Value> = report.summaries(at(1200)).map(|summary| summary.to_json(7)).collect();
        assert_eq!((&totals[0]["records"], &totals[0]["failedRecords"]), (&json!(4), &json!(7)));
        assert_eq!((&totals[1]["records"], &totals[1]["seconds"], &totals[1]["latencyMs"]["p50"]), (&json!(2), &json!(1.0), &json!(10.0)));
        assert!(report.summaries(at(1200)).nth(1).unwrap().line(false).starts_with("2 steady state records sent, 2.000000 records/sec"));
    }
}
