//! Runs the shards of a coordinator: one owner task for each partition of its topic that this broker leads. Source: `CoordinatorRuntime`.
//!
//! A shard's task takes one operation after the other, appends the records it yields, lets them become state, and answers when they are
//! committed. Operations that only append (offset commits) and that queued up meanwhile share a batch; nothing waits for company.
//!
//! Invariant: a shard is touched by its own task only. Invariant: an answer leaves after everything appended before it is committed, so that
//! nobody is told what a failure could still undo. Invariant: records become state after they are in the log, so that a failed append
//! needs no undoing.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::timers::Now;
use crate::common::clock::Clock;
use crate::protocol::codec::EncodeError;
use crate::protocol::error_code::ErrorCode;

/// The runtime's name for a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(pub u64);

/// A parked request and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed<P> {
    pub waiter: WaiterId,
    pub response: P,
}

/// What an operation did besides giving its own answer: records `R`, a step `A` that waits for their commit, answers `P` to parked requests.
#[derive(Debug)]
pub struct Effects<R, A, P> {
    /// To be appended, in this order; as one batch, unless `divisible`.
    pub records: Vec<R>,
    /// Each record stands for itself, so that any number of them can be appended: what is more than a batch takes goes into several.
    pub divisible: bool,
    /// Whether the records change state by [`Shard::replay`] once appended; others only say what the shard already is.
    pub replay: bool,
    /// What to hand to [`Shard::committed`] when the records are committed, or could not be.
    pub after_commit: Option<A>,
    /// Requests to answer now.
    pub completed: Vec<Completed<P>>,
}

impl<R, A, P> Default for Effects<R, A, P> {
    fn default() -> Effects<R, A, P> {
        Effects { records: Vec::new(), divisible: false, replay: false, after_commit: None, completed: Vec::new() }
    }
}

/// The effects of an operation on `S`.
pub type EffectsOf<S> = Effects<<S as Shard>::Record, <S as Shard>::AfterCommit, <S as Shard>::Parked>;

/// A producer in whose transaction records are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionalProducer {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// The log refuses the records unless the transaction is open there or `guard` is that of its verification.
    pub verify: bool,
    pub guard: Option<u64>,
}

/// What ends a producer's transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionMarker {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// The leader epoch of the transaction coordinator that has it written.
    pub coordinator_epoch: i32,
    pub commit: bool,
    /// The transaction.version of the producer.
    pub transaction_version: i16,
}

/// A pure state machine over the records of one partition.
pub trait Shard: Send + 'static {
    type Record: Send;
    type AfterCommit: Send;
    type Parked: Send;

    /// A record's key and value as they stand in the log.
    fn encode(record: &Self::Record) -> Result<(Bytes, Option<Bytes>), EncodeError>;

    /// Makes a record that this shard yielded part of its state.
    fn replay(&mut self, offset: i64, record: Self::Record);

    /// Makes a record that this shard yielded within a producer's transaction part of its state.
    fn replay_transactional(&mut self, offset: i64, producer_id: i64, record: Self::Record) {
        let _ = producer_id;
        self.replay(offset, record);
    }

    /// A transaction that records here may belong to has ended.
    fn replay_end_transaction(&mut self, producer_id: i64, commit: bool) {
        let _ = (producer_id, commit);
    }

    /// The leader epoch under which the shard is about to be loaded.
    fn begin_epoch(&mut self, leader_epoch: i32) {
        let _ = leader_epoch;
    }

    /// Makes what was found in the log part of the state.
    fn load(&mut self, entry: LogEntry);

    /// The whole log is loaded.
    fn on_loaded(&mut self, now: Now) -> EffectsOf<Self>
    where
        Self: Sized;

    /// This broker no longer leads the partition; whoever waits is to be answered.
    fn on_unloaded(&mut self, now: Now) -> EffectsOf<Self>
    where
        Self: Sized;

    /// When [`Shard::poll`] next has something to do, in monotonic milliseconds.
    fn next_deadline(&self) -> Option<u64>;

    /// Lets the earliest expired deadline act; `None` when none has expired.
    fn poll(&mut self, now: Now) -> Option<EffectsOf<Self>>
    where
        Self: Sized;

    /// Continues what waited for records.
    fn committed(&mut self, after: Self::AfterCommit, result: Result<(), ErrorCode>, now: Now) -> EffectsOf<Self>
    where
        Self: Sized;
}

