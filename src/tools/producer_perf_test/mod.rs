//! `kafka-producer-perf-test`: how many records a second a producer sends, and how long each takes.
//!
//! Differs from Kafka's tool unless `KAFKA_CLI_COMPAT` is set: records that were not delivered are counted on standard error and make the
//! exit code 1; a cluster or topic that is not there is an error before anything is sent; at a fixed rate a latency counts from the moment
//! the record was due (to count from when it was sent, late, would leave out what a slow answer holds up: coordinated omission). Every
//! latency is counted, not a sample. Random payloads begin as Kafka's and come again after four mebibytes ([`Letters`]).
//!
//! Invariant: a window is printed only when it has records, and never twice. What `--print-metrics` prints is what is counted here.
//! Source: `org.apache.kafka.tools.ProducerPerformance`.

mod options;
mod report;

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use options::{Content, Request};
use report::{Report, Summary, Tag};

use super::args::Options;
use super::exit::{Exit, Failure};
use super::metrics::{self, Metric};
use super::output::{Format, print_json};
use super::payload::{Letters, SplittableRandom};
use super::session::Session;
use super::signals::Signals;
use super::{Parser, Tool, connect};
use crate::client::producer::{Producer, ProducerRecord};
use crate::client::{ClientConfig, ClientError};
use crate::common::clock::{Clock, SystemClock};
use crate::protocol::error_code::ErrorCode;

pub(super) const TOOL: Tool = Tool { name: "kafka-producer-perf-test", parser: Parser::Argparse4j, command: options::command, run };

/// How often it is looked whether a window is over.
const TICK: Duration = Duration::from_millis(100);
/// Other work of the tool's thread (signals, windows) waits no longer than for so many records, nor for longer than this.
const TURN: u64 = 64;
const NAP: Duration = Duration::from_millis(20);
/// How long connections may take to close once everything is delivered.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

fn run(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    let (request, config) = Request::read(session, options)?;
    // Records are made here; batches are compressed and sent by a thread of the runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(test(session, &request, &config))
}

/// The records that were not delivered.
#[derive(Default)]
struct Failures {
    count: u64,
    first: Option<ClientError>,
}

/// What the producer's task tells.
struct Told {
    report: Mutex<Report>,
    failures: Mutex<Failures>,
}

impl Told {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: ClientError) {
        let mut failures = self.failures();
        failures.count += 1;
        failures.first.get_or_insert(error);
    }
}

async fn test(session: &mut Session, request: &Request, config: &ClientConfig) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let producer = tokio::select! {
        producer = start(session, request, config) => producer?,
        exit = signals.next() => return Ok(exit),
    };
    if request.warmup > 0 && session.format() != Format::Json {
        let notice = "records. Steady state results will print after the complete test summary.";
        writeln!(session.out, "Warmup first {} {notice}", request.warmup)?;
        session.out.flush()?;
    }
    let mut source = Source::new(request, config, session.compat());
    let started = Instant::now();
    let told = Arc::new(Told { report: Mutex::new(Report::new(started, source.sizes())), failures: Mutex::default() });
    let listening = Arc::clone(&told);
    producer.set_delivery_listener(Arc::new(move |tags| listening.report().delivered(Instant::now(), tags)));
    let listening = Arc::clone(&told);
    producer.set_failure_listener(Arc::new(move |_, error| listening.fail(error)));

    let progress = Progress::new(session, request.records);
    let mut offered = 0;
    let ended = {
        let pace = Pace { started, rate: request.rate, from_due: !session.compat() };
        let sending = async {
            let outcome = send(&producer, request, &mut source, &told, &pace, &mut offered).await;
            producer.flush().await;
            outcome
        };
        let mut sending = std::pin::pin!(sending);
        let mut ticks = tokio::time::interval(TICK.min(request.reporting_interval));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            // Sending goes first and gives the others their turn.
            tokio::select! {
                biased;
                outcome = &mut sending => break outcome.map(|()| None),
                exit = signals.next() => break Ok(Some(exit)),
                _ = ticks.tick() => {
                    progress.show(&told);
                    window(session, &told, request.reporting_interval)?;
                }
            }
        }
    };
    let flushed = match &ended {
        Ok(Some(_)) => tokio::select! {
            () = producer.flush() => true,
            // Whoever insists does not want to wait.
            _ = signals.next() => false,
        },
        _ => true,
    };
    let now = Instant::now();
    if flushed {
        producer.close(CLOSE_WITHIN).await;
    }
    drop(producer);
    progress.finish();
    conclude(session, request, config, &told, (now, offered), ended)
}

