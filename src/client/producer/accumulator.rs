//! Records that wait to be sent: for each partition a queue of batches, the last of which takes new records.
//!
//! Pure state: no I/O and no waiting. The [`super::Producer`] appends, the [`super::sender`] drains; both hold one lock for as long as that takes.
//!
//! Invariants: a partition's batches leave in the order of the queue. A batch that comes back for a retry goes before everything that was
//! appended after it. Every batch that is not completed is in `incomplete`.
//!
//! Source: `RecordAccumulator`, `BuiltInPartitioner`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::ProducerRecord;
use super::batch::{Batch, BatchResult, Callback, Delivery, Listeners};
use super::partitioner::{RoundRobin, Sticky, partition_for_key};
use super::sequences::{ProducerIdAndEpoch, Sequences};
use super::transactions::Transactions;
use crate::client::error::ClientError;
use crate::client::metadata::{Metadata, TopicMetadata};
use crate::client::retry::Backoff;
use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::{BATCH_OVERHEAD, BatchBuilder, CompressionRatio};
use crate::protocol::compression::Compression;

/// How records are gathered.
#[derive(Clone, Debug)]
pub(super) struct Gathering {
    pub(super) batch_size: usize,
    pub(super) linger: Duration,
    pub(super) compression: Compression,
    pub(super) compression_level: Option<i32>,
    pub(super) ignore_keys: bool,
    pub(super) adaptive: bool,
    pub(super) round_robin: bool,
    pub(super) idempotent: bool,
    /// One batch of a partition at a time, where nothing but that keeps their order.
    pub(super) one_at_a_time: bool,
}

/// What became of a record that was offered.
pub(super) enum Appended {
    Done {
        delivery: Delivery,
        wake_sender: bool,
    },
    /// It needs a new batch: come back with this much of `buffer.memory`.
    NeedsMemory(usize),
    /// The topic, or its partition of that number, is not known here.
    NeedsMetadata,
    Refused(ClientError),
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    sequences: Sequences,
    in_flight: usize,
    /// How much the last batch held that was filled, uncompressed: the next one will hold as much.
    filled_bytes: usize,
}

struct Topic {
    metadata: Arc<TopicMetadata>,
    sticky: Sticky,
    round_robin: RoundRobin,
    ratio: CompressionRatio,
    queues: BTreeMap<i32, Queue>,
}

/// What could be sent now.
#[derive(Default)]
pub(super) struct Ready {
    /// Brokers with something to send, and their partitions that have batches.
    pub(super) brokers: BTreeMap<i32, Vec<TopicPartition>>,
    /// Topics with batches for partitions without a leader.
    pub(super) unknown_leaders: BTreeSet<String>,
    /// When to look again if nothing happens before.
    pub(super) next: Option<Instant>,
}

/// What batches are drained for.
pub(super) struct Terms<'a> {
    pub(super) metadata: &'a Metadata,
    /// Bytes of one request; a single batch may be larger.
    pub(super) max_size: usize,
    pub(super) now: Instant,
    pub(super) producer: Option<ProducerIdAndEpoch>,
    pub(super) backoff: &'a Backoff,
}

pub(super) struct Accumulator {
    gathering: Gathering,
    /// Ordered: for the few topics that a producer has, to compare is cheaper than to hash.
    topics: BTreeMap<String, Topic>,
    incomplete: BTreeMap<u64, Arc<BatchResult>>,
    next_batch_id: u64,
    random: Random,
    drain_start: HashMap<i32, usize>,
    /// Of a producer with a transactional id.
    pub(super) transactions: Option<Transactions>,
    pub(super) listeners: Listeners,
    pub(super) flushes: usize,
    pub(super) closed: bool,
    /// Why nothing can be sent any more.
    pub(super) fatal: Option<ClientError>,
}

/// Kafka's upper bound for a record's own fields besides key, value and headers.
const RECORD_OVERHEAD: usize = 21;