/// What a loader finds in a partition's log.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEntry {
    /// A record; `producer_id` is that of its transaction, if it is in one.
    Record { offset: i64, producer_id: Option<i64>, key: Bytes, value: Option<Bytes> },
    /// The end of a transaction.
    EndTransaction { producer_id: i64, commit: bool },
}

/// Appends to the coordinator's topic.
pub trait PartitionWriter: Send + Sync + 'static {
    /// Appends these keys and values as one batch, as the leader of this epoch, and returns the offset of the first. The batch need not
    /// be committed yet.
    fn append(
        &self,
        partition: i32,
        leader_epoch: i32,
        records: Vec<(Bytes, Option<Bytes>)>,
    ) -> impl Future<Output = Result<i64, ErrorCode>> + Send;

    /// As [`PartitionWriter::append`], as part of a producer's transaction. A log that no transaction reaches need not have it.
    fn append_in_transaction(
        &self,
        partition: i32,
        leader_epoch: i32,
        producer: TransactionalProducer,
        records: Vec<(Bytes, Option<Bytes>)>,
    ) -> impl Future<Output = Result<i64, ErrorCode>> + Send {
        let _ = (partition, leader_epoch, producer, records);
        std::future::ready(Err(ErrorCode::InvalidTxnState))
    }

    /// Appends the marker that ends a producer's transaction, and returns its offset.
    fn append_marker(
        &self,
        partition: i32,
        leader_epoch: i32,
        marker: TransactionMarker,
    ) -> impl Future<Output = Result<i64, ErrorCode>> + Send {
        let _ = (partition, leader_epoch, marker);
        std::future::ready(Err(ErrorCode::InvalidTxnState))
    }

    /// Waits until everything below `offset` is committed. Fails when this broker no longer leads the partition.
    fn wait_until_committed(&self, partition: i32, leader_epoch: i32, offset: i64) -> impl Future<Output = Result<(), ErrorCode>> + Send;
}

/// Reads the coordinator's topic.
pub trait Loader: Send + Sync + 'static {
    /// Visits everything committed in the partition's log, in order. Blocks.
    fn load(&self, partition: i32, visit: &mut dyn FnMut(LogEntry)) -> Result<(), ErrorCode>;
}

/// What a client is told when an operation failed in the log.
pub fn operation_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        other => other,
    }
}

/// Batches end at this size even if more operations wait; only what may not be divided can be larger. Bytes. With it a batch stays below
/// the default of `max.message.bytes`.
const MAX_BATCH_BYTES: usize = 512 * 1024;
/// Partitions that load at the same time.
const CONCURRENT_LOADS: usize = 4;

const LOADING: u8 = 0;
const ACTIVE: u8 = 1;
const FAILED: u8 = 2;

type Reply = Box<dyn FnOnce(Result<(), ErrorCode>) + Send>;
type Operation<S> = Box<dyn FnOnce(&mut S, Now) -> (EffectsOf<S>, Reply) + Send>;
type ParkingOperation<S> = Box<dyn FnOnce(&mut S, Now, WaiterId) -> EffectsOf<S> + Send>;

enum Job<S: Shard> {
    /// `batchable`: reads nothing that an earlier operation's records would change.
    Run {
        operation: Operation<S>,
        batchable: bool,
    },
    RunInTransaction {
        operation: Operation<S>,
        producer: TransactionalProducer,
    },
    EndTransaction {
        marker: TransactionMarker,
        reply: Reply,
    },
    Park {
        operation: ParkingOperation<S>,
        answer: oneshot::Sender<Result<S::Parked, ErrorCode>>,
    },
    Unload,
}

