//! `kafka-consumer-perf-test`: how many records a second a consumer reads.
//!
//! Differs from Kafka's tool unless `KAFKA_CLI_COMPAT` is set: a topic or a cluster that is not there is an error, and so is an end before
//! all records were read.
//!
//! Invariant: the records are lent ([`Consumer::poll_visit`]), so that what is measured is the reading and not the handing over.
//! Source: `org.apache.kafka.tools.ConsumerPerformance`.

mod date_format;
mod options;

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Zoned;
use serde_json::{Value, json};

use options::{Request, Topics};

use super::args::Options;
use super::exit::{Exit, Failure};
use super::java_number::fixed;
use super::latencies::rounded;
use super::metrics::{self, Metric};
use super::output::{Format, print_json};
use super::session::Session;
use super::signals::Signals;
use super::{Parser, Tool, connect};
use crate::client::consumer::{Consumer, ConsumerError, RebalanceEvent};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;

pub(super) const TOOL: Tool = Tool { name: "kafka-consumer-perf-test", parser: Parser::Jopt, command: options::command, run };

const POLL: Duration = Duration::from_millis(100);
/// A progress line that is brought up to date more often only costs time.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// Committing and leaving the group may take this long.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);
const MIB: f64 = 1_048_576.0;

fn run(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    let request = Request::read(session, options)?;
    // Fetching goes on while records are counted.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        test(session, &request, &mut signals).await
    });
    runtime.shutdown_background();
    result
}

/// How long this member of the group was without partitions.
struct Joining {
    assigned: HashSet<TopicPartition>,
    since: Instant,
    total: Duration,
    /// Since the last window.
    window: Duration,
}

impl Joining {
    fn hear(&mut self, event: &RebalanceEvent) {
        match event {
            RebalanceEvent::Assigned(partitions) => {
                if self.assigned.is_empty() {
                    self.total += self.since.elapsed();
                    self.window += self.since.elapsed();
                }
                self.assigned.extend(partitions.iter().cloned());
            }
            RebalanceEvent::Revoked(partitions) | RebalanceEvent::Lost(partitions) => {
                partitions.iter().for_each(|partition| _ = self.assigned.remove(partition));
                if self.assigned.is_empty() {
                    self.since = Instant::now();
                }
            }
        }
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    records: u64,
    bytes: u64,
}

/// What was read in a stretch of time.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    count: Count,
    elapsed: Duration,
    /// How much of that was spent without partitions.
    joining: Duration,
}

impl Stretch {
    fn fetching(&self) -> Duration {
        self.elapsed.saturating_sub(self.joining)
    }

    /// Mebibytes and records a second.
    fn rates(&self, of: Duration) -> (f64, f64) {
        let seconds = of.as_secs_f64();
        (self.count.bytes as f64 / MIB / seconds, self.count.records as f64 / seconds)
    }

    /// The columns after the moments: amounts (of all, where that is something else), rates, milliseconds, rates again.
    fn columns(&self, all: Count) -> String {
        let (mib, records) = self.rates(self.elapsed);
        let (fetch_mib, fetch_records) = match self.fetching() {
            Duration::ZERO => (0.0, 0.0),
            fetching => self.rates(fetching),
        };
        format!(
            "{}, {}, {}, {}, {}, {}, {}, {}",
            fixed(all.bytes as f64 / MIB, 4),
            fixed(mib, 4),
            all.records,
            fixed(records, 4),
            self.joining.as_millis(),
            self.fetching().as_millis(),
            fixed(fetch_mib, 4),
            fixed(fetch_records, 4)
        )
    }

    fn to_json(self, kind: &str) -> Value {
        let (mib, records) = self.rates(self.elapsed);
        let (fetch_mib, fetch_records) = self.rates(self.fetching());
        json!({
            "type": kind,
            "records": self.count.records,
            "bytes": self.count.bytes,
            "seconds": rounded(self.elapsed.as_secs_f64()),
            "recordsPerSecond": rounded(records),
            "mebibytesPerSecond": rounded(mib),
            "rebalanceSeconds": rounded(self.joining.as_secs_f64()),
            "fetchSeconds": rounded(self.fetching().as_secs_f64()),
            "fetchRecordsPerSecond": rounded(fetch_records),
            "fetchMebibytesPerSecond": rounded(fetch_mib),
        })
    }
}

