//! `kafka-console-producer`: sends the lines of standard input as records.
//!
//! Differs from Kafka's tool unless `KAFKA_CLI_COMPAT` is set: records that were not delivered are counted on standard error and make the
//! exit code 1; a cluster or topic that is not there is an error before anything is sent; bytes that are no UTF-8 are kept; a flag that is
//! absent leaves the client's default. Beyond it: JSON records, fixed keys, headers, partitions and timestamps, deletions.
//!
//! As with Kafka's tool, which begins no transactions, `transactional.id` makes the first record an error.
//!
//! Invariant: what was read is sent before the end, however that comes: end of input, a line that makes no record, Ctrl-C.
//! Source: `org.apache.kafka.tools.ConsoleProducer`.

mod input;
mod options;
mod reader;

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Notify;

use input::{Blocks, Lines};
use options::{Input, Request};

use super::args::Options;
use super::exit::{Exit, Failure};
use super::record_json;
use super::session::Session;
use super::signals::Signals;
use super::{Parser, Tool, connect};
use crate::client::producer::{Producer, ProducerRecord};
use crate::client::{ClientConfig, ClientError, TransactionError};
use crate::common::clock::{Clock, SystemClock};
use crate::protocol::batch::RecordHeader;
use crate::protocol::error_code::ErrorCode;

pub(crate) const TOOL: Tool = Tool { name: "kafka-console-producer", parser: Parser::Jopt, command: options::command, run };

/// So many lines that came together have the same time: to ask for it costs more than the rest of what is done here for a line.
const SAME_TIME: u64 = 64;
/// How long connections may take to close once everything is delivered.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

fn run(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    options::check(session, options)?;
    let request = Request::read(session, options)?;
    let config = options::producer_config(session, options)?;
    // Records are read here; batches are compressed and sent by a thread of the runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(produce(session, &request, &config))
}

async fn produce(session: &mut Session, request: &Request, config: &ClientConfig) -> anyhow::Result<Exit> {
    let servers = connect::describe_servers(config);
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let (message, notice) = (format!("Connecting to {servers}"), format!("no answer from {servers} yet"));
    let connecting = session.patiently(&message, &notice, Producer::connect(config));
    let producer = tokio::select! {
        producer = connecting => producer?,
        exit = signals.next() => return Ok(exit),
    };
    let mut sending = Sending::new(&producer, request, config.millis("max.block.ms"));
    let ended = tokio::select! {
        result = sending.all(session) => result.map(|()| None),
        exit = signals.next() => Ok(Some(exit)),
    };
    let flushed = tokio::select! {
        () = producer.flush() => true,
        // Whoever insists does not want to wait.
        _ = signals.next() => false,
    };
    let Sending { outcomes, accepted, .. } = sending;
    if flushed {
        producer.close(CLOSE_WITHIN).await;
    }
    drop(producer);
    let failed = outcomes.summary(accepted);
    if let Some(failure) = &failed {
        session.report(&anyhow::anyhow!("{failure}"));
    }
    match ended? {
        Some(interrupted) => Ok(interrupted),
        None if failed.is_some() && !session.compat() => Ok(Exit::FAILURE),
        None => Ok(Exit::SUCCESS),
    }
}

/// What became of the records, told by the producer's task.
#[derive(Default)]
struct Outcomes {
    failed: AtomicU64,
    /// The line and the error of the record that failed first.
    first: Mutex<Option<(u64, ClientError)>>,
    news: Notify,
}

impl Outcomes {
    fn fail(&self, line: u64, error: ClientError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((line, error));
        self.news.notify_one();
    }

    fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many records were lost, and why the first of them was; `None` when none was.
    fn summary(&self, offered: u64) -> Option<String> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let (line, error) = first.as_ref()?;
        let failed = self.failed();
        let were = if failed == 1 { "was" } else { "were" };
        Some(format!("{failed} of {offered} records {were} not delivered, the first of them from line {line}: {error}"))
    }
}