struct Handle<S: Shard> {
    leader_epoch: i32,
    state: Arc<AtomicU8>,
    jobs: mpsc::UnboundedSender<Job<S>>,
}

impl<S: Shard> Clone for Handle<S> {
    fn clone(&self) -> Handle<S> {
        Handle { leader_epoch: self.leader_epoch, state: Arc::clone(&self.state), jobs: self.jobs.clone() }
    }
}

/// The shards that this broker owns.
pub struct Runtime<S: Shard, W> {
    shards: Mutex<HashMap<i32, Handle<S>>>,
    log: Arc<W>,
    clock: Arc<dyn Clock>,
    new_shard: Box<dyn Fn(i32) -> S + Send + Sync>,
    loads: Arc<Semaphore>,
    commit_timeout: Duration,
    tasks: tokio::runtime::Handle,
}

impl<S: Shard, W: PartitionWriter + Loader> Runtime<S, W> {
    /// `new_shard` makes the empty shard of a partition; `commit_timeout_ms` bounds the wait for a commit. Shards run where this is
    /// called: within a tokio runtime.
    pub fn new(
        log: Arc<W>,
        clock: Arc<dyn Clock>,
        commit_timeout_ms: u64,
        new_shard: impl Fn(i32) -> S + Send + Sync + 'static,
    ) -> Runtime<S, W> {
        Runtime {
            shards: Mutex::new(HashMap::new()),
            log,
            clock,
            new_shard: Box::new(new_shard),
            loads: Arc::new(Semaphore::new(CONCURRENT_LOADS)),
            commit_timeout: Duration::from_millis(commit_timeout_ms),
            tasks: tokio::runtime::Handle::current(),
        }
    }

    fn shards(&self) -> MutexGuard<'_, HashMap<i32, Handle<S>>> {
        // A panic while the lock was held leaves the map whole: it is only ever changed by single calls.
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This broker has become the partition's leader: load it and serve it.
    pub fn load(&self, partition: i32, leader_epoch: i32) {
        let mut shards = self.shards();
        if let Some(handle) = shards.get(&partition) {
            if handle.leader_epoch >= leader_epoch && handle.state.load(Ordering::Acquire) != FAILED {
                return;
            }
            let _ = handle.jobs.send(Job::Unload);
        }
        let (sender, jobs) = mpsc::unbounded_channel();
        let state = Arc::new(AtomicU8::new(LOADING));
        shards.insert(partition, Handle { leader_epoch, state: Arc::clone(&state), jobs: sender });
        drop(shards);
        let mut shard = (self.new_shard)(partition);
        shard.begin_epoch(leader_epoch);
        let task = ShardTask {
            partition,
            leader_epoch,
            shard,
            log: Arc::clone(&self.log),
            clock: Arc::clone(&self.clock),
            commit_timeout: self.commit_timeout,
            parked: HashMap::new(),
            next_waiter: 0,
            batches: VecDeque::new(),
            uncommitted: VecDeque::new(),
        };
        self.tasks.spawn(task.load_and_run(Arc::clone(&self.loads), state, jobs));
    }

    /// This broker is no longer the partition's leader.
    pub fn unload(&self, partition: i32) {
        if let Some(handle) = self.shards().remove(&partition) {
            let _ = handle.jobs.send(Job::Unload);
        }
    }

    /// The partitions that are being served or loaded.
    pub fn partitions(&self) -> Vec<i32> {
        let mut partitions: Vec<i32> = self.shards().keys().copied().collect();
        partitions.sort_unstable();
        partitions
    }