async fn test(session: &mut Session, request: &Request, signals: &mut Signals) -> anyhow::Result<Exit> {
    if request.header && session.format() != Format::Json {
        let moments = if request.detailed { "time, threadId" } else { "start.time, end.time" };
        let columns =
            "data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";
        writeln!(session.out, "{moments}, {columns}")?;
        session.out.flush()?;
    }
    let consumer = tokio::select! {
        consumer = connect(session, request) => consumer?,
        exit = signals.next() => return Ok(exit),
    };
    let (started, started_at) = (Instant::now(), Zoned::now());
    let joining = Joining { assigned: HashSet::new(), since: started, total: Duration::ZERO, window: Duration::ZERO };
    let joining = Arc::new(Mutex::new(joining));
    let listening = Arc::clone(&joining);
    consumer.set_rebalance_listener(Box::new(move |event| listening.lock().unwrap_or_else(PoisonError::into_inner).hear(event)));
    match &request.topics {
        Topics::One(topic) => consumer.subscribe([topic.as_str()]),
        Topics::Matching(pattern) => consumer.subscribe_pattern(pattern),
    }
    .map_err(unwrapped)?;
    let mut reading = Reading { request, consumer: &consumer, joining: &joining, count: Count::default() };
    let progress = progress(session, request.records);
    let ended = tokio::select! {
        outcome = reading.run(session, progress.as_ref()) => outcome.map(|()| None),
        exit = signals.next() => Ok(Some(exit)),
    };
    let (elapsed, count) = (started.elapsed(), reading.count);
    if let Some(bar) = progress {
        bar.finish_and_clear();
    }
    let interrupted = ended?;
    let timed_out = count.records < request.records && interrupted.is_none();
    let all = Stretch { count, elapsed, joining: joining.lock().unwrap_or_else(PoisonError::into_inner).total };
    conclude(session, request, all, &started_at, timed_out)?;
    tokio::select! {
        closed = consumer.close(CLOSE_WITHIN) => closed.map_err(unwrapped).context("the offsets were not committed")?,
        _ = signals.next() => {}
    }
    match interrupted {
        Some(exit) => Ok(exit),
        None if timed_out && !session.compat() => Ok(Exit::FAILURE),
        None => Ok(Exit::SUCCESS),
    }
}

fn conclude(session: &mut Session, request: &Request, all: Stretch, started_at: &Zoned, timed_out: bool) -> anyhow::Result<()> {
    if session.format() == Format::Json {
        let mut result = all.to_json("total");
        result["startTime"] = json!(started_at.timestamp().to_string());
        result["timedOut"] = json!(timed_out);
        print_json(session, &result)?;
    } else {
        if timed_out {
            let limit = request.timeout.as_millis();
            let rule = "You can use the --timeout option to increase the timeout.";
            writeln!(
                session.out,
                "WARNING: Exiting before consuming the expected number of records: timeout ({limit} ms) exceeded. {rule}"
            )?;
        }
        if !request.detailed {
            let ended_at = started_at.checked_add(all.elapsed)?;
            let [from, to] = [started_at, &ended_at].map(|moment| request.date_format.format(moment));
            writeln!(session.out, "{from}, {to}, {}", all.columns(all.count))?;
        }
        if request.print_metrics {
            let client_id = request.config.client_id(options::CLIENT_ID);
            let read = all.count.records as f64;
            let tags = [("client-id", client_id.as_str())];
            let metrics = vec![Metric::new("consumer-fetch-manager-metrics", "records-consumed-total", &tags, read)];
            metrics::print(&mut session.out, metrics)?;
        }
    }
    Ok(session.out.flush()?)
}

/// A client's error as itself, so that what is known about it is found.
fn unwrapped(error: ConsumerError) -> anyhow::Error {
    match error {
        ConsumerError::Client(error) => error.into(),
        other => other.into(),
    }
}

/// Connects, and sees that the topic is there.
async fn connect(session: &mut Session, request: &Request) -> anyhow::Result<Consumer> {
    let servers = connect::describe_servers(&request.config);
    let (message, notice) = (format!("Connecting to {servers}"), format!("no answer from {servers} yet"));
    let consumer = session.patiently(&message, &notice, Consumer::new(&request.config)).await.map_err(unwrapped)?;
    if let (Topics::One(topic), false) = (&request.topics, session.compat()) {
        match consumer.partitions_for(topic).await.map_err(unwrapped) {
            Ok(_) => {}
            Err(error) if error.downcast_ref().is_some_and(|it: &crate::client::ClientError| it.is(ErrorCode::UnknownTopicOrPartition)) => {
                return Err(Failure::new(format!("topic '{topic}' does not exist")).into());
            }
            Err(error) => return Err(error.context(format!("topic '{topic}'"))),
        }
    }
    Ok(consumer)
}