/// Turns lines into records and hands them to the producer.
struct Sending<'a> {
    producer: &'a Producer,
    request: &'a Request,
    max_block: Duration,
    outcomes: Arc<Outcomes>,
    /// Records that were offered to the producer.
    accepted: u64,
    /// The number of the line at hand, from 1.
    line: u64,
    /// The topic that was last sent to, and how many partitions it has.
    known: Option<(String, i32)>,
    /// The headers of the record at hand; the list is used again for each.
    headers: Vec<RecordHeader>,
    /// When the lines at hand were read, in ms since the epoch, if a record has been made of one.
    read_ms: Option<i64>,
    clock: SystemClock,
}

impl<'a> Sending<'a> {
    fn new(producer: &'a Producer, request: &'a Request, max_block: Duration) -> Sending<'a> {
        let outcomes = Arc::<Outcomes>::default();
        let told = Arc::clone(&outcomes);
        producer.set_failure_listener(Arc::new(move |line, error| told.fail(line, error)));
        Sending {
            producer,
            request,
            max_block,
            outcomes,
            accepted: 0,
            line: 0,
            known: None,
            headers: Vec::new(),
            read_ms: None,
            clock: SystemClock::new(),
        }
    }

    /// Sends all there is. Ends early with the first line that is no record, and with --sync at the first record that fails.
    async fn all(&mut self, session: &mut Session) -> anyhow::Result<()> {
        if matches!(self.request.input, Input::OneTombstone) {
            return self.line(session, &[]).await;
        }
        let prompts = session.terminals.stdin && session.terminals.stdout;
        let mut blocks = Blocks::read(io::stdin()).context("cannot read standard input")?;
        let mut lines = Lines::default();
        loop {
            if prompts {
                prompt(session)?;
            }
            let outcomes = Arc::clone(&self.outcomes);
            let block = tokio::select! {
                block = blocks.next() => block.context("cannot read standard input")?,
                // Who types wants to know at once.
                () = outcomes.news.notified(), if session.terminals.stdin => {
                    if let Some(summary) = outcomes.summary(self.accepted) {
                        session.report(&anyhow::anyhow!("{summary}"));
                    }
                    continue;
                }
            };
            let Some(block) = block else { return Ok(()) };
            let mut rest = block.as_slice();
            self.read_ms = None;
            while let Some(line) = lines.next(&mut rest) {
                if session.compat() && std::str::from_utf8(line).is_err() {
                    self.line(session, String::from_utf8_lossy(line).as_bytes()).await?;
                } else {
                    self.line(session, line).await?;
                }
                if prompts && !rest.is_empty() {
                    prompt(session)?;
                }
            }
            blocks.done(block);
            // Accepting records need not wait for anything; signals and the producer's task want their turn.
            tokio::task::yield_now().await;
        }
    }

    async fn line(&mut self, session: &mut Session, line: &[u8]) -> anyhow::Result<()> {
        self.line += 1;
        let request = self.request;
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear();
        let topic = request.topic.as_deref();
        let key = request.key.as_deref();
        let Request { partition, timestamp, .. } = *request;
        if self.line.is_multiple_of(SAME_TIME) {
            self.read_ms = None;
        }
        match &request.input {
            Input::Lines(reader) => {
                let timestamp = timestamp.or_else(|| Some(*self.read_ms.get_or_insert_with(|| self.clock.now_ms())));
                let parsed = reader.parse(line, self.line, &mut headers)?;
                headers.extend_from_slice(&request.headers);
                let topic = topic.unwrap_or_default();
                let record =
                    ProducerRecord { topic, partition, timestamp, key: parsed.key.or(key), value: parsed.value, headers: &headers };
                self.offer(session, record).await?;
            }
            Input::Keys | Input::OneTombstone => {
                headers.extend_from_slice(&request.headers);
                let topic = topic.unwrap_or_default();
                let record = ProducerRecord { topic, partition, timestamp, key: key.or(Some(line)), value: None, headers: &headers };
                self.offer(session, record).await?;
            }
            Input::Json if line.iter().all(u8::is_ascii_whitespace) => {}
            Input::Json => {
                let read = record_json::read(line, self.line)?;
                headers.extend(read.headers);
                headers.extend_from_slice(&request.headers);
                let Some(topic) = topic.or(read.topic.as_deref()) else {
                    let failure = Failure::new(format!("line {}: topic: missing", self.line)).advise("--topic sets it for all records");
                    return Err(failure.into());
                };
                let record = ProducerRecord {
                    topic,
                    partition: partition.or(read.partition),
                    timestamp: timestamp.or(read.timestamp),
                    key: key.or(read.key.as_deref()),
                    value: read.value.as_deref(),
                    headers: &headers,
                };
                self.offer(session, record).await?;
            }
        }
        self.headers = headers;
        Ok(())
    }

    async fn offer(&mut self, session: &mut Session, record: ProducerRecord<'_>) -> anyhow::Result<()> {
        // With Kafka's tool each record waits for the topic by itself.
        if !session.compat() && !self.is_known(&record) {
            // Boxed, so that what is done for every record stays small.
            Box::pin(self.check_topic(session, &record)).await?;
        }
        self.accepted += 1;
        let line = self.line;
        if self.request.sync {
            let sent = match self.producer.send(record).await {
                Ok(delivery) => delivery.wait().await,
                Err(error) => Err(error),
            };
            sent.map_err(|error| Failure::new(format!("line {line} was not delivered: {error}")))?;
            return Ok(());
        }
        match self.producer.send_tagged(record, line).await {
            Ok(_) => {}
            Err(error @ ClientError::Transaction(TransactionError::InvalidState(_))) => {
                self.accepted -= 1;
                let failure = Failure::new(error.to_string());
                return Err(failure.advise("this tool begins no transactions: leave transactional.id out").into());
            }
            Err(error) => self.outcomes.fail(line, error),
        }
        Ok(())
    }

    fn is_known(&self, record: &ProducerRecord<'_>) -> bool {
        self.known.as_ref().is_some_and(|(name, count)| name == record.topic && record.partition.is_none_or(|it| it < *count))
    }

    /// Is there such a topic, and such a partition? Asked once for each topic, before its first record.
    async fn check_topic(&mut self, session: &mut Session, record: &ProducerRecord<'_>) -> anyhow::Result<()> {
        let topic = record.topic;
        let count = match &self.known {
            Some((name, count)) if name == topic => *count,
            _ => {
                let notice = format!("topic '{topic}' is not there yet");
                let asking = self.producer.partitions_for(topic);
                let found = session.patiently(&format!("Looking for topic '{topic}'"), &notice, asking).await;
                let count = match found {
                    Ok(found) => i32::try_from(found.partitions.len()).unwrap_or(i32::MAX),
                    Err(error) if error.is(ErrorCode::UnknownTopicOrPartition) => {
                        let limit = self.max_block.as_millis();
                        let message = format!("topic '{topic}' does not exist, and none came to be within {limit} ms");
                        return Err(Failure::new(message).advise("create it with kafka-topics --create").into());
                    }
                    Err(error) => return Err(anyhow::Error::from(error).context(format!("topic '{topic}'"))),
                };
                self.known = Some((topic.to_owned(), count));
                count
            }
        };
        match record.partition {
            Some(partition) if partition >= count => {
                let s = if count == 1 { "" } else { "s" };
                Err(Failure::new(format!("topic '{topic}' has {count} partition{s}: there is no partition {partition}")).into())
            }
            _ => Ok(()),
        }
    }
}

fn prompt(session: &mut Session) -> io::Result<()> {
    write!(session.out, ">")?;
    session.out.flush()
}