    fn send(&self, partition: i32, job: Job<S>) -> Result<(), ErrorCode> {
        let handle = self.shards().get(&partition).cloned().ok_or(ErrorCode::NotCoordinator)?;
        match handle.state.load(Ordering::Acquire) {
            ACTIVE => handle.jobs.send(job).map_err(|_| ErrorCode::NotCoordinator),
            LOADING => Err(ErrorCode::CoordinatorLoadInProgress),
            _ => Err(ErrorCode::NotCoordinator),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        partition: i32,
        job: impl FnOnce(Operation<S>) -> Job<S>,
        operation: impl FnOnce(&mut S, Now) -> Result<(T, EffectsOf<S>), ErrorCode> + Send + 'static,
    ) -> Result<T, ErrorCode> {
        let (sender, receiver) = oneshot::channel();
        let operation: Operation<S> = Box::new(move |shard, now| {
            let (answer, effects) = match operation(shard, now) {
                Ok((answer, effects)) => (Ok(answer), effects),
                Err(error) => (Err(error), Effects::default()),
            };
            let reply: Reply = Box::new(move |committed| {
                let _ = sender.send(committed.map_err(operation_error).and(answer));
            });
            (effects, reply)
        });
        self.send(partition, job(operation))?;
        receiver.await.unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// Runs an operation and gives its answer once its records are committed.
    pub async fn write<T: Send + 'static>(
        &self,
        partition: i32,
        operation: impl FnOnce(&mut S, Now) -> Result<(T, EffectsOf<S>), ErrorCode> + Send + 'static,
    ) -> Result<T, ErrorCode> {
        self.run(partition, |operation| Job::Run { operation, batchable: false }, operation).await
    }

    /// As [`Runtime::write`], for operations that do not look at what others in the same batch have yielded.
    pub async fn append<T: Send + 'static>(
        &self,
        partition: i32,
        operation: impl FnOnce(&mut S, Now) -> Result<(T, EffectsOf<S>), ErrorCode> + Send + 'static,
    ) -> Result<T, ErrorCode> {
        self.run(partition, |operation| Job::Run { operation, batchable: true }, operation).await
    }

    /// As [`Runtime::write`], with the records as part of a producer's transaction.
    pub async fn write_in_transaction<T: Send + 'static>(
        &self,
        partition: i32,
        producer: TransactionalProducer,
        operation: impl FnOnce(&mut S, Now) -> Result<(T, EffectsOf<S>), ErrorCode> + Send + 'static,
    ) -> Result<T, ErrorCode> {
        self.run(partition, |operation| Job::RunInTransaction { operation, producer }, operation).await
    }

    /// Ends a producer's transaction in this partition; answers when the marker is committed, or with the log's own error.
    pub async fn end_transaction(&self, partition: i32, marker: TransactionMarker) -> Result<(), ErrorCode> {
        let (sender, receiver) = oneshot::channel();
        let reply: Reply = Box::new(move |committed| {
            let _ = sender.send(committed);
        });
        self.send(partition, Job::EndTransaction { marker, reply })?;
        receiver.await.unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// Has every shard do something, those that are still being loaded as soon as they are. Nobody waits for it.
    pub fn tell_all(&self, operation: impl Fn(&mut S, Now) -> EffectsOf<S> + Send + Sync + 'static) {
        let operation = Arc::new(operation);
        for handle in self.shards().values() {
            let operation = Arc::clone(&operation);
            let operation: Operation<S> = Box::new(move |shard, now| (operation(shard, now), Box::new(|_| ())));
            let _ = handle.jobs.send(Job::Run { operation, batchable: false });
        }
    }

    /// Looks at committed state.
    pub async fn read<T: Send + 'static>(&self, partition: i32, operation: impl FnOnce(&S) -> T + Send + 'static) -> Result<T, ErrorCode> {
        self.write(partition, move |shard, _| Ok((operation(shard), Effects::default()))).await
    }

    /// Runs an operation whose answer may come much later, by its waiter's id.
    pub async fn park(
        &self,
        partition: i32,
        operation: impl FnOnce(&mut S, Now, WaiterId) -> EffectsOf<S> + Send + 'static,
    ) -> Result<S::Parked, ErrorCode> {
        let (answer, receiver) = oneshot::channel();
        self.send(partition, Job::Park { operation: Box::new(operation), answer })?;
        receiver.await.unwrap_or(Err(ErrorCode::NotCoordinator))
    }
}