/// What a batch of this one record can take at most, in bytes.
pub(super) fn largest_batch_of(record: &ProducerRecord<'_>) -> usize {
    let field = |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| varint_len(bytes.len()) + bytes.len());
    let headers: usize = record.headers.iter().map(|header| field(Some(&header.key)) + field(header.value.as_deref())).sum();
    BATCH_OVERHEAD + RECORD_OVERHEAD + field(record.key) + field(record.value) + varint_len(record.headers.len()) + headers
}

/// A zig-zag varint's length.
fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value << 1).leading_zeros();
    (bits.max(1) as usize).div_ceil(7)
}

impl Accumulator {
    pub(super) fn new(gathering: Gathering, transactions: Option<Transactions>, random: Random) -> Accumulator {
        Accumulator {
            gathering,
            topics: BTreeMap::new(),
            incomplete: BTreeMap::new(),
            next_batch_id: 0,
            random,
            drain_start: HashMap::new(),
            transactions,
            listeners: Listeners::default(),
            flushes: 0,
            closed: false,
            fatal: None,
        }
    }

    /// Takes what is known of a topic, for choosing partitions.
    pub(super) fn learn(&mut self, metadata: &Arc<TopicMetadata>) {
        match self.topics.get_mut(&metadata.name) {
            Some(topic) => topic.metadata = Arc::clone(metadata),
            None => {
                let topic = Topic {
                    metadata: Arc::clone(metadata),
                    sticky: Sticky::default(),
                    round_robin: RoundRobin::default(),
                    ratio: CompressionRatio::default(),
                    queues: BTreeMap::new(),
                };
                self.topics.insert(metadata.name.clone(), topic);
            }
        }
    }

    /// Takes what is known of all topics in use.
    pub(super) fn learn_all(&mut self, metadata: &Metadata) {
        for (name, topic) in &mut self.topics {
            if let Some(news) = metadata.topic(name)
                && !Arc::ptr_eq(news, &topic.metadata)
            {
                topic.metadata = Arc::clone(news);
            }
        }
    }

