//! The loop: poll, format, hand to the writer, until an end.
//!
//! Invariant: in a group, the poll that may commit a position comes only after everything before that position was written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::formatter::{FormatError, ToPrint};
use super::options::{Request, Source, Start};
use super::partitions::{self, Finder};
use super::progress::Progress;
use super::stop::{Ending, Stop};
use super::writer::Writer;
use crate::client::ClientError;
use crate::client::consumer::{Consumer, ConsumerError, ConsumerRecord, LentRecord, RecordHeader};
use crate::common::clock::{Clock, SystemClock};
use crate::common::topic_partition::TopicPartition;
use crate::tools::exit::Failure;
use crate::tools::session::Session;

/// A buffer of this size is worth a write, even while more records are at hand.
const BUFFER: usize = 256 << 10;
/// How often positions are looked at while an end is near that no record may mark (it may be a transaction's marker).
const LOOK: Duration = Duration::from_millis(50);
/// How often a topic that Kafka's tool would wait for is looked for.
const AGAIN: Duration = Duration::from_millis(200);
/// Topics and partitions that came to be are found within this time.
const DISCOVERY: Duration = Duration::from_secs(30);
/// Without any deadline, as good as forever.
const LONG: Duration = Duration::from_secs(3600);

/// Why reading ended.
pub(super) enum End {
    /// All that was asked for is printed.
    Done,
    /// No record came for `--timeout-ms`.
    Idle,
    Stopped(Ending),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> End {
        End::Failed(error)
    }
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> End {
        End::Failed(error.into())
    }
}

impl From<ConsumerError> for End {
    fn from(error: ConsumerError) -> End {
        End::Failed(unwrapped(error))
    }
}

/// A client's error as itself, so that what is known about it is found.
pub(super) fn unwrapped(error: ConsumerError) -> anyhow::Error {
    match error {
        ConsumerError::Client(error) => error.into(),
        other => other.into(),
    }
}

/// What became of records that were lent.
#[derive(Default)]
struct Lent {
    /// Partitions of which all up to the end was seen.
    reached: Vec<TopicPartition>,
    end: Option<End>,
}

/// One call's reading.
pub(super) struct Reading<'a> {
    request: &'a Request,
    compat: bool,
    consumer: &'a Consumer,
    stop: &'a Stop,
    progress: Progress,
    count: u64,
    /// Formatted, not yet with the writer.
    buffer: Vec<u8>,
    /// In a group: where the records start that are not known to be written.
    unwritten: BTreeMap<TopicPartition, i64>,
    /// Where each partition ends, once that is known.
    ends: Option<BTreeMap<TopicPartition, i64>>,
    /// Partitions of which all up to the end was read.
    reached: BTreeSet<TopicPartition>,
    /// Looks in a row that found this member of the group without a partition.
    looks_without_partition: u32,
    known: BTreeSet<TopicPartition>,
    idle_since: Instant,
    discovered: Instant,
}