/// What waits for a commit.
enum Pending<S: Shard> {
    Reply(Reply),
    After(S::AfterCommit),
}

/// Records on their way into the log, and what waits for them.
struct Batch<S: Shard> {
    records: Vec<(Bytes, Option<Bytes>)>,
    size_bytes: usize,
    /// Records that become state, with their place in the batch.
    replay: Vec<(usize, S::Record)>,
    pending: Vec<Pending<S>>,
    /// Whose transaction the records belong to.
    producer: Option<TransactionalProducer>,
}

impl<S: Shard> Batch<S> {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.pending.is_empty()
    }
}

impl<S: Shard> Default for Batch<S> {
    fn default() -> Batch<S> {
        Batch { records: Vec::new(), size_bytes: 0, replay: Vec::new(), pending: Vec::new(), producer: None }
    }
}

/// The end of an appended batch, and what waits for it to be committed.
struct Uncommitted<S: Shard> {
    end_offset: i64,
    pending: Vec<Pending<S>>,
}

struct ShardTask<S: Shard, W> {
    partition: i32,
    leader_epoch: i32,
    shard: S,
    log: Arc<W>,
    clock: Arc<dyn Clock>,
    commit_timeout: Duration,
    parked: HashMap<WaiterId, oneshot::Sender<Result<S::Parked, ErrorCode>>>,
    next_waiter: u64,
    /// What is to be appended next, batch after batch.
    batches: VecDeque<Batch<S>>,
    uncommitted: VecDeque<Uncommitted<S>>,
}

type CommitWait = Pin<Box<dyn Future<Output = Result<(), ErrorCode>> + Send>>;