/// Connects, and sees that there is a topic to send to.
async fn start(session: &mut Session, request: &Request, config: &ClientConfig) -> anyhow::Result<Producer> {
    let servers = connect::describe_servers(config);
    let (message, notice) = (format!("Connecting to {servers}"), format!("no answer from {servers} yet"));
    let producer = session.patiently(&message, &notice, Producer::connect(config)).await?;
    if request.transaction.is_some() {
        producer.init_transactions().await.context("cannot begin to use the transactional id")?;
    }
    // Kafka's tool lets each record wait for the topic by itself.
    if !session.compat() {
        let topic = &request.topic;
        let (message, notice) = (format!("Looking for topic '{topic}'"), format!("topic '{topic}' is not there yet"));
        let found = session.patiently(&message, &notice, producer.partitions_for(topic)).await;
        match found {
            Ok(_) => {}
            Err(error) if error.is(ErrorCode::UnknownTopicOrPartition) => {
                let limit = config.millis("max.block.ms").as_millis();
                let message = format!("topic '{topic}' does not exist, and none came to be within {limit} ms");
                return Err(Failure::new(message).advise("create it with kafka-topics --create").into());
            }
            Err(error) => return Err(anyhow::Error::from(error).context(format!("topic '{topic}'"))),
        }
    }
    Ok(producer)
}

/// The records, one after the other.
struct Source<'a> {
    values: Values<'a>,
    keys: Option<Letters>,
}

enum Values<'a> {
    Letters(Letters, usize),
    Chosen {
        payloads: &'a [bytes::Bytes],
        /// Which of the different sizes each has.
        size_of: Vec<u32>,
        sizes: Vec<u64>,
        random: SplittableRandom,
    },
    Monotonic(String),
}

/// One record.
struct Payload<'a> {
    key: Option<&'a [u8]>,
    value: &'a [u8],
    /// Which of [`Source::sizes`] it has.
    size: u32,
}

impl<'a> Source<'a> {
    /// The keys' letters come from another sequence than those of the values.
    const KEYS_SEED: u64 = 1;

    /// With `fresh` letters are drawn for every record.
    fn new(request: &'a Request, config: &ClientConfig, fresh: bool) -> Source<'a> {
        let batch_size = config.size("batch.size");
        let values = match &request.content {
            Content::Letters(size) => Values::Letters(Letters::new(0, *size, batch_size, fresh), *size),
            Content::Chosen(payloads) => {
                let mut sizes: Vec<u64> = payloads.iter().map(|payload| payload.len() as u64).collect();
                sizes.sort_unstable();
                sizes.dedup();
                let size_of = |payload: &bytes::Bytes| sizes.partition_point(|size| *size < payload.len() as u64) as u32;
                Values::Chosen { payloads, size_of: payloads.iter().map(size_of).collect(), sizes, random: SplittableRandom::new(0) }
            }
            Content::Monotonic => Values::Monotonic(String::new()),
        };
        let keys = request.key_size.map(|size| Letters::new(Source::KEYS_SEED, size, batch_size, fresh));
        Source { values, keys }
    }

    /// All sizes that records may have, in bytes.
    fn sizes(&self) -> Vec<u64> {
        match &self.values {
            Values::Letters(_, size) => vec![*size as u64],
            Values::Chosen { sizes, .. } => sizes.clone(),
            // As many digits as a number can have.
            Values::Monotonic(_) => (0..=20).collect(),
        }
    }

    fn payload(&mut self, number: u64) -> Payload<'_> {
        let key = self.keys.as_mut().map(Letters::next);
        match &mut self.values {
            Values::Letters(letters, _) => Payload { key, value: letters.next(), size: 0 },
            Values::Chosen { payloads, size_of, random, .. } => {
                let chosen = random.below(payloads.len() as u32) as usize;
                Payload { key, value: &payloads[chosen], size: size_of[chosen] }
            }
            Values::Monotonic(text) => {
                text.clear();
                // Writing to a string cannot fail.
                let _ = std::fmt::Write::write_fmt(text, format_args!("{number}"));
                Payload { key, value: text.as_bytes(), size: text.len() as u32 }
            }
        }
    }
}

/// When records are due.
struct Pace {
    started: Instant,
    /// Records a second.
    rate: Option<f64>,
    /// Does a latency count from then, or from when the record was sent?
    from_due: bool,
}