    pub(super) fn topics_in_use(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    /// How many partitions a topic is known to have.
    pub(super) fn partitions_of(&self, topic: &str) -> Option<usize> {
        self.topics.get(topic).map(|topic| topic.metadata.partitions.len())
    }

    /// The next partition in turn, if partitions are to be chosen so.
    pub(super) fn in_turn(&mut self, topic: &str) -> Option<i32> {
        let topic = self.topics.get_mut(topic).filter(|topic| self.gathering.round_robin && !topic.metadata.partitions.is_empty())?;
        Some(topic.round_robin.partition(&topic.metadata))
    }

    /// Appends a record to the last batch of its partition, or to a new one if `memory` pays for it.
    pub(super) fn append(
        &mut self,
        record: &ProducerRecord<'_>,
        clock: &dyn Clock,
        memory: &mut Option<OwnedSemaphorePermit>,
        callback: &mut Option<Callback>,
    ) -> Appended {
        if let Some(error) = &self.fatal {
            return Appended::Refused(error.clone());
        }
        if self.closed {
            return Appended::Refused(ClientError::Closed("producer"));
        }
        if let Some(transactions) = &mut self.transactions
            && let Err(error) = transactions.check_send()
        {
            return Appended::Refused(error);
        }
        let batch_size = self.gathering.batch_size;
        let Some(topic) = self.topics.get_mut(record.topic) else { return Appended::NeedsMetadata };
        let count = topic.metadata.partitions.len();
        let (mut partition, sticky) = match (record.partition, record.key) {
            (Some(partition), _) if usize::try_from(partition).is_ok_and(|partition| partition < count) => (partition, false),
            (Some(_), _) => return Appended::NeedsMetadata,
            _ if count == 0 => return Appended::NeedsMetadata,
            (None, Some(key)) if !self.gathering.ignore_keys => (partition_for_key(key, count), false),
            _ => (topic.sticky.current(&topic.metadata, &mut self.random), true),
        };
        if sticky && topic.queues.get(&partition).is_none_or(|queue| queue.batches.back().is_none_or(|batch| batch.is_full(batch_size))) {
            // The partition was only kept to finish a batch, and that is done.
            topic.sticky.produced(0, batch_size, true);
            partition = topic.sticky.current(&topic.metadata, &mut self.random);
        }
        let queue = topic.queues.entry(partition).or_default();
        let timestamp = record.timestamp.unwrap_or_else(|| clock.now_ms());
        let fits = match queue.batches.back_mut() {
            None => false,
            Some(last) => {
                let fits = last
                    .builder()
                    .is_some_and(|builder| builder.has_room_for(batch_size, timestamp, record.key, record.value, record.headers));
                if !fits {
                    if let Some(builder) = last.builder() {
                        queue.filled_bytes = builder.uncompressed_size_bytes();
                    }
                    last.close();
                }
                fits
            }
        };
        if !fits {
            let Some(permit) = memory.take() else {
                return Appended::NeedsMemory(batch_size.max(largest_batch_of(record)));
            };
            let builder = BatchBuilder::new(self.gathering.compression)
                .compression_level(self.gathering.compression_level)
                .estimated_compression_ratio(topic.ratio.estimate())
                .reserve(queue.filled_bytes)
                .transactional(self.transactions.is_some());
            let topic_partition = TopicPartition::new(record.topic, partition);
            // A batch that takes more records is of this transaction and has been through here.
            if let Some(transactions) = &mut self.transactions {
                transactions.add_partition(&topic_partition);
            }
            let listeners = self.listeners.clone();
            let batch = Batch::new(self.next_batch_id, topic_partition, builder, Instant::now(), Some(permit), listeners);
            self.incomplete.insert(batch.id, Arc::clone(&batch.result));
            self.next_batch_id += 1;
            queue.batches.push_back(batch);
        }
        let Some(batch) = queue.batches.back_mut() else { return Appended::NeedsMetadata };
        let Some(builder) = batch.builder() else { return Appended::NeedsMetadata };
        let before = builder.estimated_size_bytes();
        if let Err(error) = builder.append(timestamp, record.key, record.value, record.headers) {
            return Appended::Refused(super::unwritable(&error));
        }
        let appended = builder.estimated_size_bytes() - before;
        let index = batch.record_count as u32;
        batch.record_count += 1;
        batch.largest_record = batch.largest_record.max(appended);
        if let Some(callback) = callback.take() {
            batch.callbacks.push((index, timestamp, callback));
        }
        let delivery = Delivery { result: Arc::clone(&batch.result), index, timestamp };
        let full = batch.is_full(batch_size);
        let wake_sender = !fits || full;
        if sticky {
            topic.sticky.produced(appended, batch_size, full);
        }
        Appended::Done { delivery, wake_sender }
    }

    /// What can be sent, as of `metadata`. `memory_is_short` when appenders wait for room.
    pub(super) fn ready(&mut self, metadata: &Metadata, now: Instant, memory_is_short: bool, backoff: &Backoff) -> Ready {
        let mut ready = Ready::default();
        let mut with_batches: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        let mut sendable = BTreeSet::new();
        let completing = self.transactions.as_ref().is_some_and(Transactions::is_completing);
        let hurry = memory_is_short || self.closed || self.flushes > 0 || completing;
        for (name, topic) in &mut self.topics {
            let known = metadata.topic(name);
            let mut loads = Vec::new();
            for (partition, queue) in &topic.queues {
                let leader = known.and_then(|topic| topic.partition(*partition));
                let leader = leader.and_then(|it| Some((it.leader?, it.leader_epoch)));
                if leader.is_some() {
                    loads.push((*partition, queue.batches.len()));
                }
                let Some(first) = queue.batches.front() else { continue };
                let Some((leader, epoch)) = leader else {
                    ready.unknown_leaders.insert(name.clone());
                    continue;
                };
                if self.gathering.one_at_a_time && queue.in_flight > 0 {
                    continue;
                }
                with_batches.entry(leader).or_default().push(TopicPartition::new(name.clone(), *partition));
                let full = queue.batches.len() > 1 || first.is_full(self.gathering.batch_size);
                let due = match backing_off(first, epoch, backoff) {
                    Some(until) => until,
                    None if full || hurry => now,
                    None => first.last_attempt + self.gathering.linger,
                };
                if due <= now {
                    sendable.insert(leader);
                } else {
                    ready.next = Some(ready.next.map_or(due, |next| next.min(due)));
                }
            }
            let adaptive = self.gathering.adaptive && topic.queues.len() >= topic.metadata.partitions.len();
            topic.sticky.set_load(adaptive.then_some(&loads));
        }
        ready.brokers = with_batches.into_iter().filter(|(leader, _)| sendable.contains(leader)).collect();
        ready
    }

    /// Takes one batch of each of a broker's partitions, up to a size, starting where the last call ended.
    pub(super) fn drain(&mut self, broker: i32, partitions: &[TopicPartition], terms: &Terms<'_>) -> Vec<Batch> {
        let Terms { metadata, max_size, now, producer, backoff } = *terms;
        let mut drained = Vec::new();
        let mut size = 0;
        let start = self.drain_start.get(&broker).copied().unwrap_or(0) % partitions.len().max(1);
        for step in 0..partitions.len() {
            let at = (start + step) % partitions.len();
            let topic_partition = &partitions[at];
            let epoch = metadata.partition(topic_partition).and_then(|it| it.leader_epoch);
            let Some(topic) = self.topics.get_mut(&topic_partition.topic) else { continue };
            let Some(queue) = topic.queues.get_mut(&topic_partition.partition) else { continue };
            let Some(first) = queue.batches.front() else { continue };
            if backing_off(first, epoch, backoff).is_some_and(|until| until > now) {
                continue;
            }
            if self.transactions.as_ref().is_some_and(|transactions| !transactions.may_send_to(topic_partition)) {
                continue;
            }
            if size + first.estimated_size() > max_size && !drained.is_empty() {
                self.drain_start.insert(broker, at);
                break;
            }
            if self.gathering.idempotent {
                let Some(producer) = producer else { continue };
                if !queue.sequences.may_send(first.id, producer) {
                    continue;
                }
            }
            let Some(mut batch) = queue.batches.pop_front() else { continue };
            if let Some(producer) = producer.filter(|_| self.gathering.idempotent) {
                let stamp = queue.sequences.stamp(batch.id);
                let stamp = stamp.unwrap_or_else(|| queue.sequences.assign(batch.id, batch.record_count, producer));
                if let Err(error) = batch.stamp(stamp) {
                    tracing::error!(%error, "a batch cannot be stamped");
                }
            }
            queue.in_flight += 1;
            batch.close();
            batch.last_attempt = now;
            batch.attempted_epoch = epoch;
            size += batch.estimated_size();
            drained.push(batch);
            self.drain_start.insert(broker, at + 1);
        }
        drained
    }

    /// Learns how well a topic's records compress.
    pub(super) fn observe_ratio(&mut self, topic: &str, compressed: usize, uncompressed: usize) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.ratio.observe(compressed, uncompressed);
        }
    }

    /// Expects no compression at all, after a batch turned out too large.
    pub(super) fn reset_ratio(&mut self, topic: &str) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.ratio = CompressionRatio::default();
        }
    }

    fn queue(&mut self, topic_partition: &TopicPartition) -> Option<&mut Queue> {
        self.topics.get_mut(&topic_partition.topic)?.queues.get_mut(&topic_partition.partition)
    }

    /// The sequences of a partition, once it has had a batch.
    pub(super) fn sequences(&mut self, topic_partition: &TopicPartition) -> Option<&mut Sequences> {
        self.queue(topic_partition).map(|queue| &mut queue.sequences)
    }

    /// A drained batch has been answered, whatever the answer.
    pub(super) fn landed(&mut self, topic_partition: &TopicPartition) {
        if let Some(queue) = self.queue(topic_partition) {
            queue.in_flight = queue.in_flight.saturating_sub(1);
        }
    }

    /// Puts a batch back for another attempt, where its sequence belongs.
    pub(super) fn requeue(&mut self, batch: Batch) {
        let Some(queue) = self.queue(&batch.topic_partition.clone()) else { return };
        let rank = |batch: &Batch| (queue.sequences.rank(batch.id), batch.order);
        let place = queue.batches.iter().take_while(|other| rank(other) < rank(&batch)).count();
        queue.batches.insert(place, batch);
    }

    /// Puts the parts of a batch that was too large in its place.
    pub(super) fn replace(&mut self, whole: u64, topic_partition: &TopicPartition, parts: Vec<Batch>) {
        for part in &parts {
            self.incomplete.insert(part.id, Arc::clone(&part.result));
        }
        if let Some(sequences) = self.sequences(topic_partition) {
            let counts: Vec<(u64, i32)> = parts.iter().map(|part| (part.id, part.record_count)).collect();
            sequences.split(whole, &counts);
        }
        // Backwards, since without sequences each goes before its equals.
        for part in parts.into_iter().rev() {
            self.requeue(part);
        }
    }

    pub(super) fn new_batch_id(&mut self) -> u64 {
        self.next_batch_id += 1;
        self.next_batch_id - 1
    }

    /// Takes out batches whose time is up, with whether an attempt was ever made. `next` learns when the next one's is.
    pub(super) fn expired(&mut self, now: Instant, timeout: Duration, next: &mut Option<Instant>) -> Vec<Batch> {
        let mut expired = Vec::new();
        for topic in self.topics.values_mut() {
            for queue in topic.queues.values_mut() {
                while let Some(first) = queue.batches.front() {
                    let end = first.created + timeout;
                    if end > now {
                        *next = Some(next.map_or(end, |next| next.min(end)));
                        break;
                    }
                    expired.extend(queue.batches.pop_front());
                }
            }
        }
        expired
    }

    /// Takes out everything that is queued.
    pub(super) fn take_all(&mut self) -> Vec<Batch> {
        let queues = self.topics.values_mut().flat_map(|topic| topic.queues.values_mut());
        queues.flat_map(|queue| queue.batches.drain(..)).collect()
    }

    /// Takes out what is queued and was never sent.
    pub(super) fn take_unsent(&mut self) -> Vec<Batch> {
        let mut unsent = Vec::new();
        for queue in self.topics.values_mut().flat_map(|topic| topic.queues.values_mut()) {
            let (sent, rest) = queue.batches.drain(..).partition(|batch| queue.sequences.stamp(batch.id).is_some());
            queue.batches = sent;
            unsent.extend::<VecDeque<Batch>>(rest);
        }
        unsent
    }

    /// Starts the sequences of all partitions anew; nothing may be in flight.
    pub(super) fn reset_sequences(&mut self) {
        for queue in self.topics.values_mut().flat_map(|topic| topic.queues.values_mut()) {
            queue.sequences = Sequences::default();
        }
    }

    /// Partitions whose sequences can be settled and want a new epoch.
    pub(super) fn resolve_sequences(&mut self) -> Vec<TopicPartition> {
        let mut wanting = Vec::new();
        for (name, topic) in &mut self.topics {
            for (partition, queue) in &mut topic.queues {
                if queue.sequences.resolve() {
                    wanting.push(TopicPartition::new(name.clone(), *partition));
                }
            }
        }
        wanting
    }

    pub(super) fn completed(&mut self, batch: u64) {
        self.incomplete.remove(&batch);
    }

    /// The outcomes that are still to come.
    pub(super) fn incomplete(&self) -> Vec<Arc<BatchResult>> {
        self.incomplete.values().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.incomplete.is_empty()
    }
}

/// Until when a batch that failed waits for its next attempt; a new leader is tried at once.
fn backing_off(batch: &Batch, leader_epoch: Option<i32>, backoff: &Backoff) -> Option<Instant> {
    if batch.attempts == 0 || (leader_epoch.is_some() && leader_epoch != batch.attempted_epoch) {
        return None;
    }
    Some(batch.last_attempt + backoff.base(batch.attempts - 1))
}
