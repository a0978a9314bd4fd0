//! A batch on its way to a partition, and the outcome that its records' senders wait for.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::sequences::Stamp;
use crate::client::error::{ApiError, ClientError};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::{BatchBuilder, BatchError, BatchViewMut};
use crate::protocol::error_code::ErrorCode;

/// Where a record came to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    pub topic_partition: TopicPartition,
    /// `None` when the broker was not asked (`acks=0`) or no longer knows it (a duplicate of a retry).
    pub offset: Option<i64>,
    /// The record's own, or the broker's where the topic says `LogAppendTime`; ms.
    pub timestamp: i64,
}

/// Who hears of a record's outcome, on the producer's own task.
pub(super) enum Callback {
    Once(Box<dyn FnOnce(Result<RecordMetadata, ClientError>) + Send>),
    /// The producer's listeners. It costs no allocation.
    Tagged(u64),
}

/// Hears of tagged records that were not delivered, on the producer's own task: it must be quick and must not wait.
pub type FailureListener = dyn Fn(u64, ClientError) + Send + Sync;

/// Hears of the tags of records that were delivered, once for all of a batch, in their order; else as [`FailureListener`].
pub type DeliveryListener = dyn Fn(&mut dyn Iterator<Item = u64>) + Send + Sync;

/// Who hears of tagged records.
#[derive(Clone, Default)]
pub(super) struct Listeners {
    pub(super) failure: Option<Arc<FailureListener>>,
    pub(super) delivery: Option<Arc<DeliveryListener>>,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Delivered {
        base_offset: Option<i64>,
        log_append_time: Option<i64>,
    },
    Failed {
        error: ClientError,
        record_errors: Vec<(i32, Option<String>)>,
    },
    /// Became several batches; each with the index of its first record in this one.
    Split(Vec<(u32, Arc<BatchResult>)>),
}

/// Shared by a batch and the deliveries of its records.
#[derive(Debug)]
pub(super) struct BatchResult {
    topic_partition: TopicPartition,
    outcome: OnceLock<Outcome>,
    done: Notify,
}

impl BatchResult {
    pub(super) fn new(topic_partition: TopicPartition) -> BatchResult {
        BatchResult { topic_partition, outcome: OnceLock::new(), done: Notify::new() }
    }

    /// The first outcome stays.
    pub(super) fn complete(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_ok() {
            self.done.notify_waiters();
        }
    }

    fn is_complete(&self) -> bool {
        self.outcome.get().is_some()
    }

    pub(super) async fn wait(&self) -> &Outcome {
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            // Before looking, so that an outcome between looking and waiting is not missed.
            done.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                return outcome;
            }
            done.await;
        }
    }

    fn of_record(&self, outcome: &Outcome, index: u32, timestamp: i64) -> Result<RecordMetadata, ClientError> {
        match outcome {
            Outcome::Delivered { base_offset, log_append_time } => Ok(RecordMetadata {
                topic_partition: self.topic_partition.clone(),
                offset: base_offset.map(|base| base + i64::from(index)),
                timestamp: log_append_time.unwrap_or(timestamp),
            }),
            Outcome::Failed { error, record_errors } if record_errors.is_empty() => Err(error.clone()),
            Outcome::Failed { error, record_errors } => {
                Err(match record_errors.iter().find(|(at, _)| i64::from(*at) == i64::from(index)) {
                    Some((_, Some(message))) => ApiError::new(ErrorCode::InvalidRecord, Some(message.clone())).into(),
                    Some((_, None)) => error.clone(),
                    None => ApiError::new(ErrorCode::InvalidRecord, Some(BESIDE_INVALID_RECORD.to_owned())).into(),
                })
            }
            Outcome::Split(_) => Err(ErrorCode::UnknownServerError.into()),
        }
    }
}

const BESIDE_INVALID_RECORD: &str = "The record was not appended, because others in its batch are invalid";

/// The outcome to come of one record. Dropping it does not stop the record.
#[derive(Debug)]
pub struct Delivery {
    pub(super) result: Arc<BatchResult>,
    pub(super) index: u32,
    pub(super) timestamp: i64,
}

impl Delivery {
    /// Waits until the record is delivered or given up.
    pub async fn wait(self) -> Result<RecordMetadata, ClientError> {
        let Delivery { mut result, mut index, timestamp } = self;
        loop {
            let part = match result.wait().await {
                Outcome::Split(parts) => part_of(parts, index),
                outcome => return result.of_record(outcome, index, timestamp),
            };
            match part {
                Some((first, part)) => {
                    index -= first;
                    result = part;
                }
                None => return Err(ErrorCode::UnknownServerError.into()),
            }
        }
    }

    /// The partition that was chosen.
    pub fn partition(&self) -> i32 {
        self.result.topic_partition.partition
    }
}

fn part_of(parts: &[(u32, Arc<BatchResult>)], index: u32) -> Option<(u32, Arc<BatchResult>)> {
    let at = parts.partition_point(|(first, _)| *first <= index).checked_sub(1)?;
    parts.get(at).map(|(first, part)| (*first, Arc::clone(part)))
}

#[derive(Debug)]
enum Content {
    Open(BatchBuilder),
    Closed(Bytes),
}

