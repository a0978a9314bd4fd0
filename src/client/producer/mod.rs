//! The producer: records in, batches out, each record's outcome back.
//!
//! [`Producer::send`] chooses the partition, appends to that partition's batch and returns a [`Delivery`]; a task of its own (`sender`)
//! sends batches that are full or have lingered. Idempotent unless the properties say otherwise: retries neither duplicate nor reorder.
//!
//! Invariants: at most `buffer.memory` bytes of batches exist; `send` waits for room, `max.block.ms` at most. Every accepted record gets
//! exactly one outcome.
//!
//! With a `transactional.id` records are sent in transactions ([`Producer::begin_transaction`] and its siblings): readers of committed
//! records see all of one or nothing. What an error leaves to do is in [`TransactionError`](super::error::TransactionError).
//!
//! Left out: `partitioner.availability.timeout.ms`, and giving up a batch while its request is under way: its delivery timeout then takes
//! effect when the answer comes or the request times out. `transaction.two.phase.commit.enable` changes nothing on the wire, as in
//! Kafka 4.3.
//!
//! What a record costs (`benches/clients`, 100 bytes without compression): 0.35 us of CPU. It was 0.45 to 0.5 when each record asked two
//! clocks (15 %), hashed the topic's name (8 %) and each batch grew from nothing (a copy of all of it); a function of its own for each record's outcome
//! would cost an allocation, hence [`Producer::send_tagged`].
//!
//! Source: `KafkaProducer`, KIP-91, KIP-98, KIP-447, KIP-480, KIP-794, KIP-890.

mod accumulator;
mod batch;
mod coordination;
mod partitioner;
mod sender;
mod sequences;
mod transactions;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use accumulator::{Accumulator, Appended, Gathering, largest_batch_of};
use batch::{BatchResult, Callback, Outcome};
pub use batch::{Delivery, DeliveryListener, FailureListener, RecordMetadata};
pub use partitioner::{murmur2, partition_for_key};
use sender::{Sender, Sending};
use transactions::{AnnouncedVersion, Completion, Transactions};

use super::cluster::{AutoCreate, Cluster};
use super::config::ClientConfig;
use super::consumer::{ConsumerGroupMetadata, OffsetAndMetadata};
use super::error::{ApiError, ClientError, TransactionError};
use super::metadata::TopicMetadata;
use super::retry::Backoff;
use crate::common::clock::{Clock, SystemClock};
use crate::common::random::Random;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::{BatchError, RecordHeader};
use crate::protocol::compression::Compression;
use crate::protocol::error_code::ErrorCode;

/// A record to send; its bytes are copied into the batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProducerRecord<'a> {
    pub topic: &'a str,
    /// `None` lets the partitioner choose.
    pub partition: Option<i32>,
    /// Milliseconds since the epoch; `None` is now.
    pub timestamp: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [RecordHeader],
}

/// What the producer's handle and its task share.
struct Shared {
    accumulator: Mutex<Accumulator>,
    /// Wakes the task.
    wake: Notify,
    gathering: Gathering,
    /// Senders that wait for room.
    waiting: AtomicUsize,
    last_error: Mutex<Option<ClientError>>,
}