impl<'a> Reading<'a> {
    pub(super) fn new(request: &'a Request, compat: bool, consumer: &'a Consumer, stop: &'a Stop, progress: Progress) -> Reading<'a> {
        let now = Instant::now();
        Reading {
            request,
            compat,
            consumer,
            stop,
            progress,
            count: 0,
            buffer: Vec::with_capacity(2 * BUFFER),
            unwritten: BTreeMap::new(),
            ends: None,
            reached: BTreeSet::new(),
            looks_without_partition: 0,
            known: BTreeSet::new(),
            idle_since: now,
            discovered: now,
        }
    }

    /// Reads until an end. What was formatted last may still be in the buffer.
    pub(super) async fn run(&mut self, session: &mut Session, writer: &mut Writer) -> End {
        match self.try_run(session, writer).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_run(&mut self, session: &mut Session, writer: &mut Writer) -> Result<std::convert::Infallible, End> {
        let finder = Finder::new(&self.request.source, self.request.partition, self.request.config.boolean("exclude.internal.topics"))?;
        let stop = self.stop;
        tokio::select! {
            started = self.start(session, &finder) => started?,
            ending = stop.wait() => return Err(End::Stopped(ending)),
        }
        self.idle_since = Instant::now();
        loop {
            if self.request.max_messages.is_some_and(|max| self.count >= max) {
                return Err(End::Done);
            }
            match self.stop.now() {
                Ending::No => {}
                ending => return Err(End::Stopped(ending)),
            }
            if !self.poll(session, Duration::ZERO).await? {
                self.hand_over(writer).await?;
                self.look(&finder).await?;
                let wait = self.longest_wait()?;
                let found = tokio::select! {
                    found = self.poll(session, wait) => found?,
                    ending = stop.wait() => return Err(End::Stopped(ending)),
                };
                if !found {
                    continue;
                }
            }
            self.idle_since = Instant::now();
            if self.request.by_group {
                self.hand_over(writer).await?;
                self.written(writer).await?;
            } else if self.buffer.len() >= BUFFER {
                self.hand_over(writer).await?;
            }
        }
    }

    /// Subscribes or assigns, and finds the ends.
    async fn start(&mut self, session: &mut Session, finder: &Finder) -> Result<(), End> {
        let wants_end = self.request.exit_at_end || self.request.to.is_some_and(|to| to <= now_ms());
        if self.request.by_group {
            // Kafka's tool waits for topics to come.
            if !self.compat || wants_end {
                self.find(session, finder).await?;
            }
            match &self.request.source {
                Source::Topic(topic) => self.consumer.subscribe([topic.as_str()])?,
                Source::Include(pattern) => self.consumer.subscribe_pattern(pattern)?,
            }
            if wants_end {
                self.find_ends().await?;
            }
            return Ok(());
        }
        self.find(session, finder).await?;
        let partitions: Vec<TopicPartition> = self.known.iter().cloned().collect();
        let starts = partitions::starts(self.consumer, &partitions, self.request.start).await?;
        self.consumer.assign(partitions);
        for (partition, offset) in &starts {
            self.consumer.seek(partition, *offset)?;
        }
        if wants_end {
            self.find_ends().await?;
        }
        Ok(())
    }

    /// Finds the partitions to read, and says what is wrong if there are none.
    async fn find(&mut self, session: &mut Session, finder: &Finder) -> Result<(), End> {
        let waiting_since = Instant::now();
        loop {
            let found = finder.find(self.consumer).await?;
            match (&self.request.source, found) {
                (_, Some(found)) if !found.is_empty() => {
                    self.known = found;
                    return Ok(());
                }
                (Source::Include(_), _) if self.compat => return Ok(()),
                (Source::Include(pattern), _) if self.request.exit_at_end => {
                    return Err(End::Failed(Failure::new(format!("no topic matches '{pattern}'")).into()));
                }
                (Source::Include(pattern), _) => {
                    session.warn(format_args!("no topic matches '{pattern}' yet"));
                    return Ok(());
                }
                (Source::Topic(topic), Some(_)) if !self.compat => {
                    let partition = self.request.partition.unwrap_or_default();
                    return Err(End::Failed(Failure::new(format!("topic '{topic}' has no partition {partition}")).into()));
                }
                (Source::Topic(_), None) if !self.compat => return Err(End::Failed(finder.does_not_exist(self.consumer).await)),
                (Source::Topic(_), _) => {}
            }
            if self.request.timeout.is_some_and(|timeout| waiting_since.elapsed() >= timeout) {
                return Err(End::Idle);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn find_ends(&mut self) -> Result<(), End> {
        let partitions: Vec<TopicPartition> = self.known.iter().cloned().collect();
        let to = self.request.to.filter(|to| *to <= now_ms());
        let ends = partitions::ends(self.consumer, &partitions, to).await?;
        if !self.request.by_group && !matches!(self.request.start, Start::Configured) {
            let starts = partitions::starts(self.consumer, &partitions, self.request.start).await?;
            self.progress.expect(ends.iter().map(|(partition, end)| (end - starts.get(partition).unwrap_or(end)).max(0) as u64).sum());
        }
        self.ends = Some(ends);
        Ok(())
    }

    /// What is to be done when there is nothing to print.
    async fn look(&mut self, finder: &Finder) -> Result<(), End> {
        if self.ends.is_none() && self.request.to.is_some_and(|to| to <= now_ms()) {
            if self.request.by_group {
                self.known = finder.find(self.consumer).await?.unwrap_or_default();
            }
            self.find_ends().await?;
        }
        self.check_ends().await?;
        if !self.request.by_group && self.discovered.elapsed() >= DISCOVERY {
            self.discovered = Instant::now();
            // An error now is none when the cluster is back the next time.
            if let Ok(Some(found)) = finder.find(self.consumer).await {
                let new: Vec<TopicPartition> = found.difference(&self.known).cloned().collect();
                if !new.is_empty() {
                    self.known.extend(new.iter().cloned());
                    self.consumer.assign(self.known.iter().cloned());
                    // Nothing that is in them was there before.
                    self.consumer.seek_to_beginning(&new)?;
                }
            }
        }
        Ok(())
    }

    /// Ends when every partition has reached its end.
    async fn check_ends(&mut self) -> Result<(), End> {
        let Some(ends) = &self.ends else { return Ok(()) };
        let assigned = if self.request.by_group { self.consumer.assignment() } else { self.known.iter().cloned().collect() };
        for partition in &assigned {
            if self.reached.contains(partition) {
                continue;
            }
            let Some(end) = ends.get(partition) else { continue };
            // Positions that are not known yet are looked at the next time.
            if let Ok(position) = tokio::time::timeout(Duration::ZERO, self.consumer.position(partition)).await
                && position? >= *end
            {
                self.reached.insert(partition.clone());
            }
        }
        if assigned.is_empty() && self.request.by_group {
            // A member that has joined and has no partition has nothing to read.
            let member = self.consumer.group_member().is_some();
            self.looks_without_partition = if member { self.looks_without_partition + 1 } else { 0 };
            return if self.looks_without_partition > 2 { Err(End::Done) } else { Ok(()) };
        }
        self.looks_without_partition = 0;
        if assigned.iter().all(|partition| self.reached.contains(partition) || !ends.contains_key(partition)) {
            Err(End::Done)
        } else {
            Ok(())
        }
    }

    /// How long the next poll may wait for a record. An end when no record came for too long.
    fn longest_wait(&self) -> Result<Duration, End> {
        let mut wait = LONG;
        if let Some(timeout) = self.request.timeout {
            let left = timeout.saturating_sub(self.idle_since.elapsed());
            if left.is_zero() {
                return Err(End::Idle);
            }
            wait = wait.min(left);
        }
        if self.ends.is_some() {
            wait = wait.min(LOOK);
        } else if let Some(to) = self.request.to {
            wait = wait.min(Duration::from_millis(u64::try_from(to - now_ms()).unwrap_or(0).max(1)));
        }
        if !self.request.by_group {
            wait = wait.min(DISCOVERY);
        }
        Ok(wait)
    }

    /// Waits for records and formats them. False when there were none.
    async fn poll(&mut self, session: &mut Session, wait: Duration) -> Result<bool, End> {
        let consumer = self.consumer;
        if self.request.by_group {
            let records = consumer.poll(wait).await?;
            self.take(session, &records)?;
            return Ok(!records.is_empty());
        }
        // Without a group nothing need be given back, so the records need only be lent.
        let (count_before, bytes_before) = (self.count, self.buffer.len());
        let mut lent = Lent::default();
        let found = consumer.poll_visit(wait, |record| self.take_lent(session, record, &mut lent)).await? > 0;
        self.progress.add(self.count - count_before, (self.buffer.len().saturating_sub(bytes_before)) as u64);
        // What comes after is not wanted, so it need not be fetched.
        if !lent.reached.is_empty() {
            let _ = consumer.pause(&lent.reached);
            self.reached.extend(lent.reached);
        }
        match lent.end {
            Some(end) => Err(end),
            None => Ok(found),
        }
    }

    /// Formats a record, unless it lies behind an end.
    fn take_lent(&mut self, session: &mut Session, lent: &LentRecord<'_>, outcome: &mut Lent) {
        if outcome.end.is_some() {
            return;
        }
        if self.is_enough() {
            outcome.end = Some(End::Done);
            return;
        }
        let LentRecord { topic_partition, record, .. } = lent;
        if let Some(end) = self.ends.as_ref().and_then(|ends| ends.get(topic_partition)) {
            if record.offset >= end.saturating_sub(1) && !outcome.reached.contains(topic_partition) {
                outcome.reached.push((*topic_partition).clone());
            }
            if record.offset >= *end {
                return;
            }
        }
        // An empty list takes no memory.
        let headers = record
            .headers()
            .map(|(key, value)| RecordHeader { key: Bytes::copy_from_slice(key), value: value.map(Bytes::copy_from_slice) });
        let headers: Vec<RecordHeader> = headers.collect();
        let to_print = ToPrint {
            topic: &topic_partition.topic,
            partition: topic_partition.partition,
            offset: record.offset,
            leader_epoch: lent.leader_epoch,
            timestamp: record.timestamp,
            timestamp_type: lent.timestamp_type,
            key: record.key,
            value: record.value,
            headers: &headers,
        };
        if let Err(end) = self.print_one(session, &to_print) {
            outcome.end = Some(end);
        }
    }

    fn is_enough(&self) -> bool {
        self.request.max_messages.is_some_and(|max| self.count >= max)
    }

    /// Formats a record, if it is of the time that was asked for.
    fn print_one(&mut self, session: &mut Session, record: &ToPrint<'_>) -> Result<(), End> {
        let from = if let Start::Time(from) = self.request.start { from } else { i64::MIN };
        let to = self.request.to.unwrap_or(i64::MAX);
        // A record without a time is in any.
        if record.timestamp >= 0 && !(from..to).contains(&record.timestamp) {
            return Ok(());
        }
        let start = self.buffer.len();
        let Err(error) = self.request.formatter.write(record, &mut self.buffer) else {
            self.count += 1;
            return Ok(());
        };
        // Kafka's tool prints the columns before the one that fails, and counts the record.
        if self.compat {
            self.count += 1;
        } else {
            self.buffer.truncate(start);
        }
        if !self.request.skip_errors {
            return Err(End::Failed(explained(record, error)));
        }
        session.warn(format_args!("skipped: {}", crate::tools::exit::one_line(&explained(record, error))));
        Ok(())
    }

    /// Formats records; those behind an end are given back.
    fn take(&mut self, session: &mut Session, records: &[ConsumerRecord]) -> Result<(), End> {
        let (count_before, bytes_before) = (self.count, self.buffer.len());
        let mut result = Ok(());
        let mut at = 0;
        for run in records.chunk_by(|a, b| a.partition == b.partition && a.topic == b.topic) {
            result = self.take_run(session, run, &records[at..]);
            at += run.len();
            if result.is_err() {
                break;
            }
        }
        self.progress.add(self.count - count_before, (self.buffer.len().saturating_sub(bytes_before)) as u64);
        result
    }

    /// As [`Reading::take`], of records of one partition, with which `rest` begins.
    fn take_run(&mut self, session: &mut Session, run: &[ConsumerRecord], rest: &[ConsumerRecord]) -> Result<(), End> {
        let limited = self.request.by_group || self.ends.is_some();
        let partition = limited.then(|| TopicPartition::new(&*run[0].topic, run[0].partition));
        if let Some(partition) = partition.as_ref().filter(|_| self.request.by_group) {
            self.unwritten.entry(partition.clone()).or_insert(run[0].offset);
        }
        let end = partition.as_ref().and_then(|partition| self.ends.as_ref()?.get(partition).copied()).unwrap_or(i64::MAX);
        for (at, record) in run.iter().enumerate() {
            if self.is_enough() {
                self.give_back(&rest[at..]);
                return Err(End::Done);
            }
            if record.offset >= end {
                self.give_back(&run[at..]);
                break;
            }
            if let Err(end) = self.print_one(session, &ToPrint::from(record)) {
                self.give_back(&rest[at + usize::from(self.compat)..]);
                return Err(end);
            }
        }
        if let (Some(partition), Some(last)) = (partition, run.last())
            && last.offset >= end.saturating_sub(1)
        {
            // What comes after is not wanted, so it need not be fetched.
            let _ = self.consumer.pause(std::slice::from_ref(&partition));
            self.reached.insert(partition);
        }
        Ok(())
    }

    /// Goes back to the first of these records in each partition, so that the group reads them again.
    fn give_back(&self, records: &[ConsumerRecord]) {
        if !self.request.by_group {
            return;
        }
        let mut seen = BTreeSet::new();
        for record in records {
            let partition = TopicPartition::new(&*record.topic, record.partition);
            if seen.insert(partition.clone()) {
                // A partition that was taken away is no longer this consumer's to commit.
                let _ = self.consumer.seek(&partition, record.offset);
            }
        }
    }

    /// Gives what was formatted to the writer.
    async fn hand_over(&mut self, writer: &mut Writer) -> Result<(), End> {
        let stop = self.stop;
        tokio::select! {
            sent = writer.send(&mut self.buffer) => sent.map_err(|_| End::Stopped(Ending::HangUp)),
            ending = stop.wait() => Err(End::Stopped(ending)),
        }
    }

    /// Waits until all that was handed over is written.
    async fn written(&mut self, writer: &mut Writer) -> Result<(), End> {
        let stop = self.stop;
        tokio::select! {
            drained = writer.drain() => drained.map_err(|_| End::Stopped(Ending::HangUp))?,
            ending = stop.wait() => return Err(End::Stopped(ending)),
        }
        self.unwritten.clear();
        Ok(())
    }

    /// Prints what is left. False when it was not written.
    pub(super) async fn print(&mut self, writer: &mut Writer) -> bool {
        writer.send(&mut self.buffer).await.is_ok() && writer.drain().await.is_ok()
    }

    /// Leaves the positions where the group shall go on, and tells how many records were printed.
    pub(super) fn finish(self, printed: bool) -> u64 {
        self.progress.finish();
        if !printed {
            for (partition, offset) in &self.unwritten {
                let _ = self.consumer.seek(partition, *offset);
            }
        }
        self.count
    }
}

fn now_ms() -> i64 {
    SystemClock::new().now_ms()
}

fn explained(record: &ToPrint<'_>, error: FormatError) -> anyhow::Error {
    let place = format!("the record at offset {} of {}-{} cannot be printed", record.offset, record.topic, record.partition);
    anyhow::Error::from(error).context(place)
}