impl<S: Shard, W: PartitionWriter + Loader> ShardTask<S, W> {
    async fn load_and_run(mut self, loads: Arc<Semaphore>, state: Arc<AtomicU8>, jobs: mpsc::UnboundedReceiver<Job<S>>) {
        let permit = loads.acquire_owned().await;
        let (log, partition) = (Arc::clone(&self.log), self.partition);
        let loading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let result = log.load(partition, &mut |entry| self.shard.load(entry));
            (self, result)
        });
        match loading.await {
            Ok((mut task, Ok(()))) => {
                tracing::debug!(partition, epoch = task.leader_epoch, "coordinator shard loaded");
                let now = task.now();
                let effects = task.shard.on_loaded(now);
                task.take(effects, None);
                task.flush().await;
                state.store(ACTIVE, Ordering::Release);
                task.serve(jobs).await;
            }
            Ok((_, Err(error))) => {
                tracing::error!(partition, %error, "could not load the coordinator's partition");
                state.store(FAILED, Ordering::Release);
            }
            Err(panicked) => {
                tracing::error!(partition, error = %panicked, "could not load the coordinator's partition");
                state.store(FAILED, Ordering::Release);
            }
        }
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.clock.now_ms(), monotonic_ms: self.clock.monotonic_ms() }
    }

    async fn serve(mut self, mut jobs: mpsc::UnboundedReceiver<Job<S>>) {
        let mut commit_wait: Option<CommitWait> = None;
        loop {
            // Here and not only when the sleep ends, so that a busy queue does not put deadlines off.
            while let Some(effects) = self.shard.poll(self.now()) {
                self.take(effects, None);
                // What the next deadline does may depend on it.
                self.flush().await;
            }
            self.flush().await;
            if commit_wait.is_none() {
                commit_wait = self.commit_wait();
            }
            let deadline = self.shard.next_deadline();
            let until_deadline = deadline.map(|at| Duration::from_millis(at.saturating_sub(self.clock.monotonic_ms())));
            tokio::select! {
                biased;
                result = wait(&mut commit_wait), if commit_wait.is_some() => {
                    commit_wait = None;
                    self.front_committed(result).await;
                }
                job = jobs.recv() => {
                    if !self.run_queued(job, &mut jobs).await {
                        return self.close();
                    }
                }
                () = tokio::time::sleep(until_deadline.unwrap_or_default()), if until_deadline.is_some() => {}
            }
        }
    }

    /// Waits for the oldest batch that is not known to be committed.
    fn commit_wait(&self) -> Option<CommitWait> {
        let end_offset = self.uncommitted.front()?.end_offset;
        let (log, partition, epoch, timeout) = (Arc::clone(&self.log), self.partition, self.leader_epoch, self.commit_timeout);
        Some(Box::pin(async move {
            let committed = log.wait_until_committed(partition, epoch, end_offset);
            tokio::time::timeout(timeout, committed).await.unwrap_or(Err(ErrorCode::RequestTimedOut))
        }))
    }

    async fn front_committed(&mut self, result: Result<(), ErrorCode>) {
        if let Some(front) = self.uncommitted.pop_front() {
            self.settle(front.pending, result);
        }
        self.flush().await;
    }

    /// Runs a job and those that queued up behind it. False when it is time to go.
    async fn run_queued(&mut self, first: Option<Job<S>>, jobs: &mut mpsc::UnboundedReceiver<Job<S>>) -> bool {
        let mut next = first;
        loop {
            match next {
                None | Some(Job::Unload) => return false,
                Some(Job::Run { operation, batchable }) => {
                    if !batchable {
                        self.flush().await;
                    }
                    let now = self.now();
                    let (effects, reply) = operation(&mut self.shard, now);
                    self.take(effects, Some(reply));
                    if !batchable || self.batches.len() > 1 || self.last_batch().size_bytes >= MAX_BATCH_BYTES {
                        self.flush().await;
                    }
                }
                Some(Job::RunInTransaction { operation, producer }) => {
                    // A batch belongs to one transaction, or to none.
                    self.flush().await;
                    let now = self.now();
                    let (effects, reply) = operation(&mut self.shard, now);
                    self.take(effects, Some(reply));
                    self.batches.iter_mut().for_each(|batch| batch.producer = Some(producer));
                    self.flush().await;
                }
                Some(Job::EndTransaction { marker, reply }) => {
                    self.flush().await;
                    self.end_transaction(marker, reply).await;
                }
                Some(Job::Park { operation, answer }) => {
                    self.flush().await;
                    self.next_waiter += 1;
                    let waiter = WaiterId(self.next_waiter);
                    self.parked.insert(waiter, answer);
                    let now = self.now();
                    let effects = operation(&mut self.shard, now, waiter);
                    self.take(effects, None);
                    self.flush().await;
                }
            }
            match jobs.try_recv() {
                Ok(job) => next = Some(job),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
        self.flush().await;
        true
    }

    /// Answers who can be answered and puts the records into the batch.
    fn take(&mut self, effects: EffectsOf<S>, reply: Option<Reply>) {
        self.answer_parked(effects.completed);
        let mut encoded = Vec::with_capacity(effects.records.len());
        for record in &effects.records {
            match S::encode(record) {
                Ok(bytes) => encoded.push(bytes),
                Err(error) => {
                    tracing::error!(partition = self.partition, %error, "a coordinator record cannot be written");
                    let pending = effects.after_commit.map(Pending::After).into_iter().chain(reply.map(Pending::Reply)).collect();
                    return self.settle(pending, Err(ErrorCode::UnknownServerError));
                }
            }
        }
        let sizes = encoded.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len) + 16);
        let sizes: Vec<usize> = sizes.collect();
        if !effects.divisible {
            self.make_room(sizes.iter().sum());
        }
        let replay = effects.replay;
        for ((record, encoded), size_bytes) in effects.records.into_iter().zip(encoded).zip(sizes) {
            if effects.divisible {
                self.make_room(size_bytes);
            }
            let batch = self.last_batch();
            batch.size_bytes += size_bytes;
            if replay {
                batch.replay.push((batch.records.len(), record));
            }
            batch.records.push(encoded);
        }
        let pending = effects.after_commit.map(Pending::After).into_iter().chain(reply.map(Pending::Reply));
        self.last_batch().pending.extend(pending);
    }

    fn last_batch(&mut self) -> &mut Batch<S> {
        if self.batches.is_empty() {
            self.batches.push_back(Batch::default());
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }

    /// Begins another batch if the last one does not take so much more: what others have in it must not fail with what comes.
    fn make_room(&mut self, size_bytes: usize) {
        let last = self.last_batch();
        if !last.records.is_empty() && last.size_bytes + size_bytes > MAX_BATCH_BYTES {
            self.batches.push_back(Batch::default());
        }
    }

    /// Appends the batch, lets it become state, and remembers who waits for its commit.
    async fn flush(&mut self) {
        while let Some(batch) = self.batches.pop_front() {
            if batch.is_empty() {
                continue;
            }
            if batch.records.is_empty() {
                match self.uncommitted.back_mut() {
                    Some(last) => last.pending.extend(batch.pending),
                    None => self.settle(batch.pending, Ok(())),
                }
                continue;
            }
            let count = batch.records.len() as i64;
            let appended = match batch.producer {
                None => self.log.append(self.partition, self.leader_epoch, batch.records).await,
                Some(producer) => self.log.append_in_transaction(self.partition, self.leader_epoch, producer, batch.records).await,
            };
            match appended {
                Ok(base_offset) => {
                    for (at, record) in batch.replay {
                        let offset = base_offset + at as i64;
                        match batch.producer {
                            None => self.shard.replay(offset, record),
                            Some(producer) => self.shard.replay_transactional(offset, producer.producer_id, record),
                        }
                    }
                    self.uncommitted.push_back(Uncommitted { end_offset: base_offset + count, pending: batch.pending });
                }
                Err(error) => {
                    tracing::warn!(partition = self.partition, %error, "could not append to the coordinator's partition");
                    self.settle(batch.pending, Err(error));
                }
            }
        }
    }

    async fn end_transaction(&mut self, marker: TransactionMarker, reply: Reply) {
        match self.log.append_marker(self.partition, self.leader_epoch, marker).await {
            Ok(offset) => {
                self.shard.replay_end_transaction(marker.producer_id, marker.commit);
                self.uncommitted.push_back(Uncommitted { end_offset: offset + 1, pending: vec![Pending::Reply(reply)] });
            }
            Err(error) => reply(Err(error)),
        }
    }

    /// Tells those who waited how it went. What they do then goes into the next batch.
    fn settle(&mut self, pending: Vec<Pending<S>>, result: Result<(), ErrorCode>) {
        for pending in pending {
            match pending {
                Pending::Reply(reply) => reply(result),
                Pending::After(after) => {
                    let now = self.now();
                    let effects = self.shard.committed(after, result, now);
                    self.take(effects, None);
                }
            }
        }
    }

    fn answer_parked(&mut self, completed: Vec<Completed<S::Parked>>) {
        for Completed { waiter, response } in completed {
            if let Some(answer) = self.parked.remove(&waiter) {
                let _ = answer.send(Ok(response));
            }
        }
    }

    /// Answers everyone who waits, now that the partition is another broker's.
    fn close(mut self) {
        let now = self.now();
        let effects = self.shard.on_unloaded(now);
        self.answer_parked(effects.completed);
        let of_batches = self.batches.into_iter().flat_map(|batch| batch.pending);
        for pending in self.uncommitted.into_iter().flat_map(|u| u.pending).chain(of_batches) {
            if let Pending::Reply(reply) = pending {
                reply(Err(ErrorCode::NotCoordinator));
            }
        }
        for (_, answer) in self.parked {
            let _ = answer.send(Err(ErrorCode::NotCoordinator));
        }
    }
}

async fn wait(commit_wait: &mut Option<CommitWait>) -> Result<(), ErrorCode> {
    match commit_wait {
        Some(commit_wait) => commit_wait.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