/// For those who watch.
fn progress(session: &Session, records: u64) -> Option<ProgressBar> {
    let wanted = session.terminals.stderr && !session.quiet() && !session.compat();
    let style = ProgressStyle::with_template("{spinner} {wide_bar} {percent}% {msg}").ok();
    style.filter(|_| wanted).map(|style| ProgressBar::new(records).with_style(style))
}

struct Reading<'a> {
    request: &'a Request,
    consumer: &'a Consumer,
    joining: &'a Mutex<Joining>,
    count: Count,
}

impl Reading<'_> {
    /// Reads until there are enough records, or none has come for too long.
    async fn run(&mut self, session: &mut Session, progress: Option<&ProgressBar>) -> anyhow::Result<()> {
        let began = Instant::now();
        let (mut reported, mut last_read, mut shown) = (began, began, began);
        let mut before = Count::default();
        while self.count.records < self.request.records && last_read.elapsed() <= self.request.timeout {
            let count = &mut self.count;
            let read = self.consumer.poll_visit(POLL, |lent| {
                let record = &lent.record;
                count.records += 1;
                count.bytes += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64;
            });
            if read.await.map_err(unwrapped)? == 0 {
                continue;
            }
            let now = Instant::now();
            last_read = now;
            let elapsed = now - reported;
            if elapsed >= self.request.reporting_interval {
                let joining = std::mem::take(&mut self.joining.lock().unwrap_or_else(PoisonError::into_inner).window);
                if self.request.detailed {
                    let count = Count { records: self.count.records - before.records, bytes: self.count.bytes - before.bytes };
                    self.window(session, &Stretch { count, elapsed, joining })?;
                }
                (reported, before) = (now, self.count);
            }
            if let Some(bar) = progress
                && now - shown >= SHOW_EVERY
            {
                let all = Stretch { count: self.count, elapsed: began.elapsed(), joining: Duration::ZERO };
                let (mib, records) = all.rates(all.elapsed);
                bar.set_position(self.count.records);
                bar.set_message(format!("{} records/s, {} MB/s", fixed(records, 0), fixed(mib, 1)));
                bar.tick();
                shown = now;
            }
        }
        Ok(())
    }

    fn window(&self, session: &mut Session, window: &Stretch) -> anyhow::Result<()> {
        if session.format() == Format::Json {
            print_json(session, &window.to_json("window"))?;
        } else {
            let moment = self.request.date_format.format(&Zoned::now());
            writeln!(session.out, "{moment}, 0, {}", window.columns(self.count))?;
        }
        Ok(session.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_kafkas() {
        let count = Count { records: 300, bytes: 3 << 20 };
        let stretch = Stretch { count, elapsed: Duration::from_secs(2), joining: Duration::from_millis(500) };
        assert_eq!(stretch.columns(count), "3.0000, 1.5000, 300, 150.0000, 500, 1500, 2.0000, 200.0000");
        let all = Count { records: 900, bytes: 9 << 20 };
        assert_eq!(stretch.columns(all), "9.0000, 1.5000, 900, 150.0000, 500, 1500, 2.0000, 200.0000");
        let joining_only = Stretch { joining: Duration::from_secs(3), ..stretch };
        assert!(joining_only.columns(count).ends_with(", 3000, 0, 0.0000, 0.0000"));
        let json = stretch.to_json("window");
        assert_eq!((&json["fetchSeconds"], &json["fetchRecordsPerSecond"]), (&json!(1.5), &json!(200.0)));
        assert_eq!(joining_only.to_json("total")["fetchRecordsPerSecond"], Value::Null);
    }

    #[test]
    fn joining_lasts_until_there_is_a_partition() {
        let partition = |number| TopicPartition::new("t", number);
        let since = Instant::now().checked_sub(Duration::from_secs(5)).expect("the machine runs for longer");
        let mut joining = Joining { assigned: HashSet::new(), since, total: Duration::ZERO, window: Duration::ZERO };
        joining.hear(&RebalanceEvent::Assigned(vec![partition(0)]));
        assert!(joining.total >= Duration::from_secs(5));
        let total = joining.total;
        joining.hear(&RebalanceEvent::Assigned(vec![partition(1)]));
        joining.hear(&RebalanceEvent::Revoked(vec![partition(0)]));
        joining.hear(&RebalanceEvent::Assigned(vec![partition(0)]));
        assert_eq!(joining.total, total, "it had one all the time");
        joining.hear(&RebalanceEvent::Lost(vec![partition(0), partition(1)]));
        assert!(joining.since > since && joining.assigned.is_empty());
    }
}