impl Shared {
    fn accumulator(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory_is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn set_last_error(&self, error: ClientError) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn last_error(&self) -> Option<ClientError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A producer. Shared by reference; all its methods take `&self`.
pub struct Producer {
    shared: Arc<Shared>,
    cluster: Cluster,
    clock: Arc<dyn Clock>,
    memory: Arc<Semaphore>,
    buffer_memory: usize,
    max_block: Duration,
    max_request_size: usize,
    auto_create: AutoCreate,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Producer {
    /// Connects and starts the producer. Topics that do not exist are created on first use if the brokers allow it, as with Kafka's.
    pub async fn connect(config: &ClientConfig) -> Result<Producer, ClientError> {
        let client_id = format!("producer-{}", config.string("transactional.id").unwrap_or("1"));
        let cluster = Cluster::connect(config, &client_id).await?;
        Producer::start(config, cluster, AutoCreate::Allowed, SystemClock::shared())
    }

    /// Starts a producer over a cluster's connections. With [`AutoCreate::Never`] a topic that does not exist is an error at once.
    pub fn start(config: &ClientConfig, cluster: Cluster, auto_create: AutoCreate, clock: Arc<dyn Clock>) -> Result<Producer, ClientError> {
        let compression: Compression = config.string("compression.type").unwrap_or("none").parse().unwrap_or(Compression::None);
        let level = match compression {
            Compression::Gzip => Some(config.int("compression.gzip.level")).filter(|level| *level != -1),
            Compression::Lz4 => Some(config.int("compression.lz4.level")),
            Compression::Zstd => Some(config.int("compression.zstd.level")),
            Compression::None | Compression::Snappy => None,
        };
        let idempotent = config.boolean("enable.idempotence");
        let max_in_flight = config.size("max.in.flight.requests.per.connection");
        let gathering = Gathering {
            batch_size: config.size("batch.size").max(1),
            linger: config.millis("linger.ms"),
            compression,
            compression_level: level,
            ignore_keys: config.boolean("partitioner.ignore.keys"),
            adaptive: config.boolean("partitioner.adaptive.partitioning.enable"),
            round_robin: config.string("partitioner.class").is_some(),
            idempotent,
            one_at_a_time: max_in_flight == 1,
        };
        let sending = Sending {
            acks: match config.string("acks") {
                Some("0") => 0,
                Some("1") => 1,
                _ => -1,
            },
            retries: u32::try_from(config.int("retries")).unwrap_or(0),
            max_in_flight,
            max_request_size: config.size("max.request.size"),
            delivery_timeout: config.millis("delivery.timeout.ms"),
            metadata_max_age: config.millis("metadata.max.age.ms"),
            auto_create,
        };
        let transactions = config.string("transactional.id").map(|id| {
            let retry_pause = config.millis("retry.backoff.ms");
            Transactions::new(id, config.int("transaction.timeout.ms"), retry_pause)
        });
        let is_transactional = transactions.is_some();
        let buffer_memory = config.size("buffer.memory").min(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            accumulator: Mutex::new(Accumulator::new(gathering.clone(), transactions, Random::from_entropy())),
            wake: Notify::new(),
            gathering,
            waiting: AtomicUsize::new(0),
            last_error: Mutex::default(),
        });
        let wants_id = idempotent && !is_transactional;
        let sender = Sender::new(Arc::clone(&shared), cluster.clone(), sending, Backoff::for_retries(config), wants_id);
        Ok(Producer {
            task: Mutex::new(Some(tokio::spawn(sender.run()))),
            shared,
            cluster,
            clock,
            memory: Arc::new(Semaphore::new(buffer_memory)),
            buffer_memory,
            max_block: config.millis("max.block.ms"),
            max_request_size: config.size("max.request.size"),
            auto_create,
        })
    }

    /// The cluster, for questions about topics and partitions.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What is known of a topic's partitions, asked for if need be.
    pub async fn partitions_for(&self, topic: &str) -> Result<Arc<TopicMetadata>, ClientError> {
        self.cluster.topic(topic, self.auto_create).await
    }

    /// Accepts a record. Waits for the topic's metadata and for room, `max.block.ms` at most; the delivery itself comes later.
    ///
    /// Errors: a record that is too large, a topic or partition that is not there, no room in time, a closed producer.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Delivery, ClientError> {
        self.offer(record, &mut None).await
    }

    /// As [`Producer::send`], with a function that is called with the outcome, in order of delivery, on the producer's task: it must be
    /// quick and must not wait. When the record is not accepted the error is returned and the function dropped.
    pub async fn send_with(
        &self,
        record: ProducerRecord<'_>,
        callback: impl FnOnce(Result<RecordMetadata, ClientError>) + Send + 'static,
    ) -> Result<Delivery, ClientError> {
        self.offer(record, &mut Some(Callback::Once(Box::new(callback)))).await
    }

    /// As [`Producer::send`]; the failure listener hears of its tag if the record is not delivered, and the delivery listener if it is.
    /// Cheaper than a function of its own.
    pub async fn send_tagged(&self, record: ProducerRecord<'_>, tag: u64) -> Result<Delivery, ClientError> {
        self.offer(record, &mut Some(Callback::Tagged(tag))).await
    }

    /// Names who hears of tagged records that are not delivered, of those that are sent from now on.
    pub fn set_failure_listener(&self, listener: Arc<FailureListener>) {
        self.shared.accumulator().listeners.failure = Some(listener);
    }

    /// Names who hears of tagged records that are delivered, of those that are sent from now on.
    pub fn set_delivery_listener(&self, listener: Arc<DeliveryListener>) {
        self.shared.accumulator().listeners.delivery = Some(listener);
    }

    async fn offer(&self, record: ProducerRecord<'_>, callback: &mut Option<Callback>) -> Result<Delivery, ClientError> {
        let outcome = self.accept(record, callback).await;
        if let Err(error) = &outcome
            && let Some(transactions) = &mut self.shared.accumulator().transactions
        {
            transactions.delivery_failed(error);
        }
        outcome
    }

    async fn accept(&self, mut record: ProducerRecord<'_>, callback: &mut Option<Callback>) -> Result<Delivery, ClientError> {
        self.check_size(&record)?;
        let mut deadline = None;
        let mut memory = None;
        loop {
            let appended = {
                let mut accumulator = self.shared.accumulator();
                if record.partition.is_none() {
                    record.partition = accumulator.in_turn(record.topic);
                }
                accumulator.append(&record, &*self.clock, &mut memory, callback)
            };
            match appended {
                Appended::Done { delivery, wake_sender } => {
                    if wake_sender {
                        self.shared.wake.notify_one();
                    }
                    return Ok(delivery);
                }
                Appended::Refused(error) => return Err(error),
                Appended::NeedsMemory(bytes) => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.max_block);
                    memory = Some(self.allocate(bytes, deadline).await?);
                }
                Appended::NeedsMetadata => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.max_block);
                    self.learn(&record, deadline).await?;
                }
            }
        }
    }

    fn check_size(&self, record: &ProducerRecord<'_>) -> Result<(), ClientError> {
        let size = largest_batch_of(record);
        let message = if size > self.max_request_size {
            format!(
                "The message is {size} bytes when serialized which is larger than {}, which is the value of the max.request.size configuration.",
                self.max_request_size
            )
        } else if size > self.buffer_memory {
            format!(
                "The message is {size} bytes when serialized which is larger than the total memory buffer you have configured with the buffer.memory configuration."
            )
        } else {
            return Ok(());
        };
        Err(ApiError::new(ErrorCode::MessageTooLarge, Some(message)).into())
    }

    async fn allocate(&self, bytes: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, ClientError> {
        // A batch size beyond the whole memory would never be granted.
        let permits = u32::try_from(bytes.min(self.buffer_memory)).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&self.memory).try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        let _waiting = Waiting::new(&self.shared);
        self.shared.wake.notify_one();
        match timeout_at(deadline, Arc::clone(&self.memory).acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(ClientError::Closed("producer")),
            Err(_) => {
                let message = format!(
                    "Failed to allocate {bytes} bytes within the configured max blocking time {} ms. Total memory: {} bytes. Available memory: {} bytes.",
                    self.max_block.as_millis(),
                    self.buffer_memory,
                    self.memory.available_permits()
                );
                Err(ApiError::new(ErrorCode::RequestTimedOut, Some(message)).into())
            }
        }
    }

    /// Waits until the record's topic, and its partition if it names one, are known.
    async fn learn(&self, record: &ProducerRecord<'_>, deadline: Instant) -> Result<(), ClientError> {
        let mut failures = 0;
        loop {
            let found = timeout_at(deadline, self.cluster.topic(record.topic, self.auto_create)).await;
            let known = match found {
                Ok(Ok(topic)) => {
                    let count = topic.partitions.len();
                    self.shared.accumulator().learn(&topic);
                    if record.partition.is_none_or(|partition| usize::try_from(partition).is_ok_and(|partition| partition < count))
                        && count > 0
                    {
                        return Ok(());
                    }
                    Some(count)
                }
                Ok(Err(ClientError::TimedOut { last, .. })) => return Err(self.no_metadata(record, None, last.as_deref())),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(self.no_metadata(record, self.shared.accumulator().partitions_of(record.topic), None)),
            };
            // Partitions may have been added since.
            self.cluster.forget_topic(record.topic);
            let pause = self.cluster.backoff().pause(failures);
            failures += 1;
            if Instant::now() + pause >= deadline {
                return Err(self.no_metadata(record, known, None));
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn no_metadata(&self, record: &ProducerRecord<'_>, partitions: Option<usize>, cause: Option<&ClientError>) -> ClientError {
        let (topic, limit) = (record.topic, self.max_block.as_millis());
        let mut message = match (record.partition, partitions) {
            (Some(partition), Some(count)) => {
                format!("Partition {partition} of topic {topic} with partition count {count} is not present in metadata after {limit} ms.")
            }
            _ => format!("Topic {topic} not present in metadata after {limit} ms."),
        };
        if let Some(cause) = cause {
            message.push_str(&format!(" ({cause})"));
        }
        ApiError::new(ErrorCode::RequestTimedOut, Some(message)).into()
    }

    fn transactions<T>(&self, call: impl FnOnce(&mut Transactions) -> Result<T, ClientError>) -> Result<T, ClientError> {
        let mut accumulator = self.shared.accumulator();
        if accumulator.closed {
            return Err(ClientError::Closed("producer"));
        }
        let transactions = accumulator.transactions.as_mut().ok_or_else(|| {
            let message = "Cannot use transactional methods without enabling transactions by setting the transactional.id \
                           configuration property";
            TransactionError::InvalidState(message.to_owned())
        })?;
        let outcome = call(transactions)?;
        drop(accumulator);
        self.shared.wake.notify_one();
        Ok(outcome)
    }

    async fn completed(&self, call: &'static str, completion: Arc<Completion>) -> Result<(), ClientError> {
        match timeout(self.max_block, completion.wait()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ClientError::TimedOut { call, timeout: self.max_block, last: self.shared.last_error().map(Box::new) }),
        }
    }

    fn announced_version(&self) -> Option<AnnouncedVersion> {
        let (epoch, level) = self.cluster.finalized_feature("transaction.version")?;
        Some(AnnouncedVersion { epoch, level })
    }

    /// Begins to use the transactional id: whoever used it before is fenced, and what they had open is completed first. To be called once,
    /// before any other transactional call. Waits `max.block.ms` at most; as with commit and abort, a call that timed out, or whose future
    /// was dropped, can only be repeated.
    pub async fn init_transactions(&self) -> Result<(), ClientError> {
        let completion = self.transactions(Transactions::initialize)?;
        self.completed("initTransactions", completion).await?;
        if let Some(announced) = self.announced_version() {
            self.transactions(|transactions| {
                transactions.learn_version(announced, true);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Begins a transaction; all records sent until it is committed or aborted belong to it.
    pub fn begin_transaction(&self) -> Result<(), ClientError> {
        self.transactions(Transactions::begin)
    }

    /// Makes the commit of a group's offsets part of the transaction: what was read and what was written for it count together, or not at
    /// all. `offsets` are the next to read. [`Consumer::group_metadata`](super::consumer::Consumer::group_metadata) lets the coordinator
    /// refuse members that are not in the group any more.
    pub async fn send_offsets_to_transaction(
        &self,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), ClientError> {
        if group.generation_id > 0 && group.member_id.is_empty() {
            let message = format!("Passed in group metadata {group:?} has generationId > 0 but the member.id is unknown");
            return Err(TransactionError::InvalidState(message).into());
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let completion = self.transactions(|transactions| transactions.send_offsets(offsets.clone(), group.clone()))?;
        self.completed("sendOffsetsToTransaction", completion).await
    }

    /// Sends what is left of the transaction and commits it. Fails, and commits nothing, if any of its records was not delivered.
    pub async fn commit_transaction(&self) -> Result<(), ClientError> {
        let announced = self.announced_version();
        let completion = self.transactions(|transactions| transactions.commit(announced))?;
        self.completed("commitTransaction", completion).await
    }

    /// Gives the transaction up; records that were not sent yet fail.
    pub async fn abort_transaction(&self) -> Result<(), ClientError> {
        let announced = self.announced_version();
        let completion = self.transactions(|transactions| transactions.abort(announced))?;
        self.completed("abortTransaction", completion).await
    }

    /// Sends everything that was accepted before, and waits for its outcomes.
    pub async fn flush(&self) {
        let results = {
            let mut accumulator = self.shared.accumulator();
            accumulator.flushes += 1;
            accumulator.incomplete()
        };
        let flushing = Flushing(&self.shared);
        self.shared.wake.notify_one();
        settled(results).await;
        drop(flushing);
    }

    /// Accepts nothing more, sends what was accepted, aborts a transaction that is open, and ends. What is not delivered within `limit`
    /// fails. True when all of it had its chance in time.
    pub async fn close(&self, limit: Duration) -> bool {
        self.shared.accumulator().closed = true;
        self.shared.wake.notify_one();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return true };
        let in_time = timeout(limit, &mut task).await.is_ok();
        if !in_time {
            task.abort();
            // Until it has let go of its batches.
            drop(task.await);
            self.give_up();
        }
        self.cluster.close();
        in_time
    }

    fn give_up(&self) {
        let (batches, results) = {
            let mut accumulator = self.shared.accumulator();
            accumulator.closed = true;
            if let Some(transactions) = &mut accumulator.transactions {
                transactions.close();
            }
            (accumulator.take_all(), accumulator.incomplete())
        };
        let outcome = || Outcome::Failed { error: ClientError::Closed("producer"), record_errors: Vec::new() };
        for batch in batches {
            batch.complete(outcome());
        }
        for result in results {
            result.complete(outcome());
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
            self.give_up();
        }
    }
}

/// Counts one sender that waits for room, also when its future is dropped.
struct Waiting<'a>(&'a Shared);

impl Waiting<'_> {
    fn new(shared: &Shared) -> Waiting<'_> {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one flush, also when its future is dropped.
struct Flushing<'a>(&'a Shared);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.accumulator().flushes -= 1;
    }
}

async fn settled(mut results: Vec<Arc<BatchResult>>) {
    while let Some(result) = results.pop() {
        if let Outcome::Split(parts) = result.wait().await {
            results.extend(parts.iter().map(|(_, part)| Arc::clone(part)));
        }
    }
}

/// A record that cannot be written into a batch.
fn unwritable(error: &BatchError) -> ClientError {
    ApiError::new(ErrorCode::InvalidRecord, Some(error.to_string())).into()
}