/// Records of one partition that travel together.
pub(super) struct Batch {
    pub(super) id: u64,
    /// Its place among the batches of its partition; parts of a batch share it.
    pub(super) order: u64,
    pub(super) topic_partition: TopicPartition,
    pub(super) result: Arc<BatchResult>,
    pub(super) callbacks: Vec<(u32, i64, Callback)>,
    listeners: Listeners,
    pub(super) record_count: i32,
    pub(super) created: Instant,
    pub(super) last_attempt: Instant,
    /// Failed attempts so far.
    pub(super) attempts: u32,
    /// The leader's epoch at the last attempt: a new leader is tried at once.
    pub(super) attempted_epoch: Option<i32>,
    pub(super) is_part: bool,
    pub(super) largest_record: usize,
    /// No more records: it was full, or is on its way.
    closed: bool,
    content: Content,
    stamped: Option<Stamp>,
    is_transactional: bool,
    /// What it holds of `buffer.memory`.
    _memory: Option<OwnedSemaphorePermit>,
}

impl Batch {
    pub(super) fn new(
        id: u64,
        topic_partition: TopicPartition,
        builder: BatchBuilder,
        now: Instant,
        memory: Option<OwnedSemaphorePermit>,
        listeners: Listeners,
    ) -> Batch {
        Batch {
            id,
            order: id,
            result: Arc::new(BatchResult::new(topic_partition.clone())),
            topic_partition,
            callbacks: Vec::new(),
            listeners,
            record_count: 0,
            created: now,
            last_attempt: now,
            attempts: 0,
            attempted_epoch: None,
            is_part: false,
            largest_record: 0,
            closed: false,
            is_transactional: builder.is_transactional(),
            content: Content::Open(builder),
            stamped: None,
            _memory: memory,
        }
    }

    /// A batch that was split off another, already finished.
    pub(super) fn part(id: u64, whole: &Batch, builder: BatchBuilder) -> Result<Batch, BatchError> {
        let mut part = Batch::new(id, whole.topic_partition.clone(), builder, whole.created, None, whole.listeners.clone());
        part.record_count = part.builder().map_or(0, |builder| builder.record_count());
        part.order = whole.order;
        part.is_part = true;
        part.closed = true;
        part.seal()?;
        Ok(part)
    }

    /// The builder, as long as records may be added.
    pub(super) fn builder(&mut self) -> Option<&mut BatchBuilder> {
        match &mut self.content {
            Content::Open(builder) if !self.closed => Some(builder),
            _ => None,
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_full(&self, limit: usize) -> bool {
        match &self.content {
            Content::Open(builder) => self.closed || builder.is_full(limit),
            Content::Closed(_) => true,
        }
    }

    pub(super) fn estimated_size(&self) -> usize {
        match &self.content {
            Content::Open(builder) => builder.estimated_size_bytes(),
            Content::Closed(bytes) => bytes.len(),
        }
    }

    /// Finishes the batch: compresses it. Gives the sizes with and without compression the first time.
    pub(super) fn seal(&mut self) -> Result<Option<(usize, usize)>, BatchError> {
        self.closed = true;
        let Content::Open(builder) = &mut self.content else { return Ok(None) };
        let builder = std::mem::replace(builder, BatchBuilder::new(builder.compression()));
        let uncompressed = builder.uncompressed_size_bytes();
        let bytes = builder.finish()?;
        let compressed = bytes.len();
        self.content = Content::Closed(bytes);
        Ok(Some((compressed, uncompressed)))
    }

    /// The finished bytes; none while it is open.
    pub(super) fn bytes(&self) -> Bytes {
        match &self.content {
            Content::Open(_) => Bytes::new(),
            Content::Closed(bytes) => bytes.clone(),
        }
    }

    /// Writes the stamp into the batch, open or finished.
    pub(super) fn stamp(&mut self, stamp: Stamp) -> Result<(), BatchError> {
        if self.stamped == Some(stamp) {
            return Ok(());
        }
        let Stamp { producer, base_sequence } = stamp;
        match &mut self.content {
            Content::Open(builder) => builder.set_producer(producer.id, producer.epoch, base_sequence),
            Content::Closed(bytes) => {
                // An earlier attempt may still hold the bytes.
                let mut copy = bytes.to_vec();
                BatchViewMut::parse(&mut copy)?.set_producer_state(producer.id, producer.epoch, base_sequence, self.is_transactional);
                *bytes = copy.into();
            }
        }
        self.stamped = Some(stamp);
        Ok(())
    }

    /// Tells everyone who waits. A batch that is dropped without this fails as if the producer had been closed.
    pub(super) fn complete(mut self, outcome: Outcome) {
        self.tell(&outcome);
        self.result.complete(outcome);
    }

    fn tell(&mut self, outcome: &Outcome) {
        if let (Outcome::Delivered { .. }, Some(listener)) = (outcome, &self.listeners.delivery) {
            listener(&mut self.callbacks.iter().filter_map(|(_, _, callback)| match callback {
                Callback::Tagged(tag) => Some(*tag),
                Callback::Once(_) => None,
            }));
        }
        for (index, timestamp, callback) in std::mem::take(&mut self.callbacks) {
            match callback {
                Callback::Once(callback) => callback(self.result.of_record(outcome, index, timestamp)),
                Callback::Tagged(_) if matches!(outcome, Outcome::Delivered { .. }) => {}
                Callback::Tagged(tag) => {
                    if let Some(listener) = &self.listeners.failure
                        && let Err(error) = self.result.of_record(outcome, index, timestamp)
                    {
                        listener(tag, error);
                    }
                }
            }
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.callbacks.is_empty() || !self.result.is_complete() {
            let outcome = Outcome::Failed { error: ClientError::Closed("producer"), record_errors: Vec::new() };
            self.tell(&outcome);
            self.result.complete(outcome);
        }
    }
}