impl Pace {
    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Waits until a record is due. Gives the moment its latency counts from, in microseconds of the test.
    ///
    /// The thread itself sleeps: the runtime's timers are as coarse as a millisecond, and nothing but this is done on this thread.
    async fn due(&self, number: u64) -> u64 {
        let Some(rate) = self.rate else { return self.now_us() };
        let due_us = (number as f64 / rate * 1e6) as u64;
        loop {
            let now_us = self.now_us();
            if now_us >= due_us {
                return if self.from_due { due_us } else { now_us };
            }
            let left = Duration::from_micros(due_us - now_us);
            std::thread::sleep(left.min(NAP));
            if left > NAP {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Sends all records and counts those that were `offered`. Ends early when something is wrong that all records have in common.
async fn send(
    producer: &Producer,
    request: &Request,
    source: &mut Source<'_>,
    told: &Told,
    pace: &Pace,
    offered: &mut u64,
) -> anyhow::Result<()> {
    if pace.rate.is_some() {
        sleep_precisely();
    }
    // When the open transaction began, and when others had their last turn.
    let mut transaction = None;
    let mut turn_us = 0;
    // Records are made now, not when they were due; the clock is asked once for each.
    let start_ms = SystemClock::new().now_ms() - pace.started.elapsed().as_millis() as i64;
    for number in 0..request.records {
        let since_us = pace.due(number).await;
        let now_us = if pace.rate.is_some() { pace.now_us() } else { since_us };
        if let (Some(_), None) = (request.transaction, transaction) {
            producer.begin_transaction()?;
            transaction = Some(Instant::now());
        }
        let steady = request.warmup > 0 && number >= request.warmup;
        if steady && number == request.warmup {
            told.report().begin_steady_state(Instant::now());
        }
        let payload = source.payload(number);
        let timestamp = Some(start_ms + (now_us / 1000) as i64);
        let record =
            ProducerRecord { topic: &request.topic, key: payload.key, value: Some(payload.value), timestamp, ..Default::default() };
        let tag = Tag::new(steady, payload.size, since_us);
        *offered += 1;
        if let Err(error) = producer.send_tagged(record, tag.0).await {
            let concerns_all = !error.is(ErrorCode::MessageTooLarge);
            told.fail(error);
            if concerns_all && pace.from_due {
                break;
            }
        }
        if let (Some(duration), Some(began)) = (request.transaction, transaction)
            && began.elapsed() >= duration
        {
            producer.commit_transaction().await.context("a transaction was not committed")?;
            transaction = None;
        }
        if number % TURN == 0 || now_us - turn_us >= NAP.as_micros() as u64 {
            turn_us = now_us;
            tokio::task::yield_now().await;
        }
    }
    if transaction.is_some() {
        producer.commit_transaction().await.context("a transaction was not committed")?;
    }
    Ok(())
}

/// Asks the kernel to end this thread's sleeps on time; else they last 50 microseconds longer, and every latency with them.
fn sleep_precisely() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// Prints the window if it is over.
fn window(session: &mut Session, told: &Told, interval: Duration) -> anyhow::Result<()> {
    told.report().end_window(Instant::now(), interval, |summary, first_of_steady_state| {
        if first_of_steady_state && session.format() != Format::Json {
            writeln!(session.out, "In steady state.")?;
        }
        print(session, summary, 0)?;
        Ok(session.out.flush()?)
    })
}

fn print(session: &mut Session, summary: &Summary<'_>, failed: u64) -> anyhow::Result<()> {
    match session.format() {
        Format::Json => print_json(session, &summary.to_json(failed))?,
        // People see what is below a millisecond.
        format => writeln!(session.out, "{}", summary.line(format == Format::Plain))?,
    }
    Ok(())
}

/// The last lines, and the exit code. `offered` records were sent until `now`.
fn conclude(
    session: &mut Session,
    request: &Request,
    config: &ClientConfig,
    told: &Told,
    (now, offered): (Instant, u64),
    ended: anyhow::Result<Option<Exit>>,
) -> anyhow::Result<Exit> {
    let compat = session.compat();
    let (report, failures) = (told.report(), told.failures());
    // Of no records there is nothing to say but why.
    if report.records() > 0 || compat || session.format() == Format::Json {
        for summary in report.summaries(now) {
            print(session, &summary, failures.count)?;
        }
        if request.print_metrics && session.format() != Format::Json {
            metrics::print(&mut session.out, counted(request, config, report.records(), failures.count))?;
        }
    }
    session.out.flush()?;
    if let Some(error) = &failures.first {
        let were = if failures.count == 1 { "was" } else { "were" };
        let message = format!("{} of {offered} records {were} not delivered, the first because: {error}", failures.count);
        session.report(&Failure::new(message).into());
    }
    match ended? {
        Some(interrupted) => Ok(interrupted),
        None if failures.first.is_some() && !compat => Ok(Exit::FAILURE),
        None => Ok(Exit::SUCCESS),
    }
}

fn counted(request: &Request, config: &ClientConfig, sent: u64, failed: u64) -> Vec<Metric> {
    let client_id = config.client_id(options::CLIENT_ID);
    let tags = [("client-id", client_id.as_str()), ("topic", request.topic.as_str())];
    let mut counted = Vec::new();
    for (name, count) in [("record-send-total", sent + failed), ("record-error-total", failed)] {
        counted.push(Metric::new("producer-metrics", name, &tags[..1], count as f64));
        counted.push(Metric::new("producer-topic-metrics", name, &tags, count as f64));
    }
    counted
}

/// How much is done, on standard error: for those who watch.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(session: &Session, records: u64) -> Progress {
        let wanted = session.terminals.stderr && !session.quiet() && !session.compat();
        let style = ProgressStyle::with_template("{spinner} {wide_bar} {percent}% {msg}");
        Progress(style.ok().filter(|_| wanted).map(|style| ProgressBar::new(records).with_style(style)))
    }

    fn show(&self, told: &Told) {
        let Some(bar) = &self.0 else { return };
        let (records, rate) = told.report().speed(Instant::now());
        bar.set_position(records);
        bar.set_message(rate);
        bar.tick();
    }

    /// Takes the line away.
    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
